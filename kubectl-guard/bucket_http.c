/* SPDX-License-Identifier: Apache-2.0
 * Signed requests that read from an object store.
 */
#include "bucket.h"

#include "sidecar/record/signer.h"
#include "sidecar/record/sigv4.h"
#include "src-common/clock.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_S 10L
#define STALL_S           30L /* without a byte */
#define ATTEMPTS          4
#define FIRST_PAUSE_MS    200
#define HEADERS_MAX       8
#define ERROR_MAX         ((size_t)8 << 10)

static const char empty_sha[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct exchange {
    const struct bucket_request *r;
    CURL *curl;
    long status;
    char region[64];    /* where the bucket is, when not where we ask */
    struct buffer body; /* of an answer that is no content */
    int write_error;
};

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct exchange *x = arg;
    size_t len = size * n, done = 0;

    curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &x->status);
    if (x->status != 200) {
        buffer_append(&x->body, p, min_size(len, ERROR_MAX - buffer_len(&x->body)));
        return len;
    }
    if (x->r->fd < 0)
        return buffer_append(x->r->text, p, len) == 0 ? len : 0;
    while (done < len) {
        ssize_t w = write(x->r->fd, p + done, len - done);

        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0) {
            x->write_error = w < 0 ? errno : EIO;
            return 0;
        }
        done += (size_t)w;
    }
    return len;
}

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
    static const char name[] = "x-amz-bucket-region:";
    struct exchange *x = arg;
    size_t len = size * n;

    if (len > sizeof name && strncasecmp(p, name, sizeof name - 1) == 0)
        sscanf(p + sizeof name - 1, " %63[a-zA-Z0-9-]", x->region);
    return len;
}

/* ---- one request ---- */

static struct curl_slist *append(struct curl_slist *list, const char *name, const char *value)
{
    char line[SIGV4_MAX + 2048];
    struct curl_slist *more;

    snprintf(line, sizeof line, "%s: %s", name, value);
    more = curl_slist_append(list, line);
    explicit_bzero(line, sizeof line);
    if (!more)
        curl_slist_free_all(list);
    return more;
}

/* NULL when it cannot be signed. */
static struct curl_slist *signed_headers(const struct bucket_request *r)
{
    const struct s3_credentials *keys = &r->login->keys;
    char authorization[SIGV4_MAX], date[20];
    const struct sigv4_header headers[] = {{"host", r->to->host},
                                           {"x-amz-content-sha256", empty_sha},
                                           {"x-amz-date", date},
                                           {"x-amz-security-token", keys->session_token}};
    struct sigv4 v = {.method = "GET",
                      .path = r->path,
                      .query = r->query,
                      .region = r->to->region,
                      .access_key = keys->access_key,
                      .secret_key = keys->secret_key,
                      .date = date,
                      .payload = empty_sha,
                      .headers = headers,
                      .n_headers = ARRAY_LEN(headers) - (keys->session_token[0] ? 0 : 1)};
    struct curl_slist *list = NULL;
    time_t now = time(NULL);
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%Y%m%dT%H%M%SZ", &tm);
    if (sigv4_authorization(&v, authorization) != 0)
        return NULL;
    list = curl_slist_append(NULL, "Accept:");
    for (size_t i = 0; list && i < v.n_headers; i++)
        list = append(list, headers[i].name, headers[i].value);
    return list ? append(list, "authorization", authorization) : NULL;
}

static void set_options(struct exchange *x, const char *url, struct curl_slist *list, char *reason)
{
    const struct bucket_login *l = x->r->login;
    CURL *c = x->curl;

    curl_easy_reset(c);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, STALL_S);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "kubectl-guard/" CHAPERONE_VERSION);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, reason);
    if (l->ca_file[0]) {
        curl_easy_setopt(c, CURLOPT_CAINFO, l->ca_file);
        curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
    }
}

/* ---- what an answer means ---- */

static int failure(const struct exchange *x, struct error *err)
{
    const struct bucket_login *l = x->r->login;
    struct bytes at = buffer_bytes(&x->body), again = at;
    char code[64], message[240];

    bucket_xml_next(&at, "Code", code, sizeof code);
    bucket_xml_next(&again, "Message", message, sizeof message);
    if (x->status == 404 && strcmp(code, "NoSuchBucket") != 0)
        return error_set(err, -ENOENT, "%s has no %s", x->r->to->origin, x->r->path);
    if (x->region[0] && strcmp(x->region, x->r->to->region) != 0)
        return error_set(err, -EIO, "bucket %s is in region %s: --s3-region %s", x->r->to->bucket,
                         x->region, x->region);
    if (x->status == 401 || x->status == 403)
        return error_set(err, -EACCES,
                         "the store refuses %.32s, from %.160s: %ld %s%s%.160s. Reading takes "
                         "s3:ListBucket and s3:GetObject",
                         l->keys.access_key, l->from, x->status, code, message[0] ? ": " : "",
                         message);
    return error_set(err, x->status >= 500 || x->status == 408 || x->status == 429 ? -EAGAIN : -EIO,
                     "%s answered %ld %s%s%s", x->r->to->origin, x->status, code,
                     message[0] ? ": " : "", message);
}

/* -EAGAIN: it may pass. */
static int attempt(struct exchange *x, struct error *err)
{
    const struct bucket_request *r = x->r;
    struct curl_slist *list = signed_headers(r);
    char url[4096], reason[CURL_ERROR_SIZE] = "";
    CURLcode code;

    if (!list)
        return error_set(err, -EIO, "the request cannot be signed");
    snprintf(url, sizeof url, "%s%s%s%s", r->to->origin, r->path, r->query ? "?" : "",
             r->query ? r->query : "");
    set_options(x, url, list, reason);
    buffer_reset(&x->body, ERROR_MAX);
    x->status = 0;
    if (r->fd >= 0 ? ftruncate(r->fd, 0) != 0 || lseek(r->fd, 0, SEEK_SET) != 0 : false)
        return curl_slist_free_all(list), error_set(err, -EIO, "a scratch file: %m");
    if (r->text)
        buffer_reset(r->text, SIZE_MAX);
    code = curl_easy_perform(x->curl);
    curl_easy_setopt(x->curl, CURLOPT_ERRORBUFFER, NULL);
    curl_slist_free_all(list);
    if (x->write_error)
        return error_set(err, -EIO, "no room for a copy in %s (TMPDIR): %s",
                         getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", strerror(x->write_error));
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        return error_set(err, -EIO, "%s: %s (--s3-ca names its authority)", r->to->origin,
                         reason[0] ? reason : curl_easy_strerror(code));
    if (code != CURLE_OK)
        return error_set(err, -EAGAIN, "%s: %s", r->to->origin,
                         reason[0] ? reason : curl_easy_strerror(code));
    curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &x->status);
    return x->status == 200 ? 0 : failure(x, err);
}

static void pause_ms(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

int bucket_get(const struct bucket_request *r, struct error *err)
{
    static CURL *kept; /* its connection is used again */
    struct exchange x = {.r = r};
    int rc = -EAGAIN;

    kept = kept ? kept : curl_easy_init();
    if (!kept)
        return error_set(err, -EIO, "out of memory");
    x.curl = kept;
    buffer_init(&x.body, ERROR_MAX);
    for (int i = 0; rc == -EAGAIN && i < ATTEMPTS; i++) {
        if (i)
            pause_ms((FIRST_PAUSE_MS << (i - 1)) + (unsigned)(clock_mono_ms() % FIRST_PAUSE_MS));
        rc = attempt(&x, err);
    }
    buffer_done(&x.body);
    return rc == -EAGAIN ? -EIO : rc;
}
