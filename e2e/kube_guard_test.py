# SPDX-License-Identifier: Apache-2.0
"""The kube-apiserver guard on this machine, with --policies, against the real API server: kubectl, the python client and raw
bytes. Each request that is refused is shown to be recorded, not to have reached the API server where that can be seen, and
not to break what comes after."""

import base64
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest
import yaml

import support
from support import ROOT, wait_for

sys.path.insert(0, str(ROOT))
from tests.support import run as r  # noqa: E402
from tests.support.guard import Guard  # noqa: E402

CANARY = "CANARY-7f3a9c"
HIDDEN = [CANARY, base64.b64encode(CANARY.encode()).decode(), base64.b64encode(CANARY.encode()).decode().rstrip("=")]
IN_ENV = "CANARY-in-env-51"
CLIENT = "chaperone-e2e/client:1"
HOME = "guarded-by-kube-test"  # the guard's own namespace: it need not exist


def credentials():
    config = yaml.safe_load(open(support.kubeconfig()))
    user, cluster = config["users"][0]["user"], config["clusters"][0]["cluster"]

    def read(d, key):
        return base64.b64decode(d[f"{key}-data"]).decode() if f"{key}-data" in d else open(d[key]).read()
    host, _, port = cluster["server"].removeprefix("https://").partition(":")
    return {"tls.crt": read(user, "client-certificate"), "tls.key": read(user, "client-key")}, \
        read(cluster, "certificate-authority"), host, int(port or 443)


def policies(host, port, rules, server_name=None):
    def document(kind, name, spec):
        return json.dumps({"apiVersion": "chaperone.dev/v1alpha1", "kind": kind,
                           "metadata": {"name": name, "namespace": HOME}, "spec": spec})
    return document("GuardTarget", "cluster", {
        "protocol": "kubernetes", "hosts": [host], "ports": [port], "credentials": {"secretRef": {"name": "login"}},
        "tls": {"mode": "VerifyFull", "caSecretRef": {"name": "cluster-ca"}, **({"serverName": server_name} if server_name else {})}}) + "\n---\n" + document(
        "GuardPolicy", "p", {"targets": [{"name": "cluster"}], "rules": rules})


class KubeWorld:
    """A guard before the cluster. `kubectl` goes through it, `direct` does not."""

    def __init__(self, ns, *rules, tap=None, agent=None, **guard):
        """tap: (address, port) of something between the guard and the API server. agent: its network namespace;
        then nothing listens. guard: further arguments of Guard."""
        login, ca, self.host, self.port = credentials()
        self.ns = ns
        self.upstream = (*tap, "kubernetes") if tap else (self.host, self.port, None)
        self.guard = Guard(self.documents(rules), listen=None if agent else {"cluster": None}, ns=agent, namespace=HOME,
                           secrets={"login": login, "cluster-ca": {"ca.crt": ca}}, **guard).start()
        if agent:
            return
        self.kubeconfig = r.write_file(self.guard.dir / "kubeconfig", json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": {"server": f"https://127.0.0.1:{self.guard.ports['cluster']}",
                                                   "certificate-authority": str(self.guard.trust / "ca.crt")}}],
            "users": [{"name": "u", "user": {"token": "the-agents"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": ns.name}}]}))

    def documents(self, rules):
        host, port, name = self.upstream
        return policies(host, port, list(rules), name)

    def set_rules(self, *rules):
        self.guard.set_policies(self.documents(rules))

    def argv(self, *args):
        return [support.program("kubectl"), "--kubeconfig", str(self.kubeconfig), *map(str, args)]

    def kubectl(self, *args, **kw):
        return support.run(*self.argv(*args), **kw)

    def popen(self, *args, **kw):
        return subprocess.Popen(self.argv(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw)

    def direct(self, *args, **kw):
        return self.ns.kubectl(*args, **kw)

    def events(self, kind):
        return self.guard.events(kind)

    def connect(self):
        context = ssl.create_default_context(cafile=str(self.guard.trust / "ca.crt"))
        context.set_alpn_protocols(["http/1.1"])
        sock = socket.create_connection(("127.0.0.1", self.guard.ports["cluster"]), 20)
        return context.wrap_socket(sock, server_hostname="127.0.0.1")

    def raw(self, data):
        """Everything that comes back until the guard closes, or a first complete answer."""
        with self.connect() as s:
            s.settimeout(20)
            s.sendall(data if isinstance(data, bytes) else data.encode())
            got = b""
            while chunk := self._read(s):
                got += chunk
                if re.search(rb"\r\n\r\n.*\"code\":\d+}\n$", got, re.S) or got.endswith(b"0\r\n\r\n"):
                    s.settimeout(1)
        return got

    @staticmethod
    def _read(s):
        try:
            return s.recv(65536)
        except (TimeoutError, ConnectionResetError):
            return b""

    def request(self, target, *headers, method="GET", body="", host="a"):
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers]
        if body:
            lines.append(f"Content-Length: {len(body.encode())}")
        return self.raw("\r\n".join(lines) + "\r\n\r\n" + body)


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


EVERYTHING = [{"name": "cluster", "action": "Allow", "kube": {"resources": ["*", "*/*"]}}]


def all_in(ns):
    return {"name": "all", "action": "Allow", "kube": {"namespaces": [ns.name], "resources": ["*", "*/*"]}}


def pod(name, command, **more):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": {
        "terminationGracePeriodSeconds": 1, "containers": [{
            "name": "c", "image": CLIENT, "imagePullPolicy": "Never", "command": command, **more}]}}


def secret(name, **more):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, **more}, "stringData": {"password": CANARY}}


@pytest.fixture(scope="module")
def ns():
    with support.Namespace(prefix="kubeguard") as n:
        n.apply(pod("worker", ["sleep", "infinity"], env=[{"name": "DB_PASSWORD", "value": IN_ENV}]))
        n.apply(pod("talker", ["bash", "-c", "for i in $(seq 100000); do echo line $i ann@example.com; sleep 0.2; done"]))
        n.apply(secret("s1"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c1"}, "data": {"a": "b"}})
        n.wait_ready("worker")
        n.wait_ready("talker")
        yield n


@pytest.fixture(scope="module")
def w(ns):
    w = KubeWorld(ns, all_in(ns), *EVERYTHING)
    yield w
    w.guard.close()


@pytest.fixture
def closed(ns):
    """A guard whose policy the test gives."""
    worlds = []

    def make(*rules):
        worlds.append(KubeWorld(ns, *rules))
        return worlds[-1]
    yield make
    for world in worlds:
        world.guard.close()


def refused(w, answer, *words):
    """By the guard, in words, recorded; and the next request works."""
    text = answer.text if hasattr(answer, "text") else answer.decode(errors="replace")
    assert "chaperone" in text, text
    for word in words:
        assert word in text, text
    assert any(e["verdict"] == "Deny" for e in w.events("statement")), "no record of the refusal"
    assert w.kubectl("get", "configmap", "c1", "-o", "name").out.strip() == "configmap/c1"


def no_canary(*texts):
    for t in texts:
        data = t if isinstance(t, bytes) else str(t).encode()
        for hidden in HIDDEN:
            assert hidden.encode() not in data, data[:3000]


# ---- the same as a direct call ----

@pytest.mark.parametrize("args", [
    ["get", "pods,configmaps", "-o", "json"], ["get", "pods", "-o", "wide"], ["get", "pod", "worker", "-o", "yaml"],
    ["describe", "pod", "worker"], ["get", "configmaps"], ["api-resources", "--no-headers"], ["api-versions"],
    ["get", "nodes", "-o", "name"], ["auth", "can-i", "create", "pods"], ["explain", "pods.spec"], ["version", "-o", "json"],
    ["get", "--raw", "/apis"], ["get", "pods", "--field-selector", "metadata.name=worker", "-o", "name"],
    ["get", "pods", "-l", "app=worker", "-o", "name"], ["logs", "talker", "--limit-bytes", "20"],
    ["exec", "worker", "--", "sh", "-c", "echo out; echo err >&2"], ["rollout", "history", "deployment/none"],
    ["get", "no-such-kind"], ["get", "pod", "no-such-pod"], ["top", "pods"]])
def test_kubectl_gives_what_a_direct_call_gives(w, args):
    def steady(text):
        text = re.sub(r"\b\d+(s|m\d*s?|h)\b|\(x\d+ over .*", "", text)
        return re.sub(r'"?resourceVersion"?: "\d*"', "", text)
    through, direct = w.kubectl(*args, check=False), w.direct(*args, check=False)
    assert through.code == direct.code, through
    assert steady(through.out) == steady(direct.out)


def test_apply_diff_scale_rollout_delete(w, ns):
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": ns.name}, "spec": {
        "replicas": 1, "selector": {"matchLabels": {"app": "d"}}, "template": {
            "metadata": {"labels": {"app": "d"}}, "spec": pod("d", ["sleep", "infinity"])["spec"]}}}

    def apply(*flags):
        return w.kubectl("apply", *flags, "-f", "-", input=json.dumps(deployment))
    assert "created" in apply().out
    w.kubectl("rollout", "status", "deployment/d", "--timeout=60s")
    deployment["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A", "value": "1"}]
    diff = w.kubectl("diff", "-f", "-", input=json.dumps(deployment), check=False)
    assert diff.code == 1 and re.search(r"^\+ +value: \"1\"", diff.out, re.M), diff
    assert "configured" in apply().out
    assert "serverside-applied" in apply("--server-side", "--force-conflicts").out
    w.kubectl("scale", "deployment/d", "--replicas=2")
    w.kubectl("rollout", "restart", "deployment/d")
    w.kubectl("rollout", "status", "deployment/d", "--timeout=60s")
    assert ns.get("deployment", "d")["status"]["readyReplicas"] == 2
    w.kubectl("rollout", "undo", "deployment/d")
    w.kubectl("delete", "deployment/d")
    assert not ns.get("deployment", "d")
    node = support.get("node")[0]["metadata"]["name"]
    drained = w.kubectl("drain", node, "--dry-run=server", "--force", "--ignore-daemonsets", "--pod-selector", "app=worker")
    assert "drained (server dry run)" in drained.out
    assert any(e.get("dryRun") for e in w.events("statement"))


def test_exec_with_input_status_and_terminal(w):
    assert w.kubectl("exec", "-i", "worker", "--", "cat", input="a" * 300_000 + "\n").out == "a" * 300_000 + "\n"
    assert w.kubectl("exec", "worker", "--", "sh", "-c", "exit 7", check=False).code == 7
    wait_for(lambda: any(e.get("exitStatus") == 7 for e in w.events("result")), 10, "the exit status in the record")
    tty = subprocess.run(["script", "-qec", " ".join(w.argv("exec", "-it", "worker", "--", "sh -c 'tty; echo typed'")), "/dev/null"],
                         stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert "/dev/pts/" in tty.stdout, tty
    assert any(e.get("stream") == "stdout" and "typed" in e.get("text", "") for e in w.events("data"))


def test_cp_there_and_back(w, tmp_path):
    data = bytes(range(256)) * 3000
    (tmp_path / "a").write_bytes(data)
    w.kubectl("cp", tmp_path / "a", "worker:/tmp/a")
    w.kubectl("cp", "worker:/tmp/a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == data


def test_port_forward(w):
    server = w.popen("exec", "worker", "--", "sh", "-c", "while true; do echo from-the-pod | nc -l -p 8081 -q 1; done")
    port = r.free_port()
    listens = ("exec", "worker", "--", "grep", "-qi", ":1F91 .* 0A ", "/proc/net/tcp", "/proc/net/tcp6")
    wait_for(lambda: w.direct(*listens, check=False).code == 0, 30, "the pod listening on 8081")
    forward = w.popen("port-forward", "worker", f"{port}:8081")
    try:
        def get():
            try:
                with socket.create_connection(("127.0.0.1", port), 5) as s:
                    s.settimeout(5)
                    return s.recv(100)
            except OSError:
                return b""
        assert wait_for(get, 30, "an answer through port-forward") == b"from-the-pod\n"
    finally:
        for p in (forward, server):
            p.terminate()
            p.communicate(timeout=20)


def first_lines(process, n, deadline=30):
    lines = []
    reader = threading.Thread(target=lambda: [lines.append(process.stdout.readline()) for _ in range(n)], daemon=True)
    reader.start()
    reader.join(deadline)
    process.terminate()
    assert len(lines) == n, lines
    return lines


def test_watch_and_logs_arrive_as_they_come(w, ns):
    watch = w.popen("get", "configmaps", "-w", "-o", "name")
    assert "configmap" in watch.stdout.readline()
    ns.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}})
    assert any("late" in line for line in first_lines(watch, 2))
    logs = w.popen("logs", "-f", "talker", "--tail", "1")
    assert all(line.startswith("line ") for line in first_lines(logs, 8))


def test_the_python_client(w, ns):
    import kubernetes
    from kubernetes.stream import stream
    api = kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(str(w.kubeconfig)))
    direct = kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(support.kubeconfig()))
    names = [p.metadata.name for p in api.list_namespaced_pod(ns.name).items]
    assert names == [p.metadata.name for p in direct.list_namespaced_pod(ns.name).items] and "worker" in names
    api.create_namespaced_config_map(ns.name, {"metadata": {"name": "py"}, "data": {"a": "\u00e9"}})
    api.patch_namespaced_config_map("py", ns.name, {"data": {"b": "c"}})
    assert direct.read_namespaced_config_map("py", ns.name).data == {"a": "\u00e9", "b": "c"}
    api.delete_namespaced_config_map("py", ns.name)
    seen = [e["object"].metadata.name for e in kubernetes.watch.Watch().stream(
        api.list_namespaced_pod, ns.name, timeout_seconds=2, resource_version="0")]
    assert "worker" in seen
    assert stream(api.connect_get_namespaced_pod_exec, "worker", ns.name, command=["echo", "hi"], stdout=True,
                  stderr=True, stdin=False, tty=False) == "hi\n"
    assert api.read_namespaced_secret("s1", ns.name).data == {"password": "KioqKg=="}


# ---- Secrets ----

ACCEPT = ["application/json", "application/vnd.kubernetes.protobuf", "application/cbor", "application/yaml", "*/*", "",
          "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
          "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf, application/json",
          "application/json;stream=watch", "application/cbor-seq", "text/plain"]


@pytest.mark.parametrize("query", ["", "?includeObject=Object", "?watch=1&timeoutSeconds=1", "?limit=1", "?pretty=true",
                                   "?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
                                   "&allowWatchBookmarks=true", "?fieldSelector=metadata.name%3Ds1"])
def test_secrets_never_arrive_in_clear(w, ns, query):
    ns.kubectl("apply", "-f", "-", input=json.dumps(secret("applied")))  # with kubectl's annotation
    for path in (f"/api/v1/namespaces/{ns.name}/secrets", f"/api/v1/namespaces/{ns.name}/secrets/applied", "/api/v1/secrets",
                 f"/api/v1/watch/namespaces/{ns.name}/secrets"):
        for accept in ACCEPT[::4] if "watch" in path + query else ACCEPT:
            for coding in ([], ["Accept-Encoding: gzip"]):
                end = "&timeoutSeconds=1" if query else "?timeoutSeconds=1"
                if "/watch/" in path and ("gzip" in str(coding) or "timeoutSeconds" in query):
                    continue  # each takes its second
                got = w.request(path + query + (end if "/watch/" in path else ""), *([f"Accept: {accept}"] if accept else []), *coding, "Connection: close")
                no_canary(got)
                assert status_of(got) in (200, 400, 406, 404), got[:300]
    no_canary(*(p.read_bytes() for p in w.guard.record_files()))


def test_replies_to_writes_of_secrets_are_masked_and_stored_whole(w, ns):
    def both(*args, **kw):
        answer = w.kubectl(*args, **kw)
        no_canary(answer.out, answer.err)
        return answer
    both("apply", "-f", "-", "-o", "json", input=json.dumps(secret("w1")))
    stored = base64.b64decode(ns.get("secret", "w1")["data"]["password"]).decode()
    assert stored == CANARY
    both("patch", "secret", "w1", "--type=merge", "-p", '{"stringData":{"b":"%s"}}' % CANARY, "-o", "json")
    both("patch", "secret", "w1", "--type=merge", "-p", '{"metadata":{"labels":{"x":"y"}}}', "--dry-run=server", "-o", "json")
    both("apply", "-f", "-", "-o", "yaml", input=json.dumps(secret("w1", labels={"a": "b"})))
    assert ns.get("secret", "w1")["data"]["b"]
    both("delete", "secret", "w1")
    no_canary(*(p.read_bytes() for p in w.guard.record_files()))


@pytest.mark.parametrize("patch", [
    [{"op": "test", "path": "/data/password", "value": "x"}], [{"op": "copy", "from": "/data/password", "path": "/metadata/annotations/x"}],
    [{"op": "move", "from": "/data/password", "path": "/metadata/labels/x"}], [{"op": "TEST", "path": "/data", "value": "x"}]])
def test_a_patch_is_no_oracle(w, ns, patch):
    before = ns.get("secret", "s1")["metadata"]["resourceVersion"]
    refused(w, w.kubectl("patch", "secret", "s1", "--type=json", "-p", json.dumps(patch), check=False), "JSON patch")
    assert ns.get("secret", "s1")["metadata"]["resourceVersion"] == before


def test_masked_values_are_not_written_back(w, ns):
    masked = w.kubectl("get", "secret", "s1", "-o", "json").out
    refused(w, w.kubectl("replace", "-f", "-", input=masked, check=False), "masked values")
    assert base64.b64decode(ns.get("secret", "s1")["data"]["password"]).decode() == CANARY


def test_variables_fields_and_values_are_masked(closed, ns):
    w = closed(all_in(ns), {"name": "m", "action": "Mask", "kube": {"resources": ["pods"], "env": ["*PASSWORD*"],
                                                                    "fields": [".metadata.labels.app"]}},
               {"name": "v", "action": "Mask", "values": {"detectors": ["email"]}})
    got = json.loads(w.kubectl("get", "pod", "worker", "-o", "json").out)
    assert got["spec"]["containers"][0]["env"][0]["value"] == "****" and got["metadata"]["labels"]["app"] == "****"
    for answer in w.kubectl("get", "pods", "-o", "yaml"), w.kubectl("describe", "pod", "worker"):
        assert IN_ENV not in answer.out
    assert IN_ENV not in "".join(p.read_text() for p in w.guard.record_files())
    logs = w.kubectl("logs", "talker", "--tail", "3").out
    assert "line" in logs and "ann@example.com" not in logs
    echoed = w.kubectl("exec", "worker", "--", "echo", "mail bob@example.com end").out
    assert echoed.startswith("mail ") and echoed.endswith(" end\n") and "bob@example.com" not in echoed
    assert not any("example.com" in json.dumps(e) for e in w.events("data"))


# ---- adversary.md, section 3 ----

def test_k1_other_addresses_are_no_targets(w):
    assert status_of(w.request("/api", host="10.0.0.1:443")) == 200  # Host does not choose
    got = w.request("http://10.0.0.1/api")
    assert status_of(got) == 400


@pytest.mark.parametrize("sub", ["exec?command=id&stdout=true", "attach?stdout=true", "portforward?ports=1"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_k2_whatever_the_method_exec_is_connect(closed, ns, sub, method):
    w = closed({"name": "a", "action": "Allow", "kube": {"resources": ["pods", "configmaps", "pods/*"], "verbs": ["get", "list", "create"]}})
    protocol = "v5.channel.k8s.io" if "port" not in sub else "SPDY/3.1+portforward.k8s.io"
    got = w.request(f"/api/v1/namespaces/{ns.name}/pods/worker/{sub}", "Connection: Upgrade", "Upgrade: websocket",
                    "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                    f"Sec-WebSocket-Protocol: {protocol}", method=method)
    assert status_of(got) == (403 if method == "GET" else 400), got
    refused(w, got)


@pytest.mark.parametrize("path,verb", [("/api/v1/nodes/e2e/proxy/pods", "get"), ("/api/v1/nodes/e2e:10250/proxy/run/x", "get")])
def test_k3_nodes_proxy_is_refused_whatever_policy_says(w, path, verb):
    refused(w, w.kubectl(verb, "--raw", path, check=False), "no policy permits this")


def test_k3_pods_and_services_proxy_need_a_rule(closed, ns):
    w = closed({"name": "a", "action": "Allow", "kube": {"resources": ["*"]}})
    refused(w, w.kubectl("get", "--raw", f"/api/v1/namespaces/{ns.name}/pods/worker:8080/proxy/", check=False), "no rule")


def test_k4_a_refused_upgrade_leaves_no_tunnel(w, ns):
    hidden = f"GET /api/v1/namespaces/{ns.name}/secrets HTTP/1.1\r\nHost: a\r\n\r\n"
    got = w.raw(f"GET /api/v1/namespaces/{ns.name}/pods/no-such-pod/exec?command=id HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                f"Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n{hidden}")
    assert status_of(got) == 404 and got.count(b"HTTP/1.1 ") == 1, got
    no_canary(got)


SMUGGLED = "GET /api/v1/secrets HTTP/1.1\r\nHost: a\r\n\r\n"
SMUGGLING = [
    f"POST /api/v1/pods HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    f"POST /api/v1/pods HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{SMUGGLED}",
    f"POST /api/v1/pods HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 9\r\n\r\n{SMUGGLED}",
    f"POST /api/v1/pods HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    f"POST /api/v1/pods HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    f"POST /api/v1/pods HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n{{}}\r\n0\r\n\r\n{SMUGGLED}",
    f"POST /api/v1/pods HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\n{{}}\r\n0\r\n\r\n{SMUGGLED}",
    f"GET /api/v1/pods HTTP/1.1\nHost: a\n\n{SMUGGLED}",
    f"GET /api/v1/pods HTTP/1.1\r\nHost: a\r\n X: y\r\n\r\n{SMUGGLED}",
    f"GET /api/v1/pods HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n{SMUGGLED}",
    f"GET /api/v1/pods HTTP/1.0\r\nHost: a\r\n\r\n{SMUGGLED}",
]


@pytest.mark.parametrize("data", SMUGGLING)
def test_k5_smuggling_shapes_are_400_and_closed(w, data):
    before = len(w.events("result"))
    got = w.raw(data)
    assert status_of(got) == 400 and got.count(b"HTTP/1.1 ") == 1 and b"Connection: close" in got, got
    assert len(w.events("result")) == before
    refused(w, got)


def test_k5_pipelined_requests_are_answered_in_order(w, ns):
    got = w.raw(f"GET /api/v1/namespaces/{ns.name}/configmaps/c1 HTTP/1.1\r\nHost: a\r\n\r\n"
                f"GET /api/v1/namespaces/{ns.name}/secrets/s1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert got.count(b"HTTP/1.1 200") == 2 and got.index(b'"c1"') < got.index(b'"s1"')
    no_canary(got)


def test_k6_http2_is_not_spoken(w):
    context = ssl.create_default_context(cafile=str(w.guard.trust / "ca.crt"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", w.guard.ports["cluster"])) as s:
        with context.wrap_socket(s, server_hostname="127.0.0.1") as t:
            assert t.selected_alpn_protocol() == "http/1.1"
    assert status_of(w.raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")) == 400
    got = w.request("/api", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    assert status_of(got) == 400


@pytest.mark.parametrize("path", ["//api/v1/secrets", "/api//v1/secrets", "/api/v1/./secrets", "/api/v1/pods/../secrets", "/api/v1/%2e/secrets",
                                  "/api/v1%2fsecrets", "/api/v1/secrets;x", "/api/v1/%73ecrets", "/api/v1/secrets/", "/api/v1/secrets%00",
                                  "/api/v1/secrets?watch=0&watch=1", "/api/v1/secrets?a=b;c=d"])
def test_k7_paths_that_are_not_canonical(w, path):
    got = w.request(path)
    assert status_of(got) == 400
    refused(w, got)


def test_k7_the_old_watch_prefix_is_a_watch(closed, ns):
    w = closed({"name": "a", "action": "Allow", "kube": {"resources": ["pods", "configmaps"], "verbs": ["get", "list"]}})
    for target in (f"/api/v1/watch/namespaces/{ns.name}/pods", f"/api/v1/namespaces/{ns.name}/pods?watch=banana"):
        got = w.request(target)
        assert status_of(got) == 403
        refused(w, got, "watch pods")


@pytest.mark.parametrize("method,path,words", [
    ("DELETE", "/api/v1/namespaces/{ns}/pods", "deletecollection pods"), ("HEAD", "/api/v1/namespaces/{ns}/secrets", ""),
    ("POST", "/api/v1/namespaces/{ns}/pods/worker/eviction", "create pods/eviction"),
    ("PUT", "/apis/apps/v1/namespaces/{ns}/deployments/d/scale", "update deployments/scale"),
    ("DELETE", "/api/v1/namespaces/{ns}/pods/worker", "delete pods")])
def test_k8_judged_as_what_it_does(closed, ns, method, path, words):
    w = closed({"name": "a", "action": "Allow", "kube": {"resources": ["pods", "configmaps"], "verbs": ["get", "list", "create"]}})
    got = w.request(path.format(ns=ns.name), "Content-Type: application/json", "Connection: close", method=method)
    assert status_of(got) == 403
    if words:
        refused(w, got, words)
    assert ns.get("pod", "worker")


@pytest.mark.parametrize("accept", ["application/vnd.kubernetes.protobuf", "application/cbor", "application/yaml"])
def test_k9_only_json_is_negotiated(w, ns, accept):
    assert status_of(w.request(f"/api/v1/namespaces/{ns.name}/pods", f"Accept: {accept}")) == 406
    got = w.request(f"/api/v1/namespaces/{ns.name}/pods", f"Accept: {accept}, application/json", "Connection: close")
    assert status_of(got) == 200 and b"application/json" in got


def test_k10_a_watch_of_secrets_is_masked_event_by_event(w, ns):
    watch = w.popen("get", "secrets", "-w", "-o", "json")
    time_up = threading.Timer(4, watch.terminate)
    time_up.start()
    for i in range(30):
        ns.kubectl("apply", "-f", "-", input=json.dumps(secret("w-many", labels={"n": str(i)})))
    out, _ = watch.communicate(timeout=30)
    assert "w-many" in out
    no_canary(out)


@pytest.mark.parametrize("volume", [{"secret": {"secretName": "s1"}}, {"hostPath": {"path": "/"}},
                                    {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}])
def test_k12_pods_that_mount_secrets_need_approval(w, ns, volume):
    p = pod("thief", ["true"])
    p["spec"]["volumes"] = [{"name": "v", **volume}]
    refused(w, w.kubectl("create", "-f", "-", input=json.dumps(p), check=False), "RequireApproval")
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "thief"}, "spec": {"template": {"spec": {**p["spec"], "restartPolicy": "Never"}}}}
    refused(w, w.kubectl("create", "-f", "-", input=json.dumps(job), check=False), "RequireApproval")
    assert not ns.get("pod", "thief") and not ns.get("job", "thief")


def test_k12_pods_elsewhere_need_a_rule_that_names_the_namespace(closed, ns):
    w = closed(*EVERYTHING)
    refused(w, w.kubectl("create", "-f", "-", input=json.dumps(pod("free", ["true"])), check=False), "outside of the agent's namespace")
    assert not ns.get("pod", "free")


@pytest.mark.parametrize("args,body", [
    (["create", "token", "default"], None),
    (["debug", "worker", "--image", CLIENT, "--", "true"], None),
    (["create", "-f", "-"], {"apiVersion": "chaperone.dev/v1alpha1", "kind": "GuardPolicy", "metadata": {"name": "mine"}, "spec": {"rules": []}}),
    (["create", "-f", "-"], {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": {"name": "x"}}),
    (["create", "-f", "-"], {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "t", "annotations": {"kubernetes.io/service-account.name": "default"}},
                             "type": "kubernetes.io/service-account-token"}),
    (["create", "-f", "-"], {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "x"},
                             "spec": {"request": "eA==", "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}}),
    (["label", "namespace", "NS", "chaperone.dev/inject=disabled"], None),
    (["label", "namespace", "NS", "chaperone.dev/inject-"], None),
    (["patch", "namespace", "NS", "--type=merge", "-p", '{"metadata":{"labels":null}}'], None),
    (["patch", "namespace", "NS", "--type=json", "-p", '[{"op":"remove","path":"/metadata/labels"}]'], None),
    (["get", "secret", "login"], None)])
def test_k13_what_no_policy_lifts(w, ns, args, body):
    args = [ns.name if a == "NS" else a for a in args]
    if "chaperone.dev/inject-" in args:
        support.kubectl("label", "namespace", ns.name, "chaperone.dev/injectx=1", "--overwrite")
        args[-1] = "chaperone.dev/injectx-"
    answer = w.kubectl(*args, input=json.dumps(body) if body else None, check=False)
    assert answer.code != 0
    if body and "chaperone.dev" in body["apiVersion"] and "no matches for kind" in answer.text:
        pytest.skip("no CRDs here")
    refused(w, answer, "no policy permits this")


@pytest.mark.parametrize("header", ["Impersonate-User: admin", "impersonate-group: system:masters", "Impersonate-Extra-x: y", "X-Remote-User: admin",
                                    "X-Remote-Group: system:masters", "Authorization: Bearer a\r\nAuthorization: Bearer b",
                                    "Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.eA, v4.channel.k8s.io",
                                    "Connection: Authorization", "Content-Encoding: gzip", "Authorization: Basic eDp5"])
def test_k14_headers_that_claim_to_be_somebody(w, header):
    got = w.request("/api/v1/pods", header)
    assert status_of(got) in (400, 401)
    refused(w, got)


def test_k15_spdy_is_refused_with_what_to_set(w):
    env = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false"}
    refused(w, support.run(*w.argv("exec", "worker", "--", "id"), env={**__import__("os").environ, **env}, check=False),
            "KUBECTL_REMOTE_COMMAND_WEBSOCKETS")


@pytest.mark.parametrize("protocol", ["channel.k8s.io", "base64.channel.k8s.io", "v3.channel.k8s.io", "SPDY/3.1"])
def test_k15_old_subprotocols_are_refused(w, ns, protocol):
    got = w.request(f"/api/v1/namespaces/{ns.name}/pods/worker/exec?command=id&stdout=true", "Connection: Upgrade", "Upgrade: websocket",
                    "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f"Sec-WebSocket-Protocol: {protocol}")
    assert status_of(got) == 400
    refused(w, got)


def test_k16_a_stream_ends_when_policy_does_not_permit_it_any_more(closed, ns):
    w = closed(all_in(ns))
    logs = w.popen("logs", "-f", "talker", "--tail", "1")
    assert logs.stdout.readline().startswith("line")
    w.set_rules({"name": "a", "action": "Allow", "kube": {"resources": ["configmaps"]}})
    logs.communicate(timeout=30)
    wait_for(lambda: any("policy has changed" in e["reason"] for e in w.events("session.close")), 10, "the end in the record")


@pytest.mark.parametrize("body,status", [
    ('{"metadata":{"name":"x"},"metadata":{"name":"y"}}', 400), ('{"a":&x 1}', 400), ("metadata: {name: x}", 400), ("x" * 5, 400),
    ('{"metadata":{"name":"x"}}{}', 400), ('{"data":{"a":"' + "x" * (3 << 20) + '"}}', 413), ('{"data":{"a":"\\u0000"}}', 400)])
def test_k17_bodies_with_two_meanings(w, ns, body, status):
    got = w.request(f"/api/v1/namespaces/{ns.name}/configmaps", "Content-Type: application/json", "Connection: close", method="POST", body=body)
    assert status_of(got) == status, got[:300]
    refused(w, got)


# ---- client-go ----

@pytest.mark.timeout(1300)
def test_informers_of_client_go(w, ns, tmp_path):
    """Built with the Go of this machine; the typed client sends protobuf and asks for it first."""
    go = __import__("shutil").which("go") or pytest.skip("no go")
    subprocess.run([go, "build", "-o", tmp_path / "informer", "."], cwd=ROOT / "e2e/clients/informer", check=True, timeout=1200)
    got = json.loads(subprocess.run([tmp_path / "informer", w.kubeconfig, ns.name], capture_output=True, text=True, timeout=90,
                                    check=True).stdout)
    assert got["seen"] and got["secrets"]["s1/password"] == "****"


# ---- approvals ----

def test_a_request_waits_for_a_person(closed, ns):
    w = closed(all_in(ns), {"name": "ask", "action": "RequireApproval", "kube": {"resources": ["configmaps"], "verbs": ["patch", "delete"]}})
    patch = w.popen("patch", "configmap", "c1", "--type=merge", "-p", '{"data":{"new":"value"}}')
    request = wait_for(lambda: _pending(w), 20, "a request")[0]
    detail = w.guard.kubectl_guard("show", request["id"]).stdout
    assert '{"data":{"new":"value"}}' in detail and "patch configmaps c1" in detail
    assert "new" not in ns.get("configmap", "c1")["data"]
    w.guard.kubectl_guard("approve", request["id"])
    assert patch.wait(30) == 0
    assert ns.get("configmap", "c1")["data"]["new"] == "value"
    ns.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}})
    delete = w.popen("delete", "configmap", "kept", "--wait=false")
    again = wait_for(lambda: [i for i in _pending(w) if i["id"] != request["id"]], 20, "a second request")
    w.guard.kubectl_guard("deny", again[0]["id"], "--reason", "not today")
    _, err = delete.communicate(timeout=30)
    assert "not today" in err
    assert ns.get("configmap", "kept")


def _pending(w):
    shown = json.loads(w.guard.kubectl_guard("list", "-o", "json", check=False).stdout or "{}")
    return [i for i in shown.get("approvals", []) if i["phase"] == "Pending"]


# ---- much ----

def test_a_long_list_streams_with_bounded_memory(w, ns):
    with support.Namespace(prefix="kubeguard-many") as many:
        items = [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"s{i}"}, "stringData": {"password": CANARY, "pad": "x" * 2000}}
                 for i in range(5000)]
        for at in range(0, 5000, 1000):
            many.create({"apiVersion": "v1", "kind": "List", "items": items[at:at + 1000]}, deadline=180)
        before = w.guard.rss()
        got = w.request(f"/api/v1/namespaces/{many.name}/secrets", "Accept: application/json", "Connection: close")
        assert status_of(got) == 200 and got.count(b"KioqKg==") >= 10000
        no_canary(got)
        assert w.guard.rss() - before < 48 << 20, (before, w.guard.rss(), len(got))
