/* SPDX-License-Identifier: Apache-2.0
 * The control socket, spoken to over a real socket.
 */
#include "sidecar/control/control.h"

#include "sidecar/session/registry.h"
#include "src-common/clock.h"

#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define SESSION "01JCONTROLTEST000000000000"

/* ---- stand-ins for the session registry ---- */

static atomic_bool killed;
static char killed_why[128];

int registry_list(struct session_info **ret, size_t *ret_n)
{
    struct session_info *s = calloc(1, sizeof *s);

    if (!s)
        return -ENOMEM;
    strcpy(s->id, SESSION);
    strcpy(s->target, "orders-db");
    strcpy(s->state, "idle");
    s->statements = 42;
    s->denied = 3;
    *ret = s;
    *ret_n = 1;
    return 0;
}

int registry_kill(const char *id, const char *why)
{
    if (strcmp(id, SESSION) != 0)
        return -ENOENT;
    snprintf(killed_why, sizeof killed_why, "%s", why);
    atomic_store(&killed, true);
    return 0;
}

/* ---- fixture ---- */

static const char *const no_names[] = {NULL};

struct fixture {
    char dir[64], path[80];
    struct approvals *approvals;
    struct record_spool *spool;
    struct control *control;
    struct approval_settings settings;
    char id[APPROVAL_ID_LEN + 1];
};

static void status(struct buffer *out, void *arg)
{
    (void)arg;
    jsonw_kstr(out, "version", BYTES("1.2.3"));
    jsonw_ku64(out, "policyGeneration", 9);
}

static int start(struct fixture *f, struct control **ret, struct error *err)
{
    struct control_config config = {
        .path = f->path, .approvals = f->approvals, .spool = f->spool, .status = status};

    return control_start(&config, ret, err);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct error err = {0};

    strcpy(f->dir, "/tmp/control_test.XXXXXX");
    if (!mkdtemp(f->dir) || approvals_new(100, &f->approvals) != 0 ||
        record_spool_open(f->dir, &f->spool, &err) != 0)
        return -1;
    snprintf(f->path, sizeof f->path, "%s/sock", f->dir);
    f->settings =
        (struct approval_settings){.groups = no_names, .users = no_names, .timeout_s = 60};
    atomic_store(&killed, false);
    *state = f;
    return start(f, &f->control, &err);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char path[128];
    int r;

    control_stop(f->control);
    approvals_free(f->approvals);
    record_spool_close(f->spool);
    snprintf(path, sizeof path, "%s/%s.jsonl", f->dir, SESSION);
    unlink(path);
    r = rmdir(f->dir); /* fails when the socket was left behind */
    free(f);
    return r;
}

static void ask_text(struct fixture *f, struct bytes text, bool ticket)
{
    static uint8_t n;
    struct approval_ask q = {.session = SESSION,
                             .rule = "writes",
                             .identity = "agent",
                             .statement = text,
                             .parameters = BYTES("[\"1\",\n null]"),
                             .settings = &f->settings};

    f->settings.ticket = ticket;
    q.digest[0] = ++n;
    assert_int_not_equal(approvals_ask(f->approvals, &q, NULL, NULL, f->id),
                         APPROVAL_ANSWER_REFUSED);
}

static void ask(struct fixture *f)
{
    ask_text(f, BYTES("UPDATE orders SET a = 1"), true);
}

/* ---- a client ---- */

struct peer {
    int fd;
    size_t len;
    char in[1 << 20];
};

static int dial(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    close(fd);
    return -1;
}

static struct peer *peer_new(struct fixture *f)
{
    struct peer *p = calloc(1, sizeof *p);

    assert_non_null(p);
    p->fd = dial(f->path);
    assert_true(p->fd >= 0);
    return p;
}

static void peer_free(struct peer *p)
{
    close(p->fd);
    free(p);
}

static void say(struct peer *p, const char *text)
{
    assert_int_equal(send(p->fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* The next line, or NULL at the end of the connection. Fails after five seconds. */
static char *hear_text(struct peer *p)
{
    uint64_t deadline = clock_mono_ms() + 5000;
    char *nl, *line;

    while (!(nl = memchr(p->in, '\n', p->len))) {
        struct pollfd fd = {.fd = p->fd, .events = POLLIN};
        ssize_t n;

        if (clock_mono_ms() > deadline)
            fail_msg("no answer in five seconds");
        if (poll(&fd, 1, 100) <= 0)
            continue;
        n = recv(p->fd, p->in + p->len, sizeof p->in - p->len, 0);
        if (n <= 0)
            return NULL;
        p->len += (size_t)n;
    }
    line = strndup(p->in, (size_t)(nl - p->in));
    p->len -= (size_t)(nl - p->in) + 1;
    memmove(p->in, nl + 1, p->len);
    return line;
}

static struct json_object *hear(struct peer *p)
{
    _cleanup_(free_charp) char *line = hear_text(p);
    struct json_object *o = line ? json_tokener_parse(line) : NULL;

    if (!o)
        fail_msg("not JSON: %s", line ? line : "(end)");
    return o;
}

/* The text at a path like "approval.decisions.0.by"; "" when there is none. */
static const char *at(struct json_object *o, const char *path)
{
    char copy[128], *save = NULL, *key;

    snprintf(copy, sizeof copy, "%s", path);
    for (key = strtok_r(copy, ".", &save); key && o; key = strtok_r(NULL, ".", &save)) {
        if (json_object_is_type(o, json_type_array))
            o = json_object_array_get_idx(o, (size_t)atoi(key));
        else if (!json_object_object_get_ex(o, key, &o))
            o = NULL;
    }
    return o ? json_object_get_string(o) : "";
}

static void expect(struct peer *p, const char *request, const char *path, const char *value)
{
    struct json_object *o;

    say(p, request);
    o = hear(p);
    if (strcmp(at(o, path), value) != 0)
        fail_msg("%s\nanswer: %s\n%s is not %s", request, json_object_to_json_string(o), path,
                 value);
    json_object_put(o);
}

/* ---- tests ---- */

static void the_socket_is_its_owners(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(S_ISSOCK(st.st_mode));
}

static void a_second_guard_is_refused(void **state)
{
    struct fixture *f = *state;
    struct control *second = NULL;
    struct error err = {0};
    struct peer *p;

    assert_int_equal(start(f, &second, &err), -EADDRINUSE);
    assert_null(second);
    assert_non_null(strstr(err.text, "another guard is listening"));
    p = peer_new(f); /* and the first one still answers */
    expect(p, "{\"cmd\":\"status\"}\n", "version", "1.2.3");
    peer_free(p);
}

static void a_dead_socket_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct error err = {0};
    struct peer *p;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    control_stop(f->control);
    f->control = NULL;
    snprintf(a.sun_path, sizeof a.sun_path, "%s", f->path);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    close(fd);
    assert_int_equal(start(f, &f->control, &err), 0);
    p = peer_new(f);
    expect(p, "{\"cmd\":\"status\"}\n", "policyGeneration", "9");
    peer_free(p);
}

static void a_file_in_the_way_is_kept(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    FILE *file;

    control_stop(f->control);
    f->control = NULL;
    file = fopen(f->path, "w");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(start(f, &f->control, &err), -EEXIST);
    assert_null(f->control);
    assert_int_equal(unlink(f->path), 0);
    memset(f->path, 'x', sizeof f->path - 1);
    {
        char longer[200];
        struct control_config config = {.path = longer, .approvals = f->approvals};

        memset(longer, 'x', sizeof longer);
        longer[sizeof longer - 1] = '\0';
        assert_int_equal(control_start(&config, &f->control, &err), -ENAMETOOLONG);
    }
    assert_null(f->control);
}

static void list_show_decide(void **state)
{
    struct fixture *f = *state;
    struct peer *p = peer_new(f);
    char request[256];

    expect(p, "{\"cmd\":\"list\"}\n", "approvals.0.id", "");
    ask(f);
    expect(p, "{\"cmd\":\"list\"}\n", "approvals.0.id", f->id);
    expect(p, "{\"cmd\":\"list\"}\n", "approvals.0.phase", "Pending");
    expect(p, "{\"cmd\":\"list\"}\n", "approvals.0.parameters.0", "1");
    snprintf(request, sizeof request, "{\"cmd\":\"show\",\"id\":\"%s\"}\n", f->id);
    expect(p, request, "approval.statement", "UPDATE orders SET a = 1");
    snprintf(request, sizeof request,
             "{\"cmd\":\"approve\",\"id\":\"%s\",\"reason\":\"ticket 7\",\"uses\":2}\n", f->id);
    expect(p, request, "approval.phase", "Approved");
    expect(p, "{\"cmd\":\"list\"}\n", "approvals.0.decisions.0.reason", "ticket 7");
    expect(p, request, "code", "Conflict");
    peer_free(p);
}

static void the_kernel_says_who(void **state)
{
    struct fixture *f = *state;
    struct peer *p = peer_new(f);
    struct json_object *o;
    char request[256], by[32];

    ask(f);
    snprintf(request, sizeof request, "{\"cmd\":\"deny\",\"id\":\"%s\",\"by\":\"uid:12(alice)\"}\n",
             f->id);
    snprintf(by, sizeof by, "uid:%u", (unsigned)geteuid());
    say(p, request);
    o = hear(p);
    assert_string_equal(at(o, "approval.phase"), "Denied");
    assert_int_equal(strncmp(at(o, "approval.decisions.0.by"), by, strlen(by)), 0);
    json_object_put(o);
    peer_free(p);
}

static void refusals(void **state)
{
    static const struct {
        const char *request, *code;
    } cases[] = {
        {"{\"cmd\":\"show\",\"id\":\"aaaaaaaaaaaa\"}\n", "NotFound"},
        {"{\"cmd\":\"approve\",\"id\":\"aaaaaaaaaaaa\"}\n", "NotFound"},
        {"{\"cmd\":\"deny\",\"id\":\"aaaaaaaaaaaa\"}\n", "NotFound"},
        {"{\"cmd\":\"approve\"}\n", "Invalid"},
        {"{\"cmd\":\"approve\",\"id\":7}\n", "Invalid"},
        {"{\"cmd\":\"approve\",\"id\":\"a\\u0000b\"}\n", "Invalid"},
        {"{\"cmd\":\"approve\",\"id\":\"a\",\"uses\":0}\n", "Invalid"},
        {"{\"cmd\":\"approve\",\"id\":\"a\",\"uses\":-1}\n", "Invalid"},
        {"{\"cmd\":\"approve\",\"id\":\"a\",\"uses\":\"5\"}\n", "Invalid"},
        {"{\"cmd\":\"approve\",\"id\":\"a\",\"uses\":4294967297}\n", "Invalid"},
        {"{\"cmd\":\"approve\",\"id\":\"a\",\"forSeconds\":99999999999}\n", "Invalid"},
        {"{\"cmd\":\"approve\",\"id\":\"a\",\"reason\":[]}\n", "Invalid"},
        {"{\"cmd\":\"kill\",\"session\":\"none\"}\n", "NotFound"},
        {"{\"cmd\":\"kill\"}\n", "Invalid"},
        {"{\"cmd\":\"tail\",\"session\":\"none\"}\n", "NotFound"},
        {"{\"cmd\":\"tail\"}\n", "Invalid"},
        {"{\"cmd\":\"reboot\"}\n", "Invalid"},
        {"{\"cmd\":[]}\n", "Invalid"},
        {"{}\n", "Invalid"},
        {"[]\n", "Invalid"},
        {"\n", "Invalid"},
        {"list\n", "Invalid"},
        {"{\"cmd\":\"list\"\n", "Invalid"},
        {"{\"cmd\":\"list\"} {}\n", "Invalid"},
        {"{'cmd':'list'}\n", "Invalid"},
        {"{\"cmd\":\"list\",\"x\":[[[[[[[[[[[[1]]]]]]]]]]]]}\n", "Invalid"},
        {"{\"cmd\":\"li\xff\"}\n", "Invalid"},
    };
    struct fixture *f = *state;
    struct peer *p = peer_new(f);

    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        expect(p, cases[i].request, "code", cases[i].code);
    expect(p, "{\"cmd\":\"status\"}\n", "version", "1.2.3"); /* the connection is still good */
    assert_false(atomic_load(&killed));
    peer_free(p);
}

static void an_overlong_line_ends_the_connection(void **state)
{
    static char line[(64 << 10) + 2];
    struct fixture *f = *state;
    struct peer *p = peer_new(f);
    struct json_object *o;

    memset(line, 'a', sizeof line - 1);
    say(p, line);
    o = hear(p);
    assert_string_equal(at(o, "code"), "Invalid");
    json_object_put(o);
    assert_null(hear_text(p));
    peer_free(p);
}

static void requests_may_be_piped_in(void **state)
{
    struct fixture *f = *state;
    struct peer *p = peer_new(f);
    struct json_object *o;

    say(p, "{\"cmd\":\"sta");
    say(p, "tus\"}\n{\"cmd\":\"sessions\"}\n{\"cmd\":\"nothing\"}\n");
    assert_int_equal(shutdown(p->fd, SHUT_WR), 0);
    o = hear(p);
    assert_string_equal(at(o, "version"), "1.2.3");
    json_object_put(o);
    o = hear(p);
    assert_string_equal(at(o, "sessions.0.statements"), "42");
    json_object_put(o);
    o = hear(p);
    assert_string_equal(at(o, "code"), "Invalid");
    json_object_put(o);
    assert_null(hear_text(p));
    peer_free(p);
}

static void sessions_are_killed_with_a_reason(void **state)
{
    struct fixture *f = *state;
    struct peer *p = peer_new(f);

    expect(p, "{\"cmd\":\"sessions\"}\n", "sessions.0.id", SESSION);
    expect(p, "{\"cmd\":\"kill\",\"session\":\"" SESSION "\"}\n", "ok", "true");
    assert_true(atomic_load(&killed));
    assert_non_null(strstr(killed_why, "uid:"));
    peer_free(p);
}

/* Two people at once: one watches, the other decides. */
static void watchers_see_what_others_decide(void **state)
{
    struct fixture *f = *state;
    struct peer *watcher = peer_new(f), *decider = peer_new(f);
    struct json_object *o;
    char request[256], first[APPROVAL_ID_LEN + 1];

    ask(f);
    memcpy(first, f->id, sizeof first);
    say(watcher, "{\"cmd\":\"watch\"}\n");
    o = hear(watcher); /* what was pending before */
    assert_string_equal(at(o, "approval.id"), first);
    json_object_put(o);
    ask(f);
    o = hear(watcher);
    assert_string_equal(at(o, "approval.id"), f->id);
    assert_string_equal(at(o, "approval.phase"), "Pending");
    json_object_put(o);
    snprintf(request, sizeof request, "{\"cmd\":\"approve\",\"id\":\"%s\"}\n", first);
    expect(decider, request, "approval.phase", "Approved");
    o = hear(watcher);
    assert_string_equal(at(o, "approval.id"), first);
    assert_string_equal(at(o, "approval.phase"), "Approved");
    json_object_put(o);
    peer_free(watcher);
    expect(decider, "{\"cmd\":\"status\"}\n", "version", "1.2.3");
    peer_free(decider);
}

/* Both decide; exactly one of them is the one who did. */
static void two_deciders_one_decision(void **state)
{
    struct fixture *f = *state;
    struct peer *a = peer_new(f), *b = peer_new(f);
    struct json_object *x, *y;
    char request[256];

    for (int i = 0; i < 20; i++) {
        ask(f);
        snprintf(request, sizeof request, "{\"cmd\":\"approve\",\"id\":\"%s\"}\n", f->id);
        say(a, request);
        say(b, request);
        x = hear(a);
        y = hear(b);
        assert_int_equal((*at(x, "error") != 0) + (*at(y, "error") != 0), 1);
        json_object_put(x);
        json_object_put(y);
    }
    peer_free(a);
    peer_free(b);
}

static void long_statements_are_cut_in_lists_only(void **state)
{
    struct fixture *f = *state;
    struct peer *p = peer_new(f);
    struct json_object *o;
    size_t n = 100000;
    _cleanup_(free_charp) char *text = malloc(n);
    char request[256];

    for (size_t i = 0; i + 1 < n; i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    ask_text(f, bytes_of(text, n), true);
    say(p, "{\"cmd\":\"list\"}\n");
    o = hear(p);
    assert_int_equal(strlen(at(o, "approvals.0.statement")), 16384);
    assert_string_equal(at(o, "approvals.0.cut"), "true");
    json_object_put(o);
    snprintf(request, sizeof request, "{\"cmd\":\"show\",\"id\":\"%s\"}\n", f->id);
    say(p, request);
    o = hear(p);
    assert_int_equal(strlen(at(o, "approval.statement")), n);
    assert_string_equal(at(o, "approval.cut"), "");
    json_object_put(o);
    peer_free(p);
}

static void too_many_clients_are_told_so(void **state)
{
    struct fixture *f = *state;
    struct peer *last, *first = peer_new(f);
    int fds[63];
    struct json_object *o;

    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        fds[i] = dial(f->path);
    expect(first, "{\"cmd\":\"status\"}\n", "version", "1.2.3");
    last = peer_new(f);
    o = hear(last);
    assert_non_null(strstr(at(o, "error"), "too many"));
    json_object_put(o);
    assert_null(hear_text(last));
    peer_free(last);
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        close(fds[i]);
    expect(first, "{\"cmd\":\"status\"}\n", "version", "1.2.3");
    last = peer_new(f);
    expect(last, "{\"cmd\":\"status\"}\n", "version", "1.2.3");
    peer_free(last);
    peer_free(first);
}

/* ---- tail ---- */

static void write_lines(struct record *r, size_t n, struct bytes text)
{
    for (size_t i = 0; i < n; i++) {
        struct buffer *b = record_begin(r, "statement");

        jsonw_ku64(b, "n", i);
        jsonw_kstr(b, "text", text);
        assert_int_equal(record_end(r), 0);
        assert_int_equal(record_flush(r), 0);
    }
}

static void following_starts(struct fixture *f, struct peer *p, const char *request)
{
    struct peer *other = peer_new(f);

    say(p, request);
    /* The service thread reads in order of arrival: after another's answer it has read ours. */
    expect(other, "{\"cmd\":\"status\"}\n", "version", "1.2.3");
    expect(other, "{\"cmd\":\"status\"}\n", "version", "1.2.3");
    peer_free(other);
}

static void tail_shows_lines_as_they_are_written(void **state)
{
    static const char *const requests[] = {"{\"cmd\":\"tail\",\"session\":\"all\"}\n",
                                           "{\"cmd\":\"tail\",\"session\":\"" SESSION "\"}\n"};
    struct fixture *f = *state;
    struct peer *one = peer_new(f), *all = peer_new(f);
    struct record *r = NULL;
    struct json_object *o;
    char number[16];

    following_starts(f, all, requests[0]);
    following_starts(f, one, requests[1]);
    assert_int_equal(record_open(f->spool, SESSION, &r), 0);
    write_lines(r, 50, BYTES("SELECT 1"));
    for (int i = 0; i < 50; i++) {
        snprintf(number, sizeof number, "%d", i);
        o = hear(one);
        assert_string_equal(at(o, "seq"), number);
        assert_string_equal(at(o, "type"), "statement");
        json_object_put(o);
        o = hear(all);
        assert_string_equal(at(o, "seq"), number);
        json_object_put(o);
    }
    record_close(r);
    peer_free(one);
    peer_free(all);
}

static void a_slow_tail_is_dropped_and_blocks_nobody(void **state)
{
    struct fixture *f = *state;
    struct peer *slow = peer_new(f), *other = peer_new(f);
    _cleanup_(free_charp) char *text = malloc(100000);
    _cleanup_(free_charp) char *line = NULL;
    _cleanup_(free_charp) char *last = NULL;
    struct record *r = NULL;
    uint64_t began = clock_mono_ms();

    memset(text, 't', 100000);
    following_starts(f, slow, "{\"cmd\":\"tail\",\"session\":\"all\"}\n");
    assert_int_equal(record_open(f->spool, SESSION, &r), 0);
    write_lines(r, 300, bytes_of(text, 100000)); /* 30 MB that nobody reads */
    assert_true(clock_mono_ms() - began < 20000);
    expect(other, "{\"cmd\":\"status\"}\n", "version", "1.2.3");
    while ((line = hear_text(slow))) {
        free(last);
        last = take(&line);
    }
    assert_non_null(last);
    assert_non_null(strstr(last, "too slowly"));
    record_close(r);
    peer_free(slow);
    peer_free(other);
}

static void a_giant_line_is_named_not_shown(void **state)
{
    struct fixture *f = *state;
    struct peer *p = peer_new(f);
    size_t n = 3 << 20;
    _cleanup_(free_charp) char *text = malloc(n);
    struct record *r = NULL;
    struct json_object *o;

    memset(text, 't', n);
    following_starts(f, p, "{\"cmd\":\"tail\",\"session\":\"all\"}\n");
    assert_int_equal(record_open(f->spool, SESSION, &r), 0);
    write_lines(r, 1, bytes_of(text, n));
    o = hear(p);
    assert_string_equal(at(o, "type"), "notice");
    json_object_put(o);
    record_close(r);
    peer_free(p);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(the_socket_is_its_owners),
        T(a_second_guard_is_refused),
        T(a_dead_socket_is_replaced),
        T(a_file_in_the_way_is_kept),
        T(list_show_decide),
        T(the_kernel_says_who),
        T(refusals),
        T(an_overlong_line_ends_the_connection),
        T(requests_may_be_piped_in),
        T(sessions_are_killed_with_a_reason),
        T(watchers_see_what_others_decide),
        T(two_deciders_one_decision),
        T(long_statements_are_cut_in_lists_only),
        T(too_many_clients_are_told_so),
        T(tail_shows_lines_as_they_are_written),
        T(a_slow_tail_is_dropped_and_blocks_nobody),
        T(a_giant_line_is_named_not_shown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
