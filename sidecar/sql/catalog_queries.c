/* SPDX-License-Identifier: Apache-2.0
 * What the guard asks a server about its schema. Written for PostgreSQL 12 to 18 and any role:
 * only catalogues that everybody may read. No name and no operator depends on the search path
 * (the agent could have put its own there): IN, = and casts to unqualified types are avoided.
 *
 * pg_get_viewdef writes names as the search path in force needs them. The caller therefore runs
 * all of them as
 *     BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY
 *     SET LOCAL search_path TO ''
 *     … these …
 *     ROLLBACK
 * so that definitions come fully qualified and all rows are of one moment.
 */
#include "catalog_private.h"

#define EQ "OPERATOR(pg_catalog.=)"
#define NE "OPERATOR(pg_catalog.<>)"
/* Outside the system schemas. pg_temp_N stays: temporary relations are relations. */
#define USER_SCHEMA                                                                                \
    "n.nspname " NE " ALL "                                                                        \
    "(ARRAY['pg_catalog','information_schema','pg_toast']::pg_catalog.name[])"

const char *const catalog_queries[CATALOG_N_QUERIES] = {
    [CATALOG_RELATIONS] =
        "SELECT c.oid, n.nspname, c.relname, c.relkind,"
        " EXISTS (SELECT 1 FROM pg_catalog.pg_trigger t WHERE t.tgrelid " EQ " c.oid"
        "  AND NOT t.tgisinternal), c.relhasrules, c.relrowsecurity FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid " EQ " c.relnamespace"
        " WHERE " USER_SCHEMA " AND c.relkind " EQ
        " ANY (ARRAY['r','p','v','m','f','S']::pg_catalog.\"char\"[])",
    [CATALOG_COLUMNS] = "SELECT a.attrelid, a.attnum, a.attname FROM pg_catalog.pg_attribute a"
                        " JOIN pg_catalog.pg_class c ON c.oid " EQ " a.attrelid"
                        " JOIN pg_catalog.pg_namespace n ON n.oid " EQ " c.relnamespace"
                        " WHERE " USER_SCHEMA " AND c.relkind " EQ
                        " ANY (ARRAY['r','p','v','m','f','S']::pg_catalog.\"char\"[])"
                        " AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped",
    [CATALOG_PARENTS] = "SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i",
    [CATALOG_VIEW_READS] =
        "SELECT DISTINCT r.ev_class, d.refobjid FROM pg_catalog.pg_depend d"
        " JOIN pg_catalog.pg_rewrite r ON r.oid " EQ " d.objid"
        " JOIN pg_catalog.pg_class v ON v.oid " EQ " r.ev_class"
        " JOIN pg_catalog.pg_namespace n ON n.oid " EQ " v.relnamespace"
        " WHERE " USER_SCHEMA " AND v.relkind " EQ " ANY (ARRAY['v','m']::pg_catalog.\"char\"[])"
        " AND d.classid " EQ " 'pg_catalog.pg_rewrite'::pg_catalog.regclass::pg_catalog.oid"
        " AND d.refclassid " EQ " 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid"
        " AND d.refobjid " NE " r.ev_class",
    [CATALOG_VIEWS] =
        "SELECT c.oid, pg_catalog.pg_get_viewdef(c.oid) FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid " EQ " c.relnamespace"
        " WHERE " USER_SCHEMA " AND c.relkind " EQ " ANY (ARRAY['v','m']::pg_catalog.\"char\"[])",
    [CATALOG_FUNCTIONS] = "SELECT DISTINCT n.nspname, p.proname FROM pg_catalog.pg_proc p"
                          " JOIN pg_catalog.pg_namespace n ON n.oid " EQ " p.pronamespace",
    [CATALOG_FOREIGN_KEYS] = "SELECT k.confrelid, k.conrelid FROM pg_catalog.pg_constraint k"
                             " WHERE k.contype " EQ " 'f'::pg_catalog.\"char\"",
};
