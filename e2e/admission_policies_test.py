# SPDX-License-Identifier: Apache-2.0
"""The second wall: the chart's ValidatingAdmissionPolicies on a real API server, without the webhook. They are taken from
the chart, under other names, for namespaces with a label of this test, which no webhook looks at. The
pods are what injection makes of a plain pod, and never start (a scheduling gate)."""

import json

import pytest
import yaml

import support
from support import apply, get, kubectl, refused, wait_for

LABEL = "chaperone.dev/e2e-second-wall"
INJECTED = "chaperone.dev/e2e-inject"  # for the policy on namespaces: instead of chaperone.dev/inject
GROUP = "second-wall.chaperone.dev"    # for the policy on approvals
UID, GID = 20001, 20002
GUARD_ARGS = [
    "--kubernetes", "--capture", "15001", "--spool", "/var/lib/chaperone/spool", "--state", "/run/chaperone",
    "--control", "/run/chaperone/control.sock", "--status", "[::]:15020", "--trust", "/trust", "--secrets",
    "/etc/chaperone/secrets", "--namespace", "$(POD_NAMESPACE)", "--pod", "$(POD_NAME)", "--pod-uid", "$(POD_UID)",
    "--service-account", "$(SERVICE_ACCOUNT)", "--labels-file", "/etc/chaperone/pod/labels", "--agent-token",
    "/var/run/secrets/chaperone/token"]
DROPS = ["NET_ADMIN", "NET_RAW", "SETUID", "SETGID", "SYS_PTRACE"]


# ---- the policies ----

def chart_policies():
    out = support.helm("template", "chaperone", support.CHART, "--namespace", support.SYSTEM,
                       "--kube-version", "1.34.0").out
    return [d for d in yaml.safe_load_all(out) if d and d["kind"].startswith("ValidatingAdmissionPolicy")]


def under_test(policy):
    """The same policy where this test is alone with it."""
    text = json.dumps(policy).replace("chaperone.dev/inject", INJECTED)
    p = json.loads(text)
    p["metadata"]["name"] = "e2e-" + p["metadata"]["name"]
    p["metadata"].pop("labels")
    if p["kind"].endswith("Binding"):
        p["spec"]["policyName"] = "e2e-" + p["spec"]["policyName"]
        return p
    constraints = p["spec"]["matchConstraints"]
    if "namespaceSelector" in constraints:
        constraints["namespaceSelector"] = {"matchLabels": {LABEL: "yes"}}
    for rule in constraints["resourceRules"]:
        rule["apiGroups"] = [GROUP if g == "chaperone.dev" else g for g in rule["apiGroups"]]
    return p


@pytest.fixture(scope="module")
def policies(cluster):
    made = [under_test(p) for p in chart_policies()]
    assert len(made) == 8
    try:
        apply(*made)
        for p in made:
            if not p["kind"].endswith("Binding"):
                checked(p["metadata"]["name"])
        in_force()
        yield
    finally:
        for p in made:
            support.delete(p["kind"].lower(), p["metadata"]["name"], wait=False)


def checked(name):
    """Its expressions fit the types of what they look at."""
    def seen():
        p = get("validatingadmissionpolicy", name)
        return p if "typeChecking" in p.get("status", {}) else None
    status = wait_for(seen, 30, f"type checking of {name}")["status"]["typeChecking"]
    assert not status.get("expressionWarnings"), json.dumps(status, indent=1)


def in_force():
    """A policy is in force a moment after it was made: until one of each kind refuses."""
    with support.Namespace(labels={LABEL: "yes", INJECTED: "enabled"}, prefix="wall") as ns:
        wait_for(lambda: dry(ns, plain()).code != 0, 30, "the policy on pods")
        wait_for(lambda: kubectl("label", "ns", ns.name, INJECTED + "-", "--dry-run=server", user="nobody",
                                 groups=["e2e-labellers"], check=False).code != 0, 30, "the policy on namespaces")
        ns.create(gated())
        wait_for(lambda: "only what kubectl guard" in ns.kubectl("exec", "agent", "-c", "chaperone", "--", "sh",
                                                                 check=False).text, 30, "the policy on exec")


@pytest.fixture(scope="module")
def walled(policies):
    with support.Namespace(labels={LABEL: "yes"}, prefix="wall") as ns:
        yield ns


# ---- pods ----

def plain():
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent"},
            "spec": {"containers": [{"name": "agent", "image": "none"}]}}


def mount(name, path, **more):
    return {"name": name, "mountPath": path, **more}


def injected():
    """What a plain pod looks like after injection."""
    image = "chaperone/{}:0.1.0"
    field = [("POD_NAMESPACE", "metadata.namespace"), ("POD_NAME", "metadata.name"), ("POD_UID", "metadata.uid"),
             ("SERVICE_ACCOUNT", "spec.serviceAccountName")]
    init = {"name": "chaperone-init", "image": image.format("init"), "command": ["/chaperone-init"],
            "args": ["--capture", "15001", "--uid", str(UID), "--gid", str(GID)],
            "securityContext": {"runAsUser": 0, "runAsGroup": 0, "allowPrivilegeEscalation": False,
                                "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}}}
    guard = {"name": "chaperone", "image": image.format("guard"), "command": ["/chaperone-sidecar"],
             "args": list(GUARD_ARGS), "restartPolicy": "Always",
             "env": [{"name": n, "valueFrom": {"fieldRef": {"fieldPath": f}}} for n, f in field],
             "securityContext": {"runAsUser": UID, "runAsGroup": GID, "runAsNonRoot": True,
                                 "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
             "volumeMounts": [mount("chaperone-run", "/run/chaperone"), mount("chaperone-trust", "/trust")]}
    agent = {"name": "agent", "image": "none",
             "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": list(DROPS)}},
             "volumeMounts": [mount("chaperone-trust", "/run/chaperone/trust", readOnly=True)]}
    token = {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent"}, "spec": {
        "automountServiceAccountToken": False, "initContainers": [init, guard], "containers": [agent],
        "volumes": [{"name": "chaperone-run", "emptyDir": {"medium": "Memory"}},
                    {"name": "chaperone-trust", "emptyDir": {"medium": "Memory"}},
                    {"name": "chaperone-real-sa", "projected": {"sources": [token]}}]}}


def gated():
    pod = injected()
    pod["spec"]["schedulingGates"] = [{"name": "chaperone.dev/e2e"}]
    return pod


def changed(path, value):
    """The injected pod with one thing changed; a path ends with + to append."""
    pod = injected()
    at = pod["spec"]
    *steps, last = [int(s) if s.isdigit() else s for s in path.split(".")]
    for i, step in enumerate(steps):
        if isinstance(at, dict) and step not in at:
            at[step] = {}
        at = at[step]
    if last == "+":
        at.append(value)
    elif value is None:
        del at[last]
    else:
        at[last] = value
    return pod


def dry(ns, pod):
    return ns.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(pod), check=False)


AGENT = "containers.0.securityContext"
BAD_PODS = [
    ("a plain pod", plain(), "the guard (chaperone-init, chaperone) has to come first"),
    ("no guard", changed("initContainers.1", None), "has to come first"),
    ("guard not first", changed("initContainers", [{"name": "x", "image": "x", "securityContext": {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}] + injected()["spec"]["initContainers"]),
     "has to come first"),
    ("guard no sidecar", changed("initContainers.1.restartPolicy", None), "has to come first"),
    ("another init command", changed("initContainers.0.command", ["/bin/true"]), "is not the chaperone-init"),
    ("another capture port", changed("initContainers.0.args.1", "1"), "is not the chaperone-init"),
    ("init for another user", changed("initContainers.0.args.3", "1000"), "is not the chaperone-init"),
    ("init not root", changed("initContainers.0.securityContext.runAsUser", 1), "is not the chaperone-init"),
    ("init's environment", changed("initContainers.0.env", [{"name": "LD_PRELOAD", "value": "x"}]),
     "is not the chaperone-init"),
    ("init's mounts", changed("initContainers.0.volumeMounts", [mount("chaperone-run", "/x")]), "is not the chaperone-init"),
    ("another guard command", changed("initContainers.1.command", ["/bin/sleep"]), "is not the guard"),
    ("guard's environment", changed("initContainers.1.env.+", {"name": "LD_PRELOAD", "value": "x"}), "is not the guard"),
    ("guard's envFrom", changed("initContainers.1.envFrom", [{"configMapRef": {"name": "x"}}]), "is not the guard"),
    ("guard's hooks", changed("initContainers.1.lifecycle", {"postStart": {"exec": {"command": ["x"]}}}), "is not the guard"),
    ("guard without --kubernetes", changed("initContainers.1.args.0", "--policies"), "is not the guard"),
    ("guard with a capability", changed("initContainers.1.securityContext.capabilities.add", ["NET_ADMIN"]),
     "is not the guard"),
    ("guard as root", changed("initContainers.1.securityContext.runAsUser", 0), "is not"),
    ("another guard image", changed("initContainers.1.image", "evil/guard:0.1.0"), "images are not those"),
    ("another init image", changed("initContainers.0.image", "chaperone/init:0.0.9"), "images are not those"),
    ("automount", changed("automountServiceAccountToken", True), "automountServiceAccountToken: has to be false"),
    ("automount left out", changed("automountServiceAccountToken", None), "automountServiceAccountToken: has to be false"),
    ("hostNetwork", changed("hostNetwork", True), "spec.hostNetwork"),
    ("hostPID", changed("hostPID", True), "hostPID"),
    ("hostIPC", changed("hostIPC", True), "hostIPC"),
    ("shareProcessNamespace", changed("shareProcessNamespace", True), "shareProcessNamespace"),
    ("hostAliases", changed("hostAliases", [{"ip": "192.0.2.1", "hostnames": ["db"]}]), "spec.hostAliases"),
    ("nameservers", changed("dnsConfig", {"nameservers": ["192.0.2.53"]}), "spec.dnsConfig.nameservers"),
    ("searches", changed("dnsConfig", {"searches": ["evil.example"]}), "searches: not permitted"),
    ("hostPath", changed("volumes.+", {"name": "h", "hostPath": {"path": "/"}}), "hostPath: not permitted"),
    ("a volume of the guard's name", changed("volumes.+", {"name": "chaperone-mine", "emptyDir": {}}), "are the guard's"),
    ("a token", changed("volumes.+", {"name": "t", "projected": {"sources": [
        {"serviceAccountToken": {"path": "token"}}]}}), "a token for the API server is the guard's alone"),
    ("privileged", changed(AGENT, {"privileged": True, "capabilities": {"drop": DROPS}}), "securityContext.privileged"),
    ("escalation", changed(AGENT + ".allowPrivilegeEscalation", True), "allowPrivilegeEscalation: has to be false"),
    ("escalation left out", changed(AGENT + ".allowPrivilegeEscalation", None), "allowPrivilegeEscalation: has to be"),
    ("no context", changed("containers.0.securityContext", None), "allowPrivilegeEscalation: has to be"),
    *[(f"keeps {d}", changed(AGENT + ".capabilities.drop", [x for x in DROPS if x != d]), "have to be dropped")
      for d in DROPS],
    ("adds NET_ADMIN", changed(AGENT + ".capabilities.add", ["NET_ADMIN"]), "only NET_BIND_SERVICE"),
    ("adds SYS_ADMIN and ALL dropped", changed(AGENT + ".capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
     "only NET_BIND_SERVICE"),
    ("adds ALL", changed(AGENT + ".capabilities.add", ["ALL"]), "only NET_BIND_SERVICE"),
    ("unconfined", changed(AGENT + ".seccompProfile", {"type": "Unconfined"}), "Unconfined is not permitted"),
    ("unconfined pod", changed("securityContext", {"seccompProfile": {"type": "Unconfined"}}), "Unconfined is not"),
    ("guard's user", changed(AGENT + ".runAsUser", UID), "the guard's user and group are its own"),
    ("guard's group", changed(AGENT + ".runAsGroup", GID), "the guard's user and group are its own"),
    ("guard's user, pod", changed("securityContext", {"runAsUser": UID}), "the guard's user and group are its own"),
    ("guard's group, fsGroup", changed("securityContext", {"fsGroup": GID}), "the guard's user and group are its own"),
    ("guard's group, supplemental", changed("securityContext", {"supplementalGroups": [7, GID]}),
     "the guard's user and group are its own"),
    ("private volume", changed("containers.0.volumeMounts.+", mount("chaperone-run", "/x", readOnly=True)),
     "the guard's volumes are its own"),
    ("real token", changed("containers.0.volumeMounts.+", mount("chaperone-real-sa", "/x", readOnly=True)),
     "the guard's volumes are its own"),
    ("writable trust", changed("containers.0.volumeMounts.0.readOnly", False), "the guard's volumes are its own"),
    ("another init container", changed("initContainers.+", {"name": "x", "image": "x"}), "allowPrivilegeEscalation"),
    ("another container", changed("containers.+", {"name": "x", "image": "x"}), "allowPrivilegeEscalation"),
    ("guard's name", changed("containers.0.name", "chaperone-init"), "chaperone-init"),
]

GOOD_PODS = [
    ("as injected", injected()),
    ("all dropped", changed(AGENT + ".capabilities", {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]})),
    ("another user", changed(AGENT + ".runAsUser", 1000)),
    ("root", changed(AGENT + ".runAsUser", 0)),
    ("a token for somebody else", changed("volumes.+", {"name": "t", "projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "audience": "vault"}}]}})),
    ("options of the resolver", changed("dnsConfig", {"options": [{"name": "ndots", "value": "2"}]})),
    ("other volumes", changed("volumes.+", {"name": "data", "emptyDir": {}})),
]


@pytest.mark.parametrize("pod,word", [pytest.param(p, w, id=i) for i, p, w in BAD_PODS])
def test_pods_refused(walled, pod, word):
    refused(dry(walled, pod), word)


@pytest.mark.parametrize("pod", [pytest.param(p, id=i) for i, p in GOOD_PODS])
def test_pods_taken(walled, pod):
    answer = dry(walled, pod)
    assert answer.code == 0, str(answer)


def test_other_namespaces_are_left_alone(policies, namespace):
    assert dry(namespace, plain()).code == 0


@pytest.fixture(scope="module")
def running(walled):
    """A pod that is there; it never starts."""
    walled.create(gated())
    return walled


def update(ns, operations, *flags):
    return ns.kubectl("patch", "pod", "agent", "--type=json", "-p", json.dumps(operations), *flags, check=False)


def test_images_of_the_guard_stay(running):
    for i, word in ((0, "evil/init"), (1, "evil/guard")):
        refused(update(running, [{"op": "replace", "path": f"/spec/initContainers/{i}/image", "value": word}]),
                "images")
    assert update(running, [{"op": "replace", "path": "/spec/containers/0/image", "value": "other"}]).code == 0


def debug(**fields):
    container = {"name": "debug", "image": "x", "securityContext": {
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}, **fields}
    return [{"op": "add", "path": "/spec/ephemeralContainers", "value": [container]}]


@pytest.mark.parametrize("fields,word", [
    ({"securityContext": {}}, "allowPrivilegeEscalation"),
    ({"securityContext": {"allowPrivilegeEscalation": False}}, "have to be dropped"),
    ({"securityContext": {"privileged": True, "capabilities": {"drop": ["ALL"]}}}, "privileged"),
    ({"securityContext": {"runAsUser": UID, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}},
     "the guard's user and group"),
    ({"volumeMounts": [mount("chaperone-run", "/x")]}, "the guard's volumes"),
    ({"targetContainerName": "chaperone"}, "targetContainerName"),
    ({"targetContainerName": "chaperone-init"}, "targetContainerName")])
def test_ephemeral_containers_refused(running, fields, word):
    refused(update(running, debug(**fields), "--subresource=ephemeralcontainers", "--dry-run=server"), word)


def test_ephemeral_containers_taken(running):
    answer = update(running, debug(targetContainerName="agent"), "--subresource=ephemeralcontainers", "--dry-run=server")
    assert answer.code == 0, str(answer)


def test_pods_from_before_can_be_changed_and_deleted(policies):
    with support.Namespace(prefix="wall") as ns:
        pod = plain()
        pod["spec"]["schedulingGates"] = [{"name": "chaperone.dev/e2e"}]
        ns.create(pod)
        kubectl("label", "ns", ns.name, f"{LABEL}=yes")
        wait_for(lambda: dry(ns, {**plain(), "metadata": {"name": "new"}}).code != 0, 20, "the label taking effect")
        ns.kubectl("label", "pod", "agent", "a=b")
        ns.kubectl("delete", "pod", "agent", "--wait=true")


# ---- exec, attach ----

SOCKET = ["/kubectl-guard", "--socket", "/run/chaperone/control.sock"]
ADMITTED = "does not have a host assigned"  # it went on to the node, where a gated pod is not


@pytest.fixture(scope="module")
def people(running):
    """reader may see sessions, ender also end them, executor may only exec."""
    def role(name, *rules):
        return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": [
            {"apiGroups": [""], "resources": ["pods", "pods/exec", "pods/attach"], "verbs": ["get", "create"]}, *rules]}

    def binding(name):
        return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}]}

    def sessions(*verbs):
        return {"apiGroups": ["chaperone.dev"], "resources": ["guardsessions"], "verbs": list(verbs)}
    running.apply(role("executor"), role("reader", sessions("get")), role("ender", sessions("get", "delete")),
                  *map(binding, ("executor", "reader", "ender")))
    return running


def enter(ns, *words, user="reader", container="chaperone", flags=()):
    return ns.kubectl("exec", *flags, "agent", "-c", container, "--", *words, user=user, check=False)


READS = [["sessions", "-o", "json"], ["status", "-o", "json"], ["tail", "all", "--json"], ["tail", "a-1.b_2", "--json"]]


@pytest.mark.parametrize("words", READS, ids=" ".join)
def test_who_may_see_sessions(people, words):
    for user in ("reader", "ender"):
        assert ADMITTED in enter(people, *SOCKET, *words, user=user).text
    refused(enter(people, *SOCKET, *words, user="executor"), 'you may not "get" it', "chaperone-approver")


def test_who_may_end_sessions(people):
    assert ADMITTED in enter(people, *SOCKET, "kill", "s-1", user="ender").text
    for user in ("reader", "executor"):
        refused(enter(people, *SOCKET, "kill", "s-1", user=user), 'you may not "delete" it', "chaperone-operator")


@pytest.mark.parametrize("words", [
    ["sh"], ["/bin/sh", "-c", "id"], SOCKET, SOCKET + ["list"], SOCKET + ["approve", "a-1"], SOCKET + ["sessions"],
    SOCKET + ["sessions", "-o", "yaml"], SOCKET + ["sessions", "-o", "json", "--x"], SOCKET + ["tail", "--help", "--json"],
    SOCKET + ["tail", "a b", "--json"], SOCKET + ["tail", "", "--json"], SOCKET + ["tail", "a/../b", "--json"],
    SOCKET + ["kill", "-h"], SOCKET + ["kill", "a", "b"], ["/kubectl-guard", "--socket", "/tmp/x", "kill", "a"],
    ["kubectl-guard", *SOCKET[1:], "kill", "a"], ["/kubectl-guard", "status", "-o", "json"]], ids=" ".join)
def test_other_commands_in_the_guard_are_refused(people, words):
    refused(enter(people, *words, user="ender"), "only what kubectl guard sessions")


@pytest.mark.parametrize("flags", [["-i"], ["-t"], ["-it"]], ids=" ".join)
def test_nothing_is_said_to_the_guard(people, flags):
    answer = people.kubectl("exec", *flags, "agent", "-c", "chaperone", "--", *SOCKET, *READS[0], user="ender",
                            input="x", check=False)
    if flags == ["-t"]:  # kubectl leaves -t away without a terminal; the API is asked directly
        answer = kubectl("create", "--raw", f"/api/v1/namespaces/{people.name}/pods/agent/exec?container=chaperone&"
                         "stdout=true&tty=true&" + "&".join(f"command={w}" for w in SOCKET + READS[0]), "-f", "-",
                         input="", user="ender", check=False)
    refused(answer, "stdin, tty: not into the guard's container")


def test_the_guard_cannot_be_attached_to(people):
    for container in ("chaperone", "chaperone-init"):
        refused(people.kubectl("attach", "agent", "-c", container, user="ender", check=False), "cannot be attached to")
    refused(enter(people, *SOCKET, *READS[0], user="ender", container="chaperone-init"), "cannot be attached to, nor entered")


def test_the_agents_containers_are_not_concerned(people):
    assert ADMITTED in enter(people, "sh", container="agent", user="executor").text


# ---- namespaces ----

@pytest.fixture(scope="module")
def labellers(policies):
    """Two people who may change namespaces; one of them may also turn injection off."""
    def role(name, *rules):
        return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
                "rules": [{"apiGroups": [""], "resources": ["namespaces", "namespaces/status", "namespaces/finalize"],
                           "verbs": ["get", "update", "patch"]}, *rules]}

    def binding(name):
        return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
                "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}]}
    names = ["e2e-labeller", "e2e-unguarder"]
    off = {"apiGroups": ["chaperone.dev"], "resources": ["guardednamespaces"], "verbs": ["update"]}
    try:
        apply(role(names[0]), role(names[1], off), *map(binding, names))
        yield names
    finally:
        for n in names:
            support.delete("clusterrolebinding", n, wait=False)
            support.delete("clusterrole", n, wait=False)


def relabel(ns, user, value, subresource=None):
    o = get("namespace", ns.name)
    if value is None:
        del o["metadata"]["labels"][INJECTED]
    else:
        o["metadata"]["labels"][INJECTED] = value
    path = f"/api/v1/namespaces/{ns.name}" + (f"/{subresource}" if subresource else "")
    return kubectl("replace", "--raw", path, "-f", "-", input=json.dumps(o), user=user, check=False)


@pytest.mark.parametrize("subresource", [None, "status", "finalize"])
@pytest.mark.parametrize("value", [None, "disabled", "", "Enabled"])
def test_injection_cannot_be_turned_off(labellers, subresource, value):
    with support.Namespace(labels={INJECTED: "enabled"}, prefix="wall") as ns:
        refused(relabel(ns, "e2e-labeller", value, subresource), "guardednamespaces.chaperone.dev")
        assert get("namespace", ns.name)["metadata"]["labels"][INJECTED] == "enabled"


def test_who_may_turn_injection_off(labellers):
    with support.Namespace(labels={INJECTED: "enabled"}, prefix="wall") as ns:
        answer = relabel(ns, "e2e-unguarder", None)
        assert answer.code == 0, str(answer)
        assert INJECTED not in get("namespace", ns.name)["metadata"]["labels"]


def test_turning_it_on_and_other_labels_are_free(labellers):
    with support.Namespace(prefix="wall") as ns:
        for label in (f"{INJECTED}=enabled", "team=a"):
            kubectl("label", "ns", ns.name, label, user="e2e-labeller")
        assert get("namespace", ns.name)["metadata"]["labels"][INJECTED] == "enabled"


# ---- approvals ----

@pytest.fixture(scope="module")
def approvals(policies):
    crd = yaml.safe_load((support.ROOT / "crds/approvalrequests.yaml").read_text())
    crd["metadata"]["name"] = f"approvalrequests.{GROUP}"
    crd["spec"]["group"] = GROUP
    del crd["spec"]["names"]["categories"], crd["spec"]["names"]["shortNames"]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "e2e-approver"},
            "rules": [{"apiGroups": [GROUP], "resources": ["*"], "verbs": ["get", "patch"]}]}
    binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
               "metadata": {"name": "e2e-approver"}, "roleRef": {
                   "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "e2e-approver"},
               "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:authenticated"}]}
    try:
        apply(crd, role, binding)
        kubectl("wait", "--for=condition=Established", "crd", crd["metadata"]["name"], "--timeout=30s")
        with support.Namespace(prefix="wall") as ns:
            def forged():
                ns.kubectl("delete", crd["metadata"]["name"], "probe", "--ignore-not-found")
                ns.create(request("probe"))
                return decide(ns, "probe", "eve", by="ann").code != 0
            wait_for(forged, 60, "the policy on approvals", interval=0.5)
        yield
    finally:
        for kind, name in (("clusterrolebinding", "e2e-approver"), ("clusterrole", "e2e-approver"),
                           ("crd", crd["metadata"]["name"])):
            support.delete(kind, name)


def request(name="a1", **fields):
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": "ApprovalRequest", "metadata": {"name": name}, "spec": {
        "session": "s", "pod": "agent", "podUID": "u", "serviceAccount": "default", "target": "t", "policy": "p",
        "rule": "r", "statement": "DELETE", "digest": "0" * 64, "expiresAt": "2030-01-01T00:00:00Z", "count": 2,
        **fields}}


def decide(ns, name, user, groups=("system:authenticated",), by=None, phase=None, decision="Approve", **more):
    """As if the webhook had let it through: what it would have stamped is in the patch."""
    entry = {"by": by or user, "groups": list(groups), "at": support.now(), "decision": decision, **more}
    operations = [{"op": "add", "path": "/status/decisions/-", "value": entry}]
    if phase:
        operations.append({"op": "replace", "path": "/status/phase", "value": phase})
    return ns.kubectl("patch", f"approvalrequests.{GROUP}", name, "--subresource=status", "--type=json", "-p",
                      json.dumps(operations), user=user, groups=[g for g in groups], check=False)


@pytest.fixture
def asked(approvals, namespace):
    namespace.create(request(approvers={"groups": ["dba"], "users": ["root"]}))
    return namespace


DBA = ("system:authenticated", "dba")


def test_two_people_approve(asked):
    assert decide(asked, "a1", "ann", DBA).code == 0
    refused(decide(asked, "a1", "ann", DBA, phase="Approved", reason="again"), "decided already")
    refused(decide(asked, "a1", "eve", phase="Approved"), "is not among the approvers")
    answer = decide(asked, "a1", "root", phase="Approved")
    assert answer.code == 0, str(answer)
    refused(decide(asked, "a1", "ben", DBA), "not pending any more")


def test_one_denies(asked):
    assert decide(asked, "a1", "ann", DBA, decision="Deny", phase="Denied").code == 0


def test_votes_are_not_forged(asked):
    ns = asked
    refused(decide(ns, "a1", "eve", DBA, by="ann"), "is not who is asking")
    entry = {"by": "eve", "groups": ["dba", "admins"], "at": support.now(), "decision": "Approve"}
    patch = [{"op": "add", "path": "/status/decisions/-", "value": entry}]

    def send(operations, user="eve", groups=DBA):
        return ns.kubectl("patch", f"approvalrequests.{GROUP}", "a1", "--subresource=status", "--type=json", "-p",
                          json.dumps(operations), user=user, groups=list(groups), check=False)
    refused(send(patch), "is not who is asking")
    entry["groups"] = ["dba"]
    refused(send(patch + [{**patch[0], "value": {**entry, "by": "ann"}}]), "one decision at a time")
    refused(send(patch + [{**patch[0], "value": entry}]), "decided already")
    refused(send([{"op": "replace", "path": "/status/phase", "value": "Approved"}]), "Approved needs the decisions")
    refused(send([{"op": "replace", "path": "/status/phase", "value": "Denied"}]), "Denied needs a decision")
    refused(decide(ns, "a1", "eve", DBA, phase="Approved"), "Approved needs the decisions")
    assert ns.get(f"approvalrequests.{GROUP}", "a1")["status"] == {"phase": "Pending", "decisions": []}


def test_agents_do_not_approve_but_may_expire(asked):
    ns = asked
    account = f"system:serviceaccount:{ns.name}:default"
    groups = ("system:authenticated", "system:serviceaccounts", f"system:serviceaccounts:{ns.name}", "dba")
    refused(decide(ns, "a1", account, groups), "ServiceAccount of the agent's namespace")
    ns.kubectl("patch", f"approvalrequests.{GROUP}", "a1", "--subresource=status", "--type=merge", "-p",
               '{"status": {"phase": "Expired"}}', user=account, groups=list(groups))
