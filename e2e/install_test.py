# SPDX-License-Identifier: Apache-2.0
"""The chart on a cluster: installed, tested, upgraded, changed, uninstalled. Runs last: the others share what is installed.

What is looked for: after an upgrade everything is as it was; after uninstalling nothing is left, and the cluster takes
pods in labelled namespaces again."""

import base64
import json

import pytest

import support
from support import SYSTEM, get, kubectl, refused, wait_for

pytestmark = pytest.mark.last

CONFIGURATIONS = [("mutatingwebhookconfiguration", "zz-chaperone"), ("validatingwebhookconfiguration", "zz-chaperone")]


def plain(name="plain", image=None):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [
        {"name": "agent", "image": image or "chaperone-e2e/client:1", "imagePullPolicy": "Never",
         "command": ["sleep", "3600"]}], "terminationGracePeriodSeconds": 1}}


def containers(pod):
    return [c["name"] for c in pod["spec"].get("initContainers", [])]


def bundles():
    return {f"{kind}/{h['name']}": h["clientConfig"].get("caBundle")
            for kind, name in CONFIGURATIONS for h in get(kind, name)["webhooks"]}


def authority():
    return get("secret", "chaperone-webhook-ca", SYSTEM)["data"]


def owned():
    """Everything of the cluster that is, or looks as if it were, ours: "kind/namespace/name"."""
    kinds = [k for k in kubectl("api-resources", "--verbs=list", "-o", "name").out.split()
             if not k.startswith(("events", "leases"))]
    found = set()
    for item in json.loads(kubectl("get", ",".join(kinds), "-A", "-o", "json", "--ignore-not-found", deadline=120).out)["items"]:
        m = item["metadata"]
        name = f"{item['kind']}/{m.get('namespace', '')}/{m['name']}"
        if "chaperone" in m["name"] or "chaperone" in json.dumps(m.get("labels", {})):
            found.add((name, m.get("namespace", "")))
    return found


def left_over(others):
    return {name for name, ns in owned() if ns not in others and not name.startswith(f"Namespace//{SYSTEM}")
            and not name.startswith(("Namespace//", "PodMetrics"))}


# ---- installed ----

def test_it_is_ready_and_trusted(chaperone):
    d = get("deployment", "chaperone-webhook", SYSTEM)
    assert d["status"]["readyReplicas"] == d["spec"]["replicas"] == 2
    ca = authority()["ca.crt"]
    assert base64.b64decode(ca).startswith(b"-----BEGIN CERTIFICATE-----")
    for name, bundle in bundles().items():
        assert bundle and base64.b64decode(ca).strip() in base64.b64decode(bundle), name


def test_helm_test_passes(chaperone):
    answer = support.helm("test", support.RELEASE, "--namespace", SYSTEM, "--timeout", "120s", deadline=150, check=False)
    if answer.code != 0:
        answer.err += "\n" + kubectl("get", "pods,events", "-n", f"{SYSTEM}-test", "-o", "wide", check=False).text
    assert answer.code == 0 and "Succeeded" in answer.out, str(answer)
    wait_for(lambda: get("namespace", f"{SYSTEM}-test") is None, 60, "the test's namespace being gone")


def test_policies_of_the_api_server_fit_their_types(chaperone):
    for p in get("validatingadmissionpolicies"):
        if p["metadata"]["name"].startswith("chaperone-"):
            assert not p["status"]["typeChecking"].get("expressionWarnings"), p["metadata"]["name"]


def test_people_have_what_their_roles_say(chaperone, namespace):
    """By SubjectAccessReview, for somebody who is bound in one namespace."""
    def bind(role):
        kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user=e2e-{role}", namespace=namespace.name)

    def may(role, verb, resource, ns=None):
        resource, _, sub = resource.partition("/")
        resource, _, group = resource.partition(".")
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": f"e2e-{role}", "groups": ["system:authenticated"], "resourceAttributes": {
                "namespace": ns or namespace.name, "verb": verb, "group": group, "resource": resource, "subresource": sub}}}
        return kubectl("create", "-o", "json", "-f", "-", input=json.dumps(review)).json["status"]["allowed"]
    table = {
        "chaperone-approver": {
            "yes": [("patch", "approvalrequests.chaperone.dev/status"), ("list", "approvalrequests.chaperone.dev"),
                    ("get", "guardsessions.chaperone.dev")],
            "no": [("create", "approvalrequests.chaperone.dev"), ("delete", "guardsessions.chaperone.dev"),
                   ("create", "guardpolicies.chaperone.dev"), ("get", "secrets"), ("create", "pods")]},
        "chaperone-operator": {
            "yes": [("delete", "guardsessions.chaperone.dev"), ("get", "guardsessions.chaperone.dev")],
            "no": [("patch", "approvalrequests.chaperone.dev/status"), ("create", "guardpolicies.chaperone.dev")]},
        "chaperone-policy-editor": {
            "yes": [("create", "guardpolicies.chaperone.dev"), ("delete", "guardtargets.chaperone.dev")],
            "no": [("patch", "approvalrequests.chaperone.dev/status"), ("update", "guardpolicies.chaperone.dev/status"),
                   ("get", "secrets")]},
        "view": {
            "yes": [("list", "guardpolicies.chaperone.dev")],
            "no": [("list", "approvalrequests.chaperone.dev"), ("create", "guardpolicies.chaperone.dev")]},
    }
    for role, answers in table.items():
        bind(role)
        for verb, resource in answers["yes"]:
            assert may(role, verb, resource), (role, verb, resource)
            assert not may(role, verb, resource, ns="default"), "outside of the namespace"
        for verb, resource in answers["no"]:
            assert not may(role, verb, resource), (role, verb, resource)


def test_a_plain_pod_is_injected_and_others_are_not(chaperone, agents, namespace):
    agents.create(plain())
    assert containers(agents.get("pod", "plain"))[:2] == ["chaperone-init", "chaperone"]
    namespace.create(plain())
    assert containers(namespace.get("pod", "plain")) == []


# ---- upgraded ----

def test_an_upgrade_changes_nothing_that_matters(chaperone):
    def generations():
        d = get("deployment", "chaperone-webhook", SYSTEM)
        return d["metadata"]["generation"], sorted(p["metadata"]["uid"] for p in get("pods", namespace=SYSTEM))
    before = generations(), bundles(), authority()
    crds = {c["metadata"]["name"]: c["metadata"]["generation"] for c in get("crd")}
    support.install_chart("--reuse-values")
    assert (generations(), bundles(), authority()) == before
    assert {c["metadata"]["name"]: c["metadata"]["generation"] for c in get("crd")} == crds


def test_no_pod_gets_past_while_it_is_rolled_out(chaperone, agents):
    """Other values: the replicas are replaced one by one; somebody who creates pods all the while notices nothing."""
    support.install_chart("--reuse-values", "--set", "guard.environment=false", wait=False)
    refusals = []

    def rolled_out():
        answer = agents.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", input=json.dumps(plain()), check=False)
        if answer.code != 0:
            refusals.append(answer.text)
        else:
            assert containers(answer.json)[:2] == ["chaperone-init", "chaperone"]
        return kubectl("rollout", "status", "deployment/chaperone-webhook", "--watch=false", namespace=SYSTEM,
                       check=False).out.startswith("deployment \"chaperone-webhook\" successfully")
    wait_for(rolled_out, 120, "the rollout")
    assert not refusals, refusals[0]
    # A replica that is going still answers on the connections which the API server keeps open to it.
    wait_for(lambda: "PGSSLROOTCERT" not in agents.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-",
                                                           input=json.dumps(plain())).out, 60, "the new configuration in force")
    support.install_chart("--reuse-values", "--set", "guard.environment=true")


def test_a_bundle_that_was_reset_comes_back(chaperone, agents):
    before = bundles()
    for kind, name in CONFIGURATIONS:
        hooks = get(kind, name)["webhooks"]
        kubectl("patch", kind, name, "--type=json", "-p", json.dumps(
            [{"op": "remove", "path": f"/webhooks/{i}/clientConfig/caBundle"} for i in range(len(hooks))]))
    wait_for(lambda: bundles() == before, 60, "caBundle being put back")
    wait_for(lambda: agents.create(plain(), check=False).code == 0, 30, "a pod")


# ---- down, gone ----

def scale(n):
    kubectl("scale", "deployment/chaperone-webhook", f"--replicas={n}", namespace=SYSTEM)
    # Those that are going count until they are gone: a replica answers on the connections it has for as long as it drains.
    wait_for(lambda: [support.condition(p, "Ready") for p in get("pods", namespace=SYSTEM)] == ["True"] * n,
             90, f"{n} ready replicas and no other")


def test_without_the_webhook_the_walls_stand(chaperone, agents, namespace):
    scale(0)
    try:
        refused(agents.create(plain(), check=False), "mutate-pod.chaperone.dev")
        refused(agents.apply({"apiVersion": "chaperone.dev/v1alpha1", "kind": "GuardPolicy", "metadata": {"name": "p"},
                              "spec": {}}, check=False), "validate-policy.chaperone.dev")
        assert namespace.create(plain(), check=False).code == 0, "another namespace is stopped too"
        kubectl("label", "ns", namespace.name, "a=b")
        refused(kubectl("label", "ns", agents.name, support.INJECT + "-", user="e2e-nobody", groups=["system:masters-not"],
                        check=False), "forbidden")
    finally:
        scale(2)
    wait_for(lambda: agents.create(plain(), check=False).code == 0, 60, "a pod")


def test_uninstalled_nothing_is_left(chaperone):
    others = {n["metadata"]["name"] for n in get("namespaces")} - {SYSTEM}
    with support.Namespace(inject=True) as ns:
        others.discard(ns.name)
        ns.create(plain())
        wait_for(lambda: ns.get("rolebinding", "chaperone-guard"), 60, "the controller's role")
        support.install_chart("--reuse-values", "--set", "crds.keep=false")
        assert len(left_over(others)) > 20, "what is looked for is not seen while it is there"
        support.uninstall_chart()
        try:
            # The API server forgets policies and webhooks a moment after they are deleted.
            wait_for(lambda: ns.create(plain("after"), check=False).code == 0, 20, "a pod without a guard")
            assert containers(ns.get("pod", "after")) == [], "something still injects"
            kubectl("label", "ns", ns.name, support.INJECT + "-")
            ns.kubectl("delete", "pod", "plain", "after", "--wait=false")
            wait_for(lambda: not ns.get("pods"), 60, "the pods being gone")
            # Besides the namespace itself, which helm does not make a part of the release.
            wait_for(lambda: not left_over(others), 60, "everything being gone: " + str(left_over(others)), interval=1)
            assert not get("secrets", namespace=SYSTEM) and not get("configmaps", namespace=SYSTEM)[1:]
        finally:
            support.install_chart()
    wait_for(lambda: get("crd", "guardpolicies.chaperone.dev"), 30, "the kinds")


def test_kinds_and_policies_outlive_the_chart(chaperone, namespace):
    namespace.apply({"apiVersion": "chaperone.dev/v1alpha1", "kind": "GuardPolicy", "metadata": {"name": "kept"}, "spec": {}})
    support.uninstall_chart()
    try:
        assert namespace.get("guardpolicy", "kept")
        namespace.apply({"apiVersion": "chaperone.dev/v1alpha1", "kind": "GuardPolicy", "metadata": {"name": "more"}, "spec": {}})
    finally:
        support.install_chart()
    assert namespace.get("guardpolicy", "kept")
