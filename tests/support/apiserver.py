# SPDX-License-Identifier: Apache-2.0
"""A real API server without nodes: etcd and kube-apiserver on loopback, RBAC on, the CRDs of this repository.

    with ApiServer() as api:
        ns = api.namespace("agents")          # with the guard's Role, and service accounts
        api.apply(ns, [{...}])                # as administrator
        env, account = api.account(ns, "agent")    # for a guard: environment, directory
        api.stop(); api.start()               # the same data

kube-apiserver is the one that e2e/cluster/up builds (CHAPERONE_CACHE/kube), or one in PATH; etcd is Debian's."""

import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import urllib.error
import urllib.request

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from . import run as r
from .certs import Authority

CRDS = r.ROOT / "crds"
GROUP = "/apis/chaperone.dev/v1alpha1"


def guard_target(port, credentials=None):
    """A document for a guard's policies: the GuardTarget `cluster` of the API server on that port, whose authority is in the
    Secret cluster-ca; credentials: name of a Secret."""
    login = f"\n  credentials: {{secretRef: {{name: {credentials}}}}}" if credentials else ""
    return f"""
apiVersion: chaperone.dev/v1alpha1
kind: GuardTarget
metadata: {{name: cluster, namespace: agents}}
spec:
  protocol: kubernetes
  hosts: [127.0.0.1]
  ports: [{port}]
  tls: {{mode: VerifyFull, caSecretRef: {{name: cluster-ca}}}}{login}
---"""


def _program(name):
    built = r.CACHE / "kube" / name
    return str(built) if built.exists() else shutil.which(name)


def available():
    return all(_program(p) for p in ("etcd", "kube-apiserver"))


class Refused(Exception):
    """The API server's answer: code, body (a Status)."""

    def __init__(self, code, body):
        super().__init__(f"{code}: {body}")
        self.code, self.body = code, body


class ApiServer:
    def __init__(self, audit=False):
        """audit: every request that arrives is in audited()."""
        self.dir = r.temp_dir("apiserver", mode=0o755)
        self.audit = audit
        self.authority = Authority("kubernetes", directory=self.dir)
        self.cert, self.key = self.authority.issue("kube-apiserver", ["127.0.0.1", "10.96.0.1"])
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.sa_key = r.write_file(self.dir / "sa.key", key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()), mode=0o600)
        self.port, self.etcd_port, self.peer_port = r.free_port(), r.free_port(), r.free_port()
        self.users = {"admin": ["system:masters"]}
        self.processes = {}

    # ---- life ----

    def _spawn(self, name, argv):
        with open(self.dir / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen([*r.die_with_parent(), _program(name), *argv], stdout=log,
                                                    stderr=log, stdin=subprocess.DEVNULL, cwd=self.dir)

    def _write_users(self):
        rows = [f'token-{u},{u},{u},"{",".join(g)}"' for u, g in self.users.items()]
        return r.write_file(self.dir / "users.csv", "\n".join(rows) + "\n", mode=0o600)

    def start(self):
        if "etcd" not in self.processes:
            urls = f"http://127.0.0.1:{self.etcd_port}"
            peer = f"http://127.0.0.1:{self.peer_port}"
            self._spawn("etcd", ["--data-dir", self.dir / "etcd", "--listen-client-urls", urls,
                                 "--advertise-client-urls", urls, "--listen-peer-urls", peer,
                                 "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
                                 "--unsafe-no-fsync"])
        self._spawn("kube-apiserver", [
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}", "--bind-address=127.0.0.1",
            f"--secure-port={self.port}", f"--tls-cert-file={self.cert}", f"--tls-private-key-file={self.key}",
            "--authorization-mode=RBAC", f"--token-auth-file={self._write_users()}",
            f"--service-account-key-file={self.sa_key}", f"--service-account-signing-key-file={self.sa_key}",
            "--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.96.0.0/24",
            "--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none",
            f"--client-ca-file={self.authority.ca}", f"--cert-dir={self.dir}", "--shutdown-delay-duration=0s",
            *(self._audit() if self.audit else [])])
        r.wait_for(self._ready, 90, what="the API server's readiness", interval=0.2)
        return self

    def _audit(self):
        policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["ResponseStarted", "ResponseComplete"],
                  "rules": [{"level": "Metadata"}]}
        return [f"--audit-policy-file={r.write_file(self.dir / 'audit.yaml', json.dumps(policy))}",
                f"--audit-log-path={self.dir / 'audit.log'}", "--audit-log-mode=blocking"]

    def audited(self, word=""):
        """The requests so far, before anything was done for them, whose line has the word."""
        lines = (self.dir / "audit.log").read_text().splitlines()
        return [json.loads(line) for line in lines if word in line]

    def _ready(self):
        for name, p in self.processes.items():
            if p.poll() is not None:
                raise r.Fatal(f"{name} exited {p.returncode}: {(self.dir / f'{name}.log').read_text()[-2000:]}")
        return self.request("GET", "/readyz", raw=True) == "ok"

    def stop(self):
        """kube-apiserver only: etcd keeps the data."""
        r.stop(self.processes.pop("kube-apiserver"), first=signal.SIGKILL)

    def freeze(self):
        self.processes["kube-apiserver"].send_signal(signal.SIGSTOP)

    def thaw(self):
        self.processes["kube-apiserver"].send_signal(signal.SIGCONT)

    def __enter__(self):
        self.start()
        for f in sorted(CRDS.glob("*.yaml")):
            self.create_yaml(f)
        for kind in ("guardpolicies", "guardtargets", "approvalrequests"):
            r.wait_for(lambda k=kind: self.request("GET", f"{GROUP}/{k}"), 30, what=f"the kind {kind}")
        return self

    def __exit__(self, *exc):
        for name in ("kube-apiserver", "etcd"):
            if name in self.processes:
                r.stop(self.processes.pop(name), first=signal.SIGKILL)

    # ---- requests ----

    def request(self, method, path, body=None, *, user="admin", content="application/json", raw=False, token=None):
        context = ssl.create_default_context(cafile=str(self.authority.ca))
        data = None if body is None else json.dumps(body).encode()
        q = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", data, method=method, headers={
            "Authorization": f"Bearer {token or 'token-' + user}", "Content-Type": content})
        try:
            with urllib.request.urlopen(q, context=context, timeout=30) as a:
                text = a.read().decode()
        except urllib.error.HTTPError as e:
            raise Refused(e.code, e.read().decode()) from None
        return text if raw else json.loads(text or "null")

    def create_yaml(self, path):
        import yaml
        for o in yaml.safe_load_all(pathlib.Path(path).read_text()):
            self.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", o)

    def namespace(self, name, service_accounts=("agent",)):
        self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        for sa in service_accounts:
            self.request("POST", f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": sa}})
        self._allow(name)
        return name

    def _allow(self, ns):
        """The guard's Role, as docs/kubernetes.md has it."""
        rbac = "/apis/rbac.authorization.k8s.io/v1"
        group = [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": f"system:serviceaccounts:{ns}"}]
        rules = [
            {"apiGroups": ["chaperone.dev"], "resources": ["guardpolicies", "guardtargets"],
             "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["chaperone.dev"], "resources": ["approvalrequests"],
             "verbs": ["create", "get", "list", "watch"]},
            {"apiGroups": ["chaperone.dev"], "resources": ["approvalrequests/status"], "verbs": ["patch"]},
            {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]}]
        floor = [{"apiGroups": ["chaperone.dev"], "resources": ["clusterguardpolicies"],
                  "verbs": ["get", "list", "watch"]}]
        for where, kind, cluster, what in ((f"{rbac}/namespaces/{ns}", "Role", "", rules),
                                           (rbac, "ClusterRole", "cluster", floor)):
            name = f"chaperone-guard-{ns}"
            self.request("POST", f"{where}/{cluster or ''}roles", {"metadata": {"name": name}, "rules": what})
            self.request("POST", f"{where}/{cluster or ''}rolebindings", {
                "metadata": {"name": name}, "subjects": group,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}})

    def token(self, ns, sa, seconds=3600, audience=None):
        spec = {"expirationSeconds": seconds, **({"audiences": [audience]} if audience else {})}
        return self.request("POST", f"/api/v1/namespaces/{ns}/serviceaccounts/{sa}/token",
                            {"spec": spec})["status"]["token"]

    def account(self, ns, sa):
        """(environment, directory) of a pod with that service account."""
        d = r.temp_dir("account", mode=0o755)
        r.write_file(d / "token", self.token(ns, sa))
        r.write_file(d / "ca.crt", self.authority.pem)
        r.write_file(d / "namespace", ns)
        return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port)}, d

    # ---- our objects ----

    @staticmethod
    def path(ns, kind, name=""):
        plural = {"GuardPolicy": "guardpolicies", "GuardTarget": "guardtargets",
                  "ApprovalRequest": "approvalrequests", "ClusterGuardPolicy": "clusterguardpolicies"}[kind]
        where = GROUP if kind.startswith("Cluster") else f"{GROUP}/namespaces/{ns}"
        return f"{where}/{plural}" + (f"/{name}" if name else "")

    def put(self, ns, kind, name, spec):
        """Creates it or replaces its spec."""
        o = {"apiVersion": "chaperone.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        try:
            return self.request("POST", self.path(ns, kind), o)
        except Refused as e:
            if e.code != 409:
                raise
        old = self.request("GET", self.path(ns, kind, name))
        return self.request("PUT", self.path(ns, kind, name), {**old, "spec": spec})

    def delete(self, ns, kind, name):
        self.request("DELETE", self.path(ns, kind, name))

    def list(self, ns, kind):
        return self.request("GET", self.path(ns, kind))["items"]

    def decide(self, ns, name, by, groups, decision="Approve", phase=None, **more):
        """As admission leaves it: one more stamped entry in status.decisions."""
        path = self.path(ns, "ApprovalRequest", name)
        old = self.request("GET", path).get("status", {})
        entry = {"by": by, "groups": groups, "at": "2026-01-02T03:04:05Z", "decision": decision, **more}
        status = {"decisions": old.get("decisions", []) + [entry], **({"phase": phase} if phase else {})}
        return self.request("PATCH", path + "/status", {"status": status}, content="application/merge-patch+json")

    def events(self, ns):
        return self.request("GET", f"/apis/events.k8s.io/v1/namespaces/{ns}/events")["items"]
