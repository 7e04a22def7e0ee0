/* SPDX-License-Identifier: Apache-2.0
 * The built program and records: verify, replay, export.
 */
#include "run_program.h"

/* ---- records ---- */

static void write_session(struct fixture *f, bool seal)
{
    struct record *r = NULL;
    struct buffer *b;

    assert_int_equal(record_open(f->spool, SESSION, &r), 0);
    b = record_begin(r, "session.open");
    buffer_printf(
        b, ",\"version\":\"1\",\"agent\":{\"namespace\":\"agents\",\"pod\":\"coder\","
           "\"serviceAccount\":\"sa\",\"labels\":{\"app\":\"coder\"}},\"target\":\"orders-db\"");
    end(r);
    b = record_begin(r, "auth");
    buffer_printf(b, ",\"user\":\"app\",\"database\":\"orders\",\"method\":\"scram\",\"ok\":true,"
                     "\"tls\":{\"client\":false,\"upstream\":true}");
    end(r);
    b = record_begin(r, "statement");
    buffer_printf(
        b, ",\"n\":1,\"kind\":\"query\",\"verdict\":\"Allow\",\"policy\":\"p\",\"rule\":\"read\"");
    jsonw_kstr(b, "text", BYTES("SELECT \x1b]0;owned\x07 '\xe2\x80\xae'"));
    end(r);
    b = record_begin(r, "result");
    buffer_printf(b, ",\"n\":1,\"columns\":[{\"name\":\"id\",\"masked\":false},{\"name\":\"email\","
                     "\"masked\":true}],\"rows\":[[\"1\",\"a***@x\"],[\"22\",null]],\"rowCount\":2,"
                     "\"bytes\":30,\"tag\":\"SELECT 2\",\"durationUs\":1500");
    end(r);
    b = record_begin(r, "statement");
    buffer_printf(b, ",\"n\":2,\"kind\":\"query\",\"verdict\":\"RequireApproval\",\"policy\":\"p\","
                     "\"rule\":\"writes\",\"text\":\"=cmd()\",\"parameters\":[\"a\",null,{"
                     "\"base64\":\"AAE=\"}]");
    end(r);
    b = record_begin(r, "approval");
    buffer_printf(b, ",\"n\":2,\"id\":\"abc\",\"phase\":\"Denied\",\"by\":\"uid:0(root)\","
                     "\"reason\":\"no \\u001b[1mway\"");
    end(r);
    b = record_begin(r, "error");
    buffer_printf(b, ",\"n\":2,\"sqlstate\":\"42501\",\"message\":\"denied\",\"from\":\"guard\"");
    end(r);
    b = record_begin(r, "telepathy"); /* of a newer guard */
    buffer_printf(b, ",\"n\":[1],\"thought\":{\"deep\":[1,2,{\"x\":null}]}");
    end(r);
    b = record_begin(r, "result"); /* every field of another type than expected */
    buffer_printf(b,
                  ",\"n\":\"x\",\"columns\":{\"a\":1},\"rows\":7,\"tag\":[],\"durationUs\":\"1\"");
    end(r);
    if (seal) {
        b = record_begin(r, "session.close");
        buffer_printf(b, ",\"reason\":\"client left\",\"statements\":2,\"denied\":1");
        end(r);
    }
    record_close(r);
}

static void change_a_byte(struct fixture *f, long at)
{
    FILE *file = fopen(f->file, "r+");

    assert_non_null(file);
    fseek(file, at, SEEK_SET);
    fputc('#', file);
    fclose(file);
}

static void verify_says_ok(void **state)
{
    struct fixture *f = *state;

    write_session(f, true);
    assert_int_equal(run(f, "verify", f->file, NULL), 0);
    SAYS(": OK 10 lines");
    assert_string_equal(f->err, "");
    assert_int_equal(run(f, "verify", "--json", f->file, NULL), 0);
    SAYS("\"verdict\": \"OK\"");
    assert_int_equal(run(f, "verify", f->file, f->file, NULL), 0);
}

static void verify_says_tampered(void **state)
{
    struct fixture *f = *state;

    write_session(f, true);
    change_a_byte(f, 300);
    assert_int_equal(run(f, "verify", f->file, NULL), 1);
    SAYS("TAMPERED at seq 0");
    assert_int_equal(run(f, "verify", "--json", f->file, NULL), 1);
    SAYS("\"badSeq\": 0");
    assert_int_equal(run(f, "replay", f->file, NULL), 1);
    COMPLAINS("TAMPERED");
    SAYS("integrity: TAMPERED");
    assert_int_equal(run(f, "export", f->file, "--json", "-", NULL), 1);
    assert_int_equal(run(f, "verify", "/nonexistent", f->file, NULL), 1);
}

static void verify_says_unsealed(void **state)
{
    struct fixture *f = *state;

    write_session(f, false);
    assert_int_equal(run(f, "verify", f->file, NULL), 0);
    SAYS("UNSEALED");
    COMPLAINS("warning");
    assert_int_equal(run(f, "verify", "--strict", f->file, NULL), 1);
    assert_int_equal(run(f, "replay", f->file, NULL), 0);
    COMPLAINS("UNSEALED");
}

static void replay_reads_well_and_is_harmless(void **state)
{
    struct fixture *f = *state;

    write_session(f, true);
    assert_int_equal(run(f, "replay", f->file, NULL), 0);
    SAYS("agents/coder");
    SAYS("login ok: user app, database orders");
    SAYS("SELECT \\x1b]0;owned\\x07 '<U+202E>'");
    SAYS("=> Allow by rule read of policy p");
    SAYS(" id | email*");
    SAYS(" 1  | a***@x");
    SAYS(" 22 | NULL");
    SAYS("(2 rows)");
    SAYS("1.500 ms");
    SAYS("$1 = \"a\"");
    SAYS("approval abc Denied by uid:0(root): no \\x1b[1mway");
    SAYS("error 42501 from guard: denied");
    SAYS("telepathy thought={\"deep\":[1,2,{\"x\":null}]}");
    SAYS("session ended: client left");
    SAYS("integrity: OK");
    assert_null(strchr(f->out, '\x1b'));
    assert_null(strstr(f->out, "\xe2\x80\xae"));
    assert_int_equal(run(f, "replay", SESSION, "--spool", f->dir, NULL), 0);
    SAYS("login ok");
}

static void replay_json_is_the_record(void **state)
{
    struct fixture *f = *state;
    char *text = calloc(1, OUT_MAX);
    FILE *file;

    write_session(f, true);
    assert_int_equal(run(f, "replay", "--json", f->file, NULL), 0);
    file = fopen(f->file, "r");
    assert_non_null(file);
    assert_true(fread(text, 1, OUT_MAX - 1, file) > 0);
    fclose(file);
    assert_string_equal(f->out, text);
    free(text);
}

static void exports(void **state)
{
    struct fixture *f = *state;
    struct json_object *o;
    char out[128];

    write_session(f, true);
    assert_int_equal(run(f, "export", f->file, "--asciicast", "-", NULL), 0);
    assert_int_equal(strncmp(f->out, "{\"version\":2,", 13), 0);
    SAYS("orders=> SELECT \\\\x1b]0;owned");
    SAYS("(2 rows)\\r\\n");
    for (char *line = strtok(f->out, "\n"); line; line = strtok(NULL, "\n")) {
        o = json_tokener_parse(line);
        assert_non_null(o);
        json_object_put(o);
    }
    assert_int_equal(run(f, "export", f->file, "--csv", "-", NULL), 0);
    SAYS("n,time,kind,verdict");
    SAYS("\"'=cmd()\"");
    SAYS("\"Denied\",\"uid:0(root)\"");
    assert_int_equal(run(f, "export", f->file, "--json", "-", NULL), 0);
    o = json_tokener_parse(f->out);
    assert_non_null(o);
    json_object_put(o);
    snprintf(out, sizeof out, "%s/out", f->dir);
    assert_int_equal(run(f, "export", "--csv", out, f->file, NULL), 0);
    assert_int_equal(access(out, R_OK), 0);
    assert_int_equal(run(f, "export", f->file, "--csv", "/nonexistent/x", NULL), 3);
}

static void spool_lists_records(void **state)
{
    struct fixture *f = *state;

    write_session(f, true);
    assert_int_equal(run(f, "sessions", "--spool", f->dir, NULL), 0);
    SAYS(SESSION);
    SAYS("orders-db");
    SAYS("OK");
    change_a_byte(f, 400);
    assert_int_equal(run(f, "sessions", "--spool", f->dir, "--json", NULL), 0);
    SAYS("TAMPERED");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(verify_says_ok),
        T(verify_says_tampered),
        T(verify_says_unsealed),
        T(replay_reads_well_and_is_harmless),
        T(replay_json_is_the_record),
        T(exports),
        T(spool_lists_records),
    };

    return run_group("tests", tests, ARRAY_LEN(tests));
}
