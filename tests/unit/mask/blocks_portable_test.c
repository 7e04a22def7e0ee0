/* SPDX-License-Identifier: Apache-2.0
 * The same for the blocks of processors without SSE2.
 */
#define BLOCKS_PORTABLE
#include "blocks_test.c"
