/* SPDX-License-Identifier: Apache-2.0
 * The search for anchors with 64 bytes in one register (AVX-512BW). Called only where the processor
 * has them.
 */
#if defined(__x86_64__)
#pragma GCC target("avx512bw,bmi")

#include "anchors_search.h"

void anchors_search_avx512(uint32_t set, struct bytes run, anchor_hit *hit, void *arg)
{
    search_anchors(set, run, hit, arg);
}
#else
typedef int anchors_avx512_is_of_another_processor;
#endif
