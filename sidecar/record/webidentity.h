/* SPDX-License-Identifier: Apache-2.0
 * Keys of an object store for a token: AssumeRoleWithWebIdentity of a security token service, as
 * Amazon and MinIO have it. Nobody has to keep a secret then: the kubelet renews the token, the
 * service its keys. One thread at a time uses it (the uploader's); calls block.
 */
#pragma once

#include "s3_config.h"
#include "src-common/bytes.h"

#include <stdatomic.h>

struct webidentity;
/* c has a role; its strings live longer. to gives region and CA. -EINVAL: err names the option. */
int webidentity_new(const struct s3_config *c, const struct s3_settings *to,
                    struct webidentity **ret, struct error *err) MUST_CHECK;
void webidentity_free(struct webidentity *w); /* accepts NULL */

/* Keys that hold for five minutes more. Those at hand, or new ones, for which the token's file is
 * read again; while the service fails, those at hand as long as they hold at all. -EACCES: it
 * refuses the token; -EAGAIN: anything that may pass. `*until_ms` as in s3_put. */
int webidentity_keys(struct webidentity *w, const atomic_uint_fast64_t *until_ms,
                     struct s3_credentials *ret, struct error *err) MUST_CHECK;
/* The store refused them: the next call asks for new ones. */
void webidentity_forget(struct webidentity *w);

/* What the service answered: keys, and when they end (Unix time). For the tests of it. */
int webidentity_parse(struct bytes xml, struct s3_credentials *ret, int64_t *ends,
                      struct error *err) MUST_CHECK;
