/* SPDX-License-Identifier: Apache-2.0
 * 64 bytes of a text at a time, as bit masks: bit i says something about byte i. Patterns of
 * bytes are then shifts and ands, for 64 positions at once and without a branch. Private to mask/.
 *
 * With AVX-512BW or AVX2 where a file is compiled for them; with SSE2, which every x86-64 has;
 * elsewhere with eight bytes in a word, at a third of SSE2's speed.
 */
#pragma once

#include "src-common/bytes.h"

#define BLOCK_LEN 64

#if defined(__AVX512BW__) && !defined(BLOCKS_PORTABLE)
#include <immintrin.h>

struct block {
    __m512i v;
};

static inline struct block block_load(const uint8_t *p)
{
    return (struct block){_mm512_loadu_si512((const void *)p)};
}

static inline uint64_t block_is(const struct block *b, uint8_t c, uint8_t also)
{
    return _mm512_cmpeq_epi8_mask(_mm512_or_si512(b->v, _mm512_set1_epi8((char)also)),
                                  _mm512_set1_epi8((char)c));
}

static inline uint64_t block_range(const struct block *b, uint8_t first, uint8_t last, uint8_t also)
{
    __m512i v = _mm512_sub_epi8(_mm512_or_si512(b->v, _mm512_set1_epi8((char)also)),
                                _mm512_set1_epi8((char)first));

    return _mm512_cmple_epu8_mask(v, _mm512_set1_epi8((char)(last - first)));
}

#elif defined(__AVX2__) && !defined(BLOCKS_PORTABLE)
#include <immintrin.h>

struct block {
    __m256i v[2];
};

static inline struct block block_load(const uint8_t *p)
{
    return (struct block){{_mm256_loadu_si256((const __m256i *)(const void *)p),
                           _mm256_loadu_si256((const __m256i *)(const void *)(p + 32))}};
}

static inline uint64_t block_gather(__m256i low, __m256i high)
{
    return (uint64_t)(uint32_t)_mm256_movemask_epi8(low) |
           (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
}

static inline uint64_t block_is(const struct block *b, uint8_t c, uint8_t also)
{
    __m256i mask = _mm256_set1_epi8((char)also), is = _mm256_set1_epi8((char)c);

    return block_gather(_mm256_cmpeq_epi8(_mm256_or_si256(b->v[0], mask), is),
                        _mm256_cmpeq_epi8(_mm256_or_si256(b->v[1], mask), is));
}

static inline uint64_t block_range(const struct block *b, uint8_t first, uint8_t last, uint8_t also)
{
    __m256i m[2];

    for (int i = 0; i < 2; i++) {
        __m256i v = _mm256_sub_epi8(_mm256_or_si256(b->v[i], _mm256_set1_epi8((char)also)),
                                    _mm256_set1_epi8((char)first));

        m[i] = _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8((char)(last - first))), v);
    }
    return block_gather(m[0], m[1]);
}

#elif defined(__SSE2__) && !defined(BLOCKS_PORTABLE) /* tests ask for the other one */
#include <emmintrin.h>

struct block {
    __m128i v[4];
};

static inline struct block block_load(const uint8_t *p)
{
    struct block b;

    for (int i = 0; i < 4; i++)
        b.v[i] = _mm_loadu_si128((const __m128i *)(const void *)(p + 16 * i));
    return b;
}

static inline uint64_t block_gather(const __m128i m[4])
{
    return (uint64_t)(uint32_t)_mm_movemask_epi8(m[0]) |
           (uint64_t)(uint32_t)_mm_movemask_epi8(m[1]) << 16 |
           (uint64_t)(uint32_t)_mm_movemask_epi8(m[2]) << 32 |
           (uint64_t)(uint32_t)_mm_movemask_epi8(m[3]) << 48;
}

/* Bytes that, with the bits of `also` set, are c. */
static inline uint64_t block_is(const struct block *b, uint8_t c, uint8_t also)
{
    __m128i m[4];

    for (int i = 0; i < 4; i++)
        m[i] = _mm_cmpeq_epi8(_mm_or_si128(b->v[i], _mm_set1_epi8((char)also)),
                              _mm_set1_epi8((char)c));
    return block_gather(m);
}

/* Bytes that, with the bits of `also` set, are between first and last. */
static inline uint64_t block_range(const struct block *b, uint8_t first, uint8_t last, uint8_t also)
{
    __m128i m[4];

    for (int i = 0; i < 4; i++) {
        __m128i v = _mm_sub_epi8(_mm_or_si128(b->v[i], _mm_set1_epi8((char)also)),
                                 _mm_set1_epi8((char)first));

        m[i] = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8((char)(last - first))), v);
    }
    return block_gather(m);
}

#else

struct block {
    uint64_t v[8]; /* the byte at the lowest address is the lowest byte */
};

static inline struct block block_load(const uint8_t *p)
{
    struct block b;

    for (int i = 0; i < 8; i++) {
        b.v[i] = 0;
        for (int k = 7; k >= 0; k--)
            b.v[i] = b.v[i] << 8 | p[8 * i + k];
    }
    return b;
}

#define BLOCK_ONES  0x0101010101010101u
#define BLOCK_HIGHS 0x8080808080808080u

/* From the highest bits of eight bytes to eight bits. */
static inline uint64_t block_pack(uint64_t highs)
{
    return (highs >> 7) * 0x0102040810204080u >> 56;
}

/* Bytes between first and last, both below 128 and `also` applied. Nothing carries from byte to
 * byte: the highest bits are set aside. */
static inline uint64_t block_range(const struct block *b, uint8_t first, uint8_t last, uint8_t also)
{
    uint64_t mask = 0;

    for (int i = 0; i < 8; i++) {
        uint64_t v = b->v[i] | BLOCK_ONES * also, low = v & ~BLOCK_HIGHS;
        uint64_t at_least = low + BLOCK_ONES * (128u - first);
        uint64_t above = low + BLOCK_ONES * (127u - last);

        mask |= block_pack(at_least & ~above & ~v & BLOCK_HIGHS) << 8 * i;
    }
    return mask;
}

static inline uint64_t block_is(const struct block *b, uint8_t c, uint8_t also)
{
    uint64_t mask = 0;

    for (int i = 0; i < 8; i++) {
        uint64_t v = (b->v[i] | BLOCK_ONES * also) ^ BLOCK_ONES * c;
        uint64_t other = ((v & ~BLOCK_HIGHS) + ~BLOCK_HIGHS) | v;

        mask |= block_pack(~other & BLOCK_HIGHS) << 8 * i;
    }
    return mask;
}

#endif
