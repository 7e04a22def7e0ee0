/* SPDX-License-Identifier: Apache-2.0
 * Replaces one value.
 */
#include "mask.h"
#include "scan.h"
#include "token.h"

/* Hash states that are copied are all that is needed here; the interface that replaces this one
 * allocates for every value, which is most of a token's cost. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <errno.h>
#include <openssl/sha.h>

#define KEPT_MAX    4 /* characters that Partial shows */
#define STARS       (sizeof(MASK_REDACTED) - 1)
#define REPLACEMENT "\xef\xbf\xbd"
#define HASH_BLOCK  64

struct masker {
    SHA256_CTX inner, outer; /* HMAC-SHA-256 (RFC 2104) with the key already taken in */
    uint16_t triggers[256];  /* of all detectors; see struct scan */
};

int masker_new(const uint8_t key[static 32], struct masker **ret)
{
    struct masker *m = calloc(1, sizeof *m);
    uint8_t pad[HASH_BLOCK];
    bool ok = m;

    memset(pad, 0x36, sizeof pad);
    for (size_t i = 0; i < 32; i++)
        pad[i] ^= key[i];
    ok = ok && SHA256_Init(&m->inner) && SHA256_Update(&m->inner, pad, sizeof pad);
    for (size_t i = 0; i < sizeof pad; i++)
        pad[i] ^= 0x36 ^ 0x5c;
    ok = ok && SHA256_Init(&m->outer) && SHA256_Update(&m->outer, pad, sizeof pad);
    explicit_bzero(pad, sizeof pad);
    if (!ok) {
        masker_free(m);
        return -ENOMEM;
    }
    scan_triggers((1u << DETECTOR_COUNT) - 1, m->triggers);
    *ret = m;
    return 0;
}

void masker_free(struct masker *m)
{
    if (!m)
        return;
    explicit_bzero(m, sizeof *m);
    free(m);
}

static int write_token(const struct masker *m, struct bytes value, char out[static TOKEN_LEN])
{
    uint8_t hash[SHA256_DIGEST_LENGTH];
    SHA256_CTX ctx;

    if (!m)
        return -EINVAL;
    ctx = m->inner;
    if (!SHA256_Update(&ctx, value.p, value.len) || !SHA256_Final(hash, &ctx))
        return -ENOMEM;
    ctx = m->outer;
    if (!SHA256_Update(&ctx, hash, sizeof hash) || !SHA256_Final(hash, &ctx))
        return -ENOMEM;
    token_write(hash, out);
    return 0;
}

/* Writes the text as well-formed UTF-8 that every consumer takes: no NUL. `out` has room for three
 * times its length. */
static size_t write_text(struct bytes t, uint8_t *out)
{
    size_t len = 0;

    for (size_t at = 0; at < t.len;) {
        size_t n = utf8_len_at(t, at);

        if (n && t.p[at]) {
            for (size_t i = 0; i < n; i++)
                out[len++] = t.p[at++];
        } else {
            memcpy(out + len, REPLACEMENT, 3);
            len += 3;
            at++;
        }
    }
    return len;
}

static size_t step(struct bytes t, size_t at)
{
    size_t n = utf8_len_at(t, at);

    return at + (n ? n : 1);
}

/* The last characters, at most KEPT_MAX and at most half of them. */
static struct bytes last_characters(struct bytes value)
{
    size_t chars = 0, keep, from = 0, n = 0;
    uint8_t starts[4 * KEPT_MAX]; /* of the characters in the last bytes, counted from the end */

    for (size_t at = 0; at < value.len && chars < 2 * KEPT_MAX; chars++)
        at = step(value, at);
    keep = chars / 2;
    if (keep == 0)
        return (struct bytes){0};
    if (value.len > sizeof starts)
        from = value.len - sizeof starts;
    for (unsigned i = 0; i < 3 && from > 0 && (value.p[from] & 0xc0) == 0x80; i++)
        from++;
    for (size_t at = from; at < value.len; at = step(value, at))
        starts[n++] = (uint8_t)(value.len - at);
    from = starts[n > keep ? n - keep : 0];
    return bytes_of(value.p + value.len - from, from);
}

static bool has_word(struct bytes t)
{
    for (size_t i = 0; i < t.len; i++) {
        if (char_is(t.p[i], CH_ALNUM | CH_HIGH))
            return true;
    }
    return false;
}

static void stop_at_match(struct scan *s, size_t start, size_t end, enum detector d)
{
    (void)start, (void)end, (void)d;
    s->stop = true;
}

/* What is shown must not be a secret by itself: a key that passes for the domain of the address in
 * front of it, "::1" at the end of something longer. */
static bool has_match(const struct masker *m, struct bytes t)
{
    struct scan s = {.text = t, .triggers = m->triggers, .report = stop_at_match};

    scan_run(&s, t.len);
    return s.stop;
}

/* The domain with its '@' when the value is one mail address; else the last characters, unless they
 * are punctuation (of a PEM block), which would say nothing. */
static struct bytes shown_of(const struct masker *m, struct bytes value, bool is_email)
{
    const uint8_t *at = value.len ? memchr(value.p, '@', value.len) : NULL;
    size_t start, end;
    struct bytes last;

    if (at && !is_email)
        is_email = email_bounds(value, (size_t)(at - value.p), &start, &end) && start == 0 &&
                   end == value.len;
    if (at && is_email)
        last = bytes_of(at, (size_t)(value.p + value.len - at));
    else
        last = last_characters(value);
    return m && has_word(last) && !has_match(m, last) ? last : (struct bytes){0};
}

/* "****1234", "****@example.com" */
static int append_partial(const struct masker *m, struct bytes value, bool is_email,
                          struct buffer *out)
{
    struct bytes shown = shown_of(m, value, is_email);
    uint8_t *to = buffer_reserve(out, STARS + 3 * shown.len);

    if (!to)
        return -ENOMEM;
    memcpy(to, MASK_REDACTED, STARS);
    buffer_commit(out, STARS + write_text(shown, to + STARS));
    return 0;
}

static int append_masked(const struct masker *m, enum mask_method method, struct bytes value,
                         bool is_email, struct buffer *out)
{
    char token[TOKEN_LEN];
    int rc;

    switch (method) {
    case MASK_NULL:
        return 0;
    case MASK_PARTIAL:
        return append_partial(m, value, is_email, out);
    case MASK_TOKEN:
        rc = write_token(m, value, token);
        return rc == 0 ? buffer_append(out, token, sizeof token) : rc;
    case MASK_NONE: /* asked to mask without a method: the closed choice */
    case MASK_REDACT:
        break;
    }
    return buffer_append(out, MASK_REDACTED, STARS);
}

int mask_text(const struct masker *m, enum mask_method method, struct bytes value,
              struct buffer *out)
{
    return append_masked(m, method, value, false, out) == 0 ? 0 : -ENOMEM;
}

int mask_match(const struct masker *m, enum mask_method method, const char *detector_name_,
               struct bytes value, struct buffer *out)
{
    bool shows = method == MASK_PARTIAL || method == MASK_TOKEN;
    struct bytes name = bytes_str(detector_name_);
    uint8_t *to = buffer_reserve(out, name.len + 2);

    if (!to)
        return -ENOMEM;
    if (method == MASK_PARTIAL && bytes_eq_str(name, "privateKey"))
        value.len = 0; /* its end is a line of dashes, or when that is missing, the key */
    to[0] = '[';
    memcpy(to + 1, name.p, name.len);
    to[1 + name.len] = method == MASK_PARTIAL ? ' ' : method == MASK_TOKEN ? ':' : ']';
    buffer_commit(out, name.len + 2);
    if (!shows)
        return 0;
    if (append_masked(m, method, value, bytes_eq_str(name, "email"), out) != 0 ||
        buffer_add_u8(out, ']') != 0)
        return -ENOMEM;
    return 0;
}
