/* SPDX-License-Identifier: Apache-2.0
 * A segment: some consecutive lines of one record, compressed and signed, as they are uploaded.
 * The file is a zstd skippable frame that holds the seal, one JSON object, and a zstd frame with
 * the lines: `zstd -dc` shows them. docs/records.md is the specification. No threads; reads and
 * writes files.
 */
#pragma once

#include "record.h"
#include "signer.h"

#define SEGMENT_SUFFIX   ".jsonl.zst"
#define SEGMENT_MAX      999999u /* numbers have six digits */
#define SEGMENT_NAME_MAX (RECORD_SESSION_MAX + 32)

/* What the signature covers. Hex digits have a NUL. */
struct seal {
    char session[RECORD_SESSION_MAX + 1];
    unsigned segment;
    uint64_t first, last;      /* sequence numbers of its lines */
    char prev[CHAIN_HEX + 1];  /* the chain before the first line */
    char head[CHAIN_HEX + 1];  /* and behind the last */
    uint64_t bytes;            /* of its lines, uncompressed */
    char lines[CHAIN_HEX + 1]; /* their SHA-256 */
    char frame[CHAIN_HEX +
               1]; /* SHA-256 of the zstd frame: another one with the same lines is not ours */
    char before[CHAIN_HEX + 1]; /* digest of the seal before; zeros */
    bool final;                 /* the last segment of the record */
    char key[CHAIN_HEX + 1];    /* who signed */
    char digest[CHAIN_HEX + 1]; /* SHA-256 of the seal's whole text; not part of it */
};

/* "SESSION.000012.jsonl.zst". */
void segment_name(const char *session, unsigned n, char ret[static SEGMENT_NAME_MAX]);
/* False when it is no segment's name. */
bool segment_name_parse(const char *name, char session[static RECORD_SESSION_MAX + 1],
                        unsigned *ret);

/* Creates the file `name` in the directory, whole and on the disk when it returns. Of the seal,
 * bytes, lines, key and digest are filled in. -errno; err says why. */
int segment_write(int dir_fd, const char *name, struct seal *seal, const struct signer *by,
                  struct bytes lines, struct error *err) MUST_CHECK;

/* Its seal alone, from the front of the file: the signature holds, the lines are not looked at. */
int segment_peek(int fd, struct seal *ret, struct error *err) MUST_CHECK;

/* Some of the lines' bytes, in order; non-zero stops the reading and is returned. */
typedef int segment_sink_fn(struct bytes some, void *arg);
/* Reads one, in bounded memory. ret is set first, once the signature was found to be that of the
 * key in the seal; bytes then reach the sink before all of them have been checked. -EBADMSG: it is
 * not what a guard wrote, and err says why; -errno of read; the sink's value. */
int segment_read(int fd, segment_sink_fn *sink, void *arg, struct seal *ret,
                 struct error *err) MUST_CHECK;
