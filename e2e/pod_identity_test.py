# SPDX-License-Identifier: Apache-2.0
"""Who an injected agent is, and how its guard logs in: the token at the usual path, a real OpenID Connect provider, other
pods' tokens, a Secret that changes under load, and a search for that Secret everywhere but in the guard.

Runs last: the chart gets the provider (`guard.issuers`) for these tests and loses it afterwards."""

import json
import platform
import secrets
import sys

import pytest

import support
import world
from support import ROOT, kubectl, wait_for
from world import Agent, Authority, Database, on_node, pending

sys.path.insert(1, str(ROOT / "tests"))
from tests.support import dex  # noqa: E402
from tests.support.sshd import Sshd  # noqa: E402

pytestmark = pytest.mark.last

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
LOGIN = "orders-login"

ROLES = """
create role app_authors;
create role svc login password '{0}'; create role svc_b login password '{1}';
grant app_authors to svc, svc_b;
grant all on all tables in schema public to svc, svc_b, app_authors;
"""

RULES = [{"name": "read", "action": "Allow", "sql": {"operations": ["Read", "Transaction", "Show", "Session"]}},
         {"name": "ask", "action": "RequireApproval", "sql": {"operations": ["Update"]}, "approval": {"timeout": "60s"}}]


# psql and its like do not show the SQLSTATE of a refused login: what the guard answers, field by field.
KNOCK = """
import os, socket, struct, sys
def message(kind, body): return kind + struct.pack('!I', len(body) + 4) + body
def answer(f):
    kind, n = f.read(1), struct.unpack('!I', f.read(4))[0]
    return kind, f.read(n - 4)
s = socket.create_connection((os.environ['PGHOST'], 5432), timeout=20)
f = s.makefile('rb')
s.sendall(message(b'', struct.pack('!I', 196608) + b'user\\0agent\\0database\\0orders\\0\\0'))
kind, body = answer(f)
if kind == b'R' and body == struct.pack('!I', 3):
    s.sendall(message(b'p', sys.stdin.buffer.read() + b'\\0'))
    kind, body = answer(f)
print(kind.decode(), body.replace(b'\\0', b' ').decode())
"""


def canary():
    return "canary-" + secrets.token_hex(12)


class World:
    def __init__(self, data, agents, provider, sshd):
        self.data, self.ns, self.dex, self.sshd = data, agents, provider, sshd
        self.canaries = [canary(), canary()]
        self.db = Database(data, world.SCHEMA + ROLES.format(*self.canaries))
        agents.apply(*self._policies())
        self.set_login("svc", self.canaries[0])
        agents.apply(*self._others())
        self.agent = Agent(agents, self.db)

    def _policies(self):
        ca, target = self.db.target().split("\n---\n")
        target = json.loads(target)
        target["spec"]["credentials"] = {"secretRef": {"name": LOGIN}}
        own = world.policy(RULES, "own", subjects=[{"serviceAccounts": ["coder"],
                                                    "groups": [f"system:serviceaccounts:{self.ns.name}"]}])
        authors = world.policy(RULES[:1], "authors", subjects=[{"groups": ["dex:authors"]}],
                               targets=[{"name": "orders-db", "credentials": {"role": "app_authors"}}])
        return ca, target, own, authors

    def _others(self):
        """A server of SSH on this machine, and the API server by another name: both logins work."""
        key = self.sshd.client_key.read_text()
        config = json.loads(kubectl("config", "view", "--raw", "--flatten", "-o", "json").out)
        host, _, port = config["clusters"][0]["cluster"]["server"].removeprefix("https://").partition(":")
        token = kubectl("create", "token", "default", namespace=self.data.name).out.strip()
        ca = kubectl("get", "configmap", "kube-root-ca.crt", "-o", "jsonpath={.data.ca\\.crt}", namespace=self.data.name).out
        self.api = f"{host}:{port}"
        self.canaries += [max(key.splitlines(), key=len), key.splitlines()[-2], token.rpartition(".")[2]]

        def secret(name, **keys):
            return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": keys}

        def target(name, host, port, login, **spec):
            return {"apiVersion": world.API, "kind": "GuardTarget", "metadata": {"name": name}, "spec": {
                "hosts": [host], "ports": [port], "credentials": {"secretRef": {"name": login}, "requireToken": False}, **spec}}
        rules = [{"name": "say", "action": "Allow", "ssh": {"requests": ["exec"], "argv": [["echo", "..."]]}}]
        return [secret("bastion-key", **{"ssh-privatekey": key, "username": self.sshd.user}), secret("api-login", token=token),
                secret("api-ca", **{"ca.crt": ca}),
                target("bastion", self.sshd.listen, self.sshd.port, "bastion-key", protocol="ssh", ssh={"hostKeys": [self.sshd.host_key]}),
                target("api", host, int(port), "api-login", protocol="kubernetes",
                       tls={"mode": "VerifyFull", "caSecretRef": {"name": "api-ca", "key": "ca.crt"}}),
                world.policy(rules, "others", subjects=[], targets=[{"name": "bastion"}, {"name": "api"}])]

    def set_login(self, user, password):
        self.ns.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": LOGIN},
                       "stringData": {"username": user, "password": password}})

    def psql(self, sql, token=f"$(cat {TOKEN})", **options):
        return self.agent.run("sh", "-c", f'PGPASSWORD={token} exec psql -XAt -v VERBOSITY=verbose -c "$0"', sql, **options)

    def refused(self, token, word):
        """28000 with the word, and the server was asked nothing."""
        mark, sql = self.db.mark(), f"select '{secrets.token_hex(8)}'"
        answer = self.psql(sql, f"'{token}'")
        assert answer.code != 0 and word in answer.text and not self.db.saw(sql, since=mark), answer
        fields = self.agent.run("python3", "-c", KNOCK, input=token).out
        assert fields.startswith("E ") and " C28000 " in fields and word in fields, fields

    def guard_pid(self):
        return world.container_pid(self.agent.guard_status()["containerID"])


@pytest.fixture(scope="module")
def w(chaperone):
    if world.foreign_cluster() or not dex.available():
        pytest.skip("needs the cluster of e2e/cluster, whose pods reach this machine, and Dex (tests/support/install-deps)")
    authority = Authority("a provider's CA")
    address = world.host_address()
    with dex.Dex(address=address, authority=authority) as provider, Sshd(listen=address) as sshd:
        issuer = {"issuer": provider.issuer, "audience": "chaperone", "groupsPrefix": "dex:", "caBundle": authority.pem}
        support.install_chart("--set-json", f"guard.issuers={json.dumps([issuer])}")
        try:
            with support.Namespace(prefix="idpods-data") as data, support.Namespace(inject=True, prefix="idpods-agents") as agents:
                yield World(data, agents, provider, sshd)
        finally:
            support.install_chart()


# ---- who ----

def test_the_token_at_the_usual_path_logs_in(w):
    answer = w.psql("select current_user, count(*) from orders group by 1")
    assert answer.code == 0 and answer.out.strip() == "svc|20", answer
    mark = w.db.mark()
    assert "42501" in w.psql("drop table orders").text and not w.db.saw("drop table", since=mark)
    auth = next(e for e in records(w) if e.get("type") == "auth" and e.get("outcome") == "Accepted")
    assert auth["identity"] == f"system:serviceaccount:{w.ns.name}:coder" and auth["upstreamUser"] == "svc"
    assert f"system:serviceaccounts:{w.ns.name}" in auth["token"]["groups"]


def test_a_group_of_a_provider_selects_its_policy(w):
    answer = w.psql("select current_user", f"'{w.dex.token()}'")
    assert answer.code == 0 and answer.out.strip() == "app_authors", answer
    w.refused(w.dex.token(scope="openid email"), "no GuardPolicy")
    w.refused(w.dex.token("elsewhere"), "audience")
    w.refused(w.dex.token()[:-8] + "AAAAAAAA", "signature")
    assert w.psql("select current_user").out.strip() == "svc"


def test_tokens_that_are_not_this_pods(w):
    other = Agent(w.ns, w.db, "other", kind="Pod")
    w.refused(other.run("cat", TOKEN, check=True).out.strip(), "another pod's")
    w.refused(kubectl("create", "token", "coder", "--audience", "chaperone", namespace=w.ns.name).out.strip(), "not bound to a pod")
    w.refused(kubectl("create", "token", "coder", namespace=w.ns.name).out.strip(), "audience")
    w.refused("no-token", "no token")
    w.refused(w.canaries[0], "no token")  # even who knows the password of the database
    assert w.psql("select current_user").out.strip() == "svc"
    support.delete("pod", "other", w.ns.name, wait=False)


def test_the_agent_has_not_the_secret(w):
    containers = {c["name"]: c for k in ("initContainers", "containers") for c in w.agent.object["spec"][k]}
    volumes = {v["name"] for v in w.agent.object["spec"]["volumes"] if v.get("secret", {}).get("secretName") == LOGIN}
    mounted = {n: {m["name"] for m in c.get("volumeMounts", [])} & volumes for n, c in containers.items()}
    assert volumes and mounted.pop(support.GUARD) == volumes and not any(mounted.values()), mounted
    thief = world.agent_pod("thief", w.db, volumes=[{"name": "x", "secret": {"secretName": LOGIN}}])
    support.refused(w.ns.create(thief, check=False), LOGIN)
    user = f"system:serviceaccount:{w.ns.name}:coder"
    assert kubectl("auth", "can-i", "get", f"secrets/{LOGIN}", namespace=w.ns.name, user=user, check=False).out.strip() == "no"


# ---- the Secret changes ----

DRIVER = f"""
import json, os, pathlib, psycopg, time
while not os.path.exists('/tmp/stop'):
    t, who, why = time.time(), None, ''
    try:
        with psycopg.connect(password=pathlib.Path('{TOKEN}').read_text()) as c:
            who = c.execute('select current_user').fetchone()[0]
    except psycopg.Error as e:
        why = repr(e)
    print(json.dumps([t, who, why]), flush=True)
"""


@pytest.fixture
def logins(w):
    """Logins without a pause: [when it began, the database's user or None, what went wrong] of each so far."""
    w.agent.run("rm", "-f", "/tmp/stop")
    process = w.agent.start("python3", "-c", DRIVER)
    lines = []
    world.read_lines(process, lines)
    yield lambda: [json.loads(line) for line in list(lines) if line.startswith("[")]
    w.agent.run("touch", "/tmp/stop")
    process.wait(timeout=30)


def delivered(w, password):
    """When the guard's file has it (seconds since 1970)."""
    path = f"/proc/{w.guard_pid()}/root/etc/chaperone/secrets/{LOGIN}/password"

    def look():
        answer = on_node("sh", "-c", f"cat {path} && date +,%s.%N", check=False).out.split(",")
        return float(answer[1]) if answer[0] == password else None
    return wait_for(look, 120, "kubelet's delivery of the Secret", interval=0.2)


def test_another_user_by_the_secret_and_no_login_fails(w, logins):
    before = w.agent.guard_status()
    wait_for(lambda: len(logins()) > 20, 30, "logins")
    w.set_login("svc_b", w.canaries[1])
    delivered(w, w.canaries[1])
    have = len(logins())
    wait_for(lambda: len(logins()) > have + 30, 30, "logins")
    done = logins()
    assert not [entry for entry in done if entry[2]]
    users = [u for _, u, _ in done]
    assert set(users) == {"svc", "svc_b"} and users[-20:] == ["svc_b"] * 20, users
    assert w.agent.guard_status()["containerID"] == before["containerID"]


def test_a_new_password_and_none_fails_once_it_is_there(w, logins):
    before = w.agent.guard_status()
    fresh = canary()
    w.canaries.append(fresh)
    wait_for(lambda: len(logins()) > 10, 30, "logins")
    w.db.sql(f"alter role svc_b password '{fresh}'")
    w.set_login("svc_b", fresh)
    there = delivered(w, fresh)
    wait_for(lambda: len([1 for t, _, _ in logins() if t > there]) > 30, 30, "logins")
    late = [(u, why) for t, u, why in logins() if t > there]
    assert set(late) == {("svc_b", "")}, late
    assert w.agent.guard_status()["containerID"] == before["containerID"]
    assert w.psql("select current_user").out.strip() == "svc_b"


# ---- where it must not be ----

def test_a_key_and_a_token_log_in_too(w):
    """SSH and the API server: what the guard presents there is among what is searched for below."""
    host = w.sshd.listen
    done = w.agent.run("ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes",
                       "-p", str(w.sshd.port), f"agent@{host}", "echo", "in")
    assert done.code == 0 and done.out.strip() == "in", done
    assert "Accepted publickey" in w.sshd.text()
    done = w.agent.run("curl", "-sS", "--cacert", TOKEN.replace("token", "ca.crt"), "-H", f"Authorization: Bearer {'x' * 20}",
                       f"https://{w.api}/apis")
    assert done.code == 0 and json.loads(done.out)["kind"] == "APIGroupList", done


def find_in(w, *command):
    """grep of the canaries: the exit status says whether one is there."""
    return on_node("grep", *command[:1], "-F", "-f", "-", *command[1:], input="\n".join(w.canaries) + "\n", check=False,
                   deadline=180)


def spool(w):
    return f"/proc/{w.guard_pid()}/root/var/lib/chaperone/spool"


def records(w):
    text = on_node("sh", "-c", f"cat {spool(w)}/*", check=True).out
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_the_secret_is_nowhere_else(w):
    update = w.agent.start("sh", "-c", f"PGPASSWORD=$(cat {TOKEN}) psql -c \"update orders set state = 'x'\"")
    pending(w.ns, "update orders")
    texts = {
        "Events": kubectl("get", "events.v1.events.k8s.io", "-o", "yaml", namespace=w.ns.name).out,
        "ApprovalRequests": kubectl("get", "approvalrequests.chaperone.dev", "-o", "yaml", namespace=w.ns.name).out,
        "the guard's log": w.ns.logs(w.agent.pod, support.GUARD),
        "the webhook's log": kubectl("logs", "-l", "app.kubernetes.io/component=webhook", "--tail=-1", namespace=support.SYSTEM).out,
        "the pod": kubectl("get", "pod", w.agent.pod, "-o", "yaml", namespace=w.ns.name).out,
        "kubectl describe": kubectl("describe", "pod", w.agent.pod, namespace=w.ns.name).out,
        "ConfigMaps, policies": kubectl("get", "configmaps,guardpolicies,guardtargets", "-o", "yaml", namespace=w.ns.name).out,
        "the agent's environment": w.agent.run("sh", "-c", "env; cat /proc/*/environ /proc/*/cmdline /proc/self/mountinfo 2>/dev/null").out,
    }
    update.terminate()
    update.wait(timeout=20)
    assert "SessionStarted" in texts["Events"] and "update orders" in texts["ApprovalRequests"]
    for where, text in texts.items():
        assert text.strip() and not any(c in text for c in w.canaries), f"the secret is in {where}"


def test_the_secret_is_in_no_file_of_the_agent_and_in_no_record(w):
    agent = next(s for s in w.agent.object["status"]["containerStatuses"] if s["name"] == "agent")
    root = f"/proc/{world.container_pid(agent['containerID'])}/root"
    skip = [f"--exclude-dir={d}" for d in ("proc", "sys", "dev")]
    w.agent.run("sh", "-c", "cat > /tmp/control", input=w.canaries[0], check=True)
    control = find_in(w, "-rlas", *skip, f"{root}/tmp/")
    w.agent.run("rm", "/tmp/control", check=True)
    assert control.code == 0 and "/tmp/control" in control.out, f"the search itself does not find:\n{control}"
    for where in (f"{root}/", f"{spool(w)}/", f"/proc/{w.guard_pid()}/environ", f"/proc/{w.guard_pid()}/cmdline"):
        found = find_in(w, "-rlas", *skip, where)
        assert found.code == 1 or (found.code == 2 and not found.out), f"in {where}:\n{found}"
    assert len(records(w)) > 100
    here = find_in(w, "-rlas", f"/proc/{w.guard_pid()}/root/etc/chaperone/secrets/")
    assert here.code == 0, "it is where the guard has it"


# A real fault: the program counter of the main thread is set to 0. A signal alone is not delivered to a container's first
# process.
FAULT = """
import ctypes, os, sys
pid, libc = int(sys.argv[1]), ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
def ptrace(request, data=None):
    if libc.ptrace(request, pid, None, data) < 0:
        raise OSError(ctypes.get_errno(), 'ptrace')
ptrace(16)                                # ATTACH
os.waitpid(pid, 0x40000000)
registers = (ctypes.c_ulonglong * 27)()
ptrace(12, ctypes.addressof(registers))   # GETREGS
registers[15], registers[16] = 2 ** 64 - 1, 0  # orig_rax: no call goes on; rip
ptrace(13, ctypes.addressof(registers))   # SETREGS
ptrace(17)                                # DETACH
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="sets registers of x86-64")
def test_a_guard_that_crashes_leaves_no_core(w):
    pid, before = w.guard_pid(), w.agent.guard_status()
    pattern = on_node("cat", "/proc/sys/kernel/core_pattern").out.strip()
    assert on_node("stat", "-c", "%u", f"/proc/{pid}/environ").out.strip() == "0", "the guard is dumpable"
    assert "Max core file size        0                    0" in on_node("cat", f"/proc/{pid}/limits").out
    if not pattern.startswith(("|", "/")):  # who may, does
        w.agent.run("sh", "-c", "mkdir /tmp/c && cd /tmp/c && ulimit -c unlimited && sh -c 'kill -SEGV $$'")
        assert "core" in w.agent.run("ls", "/tmp/c").out, "no core even of a process that may leave one"
        w.agent.run("rm", "-r", "/tmp/c")
    on_node("python3", "-c", FAULT, pid)
    wait_for(lambda: w.agent.guard_status()["restartCount"] > before["restartCount"] and w.agent.guard_status().get("ready"),
             90, "the guard's restart", interval=0.5)
    assert w.agent.guard_status()["lastState"]["terminated"]["exitCode"] == 139
    root = f"/proc/{w.guard_pid()}/root"
    places = [f"{root}/{p}" for p in ("", "run/chaperone", "trust", "var/lib/chaperone/spool", "tmp")]
    cores = on_node("find", *places, "-maxdepth", "2", "-name", "core*", "-type", "f", check=False).out
    assert not cores.strip(), cores
    assert not any(c in w.ns.logs(w.agent.pod, support.GUARD, "--previous") for c in w.canaries)
    wait_for(lambda: w.psql("select current_user").out.strip() == "svc_b", 30, "logins after the restart", interval=0.5)
