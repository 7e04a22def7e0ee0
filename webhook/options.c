/* SPDX-License-Identifier: Apache-2.0
 * Options.
 */
#include "options.h"

#include "sidecar/net/address.h"
#include "src-common/kube/kube.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

static const char help_text[] =
    "Usage: chaperone-webhook --config FILE [OPTION]...\n"
    "\n"
    "Admission for Kubernetes: injects the guard into pods, checks pods, policies and approvals;\n"
    "and the controller of namespaces' roles, policy status and expired approvals.\n"
    "\n"
    "  --config FILE            what is injected (required)\n"
    "  --listen ADDR:PORT       admission, HTTPS (default [::]:10250)\n"
    "  --status ADDR:PORT       /livez /readyz /metrics (default [::]:8080)\n"
    "  --namespace NS           the system's namespace (default: the service account's)\n"
    "  --service NAME           the Service in front of it (default chaperone-webhook)\n"
    "  --configuration NAME     of both webhook configurations (default zz-chaperone)\n"
    "  --certificates self|DIR  own authority, or tls.crt and tls.key of a directory\n"
    "                           (default self)\n"
    "  --account DIR            token, ca.crt, namespace (default\n"
    "                           " KUBE_ACCOUNT_DIR ")\n"
    "  --log-level LEVEL        debug, info, warn, error (default info)\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0 ended by a signal, 1 could not start, 2 wrong usage.\n";

enum {
    OPT_CONFIG = 1,
    OPT_LISTEN,
    OPT_STATUS,
    OPT_NAMESPACE,
    OPT_SERVICE,
    OPT_CONFIGURATION,
    OPT_CERTIFICATES,
    OPT_ACCOUNT,
    OPT_LOG_LEVEL,
    OPT_HELP,
    OPT_VERSION,
};

static const struct option long_options[] = {
    {"config", required_argument, NULL, OPT_CONFIG},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"status", required_argument, NULL, OPT_STATUS},
    {"namespace", required_argument, NULL, OPT_NAMESPACE},
    {"service", required_argument, NULL, OPT_SERVICE},
    {"configuration", required_argument, NULL, OPT_CONFIGURATION},
    {"certificates", required_argument, NULL, OPT_CERTIFICATES},
    {"account", required_argument, NULL, OPT_ACCOUNT},
    {"log-level", required_argument, NULL, OPT_LOG_LEVEL},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {0},
};

const char *options_help(void)
{
    return help_text;
}

static int log_level(const char *text, enum log_level *ret, struct error *err)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret = (enum log_level)i;
            return 0;
        }
    }
    return error_set(err, -EINVAL, "--log-level: expected debug, info, warn or error");
}

static int take_option(int opt, const char *value, struct options *o, struct error *err)
{
    switch (opt) {
    case OPT_CONFIG:
        o->config = value;
        return 0;
    case OPT_LISTEN:
        return address_parse(value, &o->listen, err);
    case OPT_STATUS:
        return address_parse(value, &o->status, err);
    case OPT_NAMESPACE:
        o->namespace_ = value;
        return 0;
    case OPT_SERVICE:
        o->service = value;
        return 0;
    case OPT_CONFIGURATION:
        o->configuration = value;
        return 0;
    case OPT_CERTIFICATES:
        o->certificates = strcmp(value, "self") == 0 ? NULL : value;
        return 0;
    case OPT_ACCOUNT:
        o->account = value;
        return 0;
    case OPT_LOG_LEVEL:
        return log_level(value, &o->log_level, err);
    case OPT_HELP:
        o->help = true;
        return 0;
    case OPT_VERSION:
        o->version = true;
        return 0;
    default:
        return error_set(err, -EINVAL, "unknown option, or its value is missing");
    }
}

int options_parse(int argc, char **argv, struct options *ret, struct error *err)
{
    struct options o = {.service = "chaperone-webhook",
                        .configuration = "zz-chaperone",
                        .log_level = LOG_LEVEL_INFO};
    int opt, rc;

    if ((rc = address_parse("[::]:10250", &o.listen, err)) ||
        (rc = address_parse("[::]:8080", &o.status, err)))
        return rc;
    optind = 0;
    opterr = 0;
    while ((opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        rc = take_option(opt, optarg, &o, err);
        if (rc)
            return opt == '?' ? error_prefix(err, -EINVAL, "%s", argv[optind - 1]) : -EINVAL;
    }
    if (optind < argc)
        return error_set(err, -EINVAL, "unexpected argument '%s'", argv[optind]);
    if (!o.config && !o.help && !o.version)
        return error_set(err, -EINVAL, "--config FILE is required");
    *ret = o;
    return 0;
}
