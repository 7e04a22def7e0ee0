/* SPDX-License-Identifier: Apache-2.0
 * Reads policies from the API server. JSON is YAML: the loader is that of the files.
 */
#include "clusterpolicies.h"

#include "kubectl.h"
#include "object.h"

#include <json-c/json.h>
#include <stdio.h>

#define TEXT_MAX ((size_t)64 << 20)
#define FILE_    "cluster"

static void copy(struct json_object *to, struct json_object *from, const char *key)
{
    struct json_object *v = object_get(from, key);

    if (v)
        json_object_object_add(to, key, json_object_get(v));
}

/* What the API server added (uid, managedFields, status) is no policy. */
static struct json_object *reduced(struct json_object *object)
{
    struct json_object *o = json_object_new_object(), *meta = json_object_new_object();

    copy(o, object, "apiVersion");
    copy(o, object, "kind");
    copy(meta, object_get(object, "metadata"), "name");
    copy(meta, object_get(object, "metadata"), "namespace");
    json_object_object_add(o, "metadata", meta);
    copy(o, object, "spec");
    return o;
}

static void add_document(struct buffer *b, struct json_object *object)
{
    struct json_object *o = reduced(object);
    const char *text =
        json_object_to_json_string_ext(o, JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);

    buffer_append(b, text, strlen(text));
    buffer_append(b, "\n---\n", 5);
    json_object_put(o);
}

char *clusterpolicies_text(struct json_object *const *lists, size_t n)
{
    struct buffer b;
    char *text;

    buffer_init(&b, TEXT_MAX);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < object_count(lists[i], "items"); k++)
            add_document(&b, object_at(lists[i], "items", k));
    text = b.failed ? NULL : strndup(b.p ? (const char *)buffer_bytes(&b).p : "", buffer_len(&b));
    buffer_done(&b);
    return text;
}

/* The loader names a line; each object has one of its own, and one with --- behind it. */
static void name_object(struct json_object *const *lists, size_t n, struct error *err)
{
    unsigned line = 0;
    char rest[sizeof err->text];
    const char *at;
    size_t i, k;

    if (sscanf(err->text, FILE_ ":%u:", &line) != 1 || line == 0)
        return;
    at = strchr(err->text + strlen(FILE_) + 1, ':') + 1;
    snprintf(rest, sizeof rest, "%s", at + (*at == ' '));
    k = (line - 1) / 2;
    for (i = 0; i < n && k >= object_count(lists[i], "items"); i++)
        k -= object_count(lists[i], "items");
    if (i == n)
        return;
    struct json_object *o = object_at(lists[i], "items", k), *meta = object_get(o, "metadata");
    const char *kind = object_text(o, "kind"), *ns = object_text(meta, "namespace"),
               *name = object_text(meta, "name");

    error_set(err, -1, "%s %s%s%s: %s", kind ? kind : "?", ns ? ns : "", ns ? "/" : "",
              name ? name : "?", rest);
}

enum exit_code clusterpolicies_load(const struct cli *cli, struct policy_snapshot **ret)
{
    struct json_object *lists[2] = {NULL, NULL};
    _cleanup_(free_charp) char *text = NULL;
    struct error err = {0};
    enum exit_code code = kubectl_get(
        cli, KUBECTL_AS_GIVEN,
        (const char *const[]){"guardtargets.chaperone.dev,guardpolicies.chaperone.dev", NULL},
        &lists[0]);

    if (code == EXIT_DONE)
        code = kubectl_get(cli, KUBECTL_NO_NAMESPACE,
                           (const char *const[]){"clusterguardpolicies.chaperone.dev", NULL},
                           &lists[1]);
    if (code == EXIT_DONE && !(text = clusterpolicies_text(lists, ARRAY_LEN(lists))))
        code = cli_fail(EXIT_UNREACHABLE, "the cluster's policies are too many");
    if (code == EXIT_DONE && policy_load_text(bytes_str(text), FILE_, ret, &err) != 0) {
        name_object(lists, ARRAY_LEN(lists), &err);
        code = cli_fail(EXIT_USAGE, "the cluster's policies are not valid: %s", err.text);
    }
    json_object_put(lists[0]);
    json_object_put(lists[1]);
    return code;
}
