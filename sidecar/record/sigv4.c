/* SPDX-License-Identifier: Apache-2.0
 * Signs requests to an object store.
 */
#include "sigv4.h"

#include "signer.h"
#include "src-common/buffer.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>

#define SHA 32

bool sigv4_encode_path(const char *path, char *to, size_t size)
{
    size_t n = 0;

    for (const char *p = path; *p; p++) {
        bool plain = (*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') ||
                     (*p >= '0' && *p <= '9') || strchr("-._~/", *p);

        if (size - n < 4)
            return false;
        n += (size_t)snprintf(to + n, size - n, plain ? "%c" : "%%%02X", (unsigned char)*p);
    }
    to[n] = '\0';
    return true;
}

static bool mac(const uint8_t *key, size_t n, const char *text, uint8_t ret[static SHA])
{
    unsigned len = SHA;

    return HMAC(EVP_sha256(), key, (int)n, (const uint8_t *)text, strlen(text), ret, &len) != NULL;
}

/* The headers' names, joined by semicolons. */
static void signed_names(const struct sigv4 *s, struct buffer *to)
{
    for (size_t i = 0; i < s->n_headers; i++)
        buffer_printf(to, "%s%s", i ? ";" : "", s->headers[i].name);
}

static void canonical_request(const struct sigv4 *s, struct buffer *to)
{
    buffer_printf(to, "%s\n%s\n%s\n", s->method, s->path, s->query ? s->query : "");
    for (size_t i = 0; i < s->n_headers; i++)
        buffer_printf(to, "%s:%s\n", s->headers[i].name, s->headers[i].value);
    buffer_printf(to, "\n");
    signed_names(s, to);
    buffer_printf(to, "\n%s", s->payload);
}

static bool signing_key(const struct sigv4 *s, const char *day, uint8_t key[static SHA])
{
    char first[256];
    int n = snprintf(first, sizeof first, "AWS4%s", s->secret_key);
    bool ok = n > 0 && (size_t)n < sizeof first && mac((uint8_t *)first, (size_t)n, day, key) &&
              mac(key, SHA, s->region, key) && mac(key, SHA, "s3", key) &&
              mac(key, SHA, "aws4_request", key);

    OPENSSL_cleanse(first, sizeof first);
    return ok;
}

int sigv4_authorization(const struct sigv4 *s, char ret[static SIGV4_MAX])
{
    char day[9], scope[96], text[320], hash[CHAIN_HEX + 1] = "", signature[CHAIN_HEX + 1] = "";
    uint8_t key[SHA], raw[SHA];
    struct buffer b;
    bool ok;
    int n;

    buffer_init(&b, (size_t)64 << 10);
    canonical_request(s, &b);
    chain_hash(buffer_bytes(&b), (struct bytes){0}, hash);
    ok = !b.failed;
    buffer_reset(&b, SIGV4_MAX);
    signed_names(s, &b);
    buffer_add_u8(&b, '\0');
    snprintf(day, sizeof day, "%.8s", s->date);
    n = snprintf(scope, sizeof scope, "%s/%s/s3/aws4_request", day, s->region);
    ok = ok && !b.failed && n > 0 && (size_t)n < sizeof scope;
    snprintf(text, sizeof text, "AWS4-HMAC-SHA256\n%.16s\n%s\n%s", s->date, scope, hash);
    ok = ok && signing_key(s, day, key) && mac(key, SHA, text, raw);
    hex_write(raw, SHA, signature);
    n = ok ? snprintf(ret, SIGV4_MAX,
                      "AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
                      s->access_key, scope, (const char *)b.p + b.start, signature)
           : -1;
    OPENSSL_cleanse(key, sizeof key);
    buffer_done(&b);
    return n > 0 && n < SIGV4_MAX ? 0 : -E2BIG;
}
