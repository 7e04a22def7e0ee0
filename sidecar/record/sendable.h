/* SPDX-License-Identifier: Apache-2.0
 * Which file of the spool goes to the store in the place of another: itself, or its envelope. An
 * envelope is made once and kept until it has been stored, so that an upload that was interrupted
 * goes on with the same bytes. The uploader's thread uses it.
 */
#pragma once

#include "envelope.h"
#include "segment.h"

#define SENT_NAME_MAX (SEGMENT_NAME_MAX + 16)

/* The name of the file to send. to NULL, or a public key, or an empty file: name itself. -EAGAIN:
 * the envelope could not be written. */
int sendable_name(int dir_fd, const char *name, const struct envelope_to *to,
                  char ret[static SENT_NAME_MAX], struct error *err) MUST_CHECK;
/* The file has been stored and removed: so is its envelope. */
void sendable_done(int dir_fd, const char *name);
/* At start: removes envelopes whose files have gone, and those that were not finished. */
void sendable_clean(int dir_fd);
