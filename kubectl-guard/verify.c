/* SPDX-License-Identifier: Apache-2.0
 * verify: are records whole, unchanged, signed, and all there?
 */
#include "anchors.h"
#include "commands.h"
#include "object.h"
#include "place.h"
#include "records.h"
#include "recordset.h"
#include "sidecar/record/ledger.h"
#include "text.h"

#include <json-c/json.h>
#include <stdio.h>
#include <unistd.h>

const struct option_spec verify_options[] = {
    {"key", 0, "FILE", "trust these public keys alone (PEM, or lines of 64 hex digits)", true},
    {"published-keys", 0, NULL, "trust those that lie beside the records (guard-….pub), too"},
    {"anchors", 0, ANCHORS_CLUSTER "|FILE",
     "compare with Events: `" ANCHORS_CLUSTER
     "` for those of the cluster (-n, -A), or FILE of what "
     "`kubectl get events -o json` says (- is standard input)"},
    {"strict", 0, NULL, "an unsealed record is a failure, too"},
    RECORDS_OPTIONS,
    {0},
};

struct verification {
    const struct cli *cli;
    struct recordset set;
    struct trusted_keys keys;
    struct json_object *list; /* NULL: text */
    char dir[PATH_MAX];       /* of the segments that are being read */
    bool whole;               /* folders are walked: what is missing shows */
    struct trusted_keys given;
    struct anchors *anchors; /* NULL: none were given */
    struct record_heads heads;
    bool ledger_named; /* in this folder: an Event names a line of a ledger, which names the rest */
    size_t unnamed;    /* records of this folder of which no Event names a line */
    size_t unanchored; /* the same of all folders without such a ledger */
    enum exit_code code;
};

static struct json_object *to_json(const char *path, const struct record_check *c,
                                   const char *error)
{
    struct json_object *o = json_object_new_object();

    json_object_object_add(o, "file", json_object_new_string(path));
    json_object_object_add(o, "verdict",
                           json_object_new_string(error ? "UNREADABLE" : recordfile_verdict(c)));
    if (error) {
        json_object_object_add(o, "error", json_object_new_string(error));
        return o;
    }
    json_object_object_add(o, "ok", json_object_new_boolean(c->ok));
    json_object_object_add(o, "sealed", json_object_new_boolean(c->sealed));
    json_object_object_add(o, "session", json_object_new_string(c->session));
    json_object_object_add(o, "first", json_object_new_uint64(c->first));
    json_object_object_add(o, "lines", json_object_new_uint64(c->lines));
    json_object_object_add(o, "statements", json_object_new_uint64(c->statements));
    json_object_object_add(o, "denied", json_object_new_uint64(c->denied));
    json_object_object_add(o, "approvals", json_object_new_uint64(c->approvals));
    json_object_object_add(o, "gaps", json_object_new_uint64(c->gaps));
    json_object_object_add(o, "segments", json_object_new_uint64(c->segments));
    json_object_object_add(o, "clockBack", json_object_new_uint64(c->clock_back));
    json_object_object_add(o, "head", json_object_new_string(c->head));
    if (c->key[0])
        json_object_object_add(o, "key", json_object_new_string(c->key));
    if (!c->ok) {
        json_object_object_add(o, "badSeq", json_object_new_uint64(c->bad_seq));
        json_object_object_add(o, "reason", json_object_new_string(c->reason));
    }
    return o;
}

static void describe(const struct verification *v, const struct record_check *c, struct buffer *b)
{
    buffer_printf(b, ": %s %llu lines, %llu statements, %llu denied", recordfile_verdict(c),
                  (unsigned long long)c->lines, (unsigned long long)c->statements,
                  (unsigned long long)c->denied);
    if (c->first)
        buffer_printf(b, ", from line %llu on", (unsigned long long)c->first);
    if (c->gaps)
        buffer_printf(b, ", %llu gap%s", (unsigned long long)c->gaps, c->gaps > 1 ? "s" : "");
    if (c->clock_back)
        buffer_printf(b, ", the clock went back %llu times", (unsigned long long)c->clock_back);
    if (c->segments)
        buffer_printf(b, ", %llu segments signed by %s%s", (unsigned long long)c->segments, c->key,
                      v->keys.n ? "" : " (which key to trust is for --key to say)");
    if (c->head[0])
        buffer_printf(b, ", head %s", c->head);
}

static void print_text(const struct verification *v, const char *path, const struct record_check *c)
{
    struct buffer b;

    buffer_init(&b, (size_t)1 << 20);
    text_clean(bytes_str(path), TEXT_LINE, &b);
    if (c->ok)
        describe(v, c, &b);
    else
        buffer_printf(&b, ": TAMPERED at seq %llu: %s", (unsigned long long)c->bad_seq, c->reason);
    printf("%.*s\n", (int)buffer_len(&b), (const char *)b.p);
    buffer_done(&b);
}

static void on_seal(const struct seal *seal, void *arg)
{
    struct verification *v = arg;

    recordset_seal(&v->set, v->dir, seal);
}

/* What no segment signs is not what somebody who names keys asked for. */
static void ask_for_signature(const struct verification *v, struct record_check *c)
{
    bool ask = v->keys.n || cli_option(v->cli, "published-keys");

    if (!ask || c->segments || !c->ok)
        return;
    c->ok = c->sealed = false;
    snprintf(c->reason, sizeof c->reason, "it is not signed");
}

/* ---- folder by folder ---- */

static void complain(const char *text, void *arg);

static void take_key(const char *name, void *arg)
{
    struct verification *v = arg;
    size_t n = strlen(name);
    char path[PATH_MAX], open[32];
    struct error err = {0};
    int fd;

    if (n < 4 || strcmp(name + n - 4, ".pub") != 0)
        return;
    snprintf(path, sizeof path, "%.3900s/%s", v->dir, name);
    fd = place_open(path, &err);
    snprintf(open, sizeof open, "/proc/self/fd/%d", fd);
    if (fd < 0 || trusted_keys_load(open, &v->keys, &err) != 0) {
        cli_fail(EXIT_NO, "%s: %s", path, err.text);
        v->code = EXIT_NO;
    }
    if (fd >= 0)
        close(fd);
}

/* A ledger speaks of its own folder alone: with the folder ends what has to be kept in mind. */
static void leave_folder(struct verification *v)
{
    if (v->whole)
        recordset_compare(&v->set, v->cli, complain, v);
    if (v->whole && v->anchors && v->dir[0])
        anchors_missing(v->anchors, v->dir, complain, v);
    if (!v->ledger_named)
        v->unanchored += v->unnamed;
    v->unnamed = 0;
    v->ledger_named = false;
    recordset_forget(&v->set);
    v->dir[0] = '\0';
}

static void enter_folder(struct verification *v, const char *dir)
{
    struct error err = {0};

    if (strcmp(v->dir, dir) == 0)
        return;
    leave_folder(v);
    snprintf(v->dir, sizeof v->dir, "%s", dir);
    v->keys = v->given;
    if (cli_option(v->cli, "published-keys") &&
        place_list(dir, LEDGER_PREFIX, take_key, v, &err) != 0)
        v->code = cli_fail(EXIT_UNREACHABLE, "%s", err.text);
    /* Where nobody publishes a key, nobody's is good: one that is empty is no one's. */
    if (cli_option(v->cli, "published-keys") && v->keys.n == 0)
        v->keys.n = 1;
}

static int check_file(const struct verification *v, const char *path, struct record_check *ret,
                      struct error *err)
{
    int fd = place_open(path, err), rc;

    if (fd < 0)
        return fd;
    rc = record_verify_against(fd, path, v->anchors ? &v->heads : NULL, ret, err);
    close(fd);
    return rc;
}

static void check_anchors(struct verification *v, struct record_check *c)
{
    if (!anchors_check_end(v->anchors, c))
        v->unnamed++;
    else if (strncmp(c->session, LEDGER_PREFIX, sizeof LEDGER_PREFIX - 1) == 0)
        v->ledger_named = true;
}

static void verify_one(const char *path, const char *dir, const char *session, void *arg)
{
    struct verification *v = arg;
    const struct segments_reader how = {.keys = &v->keys,
                                        .on_seal = on_seal,
                                        .seal_arg = v,
                                        .place = &place_segments,
                                        .heads = v->anchors ? &v->heads : NULL};
    struct record_check c;
    struct error err = {0};
    int r;

    if (dir)
        enter_folder(v, dir);
    r = dir ? segments_read(dir, session, &how, &c, &err) : check_file(v, path, &c, &err);
    if (r == 0)
        ask_for_signature(v, &c);
    if (r == 0 && v->anchors)
        check_anchors(v, &c);
    if (v->list)
        json_object_array_add(v->list, to_json(path, &c, r == 0 ? NULL : err.text));
    if (r != 0) {
        cli_fail(EXIT_UNREACHABLE, "%s", err.text);
        v->code = v->code == EXIT_NO ? v->code : EXIT_UNREACHABLE;
        return;
    }
    if (!v->list)
        print_text(v, path, &c);
    if (dir)
        recordset_record(&v->set, dir, &c);
    if (c.ok && !c.sealed)
        cli_fail(EXIT_DONE, "warning: %s is unsealed: its end may be missing", path);
    if (!c.ok || (cli_option(v->cli, "strict") && !c.sealed))
        v->code = EXIT_NO;
}

static void complain(const char *text, void *arg)
{
    struct verification *v = arg;
    struct json_object *o;
    struct buffer b;

    v->code = EXIT_NO;
    if (v->list) {
        o = json_object_new_object();
        json_object_object_add(o, "verdict", json_object_new_string("MISSING"));
        json_object_object_add(o, "reason", json_object_new_string(text));
        json_object_array_add(v->list, o);
        return;
    }
    buffer_init(&b, (size_t)1 << 16);
    text_clean(bytes_str(text), TEXT_LINE, &b);
    printf("%.*s\n", (int)buffer_len(&b), (const char *)b.p);
    buffer_done(&b);
}

static enum exit_code load_keys(struct verification *v)
{
    struct error err = {0};

    for (size_t i = 0; i < v->cli->n_options; i++)
        if (strcmp(v->cli->options[i].name, "key") == 0 &&
            trusted_keys_load(v->cli->options[i].value, &v->given, &err) != 0)
            return cli_fail(EXIT_UNREACHABLE, "%s", err.text);
    return EXIT_DONE;
}

static enum exit_code no_anchors(const struct cli *cli, const char *path)
{
    bool all = cli_option(cli, "all-namespaces");

    if (!anchors_of_cluster(cli))
        return cli_fail(EXIT_UNREACHABLE, "%s: no guard's Event in it names a record's head", path);
    return cli_fail(EXIT_UNREACHABLE,
                    "no guard's Event in the %s names a record's head. The API server forgets "
                    "Events, after an hour unless its --event-ttl says otherwise: keep them "
                    "(kubectl get events -o json), and name that file with --anchors%s",
                    all ? "cluster" : "namespace", all ? "" : ". Another namespace: -n, or -A");
}

/* The keys in Events are those to trust when nobody names others. What keeps us from comparing is
 * never a "no": that would mean that a record was tampered with. */
static enum exit_code load_anchors(struct verification *v)
{
    const char *path = cli_option(v->cli, "anchors");
    struct error err = {0};

    if (!path)
        return EXIT_DONE;
    if (anchors_of_cluster(v->cli)) {
        if (anchors_fetch(v->cli, &v->anchors) != EXIT_DONE)
            return EXIT_UNREACHABLE;
    } else if (anchors_load(path, &v->anchors, &err) != 0) {
        return cli_fail(EXIT_UNREACHABLE, "%s", err.text);
    }
    if (anchors_count(v->anchors) == 0)
        return no_anchors(v->cli, path);
    v->heads = anchors_heads(v->anchors);
    if (v->given.n == 0)
        v->given = *anchors_keys(v->anchors);
    return EXIT_DONE;
}

static void verify_path(struct verification *v, const char *path)
{
    struct error err = {0};

    int folder = place_is_folder(path, &err);

    v->whole = folder > 0;
    if (folder < 0 || recordset_walk(&v->set, path, verify_one, v, &err) != 0)
        v->code = cli_fail(EXIT_UNREACHABLE, "%s", err.text);
    if (v->whole && v->anchors &&
        !v->dir[0]) /* plain records alone: no ledger says what there was */
        anchors_missing(v->anchors, path, complain, v);
    leave_folder(v);
}

enum exit_code cmd_verify(const struct cli *cli)
{
    struct verification v = {.cli = cli, .code = EXIT_DONE};
    const char *from = records_from(cli);
    struct error err = {0};

    if (!from && cli->n_args == 0)
        return cli_usage(cli, "which records? RECORD..., or --from s3://BUCKET/PREFIX");
    if (load_keys(&v) != EXIT_DONE || load_anchors(&v) != EXIT_DONE) {
        anchors_free(v.anchors);
        return EXIT_UNREACHABLE;
    }
    v.keys = v.given;
    recordset_init(&v.set);
    if (cli->output >= OUTPUT_JSON)
        v.list = json_object_new_array();
    for (size_t i = 0; i < cli->n_args; i++) {
        char *path = records_find(cli, cli->args[i], &err);

        if (path)
            verify_path(&v, path);
        else
            v.code = cli_fail(EXIT_UNREACHABLE, "%s", err.text);
        free(path);
    }
    if (cli->n_args == 0)
        verify_path(&v, from);
    if (v.list)
        object_print(cli, v.list);
    json_object_put(v.list);
    if (v.unanchored)
        cli_fail(
            EXIT_DONE,
            "warning: %zu records could not be compared: no Event names a line of them. Events "
            "expire; these may have",
            v.unanchored);
    recordset_done(&v.set);
    anchors_free(v.anchors);
    return v.code;
}
