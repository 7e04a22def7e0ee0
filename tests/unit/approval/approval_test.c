/* SPDX-License-Identifier: Apache-2.0
 * The approval registry: who may decide, what a grant covers, and who is told.
 */
#include "sidecar/approval/approval.h"

#include "src-common/clock.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#define ROOT       "uid:0(root)"
#define NOBODY     "uid:65534(nobody)"
#define DAEMON     "uid:1(daemon)"
#define UID_ROOT   0
#define UID_DAEMON 1
#define UID_NOBODY 65534

static const char *const no_names[] = {NULL};

struct fixture {
    struct approvals *a;
    struct approval_settings settings;
    struct approval_ask ask;
    atomic_int told;
    enum approval_phase phase;
    char told_id[APPROVAL_ID_LEN + 1];
    char id[APPROVAL_ID_LEN + 1];
    struct error err;
};

static void on_decided(const char *id, enum approval_phase phase, void *arg)
{
    struct fixture *f = arg;

    memcpy(f->told_id, id, sizeof f->told_id);
    f->phase = phase;
    atomic_fetch_add(&f->told, 1);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    if (!f || approvals_new(10, &f->a) != 0)
        return -1;
    f->settings = (struct approval_settings){.groups = no_names,
                                             .users = no_names,
                                             .count = 1,
                                             .timeout_s = 60,
                                             .valid_for_s = 600,
                                             .uses = 1};
    f->ask = (struct approval_ask){.session = "01J",
                                   .pod = "coder-1",
                                   .service_account = "coder",
                                   .identity = "coder@agents",
                                   .target = "orders-db",
                                   .database = "orders",
                                   .user = "app",
                                   .policy = "p",
                                   .rule = "writes",
                                   .effect = "Update public.orders (where)",
                                   .statement = BYTES("UPDATE orders SET a = 1"),
                                   .parameters = BYTES("[]"),
                                   .settings = &f->settings,
                                   .policy_generation = 7};
    f->ask.digest[0] = 1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    approvals_free(f->a);
    free(f);
    return 0;
}

static enum approval_answer ask(struct fixture *f)
{
    return approvals_ask(f->a, &f->ask, on_decided, f, f->id);
}

static int approve(struct fixture *f, const char *by, uid_t uid, uint32_t uses, uint32_t valid_s)
{
    return approvals_decide(f->a, f->id, true, by, uid, "ok", uses, valid_s, &f->err);
}

static int deny(struct fixture *f, const char *by, uid_t uid)
{
    return approvals_decide(f->a, f->id, false, by, uid, "no", 0, 0, &f->err);
}

static struct approval_info get(struct fixture *f)
{
    struct approval_info i;

    assert_int_equal(approvals_get(f->a, f->id, &i), 0);
    return i;
}

static enum approval_phase phase_of(struct fixture *f)
{
    struct approval_info i = get(f);
    enum approval_phase p = i.phase;

    approval_info_done(&i);
    return p;
}

static void hold_is_told_once(void **state)
{
    struct fixture *f = *state;
    struct approval_info i;

    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(strlen(f->id), APPROVAL_ID_LEN);
    assert_int_equal(strspn(f->id, "abcdefghijklmnopqrstuvwxyz234567"), APPROVAL_ID_LEN);
    assert_int_equal(f->told, 0);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 0, 0), 0);
    assert_int_equal(f->told, 1);
    assert_int_equal(f->phase, APPROVAL_APPROVED);
    assert_string_equal(f->told_id, f->id);
    i = get(f);
    assert_string_equal(i.decisions[0].by, ROOT);
    assert_string_equal(i.decisions[0].decision, "approve");
    assert_string_equal(i.decisions[0].reason, "ok");
    assert_string_equal(i.statement, "UPDATE orders SET a = 1");
    assert_string_equal(i.effect, "Update public.orders (where)");
    assert_int_equal(strncmp(i.digest, "0100", 4), 0);
    approval_info_done(&i);
}

static void a_hold_leaves_no_grant(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 0, 0), 0);
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
}

static void uses_on_a_hold_leave_a_grant(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 3, 0), 0);
    assert_int_equal(ask(f), APPROVAL_ANSWER_GRANTED);
    assert_int_equal(ask(f), APPROVAL_ANSWER_GRANTED);
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(f->told, 1);
}

static void a_time_alone_means_any_number(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 0, 300), 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(ask(f), APPROVAL_ANSWER_GRANTED);
}

static void a_grant_runs_out(void **state)
{
    struct fixture *f = *state;
    uint64_t deadline = clock_mono_ms() + 5000;
    enum approval_answer answer;

    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 0, 1), 0);
    do {
        answer = ask(f);
        usleep(10000);
    } while (answer == APPROVAL_ANSWER_GRANTED && clock_mono_ms() < deadline);
    assert_int_equal(answer, APPROVAL_ANSWER_WAIT);
}

static void another_statement_is_not_granted(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 10, 600), 0);
    f->ask.digest[31] ^= 1;
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    f->ask.digest[31] ^= 1;
    assert_int_equal(ask(f), APPROVAL_ANSWER_GRANTED);
}

static void a_new_policy_voids_grants(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 10, 600), 0);
    f->ask.policy_generation = 8;
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
}

static void a_ticket_is_joined_then_used_up(void **state)
{
    struct fixture *f = *state;
    char first[APPROVAL_ID_LEN + 1];

    f->settings.ticket = true;
    f->settings.uses = 2;
    assert_int_equal(ask(f), APPROVAL_ANSWER_TICKET);
    memcpy(first, f->id, sizeof first);
    assert_int_equal(ask(f), APPROVAL_ANSWER_TICKET);
    assert_string_equal(f->id, first);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 0, 0), 0);
    assert_int_equal(f->told, 0);
    assert_int_equal(ask(f), APPROVAL_ANSWER_GRANTED);
    assert_string_equal(f->id, first);
    assert_int_equal(ask(f), APPROVAL_ANSWER_GRANTED);
    assert_int_equal(ask(f), APPROVAL_ANSWER_TICKET);
    assert_string_not_equal(f->id, first);
}

static void a_denied_ticket_grants_nothing(void **state)
{
    struct fixture *f = *state;

    f->settings.ticket = true;
    assert_int_equal(ask(f), APPROVAL_ANSWER_TICKET);
    assert_int_equal(deny(f, ROOT, UID_ROOT), 0);
    assert_int_equal(ask(f), APPROVAL_ANSWER_TICKET);
}

static void an_old_ticket_is_withdrawn_by_a_new_policy(void **state)
{
    struct fixture *f = *state;
    char first[APPROVAL_ID_LEN + 1];

    f->settings.ticket = true;
    assert_int_equal(ask(f), APPROVAL_ANSWER_TICKET);
    memcpy(first, f->id, sizeof first);
    f->ask.policy_generation = 8;
    assert_int_equal(ask(f), APPROVAL_ANSWER_TICKET);
    assert_string_not_equal(f->id, first);
    memcpy(f->id, first, sizeof first);
    assert_int_equal(phase_of(f), APPROVAL_WITHDRAWN);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 0, 0), -EALREADY);
}

static void one_denial_decides(void **state)
{
    struct fixture *f = *state;

    f->settings.count = 3;
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 0, 0), 0);
    assert_int_equal(deny(f, NOBODY, UID_NOBODY), 0);
    assert_int_equal(f->phase, APPROVAL_DENIED);
    assert_int_equal(f->told, 1);
    assert_int_equal(approve(f, DAEMON, UID_DAEMON, 0, 0), -EALREADY);
    assert_non_null(strstr(f->err.text, "Denied"));
}

static void two_people_are_two_people(void **state)
{
    struct fixture *f = *state;

    f->settings.count = 2;
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 0, 0), 0);
    assert_int_equal(phase_of(f), APPROVAL_PENDING);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 0, 0), -EPERM);
    assert_int_equal(approve(f, "uid:0(toor)", UID_ROOT, 0, 0),
                     -EPERM);                                    /* another name, same uid */
    assert_int_equal(approve(f, ROOT, (uid_t)-1, 0, 0), -EPERM); /* same name */
    assert_int_equal(f->told, 0);
    assert_int_equal(approve(f, NOBODY, UID_NOBODY, 0, 0), 0);
    assert_int_equal(f->phase, APPROVAL_APPROVED);
}

static void the_narrowest_approval_counts(void **state)
{
    struct fixture *f = *state;

    f->settings.count = 2;
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 50, 600), 0);
    assert_int_equal(approve(f, NOBODY, UID_NOBODY, 2, 0), 0);
    assert_int_equal(ask(f), APPROVAL_ANSWER_GRANTED);
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
}

/* The first approver changes their mind before the second has decided. */
static void an_approver_may_still_deny(void **state)
{
    struct fixture *f = *state;

    f->settings.count = 2;
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 0, 0), 0);
    assert_int_equal(deny(f, ROOT, UID_ROOT), 0);
    assert_int_equal(f->phase, APPROVAL_DENIED);
}

static void more_people_than_fit_never_approve(void **state)
{
    struct fixture *f = *state;
    char by[32];

    f->settings.count = APPROVAL_MAX_DECISIONS + 1;
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    for (unsigned i = 0; i < APPROVAL_MAX_DECISIONS; i++) {
        snprintf(by, sizeof by, "uid:%u", 2000 + i);
        assert_int_equal(approve(f, by, 2000 + i, 0, 0), 0);
    }
    assert_int_equal(approve(f, "uid:3000", 3000, 0, 0), -EPERM);
    assert_int_equal(phase_of(f), APPROVAL_PENDING);
}

static void nobody_approves_for_themselves(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {NOBODY, "uid:65534", "nobody"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        f->ask.identity = names[i];
        f->ask.digest[1]++;
        assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
        assert_int_equal(approve(f, NOBODY, UID_NOBODY, 0, 0), -EPERM);
        assert_non_null(strstr(f->err.text, "another person"));
        assert_int_equal(phase_of(f), APPROVAL_PENDING);
    }
    f->settings.allow_self = true;
    f->ask.digest[1]++;
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(approve(f, NOBODY, UID_NOBODY, 0, 0), 0);
}

static void root_does_not_approve_for_root(void **state)
{
    struct fixture *f = *state;

    f->ask.identity = ROOT;
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 0, 0), -EPERM);
}

static void groups_are_required(void **state)
{
    static const char *const groups[] = {"a-group-that-is-not-here", NULL};
    struct fixture *f = *state;

    f->settings.groups = groups;
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(approve(f, NOBODY, UID_NOBODY, 0, 0), -EPERM);
    assert_int_equal(deny(f, NOBODY, UID_NOBODY), -EPERM);
    assert_int_equal(approve(f, "uid:4000000", 4000000, 0, 0), -EPERM);
    assert_int_equal(approve(f, "somebody", (uid_t)-1, 0, 0), -EPERM);
    assert_int_equal(phase_of(f), APPROVAL_PENDING);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 0, 0), 0);
}

static void group_members_may_decide(void **state)
{
    const struct passwd *pw = getpwuid(UID_DAEMON);
    const struct group *gr = pw ? getgrgid(pw->pw_gid) : NULL;
    const char *groups[] = {"a-group-that-is-not-here", gr ? gr->gr_name : NULL, NULL};
    struct fixture *f = *state;

    assert_non_null(gr);
    f->settings.groups = groups;
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(approve(f, NOBODY, UID_NOBODY, 0, 0), -EPERM);
    assert_int_equal(approve(f, DAEMON, UID_DAEMON, 0, 0), 0);
}

static void named_users_may_decide(void **state)
{
    static const char *const users[] = {"nobody", NULL};
    struct fixture *f = *state;

    f->settings.users = users;
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(approve(f, DAEMON, UID_DAEMON, 0, 0), -EPERM);
    assert_int_equal(approve(f, NOBODY, UID_NOBODY, 0, 0), 0);
}

static void a_reason_is_required(void **state)
{
    struct fixture *f = *state;
    char longer[600];

    f->settings.require_reason = true;
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(approvals_decide(f->a, f->id, true, ROOT, 0, NULL, 0, 0, &f->err), -EINVAL);
    assert_int_equal(approvals_decide(f->a, f->id, true, ROOT, 0, "", 0, 0, &f->err), -EINVAL);
    assert_int_equal(approvals_decide(f->a, f->id, true, ROOT, 0, " \t\n", 0, 0, &f->err), -EINVAL);
    assert_non_null(strstr(f->err.text, "--reason"));
    memset(longer, 'r', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(approvals_decide(f->a, f->id, true, ROOT, 0, longer, 0, 0, &f->err), -EINVAL);
    assert_int_equal(phase_of(f), APPROVAL_PENDING);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 0, 0), 0);
}

static void unknown_requests(void **state)
{
    struct fixture *f = *state;
    struct approval_info i;

    strcpy(f->id, "aaaaaaaaaaaa");
    assert_int_equal(approve(f, ROOT, UID_ROOT, 0, 0), -ENOENT);
    assert_int_equal(approvals_get(f->a, "", &i), -ENOENT);
    assert_false(approvals_withdraw(f->a, "aaaaaaaaaaaa"));
}

static void the_queue_is_bounded(void **state)
{
    struct fixture *f = *state;
    char first[APPROVAL_ID_LEN + 1];

    for (int i = 0; i < 10; i++) {
        f->ask.digest[2] = (uint8_t)i;
        assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
        if (i == 0)
            memcpy(first, f->id, sizeof first);
    }
    f->ask.digest[2] = 99;
    assert_int_equal(ask(f), APPROVAL_ANSWER_REFUSED);
    assert_string_equal(f->id, "");
    assert_true(approvals_withdraw(f->a, first));
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
}

static void huge_statements_are_refused(void **state)
{
    struct fixture *f = *state;
    size_t n = (size_t)40 << 20;
    _cleanup_(free_charp) char *text = malloc(n);

    assert_non_null(text);
    memset(text, 'x', n);
    f->ask.statement = bytes_of(text, n);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(ask(f), APPROVAL_ANSWER_REFUSED);
    f->ask.statement = BYTES("SELECT 1");
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
}

static void a_nul_does_not_hide_the_rest(void **state)
{
    struct fixture *f = *state;
    struct approval_info i;

    f->ask.statement = BYTES("SELECT 1\0; DROP TABLE t");
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    i = get(f);
    assert_non_null(strstr(i.statement, "DROP TABLE"));
    approval_info_done(&i);
}

static void withdrawn_is_not_told(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_true(approvals_withdraw(f->a, f->id));
    assert_false(approvals_withdraw(f->a, f->id));
    assert_int_equal(phase_of(f), APPROVAL_WITHDRAWN);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 0, 0), -EALREADY);
    assert_int_equal(f->told, 0);
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
}

static void requests_expire(void **state)
{
    struct fixture *f = *state;
    uint64_t deadline = clock_mono_ms() + 5000;

    f->settings.timeout_s = 1;
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_true(approvals_tick(f->a) <= 1000);
    while (!atomic_load(&f->told) && clock_mono_ms() < deadline)
        usleep((useconds_t)approvals_tick(f->a) * 1000 + 1000);
    assert_int_equal(f->told, 1);
    assert_int_equal(f->phase, APPROVAL_EXPIRED);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 0, 0), -EALREADY);
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
}

static void every_change_moves_the_version(void **state)
{
    struct fixture *f = *state;
    uint64_t v = approvals_version(f->a), next;

    f->settings.count = 2;
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    next = approvals_version(f->a);
    assert_true(next > v);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 5, 0), 0);
    assert_true(approvals_version(f->a) > next);
    next = approvals_version(f->a);
    assert_int_equal(approve(f, ROOT, UID_ROOT, 5, 0), -EPERM);
    assert_int_equal(approvals_version(f->a), next);
}

static void the_list_is_kept_short(void **state)
{
    struct fixture *f = *state;
    struct approval_info *list = NULL;
    size_t n = 0;

    for (int i = 0; i < 1200; i++) {
        assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
        assert_int_equal(deny(f, ROOT, UID_ROOT), 0);
    }
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(approvals_list(f->a, &list, &n), 0);
    assert_int_equal(n, 1001);
    assert_string_equal(list[n - 1].id, f->id); /* newest last */
    for (size_t i = 0; i < n; i++)
        approval_info_done(&list[i]);
    free(list);
}

/* ---- threads ---- */

struct race {
    struct approvals *a;
    struct approval_settings settings;
    atomic_int done;
};

/* The session's side: its memory dies right after withdraw returns, so a late callback would
 * write into freed memory (which the sanitizers see). */
static void *sessions(void *arg)
{
    struct race *race = arg;

    for (int i = 0; i < 500; i++) {
        struct fixture *mine = calloc(1, sizeof *mine);
        struct approval_ask q = {.session = "s",
                                 .rule = "r",
                                 .identity = "agent",
                                 .statement = BYTES("SELECT 1"),
                                 .settings = &race->settings};

        if (approvals_ask(race->a, &q, on_decided, mine, mine->id) == APPROVAL_ANSWER_WAIT)
            (void)!approvals_withdraw(race->a, mine->id);
        free(mine);
    }
    atomic_fetch_add(&race->done, 1);
    return NULL;
}

static void *people(void *arg)
{
    struct race *race = arg;

    while (atomic_load(&race->done) < 2) {
        struct approval_info *list;
        size_t n;

        if (approvals_list(race->a, &list, &n) != 0)
            continue;
        for (size_t i = 0; i < n; i++) {
            if (list[i].phase == APPROVAL_PENDING &&
                approvals_decide(race->a, list[i].id, true, ROOT, 0, NULL, 0, 0, NULL) != 0)
                approvals_tick(race->a);
            approval_info_done(&list[i]);
        }
        free(list);
    }
    return NULL;
}

static void no_callback_after_withdraw(void **state)
{
    struct fixture *f = *state;
    struct race race = {.a = f->a, .settings = f->settings};
    pthread_t t[3];

    assert_int_equal(pthread_create(&t[0], NULL, people, &race), 0);
    assert_int_equal(pthread_create(&t[1], NULL, sessions, &race), 0);
    assert_int_equal(pthread_create(&t[2], NULL, sessions, &race), 0);
    for (size_t i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(atomic_load(&race.done), 2);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(hold_is_told_once),
        T(a_hold_leaves_no_grant),
        T(uses_on_a_hold_leave_a_grant),
        T(a_time_alone_means_any_number),
        T(a_grant_runs_out),
        T(another_statement_is_not_granted),
        T(a_new_policy_voids_grants),
        T(a_ticket_is_joined_then_used_up),
        T(a_denied_ticket_grants_nothing),
        T(an_old_ticket_is_withdrawn_by_a_new_policy),
        T(one_denial_decides),
        T(two_people_are_two_people),
        T(the_narrowest_approval_counts),
        T(an_approver_may_still_deny),
        T(more_people_than_fit_never_approve),
        T(nobody_approves_for_themselves),
        T(root_does_not_approve_for_root),
        T(groups_are_required),
        T(group_members_may_decide),
        T(named_users_may_decide),
        T(a_reason_is_required),
        T(unknown_requests),
        T(the_queue_is_bounded),
        T(huge_statements_are_refused),
        T(a_nul_does_not_hide_the_rest),
        T(withdrawn_is_not_told),
        T(requests_expire),
        T(every_change_moves_the_version),
        T(the_list_is_kept_short),
        T(no_callback_after_withdraw),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
