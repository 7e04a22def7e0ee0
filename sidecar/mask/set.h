/* SPDX-License-Identifier: Apache-2.0
 * A compiled set of detectors, and a thread's working memory. Private to mask/.
 */
#pragma once

#include "detect.h"

#include <stdatomic.h>

struct detector_set {
    uint32_t detectors;
    uint16_t triggers[256]; /* see struct scan */
    atomic_uint refs;       /* 0: only the cache knows it */
    struct detector_set *next;
};

/* Matches that a later one may still overlap: those within SCAN_BEHIND of where the scan is, and
 * the AWS secret in front of it. The shortest match has three bytes. */
#define PENDING_MAX 192

struct detect_scratch {
    struct span pending[PENDING_MAX];
};

/* Takes one more reference. */
struct detector_set *detector_set_ref(struct detector_set *s);
