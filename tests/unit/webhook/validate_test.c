/* SPDX-License-Identifier: Apache-2.0
 * The bypass guard: each way around, one refusal that names the field; and what is refused of an
 * injected pod when somebody touches the guard's part.
 */
#include "webhook_support.h"

#define PLAIN "{\"spec\": {\"containers\": [{\"name\": \"app\", \"image\": \"app\"}]}}"

static void validate(const struct config *c, struct review *r, struct answer *a)
{
    struct secrets s = secrets_with(TARGETS);

    answer_init(a);
    if (strcmp(r->operation, "CREATE") == 0)
        validate_created_pod(c, r, &s, a);
    else
        validate_updated_pod(c, r, &s, a);
    answer_settle(a);
    secrets_done(&s);
}

/* wanted NULL: allowed. */
static void expect(const struct config *c, struct review *r, const char *wanted, const char *what)
{
    struct answer a;

    validate(c, r, &a);
    if (wanted ? a.allowed || !strstr(a.message, wanted) : !a.allowed)
        fail_msg("%s\n got: %s\nwant: %s", what, a.allowed ? "(allowed)" : a.message,
                 wanted ? wanted : "(allowed)");
    answer_done(&a);
    review_done(r);
}

/* ---- what an agent's pod may not have ---- */

/* Merged into the agent's container, its securityContext, the spec, or put beside the first. */
struct row {
    const char *into; /* a path of an injected pod */
    const char *key, *value;
    const char *wanted;
};

static struct json_object *place(struct json_object *pod, const char *into)
{
    if (strcmp(into, "app") == 0)
        return value_item(value_at(pod, "spec.containers"), 0);
    if (strcmp(into, "context") == 0)
        return value_get(value_item(value_at(pod, "spec.containers"), 0), "securityContext");
    if (strcmp(into, "capabilities") == 0)
        return value_at(value_item(value_at(pod, "spec.containers"), 0),
                        "securityContext.capabilities");
    return value_at(pod, into);
}

static void check_rows(const struct config *c, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct json_object *pod = injected_with(c, PLAIN, TARGETS);
        struct json_object *at = place(pod, rows[i].into);
        struct review r;

        assert_non_null(at);
        if (json_object_is_type(at, json_type_array))
            json_object_array_add(at, json_tokener_parse(rows[i].value));
        else
            json_object_object_add(at, rows[i].key, json_tokener_parse(rows[i].value));
        r = review_of("CREATE", "pods", pod, NULL);
        expect(c, &r, rows[i].wanted, rows[i].value);
    }
}

static void ways_around_are_refused(void **state)
{
    static const struct row rows[] = {
        {"spec", "hostNetwork", "true", "spec.hostNetwork: true is not permitted"},
        {"spec", "hostPID", "true", "spec.hostPID: true is not permitted"},
        {"spec", "hostIPC", "true", "spec.hostIPC: true is not permitted"},
        {"spec", "shareProcessNamespace", "true", "spec.shareProcessNamespace: true"},
        {"spec", "os", "{\"name\": \"windows\"}", "spec.os.name: the guard runs on Linux"},
        {"spec", "hostAliases", "[{\"ip\": \"192.0.2.1\", \"hostnames\": [\"db\"]}]",
         "spec.hostAliases: not permitted"},
        {"spec", "dnsConfig", "{\"nameservers\": [\"192.0.2.53\"]}",
         "spec.dnsConfig.nameservers: not permitted"},
        {"spec", "dnsConfig", "{\"searches\": [\"evil.example\"]}",
         "spec.dnsConfig.searches: not permitted"},
        {"spec.volumes", NULL,
         "{\"name\": \"t\", \"projected\": {\"sources\": [{\"podCertificate\": {}}]}}",
         ".podCertificate: the API server may take"},
        {"spec", "securityContext", "{\"seccompProfile\": {\"type\": \"Unconfined\"}}",
         "spec.securityContext.seccompProfile.type: Unconfined"},
        {"spec.volumes", NULL, "{\"name\": \"h\", \"hostPath\": {\"path\": \"/\"}}",
         ".hostPath: not permitted"},
        {"context", "privileged", "true", "spec.containers[0].securityContext.privileged"},
        {"context", "allowPrivilegeEscalation", "true",
         "spec.containers[0].securityContext.allowPrivilegeEscalation: has to be false"},
        {"context", "allowPrivilegeEscalation", "null",
         "spec.containers[0].securityContext.allowPrivilegeEscalation: has to be false"},
        {"context", "procMount", "\"Unmasked\"", "spec.containers[0].securityContext.procMount"},
        {"context", "seccompProfile", "{\"type\": \"Unconfined\"}",
         "spec.containers[0].securityContext.seccompProfile.type"},
        {"capabilities", "add", "[\"SYS_ADMIN\"]",
         "spec.containers[0].securityContext.capabilities.add: SYS_ADMIN is not permitted"},
        {"capabilities", "add", "[\"NET_BIND_SERVICE\", \"NET_ADMIN\"]",
         "spec.containers[0].securityContext.capabilities.add: NET_ADMIN"},
        {"capabilities", "add", "[\"cap_net_raw\"]", "capabilities.add: cap_net_raw"},
        {"capabilities", "add", "[\"ALL\"]", "capabilities.add: ALL"},
        {"capabilities", "drop", "[]",
         "capabilities.drop: NET_ADMIN, NET_RAW, SETUID, SETGID, SYS_PTRACE has to be there"},
        {"capabilities", "drop", "[\"NET_ADMIN\", \"NET_RAW\", \"SETUID\", \"SYS_PTRACE\"]",
         "capabilities.drop: SETGID has"},
        {"capabilities", "drop", "[\"CAP_NET_ADMIN\"]", "capabilities.drop: NET_ADMIN"},
        {"app", "volumeMounts", "[{\"name\": \"chaperone-run\", \"mountPath\": \"/x\"}]",
         "spec.containers[0].volumeMounts[0].name: the volume \"chaperone-run\" is the guard's"},
        {"app", "volumeMounts",
         "[{\"name\": \"chaperone-real-sa\", \"mountPath\": \"/x\", \"readOnly\": true}]",
         "volumeMounts[0].name: the volume \"chaperone-real-sa\""},
        {"app", "volumeMounts",
         "[{\"name\": \"chaperone-secret-orders-login\", \"mountPath\": \"/x\"}]",
         "volumeMounts[0].name"},
        {"app", "volumeMounts", "[{\"name\": \"chaperone-trust\", \"mountPath\": \"/x\"}]",
         "volumeMounts[0].readOnly: only the guard writes"},
        {"app", "volumeMounts",
         "[{\"name\": \"chaperone-sa\", \"mountPath\": \"/x\", \"readOnly\": false}]",
         "volumeMounts[0].readOnly"},
        {"app", "envFrom", "[{\"secretRef\": {\"name\": \"orders-login\"}}]",
         "spec.containers[0].envFrom[0].secretRef.name"},
        {"spec.volumes", NULL,
         "{\"name\": \"t\", \"projected\": {\"sources\": [{\"serviceAccountToken\": {}}]}}",
         "serviceAccountToken.audience: none"},
        {"spec.volumes", NULL,
         "{\"name\": \"kube-api-access-1\", \"projected\": {\"sources\": "
         "[{\"serviceAccountToken\": {}}]}}",
         "the token of the service account is the guard's"},
        {"spec", "automountServiceAccountToken", "true", "spec.automountServiceAccountToken"},
        {"spec.containers", NULL,
         "{\"name\": \"late\", \"image\": \"l\", \"securityContext\": {\"capabilities\": "
         "{\"drop\": [\"ALL\"]}}}",
         "spec.containers[1].securityContext.allowPrivilegeEscalation"},
        {"spec.initContainers", NULL, "{\"name\": \"late\", \"image\": \"l\"}",
         "spec.initContainers[2].securityContext.allowPrivilegeEscalation"},
        {"spec.containers", NULL, "{\"name\": \"chaperone\", \"image\": \"" GUARD_IMAGE "\"}",
         "spec.containers[1].name: \"chaperone\" is reserved"},
    };
    _cleanup_(config_free) struct config *c = config_with("");

    (void)state;
    check_rows(c, rows, ARRAY_LEN(rows));
}

static void harmless_things_pass(void **state)
{
    static const struct row rows[] = {
        {"spec", "hostNetwork", "false", NULL},
        {"spec", "hostUsers", "false", NULL},
        {"spec", "hostAliases", "[]", NULL},
        {"spec", "dnsConfig", "{\"options\": [{\"name\": \"ndots\", \"value\": \"2\"}]}", NULL},
        {"context", "privileged", "false", NULL},
        {"context", "procMount", "\"Default\"", NULL},
        {"context", "runAsUser", "1000", NULL},
        {"context", "seccompProfile", "{\"type\": \"RuntimeDefault\"}", NULL},
        {"capabilities", "add", "[\"NET_BIND_SERVICE\"]", NULL},
        {"capabilities", "drop", "[\"all\"]", NULL},
        {"app", "ports", "[{\"containerPort\": 80, \"hostPort\": 80}]", NULL},
        {"app", "volumeMounts",
         "[{\"name\": \"chaperone-trust\", \"mountPath\": \"/x\", \"readOnly\": true}]", NULL},
        {"spec.volumes", NULL, "{\"name\": \"s\", \"secret\": {\"secretName\": \"orders-ca\"}}",
         NULL},
        {"spec.volumes", NULL,
         "{\"name\": \"t\", \"projected\": {\"sources\": [{\"serviceAccountToken\": {\"audience\": "
         "\"vault\"}}]}}",
         NULL},
    };
    _cleanup_(config_free) struct config *c = config_with("");

    (void)state;
    check_rows(c, rows, ARRAY_LEN(rows));
}

static void the_guards_user_and_group_are_refused(void **state)
{
    static const char *const fields[] = {"runAsUser", "runAsGroup"};
    static const char *const pods[] = {"runAsUser", "runAsGroup", "fsGroup"};
    _cleanup_(config_free) struct config *c = config_with("");
    struct guard_ids ids;

    (void)state;
    for (size_t i = 0; i < 10; i++) {
        struct json_object *pod = injected_with(c, PLAIN, TARGETS), *context;
        char wanted[128];
        struct review r;
        uint32_t id;

        assert_true(guard_ids_read(c, pod, &ids));
        id = i % 2 ? ids.uid : ids.gid;
        if (i < 4) {
            json_object_object_add(place(pod, "context"), fields[i / 2], json_object_new_int64(id));
            snprintf(wanted, sizeof wanted,
                     "spec.containers[0].securityContext.%s: is the guard's user or group",
                     fields[i / 2]);
        } else {
            context = json_object_new_object();
            json_object_object_add(value_get(pod, "spec"), "securityContext", context);
            if (i < 8)
                json_object_object_add(context, pods[i % 3], json_object_new_int64(id));
            else
                json_object_object_add(context, "supplementalGroups", value_format("[1, %u]", id));
            snprintf(wanted, sizeof wanted, "spec.securityContext.%s: is the guard's",
                     i < 8 ? pods[i % 3] : "supplementalGroups");
        }
        r = review_of("CREATE", "pods", pod, NULL);
        expect(c, &r, wanted, wanted);
    }
}

static void run_as_user_may_be_required(void **state)
{
    _cleanup_(config_free) struct config *c = config_with(", requireRunAsUser: true");
    const struct row rows[] = {
        {"app", "tty", "true", "spec.containers[0].securityContext.runAsUser: required"},
        {"context", "runAsUser", "1", "spec.containers[0].securityContext.runAsGroup: required"},
        {"spec", "securityContext", "{\"runAsUser\": 1, \"runAsGroup\": 1}", NULL},
    };

    (void)state;
    check_rows(c, rows, ARRAY_LEN(rows));
}

/* ---- the guard's part ---- */

static struct json_object *guard(struct json_object *pod, size_t i)
{
    return value_item(value_at(pod, "spec.initContainers"), i);
}

static void touching_the_guard_is_refused(void **state)
{
    static const struct {
        size_t container;
        const char *key, *value, *wanted;
    } rows[] = {
        {1, "image", "\"evil\"", "spec.initContainers[1].image: is not what was injected"},
        {0, "image", "\"evil\"", "spec.initContainers[0].image"},
        {1, "args", "[]", "spec.initContainers[1].args"},
        {1, "command", "[\"/bin/sh\"]", "spec.initContainers[1].command"},
        {1, "env", "[]", "spec.initContainers[1].env"},
        {1, "envFrom", "[{\"configMapRef\": {\"name\": \"x\"}}]", "spec.initContainers[1].envFrom"},
        {1, "lifecycle", "{}", "spec.initContainers[1].lifecycle"},
        {1, "stdin", "true", "spec.initContainers[1].stdin"},
        {1, "workingDir", "\"/tmp\"", "spec.initContainers[1].workingDir"},
        {1, "terminationMessagePath", "\"/etc/resolv.conf\"",
         "spec.initContainers[1].terminationMessagePath"},
        {1, "restartPolicy", "null", "spec.initContainers[1].restartPolicy"},
        {1, "startupProbe", "null", "spec.initContainers[1].startupProbe"},
        {0, "restartPolicy", "\"Always\"", "spec.initContainers[0].restartPolicy"},
        {1, "volumeMounts", "[]", "spec.initContainers[1].volumeMounts"},
        {0, "volumeMounts", "[{\"name\": \"x\", \"mountPath\": \"/\"}]",
         "spec.initContainers[0].volumeMounts"},
        {1, "securityContext", "{\"runAsUser\": 0}", "the guard is missing, or its user"},
        {0, "args", "[\"--capture\", \"1\", \"--uid\", \"0\", \"--gid\", \"0\"]",
         "the guard is missing, or its user"},
        {1, "name", "\"other\"", "the guard is missing, or its user"},
        /* what autoscalers and limit ranges do */
        {1, "resources", "{\"limits\": {\"cpu\": \"3\"}}", NULL},
        {1, "resizePolicy", "[]", NULL},
        {0, "terminationMessagePolicy", "\"File\"", NULL},
    };
    _cleanup_(config_free) struct config *c = config_with("");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json_object *pod = injected_with(c, PLAIN, TARGETS);
        struct review r;

        json_object_object_add(guard(pod, rows[i].container), rows[i].key,
                               json_tokener_parse(rows[i].value));
        r = review_of("CREATE", "pods", pod, NULL);
        expect(c, &r, rows[i].wanted, rows[i].key);
    }
}

static void a_pod_without_its_guard_is_refused(void **state)
{
    _cleanup_(config_free) struct config *c = config_with("");
    struct review r = review_of("CREATE", "pods", parse(PLAIN), NULL);
    struct json_object *pod = injected_with(c, PLAIN, TARGETS);

    (void)state;
    expect(c, &r, "spec.initContainers: the guard is missing", "no guard");
    insert_at(value_at(pod, "spec.initContainers"), 0,
              parse("{\"name\": \"first\", \"image\": \"f\", \"securityContext\": "
                    "{\"allowPrivilegeEscalation\": false, \"capabilities\": {\"drop\": "
                    "[\"ALL\"]}}}"));
    r = review_of("CREATE", "pods", pod, NULL);
    expect(c, &r, "spec.initContainers[0]: has to be the guard's \"chaperone-init\"", "not first");
    pod = injected_with(c, PLAIN, TARGETS);
    json_object_array_del_idx(value_at(pod, "spec.volumes"), 0, 1);
    r = review_of("CREATE", "pods", pod, NULL);
    expect(c, &r, "spec.volumes: \"chaperone-run\" is missing", "no volume");
}

/* ---- UPDATE ---- */

static struct review update_of(const struct config *c, void (*change)(struct json_object *pod))
{
    struct json_object *old = injected_with(c, PLAIN, TARGETS), *now = value_copy(old);

    change(now);
    return review_of("UPDATE", "pods", now, old);
}

static void change_nothing(struct json_object *pod)
{
    (void)pod;
}

static void change_agent_image(struct json_object *pod)
{
    json_object_object_add(place(pod, "app"), "image", json_object_new_string("other"));
}

static void change_guard_image(struct json_object *pod)
{
    json_object_object_add(guard(pod, 1), "image", json_object_new_string("other"));
}

static void change_init_image(struct json_object *pod)
{
    json_object_object_add(guard(pod, 0), "image", json_object_new_string("other"));
}

static void debug_plain(struct json_object *pod)
{
    json_object_object_add(value_get(pod, "spec"), "ephemeralContainers",
                           json_tokener_parse("[{\"name\": \"d\", \"image\": \"d\"}]"));
}

#define RESTRICTED                                                                                 \
    "\"image\": \"d\", \"securityContext\": {\"allowPrivilegeEscalation\": false, "                \
    "\"capabilities\": {\"drop\": [\"ALL\"]}}"

static void debug_restricted(struct json_object *pod)
{
    json_object_object_add(value_get(pod, "spec"), "ephemeralContainers",
                           json_tokener_parse("[{\"name\": \"d\", " RESTRICTED "}]"));
}

static void debug_in_guard(struct json_object *pod)
{
    json_object_object_add(
        value_get(pod, "spec"), "ephemeralContainers",
        json_tokener_parse("[{\"name\": \"d\", \"targetContainerName\": \"chaperone\", " RESTRICTED
                           "}]"));
}

static void debug_named_guard(struct json_object *pod)
{
    json_object_object_add(value_get(pod, "spec"), "ephemeralContainers",
                           json_tokener_parse("[{\"name\": \"chaperone-init\", " RESTRICTED "}]"));
}

static void debug_as_guard(struct json_object *pod)
{
    struct guard_ids ids = {0};
    static const struct config any;

    assert_true(guard_ids_read(&any, pod, &ids));
    debug_restricted(pod);
    json_object_object_add(
        value_get(value_item(value_at(pod, "spec.ephemeralContainers"), 0), "securityContext"),
        "runAsUser", json_object_new_int64(ids.uid));
}

static void debug_mounts(struct json_object *pod)
{
    debug_restricted(pod);
    json_object_object_add(
        value_item(value_at(pod, "spec.ephemeralContainers"), 0), "volumeMounts",
        json_tokener_parse("[{\"name\": \"chaperone-run\", \"mountPath\": \"/x\"}]"));
}

static void debug_with_login(struct json_object *pod)
{
    debug_restricted(pod);
    json_object_object_add(
        value_item(value_at(pod, "spec.ephemeralContainers"), 0), "env",
        json_tokener_parse("[{\"name\": \"P\", \"valueFrom\": {\"secretKeyRef\": {\"name\": "
                           "\"orders-login\", \"key\": \"password\"}}}]"));
}

static void debug_with_all_logins(struct json_object *pod)
{
    debug_restricted(pod);
    json_object_object_add(value_item(value_at(pod, "spec.ephemeralContainers"), 0), "envFrom",
                           json_tokener_parse("[{\"secretRef\": {\"name\": \"other\"}}, "
                                              "{\"secretRef\": {\"name\": \"orders-login\"}}]"));
}

static void updates_keep_the_guard(void **state)
{
    static const struct {
        void (*change)(struct json_object *pod);
        const char *wanted;
    } rows[] = {
        {change_nothing, NULL},
        {change_agent_image, NULL},
        {change_guard_image, "spec.initContainers[1].image: the guard of a running pod cannot"},
        {change_init_image, "spec.initContainers[0].image: the guard of a running pod cannot"},
        {debug_restricted, NULL},
        {debug_plain, "spec.ephemeralContainers[0].securityContext.allowPrivilegeEscalation"},
        {debug_plain, "spec.ephemeralContainers[0].securityContext.capabilities.drop"},
        {debug_in_guard, "spec.ephemeralContainers[0].targetContainerName"},
        {debug_named_guard, "spec.ephemeralContainers[0].name: \"chaperone-init\" is reserved"},
        {debug_as_guard, "spec.ephemeralContainers[0].securityContext.runAsUser"},
        {debug_mounts, "spec.ephemeralContainers[0].volumeMounts[0].name"},
        {debug_with_login, "spec.ephemeralContainers[0].env[0].valueFrom.secretKeyRef.name"},
        {debug_with_all_logins, "spec.ephemeralContainers[0].envFrom[1].secretRef.name"},
    };
    _cleanup_(config_free) struct config *c = config_with("");
    _cleanup_(config_free) struct config *newer = config_with(", imagePullPolicy: Always");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct review r = update_of(c, rows[i].change);

        /* the chart was upgraded meanwhile: what was injected stays right */
        expect(newer, &r, rows[i].wanted, rows[i].wanted ? rows[i].wanted : "update");
    }
}

static void a_pod_from_before_may_be_updated(void **state)
{
    _cleanup_(config_free) struct config *c = config_with("");
    struct review r = review_of("UPDATE", "pods", parse(PLAIN), parse(PLAIN));

    (void)state;
    expect(c, &r, NULL, "not injected");
    r = review_of("UPDATE", "pods", parse(PLAIN), NULL);
    expect(c, &r, "oldObject: required", "no old one");
}

/* ---- CONNECT ---- */

#define TOOL "\"/kubectl-guard\", \"--socket\", \"/run/chaperone/control.sock\", "

static void connect_lets_the_tool_in_and_nothing_else(void **state)
{
    static const struct {
        const char *sub, *options;
        enum connect_need need;
    } rows[] = {
        {"exec", "{\"container\": \"app\", \"command\": [\"sh\"], \"tty\": true}", CONNECT_FREE},
        {"exec", "{\"command\": [\"sh\"]}", CONNECT_FREE},
        {"attach", "{\"container\": \"app\"}", CONNECT_FREE},
        {"exec",
         "{\"container\": \"chaperone\", \"command\": [" TOOL "\"sessions\", \"-o\", "
         "\"json\"]}",
         CONNECT_GET},
        {"exec",
         "{\"container\": \"chaperone\", \"command\": [" TOOL "\"status\", \"-o\", \"json\"]}",
         CONNECT_GET},
        {"exec",
         "{\"container\": \"chaperone\", \"command\": [" TOOL "\"tail\", \"all\", \"--json\"]}",
         CONNECT_GET},
        {"exec",
         "{\"container\": \"chaperone\", \"command\": [" TOOL "\"tail\", \"s-12\", \"--json\"]}",
         CONNECT_GET},
        {"exec", "{\"container\": \"chaperone\", \"command\": [" TOOL "\"kill\", \"s-12\"]}",
         CONNECT_DELETE},
        {"exec",
         "{\"container\": \"chaperone\", \"command\": [" TOOL "\"kill\", \"s-12\"], "
         "\"stdin\": true}",
         CONNECT_REFUSED},
        {"exec",
         "{\"container\": \"chaperone\", \"command\": [" TOOL "\"status\", \"-o\", "
         "\"json\"], \"tty\": true}",
         CONNECT_REFUSED},
        {"exec", "{\"container\": \"chaperone\", \"command\": [" TOOL "\"kill\", \"-h\"]}",
         CONNECT_REFUSED},
        {"exec", "{\"container\": \"chaperone\", \"command\": [" TOOL "\"kill\"]}",
         CONNECT_REFUSED},
        {"exec", "{\"container\": \"chaperone\", \"command\": [" TOOL "\"kill\", \"a\", \"b\"]}",
         CONNECT_REFUSED},
        {"exec", "{\"container\": \"chaperone\", \"command\": [" TOOL "\"kill\", \"a/../b\"]}",
         CONNECT_REFUSED},
        {"exec", "{\"container\": \"chaperone\", \"command\": [" TOOL "\"approve\", \"x\"]}",
         CONNECT_REFUSED},
        {"exec",
         "{\"container\": \"chaperone\", \"command\": [\"/kubectl-guard\", \"--socket\", "
         "\"/tmp/s\", \"status\", \"-o\", \"json\"]}",
         CONNECT_REFUSED},
        {"exec", "{\"container\": \"chaperone\", \"command\": [\"/kubectl-guard\"]}",
         CONNECT_REFUSED},
        {"exec", "{\"container\": \"chaperone\", \"command\": [\"sh\"]}", CONNECT_REFUSED},
        {"exec", "{\"container\": \"chaperone\"}", CONNECT_REFUSED},
        {"exec", "{\"container\": \"chaperone\", \"command\": [7]}", CONNECT_REFUSED},
        {"exec", "{\"container\": 7}", CONNECT_REFUSED},
        {"exec",
         "{\"container\": \"chaperone-init\", \"command\": [" TOOL "\"status\", \"-o\", "
         "\"json\"]}",
         CONNECT_REFUSED},
        {"attach", "{\"container\": \"chaperone\"}", CONNECT_REFUSED},
        {"attach", "{\"container\": \"chaperone-init\"}", CONNECT_REFUSED},
        {"proxy", "{}", CONNECT_REFUSED},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct review r = review_of("CONNECT", "pods", parse(rows[i].options), NULL);
        struct answer a;

        r.sub_resource = rows[i].sub;
        answer_init(&a);
        if (validate_connect(&r, &a) != rows[i].need)
            fail_msg("%s %s: %s", rows[i].sub, rows[i].options, a.message);
        assert_int_equal(rows[i].need == CONNECT_REFUSED, a.n_reasons > 0);
        answer_done(&a);
        review_done(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ways_around_are_refused),
        cmocka_unit_test(harmless_things_pass),
        cmocka_unit_test(the_guards_user_and_group_are_refused),
        cmocka_unit_test(run_as_user_may_be_required),
        cmocka_unit_test(touching_the_guard_is_refused),
        cmocka_unit_test(a_pod_without_its_guard_is_refused),
        cmocka_unit_test(updates_keep_the_guard),
        cmocka_unit_test(a_pod_from_before_may_be_updated),
        cmocka_unit_test(connect_lets_the_tool_in_and_nothing_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
