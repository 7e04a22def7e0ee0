/* SPDX-License-Identifier: Apache-2.0
 * The rules of one policy, arranged so that a decision looks at the few that may match: rules
 * without relations by operation; patterns by the hash of the part that has no wildcard. Built
 * when the policy is loaded; deciding takes the same time with one rule and with a thousand.
 */
#pragma once

#include "model.h"

/* What one policy says about one thing; NULL: nothing. */
struct opinion {
    const struct rule *deny;    /* refuses it */
    const struct rule *approve; /* holds it until a person decides (the strictest) */
    const struct rule *allow;   /* permits it */
    const struct rule *ask;     /* an approval rule that permits it too, for sure */
};

/* One name to look up, hashed once for all policies. */
struct probe {
    const char *schema; /* NULL: not known */
    const char *guess;  /* where the name would be found then, or NULL */
    const char *name;   /* NULL: the object has no relation */
    uint64_t schema_hash, name_hash;
    bool sensitive; /* only a pattern without wildcards permits it */
};

struct probe probe_relation(const struct object *o);
/* `full` is "schema.name" or "name"; `schema` receives the part before the dot, and the probe
 * refers to it. False when the name has several dots, so that it could mean two functions, or
 * is too long. */
#define PROBE_SCHEMA_MAX 128
bool probe_function(const char *full, char schema[static PROBE_SCHEMA_MAX], struct probe *ret);

/* Makes p->index. -ENOMEM. */
int ruleindex_build(struct policy *p, struct arena *arena) MUST_CHECK;

/* Both add to what is already in ret. */
void ruleindex_object(const struct policy *policy, const struct object *o, const struct probe *p,
                      struct opinion *ret);
void ruleindex_function(const struct policy *policy, const struct probe *p, struct opinion *ret);
