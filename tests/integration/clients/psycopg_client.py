# SPDX-License-Identifier: Apache-2.0
"""Ordinary work with psycopg 3. Usage: psycopg_client.py CONNINFO

Prints one deterministic line for each thing that it saw; two servers that behave alike give
equal output.
"""
import datetime
import decimal
import hashlib
import sys
import threading
import time
import uuid

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

CONNINFO = sys.argv[1]


def say(section, *values):
    print(section + ":", *[v if isinstance(v, str) else repr(v) for v in values], flush=True)


def digest(rows):
    h, n = hashlib.sha256(), 0
    for row in rows:
        h.update(repr(row).encode())
        n += 1
    return n, h.hexdigest()[:16]


def failure(e):
    d = e.diag
    return (d.sqlstate, d.message_primary, d.message_detail, d.constraint_name, d.statement_position)


def connecting(conn):
    i = conn.info
    for name in ("client_encoding", "server_encoding", "standard_conforming_strings", "DateStyle",
                 "integer_datetimes", "server_version", "TimeZone", "IntervalStyle"):
        say("parameter", name, i.parameter_status(name))
    say("status", i.transaction_status.name, i.pipeline_status.name)


def setup(conn):
    conn.execute("DROP TABLE IF EXISTS psycopg_child, psycopg_items")
    conn.execute("""CREATE TABLE psycopg_items (
        id serial PRIMARY KEY, name text NOT NULL UNIQUE, qty int CHECK (qty >= 0),
        price numeric(12,4), tags text[], doc jsonb, made timestamptz, raw bytea)""")
    conn.execute("CREATE TABLE psycopg_child (item int REFERENCES psycopg_items, note text)")
    conn.commit()
    say("setup", "done")


def transactions(conn):
    cur = conn.execute("INSERT INTO psycopg_items (name, qty) VALUES (%s, %s) RETURNING id", ("a", 1))
    say("insert", cur.fetchone(), cur.statusmessage)
    conn.rollback()
    say("rolled back", conn.execute("SELECT count(*) FROM psycopg_items").fetchone())
    with conn.transaction():
        conn.execute("INSERT INTO psycopg_items (name, qty) VALUES ('keep', 1)")
        try:
            with conn.transaction():
                conn.execute("INSERT INTO psycopg_items (name, qty) VALUES ('drop', 1)")
                conn.execute("INSERT INTO psycopg_items (name, qty) VALUES ('keep', 2)")
        except psycopg.errors.UniqueViolation as e:
            say("unique", failure(e))
        say("in transaction", conn.info.transaction_status.name)
    say("after savepoint", conn.execute("SELECT name FROM psycopg_items").fetchall())
    conn.commit()


def errors(conn):
    for text, values in [
            ("SELECT 1/0", ()), ("SELECT nothing FROM psycopg_items", ()),
            ("SELECT 'x'::int", ()), ("INSERT INTO psycopg_items (name, qty) VALUES ('neg', -1)", ()),
            ("INSERT INTO psycopg_child VALUES (999, 'x')", ()), ("SELECT %s::int", ("abc",)),
            ("SELECT * FROM psycopg_absent", ()), ("INSERT INTO psycopg_items (name) VALUES (NULL)", ())]:
        try:
            conn.execute(text, values)
            say("error", text, "none")
        except psycopg.Error as e:
            say("error", text, failure(e), conn.info.transaction_status.name)
        try:
            conn.execute("SELECT 1")
            say("failed block", "usable")
        except psycopg.errors.InFailedSqlTransaction as e:
            say("failed block", e.diag.sqlstate)
        conn.rollback()
    try:
        conn.execute("SELEC 1")  # a guard refuses what it cannot parse, in its own words
    except psycopg.Error as e:
        say("syntax error", len(e.diag.sqlstate))
    conn.rollback()
    say("recovered", conn.execute("SELECT 42").fetchone())
    conn.commit()


TYPES = [
    ("int2", 7), ("int4", -2 ** 31), ("int8", 2 ** 62), ("float8", 1.5), ("float4", 0.25),
    ("numeric", decimal.Decimal("12345678901234567890.123456789")), ("bool", True), ("text", "grüße ☃ 𝄞"),
    ("varchar", "v"), ("bytea", bytes(range(256))), ("date", datetime.date(2024, 2, 29)),
    ("time", datetime.time(23, 59, 59, 123456)), ("timestamp", datetime.datetime(1999, 12, 31, 23, 59, 59, 1)),
    ("timestamptz", datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)),
    ("interval", datetime.timedelta(days=3, seconds=7)), ("uuid", uuid.UUID(int=7)),
    ("jsonb", Jsonb({"a": [1, None, {"b": "c"}]})), ("int4[]", [1, None, 3]), ("text[]", ["a", 'q"uo,te', None, ""]),
    ("int4[][]", [[1, 2], [3, 4]]), ("text", ""), ("text", None), ("int4", None), ("inet", "10.1.2.3/8")]


def types(conn):
    for binary in (False, True):
        for kind, value in TYPES:
            cur = conn.cursor(binary=binary)
            cur.execute(sql.SQL("SELECT %s::{} AS v").format(sql.SQL(kind)), (value,))
            d = cur.description[0]
            got = cur.fetchone()[0]
            say("type", binary, kind, d.name, d.type_code, str(got) if kind != "bytea" else hashlib.sha256(got).hexdigest()[:8])
    conn.commit()


def large(conn):
    cur = conn.execute("SELECT g, 'row ' || g, g * 2.5 FROM generate_series(1, 200000) g")
    say("200k text", digest(cur))
    cur = conn.cursor(binary=True)
    cur.execute("SELECT g, md5(g::text) FROM generate_series(1, 200000) g")
    say("200k binary", digest(cur))
    parameter = "x" * 1_000_000 + "é"
    say("1 MB", conn.execute("SELECT length(%s), md5(%s)", (parameter, parameter)).fetchone())
    back = conn.execute("SELECT repeat(%s, 100000)", ("0123456789ab",)).fetchone()[0]
    say("1 MB back", len(back), hashlib.sha256(back.encode()).hexdigest()[:16])
    wide = conn.execute("SELECT " + ", ".join(f"{i} AS c{i}" for i in range(1000))).fetchone()
    say("1000 columns", len(wide), sum(wide))
    conn.commit()


def copying(conn):
    conn.execute("CREATE TEMP TABLE t_copy (a int, b text, c bytea)")
    cur = conn.cursor()
    with cur.copy("COPY t_copy FROM STDIN") as copy:
        for i in range(5000):
            copy.write_row((i, None if i % 7 == 0 else f"line\t{i}\n", bytes([i % 256])))
    say("copy in", cur.statusmessage)
    with cur.copy("COPY t_copy (a, b, c) FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(["int4", "text", "bytea"])
        for i in range(100):
            copy.write_row((i, "bin", b"\0\1"))
    say("copy binary in", cur.statusmessage)
    for how in ("", " (FORMAT csv, HEADER)", " (FORMAT binary)"):
        h, n = hashlib.sha256(), 0
        with cur.copy(f"COPY t_copy TO STDOUT{how}") as copy:
            for block in copy:
                h.update(block)
                n += len(block)
        say("copy out", how, n, h.hexdigest()[:16])
    with cur.copy("COPY (SELECT g, g % 3 FROM generate_series(1, 50000) g) TO STDOUT") as copy:
        say("copy query", digest(copy.rows()))
    try:
        with cur.copy("COPY t_copy FROM STDIN") as copy:
            copy.write(b"not a number\tx\t\n")
    except psycopg.Error as e:
        say("copy error", failure(e))
    conn.rollback()
    try:
        with conn.cursor().copy("COPY psycopg_items (name) FROM STDIN") as copy:
            copy.write_row(("half",))
            raise KeyError("stop")
    except (KeyError, psycopg.Error) as e:
        say("copy stopped", type(e).__name__)
    conn.rollback()
    say("after copy", conn.execute("SELECT count(*) FROM psycopg_items").fetchone())
    conn.commit()


def cursors(conn):
    with conn.cursor(name="c_plain") as cur:
        cur.itersize = 1000
        cur.execute("SELECT g FROM generate_series(1, 10000) g")
        say("server cursor", cur.fetchmany(3), digest(cur))
    with conn.cursor(name="c_scroll", scrollable=True) as cur:
        cur.execute("SELECT g FROM generate_series(1, 100) g")
        cur.scroll(50)
        say("scroll", cur.fetchone())
        cur.scroll(-10)
        say("scroll back", cur.fetchone())
    conn.commit()
    with conn.cursor(name="c_hold", withhold=True) as cur:
        cur.execute("SELECT g FROM generate_series(1, 10) g")
        conn.commit()
        say("with hold", cur.fetchall())
    conn.commit()


def prepared(conn):
    for i in range(12):
        cur = conn.execute("SELECT %s::int + 1, %s::text", (i, f"p{i}"), prepare=True)
        if i in (0, 11):
            say("prepared", cur.fetchone())
    conn.execute("PREPARE by_hand (int) AS SELECT $1 * 2")
    say("execute", conn.execute("EXECUTE by_hand (21)").fetchone())
    conn.execute("DEALLOCATE by_hand")
    try:
        conn.execute("EXECUTE by_hand (21)")
    except psycopg.Error as e:
        say("deallocated", failure(e))
    conn.rollback()
    cur = conn.cursor(row_factory=dict_row)
    cur.executemany("INSERT INTO psycopg_items (name, qty) VALUES (%s, %s) RETURNING name",
                    [(f"many{i}", i) for i in range(5)], returning=True)
    names = []
    while True:
        names.append(cur.fetchone()["name"])
        if not cur.nextset():
            break
    say("executemany", names)
    conn.commit()


def pipelines(conn):
    with conn.pipeline():
        curs = [conn.execute("SELECT %s::int", (i,)) for i in range(100)]
        say("pipeline", [c.fetchone()[0] for c in curs] == list(range(100)))
    conn.commit()
    try:
        with conn.pipeline() as p:
            conn.execute("SELECT 1")
            conn.execute("SELECT 1/0")
            conn.execute("SELECT 2")
            p.sync()
    except psycopg.Error as e:
        say("pipeline error", type(e).__name__)
    conn.rollback()
    say("after pipeline", conn.execute("SELECT 3").fetchone())
    conn.commit()


def multiple(conn):
    cur = conn.cursor()
    cur.execute("SELECT 1 AS a; SELECT 'two' AS b; UPDATE psycopg_items SET qty = qty WHERE false")
    results = []
    while True:
        results.append((cur.statusmessage, cur.fetchall() if cur.description else None))
        if not cur.nextset():
            break
    say("several statements", results)
    conn.commit()


def cancelling(conn):
    def later():
        time.sleep(0.5)
        conn.cancel_safe(timeout=10)
    thread = threading.Thread(target=later)
    thread.start()
    try:
        conn.execute("SELECT pg_sleep(30)")
        say("cancel", "not cancelled")
    except psycopg.errors.QueryCanceled as e:
        say("cancel", failure(e))
    thread.join()
    conn.rollback()
    conn.execute("SET LOCAL statement_timeout = '200ms'")
    try:
        conn.execute("SELECT pg_sleep(30)")
        say("timeout", "none")
    except psycopg.errors.QueryCanceled as e:
        say("timeout", failure(e))
    conn.rollback()
    say("after cancel", conn.execute("SELECT 1").fetchone())
    conn.commit()


def notices(conn):
    seen = []
    conn.add_notice_handler(lambda d: seen.append((d.severity, d.sqlstate, d.message_primary)))
    conn.execute("DROP TABLE IF EXISTS psycopg_absent")
    conn.execute("DO $$ BEGIN RAISE NOTICE 'hello %', 1; RAISE WARNING 'careful'; END $$")
    say("notices", seen)
    conn.commit()


def notifications(conn):
    conn.autocommit = True
    conn.execute("LISTEN psycopg_channel")
    with psycopg.connect(CONNINFO, autocommit=True) as other:
        other.execute("NOTIFY psycopg_channel, 'from another'")
    for n in conn.notifies(timeout=10, stop_after=1):
        say("notification", n.channel, n.payload)
    conn.execute("UNLISTEN *")
    conn.autocommit = False


def settings(conn):
    conn.execute("SET application_name = 'suite'")
    say("set", conn.execute("SHOW application_name").fetchone(), conn.info.parameter_status("application_name"))
    conn.execute("SET LOCAL TIME ZONE 'Europe/Vienna'")
    say("zone", conn.execute("SELECT '2024-07-01 00:00+00'::timestamptz::text").fetchone())
    conn.rollback()
    say("explain", [r[0] for r in conn.execute("EXPLAIN (COSTS OFF) SELECT * FROM psycopg_items WHERE id = 1")])
    conn.rollback()


def main():
    with psycopg.connect(CONNINFO) as conn:
        for step in (connecting, setup, transactions, errors, types, large, copying, cursors, prepared,
                     pipelines, multiple, cancelling, notices, notifications, settings):
            step(conn)
        conn.execute("DROP TABLE psycopg_child, psycopg_items")
    say("end", "ok")


main()
