/* SPDX-License-Identifier: Apache-2.0
 * Loading: directories, lists, namespaces, digests, targets and egress.
 */
#include "policy_support.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"

/* ---- directories ---- */

static char dir[64];

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/policy_test.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *name, const char *text)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static struct policy_snapshot *load(void)
{
    struct policy_snapshot *s = NULL;
    struct error err = {0};

    if (policy_load_dir(dir, &s, &err) != 0)
        fail_msg("%s", err.text);
    return s;
}

/* `wanted` goes behind "DIR/". */
static void refuse(int code, const char *wanted)
{
    struct policy_snapshot *s = NULL;
    struct error err = {0};
    char text[512];

    snprintf(text, sizeof text, "%s%s%s", dir, *wanted ? "/" : "", wanted);
    assert_int_equal(policy_load_dir(dir, &s, &err), code);
    assert_string_equal(err.text, text);
    assert_null(s);
}

static void test_directory(void **state)
{
    struct policy_snapshot *s = load();

    (void)state;
    assert_int_equal(policy_n_targets(s), 0); /* empty, closed, valid */
    policy_snapshot_unref(s);
    put("b.yaml", HEAD("GuardPolicy", "p") "spec: {targets: [{name: t}]}");
    put("z.yml", HEAD("GuardTarget", "t") "spec: {protocol: tcp, hosts: [a.b], ports: [1]}");
    put("notes.txt", "not yaml: at all: [");
    put(".hidden.yaml", "not yaml: at all: [");
    put("yaml", "not yaml: at all: [");
    s = load();
    assert_int_equal(policy_n_targets(s), 1);
    policy_snapshot_unref(s);
    put("c.yaml", "\n\n" HEAD("GuardPolicy", "p") "spec: {}");
    {
        char wanted[256];

        snprintf(wanted, sizeof wanted,
                 "c.yaml:5: metadata.name: there is already a GuardPolicy 'p' (%s/b.yaml:1)", dir);
        refuse(-EINVAL, wanted);
    }
    put("a.yaml", "x: [");
    refuse(-EINVAL, "a.yaml:2: YAML: did not find expected node content");
}

static void test_what_is_no_file(void **state)
{
    char path[128], to[128];

    (void)state;
    snprintf(path, sizeof path, "%s/a.yaml", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    refuse(-EINVAL, "a.yaml: not a regular file");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* must not wait for a writer */
    refuse(-EINVAL, "a.yaml: not a regular file");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("nowhere", path), 0);
    refuse(-ENOENT, "a.yaml: No such file or directory");
    assert_int_equal(unlink(path), 0);
    /* as the kubelet mounts a ConfigMap */
    snprintf(to, sizeof to, "%s/..data", dir);
    assert_int_equal(mkdir(to, 0700), 0);
    put("..data/p.yaml",
        HEAD("GuardTarget", "t") "spec: {protocol: tcp, hosts: [a.b], ports: [1]}");
    assert_int_equal(symlink("..data/p.yaml", path), 0);
    policy_snapshot_unref(load());
}

static void test_large_file(void **state)
{
    char path[128];

    (void)state;
    put("a.yaml", "# much\n");
    snprintf(path, sizeof path, "%s/a.yaml", dir);
    assert_int_equal(truncate(path, (4 << 20) + 1), 0);
    refuse(-EINVAL, "a.yaml:1: YAML: larger than 4 MiB");
}

static void test_missing_directory(void **state)
{
    struct policy_snapshot *s = NULL;
    struct error err = {0};

    (void)state;
    assert_int_equal(policy_load_dir("/nonexistent/x", &s, &err), -ENOENT);
    assert_string_equal(err.text, "/nonexistent/x: No such file or directory");
    assert_int_equal(policy_load_dir("/dev/null", &s, &err), -ENOTDIR);
    assert_int_equal(policy_load_dir("/nonexistent/x", &s, NULL), -ENOENT);
    assert_null(s);
}

/* ---- lists, and what the API server adds ---- */

static void test_lists(void **state)
{
    struct policy_snapshot *s = snapshot_of(
        "{\"apiVersion\": \"chaperone.dev/v1alpha1\", \"kind\": \"GuardTargetList\", \"metadata\": "
        "{\"resourceVersion\": \"12\", \"continue\": \"\"}, \"items\": [{\"apiVersion\": "
        "\"chaperone.dev/v1alpha1\", \"kind\": \"GuardTarget\", \"metadata\": {\"name\": \"a\", "
        "\"namespace\": \"n\", \"uid\": \"1-2\", \"generation\": 3, \"labels\": {\"x\": \"y\"}, "
        "\"managedFields\": [{\"fieldsV1\": {\"f:spec\": {}}}]}, \"spec\": {\"protocol\": \"tcp\", "
        "\"hosts\": [\"a.b\"], \"ports\": [1]}, \"status\": {\"conditions\": [{\"type\": "
        "\"Accepted\"}], \"observedGeneration\": 3}}]}\n---\n"
        "apiVersion: v1\nkind: List\nitems:\n"
        "- {apiVersion: chaperone.dev/v1alpha1, kind: GuardTarget, metadata: {name: b}, spec: "
        "{protocol: tcp, hosts: [a.b], ports: [1]}}\n"
        "- {apiVersion: chaperone.dev/v1alpha1, kind: ClusterGuardPolicy, metadata: {name: b}, "
        "spec: {}}\n---\napiVersion: v1\nkind: List\nitems: []\n");

    (void)state;
    assert_int_equal(policy_n_targets(s), 2);
    assert_string_equal(policy_target_by_name(s, "n", "a")->namespace_, "n");
    policy_snapshot_unref(s);
}

/* ---- digest and generation ---- */

static void digest_of(const char *yaml, char out[static 65])
{
    struct policy_snapshot *s = snapshot_of(yaml);

    assert_int_equal(strlen(policy_snapshot_digest(s)), 64);
    assert_int_equal(strspn(policy_snapshot_digest(s), "0123456789abcdef"), 64);
    strcpy(out, policy_snapshot_digest(s));
    policy_snapshot_unref(s);
}

static void test_digest(void **state)
{
    static const char base[] = DB POLICY("p", "  mode: Audit\n  targets: [{name: db}]");
    static const char *const same[] = {
        POLICY("p", "  targets:\n  - name: \"db\"\n  mode: 'Audit'") DB,
        DB "# a comment\n" POLICY("p", "  {mode: Audit, targets: [{name: db}]}"),
        DB "kind: GuardPolicy\napiVersion: chaperone.dev/v1alpha1\nspec: {mode: Audit, targets: "
           "[{name: "
           "db}]}\nmetadata: {name: p, labels: {a: b}, resourceVersion: '7'}\nstatus: {x: 1}\n",
        DB POLICY("p", "  mode: Audit\n  targets: [&x {name: db}]"),
    };
    static const char *const other[] = {
        DB,
        DB POLICY("p", "  mode: Enforce\n  targets: [{name: db}]"),
        DB POLICY("p", "  targets: [{name: db}]"),
        DB POLICY("q", "  mode: Audit\n  targets: [{name: db}]"),
        DB CLUSTER("p", "  mode: Audit\n  targets: [{name: db}]"),
        DB HEAD("GuardPolicy", "p, namespace: x") "spec: {mode: Audit, targets: [{name: db}]}",
        DB POLICY("p", "  mode: Audit\n  targets: [{name: db}, {name: db}]"),
        DB POLICY("p", "  mode: Audit\n  targets: [{name: db, databases: [a]}]"),
        DB POLICY("p", "  mode: Audit\n  targets: [{name: db}]\n  recording: {required: true}"),
        DB POLICY("p", "  mode: Audit\n  targets: [{name: db}]\n  recording: {maxResultBytes: 1}"),
    };
    char wanted[65], got[65];

    (void)state;
    digest_of(base, wanted);
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        digest_of(same[i], got);
        assert_string_equal(got, wanted);
    }
    for (size_t i = 0; i < ARRAY_LEN(other); i++) {
        digest_of(other[i], got);
        assert_string_not_equal(got, wanted);
    }
    /* across restarts and versions: approvals and records name it */
    digest_of("", got);
    assert_string_equal(got, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void test_generation_grows(void **state)
{
    struct policy_snapshot *a = snapshot_of(DB), *b = snapshot_of(DB);

    (void)state;
    assert_true(policy_snapshot_generation(a) > 0);
    assert_true(policy_snapshot_generation(b) > policy_snapshot_generation(a));
    assert_string_equal(policy_snapshot_digest(a), policy_snapshot_digest(b));
    policy_snapshot_unref(a);
    policy_snapshot_unref(b);
}

/* ---- targets ---- */

static void test_target_fields(void **state)
{
    struct policy_snapshot *s = snapshot_of(HEAD(
        "GuardTarget",
        "db, namespace: agents") "spec:\n  protocol: postgres\n  hosts: [Db.prod.svc., 10.1.2.3, "
                                 "10.9.0.0/24, '2001:db8::/32', "
                                 "'::ffff:10.2.0.1']\n  ports: [5432, 5433]\n  tls: {caSecretRef: "
                                 "{name: ca, key: x.crt}, "
                                 "serverName: db.prod.svc}\n  credentials: {secretRef: {name: "
                                 "login}}\n---\n" HEAD(
                                     "GuardTarget",
                                     "bastion") "spec: {protocol: ssh, hosts: [b.x], ports: [22], "
                                                "ssh: "
                                                "{hostKeys: ['" KEY "', '" KEY
                                                " comment']}}\n---\n" HEAD(
                                                    "GuardTarget",
                                                    "plain") "spec: {protocol: postgres, hosts: "
                                                             "[0.0.0.0/0], ports: [1], tls: "
                                                             "{mode: Disable}}\n---\n" HEAD(
                                                                 "GuardTarget",
                                                                 "ca") "spec: {protocol: "
                                                                       "kubernetes, hosts: [k.x], "
                                                                       "ports: [1], tls: "
                                                                       "{caSecretRef: {name: "
                                                                       "c}}}\n");
    const struct target *t = policy_target_by_name(s, "agents", "db");

    (void)state;
    assert_int_equal(policy_n_targets(s), 4);
    assert_null(policy_target_at(s, 4));
    assert_int_equal(t->protocol, TARGET_POSTGRES);
    assert_int_equal(t->n_hosts, 5);
    assert_string_equal(t->hosts[0].name, "Db.prod.svc");
    assert_int_equal(t->hosts[0].prefix_len, -1);
    assert_int_equal(t->hosts[1].prefix_len, 32);
    assert_int_equal(t->hosts[2].prefix_len, 24);
    assert_int_equal(t->hosts[3].prefix_len, 32);
    assert_int_equal(t->hosts[4].addr.ss_family, AF_INET);
    assert_true(target_has_port(t, 5433));
    assert_false(target_has_port(t, 5434));
    assert_int_equal(t->tls, TARGET_TLS_VERIFY_FULL);
    assert_string_equal(t->tls_ca_secret, "ca");
    assert_string_equal(t->tls_ca_key, "x.crt");
    assert_string_equal(t->tls_server_name, "db.prod.svc");
    assert_string_equal(t->credentials_secret, "login");
    assert_null(t->ssh_host_keys);
    t = policy_target_by_name(s, "agents", "bastion");
    assert_string_equal(t->ssh_host_keys[0], KEY);
    assert_string_equal(t->ssh_host_keys[1], KEY " comment");
    assert_null(t->ssh_host_keys[2]);
    assert_null(t->namespace_);
    assert_null(t->credentials_secret);
    assert_int_equal(policy_target_by_name(s, NULL, "plain")->tls, TARGET_TLS_DISABLE);
    assert_string_equal(policy_target_by_name(s, NULL, "ca")->tls_ca_key, "ca.crt");
    policy_snapshot_unref(s);
}

static void test_target_lookup(void **state)
{
    struct policy_snapshot *s = snapshot_of(
        HEAD("GuardTarget",
             "t, namespace: a") "spec: {protocol: tcp, hosts: [a.b], ports: "
                                "[1]}\n---\n" HEAD("GuardTarget",
                                                   "t") "spec: {protocol: tcp, hosts: [a.b], "
                                                        "ports: [2]}\n---\n" HEAD("GuardTarget",
                                                                                  "u, "
                                                                                  "namespace: "
                                                                                  "a") "spec: "
                                                                                       "{protoc"
                                                                                       "ol: "
                                                                                       "tcp, "
                                                                                       "hosts: "
                                                                                       "[a.b], "
                                                                                       "ports: "
                                                                                       "[3]}"
                                                                                       "\n");

    (void)state;
    assert_int_equal(policy_target_by_name(s, "a", "t")->ports[0], 1);
    assert_int_equal(policy_target_by_name(s, "b", "t")->ports[0], 2);
    assert_int_equal(policy_target_by_name(s, NULL, "t")->ports[0], 2);
    assert_int_equal(policy_target_by_name(s, "a", "u")->ports[0], 3);
    assert_null(policy_target_by_name(s, "b", "u"));
    assert_null(policy_target_by_name(s, NULL, "u"));
    assert_null(policy_target_by_name(s, "a", "v"));
    policy_snapshot_unref(s);
}

static struct sockaddr_storage address(const char *text, uint16_t port)
{
    struct sockaddr_storage a = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&a;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a;

    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &v6->sin6_addr), 1);
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
    }
    return a;
}

static const struct {
    const char *host, *address;
    bool matches;
} host_matching[] = {
    {"10.1.2.3", "10.1.2.3", true},
    {"10.1.2.3", "10.1.2.4", false},
    {"10.1.2.3", "::ffff:10.1.2.3", true},
    {"'::ffff:10.1.2.3'", "10.1.2.3", true},
    {"10.1.2.3", "::10.1.2.3", false},
    {"10.9.0.0/24", "10.9.0.255", true},
    {"10.9.0.0/24", "10.9.1.0", false},
    {"10.9.0.0/24", "::ffff:10.9.0.7", true},
    {"10.8.0.0/15", "10.9.1.0", true},
    {"10.8.0.0/15", "10.10.0.0", false},
    {"10.0.0.128/25", "10.0.0.127", false},
    {"0.0.0.0/0", "1.2.3.4", true},
    {"0.0.0.0/0", "2001:db8::1", false},
    {"'::/0'", "2001:db8::1", true},
    {"'::/0'", "1.2.3.4", false},
    {"'::/0'", "::ffff:1.2.3.4", false},
    {"'2001:db8::/33'", "2001:db8:7fff::", true},
    {"'2001:db8::/33'", "2001:db8:8000::", false},
    {"'2001:db8::1'", "2001:db8::1", true},
    {"'2001:db8::1'", "2001:db8::2", false},
    {"db.svc", "10.1.2.3", false},
};

static void test_host_matching(void **state)
{
    struct sockaddr none = {.sa_family = AF_UNIX};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(host_matching); i++) {
        struct sockaddr_storage a = address(host_matching[i].address, 1);
        struct policy_snapshot *s;
        const struct target *t;
        char yaml[256];

        snprintf(yaml, sizeof yaml, "%sspec: {protocol: tcp, hosts: [%s], ports: [1]}",
                 HEAD("GuardTarget", "t"), host_matching[i].host);
        s = snapshot_of(yaml);
        t = policy_target_at(s, 0);
        if (target_host_matches(&t->hosts[0], (struct sockaddr *)&a) != host_matching[i].matches)
            fail_msg("%s and %s", host_matching[i].host, host_matching[i].address);
        assert_false(target_host_matches(&t->hosts[0], &none));
        policy_snapshot_unref(s);
    }
}

/* ---- egress ---- */

static bool egress(const struct policy_snapshot *s, const char *ip, uint16_t port, const char *host)
{
    struct sockaddr_storage a = address(ip, port);

    return policy_egress_allowed(s, &coder, (struct sockaddr *)&a, host);
}

static void test_egress(void **state)
{
    struct policy_snapshot *s = snapshot_of(
        POLICY("a", "  egress:\n  - {host: Api.Example.com, ports: [443, 8443]}\n"
                    "  - {host: 10.0.0.0/8, ports: [80]}")
            CLUSTER("b", "  egress: [{host: 192.0.2.1, ports: [53]}]") POLICY(
                "c", "  subjects: [{groups: [x]}]\n  egress: [{host: 192.0.2.2, ports: [53]}]")
                POLICY("d", AUDIT "  egress: [{host: 192.0.2.3, ports: [53]}]")
                    HEAD("GuardPolicy",
                         "e, namespace: x") "spec: {egress: [{host: 192.0.2.4, ports: [53]}]}");
    struct sockaddr none = {.sa_family = AF_UNIX};

    (void)state;
    assert_true(egress(s, "10.3.4.5", 80, NULL));
    assert_true(egress(s, "::ffff:10.3.4.5", 80, NULL));
    assert_true(egress(s, "10.3.4.5", 80, "other.name"));
    assert_false(egress(s, "10.3.4.5", 81, NULL));
    assert_false(egress(s, "11.3.4.5", 80, NULL));
    assert_true(egress(s, "192.0.2.1", 53, NULL));
    assert_false(egress(s, "192.0.2.2", 53, NULL)); /* for somebody else */
    assert_false(egress(s, "192.0.2.3", 53, NULL)); /* only an Audit policy lists it */
    assert_false(egress(s, "192.0.2.4", 53, NULL)); /* of another namespace */
    assert_true(egress(s, "1.1.1.1", 443, "api.example.com"));
    assert_true(egress(s, "1.1.1.1", 8443, "API.EXAMPLE.COM."));
    assert_false(egress(s, "1.1.1.1", 80, "api.example.com"));
    assert_false(egress(s, "1.1.1.1", 443, "api.example.com.evil.org"));
    assert_false(egress(s, "1.1.1.1", 443, "xapi.example.com"));
    assert_false(egress(s, "1.1.1.1", 443, ""));
    assert_false(egress(s, "1.1.1.1", 443, NULL));
    assert_false(policy_egress_allowed(s, &coder, &none, NULL));
    policy_snapshot_unref(s);
    s = snapshot_of(POLICY("d", AUDIT "  egress: [{host: 192.0.2.3, ports: [53]}]"));
    assert_true(egress(s, "192.0.2.3", 53, NULL));
    assert_false(egress(s, "192.0.2.4", 53, NULL));
    policy_snapshot_unref(s);
    s = snapshot_of("");
    assert_false(egress(s, "192.0.2.3", 53, NULL));
    policy_snapshot_unref(s);
}

struct names {
    char text[128];
    const char *stop;
};

static bool collect(const char *name, void *arg)
{
    struct names *n = arg;

    strcat(n->text, name);
    strcat(n->text, " ");
    return n->stop && strcmp(name, n->stop) == 0;
}

static void test_egress_names(void **state)
{
    struct policy_snapshot *s = snapshot_of(
        POLICY("a", "  egress:\n  - {host: a.x, ports: [443]}\n  - {host: b.x, ports: [80]}\n"
                    "  - {host: 10.0.0.1, ports: [443]}\n  - {host: c.x, ports: [80, 443]}")
            POLICY("b", "  subjects: [{groups: [none]}]\n  egress: [{host: d.x, ports: [443]}]"));
    struct names n = {.stop = NULL};

    (void)state;
    assert_false(policy_egress_names(s, &coder, 443, collect, &n));
    assert_string_equal(n.text, "a.x c.x ");
    n = (struct names){.stop = "a.x"};
    assert_true(policy_egress_names(s, &coder, 443, collect, &n));
    assert_string_equal(n.text, "a.x ");
    n = (struct names){.stop = NULL};
    assert_false(policy_egress_names(s, &coder, 22, collect, &n));
    assert_string_equal(n.text, "");
    policy_snapshot_unref(s);
}

/* ---- examples ---- */

#define EXAMPLES "docs/examples"

/* Tests run in the repository's root, or below it. */
static void examples(char path[static 256])
{
    strcpy(path, EXAMPLES);
    for (int i = 0; i < 6 && access(path, F_OK) != 0; i++) {
        char up[256];

        snprintf(up, sizeof up, "../%.200s", path);
        strcpy(path, up);
    }
}

static struct policy_snapshot *example(const char *name)
{
    struct policy_snapshot *s;
    char path[256], file[512], text[16384];
    size_t n;
    FILE *f;

    examples(path);
    snprintf(file, sizeof file, "%s/%s", path, name);
    f = fopen(file, "r");
    if (!f)
        fail_msg("%s is missing", file);
    n = fread(text, 1, sizeof text - 1, f);
    text[n] = 0;
    assert_int_equal(fclose(f), 0);
    s = snapshot_of(text);
    return s;
}

/* Each for itself, and all together. */
static void test_examples_load(void **state)
{
    static const char *const files[] = {"orders.yaml",  "floor.yaml",   "audit.yaml",
                                        "masking.yaml", "cluster.yaml", "bastion.yaml"};
    struct policy_snapshot *s = NULL;
    struct error err = {0};
    char path[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        policy_snapshot_unref(example(files[i]));
    examples(path);
    if (policy_load_dir(path, &s, &err) != 0)
        fail_msg("%s", err.text);
    assert_int_equal(policy_n_targets(s), 4);
    policy_snapshot_unref(s);
}

static void test_example_decides_as_it_says(void **state)
{
    static const struct {
        struct thing thing;
        enum verdict verdict;
    } rows[] = {
        {{OP_SELECT, "public.orders"}, VERDICT_ALLOW},
        {{OP_SELECT, NULL}, VERDICT_ALLOW},
        {{OP_BEGIN, NULL}, VERDICT_ALLOW},
        {{OP_SELECT, "payroll.salaries"}, VERDICT_DENY},
        {{OP_UPDATE, "public.orders", WHERE_PRESENT}, VERDICT_APPROVE},
        {{OP_UPDATE, "public.orders", WHERE_ABSENT}, VERDICT_DENY},
        {{OP_UPDATE, "public.users", WHERE_PRESENT}, VERDICT_DENY},
        {{OP_DROP, "public.orders"}, VERDICT_DENY},
        {{OP_DO, NULL}, VERDICT_DENY},
    };
    struct policy_snapshot *s = example("orders.yaml");
    struct policy_view *v;

    (void)state;
    v = view_for(s, &coder, "orders-db", "orders");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(decide_thing(v, rows[i].thing).verdict, rows[i].verdict);
    policy_view_unref(v);
    policy_snapshot_unref(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_no_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_file, setup, teardown),
        cmocka_unit_test(test_missing_directory),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_generation_grows),
        cmocka_unit_test(test_target_fields),
        cmocka_unit_test(test_target_lookup),
        cmocka_unit_test(test_host_matching),
        cmocka_unit_test(test_egress),
        cmocka_unit_test(test_egress_names),
        cmocka_unit_test(test_examples_load),
        cmocka_unit_test(test_example_decides_as_it_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
