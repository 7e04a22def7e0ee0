/* SPDX-License-Identifier: Apache-2.0
 * Validation of policies.
 */
#include "policies.h"

#include <errno.h>
#include <stdio.h>

#define SOURCE "object"

struct missing {
    struct json_object *list; /* NULL: nobody wants to know */
};

static void tell_missing(const char *policy, size_t index, const char *target, void *arg)
{
    struct missing *m = arg;
    char text[512];

    (void)policy;
    snprintf(text, sizeof text,
             "spec.targets[%zu].name: there is no GuardTarget \"%.253s\" in the namespace yet",
             index, target);
    if (m->list)
        json_object_array_add(m->list, json_object_new_string(text));
}

/* "object:1: items[0].spec.mode: …": a line means nothing here, and the list is our own. */
static void strip_place(struct error *err)
{
    char *at = err->text;

    if (strncmp(at, SOURCE ":", strlen(SOURCE) + 1) != 0)
        return;
    at += strlen(SOURCE) + 1;
    at += strspn(at, "0123456789");
    at += strspn(at, ": ");
    if (strncmp(at, "items[", 6) == 0) {
        at += 6 + strspn(at + 6, "0123456789");
        at += strspn(at, "].");
    }
    memmove(err->text, at, strlen(at) + 1);
}

static int load(struct json_object *object, struct json_object *missing,
                struct policy_snapshot **ret, struct error *err)
{
    struct missing m = {missing};
    const struct policy_missing tell = {tell_missing, &m};
    _cleanup_(policy_snapshot_unref) struct policy_snapshot *s = NULL;
    int rc = policy_load_incomplete(bytes_str(value_quote(object)), SOURCE, &tell, &s, err);

    if (rc)
        strip_place(err);
    else if (ret)
        *ret = take(&s);
    return rc;
}

/* Lists of the API leave kind and apiVersion out of their items. */
static struct json_object *as_target(struct json_object *item)
{
    struct json_object *o = value_copy(item);

    if (value_set(o, "kind", json_object_new_string("GuardTarget")) &&
        value_set(o, "apiVersion", json_object_new_string("chaperone.dev/v1alpha1")))
        return o;
    json_object_put(o);
    return NULL;
}

static struct json_object *make_list(struct json_object *object, struct json_object *targets)
{
    struct json_object *list = value_format("{\"apiVersion\": \"v1\", \"kind\": \"List\"}");
    struct json_object *items = json_object_new_array();

    if (!items || json_object_array_add(items, json_object_get(object)) < 0 ||
        !value_set(list, "items", items)) {
        json_object_put(list);
        return NULL;
    }
    for (size_t i = 0; i < value_n(targets); i++) {
        struct json_object *t = as_target(value_item(targets, i));
        struct error ignored;

        if (t && load(t, NULL, NULL, &ignored) == 0)
            json_object_array_add(items, json_object_get(t));
        json_object_put(t);
    }
    return list;
}

int policies_load(struct json_object *object, struct json_object *targets,
                  struct json_object *missing, struct policy_snapshot **ret_snapshot,
                  struct error *err)
{
    _cleanup_(value_put) struct json_object *list = NULL;
    int rc = load(object, NULL, NULL, err);

    if (rc)
        return rc;
    if (strcmp(value_text(object, "kind"), "GuardPolicy") != 0)
        return load(object, NULL, ret_snapshot, err);
    list = make_list(object, targets);
    if (!list)
        return error_set(err, -ENOMEM, "out of memory");
    return load(list, missing, ret_snapshot, err);
}

/* An object that will be given its name only after admission. */
static struct json_object *with_name(struct json_object *object)
{
    struct json_object *o = value_copy(object);
    struct json_object *metadata = value_get(o, "metadata");

    if (o && metadata && !*value_text(metadata, "name"))
        value_set(metadata, "name", json_object_new_string("generated"));
    return o;
}

void policies_check(const struct review *r, struct json_object *targets, struct answer *a)
{
    _cleanup_(value_put) struct json_object *object = with_name(r->object);
    _cleanup_(value_put) struct json_object *missing = json_object_new_array();
    struct error err;

    if (!object) {
        answer_refuse(a, "object: required");
        return;
    }
    if (policies_load(object, targets, missing, NULL, &err) < 0) {
        a->code = 422;
        answer_refuse(a, "%s", err.text);
    }
    for (size_t i = 0; i < value_n(missing); i++)
        answer_warn(a, "%s; the policy covers nothing of it until there is one",
                    json_object_get_string(value_item(missing, i)));
}
