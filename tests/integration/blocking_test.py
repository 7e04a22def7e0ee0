# SPDX-License-Identifier: Apache-2.0
"""Destructive statements in every disguise are refused before the server sees a byte of them.

Each case: SQLSTATE 42501 (or the one named), the server's log never saw the statement, the data is
as before, the connection goes on, the record has the denial. The role is a superuser: nothing but
the guard stands in the way.
"""
import time

import psycopg
import pytest

from clients import raw
from clients.harness import FULL, MIXED, Stack
from support import run

SETUP = [
    "CREATE TABLE items (id int PRIMARY KEY, name text)",
    "INSERT INTO items SELECT g, 'item ' || g FROM generate_series(1, 50) g",
    "CREATE TABLE bystander (id int)",
    """CREATE FUNCTION wipe() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'TRUN' || 'CATE items'; END $$""",
    "CREATE PROCEDURE wipe_it() LANGUAGE sql AS 'DELETE FROM items'",
    "CREATE SCHEMA hidden", "CREATE TABLE hidden.t AS SELECT 'HIDDEN-ROW' AS v", "CREATE TABLE t AS SELECT 'open' AS v",
    "CREATE TABLE viewed AS SELECT * FROM items",
    "CREATE VIEW all_items AS SELECT * FROM viewed",
]
RULES = [
    '{name: work, action: Allow, sql: {operations: [Read, Insert, Update, Delete, Transaction, Session, Explain], relations: ["public.*", "pg_temp.*"]}}',
    '{name: no-where, action: Deny, sql: {operations: [Update, Delete], where: Absent}, message: "name the rows you mean"}',
    '{name: ddl, action: Deny, sql: {operations: [DDL, Do, Call, Unknown]}, message: "open a migration PR"}',
]


class Blocking(Stack):
    def state(self):
        return self.admin("SELECT count(*), sum(id), min(name), (SELECT count(*) FROM bystander), "
                          "(SELECT count(*) FROM viewed), "
                          "(SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace) FROM items")


@pytest.fixture(scope="module", params=FULL)
def stack(request):
    with Blocking(RULES, setup=SETUP, superuser=True, **request.param) as s:
        yield s


@pytest.fixture
def untouched(stack):
    """The data is the same afterwards, whatever happened."""
    before = stack.state()
    yield stack
    assert stack.state() == before


DISGUISES = {
    "drop": "DROP TABLE items /*MARK*/",
    "drop two": "DROP TABLE IF EXISTS nothing, items /*MARK*/",
    "drop schema": "DROP SCHEMA public CASCADE /*MARK*/",
    "drop owned": "DROP OWNED BY agent /*MARK*/",
    "drop database": "DROP DATABASE postgres /*MARK*/",
    "truncate": "TRUNCATE items /*MARK*/",
    "truncate only": "TRUNCATE ONLY public.items RESTART IDENTITY /*MARK*/",
    "delete": "DELETE FROM items /*MARK*/",
    "delete true": "DELETE FROM items WHERE true /*MARK*/",
    "delete 1=1": "DELETE FROM items WHERE 1=1 /*MARK*/",
    "delete id=id": "DELETE FROM items WHERE id = id /*MARK*/",
    "delete or true": "DELETE FROM items WHERE id = 5 OR 1=1 /*MARK*/",
    "delete not false": "DELETE FROM items WHERE NOT false /*MARK*/",
    "delete null is null": "DELETE FROM items WHERE NULL IS NULL /*MARK*/",
    "delete view": "DELETE FROM all_items /*MARK*/",
    "delete star": "DELETE FROM items * /*MARK*/",
    "update": "UPDATE items SET name = 'x' /*MARK*/",
    "update true": "UPDATE items SET name = 'x' WHERE 'a' = 'a' /*MARK*/",
    "lower and upper": "dRoP tAbLe items /*MARK*/",
    "leading comment": "/* SELECT 1; */ -- hello\n DROP TABLE items /*MARK*/",
    "nested comment": "/* /* SELECT */ */DROP/**/TABLE/*MARK*/items",
    "white space": "\n\t\f DROP\n\tTABLE\n items /*MARK*/",
    "unicode identifier": 'DROP TABLE U&"it\\0065ms" /*MARK*/',
    "unicode escape character": "DROP TABLE U&\"it!0065ms\" UESCAPE '!' /*MARK*/",
    "quoted": 'DROP TABLE "public"."items" /*MARK*/',
    "semicolons": ";;; ; DROP TABLE items;; /*MARK*/;",
    "second statement": "SELECT 1; DROP TABLE items /*MARK*/",
    "third statement": "SELECT 1; INSERT INTO bystander VALUES (1); DELETE FROM items /*MARK*/",
    "commit first": "COMMIT; DROP TABLE items /*MARK*/",
    "rollback first": "ROLLBACK; SET TRANSACTION READ WRITE; DROP TABLE items /*MARK*/",
    "begin end": "BEGIN; TRUNCATE items; COMMIT /*MARK*/",
    "string then statement": "SELECT ';'; DELETE FROM items /*MARK*/",
    "e string": "SELECT E'\\''; DROP TABLE items; --' /*MARK*/",
    "dollar quotes": "SELECT $a$;$a$; DROP TABLE items; SELECT $b$ $b$ /*MARK*/",
    "dollar not a quote": "SELECT 1 AS a$b$; DROP TABLE items /*MARK*/; SELECT 2 AS c$b$",
    "do": "DO $$ BEGIN DROP TABLE items; END $$ /*MARK*/",
    "do execute": "DO $$ BEGIN EXECUTE 'DR' || 'OP TABLE items'; END $$ /*MARK*/",
    "call": "CALL wipe_it() /*MARK*/",
    "function": "SELECT wipe() /*MARK*/",
    "function in where": "SELECT 1 FROM bystander WHERE wipe() IS NULL /*MARK*/",
    "function in values": "INSERT INTO bystander VALUES (length(wipe()::text)) /*MARK*/",
    "query_to_xml": "SELECT query_to_xml('DELETE FROM items RETURNING 1', true, true, '') /*MARK*/",
    "create function": "CREATE FUNCTION w2() RETURNS void LANGUAGE sql AS 'DELETE FROM items' /*MARK*/",
    "prepare": "PREPARE gone AS DELETE FROM items /*MARK*/",
    "prepare and execute": "PREPARE gone2 AS DELETE FROM items; EXECUTE gone2 /*MARK*/",
    "explain analyze": "EXPLAIN ANALYZE DELETE FROM items /*MARK*/",
    "explain options": "EXPLAIN (COSTS OFF, ANALYZE ON) DELETE FROM items WHERE true /*MARK*/",
    "explain analyze cte": "EXPLAIN ANALYZE WITH x AS (DELETE FROM items RETURNING 1) SELECT * FROM x /*MARK*/",
    "cte delete": "WITH x AS (DELETE FROM items RETURNING *) SELECT count(*) FROM x /*MARK*/",
    "cte update": "WITH x AS (UPDATE items SET name = 'y' RETURNING *), y AS (SELECT 1) SELECT * FROM y /*MARK*/",
    "cte in insert": "WITH x AS (DELETE FROM items RETURNING id) INSERT INTO bystander SELECT id FROM x /*MARK*/",
    "cte nested": "SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x) s; WITH d AS (DELETE FROM items RETURNING 1) SELECT 1 /*MARK*/",
    "declare": "BEGIN; DECLARE c CURSOR FOR SELECT wipe() /*MARK*/",
    "merge": "MERGE INTO items i USING bystander b ON true WHEN MATCHED THEN DELETE /*MARK*/",
    "copy program": "COPY items TO PROGRAM 'cat > /tmp/chaperone-stolen' /*MARK*/",
    "copy from program": "COPY items FROM PROGRAM 'echo 99' /*MARK*/",
    "copy file": "COPY items TO '/tmp/chaperone-stolen' /*MARK*/",
    "copy delete": "COPY (DELETE FROM items RETURNING 1) TO STDOUT /*MARK*/",
    "alter": "ALTER TABLE items DROP COLUMN name /*MARK*/",
    "alter system": "ALTER SYSTEM SET fsync = off /*MARK*/",
    "rule": "CREATE RULE r AS ON INSERT TO bystander DO ALSO DELETE FROM items /*MARK*/",
    "trigger": "CREATE TRIGGER t AFTER INSERT ON bystander EXECUTE FUNCTION wipe() /*MARK*/",
    "grant": "GRANT ALL ON items TO PUBLIC /*MARK*/",
    "lo_export": "SELECT lo_export(1, '/tmp/x') /*MARK*/",
    "lo_import": "SELECT lo_import('/etc/passwd') /*MARK*/",
    "read file": "SELECT pg_read_file('/etc/passwd') /*MARK*/",
    "ls dir": "SELECT * FROM pg_ls_dir('/') /*MARK*/",
    "terminate": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity /*MARK*/",
    "reload": "SELECT pg_reload_conf() /*MARK*/",
    "slot": "SELECT pg_create_logical_replication_slot('s', 'test_decoding') /*MARK*/",
    "load": "LOAD 'auto_explain' /*MARK*/",
    "extension": "CREATE EXTENSION dblink /*MARK*/",
    "dblink": "SELECT * FROM dblink('dbname=postgres', 'DROP TABLE items') AS t(a int) /*MARK*/",
    "prepare transaction": "BEGIN; PREPARE TRANSACTION 'x' /*MARK*/",
    "set role": "SET SESSION AUTHORIZATION postgres; DROP TABLE items /*MARK*/",
    "catalogue": "DELETE FROM pg_class WHERE relname = 'items' /*MARK*/",
    "catalogue update": "UPDATE pg_proc SET prosrc = 'x' WHERE proname = 'wipe' /*MARK*/",
    "unknown grammar": "FROBNICATE TABLE items /*MARK*/",
    "unterminated": "DROP TABLE items; SELECT 'x /*MARK*/",
    "vacuum": "VACUUM FULL items /*MARK*/",
    "reindex": "REINDEX DATABASE postgres /*MARK*/",
    "cluster": "CLUSTER items USING items_pkey /*MARK*/",
}


UNREADABLE = ("unknown grammar", "unterminated")  # a syntax error may be called one


def states(name):
    return ("42501", "42601") if name in UNREADABLE else ("42501",)


def refused(reply, states=("42501",)):
    return reply.sqlstate in states and not reply.rows and not reply.tags and not reply.copy


@pytest.mark.parametrize("name", DISGUISES)
def test_simple_query(untouched, name):
    mark = "mark-" + name.replace(" ", "-").replace("=", "")
    sql = DISGUISES[name].replace("MARK", mark)
    at = untouched.pg.log_mark()
    with untouched.connect() as c:
        reply = c.query(sql)
        assert refused(reply, states(name)), reply
        assert reply.status == "I"
        assert reply.errors[0]["S"] == "ERROR" and reply.message
        assert c.query("SELECT id FROM items WHERE id = 1").text() == [["1"]]
    assert not untouched.pg.saw(mark, since=at)
    assert untouched.denied_in_record(mark)


@pytest.mark.parametrize("name", [n for n in DISGUISES if "; " not in DISGUISES[n].strip("; ")])
def test_extended_query(untouched, name):
    mark = "xmark-" + name.replace(" ", "-").replace("=", "")
    sql = DISGUISES[name].replace("MARK", mark)
    at = untouched.pg.log_mark()
    with untouched.connect() as c:
        c.send(raw.parse("", sql), raw.bind("", ""), raw.describe("P"), raw.execute(), raw.SYNC)
        reply = c.until_ready()
        assert refused(reply, states(name)) and reply.kinds == "EZ", reply
        assert c.extended("SELECT id FROM items WHERE id = $1", ["1"]).text() == [["1"]]
    assert not untouched.pg.saw(mark, since=at)
    assert untouched.denied_in_record(mark)


def test_the_answer_says_rule_and_reason(stack):
    with stack.connect() as c:
        reply = c.query("DROP TABLE items")
        text = " ".join(reply.errors[0].values())
        assert "ddl" in text and "open a migration PR" in text, text
        reply = c.query("DELETE FROM items")
        text = " ".join(reply.errors[0].values())
        assert "no-where" in text and "name the rows you mean" in text, text


def test_what_is_allowed_works(stack):
    with stack.connect() as c:
        for sql in ("INSERT INTO items VALUES (1000, 'new')", "UPDATE items SET name = 'other' WHERE id = 1000",
                    "DELETE FROM items WHERE id = 1000", "SELECT * FROM items WHERE name = 'DROP TABLE items; DELETE FROM items'",
                    "SELECT 'TRUNCATE items' -- DELETE FROM items\n", "EXPLAIN DELETE FROM items WHERE id = 1",
                    "BEGIN; SELECT 1; COMMIT", "PREPARE ok AS DELETE FROM items WHERE id = $1; EXECUTE ok(-1); DEALLOCATE ok"):
            reply = c.query(sql)
            assert not reply.errors, (sql, reply.errors)


# ---- where it stands in the conversation ----

def test_in_a_transaction_block_the_block_fails(untouched):
    """The upstream transaction must really be failed: what the status says is true."""
    with untouched.connect() as c:
        assert c.query("BEGIN; INSERT INTO bystander VALUES (1)").status == "T"
        reply = c.query("DROP TABLE items")
        assert reply.sqlstate == "42501" and reply.status == "E"
        reply = c.query("SELECT 1")
        assert reply.sqlstate == "25P02" and reply.status == "E"
        reply = c.query("COMMIT")
        assert reply.tags == ["ROLLBACK"] and reply.status == "I"
        assert c.query("SELECT 1").text() == [["1"]]


def test_savepoint_recovers_from_a_denial(untouched):
    with untouched.connect() as c:
        c.query("BEGIN")
        c.query("SAVEPOINT a")
        assert c.query("TRUNCATE items").status == "E"
        assert c.query("ROLLBACK TO a").status == "T"
        assert c.query("SELECT 1").text() == [["1"]]
        assert c.query("COMMIT").tags == ["COMMIT"]


def test_extended_in_a_transaction_block(untouched):
    with untouched.connect() as c:
        c.query("BEGIN")
        reply = c.extended("DELETE FROM items")
        assert reply.sqlstate == "42501" and reply.status == "E"
        assert c.extended("SELECT 1").sqlstate == "25P02"
        assert c.query("ROLLBACK").status == "I"


def test_pipeline_implicit_transaction_is_rolled_back(untouched):
    """An allowed INSERT before the denied statement in one pipeline shares its fate, as it would with any error."""
    with untouched.connect() as c:
        c.send(raw.parse("", "INSERT INTO bystander VALUES (77)"), raw.bind("", ""), raw.execute(),
               raw.parse("", "DROP TABLE items"), raw.bind("", ""), raw.execute(),
               raw.parse("", "INSERT INTO bystander VALUES (78)"), raw.bind("", ""), raw.execute(), raw.SYNC)
        reply = c.until_ready()
        assert reply.sqlstate == "42501" and reply.status == "I"
        assert reply.tags == ["INSERT 0 1"], "nothing after the error is run"
        assert c.query("SELECT count(*) FROM bystander").text() == [["0"]]


def test_p14_denied_parse_then_bind(untouched):
    with untouched.connect() as c:
        c.send(raw.parse("s", "DELETE FROM items"), raw.bind("", "s"), raw.execute(), raw.SYNC)
        assert c.until_ready().kinds == "EZ"
        c.send(raw.bind("", "s"), raw.execute(), raw.SYNC)
        reply = c.until_ready()
        assert reply.sqlstate == "26000", reply
        c.query("PREPARE s2 AS DELETE FROM items")
        assert c.query("EXECUTE s2").sqlstate == "26000"
        c.send(raw.bind("", "s2"), raw.execute(), raw.SYNC)
        assert c.until_ready().sqlstate == "26000"


def test_denied_parse_keeps_an_older_statement_of_that_name(untouched):
    with untouched.connect() as c:
        c.send(raw.parse("", "SELECT 1"), raw.SYNC)
        c.until_ready()
        c.send(raw.parse("", "DROP TABLE items"), raw.SYNC)
        c.until_ready()
        c.send(raw.bind("", ""), raw.execute(), raw.SYNC)
        reply = c.until_ready()
        assert reply.sqlstate == "26000" or reply.text() == [["1"]]


def test_psycopg_pipeline(untouched):
    with psycopg.connect(**untouched.conninfo()) as c:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            with c.pipeline():
                c.execute("INSERT INTO bystander VALUES (1)")
                c.execute("DROP TABLE items")
                c.execute("INSERT INTO bystander VALUES (2)")
        c.rollback()
        assert c.execute("SELECT count(*) FROM bystander").fetchone() == (0,)


def test_copy_in_is_judged_and_counted(untouched):
    with untouched.connect() as c:
        assert c.query("COPY items FROM STDIN").sqlstate == "42501", "CopyIn is not allowed by the policy"
        assert c.query("SELECT 1").text() == [["1"]]


def test_p17_function_call(untouched):
    oid = int(untouched.admin("SELECT 'wipe'::regproc::oid")[0][0])
    with untouched.connect() as c:
        c.send(raw.function_call(oid))
        reply = c.until_ready()
        assert reply.sqlstate in ("0A000", "42501"), reply
        assert reply.closed or c.query("SELECT 1").text() == [["1"]]


@pytest.mark.parametrize("value", ["database", "true", "tru", "on", "1", "yes"])
def test_p6_replication_startup(untouched, value):
    with untouched.bare() as c:
        if untouched.client_tls:
            c.ssl_request()
            c.start_tls()
        reply = c.startup("agent", untouched.database, "agent-pass word", {"replication": value})
        assert reply.errors and reply.status == "", "no session with replication"
        assert reply.errors[0]["S"] == "FATAL" and reply.sqlstate in ("0A000", "42501", "08P01")
        assert c.closed_by_peer()


# ---- a name means what the server takes it for ----

NAMES = [
    ["SET search_path = hidden", "SELECT v FROM t"], ["SET search_path = hidden; SELECT v FROM t"], ["SET search_path = hidden; SELECT 1", "SELECT v FROM t"],
    ["BEGIN", "SET LOCAL search_path = hidden", "SELECT v FROM t"], ["SELECT set_config('search_path', 'hidden', false)", "SELECT v FROM t"],
    ["PREPARE p AS SELECT v FROM t", "SET search_path = hidden", "EXECUTE p"], ["BEGIN", "SAVEPOINT a", "SET search_path = hidden", "RELEASE a", "SELECT v FROM t"],
    ["ALTER ROLE agent SET search_path = hidden", "RESET ALL", "SELECT v FROM t"], ["UPDATE pg_settings SET setting = 'hidden' WHERE name = 'search_path'", "SELECT v FROM t"],
    ["ALTER SCHEMA hidden RENAME TO public2", "SELECT v FROM t"], ["SELECT v FROM hidden.t"], ["SELECT v FROM \"hidden\".\"t\""], ["SELECT v FROM U&\"hid\\0064en\".t"],
    ["WITH t AS (SELECT * FROM hidden.t) SELECT v FROM t"], ["SELECT x.v FROM t, hidden.t x"], ["SELECT (SELECT v FROM hidden.t)"], ["TABLE hidden.t"],
    ["DECLARE c CURSOR WITH HOLD FOR SELECT v FROM hidden.t", "FETCH c"], ["COPY hidden.t TO STDOUT"], ["SELECT hidden.t.v FROM hidden.t"],
    ["SELECT v FROM ONLY hidden.t"], ["SELECT v FROM (t CROSS JOIN hidden.t h (x))"], ["SELECT * FROM t NATURAL JOIN hidden.t h"], ["EXPLAIN ANALYZE SELECT v FROM hidden.t"],
    ["INSERT INTO bystander SELECT length(v) FROM hidden.t"], ["UPDATE items SET name = (SELECT v FROM hidden.t) WHERE id = -1"],
    ["SELECT 1 FROM t WHERE EXISTS (SELECT 1 FROM hidden.t WHERE v LIKE 'H%')"], ["LOCK TABLE hidden.t"], ["SELECT 'hidden.t'::regclass::text, query_to_xml('table hidden.t', true, true, '')"],
]


@pytest.mark.parametrize("how", ["simple", "extended"])
@pytest.mark.parametrize("statements", NAMES, ids=lambda s: s[0][:40])
def test_other_schemas_stay_closed(untouched, statements, how):
    with untouched.connect() as c:
        replies = [c.query(s) if how == "simple" or "; " in s else c.extended(s) for s in statements]
        assert b"HIDDEN-ROW" not in c.received
        assert any(r.sqlstate == "42501" for r in replies), [r.errors for r in replies]


def test_search_path_from_the_startup_packet(stack):
    with stack.bare() as c:
        if stack.client_tls:
            c.ssl_request()
            c.start_tls()
        reply = c.startup("agent", stack.database, "agent-pass word", {"search_path": "hidden"})
        if reply.status:
            assert c.query("SELECT v FROM t").sqlstate == "42501"
        assert b"HIDDEN-ROW" not in c.received


# ---- size and depth ----

def bombs():
    return {
        "plus": "SELECT " + "+".join(["1"] * 64000),
        "parentheses": "SELECT " + "(" * 100_000 + "1" + ")" * 100_000,
        "and": "SELECT 1 WHERE " + " AND ".join(["true"] * 60000),
        "or": "SELECT id FROM items WHERE " + " OR ".join(f"id = {i}" for i in range(40000)),
        "not": "SELECT " + "NOT " * 100_000 + "true",
        "minus": "SELECT " + "- " * 100_000 + "1",
        "comments": "SELECT 1 " + "/*" * 400_000 + "*/" * 400_000,
        "open comments": "SELECT 1 " + "/*" * 400_000,
        "brackets": "SELECT " + "ARRAY[" * 30_000 + "1" + "]" * 30_000,
        "case": "SELECT " + "CASE WHEN true THEN " * 20_000 + "1" + " END" * 20_000,
        "subqueries": "SELECT " + "(SELECT " * 20_000 + "1" + ")" * 20_000,
        "unions": "SELECT 1" + " UNION SELECT 1" * 30_000,
        "casts": "SELECT 1" + "::int" * 100_000,
        "joins": "SELECT 1 FROM items" + " CROSS JOIN items" * 20_000,
        "cte depth": "WITH a AS (" * 10_000 + "SELECT 1" + ") SELECT * FROM a" * 10_000,
        "concat": "SELECT 'a'" + "||'a'" * 60_000,
        "indirection": "SELECT a" + "[1]" * 60_000,
    }


@pytest.mark.parametrize("how", ["simple", "extended"])
@pytest.mark.parametrize("name", bombs())
def test_p27_parser_bombs(untouched, name, how):
    sql = bombs()[name]
    with untouched.connect(timeout=30) as other, untouched.connect(timeout=30) as c:
        c.send(raw.query(sql) if how == "simple" else raw.parse("", sql) + raw.SYNC)
        slowest = 0
        for _ in range(5):  # a neighbour on the same loop
            t = time.monotonic()
            assert other.query("SELECT 1").text() == [["1"]]
            slowest = max(slowest, time.monotonic() - t)
        assert slowest < 1.0 * run.SLOWNESS, f"another session waited {slowest:.2f} s"
        reply = c.until_ready()
        assert reply.sqlstate in ("54001", "54000", "42501"), reply.errors or reply.kinds
        assert not reply.closed and c.query("SELECT 1").text() == [["1"]]


def test_p27_long_list_is_fine(stack):
    """A large but ordinary statement is not a bomb."""
    with stack.connect() as c:
        numbers = ",".join(str(i) for i in range(20000))
        assert len(c.query(f"SELECT id FROM items WHERE id IN ({numbers})").rows) == 50
        rows = ",".join(f"({i})" for i in range(5000))
        assert c.query(f"BEGIN; INSERT INTO bystander VALUES {rows}; ROLLBACK").tags[1] == "INSERT 0 5000"


@pytest.mark.parametrize("size", [2 << 20, 9 << 20, 70 << 20])
@pytest.mark.parametrize("how", ["simple", "extended"])
def test_padding_does_not_hide_a_statement(untouched, size, how):
    """hoop's hole 1: what does not fit the buffer went through unread."""
    at = untouched.pg.log_mark()
    with untouched.connect(timeout=60) as c:
        sql = "DELETE FROM items /* hidden-by-padding " + "x" * size + " */"
        try:
            c.send(raw.query(sql) if how == "simple" else raw.parse("", sql) + raw.SYNC)
            reply = c.until_ready()
        except OSError:
            reply = raw.Reply(closed=True)  # refused while we were still sending
        assert reply.closed or reply.sqlstate in ("54000", "54001", "42501"), reply.errors
        if not reply.closed:
            assert c.query("SELECT 1").text() == [["1"]]
    assert not untouched.pg.saw("hidden-by-padding", since=at)


# ---- Audit ----

def test_audit_forwards_and_says_so():
    with Blocking(RULES, setup=SETUP, mode="Audit") as s:
        s.admin("ALTER TABLE items OWNER TO agent")
        with s.connect() as c:
            reply = c.query("DELETE FROM items /* audited */")
            assert reply.tags == ["DELETE 50"], reply
        text = str(s.record_of("audited"))
        assert "wouldDeny" in text or "would" in text, text


# ---- the mixed legs ----

@pytest.fixture(scope="module", params=MIXED)
def mixed(request):
    with Blocking(RULES, setup=SETUP, superuser=True, **request.param) as s:
        yield s


def test_essentials_on_other_legs(mixed):
    before = mixed.state()
    with mixed.connect() as c:
        for name in ("drop", "truncate", "delete", "second statement", "do", "cte delete", "function"):
            assert refused(c.query(DISGUISES[name])), name
        c.query("BEGIN")
        assert c.extended("DROP TABLE items").status == "E"
        assert c.query("SELECT 1").sqlstate == "25P02"
        c.query("ROLLBACK")
        assert c.query("SELECT 1").text() == [["1"]]
    assert mixed.state() == before
