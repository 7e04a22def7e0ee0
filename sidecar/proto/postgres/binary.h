/* SPDX-License-Identifier: Apache-2.0
 * Values in binary format: looking for what detectors know inside arrays, records, ranges and
 * COPY tuples. Each element is looked at by itself, for as characters the lengths between them
 * could hide where a value begins. Pure.
 */
#pragma once

#include "context.h"

/* Whether the value, or anything inside it, holds a match; also when it is nested too deep to
 * tell. type_oid 0: not known. */
bool binary_holds_match(const struct pgcontext *c, struct detect_scratch *scratch,
                        uint32_t type_oid, struct bytes value);

/* One CopyData body of COPY … (FORMAT binary) (manual, COPY, "Binary Format"): appends it with
 * every field that holds a match as NULL, and counts those. -EBADMSG when it is no such tuple;
 * -ENOMEM. */
int binary_mask_copy(const struct pgcontext *c, struct detect_scratch *scratch, struct bytes body,
                     struct buffer *out, uint64_t *ret_masked) MUST_CHECK;
