/* SPDX-License-Identifier: Apache-2.0
 * The thread that gives the server its certificates: from the shared authority, whose trust it
 * keeps in the webhook configurations, or from a mounted directory.
 */
#pragma once

#include "config.h"
#include "server.h"

struct certificates_options {
    const struct config_times *times;
    struct kube *kube;
    struct server *server;
    const char *namespace_, *service, *configuration;
    const char *directory; /* NULL: the shared authority */
};

struct certificates;
/* Strings are borrowed. Does not wait. */
int certificates_start(const struct certificates_options *o, struct certificates **ret,
                       struct error *err) MUST_CHECK;
void certificates_stop(struct certificates *c); /* accepts NULL */
/* The server has a certificate that the API server trusts, as far as we can tell. Otherwise why
 * not. */
bool certificates_ready(struct certificates *c, struct error *why);
