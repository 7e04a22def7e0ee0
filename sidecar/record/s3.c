/* SPDX-License-Identifier: Apache-2.0
 * The object store.
 */
#include "s3.h"

#include "s3_config.h"
#include "sigv4.h"
#include "signer.h"
#include "src-common/buffer.h"
#include "src-common/clock.h"
#include "webidentity.h"
#include "xmltext.h"

#include <curl/curl.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_S 10L
#define STALL_S           30L /* without a byte: given up, and tried again later */
#define BODY_MAX          ((size_t)8 << 10)
#define HEADERS_MAX       16
#define SMALL_BUFFER      16384L
#define SSE               "x-amz-server-side-encryption"
#define SSE_KEY           SSE "-aws-kms-key-id"

struct s3 {
    struct s3_settings to;
    CURL *curl;
    struct webidentity *identity; /* NULL: keys are files */
    uint64_t rate;
    bool unconditional; /* the store does not know If-None-Match */
};

/* What we send, and how we know that it arrived. */
struct object {
    int fd;
    off_t at;
    uint64_t size;
    char path[1536];
    char sha_hex[CHAIN_HEX + 1], sha64[48], md5_64[32], md5_hex[33];
    const atomic_uint_fast64_t *until_ms;
};

struct answer {
    long status;
    char checksum[64], etag[64], sse[16], sse_key[256];
    uint64_t length;
    bool has_length;
    struct buffer body;
};

/* ---- the object ---- */

static int digest_file(struct object *o)
{
    EVP_MD_CTX *sha = EVP_MD_CTX_new(), *md5 = EVP_MD_CTX_new();
    uint8_t raw[32], five[16], chunk[16 << 10];
    ssize_t n = -1;
    off_t at = 0;

    if (sha && md5 && EVP_DigestInit_ex(sha, EVP_sha256(), NULL) == 1 &&
        EVP_DigestInit_ex(md5, EVP_md5(), NULL) == 1) {
        while ((n = pread(o->fd, chunk, sizeof chunk, at)) > 0) {
            EVP_DigestUpdate(sha, chunk, (size_t)n);
            EVP_DigestUpdate(md5, chunk, (size_t)n);
            at += n;
        }
        EVP_DigestFinal_ex(sha, raw, NULL);
        EVP_DigestFinal_ex(md5, five, NULL);
    }
    EVP_MD_CTX_free(sha);
    EVP_MD_CTX_free(md5);
    if (n != 0)
        return -EIO;
    o->size = (uint64_t)at;
    hex_write(raw, sizeof raw, o->sha_hex);
    hex_write(five, sizeof five, o->md5_hex);
    EVP_EncodeBlock((uint8_t *)o->sha64, raw, sizeof raw);
    EVP_EncodeBlock((uint8_t *)o->md5_64, five, sizeof five);
    return 0;
}

static bool object_path(const struct s3_settings *to, const char *name, struct object *o)
{
    const char *bucket = to->virtual_host ? "" : to->bucket;
    char plain[1024];
    int n = snprintf(plain, sizeof plain, "%s%s%s/%s%s%s", to->base_path, bucket[0] ? "/" : "",
                     bucket, to->prefix, to->prefix[0] ? "/" : "", name);

    return n > 0 && (size_t)n < sizeof plain && sigv4_encode_path(plain, o->path, sizeof o->path);
}

/* ---- one request ---- */

static size_t on_read(char *to, size_t size, size_t n, void *arg)
{
    struct object *o = arg;
    ssize_t got = pread(o->fd, to, size * n, o->at);

    if (got < 0)
        return CURL_READFUNC_ABORT;
    o->at += got;
    return (size_t)got;
}

static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct object *o = arg;

    if (origin != SEEK_SET)
        return CURL_SEEKFUNC_CANTSEEK;
    o->at = offset;
    return CURL_SEEKFUNC_OK;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct answer *a = arg;

    buffer_append(&a->body, p, min_size(size * n, BODY_MAX - buffer_len(&a->body)));
    return size * n;
}

static bool header_value(const char *line, size_t n, const char *name, char *to, size_t size)
{
    size_t len = strlen(name);

    if (n <= len || strncasecmp(line, name, len) != 0 || line[len] != ':')
        return false;
    line += len + 1, n -= len + 1;
    while (n && (*line == ' ' || *line == '"'))
        line++, n--;
    while (n && strchr("\r\n \"", line[n - 1]))
        n--;
    snprintf(to, size, "%.*s", (int)n, line);
    return true;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    struct answer *a = arg;
    char length[24];

    (void)(header_value(p, size * n, "x-amz-checksum-sha256", a->checksum, sizeof a->checksum) ||
           header_value(p, size * n, "etag", a->etag, sizeof a->etag) ||
           header_value(p, size * n, SSE, a->sse, sizeof a->sse) ||
           header_value(p, size * n, SSE_KEY, a->sse_key, sizeof a->sse_key));
    if (header_value(p, size * n, "content-length", length, sizeof length)) {
        a->length = strtoull(length, NULL, 10);
        a->has_length = true;
    }
    return size * n;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    uint64_t until = atomic_load(((struct object *)arg)->until_ms);

    (void)a, (void)b, (void)c, (void)d;
    return until && clock_mono_ms() >= until;
}

struct headers {
    struct sigv4_header all[HEADERS_MAX];
    size_t n;
    char date[20], until[32];
};

static void add(struct headers *h, const char *name, const char *value)
{
    if (value && value[0] && h->n < HEADERS_MAX)
        h->all[h->n++] = (struct sigv4_header){name, value};
}

static void put_headers(const struct s3 *s, const struct object *o, bool only_new,
                        struct headers *h)
{
    time_t until = time(NULL) + (time_t)s->to.lock_seconds;
    struct tm tm;

    gmtime_r(&until, &tm);
    strftime(h->until, sizeof h->until, "%Y-%m-%dT%H:%M:%SZ", &tm);
    add(h, "content-md5", o->md5_64);
    add(h, "host", s->to.host);
    if (only_new)
        add(h, "if-none-match", "*");
    add(h, "x-amz-checksum-sha256", o->sha64);
    add(h, "x-amz-content-sha256", o->sha_hex);
    add(h, "x-amz-date", h->date);
    if (s->to.lock_mode) {
        add(h, "x-amz-object-lock-mode", s->to.lock_mode);
        add(h, "x-amz-object-lock-retain-until-date", h->until);
    }
    add(h, SSE, s->to.sse);
    add(h, SSE_KEY, s->to.sse_key);
}

static void head_headers(const struct s3 *s, struct headers *h)
{
    static const char empty[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    add(h, "host", s->to.host);
    add(h, "x-amz-checksum-mode", "ENABLED");
    add(h, "x-amz-content-sha256", empty);
    add(h, "x-amz-date", h->date);
}

static struct curl_slist *append(struct curl_slist *list, const char *name, const char *value)
{
    char line[S3_TOKEN_MAX + 64];
    struct curl_slist *more;

    snprintf(line, sizeof line, "%s: %s", name, value);
    more = curl_slist_append(list, line);
    OPENSSL_cleanse(line, sizeof line);
    if (!more)
        curl_slist_free_all(list);
    return more;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct sigv4_header *)a)->name, ((const struct sigv4_header *)b)->name);
}

/* Signs; NULL when it cannot. */
static struct curl_slist *sign(const struct s3 *s, const struct object *o, const char *method,
                               struct headers *h, const struct s3_credentials *c)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    char authorization[SIGV4_MAX];
    struct sigv4 v = {.method = method,
                      .path = o->path,
                      .region = s->to.region,
                      .access_key = c->access_key,
                      .secret_key = c->secret_key,
                      .date = h->date};

    add(h, "x-amz-security-token", c->session_token);
    qsort(h->all, h->n, sizeof h->all[0], by_name);
    v.headers = h->all;
    v.n_headers = h->n;
    for (size_t i = 0; i < h->n; i++)
        if (strcmp(h->all[i].name, "x-amz-content-sha256") == 0)
            v.payload = h->all[i].value;
    if (sigv4_authorization(&v, authorization) != 0) {
        curl_slist_free_all(list);
        return NULL;
    }
    for (size_t i = 0; list && i < h->n; i++)
        list = append(list, h->all[i].name, h->all[i].value);
    return list ? append(list, "authorization", authorization) : NULL;
}

static void set_options(struct s3 *s, struct object *o, struct answer *a)
{
    CURL *c = s->curl;

    curl_easy_reset(c);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, STALL_S);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "chaperone-sidecar");
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, a);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, a);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, o);
    if (s->to.ca_file[0] && access(s->to.ca_file, R_OK) == 0) {
        curl_easy_setopt(c, CURLOPT_CAINFO, s->to.ca_file);
        curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
        curl_easy_setopt(c, CURLOPT_CA_CACHE_TIMEOUT, 0L); /* it is mounted, and changes */
    }
}

static void set_body(struct s3 *s, struct object *o, bool put)
{
    if (!put) {
        curl_easy_setopt(s->curl, CURLOPT_NOBODY, 1L);
        return;
    }
    o->at = 0;
    curl_easy_setopt(s->curl, CURLOPT_UPLOAD, 1L);
    if (s->rate && !atomic_load(o->until_ms)) {
        curl_easy_setopt(s->curl, CURLOPT_UPLOAD_BUFFERSIZE, SMALL_BUFFER); /* no long silences */
        curl_easy_setopt(s->curl, CURLOPT_MAX_SEND_SPEED_LARGE, (curl_off_t)s->rate);
    }
    curl_easy_setopt(s->curl, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(s->curl, CURLOPT_READDATA, o);
    curl_easy_setopt(s->curl, CURLOPT_SEEKFUNCTION, on_seek);
    curl_easy_setopt(s->curl, CURLOPT_SEEKDATA, o);
    curl_easy_setopt(s->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)o->size);
}

enum request { PUT_NEW, PUT_OVER, HEAD };

/* 0: there was an answer. */
static int ask(struct s3 *s, struct object *o, enum request what, struct answer *a,
               struct error *err)
{
    char url[2048], reason[CURL_ERROR_SIZE] = "";
    struct s3_credentials cred;
    struct curl_slist *list = NULL;
    struct headers h = {.n = 0};
    time_t now = time(NULL);
    struct tm tm;
    CURLcode code;
    int rc = s->identity ? webidentity_keys(s->identity, o->until_ms, &cred, err)
                         : s3_credentials_read(&s->to, &cred, err);

    if (rc)
        return rc;
    gmtime_r(&now, &tm);
    strftime(h.date, sizeof h.date, "%Y%m%dT%H%M%SZ", &tm);
    if (what == HEAD)
        head_headers(s, &h);
    else
        put_headers(s, o, what == PUT_NEW, &h);
    list = sign(s, o, what == HEAD ? "HEAD" : "PUT", &h, &cred);
    s3_credentials_wipe(&cred);
    if (!list)
        return error_set(err, -ENOMEM, "the request cannot be signed");
    buffer_reset(&a->body, BODY_MAX);
    a->checksum[0] = a->etag[0] = a->sse[0] = a->sse_key[0] = '\0';
    a->has_length = false;
    snprintf(url, sizeof url, "%s%s", s->to.origin, o->path);
    set_options(s, o, a);
    set_body(s, o, what != HEAD);
    curl_easy_setopt(s->curl, CURLOPT_URL, url);
    curl_easy_setopt(s->curl, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(s->curl, CURLOPT_ERRORBUFFER, reason);
    code = curl_easy_perform(s->curl);
    curl_easy_setopt(s->curl, CURLOPT_ERRORBUFFER, NULL);
    curl_slist_free_all(list);
    if (code != CURLE_OK)
        return error_set(err, -EAGAIN, "%s: %s", s->to.origin,
                         reason[0] ? reason : curl_easy_strerror(code));
    curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &a->status);
    return 0;
}

/* ---- what an answer means ---- */

/* Said with 400, but of the login, not of the object. */
static bool is_about_login(const char *code)
{
    return strcmp(code, "ExpiredToken") == 0 || strcmp(code, "InvalidToken") == 0 ||
           strcmp(code, "TokenRefreshRequired") == 0;
}

static int failure(const struct answer *a, struct error *err)
{
    char code[64], message[200];
    int rc = -EINVAL;

    xmltext(buffer_bytes(&a->body), "Code", code, sizeof code);
    xmltext(buffer_bytes(&a->body), "Message", message, sizeof message);
    if (a->status == 401 || a->status == 403 || is_about_login(code))
        rc = -EACCES;
    else if (a->status >= 500 || a->status == 408 || a->status == 409 || a->status == 429 ||
             a->status < 400)
        rc = -EAGAIN;
    return error_set(err, rc, "the store answered %ld %s%s%s", a->status, code,
                     message[0] ? ": " : "", message);
}

/* Does the answer say that the store has these bytes? 0 no word about it, 1 yes, -1 others. */
static int says_same(const struct answer *a, const struct object *o, bool head)
{
    if (head && a->has_length && a->length != o->size)
        return -1;
    if (a->checksum[0])
        return strcmp(a->checksum, o->sha64) == 0 ? 1 : -1;
    /* An ETag is the MD5 unless the store encrypts: only equality says something. */
    return strcasecmp(a->etag, o->md5_hex) == 0 ? 1 : 0;
}

/* Is it there already? 0 yes; -ENOENT no; -EEXIST something else is; -EACCES we may not ask. */
static int look(struct s3 *s, struct object *o, struct answer *a, struct error *err)
{
    int rc = ask(s, o, HEAD, a, err);

    if (rc)
        return rc;
    if (a->status == 404)
        return error_set(err, -ENOENT, "the store does not have the object it acknowledged");
    if (a->status != 200)
        return failure(a, err);
    if (says_same(a, o, true) > 0)
        return 0;
    return error_set(err, -EEXIST, "an object of that name with other content is there already");
}

static int put_over(struct s3 *s, struct object *o, struct answer *a, struct error *err)
{
    int rc = ask(s, o, PUT_OVER, a, err);

    if (rc)
        return rc;
    if (a->status != 200)
        return failure(a, err);
    return says_same(a, o, false) > 0 ? 0 : look(s, o, a, err);
}

static int put_new(struct s3 *s, struct object *o, struct answer *a, struct error *err)
{
    int rc = s->unconditional ? look(s, o, a, err) : ask(s, o, PUT_NEW, a, err);

    if (s->unconditional && rc == -ENOENT) {
        rc = put_over(s, o, a, err);
        s->unconditional = a->status != 501; /* it was something else that it does not know */
        return rc;
    }
    if (rc || s->unconditional)
        return rc;
    if (a->status == 501) {
        s->unconditional = true;
        return put_new(s, o, a, err);
    }
    if (a->status == 412) {
        rc = look(s, o, a, err);
        /* Under a lock there are versions: putting it again covers nothing up. */
        return rc == -EACCES && s->to.lock_mode ? put_over(s, o, a, err) : rc;
    }
    if (a->status != 200)
        return failure(a, err);
    switch (says_same(a, o, false)) {
    case 1:
        return 0;
    case 0:
        return look(s, o, a, err);
    default:
        return error_set(err, -EAGAIN, "the store answered with another checksum");
    }
}

/* Stores answer with the ARN of a key that was named by its id. */
static bool tail_equals(const char *s, const char *tail)
{
    size_t n = strlen(s), t = strlen(tail);

    return n >= t && strcmp(s + n - t, tail) == 0 && (n == t || strchr("/:", s[n - t - 1]));
}

/* Some stores pass over what they do not know. The object is there then, and no other will be. */
static int check_sse(const struct s3 *s, const struct answer *a, struct error *err)
{
    if (!s->to.sse[0] || (strcasecmp(a->sse, s->to.sse) == 0 &&
                          (!s->to.sse_key[0] || tail_equals(a->sse_key, s->to.sse_key))))
        return 0;
    return error_set(err, -EINVAL, "--s3-sse: the store holds the object, but not encrypted so: %s",
                     a->sse[0] ? a->sse : "not at all, as it seems");
}

int s3_put(struct s3 *s, const char *name, int fd, const atomic_uint_fast64_t *until_ms,
           struct error *err)
{
    struct object o = {.fd = fd, .until_ms = until_ms};
    struct answer a = {0};
    int rc;

    buffer_init(&a.body, BODY_MAX);
    if (!object_path(&s->to, name, &o))
        return error_set(err, -EINVAL, "the object's name is too long");
    rc = digest_file(&o);
    rc = rc ? error_set(err, -EAGAIN, "the file cannot be read") : put_new(s, &o, &a, err);
    if (rc == 0)
        rc = check_sse(s, &a, err);
    else if (rc == -EACCES && s->identity)
        webidentity_forget(s->identity);
    buffer_done(&a.body);
    return rc == -ENOENT || rc == -ENOMEM ? -EAGAIN : rc;
}

/* ---- life ---- */

int s3_new(const struct s3_config *config, struct s3 **ret, struct error *err)
{
    struct s3 *s = calloc(1, sizeof *s);
    int rc;

    if (!s)
        return error_set(err, -ENOMEM, "out of memory");
    rc = s3_settings_parse(config, &s->to, err);
    s->rate = config->rate;
    if (rc == 0 && config->role)
        rc = webidentity_new(config, &s->to, &s->identity, err);
    if (rc == 0) {
        s->curl = curl_easy_init();
        if (!s->curl)
            rc = error_set(err, -ENOMEM, "out of memory");
    }
    if (rc) {
        s3_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void s3_free(struct s3 *s)
{
    if (!s)
        return;
    curl_easy_cleanup(s->curl);
    webidentity_free(s->identity);
    free(s);
}
