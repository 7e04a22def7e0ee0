/* SPDX-License-Identifier: Apache-2.0
 * Rounds of the collector: what is asked, and when what was read before is still the one. Every
 * answer that is missing, cut, null or too long means: read on.
 */
#include "flow_bench.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct pgcatalog_key whose = {"db", "app", "collector"};

/* What a session is told in one round. NULL cells are SQL NULL. */
struct answers {
    const char *snapshot, *state;
};

static void put(struct buffer *out, const char *cell)
{
    size_t mark = pgwire_start(out, PGWIRE_B_DATA_ROW);

    buffer_add_be16(out, 1);
    buffer_add_be32(out, cell ? (uint32_t)strlen(cell) : UINT32_MAX);
    if (cell)
        buffer_add(out, bytes_str(cell));
    pgwire_finish(out, mark);
}

static unsigned count(struct bytes asked, const char *part)
{
    unsigned n = 0;
    const uint8_t *at = asked.p, *end = asked.p + asked.len;

    while ((at = memmem(at, (size_t)(end - at), part, strlen(part)))) {
        n++;
        at++;
    }
    return n;
}

/* The answers to what was asked, in the order it was asked in. */
static void answer(struct bytes asked, const struct answers *a, bool in_transaction,
                   struct buffer *out)
{
    struct pgwire_msg m;

    while (pgwire_frame(PGWIRE_FROM_FRONTEND, asked, &m) == FRAME_OK) {
        if (count(m.body, "current_schemas"))
            put(out, "public");
        else if (count(m.body, "txid_current_snapshot"))
            put(out, a->snapshot);
        else if (count(m.body, "string_agg"))
            put(out, a->state);
        bench_answer_end(out, "X", in_transaction ? 'T' : 'I');
        asked = bytes_of(asked.p + m.raw.len, asked.len - m.raw.len);
    }
    assert_int_equal(asked.len, 0);
}

/* Runs rounds until the end. Returns them as letters: p(ath) s(napshot) v(ersions) r(ows), a
 * space between rounds. */
static void run(const struct answers *a, bool in_transaction, char said[static 32])
{
    struct pgcollector *c = NULL;
    struct buffer asked, answers;

    said[0] = '\0';
    buffer_init(&asked, 1 << 20);
    buffer_init(&answers, 1 << 20);
    assert_int_equal(pgcollector_new(&whose, in_transaction, &asked, &c), 0);
    for (;;) {
        struct bytes b = buffer_bytes(&asked), in;
        struct pgwire_msg m;

        strcat(said, count(b, "current_schemas") ? "p" : "");
        strcat(said, count(b, "txid_current_snapshot") ? "s" : "");
        strcat(said, count(b, "string_agg") ? "v" : "");
        strcat(said, count(b, "pg_get_viewdef") ? "r" : "");
        assert_int_equal(count(b, "SAVEPOINT chaperone_catalog"), in_transaction ? 3 : 0);
        answer(b, a, in_transaction, &answers);
        in = buffer_bytes(&answers);
        while (pgwire_frame(PGWIRE_FROM_BACKEND, in, &m) == FRAME_OK) {
            assert_int_equal(pgcollector_message(c, &m), 0);
            in = bytes_of(in.p + m.raw.len, in.len - m.raw.len);
        }
        assert_int_equal(in.len, 0);
        /* Between rounds and after the last the server has nothing to say. */
        assert_int_equal(pgcollector_message(c, &m), -EBADMSG);
        if (c->done)
            break;
        assert_true(c->more);
        strcat(said, " ");
        buffer_reset(&asked, 1 << 20);
        buffer_reset(&answers, 1 << 20);
        assert_int_equal(pgcollector_more(c, &asked), 0);
    }
    if (!c->last)
        pgcatalog_remember(&whose, &c->is, c->digest, bench_catalog);
    else if (c->parts & 4)
        pgcatalog_remember(&whose, &c->is, NULL, c->last);
    assert_memory_equal(buffer_bytes(&c->search_path).p, "public", 6);
    assert_int_equal(buffer_len(&c->search_path), 6);
    buffer_done(&asked);
    buffer_done(&answers);
    pgcollector_free(c);
}

static void expect(const char *snapshot, const char *state, bool in_transaction, const char *rounds)
{
    char said[32];

    run(&(struct answers){snapshot, state}, in_transaction, said);
    assert_string_equal(said, rounds);
}

static void test_rounds(void **state)
{
    (void)state;
    expect("10:10:", "a", false, "psvr"); /* nothing is known */
    expect("10:10:", "a", false, "ps");
    expect("10:10:", "b", false, "ps"); /* not even asked */
    expect("11:11:", "a", false, "ps sv");
    expect("11:11:", "a", false, "ps"); /* the newer snapshot counts */
    expect("10:10:", "a", false, "ps sv");
    expect("12:12:", "b", false, "ps sv svr");
    expect("12:12:", "b", false, "ps");
}

/* Its snapshot may equal another session's, who does not see what this transaction wrote. */
static void test_transactions(void **state)
{
    (void)state;
    expect("20:20:", "t", false, "ps sv svr");
    expect("20:20:", "t", true, "pv");
    expect("20:20:", "u", true, "pv vr");
    /* What it read inside is known by its versions alone. */
    expect("20:20:", "u", false, "ps sv");
    expect("20:20:", "u", false, "ps");
}

static void test_answers_that_say_nothing(void **state)
{
    char longer[300];

    (void)state;
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    expect(NULL, "n", false, "ps sv svr"); /* a standby */
    expect(NULL, "n", false, "ps sv");
    expect(longer, "n", false, "ps sv"); /* very many transactions under way */
    expect(longer, "n", false, "ps sv");
    expect("", "n", false, "ps sv");
    expect("30:30:", NULL, false, "ps sv svr");
    expect("31:31:", NULL, false, "ps sv svr");
    expect(longer, longer, false, "ps sv svr");
    expect(longer, longer, false, "ps sv svr");
    expect("", "", false, "ps sv svr");
    expect("", "", false, "ps sv svr");
}

/* Somebody else remembered another catalogue while this session compared versions. */
static void test_late_news(void **state)
{
    struct pgcatalog_version v = {"40:40:", "late"}, got;
    const uint8_t digest[32] = {1};
    struct catalog *last;

    (void)state;
    pgcatalog_remember(&whose, &v, digest, bench_catalog);
    pgcatalog_remember(&whose, &(struct pgcatalog_version){"41:41:", "other"}, NULL, bench_catalog);
    last = pgcatalog_last(&whose, &got);
    assert_ptr_equal(last, bench_catalog);
    assert_string_equal(got.snapshot, "40:40:");
    catalog_unref(last);
    assert_null(pgcatalog_last(&(struct pgcatalog_key){"db", "app", "nobody"}, &got));
    assert_null(pgcatalog_last(&(struct pgcatalog_key){"db2", "app", "collector"}, &got));
}

static void test_failures(void **state)
{
    struct pgcollector *c = NULL;
    struct buffer asked, answers;
    struct pgwire_msg m;

    (void)state;
    buffer_init(&asked, 1 << 20);
    buffer_init(&answers, 1 << 20);
    assert_int_equal(pgcollector_new(&whose, false, &asked, &c), 0);
    put(&answers, "public");
    assert_int_equal(pgwire_frame(PGWIRE_FROM_BACKEND, buffer_bytes(&answers), &m), FRAME_OK);
    assert_int_equal(pgcollector_message(c, &m), 0);
    buffer_reset(&answers, 1 << 20);
    bench_put_row(&answers, (const char *const[]){"a", "b"}, 2); /* a cell too many */
    assert_int_equal(pgwire_frame(PGWIRE_FROM_BACKEND, buffer_bytes(&answers), &m), FRAME_OK);
    assert_int_equal(pgcollector_message(c, &m), -EBADMSG);
    assert_false(c->done);
    buffer_done(&asked);
    buffer_done(&answers);
    pgcollector_free(c);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounds),
        cmocka_unit_test(test_transactions),
        cmocka_unit_test(test_answers_that_say_nothing),
        cmocka_unit_test(test_late_news),
        cmocka_unit_test(test_failures),
    };
    int rc;

    if (argc == 2 && strcmp(argv[1], "sql-parser") == 0)
        return sql_parser_child_main();
    bench_start();
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    bench_stop();
    return rc;
}
