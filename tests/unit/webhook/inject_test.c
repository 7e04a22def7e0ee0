/* SPDX-License-Identifier: Apache-2.0
 * Injection: every shape a pod may have, what comes out, and that a second time nothing is to do.
 */
#include "webhook_support.h"

#define SA_MOUNT                                                                                   \
    "{\"name\": \"kube-api-access-x7\", \"readOnly\": true,"                                       \
    " \"mountPath\": \"/var/run/secrets/kubernetes.io/serviceaccount\"}"
#define SA_VOLUME                                                                                  \
    "{\"name\": \"kube-api-access-x7\", \"projected\": {\"sources\": ["                            \
    "{\"serviceAccountToken\": {\"path\": \"token\"}}]}}"
#define PLAIN "{\"spec\": {\"containers\": [{\"name\": \"app\", \"image\": \"app\"}]}}"
#define FULL                                                                                       \
    "{\"metadata\": {\"name\": \"p\", \"labels\": {\"app\": \"coder\"}},"                          \
    " \"spec\": {\"automountServiceAccountToken\": true,"                                          \
    "  \"initContainers\": [{\"name\": \"prepare\", \"image\": \"i\", \"volumeMounts\": "          \
    "[" SA_MOUNT "]},"                                                                             \
    "   {\"name\": \"helper\", \"image\": \"h\", \"restartPolicy\": \"Always\"}],"                 \
    "  \"containers\": [{\"name\": \"app\", \"image\": \"a\","                                     \
    "    \"env\": [{\"name\": \"SSL_CERT_DIR\", \"value\": \"/mine\"}],"                           \
    "    \"securityContext\": {\"capabilities\": {\"drop\": [\"ALL\"]}},"                          \
    "    \"volumeMounts\": [{\"name\": \"data\", \"mountPath\": \"/data\"}, " SA_MOUNT "]}],"      \
    "  \"volumes\": [" SA_VOLUME ", {\"name\": \"data\", \"emptyDir\": {}}]}}"

static struct json_object *container(struct json_object *pod, const char *list, size_t i)
{
    return value_item(value_get(value_get(pod, "spec"), list), i);
}

static const char *name_of(struct json_object *pod, const char *list, size_t i)
{
    return value_text(container(pod, list, i), "name");
}

static struct json_object *mount_at(struct json_object *c, const char *path)
{
    struct json_object *mounts = value_get(c, "volumeMounts");

    for (size_t i = 0; i < value_n(mounts); i++) {
        if (strcmp(value_text(value_item(mounts, i), "mountPath"), path) == 0)
            return value_item(mounts, i);
    }
    return NULL;
}

static bool has_volume(struct json_object *pod, const char *name)
{
    return pod_named(value_at(pod, "spec.volumes"), name, NULL) != NULL;
}

/* Whatever the shape: what comes out passes validation, and injecting again changes nothing (but
 * for the guard's user and group, which follow from the request). */
static void check_stable(const struct config *c, struct json_object *pod, const char *targets)
{
    struct review r = review_of("CREATE", "pods", value_copy(pod), NULL);
    struct secrets s = secrets_with(targets);
    struct answer again, valid;

    answer_init(&again);
    answer_init(&valid);
    inject_pod(c, &r, &s, &again);
    answer_settle(&again);
    assert_true(again.allowed);
    if (!patch_empty(&again.patch))
        fail_msg("not empty: %s", value_quote(again.patch.operations));
    validate_created_pod(c, &r, &s, &valid);
    answer_settle(&valid);
    if (!valid.allowed)
        fail_msg("not valid: %s", valid.message);
    answer_done(&again);
    answer_done(&valid);
    secrets_done(&s);
    review_done(&r);
}

/* ---- shapes ---- */

static void every_shape_is_stable(void **state)
{
    static const char *const pods[] = {
        PLAIN,
        FULL,
        "{\"metadata\": null, \"spec\": {\"initContainers\": null, \"volumes\": null,"
        " \"containers\": [{\"name\": \"app\", \"image\": \"a\", \"env\": null,"
        "  \"volumeMounts\": null, \"securityContext\": null}]}}",
        "{\"metadata\": {\"generateName\": \"job-\"}, \"spec\": {\"restartPolicy\": \"Never\","
        " \"initContainers\": [], \"volumes\": [],"
        " \"containers\": [{\"name\": \"app\", \"image\": \"a\", \"env\": [], \"volumeMounts\": [],"
        "  \"securityContext\": {}}, {\"name\": \"second\", \"image\": \"b\"}]}}",
        "{\"metadata\": {\"name\": \"db-0\", \"labels\": null, \"annotations\": {}}, \"spec\": {"
        " \"securityContext\": {\"runAsUser\": 1000, \"fsGroup\": 2000, \"supplementalGroups\": "
        "[3000]},"
        " \"containers\": [{\"name\": \"app\", \"image\": \"a\", \"securityContext\": "
        "{\"capabilities\": {\"add\": [\"NET_BIND_SERVICE\"], \"drop\": [\"NET_RAW\"]}}}]}}",
        "{\"spec\": {\"containers\": [{\"name\": \"app\", \"image\": \"a\", \"securityContext\": "
        "{\"capabilities\": {}}}]}}",
        "{\"spec\": {\"containers\": [{\"name\": \"app\", \"image\": \"a\", \"securityContext\": "
        "{\"capabilities\": null, \"allowPrivilegeEscalation\": false}}]}}",
    };
    static const char *const settings[] = {
        "", ", environment: false", ", trustFiles: [/etc/app/root.crt]",
        ", guardUID: 20000, guardGID: 20001, guardArgs: [--max-sessions, '10']"};

    (void)state;
    for (size_t s = 0; s < ARRAY_LEN(settings); s++) {
        _cleanup_(config_free) struct config *c = config_with(settings[s]);

        for (size_t i = 0; i < ARRAY_LEN(pods); i++) {
            struct json_object *pod = injected_with(c, pods[i], TARGETS);

            assert_string_equal(name_of(pod, "initContainers", 0), "chaperone-init");
            assert_string_equal(name_of(pod, "initContainers", 1), "chaperone");
            check_stable(c, pod, TARGETS);
            json_object_put(pod);
        }
    }
}

/* Whose tokens are trusted is in the guard's arguments, where the agent cannot change it; a $ is
 * doubled, because Kubernetes replaces $(NAME) there. */
static void issuers_are_an_argument(void **state)
{
    static const char wanted[] = "{\"issuers\":[{\"issuer\":\"https://idp/$$(POD_NAME)\","
                                 "\"audience\":[\"a\",\"b\"],\"maxLifetime\":\"1h\"}]}";
    _cleanup_(config_free) struct config *c = config_with(
        ", issuers: [{issuer: 'https://idp/$(POD_NAME)', audience: [a, b], maxLifetime: 1h}]");
    _cleanup_(value_put) struct json_object *pod = injected_with(c, FULL, NO_TARGETS);
    struct json_object *args = value_get(container(pod, "initContainers", 1), "args");
    size_t n = value_n(args);

    (void)state;
    assert_true(n > 2);
    assert_string_equal(json_object_get_string(value_item(args, n - 2)), "--issuers-inline");
    assert_string_equal(json_object_get_string(value_item(args, n - 1)), wanted);
    check_stable(c, pod, NO_TARGETS);
}

static void the_guard_comes_first_and_others_keep_their_order(void **state)
{
    _cleanup_(config_free) struct config *c = config_with("");
    _cleanup_(value_put) struct json_object *pod = injected_with(c, FULL, NO_TARGETS);

    (void)state;
    assert_string_equal(name_of(pod, "initContainers", 2), "prepare");
    assert_string_equal(name_of(pod, "initContainers", 3), "helper");
    assert_string_equal(value_text(container(pod, "initContainers", 1), "restartPolicy"), "Always");
    assert_int_equal(value_n(value_at(pod, "spec.initContainers")), 4);
}

static void the_real_token_goes_to_the_guard_alone(void **state)
{
    _cleanup_(config_free) struct config *c = config_with("");
    _cleanup_(value_put) struct json_object *pod = injected_with(c, FULL, NO_TARGETS);
    struct json_object *app = container(pod, "containers", 0);
    struct json_object *helper = container(pod, "initContainers", 3);

    (void)state;
    assert_false(has_volume(pod, "kube-api-access-x7"));
    assert_true(has_volume(pod, "data"));
    assert_string_equal(value_text(mount_at(app, POD_SA_PATH), "name"), "chaperone-sa");
    assert_true(value_bool(mount_at(app, POD_SA_PATH), "readOnly"));
    assert_string_equal(
        value_text(mount_at(container(pod, "initContainers", 2), POD_SA_PATH), "name"),
        "chaperone-sa");
    assert_null(mount_at(helper, POD_SA_PATH)); /* it had none */
    assert_string_equal(
        value_text(mount_at(container(pod, "initContainers", 1), POD_SA_PATH), "name"),
        "chaperone-real-sa");
    assert_false(value_bool(pod, "spec.automountServiceAccountToken"));
}

static void the_environment_is_set_when_unset(void **state)
{
    _cleanup_(config_free) struct config *c = config_with("");
    _cleanup_(value_put) struct json_object *pod = injected_with(c, FULL, NO_TARGETS);
    struct json_object *env = value_get(container(pod, "containers", 0), "env");

    (void)state;
    assert_string_equal(value_text(pod_named(env, "SSL_CERT_DIR", NULL), "value"), "/mine");
    assert_string_equal(value_text(pod_named(env, "PGSSLROOTCERT", NULL), "value"),
                        "/run/chaperone/trust/bundle.pem");
    assert_int_equal(value_n(env), 3);
    assert_null(value_get(container(pod, "initContainers", 0), "env"));
}

static void capabilities_are_dropped(void **state)
{
    _cleanup_(config_free) struct config *c = config_with("");
    _cleanup_(value_put) struct json_object *full = injected_with(c, FULL, NO_TARGETS);
    _cleanup_(value_put) struct json_object *plain = injected_with(c, PLAIN, NO_TARGETS);
    struct json_object *app = container(plain, "containers", 0);

    (void)state;
    assert_int_equal(value_n(value_at(app, "securityContext.capabilities.drop")), 5);
    assert_non_null(value_at(app, "securityContext.allowPrivilegeEscalation"));
    assert_false(value_bool(app, "securityContext.allowPrivilegeEscalation"));
    app = container(full, "containers", 0);
    assert_int_equal(value_n(value_at(app, "securityContext.capabilities.drop")), 1);
}

static void secrets_of_targets_go_to_the_guard(void **state)
{
    _cleanup_(config_free) struct config *c = config_with("");
    _cleanup_(value_put) struct json_object *pod = injected_with(c, PLAIN, TARGETS);
    struct json_object *guard = container(pod, "initContainers", 1);

    (void)state;
    assert_true(has_volume(pod, "chaperone-secret-orders-ca"));
    assert_true(has_volume(pod, "chaperone-secret-orders-login"));
    assert_true(has_volume(pod, "chaperone-secret-chaperone-mask-key"));
    assert_non_null(mount_at(guard, "/etc/chaperone/secrets/orders-login"));
    assert_non_null(mount_at(guard, "/etc/chaperone/secrets/with.dots"));
    assert_false(has_volume(pod, "chaperone-secret-with.dots")); /* no name for a volume */
    assert_int_equal(value_n(value_get(container(pod, "containers", 0), "volumeMounts")), 1);
}

static void further_secrets_are_the_guards_alone(void **state)
{
    _cleanup_(config_free) struct config *c = config_with(", guardSecrets: [s3-login, orders-ca]");
    struct secrets s = secrets_with(TARGETS);

    (void)state;
    assert_false(value_has(s.mounted, "s3-login"));
    assert_int_equal(secrets_add(&s, c->guard_secrets.value), 0);
    assert_true(value_has(s.mounted, "s3-login") && value_has(s.logins, "s3-login"));
    assert_true(value_has(s.logins, "orders-ca")); /* and mounted once */
    for (size_t i = 1; i < value_n(s.mounted); i++)
        assert_true(strcmp(json_object_get_string(value_item(s.mounted, i - 1)),
                           json_object_get_string(value_item(s.mounted, i))) < 0);
    secrets_done(&s);
}

static void files_of_trust_are_mounted_over(void **state)
{
    _cleanup_(config_free) struct config *c = config_with(", trustFiles: [/etc/app/root.crt]");
    _cleanup_(value_put) struct json_object *pod = injected_with(c, PLAIN, NO_TARGETS);
    struct json_object *m = mount_at(container(pod, "containers", 0), "/etc/app/root.crt");

    (void)state;
    assert_string_equal(value_text(m, "subPath"), "bundle.pem");
    assert_true(value_bool(m, "readOnly"));
}

/* Strict checking of host keys holds by itself, at the place where OpenSSH's client looks. */
static void known_hosts_is_there_with_ssh_targets(void **state)
{
    static const char ssh[] = "{\"items\": [{\"spec\": {\"protocol\": \"ssh\"}}]}";
    static const char own[] =
        "{\"spec\": {\"containers\": [{\"name\": \"app\", \"image\": \"a\", \"volumeMounts\": "
        "[{\"name\": \"data\", \"mountPath\": \"/etc/ssh/ssh_known_hosts\"}]}],"
        " \"volumes\": [{\"name\": \"data\", \"emptyDir\": {}}]}}";
    _cleanup_(config_free) struct config *c = config_with("");
    _cleanup_(value_put) struct json_object *with = injected_with(c, PLAIN, ssh);
    _cleanup_(value_put) struct json_object *without = injected_with(c, PLAIN, TARGETS);
    _cleanup_(value_put) struct json_object *mine = injected_with(c, own, ssh);
    struct json_object *m = mount_at(container(with, "containers", 0), "/etc/ssh/ssh_known_hosts");

    (void)state;
    assert_string_equal(value_text(m, "name"), "chaperone-trust");
    assert_string_equal(value_text(m, "subPath"), "known_hosts");
    assert_true(value_bool(m, "readOnly"));
    assert_null(mount_at(container(without, "containers", 0), "/etc/ssh/ssh_known_hosts"));
    m = mount_at(container(mine, "containers", 0), "/etc/ssh/ssh_known_hosts");
    assert_string_equal(value_text(m, "name"), "data");
    check_stable(c, with, ssh);
    check_stable(c, mine, ssh);
}

/* ---- user and group ---- */

static struct guard_ids ids_of(const struct config *c, struct json_object *pod)
{
    struct guard_ids ids = {0};

    assert_true(guard_ids_read(c, pod, &ids));
    return ids;
}

static void ids_follow_from_the_uid_and_avoid_the_pods(void **state)
{
    _cleanup_(config_free) struct config *c = config_with("");
    _cleanup_(value_put) struct json_object *first = injected_with(c, PLAIN, NO_TARGETS);
    _cleanup_(value_put) struct json_object *second = injected_with(c, PLAIN, NO_TARGETS);
    struct guard_ids a = ids_of(c, first), b = ids_of(c, second), d;
    char pod[512];

    (void)state;
    assert_true(a.uid == b.uid && a.gid == b.gid);
    assert_true(a.uid >= 10000 && a.uid <= 65000 && a.gid >= 10000 && a.gid <= 65000);
    snprintf(pod, sizeof pod,
             "{\"spec\": {\"securityContext\": {\"supplementalGroups\": [%u]}, \"containers\": "
             "[{\"name\": \"app\", \"image\": \"a\", \"securityContext\": {\"runAsUser\": %u}}]}}",
             a.gid, a.uid);
    {
        _cleanup_(value_put) struct json_object *third = injected_with(c, pod, NO_TARGETS);

        d = ids_of(c, third);
        assert_true(d.uid != a.uid && d.gid != a.gid);
        check_stable(c, third, NO_TARGETS);
    }
}

/* Who writes a pod with a guard in it could choose the guard's user so that its image has it. */
static void whoever_puts_a_guard_there_does_not_choose_its_user(void **state)
{
    _cleanup_(config_free) struct config *c = config_with("");
    _cleanup_(value_put) struct json_object *pod = injected_with(
        c,
        "{\"spec\": {\"initContainers\": [{\"name\": \"chaperone-init\", \"image\": \"" INIT_IMAGE
        "\", \"args\": [\"--uid\", \"10001\", \"--gid\", \"10002\"]}, {\"name\": \"chaperone\", "
        "\"image\": \"" GUARD_IMAGE "\", \"securityContext\": {\"runAsUser\": 10001, "
        "\"runAsGroup\": 10002}, \"terminationMessagePath\": \"/etc/resolv.conf\"}], "
        "\"containers\": [{\"name\": \"app\", \"image\": \"a\"}]}}",
        NO_TARGETS);
    _cleanup_(value_put) struct json_object *plain = injected_with(c, PLAIN, NO_TARGETS);
    struct guard_ids ids = ids_of(c, pod), wanted = ids_of(c, plain);

    (void)state;
    assert_true(ids.uid != 10001 && ids.gid != 10002);
    assert_true(ids.uid == wanted.uid && ids.gid == wanted.gid);
    assert_int_equal(value_n(value_at(pod, "spec.initContainers")), 2);
    check_stable(c, pod, NO_TARGETS);
}

/* ---- what others did to it ---- */

/* Injects, lets somebody change the pod, injects again: canonical. */
static void mends(const char *what, void (*change)(struct json_object *pod))
{
    _cleanup_(config_free) struct config *c = config_with("");
    _cleanup_(value_put) struct json_object *pod = injected_with(c, FULL, TARGETS);
    struct json_object *mended;
    struct guard_ids before = ids_of(c, pod), after;

    change(pod);
    mended = injected_with(c, value_quote(pod), TARGETS);
    after = ids_of(c, mended);
    if (before.uid != after.uid || before.gid != after.gid)
        fail_msg("%s: other ids", what);
    check_stable(c, mended, TARGETS);
    json_object_put(mended);
}

static void image_of_init_first(struct json_object *pod)
{
    insert_at(value_at(pod, "spec.initContainers"), 0,
              parse("{\"name\": \"mesh-init\", \"image\": \"m\"}"));
}

static void variable_in_guard(struct json_object *pod)
{
    json_object_array_add(value_get(container(pod, "initContainers", 1), "env"),
                          parse("{\"name\": \"LD_PRELOAD\", \"value\": \"/x\"}"));
}

static void hook_in_guard(struct json_object *pod)
{
    json_object_object_add(container(pod, "initContainers", 1), "lifecycle",
                           parse("{\"postStart\": {\"exec\": {\"command\": [\"x\"]}}}"));
}

static void argument_of_guard(struct json_object *pod)
{
    json_object_array_add(value_get(container(pod, "initContainers", 1), "args"),
                          json_object_new_string("--policies"));
}

static void volume_of_guard(struct json_object *pod)
{
    struct json_object *v = pod_named(value_at(pod, "spec.volumes"), "chaperone-run", NULL);

    json_object_object_del(v, "emptyDir");
    json_object_object_add(v, "hostPath", parse("{\"path\": \"/tmp\"}"));
}

static void stale_secret(struct json_object *pod)
{
    json_object_array_add(value_at(pod, "spec.volumes"),
                          parse("{\"name\": \"chaperone-secret-old\", \"secret\": "
                                "{\"secretName\": \"old\"}}"));
}

static void token_again(struct json_object *pod)
{
    json_object_array_add(value_at(pod, "spec.volumes"), parse(SA_VOLUME));
    json_object_object_add(value_get(pod, "spec"), "automountServiceAccountToken",
                           json_object_new_boolean(true));
}

static void new_container(struct json_object *pod)
{
    json_object_array_add(value_at(pod, "spec.containers"),
                          parse("{\"name\": \"late\", \"image\": \"l\"}"));
}

static void what_others_change_is_mended(void **state)
{
    (void)state;
    mends("a container before the guard's", image_of_init_first);
    mends("a variable", variable_in_guard);
    mends("a hook", hook_in_guard);
    mends("an argument", argument_of_guard);
    mends("a volume", volume_of_guard);
    mends("an old secret", stale_secret);
    mends("the token", token_again);
    mends("a container more", new_container);
}

/* ---- refusals ---- */

static void refuses(const struct config *c, const char *pod, const char *targets,
                    const char *wanted)
{
    struct review r = review_of("CREATE", "pods", parse(pod), NULL);
    struct secrets s = secrets_with(targets);
    struct answer a;

    answer_init(&a);
    inject_pod(c, &r, &s, &a);
    answer_settle(&a);
    if (a.allowed || !strstr(a.message, wanted))
        fail_msg("%s\n got: %s\nwant: %s", pod, a.allowed ? "(allowed)" : a.message, wanted);
    answer_done(&a);
    secrets_done(&s);
    review_done(&r);
}

#define POD(container, more)                                                                       \
    "{\"spec\": {\"containers\": [{\"name\": \"app\", \"image\": \"a\"" container "}]" more "}}"

static void refusals_name_field_and_remedy(void **state)
{
    static const char *const rows[][2] = {
        {"{\"spec\": {\"containers\": [{\"name\": \"chaperone\", \"image\": \"" GUARD_IMAGE
         "\"}]}}",
         "spec.containers[0].name: \"chaperone\" is reserved"},
        {POD("", ", \"initContainers\": [{\"name\": \"chaperone\", \"image\": \"evil\"}]"),
         "spec.initContainers[0].name: \"chaperone\" is reserved for the guard, and the image "
         "evil"},
        {POD("", ", \"initContainers\": [{\"name\": \"chaperone-init\", \"image\": \"" GUARD_IMAGE
                 "\"}]"),
         "spec.initContainers[0].name: \"chaperone-init\" is reserved"},
        {POD("", ", \"volumes\": [{\"name\": \"chaperone-mine\", \"emptyDir\": {}}]"),
         "spec.volumes[0].name: names that begin with \"chaperone-\" are reserved"},
        {POD("",
             ", \"volumes\": [{\"name\": \"t\", \"projected\": {\"sources\": [{\"secret\": {}}, "
             "{\"serviceAccountToken\": {\"path\": \"t\"}}]}}]"),
         "spec.volumes[0].projected.sources[1].serviceAccountToken.audience: none"},
        {POD("", ", \"volumes\": [{\"name\": \"t\", \"projected\": {\"sources\": ["
                 "{\"serviceAccountToken\": {\"path\": \"t\", \"audience\": \"https://api\"}}]}}]"),
         "serviceAccountToken.audience: the API server's"},
        {POD("", ", \"volumes\": [{\"name\": \"t\", \"secret\": {\"secretName\": "
                 "\"orders-login\"}}]"),
         "spec.volumes[0].secret.secretName: the Secret \"orders-login\" is the login"},
        {POD("", ", \"volumes\": [{\"name\": \"t\", \"projected\": {\"sources\": [{\"secret\": "
                 "{\"name\": \"orders-login\"}}]}}]"),
         "spec.volumes[0].projected.sources[0].secret.name"},
        {POD(", \"env\": [{\"name\": \"P\", \"valueFrom\": {\"secretKeyRef\": {\"name\": "
             "\"orders-login\", \"key\": \"password\"}}}]",
             ""),
         "spec.containers[0].env[0].valueFrom.secretKeyRef.name"},
        {POD(", \"envFrom\": [{\"secretRef\": {\"name\": \"chaperone-mask-key\"}}]", ""),
         "spec.containers[0].envFrom[0].secretRef.name"},
        {"{\"spec\": {\"containers\": {}}}", "spec.containers: expected a list, found an object"},
        {"{\"spec\": {\"containers\": []}}", "spec.containers: expected at least one"},
        {"{\"spec\": {}}", "spec.containers: expected at least one"},
        {POD(", \"securityContext\": {\"privileged\": \"true\"}", ""),
         "spec.containers[0].securityContext.privileged: expected true or false, found a string"},
        {POD(", \"env\": [null]", ""), "spec.containers[0].env[0]: expected an object"},
        {POD(", \"securityContext\": {\"privileged\": true}", ""),
         "spec.containers[0].securityContext.privileged: not permitted"},
        {POD(", \"securityContext\": {\"capabilities\": {\"add\": [\"SYS_ADMIN\"]}}", ""),
         "spec.containers[0].securityContext.capabilities.add: SYS_ADMIN is not permitted"},
        {POD(", \"securityContext\": {\"allowPrivilegeEscalation\": true}", ""),
         "spec.containers[0].securityContext.allowPrivilegeEscalation: has to be false"},
        {POD("", ", \"hostNetwork\": true"), "spec.hostNetwork: true is not permitted"},
        {POD("", ", \"hostNetwork\": 1"), "spec.hostNetwork: expected true or false"},
    };
    _cleanup_(config_free) struct config *c = config_with(", apiAudiences: [https://api]");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        refuses(c, rows[i][0], TARGETS, rows[i][1]);
}

#define STORE_AUDIENCE ", storeAudience: sts.example.com"

static void the_stores_token_is_the_guards_alone(void **state)
{
    _cleanup_(config_free) struct config *c = config_with(STORE_AUDIENCE),
                                         *without = config_with("");
    _cleanup_(value_put) struct json_object *pod = injected_with(c, PLAIN, NO_TARGETS),
                                            *other = injected_with(without, PLAIN, NO_TARGETS);
    struct json_object *volume =
        pod_named(value_at(pod, "spec.volumes"), "chaperone-store-token", NULL);
    struct json_object *source = value_item(value_at(volume, "projected.sources"), 0);

    (void)state;
    assert_string_equal(value_text(value_get(source, "serviceAccountToken"), "audience"),
                        "sts.example.com");
    assert_non_null(
        mount_at(container(pod, "initContainers", 1), "/var/run/secrets/chaperone-store"));
    assert_null(mount_at(container(pod, "containers", 0), "/var/run/secrets/chaperone-store"));
    assert_false(has_volume(other, "chaperone-store-token"));
    refuses(c,
            POD("", ", \"volumes\": [{\"name\": \"t\", \"projected\": {\"sources\": "
                    "[{\"serviceAccountToken\": {\"audience\": \"sts.example.com\", "
                    "\"path\": \"token\"}}]}}]"),
            NO_TARGETS, "such a token opens the store of records");
}

static void a_fixed_user_must_not_be_the_pods(void **state)
{
    _cleanup_(config_free) struct config *c = config_with(", guardUID: 20000, guardGID: 20001");

    (void)state;
    refuses(c, POD(", \"securityContext\": {\"runAsGroup\": 20001}", ""), NO_TARGETS,
            "spec.containers[0].securityContext.runAsGroup: 20000 and 20001 are the guard's");
    refuses(c, POD("", ", \"securityContext\": {\"fsGroup\": 20000}"), NO_TARGETS,
            "spec.securityContext.fsGroup");
}

static void another_audience_and_a_ca_are_the_agents_business(void **state)
{
    _cleanup_(config_free) struct config *c = config_with("");
    _cleanup_(value_put) struct json_object *pod = injected_with(
        c,
        POD("",
            ", \"volumes\": [{\"name\": \"t\", \"projected\": {\"sources\": ["
            "{\"serviceAccountToken\": {\"path\": \"t\", \"audience\": \"vault\"}}, {\"secret\": "
            "{\"name\": \"orders-ca\"}}]}}]"),
        TARGETS);

    (void)state;
    assert_true(has_volume(pod, "t"));
    check_stable(c, pod, TARGETS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_is_stable),
        cmocka_unit_test(issuers_are_an_argument),
        cmocka_unit_test(the_guard_comes_first_and_others_keep_their_order),
        cmocka_unit_test(the_real_token_goes_to_the_guard_alone),
        cmocka_unit_test(the_environment_is_set_when_unset),
        cmocka_unit_test(capabilities_are_dropped),
        cmocka_unit_test(secrets_of_targets_go_to_the_guard),
        cmocka_unit_test(further_secrets_are_the_guards_alone),
        cmocka_unit_test(files_of_trust_are_mounted_over),
        cmocka_unit_test(known_hosts_is_there_with_ssh_targets),
        cmocka_unit_test(ids_follow_from_the_uid_and_avoid_the_pods),
        cmocka_unit_test(whoever_puts_a_guard_there_does_not_choose_its_user),
        cmocka_unit_test(what_others_change_is_mended),
        cmocka_unit_test(refusals_name_field_and_remedy),
        cmocka_unit_test(the_stores_token_is_the_guards_alone),
        cmocka_unit_test(a_fixed_user_must_not_be_the_pods),
        cmocka_unit_test(another_audience_and_a_ca_are_the_agents_business),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
