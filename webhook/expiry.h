/* SPDX-License-Identifier: Apache-2.0
 * The end of ApprovalRequests: Expired when their time is over, deleted a day after they ended.
 */
#pragma once

#include "call.h"

#define EXPIRY_KEPT_S 86400

enum expiry_step { EXPIRY_NONE = 0, EXPIRY_EXPIRE, EXPIRY_DELETE };
/* What is due for one of them. */
enum expiry_step expiry_due(struct json_object *request, int64_t now_s);
/* Does it for all of a list. Returns how many calls failed. */
size_t expiry_run(struct kube *k, struct json_object *requests, int64_t now_s);
