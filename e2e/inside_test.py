# SPDX-License-Identifier: Apache-2.0
"""What an agent finds in its own container: no token of the API server, no secret, nothing of the guard, no way out."""

import base64
import json

import pytest

import support
import world
from support import wait_for
from world import Agent, Database


class World:
    def __init__(self, data, agents):
        self.ns = agents
        self.db = Database(data)
        agents.apply(self.db.target(), world.policy())
        self.agent = Agent(agents, self.db, "coder", kind="Pod")
        self.pod = self.agent.object


@pytest.fixture(scope="module")
def w(chaperone):
    with support.Namespace(prefix="data") as data, support.Namespace(inject=True, prefix="agents") as agents:
        yield World(data, agents)


def token_claims(token):
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def test_the_only_token_is_for_the_guard(w):
    found = w.agent.run("bash", "-c", "grep -rohsIE 'eyJ[A-Za-z0-9_-]{20,}[.]eyJ[A-Za-z0-9_-]{20,}[.][A-Za-z0-9_-]{20,}' "
                        "/var/run /run /etc /tmp /home /root 2>/dev/null").out.split()
    tokens = set(found)
    assert tokens, "the agent has no token for the guard"
    for t in tokens:
        assert token_claims(t)["aud"] == ["chaperone"]
        answer = support.kubectl("--kubeconfig=/dev/null", "--server", server(), "--insecure-skip-tls-verify", f"--token={t}",
                                 "get", "pods", check=False)
        support.refused(answer)


def server():
    return support.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}").out


def test_the_service_account_directory_is_the_guards(w):
    d = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert w.agent.run("cat", f"{d}/namespace").out == w.ns.name
    assert w.agent.run("cat", f"{d}/ca.crt").out == w.agent.run("cat", "/run/chaperone/trust/ca.crt").out
    assert w.agent.run("bash", "-c", f"echo x > {d}/token").code != 0
    assert w.agent.run("bash", "-c", "echo x > /run/chaperone/trust/ca.crt").code != 0


def test_no_secret_and_no_key_is_readable(w):
    find = "find / -xdev \\( -path /proc -o -path /sys \\) -prune -o -type f -readable -print0 2>/dev/null | " \
        "xargs -0 grep -lsIE -e '^-----BEGIN ([A-Z]+ )?PRIVATE KEY-----' -- 2>/dev/null"
    assert w.agent.run("bash", "-c", find, deadline=120).out == ""
    mounts = w.agent.run("cat", "/proc/mounts").out
    for private in ("/etc/chaperone", "/var/lib/chaperone", "/var/run/secrets/chaperone", " /trust "):
        assert private not in mounts
    assert w.agent.run("ls", "/run/chaperone/control.sock").code != 0


def test_proc_shows_nothing_of_the_guard(w):
    lines = w.agent.run("bash", "-c", "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; tr '\\0' ' ' <$p/environ; echo; done 2>/dev/null").out
    assert "sleep infinity" in lines and "chaperone-sidecar" not in lines
    assert w.agent.run("bash", "-c", "grep -l chaperone-sidecar /proc/*/comm 2>/dev/null").out == ""


def test_the_redirection_cannot_be_changed(w):
    assert "NoNewPrivs:\t1" in w.agent.run("cat", "/proc/self/status").out
    for program in ("iptables -F", "ip link set lo down", "nft flush ruleset"):
        assert w.agent.run("bash", "-c", program).code != 0
    raw = "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)"
    packet = "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)"
    namespace = "import ctypes; assert ctypes.CDLL(None, use_errno=True).setns(open('/proc/1/ns/net').fileno(), 0) == 0"
    for program in (raw, packet, namespace):
        assert w.agent.python(program).code != 0


def test_nothing_else_leaves(w):
    """A pod that is no target, by TCP on any port and by UDP; the API server itself."""
    api = w.agent.run("bash", "-c", "timeout 5 bash -c '</dev/tcp/'$KUBERNETES_SERVICE_HOST/$KUBERNETES_SERVICE_PORT && echo open; "
                      "timeout 5 curl -sk https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/version")
    assert "gitVersion" not in api.out
    udp = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('192.0.2.1', 9)); s.send(b'x'); s.send(b'x')"
    assert w.agent.python(udp).code != 0
    ping = w.agent.run("ping", "-c", "1", "-W", "2", w.db.host)
    assert ping.code != 0


def test_a_killed_guard_is_a_closed_door_until_it_is_back(w):
    """From the node: kill -9 of the guard's process; then nothing passes; then the kubelet starts it again."""
    if world.foreign_cluster():
        pytest.skip("needs the node of e2e/cluster")
    assert w.agent.psql("select 1", check=True).out.strip() == "1"
    ca = w.agent.run("cat", "/run/chaperone/trust/ca.crt").out
    before = w.agent.guard_status()
    probe = w.agent.start("bash", "-c", f"while true; do psql -XAtc 'select 1' 2>&1; timeout 1 bash -c '</dev/tcp/{w.db.host}/5432'; sleep .1; done")
    pid = world.container_pid(before["containerID"])
    world.on_node("kill", "-9", str(pid))
    wait_for(lambda: w.agent.guard_status()["restartCount"] > before["restartCount"], 60, "the guard's restart", interval=0.2)
    wait_for(lambda: w.agent.psql("select 1").out.strip() == "1", 60, "the guard working again")
    probe.terminate()
    output = probe.communicate(timeout=10)[0]
    assert "Connection refused" in output, output[-2000:]
    assert w.agent.run("cat", "/run/chaperone/trust/ca.crt").out == ca, "clients that loaded the CA would fail"
