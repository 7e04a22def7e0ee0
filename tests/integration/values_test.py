# SPDX-License-Identifier: Apache-2.0
"""Secrets found by value: in text, JSON, arrays and COPY, in cells of any size, wherever the network cuts them.

The positive half: clean data passes byte for byte.
"""
import json
import subprocess
import sys

import psycopg
import pytest

from clients import harness
from clients.harness import FULL, PASSWORD, USER, Canaries, Stack, Tap

SECRETS = {
    "creditCard": "4929 4211 7083 5265".replace(" ", ""),
    "creditCard dashes": "5436-0310-8847-1908",
    "usSsn": "536-90-4399",
    "email": "wkzqjvpt.ab@mail-host.example.com",
    "iban": "DE75512108001245126199",
    "awsAccessKey": "AKIAQ7ZTM4WXBN2PLRKD",
    "jwt": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI5ODc2NTQzMjEwIn0.Q2hhcGVyb25lLXRlc3Qtc2lnbmF0dXJlLTEyMzQ1Njc",
    "privateKey": "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIBkgZqWw8Vv1cZ3y7Q0uTt5sXxE2rYp9LmNhKjDoAoGCCqGSM49\n"
                  "AwEHoUQDQgAEqVb1rX\n-----END EC PRIVATE KEY-----",
}


def luhn(number):
    digits = [int(c) for c in number if c.isdigit()]
    return sum(d if i % 2 == 0 else (d * 2 - 9 if d > 4 else d * 2) for i, d in enumerate(reversed(digits))) % 10 == 0


def fixed(number):
    """The same number with the check digit that makes it valid."""
    return next(number[:-1] + d for d in "0123456789" if luhn(number[:-1] + d))


SECRETS["creditCard"] = fixed(SECRETS["creditCard"])
SECRETS["creditCard dashes"] = fixed(SECRETS["creditCard dashes"])
# What is looked for: the part of each that no method keeps.
CORES = {"creditCard": SECRETS["creditCard"][:11], "creditCard dashes": SECRETS["creditCard dashes"][:13],
         "usSsn": "536-90-4", "email": "wkzqjvp", "iban": "DE7551210800124", "awsAccessKey": "AKIAQ7ZTM4WX",
         "jwt": "Q2hhcGVyb25lLXRlc3Q", "privateKey": "MHcCAQEEIBkgZqWw8Vv1cZ3y7"}
HIDDEN = Canaries(CORES.values())

RULES = [
    harness.ALL,
    '{name: values, action: Mask, values: {detectors: [creditCard, usSsn, email, iban, awsAccessKey, privateKey, jwt]}}',
]
SETUP = ["CREATE TABLE memos (id serial PRIMARY KEY, kind text, body text, doc jsonb, tags text[], raw bytea)",
         "ALTER TABLE memos OWNER TO agent",
         "CREATE TABLE clean AS SELECT g AS id, 'row ' || g AS v, g * 1.5 AS n, now() AS t FROM generate_series(1, 20000) g",
         "ALTER TABLE clean OWNER TO agent"]


@pytest.fixture(scope="module", params=FULL)
def stack(request):
    with Stack(RULES, setup=SETUP, **request.param) as s:
        with psycopg.connect(**s.pg.connect_args(USER, PASSWORD, s.database), autocommit=True) as c:
            for kind, value in SECRETS.items():
                c.execute("INSERT INTO memos (kind, body, doc, tags) VALUES (%s, %s, %s, %s)",
                          (kind, f"before {value} after", json.dumps({"k": [value], "n": 1}), ["x", value, None]))
        yield s


QUERIES = ["SELECT kind, body FROM memos ORDER BY id", "SELECT doc FROM memos ORDER BY id", "SELECT tags FROM memos ORDER BY id",
           "SELECT * FROM memos ORDER BY id", "SELECT upper(kind), body || '!' FROM memos ORDER BY id", "SELECT string_agg(body, ' ') FROM memos",
           "SELECT doc::text, doc->'k' FROM memos", "SELECT json_agg(m) FROM memos m", "SELECT m FROM memos m",
           "SELECT body::varchar(500) FROM memos", "SELECT body::xml FROM memos WHERE kind = 'email'"]


@pytest.mark.parametrize("how", ["simple", "extended", "binary"])
@pytest.mark.parametrize("sql", QUERIES)
def test_values_are_masked_in_rows(stack, sql, how):
    with stack.connect() as c:
        reply = c.query(sql) if how == "simple" else c.extended(sql, result_formats=[1] if how == "binary" else [])
        assert not reply.errors and reply.rows, reply.errors
        HIDDEN.absent(c.received)


@pytest.mark.parametrize("kind", SECRETS)
def test_the_rest_of_a_text_stays(stack, kind):
    with stack.connect() as c:
        (row,) = c.query(f"SELECT body, doc FROM memos WHERE kind = '{kind}'").text()
        assert row[0].startswith("before ") and row[0].endswith(" after")
        assert json.loads(row[1])["n"] == 1, "still JSON"


@pytest.mark.parametrize("how", ["", " (FORMAT csv)", " (FORMAT csv, HEADER, FORCE_QUOTE *)", " (FORMAT binary)", " (DELIMITER '|')"])
@pytest.mark.parametrize("what", ["memos", "memos (body)", "(SELECT body, doc, tags FROM memos)"])
def test_values_are_masked_in_copy(stack, what, how):
    with stack.connect() as c:
        reply = c.query(f"COPY {what} TO STDOUT{how}")
        assert reply.copy or reply.sqlstate == "42501", reply
        if "binary" not in how:
            assert reply.copy, "a text COPY without column masks can be masked by value"
        HIDDEN.absent(c.received)
        assert c.query("SELECT 1").text() == [["1"]]


@pytest.mark.parametrize("what", ["n", "ARRAY[n]", "ROW(n)", "n, 'plain'", "int8range(n, n + 1)"])
def test_card_as_a_number(stack, what):
    """In binary a bigint is eight bytes without a digit in them; a row of nothing else has to be looked at too."""
    number = 4111111111111111
    with stack.connect() as c:
        for sql in (f"SELECT {what} FROM (SELECT {number}::bigint AS n) t", f"COPY (SELECT {what} FROM (SELECT {number}::bigint AS n) t) TO STDOUT (FORMAT binary)"):
            for fmt in (0, 1):
                c.extended(sql, result_formats=[fmt])
        assert str(number).encode() not in c.received and number.to_bytes(8, "big") not in c.received
        assert c.extended("SELECT 41111111111::bigint, 7::bigint", result_formats=[1]).rows == [[(41111111111).to_bytes(8, "big"), (7).to_bytes(8, "big")]]


@pytest.mark.parametrize("how", ["simple", "binary"])
@pytest.mark.parametrize("kind", ["creditCard", "email", "awsAccessKey", "iban"])
def test_values_across_read_borders(stack, kind, how):
    """Rows of 9 973 bytes: the value's place moves through every offset class of a 64 KiB buffer."""
    value = SECRETS[kind]
    sql = f"SELECT g, repeat('-', 9973 - length(p)) || ' {value} ' FROM generate_series(1, 400) g, LATERAL (SELECT '{value}' AS p) x"
    with stack.connect(timeout=60) as c:
        c.extended(sql, result_formats=[1] if how == "binary" else [])
        assert len(c.received) > 400 * 9900
        HIDDEN.absent(c.received)


def test_every_offset_near_a_border(stack):
    with stack.connect(timeout=60) as c:
        value = SECRETS["creditCard"]
        for pad in range(65536 - 80, 65536 + 20, 3):
            reply = c.query(f"SELECT repeat('x', {pad}) || ' {value} ' || repeat('y', 100)")
            assert len(reply.rows[0][0]) > 65000
        HIDDEN.absent(c.received)


@pytest.mark.parametrize("size", [70_000, 1_100_000, 5_000_000, 40_000_000])
def test_values_in_huge_cells(stack, size):
    with stack.connect(timeout=120) as c:
        for kind in ("email", "creditCard", "jwt"):
            reply = c.query(f"SELECT repeat('x ', {size // 4}) || ' {SECRETS[kind]} ' || repeat('y ', {size // 4})")
            assert not reply.errors and len(reply.rows[0][0]) > size * 0.9
            HIDDEN.absent(c.received)
            c.received.clear()


@pytest.mark.parametrize("length", [45, 48, 50, 57, 64, 65, 90, 97, 122, 128, 200])
@pytest.mark.parametrize("kind", ["creditCard", "email", "awsAccessKey", "iban", "usSsn"])
def test_binary_framing_is_not_text(stack, kind, length):
    """In a binary array, record or COPY a length stands before the value; as a character it may be a digit
    or a letter and must not hide the value's beginning."""
    value = SECRETS[kind].ljust(length)
    with stack.connect() as c:
        for sql in (f"SELECT ARRAY['{value}', '{value}']", f"SELECT ROW(1, '{value}'::text)", f"COPY (SELECT '{value}'::text) TO STDOUT (FORMAT binary)",
                    f"SELECT ARRAY[ARRAY['{value}'], ARRAY['{value}']]", f"SELECT '{value}'::text, '{value}'::varchar",
                    f"SELECT ROW(ARRAY['{value}'], ROW('{value}'::text))"):
            c.extended(sql, result_formats=[1])
        HIDDEN.absent(c.received)


def test_dense_cell(stack):
    with stack.connect(timeout=60) as c:
        reply = c.query(f"SELECT repeat('{SECRETS['email']} {SECRETS['creditCard']} ', 5000)")
        assert not reply.errors
        HIDDEN.absent(c.received)


def test_a_key_over_many_rows_of_copy(stack):
    """A PEM block in a COPY line is one cell with escaped line ends."""
    with stack.connect() as c:
        c.query("COPY (SELECT body FROM memos WHERE kind = 'privateKey') TO STDOUT")
        c.query("COPY (SELECT body FROM memos WHERE kind = 'privateKey') TO STDOUT (FORMAT csv)")
        HIDDEN.absent(c.received)


def test_errors_and_notices_carry_no_values(stack):
    with stack.connect() as c:
        c.query("SELECT body::int FROM memos WHERE kind = 'creditCard'")
        c.query("SELECT (doc->'k'->>0)::date FROM memos WHERE kind = 'email'")
        c.query("SELECT tags[2]::uuid FROM memos WHERE kind = 'iban'")
        HIDDEN.absent(c.received)


@pytest.mark.parametrize("text", ["4929421170835264", "1234567890123456", "not@mail", "AKIA short", "DE75512108001245126190",
                                  "2024-05-06 12:34:56", "000-12-3456", "v1.2.3.4.5", "0000 0000 0000 0000"])
def test_what_only_looks_like_a_secret_stays(stack, text):
    with stack.connect() as c:
        assert c.extended("SELECT 'a ' || $1::text || ' b'", [text]).text() == [[f"a {text} b"]]


@pytest.mark.parametrize("sql", ["SELECT * FROM clean ORDER BY id", "SELECT id, n, t FROM clean WHERE id < 100", "SELECT repeat('clean ', 100000)",
                                 "SELECT NULL::text, '', 'ünï ☃', '\\xdeadbeef'::bytea, ARRAY['a', NULL]"])
@pytest.mark.parametrize("fmt", [0, 1])
def test_clean_data_is_untouched(stack, sql, fmt):
    with stack.connect(timeout=60) as c, stack.direct() as d:
        a, b = c.extended(sql, result_formats=[fmt]), d.extended(sql, result_formats=[fmt])
        assert a.rows == b.rows and a.kinds == b.kinds and a.columns == b.columns


def test_clean_copy_is_untouched(stack):
    with stack.connect(timeout=60) as c, stack.direct() as d:
        for how in ("", " (FORMAT csv)", " (FORMAT binary)"):
            a, b = c.query(f"COPY clean TO STDOUT{how}"), d.query(f"COPY clean TO STDOUT{how}")
            assert a.copy == b.copy or (a.sqlstate == "42501" and "binary" in how)


# ---- real clients, every byte watched ----

@pytest.fixture(scope="module")
def plain():
    rules = RULES + ['{name: col, action: Mask, sql: {columns: ["public.users.ssn"]}, mask: {method: Redact}}']
    setup = SETUP + ["CREATE TABLE users (id int PRIMARY KEY, name text, ssn text)", "ALTER TABLE users OWNER TO agent",
                     "INSERT INTO users SELECT g, 'user ' || g, 'c0ffee9d17' || g FROM generate_series(1, 100) g"]
    with Stack(rules, setup=setup) as s:
        yield s


SSN = Canaries(["c0ffee9d17"])


def test_psycopg_reads_masked(plain):
    with Tap(plain.port) as tap:
        for binary in (False, True):
            with psycopg.connect(**plain.conninfo(port=tap.port)) as c:
                cur = c.cursor(binary=binary)
                for _ in range(8):  # prepared from the fifth on
                    cur.execute("SELECT name, ssn FROM users WHERE id = %s", (7,))
                    assert cur.fetchall() == [("user 7", "****")]
                with c.pipeline():
                    curs = [c.execute("SELECT ssn FROM users WHERE id = %s", (i,), prepare=True) for i in range(1, 30)]
                    assert {x.fetchone()[0] for x in curs} == {"****"}
                with c.cursor(name="server_side", binary=binary) as cur:
                    cur.itersize = 10
                    cur.execute("SELECT ssn FROM users")
                    assert {r[0] for r in cur} == {"****"}
        SSN.absent(tap.to_client)


ASYNCPG = """
import asyncio, asyncpg, sys
async def main():
    c = await asyncpg.connect(sys.argv[1])
    for i in range(1, 6):
        assert [tuple(r) for r in await c.fetch("SELECT id, ssn FROM users WHERE id = $1", i)] == [(i, "****")]
    s = await c.prepare("SELECT ssn, name FROM users WHERE id < $1")
    assert {r[0] for r in await s.fetch(50)} == {"****"}
    async with c.transaction():
        assert {r[0] async for r in c.cursor("SELECT ssn FROM users", prefetch=7)} == {"****"}
    await c.close()
    print("ok")
asyncio.run(main())
"""


def test_asyncpg_reads_masked(plain):
    with Tap(plain.port) as tap:
        done = subprocess.run([sys.executable, "-c", ASYNCPG, plain.url(port=tap.port)], capture_output=True, text=True, timeout=60)
        assert done.stdout == "ok\n", done.stderr[-2000:]
        SSN.absent(tap.to_client)


def test_psql_reads_masked(plain):
    with Tap(plain.port) as tap:
        argv = ["psql", "-X", "-A", "-t", plain.url(port=tap.port), "-c", "SELECT ssn FROM users WHERE id <= 3", "-c", "TABLE users",
                "-c", "\\copy (SELECT name FROM users) TO STDOUT", "-c", "\\copy users TO STDOUT"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert done.stdout.startswith("****\n****\n****\n1|user 1|****\n"), done.stdout + done.stderr
        SSN.absent(tap.to_client)


def test_pgjdbc_reads_masked(plain):
    with Tap(plain.port) as tap:
        done = subprocess.run(harness.java("JdbcMasked", plain.jdbc_url(port=tap.port)), capture_output=True, text=True, timeout=120)
        assert done.stdout == "ok\n", done.stdout + done.stderr[-3000:]
        SSN.absent(tap.to_client)
