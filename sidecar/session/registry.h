/* SPDX-License-Identifier: Apache-2.0
 * All live sessions of the process: for the limit on their number, for `sessions` and `kill`,
 * and for telling them that policy changed. Any thread.
 */
#pragma once

#include "src-common/base.h"

#define SESSION_ID_LEN 26 /* ULID: sorts by time of birth */

struct session_info { /* a copy for showing */
    char id[SESSION_ID_LEN + 1];
    char target[128], database[64], user[64], client[64], state[32];
    uint64_t started_us, statements, denied, bytes_to_client, bytes_to_upstream;
};

/* Copies of all live sessions; caller frees. */
int registry_list(struct session_info **ret, size_t *ret_n) MUST_CHECK;
/* Asks a session to end (its client is told 57P01). `why` goes to the record. -ENOENT. */
int registry_kill(const char *id, const char *why) MUST_CHECK;
