/* SPDX-License-Identifier: Apache-2.0
 * Members that lines of the record have in every protocol (docs/records.md). Each writes into a
 * line that is being built; none fails by itself, a buffer without memory does.
 */
#pragma once

#include "sidecar/policy/policy.h"
#include "sidecar/session/guard.h"
#include "src-common/buffer.h"

/* "Deny", "RequireApproval" or "Allow". */
const char *lines_verdict(enum verdict v);

/* "policy" and "rule", where a rule decided; d may be NULL. */
void lines_rule(struct buffer *b, const struct decision *d);

/* "digest", "decisions", and of the last one "by" and "reason": who decided on approval `id`, and
 * why, from the registry. Nothing where it is not there any more. */
void lines_decisions(struct buffer *b, struct guard *g, const char *id);

/* "text", or "base64" of what is not UTF-8, so that no byte is lost. */
void lines_content(struct buffer *b, struct bytes data);
