/* SPDX-License-Identifier: Apache-2.0
 * Writes and reads segments.
 */
#include "segment.h"

#include "src-common/buffer.h"
#include "src-common/clock.h"
#include "src-common/jsonread.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <unistd.h>
#include <zstd.h>

#define SEAL_MAGIC    0x184D2A5Cu /* one of the sixteen skippable frames (RFC 8878, 3.1.2) */
#define SEAL_MAX      ((size_t)4096)
#define SEAL_TAIL     ",\"signature\":\""
#define SEAL_TAIL_LEN (sizeof SEAL_TAIL - 1 + 2 * SIGNATURE_BYTES + 2)
#define LEVEL         3
#define WINDOW_LOG    23 /* what a reader grants: 8 MiB; level 3 uses 2 */
#define READ_CHUNK    ((size_t)64 << 10)

/* ---- names ---- */

void segment_name(const char *session, unsigned n, char ret[static SEGMENT_NAME_MAX])
{
    snprintf(ret, SEGMENT_NAME_MAX, "%.63s.%06u" SEGMENT_SUFFIX, session, n);
}

bool segment_name_parse(const char *name, char session[static RECORD_SESSION_MAX + 1],
                        unsigned *ret)
{
    size_t len = strlen(name), tail = sizeof ".000000" SEGMENT_SUFFIX - 1;
    char again[SEGMENT_NAME_MAX];
    unsigned n = 0;

    if (len <= tail || len - tail > RECORD_SESSION_MAX ||
        !chain_session_ok(bytes_of(name, len - tail)))
        return false;
    for (const char *p = name + len - tail + 1; *p >= '0' && *p <= '9' && n <= SEGMENT_MAX; p++)
        n = n * 10 + (unsigned)(*p - '0');
    memcpy(session, name, len - tail);
    session[len - tail] = '\0';
    segment_name(session, n, again);
    *ret = n;
    return strcmp(again, name) == 0;
}

/* ---- the seal ---- */

static void put_le32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static uint32_t get_le32(const uint8_t *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static void kstr(struct buffer *b, const char *key, const char *value)
{
    jsonw_kstr(b, key, bytes_str(value));
}

/* The text up to the signature, and a brace. */
static void seal_text(struct buffer *b, const struct seal *s)
{
    char now[CLOCK_RFC3339_LEN + 1];

    clock_rfc3339(clock_wall_us(), now);
    buffer_printf(b, "{\"chaperone\":\"segment/1\"");
    kstr(b, "session", s->session);
    jsonw_ku64(b, "segment", s->segment);
    kstr(b, "time", now);
    jsonw_ku64(b, "first", s->first);
    jsonw_ku64(b, "last", s->last);
    kstr(b, "prev", s->prev);
    kstr(b, "head", s->head);
    jsonw_ku64(b, "bytes", s->bytes);
    kstr(b, "lines", s->lines);
    kstr(b, "frame", s->frame);
    kstr(b, "before", s->before);
    jsonw_key(b, "final");
    buffer_printf(b, s->final ? "true" : "false");
    kstr(b, "key", s->key);
    buffer_add_u8(b, '}');
}

static int sign_seal(struct buffer *b, struct seal *s, const struct signer *by)
{
    uint8_t signature[SIGNATURE_BYTES];
    char hex[2 * SIGNATURE_BYTES];

    seal_text(b, s);
    if (b->failed)
        return -ENOMEM;
    if (signer_sign(by, buffer_bytes(b), signature) != 0)
        return -EIO;
    b->end--; /* the brace */
    hex_write(signature, sizeof signature, hex);
    buffer_append(b, SEAL_TAIL, sizeof SEAL_TAIL - 1);
    buffer_append(b, hex, sizeof hex);
    buffer_append(b, "\"}", 2);
    chain_hash(buffer_bytes(b), (struct bytes){0}, s->digest);
    return b->failed ? -ENOMEM : 0;
}

static bool get_str(struct json_object *o, const char *key, char *ret, size_t size)
{
    struct json_object *v;

    if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_string) ||
        (size_t)json_object_get_string_len(v) >= size)
        return false;
    snprintf(ret, size, "%s", json_object_get_string(v));
    return true;
}

static bool get_hash(struct json_object *o, const char *key, char ret[static CHAIN_HEX + 1])
{
    uint8_t raw[CHAIN_HEX / 2];

    return get_str(o, key, ret, CHAIN_HEX + 1) && strlen(ret) == CHAIN_HEX &&
           hex_read(ret, sizeof raw, raw);
}

static bool get_number(struct json_object *o, const char *key, uint64_t max, uint64_t *ret)
{
    struct json_object *v;
    int64_t n;

    if (!json_object_object_get_ex(o, key, &v) || !json_object_is_type(v, json_type_int))
        return false;
    n = json_object_get_int64(v);
    *ret = (uint64_t)n;
    return n >= 0 && (uint64_t)n <= max;
}

static bool seal_fields(struct json_object *o, struct seal *s)
{
    struct json_object *final;
    char kind[16];
    uint64_t n = 0;
    bool ok = get_str(o, "chaperone", kind, sizeof kind) && strcmp(kind, "segment/1") == 0 &&
              get_str(o, "session", s->session, sizeof s->session) &&
              chain_session_ok(bytes_str(s->session)) &&
              get_number(o, "segment", SEGMENT_MAX, &n) &&
              get_number(o, "first", INT64_MAX, &s->first) &&
              get_number(o, "last", INT64_MAX, &s->last) && s->first <= s->last &&
              get_number(o, "bytes", INT64_MAX, &s->bytes) && get_hash(o, "prev", s->prev) &&
              get_hash(o, "head", s->head) && get_hash(o, "lines", s->lines) &&
              get_hash(o, "frame", s->frame) && get_hash(o, "before", s->before) &&
              get_hash(o, "key", s->key) && json_object_object_get_ex(o, "final", &final) &&
              json_object_is_type(final, json_type_boolean);

    s->segment = (unsigned)n;
    s->final = ok && json_object_get_boolean(final);
    return ok;
}

/* Is `text` a seal, signed by the key that it names? */
static bool seal_parse(struct bytes text, struct seal *ret)
{
    uint8_t signed_text[SEAL_MAX], signature[SIGNATURE_BYTES];
    size_t n = text.len - SEAL_TAIL_LEN;
    struct json_object *o = NULL;
    bool ok;

    if (text.len <= SEAL_TAIL_LEN || text.len > SEAL_MAX ||
        memcmp(text.p + n, SEAL_TAIL, sizeof SEAL_TAIL - 1) != 0 ||
        !hex_read((const char *)text.p + n + sizeof SEAL_TAIL - 1, sizeof signature, signature) ||
        memcmp(text.p + text.len - 2, "\"}", 2) != 0)
        return false;
    memcpy(signed_text, text.p, n);
    signed_text[n] = '}';
    ok = jsonread_strict(text, 3, &o) == 0 && seal_fields(o, ret) &&
         signature_holds(bytes_of(signed_text, n + 1), ret->key, signature);
    json_object_put(o);
    chain_hash(text, (struct bytes){0}, ret->digest);
    ret->digest[CHAIN_HEX] = '\0';
    return ok;
}

/* ---- writing ---- */

static int write_all(int fd, struct bytes b)
{
    while (b.len > 0) {
        ssize_t n = write(fd, b.p, b.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        b = bytes_of(b.p + n, b.len - (size_t)n);
    }
    return 0;
}

static int compress_lines(struct bytes lines, struct buffer *to)
{
    size_t bound = ZSTD_compressBound(lines.len), n;
    ZSTD_CCtx *c = ZSTD_createCCtx();
    uint8_t *p = buffer_reserve(to, bound);

    if (!c || !p) {
        ZSTD_freeCCtx(c);
        return -ENOMEM;
    }
    ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, LEVEL);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    n = ZSTD_compress2(c, p, bound, lines.p, lines.len);
    ZSTD_freeCCtx(c);
    if (ZSTD_isError(n))
        return -EIO;
    buffer_commit(to, n);
    return 0;
}

static int build(struct seal *seal, const struct signer *by, struct bytes lines, struct buffer *to)
{
    uint8_t head[8] = {0};
    struct buffer text, frame;
    int rc;

    buffer_init(&frame, ZSTD_compressBound(lines.len));
    rc = compress_lines(lines, &frame);
    chain_hash(buffer_bytes(&frame), (struct bytes){0}, seal->frame);
    chain_hash(lines, (struct bytes){0}, seal->lines);
    seal->bytes = lines.len;
    memcpy(seal->key, signer_public(by), sizeof seal->key);
    buffer_init(&text, SEAL_MAX);
    rc = rc ? rc : sign_seal(&text, seal, by);
    put_le32(head, SEAL_MAGIC);
    put_le32(head + 4, (uint32_t)buffer_len(&text));
    buffer_append(to, head, sizeof head);
    buffer_add(to, buffer_bytes(&text));
    buffer_add(to, buffer_bytes(&frame));
    buffer_done(&text);
    buffer_done(&frame);
    return rc ? rc : to->failed ? -ENOMEM : 0;
}

int segment_write(int dir_fd, const char *name, struct seal *seal, const struct signer *by,
                  struct bytes lines, struct error *err)
{
    struct buffer all;
    int fd, rc;

    buffer_init(&all, SEAL_MAX + 64 + ZSTD_compressBound(lines.len));
    rc = build(seal, by, lines, &all);
    fd =
        rc ? -1 : openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (rc == 0 && fd < 0)
        rc = -errno;
    if (rc == 0)
        rc = write_all(fd, buffer_bytes(&all));
    if (rc == 0 && fsync(fd) != 0)
        rc = -errno;
    if (fd >= 0)
        close(fd);
    buffer_done(&all);
    if (rc == 0)
        return 0;
    if (fd >= 0)
        (void)!unlinkat(dir_fd, name, 0);
    return error_set(err, rc, "cannot write %s: %s", name, strerror(-rc));
}

/* ---- reading ---- */

/* Up to n bytes: fewer only at the end of the file. */
static ssize_t read_full(int fd, uint8_t *to, size_t n)
{
    size_t got = 0;

    while (got < n) {
        ssize_t r = read(fd, to + got, n - got);

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (r == 0)
            break;
        got += (size_t)r;
    }
    return (ssize_t)got;
}

int segment_peek(int fd, struct seal *ret, struct error *err)
{
    uint8_t head[8], text[SEAL_MAX];
    ssize_t n = read_full(fd, head, sizeof head);
    uint32_t len;

    if (n < 0)
        return error_set(err, (int)n, "it cannot be read: %s", strerror((int)-n));
    len = n == (ssize_t)sizeof head ? get_le32(head + 4) : 0;
    if (len == 0 || len > SEAL_MAX || get_le32(head) != SEAL_MAGIC)
        return error_set(err, -EBADMSG, "it is not a segment of a record");
    n = read_full(fd, text, len);
    if (n < 0)
        return error_set(err, (int)n, "it cannot be read: %s", strerror((int)-n));
    if ((size_t)n != len || !seal_parse(bytes_of(text, len), ret))
        return error_set(err, -EBADMSG, "its signature does not hold");
    return 0;
}

struct unpack {
    const struct seal *seal;
    ZSTD_DStream *z;
    EVP_MD_CTX *sha, *frame;
    segment_sink_fn *sink;
    void *arg;
    uint64_t bytes;
    bool whole; /* the frame has ended */
};

/* What one read gave. */
static int unpack_some(struct unpack *u, struct bytes some, struct error *err)
{
    uint8_t out[READ_CHUNK];
    ZSTD_inBuffer in = {some.p, some.len, 0};

    while (in.pos < in.size || !u->whole) {
        ZSTD_outBuffer o = {out, sizeof out, 0};
        size_t r;
        int rc;

        if (u->whole)
            return error_set(err, -EBADMSG, "something was added to its end");
        r = ZSTD_decompressStream(u->z, &o, &in);
        if (ZSTD_isError(r))
            return error_set(err, -EBADMSG, "it was changed: %s", ZSTD_getErrorName(r));
        u->whole = r == 0;
        u->bytes += o.pos;
        if (u->bytes > u->seal->bytes)
            return error_set(err, -EBADMSG, "it is longer than its seal says");
        EVP_DigestUpdate(u->sha, out, o.pos);
        rc = o.pos ? u->sink(bytes_of(out, o.pos), u->arg) : 0;
        if (rc)
            return rc;
        if (in.pos == in.size && o.pos < o.size)
            return 0; /* it wants more */
    }
    return 0;
}

static bool digest_is(EVP_MD_CTX *c, const char *expected)
{
    uint8_t raw[CHAIN_HEX / 2];
    char hex[CHAIN_HEX];

    EVP_DigestFinal_ex(c, raw, NULL);
    hex_write(raw, sizeof raw, hex);
    return memcmp(hex, expected, CHAIN_HEX) == 0;
}

static int unpack_all(struct unpack *u, int fd, struct error *err)
{
    uint8_t in[READ_CHUNK];
    ssize_t n;

    while ((n = read_full(fd, in, sizeof in)) > 0) {
        int rc = unpack_some(u, bytes_of(in, (size_t)n), err);

        EVP_DigestUpdate(u->frame, in, (size_t)n);
        if (rc)
            return rc;
    }
    if (n < 0)
        return error_set(err, (int)n, "it cannot be read: %s", strerror((int)-n));
    if (!u->whole || u->bytes != u->seal->bytes)
        return error_set(err, -EBADMSG, "it is cut off");
    if (!digest_is(u->sha, u->seal->lines) || !digest_is(u->frame, u->seal->frame))
        return error_set(err, -EBADMSG, "its lines are not those that were signed");
    return 0;
}

int segment_read(int fd, segment_sink_fn *sink, void *arg, struct seal *ret, struct error *err)
{
    struct unpack u = {.seal = ret, .sink = sink, .arg = arg};
    struct seal seal = {0};
    int rc = segment_peek(fd, &seal, err);

    if (rc)
        return rc;
    *ret = seal;
    u.z = ZSTD_createDStream();
    u.sha = EVP_MD_CTX_new();
    u.frame = EVP_MD_CTX_new();
    if (u.z && u.sha && u.frame && EVP_DigestInit_ex(u.sha, EVP_sha256(), NULL) == 1 &&
        EVP_DigestInit_ex(u.frame, EVP_sha256(), NULL) == 1 &&
        !ZSTD_isError(ZSTD_DCtx_setParameter(u.z, ZSTD_d_windowLogMax, WINDOW_LOG)))
        rc = unpack_all(&u, fd, err);
    else
        rc = error_set(err, -ENOMEM, "out of memory");
    ZSTD_freeDStream(u.z);
    EVP_MD_CTX_free(u.sha);
    EVP_MD_CTX_free(u.frame);
    return rc;
}
