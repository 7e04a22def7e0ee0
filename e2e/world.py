# SPDX-License-Identifier: Apache-2.0
"""What the scenarios are about: a PostgreSQL server in a pod, agents in an injected namespace, people who decide.

    db = Database(data)                      # data: a Namespace without injection
    agents.apply(db.target(), policy(rules))
    pod = Agent(agents)                      # Ready when it returns
    pod.psql("select 1")"""

import base64
import json
import os
import pathlib
import re
import secrets
import subprocess
import sys
import threading

import support
from support import ROOT, kubectl, run, wait_for

sys.path.insert(1, str(ROOT))
from tests.support.certs import Authority  # noqa: E402

API = "chaperone.dev/v1alpha1"
CLIENT_IMAGE = "chaperone-e2e/client:1"
POSTGRES_IMAGE = "chaperone-e2e/postgres:17"
PASSWORD = "agent-" + secrets.token_hex(8)  # the login that agents relay

SCHEMA = f"""
create role agent login password '{PASSWORD}';
create table users (id int primary key, name text, email text, ssn text);
insert into users values (1, 'Ada', 'ada.l@example.com', '219-09-9999'), (2, 'Bob', 'bob@example.org', '078-05-1120');
create table orders (id int primary key, state text);
insert into orders select n, 'open' from generate_series(1, 20) n;
create table cards (id int primary key, note text);
insert into cards values (1, 'paid with 4111 1111 1111 1111 on Monday');
grant all on all tables in schema public to agent;
grant create on schema public to agent;
"""

CANARIES = ("ada.l@example.com", "219-09-9999", "bob@example.org", "078-05-1120", "4111 1111 1111 1111")

RULES = [
    {"name": "read", "action": "Allow", "sql": {"operations": ["Read"], "relations": ["public.*"]}},
    {"name": "session", "action": "Allow", "sql": {"operations": ["Transaction", "Show", "Session"]}},
    {"name": "pii", "action": "Mask", "sql": {"columns": ["public.users.email", "public.users.ssn"]},
     "mask": {"method": "Redact"}},
    {"name": "cards", "action": "Mask", "values": {"detectors": ["creditCard"]}},
    {"name": "writes", "action": "RequireApproval",
     "sql": {"operations": ["Update"], "relations": ["public.orders"]},
     "approval": {"approvers": {"groups": ["dba"]}, "timeout": "90s"}},
    {"name": "two", "action": "RequireApproval",
     "sql": {"operations": ["Insert"], "relations": ["public.orders"]},
     "approval": {"approvers": {"groups": ["dba"]}, "count": 2, "timeout": "90s"}},
    {"name": "ddl", "action": "Deny", "sql": {"operations": ["DDL", "Truncate"]}, "message": "open a migration PR"},
]


def policy(rules=None, name="coding-agents", **spec):
    """A GuardPolicy for agents labelled app=coder on every target of their namespace."""
    spec = {"subjects": [{"podSelector": {"matchLabels": {"app": "coder"}}}], **spec}
    return {"apiVersion": API, "kind": "GuardPolicy", "metadata": {"name": name},
            "spec": {**spec, "rules": RULES if rules is None else rules}}


# ---- PostgreSQL ----

class Database:
    """PostgreSQL 17 with TLS and its log on standard output, in one pod behind the Service `orders-db`."""

    def __init__(self, namespace, sql=SCHEMA):
        self.ns = namespace
        self.host = f"orders-db.{namespace.name}.svc"
        self.authority = Authority("Chaperone e2e CA")
        leaf = self.authority.issue(self.host, [self.host, "orders-db"])
        namespace.apply(*self._objects(sql, leaf))
        namespace.wait_ready("orders-db")

    def _objects(self, sql, leaf):
        meta = {"name": "orders-db", "labels": {"app": "orders-db"}}
        tls = {k: base64.b64encode(pathlib.Path(p).read_bytes()).decode()
               for k, p in zip(("tls.crt", "tls.key"), leaf)}
        container = {
            "name": "postgres", "image": POSTGRES_IMAGE, "imagePullPolicy": "Never",
            "args": ["-c", "log_statement=all", "-c", "max_connections=100"],
            "env": [{"name": "POSTGRES_PASSWORD", "value": secrets.token_hex(16)}, {"name": "POSTGRES_DB", "value": "orders"}],
            "readinessProbe": {"exec": {"command": ["psql", "-h", "/run/postgresql", "-U", "postgres", "-qc", "select 1", "orders"]},
                               "periodSeconds": 1, "timeoutSeconds": 5},
            "volumeMounts": [{"name": "init", "mountPath": "/init"}, {"name": "tls", "mountPath": "/tls"}]}
        return [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"schema.sql": sql}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": tls},
            {"apiVersion": "v1", "kind": "Service", "metadata": meta,
             "spec": {"selector": meta["labels"], "ports": [{"port": 5432}]}},
            {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {
                "terminationGracePeriodSeconds": 1, "containers": [container], "volumes": [
                    {"name": "init", "configMap": {"name": "orders-db"}},
                    {"name": "tls", "secret": {"secretName": "orders-db", "defaultMode": 0o444}}]}}]

    def target(self):
        """The GuardTarget, and the Secret with the CA that it names."""
        ca = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "orders-ca"}, "stringData": {"ca.crt": self.authority.pem}}
        target = {"apiVersion": API, "kind": "GuardTarget", "metadata": {"name": "orders-db"}, "spec": {
            "protocol": "postgres", "hosts": [self.host], "ports": [5432],
            "tls": {"mode": "VerifyFull", "caSecretRef": {"name": "orders-ca", "key": "ca.crt"}, "serverName": self.host}}}
        return json.dumps(ca) + "\n---\n" + json.dumps(target)

    def sql(self, text):
        """As the superuser, past every guard."""
        return self.ns.exec("orders-db", "psql", "-h", "/run/postgresql", "-U", "postgres", "-XAtqc", text, "orders",
                            container="postgres").out.strip()

    def mark(self):
        return len(self.ns.logs("orders-db", "postgres"))

    def saw(self, word, since=0):
        """Whether the server was asked anything with the word in it."""
        return word.lower() in self.ns.logs("orders-db", "postgres")[since:].lower()


# ---- agents ----

def agent_template(db=None, containers=None, labels=None, **spec):
    """A pod template (metadata and spec) of an ordinary agent: nothing of it knows of the guard."""
    env = {} if db is None else {"PGHOST": db.host, "PGUSER": "agent", "PGPASSWORD": PASSWORD, "PGDATABASE": "orders",
                                 "PGSSLMODE": "verify-full", "PGCONNECT_TIMEOUT": "20"}
    agent = {"name": "agent", "image": CLIENT_IMAGE, "imagePullPolicy": "Never", "command": ["sleep", "infinity"],
             "env": [{"name": k, "value": v} for k, v in env.items()],
             "securityContext": {"runAsUser": 1000, "runAsGroup": 1000}}
    return {"metadata": {"labels": labels or {"app": "coder"}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": containers or [agent], **spec}}


def agent_pod(name, db=None, **template):
    t = agent_template(db, **template)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**t["metadata"], "name": name}, "spec": t["spec"]}


class Agent:
    """A running agent. `kind` Deployment: the pod of a Deployment of that name."""

    def __init__(self, ns, db, name="coder", kind="Deployment", service_account="coder"):
        self.ns = ns
        if not ns.get("serviceaccount", service_account):
            ns.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": service_account}})
        if kind == "Pod":
            ns.create(agent_pod(name, db, serviceAccountName=service_account))
            self.pod = name
        else:
            template = agent_template(db, serviceAccountName=service_account)
            ns.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
                "selector": {"matchLabels": {"app": "coder"}}, "template": template}})
            self.pod = wait_for(self._pod_of_deployment, 30, "the Deployment's pod")
        ns.wait_ready(self.pod)

    def _pod_of_deployment(self):
        pods = [p for p in self.ns.get("pods") if "deletionTimestamp" not in p["metadata"]]
        return pods[0]["metadata"]["name"] if pods else None

    @property
    def object(self):
        return self.ns.get("pod", self.pod)

    def run(self, *command, check=False, **options):
        return self.ns.exec(self.pod, *command, check=check, **options)

    def psql(self, sql, *flags, **options):
        return self.run("psql", "-XAt", *flags, "-c", sql, **options)

    def python(self, program, **options):
        return self.run("python3", "-c", program, **options)

    def start(self, *command):
        return support.kubectl_start("exec", self.pod, "-c", "agent", "--", *command, namespace=self.ns.name)

    def interactive(self, *command):
        """With a pipe as its standard input."""
        return support.kubectl_start("exec", "-i", self.pod, "-c", "agent", "--", *command, namespace=self.ns.name,
                                     stdin=subprocess.PIPE)

    def guard_status(self):
        """The container status of the guard."""
        for s in self.object["status"].get("initContainerStatuses", []):
            if s["name"] == support.GUARD:
                return s
        raise AssertionError("the pod has no guard")

    def events(self):
        text = kubectl("describe", "pod", self.pod, namespace=self.ns.name).out
        return text[text.find("\nEvents:"):]


def client(name):
    """A program of e2e/clients that tests/support/install-deps builds."""
    run(ROOT / "tests/support/install-deps", "e2e", deadline=600)
    return support.CACHE / "clients" / name


# ---- the node of e2e/cluster ----

def foreign_cluster():
    """True when the cluster is the user's own: its node is not ours to touch."""
    return pathlib.Path(support.kubeconfig()).resolve() != (support.CACHE / "e2e-cluster/admin.kubeconfig").resolve()


def host_address():
    """Of this machine, as pods of e2e/cluster reach it."""
    answer = run("ip", "-j", "-4", "address", "show", "dev", "chaperone-e2e").json
    return answer[0]["addr_info"][0]["local"]


def on_node(*command, **options):
    return run(ROOT / "e2e/cluster/enter", *command, **options)


def container_pid(container_id):
    """Process id in the node of a container as the pod's status names it."""
    socket = support.CACHE / "e2e-cluster/run/containerd.sock"
    tasks = on_node("ctr", "-a", socket, "-n", "k8s.io", "task", "ls").out
    return next(line.split()[1] for line in tasks.splitlines() if line.startswith(container_id.split("//")[1]))


# ---- people ----

class Person:
    """Somebody with a client certificate, and kubectl guard."""

    def __init__(self, name, *groups):
        self.name = name
        self.kubeconfig = run(ROOT / "e2e/cluster/user", name, *groups).out.strip().splitlines()[-1]

    def kubectl(self, *args, namespace=None, check=False, **options):
        flags = ["-n", namespace] if namespace else []
        return run(support.program("kubectl"), *flags, *args, check=check, env={"KUBECONFIG": self.kubeconfig}, **options)

    def guard(self, *args, namespace=None, check=False, **options):
        return kubectl_guard(*args, namespace=namespace, check=check, kubeconfig=self.kubeconfig, **options)


def plugin_env(kubeconfig=None):
    """kubectl finds plugins in PATH, and the plugin finds kubectl there."""
    kube = pathlib.Path(support.program("kubectl")).parent
    programs = os.environ.get("CHAPERONE_BIN") or ROOT / "build/release/bin"
    return {"PATH": f"{programs}:{kube}:{os.environ['PATH']}", "KUBECONFIG": kubeconfig or support.kubeconfig()}


def kubectl_guard(*args, namespace=None, check=False, kubeconfig=None, **options):
    flags = ["-n", namespace] if namespace else []
    return run(support.program("kubectl"), "guard", *args, *flags, check=check, env=plugin_env(kubeconfig), **options)


def grant(ns, role, *, users=(), groups=(), name=None):
    """Binds a ClusterRole in the namespace."""
    subjects = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": u} for u in users]
    subjects += [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": g} for g in groups]
    ns.apply({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name or role},
              "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": subjects})


def pending(ns, word="", deadline=15):
    """The one pending request whose statement has the word."""
    def look():
        found = [r for r in ns.get("approvalrequests.chaperone.dev")
                 if r.get("status", {}).get("phase", "Pending") == "Pending" and word in r["spec"]["statement"]]
        return found[0] if len(found) == 1 else None
    return wait_for(look, deadline, f"one pending ApprovalRequest with {word!r} in {ns.name}", interval=0.2)


def finish(process, deadline=30):
    """(exit status, output) of a started program."""
    out, err = process.communicate(timeout=deadline)
    return process.returncode, out + err


def read_lines(process, lines):
    """Appends to the list what the program prints, until it ends."""
    for stream in (process.stdout, process.stderr):
        if stream:
            threading.Thread(target=lambda s=stream: [lines.append(line) for line in s], daemon=True).start()


class Lines:
    """Output of a program that goes on, line by line."""

    def __init__(self, *command, **options):
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, env={**os.environ, **plugin_env()}, **options)
        self.lines = []
        read_lines(self.process, self.lines)

    def wait(self, wanted, deadline, what):
        """The first line for which wanted(line)."""
        return wait_for(lambda: next((line for line in self.lines if wanted(line)), None), deadline, what)

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=10)


def assert_no_canary(text):
    digits = re.sub(r"[^0-9]", "", text)
    for c in CANARIES:
        assert c not in text, f"{c} arrived:\n{text}"
        number = re.sub(r"\D", "", c)
        assert len(number) < 9 or number not in digits, f"{c} arrived without its separators:\n{text}"
