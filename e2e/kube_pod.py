# SPDX-License-Identifier: Apache-2.0
"""An agent in an injected pod and the cluster's API server: its objects, its rights, its policy, and the same account past the
guard, to compare with. The agent lives in one namespace and works in another, `shop`, whose pods are not injected."""

import json
import secrets

import pytest

import support
import world
from support import run, wait_for
from world import Agent

CANARY = "CANARY-" + secrets.token_hex(8)
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
CA = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
MASKED = "KioqKg=="
RBAC = {"apiVersion": "rbac.authorization.k8s.io/v1"}


def rules(agents, shop):
    return [
        {"name": "shop", "action": "Allow", "kube": {"resources": ["*", "*/*"], "namespaces": [shop]}},
        {"name": "own", "action": "Allow", "kube": {"verbs": ["get", "list", "watch"], "resources": ["*"], "namespaces": [agents]}},
        {"name": "who", "action": "Allow", "kube": {"verbs": ["create"], "resources": [
            "selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"]}},
        {"name": "drain", "action": "Allow", "kube": {"verbs": ["get", "list", "patch"], "resources": ["nodes"]}},
        {"name": "rbac-says-no", "action": "Allow", "kube": {"verbs": ["list"], "resources": ["storageclasses"]}},
        {"name": "all-pods", "action": "Allow", "kube": {"verbs": ["get", "list"], "resources": ["pods"]}},
        {"name": "keep", "action": "Deny", "message": "services are kept by the platform team",
         "kube": {"verbs": ["delete", "deletecollection"], "resources": ["services"]}},
        {"name": "ask", "action": "RequireApproval", "approval": {"approvers": {"groups": ["sre"]}, "timeout": "60s"},
         "kube": {"verbs": ["delete"], "resources": ["configmaps"], "names": ["precious*"]}}]


def container(*command, **more):
    return {"name": "c", "image": world.CLIENT_IMAGE, "imagePullPolicy": "Never", "command": list(command), **more}


def pod(name, *command, **spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [container(*command)], **spec}}


def deployment(name, **env):
    variables = [{"name": k, "value": v} for k, v in env.items()]
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [container("sleep", "infinity", env=variables)]}}}}


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


class World:
    """`agent(…)` is kubectl in the pod, `direct(…)` the same with the same account's own token, past the guard."""

    def __init__(self, shop, agents, directory):
        self.shop, self.ns, self.directory = shop, agents, directory
        self._rights()
        agents.apply(world.policy(rules(agents.name, shop.name), targets=[{"name": "kubernetes"}]))
        shop.apply(pod("worker", "python3", "-m", "http.server", "8081", "--directory", "/etc/ssl"),
                   pod("talker", "bash", "-c", "for i in $(seq 100000); do echo line $i; sleep 0.1; done"),
                   config_map("plain", a="b"), deployment("app"),
                   {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"}, "stringData": {"password": CANARY}},
                   {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
                    "spec": {"selector": {"app": "worker"}, "ports": [{"port": 80, "targetPort": 8081}]}})
        self.pod = Agent(agents, None, kind="Pod")
        self.token = support.kubectl("create", "token", "coder", "--duration=1h", namespace=agents.name).out
        for name in ("worker", "talker"):
            shop.wait_ready(name)

    def _rights(self):
        """Of the ServiceAccount: administrator of `shop`, reader of its own namespace, and what drain needs."""
        account = [{"kind": "ServiceAccount", "name": "coder", "namespace": self.ns.name}]
        for ns, role in ((self.shop, "admin"), (self.ns, "view")):
            ns.apply({**RBAC, "kind": "RoleBinding", "metadata": {"name": "coder"}, "subjects": account,
                      "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}})
        support.apply({**RBAC, "kind": "ClusterRole", "metadata": {"name": self.ns.name}, "rules": [
            {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "patch"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]},
            {**RBAC, "kind": "ClusterRoleBinding", "metadata": {"name": self.ns.name}, "subjects": account,
             "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": self.ns.name}})

    # ---- kubectl ----

    def argv(self, *args):
        return ["kubectl", "-n", self.shop.name, *map(str, args)]

    def agent(self, *args, **options):
        return self.pod.run(*self.argv(*args), **options)

    def start(self, *args):
        return self.pod.start(*self.argv(*args))

    def direct(self, *args, check=False, **options):
        return run(*self._directly(*args), check=check, **options)

    def start_direct(self, *args):
        return support.start(*self._directly(*args))

    def _directly(self, *args):
        return [support.program("kubectl"), "--server", server(), "--insecure-skip-tls-verify", "--token", self.token,
                "--kubeconfig", "/dev/null", *self.argv(*args)[1:]]

    def raw(self, method, path, header="x: y", token=None):
        """The body of an answer, by curl, with the token in the pod or another."""
        token = f"$(cat {TOKEN})" if token is None else token
        script = f'curl -sS --cacert {CA} -X {method} -H "Authorization: Bearer {token}" -H "{header}" https://kubernetes.default.svc{path}'
        return self.pod.run("bash", "-c", script, check=True).out

    def kubeconfig(self):
        """For programs that call directly."""
        path = self.directory / "kubeconfig"
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
            "clusters": [{"name": "x", "cluster": {"server": server(), "insecure-skip-tls-verify": True}}],
            "users": [{"name": "x", "user": {"token": self.token}}]}))
        return path

    def cut_streams(self):
        """A person ends every session of the pod."""
        live = [s["id"] for s in world.kubectl_guard("sessions", "-o", "json", namespace=self.ns.name, check=True).json["sessions"]]
        assert live
        for session in live:
            world.kubectl_guard("kill", session, namespace=self.ns.name)

    # ---- what is told ----

    def _spool(self):
        if world.foreign_cluster():
            pytest.skip("records in the pod are read from the node of e2e/cluster")
        return f"/proc/{world.container_pid(self.pod.guard_status()['containerID'])}/root/var/lib/chaperone/spool"

    def records(self):
        """All lines, of all sessions, oldest session first."""
        text = world.on_node("sh", "-c", f"cat {self._spool()}/*.jsonl").out
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def record(self, session, to):
        to.write_text(world.on_node("cat", f"{self._spool()}/{session}.jsonl").out)
        return to

    def told(self, deadline=20, **fields):
        """The first line of a record with these values."""
        return wait_for(lambda: next((e for e in self.records() if all(e.get(k) == v for k, v in fields.items())), None),
                        deadline, f"a record line with {fields}", interval=0.3)


def server():
    return support.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}").out
