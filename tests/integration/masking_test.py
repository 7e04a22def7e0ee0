# SPDX-License-Identifier: Apache-2.0
"""Masked columns never reach the client, whatever it tries; what is not masked arrives untouched.

Every attack runs on a connection of its own. Afterwards all bytes that the client received are
searched for the secrets in many forms, an ordinary query must still work, and the attempt must be
in the record, which must not contain the secrets either. IDs are those of the attack catalogue.
"""
import struct

import pytest

from clients import raw
from clients.harness import FULL, MIXED, Canaries, Stack
from tests.support.run import wait_for

# Each secret begins with a part that no mask keeps.
SSN = {i: f"9f3ac{i}d7e1b6-{4000 + i}" for i in range(1, 6)}
EMAIL = {i: f"zq{i}wkxjvpt@corp.example" for i in range(1, 6)}
PHONE = {i: f"+43 7{i}8190265{i} 44" for i in range(1, 6)}
NOTE = {i: f"hush {i} bluequartzmeteor" for i in range(1, 6)}
CARD = {i: 5531907264180000 + i * 7919 for i in range(1, 6)}
HIDDEN = Canaries([SSN[i][:11] for i in SSN] + [EMAIL[i][:7] for i in EMAIL] + [PHONE[i][4:12] for i in PHONE]
                  + [NOTE[i][:14] for i in NOTE] + [str(CARD[i])[:12] for i in CARD]
                  + [struct.pack("!q", CARD[1]).hex()])
HIDDEN_BINARY = [struct.pack("!q", c) for c in CARD.values()]

SETUP = [
    """CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, age int CHECK (age > 0), email text,
       ssn text UNIQUE, phone text, note text, card bigint)""",
    *[f"INSERT INTO users VALUES ({i}, 'user {i}', {20 + i}, '{EMAIL[i]}', '{SSN[i]}', '{PHONE[i]}', "
      f"'{NOTE[i]}', {CARD[i]})" for i in range(1, 6)],
    "CREATE TABLE orders (id int PRIMARY KEY, user_id int REFERENCES users, total numeric, label text)",
    "INSERT INTO orders SELECT g, g % 5 + 1, g * 10, 'order ' || g FROM generate_series(1, 10) g",
    "CREATE TABLE notes (id int, body text)",
    "CREATE TABLE sink (id serial, body text)",
    "CREATE VIEW v_plain AS SELECT id, name, ssn, email FROM users",
    "CREATE VIEW v_nested AS SELECT id, ssn AS number, email AS mail FROM v_plain",
    "CREATE VIEW v_expression AS SELECT id, upper(ssn) AS loud, left(email, 7) AS piece FROM users",
    "CREATE VIEW v_join AS SELECT o.id, u.ssn FROM orders o JOIN users u ON u.id = o.user_id",
    "CREATE MATERIALIZED VIEW v_stored AS SELECT id, ssn, email FROM users",
    "CREATE SCHEMA other AUTHORIZATION agent",
    "CREATE SCHEMA third AUTHORIZATION agent",
    "CREATE VIEW other.users AS SELECT id, ssn AS name FROM public.users",
    "CREATE TABLE people (id int, ssn text) PARTITION BY RANGE (id)",
    "CREATE TABLE people_1 PARTITION OF people FOR VALUES FROM (0) TO (100)",
    f"INSERT INTO people VALUES (1, '{SSN[1]}')",
    "CREATE TABLE staff (grade int) INHERITS (users)",
    f"INSERT INTO staff (id, name, ssn, email) VALUES (50, 'staff', '{SSN[2]}x', '{EMAIL[2]}')",
    """CREATE FUNCTION loud(int) RETURNS int LANGUAGE plpgsql AS
       $$ BEGIN RAISE NOTICE 'ssn is %', (SELECT ssn FROM users WHERE id = $1); RETURN $1; END $$""",
    """CREATE FUNCTION fails(int) RETURNS int LANGUAGE plpgsql AS
       $$ BEGIN RAISE EXCEPTION 'ssn is %', (SELECT ssn FROM users WHERE id = $1)
          USING DETAIL = (SELECT email FROM users WHERE id = $1), HINT = (SELECT note FROM users WHERE id = $1); END $$""",
    "CREATE FUNCTION reveal(int) RETURNS text LANGUAGE sql AS 'SELECT ssn FROM users WHERE id = $1'",
    "CREATE FUNCTION who(users) RETURNS text LANGUAGE sql AS 'SELECT $1.ssn'",
    """CREATE FUNCTION chatty() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN RAISE WARNING 'owner %', (SELECT ssn FROM users LIMIT 1); RETURN NEW; END $$""",
    "CREATE TRIGGER chatty BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION chatty()",
    "CREATE TABLE narrow (v text CHECK (length(v) < 5), i int)",
    "ALTER TABLE orders OWNER TO agent", "ALTER TABLE users OWNER TO agent", "ALTER TABLE notes OWNER TO agent",
    "ALTER TABLE sink OWNER TO agent", "ALTER TABLE people OWNER TO agent", "ALTER TABLE people_1 OWNER TO agent",
    "ALTER TABLE staff OWNER TO agent", "ALTER TABLE narrow OWNER TO agent",
    "ALTER VIEW v_plain OWNER TO agent", "ALTER VIEW v_nested OWNER TO agent", "ALTER VIEW v_expression OWNER TO agent",
    "ALTER VIEW v_join OWNER TO agent", "ALTER MATERIALIZED VIEW v_stored OWNER TO agent",
    "ALTER VIEW other.users OWNER TO agent",
    "ANALYZE",
]

RULES = [
    '{name: work, action: Allow, sql: {operations: [Read, Write, Transaction, Session, Explain, Create, Alter, Drop, '
    'Maintenance, Lock], relations: ["public.*", "pg_temp.*", "other.*", "third.*"], functions: [public.loud, public.fails]}}',
    '{name: hide-ssn, action: Mask, sql: {columns: ["public.users.ssn", "public.people.ssn"]}, mask: {method: Redact}}',
    '{name: hide-email, action: Mask, sql: {columns: ["public.users.email"]}, mask: {method: Partial}}',
    '{name: hide-phone, action: Mask, sql: {columns: ["public.users.phone"]}, mask: {method: Token}}',
    '{name: hide-note, action: Mask, sql: {columns: ["public.users.note"]}, mask: {method: "Null"}}',
    '{name: hide-card, action: Mask, sql: {columns: ["public.users.card"]}, mask: {method: Redact}}',
]


@pytest.fixture(scope="module", params=FULL)
def stack(request):
    with Stack(RULES, setup=SETUP, **request.param) as s:
        yield s
        HIDDEN.absent(s.guard.stderr().encode())
        for path in s.guard.record_files():
            HIDDEN.absent_from_record(path)


# ---- what must work, masked ----

# Each query gives one row per user in the order of id; `ssn` and so on say what each column is.
PLAIN = {
    "columns": ("SELECT id, ssn, email, phone, note FROM ONLY users ORDER BY id", "id ssn email phone note"),
    "star": ("SELECT * FROM ONLY users ORDER BY id", "id name age email ssn phone note card"),
    "alias": ("SELECT u.id AS a, u.ssn AS b, u.email \"C\" FROM ONLY users AS u ORDER BY u.id", "id ssn email"),
    "subquery": ("SELECT * FROM (SELECT id, ssn x FROM ONLY users) AS t ORDER BY id", "id ssn"),
    "cte": ("WITH c AS (SELECT id, ssn FROM ONLY users) SELECT id, ssn FROM c ORDER BY id", "id ssn"),
    "join": ("SELECT o.id, u.ssn FROM orders o JOIN users u ON u.id = o.user_id WHERE o.id <= 4 AND u.id <= 5 ORDER BY u.id", "- ssn"),
    "left join": ("SELECT u.id, u.email FROM ONLY users u LEFT JOIN notes n ON n.id = u.id ORDER BY u.id", "id email"),
    "view": ("SELECT id, ssn, email FROM v_plain WHERE id < 50 ORDER BY id", "id ssn email"),
    "nested view": ("SELECT id, number, mail FROM v_nested WHERE id < 50 ORDER BY id", "id ssn email"),
    "stored view": ("SELECT id, ssn, email FROM v_stored WHERE id < 50 ORDER BY id", "id ssn email"),
    "qualified": ("SELECT public.users.id, public.users.ssn FROM ONLY public.users ORDER BY 1", "id ssn"),
    "quoted": ('SELECT "id", "ssn" FROM ONLY "public"."users" ORDER BY 1', "id ssn"),
    "unicode name": ("SELECT id, U&\"s\\0073n\" FROM ONLY U&\"us\\0065rs\" ORDER BY 1", "id ssn"),
}


def check_cell(kind, user, cell):
    if kind == "-":
        return
    if kind in ("note", "card"):
        assert cell is None or (kind == "card" and cell in (b"****", b"0")), (kind, cell)
    elif kind == "ssn":
        assert cell == b"****"
    elif kind == "email":
        assert cell and cell != EMAIL[user].encode() and cell.endswith(b"@corp.example"), cell
    elif kind == "phone":
        assert cell and b"tok_" in cell, cell
    elif kind == "name":
        assert cell == f"user {user}".encode()


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("how", ["simple", "extended", "binary"])
def test_plain_columns_arrive_masked(stack, name, how):
    sql, kinds = PLAIN[name]
    with stack.connect() as c:
        if how == "simple":
            reply = c.query(sql)
        else:
            reply = c.extended(sql, result_formats=[1] if how == "binary" else [])
        assert not reply.errors, reply.errors
        assert len(reply.rows) >= 3 and reply.status == "I"
        for user, row in enumerate(reply.rows, 1):
            for kind, cell in zip(kinds.split(), row):
                if kind == "id":
                    value = int(cell) if how != "binary" else struct.unpack("!i", cell)[0]
                    assert value == user
                elif not (kind in ("age", "card") and how == "binary"):
                    check_cell(kind, user, cell)
        HIDDEN.absent(c.received)
        assert not any(b in c.received for b in HIDDEN_BINARY)


def test_equal_values_get_equal_tokens(stack):
    with stack.connect() as c:
        first = c.query("SELECT phone FROM ONLY users ORDER BY id").rows
        assert first == c.query("SELECT phone FROM ONLY users ORDER BY id").rows
        assert len({r[0] for r in first}) == 5


def test_null_stays_null_and_counts_work(stack):
    with stack.connect() as c:
        assert c.query("SELECT ssn FROM staff WHERE id = 51").rows == []
        assert c.query("SELECT count(*) FROM ONLY users").text() == [["5"]]
        assert c.query("SELECT phone FROM staff").rows == [[None]], "a NULL has no token"


def test_unmasked_tables_are_untouched(stack):
    sql = "SELECT * FROM orders ORDER BY id"
    with stack.connect() as c, stack.direct() as d:
        a, b = c.query(sql), d.query(sql)
        assert (a.rows, a.columns, a.tags, a.kinds) == (b.rows, b.columns, b.tags, b.kinds)


@pytest.mark.parametrize("sql", ["UPDATE users SET name = name WHERE id = 1 RETURNING id, ssn, email",
                                 "INSERT INTO staff (id, name, ssn) VALUES (70, 'n', 'mine') RETURNING *",
                                 "DELETE FROM staff WHERE id = 70 RETURNING ssn"])
def test_returning_is_masked(stack, sql):
    with stack.connect() as c:
        reply = c.query(sql)
        if reply.errors:
            assert reply.sqlstate == "42501"
        else:
            assert any(cell == b"****" for row in reply.rows for cell in row), reply.rows
        HIDDEN.absent(c.received)


# ---- what must be refused ----

REFUSED = {
    # P23: every use of a masked column that is not a plain result column tells something about it.
    "where equals": "SELECT id FROM users WHERE ssn = 'x'",
    "where like": "SELECT id FROM users WHERE ssn LIKE '9%'",
    "where in subquery": "SELECT id FROM orders WHERE user_id IN (SELECT id FROM users WHERE ssn > 'a')",
    "order by": "SELECT id FROM users ORDER BY ssn",
    "order by position": "SELECT id, ssn FROM users ORDER BY 2",
    "order by alias": "SELECT id, ssn AS s FROM users ORDER BY s",
    "group by": "SELECT count(*) FROM users GROUP BY ssn",
    "having": "SELECT count(*) FROM users GROUP BY id HAVING max(ssn) > 'a'",
    "distinct": "SELECT DISTINCT ssn FROM users",
    "distinct on": "SELECT DISTINCT ON (ssn) id FROM users",
    "join on": "SELECT o.id FROM orders o JOIN users u ON o.label = u.ssn",
    "join using": "SELECT 1 FROM users a JOIN v_plain b USING (ssn)",
    "natural join": "SELECT 1 FROM users NATURAL JOIN v_plain",
    "case oracle": "SELECT CASE WHEN (SELECT ssn FROM users WHERE id = 1) LIKE '9%' THEN 1/0 ELSE 1 END",
    "case column": "SELECT CASE WHEN ssn LIKE '9%' THEN 1 ELSE 0 END FROM users",
    "boolean result": "SELECT ssn > 'm' FROM users",
    "max": "SELECT max(ssn) FROM users",
    "count distinct": "SELECT count(DISTINCT ssn) FROM users",
    "length": "SELECT length(ssn) FROM users",
    "window order": "SELECT id, row_number() OVER (ORDER BY ssn) FROM users",
    "window partition": "SELECT count(*) OVER (PARTITION BY ssn) FROM users",
    "filter": "SELECT count(*) FILTER (WHERE ssn > 'a') FROM users",
    "limit subquery": "SELECT id FROM orders LIMIT (SELECT length(ssn) FROM users WHERE id = 1)",
    "exists": "SELECT 1 WHERE EXISTS (SELECT 1 FROM users WHERE ssn > '9')",
    "intersect": "SELECT ssn FROM users INTERSECT SELECT 'guess'",
    "except": "SELECT 'guess' EXCEPT SELECT ssn FROM users",
    "explain rows": "EXPLAIN SELECT * FROM users WHERE ssn < 'b'",
    "explain analyze": "EXPLAIN ANALYZE SELECT * FROM users WHERE ssn < 'b'",
    "sleep": "SELECT id FROM users WHERE ssn > 'a' AND pg_sleep(0) IS NOT NULL",
    "update where": "UPDATE users SET name = 'y' WHERE ssn = 'x'",
    "delete where": "DELETE FROM staff WHERE ssn LIKE '9%'",
    "on conflict": "INSERT INTO users (id, name, ssn) VALUES (1, 'x', 'guess') ON CONFLICT (ssn) DO NOTHING",
    "view expression": "SELECT loud FROM v_expression WHERE loud > 'A'",
    "view predicate": "SELECT id FROM v_nested WHERE number = 'x'",
    "hoop comma join": "SELECT 1 FROM orders o, users u WHERE u.ssn = o.label",
    # P18: SQL inside strings.
    "query_to_xml": "SELECT query_to_xml('SELECT ssn FROM users', true, false, '')",
    "table_to_xml": "SELECT table_to_xml('users', true, false, '')",
    "schema_to_xml": "SELECT schema_to_xml('public', true, false, '')",
    "database_to_xml": "SELECT database_to_xml(true, false, '')",
    "ts_stat": "SELECT * FROM ts_stat('SELECT to_tsvector(ssn) FROM users')",
    "ts_rewrite": "SELECT ts_rewrite('a'::tsquery, 'SELECT ssn::tsquery, ssn::tsquery FROM users')",
    "reveal": "SELECT reveal(1)",
    # P22, P28
    "pg_stats": "SELECT most_common_vals::text, histogram_bounds::text FROM pg_stats WHERE tablename = 'users'",
    "pg_statistic": "SELECT * FROM pg_statistic",
    "set_config": "SELECT set_config('application_name', ssn, false) FROM users",
    "pg_notify": "SELECT pg_notify('c', ssn) FROM users",
    "pg_read_file": "SELECT pg_read_file('PG_VERSION')",
    "do": "DO $$ BEGIN RAISE NOTICE '%', (SELECT ssn FROM users LIMIT 1); END $$",
    "do insert": "DO $$ BEGIN INSERT INTO sink (body) SELECT ssn FROM users; END $$",
    "call": "CALL nothing()",
}


@pytest.mark.parametrize("how", ["simple", "extended"])
@pytest.mark.parametrize("name", REFUSED)
def test_refused(stack, name, how):
    sql = f"{REFUSED[name]} /* {name} {how} */"
    with stack.connect() as c:
        reply = c.query(sql) if how == "simple" else c.extended(sql)
        assert reply.sqlstate == "42501", (reply.errors, reply.rows)
        assert reply.status == "I" and not reply.rows
        assert c.query("SELECT id FROM orders WHERE id = 1").text() == [["1"]]
        HIDDEN.absent(c.received)
    assert stack.denied_in_record(f"{name} {how}")


# ---- whatever the answer, no secret ----

ATTACKS = {
    # P1 of the five facts: expressions have no origin
    "cast": ["SELECT ssn::varchar FROM users", "SELECT ssn::bytea FROM users", "SELECT card::text FROM users"],
    "concatenation": ["SELECT ssn || '' FROM users", "SELECT concat(ssn, 'x') FROM users",
                      "SELECT concat_ws('-', id, ssn) FROM users", "SELECT format('%s', ssn) FROM users"],
    "collate": ['SELECT ssn COLLATE "C" FROM users'],
    "functions": ["SELECT md5(ssn) FROM users", "SELECT reverse(ssn) FROM users", "SELECT upper(email) FROM users",
                  "SELECT substr(ssn, 1, 8) FROM users", "SELECT encode(ssn::bytea, 'hex') FROM users",
                  "SELECT encode(convert_to(ssn, 'UTF8'), 'base64') FROM users", "SELECT quote_literal(ssn) FROM users",
                  "SELECT regexp_split_to_table(ssn, '') FROM users", "SELECT ascii(ssn) FROM users",
                  "SELECT translate(ssn, '9', '8') FROM users", "SELECT card + 0 FROM users", "SELECT -card FROM users",
                  "SELECT string_to_array(ssn, NULL) FROM users", "SELECT to_tsvector(ssn) FROM users"],
    "whole row": ["SELECT users FROM users", "SELECT u FROM users u", "SELECT u.* FROM users u", "SELECT ROW(u.*) FROM users u",
                  "SELECT row_to_json(u) FROM users u", "SELECT to_jsonb(u) FROM users u", "SELECT u::text FROM users u",
                  "SELECT json_agg(u) FROM users u", "SELECT jsonb_object_agg(id, ssn) FROM users",
                  "SELECT xmlelement(name x, ssn) FROM users", "SELECT xmlforest(ssn) FROM users", "SELECT hstore(u) FROM users u",
                  "SELECT (u).ssn FROM users u", "SELECT (ROW(u.*)::users).ssn FROM users u",
                  "SELECT json_build_object('a', ssn) FROM users", "SELECT jsonb_populate_record(NULL::users, to_jsonb(u)) FROM users u"],
    "P19 functional notation": ["SELECT u.row_to_json FROM users u", "SELECT u.to_jsonb FROM users u", "SELECT ssn(u) FROM users u",
                                "SELECT u.who FROM users u", "SELECT who(u) FROM users u", "SELECT u.text FROM users u"],
    "set operations": ["SELECT ssn FROM users UNION SELECT 'x'", "SELECT 'x' UNION ALL SELECT ssn FROM users",
                       "(TABLE users)", "VALUES ((SELECT ssn FROM users WHERE id = 1))"],
    "scalar subquery": ["SELECT (SELECT ssn FROM users WHERE id = 1)", "SELECT ARRAY(SELECT ssn FROM users)",
                        "SELECT id, (SELECT ssn FROM users u WHERE u.id = o.user_id) FROM orders o"],
    "aggregates": ["SELECT string_agg(ssn, ',') FROM users", "SELECT array_agg(ssn) FROM users", "SELECT min(email) FROM users",
                   "SELECT mode() WITHIN GROUP (ORDER BY ssn) FROM users", "SELECT sum(card) FROM users WHERE id = 1"],
    "windows": ["SELECT first_value(ssn) OVER (ORDER BY id) FROM users", "SELECT lag(ssn) OVER () FROM users"],
    "choices": ["SELECT coalesce(ssn, '') FROM users", "SELECT CASE WHEN true THEN ssn END FROM users",
                "SELECT greatest(ssn, '') FROM users", "SELECT nullif(ssn, '') FROM users", "SELECT (ARRAY[ssn])[1] FROM users"],
    "joins": ["SELECT ssn FROM users a FULL JOIN v_plain b USING (id, name, ssn, email)", "SELECT b.x FROM users u, LATERAL (SELECT u.ssn AS x) b",
              "SELECT x FROM users u CROSS JOIN LATERAL unnest(ARRAY[u.ssn]) x", "SELECT * FROM orders o, users u WHERE o.user_id = u.id",
              "SELECT ssn FROM orders JOIN users ON true LIMIT 3"],
    "ctes": ["WITH users AS (SELECT * FROM users) SELECT * FROM users", "WITH RECURSIVE r AS (SELECT ssn FROM users UNION ALL SELECT ssn FROM r WHERE false) SELECT * FROM r",
             "WITH x (a, b) AS (SELECT id, ssn || '' FROM users) SELECT b FROM x", "WITH x AS (UPDATE users SET age = age WHERE id = 1 RETURNING ssn) SELECT ssn FROM x",
             "WITH x AS MATERIALIZED (TABLE users) SELECT x FROM x"],
    "views": ["SELECT * FROM v_expression", "SELECT * FROM v_join", "SELECT ssn || '' FROM v_plain", "SELECT v FROM v_nested v", "TABLE v_stored",
              "SELECT name FROM other.users", "SET search_path = other, public; SELECT name FROM users"],
    "partitions": ["SELECT * FROM people", "SELECT * FROM people_1", "SELECT ssn FROM ONLY people_1", "TABLE people"],
    "inheritance": ["SELECT * FROM users", "SELECT * FROM staff", "SELECT ssn, email FROM staff", "SELECT s FROM staff s"],
    "cursors": ["BEGIN; DECLARE c CURSOR FOR SELECT ssn, email FROM users", "FETCH ALL FROM c", "MOVE BACKWARD ALL FROM c", "FETCH 2 FROM c", "ROLLBACK"],
    "binary cursor": ["BEGIN; DECLARE c BINARY CURSOR FOR SELECT id, ssn, card, note FROM users", "FETCH ALL FROM c", "ROLLBACK"],
    "hold cursor": ["DECLARE h CURSOR WITH HOLD FOR SELECT * FROM users", "FETCH ALL FROM h", "CLOSE h"],
    "cursor_to_xml": ["BEGIN; DECLARE c CURSOR FOR SELECT ssn FROM users", "SELECT cursor_to_xml('c', 9, true, false, '')", "ROLLBACK"],
    "sql prepare": ["PREPARE p AS SELECT ssn, email FROM users", "EXECUTE p", "EXPLAIN ANALYZE EXECUTE p", "CREATE TEMP TABLE stolen AS EXECUTE p", "SELECT * FROM stolen", "DEALLOCATE p"],
    "copy": ["COPY users TO STDOUT", "COPY users (ssn) TO STDOUT (FORMAT csv, HEADER)", "COPY users TO STDOUT (FORMAT binary)",
             "COPY (SELECT ssn FROM users) TO STDOUT", "COPY (SELECT ssn || '' FROM users) TO STDOUT", "COPY people_1 TO STDOUT",
             "COPY (SELECT u FROM users u) TO STDOUT", "COPY (UPDATE users SET age = age WHERE id = 1 RETURNING ssn) TO STDOUT", "COPY v_stored TO STDOUT",
             "COPY staff TO STDOUT", "COPY users TO '/tmp/never-written'", "COPY users TO PROGRAM 'cat'"],
    "P21 cast error": ["SELECT ssn::int FROM users", "SELECT CAST(email AS date) FROM users", "SELECT ssn::uuid FROM users", "SELECT ('{' || ssn)::json FROM users",
                       "SELECT to_number(ssn, 'x') FROM users", "SELECT 1 / (card - card) FROM users"],
    "P21 failing row": ["UPDATE users SET age = -1 WHERE id = 1", "UPDATE users SET name = NULL WHERE id = 2", "INSERT INTO users (id, name, age) VALUES (900, 'x', -1)"],
    "P21 unique": ["INSERT INTO users SELECT id + 100, name, age, email, ssn, phone, note, card FROM users", "UPDATE users SET ssn = 'same' WHERE id < 9",
                   "UPDATE users SET id = 1 WHERE id = 2"],
    "P21 length": ["INSERT INTO narrow (v) SELECT ssn FROM users", "INSERT INTO narrow (i) SELECT ssn::int FROM users"],
    "P21 notices": ["SELECT loud(1)", "SELECT fails(1)", "UPDATE orders SET label = label WHERE id = 1", "SELECT loud(id) FROM users"],
    "P21 index error": ["CREATE INDEX ON users ((ssn::int))", "CREATE UNIQUE INDEX ON users ((left(ssn, 1)))", "ALTER TABLE people ALTER ssn TYPE int USING ssn::int",
                        "ALTER TABLE users ADD CHECK (length(ssn) < 3)", "ALTER TABLE users ADD EXCLUDE (ssn WITH =)", "CREATE STATISTICS st ON (ssn::int), id FROM users", "ANALYZE users"],
    "P20 create table as": ["CREATE TABLE stolen1 AS SELECT ssn FROM users", "SELECT * FROM stolen1", "SELECT ssn AS x INTO stolen2 FROM users", "SELECT * FROM stolen2",
                            "CREATE TEMP TABLE stolen3 AS TABLE users", "TABLE stolen3", "CREATE MATERIALIZED VIEW stolen4 AS SELECT ssn FROM users", "TABLE stolen4"],
    "P20 views": ["CREATE VIEW stolen5 AS SELECT ssn AS a, ssn || '' AS b FROM users", "SELECT a FROM stolen5", "SELECT b FROM stolen5", "SELECT * FROM stolen5",
                  "CREATE TEMP VIEW stolen6 AS SELECT upper(email) FROM users", "SELECT * FROM stolen6", "CREATE RECURSIVE VIEW stolen7 (n) AS SELECT ssn FROM users", "TABLE stolen7"],
    "P20 insert select": ["INSERT INTO sink (body) SELECT ssn FROM users", "INSERT INTO notes SELECT id, number FROM v_nested", "INSERT INTO notes SELECT id, email FROM users", "SELECT * FROM sink", "SELECT * FROM notes",
                          "WITH t AS (SELECT ssn FROM users) INSERT INTO sink (body) SELECT ssn FROM t RETURNING body", "TABLE sink"],
    "P20 update": ["UPDATE users SET name = ssn", "UPDATE users SET name = name || email WHERE id = 1", "SELECT name FROM users ORDER BY id",
                   "UPDATE orders SET label = u.ssn FROM users u WHERE u.id = user_id", "UPDATE orders SET label = (SELECT ssn FROM users LIMIT 1) WHERE id = 1", "SELECT label FROM orders ORDER BY id",
                   "INSERT INTO users (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = users.ssn RETURNING name", "SELECT name FROM users",
                   "MERGE INTO orders o USING users u ON o.user_id = u.id WHEN MATCHED THEN UPDATE SET label = u.ssn", "SELECT label FROM orders"],
    "P20 functions": ["CREATE FUNCTION leak() RETURNS SETOF text LANGUAGE sql AS 'SELECT ssn FROM public.users'", "SELECT leak()",
                      "CREATE FUNCTION pg_temp.leak() RETURNS text LANGUAGE sql AS 'SELECT ssn FROM public.users LIMIT 1'", "SELECT pg_temp.leak()",
                      "CREATE AGGREGATE pg_temp.a (text) (sfunc = pg_catalog.textcat, stype = text)", "SELECT pg_temp.a(ssn) FROM users",
                      "CREATE OPERATOR public.@@@@ (leftarg = int, procedure = reveal)", "SELECT @@@@ 1"],
    "P20 rules": ["CREATE RULE steal AS ON UPDATE TO orders DO ALSO INSERT INTO sink (body) SELECT ssn FROM users", "UPDATE orders SET total = 1 WHERE id = 1", "SELECT body FROM sink"],
    "P20 rename": ["ALTER TABLE users RENAME COLUMN ssn TO plain", "SELECT plain FROM users", "ALTER TABLE users RENAME COLUMN plain TO ssn"],
    "P20 rename table": ["ALTER TABLE users RENAME TO folk", "SELECT ssn FROM folk", "ALTER TABLE folk RENAME TO users"],
    "P20 move schema": ["ALTER TABLE users SET SCHEMA third", "SELECT ssn FROM third.users", "ALTER TABLE third.users SET SCHEMA public"],
    "P20 inherit": ["CREATE TABLE base (ssn text)", "ALTER TABLE users INHERIT base", "SELECT ssn FROM base", "ALTER TABLE users NO INHERIT base", "DROP TABLE base"],
    "P20 partition": ["CREATE TABLE top (id int, ssn text) PARTITION BY RANGE (id)", "ALTER TABLE people DETACH PARTITION people_1", "ALTER TABLE top ATTACH PARTITION people_1 FOR VALUES FROM (0) TO (100)",
                      "SELECT ssn FROM top", "SELECT ssn FROM people_1", "ALTER TABLE top DETACH PARTITION people_1", "ALTER TABLE people ATTACH PARTITION people_1 FOR VALUES FROM (0) TO (100)"],
    "P20 generated": ["CREATE TABLE gen (LIKE users INCLUDING ALL, copy text GENERATED ALWAYS AS (ssn) STORED)", "INSERT INTO gen SELECT * FROM users", "SELECT copy FROM gen",
                      "ALTER TABLE users ADD COLUMN copy text GENERATED ALWAYS AS (ssn) STORED", "SELECT copy FROM users", "ALTER TABLE users DROP COLUMN copy"],
    "P22 notify": ["LISTEN c", "SELECT pg_notify('c', ssn) FROM users", "NOTIFY c, 'x'", "SELECT pg_notify('c', (SELECT ssn FROM users LIMIT 1))"],
    "P22 settings": ["SELECT set_config('my.x', ssn, false) FROM users", "SHOW my.x", "SELECT current_setting('my.x', true)", "SET application_name = 'ok'"],
    "P22 statistics": ["SELECT * FROM pg_stats", "SELECT * FROM pg_stats_ext", "SELECT stavalues1::text FROM pg_statistic", "SELECT * FROM pg_stat_activity",
                       "SELECT * FROM pg_prepared_statements", "SELECT * FROM pg_cursors", "SELECT * FROM pg_stat_statements", "SELECT pg_get_viewdef('v_plain')"],
    "P24 roles": ["SET ROLE postgres", "SET SESSION AUTHORIZATION postgres", "SET row_security = off", "ALTER ROLE agent SET search_path = other", "SET client_min_messages = debug5",
                  "SET debug_print_parse = on", "SELECT ssn FROM users", "SET log_statement_stats = on", "SET client_min_messages = 'log'"],
    "P25 encoding": ["SET client_encoding = 'SJIS'", "SET NAMES 'GBK'", "SET client_encoding TO BIG5", "SET backslash_quote = on"],
    # A parser that believes in standard strings sees a harmless second string here.
    "P25 standard strings": ["SET standard_conforming_strings = off", "SELECT '\\', ' || (SELECT min(ssn) FROM users) --'"],
    "P25 set_config": ["SELECT set_config('standard_conforming_strings', 'off', false)", "SELECT '\\', ' || (SELECT min(ssn) FROM users) --'"],
    "P25 update setting": ["UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'", "SELECT '\\', ' || (SELECT min(ssn) FROM users) --'"],
    "P26 newer grammar": ["UPDATE users SET age = age WHERE id = 1 RETURNING old.ssn, new.ssn, old.*", "SELECT * FROM JSON_TABLE((SELECT to_jsonb(u) FROM users u LIMIT 1), '$' COLUMNS (s text PATH '$.ssn'))",
                          "MERGE INTO users u USING (SELECT 1 AS i) s ON u.id = s.i WHEN MATCHED THEN UPDATE SET age = u.age RETURNING u.ssn", "SELECT JSON_VALUE(to_jsonb(u), '$.ssn') FROM users u"],
    "explain": ["EXPLAIN (ANALYZE, VERBOSE) SELECT ssn FROM users", "EXPLAIN VERBOSE SELECT (SELECT ssn FROM users LIMIT 1)", "EXPLAIN (ANALYZE, FORMAT json) UPDATE users SET name = ssn WHERE id = 1"],
    "transactions": ["BEGIN", "SELECT ssn::int FROM users", "SELECT ssn FROM users", "ROLLBACK", "BEGIN; SELECT ssn FROM users; COMMIT", "START TRANSACTION READ ONLY; SELECT ssn || '' FROM users"],
    "table sample and rows": ["SELECT ssn FROM users TABLESAMPLE system (100)", "SELECT * FROM ROWS FROM (generate_series(1, 2)) g, users", "SELECT ssn FROM users FOR UPDATE", "SELECT ctid, xmin, tableoid, ssn FROM users"],
    "several": ["SELECT 1; SELECT ssn FROM users; SELECT ssn || '' FROM users", "SELECT ssn FROM users; SELECT email FROM users"],
    "comments": ["SELECT/**/ssn/* x */FROM--\nusers", "SELECT ssn /* /* nested */ */ FROM users", ";;SELECT ssn FROM users;;"],
}


def laundered(stack):
    """Secrets that an attack has moved to where no mask covers them; puts the data back."""
    found = []
    for sql in ("SELECT string_agg(name, ' ') FROM users", "SELECT string_agg(label, ' ') FROM orders",
                "SELECT string_agg(body, ' ') FROM notes", "SELECT string_agg(body, ' ') FROM sink",
                "SELECT string_agg(v || i, ' ') FROM narrow"):
        found += HIDDEN.found((stack.admin(sql)[0][0] or "").encode())
    if found:
        stack.admin("ALTER TABLE orders DISABLE TRIGGER ALL", "UPDATE users SET name = 'user ' || id",
                    "UPDATE orders SET label = 'order ' || id", "ALTER TABLE orders ENABLE TRIGGER ALL",
                    "TRUNCATE notes, sink, narrow")
    stack.admin("ALTER ROLE agent RESET ALL")
    return found


def attack(stack, c, statements, how):
    for sql in statements:
        if how == "simple":
            c.query(sql)
        elif ";" not in sql.strip(";"):
            c.extended(sql, result_formats=[1] if how == "binary" else [])
        else:
            for part in sql.split(";"):
                c.extended(part, result_formats=[1] if how == "binary" else [])


@pytest.mark.parametrize("how", ["simple", "extended", "binary"])
@pytest.mark.parametrize("name", ATTACKS)
def test_no_secret_leaves(stack, name, how):
    with stack.connect() as c:
        c.query(f"SELECT 1 AS attack /* {name} {how} */")
        attack(stack, c, ATTACKS[name], how)
        c.query("ROLLBACK")
        HIDDEN.absent(c.received)
        assert not any(b in c.received for b in HIDDEN_BINARY)
        assert not laundered(stack)
        control = c.query("SELECT 41 + 1")
        assert control.text() == [["42"]], f"unusable afterwards: {control.errors}"
    stack.record_of(f"{name} {how}")


def test_binary_search_finds_nothing(stack):
    """P23: an oracle needs two different answers; there must be none."""
    answers = set()
    with stack.connect() as c:
        for digit in "0123456789abcdef":
            for sql in (f"SELECT count(*) FROM users WHERE id = 1 AND ssn LIKE '{digit}%'",
                        f"SELECT 1/(CASE WHEN ssn LIKE '{digit}%' THEN 0 ELSE 1 END) FROM users WHERE id = 1",
                        f"SELECT id FROM users ORDER BY ssn < '{digit}', id LIMIT 1"):
                reply = c.query(sql)
                answers.add((reply.sqlstate, str(reply.rows)))
    assert answers == {("42501", "[]")}


# ---- objects that appear while the session runs ----

def test_new_view_is_seen_through(stack):
    with stack.connect() as c:
        c.query("SELECT 1")
        stack.admin("CREATE OR REPLACE VIEW late AS SELECT ssn AS a, ssn || '' AS b, id FROM users",
                    "GRANT ALL ON late TO agent")
        for sql in ("SELECT a FROM late", "SELECT b FROM late", "SELECT * FROM late", "SELECT a || b FROM late"):
            c.query(sql)
            c.extended(sql)
        HIDDEN.absent(c.received)


@pytest.mark.parametrize("how", ["prepared before", "prepared anew", "simple"])
def test_view_that_changes_under_the_session(how):
    """Somebody else redefines a view: what the guard knew of it is stale. It looks every two seconds
    (docs/sql-analysis.md); from then on nothing of it arrives."""
    with Stack(RULES, setup=SETUP) as s, s.connect() as c:
        s.admin("CREATE VIEW shifting AS SELECT id, name FROM users", "GRANT ALL ON shifting TO agent")
        c.send(raw.parse("s", "SELECT name FROM shifting"), raw.SYNC)
        assert not c.until_ready().errors
        assert len(c.query("SELECT name FROM shifting").rows) == 6
        s.admin("CREATE OR REPLACE VIEW shifting AS SELECT id, ssn AS name FROM users")
        known = {value.encode() for value in SSN.values()} if isinstance(SSN, dict) else {value.encode() for value in SSN}
        wait_for(lambda: c.query("SELECT name FROM shifting").rows[0][0] not in known, 10, "the guard to look at the view again")
        c.received.clear()
        for _ in range(3):
            if how == "prepared before":
                c.send(raw.bind("", "s"), raw.execute(), raw.SYNC)
                c.until_ready()
            elif how == "prepared anew":
                c.extended("SELECT name FROM shifting")
            else:
                c.query("SELECT name FROM shifting")
        HIDDEN.absent(c.received)


# ---- the wire's own ways ----

def drain(c, *parts):
    c.send(*parts, raw.SYNC)
    return c.until_ready()


@pytest.mark.parametrize("fmt", [0, 1])
def test_p12_execute_without_describe(stack, fmt):
    with stack.connect() as c:
        for _ in range(2):
            reply = drain(c, raw.parse("", "SELECT ssn, email, card FROM users"), raw.bind("", "", (), (), [fmt]), raw.execute())
            assert "T" not in reply.kinds, "nobody asked for a description"
            assert reply.sqlstate == "42501" or len(reply.rows) == 6, reply
        reply = drain(c, raw.parse("s", "SELECT ssn FROM users WHERE id = $1"))
        for i in (1, 2, 3):
            reply = drain(c, raw.bind("", "s", [str(i)], (), [fmt]), raw.execute())
            assert reply.rows == [[b"****"]], reply
        HIDDEN.absent(c.received)


def test_p12_portal_outlives_its_statement(stack):
    with stack.connect() as c:
        c.query("BEGIN")
        drain(c, raw.parse("s", "SELECT ssn FROM users"), raw.bind("p", "s"), raw.close("S", "s"),
              raw.parse("s", "SELECT label FROM orders"), raw.execute("p", 2))
        reply = drain(c, raw.execute("p", 0))
        assert all(cell == b"****" for row in reply.rows for cell in row)
        c.query("ROLLBACK")
        HIDDEN.absent(c.received)


def test_p12_row_limits(stack):
    with stack.connect() as c:
        c.send(raw.parse("", "SELECT ssn FROM users"), raw.bind("", ""), raw.execute("", 1), raw.execute("", 2), raw.execute("", 0), raw.SYNC)
        reply = c.until_ready()
        assert len(reply.rows) == 6 and set(map(tuple, reply.rows)) == {(b"****",)}
        assert reply.kinds.count("s") == 2
        HIDDEN.absent(c.received)


def test_p13_names_cross_sql_and_wire(stack):
    with stack.connect() as c:
        c.query("PREPARE q AS SELECT ssn FROM users")
        drain(c, raw.bind("", "q"), raw.execute())
        drain(c, raw.parse("w", "SELECT ssn FROM users"))
        c.query("EXECUTE w")
        c.query("BEGIN")
        drain(c, raw.bind("portal", "w"))
        c.query("FETCH ALL FROM portal")
        c.query("DECLARE cur CURSOR FOR SELECT ssn FROM users")
        drain(c, raw.execute("cur"))
        drain(c, raw.describe("P", "cur"), raw.execute("cur", 1))
        c.query("ROLLBACK")
        c.query("PREPARE q2 AS SELECT ssn || '' FROM users")
        drain(c, raw.bind("", "q2"), raw.execute())
        HIDDEN.absent(c.received)
        assert c.query("SELECT 1").text() == [["1"]]


def test_p22_column_name_from_a_cursor(stack):
    """A function that opens a cursor may name it, and so a column of its result, as it likes."""
    stack.admin("""CREATE OR REPLACE FUNCTION named() RETURNS refcursor LANGUAGE plpgsql AS
        $$ DECLARE r refcursor; BEGIN r := (SELECT ssn FROM users WHERE id = 1); OPEN r FOR SELECT 1; RETURN r; END $$""")
    with stack.connect() as c:
        c.query("BEGIN")
        c.query("SELECT named()")
        c.query("SELECT * FROM pg_cursors")
        c.query("ROLLBACK")
        HIDDEN.absent(c.received)


def test_p25_shift_jis(stack):
    with stack.bare() as c:
        c.sock.settimeout(10)
        if stack.client_tls:
            c.ssl_request()
            c.start_tls()
        reply = c.startup("agent", stack.database, "agent-pass word", {"client_encoding": "SJIS"})
        if reply.status:
            c.send(raw.frame(b"Q", b"SELECT E'\x83\x5c'; SELECT ssn || '' FROM users --'\0"))
            c.until_ready()
        HIDDEN.absent(c.received)


def test_p25_standard_strings_from_the_role(stack):
    """The role's own settings come from the server; the guard has to see to them at login."""
    stack.admin("ALTER ROLE agent SET standard_conforming_strings = off")
    try:
        with stack.bare() as c:
            if stack.client_tls:
                c.ssl_request()
                c.start_tls()
            if c.startup("agent", stack.database, "agent-pass word").status:
                c.query("SELECT '\\', ' || (SELECT min(ssn) FROM users) --'")
                c.query("RESET standard_conforming_strings")
                c.query("SELECT '\\', ' || (SELECT min(ssn) FROM users) --'")
            HIDDEN.absent(c.received)
    finally:
        stack.admin("ALTER ROLE agent RESET ALL")


@pytest.mark.parametrize("data", [b"SELECT '\x83\x5c'; SELECT ssn || '' FROM users --'", b"SELECT '\xff'", b"SELECT \xc0\xaf"])
def test_p25_invalid_utf8(stack, data):
    with stack.connect() as c:
        reply = c.query(data)
        assert reply.sqlstate in ("22021", "42501"), reply.errors
        assert not reply.rows
        HIDDEN.absent(c.received)
        assert c.query("SELECT 1").text() == [["1"]]


def test_function_call_protocol(stack):
    with stack.connect() as c:
        oid = int(stack.admin("SELECT 'reveal(int)'::regprocedure::oid")[0][0])
        c.send(raw.function_call(oid, [b"\0\0\0\1"]))
        try:
            reply = c.until_ready()
            assert reply.errors and reply.sqlstate in ("0A000", "42501", "08P01"), reply
        finally:
            HIDDEN.absent(c.received)


# ---- writing masks back ----

def test_masks_are_not_written_back(stack):
    before = stack.admin("SELECT id, ssn, email FROM users ORDER BY id")
    with stack.connect() as c:
        email = c.query("SELECT email FROM ONLY users WHERE id = 1").text()[0][0]
        token = c.query("SELECT phone FROM ONLY users WHERE id = 1").text()[0][0]
        for column, value in (("ssn", "****"), ("email", email), ("phone", token)):
            assert c.query(f"UPDATE users SET {column} = '{value}' WHERE id = 1").sqlstate == "42501", column
            reply = c.extended(f"UPDATE users SET {column} = $1 WHERE id = 1", [value])
            assert reply.sqlstate == "42501", (column, value, reply)
        assert not c.query("UPDATE users SET name = 'user 1' WHERE id = 1").errors
    assert stack.admin("SELECT id, ssn, email FROM users ORDER BY id") == before


# ---- the mixed legs: the essentials only ----

@pytest.fixture(scope="module", params=MIXED)
def mixed(request):
    with Stack(RULES, setup=SETUP, **request.param) as s:
        yield s


@pytest.mark.parametrize("how", ["simple", "extended", "binary"])
def test_essentials_on_other_legs(mixed, how):
    with mixed.connect() as c:
        sql = "SELECT id, ssn FROM ONLY users ORDER BY id"
        reply = c.query(sql) if how == "simple" else c.extended(sql, result_formats=[1] if how == "binary" else [])
        assert [r[1] for r in reply.rows] == [b"****"] * 5
        for name in ("copy", "whole row", "P21 failing row", "cursors"):
            attack(mixed, c, ATTACKS[name], how)
        c.query("ROLLBACK")
        HIDDEN.absent(c.received)
        assert c.query("SELECT ssn || '' FROM users WHERE ssn = 'x'").sqlstate == "42501"
