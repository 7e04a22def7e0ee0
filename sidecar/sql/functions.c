/* SPDX-License-Identifier: Apache-2.0
 * Built-in functions and operators that compute on nothing but their arguments, or describe the
 * schema or this session. Not here, whatever their use: what takes SQL text (query_to_xml and its
 * family, ts_stat, ts_rewrite), files, large objects, the network, other sessions, settings
 * (set_config, current_setting), sequences, locks, statistics, sleep.
 */
#include "functions.h"

#include <string.h>

/* clang-format off */

/* Sorted: searched by halves. */
static const char *const pure_functions[] = {
    "abbrev", "abs", "acldefault", "aclexplode", "acos", "acosd", "acosh", "age", "any_value",
    "area", "array_agg", "array_append", "array_cat", "array_dims", "array_fill", "array_length",
    "array_lower", "array_ndims", "array_position", "array_positions", "array_prepend",
    "array_remove", "array_replace", "array_reverse", "array_sample", "array_shuffle",
    "array_sort", "array_to_json", "array_to_string", "array_to_tsvector", "array_upper", "ascii",
    "asin", "asind", "asinh", "atan", "atan2", "atan2d", "atand", "atanh", "avg", "bit",
    "bit_and", "bit_count", "bit_length", "bit_or", "bit_xor", "bool", "bool_and", "bool_or",
    "bound_box", "box", "bpchar", "broadcast", "btrim", "bytea", "cardinality", "casefold",
    "cash_words", "cbrt", "ceil", "ceiling", "center", "char", "char_length", "character_length",
    "chr", "cidr", "circle", "clock_timestamp", "col_description", "concat", "concat_ws",
    "convert", "convert_from", "convert_to", "corr", "cos", "cosd", "cosh", "cot", "cotd",
    "count", "covar_pop", "covar_samp", "crc32", "crc32c", "cume_dist", "current_database",
    "current_schema", "current_schemas", "current_user", "date", "date_add", "date_bin",
    "date_cmp_timestamp", "date_cmp_timestamptz", "date_part", "date_subtract", "date_trunc",
    "datemultirange", "daterange", "decode", "degrees", "dense_rank", "diagonal", "diameter",
    "div", "encode", "enum_first", "enum_last", "enum_range", "erf", "erfc", "every", "exp",
    "extract", "factorial", "family", "first_value", "float4", "float8", "floor", "format",
    "format_type", "gamma", "gcd", "gen_random_uuid", "generate_series", "generate_subscripts",
    "get_bit", "get_byte", "get_current_ts_config", "getdatabaseencoding", "getpgusername",
    "has_any_column_privilege", "has_column_privilege", "has_database_privilege",
    "has_foreign_data_wrapper_privilege", "has_function_privilege", "has_language_privilege",
    "has_parameter_privilege", "has_schema_privilege", "has_sequence_privilege",
    "has_server_privilege", "has_table_privilege", "has_tablespace_privilege",
    "has_type_privilege", "hashtext", "hashtextextended", "height", "host", "hostmask",
    "icu_unicode_version", "inet", "inet_merge", "inet_same_family", "initcap", "int2", "int4",
    "int4multirange", "int4range", "int8", "int8multirange", "int8range", "interval",
    "is_normalized", "isclosed", "isempty", "isfinite", "ishorizontal", "isopen", "isparallel",
    "isperp", "isvertical", "json", "json_agg", "json_agg_strict", "json_array_elements",
    "json_array_elements_text", "json_array_length", "json_build_array", "json_build_object",
    "json_each", "json_each_text", "json_exists", "json_extract_path", "json_extract_path_text",
    "json_object", "json_object_agg", "json_object_agg_strict", "json_object_agg_unique",
    "json_object_agg_unique_strict", "json_object_keys", "json_populate_record",
    "json_populate_recordset", "json_query", "json_scalar", "json_serialize", "json_strip_nulls",
    "json_to_record", "json_to_recordset", "json_to_tsvector", "json_typeof", "json_value",
    "jsonb", "jsonb_agg", "jsonb_agg_strict", "jsonb_array_elements", "jsonb_array_elements_text",
    "jsonb_array_length", "jsonb_build_array", "jsonb_build_object", "jsonb_each",
    "jsonb_each_text", "jsonb_extract_path", "jsonb_extract_path_text", "jsonb_insert",
    "jsonb_object", "jsonb_object_agg", "jsonb_object_agg_strict", "jsonb_object_agg_unique",
    "jsonb_object_agg_unique_strict", "jsonb_object_keys", "jsonb_path_exists",
    "jsonb_path_exists_tz", "jsonb_path_match", "jsonb_path_match_tz", "jsonb_path_query",
    "jsonb_path_query_array", "jsonb_path_query_array_tz", "jsonb_path_query_first",
    "jsonb_path_query_first_tz", "jsonb_path_query_tz", "jsonb_populate_record",
    "jsonb_populate_recordset", "jsonb_pretty", "jsonb_set", "jsonb_set_lax", "jsonb_strip_nulls",
    "jsonb_to_record", "jsonb_to_recordset", "jsonb_to_tsvector", "jsonb_typeof", "justify_days",
    "justify_hours", "justify_interval", "lag", "last_value", "lcm", "lead", "left", "length",
    "lgamma", "like", "like_escape", "line", "ln", "log", "log10", "lower", "lower_inc",
    "lower_inf", "lpad", "lseg", "ltrim", "macaddr", "macaddr8", "macaddr8_set7bit", "make_date",
    "make_interval", "make_time", "make_timestamp", "make_timestamptz", "masklen", "max", "md5",
    "min", "min_scale", "mod", "mode", "money", "multirange", "mxid_age", "name", "netmask",
    "network", "normalize", "notlike", "now", "npoints", "nth_value", "ntile", "num_nonnulls",
    "num_nulls", "numeric", "numeric_div_trunc", "nummultirange", "numnode", "numrange",
    "obj_description", "octet_length", "oid", "oidvectortypes", "overlaps", "overlay",
    "parse_ident", "path", "pclose", "percent_rank", "percentile_cont", "percentile_disc",
    "pg_advisory_unlock_all", "pg_backend_pid", "pg_basetype", "pg_char_to_encoding",
    "pg_client_encoding", "pg_collation_for", "pg_collation_is_visible", "pg_column_compression",
    "pg_column_is_updatable", "pg_column_size", "pg_conversion_is_visible", "pg_current_snapshot",
    "pg_current_xact_id", "pg_current_xact_id_if_assigned", "pg_database_size",
    "pg_describe_object", "pg_encoding_max_length", "pg_encoding_to_char",
    "pg_function_is_visible", "pg_get_catalog_foreign_keys", "pg_get_constraintdef",
    "pg_get_expr", "pg_get_function_arg_default", "pg_get_function_arguments",
    "pg_get_function_identity_arguments", "pg_get_function_result", "pg_get_function_sqlbody",
    "pg_get_functiondef", "pg_get_indexdef", "pg_get_keywords", "pg_get_object_address",
    "pg_get_partition_constraintdef", "pg_get_partkeydef", "pg_get_ruledef",
    "pg_get_serial_sequence", "pg_get_statisticsobjdef", "pg_get_statisticsobjdef_columns",
    "pg_get_statisticsobjdef_expressions", "pg_get_triggerdef", "pg_get_userbyid",
    "pg_get_viewdef", "pg_has_role", "pg_identify_object", "pg_identify_object_as_address",
    "pg_index_column_has_property", "pg_index_has_property", "pg_indexam_has_property",
    "pg_indexes_size", "pg_input_is_valid", "pg_is_in_recovery", "pg_is_other_temp_schema",
    "pg_jit_available", "pg_lsn", "pg_my_temp_schema", "pg_opclass_is_visible",
    "pg_operator_is_visible", "pg_opfamily_is_visible", "pg_partition_ancestors",
    "pg_partition_root", "pg_partition_tree", "pg_postmaster_start_time",
    "pg_relation_is_publishable", "pg_relation_is_updatable", "pg_relation_size", "pg_size_bytes",
    "pg_size_pretty", "pg_snapshot_xip", "pg_snapshot_xmax", "pg_snapshot_xmin",
    "pg_statistics_obj_is_visible", "pg_table_is_visible", "pg_table_size", "pg_timezone_abbrevs",
    "pg_timezone_names", "pg_total_relation_size", "pg_trigger_depth", "pg_ts_config_is_visible",
    "pg_ts_dict_is_visible", "pg_ts_parser_is_visible", "pg_ts_template_is_visible",
    "pg_type_is_visible", "pg_typeof", "pg_visible_in_snapshot", "pg_wal_lsn_diff",
    "phraseto_tsquery", "pi", "plainto_tsquery", "point", "polygon", "popen", "position", "pow",
    "power", "querytree", "quote_ident", "quote_literal", "quote_nullable", "radians", "radius",
    "random", "random_normal", "range_agg", "range_intersect_agg", "range_merge", "rank",
    "regclass", "regconfig", "regexp_count", "regexp_instr", "regexp_like", "regexp_match",
    "regexp_matches", "regexp_replace", "regexp_split_to_array", "regexp_split_to_table",
    "regexp_substr", "regnamespace", "regproc", "regprocedure", "regr_avgx", "regr_avgy",
    "regr_count", "regr_intercept", "regr_r2", "regr_slope", "regr_sxx", "regr_sxy", "regr_syy",
    "regrole", "regtype", "repeat", "replace", "reverse", "right", "round", "row_number",
    "row_security_active", "row_to_json", "rpad", "rtrim", "scale", "session_user", "set_bit",
    "set_byte", "set_masklen", "setweight", "sha224", "sha256", "sha384", "sha512",
    "shobj_description", "sign", "similar_escape", "similar_to_escape", "sin", "sind", "sinh",
    "slope", "split_part", "sqrt", "starts_with", "statement_timestamp", "stddev", "stddev_pop",
    "stddev_samp", "string_agg", "string_to_array", "string_to_table", "strip", "strpos",
    "substr", "substring", "sum", "system_user", "tan", "tand", "tanh", "text", "time",
    "timeofday", "timestamp", "timestamp_cmp_date", "timestamp_cmp_timestamptz", "timestamptz",
    "timestamptz_cmp_date", "timestamptz_cmp_timestamp", "timetz", "timezone", "to_ascii",
    "to_bin", "to_char", "to_date", "to_hex", "to_json", "to_jsonb", "to_number", "to_oct",
    "to_regclass", "to_regcollation", "to_regnamespace", "to_regoper", "to_regoperator",
    "to_regproc", "to_regprocedure", "to_regrole", "to_regtype", "to_regtypemod", "to_timestamp",
    "to_tsquery", "to_tsvector", "transaction_timestamp", "translate", "trim_array", "trim_scale",
    "trunc", "ts_delete", "ts_filter", "ts_headline", "ts_rank", "ts_rank_cd", "tsmultirange",
    "tsquery", "tsquery_phrase", "tsrange", "tstzmultirange", "tstzrange", "tsvector",
    "tsvector_to_array", "txid_current", "txid_current_if_assigned", "txid_current_snapshot",
    "txid_snapshot_xip", "txid_snapshot_xmax", "txid_snapshot_xmin", "txid_visible_in_snapshot",
    "unicode_assigned", "unicode_version", "unistr", "unnest", "upper", "upper_inc", "upper_inf",
    "uuid", "uuid_extract_timestamp", "uuid_extract_version", "uuidv4", "uuidv7", "var_pop",
    "var_samp", "varbit", "varchar", "variance", "version", "websearch_to_tsquery", "width",
    "width_bucket", "xid", "xml", "xml_is_well_formed", "xml_is_well_formed_content",
    "xml_is_well_formed_document", "xmlagg", "xmlcomment", "xmlexists", "xmltext", "xpath",
    "xpath_exists",
};

/* Sorted. Of information_schema, used by drivers' metadata queries. */
static const char *const schema_functions[] = {
    "_pg_char_max_length", "_pg_char_octet_length", "_pg_datetime_precision", "_pg_expandarray",
    "_pg_index_position", "_pg_interval_type", "_pg_numeric_precision",
    "_pg_numeric_precision_radix", "_pg_numeric_scale", "_pg_truetypid", "_pg_truetypmod",
};

/* Sorted. */
static const char *const built_in_operators[] = {
    "!!", "!=", "!~", "!~*", "!~~", "!~~*", "#", "##", "#-", "#>", "#>>", "%", "&", "&&", "&<",
    "&<|", "&>", "*", "*<", "*<=", "*<>", "*=", "*>", "*>=", "+", "-", "->", "->>", "-|-", "/",
    "<", "<->", "<<", "<<=", "<<|", "<=", "<>", "<@", "<^", "=", ">", ">=", ">>", ">>=", ">^",
    "?", "?#", "?&", "?-", "?-|", "?|", "?||", "@", "@-@", "@>", "@?", "@@", "@@@", "^", "^@",
    "|", "|&>", "|/", "|>>", "||", "||/", "~", "~*", "~<=~", "~<~", "~=", "~>=~", "~>~", "~~",
    "~~*",
};

/* clang-format on */

/* Table functions with several columns of fixed names; others that are in the list above have
 * one column, but for those that return whatever row they are asked for. */
static const struct {
    const char *name;
    const char *columns[8];
} row_functions[] = {
    {"_pg_expandarray", {"x", "n"}},
    {"aclexplode", {"grantor", "grantee", "privilege_type", "is_grantable"}},
    {"json_each", {"key", "value"}},
    {"json_each_text", {"key", "value"}},
    {"json_populate_record", {0}},
    {"json_populate_recordset", {0}},
    {"json_to_record", {0}},
    {"json_to_recordset", {0}},
    {"jsonb_each", {"key", "value"}},
    {"jsonb_each_text", {"key", "value"}},
    {"jsonb_populate_record", {0}},
    {"jsonb_populate_recordset", {0}},
    {"jsonb_to_record", {0}},
    {"jsonb_to_recordset", {0}},
    {"pg_get_catalog_foreign_keys", {0}},
    {"pg_get_keywords", {"word", "catcode", "barelabel", "catdesc", "baredesc"}},
    {"pg_get_object_address", {"classid", "objid", "objsubid"}},
    {"pg_identify_object", {"type", "schema", "name", "identity"}},
    {"pg_identify_object_as_address", {"type", "object_names", "object_args"}},
    {"pg_partition_tree", {"relid", "parentrelid", "isleaf", "level"}},
    {"pg_timezone_abbrevs", {"abbrev", "utc_offset", "is_dst"}},
    {"pg_timezone_names", {"name", "abbrev", "utc_offset", "is_dst"}},
    {"unnest", {0}}, /* of a tsvector, of several arrays, of composites: as the arguments say */
};

static bool listed(const char *const *table, size_t n, const char *name)
{
    size_t low = 0, high = n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(name, table[mid]);

        if (order == 0)
            return true;
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return false;
}

bool function_is_pure(const char *name)
{
    return listed(pure_functions, ARRAY_LEN(pure_functions), name);
}

bool function_is_schema_helper(const char *name)
{
    return listed(schema_functions, ARRAY_LEN(schema_functions), name);
}

bool operator_is_built_in(const char *name)
{
    return listed(built_in_operators, ARRAY_LEN(built_in_operators), name);
}

const char *const *function_columns(const char *name, bool *ret_scalar)
{
    size_t i;

    *ret_scalar = function_is_pure(name);
    for (i = 0; i < ARRAY_LEN(row_functions); i++) {
        if (strcmp(row_functions[i].name, name) == 0) {
            *ret_scalar = false;
            return row_functions[i].columns[0] ? row_functions[i].columns : NULL;
        }
    }
    return NULL;
}

bool functions_are_sorted(void)
{
    size_t i;

    for (i = 1; i < ARRAY_LEN(pure_functions); i++) {
        if (strcmp(pure_functions[i - 1], pure_functions[i]) >= 0)
            return false;
    }
    for (i = 1; i < ARRAY_LEN(schema_functions); i++) {
        if (strcmp(schema_functions[i - 1], schema_functions[i]) >= 0)
            return false;
    }
    for (i = 1; i < ARRAY_LEN(built_in_operators); i++) {
        if (strcmp(built_in_operators[i - 1], built_in_operators[i]) >= 0)
            return false;
    }
    return true;
}
