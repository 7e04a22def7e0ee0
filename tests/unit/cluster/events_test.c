/* SPDX-License-Identifier: Apache-2.0
 * Events: how many there are, in which order, and what of the records they tell.
 */
#include "sidecar/cluster/event_queue.h"
#include "sidecar/cluster/story.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct event_queue q;
static struct event e;
static uint64_t wait_ms;

static int setup(void **state)
{
    (void)state;
    event_queue_init(&q, 1000);
    return 0;
}

static enum event_todo next(uint64_t now)
{
    return event_queue_next(&q, now, &e, &wait_ms);
}

static void sent(uint64_t now)
{
    static unsigned n;

    snprintf(e.name, sizeof e.name, "%u", ++n);
    event_queue_sent(&q, &e, now);
}

static void equal_ones_are_a_series(void **state)
{
    (void)state;
    event_queue_add(&q, EVENT_DENIED, "x", 1);
    event_queue_add(&q, EVENT_DENIED, "x", 2);
    assert_int_equal(next(1000), EVENT_POST);
    assert_int_equal(e.count, 2);
    sent(1000);
    assert_int_equal(next(1000), EVENT_PATCH); /* the count is an update of what was made */
    assert_int_equal(e.count, 2);
    assert_int_equal(next(1000), EVENT_NOTHING);
    for (int i = 0; i < 1000; i++)
        event_queue_add(&q, EVENT_DENIED, "x", 3);
    assert_int_equal(next(1000 + EVENT_SERIES_MS - 1), EVENT_NOTHING);
    assert_int_equal(wait_ms, 1);
    assert_int_equal(next(1000 + EVENT_SERIES_MS), EVENT_PATCH);
    assert_int_equal(e.count, 1002);
    event_queue_untold(&q, &e);
    assert_int_equal(next(1000 + 2 * EVENT_SERIES_MS), EVENT_PATCH);
    event_queue_forget(&q, &e);
    event_queue_add(&q, EVENT_DENIED, "x", 4);
    assert_int_equal(next(1000 + 2 * EVENT_SERIES_MS), EVENT_POST);
    assert_int_equal(e.count, 1);
}

static void the_urgent_come_first(void **state)
{
    (void)state;
    event_queue_add(&q, EVENT_SESSION_STARTED, "s", 1);
    event_queue_add(&q, EVENT_DENIED, "d", 1);
    event_queue_add(&q, EVENT_APPROVAL_REQUESTED, "a", 1);
    assert_int_equal(next(1000), EVENT_POST);
    assert_string_equal(e.note, "a");
    assert_int_equal(next(1000), EVENT_POST);
    assert_string_equal(e.note, "d");
    assert_int_equal(next(1000), EVENT_POST);
    assert_string_equal(e.note, "s");
    assert_int_equal(next(1000), EVENT_NOTHING);
}

#define SESSIONS (EVENT_BURST - EVENT_RESERVED)

/* An agent that does ten thousand different things in no time. */
static void a_flood_is_a_trickle(void **state)
{
    char note[32];
    unsigned n = 0;

    (void)state;
    for (int i = 0; i < 10000; i++) {
        snprintf(note, sizeof note, "session %d", i);
        event_queue_add(&q, EVENT_SESSION_STARTED, note, 1);
        n += next(1000) == EVENT_POST;
    }
    assert_int_equal(n, SESSIONS);
    assert_int_equal(q.n_waiting[EVENT_SESSION_STARTED], EVENT_PER_KIND);
    assert_int_equal(q.dropped, 10000 - SESSIONS - EVENT_PER_KIND);
    assert_int_equal(wait_ms, EVENT_REFILL_MS);
    assert_int_equal(next(1000 + EVENT_REFILL_MS), EVENT_POST);
    snprintf(note, sizeof note, "session %d", 10000 - EVENT_PER_KIND); /* the newest are kept */
    assert_string_equal(e.note, note);
    assert_int_equal(next(1000 + EVENT_REFILL_MS), EVENT_NOTHING);
    event_queue_add(&q, EVENT_APPROVAL_REQUESTED, "a", 1); /* no kind pushes out another */
    assert_int_equal(next(1000 + EVENT_REFILL_MS), EVENT_POST);
    assert_string_equal(e.note, "a");
    for (n = 0; next(3600000) == EVENT_POST;)
        n++;
    assert_int_equal(n, SESSIONS); /* saved up at most */
}

/* Approvals and refusals are told at once though sessions wait, and are not without end either. */
static void sessions_leave_room(void **state)
{
    char note[32];
    unsigned n = 0;

    (void)state;
    for (int i = 0; i < 100; i++) {
        snprintf(note, sizeof note, "session %d", i);
        event_queue_add(&q, EVENT_SESSION_ENDED, note, 1);
        next(1000);
    }
    for (int i = 0; i < EVENT_PER_KIND; i++) {
        snprintf(note, sizeof note, "refusal %d", i);
        event_queue_add(&q, EVENT_DENIED, note, 1);
        n += next(1000) == EVENT_POST;
        assert_int_equal(e.kind, n ? EVENT_DENIED : EVENT_SESSION_ENDED);
    }
    assert_int_equal(n, EVENT_RESERVED);
    assert_int_equal(next(1000 + EVENT_REFILL_MS), EVENT_POST);
    assert_int_equal(e.kind, EVENT_DENIED);
    while (next(1000 + 10 * EVENT_REFILL_MS) == EVENT_POST)
        assert_int_equal(e.kind, EVENT_DENIED); /* sessions wait until the ten are there again */
}

static void what_was_not_sent_waits_again(void **state)
{
    char note[32];

    (void)state;
    event_queue_add(&q, EVENT_DENIED, "x", 1);
    assert_int_equal(next(1000), EVENT_POST);
    event_queue_add(&q, EVENT_DENIED, "x", 5); /* meanwhile */
    event_queue_back(&q, &e);
    assert_int_equal(q.n_waiting[EVENT_DENIED], 1);
    assert_int_equal(next(1000), EVENT_POST);
    assert_int_equal(e.count, 2);
    assert_int_equal(e.first_us, 1);
    event_queue_add(&q, EVENT_DENIED, "y", 6);
    event_queue_back(&q, &e); /* in its old place */
    assert_int_equal(next(1000), EVENT_POST);
    assert_string_equal(e.note, "x");
    for (int i = 0; i < EVENT_PER_KIND; i++) {
        snprintf(note, sizeof note, "%d", i);
        event_queue_add(&q, EVENT_DENIED, note, 7);
    }
    event_queue_back(&q, &e); /* newer ones have taken it */
    assert_int_equal(q.n_waiting[EVENT_DENIED], EVENT_PER_KIND);
}

static void text_is_cleaned_and_cut(void **state)
{
    char longer[3000] = {0};

    (void)state;
    event_queue_add(&q, EVENT_DENIED, "a\nb\x1b[31m\x7f", 1);
    assert_int_equal(next(1000), EVENT_POST);
    assert_string_equal(e.note, "a b [31m ");
    longer[0] = 'x';
    for (size_t i = 1; i + 2 < sizeof longer; i += 2)
        memcpy(longer + i, "\xc3\xa9", 2);
    event_queue_add(&q, EVENT_DENIED, longer, 1);
    assert_int_equal(next(1000), EVENT_POST);
    assert_int_equal(strlen(e.note), EVENT_NOTE_MAX - 1);
}

/* Nobody listens: only that nothing is read that should not be, for the sanitizers. */
static void lines_of_all_sorts(void **state)
{
    static const char *const lines[] = {
        "",
        "{",
        "{\"seq\":",
        "{\"seq\":12345678901234567890",
        "{\"seq\":1,\"time\":\"2026-01-01T00:00:00.000000Z\",\"type\":\"decision\"",
        "{\"seq\":1,\"time\":\"2026-01-01T00:00:00.000000Z\",\"type\":\"decision\",\"verdict\":7}",
        "{\"seq\":1,\"time\":\"2026-01-01T00:00:00.000000Z\",\"type\":\"decision\",\"verdict\":"
        "\"Deny\",\"rule\":[1],\"n\":\"x\"}",
        "{\"seq\":1,\"time\":\"2026-01-01T00:00:00.000000Z\",\"type\":\"session.close\",\"hash\":"
        "1}",
        "{\"seq\":1,\"time\":\"2026-01-01T00:00:00.000000Z\",\"type\":\"session.open\"}",
    };
    struct story *s;

    (void)state;
    assert_int_equal(story_new(NULL, NULL, &s), 0);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        size_t n = strlen(lines[i]);
        char *copy = malloc(n + 1);

        for (size_t cut = 0; cut <= n; cut++) {
            memcpy(copy, lines[i], n);
            story_line("01J", bytes_of(copy, cut), s);
        }
        free(copy);
    }
    story_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(equal_ones_are_a_series, setup),
        cmocka_unit_test_setup(the_urgent_come_first, setup),
        cmocka_unit_test_setup(a_flood_is_a_trickle, setup),
        cmocka_unit_test_setup(sessions_leave_room, setup),
        cmocka_unit_test_setup(what_was_not_sent_waits_again, setup),
        cmocka_unit_test_setup(text_is_cleaned_and_cut, setup),
        cmocka_unit_test_setup(lines_of_all_sorts, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
