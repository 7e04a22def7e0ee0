/* SPDX-License-Identifier: Apache-2.0
 * Fetching with libcurl; reading files.
 */
#include "fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_S 5L
#define TIMEOUT_S         10L

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_begin(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

bool fetch_url_ok(const char *url)
{
    static const char *const local[] = {"http://127.0.0.1", "http://[::1]", "http://localhost"};

    for (const char *p = url; *p; p++)
        if (*p <= ' ' || *p == 0x7f || *p == '@' || *p == '#')
            return false;
    if (strncmp(url, "https://", 8) == 0)
        return url[8] && url[8] != '/';
    for (size_t i = 0; i < ARRAY_LEN(local); i++) {
        size_t n = strlen(local[i]);

        if (strncmp(url, local[i], n) == 0 && (!url[n] || url[n] == '/' || url[n] == ':'))
            return true;
    }
    return false;
}

int fetch_file(const char *path, struct buffer *out, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    ssize_t n = 0;
    int rc = 0;

    if (fd < 0)
        return error_set(err, -errno, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > FETCH_MAX_BYTES)
        rc = error_set(err, -EINVAL, "%s: not a regular file of at most 256 KiB", path);
    while (rc == 0) {
        uint8_t chunk[4096];

        n = read(fd, chunk, sizeof chunk);
        if (n <= 0)
            break;
        if (buffer_append(out, chunk, (size_t)n) != 0)
            rc = error_set(err, -EFBIG, "%s: longer than 256 KiB", path);
        explicit_bzero(chunk, sizeof chunk);
    }
    if (n < 0)
        rc = error_set(err, -errno, "%s: %s", path, strerror(errno));
    close(fd);
    return rc;
}

/* ---- HTTP ---- */

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    return buffer_append(arg, p, size * n) == 0 ? size * n : 0;
}

/* "Authorization: Bearer …" into *list. */
static int add_bearer(const char *path, struct curl_slist **list, struct error *err)
{
    struct buffer token, line;
    struct curl_slist *longer = NULL;
    int rc;

    buffer_init(&token, FETCH_MAX_BYTES);
    buffer_init(&line, FETCH_MAX_BYTES + 64);
    buffer_reserve(&token, 64 << 10);
    rc = fetch_file(path, &token, err);
    while (rc == 0 && buffer_len(&token) && token.p[token.end - 1] <= ' ')
        token.end--;
    if (rc == 0) {
        buffer_reserve(&line, buffer_len(&token) + 64);
        buffer_append(&line, "Authorization: Bearer ", 22);
        buffer_add(&line, buffer_bytes(&token));
        buffer_add_u8(&line, 0);
        longer = line.failed ? NULL : curl_slist_append(*list, (const char *)line.p);
        if (longer)
            *list = longer;
        else
            rc = error_set(err, -ENOMEM, "out of memory");
    }
    buffer_wipe(&token);
    buffer_wipe(&line);
    return rc;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const atomic_bool *cancel = arg;

    (void)a, (void)b, (void)c, (void)d;
    return cancel && atomic_load(cancel);
}

static void set_options(CURL *c, const char *url, const struct fetch_options *o,
                        struct buffer *body)
{
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, TIMEOUT_S);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "chaperone-sidecar");
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, body);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, (void *)o->cancel);
    if (o->ca_file) {
        curl_easy_setopt(c, CURLOPT_CAINFO, o->ca_file);
        curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
    }
}

/* Roots out of memory. Whatever libcurl cannot do with them ends the fetch: never the system's. */
static int set_roots(CURL *c, const char *pem, struct error *err)
{
    struct curl_blob blob = {(void *)pem, strlen(pem), CURL_BLOB_COPY};

    if (curl_easy_setopt(c, CURLOPT_CAINFO_BLOB, &blob) != CURLE_OK ||
        curl_easy_setopt(c, CURLOPT_CAPATH, NULL) != CURLE_OK)
        return error_set(err, -ENOTSUP, "this libcurl takes no roots out of caBundle");
    return 0;
}

static int perform(CURL *c, const char *url, struct error *err)
{
    char reason[CURL_ERROR_SIZE] = "";
    CURLcode code;
    long status = 0;

    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, reason);
    code = curl_easy_perform(c);
    if (code != CURLE_OK)
        return error_set(err, -EIO, "%s: %s", url, reason[0] ? reason : curl_easy_strerror(code));
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    return status == 200 ? 0 : error_set(err, -EIO, "%s: answered %ld", url, status);
}

/* curl's list is a copy of the header: wiped before it is freed. */
static void free_headers(struct curl_slist *list)
{
    for (struct curl_slist *i = list; i; i = i->next)
        explicit_bzero(i->data, strlen(i->data));
    curl_slist_free_all(list);
}

int fetch_url(const char *url, const struct fetch_options *o, struct buffer *out, struct error *err)
{
    struct curl_slist *headers = NULL;
    CURL *c;
    int rc = 0;

    if (!fetch_url_ok(url))
        return error_set(err, -EINVAL, "%s: neither https:// nor http:// to this machine", url);
    pthread_once(&curl_once, curl_begin);
    c = curl_easy_init();
    if (!c)
        return error_set(err, -ENOMEM, "out of memory");
    set_options(c, url, o, out);
    if (o->ca_text)
        rc = set_roots(c, o->ca_text, err);
    if (rc == 0 && o->token_file)
        rc = add_bearer(o->token_file, &headers, err);
    if (rc == 0) {
        curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
        rc = perform(c, url, err);
    }
    curl_easy_cleanup(c);
    free_headers(headers);
    return rc;
}
