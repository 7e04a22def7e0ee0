/* SPDX-License-Identifier: Apache-2.0
 * The exact pass, and the table of detectors.
 */
#include "scan.h"

#define DIGITS "0123456789"
#define WIDE   "\xef" /* first byte of a wide digit */

const struct detector_row detector_rows[DETECTOR_COUNT] = {
    [DETECT_CREDIT_CARD] = {"creditCard", DIGITS WIDE, card_check},
    [DETECT_US_SSN] = {"usSsn", DIGITS WIDE, ssn_check},
    [DETECT_EMAIL] = {"email", "@", email_check},
    [DETECT_PHONE] = {"phone", DIGITS "+(", phone_check},
    [DETECT_IBAN] = {"iban", DIGITS, iban_check},
    [DETECT_IPV4] = {"ipv4", DIGITS, ipv4_check},
    [DETECT_IPV6] = {"ipv6", ":", ipv6_check},
    [DETECT_AWS_ACCESS_KEY] = {"awsAccessKey", "A_", aws_check},
    [DETECT_PRIVATE_KEY] = {"privateKey", "B", private_key_check},
    [DETECT_JWT] = {"jwt", "J", jwt_check},
    [DETECT_GITHUB_TOKEN] = {"githubToken", "_", github_check},
};

int detector_by_name(const char *name)
{
    for (int d = 0; name && d < DETECTOR_COUNT; d++) {
        if (strcmp(detector_rows[d].name, name) == 0)
            return d;
    }
    return -1;
}

const char *detector_name(enum detector d)
{
    return (unsigned)d < DETECTOR_COUNT ? detector_rows[d].name : "unknown";
}

void scan_triggers(uint32_t detectors, uint16_t triggers[static 256])
{
    memset(triggers, 0, 256 * sizeof *triggers);
    for (unsigned d = 0; d < DETECTOR_COUNT; d++) {
        if (!(detectors >> d & 1))
            continue;
        for (const char *t = detector_rows[d].triggers; *t; t++)
            triggers[(uint8_t)*t] |= (uint16_t)(1u << d);
    }
}

static void ask(struct scan *s, size_t at, unsigned detectors)
{
    for (; detectors && !s->stop; detectors &= detectors - 1)
        detector_rows[__builtin_ctz(detectors)].check(s, at);
}

#define SET(d) (1u << (d))

/* Which detectors a run of digits [at, end) can concern, by its length and its neighbours: most
 * runs of most texts are dates, amounts and identifiers, which concern none. */
static unsigned detectors_of_run(struct bytes t, size_t at, size_t end)
{
    size_t len = end - at;
    uint8_t next = end < t.len ? t.p[end] : 0;
    bool joined = next == ' ' || next == '-' || next >= 0x80; /* by a separator or a wide digit */
    unsigned d = 0;

    if (len <= 3) {
        d |= next == '.' ? SET(DETECT_IPV4) : 0;
        d |= joined ? SET(DETECT_US_SSN) : 0;
        if ((len == 3 && (joined || next == '.')) || (len == 1 && t.p[at] == '1'))
            d |= SET(DETECT_PHONE);
    }
    if (len >= 13 || joined)
        d |= SET(DETECT_CREDIT_CARD);
    if (at > 1 && len > 1 && char_is(t.p[at - 1], CH_ALPHA))
        d |= SET(DETECT_IBAN);
    return d;
}

/* Of a run of digits only the first is a trigger. Returns where to go on. */
static size_t ask_at_digits(struct scan *s, size_t at, unsigned detectors)
{
    size_t end = at + 1;

    while (end < s->text.len && char_is(s->text.p[end], CH_DIGIT))
        end++;
    if (at == 0 || !char_is(s->text.p[at - 1], CH_DIGIT))
        ask(s, at, detectors & detectors_of_run(s->text, at, end));
    return end;
}

static void scan_triggers_before(struct scan *s, size_t to)
{
    const uint8_t *p = s->text.p;
    const uint16_t *triggers = s->triggers;
    size_t at = s->at;

    while (!s->stop) {
        unsigned detectors;

        while (at < to && !triggers[p[at]])
            at++;
        if (at >= to)
            break;
        detectors = triggers[p[at]];
        s->at = at;
        if (char_is(p[at], CH_DIGIT)) {
            at = ask_at_digits(s, at, detectors);
        } else {
            ask(s, at, detectors);
            at++;
        }
        if (s->key_open) /* the check has moved s->at behind the BEGIN line */
            return;
    }
    s->at = at;
}

void scan_run(struct scan *s, size_t to)
{
    while (s->at < to && !s->stop) {
        if (s->key_open)
            private_key_go_on(s, to);
        else
            scan_triggers_before(s, to);
    }
    if (!s->more && s->key_open && s->key_start < s->text.len && !s->stop)
        scan_report(s, s->key_start, s->text.len, DETECT_PRIVATE_KEY); /* ends with its BEGIN */
}
