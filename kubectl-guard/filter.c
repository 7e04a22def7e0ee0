/* SPDX-License-Identifier: Apache-2.0
 * Chooses sessions and statements.
 */
#include "filter.h"

#include "bucket.h"
#include "object.h"
#include "src-common/clock.h"

#include <fnmatch.h>
#include <json-c/json.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

#define SLACK_US   (3600ull * 1000000) /* a store's clock may differ from a guard's by this */
#define HEAD_LINES 16                  /* how far in the opening and the login are looked for */

/* ---- options ---- */

static bool read_ago(const char *text, uint64_t *ret)
{
    static const struct {
        char unit;
        uint64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}, {'y', 31536000}};
    char *end = NULL;
    unsigned long n = text[0] >= '0' && text[0] <= '9' ? strtoul(text, &end, 10) : 0;

    for (size_t i = 0; end && end[0] && !end[1] && i < ARRAY_LEN(units); i++)
        if (units[i].unit == end[0] && n < (uint64_t)100 * 31536000 / units[i].seconds) {
            *ret = clock_wall_us() - n * units[i].seconds * 1000000;
            return true;
        }
    return false;
}

static bool read_date(const char *text, uint64_t *ret)
{
    static const char *const forms[] = {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S",
                                        "%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M", "%Y-%m-%d"};

    *ret = object_time_us(text);
    for (size_t i = 0; *ret == 0 && i < ARRAY_LEN(forms); i++) {
        struct tm tm = {0};
        const char *end = strptime(text, forms[i], &tm);

        if (end && *end == '\0')
            *ret = (uint64_t)timegm(&tm) * 1000000;
    }
    return *ret != 0;
}

static enum exit_code read_time(const struct cli *cli, const char *option, uint64_t *ret)
{
    const char *text = cli_option(cli, option);

    if (!text || read_ago(text, ret) || read_date(text, ret))
        return EXIT_DONE;
    return cli_usage(cli, "--%s takes 90m, 2h or 30d (ago), 2026-11-24 or 2026-11-24T17:00:00Z",
                     option);
}

enum exit_code filter_read(const struct cli *cli, struct filter *ret)
{
    static const char *const verdicts[] = {"Allow", "Deny", "RequireApproval"};
    bool known = false;

    *ret = (struct filter){.namespace_ = cli_option(cli, "namespace"),
                           .pod = cli_option(cli, "pod"),
                           .identity = cli_option(cli, "identity"),
                           .target = cli_option(cli, "target"),
                           .rule = cli_option(cli, "rule"),
                           .verdict = cli_option(cli, "verdict"),
                           .text = cli_option(cli, "text")};
    for (size_t i = 0; ret->verdict && i < ARRAY_LEN(verdicts); i++)
        if (strcasecmp(ret->verdict, verdicts[i]) == 0) {
            ret->verdict = verdicts[i];
            known = true;
        }
    if (ret->verdict && !known)
        return cli_usage(cli, "--verdict takes Allow, Deny or RequireApproval");
    if (read_time(cli, "since", &ret->since_us) != EXIT_DONE ||
        read_time(cli, "until", &ret->until_us) != EXIT_DONE)
        return EXIT_USAGE;
    if (ret->since_us && ret->until_us && ret->since_us >= ret->until_us)
        return cli_usage(cli, "--since is not before --until: nothing is between them");
    return EXIT_DONE;
}

static bool about_statements(const struct filter *f)
{
    return f->rule || f->verdict || f->text || f->since_us || f->until_us;
}

bool filter_any(const struct filter *f)
{
    return about_statements(f) || f->namespace_ || f->pod || f->identity || f->target;
}

/* ---- sessions ---- */

static bool like(const char *pattern, const char *text)
{
    return !pattern || (text && fnmatch(pattern, text, 0) == 0);
}

/* The time in a ULID, or 0. */
static uint64_t ulid_us(const char *s)
{
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    uint64_t ms = 0;

    if (strlen(s) != 26)
        return 0;
    for (int i = 0; i < 10; i++) {
        const char *d = strchr(digits, s[i]);

        if (!d)
            return 0;
        ms = ms << 5 | (uint64_t)(d - digits);
    }
    return ms < (uint64_t)1 << 48 ? ms * 1000 : 0;
}

bool filter_may(const struct filter *f, const char *dir, const char *session, uint64_t last_us)
{
    const char *pod = dir ? strrchr(dir, '/') : NULL, *ns = pod;
    char name[256];

    if (f->until_us && session && ulid_us(session) > f->until_us)
        return false;
    if (f->since_us && last_us && last_us + SLACK_US < f->since_us)
        return false;
    if (!pod || !bucket_is(dir)) /* a directory may be named otherwise */
        return true;
    while (ns > dir && ns[-1] != '/')
        ns--;
    snprintf(name, sizeof name, "%.*s", (int)(pod - ns), ns);
    return like(f->pod, pod + 1) && like(f->namespace_, name);
}

static bool session_matches(const struct filter *f, struct json_object *o)
{
    uint64_t started = object_time_us(object_text(o, "started"));
    uint64_t ended = object_time_us(object_text(o, "ended"));

    return (!f->since_us || ended >= f->since_us) && (!f->until_us || started <= f->until_us) &&
           like(f->namespace_, object_text(o, "namespace")) &&
           like(f->pod, object_text(o, "pod")) && like(f->target, object_text(o, "target")) &&
           (like(f->identity, object_text(o, "identity")) ||
            like(f->identity, object_text(o, "user")));
}

static void copy_field(struct json_object *to, struct json_object *from, const char *key)
{
    const char *text = object_text(from, key);

    if (text)
        json_object_object_add(to, key, json_object_new_string(text));
}

static void describe_line(struct json_object *o, struct json_object *line)
{
    const char *type = object_text(line, "type");

    if (type && strcmp(type, "session.open") == 0) {
        struct json_object *agent = object_get(line, "agent");

        copy_field(o, agent, "namespace");
        copy_field(o, agent, "pod");
        copy_field(o, agent, "serviceAccount");
        copy_field(o, line, "target");
        copy_field(o, line, "protocol");
        copy_field(o, line, "client");
    } else if (type && strcmp(type, "auth") == 0) {
        copy_field(o, line, "user");
        copy_field(o, line, "database");
        copy_field(o, line, "identity");
    }
}

/* ---- statements ---- */

static bool rule_matches(const char *pattern, struct json_object *line)
{
    const char *policy = object_text(line, "policy"), *rule = object_text(line, "rule");
    char whole[600];

    if (!rule)
        return false;
    snprintf(whole, sizeof whole, "%s/%s", policy ? policy : "", rule);
    return like(pattern, rule) || like(pattern, whole);
}

struct wanted { /* of one statement, gathered from its lines */
    bool rule, verdict, text, time;
};

static void gather(const struct filter *f, struct json_object *line, bool statement,
                   struct wanted *w)
{
    const char *verdict = object_text(line, "verdict"), *text = object_text(line, "text");
    uint64_t us = object_time_us(object_text(line, "time"));

    w->rule = w->rule || !f->rule || rule_matches(f->rule, line);
    w->verdict = w->verdict || !f->verdict || (verdict && strcmp(verdict, f->verdict) == 0);
    if (!statement)
        return;
    w->text = w->text || !f->text || (text && strcasestr(text, f->text));
    w->time = (!f->since_us || us >= f->since_us) && (!f->until_us || us <= f->until_us);
}

/* What is known of statement n; NULL when there are too many. */
static struct wanted *slot(struct buffer *all, int64_t n)
{
    size_t need = ((size_t)n + 1) * sizeof(struct wanted), have = buffer_len(all);

    if (n < 0 || n > (int64_t)1 << 28)
        return NULL;
    if (need > have) {
        uint8_t *p = buffer_reserve(all, 2 * (need - have) + 4096);

        if (!p)
            return NULL;
        memset(p, 0, 2 * (need - have) + 4096);
        buffer_commit(all, 2 * (need - have) + 4096);
    }
    return (struct wanted *)(all->p + all->start) + n;
}

static void scan_line(const struct filter *f, struct json_object *line, struct buffer *all)
{
    const char *type = object_text(line, "type");
    bool statement = type && strcmp(type, "statement") == 0;
    struct wanted *w;

    if (!statement && !(type && strcmp(type, "decision") == 0))
        return;
    w = slot(all, object_number(line, "n", -1));
    if (w)
        gather(f, line, statement, w);
}

/* Which statements match, as a set in the record's file. False: none. */
static bool choose(struct recordfile *file, struct buffer *all)
{
    size_t n = buffer_len(all) / sizeof(struct wanted);
    const struct wanted *w = (const struct wanted *)(all->p + all->start);
    bool any = false;

    file->only = calloc(n / 8 + 1, 1);
    file->n_only = file->only ? n : 0;
    for (size_t i = 0; file->only && i < n; i++)
        if (w[i].rule && w[i].verdict && w[i].text && w[i].time) {
            file->only[i / 8] |= (uint8_t)(1u << i % 8);
            any = true;
        }
    return any;
}

static void add_figures(struct json_object *o, const struct record_check *c)
{
    json_object_object_add(o, "statements", json_object_new_uint64(c->statements));
    json_object_object_add(o, "denied", json_object_new_uint64(c->denied));
    json_object_object_add(o, "approvals", json_object_new_uint64(c->approvals));
    json_object_object_add(o, "integrity", json_object_new_string(recordfile_verdict(c)));
}

struct json_object *filter_apply(const struct filter *f, struct recordfile *file)
{
    struct json_object *o = json_object_new_object(), *line;
    const struct record_check *c = &file->check;
    bool all = about_statements(f), match;
    struct buffer wanted;
    struct bytes text;

    buffer_init(&wanted, (size_t)2 << 30);
    json_object_object_add(o, "session", json_object_new_string(c->session));
    json_object_object_add(o, "place", json_object_new_string(file->path));
    json_object_object_add(o, "started", json_object_new_string(c->started));
    json_object_object_add(o, "ended", json_object_new_string(c->ended));
    for (int i = 0; (all || i < HEAD_LINES) && recordfile_next(file, &text, &line); i++) {
        if (i < HEAD_LINES)
            describe_line(o, line);
        if (all)
            scan_line(f, line, &wanted);
        json_object_put(line);
    }
    add_figures(o, c);
    match = session_matches(f, o) && (!all || choose(file, &wanted));
    buffer_done(&wanted);
    if (match && recordfile_rewind(file))
        return o;
    json_object_put(o);
    return NULL;
}
