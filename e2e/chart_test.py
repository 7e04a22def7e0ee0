# SPDX-License-Identifier: Apache-2.0
"""The chart on paper: lint, values, what it makes of them. helm is needed, no cluster."""

import json

import pytest
import yaml

import support

SELECTOR = {"matchLabels": {"chaperone.dev/inject": "enabled"}, "matchExpressions": [
    {"key": "kubernetes.io/metadata.name", "operator": "NotIn",
     "values": ["kube-system", "kube-public", "kube-node-lease", "chaperone-system"]}]}


@pytest.fixture(scope="session", autouse=True)
def cluster():
    """None is needed."""


def render(*flags, check=True):
    return support.helm("template", "chaperone", support.CHART, "--namespace", "chaperone-system", "--kube-version",
                        "1.34.0", *flags, check=check)


def objects(*flags):
    found = {}
    for o in yaml.safe_load_all(render(*flags).out):
        if o:
            key = o["kind"], o["metadata"]["name"]
            assert key not in found, key
            found[key] = o
    return found


@pytest.fixture(scope="module")
def made():
    return objects()


def webhooks(made):
    for kind in "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
        yield from made[kind, "zz-chaperone"]["webhooks"]


def test_lint():
    answer = support.helm("lint", "--strict", support.CHART)
    assert "1 chart(s) linted, 0 chart(s) failed" in answer.text and "[WARNING]" not in answer.text


def test_webhooks_fail_closed_and_only_where_they_should(made):
    hooks = {h["name"].split(".")[0]: h for h in webhooks(made)}
    assert set(hooks) == {"mutate-pod", "stamp-approval", "validate-pod", "validate-connect", "validate-policy",
                          "validate-approval"}
    for name, h in hooks.items():
        assert h["failurePolicy"] == "Fail" and h["sideEffects"] == "None" and h["timeoutSeconds"] >= 5
        assert h["clientConfig"] == {"service": {"namespace": "chaperone-system", "name": "chaperone-webhook",
                                                 "port": 443, "path": "/" + name}}
        if name in ("mutate-pod", "validate-pod", "validate-connect"):
            assert h["namespaceSelector"] == SELECTOR, "would concern every pod of the cluster"
        assert "objectSelector" not in h, "an opt-out"
    assert hooks["mutate-pod"]["reinvocationPolicy"] == "IfNeeded"


def test_policies_fail_closed(made):
    found = {n: o["spec"] for (kind, n), o in made.items() if kind == "ValidatingAdmissionPolicy"}
    assert set(found) == {"chaperone-pods", "chaperone-connect", "chaperone-namespaces", "chaperone-approvals"}
    for name, spec in found.items():
        assert spec["failurePolicy"] == "Fail"
        assert made["ValidatingAdmissionPolicyBinding", name]["spec"] == {"policyName": name, "validationActions": ["Deny"]}
        assert all(v.get("message") for v in spec["validations"])
    for name in "chaperone-pods", "chaperone-connect":
        assert found[name]["matchConstraints"]["namespaceSelector"] == SELECTOR


def test_the_webhook_is_confined(made):
    pod = made["Deployment", "chaperone-webhook"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    context, = [c["securityContext"] for c in pod["containers"]]
    assert context == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def test_no_role_is_wider_than_it_has_to_be(made):
    for (kind, name), o in made.items():
        for rule in o.get("rules", []) if kind in ("ClusterRole", "Role") else []:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"], name
            if "secrets" in rule["resources"]:
                assert kind == "Role" and (rule.get("resourceNames") or rule["verbs"] == ["create"])
            assert "impersonate" not in rule["verbs"] and "escalate" not in rule["verbs"]


def test_the_configuration_file(made):
    config = yaml.safe_load(made["ConfigMap", "chaperone-webhook"]["data"]["config.yaml"])
    assert config["guardImage"] == "chaperone/guard:0.1.0" and config["initImage"] == "chaperone/init:0.1.0"
    assert "guardUID" not in config and "trustFiles" not in config
    digest = "sha256:" + "a" * 64
    config = yaml.safe_load(objects(
        "--set", f"images.registry=r.example.com,images.guard.digest={digest},images.init.tag=v2,guard.uid=20000,guard.gid=20001",
        "--set-json", 'guard.trustFiles=["/etc/x.pem"],guard.args=["--log-level","debug"]',
        "--set", "records.upload.bucket=audit,records.upload.credentialsSecret=s3-login,records.upload.endpoint=https://minio:9000",
        "--set", "certificates.times.caLifetime=30d")["ConfigMap", "chaperone-webhook"]["data"]["config.yaml"])
    assert config["guardImage"] == f"r.example.com/chaperone/guard@{digest}"
    assert config["initImage"] == "r.example.com/chaperone/init:v2"
    assert config["guardUID"] == 20000 and config["guardGID"] == 20001 and config["trustFiles"] == ["/etc/x.pem"]
    assert config["guardArgs"] == [
        "--spool-limit", "900Mi", "--upload", "s3://audit/chaperone", "--s3-region", "us-east-1",
        "--s3-credentials", "/etc/chaperone/secrets/s3-login", "--s3-endpoint", "https://minio:9000",
        "--s3-lock", "Compliance:30d", "--log-level", "debug"]
    assert config["guardSecrets"] == ["s3-login"]
    assert config["certificateTimes"] == {"caLifetime": "30d"}


PEM = "-----BEGIN CERTIFICATE-----\nMIIB+/=\n-----END CERTIFICATE-----\n"


def test_uploads_as_the_values_have_them():
    upload = {"bucket": "audit", "credentialsSecret": "s3-login", "style": "virtual", "encryption": "aws:kms:alias/x", "rate": "256Ki",
              "encryptTo": PEM + PEM}
    made = objects("--set-json", "records.upload=" + json.dumps(upload))["ConfigMap", "chaperone-webhook"]["data"]["config.yaml"]
    arguments = yaml.safe_load(made)["guardArgs"]
    given = dict(zip(arguments[::2], arguments[1::2]))
    assert {k: given[k] for k in ("--s3-style", "--s3-sse", "--upload-rate", "--encrypt-to-inline")} == {
        "--s3-style": "virtual", "--s3-sse": "aws:kms:alias/x", "--upload-rate": "256Ki", "--encrypt-to-inline": PEM + PEM}


def test_a_role_instead_of_keys():
    upload = {"bucket": "audit", "webIdentity": {"roleARN": "arn:aws:iam::1:role/guards", "endpoint": "https://sts.example.com"}}
    config = yaml.safe_load(objects("--set-json", "records.upload=" + json.dumps(upload))["ConfigMap", "chaperone-webhook"]["data"]["config.yaml"])
    arguments = config["guardArgs"]
    given = dict(zip(arguments[::2], arguments[1::2]))
    assert given["--s3-role"] == "arn:aws:iam::1:role/guards" and given["--s3-sts"] == "https://sts.example.com"
    assert given["--s3-token"] == "/var/run/secrets/chaperone-store/token" and "--s3-credentials" not in given
    assert config["storeAudience"] == "sts.amazonaws.com" and "guardSecrets" not in config
    answer = render("--set-json", 'records.upload={"bucket": "audit"}', check=False)
    assert answer.code != 0 and "credentialsSecret" in answer.text and "webIdentity" in answer.text


@pytest.mark.parametrize("field,value", [("style", "host"), ("webIdentity", {"audience": "chaperone"}),
                                         ("webIdentity", {"endpoint": "http://sts.example.com"}), ("encryption", "DES"), ("encryption", "aws:kms:"), ("rate", "fast"), ("rate", "-1"),
                                         ("encryptTo", "/etc/auditor.crt"), ("encryptTo", "$(HOME)"), ("encryptTo", PEM.replace("CERTIFICATE", "PRIVATE KEY"))])
def test_uploads_that_the_schema_refuses(field, value):
    upload = {"bucket": "audit", "credentialsSecret": "s3-login", field: value}
    answer = render("--set-json", "records.upload=" + json.dumps(upload), check=False)
    assert answer.code != 0 and field in answer.text, answer


ISSUER = {"issuer": "https://dex.example.com/a$(X)", "audience": ["chaperone"], "groupsClaim": "roles", "maxLifetime": "1h",
          "caBundle": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"}


def with_issuers(*issuers):
    return "--set-json", f"guard.issuers={json.dumps(issuers)}"


def test_issuers_are_in_the_configuration(made):
    assert "issuers" not in yaml.safe_load(made["ConfigMap", "chaperone-webhook"]["data"]["config.yaml"])
    more = {"issuer": "https://b", "audience": "x", "jwks": '{"keys": []}', "kind": "Kubernetes",
            "tokenFile": "/var/run/secrets/kubernetes.io/serviceaccount/token"}
    config = objects(*with_issuers(ISSUER, more))["ConfigMap", "chaperone-webhook"]["data"]["config.yaml"]
    assert yaml.safe_load(config)["issuers"] == [ISSUER, more]


@pytest.mark.parametrize("wrong", [
    {"issuer": ""}, {"audience": []}, {"groupClaim": "x"}, {"jwksFile": "/keys"}, {"jwksURL": "http://127.0.0.1/keys"},
    {"jwksURL": "https://x/k", "jwks": "{}"}, {"caFile": "/etc/ca.pem"}, {"tokenFile": "/run/chaperone/token"},
    {"caBundle": "/etc/ca.pem"}, {"algorithms": ["HS256"]}, {"maxLifetime": "10y"}, {"kind": "SAML"}], ids=str)
def test_issuers_refused(wrong):
    answer = render(*with_issuers({**ISSUER, **wrong}), check=False)
    assert answer.code != 0 and "values don't meet the specifications of the schema" in answer.text, str(answer)


def test_a_change_of_configuration_restarts_the_webhook(made):
    def checksum(o):
        return o["Deployment", "chaperone-webhook"]["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
    assert checksum(made) == checksum(objects())
    assert checksum(made) != checksum(objects("--set", "guard.requireRunAsUser=true"))


def test_cert_manager_is_exclusive():
    made = objects("--set", "certificates.mode=cert-manager")
    assert ("Secret", "chaperone-webhook-ca") not in made and ("Role", "chaperone-webhook") not in made
    names = made["Certificate", "chaperone-webhook-tls"]["spec"]["dnsNames"]
    assert "chaperone-webhook.chaperone-system.svc" in names
    for kind in "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration":
        annotations = made[kind, "zz-chaperone"]["metadata"]["annotations"]
        assert annotations == {"cert-manager.io/inject-ca-from": "chaperone-system/chaperone-webhook-tls"}
    resources = [r for rule in made["ClusterRole", "chaperone-webhook"]["rules"] for r in rule["resources"]]
    assert "mutatingwebhookconfigurations" not in resources
    args = made["Deployment", "chaperone-webhook"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[args.index("--certificates") + 1] == "/etc/chaperone/tls"


def test_kinds_are_those_of_crds(made):
    for f in (support.ROOT / "crds").glob("*.yaml"):
        crd = yaml.safe_load(f.read_text())
        found = made["CustomResourceDefinition", crd["metadata"]["name"]]
        assert found["spec"] == crd["spec"]
        assert found["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    kinds = [k for k, _ in objects("--set", "crds.install=false")]
    assert "CustomResourceDefinition" not in kinds
    unkept = objects("--set", "crds.keep=false")["CustomResourceDefinition", "guardpolicies.chaperone.dev"]
    assert "annotations" not in unkept["metadata"]


def test_what_can_be_left_out(made):
    assert not [k for k, _ in objects("--set", "admissionPolicies.enabled=false") if k.startswith("ValidatingAdmission")]
    assert ("ClusterRole", "chaperone-approver") not in objects("--set", "peopleRoles.create=false")
    assert ("PodMonitor", "chaperone-webhook") not in made
    assert ("PodMonitor", "chaperone-webhook") in objects("--set", "podMonitor.enabled=true")
    pod = objects("--set", "webhook.hostNetwork=true")["Deployment", "chaperone-webhook"]["spec"]["template"]["spec"]
    assert pod["hostNetwork"] is True


@pytest.mark.parametrize("value", [
    "webhook.replica=3", "webhook.replicas=0", "webhook.timeoutSeconds=1", "webhook.timeoutSeconds=31", "webhook.port=80",
    "webhook.port=8080", "images.guard.digest=latest", "images.pullPolicy=Sometimes", "guard.uid=0", "guard.uid=65001",
    "guard.uid=20000", "guard.gid=20000", "guard.trustFiles[0]=relative", "certificates.mode=none",
    "certificates.times.life=1d", "certificates.certManager.duration=long", "crds.keep=maybe", "nonsense=1"])
def test_values_refused(value):
    answer = render("--set", value, check=False)
    assert answer.code != 0 and "values don't meet the specifications of the schema" in answer.text, str(answer)


@pytest.mark.parametrize("spool,volume,fits", [
    ("900Mi", "1Gi", True), ("1023Mi", "1Gi", True), ("1Gi", "1Gi", False), ("1024Mi", "1Gi", False), ("2Gi", "1Gi", False),
    ("900Mi", "900M", False), ("900Mi", "943718401", True), ("1073741824", "1Gi", False), ("1500Mi", "1.5Gi", True), ("1536Mi", "1.5Gi", False)])
def test_spool_is_full_before_its_volume_is(spool, volume, fits):
    answer = render("--set-string", f"records.spoolLimit={spool},guard.spoolSizeLimit={volume}", check=False)
    assert (answer.code == 0) == fits, str(answer)
    assert fits or f"records.spoolLimit ({spool}) has to be below guard.spoolSizeLimit ({volume})" in answer.text, str(answer)


def test_every_value_is_in_the_schema():
    schema = json.loads((support.CHART / "values.schema.json").read_text())

    def missing(values, s, path=""):
        for k, v in values.items():
            known = s.get("properties", {})
            if isinstance(s.get("additionalProperties"), dict):
                continue
            if k not in known:
                yield path + k
            elif isinstance(v, dict):
                yield from missing(v, known[k], f"{path}{k}.")
    assert list(missing(yaml.safe_load((support.CHART / "values.yaml").read_text()), schema)) == []
