# SPDX-License-Identifier: Apache-2.0
"""The guard reads a database's schema again only when it has changed. What it asks first, whether it
has, is checked against the rows themselves: whatever changes them must change that answer."""
import os

import pytest
from clients.harness import Stack
from support.run import wait_for

RULES = ['{name: all, action: Allow, sql: {operations: [Read, DDL, Update, Insert, Transaction, Session, Show], relations: ["*.*"], functions: ["*.*"]}}',
         '{name: ssn, action: Mask, sql: {columns: [public.people.ssn]}, mask: {method: Partial}}']
SETUP = ["CREATE TABLE people (id int PRIMARY KEY, name text, ssn text)", "INSERT INTO people VALUES (1, 'Ann', '078-05-1120')",
         "CREATE TABLE parent (id int)", "CREATE TABLE child (id int)", "CREATE TABLE pointing (id int)",
         "CREATE VIEW seen AS SELECT id, name FROM people", "CREATE MATERIALIZED VIEW stored AS SELECT id, name FROM people",
         "CREATE SCHEMA other", "CREATE FUNCTION f(x int) RETURNS int LANGUAGE sql AS 'SELECT x'",
         "CREATE FUNCTION trig() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
         "GRANT ALL ON ALL TABLES IN SCHEMA public TO agent", "GRANT ALL ON SCHEMA public, other TO agent"]
ROWS, STATE, SNAPSHOT = "pg_get_viewdef", "string_agg", "txid_current_snapshot"

# In this order, each after the ones before.
CHANGES = [
    "CREATE OR REPLACE VIEW seen AS SELECT id, ssn AS name FROM people", "ALTER VIEW seen RENAME COLUMN name TO ssn", "ALTER VIEW seen RENAME TO looked_at",
    "ALTER VIEW looked_at SET SCHEMA other", "CREATE VIEW v2 AS SELECT 1 AS x", "DROP VIEW v2", "CREATE RULE r AS ON INSERT TO child DO INSTEAD NOTHING",
    "DROP RULE r ON child", "ALTER TABLE people ADD COLUMN extra text", "ALTER TABLE people RENAME COLUMN extra TO more",
    "ALTER TABLE people DROP COLUMN more", "ALTER TABLE people RENAME TO persons", "ALTER TABLE persons RENAME TO people",
    "ALTER TABLE child INHERIT parent", "ALTER TABLE child NO INHERIT parent", "CREATE TABLE made (id int)", "DROP TABLE made",
    "BEGIN; DROP TABLE pointing; CREATE TABLE pointing (id int); COMMIT", "ALTER TABLE pointing ADD CONSTRAINT fk FOREIGN KEY (id) REFERENCES people (id)",
    "ALTER TABLE pointing DROP CONSTRAINT fk", "CREATE TRIGGER t BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION trig()", "DROP TRIGGER t ON child",
    "CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1'", "ALTER FUNCTION g() RENAME TO h", "ALTER FUNCTION h() SET SCHEMA other", "DROP FUNCTION other.h()",
    "CREATE FUNCTION pg_catalog.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'", "ALTER SCHEMA other RENAME TO another", "ALTER TABLE people ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE people DISABLE ROW LEVEL SECURITY", "CREATE SEQUENCE numbers", "CREATE TEMP TABLE mine (id int)", "CREATE TYPE mood AS ENUM ('a')",
    "CREATE VIEW moody AS SELECT 'a'::mood AS m", "ALTER TYPE mood RENAME TO temper", "CREATE TABLE parts (id int) PARTITION BY RANGE (id)",
    "CREATE TABLE part PARTITION OF parts FOR VALUES FROM (1) TO (2)", "ALTER TABLE parts DETACH PARTITION part", 
    "CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER remote FOREIGN DATA WRAPPER nowhere; CREATE FOREIGN TABLE away (id int) SERVER remote", "DROP FOREIGN DATA WRAPPER nowhere CASCADE",
    "DROP MATERIALIZED VIEW stored", "DROP SCHEMA another CASCADE",
]
# Of these the rows tell nothing, or nothing yet: pg_class.relhasrules stays until VACUUM.
UNREAD = ("DROP RULE", "CREATE TYPE")
# What leaves the schema alone.
OTHERS = ["INSERT INTO people VALUES (2, 'Bob', '219-09-9999')", "UPDATE people SET name = 'x'", "DELETE FROM people WHERE id = 2",
          "CREATE ROLE somebody", "DROP ROLE somebody", "ANALYZE", "SELECT 1"]


@pytest.fixture(scope="module", params=os.environ.get("CHAPERONE_PG", "15").split(","))
def stack(request):
    with Stack(RULES, version=int(request.param), setup=SETUP) as s:
        yield s


def asked(stack, mark):
    """Which of the guard's questions the server has read since."""
    said = stack.pg.log_since(mark)
    return {q for q in (ROWS, STATE, SNAPSHOT) if q in said}


def guard_queries(stack):
    """The queries themselves, as the server has read them at a login."""
    with stack.connect() as c:
        c.query("SELECT 1")
    texts = {}
    for line in stack.pg.log().splitlines():
        _, found, text = line.partition("statement: ")
        if found and "pg_catalog" in text and text.startswith("SELECT"):
            texts[text] = STATE if STATE in text else SNAPSHOT if SNAPSHOT in text else "path" if "current_schemas" in text else ROWS
    return ([t for t, kind in texts.items() if kind == ROWS], next(t for t, kind in texts.items() if kind == STATE))


def test_state_sees_every_change(stack):
    rows, state = guard_queries(stack)
    assert len(rows) == 7
    with stack.pg.superuser(stack.database) as reader, stack.pg.superuser(stack.database) as writer:
        def look():
            with reader.transaction():
                reader.execute("SET LOCAL search_path TO ''")
                return [sorted(map(str, reader.execute(q).fetchall())) for q in rows], reader.execute(state).fetchone()[0]
        before, said = look()
        same, said_again = look()
        assert (same, said_again) == (before, said)
        for sql in CHANGES:
            writer.execute(sql)
            after, says = look()
            assert says != said, sql
            if not sql.startswith(UNREAD):
                assert after != before, f"{sql} changes nothing that is read: a useless row of this table"
            before, said = after, says
        writer.execute("ANALYZE")  # the first one notes that parent has no children any more
        _, said = look()
        for sql in ("INSERT INTO child VALUES (1)", "ANALYZE", "VACUUM"):
            writer.execute(sql)
            assert look()[1] == said, sql


def test_login_asks_only_whether_anything_happened(stack):
    with stack.connect() as c:
        c.query("SELECT 1")
    mark = stack.pg.log_mark()
    for _ in range(3):
        with stack.connect() as c:
            assert c.query("SELECT ssn FROM people WHERE id = 1").rows[0][0] != b"078-05-1120"
    assert asked(stack, mark) == {SNAPSHOT}
    stack.admin(*OTHERS)
    mark = stack.pg.log_mark()
    with stack.connect() as c:
        c.query("SELECT 1")
    assert asked(stack, mark) == {SNAPSHOT, STATE}
    stack.admin("CREATE TABLE only_now (id int)")
    mark = stack.pg.log_mark()
    with stack.connect() as c:
        c.query("SELECT 1")
    assert asked(stack, mark) == {SNAPSHOT, STATE, ROWS}


def test_login_sees_a_view_that_was_just_changed(stack):
    """No two seconds for a new session: each of these is a fresh view on the masked column."""
    for i in range(4):
        stack.admin("DROP VIEW IF EXISTS turning", f"CREATE VIEW turning AS SELECT id, {'ssn' if i % 2 else 'name'} AS name FROM people",
                    "GRANT ALL ON turning TO agent")
        with stack.connect() as c:
            (value,), = c.query("SELECT name FROM turning WHERE id = 1").rows
            assert value != b"078-05-1120"
            assert (b"*" in value) == bool(i % 2), value


def test_own_uncommitted_changes_are_not_taken_for_everybodys(stack):
    """A transaction sees what it wrote; its catalogue must not become the others', nor theirs its."""
    stack.admin("CREATE TABLE IF NOT EXISTS private (id int, ssn text)", "INSERT INTO private VALUES (1, 'visible')", "GRANT ALL ON private TO agent",
                "ALTER TABLE private OWNER TO agent")
    with stack.connect() as c, stack.connect() as other:
        c.query("BEGIN")
        for sql in ("ALTER TABLE private RENAME COLUMN ssn TO shown", "CREATE VIEW public.within AS SELECT shown FROM public.private"):
            assert not c.query(sql).errors
        assert c.query("SELECT shown FROM within").rows == [[b"visible"]]
        mark = stack.pg.log_mark()
        with stack.connect() as third:
            assert third.query("SELECT ssn FROM people WHERE id = 1").rows[0][0] != b"078-05-1120"
        assert {SNAPSHOT, STATE} <= asked(stack, mark)  # the writer's snapshot proves nothing to others
        assert c.query("SELECT shown FROM within").rows == [[b"visible"]]
        c.query("ROLLBACK")
        assert c.query("SELECT shown FROM within").errors
        assert other.query("SELECT ssn FROM private").rows == [[b"visible"]]


def test_busy_session_looks_only_at_what_changed(stack):
    """While columns are masked the guard looks every 2 s: without changes with one small query."""
    with stack.connect() as c:
        c.query("SELECT id FROM people")
        mark = stack.pg.log_mark()
        wait_for(lambda: c.query("SELECT id FROM people").rows and SNAPSHOT in asked(stack, mark), 10, "a look at the schema")
        assert asked(stack, mark) == {SNAPSHOT}
        stack.admin("CREATE OR REPLACE VIEW turned AS SELECT id, ssn AS name FROM people", "GRANT ALL ON turned TO agent")
        wait_for(lambda: c.query("SELECT id FROM people").rows and ROWS in asked(stack, mark), 10, "the schema to be read")
        assert b"078-05-1120" not in c.query("SELECT name FROM turned WHERE id = 1").rows[0]
