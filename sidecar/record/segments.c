/* SPDX-License-Identifier: Apache-2.0
 * Reads a record from its segments.
 */
#include "segments.h"

#include "checker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

struct reading {
    const char *dir, *session;
    const struct segments_reader *how;
    struct record_check *check;
    struct checker checker;
    char before[CHAIN_HEX + 1];
    unsigned next;
    bool final;
};

/* One more than the highest number; 0: none. */
static int count_segments(const char *path, const char *session, unsigned *ret, void *arg,
                          struct error *err)
{
    DIR *d = opendir(path);
    struct dirent *e;

    (void)arg;
    *ret = 0;
    if (!d)
        return error_set(err, -errno, "cannot read %s: %m", path);
    while ((e = readdir(d)) != NULL) {
        char name[RECORD_SESSION_MAX + 1];
        unsigned n;

        if (segment_name_parse(e->d_name, name, &n) && strcmp(name, session) == 0 && n >= *ret)
            *ret = n + 1;
    }
    closedir(d);
    return 0;
}

static int take_bytes(struct bytes some, void *arg)
{
    struct reading *r = arg;
    int rc = checker_feed(&r->checker, some);

    return rc || !r->how->sink ? rc : r->how->sink(some, r->how->sink_arg);
}

/* Does the seal follow the one before it? */
static int check_seal(struct reading *r, const struct seal *s)
{
    struct checker *c = &r->checker;

    if (strcmp(s->session, r->session) != 0)
        return checker_broken(c, "segment %u belongs to session %s", r->next, s->session);
    if (s->segment != r->next)
        return checker_broken(c, "in the place of segment %u stands segment %u", r->next,
                              s->segment);
    if (r->how->keys && r->how->keys->n && !trusted_keys_have(r->how->keys, s->key))
        return checker_broken(c, "segment %u is signed by %s, which is not a key that you trust",
                              r->next, s->key);
    if (strcmp(s->before, r->before) != 0)
        return checker_broken(c, "segment %u does not follow the segment before it", r->next);
    if (r->final)
        return checker_broken(c, "there is a segment %u behind the last one", r->next);
    return 0;
}

static int check_content(struct reading *r, const struct seal *s, uint64_t first)
{
    struct checker *c = &r->checker;

    if (s->first != first || s->last + 1 != c->expect ||
        memcmp(s->head, r->check->head, CHAIN_HEX) != 0)
        return checker_broken(c, "the seal of segment %u is that of other lines", r->next);
    if (s->final != r->check->sealed)
        return checker_broken(c, "segment %u is %sthe last one, says its seal", r->next,
                              s->final ? "" : "not ");
    return 0;
}

static int read_segment(struct reading *r, int fd, struct error *err)
{
    struct error why = {""};
    struct seal seal = {0};
    uint64_t first = r->checker.expect;
    int rc = segment_read(fd, take_bytes, r, &seal, &why);

    /* What stands in the wrong place is called that, also when its lines did not fit. */
    if (seal.key[0] && check_seal(r, &seal) != 0)
        return -EBADMSG;
    if (rc == -EBADMSG && r->check->ok)
        return checker_broken(&r->checker, "segment %u: %s", r->next, why.text);
    if (rc)
        return r->check->ok ? error_set(err, rc, "segment %u: %s", r->next, why.text) : rc;
    if (checker_end(&r->checker) != 0 || check_content(r, &seal, first) != 0)
        return -EBADMSG;
    memcpy(r->before, seal.digest, sizeof r->before);
    memcpy(r->check->key, seal.key, sizeof r->check->key);
    r->final = seal.final;
    r->check->segments++;
    if (r->how->on_seal)
        r->how->on_seal(&seal, r->how->seal_arg);
    return 0;
}

static int open_segment(const char *dir, const char *name, void *arg, struct error *err)
{
    char path[PATH_MAX];
    int fd;

    (void)arg;
    snprintf(path, sizeof path, "%.3900s/%s", dir, name);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    return fd >= 0 ? fd : error_set(err, -errno, "cannot read %s: %m", path);
}

static const struct segments_place directory = {.count = count_segments, .open = open_segment};

static int read_segments(struct reading *r, unsigned n, struct error *err)
{
    for (r->next = 0; r->next < n; r->next++) {
        const struct segments_place *place = r->how->place;
        char name[SEGMENT_NAME_MAX];
        int fd, rc;

        segment_name(r->session, r->next, name);
        fd = place->open(r->dir, name, place->arg, err);
        if (fd == -ENOENT)
            return checker_broken(&r->checker, "segment %u is missing", r->next);
        if (fd == -EBADMSG)
            return checker_broken(&r->checker, "segment %u: %s", r->next, err ? err->text : "");
        if (fd < 0)
            return fd;
        rc = read_segment(r, fd, err);
        close(fd);
        if (rc)
            return rc;
    }
    return 0;
}

int segments_read(const char *dir, const char *session, const struct segments_reader *how,
                  struct record_check *ret, struct error *err)
{
    struct segments_reader full = *how;
    struct reading r = {.dir = dir, .session = session, .how = &full, .check = ret};
    unsigned n;
    int rc;

    checker_init(&r.checker, ret);
    r.checker.heads = how->heads;
    memset(r.before, '0', CHAIN_HEX);
    snprintf(ret->session, sizeof ret->session, "%s", session);
    full.place = how->place ? how->place : &directory;
    rc = full.place->count(dir, session, &n, full.place->arg, err);
    if (rc == 0)
        rc = n ? read_segments(&r, n, err)
               : error_set(err, -ENOENT, "no segment of %s is in %s", session, dir);
    checker_done(&r.checker);
    if (rc == 0 || !ret->ok)
        return 0;
    ret->ok = ret->sealed = false;
    return rc;
}
