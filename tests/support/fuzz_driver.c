/* SPDX-License-Identifier: Apache-2.0
 * A main for fuzz targets built without libFuzzer (gcc):
 *   TARGET PATH…                      runs the target on each file, and on each file in each folder
 *   TARGET --smoke SECONDS [--seed N] PATH…   mutates those inputs for that long, from a seed
 *                                     that it prints; the input of a crash is left in
 * ./crash-TARGET
 */
#include "src-common/base.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* A target that knows its language's words says so: NULL-terminated. */
extern const char *const fuzz_dictionary[] __attribute__((weak));

#define INPUT_MAX    ((size_t)64 << 10)
#define N_INPUTS_MAX 20000
#define MAX_REPLAY   ((size_t)4 << 20)
#define DEFAULT_SEED 0x5eed0f5eed0f5eedu

struct input {
    uint8_t *p;
    size_t len;
};

static struct input inputs[N_INPUTS_MAX];
static size_t n_inputs;
static uint64_t seed = DEFAULT_SEED;
static struct input current; /* what a crash is blamed on */
static char crash_path[256];

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed * 0x2545f4914f6cdd1du;
}

static size_t below(size_t n)
{
    return n ? (size_t)(next_random() >> 16) % n : 0;
}

static void load_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *p = malloc(MAX_REPLAY);
    size_t n;

    if (!f || !p) {
        perror(path);
        exit(2);
    }
    n = fread(p, 1, MAX_REPLAY, f);
    fclose(f);
    if (n_inputs == N_INPUTS_MAX) {
        free(p);
        return;
    }
    inputs[n_inputs].p = realloc(p, n ? n : 1); /* its own block: the sanitizer sees its end */
    inputs[n_inputs].len = n;
    n_inputs++;
}

static void load(const char *path)
{
    struct dirent **entries = NULL;
    struct stat st;
    char name[4096];
    int n;

    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
        load_file(path);
        return;
    }
    n = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name);
        if (stat(name, &st) == 0 && S_ISREG(st.st_mode))
            load_file(name);
        free(entries[i]);
    }
    free(entries);
}

static void run(struct input in)
{
    current = in;
    LLVMFuzzerTestOneInput(in.p, in.len);
    current.p = NULL;
}

/* ---- mutation, in place of a buffer of INPUT_MAX ---- */

static void insert(struct input *in, size_t at, const void *what, size_t n)
{
    if (n > INPUT_MAX - in->len)
        return;
    memmove(in->p + at + n, in->p + at, in->len - at);
    memcpy(in->p + at, what, n);
    in->len += n;
}

static void insert_word(struct input *in)
{
    static const char *const common[] = {"\xff\xff\xff\xff",
                                         "\x7f\xff\xff\xff",
                                         "\x80",
                                         "-1",
                                         "''",
                                         "\"",
                                         "$$",
                                         "/*",
                                         "*/",
                                         "--",
                                         "\n",
                                         "(",
                                         ")",
                                         ";",
                                         "\\",
                                         NULL};
    const char *const *words = fuzz_dictionary && below(4) ? fuzz_dictionary : common;
    size_t n = 0;

    while (words[n])
        n++;
    if (n > 0) {
        const char *word = words[below(n)];

        insert(in, below(in->len + 1), word, strlen(word));
    }
}

static void splice_other(struct input *in)
{
    const struct input *other = &inputs[below(n_inputs)];
    size_t from = below(other->len), n = below(min_size(other->len - from, 256) + 1);

    insert(in, below(in->len + 1), other->p + from, n);
}

static void erase(struct input *in)
{
    size_t at = below(in->len), n = 1 + below(min_size(in->len - at, 32));

    if (in->len == 0)
        return;
    n = min_size(n, in->len - at);
    memmove(in->p + at, in->p + at + n, in->len - at - n);
    in->len -= n;
}

static void repeat_part(struct input *in)
{
    uint8_t part[64];
    size_t at = below(in->len), n = min_size(in->len - at, 1 + below(sizeof part));

    memcpy(part, in->p + at, n);
    insert(in, at, part, n);
}

static void mutate(struct input *in)
{
    uint8_t byte = (uint8_t)next_random();

    switch (below(8)) {
    case 0:
        if (in->len)
            in->p[below(in->len)] ^= (uint8_t)(1u << below(8));
        break;
    case 1:
        if (in->len)
            in->p[below(in->len)] = byte;
        break;
    case 2:
        insert(in, below(in->len + 1), &byte, 1);
        break;
    case 3:
        erase(in);
        break;
    case 4:
        repeat_part(in);
        break;
    case 5:
        splice_other(in);
        break;
    default:
        insert_word(in);
        break;
    }
}

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void mutate_for(unsigned seconds)
{
    uint64_t until = now_ms() + (uint64_t)seconds * 1000, runs = 0;
    struct input empty = {(uint8_t *)"", 0};

    if (n_inputs == 0)
        inputs[n_inputs++] = empty;
    printf("smoke: seed %llu, %zu inputs\n", (unsigned long long)seed, n_inputs);
    fflush(stdout);
    while (now_ms() < until) {
        const struct input *from = &inputs[below(n_inputs)];
        struct input in = {malloc(INPUT_MAX), min_size(from->len, INPUT_MAX / 2)};
        size_t changes = 1 + below(6);

        if (!in.p)
            exit(2);
        memcpy(in.p, from->p, in.len);
        while (changes-- > 0)
            mutate(&in);
        in.p = realloc(in.p, in.len ? in.len : 1);
        run(in);
        free(in.p);
        runs++;
    }
    printf("smoke: %llu runs, no crash\n", (unsigned long long)runs);
}

/* ---- crashes ---- */

static void save_input(void)
{
    struct input in = current;
    int fd;

    current.p = NULL;
    if (!in.p)
        return;
    fd = open(crash_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    if (write(fd, in.p, in.len) == (ssize_t)in.len)
        dprintf(2, "the input is in %s\n", crash_path);
    close(fd);
}

static void on_signal(int sig)
{
    save_input();
    signal(sig, SIG_DFL);
    raise(sig);
}

/* The sanitizers end the process by exit, most of them, not by a signal. */
void __sanitizer_set_death_callback(void (*)(void)) __attribute__((weak));

static void watch_crashes(const char *program)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    const char *name = strrchr(program, '/');

    snprintf(crash_path, sizeof crash_path, "crash-%s", name ? name + 1 : program);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(save_input);
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        if (!__sanitizer_set_death_callback || signals[i] == SIGABRT)
            signal(signals[i], on_signal);
    }
}

int main(int argc, char **argv)
{
    unsigned seconds = 0;

    watch_crashes(argv[0]);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--smoke") == 0 && i + 1 < argc)
            seconds = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 0);
        else
            load(argv[i]);
    }
    if (seed == 0) /* the generator would stay there */
        seed = DEFAULT_SEED;
    for (size_t i = 0; i < n_inputs; i++)
        run(inputs[i]);
    printf("%zu inputs replayed\n", n_inputs);
    if (seconds > 0)
        mutate_for(seconds);
    return 0;
}
