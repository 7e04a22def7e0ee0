/* SPDX-License-Identifier: Apache-2.0
 * Ed25519 (RFC 8032) through OpenSSL.
 */
#include "signer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct signer {
    EVP_PKEY *key;
    char public_hex[CHAIN_HEX + 1];
};

void hex_write(const uint8_t *p, size_t n, char *to)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < n; i++) {
        to[2 * i] = digits[p[i] >> 4];
        to[2 * i + 1] = digits[p[i] & 15];
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_read(const char *from, size_t n_bytes, uint8_t *to)
{
    for (size_t i = 0; i < n_bytes; i++) {
        int high = hex_digit(from[2 * i]), low = high < 0 ? -1 : hex_digit(from[2 * i + 1]);

        if (low < 0)
            return false;
        to[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static int public_hex(EVP_PKEY *key, char ret[static CHAIN_HEX + 1])
{
    uint8_t raw[SIGNER_PUBLIC];
    size_t n = sizeof raw;

    if (EVP_PKEY_get_id(key) != EVP_PKEY_ED25519 || EVP_PKEY_get_raw_public_key(key, raw, &n) != 1)
        return -EINVAL;
    hex_write(raw, n, ret);
    ret[CHAIN_HEX] = '\0';
    return 0;
}

/* ---- the guard's own ---- */

static EVP_PKEY *read_private(const char *path)
{
    FILE *f = fopen(path, "re");
    EVP_PKEY *key = f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;

    if (f)
        fclose(f);
    return key;
}

/* Written beside and renamed: there is never half a key. */
static int keep_private(const char *path, EVP_PKEY *key, struct error *err)
{
    char temp[PATH_MAX];
    bool ok;
    FILE *f;
    int fd;

    snprintf(temp, sizeof temp, "%.4000s.new", path);
    (void)!unlink(temp);
    fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f)
        return error_set(err, -errno, "cannot write %s: %m", temp);
    ok = PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1 && fflush(f) == 0 &&
         fsync(fd) == 0;
    fclose(f);
    if (!ok || rename(temp, path) != 0)
        return error_set(err, -EIO, "cannot write the key that signs records to %s: %m", path);
    return 0;
}

static int get_key(const char *state_dir, EVP_PKEY **ret, struct error *err)
{
    char path[PATH_MAX];

    if (state_dir) {
        (void)!mkdir(state_dir, 0700); /* whether it is there shows below */
        snprintf(path, sizeof path, "%.4000s/record_key.pem", state_dir);
        if (access(path, F_OK) == 0) {
            *ret = read_private(path);
            return *ret ? 0
                        : error_set(err, -EINVAL,
                                    "%s holds no private key; remove it to get a new one", path);
        }
    }
    *ret = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    if (!*ret)
        return error_set(err, -EIO, "no key to sign records with could be made");
    return state_dir ? keep_private(path, *ret, err) : 0;
}

int signer_open(const char *state_dir, struct signer **ret, struct error *err)
{
    struct signer *s = calloc(1, sizeof *s);
    int rc;

    if (!s)
        return error_set(err, -ENOMEM, "out of memory");
    rc = get_key(state_dir, &s->key, err);
    if (rc == 0 && (rc = public_hex(s->key, s->public_hex)) != 0)
        error_set(err, rc, "the key that signs records is not an Ed25519 key");
    if (rc) {
        signer_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void signer_free(struct signer *s)
{
    if (!s)
        return;
    EVP_PKEY_free(s->key);
    free(s);
}

const char *signer_public(const struct signer *s)
{
    return s->public_hex;
}

char *signer_public_pem(const struct signer *s)
{
    BIO *b = BIO_new(BIO_s_mem());
    char *data, *pem = NULL;
    long n;

    if (b && PEM_write_bio_PUBKEY(b, s->key) == 1 && (n = BIO_get_mem_data(b, &data)) > 0)
        pem = strndup(data, (size_t)n);
    BIO_free(b);
    return pem;
}

int signer_sign(const struct signer *s, struct bytes text, uint8_t ret[static SIGNATURE_BYTES])
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    size_t n = SIGNATURE_BYTES;
    bool ok = c && EVP_DigestSignInit(c, NULL, NULL, NULL, s->key) == 1 &&
              EVP_DigestSign(c, ret, &n, text.p, text.len) == 1 && n == SIGNATURE_BYTES;

    EVP_MD_CTX_free(c);
    return ok ? 0 : -EIO;
}

/* ---- others' ---- */

bool signature_holds(struct bytes text, const char hex[static CHAIN_HEX],
                     const uint8_t signature[static SIGNATURE_BYTES])
{
    uint8_t raw[SIGNER_PUBLIC];
    EVP_PKEY *key = hex_read(hex, sizeof raw, raw)
                        ? EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, raw, sizeof raw)
                        : NULL;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = key && c && EVP_DigestVerifyInit(c, NULL, NULL, NULL, key) == 1 &&
              EVP_DigestVerify(c, signature, SIGNATURE_BYTES, text.p, text.len) == 1;

    EVP_MD_CTX_free(c);
    EVP_PKEY_free(key);
    return ok;
}

static int add_hex(FILE *f, const char *path, struct trusted_keys *to, struct error *err)
{
    uint8_t raw[SIGNER_PUBLIC];
    char line[256];

    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = '\0';
        if (!line[0])
            continue;
        if (strlen(line) != CHAIN_HEX || !hex_read(line, sizeof raw, raw))
            return error_set(err, -EINVAL,
                             "%s: neither a PEM public key nor lines of 64 hex digits", path);
        if (to->n == TRUSTED_KEYS_MAX)
            return error_set(err, -E2BIG, "more than %d keys", TRUSTED_KEYS_MAX);
        memcpy(to->hex[to->n++], line, CHAIN_HEX + 1);
    }
    return 0;
}

static int add_pem(FILE *f, const char *path, struct trusted_keys *to, struct error *err)
{
    EVP_PKEY *key;

    while ((key = PEM_read_PUBKEY(f, NULL, NULL, NULL)) != NULL) {
        int rc = to->n < TRUSTED_KEYS_MAX ? public_hex(key, to->hex[to->n]) : -E2BIG;

        EVP_PKEY_free(key);
        if (rc)
            return error_set(err, rc,
                             rc == -E2BIG ? "%s: more than %d keys" : "%s: not an Ed25519 key",
                             path, TRUSTED_KEYS_MAX);
        to->n++;
    }
    return 0;
}

int trusted_keys_load(const char *path, struct trusted_keys *to, struct error *err)
{
    FILE *f = fopen(path, "re");
    size_t before = to->n;
    int rc;

    if (!f)
        return error_set(err, -errno, "cannot read %s: %m", path);
    rc = add_pem(f, path, to, err);
    if (rc == 0 && to->n == before) {
        rewind(f);
        rc = add_hex(f, path, to, err);
    }
    fclose(f);
    if (rc == 0 && to->n == before)
        return error_set(err, -EINVAL, "%s holds no public key", path);
    return rc;
}

bool trusted_keys_have(const struct trusted_keys *k, const char *hex)
{
    for (size_t i = 0; i < k->n; i++)
        if (strcmp(k->hex[i], hex) == 0)
            return true;
    return false;
}
