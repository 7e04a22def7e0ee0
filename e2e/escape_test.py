# SPDX-License-Identifier: Apache-2.0
"""Pods that would get around the guard are refused with a clear message; ordinary workloads of every kind just work."""

import copy
import json

import pytest

import support
import world
from support import refused, wait_for
from world import agent_pod, agent_template


@pytest.fixture(scope="module")
def ns(chaperone):
    with support.Namespace(inject=True, prefix="agents") as namespace:
        yield namespace


@pytest.fixture(scope="module")
def running(ns):
    """A guarded pod that is not the test's own."""
    ns.create(agent_pod("running"))
    return ns.wait_ready("running")


# ---- refused ----

def with_spec(**fields):
    return lambda pod: pod["spec"].update(fields)


def with_container(**fields):
    return lambda pod: pod["spec"]["containers"][0].update(fields)


def with_security(**fields):
    return lambda pod: pod["spec"]["containers"][0]["securityContext"].update(fields)


def with_init(**fields):
    c = {"name": "own", "image": world.CLIENT_IMAGE, "imagePullPolicy": "Never", "command": ["true"], **fields}
    return lambda pod: pod["spec"].update(initContainers=[c])


def with_volume(volume, **mount):
    def change(pod):
        pod["spec"]["volumes"] = [{"name": "v", **volume}]
        pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "v", "mountPath": "/v", **mount}]
    return change


ESCAPES = {
    "hostNetwork": (with_spec(hostNetwork=True), ["hostNetwork"]),
    "hostPID": (with_spec(hostPID=True), ["hostPID"]),
    "hostIPC": (with_spec(hostIPC=True), ["hostIPC"]),
    "shareProcessNamespace": (with_spec(shareProcessNamespace=True), ["shareProcessNamespace"]),
    "privileged": (with_security(privileged=True), ["privileged"]),
    "NET_ADMIN": (with_security(capabilities={"add": ["NET_ADMIN"]}), ["NET_ADMIN", "capabilities"]),
    "NET_RAW": (with_security(capabilities={"add": ["NET_RAW"]}), ["NET_RAW", "capabilities"]),
    "SYS_PTRACE": (with_security(capabilities={"add": ["SYS_PTRACE"]}), ["SYS_PTRACE"]),
    "ALL": (with_security(capabilities={"add": ["ALL"]}), ["capabilities"]),
    "escalation": (with_security(allowPrivilegeEscalation=True), ["allowPrivilegeEscalation"]),
    "hostPath": (with_volume({"hostPath": {"path": "/"}}), ["hostPath"]),
    "api-token": (with_volume({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}), ["token"]),
    "chaperone-container": (with_container(name="chaperone"), ["chaperone"]),
    "chaperone-init-container": (with_init(name="chaperone"), ["chaperone"]),
    "chaperone-init": (with_init(name="chaperone-init"), ["chaperone-init"]),
    "init-NET_ADMIN": (with_init(securityContext={"capabilities": {"add": ["NET_ADMIN"]}}), ["NET_ADMIN"]),
    "hostAliases": (with_spec(hostAliases=[{"ip": "192.0.2.1", "hostnames": ["db"]}]), ["hostAliases"]),
    "nameservers": (with_spec(dnsPolicy="None", dnsConfig={"nameservers": ["192.0.2.53"]}), ["nameservers"]),
    "searches": (with_spec(dnsConfig={"searches": ["evil.example"]}), ["searches"]),
    "guards-volume": (with_container(volumeMounts=[{"name": "chaperone-run", "mountPath": "/x"}]), ["volumeMounts"]),
}


@pytest.mark.parametrize("name", ESCAPES)
def test_a_pod_that_would_escape_is_refused(ns, name):
    change, words = ESCAPES[name]
    pod = agent_pod(f"escape-{name.lower().replace('_', '-')}")
    change(pod)
    refused(ns.create(pod, check=False), *words)
    assert ns.get("pod", pod["metadata"]["name"]) is None


def test_a_deployment_that_would_escape_says_so_in_its_events(ns):
    template = agent_template(hostNetwork=True, labels={"app": "escaping"})
    ns.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "escaping"}, "spec": {
        "selector": {"matchLabels": {"app": "escaping"}}, "template": template}})
    wait_for(lambda: any("hostNetwork" in e.get("message", "") for e in ns.get("events")), 30, "a FailedCreate event")
    support.delete("deployment", "escaping", ns.name)


def test_the_guards_user_is_refused(ns, running):
    """Whoever knows it, afterwards: as an ephemeral container and by an update."""
    guard = next(c for c in running["spec"]["initContainers"] if c["name"] == "chaperone")["securityContext"]
    debug = {"name": "debug", "image": world.CLIENT_IMAGE, "imagePullPolicy": "Never", "command": ["sleep", "60"],
             "securityContext": {"runAsUser": guard["runAsUser"], "runAsGroup": guard["runAsGroup"],
                                 "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    refused(add_ephemeral(ns, debug), "runAsUser")


def add_ephemeral(ns, container):
    patch = json.dumps({"spec": {"ephemeralContainers": [container]}})
    return ns.kubectl("patch", "pod", "running", "--subresource=ephemeralcontainers", "--type=strategic", "-p", patch, check=False)


def test_a_login_cannot_be_had_through_an_ephemeral_container(ns, running):
    """Whoever may debug pods, but not read Secrets."""
    ns.create({"apiVersion": "chaperone.dev/v1alpha1", "kind": "GuardTarget", "metadata": {"name": "debugged"}, "spec": {
        "protocol": "postgres", "hosts": ["192.0.2.7"], "ports": [5432], "credentials": {"secretRef": {"name": "debugged-login"}}}})
    debug = {"name": "debug", "image": world.CLIENT_IMAGE, "imagePullPolicy": "Never", "command": ["env"],
             "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    login = {"secretRef": {"name": "debugged-login"}}
    refused(add_ephemeral(ns, {**debug, "envFrom": [login]}), "debugged-login", "envFrom")
    variable = {"name": "P", "valueFrom": {"secretKeyRef": {"name": "debugged-login", "key": "password"}}}
    refused(add_ephemeral(ns, {**debug, "env": [variable]}), "debugged-login", "secretKeyRef")


def test_whoever_writes_a_guard_does_not_choose_its_user(ns, running):
    """The pod's writer may know as which user the image runs: that must not become the guard's."""
    tag = running["spec"]["initContainers"]
    pod = agent_pod("chosen")
    pod["spec"]["initContainers"] = [
        {"name": "chaperone-init", "image": tag[0]["image"], "args": ["--uid", "10001", "--gid", "10001"]},
        {"name": "chaperone", "image": tag[1]["image"], "restartPolicy": "Always",
         "securityContext": {"runAsUser": 10001, "runAsGroup": 10001}}]
    made = support.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", namespace=ns.name, input=json.dumps(pod)).json
    guard = made["spec"]["initContainers"][1]["securityContext"]
    assert 10001 not in (guard["runAsUser"], guard["runAsGroup"])
    assert [c["name"] for c in made["spec"]["initContainers"]] == ["chaperone-init", "chaperone"]


def test_an_ephemeral_debug_container_is_refused(ns, running):
    answer = ns.kubectl("debug", "running", f"--image={world.CLIENT_IMAGE}", "--target=chaperone", "--profile=general",
                        "--", "sleep", "1", check=False)
    refused(answer)
    answer = ns.kubectl("debug", "running", f"--image={world.CLIENT_IMAGE}", "--profile=netadmin", "--", "sleep", "1", check=False)
    refused(answer, "guarded pod")
    debug = {"name": "debug", "image": world.CLIENT_IMAGE, "securityContext": {"privileged": True}}
    refused(add_ephemeral(ns, debug), "privileged")
    assert not ns.get("pod", "running")["spec"].get("ephemeralContainers")


@pytest.mark.parametrize("command", [
    ["/chaperone-sidecar", "--version"],
    ["/kubectl-guard", "--socket", "/run/chaperone/control.sock", "approve", "aaaaaaaaaaaa"],
    ["/kubectl-guard", "--socket", "/tmp/other.sock", "status", "-o", "json"],
    ["/kubectl-guard", "--socket", "/run/chaperone/control.sock", "status", "-o", "json", "--socket", "/x"],
    ["sh"],
])
@pytest.mark.parametrize("container", ["chaperone", "chaperone-init"])
def test_exec_into_the_guard_is_refused(ns, running, container, command):
    refused(ns.exec("running", *command, container=container, check=False), "chaperone")


def test_attach_to_the_guard_is_refused(ns, running):
    refused(ns.kubectl("attach", "running", "-c", "chaperone", check=False, deadline=20), "chaperone")


def test_exec_into_the_agent_works(ns, running):
    assert ns.exec("running", "echo", "hello").out == "hello\n"


def test_the_namespaces_label_needs_a_right_of_its_own(ns):
    """Who may change namespaces, but not guarded ones, cannot take the guard away."""
    name = f"labeller-{ns.name}"
    support.apply(
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
         "rules": [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "update", "patch"]}]},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
         "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "mallory"}]})
    try:
        for value in (f"{support.INJECT}-", f"{support.INJECT}=disabled"):
            answer = support.kubectl("label", "namespace", ns.name, value, "--overwrite", user="mallory", check=False)
            refused(answer, support.INJECT)
        support.kubectl("label", "namespace", ns.name, "other=label", user="mallory")
    finally:
        support.delete("clusterrolebinding", name)
        support.delete("clusterrole", name)


# ---- what works ----

def one_shot(**spec):
    """Says through the guard's network that it ran: what no policy allows is taken by the guard, and ended."""
    script = "exec 3<>/dev/tcp/192.0.2.1/443 && echo hello >&3; ! read -r -t 5 line <&3 && test -s /run/chaperone/trust/ca.crt && echo done"
    command = ["bash", "-c", script]
    c = {"name": "agent", "image": world.CLIENT_IMAGE, "imagePullPolicy": "Never", "command": command}
    return agent_template(containers=[c], **{"restartPolicy": "Never", **spec})


def own_init():
    return {"name": "own-init", "image": world.CLIENT_IMAGE, "imagePullPolicy": "Never",
            "command": ["bash", "-c", "test -s /run/chaperone/trust/ca.crt && echo init done"]}


def own_sidecar():
    return {"name": "own-sidecar", "image": world.CLIENT_IMAGE, "imagePullPolicy": "Never", "restartPolicy": "Always",
            "command": ["sleep", "infinity"]}


def job_succeeded(ns, name):
    status = (ns.get("job", name) or {}).get("status", {})
    if status.get("failed"):
        raise support.Fatal(f"job {name} failed: {status}")
    return status.get("succeeded")


@pytest.mark.parametrize("name, spec", [
    ("plain", {}),
    ("on-failure", {"restartPolicy": "OnFailure"}),
    ("own-init", {"initContainers": [own_init()]}),
    ("own-sidecar", {"initContainers": [own_init(), own_sidecar()]}),
])
def test_a_job_completes(ns, name, spec):
    ns.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
               "spec": {"backoffLimit": 0, "template": one_shot(**copy.deepcopy(spec))}})
    wait_for(lambda: job_succeeded(ns, name), 90, f"job {name}", interval=0.5)
    pod = next(p for p in ns.get("pods") if p["metadata"].get("labels", {}).get("job-name") == name)
    assert "done" in ns.logs(pod["metadata"]["name"], "agent")
    assert [c["name"] for c in pod["spec"]["initContainers"]][:2] == ["chaperone-init", "chaperone"]


def test_a_cronjob_runs_its_job(ns):
    ns.create({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"}, "spec": {
        "schedule": "0 3 * * *", "jobTemplate": {"spec": {"backoffLimit": 0, "template": one_shot()}}}})
    ns.kubectl("create", "job", "--from=cronjob/nightly", "now")
    wait_for(lambda: job_succeeded(ns, "now"), 90, "the CronJob's job", interval=0.5)


def test_a_statefulset_becomes_ready_and_restarts(ns):
    template = agent_template(labels={"app": "stateful"})
    ns.create({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "stateful"}, "spec": {
        "serviceName": "stateful", "selector": {"matchLabels": {"app": "stateful"}}, "template": template}})
    ns.wait_ready("stateful-0")
    support.delete("pod", "stateful-0", ns.name)
    wait_for(lambda: support.condition(ns.get("pod", "stateful-0"), "Ready") == "True", 90, "stateful-0 again")


def test_dry_run_changes_nothing(ns):
    answer = support.kubectl("apply", "--dry-run=server", "-o", "json", "-f", "-", namespace=ns.name,
                             input=json.dumps(agent_pod("dry")))
    assert answer.json["spec"]["initContainers"][1]["name"] == "chaperone"
    assert ns.get("pod", "dry") is None


def test_other_namespaces_are_left_alone(namespace):
    namespace.create(agent_pod("free"))
    assert "chaperone" not in json.dumps(namespace.wait_ready("free")["spec"].get("initContainers", []))
