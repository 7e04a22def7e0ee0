# SPDX-License-Identifier: Apache-2.0
"""Policies through the API server: in force within 2 s on open connections, refused when wrong, and with a status."""

import contextlib
import json
import time

import pytest

import support
import world
from support import refused, wait_for
from world import Agent, Database


class World:
    def __init__(self, data, agents):
        self.ns = agents
        self.db = Database(data)
        agents.apply(self.db.target(), world.policy())
        self.agent = Agent(agents, self.db, "coder", kind="Pod")


@pytest.fixture(scope="module")
def w(chaperone):
    with support.Namespace(prefix="data") as data, support.Namespace(inject=True, prefix="agents") as agents:
        yield World(data, agents)


class Session:
    """One psql that stays connected; asked by its standard input."""

    def __init__(self, agent):
        self.process = agent.interactive("psql", "-XAtq")
        self.lines = []
        world.read_lines(self.process, self.lines)
        self.n = 0

    def ask(self, sql):
        """(seconds, output) of one statement; of a session that the guard has ended, what psql said."""
        self.n += 1
        mark, begun, at = f"--{self.n}--", time.monotonic(), len(self.lines)
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{sql};\n\\echo {mark}\n")
            self.process.stdin.flush()
        wait_for(lambda: any(mark in line for line in self.lines[at:]) or self.process.poll() is not None, 20,
                 f"an answer to {sql}", interval=0.01)
        return time.monotonic() - begun, "".join(self.lines[at:])

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(timeout=10)


def seconds_until(session, sql, wanted, deadline=10):
    begun = time.monotonic()
    wait_for(lambda: wanted(session.ask(sql)[1]), deadline, f"another answer to {sql}", interval=0.05)
    return time.monotonic() - begun


def test_a_change_is_in_force_on_open_connections_within_two_seconds(w):
    session = Session(w.agent)
    try:
        assert "20" in session.ask("select count(*) from orders")[1]
        closed = [r for r in world.RULES if r["name"] != "read"]
        w.ns.apply(world.policy(closed))
        assert seconds_until(session, "select count(*) from orders", lambda text: "20" not in text) < 2
        w.ns.apply(world.policy())
        assert seconds_until(session, "select count(*) from orders", lambda text: "20" in text) < 2
    finally:
        w.ns.apply(world.policy())
        session.close()


def test_a_deleted_policy_closes(w):
    session = Session(w.agent)
    try:
        support.delete("guardpolicy", "coding-agents", w.ns.name)
        assert seconds_until(session, "select count(*) from orders", lambda text: "20" not in text) < 2
        w.ns.apply(world.policy())
        wait_for(lambda: w.agent.psql("select 1").code == 0, 10, "the policy being back")
    finally:
        w.ns.apply(world.policy())
        session.close()


@pytest.mark.parametrize("field, change", [
    ("spec.rules[0].sql.operations[0]", {"name": "a", "action": "Allow", "sql": {"operations": ["Selekt"]}}),
    ("spec.rules[0].sql.relatons", {"name": "a", "action": "Allow", "sql": {"operations": ["Read"], "relatons": ["public.*"]}}),
    ("spec.rules[0].mask", {"name": "a", "action": "Mask", "sql": {"columns": ["public.users.ssn"]}, "mask": {"method": "Blur"}}),
    ("spec.rules[0]", {"name": "a", "action": "Permit"}),
])
def test_an_invalid_policy_is_refused_with_the_field(w, field, change):
    answer = w.ns.apply(world.policy([change], name="bad"), check=False)
    refused(answer, field)
    assert w.ns.get("guardpolicy", "bad") is None
    unchecked = support.kubectl("apply", "--validate=false", "-f", "-", namespace=w.ns.name, check=False,
                                input=json.dumps(world.policy([change], name="bad")))
    refused(unchecked, field)


def test_a_refused_change_leaves_the_policy_as_it_was(w):
    before = w.ns.get("guardpolicy", "coding-agents")["spec"]
    refused(w.ns.apply(world.policy([{"name": "a", "action": "Permit"}]), check=False))
    assert w.ns.get("guardpolicy", "coding-agents")["spec"] == before
    assert w.agent.psql("select 1", check=True).out.strip() == "1"


def test_conditions_say_accepted_and_enforced(w):
    w.ns.apply(world.policy(name="coding-agents"))
    w.ns.wait_condition("guardpolicy", "coding-agents", "Accepted", deadline=30)
    found = w.ns.wait_condition("guardpolicy", "coding-agents", "Enforced", deadline=90)
    message = next(c["message"] for c in found["status"]["conditions"] if c["type"] == "Enforced")
    assert "1 of 1" in message, message


def test_a_cluster_policy_is_a_floor(w):
    floor = {"apiVersion": world.API, "kind": "ClusterGuardPolicy", "metadata": {"name": f"floor-{w.ns.name}"},
             "spec": {"subjects": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": w.ns.name}}}],
                      "rules": [{"name": "no-cards", "action": "Deny", "sql": {"operations": ["Select"], "relations": ["public.cards"]}}]}}
    assert w.agent.psql("select note from cards").code == 0
    try:
        support.apply(floor)
        wait_for(lambda: "no-cards" in w.agent.psql("select note from cards").text, 10, "the floor")
        assert w.agent.psql("select count(*) from orders", check=True).out.strip() == "20"
    finally:
        support.delete("clusterguardpolicy", floor["metadata"]["name"])
    wait_for(lambda: w.agent.psql("select note from cards").code == 0, 10, "the floor's end")
