# SPDX-License-Identifier: Apache-2.0
"""Ordinary work with asyncpg (binary formats, named statements). Usage: asyncpg_client.py URL

Prints one deterministic line for each thing that it saw.
"""
import asyncio
import datetime
import decimal
import hashlib
import io
import sys
import uuid

import asyncpg

URL = sys.argv[1]


def say(section, *values):
    print(section + ":", *[v if isinstance(v, str) else repr(v) for v in values], flush=True)


def digest(rows):
    h, n = hashlib.sha256(), 0
    for row in rows:
        h.update(repr(tuple(row)).encode())
        n += 1
    return n, h.hexdigest()[:16]


def failure(e):
    return (e.sqlstate, e.args[0], getattr(e, "detail", None), getattr(e, "constraint_name", None))


async def setup(conn):
    await conn.execute("DROP TABLE IF EXISTS asyncpg_items; DROP TYPE IF EXISTS public.asyncpg_mood")
    await conn.execute("CREATE TYPE public.asyncpg_mood AS ENUM ('sad', 'ok', 'happy')")
    await conn.execute("""CREATE TABLE asyncpg_items (
        id bigint PRIMARY KEY, name text NOT NULL UNIQUE, mood asyncpg_mood, price numeric,
        tags text[], doc jsonb, made timestamptz, raw bytea)""")
    settings = conn.get_settings()
    say("settings", settings.client_encoding, settings.server_encoding, settings.standard_conforming_strings)
    say("version", conn.get_server_version()[:2])


async def statements(conn):
    say("execute", await conn.execute("INSERT INTO asyncpg_items (id, name) VALUES (1, 'one')"))
    say("execute args", await conn.execute(
        "INSERT INTO asyncpg_items (id, name, mood, tags) VALUES ($1, $2, $3, $4)", 2, "two", "happy", ["a", None]))
    say("row", tuple(await conn.fetchrow("SELECT * FROM asyncpg_items WHERE id = $1", 2)))
    say("returning", await conn.fetchval("UPDATE asyncpg_items SET name = name || '!' WHERE id = $1 RETURNING name", 1))
    statement = await conn.prepare("SELECT $1::int * 2 AS double, $2::text AS t")
    say("attributes", [(a.name, a.type.name) for a in statement.get_attributes()],
        [p.name for p in statement.get_parameters()])
    for i in range(8):
        row = await statement.fetchrow(i, f"r{i}")
    say("prepared", tuple(row), statement.get_statusmsg())
    await conn.executemany("INSERT INTO asyncpg_items (id, name) VALUES ($1, $2)", [(i, f"n{i}") for i in range(10, 60)])
    say("executemany", await conn.fetchval("SELECT count(*) FROM asyncpg_items"))
    say("fetchmany", digest(await conn.fetchmany(
        "INSERT INTO asyncpg_items (id, name) VALUES ($1, $2) RETURNING id", [(i, f"m{i}") for i in range(100, 110)])))


async def transactions(conn):
    try:
        async with conn.transaction(isolation="serializable"):
            await conn.execute("INSERT INTO asyncpg_items (id, name) VALUES (1000, 'x')")
            async with conn.transaction():
                await conn.execute("INSERT INTO asyncpg_items (id, name) VALUES (1001, 'y')")
            try:
                async with conn.transaction():
                    await conn.execute("INSERT INTO asyncpg_items (id, name) VALUES (1000, 'z')")
            except asyncpg.UniqueViolationError as e:
                say("unique", failure(e))
            say("inside", await conn.fetchval("SELECT count(*) FROM asyncpg_items WHERE id >= 1000"))
            raise KeyError
    except KeyError:
        pass
    say("rolled back", await conn.fetchval("SELECT count(*) FROM asyncpg_items WHERE id >= 1000"), conn.is_in_transaction())
    for text, values in [("SELECT 1/0", []), ("SELECT $1::int/0", [4]), ("SELECT * FROM asyncpg_absent", []),
                         ("SELECT nope FROM asyncpg_items", []), ("INSERT INTO asyncpg_items VALUES ($1, NULL)", [5])]:
        try:
            await conn.fetch(text, *values)
        except asyncpg.PostgresError as e:
            say("error", text, failure(e))
    say("recovered", await conn.fetchval("SELECT 42"))


TYPES = [("int2", 7), ("int4", -2 ** 31), ("int8", 2 ** 62), ("float8", 1.5), ("float4", 0.25), ("bool", False),
         ("numeric", decimal.Decimal("12345678901234567890.123456789")), ("text", "grüße ☃ 𝄞"), ("text", ""),
         ("bytea", bytes(range(256))), ("date", datetime.date(2024, 2, 29)), ("time", datetime.time(23, 59, 59, 123456)),
         ("timestamp", datetime.datetime(1999, 12, 31, 23, 59, 59, 1)), ("interval", datetime.timedelta(days=3, seconds=7)),
         ("timestamptz", datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)), ("uuid", uuid.UUID(int=7)),
         ("jsonb", '{"a": [1, null]}'), ("json", '{"b":  2}'), ("int4[]", [1, None, 3]), ("text[]", ["a", 'q"uo,te', None, ""]),
         ("int4[][]", [[1, 2], [3, 4]]), ("int4range", asyncpg.Range(1, 5)), ("public.asyncpg_mood", "ok"),
         ("point", asyncpg.Point(1.5, -2)), ("text", None), ("varchar(3)", "abc"), ("char(5)", "ab"), ("oid", 1)]


async def types(conn):
    for kind, value in TYPES:
        say("type", kind, await conn.fetchval(f"SELECT $1::{kind}", value))
    say("record", tuple(await conn.fetchval("SELECT ROW(1, 'a'::text, NULL::int)")))
    say("array of enum", await conn.fetchval("SELECT array_agg(mood) FROM asyncpg_items WHERE mood IS NOT NULL"))
    await conn.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=len)
    say("codec", await conn.fetchval("SELECT '{\"a\": 1}'::jsonb"))
    await conn.reset_type_codec("jsonb", schema="pg_catalog")


async def large(conn):
    say("200k", digest(await conn.fetch("SELECT g, md5(g::text), g * 1.5::float8 FROM generate_series(1, 200000) g")))
    parameter = "y" * 1_000_000
    say("1 MB", await conn.fetchval("SELECT md5($1 || $1)", parameter))
    blob = bytes(i % 251 for i in range(2_000_000))
    back = await conn.fetchval("SELECT $1::bytea || $1::bytea", blob)
    say("4 MB back", len(back), hashlib.sha256(back).hexdigest()[:16])


async def cursors(conn):
    async with conn.transaction():
        rows = [r async for r in conn.cursor("SELECT g FROM generate_series(1, 5000) g", prefetch=333)]
        say("cursor", digest(rows))
        cursor = await conn.cursor("SELECT g FROM generate_series(1, 100) g")
        await cursor.forward(10)
        say("forward", [r[0] for r in await cursor.fetch(3)], await cursor.fetchrow())


async def copying(conn):
    await conn.execute("CREATE TEMP TABLE asyncpg_copy (a int, b text, c timestamptz)")
    when = datetime.datetime(2024, 5, 6, tzinfo=datetime.timezone.utc)
    say("copy records", await conn.copy_records_to_table(
        "asyncpg_copy", records=[(i, None if i % 5 == 0 else f"t\t{i}", when) for i in range(20000)]))
    for how in ("text", "csv", "binary"):
        out = io.BytesIO()
        status = await conn.copy_from_table("asyncpg_copy", output=out, format=how)
        say("copy out", how, status, len(out.getvalue()), hashlib.sha256(out.getvalue()).hexdigest()[:16])
    out = io.BytesIO()
    say("copy query", await conn.copy_from_query("SELECT $1::int + a FROM asyncpg_copy ORDER BY a LIMIT 3", 5, output=out), out.getvalue())
    say("copy to", await conn.copy_to_table("asyncpg_copy", source=io.BytesIO(b"1,x,\n2,y,\n"), format="csv"))
    try:
        await conn.copy_to_table("asyncpg_copy", source=io.BytesIO(b"wrong\n"))
    except asyncpg.PostgresError as e:
        say("copy error", e.sqlstate)
    say("after copy", await conn.fetchval("SELECT count(*) FROM asyncpg_copy"))


async def cancelling(conn):
    try:
        await conn.fetchval("SELECT pg_sleep(30)", timeout=0.3)
    except asyncio.TimeoutError:
        say("client timeout", await conn.fetchval("SELECT 'usable'"))
    task = asyncio.ensure_future(conn.fetchval("SELECT pg_sleep(30)"))
    await asyncio.sleep(0.3)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        say("task cancelled", await conn.fetchval("SELECT 'usable'"))
    try:
        async with conn.transaction():
            await conn.execute("SET LOCAL statement_timeout = 200")
            await conn.execute("SELECT pg_sleep(30)")
    except asyncpg.QueryCanceledError as e:
        say("server timeout", failure(e))


async def notifications(conn):
    loop = asyncio.get_running_loop()
    got = loop.create_future()
    await conn.add_listener("asyncpg_channel", lambda c, pid, channel, payload: got.set_result((channel, payload)))
    other = await asyncpg.connect(URL)
    await other.execute("NOTIFY asyncpg_channel, 'hello'")
    say("notification", await asyncio.wait_for(got, 10))
    await other.close()
    await conn.reset()
    seen = loop.create_future()
    conn.add_log_listener(lambda c, m: None if seen.done() else seen.set_result((m.severity, m.message)))
    await conn.execute("DO $$ BEGIN RAISE NOTICE 'n %', 5; END $$")
    say("notice", await asyncio.wait_for(seen, 10))


async def pools():
    async with asyncpg.create_pool(URL, min_size=2, max_size=4) as pool:
        async def one(i):
            async with pool.acquire() as conn:
                return await conn.fetchval("SELECT $1::int * 10", i)
        say("pool", await asyncio.gather(*[one(i) for i in range(20)]))


async def main():
    conn = await asyncpg.connect(URL)
    for step in (setup, statements, transactions, types, large, cursors, copying, cancelling, notifications):
        await step(conn)
    await pools()
    await conn.execute("DROP TABLE asyncpg_items; DROP TYPE public.asyncpg_mood")
    await conn.close()
    say("end", "ok")


asyncio.run(main())
