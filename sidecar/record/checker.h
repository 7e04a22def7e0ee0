/* SPDX-License-Identifier: Apache-2.0
 * Checks the lines of one record, in order, in bounded memory. Who reads them from a file, from
 * segments or from a spool that is being written feeds them here. No threads, no I/O.
 */
#pragma once

#include "chain.h"
#include "record.h"
#include "src-common/buffer.h"
#include "src-common/clock.h"

struct checker {
    struct record_check *check;
    const struct record_heads *heads; /* NULL: nobody knows more than the record */
    uint64_t expect;                  /* sequence number of the next line */
    int64_t last_denied;              /* number of the statement last counted as denied */
    char prev[CHAIN_HEX];
    char time[CLOCK_RFC3339_LEN]; /* of the line before */
    bool late;      /* the lines before the next one are elsewhere: it says where it stands */
    bool hole;      /* inside the front of a file that was given back (sealer.h) */
    bool blank;     /* behind the lines: what a busy guard had set aside (file.h) */
    size_t skipped; /* bytes there that are no blank lines */
    struct buffer rest;
    size_t seen; /* bytes of rest that are known to hold no newline */
};

/* Clears *ret, which is filled in as lines are checked and must outlive v. */
void checker_init(struct checker *v, struct record_check *ret);
/* Goes on where earlier lines ended: seq is the next line's, prev the hash of the line before. */
void checker_resume(struct checker *v, const char *session, uint64_t seq,
                    const char prev[static CHAIN_HEX]);
void checker_done(struct checker *v);

/* One line without its newline. -EBADMSG: check->reason and check->bad_seq say what is wrong. */
int checker_line(struct checker *v, struct bytes text) MUST_CHECK;
/* One line where a blank line has been seen, or the blank one itself: it is no part of the record.
 */
int checker_blank(struct checker *v, struct bytes text) MUST_CHECK;
/* The next bytes of a file. As checker_line, or -ENOMEM. */
int checker_feed(struct checker *v, struct bytes some) MUST_CHECK;
/* The file has ended. */
int checker_end(struct checker *v) MUST_CHECK;
/* Notes that the record is bad at the next line. Returns -EBADMSG. */
int checker_broken(struct checker *v, const char *fmt, ...) PRINTF_LIKE(2, 3);
