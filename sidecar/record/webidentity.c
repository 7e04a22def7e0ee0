/* SPDX-License-Identifier: Apache-2.0
 * Keys for a token.
 */
#include "webidentity.h"

#include "src-common/buffer.h"
#include "src-common/clock.h"
#include "src-common/readall.h"
#include "xmltext.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define TIMEOUT_S 20L
#define EARLY_S   300 /* new keys are asked for so long before the old ones end */
#define LASTS_S   "3600"
#define BODY_MAX  ((size_t)32 << 10)
#define TOKEN_MAX ((size_t)16 << 10)

struct webidentity {
    const struct s3_config *c;
    const struct s3_settings *to;
    char url[320], session[65];
    struct s3_credentials keys;
    int64_t ends; /* of keys; 0: there are none */
};

/* ---- the answer ---- */

static int64_t parse_time(const char *text)
{
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

    while (rest && (*rest == '.' || (*rest >= '0' && *rest <= '9')))
        rest++;
    return rest && strcmp(rest, "Z") == 0 ? (int64_t)timegm(&tm) : 0;
}

int webidentity_parse(struct bytes xml, struct s3_credentials *ret, int64_t *ends,
                      struct error *err)
{
    struct s3_credentials k = {0};
    char until[40];
    int64_t at;
    bool ok = xmltext(xml, "AccessKeyId", k.access_key, sizeof k.access_key) &&
              xmltext(xml, "SecretAccessKey", k.secret_key, sizeof k.secret_key) &&
              xmltext(xml, "SessionToken", k.session_token, sizeof k.session_token) &&
              xmltext(xml, "Expiration", until, sizeof until);

    at = ok ? parse_time(until) : 0;
    ok = ok && s3_text_ok(k.access_key) && s3_text_ok(k.secret_key) && s3_text_ok(k.session_token);
    if (ok && at > 0) {
        *ret = k;
        *ends = at;
    }
    s3_credentials_wipe(&k);
    return ok && at > 0 ? 0 : error_set(err, -EAGAIN, "--s3-sts: its answer has no keys in it");
}

static int refusal(long status, struct bytes body, struct error *err)
{
    char code[64], message[200];

    xmltext(body, "Code", code, sizeof code);
    xmltext(body, "Message", message, sizeof message);
    return error_set(err, status >= 400 && status < 500 && status != 429 ? -EACCES : -EAGAIN,
                     "--s3-sts answered %ld %s%s%s", status, code, message[0] ? ": " : "", message);
}

/* ---- the request ---- */

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    return buffer_append(arg, p, size * n) == 0 ? size * n : 0;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const atomic_uint_fast64_t *until_ms = arg;
    uint64_t until = atomic_load(until_ms);

    (void)a, (void)b, (void)c, (void)d;
    return until && clock_mono_ms() >= until;
}

static void add_field(CURL *curl, struct buffer *form, const char *name, const char *value)
{
    char *escaped = curl_easy_escape(curl, value, 0);

    if (!escaped)
        form->failed = true;
    else
        buffer_printf(form, "%s%s=%s", buffer_len(form) ? "&" : "", name, escaped);
    if (escaped)
        OPENSSL_cleanse(escaped, strlen(escaped));
    curl_free(escaped);
}

static int write_form(const struct webidentity *w, CURL *curl, struct buffer *form,
                      struct error *err)
{
    char token[TOKEN_MAX];
    int fd = open(w->c->token, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -errno : read_all(fd, token, sizeof token - 1);

    if (fd >= 0)
        close(fd);
    if (n < 0)
        return error_set(err, -EACCES, "--s3-token: cannot read %s: %s", w->c->token,
                         strerror((int)-n));
    while (n && token[n - 1] <= ' ')
        n--;
    token[n] = '\0';
    if (n == 0 || !s3_text_ok(token))
        return error_set(err, -EACCES, "--s3-token: %s holds no token", w->c->token);
    add_field(curl, form, "Action", "AssumeRoleWithWebIdentity");
    add_field(curl, form, "Version", "2011-06-15");
    add_field(curl, form, "RoleArn", w->c->role);
    add_field(curl, form, "RoleSessionName", w->session);
    add_field(curl, form, "DurationSeconds", LASTS_S);
    add_field(curl, form, "WebIdentityToken", token);
    OPENSSL_cleanse(token, sizeof token);
    return form->failed ? error_set(err, -ENOMEM, "out of memory") : 0;
}

static int post(const struct webidentity *w, CURL *curl, const struct buffer *form,
                struct buffer *body, long *status, struct error *err)
{
    char reason[CURL_ERROR_SIZE] = "";
    CURLcode code;

    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "chaperone-sidecar");
    curl_easy_setopt(curl, CURLOPT_URL, w->url);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)buffer_len(form));
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, form->p + form->start);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, body);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    if (w->to->ca_file[0] && access(w->to->ca_file, R_OK) == 0) {
        curl_easy_setopt(curl, CURLOPT_CAINFO, w->to->ca_file);
        curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
    }
    code = curl_easy_perform(curl);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
    if (code != CURLE_OK)
        return error_set(err, -EAGAIN, "--s3-sts %s: %s", w->url,
                         reason[0] ? reason : curl_easy_strerror(code));
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, status);
    return 0;
}

static int ask(struct webidentity *w, const atomic_uint_fast64_t *until_ms, struct error *err)
{
    CURL *curl = curl_easy_init();
    struct buffer form, body;
    long status = 0;
    int rc = curl ? 0 : error_set(err, -EAGAIN, "out of memory");

    buffer_init(&form, 4 * TOKEN_MAX);
    buffer_init(&body, BODY_MAX);
    if (rc == 0) {
        curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(curl, CURLOPT_XFERINFODATA, (void *)until_ms);
        rc = write_form(w, curl, &form, err);
    }
    if (rc == 0)
        rc = post(w, curl, &form, &body, &status, err);
    if (rc == 0)
        rc = status == 200 ? webidentity_parse(buffer_bytes(&body), &w->keys, &w->ends, err)
                           : refusal(status, buffer_bytes(&body), err);
    buffer_wipe(&form);
    buffer_wipe(&body);
    curl_easy_cleanup(curl);
    return rc;
}

int webidentity_keys(struct webidentity *w, const atomic_uint_fast64_t *until_ms,
                     struct s3_credentials *ret, struct error *err)
{
    int64_t now = (int64_t)time(NULL);
    int rc = 0;

    if (w->ends - now < EARLY_S)
        rc = ask(w, until_ms, err);
    if (rc && w->ends <= now)
        return rc;
    *ret = w->keys;
    return 0;
}

void webidentity_forget(struct webidentity *w)
{
    s3_credentials_wipe(&w->keys);
    w->ends = 0;
}

/* ---- life ---- */

/* The token and the keys go over it: only this machine may do without TLS. */
static bool url_ok(const char *url)
{
    static const char *const near[] = {"http://127.0.0.1", "http://localhost", "http://[::1]"};

    if (strpbrk(url, "@?# "))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(near); i++) {
        size_t n = strlen(near[i]);

        if (strncmp(url, near[i], n) == 0 && (!url[n] || url[n] == ':' || url[n] == '/'))
            return true;
    }
    return strncmp(url, "https://", 8) == 0 && url[8];
}

static void session_name(const char *from, char ret[static 65])
{
    size_t n = 0;

    for (const char *p = from ? from : "chaperone"; *p && n < 64; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || strchr("=,.@-", *p);

        ret[n++] = plain ? *p : '_';
    }
    while (n < 2)
        ret[n++] = '_';
    ret[n] = '\0';
}

int webidentity_new(const struct s3_config *c, const struct s3_settings *to,
                    struct webidentity **ret, struct error *err)
{
    struct webidentity *w = calloc(1, sizeof *w);
    int n;

    if (!w)
        return error_set(err, -ENOMEM, "out of memory");
    w->c = c;
    w->to = to;
    session_name(c->session, w->session);
    n = c->sts ? snprintf(w->url, sizeof w->url, "%s", c->sts)
               : snprintf(w->url, sizeof w->url, "https://sts.%s.amazonaws.com/", to->region);
    if (n < 0 || (size_t)n >= sizeof w->url || !url_ok(w->url)) {
        free(w);
        return error_set(err, -EINVAL,
                         "--s3-sts: '%s' is not https://HOST[:PORT]; without TLS only localhost",
                         c->sts);
    }
    *ret = w;
    return 0;
}

void webidentity_free(struct webidentity *w)
{
    if (!w)
        return;
    s3_credentials_wipe(&w->keys);
    free(w);
}
