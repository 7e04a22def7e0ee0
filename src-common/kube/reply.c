/* SPDX-License-Identifier: Apache-2.0
 * What the API server's answers mean, and reading its objects.
 */
#include "internal.h"

#include "src-common/jsonread.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>

#define MAX_DEPTH 64

int kube_status_errno(int status, const char *reason)
{
    static const struct {
        int status, code;
    } table[] = {
        {400, -EINVAL}, {401, -EACCES}, {403, -EACCES}, {404, -ENOENT}, {409, -EAGAIN},
        {410, -ESTALE}, {413, -E2BIG},  {422, -EINVAL}, {429, -EBUSY},  {504, -ETIMEDOUT},
    };

    if (status >= 200 && status <= 299)
        return 0;
    if (status == 409 && strcmp(reason, "AlreadyExists") == 0)
        return -EEXIST;
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (table[i].status == status)
            return table[i].code;
    return -EIO;
}

bool kube_is_transient(int code)
{
    return code == -ECONNREFUSED || code == -ETIMEDOUT || code == -EBUSY || code == -EIO ||
           code == -EBADMSG || code == -EPROTO;
}

int kube_parse(struct bytes text, struct json_object **ret)
{
    int r = jsonread_strict(text, MAX_DEPTH, ret);

    return r == -E2BIG ? -EBADMSG : r;
}

/* The path without its query: selectors and versions say little to a person. */
static int path_len(const char *path)
{
    return (int)min_size(strcspn(path, "?"), 200);
}

int kube_explain(const struct kube_request *r, struct kube_reply *reply, struct error *err)
{
    const char *message = "";
    int code;

    if (strcmp(kube_get_str(reply->object, "kind"), "Status") == 0) {
        snprintf(reply->reason, sizeof reply->reason, "%s", kube_get_str(reply->object, "reason"));
        message = kube_get_str(reply->object, "message");
    }
    code = kube_status_errno(reply->status, reply->reason);
    if (code == 0)
        return 0;
    return error_set(err, code, "%s %.*s: the API server answers %d%s%s%s%.300s", r->method,
                     path_len(r->path), r->path, reply->status, reply->reason[0] ? " " : "",
                     reply->reason, message[0] ? ": " : "", message);
}

void kube_reply_done(struct kube_reply *r)
{
    json_object_put(r->object);
    *r = (struct kube_reply){0};
}

struct json_object *kube_get(struct json_object *o, const char *path)
{
    char key[64];

    while (o && *path) {
        size_t n = strcspn(path, ".");

        if (n >= sizeof key || !json_object_is_type(o, json_type_object))
            return NULL;
        memcpy(key, path, n);
        key[n] = '\0';
        if (!json_object_object_get_ex(o, key, &o))
            return NULL;
        path += n + (path[n] == '.');
    }
    return o;
}

const char *kube_get_str(struct json_object *o, const char *path)
{
    struct json_object *v = kube_get(o, path);

    return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}

int64_t kube_get_int(struct json_object *o, const char *path)
{
    struct json_object *v = kube_get(o, path);

    return json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : 0;
}
