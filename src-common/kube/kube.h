/* SPDX-License-Identifier: Apache-2.0
 * A client of the Kubernetes API, as a pod sees it: the service account's directory says where
 * the CA and the token are, the environment where the server is. Calls block (up to their
 * timeout) and may be made from any thread at once; each takes a curl handle of its own from a
 * pool. Only https, no redirects, no proxies, bounded replies. Watching is watch.h.
 */
#pragma once

#include "src-common/buffer.h"
#include "src-common/error.h"

struct json_object;
struct kube;

#define KUBE_ACCOUNT_DIR   "/var/run/secrets/kubernetes.io/serviceaccount"
#define KUBE_PATH_MAX      ((size_t)4096)
#define KUBE_REPLY_DEFAULT ((size_t)8 << 20)
#define KUBE_TIMEOUT_MS    10000u

#define KUBE_JSON_PATCH      "application/json-patch+json"
#define KUBE_MERGE_PATCH     "application/merge-patch+json"
#define KUBE_STRATEGIC_PATCH "application/strategic-merge-patch+json"
#define KUBE_APPLY_PATCH     "application/apply-patch+yaml"

struct kube_config {
    const char *server;     /* "https://10.96.0.1:443"; IPv6 in brackets */
    const char *token_file; /* read for every call; NULL: none */
    const char *ca_file;
    const char *namespace_; /* NULL: "default" */
};

/* Strings are copied. The files are not read yet. -EINVAL: server is not https. */
int kube_new(const struct kube_config *c, struct kube **ret, struct error *err) MUST_CHECK;
/* From DIR/{token,ca.crt,namespace} (dir NULL: KUBE_ACCOUNT_DIR) and KUBERNETES_SERVICE_HOST and
 * _PORT. -ENOENT: this is no pod; err says what is missing. */
int kube_in_cluster(const char *dir, struct kube **ret, struct error *err) MUST_CHECK;
/* No call and no watch may be under way. Accepts NULL. */
void kube_free(struct kube *k);
/* The service account's namespace; lives as long as k. */
const char *kube_namespace(const struct kube *k);

/* ---- paths ---- */

struct kube_place {
    const char *api;                /* "api/v1", "apis/chaperone.dev/v1alpha1" */
    const char *namespace_;         /* NULL: cluster scope, or all namespaces */
    const char *resource;           /* plural */
    const char *name, *subresource; /* may be NULL */
};
/* "/apis/G/V/namespaces/NS/R/NAME/SUB". Segments are percent-encoded. -EINVAL: a segment is empty,
 * "." or ".."; -ENOBUFS: longer than ret's maximum. */
int kube_path(const struct kube_place *p, struct buffer *ret) MUST_CHECK;
/* Appends ?key=value or &key=value, percent-encoded. Failure is the buffer's. */
void kube_query(struct buffer *path, const char *key, const char *value);

/* ---- calls ---- */

struct kube_request {
    const char *method;       /* "GET" */
    const char *path;         /* with its query, encoded */
    const char *content_type; /* NULL: application/json */
    struct json_object *body; /* borrowed; or: */
    struct bytes text;
    unsigned timeout_ms; /* 0: KUBE_TIMEOUT_MS */
    size_t max_reply;    /* bytes; 0: KUBE_REPLY_DEFAULT */
};

struct kube_reply {
    int status;                 /* of HTTP; 0: there was none */
    struct json_object *object; /* NULL: no or an empty body. Also set for a metav1.Status */
    char reason[64];            /* metav1.Status.reason, "AlreadyExists" */
    unsigned retry_after_s;     /* what the server asks for; 0: nothing */
};

/* 0 for 2xx. Otherwise err says method, path and what the server said:
 *   -ENOENT 404 · -EEXIST 409 AlreadyExists · -EAGAIN 409 Conflict · -EACCES 401, 403 · -ESTALE 410
 *   -EINVAL 400, 422 · -E2BIG 413 · -EBUSY 429 · -ETIMEDOUT 504, no answer in time · -EIO other
 *   -ECONNREFUSED unreachable · -EPROTO its certificate is not the cluster's · -EMSGSIZE the reply
 *   is too long · -EBADMSG the reply is no JSON
 * ret is always set; release it with kube_reply_done. */
int kube_call(struct kube *k, const struct kube_request *r, struct kube_reply *ret,
              struct error *err) MUST_CHECK;
void kube_reply_done(struct kube_reply *r);

/* Errors after which the same call may succeed later: the server was away, busy or slow. */
bool kube_is_transient(int code);

/* ---- reading objects: NULL-safe, and never the wrong type ---- */

/* The member by path, "metadata.labels"; NULL when missing. Borrowed. */
struct json_object *kube_get(struct json_object *o, const char *path);
/* "" when missing or no string. Borrowed. */
const char *kube_get_str(struct json_object *o, const char *path);
/* 0 when missing or no number. */
int64_t kube_get_int(struct json_object *o, const char *path);
