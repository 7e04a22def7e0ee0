# SPDX-License-Identifier: Apache-2.0
"""An agent in an injected pod and the cluster's API server: kubectl with nothing but what it finds in the pod, client-go's
informers, the python client. What comes back is compared with a direct call of the same ServiceAccount."""

import base64
import calendar
import concurrent.futures
import json
import re
import secrets
import subprocess
import textwrap
import time

import pytest

import support
import world
from kube_pod import CA, CANARY, MASKED, TOKEN, World, config_map, deployment, pod, server
from support import run, wait_for
from world import Person, grant, pending


@pytest.fixture(scope="module")
def w(chaperone, tmp_path_factory):
    with support.Namespace(prefix="kubepod-shop") as shop, support.Namespace(inject=True, prefix="kubepod") as agents:
        try:
            yield World(shop, agents, tmp_path_factory.mktemp("direct"))
        finally:
            for kind in ("clusterrolebinding", "clusterrole"):
                support.delete(kind, agents.name)


def steady(text):
    """Without what differs between any two calls: ages, and what kubectl exec itself says at the end."""
    text = re.sub(r"command terminated with exit code \d+\n|exec \"[0-9a-f]{64}\"|https://[0-9.]+:\d+", "", text)
    text = re.sub(r"\b\d+(s|m\d*s?|h)( ago)?\b|\(x\d+ over [^)]*\)", "AGE", text)
    return re.sub(r" +", " ", re.sub(r'"?resourceVersion"?: "\d*"', "", text))


def same(through, direct):
    assert through.code == direct.code, f"{through}\n{direct}"
    assert steady(through.out) == steady(direct.out)
    assert steady(through.err) == steady(direct.err)


def no_canary(*texts):
    encoded = base64.b64encode(CANARY.encode()).decode()
    for text in texts:
        assert CANARY not in text and encoded.rstrip("=") not in text, text[:3000]


# ---- kubectl ----

@pytest.mark.parametrize("args", [
    "get pods -o wide", "get pod worker -o yaml", "get deployments,configmaps,services -o json", "get all", "get events",
    "get pods -A -o name", "get pods --chunk-size=1 -o name", "get pods -l app=worker -o jsonpath={.items[*].metadata.uid}",
    "get pods --field-selector metadata.name=worker -o name", "get nodes", "describe pod worker", "describe deployment app",
    "describe service web", "describe configmap plain", "api-resources", "api-versions", "version", "explain pods.spec",
    "auth can-i create pods", "auth can-i delete nodes", "auth can-i --list", "top pods", "top nodes", "logs talker --limit-bytes=30",
    "logs no-such-pod", "exec worker -- ls /etc/ssl", "exec worker -- sh -c exit\\ 7", "exec worker -- no-such-program",
    "get no-such-kind", "get pod no-such-pod", "get --raw /openapi/v2?timeout=9s", "get --raw /readyz?verbose",
    "rollout history deployment/app", "wait --for=condition=Ready pod/worker --timeout=9s", "get storageclasses",
    "events --for pod/worker", "cluster-info", "create configmap dry --from-literal=a=b --dry-run=server -o yaml"])
def test_kubectl_gives_what_a_direct_call_gives(w, args):
    args = [a.replace("\0", " ") for a in args.replace("\\ ", "\0").split(" ")]
    volatile = r"creationTimestamp: .*|uid: .*" if "dry" in args else "$^"
    through, direct = w.agent(*args), w.direct(*args)
    for answer in (through, direct):
        answer.out = re.sub(volatile, "", answer.out)
    same(through, direct)


def test_who_the_agent_is(w):
    """The pod's own account to the API server, though the token in the pod is none that it accepts."""
    assert f"system:serviceaccount:{w.ns.name}:coder" in w.agent("auth", "whoami", check=True).out
    token = w.pod.run("cat", TOKEN).out
    w.token, kept = token, w.token
    try:
        support.refused(w.direct("get", "pods"), "Unauthorized")
    finally:
        w.token = kept


def story(call, name):
    """A deployment's life as kubectl tells it, without its name."""
    told = []

    def tell(*args, last=False, codes=(0,), **options):
        answer = call(*args, **options)
        assert answer.code in codes, answer
        out = answer.out.splitlines()[-1] if last else answer.out
        out = re.sub(r"^(diff -u|---|\+\+\+|[ +-] +(generation|uid|resourceVersion|creationTimestamp)).*$", "", out, flags=re.M)
        told.append((args[0], answer.code, out.replace(name, "NAME")))

    def apply(*flags, **env):
        tell("apply", *flags, "-f", "-", input=json.dumps(deployment(name, **env)))
    apply()
    apply()
    tell("rollout", "status", f"deployment/{name}", "--timeout=60s", last=True)
    tell("diff", "-f", "-", codes=(1,), input=json.dumps(deployment(name, A="1")))
    apply(A="1")
    apply("--server-side", "--force-conflicts", A="2")
    tell("scale", f"deployment/{name}", "--replicas=2")
    tell("rollout", "status", f"deployment/{name}", "--timeout=60s", last=True)
    tell("rollout", "restart", f"deployment/{name}")
    tell("rollout", "status", f"deployment/{name}", "--timeout=60s", last=True)
    tell("rollout", "undo", f"deployment/{name}", "--to-revision=1")
    tell("rollout", "pause", f"deployment/{name}")
    tell("rollout", "resume", f"deployment/{name}")
    tell("set", "env", f"deployment/{name}", "B=2")
    tell("label", "deployment", name, "x=y")
    tell("annotate", "deployment", name, "x=y")
    tell("patch", "deployment", name, "--type=json", "-p", '[{"op":"add","path":"/metadata/labels/z","value":"1"}]')
    tell("get", "deployment", name, "-o", "jsonpath={.spec.template.spec.containers[0].env}{.spec.replicas}{.metadata.labels}")
    tell("expose", f"deployment/{name}", "--port=80")
    tell("autoscale", f"deployment/{name}", "--max=3")
    tell("delete", f"deployment/{name}", f"hpa/{name}", "--timeout=60s")
    return told


def test_a_deployments_life_is_told_as_directly(w):
    """apply, diff, scale, rollout, patch, delete: the same words and exit codes, and the same objects."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        through = pool.submit(story, w.agent, "guarded")
        direct = pool.submit(story, w.direct, "direct")
        assert through.result() == direct.result()
    assert not w.shop.get("deployment", "guarded")


def test_watch_shows_each_change_as_it_comes(w):
    columns = "custom-columns=T:.type,N:.object.metadata.name,A:.object.data.a"
    args = ("get", "configmaps", "-l", "watched", "--watch", "--output-watch-events", "-o", columns, "--no-headers")
    watches = [w.start(*args), w.start_direct(*args)]
    lines = [[], []]
    for process, to in zip(watches, lines):
        world.read_lines(process, to)
    for n in range(4):
        labelled = config_map("seen", a=str(n))
        labelled["metadata"]["labels"] = {"watched": "yes"}
        w.shop.apply(labelled)
        for to in lines:
            wait_for(lambda: any(re.search(rf"seen +{n}\b", line) for line in to), 15, f"change {n} in {to}")
    w.shop.kubectl("delete", "configmap", "seen")
    for to in lines:
        wait_for(lambda: any(line.startswith("DELETED") for line in to), 15, "the deletion")
    for process in watches:
        process.terminate()
        process.wait(20)
    assert [" ".join(line.split()) for line in lines[0]] == [" ".join(line.split()) for line in lines[1]]


def test_logs_are_followed_while_they_are_written(w):
    following = w.start("logs", "-f", "talker", "--tail=1", "--timestamps")
    lines = []
    world.read_lines(following, lines)
    wait_for(lambda: len(lines) >= 12, 20, "lines")
    late = [time.time() - kubelet_time(line.split()[0]) for line in lines[-1:]]
    following.terminate()
    following.wait(20)
    assert late[0] < 2, lines
    numbers = [int(line.split()[2]) for line in lines]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def kubelet_time(text):
    """Seconds since 1970 of a time that the kubelet wrote."""
    seconds, fraction = text.rstrip("Z").split(".")
    return calendar.timegm(time.strptime(seconds, "%Y-%m-%dT%H:%M:%S")) + float("0." + fraction)


def test_exec_with_input_with_a_status_and_with_a_terminal(w):
    long = "0123456789\n" * 40_000
    assert w.agent("exec", "-i", "worker", "--", "cat", input="", check=True).out == ""
    through = w.pod.run("bash", "-c", f"head -c {len(long)} /dev/zero | tr '\\0' x | {' '.join(w.argv('exec', '-i', 'worker', '--', 'wc', '-c'))}")
    assert through.out.strip() == str(len(long)), through
    assert w.agent("exec", "worker", "--", "sh", "-c", "echo err >&2; exit 9").code == 9
    shell = " ".join(w.argv("exec", "-it", "worker", "--", "bash", "--norc"))
    size = 'until [ "$(stty size)" = "33 77" ]; do sleep 0.1; done; '  # it comes after the start, through a stream of its own
    screen = w.pod.run("script", "-qec", f"stty rows 33 cols 77; {shell}", "/dev/null", input=size + "tty; stty size; echo ty''ped; exit 5\n")
    assert screen.code == 5 and "/dev/pts/" in screen.out and "33 77" in screen.out and "typed" in screen.out, screen


def test_cp_in_both_directions(w):
    w.pod.run("bash", "-c", "mkdir -p /tmp/d/e && head -c 3000000 /dev/urandom >/tmp/d/e/f && ln -sf e/f /tmp/d/g && date >/tmp/d/h", check=True)
    w.agent("cp", "/tmp/d", f"{w.shop.name}/worker:/tmp/d", check=True)
    w.agent("cp", f"{w.shop.name}/worker:/tmp/d", "/tmp/back", check=True)
    sums = "cd {} && find . -type f | sort | xargs sha256sum"
    there, back = w.shop.exec("worker", "sh", "-c", sums.format("/tmp/d"), container="c").out, w.pod.run("sh", "-c", sums.format("/tmp/back")).out
    own = w.pod.run("sh", "-c", sums.format("/tmp/d")).out
    assert own == there == back and own.count("\n") == 2


def test_port_forward(w):
    """To a pod and, by way of it, to a Service; a port where nobody listens says so."""
    script = textwrap.dedent(f"""
        rm -f /tmp/forward
        {' '.join(w.argv('port-forward', '"$0"', '18081:"$1"'))} >/tmp/forward 2>&1 &
        for i in $(seq 100); do grep -qs Forwarding /tmp/forward && break; sleep 0.1; done
        for i in 1 2 3; do curl -sS -m 10 -o /dev/null -w '%{{http_code}} %{{size_download}}\\n' http://127.0.0.1:18081/openssl.cnf; done
        sleep 0.2; kill $!; wait $!; cat /tmp/forward""")
    size = w.shop.exec("worker", "stat", "-c", "%s", "/etc/ssl/openssl.cnf", container="c").out.strip()
    for name, port in (("pod/worker", "8081"), ("service/web", "80")):
        answer = w.pod.run("bash", "-c", script, name, port)
        assert answer.out.count(f"200 {size}") == 3, answer
    refused = w.pod.run("bash", "-c", script, "pod/worker", "8099")
    assert "000 0" in refused.out and "refused" in refused.out, refused


def test_drain(w):
    """The shared node is only asked (dry run); one that is a name and nothing else is drained, with real evictions."""
    node = w.shop.get("pod", "worker")["spec"]["nodeName"]
    w.shop.kubectl("label", "pod", "worker", f"of={w.shop.name}")
    args = ("drain", node, "--dry-run=server", "--force", "--ignore-daemonsets", "--delete-emptydir-data", f"--pod-selector=of={w.shop.name}")
    same(w.agent(*args), w.direct(*args))
    assert not support.get("node", node)["spec"].get("unschedulable")
    name = f"x-{w.shop.name}"
    support.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
                   "spec": {"taints": [{"key": "chaperone.test/none", "effect": "NoSchedule"}]}})
    try:
        for i in range(3):
            w.shop.apply(pod(f"bound-{i}", "true", nodeName=name))
        drained = w.agent("drain", name, "--force", "--timeout=40s", check=True)
        assert drained.out.count("evicted") == 3 and f"node/{name} drained" in drained.out
        assert support.get("node", name)["spec"]["unschedulable"]
        assert not [p for p in w.shop.get("pods") if p["metadata"]["name"].startswith("bound-")]
        w.agent("uncordon", name, check=True)
        assert not support.get("node", name)["spec"].get("unschedulable")
    finally:
        support.delete("node", name)


# ---- client-go ----

class Informer:
    """The program of e2e/clients/informer: its events by object, and on demand what it holds."""

    def __init__(self, process):
        self.process, self.lines = process, []
        world.read_lines(process, self.lines)
        self.wait(lambda e: e["event"] == "synced")

    def events(self):
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def wait(self, wanted):
        return wait_for(lambda: next((e for e in self.events() if wanted(e)), None), 30, "an event", interval=0.1)

    def of(self, name):
        return [(e["event"], e.get("data")) for e in self.events() if e.get("name") == name and e["event"] != "held"]

    def held(self, mark):
        self.process.stdin.write(f"{mark}\n")
        self.process.stdin.flush()
        self.wait(lambda e: e["event"] == "end" and e["name"] == mark)
        held = [e for e in self.events() if e["event"] == "held"]
        return {(e["kind"], e["name"]): (e.get("labels"), e.get("data")) for e in held}

    def close(self):
        self.process.stdin.close()
        self.process.wait(20)


@pytest.fixture
def informers(w):
    """Of the pod (two, the second with streamed lists instead of list and watch) and a direct one."""
    program = world.client("informer")
    w.ns.kubectl("cp", program, "coder:/tmp/informer", "-c", "agent")
    config = w.kubeconfig()
    started = [Informer(w.pod.interactive("env", f"KUBE_FEATURE_WatchListClient={streamed}", "/tmp/informer", "", w.shop.name, "watch"))
               for streamed in ("false", "true")]
    started.append(Informer(support.start(program, config, w.shop.name, "watch", stdin=subprocess.PIPE)))
    yield started
    for i in started:
        i.close()


def test_informers_see_what_a_direct_one_sees(w, informers):
    guarded, direct = informers[:2], informers[2]
    for n in range(5):
        w.shop.apply(config_map("changing", n=str(n)))
    w.shop.kubectl("delete", "configmap", "changing")
    for i in informers:
        i.wait(lambda e: e["event"] == "delete" and e["name"] == "changing")
    assert [e for e, _ in direct.of("changing")] == ["add", *["update"] * 4, "delete"]
    for i in guarded:
        assert i.of("changing") == direct.of("changing")

    w.cut_streams()
    w.shop.apply(config_map("after-the-cut", a="b"))
    w.shop.apply(config_map("plain", a="changed"))
    for i in informers:
        i.wait(lambda e: e["event"] == "add" and e["name"] == "after-the-cut")
        i.wait(lambda e: e["event"] == "update" and e["name"] == "plain" and e["data"] == {"a": "changed"})

    everything = direct.held("all")
    secret = ("Secret", "login")
    assert everything.pop(secret)[1] == {"password": CANARY}
    for i in guarded:
        held = i.held("all")
        assert held.pop(secret)[1] == {"password": "****"}
        assert held == everything and ("Pod", "worker") in held
        no_canary(*i.lines)


# ---- the python client ----

def test_the_python_client_sees_what_it_sees_directly(w):
    program = (support.ROOT / "e2e/clients/kubeclient.py").read_text()
    through = w.pod.run("python3", "-", w.shop.name, "py-guarded", input=program, check=True).json
    direct = run(support.CACHE / "venv/bin/python", "-", w.shop.name, "py-direct", server(), w.token, input=program).json
    assert base64.b64decode(direct.pop("secret")).decode() == CANARY and through.pop("secret") == MASKED
    assert through == direct
    assert [e for e, _ in through["watched"]] == ["ADDED", "MODIFIED", "MODIFIED", "DELETED"]
    assert through["conversation"] == ["got hello\n", "bad\n", 3] and through["forwarded"][0] == "200"


# ---- what policy does ----

def test_a_refused_verb_is_a_clear_status_a_record_and_an_event(w):
    answer = w.agent("delete", "service", "web")
    assert answer.code == 1 and "Forbidden" in answer.text and "services are kept by the platform team" in answer.text
    assert "delete services web" in answer.text and "keep" in answer.text, answer
    line = w.told(type="statement", verdict="Deny", rule="keep")
    assert not [e for e in w.records() if e["session"] == line["session"] and e.get("n") == line["n"] and e["type"] == "result"]
    wait_for(lambda: re.search('StatementDenied .* rule "keep" .* refuses delete services on kubernetes;', w.pod.events()), 20, "the refusal among the pod's Events")
    assert w.shop.get("service", "web")
    status = json.loads(w.raw("DELETE", f"/api/v1/namespaces/{w.shop.name}/services/web"))
    assert (status["kind"], status["apiVersion"], status["code"], status["reason"]) == ("Status", "v1", 403, "Forbidden")
    assert w.agent("get", "service", "web", "-o", "name", check=True).out == "service/web\n"


def test_what_no_rule_allows_is_refused(w):
    support.refused(w.agent("create", "serviceaccount", "x", "-n", w.ns.name), "no rule")
    support.refused(w.agent("create", "token", "default"), "no policy permits this")
    impersonation = json.loads(w.raw("GET", "/api/v1/nodes", "Impersonate-User: admin"))
    assert impersonation["code"] == 400 and "Impersonate-User" in impersonation["message"], impersonation
    assert not w.ns.get("serviceaccount", "x")


@pytest.mark.parametrize("decision", ["approve", "deny"])
def test_a_delete_waits_for_a_person(w, decision):
    alice = Person("alice", "sre")
    grant(w.ns, "chaperone-approver", groups=["sre"])
    name = f"precious-{decision}"
    w.shop.apply(config_map(name, a="b"))
    delete = w.start("delete", "configmap", name)
    request = pending(w.ns, name)
    assert request["spec"]["rule"] == "ask" and request["spec"]["pod"] == "coder"
    assert request["spec"]["statement"].startswith("DELETE /api/v1/") and "delete configmaps" in request["spec"]["effect"]
    assert w.shop.get("configmap", name) and delete.poll() is None
    alice.guard(decision, request["metadata"]["name"], "--reason", "ticket 4711", namespace=w.ns.name, check=True)
    code, output = world.finish(delete)
    if decision == "approve":
        assert code == 0 and "deleted" in output and not w.shop.get("configmap", name), output
    else:
        assert code == 1 and "ticket 4711" in output and w.shop.get("configmap", name), output
    line = w.told(type="approval", phase="Approved" if decision == "approve" else "Denied", id=request["metadata"]["name"])
    assert [(d["by"], d["reason"]) for d in line["decisions"]] == [("alice", "ticket 4711")] and line["by"] == "alice"
    wait_for(lambda: "ApprovalDecided" in w.pod.events(), 20, "the decision among the pod's Events")


@pytest.mark.parametrize("args", [
    "get secret login -o yaml", "get secrets -o json", "get secret login -o jsonpath={.data.password}", "describe secret login",
    "get secret login -o go-template={{.data.password|base64decode}}", "get --raw /api/v1/namespaces/SHOP/secrets",
    "get --raw /api/v1/namespaces/SHOP/secrets?watch=1&timeoutSeconds=1", "annotate secret login x=y --overwrite -o json",
    "get secrets -o custom-columns=D:.data"])
def test_secrets_are_masked(w, args):
    answer = w.agent(*args.replace("SHOP", w.shop.name).split(" "), check=True)
    assert answer.out.strip()
    no_canary(answer.text)
    assert base64.b64decode(w.shop.get("secret", "login")["data"]["password"]).decode() == CANARY


def test_the_record_replays(w, tmp_path):
    word = secrets.token_hex(8)
    screen = w.pod.run("script", "-qec", " ".join(w.argv("exec", "-it", "worker", "--", "bash", "--norc")), "/dev/null",
                       input=f"echo {word}; exit 6\n")
    assert word in screen.out
    end = w.told(type="result", exitStatus=6)
    session = end["session"]
    w.told(type="session.close", session=session)
    record = w.record(session, tmp_path / "record.jsonl")
    guard = support.ROOT / "build/release/bin/kubectl-guard"
    assert "OK" in run(guard, "verify", record).out
    replayed = run(guard, "replay", record).out
    assert f"/api/v1/namespaces/{w.shop.name}/pods/worker/exec" in replayed or "pods/exec" in replayed, replayed
    assert word in replayed
    run(guard, "export", record, "--asciicast", tmp_path / "cast")
    cast = (tmp_path / "cast").read_text().splitlines()
    assert json.loads(cast[0])["version"] == 2 and word in "".join(json.loads(line)[2] for line in cast[1:])


def test_no_record_and_no_log_has_a_secret_or_a_token(w):
    """Runs after the others: everything that they did is there."""
    w.agent("get", "secret", "login", "-o", "yaml", check=True)
    texts = [json.dumps(w.records()), w.ns.logs("coder", support.GUARD), w.pod.events()]
    no_canary(*texts)
    for text in texts:
        assert not re.search(r"eyJ[\w-]{20,}\.eyJ[\w-]{20,}\.", text)


# ---- other names of the API server ----

KNOCK = """
import json, socket, ssl, sys
address, port, name, token = sys.argv[1:5]
context = ssl.create_default_context(cafile=sys.argv[5])
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
seen = {"connected": False, "tls": False, "guard": False, "answer": ""}
try:
    with socket.create_connection((address, int(port)), 5) as s:
        seen["connected"] = True
        with context.wrap_socket(s, server_hostname=name or None) as t:
            seen["tls"] = True
            der = t.getpeercert(binary_form=True)
            t.sendall(f"GET /api/v1/namespaces/{sys.argv[6]}/secrets HTTP/1.1\\r\\nHost: x\\r\\nAuthorization: Bearer {token}\\r\\n"
                      "Connection: close\\r\\n\\r\\n".encode())
            while chunk := t.recv(65536): seen["answer"] += chunk.decode(errors="replace")
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_connection((address, int(port)), 5) as s, context.wrap_socket(s, server_hostname=name or None) as t:
        seen["guard"] = True
except (OSError, ssl.SSLError) as e:
    seen["error"] = repr(e)
print(json.dumps(seen))
"""


def knock(w, address, port, name, token):
    return w.pod.run("python3", "-", address, str(port), name, token, CA, w.shop.name, input=KNOCK, check=True).json


@pytest.mark.parametrize("name", ["", "kubernetes.default.svc", "elsewhere.example", "10.96.0.1"])
def test_k1_whatever_the_name_the_service_is_the_guard(w, name):
    """With its own token it is guarded; with one that the API server would take, it is refused."""
    address = w.pod.run("printenv", "KUBERNETES_SERVICE_HOST").out.strip()
    own = w.pod.run("cat", TOKEN).out
    seen = knock(w, address, 443, name, own)
    assert seen["guard"] and " 200 OK" in seen["answer"] and MASKED in seen["answer"], seen
    no_canary(seen["answer"])
    seen = knock(w, address, 443, name, w.token)
    assert seen["guard"] and " 401 " in seen["answer"] and "chaperone" in seen["answer"], seen


def test_k1_other_addresses_lead_nowhere(w):
    """With a token that works there, as a call from this machine shows."""
    endpoint = support.get("endpoints", "kubernetes", "default")["subsets"][0]
    api, port = endpoint["addresses"][0]["ip"], endpoint["ports"][0]["port"]
    node = next(a["address"] for a in support.get("node", w.shop.get("pod", "worker")["spec"]["nodeName"])["status"]["addresses"]
                if a["type"] == "InternalIP")
    service = support.get("service", "kubernetes", "default")["spec"]["clusterIP"]
    assert w.direct("get", "secret", "login", "-o", "jsonpath={.data.password}").out == base64.b64encode(CANARY.encode()).decode()
    places = [(api, port), (api, 443), (node, 10250), (node, 10255), (node, 10257), (node, 10259), (node, 2379), (service, port), (service, 80),
              (f"::ffff:{api}", port), (f"::ffff:{service}", port), ("::1", port), ("::1", 443), ("127.0.0.1", port), ("127.0.0.1", 443),
              ("fd00::1", 443), ("0.0.0.0", port)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for place, seen in zip(places, pool.map(lambda p: knock(w, *p, "kubernetes", w.token), places)):
            assert not seen["tls"] and not seen["answer"], (place, seen)
    mapped = knock(w, f"::ffff:{service}", 443, "kubernetes", w.token)
    assert not mapped["tls"] or mapped["guard"] and " 401 " in mapped["answer"], mapped
    denied = [e["address"] for e in w.records() if e["type"] == "decision" and e["verdict"] == "Deny" and e.get("address")]
    for place in (f"{api}:{port}", f"{node}:10250", f"{service}:{port}"):
        assert place in denied, (place, denied)
    assert w.agent("get", "configmap", "plain", "-o", "name", check=True).out


# ---- tokens ----

def test_tokens_that_are_not_this_pods_are_refused(w):
    w.ns.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "other"}})
    w.ns.create(world.agent_pod("other", None, serviceAccountName="other"))
    w.ns.wait_ready("other")
    others = w.ns.exec("other", "cat", TOKEN).out
    unbound = support.kubectl("create", "token", "coder", "--audience=chaperone", namespace=w.ns.name).out
    path = f"/api/v1/namespaces/{w.shop.name}/configmaps"
    for token in (others, unbound, w.token, "x", "a.b.c", ""):
        answer = json.loads(w.raw("GET", path, token=token))
        assert answer["code"] == 401 and "chaperone" in answer["message"], answer
    assert json.loads(w.raw("GET", path))["kind"] == "ConfigMapList"
