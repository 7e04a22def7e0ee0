/* SPDX-License-Identifier: Apache-2.0
 * Expiry of ApprovalRequests.
 */
#include "expiry.h"

#include "approval.h"
#include "src-common/log.h"

#include <errno.h>

/* When it ended: with its last decision, or when its time was over. */
static int64_t ended(struct json_object *request)
{
    struct json_object *decisions = value_at(request, "status.decisions");
    struct json_object *last = value_item(decisions, value_n(decisions) - 1);

    if (last && strcmp(value_text(request, "status.phase"), "Expired") != 0)
        return approval_time(value_text(last, "at"));
    return approval_time(value_text(request, "spec.expiresAt"));
}

enum expiry_step expiry_due(struct json_object *request, int64_t now_s)
{
    const char *phase = value_text(request, "status.phase");

    if (!*phase || strcmp(phase, "Pending") == 0)
        return now_s >= approval_time(value_text(request, "spec.expiresAt")) ? EXPIRY_EXPIRE
                                                                             : EXPIRY_NONE;
    return now_s >= ended(request) + EXPIRY_KEPT_S ? EXPIRY_DELETE : EXPIRY_NONE;
}

/* With the version that was looked at: a decision made meanwhile wins. */
static struct json_object *expired(struct json_object *request)
{
    struct json_object *o =
        value_format("{\"metadata\": {}, \"status\": {\"phase\": \"Expired\"}}");
    const char *version = value_text(request, "metadata.resourceVersion");

    if (value_set(value_get(o, "metadata"), "resourceVersion", json_object_new_string(version)))
        return o;
    json_object_put(o);
    return NULL;
}

static struct json_object *if_same(struct json_object *request)
{
    struct json_object *o = value_format("{\"apiVersion\": \"v1\", \"kind\": \"DeleteOptions\", "
                                         "\"preconditions\": {}}");
    const char *uid = value_text(request, "metadata.uid");

    if (value_set(value_get(o, "preconditions"), "uid", json_object_new_string(uid)))
        return o;
    json_object_put(o);
    return NULL;
}

static int do_step(struct kube *k, struct json_object *request, enum expiry_step step,
                   struct error *err)
{
    bool expire = step == EXPIRY_EXPIRE;
    const struct kube_place place = {GUARD_API, value_text(request, "metadata.namespace"),
                                     "approvalrequests", value_text(request, "metadata.name"),
                                     expire ? "status" : NULL};
    _cleanup_(value_put) struct json_object *body = expire ? expired(request) : if_same(request);
    const struct call c = {expire ? "PATCH" : "DELETE", expire ? KUBE_MERGE_PATCH : NULL, &place,
                           body};
    int rc = body ? call_send(k, &c, NULL, err) : error_set(err, -ENOMEM, "out of memory");

    return rc == -ENOENT || rc == -EAGAIN ? 0
                                          : rc; /* gone or changed: another replica, or a person */
}

size_t expiry_run(struct kube *k, struct json_object *requests, int64_t now_s)
{
    size_t failed = 0;

    for (size_t i = 0; i < value_n(requests); i++) {
        struct json_object *r = value_item(requests, i);
        enum expiry_step step = expiry_due(r, now_s);
        struct error err;
        int rc = step == EXPIRY_NONE ? 0 : do_step(k, r, step, &err);

        if (rc == 0 && step != EXPIRY_NONE)
            log_info("controller.approval",
                     F_STR("step", step == EXPIRY_EXPIRE ? "expired" : "deleted"),
                     F_STR("namespace", value_text(r, "metadata.namespace")),
                     F_STR("name", value_text(r, "metadata.name")));
        if (rc)
            log_warn("controller.approval", F_STR("name", value_text(r, "metadata.name")),
                     F_STR("error", err.text));
        failed += rc != 0;
    }
    return failed;
}
