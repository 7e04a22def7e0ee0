/* SPDX-License-Identifier: Apache-2.0
 * The built program and the guards of a cluster: sessions, tail, kill, status; and policies of a
 * cluster: explain, test. And completion.
 */
#include "cluster_fixture.h"

#define POD(name, ns, phase, state)                                                                \
    "{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"" ns                                     \
    "\",\"labels\":{\"app\":\"coder\"}},"                                                          \
    "\"spec\":{\"serviceAccountName\":\"sa\"},\"status\":{\"phase\":\"" phase                      \
    "\",\"initContainerStatuses\":[{\"name\":\"chaperone-init\",\"state\":{\"terminated\":{}}},"   \
    "{\"name\":\"chaperone\",\"state\":" state "}]}}"
#define RUNNING "{\"running\":{}}"
#define WAITING "{\"waiting\":{\"reason\":\"ImagePullBackOff\"}}"
#define SESSIONS(id, client)                                                                       \
    "{\"sessions\":[{\"id\":\"" id "\",\"target\":\"orders-db\",\"user\":\"" client                \
    "\",\"statements\":4,\"denied\":1}]}"
/* Pods a and b can be asked, c can not, d is over, e has not started. */
#define PODS                                                                                       \
    "case \"$*\" in *\"get pods\"*)\n" SAY(                                                        \
        LIST(POD("a", "n1", "Running", RUNNING) "," POD("b", "n2", "Running", RUNNING) "," POD(    \
            "c", "n2", "Running", RUNNING) "," POD("d", "n2", "Succeeded",                         \
                                                   RUNNING) "," POD("e", "n2", "Pending",          \
                                                                    WAITING))) "exit 0;;\n"
#define C_IS_DOWN                                                                                  \
    "*\"exec c \"*)\n" FAIL("error: unable to upgrade connection: container not found") ";;\n"

static void sessions_of_all_pods_in_one_table(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(f, PODS C_IS_DOWN "*\"exec a \"*)\n" SAY(
                           SESSIONS("S1", "x\\u001b[2J")) ";;\n"
                                                          "*\"exec b \"*)\n" SAY(
                                                              SESSIONS("S2", "y")) ";;\nesac");
    assert_int_equal(run(f, "sessions", "-A", "--context", "k", NULL), 0);
    CALLED("CALL\n--context=k\nget\npods\n-l\nchaperone.dev/injected=true\n--all-namespaces\n");
    CALLED(
        "CALL\n--context=k\n--namespace=n1\nexec\na\n-c\nchaperone\n--\n/kubectl-guard\n--socket\n"
        "/run/chaperone/control.sock\nsessions\n-o\njson\n");
    SAYS("NAMESPACE   POD");
    SAYS("n1          a     S1");
    SAYS("n2          b     S2");
    SAYS("x\\x1b[2J");
    COMPLAINS("pod c in n2: unable to upgrade connection");
    COMPLAINS("pod e in n2: ImagePullBackOff");
    assert_null(strstr(f->err, "pod d"));
    assert_int_equal(count_calls(f, "exec"), 3);
    assert_int_equal(run(f, "sessions", "--json", NULL), 0);
    SAYS("\"pod\": \"b\"");
    SAYS("\"reason\": \"ImagePullBackOff\"");
}

static void no_guard_that_answers_is_3(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(f, PODS "*)\n" FAIL("error: Internal error") ";;\nesac");
    assert_int_equal(run(f, "sessions", NULL), 3);
    COMPLAINS("pod a in n1: Internal error");
    assert_int_equal(run(f, "tail", "S1", NULL), 3);
    assert_int_equal(run(f, "kill", "S1", NULL), 3);
    assert_int_equal(count_calls(f, "kill"), 0);
    kubectl_answers(f, PODS "*)\n" SAY("no json") ";;\nesac");
    assert_int_equal(run(f, "sessions", NULL), 3);
    COMPLAINS("not understood");
    kubectl_answers(f, SAY(LIST("")));
    assert_int_equal(run(f, "sessions", NULL), 0);
    COMPLAINS("No pods with a guard");
    assert_int_equal(run(f, "tail", "all", NULL), 0);
    assert_int_equal(run(f, "kill", "S1", NULL), 1);
}

/* A pod's name comes from the API server; one that could not be a name is not passed on. */
static void pods_with_impossible_names_are_left_out(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(f, SAY(LIST(POD("-it", "n1", "Running", RUNNING) "," POD("a", "--all",
                                                                             "Running", RUNNING))));
    assert_int_equal(run(f, "sessions", NULL), 0);
    assert_int_equal(count_calls(f, "exec"), 0);
}

#define TWO_GUARDS                                                                                 \
    PODS C_IS_DOWN "*\"exec a \"*sessions*)\n" SAY(                                                \
        SESSIONS("S1", "x")) ";;\n"                                                                \
                             "*\"exec b \"*sessions*)\n" SAY(SESSIONS("S2", "y")) ";;\n"

static void kill_finds_the_pod(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(f, TWO_GUARDS "*kill*) echo S2 ended;;\nesac");
    assert_int_equal(run(f, "kill", "S2", NULL), 0);
    assert_string_equal(f->out, "S2 ended, in pod b\n");
    CALLED("--namespace=n2\nexec\nb\n-c\nchaperone\n--\n/kubectl-guard\n--socket\n"
           "/run/chaperone/control.sock\nkill\nS2\n");
    assert_int_equal(count_calls(f, "kill"), 1);
    kubectl_answers(f, TWO_GUARDS "esac");
    assert_int_equal(run(f, "kill", "S9", NULL), 3); /* c may have it */
    COMPLAINS("S9");
    assert_int_equal(count_calls(f, "kill"), 0);
    kubectl_answers(
        f,
        "case \"$*\" in *\"get pods\"*)\n" SAY(LIST(POD(
            "a", "n1", "Running",
            RUNNING))) ";;\n*sessions*)\n" SAY(SESSIONS("S1", "x")) ";;\n"
                                                                    "*)\n" FAIL(
                                                                        "Error from server "
                                                                        "(Forbidden): admission "
                                                                        "webhook \"x\" denied the "
                                                                        "request: you may not "
                                                                        "delete guardsessions in "
                                                                        "n1") ";;\nesac");
    assert_int_equal(run(f, "kill", "S9", NULL), 1);
    assert_int_equal(run(f, "kill", "S1", NULL), 1);
    COMPLAINS("kubectl-guard: you may not delete guardsessions in n1");
}

#define LINE(session, type, more)                                                                  \
    "{\"seq\":1,\"time\":\"2026-01-01T00:00:00.000000Z\",\"type\":\"" type                         \
    "\",\"session\":\"" session "\"" more "}"

static void tail_follows_one_session_to_its_end(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(f, TWO_GUARDS "*\"exec b \"*tail*)\n" SAY(
                           LINE("S2", "statement", ",\"text\":\"SELECT \\u001b[2J\"") "\n" LINE(
                               "S2", "session.close", "")) "exec sleep 60;;\nesac");
    assert_int_equal(run(f, "tail", "S2", NULL), 0);
    CALLED("exec\nb\n-c\nchaperone\n--\n/kubectl-guard\n--socket\n/run/chaperone/"
           "control.sock\ntail\nS2\n"
           "--json\n");
    SAYS("SELECT");
    assert_null(strchr(f->out, '\x1b'));
    assert_int_equal(run(f, "tail", "S2", "--json", NULL), 0);
    SAYS("{\"seq\":1,");
    kubectl_answers(f, TWO_GUARDS
                    "*tail*)\n" FAIL("kubectl-guard: there is no live session S2\ncommand "
                                     "terminated with exit code 1") ";;\nesac");
    assert_int_equal(run(f, "tail", "S2", NULL), 1);
    COMPLAINS("there is no live session S2");
    assert_null(strstr(f->err, "terminated"));
}

static void tail_of_pods(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(f, PODS C_IS_DOWN
                    "*tail*)\n" SAY(LINE("S7", "statement", ",\"text\":\"SELECT 7\"")) ";;\nesac");
    assert_int_equal(run(f, "tail", "a", NULL), 3);
    COMPLAINS("pod a: the connection to its guard was closed");
    SAYS("SELECT 7");
    assert_int_equal(count_calls(f, "exec"), 1);
    CALLED("tail\nall\n--json\n");
    assert_int_equal(run(f, "tail", "e", NULL), 3);
    COMPLAINS("ImagePullBackOff");
    assert_int_equal(run(f, "tail", "all", NULL), 3);
    SAYS("a: ");
    SAYS("b: ");
}

/* ---- status ---- */

#define HOOKS(kind, ca)                                                                            \
    "{\"kind\":\"" kind                                                                            \
    "\",\"webhooks\":[{\"name\":\"x.chaperone.dev\",\"clientConfig\":{\"caBundle\":"               \
    "\"" ca                                                                                        \
    "\",\"service\":{\"namespace\":\"chaperone-system\",\"name\":\"chaperone-webhook\"}}},"        \
    "{\"name\":\"not-chaperone.dev\",\"clientConfig\":{\"service\":{\"namespace\":\"q\",\"name\":" \
    "\"q\"}}}]}"
#define POLICY(kind, name, accepted)                                                               \
    "{\"kind\":\"" kind "\",\"metadata\":{\"name\":\"" name                                        \
    "\",\"namespace\":\"n1\",\"generation\":2},"                                                   \
    "\"status\":{\"conditions\":[{\"type\":\"Accepted\",\"status\":\"" accepted                    \
    "\",\"observedGeneration\":2},{\"type\":\"Enforced\",\"status\":\"True\","                     \
    "\"observedGeneration\":1}]}}"
#define ALL_KINDS                                                                                  \
    "*api-resources*) printf '%s.chaperone.dev\\n' approvalrequests clusterguardpolicies "         \
    "guardpolicies guardtargets;;\n"

static void status_says_what_is_not_in_order(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(f, "case \"$*\" in " ALL_KINDS "*mutatingwebhook*)\n" SAY(LIST(HOOKS("MutatingW"
                                                                                         "ebhookCon"
                                                                                         "figuratio"
                                                                                         "n",
                                                                                         "Y2E=") "," HOOKS("ValidatingWebhookConfiguration", "Y2E="))) ";;\n*endpointslices*)\n" SAY(LIST("{\"endpoints\":[{\"conditions\":{\"ready\":false}},{\"conditions\":{\"ready\":"
                                                                                                                                                                                          "true}}]}")) ";;\n*namespaces*)\n" SAY(LIST("{\"metadata\":{\"name\":\"n1\"}}")) ";;\n*clusterguard*)\n" SAY(LIST("")) ";;\n"
                                                                                                                                                                                                                                                                                                                 "*guardtargets*)\n" SAY(
                                                                                                                                                                                                                                                                                                                     LIST(POLICY(
                                                                                                                                                                                                                                                                                                                         "GuardPolicy", "good", "True") "," POLICY("GuardPolicy", "bad", "False"))) ";;\n*approvalrequests*)\n" SAY(LIST(REQUEST("aaa",
                                                                                                                                                                                                                                                                                                                                                                                                                                                 "n1",
                                                                                                                                                                                                                                                                                                                                                                                                                                                 "1",
                                                                                                                                                                                                                                                                                                                                                                                                                                                 "2026-01-01T00:00:00Z", "U", PENDING))) ";;\n"
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                         "*pods*)\n" SAY(LIST(POD(
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             "a",
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             "n1",
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             "Running",
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                             RUNNING))) ";;\n"
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                        "*\"status -o json\"*)\n" SAY(
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                            "{\"version\":\"1.2.3\",\"ready\":true,\"sessions\":2,"
                                                                                                                                                                                                                                                                                                                                                                                                                                                                                                            "\"statements\":3,\"denied\":1,\"policyDigest\":\"abc\",\"policyError\":\"\"}") ";;\nesac");
    assert_int_equal(run(f, "status", NULL), 1);
    SAYS("1 mutating and 1 validating");
    SAYS("1 of 2 replicas of chaperone-system/chaperone-webhook are ready");
    SAYS("1 enabled: n1");
    SAYS("NOT OK  accepted    1 of 2 policies and targets are Accepted; not: GuardPolicy n1/bad");
    SAYS("ok      enforced    0 of 2"); /* of an older generation: not known, not wrong */
    SAYS("not known");
    SAYS("1 pending of 1");
    SAYS("1.2.3");
    CALLED("endpointslices.discovery.k8s.io\n--namespace=chaperone-system\n"
           "--selector=kubernetes.io/service-name=chaperone-webhook\n");
    assert_null(strstr(calls(f), "=q\n"));
    assert_int_equal(run(f, "status", "--json", NULL), 1);
    SAYS("\"ok\": false");
}

static void status_of_a_cluster_without_chaperone(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(f, "case \"$*\" in *api-resources*);;\n*)\n" SAY(LIST("")) ";;\nesac");
    assert_int_equal(run(f, "status", NULL), 1);
    SAYS("NOT OK  resources   missing: approvalrequests, clusterguardpolicies");
    SAYS("NOT OK  webhook     none is registered");
    kubectl_answers(
        f, "case \"$*\" in " ALL_KINDS
           "*)\n" FAIL("Error from server (Forbidden): x is forbidden: User \"bob\"") ";;\nesac");
    assert_int_equal(run(f, "status", NULL), 1);
    SAYS("unknown webhook     x is forbidden");
    kubectl_answers(f, FAIL("Unable to connect to the server: no route to host"));
    assert_int_equal(run(f, "status", NULL), 3);
    assert_string_equal(f->out, "");
}

/* ---- policies ---- */

#define TARGET                                                                                     \
    "{\"apiVersion\":\"chaperone.dev/"                                                             \
    "v1alpha1\",\"kind\":\"GuardTarget\",\"metadata\":{\"name\":\"db\","                           \
    "\"namespace\":\"n1\",\"uid\":\"x\",\"managedFields\":[{}]},\"spec\":{\"protocol\":"           \
    "\"postgres\","                                                                                \
    "\"hosts\":[\"127.0.0.1\"],\"ports\":[5432]},\"status\":{\"conditions\":[]}}"
#define POLICY_OF(operation)                                                                       \
    "{\"apiVersion\":\"chaperone.dev/"                                                             \
    "v1alpha1\",\"kind\":\"GuardPolicy\",\"metadata\":{\"name\":\"p\",\"namespace\":\"n1\"},"      \
    "\"spec\":{\"subjects\":[{\"podSelector\":{\"matchLabels\":{\"app\":\"coder\"}},"              \
    "\"serviceAccounts\":[\"sa\"]}],"                                                              \
    "\"rules\":[{\"name\":\"read\",\"action\":\"Allow\",\"sql\":{\"operations\":[\"" operation     \
    "\"]}},"                                                                                       \
    "{\"name\":\"ddl\",\"action\":\"Deny\",\"sql\":{\"operations\":[\"DDL\"]},\"message\":\"a / "  \
    "\\\"b\\\"\"}]}}"
#define IN_CLUSTER(operation)                                                                      \
    "case \"$*\" in *clusterguard*)\n" SAY(LIST("")) ";;\n*guardtargets*)\n" SAY(                  \
        LIST(TARGET "," POLICY_OF(operation))) ";;\n*pod*)\n" SAY(POD("coder-0", "n1", "Running",  \
                                                                      RUNNING)) ";;\nesac"

static void policies_of_the_cluster_are_explained(void **state)
{
    struct fixture *f = *state;
    char path[128];
    FILE *file;

    kubectl_answers(f, IN_CLUSTER("Read"));
    run(f, "explain", "-n", "n1", "--pod", "coder-0", "--sql", "select 1", NULL);
    print_message("%s", f->err);
    assert_int_equal(run(f, "explain", "-n", "n1", "--pod", "coder-0", "--sql", "select 1", NULL),
                     0);
    SAYS("Allow by rule read");
    CALLED("--namespace=n1\nget\npod\ncoder-0\n");
    CALLED("--namespace=n1\nget\nguardtargets.chaperone.dev,guardpolicies.chaperone.dev\n");
    CALLED("CALL\nget\nclusterguardpolicies.chaperone.dev\n");
    assert_int_equal(run(f, "explain", "--labels", "app=coder", "--service-account", "sa", "--sql",
                         "select 1", NULL),
                     0);
    assert_int_equal(run(f, "explain", "--labels", "app=other", "--sql", "select 1", NULL), 1);
    assert_int_equal(run(f, "explain", "--pod", "coder-0", "--sql", "drop table a", NULL), 1);
    SAYS("Deny by rule ddl");
    SAYS("a / \"b\"");

    snprintf(path, sizeof path, "%s/t.yaml", f->dir);
    file = fopen(path, "we");
    assert_non_null(file);
    fputs("cases:\n- {name: c, sql: select 1, expect: Allow, agent: {namespace: n1, "
          "serviceAccount: sa, "
          "labels: {app: coder}}}\n",
          file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(run(f, "test", path, "--from-cluster", "-A", NULL), 0);
    SAYS("PASS");
    assert_int_equal(run(f, "test", path, NULL), 2);
    COMPLAINS("--from-cluster");

    kubectl_answers(f, IN_CLUSTER("Reed"));
    assert_int_equal(run(f, "explain", "--sql", "select 1", NULL), 2);
    COMPLAINS("not valid: GuardPolicy n1/p: ");
    COMPLAINS("Reed");
    assert_int_equal(run(f, "test", path, "--from-cluster", NULL), 2);
    kubectl_answers(f,
                    FAIL("Error from server (Forbidden): guardtargets is forbidden: User \"bob\""));
    assert_int_equal(run(f, "explain", "--sql", "select 1", NULL), 1);
    assert_int_equal(run(f, "test", path, "--from-cluster", NULL), 1);
}

/* ---- completion ---- */

static void completion_offers_what_fits(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(
        f, "case \"$*\" in *approvalrequests*)\n" SAY(
               LIST(REQUEST("aaa", "n", "1", "2026-01-01T00:00:00Z", "U", PENDING) "," REQUEST(
                   "abb", "n", "1", "2026-01-01T00:00:00Z", "U",
                   DECIDED("Denied", "Deny")))) ";;\n"
                                                "*namespaces*) echo namespace/agents; echo "
                                                "namespace/alpha; echo namespace/b;;\n"
                                                "*get-contexts*) echo prod; echo odd/name;;\n"
                                                "*pods*)\n" SAY(LIST(
                                                    POD("a", "n1", "Running",
                                                        RUNNING))) ";;\n"
                                                                   "*sessions*)\n" SAY(SESSIONS(
                                                                       "S1", "x")) ";;\nesac");
    assert_int_equal(run(f, "__complete", "ap", NULL), 0);
    assert_string_equal(f->out, "approve\tapprove a request\n:4\n");
    assert_int_equal(run(f, "__complete", "approve", "a", NULL), 0);
    assert_string_equal(f->out, "aaa\tUpdate public.orders\n:4\n");
    assert_int_equal(run(f, "__complete", "show", "-n", "n", "", NULL), 0);
    assert_string_equal(f->out, "aaa\tUpdate public.orders\nabb\tUpdate public.orders\n:4\n");
    CALLED("--namespace=n\nget\n");
    assert_int_equal(run(f, "__complete", "approve", "aaa", "--rea", NULL), 0);
    assert_int_equal(strncmp(f->out, "--reason\t", 9), 0);
    assert_int_equal(run(f, "__complete", "approve", "aaa", "", NULL), 0);
    assert_string_equal(f->out, ":4\n");
    assert_int_equal(run(f, "__complete", "list", "-n", "a", NULL), 0);
    assert_string_equal(f->out, "agents\nalpha\n:4\n");
    assert_int_equal(run(f, "__complete", "list", "--context=", NULL), 0);
    assert_string_equal(f->out, "--context=prod\n--context=odd/name\n:4\n");
    assert_int_equal(run(f, "__complete", "list", "-o", "y", NULL), 0);
    assert_string_equal(f->out, "yaml\n:4\n");
    assert_int_equal(run(f, "__complete", "kill", "", NULL), 0);
    assert_string_equal(f->out, "S1\torders-db\n:4\n");
    assert_int_equal(run(f, "__complete", "tail", "", NULL), 0);
    assert_string_equal(f->out, "S1\torders-db\na\tpod\nall\tevery session\n:4\n");
    assert_int_equal(run(f, "__complete", "verify", "", NULL), 0);
    assert_string_equal(f->out, ":0\n");
}

static void completion_is_silent_about_errors(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(f, FAIL("error: no"));
    assert_int_equal(run(f, "__complete", "approve", "", NULL), 0);
    assert_string_equal(f->out, ":4\n");
    assert_string_equal(f->err, "");
    assert_int_equal(run(f, "__complete", "frobnicate", "", NULL), 0);
    assert_string_equal(f->out, ":4\n");
    assert_int_equal(run(f, "__complete", NULL), 0);
    assert_int_equal(run(f, "__complete", "list", "--nonsense", "x", "", NULL), 0);
    assert_string_equal(f->err, "");
    assert_int_equal(run(f, "completion", "bash", NULL), 0);
    SAYS("complete -F _kubectl_guard kubectl-guard");
    assert_int_equal(run(f, "completion", "zsh", NULL), 0);
    SAYS("#compdef kubectl-guard");
    assert_int_equal(run(f, "completion", "fish", NULL), 0);
    SAYS("complete -c kubectl-guard");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(sessions_of_all_pods_in_one_table),       T(no_guard_that_answers_is_3),
        T(pods_with_impossible_names_are_left_out), T(kill_finds_the_pod),
        T(tail_follows_one_session_to_its_end),     T(tail_of_pods),
        T(status_says_what_is_not_in_order),        T(status_of_a_cluster_without_chaperone),
        T(policies_of_the_cluster_are_explained),   T(completion_offers_what_fits),
        T(completion_is_silent_about_errors),
    };

    return run_group("guardpods", tests, ARRAY_LEN(tests));
}
