/* SPDX-License-Identifier: Apache-2.0
 * SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF"): for hash tables whose
 * keys a hostile agent chooses. Not for authentication.
 */
#pragma once

#include "bytes.h"

struct siphash_key {
    uint64_t k0, k1;
};

uint64_t siphash13(const struct siphash_key *key, struct bytes s);
/* A random key, once per process. Any thread. */
const struct siphash_key *siphash_process_key(void);
