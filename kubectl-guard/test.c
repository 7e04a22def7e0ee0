/* SPDX-License-Identifier: Apache-2.0
 * test: cases that say what policies have to say.
 */
#include "clusterpolicies.h"
#include "commands.h"
#include "judge.h"
#include "object.h"
#include "table.h"

#include "sidecar/policy/yaml.h"

#include <errno.h>
#include <json-c/json.h>

#define FILE_MAX   YAMLTREE_MAX_BYTES
#define MAX_LABELS 64
#define MAX_WORDS  64

const struct option_spec test_options[] = {
    {"policies", 0, "DIR", "use these policies instead of the file's"},
    {"from-cluster", 0, NULL, "use the cluster's policies instead of the file's"},
    {0},
};

struct suite { /* one file */
    const char *file;
    struct arena arena;
    struct policy_snapshot *policies;
    struct json_object *results; /* one object a case */
    bool failed;
    enum exit_code code; /* EXIT_DONE unless it was said on stderr already */
};

struct test_case {
    struct judge_question q;
    const char *name, *expect, *rule;
    const char *labels[2 * MAX_LABELS + 1], *claims[2 * MAX_LABELS + 1];
    const char *groups[MAX_WORDS + 1], *path[MAX_WORDS + 1];
};

/* ---- reading ---- */

static int wrong(const struct suite *s, const struct node *n, struct error *err, const char *what)
{
    return error_set(err, -EINVAL, "%s:%u: %s", s->file, n->line, what);
}

static int need_string(const struct suite *s, const struct node *n, const char **ret,
                       struct error *err)
{
    if (n->type != NODE_STRING)
        return wrong(s, n, err, "this has to be a string");
    *ret = n->text;
    return 0;
}

static int read_words(const struct suite *s, const struct node *n,
                      const char *ret[static MAX_WORDS + 1], struct error *err)
{
    size_t count = 0;

    if (n->type != NODE_LIST || n->n > MAX_WORDS)
        return wrong(s, n, err, "this has to be a list of at most 64 strings");
    for (const struct node_item *i = n->items; i; i = i->next) {
        int r = need_string(s, i->value, &ret[count++], err);

        if (r != 0)
            return r;
    }
    return 0;
}

static int read_labels(const struct suite *s, const struct node *n, struct test_case *c,
                       struct error *err)
{
    size_t count = 0;

    if (n->type != NODE_MAP || n->n > MAX_LABELS)
        return wrong(s, n, err, "labels are a map of at most 64 strings");
    for (const struct node_item *i = n->items; i; i = i->next) {
        int r = need_string(s, i->value, &c->labels[count + 1], err);

        if (r != 0)
            return r;
        c->labels[count] = i->key->text;
        count += 2;
    }
    return 0;
}

/* Leaves room for the name before each. */
static int claim_values(const struct suite *s, const struct node *n, const char ***at,
                        const char *const *end, struct error *err)
{
    const struct node_item one = {.value = n};
    int r = 0;

    for (const struct node_item *i = n->type == NODE_LIST ? n->items : &one; i && r == 0;
         i = i->next) {
        if (*at == end)
            return wrong(s, n, err, "claims have at most 64 values");
        r = need_string(s, i->value, *at + 1, err);
        *at += 2;
    }
    return r;
}

/* A claim is a text, or a list of them; as tokens have them: each value with its name. */
static int read_claims(const struct suite *s, const struct node *n, struct test_case *c,
                       struct error *err)
{
    const char **at = c->claims, *const *end = c->claims + 2 * MAX_LABELS;
    int r = n->type == NODE_MAP ? 0 : wrong(s, n, err, "claims are a map");

    for (const struct node_item *i = r == 0 ? n->items : NULL; i && r == 0; i = i->next) {
        const char **first = at;

        r = claim_values(s, i->value, &at, end, err);
        for (; r == 0 && first < at; first += 2)
            first[0] = i->key->text;
    }
    c->q.agent.claims = c->claims;
    return r;
}

static int read_agent(const struct suite *s, const struct node *n, struct test_case *c,
                      struct error *err)
{
    struct agent *a = &c->q.agent;
    int r = n->type == NODE_MAP ? 0 : wrong(s, n, err, "agent is a map");

    for (const struct node_item *i = r == 0 ? n->items : NULL; i && r == 0; i = i->next) {
        const char *key = i->key->text;

        if (strcmp(key, "namespace") == 0)
            r = need_string(s, i->value, &a->namespace_, err);
        else if (strcmp(key, "pod") == 0)
            r = need_string(s, i->value, &a->pod, err);
        else if (strcmp(key, "serviceAccount") == 0)
            r = need_string(s, i->value, &a->service_account, err);
        else if (strcmp(key, "labels") == 0)
            r = read_labels(s, i->value, c, err);
        else if (strcmp(key, "claims") == 0)
            r = read_claims(s, i->value, c, err);
        else if (strcmp(key, "groups") == 0 && (r = read_words(s, i->value, c->groups, err)) == 0)
            a->groups = c->groups;
        else if (r == 0 && strcmp(key, "groups") != 0)
            r = wrong(s, i->key, err,
                      "agent has namespace, pod, serviceAccount, labels, groups and claims");
    }
    return r;
}

static int read_field(const struct suite *s, const struct node_item *i, struct test_case *c,
                      struct error *err)
{
    const struct {
        const char *key, **place;
    } strings[] = {{"name", &c->name},
                   {"target", &c->q.target},
                   {"database", &c->q.database},
                   {"expect", &c->expect},
                   {"rule", &c->rule}};
    const char *key = i->key->text, *sql = NULL;
    int r;

    for (size_t k = 0; k < ARRAY_LEN(strings); k++)
        if (strcmp(key, strings[k].key) == 0)
            return need_string(s, i->value, strings[k].place, err);
    if (strcmp(key, "sql") == 0) {
        r = need_string(s, i->value, &sql, err);
        c->q.sql = r == 0 ? bytes_str(sql) : (struct bytes){0};
        return r;
    }
    if (strcmp(key, "searchPath") == 0)
        return read_words(s, i->value, c->path, err);
    if (strcmp(key, "agent") == 0)
        return read_agent(s, i->value, c, err);
    return wrong(s, i->key, err,
                 "a case has name, sql, target, database, searchPath, agent, expect and rule");
}

static bool known_verdict(const char *v)
{
    return v &&
           (strcmp(v, "Allow") == 0 || strcmp(v, "Deny") == 0 || strcmp(v, "RequireApproval") == 0);
}

static int read_case(const struct suite *s, const struct node *n, struct test_case *c,
                     struct error *err)
{
    memset(c, 0, sizeof *c);
    c->q.policies = s->policies;
    c->q.agent = (struct agent){.namespace_ = judge_default_namespace(s->policies),
                                .pod = "test",
                                .service_account = "default",
                                .labels = c->labels};
    c->q.search_path = c->path;
    if (n->type != NODE_MAP)
        return wrong(s, n, err, "a case is a map");
    for (const struct node_item *i = n->items; i; i = i->next) {
        int r = read_field(s, i, c, err);

        if (r != 0)
            return r;
    }
    if (!c->q.sql.p)
        return wrong(s, n, err, "the case has no sql");
    if (!known_verdict(c->expect))
        return wrong(s, n, err, "the case's expect has to be Allow, Deny or RequireApproval");
    return 0;
}

/* ---- running ---- */

static void add_text(struct json_object *o, const char *key, const char *text)
{
    json_object_object_add(o, key, text ? json_object_new_string(text) : NULL);
}

static int run_case(struct suite *s, const struct node *n, struct error *err)
{
    struct json_object *o = json_object_new_object();
    struct judgement j = {0};
    struct test_case c;
    const char *verdict = "Deny";
    bool pass = false;
    int r = read_case(s, n, &c, err);

    if (r == 0 && (r = judge_sql(&c.q, &j, err)) == -ENOENT)
        error_prefix(err, r, "%s:%u", s->file, n->line);
    if (r == 0) {
        verdict = judge_verdict_name(j.whole.verdict);
        pass = strcmp(verdict, c.expect) == 0 &&
               (!c.rule || (j.whole.rule && strcmp(c.rule, j.whole.rule) == 0));
        add_text(o, "file", s->file);
        json_object_object_add(o, "line", json_object_new_int64(n->line));
        add_text(o, "name", c.name ? c.name : (const char *)c.q.sql.p);
        add_text(o, "result", pass ? "PASS" : "FAIL");
        add_text(o, "expect", c.expect);
        add_text(o, "expectRule", c.rule);
        add_text(o, "verdict", verdict);
        add_text(o, "rule", j.whole.rule);
        add_text(o, "reason", j.whole.reason);
        json_object_array_add(s->results, o);
        s->failed = s->failed || !pass;
    } else {
        json_object_put(o);
    }
    judge_done(&j);
    return r;
}

static const struct node *entry(const struct node *map, const char *key)
{
    for (const struct node_item *i = map->type == NODE_MAP ? map->items : NULL; i; i = i->next)
        if (strcmp(i->key->text, key) == 0)
            return i->value;
    return NULL;
}

/* The directory that the file names, from where the file is. */
static int load_policies(struct suite *s, const struct cli *cli, const struct node *root,
                         struct error *err)
{
    const struct node *named = entry(root, "policies");
    const char *dir = cli_option(cli, "policies"), *slash = strrchr(s->file, '/');

    if (cli_option(cli, "from-cluster")) {
        s->code = clusterpolicies_load(cli, &s->policies);
        return s->code == EXIT_DONE ? 0 : -EHOSTUNREACH;
    }
    if (!dir && (!named || named->type != NODE_STRING))
        return wrong(s, root, err,
                     "the file has no policies: DIR (--policies DIR and --from-cluster "
                     "name others)");
    if (!dir && named->text[0] != '/' && slash)
        dir = arena_printf(&s->arena, "%.*s/%s", (int)(slash - s->file), s->file, named->text);
    else if (!dir)
        dir = named->text;
    return dir ? policy_load_dir(dir, &s->policies, err) : -ENOMEM;
}

static int run_document(struct suite *s, const struct cli *cli, const struct node *root,
                        struct error *err)
{
    const struct node *cases = entry(root, "cases");
    int r;

    for (const struct node_item *i = root->type == NODE_MAP ? root->items : NULL; i; i = i->next)
        if (strcmp(i->key->text, "cases") != 0 && strcmp(i->key->text, "policies") != 0)
            return wrong(s, i->key, err, "the file has policies and cases, nothing else");
    if (!cases || cases->type != NODE_LIST || cases->n == 0)
        return wrong(s, root, err, "the file has no cases: [...]");
    r = load_policies(s, cli, root, err);
    for (const struct node_item *i = cases->items; i && r == 0; i = i->next)
        r = run_case(s, i->value, err);
    return r;
}

static int read_file(const char *path, struct buffer *b, struct error *err)
{
    FILE *f = fopen(path, "re");
    size_t n = 1;

    if (!f)
        return error_set(err, -errno, "cannot read %s: %m", path);
    while (n > 0) {
        uint8_t *to = buffer_reserve(b, 4096);

        n = to ? fread(to, 1, 4096, f) : 0;
        buffer_commit(b, n);
    }
    if (ferror(f) || b->failed) {
        fclose(f);
        return error_set(err, -EIO, "cannot read %s: it is no file of text, or too long", path);
    }
    fclose(f);
    return 0;
}

static int run_file(struct suite *s, const struct cli *cli, struct error *err)
{
    struct yamltree_document *d = NULL;
    struct buffer text;
    int r;

    buffer_init(&text, FILE_MAX + 4096);
    arena_init(&s->arena, YAMLTREE_ARENA_MAX);
    r = read_file(s->file, &text, err);
    if (r == 0)
        r = yamltree_parse(buffer_bytes(&text), s->file, &s->arena, &d, err);
    if (r == 0 && (!d || d->next))
        r = error_set(err, -EINVAL, "%s: a test file is one YAML document", s->file);
    if (r == 0)
        r = run_document(s, cli, d->root, err);
    policy_snapshot_unref(s->policies);
    s->policies = NULL;
    arena_done(&s->arena);
    buffer_done(&text);
    return r;
}

/* ---- showing ---- */

static void print_table(struct json_object *answer)
{
    static const char *const headers[] = {"RESULT", "CASE",   "EXPECTED", "VERDICT",
                                          "RULE",   "REASON", NULL};
    struct table t;

    table_init(&t, headers);
    for (size_t i = 0; i < object_count(answer, "cases"); i++) {
        struct json_object *c = object_at(answer, "cases", i);
        const char *rule = object_text(c, "expectRule");

        table_cell(&t, object_text(c, "result"));
        table_cell_cut(&t, object_text(c, "name"), 50);
        table_cellf(&t, "%s%s%s", object_text(c, "expect"), rule ? " by " : "", rule ? rule : "");
        table_cell(&t, object_text(c, "verdict"));
        table_cell(&t, object_text(c, "rule"));
        table_cell_cut(&t, object_text(c, "reason"), 80);
    }
    table_print(&t, stdout);
    table_done(&t);
}

enum exit_code cmd_test(const struct cli *cli)
{
    struct suite s = {.results = json_object_new_array()};
    struct json_object *answer = json_object_new_object();
    enum exit_code code = EXIT_DONE;

    if (cli_option(cli, "from-cluster") && (cli_option(cli, "policies") || !cli->cluster))
        code = cli_usage(cli, cli->cluster ? "--from-cluster and --policies exclude each other"
                                           : "--from-cluster asks the cluster, and a socket is "
                                             "named");

    json_object_object_add(answer, "cases", s.results);
    for (size_t i = 0; i < cli->n_args && code == EXIT_DONE; i++) {
        struct error err = {0};

        s.file = cli->args[i];
        if (run_file(&s, cli, &err) != 0)
            code = s.code ? s.code : cli_fail(EXIT_USAGE, "%s", err.text);
    }
    if (cli->output >= OUTPUT_JSON)
        object_print(cli, answer);
    else if (object_count(answer, "cases"))
        print_table(answer);
    json_object_put(answer);
    return code == EXIT_DONE && s.failed ? EXIT_NO : code;
}
