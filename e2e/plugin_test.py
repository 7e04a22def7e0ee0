# SPDX-License-Identifier: Apache-2.0
"""kubectl guard against a real API server and real guards.

The first half needs no chart: guards that run by themselves in pods that look injected, in a namespace without injection.
The second half decides on requests that a guard made, with the webhook in force."""

import json
import os
import signal
import subprocess

import pytest

import support
import world
from support import wait_for
from world import Database, Person, kubectl_guard

GUARD_IMAGE = os.environ.get("CHAPERONE_E2E_GUARD_IMAGE", "chaperone/guard:0.1.0")

RULES = [*world.RULES, {"name": "odd", "action": "Deny", "sql": {"operations": ["Lock"]}, "message": "no \"locks\" / please"}]


def guard_pod(name, image=GUARD_IMAGE):
    """As an injected pod has it: the container `chaperone`, its control socket, its label."""
    command = ["/chaperone-sidecar", "--policies", "/policies", "--listen", "0.0.0.0:6432=orders-db", "--spool",
               "/run/chaperone/spool", "--control", "/run/chaperone/control.sock", "--secrets", "/secrets",
               "--namespace", "$(NS)", "--pod", name, "--labels", "app=coder", "--status", "0.0.0.0:15020"]
    guard = {"name": "chaperone", "image": image, "imagePullPolicy": "Never", "restartPolicy": "Always", "command": command,
             "env": [{"name": "NS", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}],
             "startupProbe": {"httpGet": {"path": "/readyz", "port": 15020}, "periodSeconds": 1, "failureThreshold": 60},
             "securityContext": {"runAsUser": 12345, "runAsGroup": 12345},
             "volumeMounts": [{"name": "run", "mountPath": "/run/chaperone"}, {"name": "policies", "mountPath": "/policies"},
                              {"name": "ca", "mountPath": "/secrets/orders-ca"}]}
    agent = {"name": "agent", "image": world.CLIENT_IMAGE, "imagePullPolicy": "Never", "command": ["sleep", "infinity"],
             "env": [{"name": "PGHOST", "value": "127.0.0.1"}, {"name": "PGPORT", "value": "6432"},
                     {"name": "PGUSER", "value": "agent"}, {"name": "PGPASSWORD", "value": world.PASSWORD},
                     {"name": "PGDATABASE", "value": "orders"}]}
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": "coder", "chaperone.dev/injected": "true"}},
            "spec": {"terminationGracePeriodSeconds": 1, "initContainers": [guard], "containers": [agent],
                     "securityContext": {"fsGroup": 12345}, "volumes": [
                         {"name": "run", "emptyDir": {}}, {"name": "policies", "configMap": {"name": "policies"}},
                         {"name": "ca", "secret": {"secretName": "orders-ca"}}]}}


class Guards:
    """Two pods with guards, one whose image is not there, one without a guard; and the same policies as objects."""

    def __init__(self, ns):
        self.ns = ns
        self.db = Database(ns)
        objects = [self.db.target(), world.policy(RULES)]
        ns.apply(*objects)
        files = {"p.yaml": "\n---\n".join(json.dumps(self._named(o)) for o in (self._target(), objects[1]))}
        ns.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "policies"}, "data": files})
        ns.apply(guard_pod("one"), guard_pod("two"), guard_pod("broken", "chaperone/no-such-image:1"))
        ns.apply(world.agent_pod("plain"))
        for pod in ("one", "two"):
            ns.wait_ready(pod)

    def _target(self):
        return json.loads(self.db.target().split("\n---\n")[1])

    def _named(self, obj):
        return {**obj, "metadata": {**obj["metadata"], "namespace": self.ns.name}}

    def guard(self, *args, **options):
        return kubectl_guard(*args, namespace=self.ns.name, **options)

    def session(self, pod):
        """A session that goes on, and its name."""
        before = {s["id"] for s in self.sessions()}
        process = support.kubectl_start("exec", "-i", pod, "-c", "agent", "--", "psql", "-XAt", namespace=self.ns.name,
                                        stdin=subprocess.PIPE)
        say(process, "select 'mine'")
        new = wait_for(lambda: [s for s in self.sessions() if s["id"] not in before and s["statements"] > 0], 30, "a session")
        return process, new[0]["id"]

    def sessions(self):
        return self.guard("sessions", "--json").json["sessions"]


def say(process, sql):
    process.stdin.write(sql + ";\n")
    process.stdin.flush()


def end(process):
    """What a session's client said at last."""
    out, err = process.communicate("select 1;\n", timeout=30)
    return out + err


@pytest.fixture(scope="module")
def g(crds):
    with support.Namespace(prefix="plugin") as ns:
        yield Guards(ns)


# ---- sessions, tail, kill, status ----

def test_sessions_of_all_pods_are_in_one_table(g):
    processes = [g.session("one"), g.session("two")]
    answer = g.guard("sessions", check=True)
    lines = answer.out.splitlines()
    assert lines[0].split()[:3] == ["POD", "SESSION", "TARGET"]
    for (_, session), pod in zip(processes, ("one", "two")):
        assert any(line.split()[:3] == [pod, session, "orders-db"] for line in lines), answer
    assert "pod broken in " in answer.err and "one in" not in answer.err, answer
    everywhere = kubectl_guard("sessions", "-A", check=True)
    assert everywhere.out.startswith("NAMESPACE") and processes[0][1] in everywhere.out
    for process, _ in processes:
        end(process)


def test_kill_ends_the_one_session_in_its_pod(g):
    first, one = g.session("one")
    second, two = g.session("two")
    answer = g.guard("kill", two, check=True)
    assert "in pod two" in answer.out
    assert "ended by an operator" in end(second)
    assert first.poll() is None
    assert one in g.guard("sessions", check=True).out and two not in g.guard("sessions").out
    # broken cannot be asked: whether it had the session is not known.
    answer = g.guard("kill", two)
    assert answer.code == 3 and two in answer.err, answer
    assert "1" in end(first)


def test_tail_follows_one_session_to_its_end(g):
    process, session = g.session("one")
    lines = world.Lines(support.program("kubectl"), "guard", "tail", session, "-n", g.ns.name, "--json")

    def followed():
        say(process, "select 'tick'")
        return any("tick" in line for line in lines.lines)
    wait_for(followed, 30, "a statement in tail")
    g.guard("kill", session, check=True)
    wait_for(lambda: lines.process.poll() is not None, 30, "the end of tail")
    end(process)
    assert lines.process.returncode == 0
    records = [json.loads(line) for line in lines.lines]
    assert records[-1]["type"] == "session.close" and {r["session"] for r in records} == {session}


def test_tail_of_a_pod_and_of_all(g):
    for what, pods in (("one", ["one"]), ("all", ["one", "two"])):
        lines = world.Lines(support.program("kubectl"), "guard", "tail", what, "-n", g.ns.name)
        for pod in pods:
            def seen(pod=pod):
                g.ns.exec(pod, "psql", "-XAtc", f"select 'seen in {pod}'")
                return any(f"seen in {pod}" in line for line in lines.lines)
            wait_for(seen, 30, f"a statement of {pod}")
        if what == "all":
            assert any(line.startswith("one: ") for line in lines.lines) and any(line.startswith("two: ") for line in lines.lines)
        lines.close()


def test_an_interrupted_tail_leaves_nothing_behind(g):
    tail = subprocess.Popen(["kubectl-guard", "tail", "one", "-n", g.ns.name], env={**os.environ, **world.plugin_env()},
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)

    def children():
        return [c for c in support.run("ps", "-o", "pid=", "--ppid", tail.pid, check=False).out.split()]
    wait_for(lambda: "exec" in support.run("ps", "-o", "args=", "--ppid", tail.pid, check=False).out, 20, "kubectl exec")
    left = children()
    tail.send_signal(signal.SIGTERM)
    assert tail.wait(timeout=10) == -signal.SIGTERM
    assert all(not os.path.exists(f"/proc/{pid}") for pid in left)


def test_status_names_what_is_wrong(g):
    answer = g.guard("status")
    assert answer.code == 1
    assert "ok      resources" in answer.out, answer
    assert "3, of which 1 cannot be asked" in answer.out, answer
    broken = next(line for line in answer.out.splitlines() if line.startswith("broken"))
    assert "Image" in broken or "not started" in broken
    status = g.guard("status", "--json").json
    assert {x["pod"]: "status" in x for x in status["guards"]} == {"one": True, "two": True, "broken": False}


def test_who_may_not_look_is_told_so(g):
    eve = Person("eve", "nobody")
    for words in (["list"], ["sessions"], ["watch"], ["show", "x"], ["approve", "x"], ["explain", "--sql", "select 1"]):
        answer = eve.guard(*words, namespace=g.ns.name)
        assert answer.code == 1 and "forbidden" in answer.err and "eve" in answer.err and answer.out == "", answer
    answer = eve.guard("status", namespace=g.ns.name)
    assert answer.code == 1 and "unknown webhook" in answer.out, answer


def test_a_cluster_that_is_not_there(g):
    answer = g.guard("list", "--server", "https://127.0.0.1:1")
    assert answer.code == 3 and "cannot reach the cluster" in answer.err and "--socket" in answer.err, answer
    assert g.guard("list", "--context", "no-such-context").code == 3
    assert g.guard("list", "--token", "wrong", "--kubeconfig", "/dev/null", "--server", "https://10.244.0.1:6443",
                   "--insecure-skip-tls-verify").code == 3


# ---- policies ----

def test_explain_asks_the_clusters_policies(g):
    allowed = g.guard("explain", "--pod", "one", "--sql", "select * from users", check=True)
    assert "Allow by rule read" in allowed.out and "masked column public.users.email" in allowed.out
    denied = g.guard("explain", "--pod", "one", "--sql", "lock table orders")
    assert denied.code == 1 and "Deny by rule odd" in denied.out and 'no "locks" / please' in denied.out, denied
    other = g.guard("explain", "--labels", "app=other", "--sql", "select * from users")
    assert other.code == 1
    assert g.guard("explain", "--pod", "no-such-pod", "--sql", "select 1").code == 1


def test_cases_against_the_clusters_policies(g, tmp_path):
    file = tmp_path / "cases.yaml"
    case = {"name": "c", "sql": "update orders set state = 'x' where id = 1",
            "agent": {"namespace": g.ns.name, "labels": {"app": "coder"}}, "expect": "RequireApproval", "rule": "writes"}
    file.write_text(json.dumps({"cases": [case]}))
    assert "PASS" in g.guard("test", file, "--from-cluster", check=True).out
    file.write_text(json.dumps({"cases": [{**case, "expect": "Allow"}]}))
    answer = g.guard("test", file, "--from-cluster")
    assert answer.code == 1 and "FAIL" in answer.out


# ---- completion ----

def test_kubectl_completes_the_plugins_words(g):
    script = support.ROOT / "kubectl-guard"
    env = world.plugin_env()
    env["PATH"] = f"{script}:{env['PATH']}"

    def complete(*words):
        return support.run(support.program("kubectl"), "__complete", "guard", *words, env=env).out.splitlines()
    assert any(line.startswith("approve\t") for line in complete("app"))
    assert complete("list", "-n", g.ns.name[:-1])[0].startswith("plugin-")
    assert "one\tpod" in complete("tail", "-n", g.ns.name, "o")
