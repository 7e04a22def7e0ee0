/* SPDX-License-Identifier: Apache-2.0
 * Asking running guards which policy they enforce: GET http://POD_IP:15020/policies.
 */
#pragma once

#include "value.h"

#define GUARDS_PORT 15020

/* Asks all of a list of pods at once and waits a few seconds at most. The answers, an object by pod
 * uid; who does not answer is not in it. The caller owns it; NULL when out of memory. */
struct json_object *guards_ask(struct json_object *pods, uint16_t port);
