/* SPDX-License-Identifier: Apache-2.0
 * SFTP messages: frames, every truncation, bytes left over, canonical paths.
 */
#include "sidecar/proto/ssh/sftpwire.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const struct {
    const char *path, *canonical;
} paths[] = {
    {"/", "/"},           {"", "/home/x"},     {".", "/home/x"},
    {"a", "/home/x/a"},   {"../a", "/home/a"}, {"../../../a", "/a"},
    {"/a//b", "/a/b"},    {"/a/./b/", "/a/b"}, {"/a/../b", "/b"},
    {"/..", "/"},         {"/../..", "/"},     {"/a/..b", "/a/..b"},
    {"/a/...", "/a/..."}, {"//etc", "/etc"},   {"/srv/../../etc/shadow", "/etc/shadow"},
};

static void test_canonical(void **state)
{
    char long_path[SFTPWIRE_PATH + 8], out[SFTPWIRE_PATH];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        assert_int_equal(sftpwire_canonical(bytes_str(paths[i].path), "/home/x", out), 0);
        assert_string_equal(out, paths[i].canonical);
    }
    memset(long_path, 'a', sizeof long_path);
    assert_int_equal(sftpwire_canonical(bytes_of(long_path, sizeof long_path), "/", out),
                     -ENAMETOOLONG);
}

/* open "/x" for reading, without attributes */
static const uint8_t open_x[] = {3, 0, 0, 0, 7, 0, 0, 0, 2, '/', 'x', 0, 0, 0, 1, 0, 0, 0, 0};

static void test_open(void **state)
{
    struct sftp_request q;

    (void)state;
    assert_int_equal(sftpwire_parse(bytes_of(open_x, sizeof open_x), &q), 0);
    assert_int_equal(q.id, 7);
    assert_int_equal(q.flags, 1);
    assert_true(bytes_eq_str(q.path, "/x"));
    for (size_t n = 0; n < sizeof open_x; n++)
        assert_int_equal(sftpwire_parse(bytes_of(open_x, n), &q), -EBADMSG);
}

static void test_left_over(void **state)
{
    uint8_t more[sizeof open_x + 1] = {0};
    struct sftp_request q;

    (void)state;
    memcpy(more, open_x, sizeof open_x);
    assert_int_equal(sftpwire_parse(bytes_of(more, sizeof more), &q), -EBADMSG);
}

static void test_nul_in_path(void **state)
{
    uint8_t bad[sizeof open_x];
    struct sftp_request q;

    (void)state;
    memcpy(bad, open_x, sizeof bad);
    bad[10] = 0;
    assert_int_equal(sftpwire_parse(bytes_of(bad, sizeof bad), &q), -EBADMSG);
}

static void test_unknown(void **state)
{
    static const uint8_t block[] = {22, 0, 0, 0, 1, 0, 0, 0, 0};
    static const uint8_t extended[] = {200, 0, 0, 0, 1, 0, 0, 0, 1, 'x', 1, 2, 3};
    struct sftp_request q;

    (void)state;
    assert_int_equal(sftpwire_parse(bytes_of(block, sizeof block), &q), 0);
    assert_null(q.op);
    assert_int_equal(sftpwire_parse(bytes_of(extended, sizeof extended), &q), 0);
    assert_null(q.op);
    assert_false(sftpwire_knows_extension(BYTES("copy-data")));
    assert_false(sftpwire_knows_extension(BYTES("")));
    assert_true(sftpwire_knows_extension(BYTES("posix-rename@openssh.com")));
}

static void test_frame(void **state)
{
    uint8_t in[] = {0, 0, 0, 2, 5, 6, 7};
    struct bytes body;

    (void)state;
    for (size_t n = 0; n < 6; n++)
        assert_int_equal(sftpwire_frame(bytes_of(in, n), &body), 0);
    assert_int_equal(sftpwire_frame(bytes_of(in, sizeof in), &body), 1);
    assert_int_equal(body.len, 2);
    put_be32(in, 0);
    assert_int_equal(sftpwire_frame(bytes_of(in, sizeof in), &body), -EBADMSG);
    put_be32(in, SFTPWIRE_MAX + 1);
    assert_int_equal(sftpwire_frame(bytes_of(in, sizeof in), &body), -EBADMSG);
    put_be32(in, UINT32_MAX);
    assert_int_equal(sftpwire_frame(bytes_of(in, sizeof in), &body), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canonical), cmocka_unit_test(test_open),
        cmocka_unit_test(test_left_over), cmocka_unit_test(test_nul_in_path),
        cmocka_unit_test(test_unknown),   cmocka_unit_test(test_frame),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
