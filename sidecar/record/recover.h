/* SPDX-License-Identifier: Apache-2.0
 * What a guard that was killed left in the spool is made whole before its successor begins: a
 * record without an end gets a line that says so (gap) and a session.close. Lines are never
 * changed. At start, before anybody writes.
 */
#pragma once

#include "record.h"

struct recovery {
    unsigned sealed;  /* records that were ended here */
    unsigned damaged; /* whose chain does not hold: renamed to SESSION.damaged, as they are */
};
/* key: the public key of the guard that signs what is now ended. -errno when the spool cannot be
 * read or written. */
int recover_spool(struct record_spool *spool, const char *key, struct recovery *ret,
                  struct error *err) MUST_CHECK;
