/* SPDX-License-Identifier: Apache-2.0
 * One transaction per table and family. What an earlier run left is looked up first, because a
 * restore that deletes a jump which is not there fails as a whole.
 */
#include "install.h"

#include "command.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RULES_MAX  ((size_t)64 * 1024)
#define SAVED_MAX  ((size_t)4 * 1024 * 1024)
#define ERRORS_MAX ((size_t)16 * 1024)

/* By backend and family; INSTALL_AUTO is never used as an index. */
static const char *const restore_tool[][2] = {
    [INSTALL_NFT] = {"iptables-nft-restore", "ip6tables-nft-restore"},
    [INSTALL_LEGACY] = {"iptables-legacy-restore", "ip6tables-legacy-restore"},
};
static const char *const save_tool[][2] = {
    [INSTALL_NFT] = {"iptables-nft-save", "ip6tables-nft-save"},
    [INSTALL_LEGACY] = {"iptables-legacy-save", "ip6tables-legacy-save"},
};

const char *install_backend_name(enum install_backend b)
{
    static const char *const names[] = {
        [INSTALL_AUTO] = "auto", [INSTALL_NFT] = "nft", [INSTALL_LEGACY] = "legacy"};

    return names[b];
}

bool install_kernel_has_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return errno != EAFNOSUPPORT;
    close(fd);
    return true;
}

static bool has_capability(unsigned cap)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

    if (syscall(SYS_capget, &head, data) != 0)
        return false;
    return data[CAP_TO_INDEX(cap)].effective & CAP_TO_MASK(cap);
}

static int find_tool(const char *name, char *path, size_t size, struct error *err)
{
    if (command_find(name, path, size) == 0)
        return 0;
    return error_set(err, -ENOENT,
                     "%s is not in this image; install the package iptables (1.8 or newer)", name);
}

/* The words of the failed tool, and what a person can do about it. */
static int explain(const char *tool, int status, const struct buffer *errors,
                   enum install_backend backend, struct error *err)
{
    struct bytes said = buffer_bytes(errors);
    size_t len = min_size(said.len, 300);
    const char *remedy = "see the kernel's nf_tables, nft_compat, xt_owner and xt_REDIRECT modules";

    while (len && said.p[len - 1] == '\n')
        len--;
    if (backend == INSTALL_LEGACY && !has_capability(CAP_NET_RAW))
        remedy = "legacy iptables also needs the capability NET_RAW, which this process lacks";
    return error_set(err, -EIO, "%s failed with status %d: %.*s (%s)", tool, status, (int)len,
                     said.p ? (const char *)said.p : "", remedy);
}

static int read_present(enum install_backend backend, enum rules_family family,
                        struct rules_present *ret, struct error *err)
{
    const char *name = save_tool[backend][family];
    char path[64];
    __attribute__((cleanup(buffer_done))) struct buffer out = {0};
    __attribute__((cleanup(buffer_done))) struct buffer errors = {0};

    buffer_init(&out, SAVED_MAX);
    buffer_init(&errors, ERRORS_MAX);
    int r = find_tool(name, path, sizeof(path), err);

    if (r)
        return r;
    /* Without -t: naming a table would make the legacy tools create it. */
    r = command_run((char *const[]){path, NULL}, (struct bytes){0}, &out, &errors, err);
    if (r < 0)
        return r;
    if (r > 0)
        return explain(name, r, &errors, backend, err);
    if (out.failed)
        return error_set(err, -EFBIG, "%s printed more than %zu bytes", name, SAVED_MAX);
    r = rules_find_present(buffer_bytes(&out), ret);
    return r ? error_set(err, r, "%s lists our own jumps more often than anybody made them", name)
             : 0;
}

static struct rules_config config_for(const struct install *in, enum rules_family family)
{
    return (struct rules_config){
        .family = family,
        .capture = in->capture,
        .uid = in->uid,
        .gid = in->gid,
        .nameservers = in->nameservers,
    };
}

static int apply_family(const struct install *in, enum install_backend backend,
                        enum rules_family family, struct error *err)
{
    const char *name = restore_tool[backend][family];
    struct rules_config config = config_for(in, family);
    char path[64];
    __attribute__((cleanup(buffer_done))) struct buffer text = {0};
    __attribute__((cleanup(buffer_done))) struct buffer out = {0};
    __attribute__((cleanup(buffer_done))) struct buffer errors = {0};

    buffer_init(&text, RULES_MAX);
    buffer_init(&out, ERRORS_MAX);
    buffer_init(&errors, ERRORS_MAX);
    int r = find_tool(name, path, sizeof(path), err);

    r = r ? r : read_present(backend, family, &config.present, err);
    if (r)
        return r;
    r = rules_write(&config, &text);
    if (r)
        return error_set(err, r, "no memory for the rules");
    r = command_run((char *const[]){path, "--noflush", "--wait=5", NULL}, buffer_bytes(&text), &out,
                    &errors, err);
    if (r < 0)
        return r;
    return r ? explain(name, r, &errors, backend, err) : 0;
}

static int apply_backend(const struct install *in, enum install_backend backend, struct error *err)
{
    int r = apply_family(in, backend, RULES_IPV4, err);

    if (r || !in->ipv6)
        return r;
    return apply_family(in, backend, RULES_IPV6, err);
}

int install_apply(const struct install *in, enum install_backend *used, struct error *err)
{
    if (!has_capability(CAP_NET_ADMIN))
        return error_set(err, -EPERM,
                         "this process lacks the capability NET_ADMIN; give it to the init "
                         "container (securityContext.capabilities.add: [NET_ADMIN])");
    if (in->backend != INSTALL_AUTO) {
        *used = in->backend;
        return apply_backend(in, in->backend, err);
    }

    struct error first = {{0}}, second = {{0}};

    *used = INSTALL_NFT;
    if (apply_backend(in, INSTALL_NFT, &first) == 0)
        return 0;
    *used = INSTALL_LEGACY;
    int r = apply_backend(in, INSTALL_LEGACY, &second);

    return r ? error_set(err, r, "%s; and the fallback: %s", first.text, second.text) : 0;
}

static int show_family(const struct install *in, enum install_backend backend,
                       enum rules_family family, struct buffer *out)
{
    struct rules_config config = config_for(in, family);

    if (read_present(backend, family, &config.present, NULL) != 0) {
        config.present = (struct rules_present){0};
        buffer_printf(out, "# the present rules cannot be read; as for a fresh namespace\n");
    }
    if (family == RULES_IPV6 && !in->ipv6)
        buffer_printf(out, "# this kernel has no IPv6: not fed\n");
    buffer_printf(out, "# %s --noflush --wait=5\n", restore_tool[backend][family]);
    return rules_write(&config, out);
}

int install_show(const struct install *in, struct buffer *out, struct error *err)
{
    enum install_backend backend = in->backend == INSTALL_AUTO ? INSTALL_NFT : in->backend;
    int r = show_family(in, backend, RULES_IPV4, out);

    r = r ? r : show_family(in, backend, RULES_IPV6, out);
    return r ? error_set(err, r, "no memory for the rules") : 0;
}
