/* SPDX-License-Identifier: Apache-2.0
 * The search for anchors, once for each kind of processor: included by anchors.c and its wider
 * variants, each of which is compiled for other instructions. What is looked for is the same.
 */
#pragma once

#include "blocks.h"
#include "scan.h"

/* No anchor is longer, so that each lies whole in the block in which it begins early enough. */
#define ANCHOR_MAX 16
#define STEP       (BLOCK_LEN - ANCHOR_MAX)
#define SET(d)     (1u << (d))

/* What is asked about more than once. */
struct classes {
    uint64_t digit, digits2, digits3, digits4;
    uint64_t blank, dash, dot;
    uint64_t lead;       /* first byte of a no-break blank, a dash … */
    uint64_t blank_dash; /* single separators: one byte, or more */
};

static inline struct classes classify(const struct block *b)
{
    struct classes c;

    c.digit = block_range(b, '0', '9', 0);
    c.digits2 = c.digit & c.digit >> 1;
    c.digits3 = c.digits2 & c.digit >> 2;
    c.digits4 = c.digits2 & c.digits2 >> 2;
    c.blank = block_is(b, ' ', 0);
    c.dash = block_is(b, '-', 0);
    c.dot = block_is(b, '.', 0);
    c.lead = block_is(b, 0xe2, 0x20); /* 0xc2 or 0xe2 */
    c.blank_dash = c.blank | c.dash;
    return c;
}

/* 13 digits, the first not 0 or 1, which no issuer has; two groups of 4. */
static inline uint64_t card_anchors(const struct block *b, const struct classes *c)
{
    uint64_t digits8 = c->digits4 & c->digits4 >> 4;

    return (block_range(b, '2', '9', 0) & digits8 & digits8 >> 5) |
           (c->digits4 & c->blank_dash >> 4 & c->digits4 >> 5);
}

static inline uint64_t ssn_anchors(const struct classes *c)
{
    return c->digits3 & c->blank_dash >> 3 & c->digits2 >> 4 & c->blank_dash >> 6 & c->digits4 >> 7;
}

/* "AAA)" and something that goes on; "AAA-BBB-CCCC". The plus sign is looked at by itself. */
static inline uint64_t phone_anchors(const struct block *b, const struct classes *c)
{
    uint64_t between = c->blank_dash | c->dot;

    return (c->digits3 & block_is(b, ')', 0) >> 3 & (c->digit | between | c->lead) >> 4) |
           (c->digits3 & between >> 3 & c->digits3 >> 4 & between >> 7 & c->digits4 >> 8);
}

/* Two letters, two digits, and eleven more characters, or two and a blank. */
static inline uint64_t iban_anchors(const struct block *b, const struct classes *c)
{
    uint64_t letter = block_range(b, 'a', 'z', 0x20);
    uint64_t one = letter | c->digit, two = one & one >> 1, four = two & two >> 2;
    uint64_t eight = four & four >> 4;

    return letter & letter >> 1 & c->digits2 >> 2 &
           ((eight & eight >> 7) | (c->blank_dash | c->lead) >> 4);
}

static inline uint64_t ipv4_anchors(const struct classes *c)
{
    /* A part's last digit, its dot, the next part's first digit; three of them. */
    uint64_t end = c->digit & c->dot >> 1 & c->digit >> 2;
    uint64_t two = end & (end >> 2 | end >> 3 | (end >> 4 & c->digit >> 3));

    return end & (two >> 2 | two >> 3 | (two >> 4 & c->digit >> 3));
}

/* Two colons, or four that are as near to each other as in an address: a time has two. */
static inline uint64_t ipv6_anchors(const struct block *b)
{
    uint64_t colon = block_is(b, ':', 0), chain = colon;

    for (int i = 0; i < 3; i++)
        chain = colon & (chain >> 2 | chain >> 3 | chain >> 4 | chain >> 5);
    return (colon & colon >> 1) | chain;
}

/* The end of a run of five dashes. */
static inline uint64_t private_key_anchors(const struct classes *c)
{
    uint64_t two = c->dash & c->dash >> 1;

    return two & two >> 2 & c->dash >> 4 & ~(c->dash >> 5);
}

/* A digit and a separator of more bytes, with a digit behind it. */
static inline uint64_t wide_separators(const struct classes *c)
{
    return c->digit & c->lead >> 1 & (c->digit >> 3 | c->digit >> 4);
}

/* Where anchors begin in a block. */
struct found {
    uint64_t sure;
    uint64_t maybe; /* depends on what stands around: is_anchor() looks again */
    uint64_t iban;  /* depends on the country */
};

/* What is made of digits, for a block with any. */
static inline void number_anchors(const struct block *b, const struct classes *c, uint32_t set,
                                  struct found *f)
{
    if (set & SET(DETECT_CREDIT_CARD))
        f->sure |= card_anchors(b, c);
    if (set & SET(DETECT_US_SSN))
        f->sure |= ssn_anchors(c);
    if (set & SET(DETECT_PHONE)) {
        f->sure |= phone_anchors(b, c);
        f->maybe |= block_is(b, '+', 0) & c->digit >> 1;
    }
    if (set & (SET(DETECT_CREDIT_CARD) | SET(DETECT_US_SSN) | SET(DETECT_PHONE)))
        f->sure |= wide_separators(c);
    if (set & SET(DETECT_IBAN))
        f->iban = iban_anchors(b, c);
    if (set & SET(DETECT_IPV4))
        f->sure |= ipv4_anchors(c);
}

static inline struct found block_anchors(const struct block *b, uint32_t set)
{
    struct classes c = classify(b);
    struct found f = {0};

    if (c.digit)
        number_anchors(b, &c, set, &f);
    if (set & (SET(DETECT_CREDIT_CARD) | SET(DETECT_US_SSN)))
        f.maybe |= block_is(b, 0xef, 0); /* wide digits */
    if (set & SET(DETECT_EMAIL))
        f.sure |= block_is(b, '@', 0);
    if (set & SET(DETECT_IPV6))
        f.sure |= ipv6_anchors(b);
    if (set & SET(DETECT_AWS_ACCESS_KEY))
        f.maybe |= block_is(b, 'A', 0);
    if (set & (SET(DETECT_AWS_ACCESS_KEY) | SET(DETECT_JWT))) /* the K of AccessKey, the J of eyJ */
        f.maybe |= block_is(b, 'K', 1);
    if (set & (SET(DETECT_AWS_ACCESS_KEY) | SET(DETECT_GITHUB_TOKEN)))
        f.maybe |= block_is(b, '_', 0);
    if (set & SET(DETECT_PRIVATE_KEY))
        f.maybe |= private_key_anchors(&c);
    return f;
}

/* The second look, at one position of the run. */
static inline bool is_anchor(struct bytes t, size_t at)
{
    switch (t.p[at]) {
    case 0xef:
        return is_digit_at(t, at);
    case '+':
        return !char_at(t, at + 1, '0');
    case 'A':
        return char_at(t, at + 3, 'A') && char_at_is(t, at + 1, CH_UPPER) &&
               char_at_is(t, at + 4, CH_UPPER | CH_DIGIT);
    case 'J':
        return at >= 2 && t.p[at - 2] == 'e' && t.p[at - 1] == 'y';
    case 'K':
        return at >= 1 && t.p[at - 1] == 's' && char_at(t, at + 1, 'e');
    case '_':
        return (at >= 3 && (word_at(t, at - 3, "aws_s") || literal_at(t, at - 3, "gh"))) ||
               (at >= 6 && literal_at(t, at - 6, "github"));
    case '-':
        return literal_at(t, at, "-----BEGIN");
    default:
        return true; /* nothing else is ever unsure */
    }
}

static inline bool visit(struct bytes run, size_t at, const struct found *f, uint64_t within,
                         anchor_hit *hit, void *arg)
{
    for (uint64_t any = (f->sure | f->maybe | f->iban) & within; any; any &= any - 1) {
        size_t offset = at + (size_t)__builtin_ctzll(any);
        uint64_t bit = any & -any;

        if (!(f->sure & bit) && !((f->maybe & bit) && is_anchor(run, offset)) &&
            !((f->iban & bit) && iban_may_begin(run, offset)))
            continue;
        if (hit(offset, arg))
            return true;
    }
    return false;
}

/* As detect_anchors(). */
static inline void search_anchors(uint32_t set, struct bytes run, anchor_hit *hit, void *arg)
{
    const uint64_t first_step = ((uint64_t)1 << STEP) - 1;
    uint8_t end[BLOCK_LEN] = {0};
    struct found f;
    struct block b;
    size_t at = 0;

    for (; run.len - at >= BLOCK_LEN; at += STEP) {
        b = block_load(run.p + at);
        f = block_anchors(&b, set);
        if (visit(run, at, &f, first_step, hit, arg))
            return;
    }
    if (at == run.len)
        return;
    memcpy(end, run.p + at, run.len - at);
    b = block_load(end);
    f = block_anchors(&b, set);
    visit(run, at, &f, UINT64_MAX, hit, arg);
}
