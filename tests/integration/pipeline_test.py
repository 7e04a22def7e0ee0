# SPDX-License-Identifier: Apache-2.0
"""The extended protocol is the server's own: names, portals, pipelines and errors behave through the guard as they
do without it, however the packets are cut and whenever they arrive. Mostly differential: the same messages go to
both, and the answers are compared.
"""
import random
import struct
import ssl
import threading

import pytest

from clients import randomised, raw
from clients.harness import FULL, Stack
from protocol_test import RULES, SETUP


@pytest.fixture(scope="module", params=FULL)
def stack(request):
    with Stack(RULES, setup=SETUP, **request.param) as s:
        yield s


def conversation(c, *parts, n=1):
    c.send(*parts)
    reply = c.until_ready(n=n)
    return reply.kinds, reply.text(), reply.tags, [(e["C"], e["M"]) for e in reply.errors], reply.status


P = raw.parse
CONVERSATIONS = {
    "plain": [P("", "SELECT 1"), raw.bind("", ""), raw.describe("P"), raw.execute(), raw.SYNC],
    "describe statement": [P("s", "SELECT $1::int, $2::text"), raw.describe("S", "s"), raw.SYNC],
    "describe unknown": [raw.describe("S", "nope"), raw.SYNC],
    "describe unknown portal": [raw.describe("P", "nope"), raw.SYNC],
    "close unknown": [raw.close("S", "nope"), raw.close("P", "nope"), raw.SYNC],
    "execute unknown": [raw.execute("nope"), raw.SYNC],
    "bind unknown": [raw.bind("", "nope"), raw.SYNC],
    "suspended": [P("", "SELECT g FROM generate_series(1, 5) g"), raw.bind("p", ""), raw.execute("p", 2), raw.execute("p", 2),
                  raw.execute("p", 2), raw.execute("p", 2), raw.SYNC],
    "no data": [P("", "UPDATE t SET v = v WHERE id < 0"), raw.bind("", ""), raw.describe("P"), raw.execute(), raw.SYNC],
    "empty": [P("", ""), raw.bind("", ""), raw.describe("P"), raw.execute(), raw.SYNC],
    "only comments": [P("", "-- nothing"), raw.bind("", ""), raw.execute(), raw.SYNC],
    "two statements": [P("", "SELECT 1; SELECT 2"), raw.SYNC],
    "redefined name": [P("s", "SELECT 1"), P("s", "SELECT 2"), raw.SYNC],
    "reused name": [P("s", "SELECT 1"), raw.close("S", "s"), P("s", "SELECT 2"), raw.bind("", "s"), raw.execute(), raw.SYNC],
    "wrong parameter count": [P("s", "SELECT $1::int"), raw.bind("", "s"), raw.execute(), raw.SYNC],
    "error skips to sync": [P("", "SELECT 1/0"), raw.bind("", ""), raw.execute(), P("", "SELECT 2"), raw.bind("", ""), raw.execute(), raw.SYNC],
    "typed": [P("", "SELECT $1, $2", [23, 25]), raw.bind("", "", ["7", None]), raw.describe("P"), raw.execute(), raw.SYNC],
    "binary parameter": [P("", "SELECT $1::int8"), raw.bind("", "", [struct.pack("!q", 99)], [1], [1]), raw.execute(), raw.SYNC],
    "mixed formats": [P("", "SELECT $1::int, $2::text, 3"), raw.bind("", "", [struct.pack("!i", 9), "x"], [1, 0], [1, 0, 0]), raw.describe("P"), raw.execute(), raw.SYNC],
    "bad format count": [P("", "SELECT 1, 2, 3"), raw.bind("", "", (), (), [1, 0]), raw.execute(), raw.SYNC],
    "bad format": [P("", "SELECT 1"), raw.bind("", "", (), (), [7]), raw.execute(), raw.SYNC],
    "flush then sync": [P("", "SELECT 1"), raw.FLUSH, raw.bind("", ""), raw.FLUSH, raw.execute(), raw.FLUSH, raw.SYNC],
    "portal dies with the transaction": [P("", "SELECT 1"), raw.bind("p", ""), raw.SYNC],
    "bare sync": [raw.SYNC],
    "begin in pipeline": [P("", "BEGIN"), raw.bind("", ""), raw.execute(), P("", "SELECT 1"), raw.bind("", ""), raw.execute(), raw.SYNC],
    "copy in extended": [P("", "COPY t TO STDOUT"), raw.bind("", ""), raw.execute(), raw.SYNC],
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversation_is_the_servers(stack, name):
    with stack.connect() as c, stack.direct() as d:
        assert conversation(c, *CONVERSATIONS[name]) == conversation(d, *CONVERSATIONS[name])
        for x in (c, d):
            x.query("ROLLBACK")
        assert c.query("SELECT 1").text() == [["1"]]


AFTER = {"nothing": [], "parse": [P("", "SELECT 2")], "parse named": [P("later", "SELECT 2")], "bind": [raw.bind("", "")],
         "describe": [raw.describe("P")], "execute": [raw.execute()], "close": [raw.close("S", "x")], "flush": [raw.FLUSH],
         "all": [P("", "SELECT 2"), raw.bind("", ""), raw.describe("P"), raw.execute(), raw.close("P")],
         "denied": [P("", "DROP TABLE t"), raw.bind("", ""), raw.execute()], "query": [raw.query("SELECT 3")]}
BEFORE = {"parse": [P("", "SELECT nope FROM t")], "several": [P("", "SELECT 1; SELECT 2")], "bind": [P("", "SELECT $1::int"), raw.bind("", "", ["x"])],
          "execute": [P("", "SELECT 1/id FROM (SELECT 0 AS id) x"), raw.bind("", ""), raw.execute()], "unknown": [raw.bind("", "nope")],
          "duplicate": [P("dup", "SELECT 1"), P("dup", "SELECT 2")]}


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("before", BEFORE)
def test_messages_between_an_error_and_sync(stack, before, after):
    """What arrives after the error and before Sync is skipped by the server, unanswered; whoever counts
    answers has to know."""
    with stack.connect() as c, stack.direct() as d:
        results = []
        for x in (c, d):
            x.send(*BEFORE[before], raw.FLUSH)
            first = x.until(b"E")
            x.send(*AFTER[after])
            x.silent_for(0.02)
            x.send(raw.SYNC)
            reply = x.until_ready()
            again = conversation(x, P("", "SELECT 7"), raw.bind("", ""), raw.execute(), raw.SYNC)
            results.append((first.kinds, first.sqlstate, reply.kinds, again, x.query("SELECT 8").text()))
        assert results[0] == results[1]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_conversations_byte_by_byte(stack, size):
    """However the client's packets are cut, the answers are the same."""
    with stack.connect() as c, stack.direct() as d:
        data = b"".join(b"".join(parts) for name, parts in CONVERSATIONS.items() if "copy" not in name and "begin" not in name)
        n = len(CONVERSATIONS) - 2

        # not from a second thread: OpenSSL does not read and write one session at once
        for i in range(0, len(data), size):
            c.sock.sendall(data[i:i + size])
        a = c.until_ready(n=n)
        d.send(data)
        assert a.kinds == d.until_ready(n=n).kinds, a.errors[-1:]


LATE = {  # what is sent at once, after how many Z, what then
    "portal": ([P("", "SELECT 1"), raw.SYNC, P("", "SELECT 2"), raw.bind("", ""), raw.FLUSH], [raw.execute(), raw.SYNC]),
    "named portal": ([P("", "SELECT 1"), raw.SYNC, P("n", "SELECT 2"), raw.bind("late", "n"), raw.FLUSH], [raw.execute("late"), raw.SYNC]),
    "after an error": ([P("", "SELECT nope FROM t"), raw.SYNC, P("", "SELECT 2"), raw.bind("", ""), raw.FLUSH], [raw.execute(), raw.SYNC]),
    "after a guard's error": ([raw.bind("", "absent"), raw.SYNC, P("", "SELECT 2"), raw.bind("", ""), raw.FLUSH], [raw.execute(), raw.SYNC]),
    "after a query": ([raw.query("SELECT 1"), P("", "SELECT 2"), raw.bind("", ""), raw.FLUSH], [raw.execute(), raw.SYNC]),
    "name again": ([P("a", "SELECT nope FROM t"), raw.SYNC, P("a", "SELECT 2"), raw.FLUSH], [raw.bind("", "a"), raw.execute(), raw.SYNC]),
    "name again after close": ([P("b", "SELECT 1"), raw.close("S", "b"), P("", "SELECT nope FROM t"), raw.close("S", "b"), raw.SYNC,
                                P("b", "SELECT 2"), raw.FLUSH], [raw.bind("", "b"), raw.execute(), raw.SYNC]),
    "close undone": ([P("k", "SELECT 3"), raw.SYNC, P("", "SELECT nope FROM t"), raw.close("S", "k"), raw.SYNC, raw.FLUSH],
                     [raw.bind("", "k"), raw.execute(), raw.SYNC]),
}


@pytest.mark.parametrize("name", LATE)
def test_names_of_the_next_batch_outlive_the_last_one(stack, name):
    """A client that pipelines past Sync has made names before the last batch's end arrives; neither its
    ReadyForQuery nor its error may take them away."""
    first, second = LATE[name]
    answers = sum(1 for m in first if m == raw.SYNC or m[:1] == b"Q")
    with stack.connect() as c, stack.direct() as d:
        results = []
        for x in (c, d):
            x.send(*first)
            head = x.until_ready(n=answers)
            while not x.silent_for(0.1):
                head.kinds += x.recv_message()[0].decode()
            x.send(*second)
            tail = x.until_ready()
            results.append((head.kinds, tail.kinds, tail.text(), tail.sqlstate))
        assert results[0] == results[1]


TEXTS = ["SELECT 1", "SELECT $1::int", "SELECT id, v FROM t WHERE id < 4 ORDER BY id", "SELECT 1/0", "SELECT nope FROM t", "",
         "SELECT 1; SELECT 2", "UPDATE t SET v = v WHERE id = -1", "BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT s", "SELECT pg_sleep(0)"]


def run_to(c, mark):
    """Everything up to the end of the query that gives `mark`."""
    kinds, codes, rows = "", [], []
    while True:
        reply = c.until_ready()
        kinds, codes, rows = kinds + reply.kinds, codes + [e["C"] for e in reply.errors], rows + reply.rows
        if reply.closed or [mark.encode()] in reply.rows:
            return kinds, codes, rows, [e["M"] for e in reply.errors if reply.closed]


def closed_too_soon(data, server, guard):
    """A Close that the server skipped because of an error before it, and a use of the name that was sent before
    the guard could know: the guard refuses what the server would have run. That way round it may err."""
    extra = [code for code in guard[1] if code not in server[1]]
    return b"C\0\0\0" in data and not guard[3] and set(extra) <= {"26000", "34000"}


@pytest.mark.parametrize("seed", range(120))
def test_random_conversations_are_the_servers(stack, seed):
    """Differential: the same messages, cut and delayed at random, to the guard and to the server itself."""
    rng = random.Random(seed)
    with stack.connect() as c, stack.direct() as d:
        for step in range(6):
            data, mark = b"".join(randomised.batch(rng, TEXTS)), f"mark-{seed}-{step}"
            # An aborted block must not swallow the mark.
            data += raw.SYNC + raw.query("ROLLBACK") + raw.query(f"SELECT '{mark}'")
            results = []
            for x in (d, c):
                if x is d:
                    x.send(data)
                else:
                    randomised.trickle(rng, x, data)
                results.append(run_to(x, mark))
            server, guard = results
            if guard != server and closed_too_soon(data, server, guard):
                break  # the two sessions differ from here on
            assert guard == server, f"step {step}"


def test_long_pipeline(stack):
    with stack.connect(timeout=60) as c:
        # OpenSSL does not read and write one session at once: under TLS as much as the buffers take
        tls = isinstance(c.sock, ssl.SSLSocket)
        n = 500 if tls else 5000
        c.send(P("", "SELECT $1::int"))
        data = b"".join(raw.bind("", "", [str(i)]) + raw.execute() for i in range(n)) + raw.SYNC
        sender = threading.Thread(target=c.sock.sendall, args=(data,))
        sender.start()
        if tls:
            sender.join()
        reply = c.until_ready()
        sender.join()
        assert [int(r[0]) for r in reply.rows] == list(range(n))


def test_pipeline_of_queries(stack):
    """Many simple queries without waiting; denied ones among them keep their places."""
    with stack.connect() as c:
        c.send(b"".join(raw.query("DROP TABLE t" if i % 10 == 5 else f"SELECT {i}") for i in range(200)))
        reply = c.until_ready(n=200)
        assert len(reply.rows) == 180 and len(reply.errors) == 20
        assert {e["C"] for e in reply.errors} == {"42501"}
        assert reply.kinds == "".join("EZ" if i % 10 == 5 else "TDCZ" for i in range(200))


def test_p13_names_work_across_sql_and_wire(stack):
    with stack.connect() as c:
        c.query("PREPARE q (int) AS SELECT v FROM t WHERE id = $1")
        c.send(raw.bind("", "q", ["3"]), raw.execute(), raw.SYNC)
        assert c.until_ready().text() == [["v3"]]
        c.send(P("w", "SELECT v FROM t WHERE id = $1", [23]), raw.SYNC)
        c.until_ready()
        assert c.query("EXECUTE w(4)").text() == [["v4"]]
        c.query("DEALLOCATE ALL")
        assert c.query("EXECUTE w(4)").sqlstate == "26000"
        c.query("BEGIN")
        c.query("DECLARE cur CURSOR FOR SELECT id FROM t ORDER BY id")
        c.send(raw.describe("P", "cur"), raw.execute("cur", 2), raw.SYNC)
        assert c.until_ready().text() == [["1"], ["2"]]
        assert c.query("FETCH 1 FROM cur").text() == [["3"]]
        c.query("ROLLBACK")
