/* SPDX-License-Identifier: Apache-2.0
 * Certificates, with OpenSSL.
 */
#include "pki.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#define NAMES_MAX 1024

DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(BIO *, BIO_free)

void pki_pair_done(struct pki_pair *p)
{
    if (p->key)
        explicit_bzero(p->key, strlen(p->key));
    free(p->key);
    free(p->certificate);
    *p = (struct pki_pair){0};
}

/* ---- texts ---- */

static char *bio_text(BIO *b)
{
    char *p = NULL;
    long n = BIO_get_mem_data(b, &p);

    return n > 0 ? strndup(p, (size_t)n) : NULL;
}

static char *certificate_text(X509 *x)
{
    _cleanup_(BIO_free) BIO *b = BIO_new(BIO_s_mem());

    return b && PEM_write_bio_X509(b, x) ? bio_text(b) : NULL;
}

static char *key_text(EVP_PKEY *k)
{
    _cleanup_(BIO_free) BIO *b = BIO_new(BIO_s_secmem());

    return b && PEM_write_bio_PrivateKey(b, k, NULL, NULL, 0, NULL, NULL) ? bio_text(b) : NULL;
}

static X509 *read_certificate(const char *text)
{
    _cleanup_(BIO_free) BIO *b = BIO_new_mem_buf(text, -1);

    return b ? PEM_read_bio_X509(b, NULL, NULL, NULL) : NULL;
}

static EVP_PKEY *read_key(const char *text)
{
    _cleanup_(BIO_free) BIO *b = BIO_new_mem_buf(text, -1);

    return b ? PEM_read_bio_PrivateKey(b, NULL, NULL, NULL) : NULL;
}

static int write_pair(X509 *x, EVP_PKEY *key, struct pki_pair *ret)
{
    struct pki_pair p = {certificate_text(x), key_text(key)};

    if (!p.certificate || !p.key) {
        pki_pair_done(&p);
        return -ENOMEM;
    }
    *ret = p;
    return 0;
}

/* ---- making ---- */

static bool set_serial(X509 *x)
{
    uint8_t bytes[16];
    BIGNUM *n;
    bool ok;

    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return false;
    bytes[0] = (uint8_t)((bytes[0] & 0x7f) | 0x40); /* positive, of full length */
    n = BN_bin2bn(bytes, sizeof bytes, NULL);
    ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
    BN_free(n);
    return ok;
}

static bool add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *e;
    bool ok;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ok = e && X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    return ok;
}

struct extension {
    int nid;
    const char *value;
};

static X509 *new_certificate(const struct pki_request *r, EVP_PKEY *key, const char *subject)
{
    X509 *x = X509_new();
    X509_NAME *name = x ? X509_get_subject_name(x) : NULL;

    if (x && X509_set_version(x, X509_VERSION_3) && set_serial(x) && X509_set_pubkey(x, key) &&
        ASN1_TIME_set(X509_getm_notBefore(x), r->now - PKI_BACKDATE_S) &&
        ASN1_TIME_set(X509_getm_notAfter(x), r->now + r->lifetime_s) &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)subject, -1, -1, 0))
        return x;
    X509_free(x);
    return NULL;
}

static int no_certificate(struct error *err)
{
    return error_set(err, -ENOMEM, "a certificate cannot be made");
}

int pki_make_authority(const struct pki_request *r, struct pki_pair *ret, struct error *err)
{
    static const struct extension extensions[] = {
        {NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
        {NID_key_usage, "critical,keyCertSign,cRLSign"},
        {NID_subject_key_identifier, "hash"},
    };
    _cleanup_(EVP_PKEY_free) EVP_PKEY *key = EVP_EC_gen("P-256");
    _cleanup_(X509_free) X509 *x = key ? new_certificate(r, key, "chaperone-webhook-ca") : NULL;
    bool ok = x && X509_set_issuer_name(x, X509_get_subject_name(x));

    for (size_t i = 0; i < ARRAY_LEN(extensions) && ok; i++)
        ok = add_extension(x, x, extensions[i].nid, extensions[i].value);
    if (!ok || !X509_sign(x, key, EVP_sha256()) || write_pair(x, key, ret) < 0)
        return no_certificate(err);
    return 0;
}

static void join_names(const char *const *names, char out[static NAMES_MAX])
{
    size_t used = 0;

    *out = 0;
    for (; *names && used < NAMES_MAX; names++)
        used += (size_t)snprintf(out + used, NAMES_MAX - used, "%sDNS:%s", used ? "," : "", *names);
}

static bool add_leaf_extensions(X509 *x, X509 *ca, const char *const *names)
{
    char dns[NAMES_MAX];

    join_names(names, dns);
    return add_extension(x, ca, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(x, ca, NID_key_usage, "critical,digitalSignature") &&
           add_extension(x, ca, NID_ext_key_usage, "serverAuth") &&
           add_extension(x, ca, NID_authority_key_identifier, "keyid") &&
           add_extension(x, ca, NID_subject_alt_name, dns);
}

int pki_make_leaf(const struct pki_request *r, const struct pki_pair *authority,
                  struct pki_pair *ret, struct error *err)
{
    _cleanup_(X509_free) X509 *ca = read_certificate(authority->certificate);
    _cleanup_(EVP_PKEY_free) EVP_PKEY *ca_key = read_key(authority->key);
    _cleanup_(EVP_PKEY_free) EVP_PKEY *key = EVP_EC_gen("P-256");
    _cleanup_(X509_free) X509 *x = key ? new_certificate(r, key, "chaperone-webhook") : NULL;

    if (!ca || !ca_key || !x || !X509_set_issuer_name(x, X509_get_subject_name(ca)) ||
        !add_leaf_extensions(x, ca, r->names) || !X509_sign(x, ca_key, EVP_sha256()) ||
        write_pair(x, key, ret) < 0)
        return no_certificate(err);
    return 0;
}

/* ---- reading ---- */

static int64_t seconds(const ASN1_TIME *t)
{
    struct tm tm;

    return ASN1_TIME_to_tm(t, &tm) == 1 ? timegm(&tm) : -1;
}

int pki_read(const struct pki_pair *p, struct pki_times *ret, struct error *err)
{
    _cleanup_(X509_free) X509 *x = p->certificate ? read_certificate(p->certificate) : NULL;
    _cleanup_(EVP_PKEY_free) EVP_PKEY *key = p->key ? read_key(p->key) : NULL;

    if (!x)
        return error_set(err, -EINVAL, "no certificate");
    if (!key)
        return error_set(err, -EINVAL, "no private key");
    if (X509_check_private_key(x, key) != 1)
        return error_set(err, -EINVAL, "the key is not the certificate's");
    ret->created = seconds(X509_get0_notBefore(x)) + PKI_BACKDATE_S;
    ret->end = seconds(X509_get0_notAfter(x));
    return ret->end > 0 ? 0 : error_set(err, -EINVAL, "the certificate's times cannot be read");
}
