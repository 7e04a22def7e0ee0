# SPDX-License-Identifier: Apache-2.0
"""Policies are reloaded on change without dropping sessions; an invalid change keeps the last good one."""
import json

import pytest

from clients import harness, raw
from clients.harness import Stack
from support import run
from support.certs import Authority

SETUP = ["CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 10) g",
         "ALTER TABLE t OWNER TO agent"]
READ = '{name: read, action: Allow, sql: {operations: [Read, Transaction, Session], relations: ["public.*"]}}'
WRITE = '{name: write, action: Allow, sql: {operations: [Update], relations: ["public.*"]}}'
DENY = '{name: not-any-more, action: Deny, sql: {operations: [Select], relations: ["public.t"]}}'
MASK = '{name: hide, action: Mask, sql: {columns: ["public.t.v"]}, mask: {method: Redact}}'


@pytest.fixture
def stack():
    with Stack([READ], setup=SETUP) as s:
        yield s


def change(stack, *rules):
    stack.guard.set_policies(stack.policy_text(rules))


def eventually(c, sql, predicate, what):
    return run.wait_for(lambda: predicate(c.query(sql)), 10, what=what, interval=0.05)


@pytest.mark.sanitize
def test_new_rules_reach_a_living_session(stack):
    with stack.connect() as c:
        assert c.query("UPDATE t SET v = v WHERE id = 1").sqlstate == "42501"
        change(stack, READ, WRITE)
        eventually(c, "UPDATE t SET v = v WHERE id = 1", lambda r: r.tags == ["UPDATE 1"], "the new permission")
        change(stack, READ, WRITE, DENY)
        eventually(c, "SELECT id FROM t", lambda r: r.sqlstate == "42501", "the new denial")
        assert "not-any-more" in " ".join(c.query("SELECT id FROM t").errors[0].values())
        change(stack, READ)
        eventually(c, "SELECT id FROM t", lambda r: len(r.rows) == 10, "the permission that came back")


@pytest.mark.sanitize
def test_new_mask_reaches_prepared_statements(stack):
    with stack.connect() as c:
        c.send(raw.parse("s", "SELECT v FROM t WHERE id = 1"), raw.SYNC)
        c.until_ready()
        c.query("PREPARE by_sql AS SELECT v FROM t WHERE id = 1")

        def rows():
            c.send(raw.bind("", "s"), raw.execute(), raw.SYNC)
            return c.until_ready().text(), c.query("EXECUTE by_sql").text()

        assert rows() == ([["v1"]], [["v1"]])
        change(stack, READ, MASK)
        eventually(c, "SELECT v FROM t WHERE id = 1", lambda r: r.text() == [["****"]], "the mask")
        prepared, executed = rows()
        assert prepared in ([["****"]], []) and executed in ([["****"]], [])


def test_new_denial_reaches_prepared_statements(stack):
    with stack.connect() as c:
        c.send(raw.parse("s", "SELECT v FROM t"), raw.SYNC)
        c.until_ready()
        c.query("BEGIN")
        c.send(raw.bind("p", "s"), raw.execute("p", 2), raw.SYNC)
        assert len(c.until_ready().rows) == 2
        change(stack, READ, DENY)
        with stack.connect() as other:
            eventually(other, "SELECT id FROM t", lambda r: r.sqlstate == "42501", "the new denial")
        c.send(raw.bind("p2", "s"), raw.execute("p2"), raw.SYNC)
        reply = c.until_ready()
        assert not reply.rows and reply.errors


def invalid(stack, name):
    good = stack.policy_text([READ])
    return {
        "not yaml": good + "a: [b\n",
        "unknown field": good.replace("action: Allow", "action: Allow, colour: red"),
        "unknown action": good.replace("action: Allow", "action: Permit"),
        "unknown operation": good.replace("[Read,", "[Reed,"),
        "wrong type": good.replace("operations: [Read, Transaction, Session]", "operations: 7"),
        "duplicate rule": stack.policy_text([READ, READ]),
        "unknown target": good.replace("targets: [{name: db}]", "targets: [{name: nowhere}]"),
        "other kind": good + "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n",
        "alias bomb": good + "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n",
    }[name]


@pytest.mark.sanitize
@pytest.mark.parametrize("name", ["not yaml", "unknown field", "unknown action", "unknown operation", "wrong type", "duplicate rule",
                                  "unknown target", "other kind", "alias bomb"])
def test_invalid_change_keeps_the_last_good_one(stack, name):
    text = invalid(stack, name)
    with stack.connect() as c:
        before = len(stack.guard.log())
        stack.guard.set_policies(text)

        def said():
            return next((line for line in stack.guard.log()[before:]
                         if "policy.yaml" in json.dumps(line)), None)
        line = json.dumps(run.wait_for(said, 10, what="a line in the log that names the file"))
        assert "policy.yaml:" in line, f"file and line number: {line}"
        needle = {"unknown field": "colour", "unknown action": "Permit", "unknown operation": "Reed", "wrong type": "operations",
                  "unknown target": "nowhere", "other kind": "Pod"}.get(name, "")
        assert needle in line
        assert c.query("SELECT count(*) FROM t").text() == [["10"]], "the last good policy holds"
        assert c.query("UPDATE t SET v = v WHERE id = 1").sqlstate == "42501"
        ready = stack.guard.http_get("/readyz")
        metrics = stack.guard.http_get("/metrics")[1]
        assert "policy" in ready[1].lower() or "policy" in metrics, "the state of the policy is visible"
        change(stack, READ, WRITE)
        eventually(c, "UPDATE t SET v = v WHERE id = 1", lambda r: r.tags == ["UPDATE 1"], "recovery")


def test_removed_policy_closes(stack):
    with stack.connect() as c:
        stack.guard.set_policies(harness.target(stack.pg))
        eventually(c, "SELECT id FROM t", lambda r: r.sqlstate == "42501" or r.closed, "a closed default")
    with stack.bare() as c:
        reply = c.startup(harness.USER, stack.database, harness.PASSWORD)
        assert reply.status == "" or c.query("SELECT id FROM t").sqlstate == "42501"


def test_invalid_at_start_does_not_start():
    stack = Stack([READ], setup=SETUP, wait=False)
    stack.guard.set_policies("kind: Nonsense\n")
    stack.guard.start()
    try:
        def over():
            return stack.guard.process.poll() is not None or stack.guard.http_get("/readyz")[0] != 200
        run.wait_for(over, 10, what="a guard that is not ready")
        with pytest.raises((OSError, AssertionError)):
            stack.connect(timeout=3)
    finally:
        stack.guard.stop()


def test_changes_under_load(stack):
    """Twenty swaps while a session never stops asking: never an answer that fits no policy."""
    with stack.connect() as c:
        for i in range(20):
            change(stack, READ, *([WRITE] if i % 2 else []), *([MASK] if i % 3 else []))
            for _ in range(20):
                reply = c.query("SELECT v FROM t WHERE id = 1")
                assert reply.text() in ([["v1"]], [["****"]])


def test_rotated_secret_is_re_read(stack):
    """The target's CA is replaced by one that did not sign the server: new sessions fail, then work again."""
    with Stack([READ], setup=SETUP, upstream_tls=True) as s:
        with s.connect() as c:
            assert c.query("SELECT 1").text() == [["1"]]
        path = s.guard.secrets / "upstream-ca" / "ca.crt"
        good = path.read_text()
        run.write_file(path, Authority("Another CA").pem)

        def fails():
            with s.bare() as c:
                return c.startup(harness.USER, s.database, harness.PASSWORD).sqlstate
        assert run.wait_for(fails, 10, what="distrust") in ("08006", "08001")
        run.write_file(path, good)

        def works():
            with s.bare() as c:
                return c.startup(harness.USER, s.database, harness.PASSWORD).status == "I"
        run.wait_for(works, 10, what="trust")
