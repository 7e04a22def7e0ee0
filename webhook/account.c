/* SPDX-License-Identifier: Apache-2.0
 * Our own token.
 */
#include "account.h"

#include "src-common/kube/kube.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>

#define MAX_TOKEN ((size_t)16 << 10)

/* base64url without padding to bytes; returns their number, or -1. */
static int decode_url(const char *text, size_t n, uint8_t *out)
{
    char base64[MAX_TOKEN + 4];
    size_t i;
    int len;

    if (n == 0 || n > MAX_TOKEN)
        return -1;
    for (i = 0; i < n; i++)
        base64[i] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
    for (; i % 4; i++)
        base64[i] = '=';
    len = EVP_DecodeBlock(out, (const uint8_t *)base64, (int)i);
    return len < 0 ? -1 : len - (int)(i - n);
}

static int parse_claims(const char *token, struct json_object **ret, struct error *err)
{
    const char *payload = strchr(token, '.');
    const char *end = payload ? strchr(payload + 1, '.') : NULL;
    uint8_t json[MAX_TOKEN];
    int n = end ? decode_url(payload + 1, (size_t)(end - payload - 1), json) : -1;

    if (n < 0)
        return error_set(err, -EINVAL, "the service account's token is no JWT");
    return value_parse(bytes_of(json, (size_t)n), ret, err);
}

int account_claims(const char *dir, struct json_object **ret, struct error *err)
{
    char path[4096], token[MAX_TOKEN + 1];
    FILE *f;
    size_t n;
    int rc;

    snprintf(path, sizeof path, "%.4000s/token", dir ? dir : KUBE_ACCOUNT_DIR);
    f = fopen(path, "re");
    if (!f)
        return error_set(err, -errno, "%s: %m", path);
    n = fread(token, 1, MAX_TOKEN, f);
    fclose(f);
    token[n] = 0;
    rc = parse_claims(token, ret, err);
    explicit_bzero(token, sizeof token);
    return rc;
}
