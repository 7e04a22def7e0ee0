/* SPDX-License-Identifier: Apache-2.0
 * Finds records.
 */
#include "records.h"

#include "place.h"
#include "recordset.h"
#include "sidecar/record/ledger.h"

#include <json-c/json.h>
#include <stdio.h>
#include <unistd.h>

const char *records_from(const struct cli *cli)
{
    const char *from = cli_option(cli, "from");

    return from ? from : cli_option(cli, "spool");
}

struct search {
    const char *session;
    char found[PATH_MAX]; /* the first */
    char other[PATH_MAX]; /* another one of that name */
};

/* FOLDER/SESSION of a segment, or the file itself. */
static bool session_of(const char *path, const char *wanted, char *to, size_t size)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char session[RECORD_SESSION_MAX + 1];
    size_t n = strlen(wanted);
    unsigned number;

    if (segment_name_parse(name, session, &number)) {
        if (strcmp(session, wanted) != 0)
            return false;
        snprintf(to, size, "%.*s%s", (int)(name - path), path, session);
        return true;
    }
    if (strncmp(name, wanted, n) != 0 ||
        (strcmp(name + n, ".jsonl") != 0 && strcmp(name + n, ".damaged") != 0))
        return false;
    snprintf(to, size, "%s", path);
    return true;
}

static void look(const char *path, uint64_t last_us, void *arg)
{
    struct search *s = arg;
    char one[PATH_MAX];

    (void)last_us;
    if (!session_of(path, s->session, one, sizeof one))
        return;
    if (!s->found[0])
        strcpy(s->found, one);
    else if (strcmp(s->found, one) != 0)
        strcpy(s->other, one);
}

static char *search(const char *from, const char *name, struct error *err)
{
    char session[RECORD_SESSION_MAX + 1];
    struct search s = {.session = name};
    char *path = NULL;
    unsigned n;

    if (segment_name_parse(name, session, &n))
        s.session = session;
    if (place_walk(from, look, &s, err) != 0)
        return NULL;
    if (!s.found[0])
        error_set(err, -1, "no record of a session %s is below %s", name, from);
    else if (s.other[0])
        error_set(err, -1, "there are two of that name: %s and %s", s.found, s.other);
    else if (!(path = strdup(s.found)))
        error_set(err, -1, "out of memory");
    return path;
}

char *records_find(const struct cli *cli, const char *name, struct error *err)
{
    const char *from = records_from(cli), *suffix = strstr(name, ".jsonl") ? "" : ".jsonl";
    char path[PATH_MAX];

    if (!from || bucket_is(name) || (!bucket_is(from) && strchr(name, '/')) ||
        (!bucket_is(from) && access(name, F_OK) == 0))
        return strdup(name);
    if (strchr(name, '/')) {
        snprintf(path, sizeof path, "%.2000s%s%.2000s", from,
                 from[strlen(from) - 1] == '/' ? "" : "/", name);
        return strdup(path);
    }
    snprintf(path, sizeof path, "%.2000s/%.2000s%s", from, name, suffix);
    if (!bucket_is(from) && place_has(path))
        return strdup(path);
    return search(from, name, err);
}

/* ---- all of them ---- */

struct each {
    const struct cli *cli;
    const struct filter *filter;
    records_fn *fn;
    void *arg;
    struct recordset set;
    enum exit_code code;
};

static void add_code(struct each *e, enum exit_code code)
{
    e->code = code > e->code ? code : e->code;
}

/* False: it does not match. */
static bool take_record(struct each *e, const char *path)
{
    struct json_object *about = NULL;
    struct recordfile f;
    enum exit_code code = recordfile_open(e->cli, path, &f);

    if (code == EXIT_DONE) {
        about = filter_apply(e->filter, &f);
        code = about ? e->fn(&f, about, e->arg) : EXIT_DONE;
    }
    add_code(e, code);
    recordfile_close(&f);
    json_object_put(about);
    return about != NULL || code != EXIT_DONE;
}

static void take_if_session(const char *path, const char *dir, const char *session, void *arg)
{
    const char *slash = strrchr(path, '/'), *name = session ? session : slash ? slash + 1 : path;
    struct each *e = arg;

    if (strncmp(name, LEDGER_PREFIX, sizeof LEDGER_PREFIX - 1) != 0 &&
        filter_may(e->filter, dir, session, e->set.last_us))
        (void)take_record(e, path);
}

enum exit_code records_each(const struct cli *cli, const struct filter *filter, records_fn *fn,
                            void *arg)
{
    struct each e = {.cli = cli, .filter = filter, .fn = fn, .arg = arg, .code = EXIT_DONE};
    struct error err = {0};

    for (size_t i = 0; i < cli->n_args; i++)
        if (!take_record(&e, cli->args[i]))
            add_code(&e, cli_fail(EXIT_NO, "%s: nothing in it matches", cli->args[i]));
    if (cli->n_args)
        return e.code;
    recordset_init(&e.set);
    if (recordset_walk(&e.set, records_from(cli), take_if_session, &e, &err) != 0)
        add_code(&e, cli_fail(EXIT_UNREACHABLE, "%s", err.text));
    recordset_done(&e.set);
    return e.code;
}
