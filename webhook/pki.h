/* SPDX-License-Identifier: Apache-2.0
 * P-256 certificates as PEM texts: an authority, and leaves that it signs. No I/O.
 */
#pragma once

#include "src-common/base.h"
#include "src-common/error.h"

/* How far before now certificates begin: for clocks that are behind. */
#define PKI_BACKDATE_S 300

struct pki_pair {
    char *certificate, *key; /* PEM; both or none */
};
void pki_pair_done(struct pki_pair *p); /* wipes the key */

struct pki_request {
    int64_t now; /* seconds since 1970 */
    uint32_t lifetime_s;
    const char *const
        *names; /* of the leaf: DNS names, the first is the subject; NULL-terminated */
};

/* A self-signed authority that may sign leaves only. */
int pki_make_authority(const struct pki_request *r, struct pki_pair *ret,
                       struct error *err) MUST_CHECK;
/* A server's certificate; the text of the leaf alone. */
int pki_make_leaf(const struct pki_request *r, const struct pki_pair *authority,
                  struct pki_pair *ret, struct error *err) MUST_CHECK;

struct pki_times {
    int64_t created, end; /* seconds since 1970; created: the backdating taken off */
};
/* -EINVAL: no certificate, no key, or not that certificate's key. */
int pki_read(const struct pki_pair *p, struct pki_times *ret, struct error *err) MUST_CHECK;
