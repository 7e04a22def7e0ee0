/* SPDX-License-Identifier: Apache-2.0
 * Forcing files to the disk: who waits is told, once, and failures stay.
 */
#include "sidecar/record/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static atomic_uint told;

static void on_done(void *arg)
{
    (void)arg;
    atomic_fetch_add(&told, 1);
}

static void test_asks_until_it_is_there(void **state)
{
    char dir[] = "/tmp/sync-XXXXXX", path[64];
    struct syncer_figures n;
    struct syncer *s;
    struct syncfile *f;
    int fd, dir_fd, rc;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/file", dir);
    fd = open(path, O_RDWR | O_CREAT, 0600);
    dir_fd = open(dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(syncer_new(&s), 0);
    assert_int_equal(syncfile_new(s, fd, dir_fd, &f), 0);
    assert_int_equal(write(fd, "12345678", 8), 8);
    assert_int_equal(syncfile_ask(f, 0, on_done, NULL), 0);
    rc = syncfile_ask(f, 8, on_done, NULL);
    assert_int_equal(rc, -EINPROGRESS);
    assert_int_equal(syncfile_wait(f, 8), 0);
    assert_int_equal(syncfile_ask(f, 8, on_done, NULL), 0);
    assert_int_equal(atomic_load(&told), 1);
    syncer_figures(s, &n);
    assert_int_equal(n.syncs, 1);
    assert_int_equal(n.waiting, 0);
    assert_false(n.failing);
    syncfile_drop(f);
    syncer_free(s);
    close(fd);
    close(dir_fd);
    unlink(path);
    rmdir(dir);
}

/* A pipe cannot be forced: EINVAL stands for what a disk says. */
static void test_failure_is_for_good_and_of_one_file(void **state)
{
    struct syncer_figures n;
    struct syncer *s;
    struct syncfile *f, *good;
    int ends[2], fd;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    assert_int_equal(syncer_new(&s), 0);
    assert_int_equal(syncfile_new(s, ends[1], fd, &f), 0);
    assert_int_equal(syncfile_wait(f, 1), -EINVAL);
    syncer_figures(s, &n);
    assert_true(n.failing);
    assert_int_equal(syncfile_ask(f, 1, on_done, NULL), -EINVAL);
    assert_int_equal(syncfile_ask(f, 2, on_done, NULL), -EINVAL);
    assert_int_equal(syncfile_new(s, fd, fd, &good), 0);
    assert_int_equal(syncfile_wait(good, 1), 0);
    syncer_figures(s, &n);
    assert_false(n.failing);
    syncfile_drop(f);
    syncfile_drop(good);
    syncer_free(s);
    close(ends[0]);
    close(ends[1]);
    close(fd);
}

/* Dropped at any moment: waiting, under way, done. */
static void test_dropped_while_it_waits(void **state)
{
    struct syncer *s;

    (void)state;
    assert_int_equal(syncer_new(&s), 0);
    for (int i = 0; i < 200; i++) {
        int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
        struct syncfile *f;

        assert_int_equal(syncfile_new(s, fd, fd, &f), 0);
        assert_int_equal(syncfile_ask(f, 1, on_done, NULL), -EINPROGRESS);
        if (i % 2)
            usleep(50);
        syncfile_drop(f);
        close(fd);
    }
    syncer_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asks_until_it_is_there),
        cmocka_unit_test(test_failure_is_for_good_and_of_one_file),
        cmocka_unit_test(test_dropped_while_it_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
