# SPDX-License-Identifier: Apache-2.0
"""The cluster itself is as the scenarios need it: what fails here is not our guard's fault.

Needs `make e2e-up` and `e2e/images/build client postgres init`, or KUBECONFIG.
"""
import base64
import json
import os
import pathlib
import subprocess
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("CHAPERONE_CACHE", pathlib.Path.home() / ".cache/chaperone"))
CONFIG = os.environ.get("KUBECONFIG", str(CACHE / "e2e-cluster/admin.kubeconfig"))
NAMESPACE = "cluster-test"
CLIENT = {"image": "chaperone-e2e/client:1", "imagePullPolicy": "Never"}


def kubectl(*args, config=CONFIG, input=None, check=True):
    done = subprocess.run([str(CACHE / "kube/kubectl"), "--kubeconfig", config, *args], input=input,
                          capture_output=True, text=True, timeout=120)
    if check:
        assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr}"
    return done


def in_namespace(*args, **more):
    return kubectl("-n", NAMESPACE, *args, **more)


def apply(kind, name, version="v1", **body):
    labels = body.pop("labels", {})
    apply_object({"apiVersion": version, "kind": kind,
                  "metadata": {"name": name, "labels": labels}, **body})


def apply_object(thing):
    in_namespace("apply", "-f", "-", input=json.dumps(thing))


def wait(condition, thing, seconds=90):
    done = in_namespace("wait", f"--for={condition}", thing, f"--timeout={seconds}s", check=False)
    assert done.returncode == 0, in_namespace("describe", thing).stdout + done.stderr


def eventually(probe, seconds=30):
    deadline = time.monotonic() + seconds
    while True:
        result = probe()
        if result or time.monotonic() > deadline:
            return result
        time.sleep(0.2)


@pytest.fixture(scope="module", autouse=True)
def namespace():
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    kubectl("create", "namespace", NAMESPACE)
    assert eventually(lambda: in_namespace("get", "serviceaccount", "default", check=False).returncode == 0)
    yield
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def shell(namespace):
    apply("Pod", "shell", spec={"containers": [{"name": "c", **CLIENT, "command": ["sleep", "3600"]}],
                                "terminationGracePeriodSeconds": 0})
    wait("condition=Ready", "pod/shell")
    return lambda *command: in_namespace("exec", "shell", "--", *command, check=False)


def test_exec_and_its_exit_code(shell):
    done = shell("sh", "-c", "echo hello; exit 7")
    assert done.stdout == "hello\n" and done.returncode == 7


def test_job_with_a_native_sidecar_ends(shell):
    sidecar = {"name": "side", **CLIENT, "restartPolicy": "Always",
               "command": ["python3", "-m", "http.server", "8000"],
               "startupProbe": {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1}}
    main = {"name": "main", **CLIENT, "command": ["curl", "-sf", "-o", "/dev/null", "-w", "%{http_code}",
                                                  "http://127.0.0.1:8000/"]}
    apply("Job", "job", "batch/v1", spec={"backoffLimit": 0, "template": {"spec": {
        "terminationGracePeriodSeconds": 1, "restartPolicy": "Never", "initContainers": [sidecar], "containers": [main]}}})
    wait("condition=Complete", "job/job")
    assert in_namespace("logs", "job/job", "-c", "main").stdout == "200"


def test_postgres_by_its_service_name(shell):
    apply("ConfigMap", "sql", data={"orders.sql": "CREATE TABLE orders AS SELECT 42 AS id"})
    apply("Pod", "pg", labels={"app": "pg"}, spec={
        "terminationGracePeriodSeconds": 0,
        "volumes": [{"name": "sql", "configMap": {"name": "sql"}}],
        "containers": [{"name": "pg", "image": "chaperone-e2e/postgres:17", "imagePullPolicy": "Never",
                        "env": [{"name": "POSTGRES_PASSWORD", "value": "secret"},
                                {"name": "POSTGRES_DB", "value": "shop"}],
                        "readinessProbe": {"exec": {"command": ["pg_isready", "-h", "127.0.0.1"]},
                                           "periodSeconds": 1},
                        "volumeMounts": [{"name": "sql", "mountPath": "/init"}]}]})
    apply("Service", "pg", spec={"selector": {"app": "pg"}, "ports": [{"port": 5432}]})
    wait("condition=Ready", "pod/pg")

    def query(password):
        return shell("env", f"PGPASSWORD={password}", "psql", "-At", "-h", f"pg.{NAMESPACE}.svc.cluster.local",
                     "-U", "postgres", "-c", "SELECT id FROM orders", "shop")
    assert eventually(lambda: query("secret").stdout == "42\n"), query("secret").stderr
    assert "password authentication failed" in query("wrong").stderr


def test_names_that_do_not_exist_are_said_not_to(shell):
    assert shell("getent", "hosts", "kubernetes.default").stdout.startswith("10.96.0.1 ")
    done = shell("python3", "-c", "import socket; socket.getaddrinfo('nowhere.example.com', 1)")
    assert "Name or service not known" in done.stderr


def test_pods_reach_nothing_outside(shell):
    done = shell("curl", "-sS", "-m", "5", "http://192.0.2.77/")
    assert done.returncode == 7, done.stderr


def test_a_token_gives_no_rights_but_those_of_rbac(shell):
    assert f"system:serviceaccount:{NAMESPACE}:default" in shell("kubectl", "auth", "whoami").stdout
    done = shell("kubectl", "get", "secrets")
    assert done.returncode != 0 and "forbidden" in done.stderr


def person(name, *groups):
    done = subprocess.run([str(HERE / "cluster/user"), name, *groups], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_people_have_the_rights_of_their_groups(shell):
    in_namespace("create", "rolebinding", "dba", "--clusterrole=view", "--group=cluster-test-dba")
    alice, bob = person("cluster-test-alice", "cluster-test-dba", "others"), person("cluster-test-bob", "others")
    assert in_namespace("get", "pods", config=alice).stdout
    refused = in_namespace("get", "pods", config=bob, check=False)
    assert refused.returncode != 0 and 'User "cluster-test-bob" cannot list' in refused.stderr


def test_chaperone_init_redirects_with_net_admin_alone(shell):
    init = {"name": "init", "image": "chaperone/init:" + os.environ.get("CHAPERONE_E2E_TAG", "0.1.0"),
            "imagePullPolicy": "Never", "command": ["/chaperone-init"],
            "args": ["--capture", "15001", "--uid", "20000", "--gid", "20000"],
            "securityContext": {"runAsUser": 0, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
                                "seccompProfile": {"type": "RuntimeDefault"}}}
    apply("Pod", "captured", spec={
        "terminationGracePeriodSeconds": 0, "initContainers": [init],
        "containers": [{"name": "c", **CLIENT, "command": ["sleep", "3600"]}]})
    wait("condition=Ready", "pod/captured")
    report = json.loads(in_namespace("logs", "captured", "-c", "init").stdout.splitlines()[-1])
    assert (report["result"], report["tcp4"], report["udp4"]) == ("ok", "redirected", "refused")
    curl = ["curl", "-sSk", "-m", "5", "-o", "/dev/null", "https://10.96.0.1/"]
    assert shell(*curl).returncode == 0
    assert in_namespace("exec", "captured", "-c", "c", "--", *curl, check=False).returncode == 7


WEBHOOK = """
import http.server, json, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        review["response"] = {"uid": review["request"]["uid"], "allowed": False, "status": {"message": "not here"}}
        body = json.dumps(review).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.HTTPServer(("", 8443), Handler)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


@pytest.fixture
def webhook(shell, tmp_path):
    name = f"hook.{NAMESPACE}.svc"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", tmp_path / "key", "-out",
                    tmp_path / "crt", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"],
                   check=True, capture_output=True)
    in_namespace("create", "secret", "tls", "hook", "--cert", tmp_path / "crt", "--key", tmp_path / "key")
    apply("Pod", "hook", labels={"app": "hook"}, spec={
        "terminationGracePeriodSeconds": 0, "volumes": [{"name": "tls", "secret": {"secretName": "hook"}}],
        "containers": [{"name": "c", **CLIENT, "command": ["python3", "-c", WEBHOOK],
                        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
                        "volumeMounts": [{"name": "tls", "mountPath": "/tls"}]}]})
    apply("Service", "hook", spec={"selector": {"app": "hook"}, "ports": [{"port": 443, "targetPort": 8443}]})
    wait("condition=Ready", "pod/hook")
    yield base64.b64encode((tmp_path / "crt").read_bytes()).decode()
    kubectl("delete", "validatingwebhookconfiguration", NAMESPACE, "--ignore-not-found")


def test_the_api_server_reaches_a_webhook_in_a_pod(webhook):
    apply_object({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": NAMESPACE}, "webhooks": [{
            "name": "test.chaperone.dev", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "failurePolicy": "Ignore",
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
            "clientConfig": {"caBundle": webhook, "service": {"name": "hook", "namespace": NAMESPACE}}}]})

    def refused():
        return "not here" in in_namespace("create", "configmap", f"c{time.monotonic_ns()}", check=False).stderr
    assert eventually(refused)
