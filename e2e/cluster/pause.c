/* SPDX-License-Identifier: Apache-2.0 */
/* First process of every pod: holds the pod's namespaces, and buries the dead of a shared one. */
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

static void end(int number)
{
    (void)number;
    _exit(EXIT_SUCCESS);
}

int main(void)
{
    signal(SIGTERM, end);
    signal(SIGINT, end);
    signal(SIGCHLD, SIG_IGN);
    for (;;)
        pause();
}
