/* SPDX-License-Identifier: Apache-2.0
 * Loading: files to objects, objects to a snapshot; what can only be checked once all are there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "object.h"

#include "src-common/readall.h"

#define MAX_FILES 1000
/* The cluster's own API server: a target that exists without a GuardTarget. */
#define BUILT_IN_TARGET "kubernetes"

static int no_memory(struct error *err)
{
    return error_set(err, -ENOMEM, "out of memory");
}

/* ---- text ---- */

static int load_documents(struct loader *l, struct bytes text)
{
    struct yamltree_document *documents = NULL;
    struct arena tree;
    int rc;

    arena_init(&tree, YAMLTREE_ARENA_MAX);
    rc = yamltree_parse(text, l->file, &tree, &documents, l->err);
    for (struct yamltree_document *d = documents; d && rc == 0; d = d->next) {
        struct place at = {.node = d->root, .loader = l};

        if (d->root && d->root->type != NODE_NULL)
            rc = object_load(&at);
    }
    arena_done(&tree);
    return rc;
}

static int load_text(struct policy_snapshot *s, struct bytes text, const char *file,
                     struct error *err)
{
    struct loader l = {.arena = &s->arena, .snapshot = s, .err = err};

    l.file = arena_strdup(&s->arena, file);
    return l.file ? load_documents(&l, text) : no_memory(err);
}

/* ---- what refers to what ---- */

static bool target_exists(const struct policy_snapshot *s, const char *ns, const char *name)
{
    if (strcmp(name, BUILT_IN_TARGET) == 0)
        return true;
    for (size_t i = 0; i < s->n_targets; i++) {
        const char *target_ns = s->targets[i]->namespace_;

        if (strcmp(s->targets[i]->name, name) == 0 &&
            (!ns || !target_ns || strcmp(ns, target_ns) == 0))
            return true;
    }
    return false;
}

static int unknown_target(const struct policy_snapshot *s, const struct policy *p,
                          const struct target_ref *r, struct error *err)
{
    struct suggestion near = suggestion_for(r->name);

    for (size_t i = 0; i < s->n_targets; i++) {
        if (target_exists(s, p->namespace_, s->targets[i]->name))
            suggestion_offer(&near, s->targets[i]->name);
    }
    return error_set(err, -EINVAL,
                     "%s:%u: spec.targets[%zu].name: there is no GuardTarget '%.64s'%s%.64s%s",
                     r->file, r->line, r->index, r->name, near.best ? " (did you mean " : "",
                     near.best ? near.best : "", near.best ? "?)" : "");
}

/* Filters of another protocol would never match: a policy that silently covers nothing. */
static int check_filters(const struct policy_snapshot *s, const struct policy *p,
                         const struct target_ref *r, struct error *err)
{
    const struct target *t = policy_target_by_name(s, p->namespace_, r->name);
    enum target_protocol protocol = t                                       ? t->protocol
                                    : strcmp(r->name, BUILT_IN_TARGET) == 0 ? TARGET_KUBERNETES
                                                                            : TARGET_UNKNOWN;

    if (protocol == TARGET_UNKNOWN)
        return 0;
    if (r->databases.n && protocol != TARGET_POSTGRES)
        return error_set(err, -EINVAL,
                         "%s:%u: spec.targets[%zu].databases: the target '%.64s' has "
                         "no databases",
                         r->file, r->line, r->index, r->name);
    if (r->namespaces.n && protocol != TARGET_KUBERNETES)
        return error_set(err, -EINVAL,
                         "%s:%u: spec.targets[%zu].namespaces: the target '%.64s' has "
                         "no namespaces",
                         r->file, r->line, r->index, r->name);
    if (r->role && protocol != TARGET_POSTGRES)
        return error_set(err, -EINVAL,
                         "%s:%u: spec.targets[%zu].credentials.role: the target '%.64s' is no "
                         "PostgreSQL server, and has no roles",
                         r->file, r->line, r->index, r->name);
    if ((r->user || r->role) &&
        ((protocol != TARGET_POSTGRES && protocol != TARGET_SSH) || (t && !t->credentials_secret)))
        return error_set(err, -EINVAL,
                         "%s:%u: spec.targets[%zu].credentials: the guard does not log in to the "
                         "target '%.64s' by itself (it is no PostgreSQL or SSH target with "
                         "credentials)",
                         r->file, r->line, r->index, r->name);
    return 0;
}

/* Cluster policies name targets of any namespace; a guard sees only those of its own. */
static int check_references(const struct policy_snapshot *s, const struct policy_missing *missing,
                            struct error *err)
{
    int rc = 0;

    for (size_t i = 0; i < s->n_policies && rc == 0; i++) {
        const struct policy *p = s->policies[i];
        const struct target_ref *refs = p->targets.items;

        for (size_t j = 0; j < p->targets.n && rc == 0; j++) {
            bool unknown = !p->cluster && !target_exists(s, p->namespace_, refs[j].name);

            if (unknown && missing)
                missing->tell(p->name, refs[j].index, refs[j].name, missing->arg);
            else if (unknown)
                rc = unknown_target(s, p, &refs[j], err);
            else
                rc = check_filters(s, p, &refs[j], err);
        }
    }
    return rc;
}

static int finish(struct policy_snapshot *s, const struct policy_missing *missing,
                  struct error *err)
{
    if (snapshot_finish(s) < 0)
        return no_memory(err);
    return check_references(s, missing, err);
}

int policy_load_text(struct bytes yaml, const char *file_name, struct policy_snapshot **ret,
                     struct error *err)
{
    return policy_load_incomplete(yaml, file_name, NULL, ret, err);
}

int policy_load_incomplete(struct bytes yaml, const char *file_name,
                           const struct policy_missing *missing, struct policy_snapshot **ret,
                           struct error *err)
{
    _cleanup_(policy_snapshot_unref) struct policy_snapshot *s = snapshot_new();
    int rc;

    if (!s)
        return no_memory(err);
    if ((rc = load_text(s, yaml, file_name, err)) || (rc = finish(s, missing, err)))
        return rc;
    *ret = take(&s);
    return 0;
}

/* ---- directories ---- */

/* One byte more than may be is read, so that a file which is too long is seen to be. */
static int load_open_file(struct policy_snapshot *s, int fd, const char *path, struct error *err)
{
    size_t max = YAMLTREE_MAX_BYTES + 1;
    struct stat st;
    uint8_t *p;
    ssize_t n;
    int rc;

    if (fstat(fd, &st) < 0)
        return error_set(err, -errno, "%s: %m", path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, -EINVAL, "%s: not a regular file", path);
    if ((uint64_t)st.st_size < max) /* it may grow while it is read: leave room */
        max = min_size(max, (size_t)st.st_size + 65536);
    p = malloc(max);
    if (!p)
        return no_memory(err);
    n = read_all(fd, p, max);
    rc = n < 0 ? error_set(err, (int)n, "%s: %s", path, strerror((int)-n))
               : load_text(s, bytes_of(p, (size_t)n), path, err);
    free(p);
    return rc;
}

static int load_file(struct policy_snapshot *s, int dir_fd, const char *dir, const char *name,
                     struct error *err)
{
    char path[4096 + 256];
    int fd, rc;

    snprintf(path, sizeof path, "%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", name);
    fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return error_set(err, -errno, "%s: %m", path);
    rc = load_open_file(s, fd, path, err);
    close(fd);
    return rc;
}

/* Hidden files are editors' and the kubelet's own. */
static int is_policy_file(const struct dirent *e)
{
    const char *dot = strrchr(e->d_name, '.');

    return e->d_name[0] != '.' && dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int load_files(struct policy_snapshot *s, int dir_fd, const char *dir, struct error *err)
{
    struct dirent **names = NULL;
    int n = scandirat(dir_fd, ".", &names, is_policy_file, by_name), rc = 0;

    if (n < 0)
        return error_set(err, -errno, "%s: %m", dir);
    if (n > MAX_FILES)
        rc = error_set(err, -E2BIG, "%s: more than %d files", dir, MAX_FILES);
    for (int i = 0; i < n; i++) {
        if (rc == 0)
            rc = load_file(s, dir_fd, dir, names[i]->d_name, err);
        free(names[i]);
    }
    free(names);
    return rc;
}

int policy_load_dir(const char *dir, struct policy_snapshot **ret, struct error *err)
{
    _cleanup_(policy_snapshot_unref) struct policy_snapshot *s = snapshot_new();
    int fd, rc;

    if (!s)
        return no_memory(err);
    fd = open(*dir ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, -errno, "%s: %m", dir);
    rc = load_files(s, fd, *dir ? dir : ".", err);
    close(fd);
    if (rc || (rc = finish(s, NULL, err)))
        return rc;
    *ret = take(&s);
    return 0;
}
