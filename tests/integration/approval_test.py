# SPDX-License-Identifier: Apache-2.0
"""Statements that wait for a person: held on their connection, or refused with a ticket and let through once."""
import json
import re
import socket
import subprocess
import time

import pytest

from clients import raw
from clients.harness import FULL, Stack
from support import run

SETUP = ["CREATE TABLE orders (id int PRIMARY KEY, state text, n int DEFAULT 0)", "ALTER TABLE orders OWNER TO agent",
         "INSERT INTO orders SELECT g, 'open' FROM generate_series(1, 100) g",
         "CREATE TABLE tickets (id int PRIMARY KEY, n int DEFAULT 0)", "ALTER TABLE tickets OWNER TO agent",
         "INSERT INTO tickets SELECT g FROM generate_series(1, 100) g",
         "CREATE TABLE pairs (id int PRIMARY KEY, n int DEFAULT 0)", "ALTER TABLE pairs OWNER TO agent",
         "INSERT INTO pairs SELECT g FROM generate_series(1, 100) g"]
HOLD = ('{name: hold, action: RequireApproval, sql: {operations: [Update], relations: ["public.orders"]}, '
        'approval: {count: 1, allowSelf: true, requireReason: true, delivery: Hold, timeout: TIMEOUTs}}')
RULES = ['{name: work, action: Allow, sql: {operations: [Read, Transaction, Session, Insert], relations: ["public.*"]}}',
         HOLD.replace("TIMEOUT", "20"),
         '{name: quick, action: RequireApproval, sql: {operations: [Delete], relations: ["public.orders"]}, '
         'approval: {allowSelf: true, delivery: Hold, timeout: 2s}}',
         '{name: ticket, action: RequireApproval, sql: {operations: [Update], relations: ["public.tickets"]}, '
         'approval: {allowSelf: true, delivery: Ticket, timeout: 60s, validFor: 5m, uses: 1}}',
         '{name: four-eyes, action: RequireApproval, sql: {operations: [Update], relations: ["public.pairs"]}, '
         'approval: {count: 2, allowSelf: true, delivery: Hold, timeout: 20s}}']


@pytest.fixture(scope="module", params=FULL)
def stack(request):
    with Stack(RULES, setup=SETUP, **request.param) as s:
        yield s


def pending(stack):
    """Of the control socket itself: the pending requests, newest last."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10 * run.SLOWNESS)
        s.connect(str(stack.guard.control))
        s.sendall(b'{"cmd":"list"}\n')
        answer = json.loads(s.makefile().readline())
    return [a for a in answer["approvals"] if a["phase"].lower() == "pending"]


def waiting(stack, mark):
    """The request for the statement that mentions `mark`, once it is there."""
    return run.wait_for(lambda: next((a for a in pending(stack) if mark in a["statement"]), None), 10,
                        what=f"an approval request for {mark}")


def withdrawn(stack, mark):
    run.wait_for(lambda: not any(mark in a["statement"] for a in pending(stack)), 10, what=f"the withdrawal of {mark}")


def kubectl(stack, *args, ok=True):
    done = stack.guard.kubectl_guard(*args, check=False)
    assert (done.returncode == 0) == ok, (args, done.stdout, done.stderr)
    return done


def unanswered(c, seconds):
    """Nothing but notices comes: the statement waits."""
    while not c.silent_for(seconds):
        kind, body = c.recv_message()
        if kind != b"N":
            return False
    return True


# ---- Hold ----

@pytest.mark.parametrize("how", ["simple", "extended"])
def test_approved(stack, how):
    mark = f"approved-{how}"
    at = stack.pg.log_mark()
    with stack.connect(timeout=30) as c:
        sql = f"UPDATE orders SET n = n + 1 WHERE id = 1 /* {mark} */"
        c.send(raw.query(sql) if how == "simple" else P(sql))
        request = waiting(stack, mark)
        assert request["rule"] == "hold" and request["database"] == stack.database and sql in request["statement"]
        assert unanswered(c, 0.3), "nothing is answered while a person thinks"
        # Parsed it may be, to learn the parameters' types; run it is not.
        assert not stack.pg.saw(mark if how == "simple" else f"execute <unnamed>: {sql}", since=at)
        listed = kubectl(stack, "list").stdout
        assert request["id"] in listed
        shown = kubectl(stack, "show", request["id"]).stdout
        assert mark in shown and "orders" in shown
        kubectl(stack, "approve", request["id"], "--reason", "ticket 4711")
        reply = c.until_ready()
        assert reply.tags == ["UPDATE 1"] and reply.status == "I"
    assert stack.pg.saw(mark, since=at)
    record = json.dumps(stack.record_of(mark))
    assert '"approval"' in record and "ticket 4711" in record


def P(sql, values=()):
    return raw.parse("", sql) + raw.bind("", "", values) + raw.describe("P") + raw.execute() + raw.SYNC


def test_denied(stack):
    at = stack.pg.log_mark()
    with stack.connect(timeout=30) as c:
        c.send(raw.query("UPDATE orders SET n = 2 WHERE id = 2 /* person-says-no */"))
        request = waiting(stack, "person-says-no")
        kubectl(stack, "deny", request["id"], "--reason", "not on a Friday")
        reply = c.until_ready()
        assert reply.sqlstate == "42501" and reply.status == "I"
        assert "not on a Friday" in " ".join(reply.errors[0].values())
        assert c.query("SELECT n FROM orders WHERE id = 2").text() == [["0"]]
    assert not stack.pg.saw("person-says-no", since=at)


def test_timeout(stack):
    at = stack.pg.log_mark()
    with stack.connect(timeout=30) as c:
        t = time.monotonic()
        reply = c.query("DELETE FROM orders WHERE id = 3 /* nobody-came */")
        assert reply.sqlstate in ("42501", "57014") and reply.status == "I", reply
        assert 1.5 < time.monotonic() - t < 10 * run.SLOWNESS
        assert c.query("SELECT 1").text() == [["1"]]
    assert not stack.pg.saw("nobody-came", since=at)
    withdrawn(stack, "nobody-came")


def test_reason_required(stack):
    with stack.connect(timeout=30) as c:
        c.send(raw.query("UPDATE orders SET n = 3 WHERE id = 4 /* why */"))
        request = waiting(stack, "/* why */")
        kubectl(stack, "approve", request["id"], ok=False)
        assert unanswered(c, 0.2)
        kubectl(stack, "approve", request["id"], "--reason", "because")
        assert c.until_ready().tags == ["UPDATE 1"]
        kubectl(stack, "approve", request["id"], "--reason", "again", ok=False)


def test_client_leaves(stack):
    at = stack.pg.log_mark()
    with stack.connect() as c:
        c.send(raw.query("UPDATE orders SET n = 4 WHERE id = 5 /* gone-away */"))
        request = waiting(stack, "gone-away")
    withdrawn(stack, "gone-away")
    kubectl(stack, "approve", request["id"], "--reason", "late", ok=False)
    assert not stack.pg.saw("gone-away", since=at)


def test_cancel_while_waiting(stack):
    at = stack.pg.log_mark()
    with stack.connect(timeout=30) as c:
        c.send(raw.query("UPDATE orders SET n = 5 WHERE id = 6 /* cancelled-wait */"))
        waiting(stack, "cancelled-wait")
        with stack.bare() as other:
            other.send(raw.cancel_packet(c.pid, c.key))
            assert other.closed_by_peer()
        reply = c.until_ready()
        assert reply.sqlstate == "57014" and reply.status == "I"
        assert c.query("SELECT 1").text() == [["1"]]
    withdrawn(stack, "cancelled-wait")
    assert not stack.pg.saw("cancelled-wait", since=at)


def test_in_a_transaction(stack):
    with stack.connect(timeout=30) as c:
        c.query("BEGIN")
        c.send(raw.query("UPDATE orders SET n = 6 WHERE id = 7 /* in-block */"))
        request = waiting(stack, "in-block")
        kubectl(stack, "approve", request["id"], "--reason", "fine")
        reply = c.until_ready()
        assert reply.tags == ["UPDATE 1"] and reply.status == "T"
        c.send(raw.query("UPDATE orders SET n = 6 WHERE id = 8 /* in-block-no */"))
        kubectl(stack, "deny", waiting(stack, "in-block-no")["id"], "--reason", "no")
        assert c.until_ready().status == "E"
        assert c.query("SELECT 1").sqlstate == "25P02"
        c.query("ROLLBACK")
        assert c.query("SELECT n FROM orders WHERE id = 7").text() == [["0"]]


def test_pipeline_behind_a_held_statement_waits(stack):
    with stack.connect(timeout=30) as c:
        c.send(raw.query("UPDATE orders SET n = 7 WHERE id = 9 /* first-held */"), raw.query("SELECT n FROM orders WHERE id = 9"))
        request = waiting(stack, "first-held")
        assert unanswered(c, 0.3)
        kubectl(stack, "approve", request["id"], "--reason", "ok")
        reply = c.until_ready(n=2)
        assert reply.tags == ["UPDATE 1", "SELECT 1"] and reply.text() == [["7"]]


def test_other_sessions_go_on(stack):
    with stack.connect(timeout=30) as c, stack.connect() as other:
        c.send(raw.query("UPDATE orders SET n = 1 WHERE id = 10 /* others-go-on */"))
        request = waiting(stack, "others-go-on")
        for _ in range(50):
            assert other.query("SELECT 1").text() == [["1"]]
        kubectl(stack, "deny", request["id"], "--reason", "done")
        assert c.until_ready().sqlstate == "42501"


def test_digest_covers_parameters(stack):
    sql = "UPDATE orders SET n = $1 WHERE id = $2 /* with-parameters */"
    digests = []
    for values in (["1", "11"], ["2", "11"], ["1", "11"]):
        with stack.connect(timeout=30) as c:
            c.send(P(sql, values))
            request = waiting(stack, "with-parameters")
            assert values[0] in json.dumps(request["parameters"]) and values[1] in json.dumps(request["parameters"])
            digests.append(request["digest"])
            kubectl(stack, "approve", request["id"], "--reason", "ok")
            assert c.until_ready().tags == ["UPDATE 1"]
        withdrawn(stack, "with-parameters")
    assert digests[0] != digests[1] and digests[0] == digests[2]
    assert stack.admin("SELECT n FROM orders WHERE id = 11") == [(1,)]


def test_null_and_text_null_differ(stack):
    digests = set()
    for value in (None, "NULL", "null", ""):
        with stack.connect(timeout=30) as c:
            c.send(P("UPDATE orders SET state = $1 WHERE id = 12 /* null-or-not */", [value]))
            request = waiting(stack, "null-or-not")
            digests.add(request["digest"])
            kubectl(stack, "deny", request["id"], "--reason", "x")
            c.until_ready()
        withdrawn(stack, "null-or-not")
    assert len(digests) == 4


def test_hidden_characters_are_shown(stack):
    """A4: what the approver reads is the whole truth."""
    with stack.connect(timeout=30) as c:
        c.send(raw.query("UPDATE orders SET state = 'x\u202egnp.exe' WHERE id = 13 /* bidi \x1b[2J end-of-bidi */"))
        request = waiting(stack, "end-of-bidi")
        for out in (kubectl(stack, "list").stdout, kubectl(stack, "show", request["id"]).stdout):
            assert "\x1b[2J" not in out and "\u202e" not in out
        kubectl(stack, "deny", request["id"], "--reason", "x")
        c.until_ready()


def test_long_statement_is_shown_whole(stack):
    with stack.connect(timeout=30) as c:
        filler = " " * 5000
        c.send(raw.query(f"UPDATE orders SET n = 1{filler}WHERE id = 14 /* long-one */ OR id = 15"))
        request = waiting(stack, "long-one")
        assert "OR id = 15" in kubectl(stack, "show", request["id"]).stdout
        kubectl(stack, "deny", request["id"], "--reason", "x")
        c.until_ready()


def test_policy_change_while_waiting(stack):
    """A2: what was asked under one policy is not granted under another."""
    with Stack(RULES, setup=SETUP) as s, s.connect(timeout=30) as c:
        c.send(raw.query("UPDATE orders SET n = 9 WHERE id = 1 /* old-policy */"))
        waiting(s, "old-policy")
        s.guard.set_policies(s.policy_text(RULES[:1]))
        reply = c.until_ready()
        assert reply.sqlstate == "42501" and reply.status == "I", reply
        assert s.admin("SELECT n FROM orders WHERE id = 1") == [(0,)]


def test_shutdown_while_waiting():
    with Stack(RULES, setup=SETUP) as s:
        c = s.connect(timeout=30)
        c.send(raw.query("UPDATE orders SET n = 9 WHERE id = 1 /* guard-ends */"))
        waiting(s, "guard-ends")
        assert s.guard.stop() == 0
        reply = c.until_ready()
        assert reply.closed and not reply.tags
        assert s.admin("SELECT n FROM orders WHERE id = 1") == [(0,)]


def test_two_people(stack):
    """One person's second vote does not count."""
    with stack.connect(timeout=40) as c:
        c.send(raw.query("UPDATE pairs SET n = 1 WHERE id = 1 /* four-eyes */"))
        request = waiting(stack, "four-eyes")
        kubectl(stack, "approve", request["id"], "--reason", "first")
        kubectl(stack, "approve", request["id"], "--reason", "second", ok=False)
        assert unanswered(c, 0.3)
        kubectl(stack, "deny", request["id"], "--reason", "only one came")
        assert c.until_ready().sqlstate == "42501"


def test_flood_is_bounded(stack):
    """A5"""
    with Stack([RULES[0], HOLD.replace("TIMEOUT", "30")], setup=SETUP) as s:
        clients = [s.connect(timeout=30) for _ in range(40)]
        for i, c in enumerate(clients):
            c.send(raw.query(f"UPDATE orders SET n = 1 WHERE id = 1 /* flood {i} */"))
        run.wait_for(lambda: len(pending(s)) >= 1, 10, what="requests")
        assert len(pending(s)) <= 100
        for c in clients:
            c.close()
        run.wait_for(lambda: not pending(s), 10, what="an empty queue")


# ---- Ticket ----

def ticket_of(reply):
    assert reply.sqlstate == "42501" and reply.status == "I"
    text = " ".join(reply.errors[0].values())
    found = re.search(r"\b[a-z2-7]{12}\b", text)
    assert found, text
    return found.group(0)


def test_ticket(stack):
    sql = "UPDATE tickets SET n = n + 1 WHERE id = 1"
    with stack.connect() as c:
        first = ticket_of(c.query(sql))
        assert ticket_of(c.query(sql)) == first, "the same question is asked once"
        kubectl(stack, "approve", first, "--reason", "go")
        assert c.query(sql).tags == ["UPDATE 1"]
        assert ticket_of(c.query(sql)) != first, "used up"
    assert stack.admin("SELECT n FROM tickets WHERE id = 1") == [(1,)]


def test_ticket_in_another_session_of_the_same_agent(stack):
    sql = "UPDATE tickets SET n = n + 1 WHERE id = 2"
    with stack.connect() as c:
        kubectl(stack, "approve", ticket_of(c.query(sql)), "--reason", "go")
    with stack.connect() as c:
        assert c.query(sql).tags == ["UPDATE 1"]


@pytest.mark.parametrize("change", ["parameter", "text", "comment", "database role", "search path"])
def test_ticket_binds_what_was_asked(stack, change):
    """A1, A2"""
    with stack.connect() as c:
        def ask(sql="UPDATE tickets SET n = n + $1 WHERE id = 3 /* {} */".format(change), values=("1",)):
            return c.extended(sql, values)
        kubectl(stack, "approve", ticket_of(ask()), "--reason", "go")
        if change == "parameter":
            changed = ask(values=("2",))
        elif change == "text":
            changed = ask("UPDATE tickets SET n = n + $1 WHERE id = 4 /* text */")
        elif change == "comment":
            changed = ask("UPDATE tickets SET n = n + $1 WHERE id = 3 /* other */")
        elif change == "search path":
            with stack.connect(params={"search_path": "public, pg_catalog"}) as other:
                changed = other.extended("UPDATE tickets SET n = n + $1 WHERE id = 3 /* search path */", ["1"])
        else:
            changed = ask("UPDATE tickets SET n = n + $1 WHERE id = 3 RETURNING current_user")
        assert changed.sqlstate == "42501", changed
        reply = ask()
        assert reply.tags == ["UPDATE 1"], reply


def test_ticket_race(stack):
    """A1: one grant, many racing sessions, one passes."""
    sql = "UPDATE tickets SET n = n + 1 WHERE id = 5"
    clients = [stack.connect() for _ in range(20)]
    kubectl(stack, "approve", ticket_of(clients[0].query(sql)), "--reason", "go")
    for c in clients:
        c.send(raw.query(sql))
    passed = sum(1 for c in clients if c.until_ready().tags)
    for c in clients:
        c.close()
    assert passed == 1 and stack.admin("SELECT n FROM tickets WHERE id = 5") == [(1,)]


def test_uses_and_time_from_the_approver(stack):
    sql = "UPDATE tickets SET n = n + 1 WHERE id = 6"
    with stack.connect() as c:
        kubectl(stack, "approve", ticket_of(c.query(sql)), "--reason", "go", "--uses", "3")
        assert [bool(c.query(sql).tags) for _ in range(4)] == [True, True, True, False]


def test_denied_ticket(stack):
    sql = "UPDATE tickets SET n = n + 1 WHERE id = 7"
    with stack.connect() as c:
        kubectl(stack, "deny", ticket_of(c.query(sql)), "--reason", "no")
        assert c.query(sql).sqlstate == "42501"
    assert stack.admin("SELECT n FROM tickets WHERE id = 7") == [(0,)]


def test_unknown_id(stack):
    kubectl(stack, "approve", "aaaaaaaaaaaa", "--reason", "x", ok=False)
    kubectl(stack, "show", "../../etc/passwd", ok=False)


def test_watch(stack):
    argv = [str(run.program("kubectl-guard")), "--socket", str(stack.guard.control), "watch"]
    watcher = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        with stack.connect(timeout=30) as c:
            c.send(raw.query("UPDATE orders SET n = 1 WHERE id = 20 /* watched */"))
            request = waiting(stack, "watched")
            seen = ""
            while request["id"] not in seen:
                line = watcher.stdout.readline()
                assert line, "watch ended"
                seen += line
            kubectl(stack, "deny", request["id"], "--reason", "x")
            c.until_ready()
    finally:
        run.stop(watcher)


def test_control_socket_is_private(stack):
    assert stack.guard.control.stat().st_mode & 0o777 == 0o600
