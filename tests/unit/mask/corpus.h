/* SPDX-License-Identifier: Apache-2.0
 * Random text with secrets in it, from a fixed seed. For the tests of mask/.
 */
#pragma once

#include "src-common/bytes.h"

#include <stdio.h>

static uint64_t random_state;

static inline void random_seed(uint64_t seed)
{
    random_state = seed * 2654435761u + 1;
}

static inline unsigned random_below(unsigned n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((random_state >> 33) % n);
}

/* A valid card number of the given length, digits only. */
static inline void random_card(char *out, size_t n)
{
    unsigned sum = 0;

    out[0] = '4';
    for (size_t i = 1; i < n; i++)
        out[i] = (char)('0' + random_below(10));
    for (size_t i = 0; i + 1 < n; i++) {
        unsigned d = (unsigned)(out[i] - '0') * ((n - i) % 2 ? 1 : 2);

        sum += d > 9 ? d - 9 : d;
    }
    out[n - 1] = (char)('0' + (10 - sum % 10) % 10);
    out[n] = 0;
}

/* A piece that is a secret, most of one, or made of what secrets are made of. */
static inline const char *random_piece(void)
{
    static char text[6000];
    static const char *const pieces[] = {
        "bob@example.com",
        "j\xc3\xbcrgen@b\xc3\xbc"
        "cher.example",
        "@",
        "@@",
        "a@b.co",
        "123-45-6789",
        "415-555-2671",
        "+1 (415) 555-2671",
        "+4930123456",
        "(415) 555-2671",
        "1 ",
        "-",
        "10.0.0.1",
        ".1.2",
        "2001:db8::1",
        "::",
        "::1",
        ":",
        "12:30:45",
        "DE89370400440532013000",
        "DE89 3704 0044 0532 0130 00",
        "GB29NWBK6016",
        "AKIAIOSFODNN7EXAMPLE",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "-----BEGIN PRIVATE KEY-----",
        "-----END PRIVATE KEY-----",
        "-----BEGIN RSA ",
        "-----END ",
        "PRIVATE KEY-----",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV",
        "eyJhbGciOiJIUzI1NiJ9.",
        "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..",
        "eyJ",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "github_pat_",
        "\\n",
        "\\u003d",
        "%20",
        "\xc2\xa0",
        "\xe2\x80\x93",
        "\xef\xbc\x94",
        "\xef\xbc\x94\xef\xbc\x91\xef\xbc\x91\xef\xbc\x91",
        "\xef\xbc",
        "4111",
        " 1111",
        "1111 1111",
        "4111111111111111",
        "\"",
        ",",
        "\n",
        "\t",
        " ",
        "word",
        "Lorem ipsum",
        "\xff",
        "xn--p1ai.",
        "e3b0c44298fc1c",
    };
    unsigned kind = random_below(40);
    size_t n;

    if (kind == 0) { /* long runs of one sort */
        static const char *const sorts[] = {"a",   "1",  "eyJ", "@", "A1b-",
                                            "12 ", "a.", "x@",  ":", "-"};
        const char *sort = sorts[random_below(10)];
        size_t want = random_below(5500);

        for (n = 0; n < want; n += strlen(sort))
            strcpy(text + n, sort);
        return text;
    }
    if (kind < 4) {
        random_card(text, 16);
        return text;
    }
    if (kind < 8) {
        for (n = 0; n < 1 + random_below(40); n++)
            text[n] = (char)(' ' + random_below(95));
        text[n] = 0;
        return text;
    }
    return pieces[random_below(sizeof pieces / sizeof *pieces)];
}

/* Fills `out` to at most max bytes. */
static inline size_t random_text(char *out, size_t max)
{
    size_t len = 0, n;

    for (;;) {
        const char *piece = random_piece();

        n = strlen(piece);
        if (n > max - len)
            return len;
        memcpy(out + len, piece, n);
        len += n;
    }
}
