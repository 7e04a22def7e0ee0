/* SPDX-License-Identifier: Apache-2.0
 * AdmissionReview in, AdmissionReview out.
 */
#include "review.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>

#define API_VERSION "admission.k8s.io/v1"
#define MAX_REASONS 12
/* The API server cuts longer ones. */
#define MAX_WARNING 256

/* ---- request ---- */

static const struct value_shape shapes[] = {
    {"request", json_type_object},
    {"request.uid", json_type_string},
    {"request.operation", json_type_string},
    {"request.name", json_type_string},
    {"request.namespace", json_type_string},
    {"request.resource", json_type_object},
    {"request.resource.group", json_type_string},
    {"request.resource.version", json_type_string},
    {"request.resource.resource", json_type_string},
    {"request.subResource", json_type_string},
    {"request.userInfo", json_type_object},
    {"request.userInfo.username", json_type_string},
    {"request.userInfo.uid", json_type_string},
    {"request.userInfo.groups[]", json_type_string},
    {"request.userInfo.extra", json_type_object},
    {"request.object", json_type_object},
    {"request.oldObject", json_type_object},
};

static int check_envelope(struct json_object *root, struct error *err)
{
    static const char *const required[] = {"request.uid", "request.operation",
                                           "request.resource.resource",
                                           "request.userInfo.username"};

    if (strcmp(value_text(root, "apiVersion"), API_VERSION) != 0 ||
        strcmp(value_text(root, "kind"), "AdmissionReview") != 0)
        return error_set(err, -EINVAL, "expected an AdmissionReview of " API_VERSION);
    for (size_t i = 0; i < ARRAY_LEN(required); i++) {
        if (!*value_text(root, required[i]))
            return error_set(err, -EINVAL, "%s: required", required[i]);
    }
    return 0;
}

int review_parse(struct bytes body, struct review *ret, struct error *err)
{
    _cleanup_(value_put) struct json_object *root = NULL;
    struct json_object *q;
    int rc;

    if (body.len > REVIEW_MAX_BYTES)
        return error_set(err, -EMSGSIZE, "more than %zu bytes", REVIEW_MAX_BYTES);
    if ((rc = value_parse(body, &root, err)) ||
        (rc = value_expect(root, shapes, ARRAY_LEN(shapes), err)) ||
        (rc = check_envelope(root, err)))
        return rc;
    q = value_get(root, "request");
    *ret = (struct review){.uid = value_text(q, "uid"),
                           .operation = value_text(q, "operation"),
                           .group = value_text(q, "resource.group"),
                           .resource = value_text(q, "resource.resource"),
                           .sub_resource = value_text(q, "subResource"),
                           .name = value_text(q, "name"),
                           .namespace_ = value_text(q, "namespace"),
                           .username = value_text(q, "userInfo.username"),
                           .user = value_get(q, "userInfo"),
                           .object = value_get(q, "object"),
                           .old = value_get(q, "oldObject")};
    ret->root = take(&root);
    return 0;
}

void review_done(struct review *r)
{
    json_object_put(r->root);
    *r = (struct review){0};
}

bool review_is(const struct review *r, const char *operation, const char *sub_resource)
{
    return strcmp(r->operation, operation) == 0 && strcmp(r->sub_resource, sub_resource) == 0;
}

/* ---- answer ---- */

void answer_init(struct answer *a)
{
    memset(a, 0, sizeof *a);
    patch_init(&a->patch);
}

void answer_done(struct answer *a)
{
    patch_done(&a->patch);
    json_object_put(a->warnings);
    a->warnings = NULL;
}

void answer_refuse(struct answer *a, const char *fmt, ...)
{
    size_t used = strlen(a->message), left = sizeof a->message - used - 32;
    va_list args;
    int n;

    a->allowed = false;
    if (a->n_reasons++ >= MAX_REASONS || left < 200)
        return;
    if (used)
        used += (size_t)snprintf(a->message + used, 3, "; ");
    va_start(args, fmt);
    n = vsnprintf(a->message + used, left - 2, fmt, args);
    va_end(args);
    if (n < 0)
        a->message[used] = 0;
}

void answer_settle(struct answer *a)
{
    a->allowed = a->n_reasons == 0 && !a->patch.failed;
    if (a->patch.failed && a->n_reasons == 0)
        answer_refuse(a, "out of memory");
    if (a->n_reasons > MAX_REASONS)
        snprintf(a->message + strlen(a->message), 32, "; and %zu more", a->n_reasons - MAX_REASONS);
}

void answer_warn(struct answer *a, const char *fmt, ...)
{
    char text[MAX_WARNING];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (!a->warnings)
        a->warnings = json_object_new_array();
    if (a->warnings && value_n(a->warnings) < MAX_REASONS)
        json_object_array_add(a->warnings, json_object_new_string(text));
}

static struct json_object *base64(const char *text)
{
    size_t n = strlen(text), size = (n + 2) / 3 * 4 + 1;
    struct json_object *o = NULL;
    char *out = n > INT32_MAX / 2 ? NULL : malloc(size);

    if (out) {
        EVP_EncodeBlock((uint8_t *)out, (const uint8_t *)text, (int)n);
        o = json_object_new_string(out);
    }
    free(out);
    return o;
}

static bool set_refusal(const struct answer *a, struct json_object *response)
{
    struct json_object *status = json_object_new_object();
    unsigned code = a->code ? a->code : 403;

    return value_set(response, "status", status) &&
           value_set(status, "code", json_object_new_int((int)code)) &&
           value_set(status, "reason",
                     json_object_new_string(code == 403 ? "Forbidden" : "Invalid")) &&
           value_set(status, "message",
                     json_object_new_string(a->message[0] ? a->message : "refused"));
}

static bool set_patch(const struct answer *a, struct json_object *response)
{
    if (patch_empty(&a->patch))
        return true;
    return value_set(response, "patchType", json_object_new_string("JSONPatch")) &&
           value_set(response, "patch", base64(value_quote(a->patch.operations)));
}

static bool set_response(const struct answer *a, const char *uid, struct json_object *response)
{
    bool ok = value_set(response, "uid", json_object_new_string(uid)) &&
              value_set(response, "allowed", json_object_new_boolean(a->allowed)) &&
              (a->allowed ? set_patch(a, response) : set_refusal(a, response));

    if (ok && a->warnings)
        ok = value_set(response, "warnings", json_object_get(a->warnings));
    return ok;
}

int answer_write(const struct answer *a, const char *uid, struct buffer *out)
{
    _cleanup_(value_put) struct json_object *root = json_object_new_object();
    struct json_object *response = json_object_new_object();

    if (!root || !value_set(root, "apiVersion", json_object_new_string(API_VERSION)) ||
        !value_set(root, "kind", json_object_new_string("AdmissionReview"))) {
        json_object_put(response);
        return -ENOMEM;
    }
    if (!value_set(root, "response", response) || !set_response(a, uid, response))
        return -ENOMEM;
    return buffer_add(out, bytes_str(value_quote(root)));
}
