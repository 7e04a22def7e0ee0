# SPDX-License-Identifier: Apache-2.0
"""What an agent tries at an API server, on this machine with the real one behind a tap: of what is refused not one byte goes
upstream, a record says so, and a benign request works still. Rows of the catalogue (K1 to K17) that kube_guard_test.py has not."""

import base64
import contextlib
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading

import pytest

import kube_guard_test as k
import support
from kube_guard_test import CANARY, all_in, no_canary, ns, pod, secret, status_of  # noqa: F401 - ns is a fixture
from support import wait_for
from tests.support import netns


class Tap:
    """Between the guard and the API server: counts what goes up. TLS stays whole."""

    def __init__(self, host="127.0.0.1"):
        _, _, *self.server = k.credentials()
        self.sent = self.came = self.gone = 0
        self.listener = socket.create_server((host, 0))
        self.address = self.listener.getsockname()[:2]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                agent, _ = self.listener.accept()
                self.came += 1
                server = socket.create_connection(self.server)
                threading.Thread(target=self._pump, args=(agent, server, True), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, agent, False), daemon=True).start()

    def _pump(self, source, to, up):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.sent += len(data) if up else 0
                to.sendall(data)
        for s in (source, to):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
        self.gone += up

    def quiet(self):
        """What has gone up, once every connection of before is closed."""
        wait_for(lambda: self.came == self.gone, 20, "the end of earlier connections")
        return self.came, self.sent

    def close(self):
        self.listener.close()


class Attacked(k.KubeWorld):
    def __init__(self, ns, *rules, **guard):
        self.tap = Tap()
        super().__init__(ns, *rules, tap=self.tap.address, **guard)

    def close(self):
        self.guard.close()
        self.tap.close()

    def refuses(self, attack, *words, code=403):
        """attack: raw bytes to send. Returns the answer."""
        before, sent = len(self.denied()), self.tap.quiet()
        got = attack()
        assert status_of(got) == code, got[:2000]
        for word in ("chaperone", *words):
            assert word.encode() in got, got[:2000]
        assert self.tap.quiet() == sent, "the API server saw some of it"
        assert len(self.denied()) > before, "no record"
        assert status_of(self.get("/api/v1/namespaces/default")) == 200
        return got

    def denied(self):
        return [e for e in self.events("statement") if e["verdict"] == "Deny"]

    def get(self, target, *headers):
        return self.request(target, "Connection: close", *headers)

    def send(self, method, target, body, *headers, type="application/json"):
        text = body if isinstance(body, str) else json.dumps(body)
        return self.request(target, f"Content-Type: {type}", "Connection: close", *headers, method=method, body=text)


@pytest.fixture(scope="module")
def w(ns):  # noqa: F811
    world = Attacked(ns, all_in(ns), *k.EVERYTHING)
    yield world
    world.close()


@pytest.fixture
def closed(ns):  # noqa: F811
    worlds = []

    def make(*rules, **guard):
        worlds.append(Attacked(ns, *rules, **guard))
        return worlds[-1]
    yield make
    for world in worlds:
        world.close()


JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"


# ---- K11: copies of a Secret's values ----

@pytest.mark.parametrize("type,patch", [
    (JSON_PATCH, [{"op": "add", "path": "/data/x", "value": 5}]), (JSON_PATCH, [{"op": "add", "path": "/data/x", "value": "!"}]),
    (JSON_PATCH, [{"op": "replace", "path": "/metadata/labels", "value": 5}]), (MERGE_PATCH, {"data": {"x": 5}}),
    (MERGE_PATCH, {"kind": "Pod"}), (MERGE_PATCH, {"type": 5}), (MERGE_PATCH, {"metadata": {"annotations": [1]}}),
    (STRATEGIC, {"data": {"x": 5}}), (STRATEGIC, {"metadata": {"labels": {"a": {"b": 1}}}})])
@pytest.mark.parametrize("query", ["", "?dryRun=All", "?fieldValidation=Strict"])
def test_k11_a_patch_that_cannot_be_applied_does_not_quote_the_secret(w, ns, type, patch, query):  # noqa: F811
    ns.kubectl("apply", "-f", "-", input=json.dumps(secret("quoted", labels={"a": "b"})))
    got = w.send("PATCH", f"/api/v1/namespaces/{ns.name}/secrets/quoted{query}", patch, type=type)
    no_canary(got)
    assert status_of(got) in (400, 422) and b"withheld" in got, got
    no_canary(*(p.read_bytes() for p in w.guard.record_files()))


def test_k11_values_of_a_secret_in_its_annotations(w, ns):  # noqa: F811
    encoded = base64.b64encode(CANARY.encode()).decode()
    copies = {"plain": f"it is {CANARY}", "base64": encoded, "json": json.dumps({"data": {"password": encoded}}),
              "padded": f" \n{{broken {CANARY}", "yaml": f"kind: Secret\ndata:\n  password: {encoded}\n", "other": json.dumps({"was": CANARY}), "note": "rotated by ops"}
    ns.apply(secret("copied", annotations=copies))
    for target in ("secrets/copied", "secrets", "secrets?watch=1&timeoutSeconds=1&resourceVersion=0"):
        for accept in ("application/json", "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"):
            got = w.get(f"/api/v1/namespaces/{ns.name}/{target}", f"Accept: {accept}")
            no_canary(got)
    assert b"rotated by ops" in w.get(f"/api/v1/namespaces/{ns.name}/secrets/copied")


def test_k11_no_managed_fields_tell_whether_a_guess_was_right(w, ns):  # noqa: F811
    ns.apply(secret("guessed"))
    answers = []
    for guess in (CANARY, "wrong"):
        body = {"data": {"password": base64.b64encode(guess.encode()).decode()}}
        got = w.send("PATCH", f"/api/v1/namespaces/{ns.name}/secrets/guessed?dryRun=All&fieldManager=me", body, type=MERGE_PATCH)
        assert status_of(got) == 200
        answers.append(re.sub(rb"(Audit-Id|Date): [^\r]*", b"", got))
    assert answers[0] == answers[1]
    assert "managedFields" not in w.kubectl("get", "secret", "guessed", "-o", "json", "--show-managed-fields").out
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "guessed"}, "data": {"password": "YQ=="}}
    for query in ("?fieldManager=me&dryRun=All", "?fieldManager=me&force=false", "?fieldManager=me&force=true&force=false"):
        w.refuses(lambda: w.send("PATCH", f"/api/v1/namespaces/{ns.name}/secrets/guessed{query}", body, type=APPLY), "--force-conflicts")  # noqa: B023


def test_k11_a_masked_path_is_not_shown_in_a_table(closed, ns):  # noqa: F811
    w = closed(all_in(ns), {"name": "m", "action": "Mask", "kube": {"resources": ["pods"], "fields": [".status.podIP", ".status.podIPs[*].ip"]}})
    ip = ns.get("pod", "worker")["status"]["podIP"]
    assert ip in ns.kubectl("get", "pods", "-o", "wide").out
    for accept in ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "application/json;as=Table;v=v1;g=meta.k8s.io",
                   'application/json;as="Table";v=v1;g=meta.k8s.io', "*/*"):
        for query in ("", "?watch=1&timeoutSeconds=1&resourceVersion=0"):
            got = w.get(f"/api/v1/namespaces/{ns.name}/pods{query}", f"Accept: {accept}")
            assert status_of(got) == 200 and ip.encode() not in got
    shown = w.kubectl("get", "pods", "-o", "wide").out
    assert "worker" in shown and ip not in shown


# ---- K13: what guards the guard ----

INJECT = "/metadata/labels/chaperone.dev~1injectx"


@pytest.mark.parametrize("type,patch", [
    (JSON_PATCH, [{"op": "move", "from": INJECT, "path": "/metadata/labels/x"}]), (JSON_PATCH, [{"op": "move", "from": "/metadata/labels", "path": "/metadata/annotations"}]),
    (JSON_PATCH, [{"op": "remove", "path": "x/metadata/labels"}]), (JSON_PATCH, [{"op": "remove", "path": f"x{INJECT}"}]),
    (JSON_PATCH, [{"op": "copy", "from": "/metadata/name", "path": INJECT}]), (JSON_PATCH, [{"op": "replace", "path": "", "value": {}}]),
    (MERGE_PATCH, {"metadata": {"labels": {"chaperone.dev/injectx": None}}}), (MERGE_PATCH, {"metadata": None}),
    (STRATEGIC, {"metadata": {"labels": {"$patch": "replace"}}}), (STRATEGIC, {"metadata": {"$retainKeys": ["name"]}})])
def test_k13_the_label_of_a_namespace_stays(w, ns, type, patch):  # noqa: F811
    support.kubectl("label", "namespace", ns.name, "chaperone.dev/injectx=1", "--overwrite")
    w.refuses(lambda: w.send("PATCH", f"/api/v1/namespaces/{ns.name}", patch, type=type), "no policy permits this")
    assert support.get("namespace", ns.name)["metadata"]["labels"]["chaperone.dev/injectx"] == "1"


def test_k13_server_side_apply_of_a_namespace_removes_what_it_leaves_out(w, ns):  # noqa: F811
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ns.name}}
    w.refuses(lambda: w.send("PATCH", f"/api/v1/namespaces/{ns.name}?fieldManager=boss&force=true", body, type=APPLY), "server-side apply of a namespace")


@pytest.mark.parametrize("method,target,body", [
    ("DELETE", "/guardpolicies.chaperone.dev", ""), ("DELETE", "", ""), ("PATCH", "/guardtargets.chaperone.dev", "{}"),
    ("POST", "", '{"spec":{"group":"chaperone.dev"}}')])
def test_k13_the_kinds_of_policies_stay(w, method, target, body):
    w.refuses(lambda: w.send(method, f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions{target}", body, type=MERGE_PATCH if method == "PATCH" else "application/json"),
              "without these kinds there is no policy")


# ---- K12: every kind that makes pods ----

KINDS = [("/api/v1", "pods", None), ("/api/v1", "replicationcontrollers", ("spec", "template")), ("/api/v1", "podtemplates", ("template",)),
         ("/apis/apps/v1", "deployments", ("spec", "template")), ("/apis/apps/v1", "statefulsets", ("spec", "template")),
         ("/apis/apps/v1", "daemonsets", ("spec", "template")), ("/apis/apps/v1", "replicasets", ("spec", "template")),
         ("/apis/batch/v1", "jobs", ("spec", "template")), ("/apis/batch/v1", "cronjobs", ("spec", "jobTemplate", "spec", "template"))]
RISKS = [{"volumes": [{"name": "v", "secret": {"secretName": "s1"}}]}, {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]},
         {"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "s1"}}]}}]}, {"serviceAccountName": "other"}, {"hostNetwork": True}, {"hostPID": True},
         {"initContainers": [{"name": "i", "image": "i", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s1", "key": "password"}}}]}]},
         {"containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "s1"}}]}]},
         {"containers": [{"name": "c", "image": "i", "securityContext": {"privileged": True}}]}]


@pytest.mark.parametrize("base,resource,at", KINDS)
def test_k12_no_kind_starts_a_pod_with_more_than_it_shows(w, ns, base, resource, at):  # noqa: F811
    for risk in RISKS:
        body = {"metadata": {"name": "thief"}}
        inner = body
        for step in at or ():
            inner = inner.setdefault(step, {})
        inner["spec"] = {**pod("thief", ["true"])["spec"], **risk}
        for method, name, query in (("POST", "", ""), ("PUT", "/thief", "?dryRun=All"), ("PATCH", "/thief", "")):
            answer = w.send(method, f"{base}/namespaces/{ns.name}/{resource}{name}{query}", body, type=MERGE_PATCH if method == "PATCH" else "application/json")
            assert status_of(answer) == 403 and b"RequireApproval" in answer, (risk, method, answer)
    w.refuses(lambda: w.send("POST", f"{base}/namespaces/{ns.name}/{resource}", body), "RequireApproval")
    assert not ns.get(resource, "thief")


# ---- K1: other ways to the API server, redirected as in a pod ----

TRY = """
import socket, ssl, sys
host, port, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
try:
    with socket.create_connection((host, port), 5) as s:
        s.settimeout(5)
        with context.wrap_socket(s, server_hostname=name or None) as t:
            t.sendall(b"GET /version HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
            print(t.recv(100).split(b"\\r")[0].decode())
except OSError as e:
    print("closed", e)
"""


class Door:
    """Something that is no target: who comes is counted."""

    def __init__(self, host):
        self.came = 0
        self.listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.host, self.port = self.listener.getsockname()[:2]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                self.listener.accept()[0].close()
                self.came += 1


@pytest.fixture(scope="module")
def pod_like(ns):  # noqa: F811
    if not netns.available():
        pytest.skip("needs root and network namespaces")
    with netns.AgentNamespace() as agent:
        tap = Tap(agent.host4)
        world = k.KubeWorld(ns, *k.EVERYTHING, tap=tap.address, agent=agent, capture=15001)
        agent.run_root([agent.bin / "chaperone-init", "--capture", 15001, "--uid", netns.GUARD_UID, "--gid", netns.GUARD_UID])
        yield agent, tap, world
        world.guard.close()
        tap.close()


@pytest.mark.parametrize("name", ["", "kubernetes.default.svc", "other.example.com"])
def test_k1_the_targets_address_is_the_guards_whatever_name_is_said(pod_like, name):
    agent, tap, world = pod_like
    got = agent.run_python(TRY, args=[tap.address[0], str(tap.address[1]), name], timeout=30).stdout
    assert got.startswith("HTTP/1.1 200"), (got, world.guard.stderr()[-2000:])
    assert any(e.get("text") == "GET /version" and e["verdict"] == "Allow" for e in world.events("statement"))


@pytest.mark.parametrize("kind", ["another address", "IPv6", "another port", "the kubelet's port"])
def test_k1_other_addresses_of_it_lead_nowhere(pod_like, kind):
    agent, tap, world = pod_like
    door = Door(agent.host6 if kind == "IPv6" else agent.host4)
    where = (tap.address[0], 10250) if kind == "the kubelet's port" else (door.host, door.port)
    if kind == "another address":
        where = (k.credentials()[2], k.credentials()[3])
    sent, denied = tap.quiet(), len(world.guard.log())
    got = agent.run_python(TRY, args=[where[0], str(where[1]), "kubernetes"], timeout=30).stdout
    assert got.startswith("closed"), got
    assert door.came == 0 and tap.quiet() == sent
    wait_for(lambda: len(world.guard.log()) > denied, 10, "a line in the log")
    assert agent.run_python(TRY, args=[tap.address[0], str(tap.address[1]), ""], timeout=30).stdout.startswith("HTTP/1.1 200")


# ---- K6: HTTP/2 ----

def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
RESETS = b"".join(frame(1, 4, n, b"\x82\x87\x84") + frame(3, 0, n, b"\0\0\0\x08") for n in range(1, 2001, 2))


@pytest.mark.parametrize("data", [PREFACE + frame(4, 0, 0) + RESETS, PREFACE + frame(1, 0, 1, b"\x82") + frame(9, 0, 1, b"\0" * 1000) * 12,
                                  b"GET /api HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n" + PREFACE + RESETS,
                                  b"CONNECT /api HTTP/1.1\r\nHost: a\r\n:protocol: websocket\r\n\r\n", b"CONNECT 10.0.0.1:443 HTTP/1.1\r\nHost: 10.0.0.1:443\r\n\r\n"])
def test_k6_http2_floods_meet_http1(w, data):
    before = w.guard.rss()
    w.refuses(lambda: w.raw(data), code=400)
    assert w.guard.rss() - before < 8 << 20


def test_k6_a_client_that_speaks_only_http2_is_told_in_tls(w):
    context = ssl.create_default_context(cafile=str(w.guard.trust / "ca.crt"))
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", w.guard.ports["cluster"])) as s:
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            with context.wrap_socket(s, server_hostname="127.0.0.1") as t:
                assert t.selected_alpn_protocol() is None
    assert status_of(w.get("/api/v1/namespaces/default")) == 200


# ---- K15: SPDY, and what asks for it ----

@pytest.mark.parametrize("sub", ["exec?command=id&stdout=true", "attach?stdout=true", "portforward?ports=80"])
def test_k15_spdy_says_what_to_set(w, ns, sub):  # noqa: F811
    w.refuses(lambda: w.request(f"/api/v1/namespaces/{ns.name}/pods/worker/{sub}", "Connection: Upgrade", "Upgrade: SPDY/3.1",
                                "X-Stream-Protocol-Version: v4.channel.k8s.io", "Content-Length: 0", method="POST"),
              "KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "KUBECTL_PORT_FORWARD_WEBSOCKETS", code=400)


def test_k15_what_kubectl_shows_is_why_exec_is_refused(closed, ns):  # noqa: F811
    """It tries SPDY after the refused WebSocket; nothing of that goes up, nobody is asked twice."""
    w = closed({"name": "r", "action": "Allow", "kube": {"resources": ["pods", "namespaces"], "verbs": ["get"]}},
               {"name": "no-shells", "action": "Deny", "kube": {"resources": ["pods/exec"]}, "message": "open a ticket"})
    answer = w.kubectl("exec", "worker", "--", "id", check=False)
    assert answer.code != 0 and "no-shells" in answer.text and "open a ticket" in answer.text, answer
    assert all(e["verdict"] == "Deny" for e in w.events("statement") if e.get("subresource") == "exec")


# ---- K17: bodies with two meanings ----

@pytest.mark.parametrize("type,body,code", [
    ("application/json", '{"metadata":{"name":"x"},"data":{"a":"1"},"data":{"a":"2"}}', 400),
    ("application/json", '{"metadata":{"name":"x","n\\u0061me":"y"}}', 400),
    (MERGE_PATCH, '{"data":{"a":"1","\\u0061":"2"}}', 400),
    ("application/yaml", "metadata: &m {name: x}\ncopy: *m\n", 400), ("application/yaml", "metadata:\n  name: x\n", 400),
    (APPLY, "metadata: {name: x}\n", 400), ("application/x-www-form-urlencoded", "a=b", 415), ("text/plain", "{}", 415),
    ("application/cbor", "\xd9\xd9\xf7\xa0", 415), ("application/apply-patch+cbor", "\xa0", 415), ("application/json", "\ufeff{}", 400),
    ("application/json", "[" * 500 + "]" * 500, 400), ("application/json", '{"a":1e}', 400)])
def test_k17_bodies_with_two_meanings(w, ns, type, body, code):  # noqa: F811
    patch = "patch" in type
    target = f"/api/v1/namespaces/{ns.name}/configmaps" + ("/c1?fieldManager=x" if patch else "")
    w.refuses(lambda: w.raw(f"{'PATCH' if patch else 'POST'} {target} HTTP/1.1\r\nHost: a\r\nContent-Type: {type}\r\nConnection: close\r\n"
                            f"Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()), code=code)
    assert not ns.get("configmap", "x")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "identity"])
def test_k17_compressed_bodies(w, ns, coding):  # noqa: F811
    w.refuses(lambda: w.send("POST", f"/api/v1/namespaces/{ns.name}/configmaps", "{}", f"Content-Encoding: {coding}"), "compressed", code=400)


def test_k17_what_is_forwarded_is_what_was_judged(w, ns):  # noqa: F811
    """Space, order of escapes and letters beyond ASCII are written anew; nothing of what was meant is lost."""
    name = "k17-" + "a" * 10
    body = f' {{ "metadata" : {{"na\\u006de":"{name}"}},\n\t"data":{{"k":"\\u00e9\u00e9\\ud83d\\ude00 \\/ \\""}} }} '
    assert status_of(w.send("POST", f"/api/v1/namespaces/{ns.name}/configmaps", body)) == 201
    assert ns.get("configmap", name)["data"]["k"] == "\u00e9\u00e9\U0001f600 / \""


# ---- protobuf, as typed clients of client-go send it ----

@pytest.mark.timeout(1300)
def test_typed_clients_are_told_what_to_set(w, ns, tmp_path):  # noqa: F811
    go = shutil.which("go") or pytest.skip("no go")
    subprocess.run([go, "build", "-o", tmp_path / "informer", "."], cwd=support.ROOT / "e2e/clients/informer", check=True, timeout=1200)
    own = k.KubeWorld(ns, all_in(ns), {"name": "here", "action": "Allow", "kube": {"resources": ["pods"], "namespaces": [ns.name]}})
    told = json.loads(subprocess.run([tmp_path / "informer", own.kubeconfig, ns.name, "write"], capture_output=True, text=True, timeout=90, check=True).stdout)
    own.guard.close()
    as_made, json_ = told["as:"], told["as:application/json"]
    for read in ("secret", "pod"):
        assert 'set rest.Config.ContentType to "application/json"' in as_made[read], told
    for passes in ("configmap", "patch", "delete"):
        assert as_made[passes] == "ok", told
    assert "not found" in as_made["evict"], told  # it got there
    assert json_ == {n: "ok" for n in json_}, told


# ---- approvals ----

@pytest.mark.parametrize("how", ["apply", "server-side apply", "replace", "scale"])
def test_people_see_what_a_request_changes(closed, ns, how):  # noqa: F811
    name = f"seen-{how.replace(' ', '-')}"
    d = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": ns.name}, "spec": {
        "replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": {"app": name}}, "spec": {
            "containers": [{"name": "c", "image": "a:1", "env": [{"name": "DB_PASSWORD", "value": "CANARY-old"}]}]}}}}
    ns.kubectl("apply", "-f", "-", input=json.dumps(d))
    w = closed(all_in(ns), {"name": "ask", "action": "RequireApproval", "kube": {"resources": ["deployments", "deployments/scale"], "verbs": ["patch", "update"]}},
               {"name": "env", "action": "Mask", "kube": {"resources": ["deployments"], "env": ["*PASSWORD*"]}})
    container = d["spec"]["template"]["spec"]["containers"][0]
    container["image"], container["env"][0]["value"] = "a:2", "CANARY-new"
    command = {"apply": ["apply", "-f", "-"], "server-side apply": ["apply", "--server-side", "--force-conflicts", "-f", "-"],
               "replace": ["replace", "-f", "-"], "scale": ["scale", f"deployment/{name}", "--replicas=3"]}[how]
    process = w.popen(*command, stdin=subprocess.PIPE)
    process.stdin.write(json.dumps(d))
    process.stdin.close()
    try:
        request = wait_for(lambda: k._pending(w), 30, "a request")[0]
        shown = w.guard.kubectl_guard("show", request["id"]).stdout
    finally:
        w.guard.kubectl_guard("deny", request["id"], "--reason", "no")
        process.wait(30)
    assert f"deployments{'/scale' if how == 'scale' else ''} {name}" in shown and "CANARY" not in shown, shown
    _, _, changes = shown.partition("It changes:")
    if how == "scale":
        assert ".spec.replicas: 0 -> 3" in changes or ".spec.replicas: (none) -> 3" in changes, shown
    else:
        assert '"a:1"' in changes and '"a:2"' in changes, shown
    assert ns.get("deployment", name)["spec"]["template"]["spec"]["containers"][0]["image"] == "a:1"
