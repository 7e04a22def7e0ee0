/* SPDX-License-Identifier: Apache-2.0
 * Keys: AWS access keys and the secret behind their usual names, PEM private key blocks (RFC
 * 7468, and the OpenSSH and OpenPGP kinds), GitHub's tokens.
 */
#include "scan.h"

#define AWS_SECRET_LEN    40
#define AWS_SECRET_WITHIN 128 /* from its name */
#define PEM_LABEL_MAX     64
#define GITHUB_MIN        36
#define GITHUB_MAX        255

/* ---- AWS ---- */

/* The kinds of unique identifiers (IAM user guide, "IAM identifiers"). */
static bool is_aws_prefix(struct bytes t, size_t at)
{
    static const char kinds[][5] = {"AKIA", "ASIA", "ABIA", "ACCA", "AGPA",
                                    "AIDA", "AIPA", "ANPA", "ANVA", "AROA"};

    if (!char_at(t, at + 3, 'A'))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (literal_at(t, at, kinds[i]))
            return true;
    }
    return false;
}

static void aws_key_id(struct scan *s, size_t at)
{
    struct bytes t = s->text;
    size_t end = at + 20;

    if (!is_aws_prefix(t, at) || !char_starts_word(t, at, CH_UPPER | CH_DIGIT))
        return;
    for (size_t i = at + 4; i < end; i++) {
        if (!char_at_is(t, i, CH_UPPER) && !(i < t.len && t.p[i] >= '2' && t.p[i] <= '7'))
            return;
    }
    if (!char_at_is(t, end, CH_UPPER | CH_DIGIT))
        scan_report(s, at, end, DETECT_AWS_ACCESS_KEY);
}

/* The first word of exactly 40 characters of base64 behind the name. */
static void aws_secret(struct scan *s, size_t name)
{
    struct bytes t = s->text;
    size_t limit = min_size(t.len, name + AWS_SECRET_WITHIN);

    for (size_t at = name; at < limit;) {
        size_t end = at;

        while (end - at <= AWS_SECRET_LEN && char_at_is(t, end, CH_ALNUM | CH_BASE64))
            end++;
        if (end - at == AWS_SECRET_LEN) {
            scan_report(s, at, end, DETECT_AWS_ACCESS_KEY);
            return;
        }
        while (end < limit && char_is(t.p[end], CH_ALNUM | CH_BASE64))
            end++;
        at = end + 1;
    }
}

void aws_check(struct scan *s, size_t at)
{
    struct bytes t = s->text;

    if (t.p[at] == '_') {
        if (at >= 3 && word_at(t, at - 3, "aws_secret"))
            aws_secret(s, at + 7);
        return;
    }
    aws_key_id(s, at);
    if (at >= 6 && literal_at(t, at - 5, "ecretAccessKey") && word_at(t, at - 6, "secret"))
        aws_secret(s, at + 9);
}

/* ---- PEM ---- */

/* "LABEL-----" at `at`, the label one of a private key: the end, 0 for none. */
static size_t label_end(struct bytes t, size_t at)
{
    size_t end = at, label;

    while (end - at < PEM_LABEL_MAX &&
           (char_at_is(t, end, CH_UPPER | CH_DIGIT) || char_at(t, end, ' ')))
        end++;
    if (!literal_at(t, end, "-----"))
        return 0;
    label = end;
    if (label - at >= 6 && literal_at(t, label - 6, " BLOCK"))
        label -= 6;
    return label - at >= 11 && literal_at(t, label - 11, "PRIVATE KEY") ? end + 5 : 0;
}

void private_key_check(struct scan *s, size_t at)
{
    struct bytes t = s->text;
    size_t end;

    if (at < 5 || !literal_at(t, at - 5, "-----BEGIN "))
        return;
    end = label_end(t, at + 6);
    if (!end)
        return;
    s->key_open = true;
    s->key_start = at - 5;
    s->at = end;
}

/* The first "-----END " that begins in [from, to), or `to`. In slices, so that no search looks at
 * much more than it passes over. */
static size_t next_end_line(struct bytes t, size_t from, size_t to)
{
    static const char line[] = "-----END ";
    const size_t len = sizeof line - 1;

    while (from < to) {
        size_t slice = min_size(to - from, 4096);
        const uint8_t *at = memmem(t.p + from, min_size(slice + len - 1, t.len - from), line, len);

        if (at)
            return (size_t)(at - t.p);
        from += slice;
    }
    return to;
}

void private_key_go_on(struct scan *s, size_t to)
{
    struct bytes t = s->text;
    size_t from = s->at, end = 0;

    while (!end && (from = next_end_line(t, from, to)) < to)
        end = label_end(t, from++ + 9);
    s->key_open = !end;
    s->at = end ? end : to;
    scan_report(s, s->key_start, s->at, DETECT_PRIVATE_KEY);
    s->key_start = s->at;
}

/* ---- GitHub ---- */

void github_check(struct scan *s, size_t at)
{
    struct bytes t = s->text;
    size_t start, end = at + 1;
    unsigned classes = CH_ALNUM;

    if (at >= 3 && literal_at(t, at - 3, "gh") && memchr("pousr", t.p[at - 1], 5)) {
        start = at - 3;
    } else if (at >= 6 && literal_at(t, at - 6, "github_pat_")) {
        start = at - 6;
        end = at + 5;
        classes = CH_ALNUM | CH_DASH;
    } else {
        return;
    }
    if (!char_starts_word(t, start, CH_ALNUM) || char_at(t, start - 1, '_'))
        return;
    while (end - start < GITHUB_MAX && char_at_is(t, end, classes) && t.p[end] != '-')
        end++;
    if (end - start >= GITHUB_MIN + (classes == CH_ALNUM ? 4u : 11u))
        scan_report(s, start, end, DETECT_GITHUB_TOKEN);
}
