/* SPDX-License-Identifier: Apache-2.0
 * What is injected: the file given with --config. Read once, then shared by all threads, which may
 * not change it; json-c values in it are only read (their counts are not touched).
 */
#pragma once

#include "value.h"

struct config_times { /* of certificates, seconds */
    uint32_t ca_lifetime, renew_before, overlap, leaf_lifetime;
};

/* A value and its JSON text, made once: asking json-c again would write into what threads share. */
struct config_value {
    struct json_object *value;
    const char *json;
};

struct config {
    struct config_value guard_image, init_image; /* strings */
    struct config_value pull_policy;             /* string */
    struct config_value guard_resources, init_resources;
    struct config_value spool_limit;                            /* string: a quantity */
    struct config_value guard_args, trust_files, api_audiences; /* lists of strings */
    struct config_value guard_secrets; /* names of Secrets that the guard mounts besides */
    struct config_value issuers; /* string: argument of --issuers-inline as a pod has it; or "" */
    struct config_value token_audience; /* string: of the token for the store's service; or "" */
    uint32_t guard_uid, guard_gid;      /* 0: chosen for each pod */
    bool environment, require_run_as_user;
    struct config_times times;
};

/* -EINVAL with "FILE:LINE: FIELD: reason"; -errno when the file cannot be read. */
int config_load(const char *path, struct config **ret, struct error *err) MUST_CHECK;
int config_parse(struct bytes yaml, const char *name, struct config **ret,
                 struct error *err) MUST_CHECK;
/* What else the API server accepts in tokens: a string or a list of them. Before threads start. */
int config_add_audiences(struct config *c, struct json_object *audiences,
                         struct error *err) MUST_CHECK;
void config_free(struct config *c); /* accepts NULL */
DEFINE_CLEANUP(struct config *, config_free)
