/* SPDX-License-Identifier: Apache-2.0
 * Mounted Secrets: what is read, what is refused without a word of what is in it, rotation.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "sidecar/identity/credential.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/credential_test.XXXXXX";

static void put(const char *path, const char *text, size_t n)
{
    char full[256];
    FILE *f;

    snprintf(full, sizeof full, "%s/%s", dir, path);
    f = fopen(full, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

static void make(const char *path)
{
    char full[256];

    snprintf(full, sizeof full, "%s/%s", dir, path);
    assert_int_equal(mkdir(full, 0700), 0);
}

static void make_link(const char *to, const char *path)
{
    char full[256], beside[260];

    snprintf(full, sizeof full, "%s/%s", dir, path);
    snprintf(beside, sizeof beside, "%s.new", full);
    assert_int_equal(symlink(to, beside), 0);
    assert_int_equal(rename(beside, full), 0);
}

static void put_text(const char *path, const char *text)
{
    put(path, text, strlen(text));
}

static void test_keys(void **state)
{
    struct credential c = {0};
    struct error err = {""};

    (void)state;
    make("all");
    put_text("all/username", "svc\n");
    put_text("all/password", "p w\r\n");
    put_text("all/token", "tok\n");
    put_text("all/ssh-privatekey", "KEY\n");
    put_text("all/tls.crt", "CRT\n");
    put_text("all/tls.key", "TKEY\n");
    put_text("all/other", "x");
    if (credential_load(dir, "all", &c, &err) != 0)
        fail_msg("%s", err.text);
    assert_string_equal(c.username, "svc");
    assert_true(bytes_eq_str(secret_bytes(&c.password), "p w"));
    assert_true(bytes_eq_str(secret_bytes(&c.token), "tok"));
    assert_true(bytes_eq_str(secret_bytes(&c.ssh_key), "KEY\n")); /* a file, not a line */
    assert_true(bytes_eq_str(secret_bytes(&c.tls_key), "TKEY\n"));
    credential_done(&c);
    assert_null(c.password.p);
    assert_string_equal(c.username, "");
    credential_done(&c);
}

static void test_only_one_line_end_is_cut(void **state)
{
    struct credential c = {0};

    (void)state;
    make("lines");
    put_text("lines/password", "a\n\n");
    assert_int_equal(credential_load(dir, "lines", &c, NULL), 0);
    assert_true(bytes_eq_str(secret_bytes(&c.password), "a\n"));
    credential_done(&c);
}

static void refused(const char *name, const char *reason)
{
    struct credential c = {0};
    struct error err = {""};

    if (credential_load(dir, name, &c, &err) == 0)
        fail_msg("%s was accepted", name);
    if (!strstr(err.text, reason) || !strstr(err.text, name) || strstr(err.text, "CANARY"))
        fail_msg("%s: %s", name, err.text);
    assert_null(c.password.p);
}

static void test_refused(void **state)
{
    static char big[CREDENTIAL_MAX_BYTES + 1];

    (void)state;
    memset(big, 'x', sizeof big);
    refused("absent", "has to be recreated");
    make("empty");
    refused("empty", "none of password");
    make("name-only");
    put_text("name-only/username", "CANARY");
    refused("name-only", "none of password");
    make("half");
    put_text("half/tls.crt", "CANARY");
    refused("half", "one without the other");
    make("long");
    put("long/password", big, sizeof big);
    refused("long", "longer than");
    make("long-name");
    put_text("long-name/password", "CANARY");
    put("long-name/username", big, 300);
    refused("long-name", "key username");
    make("nul");
    put_text("nul/password", "CANARY");
    put("nul/username", "a\0b", 3);
    refused("nul", "NUL");
    make("directory");
    make("directory/password");
    refused("directory", "not a regular file");
    assert_int_equal(credential_load(NULL, "x", &(struct credential){0}, NULL), -EINVAL);
}

/* As kubelet does it: NAME/..data -> ..2026_1, NAME/password -> ..data/password. */
static void test_rotation(void **state)
{
    struct credential before = {0}, again = {0}, after = {0};

    (void)state;
    make("k8s");
    make("k8s/..2026_1");
    make("k8s/..2026_2");
    put_text("k8s/..2026_1/username", "one");
    put_text("k8s/..2026_1/password", "first");
    put_text("k8s/..2026_2/username", "two");
    put_text("k8s/..2026_2/password", "second");
    make_link("..2026_1", "k8s/..data");
    make_link("..data/username", "k8s/username");
    make_link("..data/password", "k8s/password");
    assert_int_equal(credential_load(dir, "k8s", &before, NULL), 0);
    assert_int_equal(credential_load(dir, "k8s", &again, NULL), 0);
    assert_true(credential_same(&before, &again));
    make_link("..2026_2", "k8s/..data");
    assert_int_equal(credential_load(dir, "k8s", &after, NULL), 0);
    assert_false(credential_same(&before, &after));
    assert_string_equal(after.username, "two");
    assert_true(bytes_eq_str(secret_bytes(&after.password), "second"));
    credential_done(&before);
    credential_done(&again);
    credential_done(&after);
}

/* ---- while kubelet exchanges it ---- */

static atomic_bool stop;

static void drop(const char *path)
{
    char full[256];

    snprintf(full, sizeof full, "%s/%s", dir, path);
    (void)remove(full);
}

/* As kubelet: the new version beside, one rename, then the old one's files. */
static void exchange(unsigned n)
{
    char version[32], path[64], text[32], old[64];

    snprintf(version, sizeof version, "..v%u", n);
    snprintf(path, sizeof path, "busy/%s", version);
    make(path);
    snprintf(text, sizeof text, "name-%u", n);
    snprintf(path, sizeof path, "busy/%s/username", version);
    put_text(path, text);
    snprintf(text, sizeof text, "pass-%u", n);
    snprintf(path, sizeof path, "busy/%s/password", version);
    put_text(path, text);
    make_link(version, "busy/..data");
    for (int i = 0; n > 0 && i < 3; i++) {
        static const char *const files[] = {"/username", "/password", ""};

        snprintf(old, sizeof old, "busy/..v%u%s", n - 1, files[i]);
        drop(old);
    }
}

static void *exchange_for_ever(void *arg)
{
    (void)arg;
    for (unsigned n = 1; !stop; n++) {
        exchange(n);
        usleep(2000); /* a slow machine has to get between two of them */
    }
    return NULL;
}

/* Every read finds all keys, and all of one version. */
static void test_read_while_exchanged(void **state)
{
    pthread_t thread;

    (void)state;
    make("busy");
    exchange(0);
    assert_int_equal(pthread_create(&thread, NULL, exchange_for_ever, NULL), 0);
    for (int i = 0; i < 5000; i++) {
        struct credential c = {0};
        struct error err = {""};
        char wanted[32];

        if (credential_load(dir, "busy", &c, &err) != 0)
            fail_msg("read %d: %s", i, err.text);
        snprintf(wanted, sizeof wanted, "pass-%.20s", c.username[0] ? c.username + 5 : "");
        if (!bytes_eq_str(secret_bytes(&c.password), wanted))
            fail_msg("read %d: '%s' with another's password", i, c.username);
        credential_done(&c);
    }
    stop = true;
    pthread_join(thread, NULL);
}

static int begin(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int end(void **state)
{
    (void)state;
    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_only_one_line_end_is_cut),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_read_while_exchanged),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
