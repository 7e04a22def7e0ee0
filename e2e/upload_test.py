# SPDX-License-Identifier: Apache-2.0
"""Records of agents' pods in a real object store of the cluster: under a lock, by TLS, with a key that can only write and
that agents do not get; through the guard's death and the pod's end. The chart's values are put back afterwards."""

import base64
import datetime
import json
import pathlib
import re
import ssl
import time

import pytest

import support
import world
from support import wait_for
from world import Agent, Database, on_node

from tests.support import objectstore  # noqa: E402 - world.py made it importable
from tests.support.certs import Authority

pytestmark = pytest.mark.last
STORE_IMAGE = "chaperone-e2e/store:1"
BUCKET, SECRET_NAME = "records", "records-login"
GUARD_ACCESS, GUARD_SECRET = "guard-only", "can/only+write"
ALLOW = [{"name": "all", "action": "Allow", "sql": {"operations": ["Read", "Transaction", "Show", "Session"], "relations": ["*.*"]}}]
# As docs/records.md has it.
POLICY = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"AWS": [GUARD_ACCESS]}, "Action": ["s3:PutObject", "s3:PutObjectRetention"],
     "Resource": f"arn:aws:s3:::{BUCKET}/chaperone/*"}]}


class Store:
    """The object store in a pod behind a Service, with TLS; `client` asks it from this machine, as its owner."""

    def __init__(self, ns):
        self.ns, self.host = ns, f"store.{ns.name}.svc"
        self.authority = Authority("Chaperone e2e store CA")
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "store"},
                   "spec": {"selector": {"app": "store"}, "ports": [{"port": 7070}]}}
        ns.apply(service)
        address = ns.get("service", "store")["spec"]["clusterIP"]
        leaf = self.authority.issue(self.host, [self.host, address])
        tls = {k: base64.b64encode(pathlib.Path(p).read_bytes()).decode() for k, p in zip(("tls.crt", "tls.key"), leaf)}
        ns.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store"}, "data": tls}, self._pod())
        ns.wait_ready("store")
        self.client = objectstore.Client(address, 7070, ssl.create_default_context(cadata=self.authority.pem))
        wait_for(self._answers, 20, "the store behind its Service")
        self.client.bucket(BUCKET)
        self.admin("create-user", "--access", GUARD_ACCESS, "--secret", GUARD_SECRET, "--role", "user")
        status, _, body = self.client.request("PUT", f"/{BUCKET}", json.dumps(POLICY).encode(), query="policy=")
        assert status == 204, body

    def _answers(self):
        try:
            return self.client.request("GET", "/")[0] == 200
        except OSError:
            return False

    @staticmethod
    def _pod():
        arguments = ["--port", ":7070", "--cert", "/tls/tls.crt", "--key", "/tls/tls.key", "--region", objectstore.REGION, "--access",
                     objectstore.ACCESS, "--secret", objectstore.SECRET, "--iam-dir", "/data/iam", "--iam-cache-disable", "--health", "/health",
                     "posix", "--versioning-dir", "/data/versions", "/data/objects"]
        mounts = [{"name": "data", "mountPath": f"/data/{d}", "subPath": d} for d in ("iam", "versions", "objects")]
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "store", "labels": {"app": "store"}}, "spec": {
            "terminationGracePeriodSeconds": 1, "securityContext": {"fsGroup": 65532},
            "containers": [{
                "name": "store", "image": STORE_IMAGE, "imagePullPolicy": "Never", "args": arguments,
                "readinessProbe": {"httpGet": {"path": "/health", "port": 7070, "scheme": "HTTPS"}, "periodSeconds": 1},
                "volumeMounts": [*mounts, {"name": "tls", "mountPath": "/tls"}]}],
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tls", "secret": {"secretName": "store"}}]}}

    def admin(self, *command):
        return self.ns.exec("store", "/versitygw", "admin", "--access", objectstore.ACCESS, "--secret", objectstore.SECRET, "--region",
                            objectstore.REGION, "--endpoint-url", "https://localhost:7070", "--allow-insecure", *command, container="store")

    def as_guard(self, *args, **options):
        return self.client.request(*args, access=GUARD_ACCESS, secret=GUARD_SECRET, **options)

    def secret(self):
        """What guards get, in each namespace of agents."""
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET_NAME}, "stringData": {
            "accessKeyId": GUARD_ACCESS, "secretAccessKey": GUARD_SECRET, "ca.crt": self.authority.pem}}

    def values(self):
        upload = {"bucket": BUCKET, "prefix": "chaperone", "endpoint": f"https://{self.host}:7070", "region": objectstore.REGION,
                  "lock": "Compliance:1d", "credentialsSecret": SECRET_NAME}
        return ["--set-json", "records.upload=" + json.dumps(upload), "--set-json", 'guard.args=["--segment-seconds","1"]']

    def of(self, ns, pod):
        """Keys of the pod's objects."""
        return [k for k in self.client.keys(BUCKET) if k.startswith(f"chaperone/{ns.name}/{pod}/")]


def values_in_force():
    return support.helm("get", "values", support.RELEASE, "-n", support.SYSTEM, "-o", "json").json


def config():
    return support.get("configmap", "chaperone-webhook", support.SYSTEM)["data"]["config.yaml"]


@pytest.fixture(scope="module")
def uploads(chaperone):
    """The store, and the chart with guards that upload to it."""
    before, text = values_in_force(), config()
    with support.Namespace(prefix="store") as ns:
        store = Store(ns)
        revision = support.helm("history", support.RELEASE, "-n", support.SYSTEM, "-o", "json").json[-1]["revision"]
        support.install_chart("--reset-then-reuse-values", *store.values())
        yield store
        support.helm("rollback", support.RELEASE, str(revision), "-n", support.SYSTEM, "--wait", "--timeout", "120s")
        wait_for(support.webhook_answers, 30, "the API server reaching the webhook")
        assert values_in_force() == before and config() == text, "the values were not put back"


class World:
    def __init__(self, store, data, ns):
        self.store, self.ns, self.db = store, ns, Database(data)
        ns.apply(store.secret(), self.db.target(), world.policy(ALLOW))
        self.agent = self.pod("coder")

    def pod(self, name):
        """An agent with the time that pods have to end."""
        made = world.agent_pod(name, self.db, terminationGracePeriodSeconds=30)
        made["spec"]["containers"][0]["command"] = ["bash", "-c", "trap exit TERM; while :; do sleep 1; done"]
        self.ns.create(made)
        self.ns.wait_ready(name)
        agent = Agent.__new__(Agent)
        agent.ns, agent.pod = self.ns, name
        return agent

    def sealed(self, pod, marks, deadline=40):
        """Waits until each of the marks is in the store, and returns the segments' keys."""
        def there():
            text = self.text(pod)
            return all(m in text for m in marks) and [k for k in self.store.of(self.ns, pod) if k.endswith(".zst")]
        return wait_for(there, deadline, f"{marks} in the store", interval=0.5)

    def text(self, pod):
        """The lines of all segments, by the zstd program."""
        parts = [support.subprocess.run(["zstd", "-dcq"], input=self.store.client.get(BUCKET, k), capture_output=True, check=True).stdout
                 for k in self.store.of(self.ns, pod) if k.endswith(".zst")]
        return b"".join(parts).decode()

    def verify(self, folder, pod, *flags):
        """kubectl-guard on a download of the pod's objects, with the key that the guard's own Event told."""
        for key in self.store.of(self.ns, pod):
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.store.client.get(BUCKET, key))
        trusted = folder / "trusted"
        events = support.kubectl("get", "events.events.k8s.io", "-o", "json", namespace=self.ns.name).json["items"]
        keys = {m for e in events if e["reason"] == "GuardStarted" and e["regarding"]["name"] == pod
                for m in re.findall(r"\b[0-9a-f]{64}\b", e.get("note", ""))}
        assert keys, "the key is in the Event GuardStarted"
        trusted.write_text("".join(k + "\n" for k in keys))
        return world.run(support.ROOT / "build/release/bin/kubectl-guard", "verify", "--key", trusted, *flags,
                         folder / f"chaperone/{self.ns.name}/{pod}", check=False)


@pytest.fixture(scope="module")
def w(uploads):
    with support.Namespace(prefix="data") as data, support.Namespace(inject=True, prefix="agents") as ns:
        yield World(uploads, data, ns)


def test_sessions_end_as_locked_objects_and_verify(w, tmp_path):
    w.agent.psql("select 'stored-1'", check=True)
    assert "42501" in w.agent.psql("drop table orders", "-v", "VERBOSITY=verbose").text
    keys = w.sealed("coder", ["stored-1", "drop table orders"])
    for key in keys:
        status, headers = w.store.client.head(BUCKET, key)
        assert status == 200 and headers["x-amz-object-lock-mode"] == "COMPLIANCE" and headers["x-amz-checksum-sha256"]
        until = datetime.datetime.fromisoformat(headers["x-amz-object-lock-retain-until-date"].replace("Z", "+00:00"))
        assert 23 < (until - datetime.datetime.now(datetime.timezone.utc)).total_seconds() / 3600 <= 24
    done = w.verify(tmp_path, "coder")
    assert done.code == 0 and done.out.count(": OK ") >= 2 and "signed by" in done.out, str(done)
    flipped = next(p for p in tmp_path.rglob("*.000000.jsonl.zst") if not p.name.startswith("guard-"))
    data = bytearray(flipped.read_bytes())
    data[-30] ^= 1
    flipped.write_bytes(data)
    again = world.run(support.ROOT / "build/release/bin/kubectl-guard", "verify", flipped.parent, check=False)
    assert again.code == 1 and "TAMPERED" in again.out, str(again)


def test_nobody_removes_or_replaces_an_object(w):
    w.agent.psql("select 'locked-1'", check=True)
    w.sealed("coder", ["locked-1"])
    found = [(k, v) for k, v in w.store.client.versions(BUCKET) if k.endswith(".zst")]
    key, version = found[0]
    for ask in (w.store.client.request, w.store.as_guard):  # the store's owner, and who has the guards' key
        status, _, body = ask("DELETE", f"/{BUCKET}/{key}", query=f"versionId={version}")
        assert status == 403, body
        status, _, body = ask("PUT", f"/{BUCKET}/{key}", b"forged", headers={"if-none-match": "*"})
        assert status in (403, 412), body
    status, _, body = w.store.as_guard("DELETE", f"/{BUCKET}/{key}")
    assert status == 403, body
    assert set(found) <= set(w.store.client.versions(BUCKET))


def test_the_guards_key_only_writes(w):
    w.agent.psql("select 'private-1'", check=True)
    key = w.sealed("coder", ["private-1"])[0]
    assert w.store.as_guard("GET", f"/{BUCKET}/{key}")[0] == 403
    assert w.store.as_guard("GET", f"/{BUCKET}", query="list-type=2")[0] == 403
    assert w.store.as_guard("PUT", f"/{BUCKET}/elsewhere/x", b"x")[0] == 403


def test_agents_do_not_get_the_key(w):
    for how in ({"volumes": [{"name": "s", "secret": {"secretName": SECRET_NAME}}]},
                {"volumes": [{"name": "s", "projected": {"sources": [{"secret": {"name": SECRET_NAME}}]}}]}):
        made = world.agent_pod("thief", w.db, **how)
        made["spec"]["containers"][0]["volumeMounts"] = [{"name": "s", "mountPath": "/s"}]
        support.refused(w.ns.create(made, check=False), SECRET_NAME)
    made = world.agent_pod("thief", w.db)
    made["spec"]["containers"][0]["envFrom"] = [{"secretRef": {"name": SECRET_NAME}}]
    support.refused(w.ns.create(made, check=False), SECRET_NAME)
    look = w.agent.run("bash", "-c", f"cat /etc/chaperone/secrets/{SECRET_NAME}/secretAccessKey; env; cat /proc/*/environ /proc/*/cmdline; "
                       f"grep -rls 'can/only' / --include='*ccess*' --exclude-dir=proc --exclude-dir=sys")
    assert GUARD_SECRET not in look.text and "No such file" in look.text, str(look)
    assert w.ns.kubectl("auth", "can-i", "get", "secrets", user=f"system:serviceaccount:{w.ns.name}:default", check=False).out.strip() == "no"
    assert w.agent.psql("select 1", check=True).out.strip() == "1"


def test_a_guard_that_is_killed_goes_on_where_it_was(w, tmp_path):
    for i in range(5):
        w.agent.psql(f"select 'before-kill-{i}'", check=True)
    status = w.agent.guard_status()
    session = w.agent.interactive("psql", "-XAt")
    session.stdin.write("select 'in-the-middle';\n")
    session.stdin.flush()
    assert session.stdout.readline().strip() == "in-the-middle"
    on_node("kill", "-9", world.container_pid(status["containerID"]))
    wait_for(lambda: w.agent.guard_status()["restartCount"] > status["restartCount"] and w.agent.guard_status()["ready"], 60,
             "the guard's restart", interval=0.3)
    session.kill()
    w.agent.psql("select 'after-kill'", check=True)
    w.sealed("coder", [*(f"before-kill-{i}" for i in range(5)), "in-the-middle", "after-kill"])
    done = w.verify(tmp_path, "coder")
    assert done.code == 0 and "gap" in done.out and "TAMPERED" not in done.out, str(done)


def test_a_deleted_pod_drains_within_its_time(w, tmp_path):
    agent = w.pod("leaver")
    session = agent.interactive("psql", "-XAt")  # still open when the pod is deleted
    session.stdin.write("select 'last-words';\n")
    session.stdin.flush()
    assert session.stdout.readline().strip() == "last-words"
    began = time.monotonic()
    support.delete("pod", "leaver", w.ns.name)
    took = time.monotonic() - began
    session.kill()
    assert took < 30, "the kubelet had to kill it"
    assert "last-words" in w.text("leaver"), "it was uploaded before the pod ended"
    done = w.verify(tmp_path, "leaver", "--strict")
    assert done.code == 0 and "UNSEALED" not in done.out and "MISSING" not in done.out and done.out.count(": OK ") >= 2, str(done)
