/* SPDX-License-Identifier: Apache-2.0
 * SipHash-1-3.
 */
#include "siphash.h"

#include <pthread.h>
#include <sys/random.h>

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define ROUND                                                                                      \
    do {                                                                                           \
        v0 += v1, v1 = ROTL(v1, 13), v1 ^= v0, v0 = ROTL(v0, 32);                                  \
        v2 += v3, v3 = ROTL(v3, 16), v3 ^= v2;                                                     \
        v0 += v3, v3 = ROTL(v3, 21), v3 ^= v0;                                                     \
        v2 += v1, v1 = ROTL(v1, 17), v1 ^= v2, v2 = ROTL(v2, 32);                                  \
    } while (0)

uint64_t siphash13(const struct siphash_key *key, struct bytes s)
{
    uint64_t v0 = key->k0 ^ 0x736f6d6570736575u, v1 = key->k1 ^ 0x646f72616e646f6du;
    uint64_t v2 = key->k0 ^ 0x6c7967656e657261u, v3 = key->k1 ^ 0x7465646279746573u;
    uint64_t last = (uint64_t)s.len << 56, m;
    size_t i = 0;

    for (; i + 8 <= s.len; i += 8) {
        memcpy(&m, s.p + i, 8);
        v3 ^= m;
        ROUND;
        v0 ^= m;
    }
    for (size_t j = 0; i + j < s.len; j++)
        last |= (uint64_t)s.p[i + j] << (8 * j);
    v3 ^= last;
    ROUND;
    v0 ^= last;
    v2 ^= 0xff;
    ROUND;
    ROUND;
    ROUND;
    return v0 ^ v1 ^ v2 ^ v3;
}

static struct siphash_key process_key;
static pthread_once_t process_key_once = PTHREAD_ONCE_INIT;

static void make_process_key(void)
{
    if (getrandom(&process_key, sizeof process_key, 0) != (ssize_t)sizeof process_key)
        abort(); /* no entropy: nothing else in this program could be trusted either */
}

const struct siphash_key *siphash_process_key(void)
{
    pthread_once(&process_key_once, make_process_key);
    return &process_key;
}
