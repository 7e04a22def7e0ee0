/* SPDX-License-Identifier: Apache-2.0
 * Looks at the parts of Chaperone in a cluster, as far as the person may.
 */
#include "clusterchecks.h"

#include "kubectl.h"
#include "object.h"

#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>

#define LIST_MAX 600 /* of a list of names in a detail */

static void add(struct json_object *checks, const char *check, struct json_object *ok,
                const char *detail)
{
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "check", json_object_new_string(check));
    if (ok)
        json_object_object_add(o, "ok", ok);
    json_object_object_add(o, "detail", json_object_new_string(detail));
    json_object_array_add(checks, o);
}

void clusterchecks_add(struct json_object *checks, const char *check, bool ok, const char *fmt, ...)
{
    _cleanup_(free_charp) char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    add(checks, check, json_object_new_boolean(ok), text ? text : "");
}

void clusterchecks_unknown(struct json_object *checks, const char *check, const char *why)
{
    add(checks, check, NULL, why);
}

/* The object, or NULL: then the check is there, with the reason and without `ok`. */
static struct json_object *look(const struct cli *cli, struct json_object *checks,
                                const char *check, enum kubectl_scope scope,
                                const char *const *args)
{
    struct json_object *o = NULL;
    struct kubectl_answer a;
    struct kubectl k;

    kubectl_init(&k, cli, scope);
    kubectl_add(&k, "get");
    kubectl_add_all(&k, args);
    if (scope == KUBECTL_AS_GIVEN && cli_option(cli, "all-namespaces"))
        kubectl_add(&k, "--all-namespaces");
    kubectl_add_all(&k, (const char *const[]){"-o", "json", NULL});
    kubectl_run(&k, &a);
    kubectl_done(&k);
    if (a.result == KUBECTL_OK)
        o = json_tokener_parse(a.text);
    a.words[strcspn(a.words, "\n")] = '\0';
    if (!o)
        clusterchecks_unknown(checks, check,
                              a.words[0] ? a.words : "kubectl's answer is not understood");
    kubectl_answer_done(&a);
    return o;
}

static void list_name(char *list, const char *name)
{
    size_t n = strlen(list);

    if (n + strlen(name) + 8 < LIST_MAX)
        snprintf(list + n, LIST_MAX - n, "%s%s", n ? ", " : "", name);
    else if (n < LIST_MAX - 8 && strcmp(list + n - 3, "…") != 0)
        snprintf(list + n, LIST_MAX - n, ", …");
}

/* ---- resources ---- */

/* Discovery: everybody who can log in may do this. */
static enum exit_code check_resources(const struct cli *cli, struct json_object *checks, bool *ret)
{
    static const char *const kinds[] = {"approvalrequests", "clusterguardpolicies", "guardpolicies",
                                        "guardtargets"};
    char missing[LIST_MAX] = "", name[64];
    struct kubectl_answer a;
    struct kubectl k;
    enum exit_code code;

    kubectl_init(&k, cli, KUBECTL_NO_NAMESPACE);
    kubectl_add_all(&k, (const char *const[]){"api-resources", "--api-group=chaperone.dev", "-o",
                                              "name", NULL});
    kubectl_run(&k, &a);
    kubectl_done(&k);
    code = a.result == KUBECTL_OK ? EXIT_DONE : kubectl_complain(cli, &a);
    for (size_t i = 0; code == EXIT_DONE && i < ARRAY_LEN(kinds); i++) {
        const char *at = a.text;

        snprintf(name, sizeof name, "%s.chaperone.dev", kinds[i]);
        while ((at = strstr(at, name)) && at != a.text && at[-1] != '\n')
            at++;
        if (!at)
            list_name(missing, kinds[i]);
    }
    kubectl_answer_done(&a);
    if (code != EXIT_DONE)
        return code == EXIT_NO ? EXIT_UNREACHABLE : code;
    *ret = !missing[0];
    if (missing[0])
        clusterchecks_add(checks, "resources", false,
                          "missing: %s: Chaperone is not installed in this cluster, or not whole",
                          missing);
    else
        clusterchecks_add(checks, "resources", true, "all of chaperone.dev are there");
    return EXIT_DONE;
}

/* ---- the webhook ---- */

struct webhooks {
    size_t mutating, validating, without_ca;
    struct json_object *services; /* "namespace/name": true */
};

static bool is_ours(const char *name)
{
    static const char domain[] = "chaperone.dev";
    size_t n = name ? strlen(name) : 0, d = strlen(domain);

    return n > d && strcmp(name + n - d, domain) == 0 && name[n - d - 1] == '.';
}

static void count_webhooks(struct json_object *configuration, struct webhooks *w)
{
    const char *kind = object_text(configuration, "kind");
    bool mutating = kind && strcmp(kind, "MutatingWebhookConfiguration") == 0;

    for (size_t i = 0; i < object_count(configuration, "webhooks"); i++) {
        struct json_object *hook = object_at(configuration, "webhooks", i),
                           *client = object_get(hook, "clientConfig"),
                           *service = object_get(client, "service");
        const char *ns = object_text(service, "namespace"), *name = object_text(service, "name");
        char key[330];

        if (!is_ours(object_text(hook, "name")))
            continue;
        w->mutating += mutating;
        w->validating += !mutating;
        w->without_ca += object_bytes(client, "caBundle").len == 0;
        if (!ns || !name || !kubectl_is_name(ns) || !kubectl_is_name(name))
            continue;
        snprintf(key, sizeof key, "%s/%s", ns, name);
        json_object_object_add(w->services, key, json_object_new_boolean(true));
    }
}

static void count_endpoints(struct json_object *slices, size_t *ready, size_t *all)
{
    for (size_t i = 0; i < object_count(slices, "items"); i++) {
        struct json_object *slice = object_at(slices, "items", i);

        for (size_t k = 0; k < object_count(slice, "endpoints"); k++) {
            struct json_object *e = object_at(slice, "endpoints", k);

            (*all)++;
            *ready += object_true(object_get(e, "conditions"), "ready");
        }
    }
}

static void check_service(const struct cli *cli, struct json_object *checks, const char *key)
{
    _cleanup_(free_charp) char *ns = NULL, *label = NULL;
    const char *name = strchr(key, '/') + 1;
    struct json_object *slices;
    size_t ready = 0, all = 0;

    if (asprintf(&ns, "--namespace=%.*s", (int)(name - 1 - key), key) < 0)
        ns = NULL;
    if (asprintf(&label, "--selector=kubernetes.io/service-name=%s", name) < 0)
        label = NULL;
    if (!ns || !label)
        return;
    slices = look(cli, checks, "replicas", KUBECTL_NO_NAMESPACE,
                  (const char *const[]){"endpointslices.discovery.k8s.io", ns, label, NULL});
    if (!slices)
        return;
    count_endpoints(slices, &ready, &all);
    clusterchecks_add(checks, "replicas", ready > 0, "%zu of %zu replicas of %s are ready%s", ready,
                      all, key,
                      ready ? "" : ": pods of enabled namespaces cannot start, nobody can decide");
    json_object_put(slices);
}

static void check_webhook(const struct cli *cli, struct json_object *checks)
{
    struct webhooks w = {.services = json_object_new_object()};
    struct json_object *got =
        look(cli, checks, "webhook", KUBECTL_NO_NAMESPACE,
             (const char *const[]){"mutatingwebhookconfigurations.admissionregistration.k8s.io,"
                                   "validatingwebhookconfigurations.admissionregistration.k8s.io",
                                   NULL});

    for (size_t i = 0; i < object_count(got, "items"); i++)
        count_webhooks(object_at(got, "items", i), &w);
    if (got && w.mutating + w.validating == 0)
        clusterchecks_add(checks, "webhook", false,
                          "none is registered: nothing is injected, no decision is stamped");
    else if (got)
        clusterchecks_add(checks, "webhook", w.without_ca == 0 && w.mutating > 0,
                          "%zu mutating and %zu validating are registered%s", w.mutating,
                          w.validating, w.without_ca ? "; some without a CA bundle" : "");
    json_object_object_foreach(w.services, key, value)
    {
        (void)value;
        check_service(cli, checks, key);
    }
    json_object_put(got);
    json_object_put(w.services);
}

/* ---- namespaces ---- */

static void check_namespaces(const struct cli *cli, struct json_object *checks)
{
    struct json_object *got =
        look(cli, checks, "namespaces", KUBECTL_NO_NAMESPACE,
             (const char *const[]){"namespaces", "-l", "chaperone.dev/inject=enabled", NULL});
    char names[LIST_MAX] = "";
    size_t n = object_count(got, "items");

    for (size_t i = 0; i < n; i++) {
        const char *name = object_text(object_get(object_at(got, "items", i), "metadata"), "name");

        list_name(names, name ? name : "?");
    }
    if (got && n == 0)
        clusterchecks_add(checks, "namespaces", true,
                          "none is enabled: label one with chaperone.dev/inject=enabled");
    else if (got)
        clusterchecks_add(checks, "namespaces", true, "%zu enabled: %s", n, names);
    json_object_put(got);
}

/* ---- policies ---- */

/* 1 True, 0 False, -1 not known, or older than the object. */
static int condition(struct json_object *object, const char *type)
{
    struct json_object *status = object_get(object, "status");
    int64_t generation = object_number(object_get(object, "metadata"), "generation", 0);

    for (size_t i = 0; i < object_count(status, "conditions"); i++) {
        struct json_object *c = object_at(status, "conditions", i);
        const char *name = object_text(c, "type"), *value = object_text(c, "status");

        if (!name || !value || strcmp(name, type) != 0)
            continue;
        if (object_number(c, "observedGeneration", generation) < generation)
            return -1;
        return strcmp(value, "True") == 0 ? 1 : strcmp(value, "False") == 0 ? 0 : -1;
    }
    return -1;
}

static void list_object(char *list, struct json_object *object)
{
    struct json_object *meta = object_get(object, "metadata");
    const char *kind = object_text(object, "kind"), *ns = object_text(meta, "namespace"),
               *name = object_text(meta, "name");
    char text[400];

    snprintf(text, sizeof text, "%s %s%s%s", kind ? kind : "?", ns ? ns : "", ns ? "/" : "",
             name ? name : "?");
    list_name(list, text);
}

static void check_condition(struct json_object *checks, struct json_object *const *lists,
                            const char *check, const char *type)
{
    char bad[LIST_MAX] = "";
    size_t all = 0, yes = 0, no = 0;

    for (size_t l = 0; l < 2; l++)
        for (size_t i = 0; i < object_count(lists[l], "items"); i++) {
            struct json_object *o = object_at(lists[l], "items", i);
            int is = condition(o, type);

            all++;
            yes += is == 1;
            no += is == 0;
            if (is == 0)
                list_object(bad, o);
        }
    clusterchecks_add(checks, check, no == 0, "%zu of %zu policies and targets are %s%s%s%s", yes,
                      all, type, no ? "; not: " : "", bad,
                      yes + no < all ? "; the others are not known" : "");
}

static void check_policies(const struct cli *cli, struct json_object *checks)
{
    struct json_object *lists[2] = {
        look(cli, checks, "policies", KUBECTL_AS_GIVEN,
             (const char *const[]){"guardtargets.chaperone.dev,guardpolicies.chaperone.dev", NULL}),
        look(cli, checks, "policies", KUBECTL_NO_NAMESPACE,
             (const char *const[]){"clusterguardpolicies.chaperone.dev", NULL})};

    if (lists[0] || lists[1]) {
        check_condition(checks, lists, "accepted", "Accepted");
        check_condition(checks, lists, "enforced", "Enforced");
    }
    json_object_put(lists[0]);
    json_object_put(lists[1]);
}

static void check_requests(const struct cli *cli, struct json_object *checks)
{
    struct json_object *got = look(cli, checks, "requests", KUBECTL_AS_GIVEN,
                                   (const char *const[]){"approvalrequests.chaperone.dev", NULL});
    size_t pending = 0, n = object_count(got, "items");

    for (size_t i = 0; i < n; i++) {
        const char *phase = object_text(object_get(object_at(got, "items", i), "status"), "phase");

        pending += !phase || strcmp(phase, "Pending") == 0;
    }
    if (got)
        clusterchecks_add(checks, "requests", true, "%zu pending of %zu", pending, n);
    json_object_put(got);
}

enum exit_code clusterchecks_run(const struct cli *cli, struct json_object *checks)
{
    bool installed = false;
    enum exit_code code = check_resources(cli, checks, &installed);

    if (code != EXIT_DONE)
        return code;
    check_webhook(cli, checks);
    check_namespaces(cli, checks);
    if (installed) {
        check_policies(cli, checks);
        check_requests(cli, checks);
    }
    return EXIT_DONE;
}
