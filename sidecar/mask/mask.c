/* SPDX-License-Identifier: Apache-2.0
 * Replaces one value.
 */
#include "mask.h"
#include "scan.h"
#include "token.h"

#include "src-common/secret.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#define KEPT_MAX    4        /* characters that Partial shows */
#define REPLACEMENT "\xef\xbf\xbd"

struct masker {
    EVP_MAC_CTX *keyed; /* HMAC-SHA-256 with the key set; duplicated for every value */
};

int masker_new(const uint8_t key[static 32], struct masker **ret)
{
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("digest", (char[]){"SHA256"}, 0),
                           OSSL_PARAM_construct_end()};
    struct masker *m = calloc(1, sizeof *m);
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);

    if (m && mac)
        m->keyed = EVP_MAC_CTX_new(mac);
    EVP_MAC_free(mac);
    if (!m || !m->keyed || !EVP_MAC_init(m->keyed, key, 32, params)) {
        masker_free(m);
        return -ENOMEM;
    }
    *ret = m;
    return 0;
}

void masker_free(struct masker *m)
{
    if (!m)
        return;
    EVP_MAC_CTX_free(m->keyed); /* wipes what it knows of the key */
    free(m);
}

static int append_token(const struct masker *m, struct bytes value, struct buffer *out)
{
    EVP_MAC_CTX *ctx = m ? EVP_MAC_CTX_dup(m->keyed) : NULL;
    uint8_t hash[32];
    char token[TOKEN_LEN];
    size_t len = 0;
    bool ok = ctx && EVP_MAC_update(ctx, value.p, value.len) &&
              EVP_MAC_final(ctx, hash, &len, sizeof hash) && len == sizeof hash;

    EVP_MAC_CTX_free(ctx);
    if (!ok)
        return -ENOMEM;
    token_write(hash, token);
    return buffer_append(out, token, sizeof token);
}

/* Appends text as well-formed UTF-8 that every consumer takes: no NUL. */
static int append_text(struct bytes t, struct buffer *out)
{
    int rc = 0;

    for (size_t at = 0; at < t.len && rc == 0;) {
        size_t n = utf8_len_at(t, at);
        bool good = n && t.p[at];

        rc = good ? buffer_append(out, t.p + at, n) : buffer_append(out, REPLACEMENT, 3);
        at += n ? n : 1;
    }
    return rc;
}

static size_t step(struct bytes t, size_t at)
{
    size_t n = utf8_len_at(t, at);

    return at + (n ? n : 1);
}

/* The last characters, at most KEPT_MAX and at most half of them. */
static struct bytes kept(struct bytes value)
{
    size_t chars = 0, keep, from = 0, starts[4 * KEPT_MAX + 4], n = 0;

    for (size_t at = 0; at < value.len && chars < 2 * KEPT_MAX; chars++)
        at = step(value, at);
    keep = chars / 2;
    if (value.len > 4 * KEPT_MAX)
        from = value.len - 4 * KEPT_MAX;
    for (unsigned i = 0; i < 3 && from > 0 && (value.p[from] & 0xc0) == 0x80; i++)
        from++;
    for (size_t at = from; at < value.len; at = step(value, at))
        starts[n++] = at;
    if (keep == 0)
        return (struct bytes){0};
    from = n > keep ? starts[n - keep] : starts[0];
    return bytes_of(value.p + from, value.len - from);
}

static bool has_word(struct bytes t)
{
    for (size_t i = 0; i < t.len; i++) {
        if (char_is(t.p[i], CH_ALNUM | CH_HIGH))
            return true;
    }
    return false;
}

/* "****1234", "****@example.com". What is kept of a value that ends in punctuation (a PEM block)
 * would say nothing and is left out. */
static int append_partial(struct bytes value, struct buffer *out)
{
    const uint8_t *at = value.len ? memchr(value.p, '@', value.len) : NULL;
    size_t start, end;
    struct bytes shown;

    shown = kept(value);
    if (!has_word(shown))
        shown.len = 0;
    if (at && email_bounds(value, (size_t)(at - value.p), &start, &end) && start == 0 &&
        end == value.len)
        shown = bytes_of(at, (size_t)(value.p + value.len - at));
    if (buffer_append(out, "****", 4) != 0)
        return -ENOMEM;
    return append_text(shown, out);
}

static int append_masked(const struct masker *m, enum mask_method method, struct bytes value,
                         struct buffer *out)
{
    switch (method) {
    case MASK_NULL:
        return 0;
    case MASK_PARTIAL:
        return append_partial(value, out);
    case MASK_TOKEN:
        return append_token(m, value, out);
    case MASK_NONE: /* asked to mask without a method: the closed choice */
    case MASK_REDACT:
        break;
    }
    return buffer_append(out, MASK_REDACTED, sizeof(MASK_REDACTED) - 1);
}

int mask_text(const struct masker *m, enum mask_method method, struct bytes value,
              struct buffer *out)
{
    return append_masked(m, method, value, out) == 0 ? 0 : -ENOMEM;
}

int mask_match(const struct masker *m, enum mask_method method, const char *detector_name_,
               struct bytes value, struct buffer *out)
{
    int rc = buffer_add_u8(out, '[');

    if (rc == 0)
        rc = buffer_add(out, bytes_str(detector_name_));
    if (rc == 0 && (method == MASK_PARTIAL || method == MASK_TOKEN)) {
        rc = buffer_add_u8(out, method == MASK_PARTIAL ? ' ' : ':');
        if (rc == 0)
            rc = append_masked(m, method, value, out);
    }
    if (rc == 0)
        rc = buffer_add_u8(out, ']');
    return rc == 0 ? 0 : -ENOMEM;
}
