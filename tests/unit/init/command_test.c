/* SPDX-License-Identifier: Apache-2.0
 * Running a tool: what it is given, what comes back, and what a bad one cannot do to us.
 */
#include "sidecar/init/command.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct run {
    struct buffer out, errors;
    struct error err;
    int status;
};

/* Runs a shell script; run_done frees. */
static struct run run_script(const char *script, struct bytes input, size_t max)
{
    struct run r = {.err = {{0}}};
    char *const argv[] = {"/bin/sh", "-c", (char *)script, NULL};

    buffer_init(&r.out, max);
    buffer_init(&r.errors, max);
    r.status = command_run(argv, input, &r.out, &r.errors, &r.err);
    return r;
}

static void run_done(struct run *r)
{
    buffer_done(&r->out);
    buffer_done(&r->errors);
}

static void assert_text(const struct buffer *b, const char *expected)
{
    assert_true(bytes_eq_str(buffer_bytes(b), expected));
}

static void input_output_and_errors_are_kept_apart(void **state)
{
    struct run r = run_script("cat; echo bad >&2", BYTES("fed\n"), 1000);

    (void)state;
    assert_int_equal(r.status, 0);
    assert_text(&r.out, "fed\n");
    assert_text(&r.errors, "bad\n");
    run_done(&r);
}

static void the_status_is_the_tools(void **state)
{
    struct run r = run_script("exit 4", (struct bytes){0}, 1000);

    (void)state;
    assert_int_equal(r.status, 4);
    run_done(&r);
}

static void death_by_a_signal_is_no_status(void **state)
{
    struct run r = run_script("kill -9 $$", (struct bytes){0}, 1000);

    (void)state;
    assert_int_equal(r.status, -EIO);
    assert_non_null(strstr(r.err.text, "signal 9"));
    run_done(&r);
}

static void the_environment_is_ours_alone(void **state)
{
    setenv("LD_PRELOAD_OF_SOMEBODY", "x", 1);
    struct run r = run_script("env | grep -c SOMEBODY; echo $PATH", (struct bytes){0}, 1000);

    (void)state;
    assert_text(&r.out, "0\n/usr/sbin:/sbin:/usr/bin:/bin\n");
    run_done(&r);
}

static void our_own_descriptors_are_not_inherited(void **state)
{
    /* The memory file is the child's standard input and nothing else. */
    struct run r = run_script("ls -l /proc/self/fd | grep -c memfd", (struct bytes){0}, 1000);

    (void)state;
    assert_text(&r.out, "1\n");
    run_done(&r);
}

static void input_that_nobody_reads_blocks_nothing(void **state)
{
    static uint8_t much[1 << 20];
    struct run r = run_script("exit 0", bytes_of(much, sizeof(much)), 1000);

    (void)state;
    assert_int_equal(r.status, 0);
    run_done(&r);
}

static void output_past_the_maximum_is_dropped_and_known(void **state)
{
    struct run r = run_script("head -c 3000000 /dev/zero; echo end >&2", (struct bytes){0}, 10000);

    (void)state;
    assert_int_equal(r.status, 0);
    assert_true(r.out.failed);
    assert_true(buffer_len(&r.out) <= 10000);
    assert_text(&r.errors, "end\n");
    run_done(&r);
}

static void what_cannot_start_is_an_error(void **state)
{
    struct buffer out, errors;
    struct error err = {{0}};
    char *const argv[] = {"/nonexistent/tool", NULL};

    (void)state;
    buffer_init(&out, 100);
    buffer_init(&errors, 100);
    assert_int_equal(command_run(argv, (struct bytes){0}, &out, &errors, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nonexistent/tool"));
}

static void tools_are_looked_for_in_system_directories_alone(void **state)
{
    char path[64];

    (void)state;
    setenv("PATH", "/tmp", 1);
    assert_int_equal(command_find("sh", path, sizeof(path)), 0);
    assert_int_equal(path[0], '/');
    assert_int_equal(command_find("no-such-tool-here", path, sizeof(path)), -ENOENT);
    assert_int_equal(command_find("sh", path, 5), -ENOENT); /* no room, no truncated path */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(input_output_and_errors_are_kept_apart),
        cmocka_unit_test(the_status_is_the_tools),
        cmocka_unit_test(death_by_a_signal_is_no_status),
        cmocka_unit_test(the_environment_is_ours_alone),
        cmocka_unit_test(our_own_descriptors_are_not_inherited),
        cmocka_unit_test(input_that_nobody_reads_blocks_nothing),
        cmocka_unit_test(output_past_the_maximum_is_dropped_and_known),
        cmocka_unit_test(what_cannot_start_is_an_error),
        cmocka_unit_test(tools_are_looked_for_in_system_directories_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
