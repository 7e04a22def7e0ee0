/* SPDX-License-Identifier: Apache-2.0
 * Requests that are decided elsewhere: what the outlet is told, and which votes count.
 */
#include "sidecar/approval/approval.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char *const no_names[] = {NULL};
static const char *const dba[] = {"dba", NULL};
static const char *const named[] = {"carol@example.com", NULL};
static const char *const dba_too[] = {"system:authenticated", "dba", NULL};
static const char *const others[] = {"system:authenticated", "dbas", NULL};

struct fixture {
    struct approvals *a;
    struct approval_settings settings;
    struct approval_ask ask;
    char id[APPROVAL_ID_LEN + 1];
    bool closed;
    int asked, settled, told;
    enum approval_phase phase;
    struct error err;
};

static bool is_open(void *arg)
{
    return !((struct fixture *)arg)->closed;
}

static void on_asked(struct approval_info *copy, void *arg)
{
    struct fixture *f = arg;

    f->asked++;
    assert_string_equal(copy->statement, "UPDATE orders SET a = 1");
    assert_int_equal(copy->uses, 1);
    approval_info_done(copy);
    free(copy);
}

static void on_settled(const char *id, enum approval_phase phase, void *arg)
{
    struct fixture *f = arg;

    (void)id, (void)phase;
    f->settled++;
}

static void on_decided(const char *id, enum approval_phase phase, void *arg)
{
    struct fixture *f = arg;

    (void)id;
    f->phase = phase;
    f->told++;
}

static int setup(void **state)
{
    static const struct approvals_outlet outlet = {is_open, on_asked, on_settled};
    struct fixture *f = calloc(1, sizeof *f);

    if (!f || approvals_new(10, &f->a) != 0)
        return -1;
    approvals_set_outlet(f->a, &outlet, f);
    f->settings = (struct approval_settings){
        .groups = dba, .users = named, .count = 1, .timeout_s = 60, .valid_for_s = 600};
    f->ask = (struct approval_ask){.identity = "alice@example.com",
                                   .rule = "writes",
                                   .statement = BYTES("UPDATE orders SET a = 1"),
                                   .settings = &f->settings};
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

static int vote(struct fixture *f, bool approve, const char *by, const char *const *groups)
{
    const struct approval_vote v = {.approve = approve,
                                    .by = by,
                                    .groups = groups,
                                    .reason = "because",
                                    .at_us = 1700000000000000};

    return approvals_vote(f->a, f->id, &v, &f->err);
}

static void a_closed_outlet_refuses_at_once(void **state)
{
    struct fixture *f = *state;

    f->closed = true;
    assert_int_equal(ask(f), APPROVAL_ANSWER_AWAY);
    f->settings.ticket = true;
    assert_int_equal(ask(f), APPROVAL_ANSWER_AWAY);
    assert_int_equal(f->asked, 0);
    f->closed = false;
    assert_int_equal(ask(f), APPROVAL_ANSWER_TICKET);
    assert_int_equal(f->asked, 1);
    f->closed = true; /* who asked already still has the ticket */
    assert_int_equal(ask(f), APPROVAL_ANSWER_TICKET);
    assert_int_equal(f->asked, 1);
}

static void an_approver_by_group_or_name(void **state)
{
    struct fixture *f = *state;
    struct approval_info i;

    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(vote(f, true, "bob@example.com", others), -EPERM);
    assert_int_equal(vote(f, true, "bob@example.com", no_names), -EPERM);
    assert_int_equal(vote(f, true, "bob@example.com", NULL), -EPERM);
    assert_int_equal(vote(f, true, "root", others), -EPERM);
    assert_int_equal(f->told, 0);
    assert_int_equal(vote(f, true, "bob@example.com", dba_too), 0);
    assert_int_equal(f->told, 1);
    assert_int_equal(f->phase, APPROVAL_APPROVED);
    assert_int_equal(f->settled, 1);
    assert_int_equal(approvals_get(f->a, f->id, &i), 0);
    assert_string_equal(i.decisions[0].by, "bob@example.com");
    assert_true(i.decisions[0].at_us == 1700000000000000);
    approval_info_done(&i);
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(vote(f, true, "carol@example.com", others), 0);
}

static void nobody_twice_and_nobody_for_themselves(void **state)
{
    struct fixture *f = *state;

    f->settings.count = 2;
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(vote(f, true, "alice@example.com", dba), -EPERM);
    assert_int_equal(vote(f, true, "bob@example.com", dba), 0);
    assert_int_equal(vote(f, true, "bob@example.com", dba), -EPERM);
    assert_int_equal(f->told, 0);
    assert_int_equal(vote(f, true, "carol@example.com", no_names), 0);
    assert_int_equal(f->phase, APPROVAL_APPROVED);
    assert_int_equal(vote(f, true, "dan@example.com", dba), -EALREADY);
}

static void anybody_may_deny(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(vote(f, false, "mallory@example.com", no_names), 0);
    assert_int_equal(f->phase, APPROVAL_DENIED);
}

static void a_number_is_no_name(void **state)
{
    static const char *const uid[] = {"uid:4294967295", NULL};
    struct fixture *f = *state;

    f->settings.users = uid; /* what -1 would print as */
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(vote(f, true, "bob@example.com", no_names), -EPERM);
}

static void long_names_are_refused_and_long_reasons_cut(void **state)
{
    struct fixture *f = *state;
    char name[300] = {0}, reason[2000] = {0};
    const struct approval_vote v = {.approve = true, .by = "bob", .groups = dba, .reason = reason};
    struct approval_info i;

    memset(name, 'n', sizeof name - 1);
    memset(reason, 'r', sizeof reason - 1);
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_int_equal(vote(f, true, name, dba), -EINVAL);
    assert_int_equal(approvals_vote(f->a, f->id, &v, &f->err), 0);
    assert_int_equal(approvals_get(f->a, f->id, &i), 0);
    assert_int_equal(strlen(i.decisions[0].reason), sizeof i.decisions[0].reason - 1);
    approval_info_done(&i);
}

static void closing_says_why(void **state)
{
    struct fixture *f = *state;
    struct approval_info i;

    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    approvals_close(f->a, f->id, APPROVAL_FAILED, NULL, "the API server is away");
    assert_int_equal(f->phase, APPROVAL_FAILED);
    assert_int_equal(approvals_get(f->a, f->id, &i), 0);
    assert_string_equal(i.fault, "the API server is away");
    approval_info_done(&i);
    approvals_close(f->a, f->id, APPROVAL_DENIED, "x", "too late");
    assert_int_equal(f->told, 1);
    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    approvals_close(f->a, f->id, APPROVAL_DENIED, "the API", "deleted");
    assert_int_equal(f->phase, APPROVAL_DENIED);
    assert_int_equal(approvals_get(f->a, f->id, &i), 0);
    assert_string_equal(i.decisions[0].by, "the API");
    assert_string_equal(i.decisions[0].reason, "deleted");
    approval_info_done(&i);
    assert_int_equal(vote(f, true, "bob@example.com", dba), -EALREADY);
}

static void withdrawing_tells_the_outlet(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(ask(f), APPROVAL_ANSWER_WAIT);
    assert_true(approvals_withdraw(f->a, f->id));
    assert_int_equal(f->settled, 1);
    assert_int_equal(f->told, 0);
    assert_int_equal(vote(f, true, "bob@example.com", dba), -EALREADY);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_closed_outlet_refuses_at_once),
        T(an_approver_by_group_or_name),
        T(nobody_twice_and_nobody_for_themselves),
        T(anybody_may_deny),
        T(a_number_is_no_name),
        T(long_names_are_refused_and_long_reasons_cut),
        T(closing_says_why),
        T(withdrawing_tells_the_outlet),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
