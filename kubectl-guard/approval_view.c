/* SPDX-License-Identifier: Apache-2.0
 * Requests for approval, shown.
 */
#include "approval_view.h"

#include "approvalrequest.h"
#include "guardsocket.h"
#include "object.h"
#include "src-common/clock.h"
#include "text.h"

#include <json-c/json.h>

#define VIEW_MAX ((size_t)256 << 20)

void approval_view_age(const char *rfc3339, bool until, char out[static 16])
{
    uint64_t then = object_time_us(rfc3339), now = clock_wall_us(), s;

    if (then == 0) {
        snprintf(out, 16, "-");
        return;
    }
    s = until ? (then > now ? (then - now) / 1000000 : 0)
              : (now > then ? (now - then) / 1000000 : 0);
    if (s < 120)
        snprintf(out, 16, "%us", (unsigned)s);
    else if (s < 7200)
        snprintf(out, 16, "%um", (unsigned)(s / 60));
    else if (s < 172800)
        snprintf(out, 16, "%uh", (unsigned)(s / 3600));
    else
        snprintf(out, 16, "%ud", (unsigned)(s / 86400 % 100000));
}

static void row(struct buffer *b, const char *label, struct bytes value)
{
    if (value.len == 0)
        return;
    buffer_printf(b, "%-11s ", label);
    text_clean(value, TEXT_LINE, b);
    buffer_add_u8(b, '\n');
}

static void text_row(struct buffer *b, const char *label, struct json_object *o, const char *key)
{
    row(b, label, object_bytes(o, key));
}

static void add_phase(const struct cli *cli, struct buffer *b, struct json_object *o)
{
    const char *phase = object_text(o, "phase");
    bool pending = phase && strcmp(phase, "Pending") == 0;
    bool approved = phase && strcmp(phase, "Approved") == 0;
    char left[16];

    buffer_printf(b, "%-11s ", "Phase:");
    if (cli->color)
        buffer_printf(b, "\x1b[%sm", pending ? "33" : approved ? "32" : "31");
    text_clean(bytes_str(phase), TEXT_LINE, b);
    if (cli->color)
        buffer_printf(b, "\x1b[0m");
    if (pending) {
        approval_view_age(object_text(o, "expires"), true, left);
        buffer_printf(b, " (expires in %s)", left);
    } else if (approved && object_true(o, "unlimited")) {
        buffer_printf(b, " (any number of uses until it runs out)");
    } else if (approved && object_number(o, "usesLeft", 0) > 0) {
        buffer_printf(b, " (%lld uses left)", (long long)object_number(o, "usesLeft", 0));
    }
    buffer_add_u8(b, '\n');
}

static void add_parameters(struct buffer *b, struct json_object *o)
{
    size_t n = object_count(o, "parameters");

    if (n == 0 && object_bytes(o, "parameters").len == 0)
        return;
    buffer_printf(b, "Parameters:\n");
    if (n == 0)
        text_clean_indented(object_bytes(o, "parameters"), "    ", b);
    for (size_t i = 0; i < n; i++) {
        struct json_object *v = object_at(o, "parameters", i);

        buffer_printf(b, "    $%zu = ", i + 1);
        text_clean(
            bytes_str(v ? json_object_to_json_string_ext(v, JSON_C_TO_STRING_PLAIN) : "NULL"),
            TEXT_LINE, b);
        buffer_add_u8(b, '\n');
    }
}

static void add_names(struct buffer *b, struct json_object *o, const char *key, const char *one,
                      const char *several)
{
    size_t n = object_count(o, key);

    for (size_t i = 0; i < n; i++) {
        buffer_printf(b, "%s", i ? ", " : n == 1 ? one : several);
        text_clean(bytes_str(json_object_get_string(object_at(o, key, i))), TEXT_LINE, b);
    }
}

void approval_view_needs(struct json_object *o, struct buffer *b)
{
    long long count = (long long)object_number(o, "count", 1);
    bool groups = object_count(o, "groups") > 0;

    buffer_printf(b, "%lld %s", count, count == 1 ? "person" : "different people");
    add_names(b, o, "groups", " of group ", " of groups ");
    add_names(b, o, "users", groups ? " or user " : ": ", groups ? " or users " : " of ");
    buffer_printf(b, object_true(o, "requireReason") ? "; a reason" : "");
}

static void add_needs(struct buffer *b, struct json_object *o)
{
    long long s = (long long)object_number(o, "validForSeconds", 0);

    buffer_printf(b, "%-11s ", "Needs:");
    approval_view_needs(o, b);
    buffer_add_u8(b, '\n');
    if (object_number(o, "uses", 0) > 0 && s > 0)
        buffer_printf(b, "%-11s %lld uses within %lld s, unless approved otherwise\n",
                      "Grants:", (long long)object_number(o, "uses", 0), s);
}

static void add_decisions(struct buffer *b, struct json_object *o)
{
    for (size_t i = 0; i < object_count(o, "decisions"); i++) {
        struct json_object *d = object_at(o, "decisions", i);

        if (i == 0)
            buffer_printf(b, "Decisions:\n");
        buffer_printf(b, "    ");
        text_clean(object_bytes(d, "decision"), TEXT_LINE, b);
        buffer_printf(b, " by ");
        text_clean(object_bytes(d, "by"), TEXT_LINE, b);
        buffer_printf(b, " at ");
        text_clean(object_bytes(d, "at"), TEXT_LINE, b);
        if (object_bytes(d, "reason").len) {
            buffer_printf(b, ": ");
            text_clean(object_bytes(d, "reason"), TEXT_LINE, b);
        }
        buffer_add_u8(b, '\n');
    }
}

static void add_place(struct buffer *b, struct json_object *o)
{
    text_row(b, "Target:", o, "target");
    text_row(b, "Database:", o, "database");
    text_row(b, "User:", o, "user");
    text_row(b, "Asked by:", o, "identity");
    text_row(b, "Namespace:", o, "namespace");
    text_row(b, "Pod:", o, "pod");
    text_row(b, "Account:", o, "serviceAccount");
    text_row(b, "Session:", o, "session");
    text_row(b, "Rule:", o, "rule");
    text_row(b, "Policy:", o, "policy");
    row(b, "Delivery:", object_true(o, "ticket") ? BYTES("Ticket") : BYTES("Hold"));
    text_row(b, "Created:", o, "created");
    text_row(b, "Digest:", o, "digest");
}

void approval_view_print(const struct cli *cli, struct json_object *o)
{
    struct buffer b;

    buffer_init(&b, VIEW_MAX);
    text_row(&b, "ID:", o, "id");
    add_phase(cli, &b, o);
    text_row(&b, "Effect:", o, "effect");
    buffer_printf(&b, "Statement:\n");
    text_clean_indented(object_bytes(o, "statement"), "    ", &b);
    add_parameters(&b, o);
    add_place(&b, o);
    add_needs(&b, o);
    add_decisions(&b, o);
    if (b.failed)
        cli_fail(EXIT_NO, "the request is too long to show: use --json");
    else
        fwrite(b.p, 1, buffer_len(&b), stdout);
    buffer_done(&b);
}

/* What was decided on: the same words that show has. */
static void print_subject(struct json_object *a)
{
    struct buffer b;

    buffer_init(&b, VIEW_MAX);
    text_row(&b, "Effect:", a, "effect");
    text_row(&b, "Target:", a, "target");
    text_row(&b, "Asked by:", a, "identity");
    buffer_printf(&b, "Statement:\n");
    text_clean_indented(object_bytes(a, "statement"), "    ", &b);
    add_parameters(&b, a);
    if (!b.failed)
        fwrite(b.p, 1, buffer_len(&b), stdout);
    buffer_done(&b);
}

enum exit_code approval_view_decided(const struct cli *cli, const char *command,
                                     struct json_object *answer)
{
    struct json_object *a = object_get(answer, "approval");
    const char *phase = object_text(a, "phase"), *id = object_text(a, "id");

    id = id ? id : cli->args[0];
    if (cli->output >= OUTPUT_JSON)
        return object_print(cli, answer);
    if (phase && strcmp(phase, "Pending") == 0)
        printf("%s counted: %zu of %lld approvals\n", id, object_count(a, "decisions"),
               (long long)object_number(a, "count", 1));
    else
        printf("%s %s\n", id, strcmp(command, "approve") == 0 ? "approved" : "denied");
    print_subject(a);
    return EXIT_DONE;
}

enum exit_code approval_view_decide(const struct cli *cli, const char *command,
                                    struct json_object *fields)
{
    struct json_object *answer = NULL;
    enum exit_code code;

    if (cli->cluster)
        return approvalrequest_decide(cli, command, fields);
    code = guardsocket_ask(cli, command, fields, &answer);
    if (code == EXIT_DONE)
        code = approval_view_decided(cli, command, answer);
    json_object_put(answer);
    return code;
}
