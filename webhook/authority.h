/* SPDX-License-Identifier: Apache-2.0
 * The certificate authority that all replicas share, as the Secret holds it, and its replacement
 * with overlap. Pure functions of the Secret and the time: replicas come to the same conclusion
 * without talking to each other.
 *
 *   |-- current signs -----------------------------------|
 *            | next made, in caBundle | next signs (after `overlap`) -----------------|
 *                                     | last leaf of current ends (leafLifetime) | current dropped
 */
#pragma once

#include "config.h"
#include "pki.h"

struct authority {
    struct pki_pair current, next; /* next: empty most of the time */
};

/* From the Secret's `data`. -EINVAL: it holds no usable authority; err says why. */
int authority_read(struct json_object *secret, struct authority *ret, struct error *err) MUST_CHECK;
void authority_done(struct authority *a);
/* The Secret with its data replaced; resourceVersion stays, so that somebody else's change is
 * noticed. `secret` NULL: a new one of this name. The caller owns it; NULL when out of memory. */
#define AUTHORITY_SECRET "chaperone-webhook-ca"
struct json_object *authority_secret(struct json_object *secret, const struct authority *a);

enum authority_step {
    AUTHORITY_KEEP = 0,
    AUTHORITY_ADD_NEXT, /* current ends soon */
    AUTHORITY_PROMOTE,  /* nothing that current signed is valid any more */
    AUTHORITY_RENEW     /* current has ended, and there is no next */
};
enum authority_step authority_due(const struct config_times *t, const struct authority *a,
                                  int64_t now);
/* Does the step. */
int authority_change(const struct config_times *t, enum authority_step step, int64_t now,
                     struct authority *a, struct error *err) MUST_CHECK;
/* The one to sign with now. */
const struct pki_pair *authority_signer(const struct config_times *t, const struct authority *a,
                                        int64_t now);
/* caBundle: both certificates, base64. The caller frees it; NULL when out of memory. */
char *authority_bundle(const struct authority *a);
