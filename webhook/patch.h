/* SPDX-License-Identifier: Apache-2.0
 * A JSON patch (RFC 6902) while it is being written. Nothing is checked on the way: a failure
 * sticks and is asked once, at the end.
 */
#pragma once

#include "value.h"

struct patch {
    struct json_object *operations; /* a list */
    bool failed;
};

void patch_init(struct patch *p);
void patch_done(struct patch *p);
static inline bool patch_empty(const struct patch *p)
{
    return value_n(p->operations) == 0;
}

/* The path is made with printf; keys that may hold / or ~ go through patch_key. `value` becomes the
 * patch's; NULL counts as out of memory. */
void patch_add(struct patch *p, struct json_object *value, const char *path, ...) PRINTF_LIKE(3, 4);
void patch_replace(struct patch *p, struct json_object *value, const char *path, ...)
    PRINTF_LIKE(3, 4);
void patch_remove(struct patch *p, const char *path, ...) PRINTF_LIKE(2, 3);

#define PATCH_KEY_MAX 512
/* "~" and "/" as RFC 6901 wants them; cut at the end of `out`. Returns out. */
const char *patch_key(const char *key, char out[static PATCH_KEY_MAX]);
