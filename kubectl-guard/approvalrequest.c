/* SPDX-License-Identifier: Apache-2.0
 * Reads ApprovalRequests.
 */
#include "approvalrequest.h"

#include "kubectl.h"
#include "object.h"

#include <json-c/json.h>
#include <stdio.h>

#define KIND "approvalrequests.chaperone.dev"

const char *approvalrequest_id(const char *word)
{
    static const char *const kinds[] = {"approvalrequest.chaperone.dev/", KIND "/"};

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strncmp(word, kinds[i], strlen(kinds[i])) == 0)
            return word + strlen(kinds[i]);
    return word;
}

/* ---- the view ---- */

static void copy(struct json_object *to, const char *name, struct json_object *from,
                 const char *key)
{
    struct json_object *v = object_get(from, key);

    if (v)
        json_object_object_add(to, name, json_object_get(v));
}

/* Text that holds a JSON array is shown value by value; anything else as it is. */
static void add_parameters(struct json_object *view, struct json_object *spec)
{
    struct json_object *o = object_parse_any(object_bytes(spec, "parameters"));

    if (json_object_is_type(o, json_type_array)) {
        json_object_object_add(view, "parameters", o);
        return;
    }
    json_object_put(o);
    copy(view, "parameters", spec, "parameters");
}

struct json_object *approvalrequest_view(struct json_object *object)
{
    static const char *const fields[] = {
        "session",   "pod",  "podUID",          "serviceAccount", "identity",      "target",
        "database",  "user", "policy",          "rule",           "effect",        "digest",
        "statement", "uses", "validForSeconds", "count",          "requireReason", "allowSelf",
    };
    struct json_object *meta = object_get(object, "metadata"), *spec = object_get(object, "spec"),
                       *status = object_get(object, "status"),
                       *approvers = object_get(spec, "approvers"), *view = json_object_new_object();
    const char *phase = object_text(status, "phase"), *delivery = object_text(spec, "delivery");

    if (!view)
        return NULL;
    copy(view, "id", meta, "name");
    copy(view, "namespace", meta, "namespace");
    json_object_object_add(view, "phase", json_object_new_string(phase ? phase : "Pending"));
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        copy(view, fields[i], spec, fields[i]);
    add_parameters(view, spec);
    copy(view, "created", meta, "creationTimestamp");
    copy(view, "expires", spec, "expiresAt");
    json_object_object_add(view, "ticket",
                           json_object_new_boolean(delivery && strcmp(delivery, "Ticket") == 0));
    copy(view, "groups", approvers, "groups");
    copy(view, "users", approvers, "users");
    if (object_get(status, "decisions"))
        copy(view, "decisions", status, "decisions");
    else
        json_object_object_add(view, "decisions", json_object_new_array());
    return view;
}

/* ---- list ---- */

/* The API server's times have whole seconds: the name makes the order the same every time. */
static int by_age(const void *a, const void *b)
{
    struct json_object *x = *(struct json_object *const *)a, *y = *(struct json_object *const *)b;
    const char *keys[] = {"created", "namespace", "id"};

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const char *p = object_text(x, keys[i]), *q = object_text(y, keys[i]);
        int r = strcmp(p ? p : "", q ? q : "");

        if (r != 0)
            return r;
    }
    return 0;
}

enum exit_code approvalrequest_list(const struct cli *cli, struct json_object **ret)
{
    struct json_object *got = NULL, *list;
    enum exit_code code =
        kubectl_get(cli, KUBECTL_AS_GIVEN, (const char *const[]){KIND, NULL}, &got);

    if (code != EXIT_DONE)
        return code;
    list = json_object_new_array();
    for (size_t i = 0; i < object_count(got, "items"); i++)
        json_object_array_add(list, approvalrequest_view(object_at(got, "items", i)));
    json_object_array_sort(list, by_age);
    json_object_put(got);
    *ret = json_object_new_object();
    json_object_object_add(*ret, "approvals", list);
    return EXIT_DONE;
}

/* ---- show ---- */

static enum exit_code show_by_beginning(const struct cli *cli, const char *id,
                                        struct json_object **ret)
{
    struct json_object *answer = NULL, *found = NULL;
    enum exit_code code = approvalrequest_list(cli, &answer);
    char names[600] = "";
    size_t n = 0;

    for (size_t i = 0; code == EXIT_DONE && i < object_count(answer, "approvals"); i++) {
        struct json_object *a = object_at(answer, "approvals", i);
        const char *name = object_text(a, "id");

        if (!name || strncmp(name, id, strlen(id)) != 0)
            continue;
        found = a;
        if (n++ < 10)
            snprintf(names + strlen(names), sizeof names - strlen(names), " %s", name);
    }
    if (code == EXIT_DONE && n == 0)
        code = cli_fail(EXIT_NO, "there is no request %s here (another namespace: -n)", id);
    if (code == EXIT_DONE && n > 1)
        code = cli_fail(EXIT_NO, "%s could be %zu requests:%s%s", id, n, names, n > 10 ? " …" : "");
    if (code == EXIT_DONE) {
        *ret = json_object_new_object();
        json_object_object_add(*ret, "approval", json_object_get(found));
    }
    json_object_put(answer);
    return code;
}

enum exit_code approvalrequest_show(const struct cli *cli, const char *id, struct json_object **ret)
{
    struct kubectl_answer a;
    struct json_object *object;
    enum exit_code code = EXIT_DONE;
    struct kubectl k;

    id = approvalrequest_id(id);
    if (!kubectl_is_name(id))
        return cli_usage(cli, "\"%s\" is not the ID of a request", id);
    kubectl_init(&k, cli, KUBECTL_NAMESPACE);
    kubectl_add_all(&k, (const char *const[]){"get", KIND, id, "-o", "json", NULL});
    kubectl_run(&k, &a);
    kubectl_done(&k);
    if (a.result == KUBECTL_NOT_FOUND) {
        code = show_by_beginning(cli, id, ret);
    } else if (a.result != KUBECTL_OK) {
        code = kubectl_complain(cli, &a);
    } else if (!(object = json_tokener_parse(a.text))) {
        code = cli_fail(EXIT_UNREACHABLE, "kubectl's answer is not understood");
    } else {
        *ret = json_object_new_object();
        json_object_object_add(*ret, "approval", approvalrequest_view(object));
        json_object_put(object);
    }
    kubectl_answer_done(&a);
    return code;
}
