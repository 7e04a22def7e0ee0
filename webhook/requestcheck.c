/* SPDX-License-Identifier: Apache-2.0
 * Making an ApprovalRequest: only a guard may, and only for the pod that it is in. The API server
 * says which pod a service account's token belongs to; no client can.
 */
#include "approval.h"

#include <stdio.h>

#define MAX_LIFE_S    (7 * 86400)
#define POD_UID_LABEL "chaperone.dev/pod-uid"

static const struct value_shape shapes[] = {
    {"metadata.name", json_type_string},
    {"metadata.labels", json_type_object},
    {"metadata.ownerReferences[]", json_type_object},
    {"spec", json_type_object},
    {"spec.session", json_type_string},
    {"spec.pod", json_type_string},
    {"spec.podUID", json_type_string},
    {"spec.serviceAccount", json_type_string},
    {"spec.target", json_type_string},
    {"spec.policy", json_type_string},
    {"spec.rule", json_type_string},
    {"spec.statement", json_type_string},
    {"spec.digest", json_type_string},
    {"spec.expiresAt", json_type_string},
    {"spec.count", json_type_int},
    {"spec.delivery", json_type_string},
    {"spec.uses", json_type_int},
    {"spec.validForSeconds", json_type_int},
};

static const char *extra(const struct review *r, const char *key)
{
    struct json_object *v = value_item(value_get(value_get(r->user, "extra"), key), 0);

    return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}

static void check_maker(const struct review *r, struct answer *a)
{
    const char *pod = extra(r, "authentication.kubernetes.io/pod-name");
    const char *uid = extra(r, "authentication.kubernetes.io/pod-uid");
    char account[512];

    snprintf(account, sizeof account, "system:serviceaccount:%s:%s", r->namespace_,
             value_text(r->object, "spec.serviceAccount"));
    if (strcmp(r->username, account) != 0)
        answer_refuse(a,
                      "spec.serviceAccount: %.128s is not that account of this namespace; only "
                      "guards make approval requests",
                      r->username);
    else if (!*pod || strcmp(pod, value_text(r->object, "spec.pod")) != 0)
        answer_refuse(a,
                      "spec.pod: the token of the one who asks belongs to %s%.128s; a guard asks "
                      "for its own pod only",
                      *pod ? "the pod " : "no pod", pod);
    else if (!*uid || strcmp(uid, value_text(r->object, "spec.podUID")) != 0)
        answer_refuse(a, "spec.podUID: is not the uid of the pod whose token was used");
}

static void check_metadata(const struct review *r, struct answer *a)
{
    struct json_object *label = value_get(value_at(r->object, "metadata.labels"), POD_UID_LABEL);
    struct json_object *owners = value_at(r->object, "metadata.ownerReferences");
    struct json_object *owner = value_item(owners, 0);
    const char *uid = value_text(r->object, "spec.podUID");

    if (!*value_text(r->object, "metadata.name"))
        answer_refuse(a, "metadata.name: required: the approval's id");
    if (!json_object_is_type(label, json_type_string) ||
        strcmp(json_object_get_string(label), uid) != 0)
        answer_refuse(a, "metadata.labels: " POD_UID_LABEL " has to be spec.podUID");
    if (value_n(owners) != 1 || strcmp(value_text(owner, "kind"), "Pod") != 0 ||
        strcmp(value_text(owner, "name"), value_text(r->object, "spec.pod")) != 0 ||
        strcmp(value_text(owner, "uid"), uid) != 0)
        answer_refuse(a, "metadata.ownerReferences: has to be the pod, and nothing else");
}

static bool is_digest(const char *s)
{
    return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

static void check_spec(const struct review *r, const struct approval_facts *f, struct answer *a)
{
    static const char *const required[] = {"session", "target", "policy", "rule", "statement"};
    struct json_object *spec = value_get(r->object, "spec");
    int64_t until = approval_time(value_text(spec, "expiresAt")),
            now = (int64_t)(f->now_us / 1000000);
    const char *delivery = value_text(spec, "delivery");

    for (size_t i = 0; i < ARRAY_LEN(required); i++) {
        if (!*value_text(spec, required[i]))
            answer_refuse(a, "spec.%s: required", required[i]);
    }
    if (!is_digest(value_text(spec, "digest")))
        answer_refuse(a, "spec.digest: expected 64 hexadecimal digits");
    if (until < 0 || until <= now || until > now + MAX_LIFE_S)
        answer_refuse(a, "spec.expiresAt: expected a time (RFC 3339) within the next seven days");
    if (value_int(spec, "count", 0) < 1)
        answer_refuse(a, "spec.count: has to be at least 1");
    if (*delivery && strcmp(delivery, "Hold") != 0 && strcmp(delivery, "Ticket") != 0)
        answer_refuse(a, "spec.delivery: expected Hold or Ticket");
}

void approval_check_created(const struct review *r, const struct approval_facts *f,
                            struct answer *a)
{
    struct error err = {.text = "object: required"};

    if (!r->object || value_expect(r->object, shapes, ARRAY_LEN(shapes), &err) < 0) {
        answer_refuse(a, "%s", err.text);
        return;
    }
    check_maker(r, a);
    check_metadata(r, a);
    check_spec(r, f, a);
}

void approval_check_updated(const struct review *r, struct answer *a)
{
    struct json_object *now = value_get(value_at(r->object, "metadata.labels"), POD_UID_LABEL);
    struct json_object *before = value_get(value_at(r->old, "metadata.labels"), POD_UID_LABEL);

    if (!r->object || !r->old) {
        answer_refuse(a, "object, oldObject: required");
        return;
    }
    if (!json_object_equal(value_get(r->object, "spec"), value_get(r->old, "spec")))
        answer_refuse(a,
                      "spec: never changes: what people consented to is what runs; the agent has "
                      "to ask again");
    if (!json_object_equal(now, before))
        answer_refuse(a, "metadata.labels: " POD_UID_LABEL " never changes");
}
