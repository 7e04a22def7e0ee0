/* SPDX-License-Identifier: Apache-2.0
 * Paths of the API. A name never changes which resource is meant: everything but unreserved
 * characters (RFC 3986, 2.3) is encoded, and dot segments are refused.
 */
#include "kube.h"

#include <errno.h>

static void add_encoded(struct buffer *b, const char *s)
{
    static const char hex[] = "0123456789ABCDEF";

    for (; *s; s++) {
        uint8_t c = (uint8_t)*s;

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            strchr("-._~", c)) {
            buffer_add_u8(b, c);
        } else {
            const char triple[3] = {'%', hex[c >> 4], hex[c & 15]};

            buffer_append(b, triple, sizeof triple);
        }
    }
}

static int add_segment(struct buffer *b, const char *s)
{
    if (!s[0] || strcmp(s, ".") == 0 || strcmp(s, "..") == 0)
        return -EINVAL;
    buffer_add_u8(b, '/');
    add_encoded(b, s);
    return 0;
}

int kube_path(const struct kube_place *p, struct buffer *ret)
{
    const char *const segments[] = {p->namespace_ ? "namespaces" : NULL, p->namespace_, p->resource,
                                    p->name, p->subresource};
    int rc = 0;

    buffer_reset(ret, KUBE_PATH_MAX);
    buffer_add_u8(ret, '/');
    buffer_append(ret, p->api, strlen(p->api)); /* a constant of ours, with its slashes */
    for (size_t i = 0; i < ARRAY_LEN(segments) && rc == 0; i++)
        if (segments[i])
            rc = add_segment(ret, segments[i]);
    if (rc == 0)
        rc = buffer_append(ret, "", 1); /* a string: the NUL stays behind the end */
    if (rc == 0)
        ret->end--;
    return rc;
}

void kube_query(struct buffer *path, const char *key, const char *value)
{
    struct bytes now = buffer_bytes(path);

    buffer_add_u8(path, now.len && memchr(now.p, '?', now.len) ? '&' : '?');
    add_encoded(path, key);
    buffer_add_u8(path, '=');
    add_encoded(path, value);
    if (buffer_append(path, "", 1) == 0)
        path->end--;
}
