# SPDX-License-Identifier: Apache-2.0
"""kubectl guard against a real API server and real guards.

The first half needs no chart: guards that run by themselves in pods that look injected, in a namespace without injection.
The second half decides on requests that a guard made, with the webhook in force."""

import base64
import concurrent.futures
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

import support
import world
from support import wait_for
from world import Database, Person, grant, kubectl_guard

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


def plugin():
    return shutil.which("kubectl-guard", path=world.plugin_env()["PATH"])


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
    tail = subprocess.Popen([plugin(), "tail", "one", "-n", g.ns.name], env={**os.environ, **world.plugin_env()},
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


# ---- deciding, with the webhook in force ----

class Requests:
    """An injected pod, and requests made with its guard's identity; people who may patch their status."""

    def __init__(self, ns):
        self.ns = ns
        ns.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "coder"}})
        wait_for(lambda: ns.get("rolebinding", "chaperone-guard"), 30, "the guards' rights")
        # A guard that runs expires requests of its pod that it knows nothing of.
        ns.create(world.agent_pod("coder-0", serviceAccountName="coder", nodeSelector={"no": "such"}))
        self.pod = ns.get("pod", "coder-0")
        token = ns.kubectl("create", "token", "coder", "--bound-object-kind=Pod", "--bound-object-name=coder-0",
                           f"--bound-object-uid={self.pod['metadata']['uid']}").out.strip()
        config = support.kubectl("config", "view", "--raw", "--minify", "-o", "json").json["clusters"][0]["cluster"]
        self.guard_config = json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "g", "clusters": [{"name": "c", "cluster": config}],
            "users": [{"name": "u", "user": {"token": token}}], "contexts": [{"name": "g", "context": {"cluster": "c", "user": "u"}}]})
        self.alice, self.dan, self.carol = Person("alice", "dba"), Person("dan", "dba"), Person("carol", "dev")
        grant(ns, "chaperone-approver", groups=["dba", "dev"])

    def make(self, statement="UPDATE orders SET state = 'x' WHERE id = 7", seconds=300, **spec):
        """The ID of a new request."""
        name = base64.b32encode(secrets.token_bytes(10)).decode().lower()[:12]
        uid = self.pod["metadata"]["uid"]
        owner = {"apiVersion": "v1", "kind": "Pod", "name": "coder-0", "uid": uid}
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        spec = {"session": "01JD0000000000000000000000", "pod": "coder-0", "podUID": uid, "serviceAccount": "coder",
                "identity": f"{self.ns.name}/coder", "target": "orders-db", "database": "orders", "user": "agent",
                "policy": f"{self.ns.name}/p", "rule": "writes", "statement": statement, "parameters": '["a",null]',
                "effect": "Update public.orders", "digest": secrets.token_hex(32), "delivery": "Ticket", "expiresAt": until,
                "count": 1, "approvers": {"groups": ["dba"]}, **spec}
        request = {"apiVersion": world.API, "kind": "ApprovalRequest", "spec": spec,
                   "metadata": {"name": name, "labels": {"chaperone.dev/pod-uid": uid}, "ownerReferences": [owner]}}
        with tempfile.NamedTemporaryFile("w", suffix=".kubeconfig") as f:
            f.write(self.guard_config)
            f.flush()
            support.run(support.program("kubectl"), "create", "-n", self.ns.name, "-f", "-", input=json.dumps(request),
                        env={"KUBECONFIG": f.name})
        return name

    def status(self, name):
        return self.ns.get("approvalrequests.chaperone.dev", name).get("status", {})


@pytest.fixture(scope="module")
def r(chaperone):
    with support.Namespace(inject=True, prefix="plugin") as ns:
        yield Requests(ns)


def test_an_approval_says_what_was_approved_and_who(r):
    name = r.make("UPDATE orders -- \u202e 1=1\n\tSET state = '\x1b[2J' WHERE id = 7")
    assert name in r.alice.guard("list", namespace=r.ns.name, check=True).out
    shown = r.alice.guard("show", name[:8], namespace=r.ns.name, check=True).out
    assert "    UPDATE orders -- <U+202E> 1=1\n        SET state = '\\x1b[2J' WHERE id = 7\n" in shown and "\x1b" not in shown
    assert "of group dba" in shown
    answer = r.alice.guard("approve", name, "--reason", "ticket \"4711\" / ü", "--uses", "3", namespace=r.ns.name, check=True)
    assert answer.out.startswith(f"{name} approved\n") and "<U+202E>" in answer.out and "Update public.orders" in answer.out
    status = r.status(name)
    assert status["phase"] == "Approved"
    (decision,) = status["decisions"]
    assert decision["by"] == "alice" and "dba" in decision["groups"] and decision["uses"] == 3
    assert decision["reason"] == "ticket \"4711\" / ü"
    # Decided is decided.
    for word in ("approve", "deny"):
        again = r.dan.guard(word, name, namespace=r.ns.name)
        assert again.code == 1 and "not pending: Approved by alice" in again.err, again
    assert r.status(name) == status
    assert name not in r.alice.guard("list", "--pending", namespace=r.ns.name, check=True).out


def test_refusals_are_admissions_words(r):
    name = r.make()
    refused = r.carol.guard("approve", name, namespace=r.ns.name)
    assert refused.code == 1 and "dba" in refused.err and "webhook" not in refused.err and refused.out == "", refused
    assert refused.err.startswith("kubectl-guard: ")
    eve = Person("eve", "nobody").guard("approve", name, namespace=r.ns.name)
    assert eve.code == 1 and "forbidden" in eve.err
    assert r.alice.guard("approve", name[:6], namespace=r.ns.name).code == 1
    assert r.alice.guard("approve", name, namespace="default").code == 1
    assert r.status(name).get("decisions", []) == [] and r.status(name)["phase"] == "Pending"
    denied = r.alice.guard("deny", name, "--reason", "no ticket", namespace=r.ns.name, check=True)
    assert denied.out.startswith(f"{name} denied\n")
    assert r.status(name)["phase"] == "Denied"


def test_a_reason_that_is_asked_for(r):
    name = r.make(requireReason=True)
    answer = r.alice.guard("approve", name, namespace=r.ns.name)
    assert answer.code == 1 and "reason" in answer.err, answer
    assert r.status(name)["phase"] == "Pending"
    r.alice.guard("approve", name, "--reason", "because", namespace=r.ns.name, check=True)
    assert r.status(name)["phase"] == "Approved"


def test_people_at_the_same_time_are_all_counted(r):
    """Each patch tests the version that was read: whoever loses reads again."""
    people = [r.alice, r.dan, *(Person(n, "dba") for n in ("fay", "gus"))]
    name = r.make(count=4)
    with concurrent.futures.ThreadPoolExecutor(len(people)) as pool:
        answers = list(pool.map(lambda p: p.guard("approve", name, namespace=r.ns.name), people))
    assert [a.code for a in answers] == [0] * 4, "\n".join(map(str, answers))
    status = r.status(name)
    assert status["phase"] == "Approved" and {d["by"] for d in status["decisions"]} == {"alice", "dan", "fay", "gus"}
    assert sum(" approved\n" in a.out for a in answers) == 1 and sum(" counted: " in a.out for a in answers) == 3


def test_nobody_counts_twice(r):
    name = r.make(count=2)
    first = r.alice.guard("approve", name, namespace=r.ns.name, check=True)
    assert "counted: 1 of 2 approvals" in first.out
    again = r.alice.guard("approve", name, "--reason", "again", namespace=r.ns.name)
    assert again.code == 1 and "already" in again.err, again
    assert r.status(name)["phase"] == "Pending" and len(r.status(name)["decisions"]) == 1


def test_what_is_out_of_time_is_not_decided(r):
    name = r.make(seconds=3)
    time_is_over = time.time() + 4
    wait_for(lambda: time.time() > time_is_over, 10, "the request's end")
    answer = r.alice.guard("approve", name, namespace=r.ns.name)
    assert answer.code == 1, answer
    assert r.status(name)["phase"] != "Approved"


def test_watch_shows_requests_and_decisions_as_they_come(r):
    lines = world.Lines(support.program("kubectl"), "guard", "watch", "-n", r.ns.name)
    first = r.make("UPDATE orders SET a = 1")
    lines.wait(lambda line: first in line and "Pending" in line and "SET a = 1" in line, 20, "the request")
    r.alice.guard("deny", first, "--reason", "not today", namespace=r.ns.name, check=True)
    lines.wait(lambda line: first in line and "Denied" in line and "alice" in line and "not today" in line, 20, "the decision")
    lines.close()
    later = world.Lines(support.program("kubectl"), "guard", "watch", "-n", r.ns.name, "--json")
    second = r.make()
    later.wait(lambda line: json.loads(line)["approval"]["id"] == second, 20, "the second request")
    assert not any(first in line for line in later.lines)  # decided before we came
    later.close()
    r.alice.guard("deny", second, namespace=r.ns.name, check=True)


def test_completion_offers_pending_requests(r):
    name = r.make()
    env = world.plugin_env(r.alice.kubeconfig)
    out = support.run(plugin(), "__complete", "approve", "-n", r.ns.name, "", env=env).out
    assert f"{name}\tUpdate public.orders\n" in out
    r.alice.guard("deny", name, namespace=r.ns.name, check=True)
    assert name not in support.run(plugin(), "__complete", "approve", "-n", r.ns.name, "", env=env).out


def test_sessions_of_injected_pods_need_the_right(r):
    """Admission lets exactly the plugin's command lines through, for who may get guardsessions."""
    r.ns.create(world.agent_pod("coder-1", serviceAccountName="coder"))
    r.ns.wait_ready("coder-1")
    support.delete("pod", "coder-0", r.ns.name)
    answer = r.alice.guard("sessions", namespace=r.ns.name)
    assert answer.code == 0 and answer.err == "No live sessions.\n", answer
    answer = r.alice.guard("kill", "01JD0000000000000000000000", namespace=r.ns.name)
    assert answer.code == 1 and "no live session" in answer.err, answer
    grant(r.ns, "view", users=["bob"])
    bob = Person("bob", "nobody").guard("sessions", namespace=r.ns.name)
    assert bob.code == 3 and "coder-1" in bob.err and bob.out == "", bob
    status = kubectl_guard("status", namespace=r.ns.name)
    assert "ok      replicas" in status.out and "coder-1" in status.out, status
    guards = kubectl_guard("status", "--json", namespace=r.ns.name).json["guards"]
    assert [x["pod"] for x in guards] == ["coder-1"] and "version" in guards[0]["status"]
