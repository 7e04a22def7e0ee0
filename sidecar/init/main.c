/* SPDX-License-Identifier: Apache-2.0
 * chaperone-init: installs the redirection in the pod's network namespace, proves that it works,
 * exits. Runs as the first init container with NET_ADMIN alone; the kubelet may run it again in the
 * same namespace. Whatever fails, exit status 1 keeps the pod from starting, and rules that are
 * already there stay.
 */
#include "install.h"
#include "nameservers.h"
#include "selftest.h"

#include "src-common/jsonw.h"
#include "src-common/log.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

enum { EXIT_DONE, EXIT_FAILED, EXIT_USAGE };

struct options {
    struct install install;
    const char *resolv_conf;
    bool dry_run;
};

static const char usage_text[] =
    "usage: chaperone-init --capture PORT --uid U --gid G [--dry-run]\n"
    "  --capture PORT      where TCP connections go: the guard's capture port\n"
    "  --uid U --gid G     the guard's; its own traffic passes when both match\n"
    "  --resolv-conf PATH  whose name servers stay reachable (default /etc/resolv.conf)\n"
    "  --backend B         auto (default: nft, else legacy), nft or legacy\n"
    "  --dry-run           print both rule sets, change nothing\n"
    "  --help, --version\n";

static const struct option long_options[] = {
    {"capture", required_argument, NULL, 'c'},
    {"uid", required_argument, NULL, 'u'},
    {"gid", required_argument, NULL, 'g'},
    {"resolv-conf", required_argument, NULL, 'r'},
    {"backend", required_argument, NULL, 'b'},
    {"dry-run", no_argument, NULL, 'n'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'v'},
    {NULL, 0, NULL, 0},
};

/* Digits only, 1 to max. */
static bool parse_number(const char *text, uint32_t max, uint32_t *ret)
{
    uint64_t v = 0;

    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9' || (v = v * 10 + (uint64_t)(*p - '0')) > max)
            return false;
    }
    *ret = (uint32_t)v;
    return v > 0;
}

static bool parse_backend(const char *text, enum install_backend *ret)
{
    for (enum install_backend b = INSTALL_AUTO; b <= INSTALL_LEGACY; b++) {
        if (strcmp(text, install_backend_name(b)) == 0) {
            *ret = b;
            return true;
        }
    }
    return false;
}

static int usage(const char *complaint, const char *value)
{
    fprintf(stderr, "chaperone-init: %s%s%s\n%s", complaint, value ? ": " : "", value ? value : "",
            usage_text);
    return EXIT_USAGE;
}

/* -1: go on. Otherwise the exit status. 0 is nobody's guard: root is what a container has that
 * says nothing about its user, and would exempt it. */
static int take_option(int opt, struct options *o)
{
    const uint32_t id_max = UINT32_MAX - 1; /* the last one means "no change" */
    uint32_t port = 0;

    switch (opt) {
    case 'c':
        if (!parse_number(optarg, 65535, &port))
            return usage("--capture needs a port, 1 to 65535", optarg);
        o->install.capture = (uint16_t)port;
        return -1;
    case 'u':
        return parse_number(optarg, id_max, &o->install.uid)
                   ? -1
                   : usage("--uid needs a user id of the guard's own, not 0", optarg);
    case 'g':
        return parse_number(optarg, id_max, &o->install.gid)
                   ? -1
                   : usage("--gid needs a group id of the guard's own, not 0", optarg);
    case 'r':
        o->resolv_conf = optarg;
        return -1;
    case 'b':
        return parse_backend(optarg, &o->install.backend)
                   ? -1
                   : usage("--backend is auto, nft or legacy", optarg);
    case 'n':
        o->dry_run = true;
        return -1;
    case 'h':
        fputs(usage_text, stdout);
        return EXIT_DONE;
    case 'v':
        puts("chaperone-init " CHAPERONE_VERSION);
        return EXIT_DONE;
    default:
        fputs(usage_text, stderr);
        return EXIT_USAGE;
    }
}

static int parse_options(int argc, char **argv, struct options *o)
{
    int opt;

    while ((opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        int status = take_option(opt, o);

        if (status >= 0)
            return status;
    }
    if (optind < argc)
        return usage("not an option", argv[optind]);
    if (!o->install.capture || !o->install.uid || !o->install.gid)
        return usage("--capture, --uid and --gid are needed", NULL);
    return -1;
}

static int fail(const char *event, const struct error *err)
{
    log_error(event, F_STR("reason", err->text));
    return EXIT_FAILED;
}

static int write_out(struct buffer *b, struct error *err)
{
    int r = 0;

    if (b->failed || fwrite(b->p + b->start, 1, buffer_len(b), stdout) != buffer_len(b) ||
        fflush(stdout) != 0)
        r = error_set(err, -EIO, "cannot write to standard output");
    buffer_done(b);
    return r;
}

static int dry_run(const struct options *o)
{
    struct error err = {{0}};
    struct buffer out;

    buffer_init(&out, (size_t)256 * 1024);
    int r = install_show(&o->install, &out, &err);

    r = r ? r : write_out(&out, &err);
    buffer_done(&out);
    return r ? fail("init.dry-run.failed", &err) : EXIT_DONE;
}

static void add_outcomes(struct buffer *b, const struct selftest_result *result)
{
    const struct {
        const char *key;
        const char *value;
    } all[] = {
        {"tcp4", result->tcp[0]}, {"udp4", result->udp[0]}, {"guard4", result->guard[0]},
        {"tcp6", result->tcp[1]}, {"udp6", result->udp[1]}, {"guard6", result->guard[1]},
    };

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (all[i].value)
            jsonw_kstr(b, all[i].key, bytes_str(all[i].value));
    }
}

/* The one line on standard output. */
static int report(const struct options *o, enum install_backend used, bool ok,
                  const struct selftest_result *result, struct error *err)
{
    struct buffer b;

    buffer_init(&b, (size_t)64 * 1024);
    buffer_append(&b, "{", 1);
    jsonw_kstr(&b, "result", bytes_str(ok ? "ok" : "failed"));
    jsonw_kstr(&b, "backend", bytes_str(install_backend_name(used)));
    jsonw_ku64(&b, "capture", o->install.capture);
    jsonw_ku64(&b, "uid", o->install.uid);
    jsonw_ku64(&b, "gid", o->install.gid);
    jsonw_ku64(&b, "nameservers", o->install.nameservers->n);
    add_outcomes(&b, result);
    if (!ok)
        jsonw_kstr(&b, "reason", bytes_str(err->text));
    buffer_append(&b, "}\n", 2);
    return write_out(&b, err);
}

static int install_and_prove(const struct options *o)
{
    struct selftest_config config = {.capture = o->install.capture,
                                     .uid = o->install.uid,
                                     .gid = o->install.gid,
                                     .ipv6 = o->install.ipv6};
    struct selftest_result result;
    struct error err = {{0}}, write_err = {{0}};
    enum install_backend used;

    if (install_apply(&o->install, &used, &err) != 0)
        return fail("init.install.failed", &err);

    bool ok = selftest_run(&config, &result, &err) == 0;
    int r = report(o, used, ok, &result, ok ? &write_err : &err);

    if (!ok)
        return fail("init.selftest.failed", &err);
    return r ? fail("init.report.failed", &write_err) : EXIT_DONE;
}

int main(int argc, char **argv)
{
    struct options o = {.resolv_conf = "/etc/resolv.conf"};
    struct nameservers nameservers;
    struct error err = {{0}};
    int status = parse_options(argc, argv, &o);

    if (status >= 0)
        return status;
    if (nameservers_load(o.resolv_conf, &nameservers, &err) != 0)
        return fail("init.resolv-conf.failed", &err);
    if (nameservers.ignored)
        log_warn("init.resolv-conf.ignored", F_STR("path", o.resolv_conf),
                 F_U64("lines", nameservers.ignored));
    o.install.nameservers = &nameservers;
    o.install.ipv6 = install_kernel_has_ipv6();
    if (!o.install.ipv6)
        log_info("init.ipv6.absent", F_STR("reason", "the kernel makes no IPv6 sockets"));
    return o.dry_run ? dry_run(&o) : install_and_prove(&o);
}
