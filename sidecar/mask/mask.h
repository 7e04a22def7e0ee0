/* SPDX-License-Identifier: Apache-2.0
 * Replaces one value. Methods, by strength: Partial keeps the last four characters and the
 * shape (and of an e-mail address the domain); Token is a keyed, deterministic, recognisable
 * stand-in: equal values give equal tokens, so joins and counts by an agent still work; Redact
 * is a constant; Null is SQL NULL (the caller writes it: a text cannot be null).
 */
#pragma once

#include "src-common/buffer.h"
#include "sidecar/policy/policy.h"

struct masker; /* holds the token key; immutable; shared by threads */

/* The key comes from the 32 bytes given (copied, wiped on free). */
int masker_new(const uint8_t key[static 32], struct masker **ret) MUST_CHECK;
void masker_free(struct masker *m); /* accepts NULL */

/* What Redact writes. */
#define MASK_REDACTED "****"

/* Appends the masked form of a UTF-8 text. For MASK_NULL appends nothing. Output is valid UTF-8
 * whatever the input. -ENOMEM. The value's length shows only through Partial (documented). */
int mask_text(const struct masker *m, enum mask_method method, struct bytes value,
              struct buffer *out) MUST_CHECK;
/* As mask_text for a value that a detector found, e.g. "[creditCard ****1111]" for Partial,
 * "[creditCard]" for Redact and Null, "[creditCard:tok_…]" for Token. */
int mask_match(const struct masker *m, enum mask_method method, const char *detector_name,
               struct bytes value, struct buffer *out) MUST_CHECK;

/* True when the text contains something that only a mask writes (a token of any key, the redaction
 * constant as the whole value, a partial form): an agent is writing masked data back over the real.
 */
bool mask_recognise(struct bytes value);
