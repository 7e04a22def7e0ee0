/* SPDX-License-Identifier: Apache-2.0
 * CMS through OpenSSL.
 */
#include "envelope.h"

#include <errno.h>
#include <openssl/cms.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK    ((size_t)16 << 10)
#define KEYS_MAX 16
#define RSA_MIN  2048

struct envelope_to {
    X509 *all[KEYS_MAX];
    size_t n;
};

struct envelope_key {
    EVP_PKEY *all[KEYS_MAX];
    size_t n;
};

/* ---- certificates ---- */

static int add_certificate(struct envelope_to *t, X509 *cert, struct error *err)
{
    EVP_PKEY *key = X509_get0_pubkey(cert);
    unsigned n = (unsigned)t->n + 1;
    int kind = key ? EVP_PKEY_get_base_id(key) : 0;

    if (t->n == KEYS_MAX)
        return error_set(err, -EINVAL, "there are more than %d certificates", KEYS_MAX);
    if (kind == EVP_PKEY_RSA && EVP_PKEY_get_bits(key) < RSA_MIN)
        return error_set(err, -EINVAL, "certificate %u: RSA keys have at least %d bits", n,
                         RSA_MIN);
    if (kind != EVP_PKEY_RSA && kind != EVP_PKEY_EC)
        return error_set(err, -EINVAL,
                         "certificate %u: its key is neither RSA nor elliptic (P-256, P-384)", n);
    if (!X509_up_ref(cert))
        return error_set(err, -ENOMEM, "out of memory");
    t->all[t->n++] = cert;
    return 0;
}

int envelope_to_parse(struct bytes pem, struct envelope_to **ret, struct error *err)
{
    BIO *in = pem.len < (1 << 20) ? BIO_new_mem_buf(pem.p, (int)pem.len) : NULL;
    struct envelope_to *t = calloc(1, sizeof *t);
    unsigned long why;
    X509 *cert;
    int rc = 0;

    while (rc == 0 && in && t && (cert = PEM_read_bio_X509(in, NULL, NULL, NULL)) != NULL) {
        rc = add_certificate(t, cert, err);
        X509_free(cert);
    }
    why = ERR_peek_last_error();
    ERR_clear_error();
    BIO_free(in);
    if (!t || !in)
        rc = error_set(err, -ENOMEM, "out of memory, or too long");
    else if (rc == 0 && (t->n == 0 || ERR_GET_REASON(why) != PEM_R_NO_START_LINE))
        rc = error_set(err, -EINVAL, "%s",
                       t->n ? "behind a certificate stands what is none"
                            : "there is no certificate (PEM) in it");
    if (rc) {
        envelope_to_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

void envelope_to_free(struct envelope_to *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++)
        X509_free(t->all[i]);
    free(t);
}

/* ---- a file as a BIO ----
 * OpenSSL's own loops do not look at every error of a write: this remembers the first. */

struct sink {
    int fd, error;
    bool wrote;
};

static int sink_write(BIO *b, const char *p, int n)
{
    struct sink *s = BIO_get_data(b);
    int done = 0;

    while (done < n && !s->error) {
        ssize_t got = write(s->fd, p + done, (size_t)(n - done));

        if (got < 0 && errno != EINTR)
            s->error = -errno;
        done += got > 0 ? (int)got : 0;
    }
    s->wrote = s->wrote || done > 0;
    return s->error ? -1 : n;
}

static long sink_ctrl(BIO *b, int what, long n, void *p)
{
    (void)b, (void)n, (void)p;
    return what == BIO_CTRL_FLUSH;
}

static BIO *sink_new(struct sink *s, BIO_METHOD **method)
{
    BIO *b;

    *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "file");
    if (!*method)
        return NULL;
    BIO_meth_set_write(*method, sink_write);
    BIO_meth_set_ctrl(*method, sink_ctrl);
    b = BIO_new(*method);
    if (b) {
        BIO_set_data(b, s);
        BIO_set_init(b, 1);
    }
    return b;
}

static void sink_free(BIO *b, BIO_METHOD *method)
{
    BIO_free(b);
    BIO_meth_free(method);
}

/* ---- encrypting ---- */

/* OAEP and SHA-256 instead of OpenSSL's defaults, PKCS #1 v1.5 and SHA-1. */
static bool add_recipient(CMS_ContentInfo *cms, X509 *cert)
{
    CMS_RecipientInfo *r = CMS_add1_recipient_cert(cms, cert, CMS_KEY_PARAM);
    EVP_PKEY_CTX *c = r ? CMS_RecipientInfo_get0_pkey_ctx(r) : NULL;

    if (!c)
        return false;
    if (EVP_PKEY_get_base_id(X509_get0_pubkey(cert)) == EVP_PKEY_EC)
        return EVP_PKEY_CTX_set_ecdh_kdf_md(c, EVP_sha256()) > 0;
    return EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_OAEP_PADDING) > 0 &&
           EVP_PKEY_CTX_set_rsa_oaep_md(c, EVP_sha256()) > 0 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(c, EVP_sha256()) > 0;
}

static CMS_ContentInfo *begin(const struct envelope_to *to)
{
    CMS_ContentInfo *cms =
        CMS_encrypt(NULL, NULL, EVP_aes_256_gcm(), CMS_STREAM | CMS_PARTIAL | CMS_BINARY);
    bool ok = cms != NULL;

    for (size_t i = 0; ok && i < to->n; i++)
        ok = add_recipient(cms, to->all[i]);
    if (ok)
        return cms;
    CMS_ContentInfo_free(cms);
    return NULL;
}

/* -errno of the reading; -EIO: OpenSSL refused, or the sink has an error. */
static int pour(int fd, BIO *into)
{
    uint8_t chunk[CHUNK];
    off_t at = 0;
    ssize_t n;

    while ((n = pread(fd, chunk, sizeof chunk, at)) > 0) {
        if (BIO_write(into, chunk, (int)n) != n)
            return -EIO;
        at += n;
    }
    if (n < 0)
        return -errno;
    if (at == 0)
        return -ENODATA; /* OpenSSL's encoder begins with the first byte */
    return BIO_flush(into) == 1 ? 0 : -EIO;
}

int envelope_encrypt(int from_fd, int to_fd, const struct envelope_to *to, struct error *err)
{
    struct sink s = {.fd = to_fd};
    BIO_METHOD *method = NULL;
    BIO *out = sink_new(&s, &method);
    CMS_ContentInfo *cms = out ? begin(to) : NULL;
    BIO *in = cms ? BIO_new_CMS(out, cms) : NULL;
    int rc = in ? pour(from_fd, in) : -ENOMEM;

    while (in && in != out) { /* the chain that BIO_new_CMS put in front of ours */
        BIO *next = BIO_pop(in);

        BIO_free(in);
        in = next;
    }
    CMS_ContentInfo_free(cms);
    sink_free(out, method);
    ERR_clear_error();
    rc = s.error ? s.error : rc;
    return rc ? error_set(err, rc, "it cannot be encrypted: %s", strerror(-rc)) : 0;
}

/* ---- keys ---- */

/* A person is not asked for a password: who reads many records has none at hand. */
static int no_password(char *to, int size, int writing, void *arg)
{
    (void)to, (void)size, (void)writing, (void)arg;
    return -1;
}

int envelope_key_load(const char *pem_path, struct envelope_key **ret, struct error *err)
{
    struct envelope_key *k = calloc(1, sizeof *k);
    FILE *f = k ? fopen(pem_path, "re") : NULL;
    EVP_PKEY *key = NULL;
    int rc = f ? 0 : -errno;

    while (f && k->n < KEYS_MAX && (key = PEM_read_PrivateKey(f, NULL, no_password, NULL)) != NULL)
        k->all[k->n++] = key;
    ERR_clear_error();
    if (f)
        fclose(f);
    if (k && k->n) {
        *ret = k;
        return 0;
    }
    envelope_key_free(k);
    if (rc)
        return error_set(err, rc, "cannot read %s: %s", pem_path, strerror(-rc));
    return error_set(err, -EINVAL, "%s holds no private key (PEM, without a password)", pem_path);
}

void envelope_key_free(struct envelope_key *k)
{
    if (!k)
        return;
    for (size_t i = 0; i < k->n; i++)
        EVP_PKEY_free(k->all[i]);
    free(k);
}

/* ---- decrypting ---- */

bool envelope_plain_name(const char *name, size_t size, char *ret)
{
    size_t n = strlen(name), tail = sizeof ENVELOPE_SUFFIX - 1;

    if (n <= tail || n - tail >= size || strcmp(name + n - tail, ENVELOPE_SUFFIX) != 0)
        return false;
    memcpy(ret, name, n - tail);
    ret[n - tail] = '\0';
    return true;
}

/* A SEQUENCE, and the OID id-ct-authEnvelopedData behind its length. */
bool envelope_is(int fd)
{
    static const uint8_t oid[] = {0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf7,
                                  0x0d, 0x01, 0x09, 0x10, 0x01, 0x17};
    uint8_t front[32];
    ssize_t n = pread(fd, front, sizeof front, 0);

    return n > (ssize_t)sizeof oid && front[0] == 0x30 &&
           memmem(front, (size_t)n, oid, sizeof oid) != NULL;
}

static CMS_ContentInfo *parse(int fd, size_t size, struct error *err)
{
    void *map = envelope_is(fd) ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    const uint8_t *p = map;
    CMS_ContentInfo *cms;

    if (map == MAP_FAILED) {
        error_set(err, -EBADMSG, "it is not encrypted as records are");
        return NULL;
    }
    cms = d2i_CMS_ContentInfo(NULL, &p, (long)size);
    if (cms && (size_t)(p - (const uint8_t *)map) != size) {
        CMS_ContentInfo_free(cms);
        cms = NULL;
    }
    munmap(map, size);
    if (!cms)
        error_set(err, -EBADMSG, "what is encrypted was changed or cut");
    return cms;
}

/* Without CMS_DEBUG_DECRYPT OpenSSL goes on with a random key when ours is the wrong one, against
 * those who ask many times; we read files, and the tag would be wrong anyway. */
static int decrypt_with(CMS_ContentInfo *cms, EVP_PKEY *key, struct sink *s, struct error *err)
{
    BIO_METHOD *method = NULL;
    BIO *out = sink_new(s, &method);
    int ok = 0;

    ERR_clear_error();
    if (out)
        ok = CMS_decrypt(cms, key, NULL, NULL, out, CMS_BINARY | CMS_DEBUG_DECRYPT);
    sink_free(out, method);
    if (s->error)
        return error_set(err, s->error, "cannot be written: %s", strerror(-s->error));
    if (ok == 1)
        return 0;
    if (!s->wrote)
        return error_set(
            err, -EACCES,
            "this key does not open it: it is another's, or what is encrypted was changed");
    return error_set(err, -EBADMSG, "what is encrypted was changed or cut");
}

int envelope_decrypt(int from_fd, int to_fd, const struct envelope_key *k, struct error *err)
{
    struct sink s = {.fd = to_fd};
    struct stat st;
    int rc = -EACCES;

    if (fstat(from_fd, &st) != 0)
        return error_set(err, -errno, "it cannot be read: %m");
    if ((uint64_t)st.st_size > ENVELOPE_MAX)
        return error_set(err, -E2BIG, "it is larger than %zu MiB", ENVELOPE_MAX >> 20);
    for (size_t i = 0; i < k->n && rc == -EACCES; i++) {
        CMS_ContentInfo *cms =
            parse(from_fd, (size_t)st.st_size, err); /* anew: a wrong key leaves traces in it */

        if (!cms)
            rc = -EBADMSG;
        else
            rc = decrypt_with(cms, k->all[i], &s, err);
        CMS_ContentInfo_free(cms);
    }
    ERR_clear_error();
    return rc;
}
