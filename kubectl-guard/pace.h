/* SPDX-License-Identifier: Apache-2.0
 * Time in a replay: waits as the session did, faster or slower, and takes keys while it waits.
 */
#pragma once

#include "src-common/base.h"

struct pace {
    double speed;     /* 0: does not wait */
    uint64_t idle_us; /* longest wait, in the session's time; 0: no bound */
    uint64_t last_us; /* of the session */
    bool keys;        /* a person is there */
    bool paused, ended;
};

/* When input and output are a terminal, space pauses, + and - change the speed, n goes on at once,
 * and q ends. The terminal is as it was again after pace_done, or a signal that ends us. */
void pace_start(struct pace *p);
void pace_done(struct pace *p);
/* Waits until the session was at that time. False: the person does not want more. */
bool pace_wait(struct pace *p, uint64_t session_us);
