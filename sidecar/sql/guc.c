/* SPDX-License-Identifier: Apache-2.0
 * SET and RESET. Settings that only change how this session's own results look or how long they
 * may take are let through; everything that changes who the session is, what names mean, what
 * is read as SQL or what is logged is not.
 */
#include "analysis.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum value_rule { ANY_VALUE, ONLY_ON, ONLY_UTF8 };

static const struct {
    const char *name;
    enum value_rule rule;
} allowed[] = {
    {"application_name", ANY_VALUE},
    {"bytea_output", ANY_VALUE},
    {"client_encoding", ONLY_UTF8},
    {"client_min_messages", ANY_VALUE},
    {"datestyle", ANY_VALUE},
    {"default_transaction_deferrable", ANY_VALUE},
    {"default_transaction_isolation", ANY_VALUE},
    {"default_transaction_read_only", ANY_VALUE},
    {"enable_async_append", ANY_VALUE},
    {"enable_bitmapscan", ANY_VALUE},
    {"enable_gathermerge", ANY_VALUE},
    {"enable_hashagg", ANY_VALUE},
    {"enable_hashjoin", ANY_VALUE},
    {"enable_incremental_sort", ANY_VALUE},
    {"enable_indexonlyscan", ANY_VALUE},
    {"enable_indexscan", ANY_VALUE},
    {"enable_material", ANY_VALUE},
    {"enable_memoize", ANY_VALUE},
    {"enable_mergejoin", ANY_VALUE},
    {"enable_nestloop", ANY_VALUE},
    {"enable_parallel_append", ANY_VALUE},
    {"enable_parallel_hash", ANY_VALUE},
    {"enable_partition_pruning", ANY_VALUE},
    {"enable_partitionwise_aggregate", ANY_VALUE},
    {"enable_partitionwise_join", ANY_VALUE},
    {"enable_seqscan", ANY_VALUE},
    {"enable_sort", ANY_VALUE},
    {"enable_tidscan", ANY_VALUE},
    {"extra_float_digits", ANY_VALUE},
    {"idle_in_transaction_session_timeout", ANY_VALUE},
    {"idle_session_timeout", ANY_VALUE},
    {"intervalstyle", ANY_VALUE},
    {"jit", ANY_VALUE},
    {"lock_timeout", ANY_VALUE},
    {"standard_conforming_strings", ONLY_ON},
    {"statement_timeout", ANY_VALUE},
    {"timezone", ANY_VALUE},
    {"transaction_deferrable", ANY_VALUE},
    {"transaction_isolation", ANY_VALUE},
    {"transaction_read_only", ONLY_ON},
    {"transaction_timeout", ANY_VALUE},
};

static int find_setting(const char *name)
{
    size_t i;

    for (i = 0; i < ARRAY_LEN(allowed); i++) {
        if (strcasecmp(allowed[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

/* A boolean setting's value. PostgreSQL takes unambiguous beginnings of the words, too; those
 * nobody writes are refused. */
static bool is_on(struct json_object *node)
{
    struct tree_const c = tree_constant(node);

    if (c.kind == TREE_CONST_INT || c.kind == TREE_CONST_BOOL)
        return c.num == 1;
    return c.kind == TREE_CONST_STRING &&
           (strcasecmp(c.str, "on") == 0 || strcasecmp(c.str, "true") == 0 ||
            strcasecmp(c.str, "yes") == 0 || strcmp(c.str, "1") == 0);
}

/* As pg_char_to_encoding reads names: letters and digits, any case. */
static bool is_utf8(struct json_object *node)
{
    struct tree_const c = tree_constant(node);
    char word[16];
    size_t n = 0;
    const char *p;

    if (c.kind != TREE_CONST_STRING)
        return false;
    for (p = c.str; *p && n < sizeof(word) - 1; p++) {
        if (isalnum((unsigned char)*p))
            word[n++] = (char)tolower((unsigned char)*p);
    }
    word[n] = '\0';
    return !*p && (strcmp(word, "utf8") == 0 || strcmp(word, "unicode") == 0);
}

static void refuse(struct analysis *a, const char *name)
{
    if (strcasecmp(name, "search_path") == 0)
        facts_deny(a, NULL,
                   "SET of search_path is not permitted through the guard: qualify names, or set "
                   "it at connection time");
    else
        facts_deny(a, NULL, "SET of %s is not permitted through the guard", name);
}

static void set_value(struct analysis *a, const char *name, struct json_object *args)
{
    int i = find_setting(name);

    if (i < 0) {
        refuse(a, name);
        return;
    }
    if (allowed[i].rule == ONLY_ON && (tree_len(args) != 1 || !is_on(tree_at(args, 0))))
        facts_deny(a, NULL, "%s may only be switched on through the guard", allowed[i].name);
    if (allowed[i].rule == ONLY_UTF8 && (tree_len(args) != 1 || !is_utf8(tree_at(args, 0))))
        facts_deny(a, NULL, "client_encoding has to stay UTF8");
}

/* SET TRANSACTION …, SET SESSION CHARACTERISTICS AS TRANSACTION … */
static void set_several(struct analysis *a, const char *name, struct json_object *args)
{
    bool session = strcmp(name, "SESSION CHARACTERISTICS") == 0;
    size_t i;

    if (!session && strcmp(name, "TRANSACTION") != 0) { /* TRANSACTION SNAPSHOT */
        refuse(a, name);
        return;
    }
    for (i = 0; i < tree_len(args); i++) {
        struct json_object *element = tree_body(tree_at(args, i), "DefElem");
        const char *option = tree_str(element, "defname");

        if (!option || strncmp(option, "transaction_", 12) != 0 || find_setting(option) < 0)
            refuse(a, option ? option : name);
        else if (!session && strcmp(option, "transaction_read_only") == 0 &&
                 !is_on(tree_get(element, "arg")))
            facts_deny(a, NULL, "transaction_read_only may only be switched on through the guard");
    }
}

void guc_set(struct analysis *a, struct json_object *body)
{
    const char *name = tree_str(body, "name");

    expr_check_fields(a, body, "kind name args is_local jumble_args location");
    a->st->kind = SQL_SET;
    a->st->literal_dependent = true;
    facts_operation(a, OP_SET, false);
    if (tree_is(body, "kind", "VAR_RESET_ALL"))
        return; /* back to what the connection began with */
    if (!name) {
        facts_unknown(a);
        return;
    }
    a->st->name = facts_dup(a, name);
    if (tree_is(body, "kind", "VAR_SET_VALUE"))
        set_value(a, name, tree_list(body, "args"));
    else if (tree_is(body, "kind", "VAR_SET_MULTI"))
        set_several(a, name, tree_list(body, "args"));
    else if (tree_is(body, "kind", "VAR_RESET") || tree_is(body, "kind", "VAR_SET_DEFAULT")) {
        if (find_setting(name) < 0)
            refuse(a, name);
    } else {
        refuse(a, name);
    }
}

/* ---- the same as functions ---- */

/* A constant or a parameter, perhaps with a cast: nothing that a row could flow into. */
static bool is_plain(struct json_object *node)
{
    struct json_object *cast;

    while ((cast = tree_body(node, "TypeCast")))
        node = tree_get(cast, "arg");
    return tree_body(node, "A_Const") || tree_body(node, "ParamRef");
}

/* Drivers read and set settings by functions. With plain arguments current_setting is SHOW, and
 * set_config of a setting that takes any value is SET; all other calls stay function calls. */
bool guc_function(struct analysis *a, const char *name, struct json_object *args)
{
    size_t i, n = tree_len(args);
    struct tree_const setting;
    int row;

    for (i = 0; i < n; i++) {
        if (!is_plain(tree_at(args, i)))
            return false;
    }
    if (strcmp(name, "current_setting") == 0 && n > 0) {
        facts_operation(a, OP_SHOW, false);
        return true;
    }
    if (strcmp(name, "set_config") != 0 || n != 3)
        return false;
    a->st->literal_dependent = true;
    setting = tree_constant(tree_at(args, 0));
    row = setting.kind == TREE_CONST_STRING ? find_setting(setting.str) : -1;
    if (row < 0 || allowed[row].rule != ANY_VALUE)
        return false;
    facts_operation(a, OP_SET, false);
    return true;
}
