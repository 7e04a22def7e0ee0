/* SPDX-License-Identifier: Apache-2.0
 * Objects of a bucket, as files and folders.
 */
#include "bucket.h"

#include "object.h"
#include "place.h"

#include "sidecar/record/sigv4.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define SCHEME   "s3://"
#define PAGE_MAX ((size_t)8 << 20) /* a thousand names; each has at most 1024 bytes */

/* The store that the command's options name; the bucket is that of the path last asked for. */
static struct {
    const struct cli *cli;
    bool ready;
    struct bucket_login login;
    struct s3_settings to;
} store;

bool bucket_is(const char *path)
{
    return strncmp(path, SCHEME, sizeof SCHEME - 1) == 0;
}

void bucket_init(const struct cli *cli)
{
    store.cli = cli;
    store.ready = false;
}

/* Reads options and files once, and the bucket's name from the path; *ret_key points into it. */
static int find_store(const char *path, const char **ret_key, struct error *err)
{
    const char *name = path + sizeof SCHEME - 1, *slash = strchr(name, '/');
    size_t n = slash ? (size_t)(slash - name) : strlen(name);
    char url[sizeof SCHEME + 64];
    struct s3_config c = {.option = "--from"};
    int rc = 0;

    *ret_key = slash ? slash + 1 : name + n;
    if (store.ready && strlen(store.to.bucket) == n && memcmp(store.to.bucket, name, n) == 0)
        return 0;
    snprintf(url, sizeof url, SCHEME "%.*s", (int)min_size(n, 64), name);
    if (!store.ready)
        rc = bucket_login_read(store.cli, &store.login, err);
    if (rc)
        return rc;
    c.url = url;
    c.endpoint = store.login.endpoint[0] ? store.login.endpoint : NULL;
    c.region = store.login.region;
    c.credentials = ""; /* they are in the login */
    rc = s3_settings_parse(&c, &store.to, err);
    store.ready = rc == 0;
    return rc;
}

static bool encode(const char *key, char *to, size_t size)
{
    char plain[2048];
    bool in_host = store.to.virtual_host;
    int n = snprintf(plain, sizeof plain, "%s%s%s/%s", store.to.base_path, in_host ? "" : "/",
                     in_host ? "" : store.to.bucket, key);

    return n > 0 && (size_t)n < sizeof plain && sigv4_encode_path(plain, to, size);
}

int bucket_open(const char *path, struct error *err)
{
    char encoded[3200];
    struct bucket_request r = {.to = &store.to, .login = &store.login, .path = encoded};
    const char *key;
    int rc = find_store(path, &key, err);

    if (rc)
        return rc == -ENOENT ? -EACCES
                             : rc; /* credentials that are missing are no missing object */
    if (!key[0] || !encode(key, encoded, sizeof encoded))
        return error_set(err, -EINVAL, "%s names no object", path);
    r.fd = place_scratch(err);
    if (r.fd < 0)
        return r.fd;
    rc = bucket_get(&r, err);
    if (rc == 0 && lseek(r.fd, 0, SEEK_SET) != 0)
        rc = error_set(err, -EIO, "a scratch file: %m");
    if (rc == 0)
        return r.fd;
    close(r.fd);
    return rc;
}

/* ---- listing ---- */

struct listing {
    const char *prefix; /* folder and beginning */
    size_t folder_len;
    char token[1100];
    bucket_entry_fn *fn;
    void *arg;
};

static void add_parameter(struct buffer *b, const char *name, const char *value)
{
    char *escaped = curl_easy_escape(NULL, value, 0);

    buffer_printf(b, "%s%s=%s", buffer_len(b) ? "&" : "", name, escaped ? escaped : "");
    curl_free(escaped);
}

static void take_objects(struct listing *l, struct bytes page)
{
    char key[1100], changed[40];
    const char *start = "<Contents>", *end = "</Contents>";

    for (;;) {
        const uint8_t *p = memmem(page.p, page.len, start, strlen(start)), *q;
        struct bytes in, again;

        if (!p)
            return;
        page = bytes_of(p, (size_t)(page.p + page.len - p));
        q = memmem(page.p, page.len, end, strlen(end));
        if (!q)
            return;
        again = in = bytes_of(p, (size_t)(q - p));
        page = bytes_of(q, (size_t)(page.p + page.len - q));
        if (bucket_xml_next(&in, "Key", key, sizeof key) && strlen(key) > l->folder_len) {
            bucket_xml_next(&again, "LastModified", changed, sizeof changed);
            l->fn(&(struct bucket_entry){key + l->folder_len, false, object_time_us(changed)},
                  l->arg);
        }
    }
}

static void take_folders(struct listing *l, struct bytes page)
{
    static const char start[] = "<CommonPrefixes>";
    const uint8_t *p;
    char prefix[1100];

    while ((p = memmem(page.p, page.len, start, sizeof start - 1)) != NULL) {
        size_t n;

        page = bytes_of(p, (size_t)(page.p + page.len - p));
        if (!bucket_xml_next(&page, "Prefix", prefix, sizeof prefix))
            continue;
        n = strlen(prefix);
        if (n <= l->folder_len + 1 || prefix[n - 1] != '/')
            continue;
        prefix[n - 1] = '\0';
        l->fn(&(struct bucket_entry){prefix + l->folder_len, true, 0}, l->arg);
    }
}

/* 1: there are more. */
static int take_page(struct listing *l, struct error *err)
{
    char path[512], more[8];
    struct buffer query, page;
    struct bytes at;
    struct bucket_request r = {
        .to = &store.to, .login = &store.login, .path = path, .fd = -1, .text = &page};
    int rc;

    buffer_init(&query, (size_t)8 << 10);
    buffer_init(&page, PAGE_MAX);
    if (l->token[0])
        add_parameter(&query, "continuation-token", l->token);
    add_parameter(&query, "delimiter", "/");
    add_parameter(&query, "list-type", "2");
    add_parameter(&query, "prefix", l->prefix);
    buffer_add_u8(&query, '\0');
    r.query = (const char *)query.p;
    snprintf(path, sizeof path, "%s/%s", store.to.base_path,
             store.to.virtual_host ? "" : store.to.bucket);
    rc = query.failed ? error_set(err, -ENOMEM, "out of memory") : bucket_get(&r, err);
    if (rc == 0) {
        take_objects(l, buffer_bytes(&page));
        take_folders(l, buffer_bytes(&page));
        at = buffer_bytes(&page);
        bucket_xml_next(&at, "IsTruncated", more, sizeof more);
        at = buffer_bytes(&page);
        rc = strcmp(more, "true") == 0;
        if (!bucket_xml_next(&at, "NextContinuationToken", l->token, sizeof l->token) && rc)
            rc = error_set(err, -EIO, "%s says that its list goes on, but not where",
                           store.to.origin);
    }
    buffer_done(&query);
    buffer_done(&page);
    return rc;
}

int bucket_list(const char *folder, const char *begin, bucket_entry_fn *fn, void *arg,
                struct error *err)
{
    struct listing l = {.fn = fn, .arg = arg};
    char prefix[2048];
    const char *key;
    int rc = find_store(folder, &key, err);

    if (rc)
        return rc;
    l.folder_len = strlen(key) + (key[0] && key[strlen(key) - 1] != '/');
    snprintf(prefix, sizeof prefix, "%.1000s%s%.1000s", key, l.folder_len > strlen(key) ? "/" : "",
             begin);
    l.prefix = prefix;
    do
        rc = take_page(&l, err);
    while (rc > 0);
    return rc;
}
