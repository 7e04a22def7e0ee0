# SPDX-License-Identifier: Apache-2.0
"""A name that means one relation now and another a moment later: temporary tables and earlier schemas shadow a
masked table, and what shadowed goes away with a savepoint, a transaction or a batch. A plain column is masked by its
origin whatever the name; an expression is not, so the guard must never judge it by the harmless relation.
"""
import pytest

from clients import raw
from clients.harness import FULL, Stack
from masking_test import HIDDEN, RULES, SETUP


@pytest.fixture(scope="module", params=FULL)
def stack(request):
    with Stack(RULES, setup=SETUP, **request.param) as s:
        yield s
        for path in s.guard.record_files():
            HIDDEN.absent_from_record(path)


Q = raw.query
SHADOW = "CREATE TABLE pg_temp.users (id int, ssn text)"
STEAL = "SELECT ssn || '' FROM users"
# CASCADE takes a view on masked columns away without naming it; a table takes its name until that is undone.
DROP, HIDE = Q("DROP TABLE orders CASCADE"), Q("CREATE TABLE v_join (id int, ssn text)")
LOOK = "SELECT ssn || '' FROM v_join"
GAMES = {
    # Each list is sent at once; the next when all has been answered.
    "savepoint": [[Q("BEGIN")], [Q("SAVEPOINT s")], [Q(SHADOW)], [Q(STEAL)], [Q("ROLLBACK TO s")], [Q(STEAL)], [Q(STEAL)]],
    "other transaction": [[Q("BEGIN")], [Q(SHADOW)], [Q(STEAL)], [Q("ROLLBACK; BEGIN")], [Q(STEAL)], [Q(STEAL)]],
    "chain": [[Q("BEGIN")], [Q(SHADOW)], [Q(STEAL)], [Q("ROLLBACK AND CHAIN")], [Q(STEAL)], [Q(STEAL)]],
    "drop on commit": [[Q("BEGIN")], [Q(SHADOW + " ON COMMIT DROP")], [Q(STEAL)], [Q("COMMIT")], [Q(STEAL)], [Q(STEAL)]],
    "drop on commit, chain": [[Q("BEGIN")], [Q(SHADOW + " ON COMMIT DROP")], [Q(STEAL)], [Q("COMMIT AND CHAIN")], [Q(STEAL)], [Q(STEAL)]],
    "rollback": [[Q("BEGIN")], [Q(SHADOW)], [Q(STEAL)], [Q("ROLLBACK")], [Q(STEAL)]],
    "one message": [[Q(SHADOW)], [Q(STEAL)], [Q("DROP TABLE pg_temp.users; " + STEAL)]],
    "one message, rollback": [[Q("BEGIN")], [Q(SHADOW)], [Q(STEAL)], [Q("ROLLBACK; " + STEAL)]],
    "one message, back and forth": [[Q("BEGIN")], [Q(SHADOW)], [Q(STEAL)], [Q("SAVEPOINT a")], [Q("ROLLBACK; BEGIN; " + STEAL)]],
    "at once": [[Q(SHADOW)], [Q(STEAL)], [Q("DROP TABLE pg_temp.users"), Q(STEAL)]],
    "rollback at once": [[Q("BEGIN")], [Q(SHADOW)], [Q(STEAL)], [Q("ROLLBACK"), Q(STEAL)]],
    "discard": [[Q(SHADOW)], [Q(STEAL)], [Q("DISCARD TEMP"), Q(STEAL)]],
    "discard all": [[Q(SHADOW)], [Q(STEAL)], [Q("DISCARD ALL"), Q(STEAL)]],
    "cascade, rollback": [[Q("BEGIN")], [DROP], [HIDE], [Q(LOOK)], [Q("ROLLBACK")], [Q(LOOK)]],
    "cascade in the message that begins": [[Q("BEGIN; DROP TABLE orders CASCADE")], [HIDE], [Q(LOOK)], [Q("ROLLBACK")], [Q(LOOK)]],
    "cascade, savepoint": [[Q("BEGIN; SAVEPOINT s")], [DROP], [HIDE], [Q(LOOK)], [Q("ROLLBACK TO s")], [Q(LOOK)]],
    "cascade, other transaction": [[Q("BEGIN")], [DROP], [HIDE], [Q(LOOK)], [Q("ROLLBACK; BEGIN")], [Q(LOOK)]],
    "cascade, chain": [[Q("BEGIN")], [DROP], [HIDE], [Q(LOOK)], [Q("ROLLBACK AND CHAIN")], [Q(LOOK)]],
    "cascade, one message": [[Q("BEGIN")], [DROP], [HIDE], [Q(LOOK)], [Q("ROLLBACK; " + LOOK)]],
    "cascade, at once": [[Q("BEGIN")], [DROP], [HIDE], [Q(LOOK)], [Q("ROLLBACK"), Q(LOOK)]],
    "cascade, savepoint at once": [[Q("BEGIN; SAVEPOINT s")], [DROP], [HIDE], [Q(LOOK)], [Q("ROLLBACK TO s"), Q("SELECT 1"), Q(LOOK)]],
    "cascade, commit of what failed": [[Q("BEGIN")], [DROP], [HIDE], [Q(LOOK)], [Q("SELECT 1/0"), Q("COMMIT"), Q(LOOK)]],
    "cascade, commit of what has failed": [[Q("BEGIN")], [DROP], [HIDE], [Q(LOOK)], [Q("SELECT 1/0")], [Q("COMMIT; " + LOOK)]],
    "cascade, batch": [[Q("BEGIN")], [DROP], [HIDE], [Q(LOOK)], [raw.parse("", "ROLLBACK"), raw.bind("", ""), raw.execute(), raw.FLUSH],
                       [raw.parse("", LOOK), raw.bind("", ""), raw.execute(), raw.SYNC]],
    "cascade, prepared": [[Q("BEGIN")], [DROP], [HIDE], [raw.parse("a", LOOK), raw.parse("r", "ROLLBACK"), raw.SYNC],
                          [raw.bind("", "r"), raw.execute(), raw.bind("", "a"), raw.execute(), raw.SYNC]],
    "cascade, sql execute": [[Q("BEGIN")], [DROP], [HIDE], [Q("PREPARE a AS " + LOOK)], [Q("ROLLBACK"), Q("EXECUTE a")]],
    "cascade, cursor": [[Q("BEGIN")], [DROP], [HIDE], [Q(LOOK)], [Q("ROLLBACK; BEGIN; DECLARE c CURSOR FOR " + LOOK)], [Q("FETCH ALL FROM c")]],
    "cascade, batch that begins": [[raw.parse("", "BEGIN"), raw.bind("", ""), raw.execute(), raw.parse("", "DROP TABLE orders CASCADE"), raw.bind("", ""), raw.execute(),
                                    raw.SYNC], [HIDE], [Q(LOOK)], [Q("ROLLBACK")], [Q(LOOK)]],
    "prepared": [[Q(SHADOW)], [raw.parse("a", STEAL), raw.SYNC], [raw.bind("", "a"), raw.execute(), raw.SYNC],
                 [Q("DROP TABLE pg_temp.users"), raw.bind("", "a"), raw.execute(), raw.SYNC]],
    "prepared in a batch": [[Q(SHADOW)], [raw.parse("a", STEAL), raw.SYNC], [raw.parse("d", "DROP TABLE pg_temp.users"), raw.SYNC],
                            [raw.bind("", "d"), raw.execute(), raw.bind("", "a"), raw.execute(), raw.SYNC]],
    "prepared, savepoint": [[Q("BEGIN; SAVEPOINT s")], [Q(SHADOW)], [raw.parse("a", STEAL), raw.SYNC],
                            [raw.bind("", "a"), raw.execute(), raw.SYNC], [Q("ROLLBACK TO s")], [raw.bind("", "a"), raw.execute(), raw.SYNC]],
    "execute": [[Q(SHADOW)], [Q("PREPARE a AS " + STEAL)], [Q("EXECUTE a")], [Q("DROP TABLE pg_temp.users; EXECUTE a")]],
}


@pytest.mark.parametrize("name", GAMES)
def test_what_shadowed_is_gone(stack, name):
    with stack.connect() as c:
        for parts in GAMES[name]:
            c.send(*parts)
            if parts[-1] == raw.FLUSH:
                while c.recv_message()[0] != b"C":
                    pass
            else:
                for _ in range(sum(part[:1] == b"Q" or part == raw.SYNC for part in parts)):
                    c.until_ready()
        c.query("ROLLBACK")
        HIDDEN.absent(c.received)
        assert c.query("SELECT 41 + 1").text() == [["42"]]


def test_migrations_go_on(stack):
    """What is refused has to be sent by itself, and then passes: also DDL in a transaction, and what is read behind it."""
    with stack.connect() as c:
        assert not c.query("BEGIN; CREATE TABLE fresh (id int); INSERT INTO fresh VALUES (7); COMMIT; SELECT id FROM fresh").errors
        c.query("BEGIN")
        assert not c.query("DROP TABLE fresh").errors
        refused = c.query("ROLLBACK; SELECT id FROM fresh")
        assert refused.sqlstate == "42501" and "by itself" in refused.errors[0]["H"]
        c.query("ROLLBACK")
        assert c.query("SELECT id FROM fresh").text() == [["7"]]
        assert not c.query("DROP TABLE fresh").errors
    assert stack.denied_in_record("ROLLBACK; SELECT id FROM fresh")
