# SPDX-License-Identifier: Apache-2.0
"""The schemas in crds/ and the guard's loader say the same. Every field, word, bound and pattern of a schema is
tried on the loader, and what the loader knows is compared with the schema (tests/support/policy_words.c).

A schema may be less strict than the loader where it says so below (LOOSER): the webhook runs the loader. It is
never stricter, but for the lengths of lists and texts that Kubernetes wants bounded."""

import copy
import json
import re
import subprocess

import jsonschema
import pytest
import yaml

from support import run

CRDS = run.ROOT / "crds"
KINDS = {"GuardPolicy": "guardpolicies", "ClusterGuardPolicy": "clusterguardpolicies",
         "GuardTarget": "guardtargets", "ApprovalRequest": "approvalrequests"}
LOADED = [k for k in KINDS if k != "ApprovalRequest"]
BUILT = f"build/{run.VARIANT}/tests/support/policy_words"


def crd(kind):
    return yaml.safe_load((CRDS / f"{KINDS[kind]}.yaml").read_text())


def schema_of(kind):
    return crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


# ---- paths: ("spec", "rules", 0, "sql") ----

def walk(schema, path=()):
    """Every (path, schema) under and including this one; items are number 0, values of a map its key "k"."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, path + (name,))
    if "items" in schema:
        yield from walk(schema["items"], path + (0,))
    if isinstance(schema.get("additionalProperties"), dict):
        yield from walk(schema["additionalProperties"], path + ("k",))


def spec_nodes(kind):
    return list(walk(schema_of(kind)["properties"]["spec"], ("spec",)))


def wrap(path, value):
    for step in reversed(path):
        value = [value] if step == 0 else {step: value}
    return value


def text(path):
    out = ""
    for step in path:
        out += "[0]" if step == 0 else ("." if out else "") + step
    return out


def document(kind, content):
    return {"apiVersion": "chaperone.dev/v1alpha1", "kind": kind, "metadata": {"name": "a"}, **content}


class Loader:
    def __init__(self):
        subprocess.run(["make", "-s", BUILT], cwd=run.ROOT, check=True, timeout=300,
                       capture_output=True, env=_clean_environment())

    def ask(self, documents):
        """[(error or None, words)] for each document."""
        lines = "".join(json.dumps(d) + "\n" for d in documents)
        out = subprocess.run([run.ROOT / BUILT], input=lines, capture_output=True, text=True, timeout=120,
                             errors="replace", check=True).stdout.split("\n")[:-1]
        assert len(out) == len(documents)
        answers = [line.split("\t") for line in out]
        return [(None, []) if a[0] == "ok" else (a[1], a[2:]) for a in answers]

    def ask_at(self, kind, questions):
        """As ask, for (path, value) in an object with nothing else in it."""
        return self.ask([document(kind, wrap(path, value)) for path, value in questions])


def _clean_environment():
    import os
    return {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}


@pytest.fixture(scope="module")
def loader():
    return Loader()


def objects(kind):
    return [(p, s) for p, s in spec_nodes(kind) if s.get("type") == "object" and "properties" in s]


# ---- fields and words ----

@pytest.mark.parametrize("kind", LOADED)
def test_fields_are_those_of_the_loader(loader, kind):
    nodes = objects(kind)
    assert len(nodes) >= 5
    answers = loader.ask_at(kind, [(p + ("zzzzzzzzzzzz",), 1) for p, _ in nodes])
    for (path, schema), (error, words) in zip(nodes, answers):
        assert error and error.endswith("unknown field"), (path, error)
        assert set(words) == set(schema["properties"]), text(path)


@pytest.mark.parametrize("kind", LOADED)
def test_words_are_those_of_the_loader(loader, kind):
    nodes = [(p, s) for p, s in spec_nodes(kind) if "enum" in s and s["enum"] != ["kubernetes.io/metadata.name"]]
    answers = loader.ask_at(kind, [(p, "zzzzzzzzzzzzzz") for p, _ in nodes])
    for (path, schema), (error, words) in zip(nodes, answers):
        assert error and "unknown" in error, (path, error)
        assert sorted(words) == sorted(schema["enum"]), text(path)


@pytest.mark.parametrize("kind", LOADED)
def test_what_is_required_is_what_the_loader_requires(loader, kind):
    samples = {"name": "a", "action": "Allow", "key": "k", "operator": "Exists", "resources": ["pods"],
               "requests": ["exec"], "detectors": ["jwt"], "host": "a", "ports": [1], "hosts": ["a"],
               "protocol": "tcp", "secretRef": {"name": "a"},
               "hostKeys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"]}
    for path, schema in objects(kind):
        need = schema.get("required", [])
        full = {n: samples[n] for n in need}
        for n in need:
            less = {k: v for k, v in full.items() if k != n}
            (error, _), = loader.ask_at(kind, [(path, less)])
            if less or "minProperties" not in schema:
                assert error.startswith(f"stdin:1: {text(path)}.{n}: required"), (path, n, error)
        (error, _), = loader.ask_at(kind, [(path, full)])
        at = re.escape(text(path))
        allowed = f"{at}.operations: required .or" if path[-1] == "sql" else "$^"
        assert not re.match(rf"stdin:1: {at}\.\w+: required", error or "") or re.search(allowed, error), error


@pytest.mark.parametrize("kind", LOADED)
def test_types_and_bounds_are_those_of_the_loader(loader, kind):
    wrong = {"string": 7, "integer": "seven", "boolean": "true", "object": [1], "array": {"a": 1}}
    for path, schema in spec_nodes(kind):
        if "type" not in schema:
            continue
        questions = [(path, wrong[schema["type"]])]
        if schema["type"] == "integer":
            questions += [(path, schema["minimum"] - 1), (path, schema["maximum"] + 1)]
        if schema.get("minItems"):
            questions += [(path, [])]
        for (_, value), (error, _) in zip(questions, loader.ask_at(kind, questions)):
            assert error and error.startswith(f"stdin:1: {text(path)}: "), (path, value, error)
        if schema["type"] == "integer":
            for bound in schema["minimum"], schema["maximum"]:
                (error, _), = loader.ask_at(kind, [(path, bound)])
                assert not (error or "").startswith(f"stdin:1: {text(path)}: "), error
        if schema["type"] == "array" and not schema.get("minItems"):
            (error, _), = loader.ask_at(kind, [(path, [])])
            assert not (error or "").startswith(f"stdin:1: {text(path)}: "), error


@pytest.mark.parametrize("kind", LOADED)
def test_defaults_do_not_change_what_is_accepted(loader, kind):
    for path, schema in objects(kind):
        for name, child in schema["properties"].items():
            if "default" not in child:
                continue
            (error, _), = loader.ask_at(kind, [(path, {name: child["default"]})])
            assert not (error or "").startswith(f"stdin:1: {text(path)}.{name}: "), error


# ---- texts ----

STRINGS = [
    "", " ", "a", "A", "a-b", "-a", "a-", "a.b", ".a", "a.", "a..b", "a.-b", "a-.b", "a_b", "_a", "a b", " a", "a ",
    "a/b", "/a", "a/", "a//b", "a/b/c", "*", "a*", "*.a", "a.*", "*.*", "*.*.*", "a.b.c", "a.b.c.d", "tab\there",
    "line\nbreak", "a\n", "\n", "del\x7f", "\u00e9.\u00fc", "\u00e9", "\u4e16.\u754c.\u7684", '"a"', '"a".b',
    '"a.b".c', '"a""b".c', '"".a', '""', '"a', 'a"b".c', 'a."b', '"*".x', '"a"b.c', '"a" .b', "a.<->", "operator a.<->",
    "operator <->", "a'.b", "a(.b", "a,b", "a;b", "a:b", "a@b", "a$b", "public.orders", "public.users.email",
    "10.1.2.3", "10.1.2.300", "010.1.2.3", "10.1.2", "127.1", "0x7f000001", "a.0x1f", "a.0x1g", "a.1", "1.a", "a.1a",
    "10.9.0.0/24", "10.9.0.1/24", "0.0.0.0/0", "10.0.0.0/33", "10.0.0.0/08", "::1", "::", "::/0", "2001:db8::7",
    "2001:db8::/32", "2001:db8::/129", "2001:db8::1/32", "::ffff:1.2.3.4", "::ffff:1.2.3.0/120", "1:2:3", ":", ":::",
    "a.example.com.", "a.example.com..", "*.example.com", "a" * 63, "a" * 64, "a" * 63 + ".b", "a" * 253, "a" * 254,
    ".".join(["a" * 60] * 4), ".".join(["a" * 63] * 5), "x." + "a" * 253, "x." + "a" * 254, "/srv/reports/**", "/",
    "/./a", "/a/.", "/a/..", "/..", "/.", "/...", "/.a/..b", "/a//b", "/a/", "relative/path", "pods", "pods/log", "/log",
    "pods/", "Pods", "60s", "10m", "1h30m", "30m1h", "0s", "24h", "25h", "s", "1", "1x", "1d", "-1s", "1.5h", "60S",
    "1000000000s", "1Ki", "0Ki", "64Ki", "1Gi", "2Gi", "1Mi", "1Ti", "1K", "Mi", "1024", "999999999Ki", "yes", "true",
    "ca.crt", ".hidden", "..data", "web-*", "system:x", "rbac.authorization.k8s.io", "m" * 500, "m" * 501,
    "m" * 499 + "\n", "m" * 500 + "\n\n", "\u00e9" * 250, "\u00e9" * 251, "\u00e9" * 300, "first\nsecond\n", "\r\n",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ann@example.com",
    "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f", "ssh-ed25519", "ssh-ed25519 AAAA",
    "ssh-dss AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f",
]

# What a schema cannot say, or not without a pattern that nobody could read: left to the webhook, which runs the
# loader. The last steps of a path, and what of it is accepted too much.
LOOSER = {
    "host": ["0x7f000001", "a.0x1f", "10.9.0.1/24", "2001:db8::1/32", "::ffff:1.2.3.0/120", "1:2:3", ":", ":::", "a:b",
             ".".join(["a" * 63] * 5)],
    "functions": [" ", " a", "a ", "\u00e9" * 250, "\u00e9" * 251],
    "relations": [], "columns": [],
    "message": ["m" * 501, "m" * 500 + "\n\n", "\u00e9" * 251, "\u00e9" * 300],
    "hostKeys": ["ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"],
    # bounds that CEL checks; e2e/crds_test.py
    "timeout": ["0s", "25h"], "validFor": ["0s", "25h"],
    "maxResultBytes": ["0Ki", "2Gi", "999999999Ki"],
    "databases": ["\u00e9" * 250, "\u00e9" * 251, "\u00e9" * 300], "namespaces": ["\u00e9" * 250, "\u00e9" * 251, "\u00e9" * 300],
}
HOSTS = ("host", "hosts", "serverName")


def patterns(schema):
    found = [schema["pattern"]] if "pattern" in schema else []
    for rule in schema.get("x-kubernetes-validations", []):
        found += re.findall(r"^self\.matches\(r'(.*)'\)$", rule["rule"])
    return found


def schema_accepts(schema, value):
    if len(value) < schema.get("minLength", 0) or len(value) > schema.get("maxLength", 1 << 30):
        return False
    return all(re.fullmatch(p, value) for p in patterns(schema))


def looser(path, value):
    name = next(s for s in reversed(path) if s != 0)
    extra = LOOSER.get("host" if name in HOSTS else name, [])
    return value in extra


@pytest.mark.parametrize("kind", LOADED)
def test_texts_are_those_of_the_loader(loader, kind):
    leaves = [(p, s) for p, s in spec_nodes(kind)
              if "enum" not in s and (s.get("type") == "string" or s.get("x-kubernetes-int-or-string"))
              and p[-1] != "k"]
    assert len(leaves) >= 5
    wrong = []
    for path, schema in leaves:
        answers = loader.ask_at(kind, [(path, v) for v in STRINGS])
        for value, (error, _) in zip(STRINGS, answers):
            refused = (error or "").startswith(f"stdin:1: {text(path)}: ") and "there is no GuardTarget" not in error
            accepted = schema_accepts(schema, value)
            if accepted and refused and not looser(path, value):
                wrong.append(f"the schema lets pass {text(path)} = {value!r}: {error}")
            if not accepted and not refused and len(value) <= schema.get("maxLength", 1 << 30):
                wrong.append(f"the loader takes {text(path)} = {value!r}, the schema does not")
    assert not wrong, "\n".join(wrong)


# ---- whole objects ----

def examples():
    for f in sorted((run.ROOT / "docs/examples").glob("*.yaml")):
        for d in yaml.safe_load_all(f.read_text()):
            yield pytest.param(d, id=f"{f.name}-{d['kind']}")


@pytest.mark.parametrize("example", list(examples()))
def test_examples_fit_the_schema(example):
    jsonschema.Draft202012Validator(schema_of(example["kind"])).validate(example)


def test_a_cluster_policy_is_a_policy_with_namespaces():
    one, other = schema_of("GuardPolicy"), copy.deepcopy(schema_of("ClusterGuardPolicy"))
    subject = other["properties"]["spec"]["properties"]["subjects"]["items"]
    assert "namespaceSelector" not in one["properties"]["spec"]["properties"]["subjects"]["items"]["properties"]
    assert subject["properties"].pop("namespaceSelector")
    assert _without(one, "description") == _without(other, "description")


def _without(value, key):
    if isinstance(value, dict):
        return {k: _without(v, key) for k, v in value.items() if k != key or not isinstance(v, str)}
    return [_without(v, key) for v in value] if isinstance(value, list) else value


# ---- what Kubernetes wants ----

@pytest.mark.parametrize("kind", LOADED)
def test_unknown_fields_reach_the_webhook(kind):
    """Were they dropped, a rule with a misspelt field would allow too much."""
    for path, schema in objects(kind):
        assert schema.get("x-kubernetes-preserve-unknown-fields") is True, text(path)


@pytest.mark.parametrize("kind", KINDS)
def test_everything_has_a_bound(kind):
    for path, schema in spec_nodes(kind):
        if schema.get("type") == "array":
            assert "maxItems" in schema, text(path)
        if schema.get("type") == "string" and "enum" not in schema:
            assert "maxLength" in schema, text(path)
        for rule in schema.get("x-kubernetes-validations", []):
            assert rule.get("message"), text(path)


@pytest.mark.parametrize("kind", KINDS)
def test_status_is_a_subresource_and_names_are_right(kind):
    c = crd(kind)
    names, version = c["spec"]["names"], c["spec"]["versions"][0]
    assert names["kind"] == kind and names["plural"] == KINDS[kind] and names["categories"] == ["chaperone"]
    assert c["metadata"]["name"] == f"{names['plural']}.chaperone.dev"
    assert version["name"] == "v1alpha1" and version["subresources"] == {"status": {}}
    assert c["spec"]["scope"] == ("Cluster" if kind == "ClusterGuardPolicy" else "Namespaced")
