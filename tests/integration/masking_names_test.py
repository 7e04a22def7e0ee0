# SPDX-License-Identifier: Apache-2.0
"""Names of statements, portals and cursors change their meaning all the time. The guard must never take the one
that is masked for the one that is not: it may refuse, it may not err.
"""
import random

import pytest

from clients import randomised, raw
from clients.harness import FULL, Stack
from masking_test import HIDDEN, RULES, SETUP


@pytest.fixture(scope="module", params=FULL)
def stack(request):
    with Stack(RULES, setup=SETUP, **request.param) as s:
        yield s
        for path in s.guard.record_files():
            HIDDEN.absent_from_record(path)


NAME_GAMES = {
    # The guard must not think that a name still means the harmless statement when the server has the other one.
    "error undone": [[raw.parse("a", "SELECT label FROM orders"), raw.SYNC],
                     [raw.close("S", "a"), raw.parse("a", "SELECT nope FROM orders"), raw.SYNC, raw.parse("a", "SELECT ssn FROM users"), raw.FLUSH]],
    "close undone": [[raw.parse("a", "SELECT label FROM orders"), raw.SYNC],
                     [raw.close("S", "a"), raw.parse("", "SELECT nope FROM orders"), raw.SYNC, raw.parse("a", "SELECT ssn FROM users"), raw.FLUSH]],
    "duplicate": [[raw.parse("a", "SELECT ssn FROM users"), raw.SYNC], [raw.parse("a", "SELECT label FROM orders"), raw.SYNC]],
    "duplicate sql": [[raw.parse("a", "SELECT ssn FROM users"), raw.SYNC], [raw.query("PREPARE a AS SELECT label FROM orders")]],
    "deallocate fails": [[raw.parse("a", "SELECT ssn FROM users"), raw.SYNC], [raw.query("DEALLOCATE a; SELECT 1/0")], [raw.parse("a", "SELECT label FROM orders"), raw.SYNC]],
    "discard fails": [[raw.parse("a", "SELECT ssn FROM users"), raw.SYNC], [raw.query("BEGIN; DISCARD ALL")], [raw.query("ROLLBACK")],
                      [raw.parse("a", "SELECT label FROM orders"), raw.SYNC]],
    "unnamed": [[raw.parse("", "SELECT ssn FROM users"), raw.SYNC], [raw.parse("", "SELECT nope FROM orders"), raw.SYNC]],
    "unnamed and query": [[raw.parse("a", "SELECT label FROM orders"), raw.parse("", "SELECT ssn FROM users"), raw.SYNC], [raw.query("SELECT 1")]],
    "long name": [[raw.parse("n" * 63 + "x", "SELECT label FROM orders"), raw.SYNC], [raw.parse("n" * 63, "SELECT ssn FROM users"), raw.SYNC]],
    "case": [[raw.query("PREPARE A AS SELECT ssn FROM users")], [raw.parse("A", "SELECT label FROM orders"), raw.SYNC]],
    "quoted": [[raw.query('PREPARE "a b" AS SELECT ssn FROM users')], [raw.query("PREPARE ab AS SELECT label FROM orders")]],
}


@pytest.mark.parametrize("name", NAME_GAMES)
def test_names_cannot_be_confused(stack, name):
    with stack.connect(timeout=5) as c:
        for parts in NAME_GAMES[name]:
            c.send(*parts)
            while not c.silent_for(0.1):
                c.recv_message()
        for target in ("a", "A", "", "n" * 63, "n" * 63 + "x", "a b"):
            c.send(raw.bind("", target), raw.execute(), raw.SYNC)
            c.until_ready()
            if target:
                c.query(f'EXECUTE "{target}"')
        HIDDEN.absent(c.received)


PORTAL_GAMES = {
    "redefined": [[raw.query("BEGIN")], [raw.parse("", "SELECT ssn FROM users"), raw.bind("p", ""), raw.SYNC], [raw.parse("", "SELECT label FROM orders"), raw.bind("p", ""), raw.SYNC]],
    "savepoint": [[raw.query("BEGIN; SAVEPOINT s")], [raw.parse("", "SELECT label FROM orders"), raw.bind("p", ""), raw.SYNC], [raw.query("ROLLBACK TO s")],
                  [raw.parse("", "SELECT ssn FROM users"), raw.bind("p", ""), raw.SYNC]],
    "sql cursor": [[raw.query("BEGIN; DECLARE p CURSOR FOR SELECT ssn FROM users")], [raw.parse("", "SELECT label FROM orders"), raw.bind("p", ""), raw.SYNC]],
    "cursor over portal": [[raw.query("BEGIN")], [raw.parse("", "SELECT ssn FROM users"), raw.bind("p", ""), raw.SYNC], [raw.query("DECLARE p CURSOR FOR SELECT label FROM orders")]],
    "hold": [[raw.query("DECLARE p CURSOR WITH HOLD FOR SELECT ssn FROM users")], [raw.query("BEGIN; DECLARE q CURSOR WITH HOLD FOR SELECT label FROM orders; ROLLBACK")]],
    "close fails": [[raw.query("BEGIN; DECLARE p CURSOR FOR SELECT ssn FROM users; SAVEPOINT s; CLOSE p; ROLLBACK TO s")],
                    [raw.parse("", "SELECT label FROM orders"), raw.bind("p", ""), raw.SYNC], [raw.query("ROLLBACK TO s")]],
    "begin in pipeline": [[raw.parse("", "BEGIN"), raw.bind("", ""), raw.execute(), raw.parse("", "SELECT ssn FROM users"), raw.bind("p", ""), raw.SYNC]],
    "late": [[raw.query("BEGIN"), raw.parse("", "SELECT ssn FROM users"), raw.bind("p", ""), raw.FLUSH]],
    "commit in pipeline": [[raw.query("BEGIN"), raw.parse("", "SELECT label FROM orders"), raw.bind("p", ""), raw.SYNC, raw.query("COMMIT"), raw.query("BEGIN"),
                            raw.parse("", "SELECT ssn FROM users"), raw.bind("p", ""), raw.FLUSH]],
}


@pytest.mark.parametrize("name", PORTAL_GAMES)
def test_portals_cannot_be_confused(stack, name):
    with stack.connect(timeout=5) as c:
        for parts in PORTAL_GAMES[name]:
            c.send(*parts)
            while not c.silent_for(0.1):
                c.recv_message()
        for portal in ("p", "q"):
            c.send(raw.execute(portal, 2), raw.SYNC)
            c.until_ready()
            c.query(f"FETCH 2 FROM {portal}")
        HIDDEN.absent(c.received)


MIXED_TEXTS = ["SELECT label FROM orders LIMIT 2", "SELECT ssn FROM users", "SELECT ssn, id FROM users", "SELECT id, label, total FROM orders LIMIT 1",
               "SELECT name, email FROM v_plain", "SELECT ssn || '' FROM users", "SELECT nope FROM users", "SELECT 1/0", "BEGIN", "COMMIT", "ROLLBACK",
               "SAVEPOINT s", "ROLLBACK TO s", "DECLARE p CURSOR FOR SELECT label FROM orders", "DECLARE q CURSOR FOR SELECT ssn FROM users", "CLOSE p",
               "FETCH 1 FROM p", "FETCH 1 FROM q", "PREPARE a AS SELECT label FROM orders", "PREPARE b AS SELECT ssn FROM users", "EXECUTE a", "EXECUTE b",
               "DEALLOCATE a", "DEALLOCATE ALL", "DISCARD ALL", "CLOSE ALL", "COPY orders TO STDOUT", "SELECT label FROM orders; SELECT ssn FROM users"]


@pytest.mark.parametrize("seed", range(100))
def test_random_conversations_leak_nothing(stack, seed):
    """Names and portals change their meaning all the time; the guard may refuse, it may not err."""
    rng = random.Random(seed)
    with stack.connect() as c:
        for _ in range(8):
            if not randomised.trickle(rng, c, b"".join(randomised.batch(rng, MIXED_TEXTS))):
                break
        try:
            while not c.silent_for(0.15):
                c.recv_message()
        except raw.Closed:
            pass
        HIDDEN.absent(c.received)
