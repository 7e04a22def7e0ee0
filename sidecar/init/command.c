/* SPDX-License-Identifier: Apache-2.0
 * Where the tools are, and with which environment they run.
 */
#include "command.h"

#include "src-common/process.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define DEADLINE_MS 20000

static const char *const directories[] = {"/usr/sbin", "/sbin", "/usr/bin", "/bin",
                                          "/usr/local/sbin"};

int command_find(const char *name, char *path, size_t size)
{
    for (size_t i = 0; i < ARRAY_LEN(directories); i++) {
        int n = snprintf(path, size, "%s/%s", directories[i], name);

        if (n > 0 && (size_t)n < size && access(path, X_OK) == 0)
            return 0;
    }
    return -ENOENT;
}

int command_run(char *const argv[], struct bytes input, struct buffer *out, struct buffer *errors,
                struct error *err)
{
    /* The lock of legacy iptables lies in /run, which a read-only container cannot write. Nobody
     * else's tool shares this container's file system, so any file that opens will do. */
    static char *const env[] = {"PATH=/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL=C",
                                "XTABLES_LOCKFILE=/dev/null", NULL};
    const struct process_spec spec = {
        .argv = argv, .env = env, .stdin_from = PROCESS_STDIN_INPUT, .input = input};

    return process_run(&spec, DEADLINE_MS, out, errors, err);
}
