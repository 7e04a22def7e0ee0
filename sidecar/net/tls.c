/* SPDX-License-Identifier: Apache-2.0
 * Certificates and contexts.
 */
#include "tls.h"

#include "src-common/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CA_DAYS    3650L
#define LEAF_DAYS  30L
#define MAX_LEAVES 256

struct leaf {
    char name[256]; /* SNI '\n' address */
    X509 *cert;
};

struct tls_authority {
    EVP_PKEY *ca_key, *leaf_key; /* one key for all leaves: each is valid in this pod only */
    X509 *ca;
    SSL_CTX *ctx;
    pthread_mutex_t lock;
    struct leaf leaves[MAX_LEAVES]; /* under lock */
    size_t n_leaves, next_victim;
};

DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(SSL *, SSL_free)
DEFINE_CLEANUP(SSL_CTX *, SSL_CTX_free)

/* What a server-side SSL needs to know about its connection. */
struct server_extra {
    struct tls_authority *authority;
    char address[INET6_ADDRSTRLEN + 1];
    const char *alpn;
};

static int extra_index = -1;
static pthread_once_t extra_once = PTHREAD_ONCE_INIT;

static void extra_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
    (void)parent, (void)ad, (void)idx, (void)argl, (void)argp;
    free(ptr);
}

static void extra_register(void)
{
    extra_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, extra_free);
}

static int add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;
    int ok;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    ok = ext && X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);
    return ok ? 0 : -EINVAL;
}

/* A certificate with everything but the extensions and the signature. */
static X509 *certificate_start(EVP_PKEY *key, const char *common_name, X509 *issuer, long days)
{
    _cleanup_(X509_free) X509 *cert = X509_new();
    uint8_t serial[16];
    X509_NAME *name;
    BIGNUM *bn;

    if (!cert || RAND_bytes(serial, sizeof serial) != 1)
        return NULL;
    serial[0] &= 0x7f;
    bn = BN_bin2bn(serial, sizeof serial, NULL);
    BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert));
    BN_free(bn);
    X509_set_version(cert, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600); /* clocks differ */
    X509_gmtime_adj(X509_getm_notAfter(cert), days * 86400);
    name = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)common_name, -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(issuer ? issuer : cert));
    X509_set_pubkey(cert, key);
    return take(&cert);
}

static int make_ca(struct tls_authority *a)
{
    a->ca_key = EVP_EC_gen("P-256");
    if (!a->ca_key)
        return -ENOMEM;
    a->ca = certificate_start(a->ca_key, "Chaperone pod CA", NULL, CA_DAYS);
    if (!a->ca ||
        add_extension(a->ca, a->ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
        add_extension(a->ca, a->ca, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        add_extension(a->ca, a->ca, NID_subject_key_identifier, "hash") ||
        !X509_sign(a->ca, a->ca_key, EVP_sha256()))
        return -ENOMEM;
    return 0;
}

/* ---- keeping the authority ---- */

static FILE *open_state(const char *dir, const char *name)
{
    char path[PATH_MAX];

    return snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path ? fopen(path, "re")
                                                                              : NULL;
}

/* What is not there, does not belong together or is about to expire is made anew. */
static bool load_ca(struct tls_authority *a, const char *dir)
{
    time_t soon = time(NULL) + (LEAF_DAYS + 1) * 86400;
    FILE *key = open_state(dir, "ca.key"), *cert = open_state(dir, "ca.crt");

    a->ca_key = key ? PEM_read_PrivateKey(key, NULL, NULL, NULL) : NULL;
    a->ca = cert ? PEM_read_X509(cert, NULL, NULL, NULL) : NULL;
    if (key)
        fclose(key);
    if (cert)
        fclose(cert);
    if (a->ca_key && a->ca && X509_check_private_key(a->ca, a->ca_key) == 1 &&
        X509_check_ca(a->ca) == 1 && X509_cmp_time(X509_get0_notAfter(a->ca), &soon) > 0)
        return true;
    ERR_clear_error();
    EVP_PKEY_free(take(&a->ca_key));
    X509_free(take(&a->ca));
    return false;
}

static int write_file(const char *dir, const char *name, struct bytes data, mode_t mode,
                      struct error *err);

static int store_pem(const char *dir, const char *name, BIO *bio, struct error *err)
{
    char *pem;
    long n = BIO_get_mem_data(bio, &pem);

    return n > 0 ? write_file(dir, name, bytes_of(pem, (size_t)n), 0600, err)
                 : error_set(err, -ENOMEM, "out of memory");
}

static int store_ca(const struct tls_authority *a, const char *dir, struct error *err)
{
    BIO *key = BIO_new(BIO_s_secmem()), *cert = BIO_new(BIO_s_mem());
    int rc = 0;

    if (!key || !cert || PEM_write_bio_PrivateKey(key, a->ca_key, NULL, NULL, 0, NULL, NULL) != 1 ||
        PEM_write_bio_X509(cert, a->ca) != 1)
        rc = error_set(err, -ENOMEM, "out of memory");
    if (rc == 0)
        rc = store_pem(dir, "ca.key", key, err);
    if (rc == 0)
        rc = store_pem(dir, "ca.crt", cert, err);
    BIO_free(key);
    BIO_free(cert);
    return rc ? error_prefix(err, rc, "--state") : 0;
}

static int get_ca(struct tls_authority *a, const char *state_dir, struct error *err)
{
    a->leaf_key = EVP_EC_gen("P-256");
    if (!a->leaf_key)
        return error_set(err, -ENOMEM, "cannot make a key");
    if (state_dir && load_ca(a, state_dir))
        return 0;
    if (make_ca(a) != 0)
        return error_set(err, -ENOMEM, "cannot make the certificate authority");
    return state_dir ? store_ca(a, state_dir, err) : 0;
}

/* Host names come from the network: only what a DNS name may hold gets into a certificate. */
static bool is_dns_name(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._*");

    return n > 0 && n <= 200 && s[n] == '\0';
}

static X509 *make_leaf(struct tls_authority *a, const char *sni, const char *address)
{
    _cleanup_(X509_free) X509 *cert = NULL;
    char san[512];
    int n = 0;

    if (*sni)
        n = snprintf(san, sizeof san, "DNS:%s", sni);
    if (*address)
        n += snprintf(san + n, sizeof san - (size_t)n, "%sIP:%s", n ? "," : "", address);
    cert = certificate_start(a->leaf_key, "Chaperone guard", a->ca, LEAF_DAYS);
    if (!cert || (n && add_extension(cert, a->ca, NID_subject_alt_name, san)) ||
        add_extension(cert, a->ca, NID_basic_constraints, "critical,CA:FALSE") ||
        add_extension(cert, a->ca, NID_key_usage, "critical,digitalSignature") ||
        add_extension(cert, a->ca, NID_ext_key_usage, "serverAuth") ||
        add_extension(cert, a->ca, NID_authority_key_identifier, "keyid") ||
        !X509_sign(cert, a->ca_key, EVP_sha256()))
        return NULL;
    return take(&cert);
}

/* The leaf for that name and address, made when first asked for. A counted reference. */
static X509 *leaf_for(struct tls_authority *a, const char *sni, const char *address)
{
    char name[sizeof a->leaves[0].name];
    struct leaf *slot = NULL;
    X509 *cert = NULL;

    snprintf(name, sizeof name, "%s\n%s", sni, address);
    pthread_mutex_lock(&a->lock);
    for (size_t i = 0; i < a->n_leaves && !cert; i++)
        if (strcmp(a->leaves[i].name, name) == 0)
            cert = a->leaves[i].cert;
    if (!cert) {
        cert = make_leaf(a, sni, address);
        slot = a->n_leaves < MAX_LEAVES ? &a->leaves[a->n_leaves++]
                                        : &a->leaves[a->next_victim++ % MAX_LEAVES];
        X509_free(slot->cert);
        slot->cert = cert;
        snprintf(slot->name, sizeof slot->name, "%s", cert ? name : "");
    }
    if (cert)
        X509_up_ref(cert);
    pthread_mutex_unlock(&a->lock);
    return cert;
}

/* SSL_CTX_set_cert_cb: runs once the ClientHello is known. */
static int choose_certificate(SSL *ssl, void *arg)
{
    const struct server_extra *x = SSL_get_ex_data(ssl, extra_index);
    const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    _cleanup_(X509_free) X509 *leaf = NULL;

    (void)arg;
    leaf = leaf_for(x->authority, sni && is_dns_name(sni) ? sni : "", x->address);
    if (!leaf)
        return 0;
    return SSL_use_certificate(ssl, leaf) == 1 &&
           SSL_use_PrivateKey(ssl, x->authority->leaf_key) == 1 &&
           SSL_add1_chain_cert(ssl, x->authority->ca) == 1;
}

static int choose_alpn(SSL *ssl, const uint8_t **out, uint8_t *out_len, const uint8_t *in,
                       unsigned in_len, void *arg)
{
    const struct server_extra *x = SSL_get_ex_data(ssl, extra_index);
    size_t want = x->alpn ? strlen(x->alpn) : 0;

    (void)arg;
    for (unsigned i = 0; i < in_len && want; i += 1u + in[i]) {
        if (in[i] == want && i + 1 + want <= in_len && memcmp(in + i + 1, x->alpn, want) == 0) {
            *out = in + i + 1;
            *out_len = (uint8_t)want;
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Replaced as a whole. Mode 0644 is for the agent: our umask must not close it. */
static int write_file(const char *dir, const char *name, struct bytes data, mode_t mode,
                      struct error *err)
{
    char path[PATH_MAX], tmp[PATH_MAX + 8];
    FILE *f;
    bool ok;

    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
        return error_set(err, -ENAMETOOLONG, "%s: path too long", dir);
    snprintf(tmp, sizeof tmp, "%s.tmp", path);
    f = fopen(tmp, "we");
    if (!f)
        return error_set(err, -errno, "cannot write %s: %s", tmp, strerror(errno));
    ok = fchmod(fileno(f), mode) == 0 && fwrite(data.p, 1, data.len, f) == data.len;
    ok = fclose(f) == 0 && ok;
    if (!ok || rename(tmp, path) != 0)
        return error_set(err, -errno, "cannot write %s: %s", path, strerror(errno));
    return 0;
}

/* The system's root certificates, or an empty string. Owned by the caller. */
static char *system_roots(size_t *ret_len)
{
    FILE *f = fopen("/etc/ssl/certs/ca-certificates.crt", "re");
    const size_t max = 4 << 20;
    char *data = malloc(max);

    *ret_len = f && data ? fread(data, 1, max, f) : 0;
    if (f)
        fclose(f);
    return data;
}

static int write_trust(const struct tls_authority *a, const char *dir, struct error *err)
{
    _cleanup_(free_charp) char *roots = NULL, *bundle = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    size_t roots_len, pem_len;
    char hash_name[32], *pem;
    int rc = 0;

    if (!bio || !PEM_write_bio_X509(bio, a->ca))
        rc = error_set(err, -ENOMEM, "out of memory");
    pem_len = rc ? 0 : (size_t)BIO_get_mem_data(bio, &pem);
    roots = system_roots(&roots_len);
    bundle = malloc(roots_len + pem_len + 1);
    if (!roots || !bundle)
        rc = error_set(err, -ENOMEM, "out of memory");
    /* The agent reads this directory: our umask must not close it. An existing one is left as it
     * is. */
    if (rc == 0 && mkdir(dir, 0755) == 0)
        rc = chmod(dir, 0755) == 0 ? 0 : -errno;
    else if (rc == 0 && errno != EEXIST)
        rc = -errno;
    if (rc < 0 && err && !err->text[0])
        error_set(err, rc, "--trust %s: %s", dir, strerror(-rc));
    if (rc == 0) {
        memcpy(bundle, roots, roots_len);
        memcpy(bundle + roots_len, pem, pem_len);
        snprintf(hash_name, sizeof hash_name, "%08lx.0", X509_subject_name_hash(a->ca));
        rc = write_file(dir, "ca.crt", bytes_of(pem, pem_len), 0644, err);
        if (rc == 0)
            rc = write_file(dir, hash_name, bytes_of(pem, pem_len), 0644, err);
        if (rc == 0)
            rc = write_file(dir, "bundle.pem", bytes_of(bundle, roots_len + pem_len), 0644, err);
    }
    BIO_free(bio);
    return rc;
}

int tls_authority_new(const char *trust_dir, const char *state_dir, struct tls_authority **ret,
                      struct error *err)
{
    struct tls_authority *a = calloc(1, sizeof *a);
    int rc;

    pthread_once(&extra_once, extra_register);
    if (!a)
        return error_set(err, -ENOMEM, "out of memory");
    pthread_mutex_init(&a->lock, NULL);
    a->ctx = SSL_CTX_new(TLS_server_method());
    rc = a->ctx ? get_ca(a, state_dir, err) : error_set(err, -ENOMEM, "out of memory");
    if (rc) {
        tls_authority_free(a);
        return rc;
    }
    SSL_CTX_set_min_proto_version(a->ctx, TLS1_2_VERSION);
    SSL_CTX_set_cert_cb(a->ctx, choose_certificate, NULL);
    SSL_CTX_set_alpn_select_cb(a->ctx, choose_alpn, NULL);
    SSL_CTX_set_options(a->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
                                    SSL_OP_CLEANSE_PLAINTEXT); /* tokens and passwords */
    SSL_CTX_set_session_cache_mode(a->ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(a->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                 SSL_MODE_RELEASE_BUFFERS);
    rc = trust_dir ? write_trust(a, trust_dir, err) : 0;
    if (rc) {
        tls_authority_free(a);
        return rc;
    }
    *ret = a;
    return 0;
}

void tls_authority_free(struct tls_authority *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->n_leaves; i++)
        X509_free(a->leaves[i].cert);
    X509_free(a->ca);
    EVP_PKEY_free(a->ca_key);
    EVP_PKEY_free(a->leaf_key);
    SSL_CTX_free(a->ctx);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

int tls_server_new(struct tls_authority *a, const char *address, const char *alpn, SSL **ret)
{
    struct server_extra *x = calloc(1, sizeof *x);
    SSL *ssl = x ? SSL_new(a->ctx) : NULL;

    if (!ssl || SSL_set_ex_data(ssl, extra_index, x) != 1) {
        SSL_free(ssl);
        free(x);
        return -ENOMEM;
    }
    x->authority = a;
    x->alpn = alpn;
    snprintf(x->address, sizeof x->address, "%s", address);
    *ret = ssl;
    return 0;
}

/* ---- towards the target ---- */

static int load_roots(SSL_CTX *ctx, const struct target *t, const char *secrets_dir,
                      struct error *err)
{
    char dir[PATH_MAX], path[PATH_MAX + 300];

    if (!t->tls_ca_secret)
        return SSL_CTX_set_default_verify_paths(ctx) == 1
                   ? 0
                   : error_set(err, -EINVAL, "the system has no root certificates");
    if (!secrets_dir)
        return error_set(err, -EINVAL, "GuardTarget %s: tls.caSecretRef needs --secrets DIR",
                         t->name);
    snprintf(dir, sizeof dir, "%s/%s", secrets_dir, t->tls_ca_secret);
    snprintf(path, sizeof path, "%s/%s", dir, t->tls_ca_key ? t->tls_ca_key : "ca.crt");
    if (SSL_CTX_load_verify_file(ctx, path) != 1) {
        ERR_clear_error();
        if (access(dir, F_OK) != 0 && errno == ENOENT)
            return error_set(
                err, -ENOENT,
                "GuardTarget %.100s: tls.caSecretRef: there is no %.200s. In a cluster: "
                "the pod is older than the target's secret, and has to be recreated",
                t->name, dir);
        return error_set(err, -EINVAL, "GuardTarget %s: tls.caSecretRef: no certificate in %s",
                         t->name, path);
    }
    return 0;
}

static int expect_name(SSL *ssl, const char *name)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    uint8_t raw[16];

    if (inet_pton(AF_INET, name, raw) == 1 || inet_pton(AF_INET6, name, raw) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1 ? 0 : -EINVAL;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (SSL_set_tlsext_host_name(ssl, name) != 1 || SSL_set1_host(ssl, name) != 1)
        return -EINVAL;
    return 0;
}

int tls_client_new(const struct target *t, const char *secrets_dir, const char *host, SSL **ret,
                   struct error *err)
{
    _cleanup_(SSL_CTX_free) SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    _cleanup_(SSL_free) SSL *ssl = NULL;
    int rc;

    if (!ctx)
        return error_set(err, -ENOMEM, "out of memory");
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    if (t->tls == TARGET_TLS_VERIFY_FULL) {
        rc = load_roots(ctx, t, secrets_dir, err);
        if (rc)
            return rc;
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    }
    ssl = SSL_new(ctx);
    if (!ssl)
        return error_set(err, -ENOMEM, "out of memory");
    if (t->tls == TARGET_TLS_VERIFY_FULL &&
        expect_name(ssl, t->tls_server_name ? t->tls_server_name : host))
        return error_set(err, -EINVAL, "GuardTarget %s: cannot verify the name '%s'", t->name,
                         t->tls_server_name ? t->tls_server_name : host);
    *ret = take(&ssl);
    return 0;
}

DEFINE_CLEANUP(BIO *, BIO_free)

/* An encrypted key would make OpenSSL ask on a terminal. */
static int no_password(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing, (void)arg;
    return -1;
}

static bool use_certificates(SSL *ssl, struct bytes pem)
{
    _cleanup_(BIO_free) BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.len);
    bool ok = false;

    for (bool first = true; bio; first = false) {
        _cleanup_(X509_free) X509 *cert = PEM_read_bio_X509(bio, NULL, no_password, NULL);

        if (!cert)
            break;
        ok =
            first ? SSL_use_certificate(ssl, cert) == 1 : ok && SSL_add1_chain_cert(ssl, cert) == 1;
    }
    return ok;
}

int tls_client_certify(SSL *ssl, struct bytes certificates, struct bytes key, struct error *err)
{
    _cleanup_(BIO_free) BIO *bio = NULL;
    _cleanup_(EVP_PKEY_free) EVP_PKEY *pkey = NULL;
    int rc = 0;

    if (certificates.len > INT_MAX || key.len > INT_MAX)
        return error_set(err, -EINVAL, "tls.crt or tls.key is too long");
    bio = BIO_new_mem_buf(key.p, (int)key.len);
    pkey = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;
    if (!use_certificates(ssl, certificates))
        rc = error_set(err, -EINVAL, "tls.crt is no certificate in PEM");
    else if (!pkey)
        rc = error_set(err, -EINVAL, "tls.key is no unencrypted private key in PEM");
    else if (SSL_use_PrivateKey(ssl, pkey) != 1 || SSL_check_private_key(ssl) != 1)
        rc = error_set(err, -EINVAL, "tls.key is not the key of tls.crt");
    ERR_clear_error();
    return rc;
}
