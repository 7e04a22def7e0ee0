# SPDX-License-Identifier: Apache-2.0
"""ServiceAccount tokens as this cluster's own API server makes them, checked by a guard that runs beside the
cluster: with keys from the API server, bound to the pod, for the guard's audience only."""

import json
import subprocess
import sys
import threading
import time

import pytest

import kube_guard_test
import support
from support import ROOT, kubectl, wait_for

for folder in (ROOT / "tests", ROOT / "tests/integration"):
    sys.path.insert(1, str(folder))
from clients import raw  # noqa: E402
from tests.support import postgres, run  # noqa: E402
from tests.support.guard import Guard  # noqa: E402
from tests.support.issuer import Issuer  # noqa: E402

CANARY = "canary-only-the-guard-knows"


def pod(name):
    """It need not run: the API server binds tokens to the object."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "serviceAccountName": "coder", "containers": [{"name": "c", "image": "none", "imagePullPolicy": "Never"}]}}


def token(ns, pod_name=None, audience="chaperone", account="coder", duration="10m"):
    bound = ["--bound-object-kind", "Pod", "--bound-object-name", pod_name] if pod_name else []
    return kubectl("create", "token", account, "--audience", audience, "--duration", duration, *bound,
                   namespace=ns.name).out.strip()


def policies(pg, ns):
    def document(kind, name, spec):
        return json.dumps({"apiVersion": "chaperone.dev/v1alpha1", "kind": kind,
                           "metadata": {"name": name, "namespace": ns.name}, "spec": spec})
    return document("GuardTarget", "db", {
        "protocol": "postgres", "hosts": [pg.host], "ports": [pg.port], "credentials": {"secretRef": {"name": "login"}},
        "tls": {"mode": "VerifyFull", "caSecretRef": {"name": "upstream-ca"}, "serverName": "localhost"}}) + "\n---\n" + document(
        "GuardPolicy", "p", {
            "subjects": [{"serviceAccounts": ["coder"], "groups": [f"system:serviceaccounts:{ns.name}"]}],
            "rules": [{"name": "read", "action": "Allow", "sql": {"operations": ["Read"]}}]})


def issuers(ns, directory):
    """The API server as a pod would find it, reached from outside: CA and token of the cluster."""
    config = json.loads(kubectl("config", "view", "--raw", "--flatten", "-o", "json").out)
    server = config["clusters"][0]["cluster"]["server"]
    ca = kubectl("get", "configmap", "kube-root-ca.crt", "-o", "jsonpath={.data.ca\\.crt}", namespace=ns.name).out
    name = json.loads(kubectl("get", "--raw", "/.well-known/openid-configuration").out)["issuer"]
    run.write_file(directory / "ca.crt", ca)
    own = kubectl("create", "token", "default", namespace=ns.name).out.strip()
    run.write_file(directory / "token", own, mode=0o600)
    return (f'issuers: [{{issuer: "{name}", kind: Kubernetes, audience: chaperone, jwksURL: "{server}/openid/v1/jwks", '
            f'caFile: {directory}/ca.crt, tokenFile: {directory}/token}}]\n')


@pytest.fixture(scope="module")
def w():
    class World:
        pass

    w = World()
    with support.Namespace(prefix="identity") as ns, postgres.PostgresServer(15, tls=True) as pg:
        w.ns, w.pg = ns, pg
        ns.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "coder"}})
        ns.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "other"}})
        for name in ("coder-0", "coder-1"):
            ns.create(pod(name))
        uid = ns.get("pod", "coder-0")["metadata"]["uid"]
        pg.add_user("svc", CANARY)
        with Guard(policies(pg, ns), listen={"db": None}, issuers=issuers(ns, run.temp_dir("cluster-issuer")),
                   namespace=ns.name, pod="coder-0", service_account="coder", extra=["--pod-uid", uid],
                   secrets={"login": {"username": "svc", "password": CANARY},
                            "upstream-ca": {"ca.crt": pg.authority.pem}}) as guard:
            w.guard = guard
            yield w


def startup(w, password):
    with raw.RawClient("127.0.0.1", w.guard.ports["db"]) as c:
        reply = c.startup("agent", "postgres", password)
        return reply, c.query("SELECT current_user").text() if reply.status == "I" else None


def test_the_pods_own_token_logs_in(w):
    reply, rows = startup(w, token(w.ns, "coder-0"))
    assert reply.status == "I" and rows == [["svc"]], reply
    line = [e for e in w.guard.events("auth") if e["outcome"] == "Accepted"][-1]
    assert line["identity"] == f"system:serviceaccount:{w.ns.name}:coder"
    assert f"system:serviceaccounts:{w.ns.name}" in line["token"]["groups"]


def test_other_tokens_of_the_cluster_do_not(w):
    mark = w.pg.log_mark()
    for wrong, reason in ((token(w.ns, "coder-1"), "another pod's"), (token(w.ns), "not bound to a pod"),
                          (token(w.ns, "coder-0", audience="vault"), "audience"),
                          (token(w.ns, account="other"), "not bound to a pod"),
                          (kubectl("create", "token", "coder", namespace=w.ns.name).out.strip(), "audience"),
                          (token(w.ns, "coder-0", duration="48h"), "lives too long")):
        reply, _ = startup(w, wrong)
        assert reply.sqlstate == "28000" and reason in reply.message, reply
    assert "connection received" not in w.pg.log_since(mark)
    assert startup(w, token(w.ns, "coder-0"))[0].status == "I"
    assert CANARY not in w.guard.stderr() + "".join(p.read_text() for p in w.guard.record_files())


# ---- a long stream ----

CHATTY = ["sh", "-c", "while :; do head -c 4000 /dev/zero | tr '\\0' x; echo; done"]
QUIET = ["sh", "-c", "echo once; exec sleep infinity"]


@pytest.fixture(scope="module")
def logs():
    """A guard before the cluster, an issuer of the test's own, and a pod with something to tell."""
    login, ca, host, port = kube_guard_test.credentials()
    with support.Namespace(prefix="identity-logs") as ns, Issuer() as idp:
        ns.apply(kube_guard_test.pod("chatty", CHATTY), kube_guard_test.pod("quiet", QUIET))
        rule = {"name": "logs", "action": "Allow", "kube": {"verbs": ["get"], "resources": ["pods", "pods/log"],
                                                            "namespaces": [ns.name]}}
        with Guard(kube_guard_test.policies(host, port, [rule]), listen={"cluster": None}, issuers=f"issuers: [{idp.yaml()}]\n",
                   namespace=kube_guard_test.HOME, secrets={"login": login, "cluster-ca": {"ca.crt": ca}}) as guard:
            ns.wait_ready("chatty")
            ns.wait_ready("quiet")
            yield ns, idp, guard


def follow(logs, pod_name, token, seconds):
    """kubectl logs -f: exit status, bytes, how long it lasted."""
    ns, _, guard = logs
    config = run.write_file(guard.dir / "kubeconfig", json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": f"https://127.0.0.1:{guard.ports['cluster']}",
                                               "certificate-authority": str(guard.trust / "ca.crt")}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": ns.name}}]}))
    begun = time.monotonic()
    process = subprocess.Popen([support.program("kubectl"), "--kubeconfig", str(config), "logs", "-f", "--tail=5", pod_name],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    n = 0
    while chunk := process.stdout.read1(1 << 20):
        n += len(chunk)
    timer.cancel()
    return process.wait(), n, time.monotonic() - begun


@pytest.mark.parametrize("pod_name", ["chatty", "quiet"])
def test_logs_end_with_the_token(logs, pod_name):
    """K16: 45 s after the expiry, seen here from 39; whether the stream has pauses or not."""
    _, idp, guard = logs
    before = len([e for e in guard.events("auth") if e["outcome"] == "Expired"])
    status, n, lasted = follow(logs, pod_name, idp.token(ttl=-39, iat=int(time.time()) - 100), 40)
    assert 3 < lasted < 20 and status >= 0 and n >= 4, (status, n, lasted)
    expired = wait_for(lambda: [e for e in guard.events("auth") if e["outcome"] == "Expired"][before:], 10, "a record")
    assert expired[0]["token"]["subject"] == "ann"
    status, _, _ = follow(logs, pod_name, idp.token(), 4)
    assert status == -9, "with a fresh token it goes on"
