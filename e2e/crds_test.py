# SPDX-License-Identifier: Apache-2.0
"""The kinds, as a real API server applies their schemas: what docs/examples says is taken, bad objects are refused with
field and remedy, requests for approval cannot be rewritten. The webhook is not needed; where it is there, it
may refuse as well, so that only what the schema says is looked for."""

import copy
import json

import pytest
import yaml

import support
from support import apply, get, kubectl, refused

pytestmark = pytest.mark.usefixtures("crds")
V = "chaperone.dev/v1alpha1"


def policy(rules=(), **spec):
    return {"apiVersion": V, "kind": "GuardPolicy", "metadata": {"name": "p"}, "spec": {"rules": list(rules), **spec}}


def rule(**fields):
    return policy([{"name": "r", "action": "Allow", **fields}])


def cluster_policy(**spec):
    return {"apiVersion": V, "kind": "ClusterGuardPolicy", "metadata": {"name": "e2e-bad"}, "spec": spec}


def target(**fields):
    spec = {"protocol": "postgres", "hosts": ["db"], "ports": [5432], **fields}
    return {"apiVersion": V, "kind": "GuardTarget", "metadata": {"name": "t"},
            "spec": {k: v for k, v in spec.items() if v is not None}}


SELECT = {"operations": ["Select"]}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"


def approval(**fields):
    return rule(action="RequireApproval", sql=SELECT, approval=fields)


# what, the object, words of the refusal
BAD = [
    ("no spec", {"apiVersion": V, "kind": "GuardPolicy", "metadata": {"name": "p"}}, ["spec", "Required"]),
    ("mode", policy(mode="Off"), ["spec.mode", "Enforce", "Audit"]),
    ("rule without name", policy([{"action": "Allow", "sql": SELECT}]), ["spec.rules[0].name", "Required"]),
    ("rule's name", rule(name="-r", sql=SELECT), ["spec.rules[0].name", "letters, digits"]),
    ("rule twice", policy([{"name": "r", "action": "Allow", "sql": SELECT}] * 2), ["spec.rules[1]", "Duplicate"]),
    ("action", rule(action="Ask", sql=SELECT), ["spec.rules[0].action", "RequireApproval"]),
    ("nothing to match", rule(), ["spec.rules[0]", "needs sql, kube or ssh"]),
    ("two protocols", rule(sql=SELECT, kube={"resources": ["pods"]}), ["only one of sql, kube and ssh"]),
    ("approval of Allow", rule(sql=SELECT, approval={}), ["approval: only in a rule with action RequireApproval"]),
    ("mask of Allow", rule(sql=SELECT, mask={"method": "Token"}), ["mask: only in a rule with action Mask"]),
    ("values of Deny", rule(action="Deny", sql=SELECT, values={"detectors": ["jwt"]}), ["values: only in a rule"]),
    ("columns of Allow", rule(sql={"columns": ["a.b.c"]}), ["sql.columns: only in a rule with action Mask"]),
    ("message of Allow", rule(sql=SELECT, message="no"), ["message: only in rules that refuse or ask"]),
    ("mask of nothing", rule(action="Mask"), ["a Mask rule needs sql.columns, values or kube"]),
    ("mask of ssh", rule(action="Mask", ssh={"requests": ["exec"]}), ["nothing of ssh can be masked"]),
    ("mask of operations", rule(action="Mask", sql=SELECT), ["a Mask rule has only sql.columns"]),
    ("values and kube", rule(action="Mask", kube={"resources": ["secrets"]}, values={"detectors": ["jwt"]}),
     ["only one of values, kube and ssh"]),
    ("predicates of values", rule(action="Mask", values={"detectors": ["jwt"]}, mask={"predicates": "Allow"}),
     ["mask.predicates and mask.writeBack: only for masks of columns"]),
    ("method", rule(action="Mask", sql={"columns": ["a.b.c"]}, mask={"method": "Hash"}), ["method", "Partial"]),
    ("detector", rule(action="Mask", values={"detectors": ["passport"]}), ["detectors[0]", "creditCard"]),
    ("empty message", rule(action="Deny", sql=SELECT, message="\n"), ["message"]),
    ("empty sql", rule(sql={}), ["operations: required"]),
    ("operation", rule(sql={"operations": ["Selct"]}), ["operations[0]", "Select"]),
    ("no operations", rule(sql={"operations": []}), ["operations", "at least 1"]),
    ("where of Insert", rule(sql={"operations": ["Insert"], "where": "Absent"}), ["where: narrows Update and Delete"]),
    ("where's word", rule(sql={"operations": ["Update"], "where": "None"}), ["where", "Absent"]),
    ("relations alone", rule(sql={"functions": ["f"], "relations": ["a.b"]}), ["relations: narrows operations"]),
    ("relations of Begin", rule(sql={"operations": ["Begin", "Session"], "relations": ["a.b"]}),
     ["none of the rule's operations has a relation"]),
    ("relation without schema", rule(sql={"operations": ["Select"], "relations": ["users"]}), ["relations[0]"]),
    ("column of two parts", rule(action="Mask", sql={"columns": ["a.b"]}), ["columns[0]"]),
    ("verb", rule(kube={"verbs": ["read"], "resources": ["pods"]}), ["verbs[0]", "get"]),
    ("no resources", rule(kube={"verbs": ["get"]}), ["kube: a rule has resources or nonResourceURLs"]),
    ("resource", rule(kube={"resources": ["Pods"]}), ["resources[0]"]),
    ("argv without exec", rule(ssh={"requests": ["sftp"], "argv": [["ls"]]}), ["argv: only with the request exec"]),
    ("paths without sftp", rule(ssh={"requests": ["exec"], "paths": ["/a"]}), ["paths: only with the request sftp"]),
    ("access without sftp", rule(ssh={"requests": ["exec"], "access": ["read"]}), ["access: only with the request"]),
    ("hazards of Allow", rule(ssh={"requests": ["exec"], "hazards": ["*"]}), ["ssh.hazards: only in rules that refuse"]),
    ("hazards and argv", rule(action="Deny", ssh={"requests": ["exec"], "hazards": ["*"], "argv": [["ls"]]}),
     ["hazards: a rule has argv or hazards"]),
    ("hazards without exec", rule(action="Deny", ssh={"requests": ["sftp"], "hazards": ["*"]}),
     ["hazards: only with the request exec"]),
    ("output of Deny", rule(action="Deny", ssh={"requests": ["exec"], "output": "AsIs"}), ["ssh.output: nothing comes"]),
    ("path with ..", rule(ssh={"requests": ["sftp"], "paths": ["/a/../b"]}), ["paths[0]"]),
    ("count 0", approval(count=0), ["approval.count", "greater than or equal to 1"]),
    ("count 9", approval(count=9), ["approval.count", "less than or equal to 8"]),
    ("nobody approves", approval(approvers={}), ["approvers: names nobody"]),
    ("count over users", approval(approvers={"users": ["ann"]}, count=2), ["count: more people than"]),
    ("timeout without unit", approval(timeout="60"), ["timeout"]),
    ("timeout 0s", approval(timeout="0s"), ["timeout", "between 1s and 24h"]),
    ("timeout 25h", approval(timeout="25h"), ["timeout", "between 1s and 24h"]),
    ("validFor 24h1s", approval(validFor="24h1s"), ["validFor", "between 1s and 24h"]),
    ("uses 1001", approval(uses=1001), ["uses"]),
    ("delivery", approval(delivery="Mail"), ["delivery", "Ticket"]),
    ("empty subject", policy(subjects=[{}]), ["subjects[0]"]),
    ("expression without values", policy(subjects=[{"podSelector": {"matchExpressions": [
        {"key": "a", "operator": "In"}]}}]), ["values: required with In and NotIn"]),
    ("values of Exists", policy(subjects=[{"podSelector": {"matchExpressions": [
        {"key": "a", "operator": "Exists", "values": ["b"]}]}}]), ["not allowed with Exists"]),
    ("role none", policy(targets=[{"name": "t", "credentials": {"role": "None"}}]), ["'none' is no role"]),
    ("target of another namespace", policy(targets=[{"name": "other/t"}]), ["targets[0].name"]),
    ("egress without ports", policy(egress=[{"host": "a.b"}]), ["egress[0].ports", "Required"]),
    ("egress with wildcard", policy(egress=[{"host": "*.a.b", "ports": [443]}]), ["egress[0].host", "list each name"]),
    ("port 0", policy(egress=[{"host": "a.b", "ports": [0]}]), ["ports[0]"]),
    ("port 65536", policy(egress=[{"host": "a.b", "ports": [65536]}]), ["ports[0]"]),
    ("port twice", policy(egress=[{"host": "a.b", "ports": [1, 1]}]), ["ports[1]", "Duplicate"]),
    ("maxResultBytes 2Gi", policy(recording={"maxResultBytes": "2Gi"}), ["maxResultBytes", "at most 1Gi"]),
    ("maxResultBytes 0Ki", policy(recording={"maxResultBytes": "0Ki"}), ["maxResultBytes", "must be a size"]),
    ("maxResultBytes -1", policy(recording={"maxResultBytes": -1}), ["maxResultBytes", "must be a size"]),
    ("maxResultBytes 1Ti", policy(recording={"maxResultBytes": "1Ti"}), ["maxResultBytes"]),
    ("labels of namespaces", cluster_policy(subjects=[{"namespaceSelector": {"matchLabels": {"team": "a"}}}]),
     ["only the label kubernetes.io/metadata.name is known"]),
    ("expressions on namespaces", cluster_policy(subjects=[{"namespaceSelector": {"matchExpressions": [
        {"key": "team", "operator": "Exists"}]}}]), ["key", "kubernetes.io/metadata.name"]),
    ("protocol", target(protocol="mysql"), ["spec.protocol", "postgres"]),
    ("no hosts", target(hosts=None), ["spec.hosts", "Required"]),
    ("empty hosts", target(hosts=[]), ["spec.hosts", "at least 1"]),
    ("host with wildcard", target(hosts=["*.svc"]), ["spec.hosts[0]", "list each name"]),
    ("no ports", target(ports=None), ["spec.ports", "Required"]),
    ("ssh without keys", target(protocol="ssh"), ["ssh.hostKeys: required for protocol ssh"]),
    ("key", target(protocol="ssh", ssh={"hostKeys": ["ssh-dss AAAA"]}), ["hostKeys[0]"]),
    ("keys of postgres", target(ssh={"hostKeys": [KEY]}), ["ssh: only for protocol ssh"]),
    ("tls of ssh", target(protocol="ssh", ssh={"hostKeys": [KEY]}, tls={}), ["tls: not for the protocols ssh and tcp"]),
    ("tls of tcp", target(protocol="tcp", tls={}), ["tls: not for the protocols ssh and tcp"]),
    ("credentials of tcp", target(protocol="tcp", credentials={"secretRef": {"name": "s"}}), ["credentials: not for"]),
    ("tls mode", target(tls={"mode": "Prefer"}), ["tls.mode", "VerifyFull"]),
    ("CA of Require", target(tls={"mode": "Require", "caSecretRef": {"name": "ca"}}), ["caSecretRef: only mode VerifyFull"]),
    ("name of Disable", target(tls={"mode": "Disable", "serverName": "db"}), ["serverName: there is no certificate"]),
    ("network as name", target(tls={"serverName": "10.0.0.0/8"}), ["serverName", "no host name and no address"]),
    ("login to everywhere", target(hosts=["0.0.0.0/0"], credentials={"secretRef": {"name": "s"}}),
     ["hosts: a target with credentials has to say where they may go"]),
    ("login to everywhere, v6", target(hosts=["db", "::/0"], credentials={"secretRef": {"name": "s"}}), ["/0 is every address"]),
    ("credentials without secret", target(credentials={}), ["credentials.secretRef", "Required"]),
]


@pytest.fixture(scope="module")
def place():
    """A namespace in which nothing is stored: --dry-run=server goes through schema and admission."""
    with support.Namespace() as ns:
        yield ns.name


@pytest.mark.parametrize("obj,words", [pytest.param(o, w, id=i) for i, o, w in BAD])
def test_refused(place, obj, words):
    answer = kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(obj), check=False,
                     namespace=None if obj["kind"] == "ClusterGuardPolicy" else place)
    refused(answer, *words)
    assert "is invalid" in answer.text, f"not by the schema:\n{answer}"


def examples():
    for f in sorted((support.ROOT / "docs/examples").glob("*.yaml")):
        documents = list(yaml.safe_load_all(f.read_text()))
        yield pytest.param([d for d in documents if d["apiVersion"] == V], id=f.name)


@pytest.mark.parametrize("documents", list(examples()))
def test_examples_are_taken(documents):
    """Targets first, as the webhook wants to find them."""
    with support.Namespace() as ns:
        made = []
        try:
            for d in sorted(copy.deepcopy(documents), key=lambda d: d["kind"] != "GuardTarget"):
                if d["kind"] == "ClusterGuardPolicy":
                    d["metadata"]["name"] = made_name = f"{ns.name}-{d['metadata']['name']}"
                    made.append(made_name)
                else:
                    d["metadata"]["namespace"] = ns.name
                apply(d)
                stored = get(d["kind"], d["metadata"]["name"], d["metadata"].get("namespace"))
                assert _contains(stored["spec"], d["spec"])
        finally:
            for name in made:
                support.delete("clusterguardpolicy", name)


def _contains(whole, part):
    """Everything that was sent is stored; defaults may have come to it."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(k in whole and _contains(whole[k], v) for k, v in part.items())
    if isinstance(part, list):
        return len(whole) == len(part) and all(map(_contains, whole, part))
    return whole == part


def test_defaults_are_those_of_the_loader(namespace):
    p = policy([{"name": "a", "action": "RequireApproval", "sql": SELECT, "approval": {}},
                {"name": "m", "action": "Mask", "values": {"detectors": ["jwt"]}, "mask": {}},
                {"name": "b", "action": "Allow", "sql": SELECT}], recording={})
    namespace.apply(p)
    spec = namespace.get("guardpolicy", "p")["spec"]
    assert spec["mode"] == "Enforce"
    assert spec["recording"] == {"required": True, "content": "Masked", "maxResultBytes": "1Mi", "durability": "Process"}
    by_name = {r["name"]: r for r in spec["rules"]}
    assert by_name["a"]["approval"] == {"count": 1, "allowSelf": False, "requireReason": False, "delivery": "Hold",
                                        "timeout": "60s", "validFor": "10m", "uses": 1}
    assert by_name["m"]["mask"] == {"method": "Redact"}  # predicates would be refused with values
    assert by_name["b"] == {"name": "b", "action": "Allow", "sql": SELECT}


def test_misspelt_fields_are_not_dropped(namespace):
    """Dropped, `relation` would leave a rule that allows every relation. They are refused by the webhook, or,
    without it, stored for the guards to refuse; kubectl's own check does not stop them."""
    p = rule(sql={"operations": ["Select"], "relation": ["public.orders"]})
    answer = namespace.create(p, check=False)
    if answer.code != 0:
        refused(answer, "spec.rules[0].sql.relation", "unknown field")
    else:
        assert namespace.get("guardpolicy", "p")["spec"]["rules"][0]["sql"]["relation"] == ["public.orders"]


def test_columns_and_short_names(namespace):
    namespace.apply(target(credentials={"secretRef": {"name": "login"}}), policy())
    first, row = namespace.kubectl("get", "gt").out.splitlines()
    assert first.split() == ["NAME", "PROTOCOL", "HOSTS", "CREDENTIALS", "AGE"]
    assert row.split()[:4] == ["t", "postgres", '["db"]', "login"]
    assert namespace.kubectl("get", "gp").out.splitlines()[0].split() == ["NAME", "MODE", "ACCEPTED", "ENFORCED", "AGE"]
    listed = namespace.kubectl("get", "chaperone", "-o", "name").out.split()
    assert {"guardtarget.chaperone.dev/t", "guardpolicy.chaperone.dev/p"} <= set(listed)


# ---- requests for approval ----

GROUP = "schema-test.chaperone.dev"  # the same schema where no webhook looks


@pytest.fixture(scope="module")
def request_kind():
    crd = yaml.safe_load((support.ROOT / "crds/approvalrequests.yaml").read_text())
    crd["metadata"]["name"] = f"approvalrequests.{GROUP}"
    crd["spec"]["group"] = GROUP
    del crd["spec"]["names"]["categories"], crd["spec"]["names"]["shortNames"]
    apply(crd)
    kubectl("wait", "--for=condition=Established", "crd", crd["metadata"]["name"], "--timeout=30s")
    yield crd["metadata"]["name"]
    support.delete("crd", crd["metadata"]["name"])


def request(**fields):
    spec = {"session": "s1", "pod": "agent", "podUID": "1-2-3", "serviceAccount": "default", "identity": "ann",
            "target": "orders-db", "database": "orders", "user": "app", "policy": "agents/p", "rule": "writes",
            "statement": "DELETE FROM orders WHERE id = 1", "parameters": "[]", "effect": "Delete public.orders",
            "digest": "0" * 64, "expiresAt": "2030-01-01T00:00:00Z", "approvers": {"groups": ["dba"]}, "count": 2,
            **fields}
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": "ApprovalRequest", "metadata": {"name": "a1"},
            "spec": {k: v for k, v in spec.items() if v is not None}}


@pytest.fixture
def asked(namespace, request_kind):
    namespace.create(request())

    def patch(*operations, subresource="status", check=False):
        flags = ["--subresource=status"] if subresource else []
        return namespace.kubectl("patch", request_kind, "a1", "--type=json", "-p", json.dumps(operations), *flags,
                                 check=check)
    return namespace, request_kind, patch


def decision(by, what="Approve", **more):
    return {"by": by, "groups": ["dba"], "at": "2026-01-01T00:00:00Z", "decision": what, **more}


def append(entry):
    return {"op": "add", "path": "/status/decisions/-", "value": entry}


def test_a_request_is_pending_from_the_start(asked):
    namespace, kind, patch = asked
    o = namespace.get(kind, "a1")
    assert o["status"] == {"phase": "Pending", "decisions": []}
    assert o["spec"]["delivery"] == "Hold" and o["spec"]["allowSelf"] is False and o["spec"]["uses"] == 1
    row = namespace.kubectl("get", kind).out.splitlines()
    assert row[0].split() == ["NAME", "TARGET", "RULE", "EFFECT", "PHASE", "EXPIRES", "AGE"]
    assert "Pending" in row[1] and "2030-01-01T00:00:00Z" in row[1]


@pytest.mark.parametrize("path,value", [
    ("/spec/statement", "DELETE FROM orders"), ("/spec/digest", "1" * 64), ("/spec/count", 1),
    ("/spec/expiresAt", "2031-01-01T00:00:00Z"), ("/spec/approvers", {}), ("/spec/allowSelf", True)])
def test_its_spec_never_changes(asked, path, value):
    namespace, kind, patch = asked
    before = namespace.get(kind, "a1")["spec"]
    refused(patch({"op": "replace", "path": path, "value": value}, subresource=None), "spec never changes")
    assert namespace.get(kind, "a1")["spec"] == before
    patch({"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}, subresource=None, check=True)


def test_decisions_only_grow(asked):
    namespace, kind, patch = asked
    patch(append(decision("ann", reason="ticket 7")), check=True)
    for change in (
            {"op": "remove", "path": "/status/decisions/0"},
            {"op": "remove", "path": "/status/decisions"},
            {"op": "remove", "path": "/status"},
            {"op": "replace", "path": "/status/decisions/0/by", "value": "eve"},
            {"op": "replace", "path": "/status/decisions/0/decision", "value": "Deny"},
            {"op": "replace", "path": "/status/decisions", "value": [decision("eve")]}):
        refused(patch(change), "status.decisions only grows")
    patch(append(decision("ben")), check=True)
    assert [d["by"] for d in namespace.get(kind, "a1")["status"]["decisions"]] == ["ann", "ben"]


@pytest.mark.parametrize("phase", ["Approved", "Denied", "Expired"])
def test_what_is_decided_stays_decided(asked, phase):
    namespace, kind, patch = asked
    patch({"op": "replace", "path": "/status/phase", "value": phase}, check=True)
    for other in {"Pending", "Approved", "Denied", "Expired"} - {phase}:
        refused(patch({"op": "replace", "path": "/status/phase", "value": other}), "final")
    refused(patch({"op": "remove", "path": "/status/phase"}), "final")
    assert namespace.get(kind, "a1")["status"]["phase"] == phase


@pytest.mark.parametrize("entry,word", [
    ({"at": "2026-01-01T00:00:00Z", "decision": "Approve"}, "by"),  # nobody stamped it
    ({"by": "ann", "decision": "Approve"}, "at"),
    (decision("ann", what="Maybe"), "Approve"),
    (decision("ann", uses=0), "uses"),
    (decision("ann", validForSeconds=604801), "validForSeconds"),
    (decision("ann", at="yesterday"), "at")])
def test_bad_decisions(asked, entry, word):
    namespace, kind, patch = asked
    refused(patch(append(entry)), word)
    assert namespace.get(kind, "a1")["status"] == {"phase": "Pending", "decisions": []}


@pytest.mark.parametrize("fields,word", [
    ({"digest": "xyz"}, "digest"), ({"statement": ""}, "statement"), ({"rule": None}, "rule"),
    ({"count": 0}, "count"), ({"expiresAt": "soon"}, "expiresAt"), ({"podUID": None}, "podUID"),
    ({"delivery": "Mail"}, "delivery"), ({"validForSeconds": 86401}, "validForSeconds"),
    ({"approvers": {"groups": [""]}}, "groups")])
def test_bad_requests(namespace, request_kind, fields, word):
    refused(namespace.create(request(**fields), check=False), word, "is invalid")


def test_a_long_statement_is_whole(namespace, request_kind):
    namespace.create(request(statement="SELECT '" + "x" * 1_000_000 + "'"))
    assert len(namespace.get(request_kind, "a1")["spec"]["statement"]) == 1_000_009
