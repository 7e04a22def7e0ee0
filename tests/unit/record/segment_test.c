/* SPDX-License-Identifier: Apache-2.0
 * Segments: what is written reads back, and nothing else does. Cutting, recovery, and signatures of
 * requests.
 */
#include "record_fixture.h"

#include "sidecar/record/cutter.h"
#include "sidecar/record/recover.h"
#include "sidecar/record/segments.h"
#include "sidecar/record/sigv4.h"
#include "src-common/buffer.h"

#include <dirent.h>

static struct signer *signer;

static int start(void **state)
{
    return setup(state) == 0 && signer_open(NULL, &signer, NULL) == 0 ? 0 : -1;
}

static int end(void **state)
{
    struct dirent *e;
    DIR *d = opendir(dir);

    (void)state;
    signer_free(signer);
    while ((e = readdir(d)) != NULL)
        if (e->d_name[0] != '.')
            remove_in_dir(e->d_name);
    closedir(d);
    return rmdir(dir);
}

static int collect(struct bytes some, void *arg)
{
    return buffer_add(arg, some);
}

static bool exists(const char *name)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

static struct record_check read_set(const char *session, const struct trusted_keys *keys)
{
    const struct segments_reader how = {.keys = keys};
    struct record_check c;
    struct error err = {""};

    if (segments_read(dir, session, &how, &c, &err) != 0)
        fail_msg("%s", err.text);
    return c;
}

/* Cuts what there is; the spool's descriptor is the directory's. */
static int cut(struct checkpoint *at, size_t bytes, bool rest)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;
    const struct cutter c = {fd, signer, bytes};
    struct error err = {""};

    rc = cutter_cut(&c, SESSION, at, rest, &err);
    close(fd);
    return rc;
}

static void names(void **state)
{
    char session[RECORD_SESSION_MAX + 1], name[SEGMENT_NAME_MAX];
    unsigned n;

    (void)state;
    segment_name("S.1", 12, name);
    assert_string_equal(name, "S.1.000012.jsonl.zst");
    assert_true(segment_name_parse(name, session, &n));
    assert_string_equal(session, "S.1");
    assert_int_equal(n, 12);
    assert_false(segment_name_parse("S.00012.jsonl.zst", session, &n));
    assert_false(segment_name_parse("S.0000012.jsonl.zst.tmp", session, &n));
    assert_false(segment_name_parse(".000012.jsonl.zst", session, &n));
    assert_false(segment_name_parse("../x.000012.jsonl.zst", session, &n));
    assert_false(segment_name_parse("S.00a012.jsonl.zst", session, &n));
    assert_false(segment_name_parse("S.jsonl", session, &n));
}

static void written_and_read(void **state)
{
    struct seal seal = {.session = SESSION, .segment = 3, .first = 7, .last = 9, .final = true},
                back = {0};
    struct error err = {""};
    struct buffer b;
    char path[256];
    int fd;

    (void)state;
    memset(seal.prev, 'a', CHAIN_HEX);
    memset(seal.head, 'b', CHAIN_HEX);
    memset(seal.before, 'c', CHAIN_HEX);
    snprintf(path, sizeof path, "%s/forged", dir);
    assert_int_equal(segment_write(AT_FDCWD, path, &seal, signer, BYTES("one\ntwo\n"), &err), 0);
    fd = open(path, O_RDONLY);
    buffer_init(&b, 1 << 16);
    assert_int_equal(segment_read(fd, collect, &b, &back, &err), 0);
    assert_true(bytes_eq(buffer_bytes(&b), BYTES("one\ntwo\n")));
    assert_memory_equal(&seal, &back, sizeof seal);
    assert_string_equal(back.key, signer_public(signer));
    buffer_done(&b);
    close(fd);
}

static void every_byte_counts(void **state)
{
    struct seal seal = {.session = SESSION, .last = 1}, back;
    struct error err;
    char path[256], data[4096], other[4096];
    ssize_t n;
    int fd;

    (void)state;
    memset(seal.prev, '0', CHAIN_HEX);
    memset(seal.head, '1', CHAIN_HEX);
    memset(seal.before, '0', CHAIN_HEX);
    snprintf(path, sizeof path, "%s/forged", dir);
    assert_int_equal(segment_write(AT_FDCWD, path, &seal, signer, BYTES("a line\nanother\n"), NULL),
                     0);
    fd = open(path, O_RDWR);
    n = read(fd, data, sizeof data);
    for (ssize_t i = 0; i < n; i++) {
        struct buffer b;

        memcpy(other, data, (size_t)n);
        other[i] ^= 4;
        assert_int_equal(pwrite(fd, other, (size_t)n, 0), n);
        lseek(fd, 0, SEEK_SET);
        buffer_init(&b, 1 << 16);
        assert_int_equal(segment_read(fd, collect, &b, &back, &err), -EBADMSG);
        buffer_done(&b);
    }
    for (ssize_t i = 0; i < n; i++) { /* and every length */
        struct buffer b;

        assert_int_equal(pwrite(fd, data, (size_t)n, 0), n);
        assert_int_equal(ftruncate(fd, i), 0);
        lseek(fd, 0, SEEK_SET);
        buffer_init(&b, 1 << 16);
        assert_int_equal(segment_read(fd, collect, &b, &back, &err), -EBADMSG);
        buffer_done(&b);
    }
    close(fd);
}

static void cut_and_verified(void **state)
{
    struct trusted_keys mine = {.n = 1}, other = {.n = 1};
    struct checkpoint at;
    struct record_check c;

    (void)state;
    write_session(SESSION, true);
    checkpoint_start(&at);
    assert_int_equal(cut(&at, 600, false), 1); /* more than one segment, and the record is gone */
    assert_true(at.sealed && at.segment > 1);
    assert_false(exists(SESSION ".jsonl"));
    assert_false(exists(SESSION ".state"));
    c = read_set(SESSION, NULL);
    assert_true(c.ok && c.sealed);
    assert_int_equal(c.segments, at.segment);
    assert_int_equal(c.lines, 6);
    memcpy(mine.hex[0], signer_public(signer), CHAIN_HEX + 1);
    memset(other.hex[0], 'a', CHAIN_HEX);
    assert_true(read_set(SESSION, &mine).ok);
    c = read_set(SESSION, &other);
    assert_false(c.ok);
    assert_non_null(strstr(c.reason, "not a key that you trust"));
    remove_in_dir(SESSION ".000000.jsonl.zst");
    c = read_set(SESSION, NULL);
    assert_false(c.ok);
    assert_non_null(strstr(c.reason, "segment 0 is missing"));
}

static void unfinished_is_cut_only_when_asked(void **state)
{
    struct checkpoint at;
    struct record_check c;

    (void)state;
    write_session(SESSION, false);
    checkpoint_start(&at);
    assert_int_equal(cut(&at, 1 << 20, false), 0);
    assert_int_equal(at.segment, 0);
    assert_int_equal(cut(&at, 1 << 20, true), 0);
    assert_int_equal(at.segment, 1);
    assert_true(exists(SESSION ".jsonl") && exists(SESSION ".state"));
    assert_int_equal(cut(&at, 1 << 20, true), 0); /* nothing new */
    assert_int_equal(at.segment, 1);
    c = read_set(SESSION, NULL);
    assert_true(c.ok && !c.sealed);
}

static void broken_chain_is_not_cut(void **state)
{
    struct checkpoint at;
    size_t n;
    char *p, path[256];
    int fd;

    (void)state;
    write_session(SESSION, true);
    p = slurp(SESSION, &n);
    *strstr(p, "SELECT") = 's';
    path_of(path, sizeof path, SESSION);
    fd = open(path, O_WRONLY);
    assert_int_equal(write(fd, p, n), (ssize_t)n);
    close(fd);
    free(p);
    checkpoint_start(&at);
    assert_int_equal(cut(&at, 1 << 20, true), -EBADMSG);
    assert_true(exists(SESSION ".jsonl"));
    assert_int_equal(at.segment, 0);
}

/* ---- recovery ---- */

static struct recovery recover(void)
{
    struct record_spool *s = spool_at(dir);
    struct error err = {""};
    struct recovery r;

    if (recover_spool(s, signer_public(signer), &r, &err) != 0)
        fail_msg("%s", err.text);
    record_spool_close(s);
    return r;
}

static void append(const char *text, size_t n)
{
    char path[256];
    int fd;

    path_of(path, sizeof path, SESSION);
    fd = open(path, O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, text, n), (ssize_t)n);
    close(fd);
}

static void dead_guards_record_is_ended(void **state)
{
    static const char *const tails[] = {"", "\n\n\n\n", "{\"seq\":5,\"time\":\"20",
                                        "\n\neq\":5,\n\n"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
        struct record_check c;

        write_session(SESSION, false);
        append(tails[i], strlen(tails[i]));
        assert_int_equal(recover().sealed, 1);
        c = check(SESSION);
        assert_true(c.ok && c.sealed);
        assert_int_equal(c.gaps, 1);
        assert_int_equal(c.lines, 7);
        assert_int_equal(recover().sealed, 0); /* once */
        remove_in_dir(SESSION ".jsonl");
    }
}

static void recovery_goes_on_behind_what_was_cut(void **state)
{
    struct checkpoint at;
    struct record_check c;

    (void)state;
    write_session(SESSION, false);
    checkpoint_start(&at);
    assert_int_equal(cut(&at, 600, false), 0);
    assert_true(at.segment > 0);
    assert_int_equal(recover().sealed, 1);
    assert_int_equal(cut(&at, 600, true), 1);
    c = read_set(SESSION, NULL);
    assert_true(c.ok && c.sealed);
    assert_int_equal(c.gaps, 1);
}

static void interrupted_rename_is_finished(void **state)
{
    struct checkpoint at;
    char from[128], to[160];

    (void)state;
    write_session(SESSION, false);
    checkpoint_start(&at);
    assert_int_equal(cut(&at, 1 << 20, true), 0);
    snprintf(from, sizeof from, "%s/%s.000000.jsonl.zst", dir, SESSION);
    snprintf(to, sizeof to, "%s.tmp", from);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(recover().sealed, 1);
    assert_int_equal(access(from, F_OK), 0);
    assert_int_equal(cut(&at, 1 << 20, true), 1);
    assert_true(read_set(SESSION, NULL).sealed);
}

static void altered_record_is_set_aside(void **state)
{
    char *p, path[256];
    size_t n;
    int fd;

    (void)state;
    write_session(SESSION, false);
    p = slurp(SESSION, &n);
    *strstr(p, "SELECT") = 's';
    path_of(path, sizeof path, SESSION);
    fd = open(path, O_WRONLY);
    assert_int_equal(write(fd, p, n), (ssize_t)n);
    close(fd);
    free(p);
    assert_int_equal(recover().damaged, 1);
    assert_true(exists(SESSION ".damaged"));
    assert_false(exists(SESSION ".jsonl"));
}

/* ---- the bound ---- */

static void spool_over_its_bound_takes_no_lines(void **state)
{
    struct record_spool *s = spool_at(dir);
    struct record *r = NULL, *none = NULL;

    (void)state;
    record_spool_set_limit(s, 100000);
    assert_int_equal(record_open(s, SESSION, &r), 0);
    line(r, "session.open", "target", "db");
    assert_int_equal(record_flush(r), 0);
    record_spool_measured(s, 200000, record_spool_bytes(s));
    assert_false(record_spool_healthy(s));
    line(r, "statement", "text", "SELECT 1");
    assert_int_equal(record_flush(r), -ENOSPC);
    assert_int_equal(record_open(s, OTHER, &none), -ENOSPC);
    record_spool_measured(s, 10, record_spool_bytes(s));
    assert_true(record_spool_healthy(s));
    assert_int_equal(record_flush(r), 0);
    record_spool_measured(s, 200000, record_spool_bytes(s));
    line(r, "session.close", NULL, NULL);
    record_close(r); /* writes it all the same */
    assert_true(check(SESSION).sealed);
    assert_int_equal(check(SESSION).lines, 3);
    record_spool_close(s);
}

/* ---- signatures of requests ---- */

/* GET Object of Amazon's documentation, "Signature Calculations for the Authorization Header". */
static void known_signature(void **state)
{
    static const char empty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const struct sigv4_header headers[] = {{"host", "examplebucket.s3.amazonaws.com"},
                                           {"range", "bytes=0-9"},
                                           {"x-amz-content-sha256", empty},
                                           {"x-amz-date", "20130524T000000Z"}};
    const struct sigv4 s = {.method = "GET",
                            .path = "/test.txt",
                            .region = "us-east-1",
                            .access_key = "AKIAIOSFODNN7EXAMPLE",
                            .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                            .date = "20130524T000000Z",
                            .payload = empty,
                            .headers = headers,
                            .n_headers = ARRAY_LEN(headers)};
    char text[SIGV4_MAX];

    (void)state;
    assert_int_equal(sigv4_authorization(&s, text), 0);
    assert_string_equal(
        text, "AWS4-HMAC-SHA256 "
              "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
              "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
              "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

/* GET Bucket of the same page. */
static void known_signature_with_a_query(void **state)
{
    static const char empty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const struct sigv4_header headers[] = {{"host", "examplebucket.s3.amazonaws.com"},
                                           {"x-amz-content-sha256", empty},
                                           {"x-amz-date", "20130524T000000Z"}};
    const struct sigv4 s = {.method = "GET",
                            .path = "/",
                            .query = "max-keys=2&prefix=J",
                            .region = "us-east-1",
                            .access_key = "AKIAIOSFODNN7EXAMPLE",
                            .secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
                            .date = "20130524T000000Z",
                            .payload = empty,
                            .headers = headers,
                            .n_headers = ARRAY_LEN(headers)};
    char text[SIGV4_MAX];

    (void)state;
    assert_int_equal(sigv4_authorization(&s, text), 0);
    assert_non_null(
        strstr(text, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"));
}

static void paths_are_encoded(void **state)
{
    char text[64];

    (void)state;
    assert_true(sigv4_encode_path("/b/a=1/x y+\xc3\xa4~", text, sizeof text));
    assert_string_equal(text, "/b/a%3D1/x%20y%2B%C3%A4~");
    assert_false(sigv4_encode_path("/0123456789", text, 10));
}

/* ---- keys ---- */

static void keys_from_files(void **state)
{
    struct trusted_keys k = {.n = 0};
    char path[256], *pem = signer_public_pem(signer);
    FILE *f;

    (void)state;
    snprintf(path, sizeof path, "%s/forged", dir);
    f = fopen(path, "w");
    fputs(pem, f);
    fclose(f);
    assert_int_equal(trusted_keys_load(path, &k, NULL), 0);
    assert_int_equal(k.n, 1);
    assert_true(trusted_keys_have(&k, signer_public(signer)));
    f = fopen(path, "w");
    fprintf(f, "%s\n\n", signer_public(signer));
    fclose(f);
    assert_int_equal(trusted_keys_load(path, &k, NULL), 0);
    assert_int_equal(k.n, 2);
    f = fopen(path, "w");
    fputs("not a key\n", f);
    fclose(f);
    assert_int_equal(trusted_keys_load(path, &k, NULL), -EINVAL);
    f = fopen(path, "w");
    fclose(f);
    assert_int_equal(trusted_keys_load(path, &k, NULL), -EINVAL);
    free(pem);
}

static void key_is_kept(void **state)
{
    struct signer *a = NULL, *b = NULL;
    struct stat st;
    char path[256];

    (void)state;
    assert_int_equal(signer_open(dir, &a, NULL), 0);
    assert_int_equal(signer_open(dir, &b, NULL), 0);
    assert_string_equal(signer_public(a), signer_public(b));
    assert_string_not_equal(signer_public(a), signer_public(signer));
    snprintf(path, sizeof path, "%s/record_key.pem", dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(truncate(path, 20), 0);
    signer_free(a);
    a = NULL;
    assert_int_equal(signer_open(dir, &a, NULL), -EINVAL);
    signer_free(b);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, start, end)
    const struct CMUnitTest tests[] = {
        T(names),
        T(written_and_read),
        T(every_byte_counts),
        T(cut_and_verified),
        T(unfinished_is_cut_only_when_asked),
        T(broken_chain_is_not_cut),
        T(dead_guards_record_is_ended),
        T(recovery_goes_on_behind_what_was_cut),
        T(interrupted_rename_is_finished),
        T(altered_record_is_set_aside),
        T(spool_over_its_bound_takes_no_lines),
        T(known_signature),
        T(known_signature_with_a_query),
        T(paths_are_encoded),
        T(keys_from_files),
        T(key_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
