/* SPDX-License-Identifier: Apache-2.0
 * A disk that is slow or broken, for tests: preloaded, it looks into the file $FAULTDISK before
 * each fdatasync(2): "hold" waits until the file says something else, "fail" is an I/O error. What
 * it was asked is appended to $FAULTDISK.log, and an answer when it is given.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void read_word(char *to, size_t size)
{
    const char *path = getenv("FAULTDISK");
    FILE *f = path ? fopen(path, "re") : NULL;
    size_t n = f ? fread(to, 1, size - 1, f) : 0;

    to[n] = '\0';
    to[strcspn(to, "\n")] = '\0';
    if (f)
        fclose(f);
}

static void say(const char *what)
{
    char path[4096];
    FILE *f;

    snprintf(path, sizeof path, "%s.log", getenv("FAULTDISK") ? getenv("FAULTDISK") : "/dev/null");
    f = fopen(path, "ae");
    if (f) {
        fputs(what, f);
        fclose(f);
    }
}

int fdatasync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    const struct timespec moment = {0, 10000000};
    char word[16];

    say("asked\n");
    for (read_word(word, sizeof word); strcmp(word, "hold") == 0; read_word(word, sizeof word))
        nanosleep(&moment, NULL);
    say(strcmp(word, "fail") == 0 ? "failed\n" : "done\n");
    if (strcmp(word, "fail") == 0) {
        errno = EIO;
        return -1;
    }
    return real(fd);
}
