/* SPDX-License-Identifier: Apache-2.0
 * Startup parameters: an allowlist, and a message that is built anew (P6, P7).
 */
#include "sidecar/proto/postgres/startup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int parse(struct bytes body, struct pgstartup *s)
{
    static uint8_t keep[PGSTARTUP_MAX];
    struct error err;

    memcpy(keep, body.p, body.len);
    return pgstartup_parse(bytes_of(keep, body.len), 0, s, &err);
}

static void refuses(void **state)
{
    static const struct {
        struct bytes body;
        int rc;
    } bad[] = {
#define BAD(text, rc) {{(const uint8_t *)(text), sizeof(text) - 1}, rc}
        BAD("", -EBADMSG),
        BAD("\0", -EBADMSG),
        BAD("user\0app\0", -EBADMSG),
        BAD("user\0app", -EBADMSG),
        BAD("user\0app\0\0x", -EBADMSG),
        BAD("user\0\0\0", -EBADMSG),
        BAD("database\0d\0\0", -EBADMSG),
        BAD("user\0a\0user\0b\0\0", -EBADMSG),
        BAD("user\0a\0USER\0b\0\0", -EBADMSG),
        BAD("user\0a\0database\0b\0database\0c\0\0", -EBADMSG),
        BAD("user\0a\0TimeZone\0UTC\0timezone\0X\0\0", -EBADMSG),
        BAD("user\0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\0\0", -EBADMSG),
        BAD("user\0a\0replication\0true\0\0", -EACCES),
        BAD("user\0a\0replication\0database\0\0", -EACCES),
        BAD("user\0a\0replication\0tru\0\0", -EACCES),
        BAD("user\0a\0replication\0\0\0", -EACCES),
        BAD("user\0a\0options\0-c role=x\0\0", -EACCES),
        BAD("user\0a\0OPTIONS\0-c role=x\0\0", -EACCES),
        BAD("user\0a\0role\0postgres\0\0", -EACCES),
        BAD("user\0a\0session_authorization\0postgres\0\0", -EACCES),
        BAD("user\0a\0standard_conforming_strings\0off\0\0", -EACCES),
        BAD("user\0a\0row_security\0off\0\0", -EACCES),
        BAD("user\0a\0client_encoding\0SJIS\0\0", -EACCES),
        BAD("user\0a\0client_encoding\0\0\0", -EACCES),
        BAD("user\0a\0client_encoding\0'\0\0", -EACCES),
        BAD("user\0a\0client_encoding\0UTF8;SJIS\0\0", -EACCES),
        BAD("user\0a\0unheard_of\0x\0\0", -EACCES),
        BAD("user\0a\0_pq_.\0x\0\0", -EACCES),
    };
    struct pgstartup s;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(parse(bad[i].body, &s), bad[i].rc);
}

static void too_many_settings(void **state)
{
    struct pgstartup s;
    struct buffer b;

    (void)state;
    buffer_init(&b, PGSTARTUP_MAX);
    buffer_append(&b, "user\0a\0", 7);
    for (int i = 0; i < 100; i++) {
        buffer_printf(&b, "_pq_.x%d", i);
        buffer_append(&b, "\0y\0", 3);
    }
    buffer_add_u8(&b, 0);
    assert_int_equal(parse(buffer_bytes(&b), &s), 0);
    assert_int_equal(s.n_options, PGSTARTUP_MAX_KEYS);
    buffer_done(&b);
}

static void builds_anew(void **state)
{
    static const char want[] =
        "\0\0\0\x77\0\3\0\2user\0app\0database\0shop\0TimeZone\0UTC\0application_name\0psql\0"
        "client_encoding\0UTF8\0standard_conforming_strings\0on\0";
    struct pgstartup s;
    struct buffer out;

    (void)state;
    assert_int_equal(
        parse(BYTES("TimeZone\0UTC\0database\0shop\0client_encoding\0'utf-8'\0_pq_.x\0y\0"
                    "replication\0off\0user\0app\0application_name\0psql\0\0"),
              &s),
        0);
    buffer_init(&out, 4096);
    assert_int_equal(pgstartup_build(&s, 2, &out), 0);
    assert_int_equal(get_be32(out.p), buffer_len(&out));
    assert_int_equal(buffer_len(&out), sizeof want);
    assert_memory_equal(out.p + 4, want + 4, sizeof want - 4);
    buffer_done(&out);
}

static void database_defaults_to_user(void **state)
{
    struct pgstartup s;

    (void)state;
    assert_int_equal(parse(BYTES("user\0app\0\0"), &s), 0);
    assert_string_equal(s.database, "app");
}

static void versions(void **state)
{
    static const struct {
        uint16_t asked, spoken;
        bool tell;
    } rows[] = {{0, 0, false}, {1, 0, true}, {2, 2, false}, {3, 2, true}, {9999, 2, true}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct pgstartup s = {.minor = rows[i].asked};
        bool tell;

        assert_int_equal(pgstartup_negotiate(&s, &tell), rows[i].spoken);
        assert_int_equal(tell, rows[i].tell);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses),     cmocka_unit_test(too_many_settings),
        cmocka_unit_test(builds_anew), cmocka_unit_test(database_defaults_to_user),
        cmocka_unit_test(versions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
