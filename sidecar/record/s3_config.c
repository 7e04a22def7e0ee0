/* SPDX-License-Identifier: Apache-2.0
 * Options and credentials of the object store.
 */
#include "s3_config.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static bool name_ok(const char *s, const char *more)
{
    for (; *s; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
              strchr(more, *s)))
            return false;
    return true;
}

static int parse_url(const char *option, const char *url, struct s3_settings *to, struct error *err)
{
    const char *bucket = url + 5, *slash;
    size_t n;

    if (strncmp(url, "s3://", 5) != 0)
        return error_set(err, -EINVAL, "%s: '%s' is not s3://BUCKET/PREFIX", option, url);
    slash = strchr(bucket, '/');
    n = slash ? (size_t)(slash - bucket) : strlen(bucket);
    if (n < 3 || n >= sizeof to->bucket)
        return error_set(err, -EINVAL, "%s: a bucket's name has 3 to 63 characters", option);
    memcpy(to->bucket, bucket, n);
    if (!name_ok(to->bucket, ".-_"))
        return error_set(err, -EINVAL, "%s: '%s' is no bucket's name", option, to->bucket);
    while (slash && *slash == '/')
        slash++;
    n = slash ? strlen(slash) : 0;
    while (n && slash[n - 1] == '/')
        n--;
    if (n >= sizeof to->prefix)
        return error_set(err, -EINVAL, "%s: the prefix is longer than %zu characters", option,
                         sizeof to->prefix - 1);
    if (n)
        memcpy(to->prefix, slash, n);
    if (!name_ok(to->prefix, ".-_/=") || strstr(to->prefix, "..") || strstr(to->prefix, "//"))
        return error_set(err, -EINVAL,
                         "%s: the prefix may have letters, digits and . - _ / =", option);
    return 0;
}

static int parse_endpoint(const char *endpoint, struct s3_settings *to, struct error *err)
{
    char amazon[160];
    const char *host, *path;
    size_t n;

    if (!endpoint) {
        snprintf(amazon, sizeof amazon, "https://s3.%s.amazonaws.com", to->region);
        endpoint = amazon;
    }
    host = strstr(endpoint, "://");
    if (!host || (strncmp(endpoint, "http://", 7) != 0 && strncmp(endpoint, "https://", 8) != 0))
        return error_set(err, -EINVAL, "--s3-endpoint: '%s' is not http[s]://HOST[:PORT]",
                         endpoint);
    host += 3;
    path = strchr(host, '/');
    n = path ? (size_t)(path - host) : strlen(host);
    if (n == 0 || n >= sizeof to->host || strchr(host, '@') || strpbrk(host, "?# "))
        return error_set(err, -EINVAL, "--s3-endpoint: '%s' is not http[s]://HOST[:PORT]",
                         endpoint);
    memcpy(to->host, host, n);
    snprintf(to->origin, sizeof to->origin, "%.*s", (int)(host + n - endpoint), endpoint);
    n = path ? strlen(path) : 0;
    while (n && path[n - 1] == '/')
        n--;
    if (n >= sizeof to->base_path)
        return error_set(err, -EINVAL, "--s3-endpoint: its path is too long");
    if (n)
        memcpy(to->base_path, path, n);
    return 0;
}

/* A bucket of its own name in the host's: as Amazon wants it. */
static int parse_style(const char *style, struct s3_settings *to, struct error *err)
{
    char *host = strstr(to->origin, "://") + 3, plain[sizeof to->host];
    int n;

    if (!style || strcmp(style, "path") == 0)
        return 0;
    if (strcmp(style, "virtual") != 0)
        return error_set(err, -EINVAL, "--s3-style: '%s' is neither path nor virtual", style);
    if (strchr(to->bucket, '.') && strncmp(to->origin, "https", 5) == 0)
        return error_set(err, -EINVAL,
                         "--s3-style virtual: no certificate for *.%s is good for '%s', which has "
                         "dots; use path",
                         to->host, to->bucket);
    memcpy(plain, to->host, sizeof plain);
    n = snprintf(host, sizeof to->origin - (size_t)(host - to->origin), "%s.%s", to->bucket, plain);
    if (n < 0 || (size_t)n >= sizeof to->host)
        return error_set(err, -EINVAL, "--s3-style virtual: the host's name becomes too long");
    memcpy(to->host, host, (size_t)n + 1);
    to->virtual_host = true;
    return 0;
}

static int parse_sse(const char *sse, struct s3_settings *to, struct error *err)
{
    static const char kms[] = "aws:kms";
    size_t n = sizeof kms - 1;

    if (!sse)
        return 0;
    if (strcmp(sse, "AES256") == 0) {
        strcpy(to->sse, sse);
        return 0;
    }
    if (strncmp(sse, kms, n) != 0 || (sse[n] && (sse[n] != ':' || !sse[n + 1])))
        return error_set(err, -EINVAL, "--s3-sse: '%s' is not AES256, aws:kms or aws:kms:KEY", sse);
    strcpy(to->sse, kms);
    if (sse[n] && (strlen(sse + n + 1) >= sizeof to->sse_key || !name_ok(sse + n + 1, ":/_-.")))
        return error_set(err, -EINVAL, "--s3-sse: '%s' is no key's id or ARN", sse + n + 1);
    snprintf(to->sse_key, sizeof to->sse_key, "%s", sse[n] ? sse + n + 1 : "");
    return 0;
}

static int parse_lock(const char *lock, struct s3_settings *to, struct error *err)
{
    static const struct {
        char unit;
        uint64_t seconds;
    } units[] = {{'h', 3600}, {'d', 86400}, {'y', 31536000}};
    const char *colon = lock ? strchr(lock, ':') : NULL;
    unsigned long n = 0;
    char *end = NULL;

    if (!lock)
        return 0;
    if (strncasecmp(lock, "Compliance:", 11) == 0)
        to->lock_mode = "COMPLIANCE";
    else if (strncasecmp(lock, "Governance:", 11) == 0)
        to->lock_mode = "GOVERNANCE";
    if (colon && colon[1] >= '1' && colon[1] <= '9')
        n = strtoul(colon + 1, &end, 10);
    for (size_t i = 0; end && end[0] && !end[1] && i < ARRAY_LEN(units); i++)
        if (units[i].unit == end[0] && n <= (uint64_t)100 * 31536000 / units[i].seconds)
            to->lock_seconds = n * units[i].seconds;
    if (!to->lock_mode || !to->lock_seconds)
        return error_set(err, -EINVAL,
                         "--s3-lock: '%s' is not Compliance:30d (or Governance; h, d or y)", lock);
    return 0;
}

int s3_settings_parse(const struct s3_config *c, struct s3_settings *ret, struct error *err)
{
    int rc;

    memset(ret, 0, sizeof *ret);
    rc = parse_url(c->option ? c->option : "--upload", c->url, ret, err);
    if (rc)
        return rc;
    if (!c->credentials && !c->role)
        return error_set(err, -EINVAL,
                         "--upload needs --s3-credentials DIR, or --s3-role and --s3-token");
    if (!c->role != !c->token || (c->sts && !c->role))
        return error_set(err, -EINVAL, "--s3-role, --s3-token and --s3-sts belong together");
    ret->credentials = c->credentials;
    snprintf(ret->region, sizeof ret->region, "%s", c->region ? c->region : "us-east-1");
    if (!ret->region[0] || !name_ok(ret->region, "-"))
        return error_set(err, -EINVAL, "--s3-region: '%s' is no region", ret->region);
    if (c->credentials)
        snprintf(ret->ca_file, sizeof ret->ca_file, "%.4000s/ca.crt", c->credentials);
    rc = parse_endpoint(c->endpoint, ret, err);
    if (rc == 0)
        rc = parse_style(c->style, ret, err);
    if (rc == 0)
        rc = parse_sse(c->sse, ret, err);
    return rc ? rc : parse_lock(c->lock, ret, err);
}

bool s3_text_ok(const char *s)
{
    return name_ok(s, "/+=-_.:,@%~");
}

static int read_one(const char *dir, const char *name, char *to, size_t size, struct error *err)
{
    char path[PATH_MAX];
    ssize_t n = -1;
    int fd;

    snprintf(path, sizeof path, "%.4000s/%s", dir, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, to, size);
        close(fd);
    }
    if (n < 0)
        return error_set(err, -EACCES, "cannot read %s: %m", path);
    while (n > 0 && strchr("\r\n ", to[n - 1]))
        n--;
    if (n == 0 || (size_t)n >= size)
        return error_set(err, -EACCES, "%s is empty or too long", path);
    to[n] = '\0';
    if (!s3_text_ok(to))
        return error_set(err, -EACCES, "%s holds what cannot be sent", path);
    return 0;
}

int s3_credentials_read(const struct s3_settings *s, struct s3_credentials *ret, struct error *err)
{
    char path[PATH_MAX];
    int rc;

    memset(ret, 0, sizeof *ret);
    rc = read_one(s->credentials, "accessKeyId", ret->access_key, sizeof ret->access_key, err);
    if (rc == 0)
        rc = read_one(s->credentials, "secretAccessKey", ret->secret_key, sizeof ret->secret_key,
                      err);
    snprintf(path, sizeof path, "%.4000s/sessionToken", s->credentials);
    if (rc == 0 && access(path, F_OK) == 0)
        rc = read_one(s->credentials, "sessionToken", ret->session_token, sizeof ret->session_token,
                      err);
    return rc;
}

void s3_credentials_wipe(struct s3_credentials *c)
{
    OPENSSL_cleanse(c, sizeof *c);
}
