/* SPDX-License-Identifier: Apache-2.0
 * AdmissionReview, admission.k8s.io/v1: what the API server asks, and what we answer. Bytes to
 * struct and back; no I/O.
 */
#pragma once

#include "patch.h"
#include "src-common/buffer.h"

#define REVIEW_MAX_BYTES ((size_t)3 << 20)

/* A request. Everything is borrowed from `root`; strings are "" when the request has none. */
struct review {
    struct json_object *root;
    const char *uid;
    const char *operation; /* CREATE, UPDATE, DELETE, CONNECT */
    const char *group, *resource, *sub_resource;
    const char *name, *namespace_;
    const char *username;
    struct json_object *user;         /* userInfo: username, uid, groups, extra */
    struct json_object *object, *old; /* NULL: none */
};

/* -EMSGSIZE; -EINVAL for what is no AdmissionReview of v1 with a request that has what every
 * request has; -ENOMEM. */
int review_parse(struct bytes body, struct review *ret, struct error *err) MUST_CHECK;
void review_done(struct review *r);
bool review_is(const struct review *r, const char *operation, const char *sub_resource);

/* The answer while it is worked out. Zeroed it is a refusal. */
struct answer {
    bool allowed;
    unsigned code;      /* of a refusal; 0: 403 */
    char message[3072]; /* of a refusal: all that was found, one after the other */
    size_t n_reasons;
    struct patch patch;
    struct json_object *warnings; /* a list of strings, or NULL */
};

void answer_init(struct answer *a);
void answer_done(struct answer *a);
/* Adds "FIELD: reason" to the message. What does not fit is counted. */
void answer_refuse(struct answer *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Allowed unless something was refused. */
void answer_settle(struct answer *a);
void answer_warn(struct answer *a, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The whole AdmissionReview. -ENOMEM. */
int answer_write(const struct answer *a, const char *uid, struct buffer *out) MUST_CHECK;
