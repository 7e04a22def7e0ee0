/* SPDX-License-Identifier: Apache-2.0
 * Quotes of stored objects.
 */
#include "quote.h"

#include "member.h"
#include "mask.h"
#include "src-common/buffer.h"

#include <errno.h>
#include <json-c/linkhash.h>
#include <openssl/evp.h>
#include <string.h>

#define SHORTEST 4 /* shorter values are everywhere */

/* ---- messages ---- */

/* metav1.StatusReason: what is said with these is about names, rights, versions and times. */
static bool names_only(const char *reason)
{
    static const char *const reasons[] = {
        "Unauthorized",
        "Forbidden",
        "NotFound",
        "AlreadyExists",
        "Conflict",
        "Gone",
        "Expired",
        "Timeout",
        "ServerTimeout",
        "TooManyRequests",
        "NotAcceptable",
        "RequestEntityTooLarge",
        "MethodNotAllowed",
        "ServiceUnavailable",
        "UnsupportedMediaType",
    };

    for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
        if (strcmp(reasons[i], reason) == 0)
            return true;
    }
    return false;
}

/* "field: reason; " of each, whose own messages go. */
static int withhold_causes(struct json_object *causes, struct buffer *out)
{
    int rc = 0;

    for (size_t i = 0; json_object_is_type(causes, json_type_array) &&
                       i < json_object_array_length(causes) && rc == 0;
         i++) {
        struct json_object *c = json_object_array_get_idx(causes, i);

        if (!json_object_is_type(c, json_type_object))
            return json_object_array_del_idx(causes, i, 1) == 0 ? 0 : -ENOMEM;
        buffer_printf(out, "%.200s: %.60s; ", kubemember_text(c, "field"),
                      kubemember_text(c, "reason"));
        rc = json_object_object_add(c, "message",
                                    json_object_new_string("withheld: it may quote masked values"));
    }
    return rc ? -ENOMEM : 0;
}

int kubequote_withhold(struct json_object *o, bool *ret_changed)
{
    struct buffer text;
    int rc;

    *ret_changed = false;
    if (strcmp(kubemember_text(o, "kind"), "Status") != 0 ||
        strcmp(kubemember_text(o, "status"), "Success") == 0 ||
        names_only(kubemember_text(o, "reason")))
        return 0;
    *ret_changed = true;
    buffer_init(&text, (size_t)1 << 20);
    buffer_printf(&text, "the API server refuses it (%.60s): ", kubemember_text(o, "reason"));
    rc = withhold_causes(kubemember(kubemember(o, "details"), "causes"), &text);
    buffer_printf(&text, "its message is withheld, because it may quote masked values");
    if (rc == 0 && text.failed)
        rc = -ENOMEM;
    if (rc == 0)
        rc = json_object_object_add(o, "message",
                                    json_object_new_string_len((const char *)text.p + text.start,
                                                               (int)buffer_len(&text)))
                 ? -ENOMEM
                 : 0;
    buffer_done(&text);
    return rc;
}

/* ---- values in annotations ---- */

static bool contains(struct bytes text, const void *what, size_t n)
{
    return n >= SHORTEST && memmem(text.p, text.len, what, n);
}

/* One value of `data`: its base64, without padding that another encoder may not have written, and
 * what it stands for. */
static bool repeats(struct bytes text, const char *base64, size_t n)
{
    size_t bare = n;
    uint8_t *clear;
    bool found;
    int len;

    if (strcmp(base64, KUBEMASK_BASE64) == 0)
        return false;
    while (bare && base64[bare - 1] == '=')
        bare--;
    if (contains(text, base64, bare))
        return true;
    if (n > text.len * 4 / 3 + 8) /* longer than where it could be */
        return false;
    clear = malloc(n + 4);
    len = clear ? EVP_DecodeBlock(clear, (const uint8_t *)base64, (int)n) - (int)(n - bare) : -1;
    found = !clear || (len > 0 && contains(text, clear, (size_t)len));
    if (clear)
        OPENSSL_cleanse(clear, n + 4);
    free(clear);
    return found;
}

bool kubequote_repeats(struct json_object *secret, struct bytes t)
{
    struct json_object *data = kubemember(secret, "data"),
                       *clear = kubemember(secret, "stringData");

    if (json_object_is_type(data, json_type_object)) {
        json_object_object_foreach(data, key, value)
        {
            (void)key;
            if (json_object_is_type(value, json_type_string) &&
                repeats(t, json_object_get_string(value),
                        (size_t)json_object_get_string_len(value)))
                return true;
        }
    }
    if (json_object_is_type(clear, json_type_object)) {
        json_object_object_foreach(clear, key2, value2)
        {
            (void)key2;
            if (json_object_is_type(value2, json_type_string) &&
                contains(t, json_object_get_string(value2),
                         (size_t)json_object_get_string_len(value2)))
                return true;
        }
    }
    return false;
}
