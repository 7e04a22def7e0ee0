/* SPDX-License-Identifier: Apache-2.0
 * Which headers pass. Those of the agent are forwarded by list; those that claim to be somebody are
 * refused. Pure.
 */
#pragma once

#include "head.h"
#include "sidecar/policy/statement.h"

/* Impersonation, front-proxy identity, tokens in subprotocols. -EACCES with the reason. */
int kubeheaders_check(const struct http_head *h, struct error *err) MUST_CHECK;
/* The bearer token of Authorization; empty with p NULL: there is none. -EACCES: another scheme. */
int kubeheaders_token(const struct http_head *h, struct bytes *ret, struct error *err) MUST_CHECK;

/* What the agent accepts, narrowed to what the guard can read: JSON; without `tables` no form of it
 * but the objects or their metadata. -EPROTONOSUPPORT: nothing. */
int kubeheaders_accept(const struct http_head *h, const struct kube_act *act, bool tables,
                       struct buffer *out, struct error *err) MUST_CHECK;
/* Subprotocols of a WebSocket, narrowed to those that the guard speaks for that subresource. Same.
 */
int kubeheaders_protocols(const struct http_head *h, const char *subresource, struct buffer *out,
                          struct error *err) MUST_CHECK;
/* Appends "Name: value\r\n" of the agent's other headers that pass. */
void kubeheaders_request(const struct http_head *h, bool websocket, struct buffer *out);
/* The same of the server's answer. */
void kubeheaders_response(const struct http_head *h, bool websocket, struct buffer *out);
