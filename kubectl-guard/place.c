/* SPDX-License-Identifier: Apache-2.0
 * Files and folders, here or in a bucket.
 */
#include "place.h"

#include "bucket.h"
#include "sidecar/record/envelope.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int place_scratch(struct error *err)
{
    const char *dir = getenv("TMPDIR");
    char name[PATH_MAX];
    int fd;

    dir = dir && dir[0] ? dir : "/tmp";
    fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    snprintf(name, sizeof name, "%.4000s/kubectl-guard.XXXXXX", dir);
    fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0)
        return error_set(err, -errno, "no scratch file in %s (TMPDIR): %m", dir);
    unlink(name);
    return fd;
}

/* ---- encrypted files ---- */

static struct {
    const char *key_file;
    struct envelope_key *key; /* for the program's life */
    bool last;                /* the last file was encrypted: the next one is, mostly */
} envelopes;

void place_init(const struct cli *cli)
{
    envelopes.key_file = cli_option(cli, "decrypt-key");
}

/* Its content in a file without a name; closes `fd`. */
static int decrypt(int fd, const char *path, struct error *err)
{
    int to = -1, rc = 0;

    if (!envelopes.key_file)
        rc = error_set(err, -EACCES, "%s is encrypted: --decrypt-key FILE, an auditor's key", path);
    else if (!envelopes.key)
        rc = envelope_key_load(envelopes.key_file, &envelopes.key, err);
    if (rc == 0)
        to = rc = place_scratch(err);
    if (to >= 0) {
        rc = envelope_decrypt(fd, to, envelopes.key, err);
        if (rc == 0 && lseek(to, 0, SEEK_SET) != 0)
            rc = error_set(err, -errno, "a scratch file: %m");
        if (rc)
            close(to);
    }
    close(fd);
    return rc ? rc : to;
}

static int open_plain(const char *path, struct error *err)
{
    int fd;

    if (bucket_is(path))
        return bucket_open(path, err);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    return fd >= 0 ? fd : error_set(err, -errno, "cannot read %s: %m", path);
}

int place_open(const char *path, struct error *err)
{
    char sealed[PATH_MAX];
    struct error second = {0};
    int fd = -ENOENT;

    snprintf(sealed, sizeof sealed, "%.4000s" ENVELOPE_SUFFIX, path);
    if (envelopes.last)
        fd = open_plain(sealed, err);
    if (fd == -ENOENT)
        fd = open_plain(path, err);
    if (fd == -ENOENT && !envelopes.last)
        fd = open_plain(sealed, &second);
    if (fd < 0 && fd != -ENOENT && second.text[0])
        error_set(err, fd, "%s", second.text);
    if (fd < 0)
        return fd;
    envelopes.last = envelope_is(fd);
    return envelopes.last ? decrypt(fd, path, err) : fd;
}

bool place_has(const char *path)
{
    char sealed[PATH_MAX];

    snprintf(sealed, sizeof sealed, "%.4000s" ENVELOPE_SUFFIX, path);
    return access(path, F_OK) == 0 || access(sealed, F_OK) == 0;
}

/* The name without what says that it is encrypted, in place. */
static void strip(char *name)
{
    size_t n = strlen(name), m = sizeof ENVELOPE_SUFFIX - 1;

    if (n > m && strcmp(name + n - m, ENVELOPE_SUFFIX) == 0)
        name[n - m] = '\0';
}

struct listing {
    place_name_fn *fn;
    void *arg;
};

static void give_name(const struct bucket_entry *e, void *arg)
{
    struct listing *l = arg;
    char name[1100];

    snprintf(name, sizeof name, "%s", e->name);
    strip(name);
    if (!e->folder)
        l->fn(name, l->arg);
}

int place_list(const char *folder, const char *begin, place_name_fn *fn, void *arg,
               struct error *err)
{
    struct listing l = {fn, arg};
    struct dirent *e;
    DIR *d;

    if (bucket_is(folder))
        return bucket_list(folder, begin, give_name, &l, err);
    d = opendir(folder);
    if (!d)
        return error_set(err, -errno, "cannot read %s: %m", folder);
    while ((e = readdir(d)) != NULL)
        if (strncmp(e->d_name, begin, strlen(begin)) == 0) {
            strip(e->d_name);
            fn(e->d_name, arg);
        }
    closedir(d);
    return 0;
}

/* ---- segments ---- */

static int open_segment(const char *dir, const char *name, void *arg, struct error *err)
{
    char path[PATH_MAX];

    (void)arg;
    snprintf(path, sizeof path, "%.3900s/%s", dir, name);
    return place_open(path, err);
}

struct count {
    const char *session;
    unsigned n;
};

static void count_name(const char *name, void *arg)
{
    char session[RECORD_SESSION_MAX + 1];
    struct count *c = arg;
    unsigned n;

    if (segment_name_parse(name, session, &n) && strcmp(session, c->session) == 0 && n >= c->n)
        c->n = n + 1;
}

static int count_segments(const char *dir, const char *session, unsigned *ret, void *arg,
                          struct error *err)
{
    struct count c = {.session = session};
    char begin[RECORD_SESSION_MAX + 2];
    int rc;

    (void)arg;
    snprintf(begin, sizeof begin, "%.63s.", session);
    rc = place_list(dir, begin, count_name, &c, err);
    *ret = c.n;
    return rc;
}

const struct segments_place place_segments = {.count = count_segments, .open = open_segment};

/* ---- walking ---- */

/* Files before folders: what is in one folder comes in one piece. */
static int by_name(const FTSENT **a, const FTSENT **b)
{
    int x = (*a)->fts_info == FTS_D, y = (*b)->fts_info == FTS_D;

    return x != y ? x - y : strcmp((*a)->fts_name, (*b)->fts_name);
}

static int walk_directory(const char *path, place_file_fn *fn, void *arg, struct error *err)
{
    char plain[PATH_MAX], name[PATH_MAX];
    char *const roots[] = {plain, NULL};
    FTSENT *e;
    FTS *t;

    snprintf(plain, sizeof plain, "%s", path);
    for (size_t n = strlen(plain); n > 1 && plain[n - 1] == '/'; n--)
        plain[n - 1] = '\0';
    if (access(plain, F_OK) != 0)
        return error_set(err, -errno, "cannot read %s: %m", path);
    t = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    if (!t)
        return error_set(err, -errno, "cannot read %s: %m", path);
    while ((e = fts_read(t)) != NULL)
        if (e->fts_info == FTS_F) {
            snprintf(name, sizeof name, "%s", e->fts_path);
            strip(name);
            fn(name, 0, arg);
        }
    fts_close(t);
    return 0;
}

/* What one folder of a bucket holds; a pod's, at most. */
struct names {
    struct name {
        char *name; /* of a folder, with a slash at its end */
        uint64_t us;
    } * all;
    size_t n;
    bool failed;
};

static void take_name(const struct bucket_entry *e, void *arg)
{
    struct names *names = arg;
    struct name *more = reallocarray(names->all, names->n + 1, sizeof *more);
    char *name = NULL;

    if (more)
        names->all = more;
    if (!more || asprintf(&name, "%s%s", e->name, e->folder ? "/" : "") < 0) {
        names->failed = true;
        return;
    }
    strip(name);
    names->all[names->n++] = (struct name){name, e->changed_us};
}

static bool is_folder_name(const char *name)
{
    return name[0] && name[strlen(name) - 1] == '/';
}

static int compare(const void *a, const void *b)
{
    const char *x = ((const struct name *)a)->name, *y = ((const struct name *)b)->name;
    int folders = is_folder_name(x) - is_folder_name(y);

    return folders ? folders : strcmp(x, y);
}

static bool same_session(const char *a, const char *b)
{
    size_t n = strcspn(a, ".");

    return strncmp(a, b, n) == 0 && a[n] == '.' && b[n] == '.';
}

static void sort_names(struct names *names)
{
    if (names->n)
        qsort(names->all, names->n, sizeof *names->all, compare);
    for (size_t i = names->n; i-- > 1;)
        if (same_session(names->all[i - 1].name, names->all[i].name) &&
            names->all[i - 1].us < names->all[i].us)
            names->all[i - 1].us = names->all[i].us;
}

static int walk_bucket(const char *folder, place_file_fn *fn, void *arg, struct error *err)
{
    struct names names = {0};
    int rc = bucket_list(folder, "", take_name, &names, err);

    if (rc == 0 && names.failed)
        rc = error_set(err, -ENOMEM, "out of memory");
    if (rc == 0 && names.n == 0)
        rc = error_set(err, -ENOENT, "nothing is at %s", folder);
    sort_names(&names);
    for (size_t i = 0; i < names.n; i++) {
        char path[PATH_MAX];

        snprintf(path, sizeof path, "%.2000s/%.2000s", folder, names.all[i].name);
        if (rc == 0 && is_folder_name(names.all[i].name)) {
            path[strlen(path) - 1] = '\0';
            rc = walk_bucket(path, fn, arg, err);
        } else if (rc == 0) {
            fn(path, names.all[i].us, arg);
        }
        free(names.all[i].name);
    }
    free(names.all);
    return rc;
}

int place_walk(const char *path, place_file_fn *fn, void *arg, struct error *err)
{
    char plain[PATH_MAX];

    if (!bucket_is(path))
        return walk_directory(path, fn, arg, err);
    snprintf(plain, sizeof plain, "%s", path);
    for (size_t n = strlen(plain); n > sizeof "s3://" && plain[n - 1] == '/'; n--)
        plain[n - 1] = '\0';
    return walk_bucket(plain, fn, arg, err);
}

static void any_name(const struct bucket_entry *e, void *arg)
{
    (void)e;
    *(bool *)arg = true;
}

int place_is_folder(const char *path, struct error *err)
{
    char session[RECORD_SESSION_MAX + 1], folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    struct stat st;
    bool any = false;
    unsigned n;
    int rc;

    if (!bucket_is(path)) {
        snprintf(folder, sizeof folder, "%.4000s.000000" SEGMENT_SUFFIX, path);
        if (!place_has(path) && !place_has(folder))
            return error_set(err, -errno, "cannot read %s: %m", path);
        return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    }
    if (segment_name_parse(slash + 1, session, &n))
        return 0;
    rc = bucket_list(path, "", any_name, &any, err);
    if (rc || any)
        return rc ? rc : 1;
    snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    if (strlen(folder) > sizeof "s3://")
        rc = bucket_list(folder, slash + 1, any_name, &any, err);
    return rc || any ? rc : error_set(err, -ENOENT, "nothing is at %s", path);
}
