/* SPDX-License-Identifier: Apache-2.0
 * The parse itself: libpg_query's call, the checks before it and the tree after it. Used by the
 * helper process, by the guard (checks and trees only) and by tools that parse in-process.
 */
#include "parser.h"

#include "lexer_private.h"
#include "parser_private.h"
#include "src-common/jsonread.h"

#include <errno.h>
#include <json-c/json.h>
#include <pg_query.h>
#include <pthread.h>
#include <stdio.h>

const char *sql_parser_version(void)
{
    return PG_VERSION;
}

int parser_thread_start(void *(*fn)(void *), void *arg, unsigned long *ret_thread)
{
    pthread_attr_t attr;
    pthread_t thread;
    int r = pthread_attr_init(&attr);

    if (r != 0)
        return -r;
    r = pthread_attr_setstacksize(&attr, PARSER_STACK_BYTES);
    if (r == 0)
        r = pthread_create(&thread, &attr, fn, arg);
    pthread_attr_destroy(&attr);
    if (r == 0)
        *ret_thread = thread;
    return -r;
}

/* At most max bytes of a string, not cutting a UTF-8 character. */
static int cut_length(const char *s, size_t max)
{
    size_t n = strnlen(s, max + 1);

    if (n <= max)
        return (int)n;
    n = max;
    while (n > 0 && ((uint8_t)s[n] & 0xc0) == 0x80)
        n--;
    return (int)n;
}

/* The parser's own words for "too much". */
static bool is_exhaustion(const char *message)
{
    static const char *const starts[] = {"out of memory", "memory exhausted",
                                         "stack depth limit exceeded",
                                         "invalid memory alloc request size"};

    for (size_t i = 0; i < ARRAY_LEN(starts); i++) {
        if (strncmp(message, starts[i], strlen(starts[i])) == 0)
            return true;
    }
    return false;
}

static struct parser_reply error_reply(const PgQueryError *error)
{
    const char *message = error->message ? error->message : "syntax error";
    struct parser_reply reply = {.status = PARSER_SYNTAX};
    int n;

    if (is_exhaustion(message))
        reply.status = PARSER_TOO_COMPLEX;
    n = cut_length(message, PARSER_MAX_MESSAGE);
    if (error->cursorpos > 0)
        n = asprintf(&reply.body, "%.*s at character %d", n, message, error->cursorpos);
    else
        n = asprintf(&reply.body, "%.*s", n, message);
    if (n < 0)
        return (struct parser_reply){.status = PARSER_TOO_COMPLEX};
    reply.len = (size_t)n;
    return reply;
}

struct parser_reply parser_run(const char *text)
{
    PgQueryParseResult result = pg_query_parse(text);
    struct parser_reply reply = {.status = PARSER_TOO_COMPLEX};

    if (result.error) {
        reply = error_reply(result.error);
    } else if (result.parse_tree) {
        reply.status = PARSER_TREE;
        reply.body = take(&result.parse_tree);
        reply.len = strlen(reply.body);
    }
    pg_query_free_parse_result(result);
    return reply;
}

int parser_check_text(struct bytes sql, struct error *err)
{
    const char *reason = NULL;
    enum lex_result r = sql_lex(sql, &sql_default_limits, NULL, &reason);

    if (r == LEX_TOO_COMPLEX)
        return error_set(err, -E2BIG, "%s", reason);
    if (r == LEX_BAD && (reason == lexer_reason_ambiguous || reason == lexer_reason_encoding ||
                         reason == lexer_reason_nul))
        return error_set(err, -EBADMSG, "%s", reason);
    return 0;
}

/* At least as many as there are: braces in strings count too. */
static size_t count_objects(struct bytes json)
{
    size_t n = 0;

    for (size_t i = 0; i < json.len; i++)
        n += json.p[i] == '{';
    return n;
}

int parser_finish(enum parser_status status, struct bytes body, struct json_object **ret_tree,
                  struct error *err)
{
    struct json_object *tree = NULL;
    int r;

    if (status == PARSER_SYNTAX)
        return error_set(err, -EBADMSG, "%.*s", (int)min_size(body.len, 600), (const char *)body.p);
    if (status != PARSER_TREE || body.len > PARSER_MAX_REPLY)
        return error_set(err, -E2BIG, "statement too complex to parse");
    if (count_objects(body) > PARSER_MAX_OBJECTS)
        return error_set(err, -E2BIG, "statement too complex: its parse tree is too large");
    r = jsonread_strict(body, PARSER_MAX_DEPTH, &tree);
    if (r == -ENOMEM)
        return error_set(err, -E2BIG, "statement too complex to parse: out of memory");
    if (json_object_is_type(tree, json_type_object)) {
        *ret_tree = tree;
        return 0;
    }
    json_object_put(tree);
    if (r == -E2BIG)
        return error_set(err, -E2BIG,
                         "statement too complex: expressions or queries nest too deep");
    return error_set(err, -E2BIG,
                     "statement cannot be analysed: the parser's tree is not readable");
}

struct here {
    const char *text;
    struct parser_reply reply;
};

static void *here_thread(void *arg)
{
    struct here *h = arg;

    h->reply = parser_run(h->text);
    return NULL;
}

int sql_parse_here(struct bytes sql, struct json_object **ret_tree, struct error *err)
{
    _cleanup_(free_charp) char *text = NULL;
    _cleanup_(free_charp) char *body = NULL;
    struct here h = {0};
    unsigned long thread;
    int r = parser_check_text(sql, err);

    if (r < 0)
        return r;
    text = strndup(sql.len ? (const char *)sql.p : "", sql.len);
    if (!text)
        return error_set(err, -E2BIG, "out of memory");
    h.text = text;
    r = parser_thread_start(here_thread, &h, &thread);
    if (r < 0)
        return error_set(err, -E2BIG, "cannot start a parsing thread: %s", strerror(-r));
    pthread_join(thread, NULL);
    body = h.reply.body;
    return parser_finish(h.reply.status, bytes_of(body, h.reply.len), ret_tree, err);
}
