/* SPDX-License-Identifier: Apache-2.0
 * Strict JSON from outside, read into json-c's objects. Everybody who would set JSON_TOKENER_STRICT
 * calls this: json-c 0.18 (Debian 13) compares characters as signed in that mode and refuses all
 * that is not ASCII (https://github.com/json-c/json-c/issues/875).
 */
#pragma once

#include "bytes.h"

struct json_object;

/* The value that is the whole text, but for white space around it. 0 with *ret, which the caller
 * puts; -EBADMSG for what is no JSON (RFC 8259), no UTF-8, empty or just null; -E2BIG when it nests
 * deeper than `depth` or is over 2 GiB; -ENOMEM. */
int jsonread_strict(struct bytes text, int depth, struct json_object **ret) MUST_CHECK;
