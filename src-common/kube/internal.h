/* SPDX-License-Identifier: Apache-2.0
 * Inside of the API client: what calls and watches share.
 */
#pragma once

#include "kube.h"

#include <curl/curl.h>

/* What a curl handle of ours needs while it works. */
struct kube_transfer {
    CURL *curl;
    struct curl_slist *headers;
    char error[CURL_ERROR_SIZE];
};

/* Sets url, TLS, token and the house rules; what is received goes to write(arg). The transfer's
 * strings live until kube_transfer_done. */
int kube_transfer_init(struct kube *k, const struct kube_request *r, struct kube_transfer *t,
                       struct error *err) MUST_CHECK;
/* Wipes the token, gives the handle back to the pool. */
void kube_transfer_done(struct kube *k, struct kube_transfer *t);
/* What curl's failure means; 0 for CURLE_OK. */
int kube_transfer_errno(CURLcode code);

/* The errno for an HTTP status and metav1.Status.reason ("" when there is none); 0 for 2xx. */
int kube_status_errno(int status, const char *reason);
/* Parses one whole JSON text. -EBADMSG: it is none, or something follows. */
int kube_parse(struct bytes text, struct json_object **ret) MUST_CHECK;
/* Says what a reply of this status means; the body may be a metav1.Status or anything. Returns
 * kube_status_errno. */
int kube_explain(const struct kube_request *r, struct kube_reply *reply, struct error *err);
