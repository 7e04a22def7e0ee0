/* SPDX-License-Identifier: Apache-2.0
 * Envelopes: who has a key reads what was enclosed, and nothing that was changed passes for it.
 */
#include "sidecar/record/envelope.h"

#include "src-common/buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { RSA_A, RSA_B, EC_A, EC_B, RSA_SMALL, ED, N_PEOPLE };

static struct person {
    char certificate[4096], key_path[64];
} people[N_PEOPLE];

static EVP_PKEY *make_key(int who)
{
    if (who == EC_A || who == EC_B)
        return EVP_PKEY_Q_keygen(NULL, NULL, "EC", who == EC_A ? "P-256" : "P-384");
    if (who == ED)
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)(who == RSA_SMALL ? 1024 : 2048));
}

static void write_certificate(EVP_PKEY *key, int who, char *to, size_t size)
{
    X509 *x = X509_new();
    BIO *b = BIO_new(BIO_s_mem());
    int n;

    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), who + 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -7200);
    X509_gmtime_adj(X509_getm_notAfter(x), -3600); /* long over: that does not matter */
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)"auditor", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    assert_true(X509_sign(x, key, who == ED ? NULL : EVP_sha256()) > 0);
    assert_int_equal(PEM_write_bio_X509(b, x), 1);
    n = BIO_read(b, to, (int)size - 1);
    assert_true(n > 0);
    to[n] = '\0';
    BIO_free(b);
    X509_free(x);
}

static int start(void **state)
{
    (void)state;
    for (int i = 0; i < N_PEOPLE; i++) {
        EVP_PKEY *key = make_key(i);
        FILE *f;

        write_certificate(key, i, people[i].certificate, sizeof people[i].certificate);
        strcpy(people[i].key_path, "/tmp/envelope_test.XXXXXX");
        f = fdopen(mkstemp(people[i].key_path), "w");
        assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
        fclose(f);
        EVP_PKEY_free(key);
    }
    return 0;
}

static int end(void **state)
{
    (void)state;
    for (int i = 0; i < N_PEOPLE; i++)
        unlink(people[i].key_path);
    return 0;
}

static int new_file(void)
{
    return memfd_create("envelope", MFD_CLOEXEC);
}

static int file_with(size_t n)
{
    int fd = new_file();

    for (size_t i = 0; i < n; i++) {
        uint8_t v = (uint8_t)(i * 7 + i / 251);

        assert_int_equal(pwrite(fd, &v, 1, (off_t)i), 1);
    }
    return fd;
}

static bool same(int a, int b)
{
    struct buffer x, y;
    bool yes;
    struct buffer *all[] = {&x, &y};
    int fds[] = {a, b};

    for (int i = 0; i < 2; i++) {
        struct stat st;

        buffer_init(all[i], 64 << 20);
        fstat(fds[i], &st);
        uint8_t *p = buffer_reserve(all[i], (size_t)st.st_size + 1);

        assert_int_equal(pread(fds[i], p, (size_t)st.st_size, 0), st.st_size);
        buffer_commit(all[i], (size_t)st.st_size);
    }
    yes = bytes_eq(buffer_bytes(&x), buffer_bytes(&y));
    buffer_done(&x);
    buffer_done(&y);
    return yes;
}

/* Encrypted to one or two people. */
static int enclose(int plain, int who, int other)
{
    char pem[2 * sizeof people[0].certificate];
    struct envelope_to *to;
    struct error err = {""};
    int fd = new_file();

    snprintf(pem, sizeof pem, "%s%s", people[who].certificate,
             other >= 0 ? people[other].certificate : "");
    if (envelope_to_parse(bytes_str(pem), &to, &err) != 0 ||
        envelope_encrypt(plain, fd, to, &err) != 0)
        fail_msg("%s", err.text);
    envelope_to_free(to);
    return fd;
}

/* *ret is a new file with what came out. */
static int disclose(int fd, int who, int *ret)
{
    struct envelope_key *k;
    struct error err = {""};
    int rc;

    *ret = new_file();
    if (envelope_key_load(people[who].key_path, &k, &err) != 0)
        fail_msg("%s", err.text);
    rc = envelope_decrypt(fd, *ret, k, &err);
    envelope_key_free(k);
    assert_true(rc == 0 || err.text[0]);
    return rc;
}

static void what_was_enclosed_comes_out(void **state)
{
    static const size_t sizes[] = {1, 15, 16, 17, 4096, 16384, 100000, 1 << 20};
    static const int who[] = {RSA_A, EC_A, EC_B};
    int out;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        int plain = file_with(sizes[i]);

        assert_false(envelope_is(plain));
        for (size_t k = 0; k < ARRAY_LEN(who); k++) {
            int fd = enclose(plain, who[k], -1);

            assert_true(envelope_is(fd));
            assert_int_equal(disclose(fd, who[k], &out), 0);
            assert_true(same(plain, out));
            close(fd);
            close(out);
        }
        close(plain);
    }
}

static void nobody_else_reads_it(void **state)
{
    static const int pairs[][2] = {{RSA_A, RSA_B}, {RSA_A, EC_A}, {EC_A, EC_B},
                                   {EC_B, EC_A},   {EC_A, RSA_A}, {EC_A, ED}};
    int plain = file_with(5000), out;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        int fd = enclose(plain, pairs[i][0], -1);

        assert_int_equal(disclose(fd, pairs[i][1], &out), -EACCES);
        assert_int_equal(lseek(out, 0, SEEK_END), 0);
        close(fd);
        close(out);
    }
    close(plain);
}

static void each_of_two_recipients_reads_it(void **state)
{
    int plain = file_with(70000), fd = enclose(plain, RSA_A, EC_A), out;

    (void)state;
    assert_int_equal(disclose(fd, RSA_A, &out), 0);
    assert_true(same(plain, out));
    close(out);
    assert_int_equal(disclose(fd, EC_A, &out), 0);
    assert_true(same(plain, out));
    close(out);
    assert_int_equal(disclose(fd, RSA_B, &out), -EACCES);
    close(out);
    close(plain);
    close(fd);
}

static void every_bit_counts(void **state)
{
    int plain = file_with(400), fd = enclose(plain, EC_A, -1), out;
    off_t size = lseek(fd, 0, SEEK_END);
    unsigned refused = 0, all = 0;

    (void)state;
    for (off_t at = 0; at < size; at += 3, all++) {
        uint8_t v, bad;
        int rc;

        assert_int_equal(pread(fd, &v, 1, at), 1);
        bad = v ^ 0x10;
        assert_int_equal(pwrite(fd, &bad, 1, at), 1);
        rc = disclose(fd, EC_A, &out);
        /* Names of recipients are outside of what is authenticated: the content is not. */
        assert_true(rc == -EBADMSG || rc == -EACCES || (rc == 0 && same(plain, out)));
        refused += rc != 0;
        assert_int_equal(pwrite(fd, &v, 1, at), 1);
        close(out);
    }
    assert_true(refused > all * 8 / 10);
    assert_int_equal(disclose(fd, EC_A, &out), 0);
    close(out);
    close(plain);
    close(fd);
}

static void cut_and_grown(void **state)
{
    int plain = file_with(40000), fd = enclose(plain, EC_A, -1), out;
    off_t size = lseek(fd, 0, SEEK_END);

    (void)state;
    assert_int_equal(pwrite(fd, "\0", 1, size), 1);
    assert_int_equal(disclose(fd, EC_A, &out), -EBADMSG);
    close(out);
    for (off_t n = size - 1; n > 0; n -= n > size - 40 ? 1 : 1999) {
        assert_int_equal(ftruncate(fd, n), 0);
        assert_int_not_equal(disclose(fd, EC_A, &out), 0);
        close(out);
    }
    close(plain);
    close(fd);
}

static void recipients_that_are_refused(void **state)
{
    struct envelope_to *to = NULL;
    char pem[8192];
    struct {
        const char *pem, *word;
    } all[] = {{"", "no certificate"},
               {"-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n", "no certificate"},
               {people[RSA_SMALL].certificate, "2048"},
               {people[ED].certificate, "neither RSA nor"},
               {pem, "what is none"}};

    (void)state;
    snprintf(pem, sizeof pem, "%s-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
             people[EC_A].certificate);
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct error err = {""};

        assert_int_equal(envelope_to_parse(bytes_str(all[i].pem), &to, &err), -EINVAL);
        if (!strstr(err.text, all[i].word))
            fail_msg("%s", err.text);
    }
    envelope_to_free(NULL);
}

static void keys_that_are_none(void **state)
{
    struct envelope_key *k;
    struct error err = {""};

    (void)state;
    assert_int_equal(envelope_key_load("/nonexistent", &k, &err), -ENOENT);
    assert_int_equal(envelope_key_load("/dev/null", &k, &err), -EINVAL);
    assert_non_null(strstr(err.text, "no private key"));
    envelope_key_free(NULL);
}

static void disk_that_is_full(void **state)
{
    int plain = file_with(200000), full = open("/dev/full", O_WRONLY), out;
    struct envelope_to *to;
    struct envelope_key *k;
    struct error err = {""};
    int fd = enclose(plain, EC_A, -1);

    (void)state;
    assert_int_equal(envelope_to_parse(bytes_str(people[EC_A].certificate), &to, &err), 0);
    assert_int_equal(envelope_encrypt(plain, full, to, &err), -ENOSPC);
    assert_int_equal(envelope_key_load(people[EC_A].key_path, &k, &err), 0);
    assert_int_equal(envelope_decrypt(fd, full, k, &err), -ENOSPC);
    out = file_with(0);
    assert_int_equal(envelope_encrypt(out, fd, to, &err), -ENODATA);
    close(out);
    out = open("/", O_RDONLY | O_DIRECTORY);
    assert_int_equal(envelope_encrypt(out, fd, to, &err), -EISDIR);
    envelope_to_free(to);
    envelope_key_free(k);
    close(out);
    close(full);
    close(plain);
    close(fd);
}

static void names(void **state)
{
    char plain[32];

    (void)state;
    assert_true(envelope_plain_name("S.000001.jsonl.zst.cms", sizeof plain, plain));
    assert_string_equal(plain, "S.000001.jsonl.zst");
    assert_false(envelope_plain_name("S.000001.jsonl.zst", sizeof plain, plain));
    assert_false(envelope_plain_name(".cms", sizeof plain, plain));
    assert_false(envelope_plain_name("a-name-that-is-much-longer-than-there-is-room.cms",
                                     sizeof plain, plain));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_enclosed_comes_out),
        cmocka_unit_test(nobody_else_reads_it),
        cmocka_unit_test(each_of_two_recipients_reads_it),
        cmocka_unit_test(every_bit_counts),
        cmocka_unit_test(cut_and_grown),
        cmocka_unit_test(recipients_that_are_refused),
        cmocka_unit_test(keys_that_are_none),
        cmocka_unit_test(disk_that_is_full),
        cmocka_unit_test(names),
    };

    return cmocka_run_group_tests(tests, start, end);
}
