/* SPDX-License-Identifier: Apache-2.0
 * The search for anchors with 32 bytes in a register (AVX2). Called only where the processor has
 * them.
 */
#if defined(__x86_64__)
#pragma GCC target("avx2,bmi")

#include "anchors_search.h"

void anchors_search_avx2(uint32_t set, struct bytes run, anchor_hit *hit, void *arg)
{
    search_anchors(set, run, hit, arg);
}
#else
typedef int anchors_avx2_is_of_another_processor;
#endif
