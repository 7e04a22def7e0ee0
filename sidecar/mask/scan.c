/* SPDX-License-Identifier: Apache-2.0
 * The exact pass, and the table of detectors.
 */
#include "scan.h"

#define ANCHORS(...)                                                                               \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

/* A single blank or dash, as separator_at() knows them, and with a dot. */
#define SEP     "(?:[ -]|\\xc2\\xa0|\\xe2\\x80[\\x89\\xaf\\x90-\\x95])"
#define SEP_DOT "(?:[ .-]|\\xc2\\xa0|\\xe2\\x80[\\x89\\xaf\\x90-\\x95])"
#define WIDE    "\\xef\\xbc[\\x90-\\x99]"
#define DIGITS  "0123456789"

#define IBAN_COUNTRIES                                                                             \
    "(?:A[DELTZ]|B[AEGHIRY]|C[HRYZ]|D[EJKO]|E[EGS]|F[IKOR]|G[BEILRT]|H[NRU]|I[ELQST]|JO|K[WZ]|"    \
    "L[BCITUVY]|M[CDEKNRTU]|N[ILO]|OM|P[KLST]|QA|R[OSU]|S[ACDEIKMOTV]|T[LNR]|UA|V[AG]|XK|YE)"

const struct detector_row detector_rows[DETECTOR_COUNT] = {
    [DETECT_CREDIT_CARD] = {"creditCard", ANCHORS("[2-69]\\d{12}", "81\\d{11}", "\\d{4}" SEP "\\d{4}", WIDE),
                            DIGITS "\xef", card_check},
    [DETECT_US_SSN] = {"usSsn", ANCHORS("\\d{3}" SEP "\\d{2}" SEP "\\d{4}", WIDE), DIGITS "\xef", ssn_check},
    [DETECT_EMAIL] = {"email", ANCHORS("@"), "@", email_check},
    [DETECT_PHONE] = {"phone",
                      ANCHORS("\\+[1-9]", "[2-9]\\d\\d(?:\\)|\\)?" SEP_DOT ")[2-9]\\d\\d" SEP_DOT "\\d{4}"),
                      DIGITS "+(", phone_check},
    [DETECT_IBAN] = {"iban", ANCHORS("(?i)" IBAN_COUNTRIES "\\d\\d" SEP "?[0-9A-Z]{4}" SEP "?[0-9A-Z]{4}" SEP "?[0-9A-Z]{3}"),
                     DIGITS, iban_check},
    [DETECT_IPV4] = {"ipv4", ANCHORS("\\d\\.\\d{1,3}\\.\\d{1,3}\\.\\d"), DIGITS, ipv4_check},
    [DETECT_IPV6] = {"ipv6",
                     ANCHORS("::", "(?i)[0-9A-F]:[0-9A-F]{1,4}:[0-9A-F]{1,4}:[0-9A-F]{1,4}:"),
                     ":", ipv6_check},
    [DETECT_AWS_ACCESS_KEY] = {"awsAccessKey",
                               ANCHORS("A[A-Z]{2}A[A-Z2-7]{16}", "(?i)aws_secret", "[Ss]ecretAccessKey"),
                               "A_", aws_check},
    [DETECT_PRIVATE_KEY] = {"privateKey", ANCHORS("-----BEGIN "), "B", private_key_check},
    [DETECT_JWT] = {"jwt", ANCHORS("eyJ"), "J", jwt_check},
    [DETECT_GITHUB_TOKEN] = {"githubToken", ANCHORS("gh[pousr]_[0-9A-Za-z]", "github_pat_"), "_", github_check},
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

/* Of a run of digits only the first is a trigger. Returns where to go on. */
static size_t ask_at_digits(struct scan *s, size_t at, unsigned detectors)
{
    size_t end = at + 1;

    while (end < s->text.len && char_is(s->text.p[end], CH_DIGIT))
        end++;
    if (at == 0 || !char_is(s->text.p[at - 1], CH_DIGIT))
        ask(s, at, detectors);
    return end;
}

static void scan_triggers_before(struct scan *s, size_t to)
{
    const uint8_t *p = s->text.p;
    const uint16_t *triggers = s->triggers;
    size_t at = s->at;

    while (at < to && !s->key_open && !s->stop) {
        unsigned detectors = triggers[p[at]];

        if (!detectors) {
            at++;
            continue;
        }
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
