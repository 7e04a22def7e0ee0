/* SPDX-License-Identifier: Apache-2.0
 * Pods, reviews and answers for the webhook's tests; and a JSON patch applied to what it is for, so
 * that tests look at the pod that comes out, not at operations.
 */
#pragma once

#include "webhook/config.h"
#include "webhook/inject.h"
#include "webhook/validate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
/* after the above */
#include <cmocka.h>

#define GUARD_IMAGE "registry.example/guard:1"
#define INIT_IMAGE  "registry.example/init:1"
#define CONFIG      "{guardImage: '" GUARD_IMAGE "', initImage: '" INIT_IMAGE "'%s}"

/* More fields begin with a comma. */
static inline struct config *config_with(const char *more)
{
    struct config *c = NULL;
    struct error err;
    char text[2048];

    snprintf(text, sizeof text, CONFIG, more);
    if (config_parse(bytes_str(text), "config.yaml", &c, &err) < 0)
        fail_msg("%s", err.text);
    return c;
}

static inline struct json_object *parse(const char *text)
{
    struct json_object *o = NULL;
    struct error err;

    if (value_parse(bytes_str(text), &o, &err) < 0)
        fail_msg("%s\n%s", err.text, text);
    return o;
}

/* A request for an object; both become the review's. */
static inline struct review review_of(const char *operation, const char *resource,
                                      struct json_object *object, struct json_object *old)
{
    struct review r = {.root = json_object_new_object(),
                       .uid = "a5bd7e0e-0000-4000-8000-000000000001",
                       .operation = operation,
                       .group = "",
                       .resource = resource,
                       .sub_resource = "",
                       .name = "",
                       .namespace_ = "agents",
                       .username = "alice",
                       .object = object,
                       .old = old};

    json_object_object_add(r.root, "object", object);
    json_object_object_add(r.root, "old", old);
    r.user = parse("{\"username\": \"alice\", \"groups\": [\"dba\"]}");
    json_object_object_add(r.root, "user", r.user);
    return r;
}

/* ---- patches ---- */

static inline struct json_object *step_into(struct json_object *o, const char *key)
{
    char name[256];
    size_t n = 0;

    if (json_object_is_type(o, json_type_array))
        return value_item(o, strtoul(key, NULL, 10));
    for (; *key && n < sizeof name - 1; key++) {
        if (*key == '~')
            name[n++] = *++key == '1' ? '/' : '~';
        else
            name[n++] = *key;
    }
    name[n] = 0;
    return value_get(o, name);
}

static inline void insert_at(struct json_object *list, size_t at, struct json_object *v)
{
    size_t n = value_n(list);

    assert_true(at <= n);
    json_object_array_add(list, NULL);
    for (size_t i = n; i > at; i--)
        json_object_array_put_idx(list, i, json_object_get(value_item(list, i - 1)));
    json_object_array_put_idx(list, at, v);
}

static inline void apply_to(struct json_object *parent, const char *last, const char *op,
                            struct json_object *v)
{
    bool remove = strcmp(op, "remove") == 0, list = json_object_is_type(parent, json_type_array);
    char name[256];
    size_t n = 0;

    for (const char *p = last; *p; p++)
        name[n++] = *p == '~' ? (*++p == '1' ? '/' : '~') : *p;
    name[n] = 0;
    if (list && strcmp(op, "add") == 0) {
        insert_at(parent, strcmp(last, "-") == 0 ? value_n(parent) : strtoul(last, NULL, 10), v);
    } else if (list && remove) {
        assert_non_null(step_into(parent, last));
        json_object_array_del_idx(parent, strtoul(last, NULL, 10), 1);
    } else if (list) {
        assert_non_null(step_into(parent, last));
        json_object_array_put_idx(parent, strtoul(last, NULL, 10), v);
    } else if (remove) {
        json_object_object_del(parent, name);
    } else {
        json_object_object_add(parent, name, v);
    }
}

/* As RFC 6902 says: the parent of every path has to be there. */
static inline void apply(struct json_object *root, struct json_object *operations)
{
    for (size_t i = 0; i < value_n(operations); i++) {
        struct json_object *o = value_item(operations, i), *at = root;
        const char *path = value_text(o, "path");
        char key[256];

        for (path++;;) {
            size_t n = strcspn(path, "/");

            snprintf(key, sizeof key, "%.*s", (int)n, path);
            if (!path[n])
                break;
            at = step_into(at, key);
            if (!at)
                fail_msg("no parent of %s", value_text(o, "path"));
            path += n + 1;
        }
        if (!json_object_is_type(at, json_type_array) && !json_object_is_type(at, json_type_object))
            fail_msg("nothing to put into at %s", value_text(o, "path"));
        apply_to(at, key, value_text(o, "op"), json_object_get(value_get(o, "value")));
    }
}

/* ---- secrets ---- */

static inline struct secrets secrets_with(const char *targets)
{
    struct json_object *o = parse(targets);
    struct secrets s = {0};

    assert_int_equal(secrets_of_targets(value_get(o, "items"), &s), 0);
    json_object_put(o);
    return s;
}

#define NO_TARGETS "{\"items\": []}"
#define TARGETS                                                                                    \
    "{\"items\": ["                                                                                \
    "{\"spec\": {\"tls\": {\"caSecretRef\": {\"name\": \"orders-ca\"}},"                           \
    " \"credentials\": {\"secretRef\": {\"name\": \"orders-login\"}}}},"                           \
    "{\"spec\": {\"credentials\": {\"secretRef\": {\"name\": \"with.dots\"}}}}]}"

/* The pod as injection leaves it; fails when it refuses. The caller owns it. */
static inline struct json_object *injected_with(const struct config *c, const char *pod,
                                                const char *targets)
{
    struct review r = review_of("CREATE", "pods", parse(pod), NULL);
    struct secrets s = secrets_with(targets);
    struct json_object *ret = value_copy(r.object);
    struct answer a;

    answer_init(&a);
    inject_pod(c, &r, &s, &a);
    answer_settle(&a);
    if (!a.allowed)
        fail_msg("refused: %s", a.message);
    apply(ret, a.patch.operations);
    answer_done(&a);
    secrets_done(&s);
    review_done(&r);
    return ret;
}
