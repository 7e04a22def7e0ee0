# SPDX-License-Identifier: Apache-2.0
"""The webhook and the API server away, replaced, rotated: closed where it has to be, unnoticed elsewhere."""

import contextlib
import json
import time

import pytest

import support
import world
from support import SYSTEM, refused, wait_for
from world import Agent, Database, Person, agent_pod, agent_template, grant, pending

WEBHOOK = "chaperone-webhook"
pytestmark = pytest.mark.last


def webhook_pods():
    return [p for p in support.get("pods", namespace=SYSTEM)
            if p["metadata"].get("labels", {}).get("app.kubernetes.io/component") == "webhook"
            and "deletionTimestamp" not in p["metadata"]]


def wait_webhook(replicas):
    def there():
        d = support.get("deployment", WEBHOOK, SYSTEM)["status"]
        return d.get("readyReplicas", 0) == replicas == len(webhook_pods())
    wait_for(there, 120, f"{replicas} replicas of the webhook", interval=0.3)


@contextlib.contextmanager
def webhook_down():
    support.kubectl("scale", "deployment", WEBHOOK, "--replicas=0", namespace=SYSTEM)
    try:
        wait_for(lambda: not support.get("pods", namespace=SYSTEM), 90, "no webhook pod", interval=0.3)
        yield
    finally:
        support.kubectl("scale", "deployment", WEBHOOK, "--replicas=2", namespace=SYSTEM)
        wait_webhook(2)


def failed_creates(ns):
    return [e["message"] for e in ns.get("events") if e.get("reason") == "FailedCreate"]


def rollout(name, replicas):
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": agent_template(labels={"app": name})}}


def wait_rolled_out(ns, name, replicas):
    def there():
        return ns.get("deployment", name)["status"].get("readyReplicas", 0) == replicas
    wait_for(there, 240, f"{replicas} ready pods of {name}", interval=0.5)
    for p in ns.get("pods"):
        assert [c["name"] for c in p["spec"]["initContainers"]][:2] == ["chaperone-init", "chaperone"]


# ---- the webhook ----

def test_without_the_webhook_labelled_namespaces_are_closed_and_others_untouched(agents, namespace):
    with webhook_down():
        refused(agents.create(agent_pod("late"), check=False), "chaperone")
        refused(agents.apply(world.policy(name="late"), check=False), "chaperone")
        namespace.create(agent_pod("free"))
        namespace.wait_ready("free")
        assert agents.get("pod", "late") is None
    agents.create(agent_pod("late"))
    agents.wait_ready("late")


def test_a_replica_that_goes_fails_no_pod_of_a_rollout(agents):
    wait_webhook(2)
    agents.create(rollout("many", 20))
    wait_for(lambda: len(agents.get("pods")) >= 3, 30, "the first pods", interval=0.05)
    support.kubectl("delete", "pod", webhook_pods()[0]["metadata"]["name"], "--wait=false", namespace=SYSTEM)
    wait_rolled_out(agents, "many", 20)
    assert failed_creates(agents) == []
    wait_webhook(2)


# ---- the API server ----

class Stopped:
    """The API server answers nothing for a while, as a hung or cut-off one does."""

    def __init__(self):
        self.pid = world.on_node("pgrep", "-of", "kube-apiserver").out.strip()

    def __enter__(self):
        world.on_node("kill", "-STOP", self.pid)
        self.since = time.monotonic()
        return self

    def __exit__(self, *_):
        world.on_node("kill", "-CONT", self.pid)
        wait_for(lambda: support.cluster_available() is None, 60, "the API server being back")


@pytest.fixture
def guarded(chaperone):
    with support.Namespace(prefix="data") as data, support.Namespace(inject=True, prefix="agents") as agents:
        db = Database(data)
        quick = [{**r, "approval": {**r["approval"], "timeout": "8s"}} if "approval" in r else r for r in world.RULES]
        agents.apply(db.target(), world.policy(quick))
        agent = Agent(agents, db, "coder", kind="Pod")
        grant(agents, "chaperone-approver", groups=["dba"])
        yield agents, db, agent


def test_a_minute_without_the_api_server(guarded):
    """Open sessions and new ones go on under the policy that was in force; what would need people is refused with a reason;
    Events come afterwards."""
    if world.foreign_cluster():
        pytest.skip("needs the node of e2e/cluster")
    ns, db, agent = guarded
    # kubectl exec needs the API server, so the agent's program runs on its own and reports by its output
    script = ("exec 2>&1; while true; do psql -XAt -v VERBOSITY=verbose -c 'select count(*) from orders' | sed 's/^/count /'; "
              "psql -XAt -v VERBOSITY=verbose -c 'drop table orders' 2>&1 | sed 's/^/drop /'; "
              "psql -XAt -v VERBOSITY=verbose -c \"update orders set state = 'away' where id = 3\" 2>&1 | sed 's/^/update /'; "
              "date +'round %s'; sleep 1; done")
    agent.run("bash", "-c", f"( {script} ) >/tmp/log 2>&1 </dev/null & echo $!", check=True)
    alice = Person("alice", "dba")
    pending(ns, "'away'")  # with the API server there, an update waits for people
    with Stopped() as stopped:
        begun = int(time.time())
        while time.monotonic() - stopped.since < 60:
            time.sleep(1)  # the minute itself, not a wait for something
        ended = int(time.time())
    log = agent.run("cat", "/tmp/log", check=True).out
    during = rounds_between(log, begun, ended)[1:]  # the first may have begun before
    assert len(during) >= 3, log[-3000:]
    for r in during:
        assert "count 20" in r, r
        assert "drop ERROR:  42501" in r, r
        assert "API server" in r and "update ERROR" in r, r
    assert db.sql("select state from orders where id = 3") == "open"
    wait_for(lambda: "ddl" in agent.events(), 60, "the refusals among the Events", interval=1)
    wait_for(lambda: alice.guard("approve", pending(ns, "'away'")["metadata"]["name"], namespace=ns.name).code == 0, 60,
             "an approval in time")
    wait_for(lambda: db.sql("select state from orders where id = 3") == "away", 20, "the approved update", interval=0.5)


def rounds_between(log, begin, end):
    """What one turn of the agent's loop printed, of those that ended in that time."""
    found, text = [], []
    for line in log.splitlines():
        text.append(line)
        if line.startswith("round "):
            if begin <= int(line.split()[1]) <= end:
                found.append("\n".join(text))
            text = []
    return found


# ---- certificates ----

def test_rotated_certificates_fail_no_pod(agents):
    """The CA, made for a year, is due at once when it is to be renewed 400 days before its end; leaves last 20 s. Meanwhile pods are
    created without a pause."""
    times = "certificates.times"
    support.install_chart("--set", f"{times}.caLifetime=19200h,{times}.renewBefore=9600h,{times}.overlap=5s,{times}.leafLifetime=20s")
    try:
        wait_webhook(2)
        first = support.get("secret", "chaperone-webhook-ca", SYSTEM)["data"]["ca.crt"]
        n, deadline = 0, time.monotonic() + 150
        while support.get("secret", "chaperone-webhook-ca", SYSTEM)["data"]["ca.crt"] == first or n < 40:
            assert time.monotonic() < deadline, "the CA was not replaced"
            answer = support.kubectl("create", "--dry-run=server", "-f", "-", namespace=agents.name, check=False,
                                     input=json.dumps(agent_pod(f"p{n}")))
            assert answer.code == 0, str(answer)
            n += 1
    finally:
        support.install_chart()
        wait_webhook(2)
