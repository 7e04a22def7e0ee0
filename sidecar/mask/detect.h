/* SPDX-License-Identifier: Apache-2.0
 * Finds secrets and personal data by value: card numbers, mail addresses, keys. Two steps, so
 * that clean data is forwarded at memory speed: detect_anchors() looks at a whole run of bytes
 * (many cells and their framing) for cheap necessary parts of each pattern; detect_exact()
 * checks one cell in which an anchor was seen. What has no anchor has no match.
 */
#pragma once

#include "src-common/buffer.h"
#include "src-common/error.h"
#include "sidecar/policy/policy.h"

/* Names in policies: values.detectors. */
enum detector {
    DETECT_CREDIT_CARD, /* creditCard: 13 to 19 digits, blanks or dashes between, Luhn, known IIN */
    DETECT_US_SSN,      /* usSsn: AAA-GG-SSSS, valid areas */
    DETECT_EMAIL,       /* email */
    DETECT_PHONE,       /* phone: + and country code, or (AAA) BBB-CCCC and the like */
    DETECT_IBAN,        /* iban: ISO 13616, length by country, mod 97 */
    DETECT_IPV4,        /* ipv4 */
    DETECT_IPV6,        /* ipv6 */
    DETECT_AWS_ACCESS_KEY, /* awsAccessKey */
    DETECT_PRIVATE_KEY,    /* privateKey: PEM block */
    DETECT_JWT,            /* jwt */
    DETECT_GITHUB_TOKEN,   /* githubToken */
    DETECTOR_COUNT
};

/* -1 for an unknown name. */
int detector_by_name(const char *name);
const char *detector_name(enum detector d);

struct span { /* a match: text[start..end) */
    size_t start, end;
    enum detector detector;
};

struct detector_set;   /* compiled; immutable; shared by threads */
struct detect_scratch; /* working memory; one per thread */

/* `detectors` is a bit set over enum detector. Sets with the same detectors are made once per
 * process and shared. Any thread. -ENOMEM; -EINVAL for none or unknown ones. */
int detector_set_get(uint32_t detectors, struct detector_set **ret, struct error *err) MUST_CHECK;
void detector_set_unref(struct detector_set *s); /* accepts NULL */
DEFINE_CLEANUP(struct detector_set *, detector_set_unref)

int detect_scratch_new(struct detect_scratch **ret) MUST_CHECK;
void detect_scratch_free(struct detect_scratch *s);
DEFINE_CLEANUP(struct detect_scratch *, detect_scratch_free)

/* Calls `hit` with the offset of each anchor, ascending, until it returns true or the run ends.
 * Several anchors of one match may be reported. 0, or -EIO when the engine fails (the caller
 * then has to treat the run as unsafe). */
int detect_anchors(const struct detector_set *s, struct detect_scratch *scratch, struct bytes run,
                   bool (*hit)(size_t offset, void *arg), void *arg) MUST_CHECK;

/* All matches in one text, ascending and not overlapping (the longest of overlapping ones; their
 * union where they only touch in part). Writes at most `max` spans; returns their number, or
 * -ENOBUFS when there are more (mask the whole text then). */
int detect_exact(const struct detector_set *s, struct detect_scratch *scratch, struct bytes text,
                 struct span *spans, size_t max);

/* Anchors and matches together: appends the text with every match replaced to `out`. *ret_changed
 * tells whether there was one; when not, nothing is appended. `method` gives how each detector's
 * matches are replaced. -ENOMEM. */
struct masker;
int detect_mask_text(const struct detector_set *s, struct detect_scratch *scratch,
                     const struct masker *m, const enum mask_method method[DETECTOR_COUNT],
                     struct bytes text, struct buffer *out, bool *ret_changed) MUST_CHECK;

/* ---- long values, streamed ----
 * A value too long to hold whole. Length is preserved: each byte of a match is overwritten with
 * '*'. Up to DETECT_STREAM_HOLD bytes are held back between calls, so that a match that is cut
 * anywhere is still found; a private key block is starred from BEGIN until END, however long. */
#define DETECT_STREAM_HOLD 8192
struct detect_stream;
int detect_stream_new(struct detector_set *s, struct detect_stream **ret) MUST_CHECK;
void detect_stream_free(struct detect_stream *d);
/* Feeds a piece; appends what is settled to out. `last`: the value ends here, everything is
 * appended. After that the stream is ready for the next value. -ENOMEM, -EIO. */
int detect_stream_feed(struct detect_stream *d, struct detect_scratch *scratch, struct bytes piece,
                       bool last, struct buffer *out) MUST_CHECK;
