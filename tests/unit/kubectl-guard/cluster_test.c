/* SPDX-License-Identifier: Apache-2.0
 * The built program and a cluster: what kubectl is called with, and what becomes of its failures.
 */
#include "cluster_fixture.h"

#define OLD "2026-01-01T00:00:00Z"
#define NEW "2026-01-02T00:00:00Z"

/* ---- which cluster, and failing to get there ---- */

static void without_kubectl_the_remedy_is_named(void **state)
{
    static const char *const words[] = {"list", "watch", "sessions", "status"};
    struct fixture *f = *state;

    setenv("KUBECTL", "/nonexistent/kubectl", 1);
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        assert_int_equal(run(f, words[i], NULL), 3);
        COMPLAINS("/nonexistent/kubectl");
        COMPLAINS("KUBECTL");
        COMPLAINS("--socket");
        assert_string_equal(f->out, "");
    }
    assert_int_equal(run(f, "approve", "x", NULL), 3);
    assert_int_equal(run(f, "kill", "S1", NULL), 3);
    assert_int_equal(run(f, "explain", "--sql", "select 1", NULL), 3);
}

static void kubectls_failures_have_their_codes(void **state)
{
    static const struct {
        const char *answer;
        int code;
        const char *words;
    } rows[] = {
        {FAIL("error: context \"prod\" does not exist"), 3, "context \"prod\" does not exist"},
        {FAIL(
             "E1124 12:00:00.1 1 memcache.go:265] \"Unhandled Error\" err=\"x\"\nThe connection to "
             "the server 1.2.3.4:6443 was refused - did you specify the right host or port?"),
         3, "cannot reach the cluster: The connection"},
        {FAIL("error: You must be logged in to the server (Unauthorized)"), 3, "logged in"},
        {FAIL("error: the server doesn't have a resource type \"approvalrequests\""), 3,
         "has no Chaperone"},
        {FAIL("Error from server (Forbidden): approvalrequests.chaperone.dev is forbidden: User "
              "\"bob\" cannot list"),
         1, "kubectl-guard: approvalrequests.chaperone.dev is forbidden: User \"bob\""},
        {"kill -9 $$", 3, "killed by signal 9"},
        {"exit 7", 3, "kubectl failed"},
        {SAY("{\"items\": [}"), 3, "not understood"},
        {SAY(""), 3, "not understood"},
        {SAY("{\"items\": []} {\"items\": []}"), 3, "not understood"},
        {FAIL("a \x1b[2J b"), 3, "a \\x1b[2J b"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        kubectl_answers(f, rows[i].answer);
        assert_int_equal(run(f, "list", NULL), rows[i].code);
        COMPLAINS(rows[i].words);
        assert_string_equal(f->out, "");
        assert_null(strstr(f->err, "memcache"));
    }
}

static void kubectls_options_are_passed_on(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(f, SAY(LIST("")));
    assert_int_equal(run(f, "list", "-n", "agents", "--context=a b;c", "--as", "bob", "--as-group",
                         "g1", "--as-group=g2", "--request-timeout", "5s", NULL),
                     0);
    CALLED("CALL\n--namespace=agents\n--context=a b;c\n--as=bob\n--as-group=g1\n--as-group=g2\n"
           "--request-timeout=5s\nget\napprovalrequests.chaperone.dev\n-o\njson\n");
    kubectl_answers(f, SAY(LIST("")));
    assert_int_equal(run(f, "-A", "list", "-s", "https://x", NULL), 0);
    CALLED("CALL\n--server=https://x\nget\napprovalrequests.chaperone.dev\n--all-namespaces\n");
}

static void options_that_would_have_no_effect_are_refused(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(f, SAY(LIST("")));
    assert_int_equal(run(f, "list", "--socket", f->path, "-n", "agents", NULL), 2);
    COMPLAINS("--namespace is for a cluster");
    assert_int_equal(run(f, "verify", "x", "--context", "c", NULL), 2);
    assert_int_equal(run(f, "approve", "x", "-A", NULL), 2);
    COMPLAINS("-n");
    assert_int_equal(run(f, "show", "x", "-A", NULL), 2);
    assert_int_equal(run(f, "list", "-A", "-n", "agents", NULL), 2);
    assert_int_equal(run(f, "status", "-o", "name", NULL), 2);
    assert_int_equal(run(f, "list", "--context", "a", "--context", "b", NULL), 2);
    assert_int_equal(run(f, "explain", "--sql", "x", "--pod", "p", "--labels", "a=b", NULL), 2);
    assert_int_equal(run(f, "explain", "--sql", "x", "--pod", "p", "--socket", "/x", NULL), 2);
    assert_int_equal(run(f, "test", "x", "--from-cluster", "--policies", "d", NULL), 2);
    setenv("CHAPERONE_SOCKET", f->path, 1);
    assert_int_equal(run(f, "list", "--context", "prod", NULL), 2);
    COMPLAINS("CHAPERONE_SOCKET");
    unsetenv("CHAPERONE_SOCKET");
    assert_string_equal(calls(f), "");
}

/* Nothing that is typed or that an object is called becomes an option or a path of kubectl's. */
static void only_names_are_passed_on(void **state)
{
    static const char *const bad[] = {"a/b", "a,b", "A", "a b", ".", "x;y", "$(x)", ""};
    static const char *const commands[] = {"show", "approve", "deny"};
    struct fixture *f = *state;

    kubectl_answers(f, SAY(LIST("")));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        for (size_t k = 0; k < ARRAY_LEN(commands); k++)
            assert_int_equal(run(f, commands[k], "--", bad[i], NULL), 2);
    assert_int_equal(run(f, "approve", "--", "--all", NULL), 2);
    assert_int_equal(run(f, "deny", "--", "-f", NULL), 2);
    assert_int_equal(run(f, "kill", "--", "-it", NULL), 2);
    assert_int_equal(run(f, "tail", "--", "--stdin", NULL), 2);
    assert_int_equal(run(f, "tail", "a b", NULL), 2);
    assert_int_equal(run(f, "explain", "--sql", "x", "--pod", "a/b", NULL), 2);
    assert_string_equal(calls(f), "");
}

/* ---- reading ---- */

static void list_has_the_sockets_shape(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(
        f, SAY(LIST(REQUEST("bbb", "n1", "5", NEW, "UPDATE b", PENDING) "," REQUEST(
               "ccc", "n2", "6", OLD, "DELETE\\n \\u001b[2J \\u202e c",
               DECIDED("Denied", "Deny")) "," REQUEST("aaa", "n1", "7", OLD, "UPDATE a", "null"))));
    assert_int_equal(run(f, "list", NULL), 0);
    assert_int_equal(strncmp(f->out, "ID ", 3), 0);
    assert_true(strstr(f->out, "\naaa ") < strstr(f->out, "\nbbb "));
    assert_true(strstr(f->out, "\nbbb ") < strstr(f->out, "\nccc "));
    SAYS("DELETE\\n \\x1b[2J <U+202E> c");
    assert_null(strchr(f->out, '\x1b'));
    assert_int_equal(run(f, "list", "--pending", NULL), 0);
    assert_null(strstr(f->out, "ccc"));
    SAYS("aaa");
    assert_int_equal(run(f, "list", "-A", "-o", "wide", NULL), 0);
    assert_int_equal(strncmp(f->out, "NAMESPACE ", 10), 0);
    SAYS("IDENTITY");
    assert_int_equal(run(f, "list", "-o", "name", NULL), 0);
    assert_string_equal(f->out, "approvalrequest.chaperone.dev/aaa\napprovalrequest.chaperone.dev/"
                                "bbb\napprovalrequest.chaperone.dev/ccc\n");
    assert_int_equal(run(f, "list", "--json", NULL), 0);
    SAYS("\"id\": \"aaa\"");
    SAYS("\"phase\": \"Pending\"");
    SAYS("\"namespace\": \"n2\"");
    assert_null(strchr(f->out, '\x1b'));
    kubectl_answers(f, SAY(LIST("")));
    assert_int_equal(run(f, "list", NULL), 0);
    assert_string_equal(f->out, "");
    COMPLAINS("No requests");
}

static void show_is_whole_and_takes_a_beginning(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(f, SAY(REQUEST("aaa", "n1", "7", OLD, "UPDATE \\u001b[2J\\n\\tx",
                                   DECIDED("Approved", "Approve"))));
    assert_int_equal(run(f, "show", "approvalrequest.chaperone.dev/aaa", "-n", "n1", NULL), 0);
    CALLED("--namespace=n1\nget\napprovalrequests.chaperone.dev\naaa\n-o\njson\n");
    SAYS("    UPDATE \\x1b[2J\n        x\n");
    SAYS("$1 = \"x\\u001b[1m\"");
    SAYS("$2 = NULL");
    SAYS("of group dba or user bob; a reason");
    SAYS("Approve by alice at 2026-01-01T00:00:00Z: because");
    assert_null(strchr(f->out, '\x1b'));

    kubectl_answers(
        f,
        "case \"$*\" in *\" a -o\"*|*\" ab -o\"*|*\" z -o\"*)\n" FAIL(
            "Error from server "
            "(NotFound): not found") ";;\nesac\n" SAY(LIST(REQUEST("abc", "n1", "7", OLD, "U",
                                                                   PENDING) "," REQUEST("acd", "n1",
                                                                                        "8", OLD,
                                                                                        "V",
                                                                                        PENDING))));
    assert_int_equal(run(f, "show", "ab", NULL), 0);
    SAYS("abc");
    assert_int_equal(run(f, "show", "a", NULL), 1);
    COMPLAINS("a could be 2 requests: abc acd");
    assert_int_equal(run(f, "show", "z", NULL), 1);
    COMPLAINS("there is no request z");
}

/* ---- deciding ---- */

static void a_decision_is_one_entry_on_what_was_read(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(
        f, "case \"$*\" in *patch*)\n" SAY(
               REQUEST("aaa", "n1", "8", OLD, "UPDATE \\u001b[2J x",
                       DECIDED("Approved", "Approve"))) ";; *)\n" SAY(REQUEST("aaa", "n1", "7", OLD,
                                                                              "UPDATE \\u001b[2J x",
                                                                              PENDING)) ";;\nesac");
    assert_int_equal(
        run(f, "approve", "aaa", "-n", "n1", "--reason", "a \"b\" / '$(c)'", "--uses", "3", NULL),
        0);
    SAYS("aaa approved\n");
    SAYS("Update public.orders");
    SAYS("    UPDATE \\x1b[2J x\n");
    CALLED(
        "--namespace=n1\npatch\napprovalrequests.chaperone.dev\naaa\n--subresource=status\n"
        "--type=json\n-o\njson\n--patch=[{\"op\":\"test\",\"path\":\"/metadata/resourceVersion\","
        "\"value\":\"7\"},{\"op\":\"add\",\"path\":\"/status/decisions/-\",\"value\":{\"decision\":"
        "\"Approve\",\"reason\":\"a \\\"b\\\" / '$(c)'\",\"uses\":3}}]\n");
    assert_int_equal(run(f, "approve", "aaa", "--for", "15m", "--json", NULL), 0);
    CALLED("{\"decision\":\"Approve\",\"validForSeconds\":900}");
    SAYS("\"phase\": \"Approved\"");

    kubectl_answers(
        f, "case \"$*\" in *patch*)\n" SAY(
               REQUEST("aaa", "n1", "8", OLD, "U",
                       DECIDED("Denied", "Deny"))) ";; *)\n" SAY(REQUEST("aaa", "n1", "7", OLD, "U",
                                                                         "null")) ";;\nesac");
    assert_int_equal(run(f, "deny", "aaa", NULL), 0);
    SAYS("aaa denied\n");
    CALLED("{\"op\":\"add\",\"path\":\"/"
           "status\",\"value\":{\"decisions\":[{\"decision\":\"Deny\"}]}}");
}

static void only_the_whole_id_decides(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(f,
                    FAIL("Error from server (NotFound): approvalrequests.chaperone.dev \"aa\" not "
                         "found"));
    assert_int_equal(run(f, "approve", "aa", NULL), 1);
    COMPLAINS("the ID has to be whole");
    assert_int_equal(run(f, "deny", "aa", NULL), 1);
    assert_int_equal(count_calls(f, "patch"), 0);
}

static void what_is_decided_is_not_decided_again(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(f, SAY(REQUEST("aaa", "n1", "7", OLD, "U", DECIDED("Denied", "Deny"))));
    assert_int_equal(run(f, "approve", "aaa", NULL), 1);
    COMPLAINS("not pending: Denied by alice");
    assert_int_equal(count_calls(f, "patch"), 0);
}

static void a_refusal_is_final_and_in_plain_words(void **state)
{
    static const char *const answers[] = {
        FAIL("Error from server: admission webhook \"approvals.chaperone.dev\" denied the request: "
             "you are not among the approvers: groups dba"),
        FAIL("Error from server (Forbidden): admission webhook \"approvals.chaperone.dev\" denied "
             "the "
             "request: you are not among the approvers: groups dba"),
        FAIL(
            "The approvalrequests \"aaa\" is invalid: : ValidatingAdmissionPolicy 'p' with binding "
            "'b' denied request: you are not among the approvers: groups dba"),
    };
    struct fixture *f = *state;
    char script[8192];

    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        snprintf(script, sizeof script, "case \"$*\" in *patch*)\n%s;;\nesac\n%s", answers[i],
                 SAY(REQUEST("aaa", "n1", "7", OLD, "U", PENDING)));
        kubectl_answers(f, script);
        assert_int_equal(run(f, "approve", "aaa", NULL), 1);
        assert_string_equal(f->err,
                            "kubectl-guard: you are not among the approvers: groups dba\n"
                            "Request aaa needs 1 person of group dba or user bob; a reason.\n");
        assert_string_equal(f->out, "");
        assert_int_equal(count_calls(f, "patch"), 1);
    }
    kubectl_answers(
        f, "case \"$*\" in *patch*)\n" FAIL(
               "Error from server (InternalError): Internal error occurred: failed calling "
               "webhook \"a.chaperone.dev\": no endpoints") ";;\nesac\n" SAY(REQUEST("aaa", "n1",
                                                                                     "7", OLD, "U",
                                                                                     PENDING)));
    assert_int_equal(run(f, "approve", "aaa", NULL), 3);
    COMPLAINS("failed calling webhook");
}

#define CONFLICT                                                                                   \
    FAIL("The request is invalid: the server rejected our request due to an error in our request")

static void a_conflict_is_tried_again_on_what_is_there_now(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(
        f,
        "case \"$n $*\" in \"2 \"*)\n" CONFLICT ";;\n*patch*)\n" SAY(REQUEST(
            "aaa", "n1", "9", OLD, "U",
            DECIDED(
                "Approved",
                "Approve"))) ";;\n\"1 \"*)\n" SAY(REQUEST("aaa", "n1", "7", OLD, "U",
                                                          PENDING)) ";;\n*)\n" SAY(REQUEST("aaa",
                                                                                           "n1",
                                                                                           "8", OLD,
                                                                                           "U",
                                                                                           DECIDED(
                                                                                               "Pen"
                                                                                               "din"
                                                                                               "g",
                                                                                               "App"
                                                                                               "rov"
                                                                                               "e"))) ";;\nesac");
    assert_int_equal(run(f, "approve", "aaa", NULL), 0);
    SAYS("aaa approved");
    CALLED("\"value\":\"7\"");
    CALLED("\"value\":\"8\"");
    assert_int_equal(count_calls(f, "patch"), 2);
    /* Somebody else denied it in the meantime. */
    kubectl_answers(
        f, "case \"$n $*\" in *patch*)\n" CONFLICT
           ";;\n\"1 \"*)\n" SAY(REQUEST("aaa", "n1", "7", OLD, "U", PENDING)) ";;\n*)\n" SAY(
               REQUEST("aaa", "n1", "8", OLD, "U", DECIDED("Denied", "Deny"))) ";;\nesac");
    assert_int_equal(run(f, "approve", "aaa", NULL), 1);
    COMPLAINS("Denied by alice");
    assert_int_equal(count_calls(f, "patch"), 1);
}

static void conflicts_are_tried_a_bounded_number_of_times(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(f, "case \"$*\" in *patch*)\n" CONFLICT
                       ";;\nesac\nsed \"s/VERSION/$n/\" <<'END'\n" REQUEST(
                           "aaa", "n1", "VERSION", OLD, "U", PENDING) "\nEND\n");
    assert_int_equal(run(f, "approve", "aaa", NULL), 1);
    COMPLAINS("try again");
    assert_int_equal(count_calls(f, "patch"), 6);
    /* Nothing changed: it is no conflict, and not tried again. */
    kubectl_answers(f, "case \"$*\" in *patch*)\n" CONFLICT
                       ";;\nesac\n" SAY(REQUEST("aaa", "n1", "7", OLD, "U", PENDING)));
    assert_int_equal(run(f, "approve", "aaa", NULL), 1);
    assert_int_equal(count_calls(f, "patch"), 1);
}

static void what_nobody_stamped_is_no_approval(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(
        f, "case \"$*\" in *patch*)\n" SAY(REQUEST(
               "aaa", "n1", "8", OLD, "U",
               "{\"phase\":\"Pending\",\"decisions\":[{\"decision\":\"Approve\"}]"
               "}")) ";; *)\n" SAY(REQUEST("aaa", "n1", "7", OLD, "U", PENDING)) ";;\nesac");
    assert_int_equal(run(f, "approve", "aaa", NULL), 1);
    COMPLAINS("webhook is not in force");
    assert_string_equal(f->out, "");
    kubectl_answers(
        f,
        "case \"$*\" in *patch*)\n" FAIL(
            "The ApprovalRequest \"aaa\" is invalid: \n* status.decisions[0].at: Required "
            "value\n* status.decisions[0].by: Required value") ";;\nesac\n" SAY(REQUEST("aaa", "n1",
                                                                                        "7", OLD,
                                                                                        "U",
                                                                                        PENDING)));
    assert_int_equal(run(f, "approve", "aaa", NULL), 1);
    COMPLAINS("aaa is not decided");
    COMPLAINS("webhook is not in force");
}

/* ---- watch ---- */

#define EVENT(type, object) "{\"type\":\"" type "\",\n \"object\": " object "}"

static void watch_tells_news_only(void **state)
{
    struct fixture *f = *state;

    kubectl_answers(
        f,
        SAY(EVENT(
            "ADDED",
            REQUEST("old", "n", "1", OLD, "U",
                    DECIDED("Denied",
                            "Deny"))) "\n" EVENT("ADDED",
                                                 REQUEST(
                                                     "aaa", "n", "2", OLD, "UPDATE \\u001b[2J",
                                                     PENDING)) "\n" EVENT("ADDED",
                                                                          REQUEST(
                                                                              "aaa", "n", "2", OLD,
                                                                              "UPDATE \\u001b[2J",
                                                                              PENDING))
                EVENT("MODIFIED",
                      REQUEST("aaa", "n", "3", OLD, "U", DECIDED("Approved", "Approve")))
                    EVENT("DELETED",
                          REQUEST("aaa", "n", "4", OLD, "U", DECIDED("Approved", "Approve")))));
    assert_int_equal(run(f, "watch", "-n", "n", NULL), 3);
    COMPLAINS("ended the watch at once");
    CALLED("--namespace=n\nget\napprovalrequests.chaperone.dev\n--watch\n--output-watch-events\n-"
           "o\njson\n");
    assert_null(strstr(f->out, "old"));
    SAYS("UPDATE \\x1b[2J");
    SAYS("Approved");
    SAYS("because");
    assert_null(strchr(strchr(strchr(f->out, '\n') + 1, '\n') + 1, '\n'));
    assert_null(strchr(f->out, '\x1b'));
    assert_int_equal(run(f, "watch", "--json", NULL), 3);
    SAYS("{\"approval\":{\"id\":\"aaa\"");
    kubectl_answers(f, SAY("{\"type\": nonsense"));
    assert_int_equal(run(f, "watch", NULL), 3);
    COMPLAINS("not understood");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(without_kubectl_the_remedy_is_named),
        T(kubectls_failures_have_their_codes),
        T(kubectls_options_are_passed_on),
        T(options_that_would_have_no_effect_are_refused),
        T(only_names_are_passed_on),
        T(list_has_the_sockets_shape),
        T(show_is_whole_and_takes_a_beginning),
        T(a_decision_is_one_entry_on_what_was_read),
        T(only_the_whole_id_decides),
        T(what_is_decided_is_not_decided_again),
        T(a_refusal_is_final_and_in_plain_words),
        T(a_conflict_is_tried_again_on_what_is_there_now),
        T(conflicts_are_tried_a_bounded_number_of_times),
        T(what_nobody_stamped_is_no_approval),
        T(watch_tells_news_only),
    };

    return run_group("cluster", tests, ARRAY_LEN(tests));
}
