/* SPDX-License-Identifier: Apache-2.0
 * What the guard asks a server about its schema. Written for PostgreSQL 12 to 18 and any role:
 * only catalogues that everybody may read. No name and no operator depends on the search path
 * (the agent could have put its own there): IN, = and casts to unqualified types are avoided.
 *
 * pg_get_viewdef writes names as the search path in force needs them. The caller therefore runs
 * all of them as
 *     BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY
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

/* The server's incarnation and the database. In binary, because DateStyle is the agent's. */
#define PLACE                                                                                      \
    "pg_catalog.encode(pg_catalog.timestamptz_send("                                               \
    "pg_catalog.pg_postmaster_start_time()), 'hex'),"                                              \
    " (SELECT d.oid FROM pg_catalog.pg_database d"                                                 \
    " WHERE d.datname " EQ " pg_catalog.current_database())"

/* Two equal snapshots of a primary see the same rows. A standby's does not list what runs. */
const char catalog_snapshot_query[] =
    "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL"
    " ELSE pg_catalog.concat_ws(' ', " PLACE ", pg_catalog.txid_current_snapshot()) END";

/* A version of a row is known by its place and the transaction that wrote it. Objects of initdb
 * have oids below 16384 (FirstNormalObjectId) and do not change while a server lives, but by a
 * superuser's hand. What pg_depend says of a view is written with its pg_rewrite. */
#define VERSIONS(of)                                                                               \
    "SELECT pg_catalog.concat_ws(' ', t.tableoid, t.ctid, t.xmin) AS r FROM pg_catalog." of
#define OURS(of, oid)                                                                              \
    VERSIONS(of " t WHERE t." oid " OPERATOR(pg_catalog.>=) '16384'::pg_catalog.oid")
#define ALSO " UNION ALL "

/* clang-format off */
const char catalog_state_query[] =
    "SELECT pg_catalog.concat_ws(' ', " PLACE ", pg_catalog.count(*),"
    " pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to("
    "pg_catalog.string_agg(v.r, ','), 'UTF8')), 'hex')) FROM ("
    VERSIONS("pg_namespace t") ALSO
    VERSIONS("pg_inherits t") ALSO
    OURS("pg_class", "oid") ALSO
    OURS("pg_attribute", "attrelid") " AND t.attnum OPERATOR(pg_catalog.>) 0" ALSO
    OURS("pg_trigger", "oid") ALSO
    OURS("pg_rewrite", "ev_class") ALSO
    OURS("pg_proc", "oid") ALSO
    OURS("pg_constraint", "oid") ALSO
    OURS("pg_type", "oid") ALSO
    OURS("pg_operator", "oid") ") v";
/* clang-format on */
