/* SPDX-License-Identifier: Apache-2.0
 * Directories of records.
 */
#include "recordset.h"

#include "object.h"
#include "place.h"
#include "sidecar/record/ledger.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>

void recordset_init(struct recordset *s)
{
    s->seen = json_object_new_object();
    s->ledgers = json_object_new_object();
}

void recordset_done(struct recordset *s)
{
    json_object_put(s->seen);
    json_object_put(s->ledgers);
}

static void remember(struct recordset *s, const char *value, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
static void remember(struct recordset *s, const char *value, const char *fmt, ...)
{
    char key[PATH_MAX + 128];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(key, sizeof key, fmt, ap);
    va_end(ap);
    json_object_object_add(s->seen, key, json_object_new_string(value));
}

static bool is_ledger(const char *session)
{
    return strncmp(session, LEDGER_PREFIX, sizeof LEDGER_PREFIX - 1) == 0;
}

void recordset_seal(struct recordset *s, const char *dir, const struct seal *seal)
{
    remember(s, seal->digest, "%s/%s.%06u", dir, seal->session, seal->segment);
}

void recordset_record(struct recordset *s, const char *dir, const struct record_check *c)
{
    struct json_object *list;

    remember(s, c->head, "%s/%s", dir, c->session);
    if (!json_object_object_get_ex(s->ledgers, dir, &list)) {
        list = json_object_new_array();
        json_object_object_add(s->ledgers, dir, list);
    }
    if (is_ledger(c->session))
        json_object_array_add(list, json_object_new_string(c->session));
}

/* ---- walking ---- */

static bool is_record(const char *name)
{
    char session[RECORD_SESSION_MAX + 1];
    size_t n = strlen(name);
    unsigned number;

    return segment_name_parse(name, session, &number) ||
           (n > 6 && strcmp(name + n - 6, ".jsonl") == 0) ||
           (n > 8 && strcmp(name + n - 8, ".damaged") == 0);
}

struct walk {
    struct recordset *set;
    recordset_fn *fn;
    void *arg;
};

static void visit(const char *path, uint64_t last_us, void *arg)
{
    char dir[PATH_MAX], session[RECORD_SESSION_MAX + 1], key[PATH_MAX + 128];
    struct walk *w = arg;

    w->set->last_us = last_us;
    if (!recordfile_segments(path, dir, session)) {
        w->fn(path, NULL, NULL, w->arg);
        return;
    }
    snprintf(key, sizeof key, "%s/%s", dir, session);
    if (json_object_object_get_ex(w->set->seen, key, NULL))
        return;
    remember(w->set, "", "%s", key);
    w->fn(key, dir, session, w->arg);
}

static void visit_if_record(const char *path, uint64_t last_us, void *arg)
{
    if (is_record(strrchr(path, '/') ? strrchr(path, '/') + 1 : path))
        visit(path, last_us, arg);
}

int recordset_walk(struct recordset *s, const char *path, recordset_fn *fn, void *arg,
                   struct error *err)
{
    struct walk w = {s, fn, arg};
    int folder = place_is_folder(path, err);

    if (folder > 0)
        return place_walk(path, visit_if_record, &w, err);
    if (folder == 0)
        visit(path, 0, &w);
    return folder;
}

/* ---- the ledgers ---- */

struct comparison {
    struct recordset *set;
    const char *dir, *ledger;
    recordset_complain_fn *fn;
    void *arg;
    size_t n;
};

static void complain(struct comparison *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void complain(struct comparison *c, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    c->n++;
    c->fn(text, c->arg);
}

static const char *lookup(struct comparison *c, const char *name, int64_t segment)
{
    char key[PATH_MAX + 128];
    struct json_object *v;

    if (segment < 0)
        snprintf(key, sizeof key, "%s/%s", c->dir, name);
    else
        snprintf(key, sizeof key, "%s/%s.%06lld", c->dir, name, (long long)segment);
    return json_object_object_get_ex(c->set->seen, key, &v) ? json_object_get_string(v) : NULL;
}

static void check_segment(struct comparison *c, struct json_object *line)
{
    const char *name = object_text(line, "name"), *digest = object_text(line, "digest"), *have;
    int64_t n = object_number(line, "segment", 0);

    if (!name || !digest)
        return;
    have = lookup(c, name, n);
    if (!have)
        complain(c, "%s/%s: MISSING segment %lld: %s says that the store had it", c->dir, name,
                 (long long)n, c->ledger);
    else if (strcmp(have, digest) != 0)
        complain(c, "%s/%s: segment %lld is not the one that %s speaks of", c->dir, name,
                 (long long)n, c->ledger);
}

static void check_session(struct comparison *c, struct json_object *line)
{
    const char *name = object_text(line, "name");

    if (name && !lookup(c, name, -1))
        complain(c, "%s/%s: MISSING: %s says that there was this session", c->dir, name, c->ledger);
}

static void check_previous(struct comparison *c, struct json_object *line)
{
    const char *name = object_text(line, "previous"), *head = object_text(line, "previousHead");
    const char *have = name ? lookup(c, name, -1) : NULL;

    if (name && !have)
        complain(c, "%s/%s: MISSING: %s says that there was this ledger", c->dir, name, c->ledger);
    else if (name && head && strcmp(have, head) != 0)
        complain(c, "%s/%s: its end is missing: %s knows another one", c->dir, name, c->ledger);
}

static const struct claim {
    const char *type;
    void (*check)(struct comparison *, struct json_object *);
} claims[] = {
    {LEDGER_SEGMENT, check_segment},
    {LEDGER_SESSION, check_session},
    {LEDGER_START, check_previous},
};

static void compare_ledger(struct comparison *c, const struct cli *cli)
{
    char path[PATH_MAX];
    struct json_object *line;
    struct recordfile f;
    struct bytes text;

    snprintf(path, sizeof path, "%.3900s/%s", c->dir, c->ledger);
    if (recordfile_open(cli, path, &f) == EXIT_DONE) {
        while (recordfile_next(&f, &text, &line)) {
            const char *type = object_text(line, "type");

            for (size_t i = 0; type && i < ARRAY_LEN(claims); i++)
                if (strcmp(type, claims[i].type) == 0)
                    claims[i].check(c, line);
            json_object_put(line);
        }
    }
    recordfile_close(&f);
}

void recordset_forget(struct recordset *s)
{
    recordset_done(s);
    recordset_init(s);
}

size_t recordset_compare(struct recordset *s, const struct cli *cli, recordset_complain_fn *fn,
                         void *arg)
{
    struct comparison c = {.set = s, .fn = fn, .arg = arg};

    json_object_object_foreach(s->ledgers, dir, list)
    {
        c.dir = dir;
        if (json_object_array_length(list) == 0)
            complain(&c, "%s: MISSING: no guard's ledger is here; it would say what else is", dir);
        for (size_t i = 0; i < json_object_array_length(list); i++) {
            c.ledger = json_object_get_string(json_object_array_get_idx(list, i));
            compare_ledger(&c, cli);
        }
    }
    return c.n;
}
