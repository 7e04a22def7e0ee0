/* SPDX-License-Identifier: Apache-2.0
 * Calls to the API server over libcurl.
 */
#include "internal.h"

#include "src-common/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_IDLE       8 /* curl handles, each with its open connection */
#define TOKEN_MAX      ((size_t)16384)
#define CONNECT_MS     5000L
#define DEAD_PEER_MS   20000 /* unacknowledged data, or silence while probing */
#define KEEPALIVE_IDLE 10
#define CA_CACHE_S     60L

struct kube {
    char *server, *token_file, *ca_file, *namespace_;
    pthread_mutex_t lock; /* for what follows */
    CURL *idle[MAX_IDLE];
    size_t n_idle;
};

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

int kube_new(const struct kube_config *c, struct kube **ret, struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct kube *k;

    if (strncmp(c->server, "https://", 8) != 0)
        return error_set(err, -EINVAL, "the API server's address '%.200s' is not https", c->server);
    pthread_once(&once, init_curl);
    k = calloc(1, sizeof *k);
    if (!k)
        return error_set(err, -ENOMEM, "out of memory");
    pthread_mutex_init(&k->lock, NULL);
    k->server = strdup(c->server);
    k->token_file = c->token_file ? strdup(c->token_file) : NULL;
    k->ca_file = strdup(c->ca_file);
    k->namespace_ = strdup(c->namespace_ ? c->namespace_ : "default");
    if (!k->server || !k->ca_file || !k->namespace_ || (c->token_file && !k->token_file)) {
        kube_free(k);
        return error_set(err, -ENOMEM, "out of memory");
    }
    *ret = k;
    return 0;
}

/* A small file as a string, without the white space at its end. */
static int read_small(const char *path, char *out, size_t size, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);
    int code = -errno;

    if (fd >= 0)
        close(fd);
    if (n < 0)
        return error_set(err, code, "cannot read %.200s: %s", path, strerror(-code));
    if ((size_t)n == size - 1)
        return error_set(err, -E2BIG, "%.200s: longer than %zu bytes", path, size - 1);
    while (n > 0 && strchr(" \t\r\n", out[n - 1]))
        n--;
    out[n] = '\0';
    return 0;
}

int kube_in_cluster(const char *dir, struct kube **ret, struct error *err)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
    char server[300], token[PATH_MAX], ca[PATH_MAX], path[PATH_MAX], ns[254];
    int rc;

    if (!host || !host[0] || !port || !port[0])
        return error_set(err, -ENOENT,
                         "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: "
                         "this is no pod of a cluster");
    dir = dir ? dir : KUBE_ACCOUNT_DIR;
    snprintf(server, sizeof server, strchr(host, ':') ? "https://[%.200s]:%.10s" : "https://%s:%s",
             host, port);
    snprintf(token, sizeof token, "%s/token", dir);
    snprintf(ca, sizeof ca, "%s/ca.crt", dir);
    snprintf(path, sizeof path, "%s/namespace", dir);
    rc = read_small(path, ns, sizeof ns, err);
    if (rc)
        return error_prefix(err, rc, "the service account's directory");
    return kube_new(&(struct kube_config){server, token, ca, ns}, ret, err);
}

void kube_free(struct kube *k)
{
    if (!k)
        return;
    for (size_t i = 0; i < k->n_idle; i++)
        curl_easy_cleanup(k->idle[i]);
    pthread_mutex_destroy(&k->lock);
    free(k->server);
    free(k->token_file);
    free(k->ca_file);
    free(k->namespace_);
    free(k);
}

const char *kube_namespace(const struct kube *k)
{
    return k->namespace_;
}

/* ---- a transfer: what calls and watches have in common ---- */

static CURL *take_handle(struct kube *k)
{
    CURL *h = NULL;

    pthread_mutex_lock(&k->lock);
    if (k->n_idle)
        h = k->idle[--k->n_idle];
    pthread_mutex_unlock(&k->lock);
    return h ? h : curl_easy_init();
}

static void put_handle(struct kube *k, CURL *h)
{
    curl_easy_reset(h); /* keeps connections and TLS sessions, forgets what we set */
    pthread_mutex_lock(&k->lock);
    if (k->n_idle < MAX_IDLE) {
        k->idle[k->n_idle++] = h;
        h = NULL;
    }
    pthread_mutex_unlock(&k->lock);
    if (h)
        curl_easy_cleanup(h);
}

/* A silent network must not look like a server that has nothing to say. */
static int on_socket(void *arg, curl_socket_t fd, curlsocktype what)
{
    const int idle = KEEPALIVE_IDLE, interval = 3, count = 3, on = 1;
    const unsigned dead_ms = DEAD_PEER_MS;

    (void)arg, (void)what;
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof dead_ms);
    return CURL_SOCKOPT_OK;
}

static int add_header(struct kube_transfer *t, const char *name, const char *value)
{
    _cleanup_(free_charp) char *line = NULL;
    struct curl_slist *longer;
    int n = asprintf(&line, "%s: %s", name, value);

    if (n < 0) {
        line = NULL;
        return -ENOMEM;
    }
    longer = curl_slist_append(t->headers, line);
    explicit_bzero(line, (size_t)n);
    if (!longer)
        return -ENOMEM;
    t->headers = longer;
    return 0;
}

static int add_token(const struct kube *k, struct kube_transfer *t, struct error *err)
{
    char text[7 + TOKEN_MAX + 2] = "Bearer ";
    int rc;

    if (!k->token_file)
        return 0;
    rc = read_small(k->token_file, text + 7, TOKEN_MAX + 2, err);
    if (rc == 0 && text[7 + strcspn(text + 7, "\r\n")] != '\0')
        rc = error_set(err, -EINVAL, "%.200s: the token has more than one line", k->token_file);
    if (rc == 0)
        rc = add_header(t, "Authorization", text);
    explicit_bzero(text, sizeof text);
    return rc;
}

static int add_headers(const struct kube *k, const struct kube_request *r, struct kube_transfer *t,
                       struct error *err)
{
    int rc = add_token(k, t, err);

    if (rc == 0)
        rc = add_header(t, "Accept", "application/json");
    if (rc == 0 && (r->body || r->text.len))
        rc = add_header(t, "Content-Type", r->content_type ? r->content_type : "application/json");
    if (rc == 0)
        rc = add_header(t, "Expect", ""); /* no round trip before a body */
    return rc;
}

static void set_body(struct kube_transfer *t, const struct kube_request *r)
{
    struct bytes body = r->text;

    if (r->body)
        body = bytes_str(json_object_to_json_string_ext(
            r->body, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    if (!body.len)
        return;
    curl_easy_setopt(t->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
    curl_easy_setopt(t->curl, CURLOPT_COPYPOSTFIELDS, (const char *)body.p);
}

static void set_rules(const struct kube *k, struct kube_transfer *t)
{
    CURL *h = t->curl;

    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(h, CURLOPT_PROXY, "");
    curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(h, CURLOPT_CAINFO, k->ca_file);
    curl_easy_setopt(h, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(h, CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_S);
    curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(h, CURLOPT_SOCKOPTFUNCTION, on_socket);
    curl_easy_setopt(h, CURLOPT_USERAGENT, "chaperone/" CHAPERONE_VERSION);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, t->error);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, t->headers);
}

int kube_transfer_init(struct kube *k, const struct kube_request *r, struct kube_transfer *t,
                       struct error *err)
{
    _cleanup_(free_charp) char *url = NULL;
    int rc;

    *t = (struct kube_transfer){.curl = take_handle(k)};
    if (!t->curl || asprintf(&url, "%s%s", k->server, r->path) < 0) {
        url = NULL;
        rc = error_set(err, -ENOMEM, "out of memory");
    } else {
        rc = add_headers(k, r, t, err);
    }
    if (rc) {
        kube_transfer_done(k, t);
        return rc;
    }
    set_rules(k, t);
    curl_easy_setopt(t->curl, CURLOPT_URL, url);
    set_body(t, r);
    curl_easy_setopt(t->curl, CURLOPT_CUSTOMREQUEST, r->method);
    return 0;
}

void kube_transfer_done(struct kube *k, struct kube_transfer *t)
{
    for (struct curl_slist *h = t->headers; h; h = h->next)
        explicit_bzero(h->data, strlen(h->data));
    if (t->curl)
        put_handle(k, t->curl);
    curl_slist_free_all(t->headers);
    *t = (struct kube_transfer){0};
}

int kube_transfer_errno(CURLcode code)
{
    /* Listed by what an operator has to look at; all else is a network that is not there. */
    if (code == CURLE_OK)
        return 0;
    if (code == CURLE_OPERATION_TIMEDOUT)
        return -ETIMEDOUT;
    if (code == CURLE_WRITE_ERROR)
        return -EMSGSIZE;
    if (code == CURLE_OUT_OF_MEMORY)
        return -ENOMEM;
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CONNECT_ERROR ||
        code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_ISSUER_ERROR)
        return -EPROTO;
    return -ECONNREFUSED;
}

/* ---- calls ---- */

static size_t on_data(char *p, size_t size, size_t n, void *arg)
{
    return buffer_append(arg, p, size * n) == 0 ? size * n : 0;
}

static int perform(struct kube_transfer *t, const struct kube_request *r, struct kube_reply *ret,
                   struct error *err)
{
    curl_off_t retry_after = 0;
    long status = 0;
    CURLcode code = curl_easy_perform(t->curl);

    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->curl, CURLINFO_RETRY_AFTER, &retry_after);
    if (code != CURLE_OK)
        return error_set(err, kube_transfer_errno(code), "%s %.*s: %s", r->method,
                         (int)min_size(strcspn(r->path, "?"), 200), r->path,
                         code == CURLE_WRITE_ERROR ? "the API server's reply is too long"
                         : t->error[0]             ? t->error
                                                   : curl_easy_strerror(code));
    ret->status = (int)status;
    ret->retry_after_s = retry_after > 0 && retry_after < 3600 ? (unsigned)retry_after : 0;
    return 0;
}

int kube_call(struct kube *k, const struct kube_request *r, struct kube_reply *ret,
              struct error *err)
{
    struct kube_transfer t;
    struct buffer body;
    int rc;

    *ret = (struct kube_reply){0};
    rc = kube_transfer_init(k, r, &t, err);
    if (rc)
        return rc;
    buffer_init(&body, r->max_reply ? r->max_reply : KUBE_REPLY_DEFAULT);
    curl_easy_setopt(t.curl, CURLOPT_TIMEOUT_MS,
                     (long)(r->timeout_ms ? r->timeout_ms : KUBE_TIMEOUT_MS));
    curl_easy_setopt(t.curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(t.curl, CURLOPT_WRITEDATA, &body);
    rc = perform(&t, r, ret, err);
    kube_transfer_done(k, &t);
    if (rc == 0 && buffer_len(&body)) {
        rc = kube_parse(buffer_bytes(&body), &ret->object);
        if (rc && ret->status < 300)
            rc = error_set(err, rc, "%s %.200s: the reply is no JSON", r->method, r->path);
        else
            rc = 0; /* what failed may say so in plain text */
    }
    buffer_wipe(&body); /* it may have been a Secret */
    return rc ? rc : kube_explain(r, ret, err);
}
