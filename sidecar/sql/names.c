/* SPDX-License-Identifier: Apache-2.0
 * Relation names: the search path through the catalogue, and the system catalogues.
 */
#include "analysis.h"

#include <string.h>

/* Relations of pg_catalog that describe the schema and hold neither data, nor secrets, nor what
 * other sessions do. Sorted. Every other relation of pg_catalog, known or not, is sensitive. */
static const char *const harmless[] = {
    "pg_aggregate",
    "pg_am",
    "pg_amop",
    "pg_amproc",
    "pg_attrdef",
    "pg_attribute",
    "pg_auth_members",
    "pg_available_extension_versions",
    "pg_available_extensions",
    "pg_cast",
    "pg_class",
    "pg_collation",
    "pg_constraint",
    "pg_conversion",
    "pg_database",
    "pg_default_acl",
    "pg_depend",
    "pg_description",
    "pg_enum",
    "pg_event_trigger",
    "pg_extension",
    "pg_group",
    "pg_index",
    "pg_indexes",
    "pg_inherits",
    "pg_init_privs",
    "pg_language",
    "pg_matviews",
    "pg_namespace",
    "pg_opclass",
    "pg_operator",
    "pg_opfamily",
    "pg_partitioned_table",
    "pg_policies",
    "pg_policy",
    "pg_proc",
    "pg_publication",
    "pg_publication_namespace",
    "pg_publication_rel",
    "pg_publication_tables",
    "pg_range",
    "pg_rewrite",
    "pg_roles",
    "pg_rules",
    "pg_sequence",
    "pg_sequences",
    "pg_settings",
    "pg_shdepend",
    "pg_shdescription",
    "pg_statistic_ext",
    "pg_tables",
    "pg_tablespace",
    "pg_timezone_abbrevs",
    "pg_timezone_names",
    "pg_transform",
    "pg_trigger",
    "pg_ts_config",
    "pg_ts_config_map",
    "pg_ts_dict",
    "pg_ts_parser",
    "pg_ts_template",
    "pg_type",
    "pg_user",
    "pg_views",
};

/* Relations of information_schema that show options, which may hold secrets. */
static const char *const schema_secrets[] = {
    "_pg_foreign_data_wrappers",    "_pg_foreign_servers",    "_pg_foreign_table_columns",
    "_pg_foreign_tables",           "_pg_user_mappings",      "column_options",
    "foreign_data_wrapper_options", "foreign_server_options", "foreign_table_options",
    "user_mapping_options",
};

/* Views of extensions that show what other sessions do or what pages hold, in whatever schema. */
static const char *const extension_secrets[] = {
    "pg_buffercache",  "pg_buffercache_numa", "pg_stat_kcache",          "pg_stat_kcache_detail",
    "pg_stat_monitor", "pg_stat_statements",  "pg_stat_statements_info",
};

static bool among(const char *const *table, size_t n, const char *name)
{
    size_t i;

    for (i = 0; i < n; i++) {
        if (strcmp(table[i], name) == 0)
            return true;
    }
    return false;
}

bool names_is_harmless(const char *schema, const char *name)
{
    if (strcmp(schema, "information_schema") == 0)
        return !among(schema_secrets, ARRAY_LEN(schema_secrets), name);
    return strcmp(schema, "pg_catalog") == 0 && among(harmless, ARRAY_LEN(harmless), name);
}

static bool starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool is_system_schema(const char *schema)
{
    return strcmp(schema, "pg_catalog") == 0 || strcmp(schema, "information_schema") == 0 ||
           starts(schema, "pg_toast");
}

const char *names_temp_schema(const struct analysis *a)
{
    size_t i;

    for (i = 0; a->env->search_path && a->env->search_path[i]; i++) {
        if (starts(a->env->search_path[i], "pg_temp"))
            return a->env->search_path[i];
    }
    return NULL;
}

static void found(struct analysis *a, const char *schema, const struct catalog_relation *r,
                  struct relation_ref *ret)
{
    ret->schema = schema;
    ret->relation = r;
    if (r && a->env->masks)
        ret->marks = maskmap_marks(a->env->masks, r);
    ret->system = is_system_schema(schema);
    if (ret->system) {
        ret->metadata = names_is_harmless(schema, ret->name);
        ret->sensitive = !ret->metadata;
    }
    if (among(extension_secrets, ARRAY_LEN(extension_secrets), ret->name)) {
        ret->metadata = false;
        ret->sensitive = true;
    }
}

/* True when the schema has a relation of that name. The catalogue leaves the system schemas out:
 * there, names that begin with pg_ are taken to exist. */
static bool look_in(struct analysis *a, const char *schema, struct relation_ref *ret)
{
    const struct catalog_relation *r;

    if (strcmp(schema, "pg_catalog") == 0) {
        if (!starts(ret->name, "pg_"))
            return false;
        if (!names_is_harmless(schema, ret->name) && a->env->catalog && a->env->search_path) {
            /* perhaps a view of an extension further down the path */
            size_t i;

            for (i = 0; a->env->search_path[i]; i++) {
                if (catalog_by_name(a->env->catalog, a->env->search_path[i], ret->name))
                    return false;
            }
        }
        found(a, schema, NULL, ret);
        return true;
    }
    if (strcmp(schema, "information_schema") == 0) {
        /* every name might be one of its views: only known when nothing else has it */
        return false;
    }
    r = a->env->catalog ? catalog_by_name(a->env->catalog, schema, ret->name) : NULL;
    if (r)
        found(a, schema, r, ret);
    return r != NULL;
}

static void resolve_qualified(struct analysis *a, const char *schema, struct relation_ref *ret)
{
    const char *temp = strcmp(schema, "pg_temp") == 0 ? names_temp_schema(a) : NULL;
    const struct catalog_relation *r = NULL;

    schema = temp ? temp : schema;
    if (a->env->catalog && !is_system_schema(schema)) {
        r = catalog_by_name(a->env->catalog, schema, ret->name);
        if (!r)
            a->st->unknown_relation = true;
    }
    found(a, schema, r, ret);
}

/* An unqualified name that means an unmasked relation now, but would mean a masked one further
 * down the path if the first went away: an agent that may create and drop could swap them
 * between our look at the catalogue and the server's. It has to say which it means. */
static void refuse_shadow(struct analysis *a, const char *const *path, const char *schema,
                          const char *name)
{
    size_t i;

    for (i = 0; path[i]; i++) {
        const struct catalog_relation *r = catalog_by_name(a->env->catalog, path[i], name);

        if (r && strcmp(path[i], schema) != 0 && maskmap_marks(a->env->masks, r))
            facts_deny(a, NULL,
                       "\"%s\" could also mean %s.%s, which has masked columns: write the schema, "
                       "e.g. %s.%s",
                       name, path[i], name, starts(schema, "pg_temp") ? "pg_temp" : schema, name);
    }
}

static void resolve_by_path(struct analysis *a, struct relation_ref *ret)
{
    static const char *const default_path[] = {"public", NULL};
    const char *const *path = a->env->search_path ? a->env->search_path : default_path;
    bool has_catalog = false;
    size_t i;

    for (i = 0; path[i]; i++)
        has_catalog |= strcmp(path[i], "pg_catalog") == 0;
    if (!has_catalog && look_in(a, "pg_catalog", ret))
        return;
    for (i = 0; path[i]; i++) {
        if (!look_in(a, path[i], ret))
            continue;
        if (!ret->marks && ret->relation && a->env->masks)
            refuse_shadow(a, path, path[i], ret->name);
        return;
    }
    for (i = 0; path[i]; i++) {
        if (strcmp(path[i], "information_schema") == 0) {
            found(a, path[i], NULL, ret);
            return;
        }
    }
    for (i = 0; path[i] && !ret->guess; i++) {
        if (!is_system_schema(path[i]) && !starts(path[i], "pg_temp"))
            ret->guess = path[i];
    }
    a->st->unknown_relation = true;
    ret->sensitive = among(extension_secrets, ARRAY_LEN(extension_secrets), ret->name);
}

void names_resolve_parts(struct analysis *a, const char *schema, const char *name,
                         struct relation_ref *ret)
{
    *ret = (struct relation_ref){.name = name ? name : ""};
    if (schema)
        resolve_qualified(a, schema, ret);
    else
        resolve_by_path(a, ret);
}

void names_resolve(struct analysis *a, struct json_object *range_var, struct relation_ref *ret)
{
    names_resolve_parts(a, tree_str(range_var, "schemaname"), tree_str(range_var, "relname"), ret);
}

void names_resolve_quietly(struct analysis *a, struct json_object *range_var,
                           struct relation_ref *ret)
{
    bool unknown = a->st->unknown_relation;

    names_resolve(a, range_var, ret);
    a->st->unknown_relation = unknown;
}

void names_resolve_new(struct analysis *a, struct json_object *range_var, struct relation_ref *ret)
{
    const char *schema = tree_str(range_var, "schemaname"), *temp = names_temp_schema(a);
    size_t i;

    *ret = (struct relation_ref){.schema = schema, .name = tree_str(range_var, "relname")};
    if (schema)
        return;
    if (tree_is(range_var, "relpersistence", "t")) {
        ret->schema = temp ? temp : "pg_temp";
        return;
    }
    for (i = 0; a->env->search_path && a->env->search_path[i] && !ret->schema; i++) {
        const char *s = a->env->search_path[i];

        if (strcmp(s, "pg_catalog") != 0 && strncmp(s, "pg_temp", 7) != 0)
            ret->schema = s;
    }
    if (!ret->schema)
        ret->guess = "public";
}

void names_note_read(struct analysis *a, const struct relation_ref *r)
{
    if (r->marks)
        a->st->touches_masked = true;
    if (r->relation &&
        (r->relation->row_security || (catalog_is_view(r->relation) && !r->relation->definition)))
        a->st->runs_hidden_code = true;
}

void names_note_write(struct analysis *a, const struct relation_ref *r)
{
    names_note_read(a, r);
    if (!r->relation || r->relation->triggers || r->relation->rules)
        a->st->runs_hidden_code = true;
    if (r->system)
        facts_deny(a, NULL, "the system catalogues (%s.%s) may only be read", r->schema, r->name);
}
