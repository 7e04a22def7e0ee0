/* SPDX-License-Identifier: Apache-2.0
 * The exact pass over a text: from one trigger byte to the next, asking the detectors that the
 * byte may belong to. Private to mask/: detect_exact() runs it over a whole cell, the stream
 * over a window that moves.
 *
 * What keeps it linear on hostile text, and a window as good as the whole: a check looks at no more
 * than SCAN_BEHIND bytes before and SCAN_AHEAD behind its trigger, and what it depends on besides
 * is in struct scan, carried on. Only a private key block and the tail of a JWT may be longer; they
 * are states, not look-ahead.
 */
#pragma once

#include "chars.h"
#include "detect.h"

#define SCAN_BEHIND 320
#define SCAN_AHEAD  5760

struct scan {
    struct bytes text;
    const uint16_t *triggers; /* for each byte the detectors to ask, as bits */
    bool more;                /* the text goes on behind text.len: a window */
    bool stop;                /* set by `report`: enough */
    size_t at;                /* everything before it has been asked about */

    bool key_open;     /* inside a private key block … */
    size_t key_start;  /* … whose part from here is not yet reported */
    bool jwt_open;     /* a JWT ran up to the window's end … */
    unsigned jwt_dots; /* … and may have so many more dots */
    size_t card_end;   /* digits before it belong to a card already found */

    void (*report)(struct scan *s, size_t start, size_t end, enum detector d);
};

/* A row of the table of detectors. */
struct detector_row {
    const char *name;
    const char *triggers; /* bytes at which `check` is asked */
    /* Looks around `at`, where a trigger is (of a run of digits the first) and reports matches. */
    void (*check)(struct scan *s, size_t at);
};

extern const struct detector_row detector_rows[DETECTOR_COUNT];

/* Asks at every trigger before `to` (at most text.len). */
void scan_run(struct scan *s, size_t to);
/* The window grew from `old_len`: goes on with a JWT that was open there. */
void scan_grown(struct scan *s, size_t old_len);

static inline void scan_report(struct scan *s, size_t start, size_t end, enum detector d)
{
    s->report(s, start, end, d);
}

/* The triggers of a set of detectors. */
void scan_triggers(uint32_t detectors, uint16_t triggers[static 256]);

void card_check(struct scan *s, size_t at);
void ssn_check(struct scan *s, size_t at);
void email_check(struct scan *s, size_t at);
void phone_check(struct scan *s, size_t at);
void iban_check(struct scan *s, size_t at);
void ipv4_check(struct scan *s, size_t at);
void ipv6_check(struct scan *s, size_t at);
void aws_check(struct scan *s, size_t at);
void private_key_check(struct scan *s, size_t at);
void jwt_check(struct scan *s, size_t at);
void github_check(struct scan *s, size_t at);

/* Looks for the end of the open private key block before `to`. */
void private_key_go_on(struct scan *s, size_t to);

/* Whether an IBAN may begin at `at`, as far as its own characters tell. */
bool iban_may_begin(struct bytes t, size_t at);
/* The bounds of the mail address whose '@' is at `at`. */
bool email_bounds(struct bytes t, size_t at, size_t *start, size_t *end);

/* ---- anchors ---- */

typedef bool anchor_hit(size_t offset, void *arg);
/* The search of detect_anchors() over a set of detectors, for processors that have the
 * instructions. */
void anchors_search_avx2(uint32_t set, struct bytes run, anchor_hit *hit, void *arg);
void anchors_search_avx512(uint32_t set, struct bytes run, anchor_hit *hit, void *arg);
