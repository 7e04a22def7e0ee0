/* SPDX-License-Identifier: Apache-2.0
 * Command line of the webhook.
 */
#pragma once

#include "src-common/error.h"
#include "src-common/log.h"

#include <sys/socket.h>

struct options {
    const char *config, *account, *namespace_, *service, *configuration;
    const char *certificates; /* a directory; NULL: own authority */
    struct sockaddr_storage listen, status;
    enum log_level log_level;
    bool help, version;
};

/* 0, or -EINVAL: wrong usage, err says what. Strings are argv's. */
int options_parse(int argc, char **argv, struct options *ret, struct error *err) MUST_CHECK;
const char *options_help(void);
