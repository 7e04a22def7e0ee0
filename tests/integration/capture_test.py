# SPDX-License-Identifier: Apache-2.0
"""There is no way around: redirection in a pod-like namespace, with and without a living guard. I1 to I5."""
import socket
import subprocess
import threading

import pytest

from clients import harness
from clients.harness import USER
from support import netns, run
from support.guard import Guard
from support.netns import AgentNamespace
from support.postgres import PostgresServer

pytestmark = pytest.mark.netns
CAPTURE = 15001
RULES = ['{name: read, action: Allow, sql: {operations: [Read, Transaction, Session], relations: ["public.*"]}}']


class Door:
    """A TCP or UDP service on the host's end that counts who came and echoes."""

    def __init__(self, host, kind=socket.SOCK_STREAM):
        self.kind, self.came = kind, []
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        self.sock.bind((host, 0))
        self.host, self.port = self.sock.getsockname()[:2]
        if kind == socket.SOCK_STREAM:
            self.sock.listen(16)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                if self.kind == socket.SOCK_DGRAM:
                    data, who = self.sock.recvfrom(2000)
                    self.came.append(who)
                    self.sock.sendto(data, who)
                    continue
                s, who = self.sock.accept()
            except OSError:
                return
            self.came.append(who)
            threading.Thread(target=self._echo, args=(s,), daemon=True).start()

    @staticmethod
    def _echo(s):
        with s:
            while data := s.recv(65536):
                s.sendall(data)

    def close(self):
        self.sock.close()


# As the agent: connect, send, say what came back.
TRY = """
import socket, sys
host, port, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
s.settimeout(float(sys.argv[4]))
try:
    s.connect((host, port))
    s.sendall(b"knock")
    data = s.recv(100)
    print(*(("got", data) if data else ("closed",)))
except OSError as e:
    print("refused", type(e).__name__)
"""


class Pod:
    def __init__(self, guard=True):
        self.ns = AgentNamespace()
        self.doors = []
        self.pg = PostgresServer(15, listen=[self.ns.host4, self.ns.host6, "127.0.0.1"], tls=True, authority=harness.authority()).start()
        self.pg.add_user(USER, "pw")
        self.pg.add_database("work", owner=USER)
        self.pg.sql("CREATE TABLE t AS SELECT 1 AS id", "GRANT ALL ON t TO agent", dbname="work")
        self.init()
        self.open = self.door(self.ns.host4)
        hosts = harness.target(self.pg, host=self.ns.host4).replace(f'["{self.ns.host4}"]', f'["{self.ns.host4}", "{self.ns.host6}"]')
        text = hosts + harness.policy(RULES, egress=[f'{{host: "{self.ns.host4}", ports: [{self.open.port}]}}'])
        self.guard = Guard(text, capture=CAPTURE, ns=self.ns)
        if guard:
            self.guard.start()

    def init(self):
        self.ns.run_root([self.ns.bin / "chaperone-init", "--capture", CAPTURE, "--uid", netns.GUARD_UID, "--gid", netns.GUARD_UID])

    def door(self, host, kind=socket.SOCK_STREAM):
        self.doors.append(Door(host, kind))
        return self.doors[-1]

    def attempt(self, host, port, kind="tcp", timeout=3.0):
        return self.ns.run_python(TRY, args=[host, str(port), kind, str(timeout * run.SLOWNESS)], timeout=30).stdout.strip()

    def psql(self, sql="SELECT id FROM t", host=None):
        host = host or self.ns.host4
        url = f"host={host} port={self.pg.port} user={USER} password=pw dbname=work sslmode=disable connect_timeout=5"
        return self.ns.run(["psql", "-X", "-A", "-t", "-c", sql, url], check=False, timeout=30)

    def close(self):
        for d in self.doors:
            d.close()
        try:
            self.guard.close(check=False)
        finally:
            self.ns.close()
            self.pg.close()


@pytest.fixture(scope="module")
def pod():
    p = Pod()
    yield p
    p.close()


def test_the_target_works(pod):
    assert pod.psql().stdout == "1\n"


def test_the_target_works_over_ipv6(pod):
    done = pod.psql(host=pod.ns.host6)
    assert done.stdout == "1\n", done.stderr


def test_and_is_guarded(pod):
    done = pod.psql("DROP TABLE t")
    assert done.returncode != 0 and "42501" not in done.stdout and "ERROR" in done.stderr
    assert any(e["type"] == "decision" for e in pod.guard.events())


@pytest.mark.parametrize("family", ["host4", "host6"])
def test_i3_other_ports_are_closed(pod, family):
    door = pod.door(getattr(pod.ns, family))
    assert "got" not in pod.attempt(door.host, door.port)
    assert not door.came, "nothing reached the outside"


@pytest.mark.parametrize("family", ["host4", "host6"])
def test_i2_udp_is_closed(pod, family):
    door = pod.door(getattr(pod.ns, family), socket.SOCK_DGRAM)
    assert "got" not in pod.attempt(door.host, door.port, "udp", 1.0)
    assert not door.came


def test_i2_dns_to_other_servers_is_closed(pod):
    """Only the servers of resolv.conf; a tunnel to any other is cut."""
    other = pod.ns.host4.rsplit(".", 1)[0] + ".77"
    subprocess.run(["ip", "addr", "add", f"{other}/24", "dev", pod.ns.link], check=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind((other, 53))
        s.settimeout(1.0)
        assert "got" not in pod.attempt(other, 53, "udp", 1.0)
        with pytest.raises(TimeoutError):
            s.recvfrom(100)


def test_dns_to_the_resolver_passes(pod):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind((pod.ns.host4, 53))
        s.settimeout(5 * run.SLOWNESS)
        pod.attempt(pod.ns.host4, 53, "udp", 0.5)
        assert s.recvfrom(100)[0] == b"knock"


def test_i2_ping_is_closed(pod):
    done = pod.ns.run_python("""
import socket
try:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    s.settimeout(1); s.sendto(b"\\x08\\0\\0\\0\\0\\0\\0\\0", ("%s", 0)); print("got", s.recv(100))
except OSError as e:
    print("refused", e)
""" % pod.ns.host4)
    assert "got" not in done.stdout


def test_unknown_destination_is_refused_and_recorded_or_logged(pod):
    door = pod.door("127.0.0.1")
    before = len(pod.guard.stderr())
    assert "got" not in pod.attempt("192.0.2.10", 5432)
    assert not door.came
    run.wait_for(lambda: "192.0.2.10" in pod.guard.stderr()[before:] or any("192.0.2.10" in str(e) for e in pod.guard.events()), 5,
                 what="a trace of the refusal")


@pytest.mark.parametrize("host", ["127.0.0.1", "agent4"])
def test_i4_the_capture_port_itself(pod, host):
    """A direct connection has no original destination: it must not loop, nor reach anything."""
    host = getattr(pod.ns, host, host)
    assert "got" not in pod.attempt(host, CAPTURE)
    assert pod.psql().stdout == "1\n", "the guard still serves"


def test_i4_the_capture_port_from_outside(pod):
    with socket.socket() as s:
        s.settimeout(1)
        with pytest.raises(OSError):
            s.connect((pod.ns.agent4, CAPTURE))
            s.sendall(b"knock")
            if not s.recv(10):
                raise OSError


def test_egress_entry_passes_bytes_through(pod):
    assert pod.attempt(pod.open.host, pod.open.port) == "got b'knock'"
    assert pod.open.came


def test_egress_passes_much(pod):
    code = """
import socket, sys, threading
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
data = bytes(range(256)) * 40000
threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR))).start()
got = b""
while len(got) < len(data):
    part = s.recv(65536)
    if not part: break
    got += part
print(got == data)
"""
    assert pod.ns.run_python(code, args=[pod.open.host, str(pod.open.port)], timeout=60).stdout == "True\n"


def test_loopback_is_the_agents_own(pod):
    code = """
import socket
l = socket.create_server(("127.0.0.1", 0)); c = socket.create_connection(l.getsockname()); a, _ = l.accept()
c.sendall(b"x"); print(a.recv(1))
"""
    assert pod.ns.run_python(code).stdout == "b'x'\n"


@pytest.mark.parametrize("argv", [["setpriv", "--reuid=15001", "true"], ["setpriv", "--regid=15001", "true"], ["iptables-nft", "-F"],
                                  ["iptables-legacy", "-t", "nat", "-F"], ["nft", "flush", "ruleset"], ["ip", "link", "set", "eth0", "down"],
                                  ["ip", "route", "del", "default"]])
def test_i1_the_agent_cannot_change_the_rules(pod, argv):
    before = pod.ns.iptables_save()
    assert pod.ns.run(argv, check=False).returncode != 0
    assert pod.ns.iptables_save() == before


@pytest.mark.parametrize("code", ["socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "socket.socket(socket.AF_INET, socket.SOCK_RAW, 6)",
                                  "socket.socket().setsockopt(socket.SOL_SOCKET, 36, 1)"])
def test_i1_no_raw_sockets_no_marks(pod, code):
    assert "PermissionError" in pod.ns.run_python(f"import socket\n{code}", check=False).stderr


def test_i4_the_guards_files_are_its_own(pod):
    for path in (pod.guard.spool, pod.guard.secrets):
        assert pod.ns.run(["ls", path], check=False).returncode != 0
    code = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({str(pod.guard.control)!r})"
    assert "PermissionError" in pod.ns.run_python(code, check=False).stderr


# Whose certificate answers there, by a source port that the caller names. Before that, with "garbage": what no client says.
WHO = """
import hashlib, socket, ssl, struct, sys
source, host, port, what = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.settimeout(10)
s.bind(("", int(source)))
s.connect((host, port))
if what == "garbage":
    try:
        s.sendall(b"G" * 400000)
        while s.recv(65536):
            pass
    except OSError as e:
        print(type(e).__name__)
    sys.exit()
s.sendall(struct.pack("!ii", 8, 80877103))
assert s.recv(1) == b"S"
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
print(hashlib.sha256(context.wrap_socket(s).getpeercert(True)).hexdigest())
"""


def test_a_connection_that_was_broken_off_does_not_lead_the_guard_to_itself(pod):
    """Conntrack keeps what it knows of an agent's connection that ended by RST; then the guard connects by the same port."""
    def who(source, what="who", uid=netns.AGENT_UID):
        return pod.ns.run_python(WHO, uid=uid, args=[str(source), pod.ns.host4, str(pod.pg.port), what], timeout=30).stdout.strip()
    servers = who(23000, uid=netns.GUARD_UID)
    assert who(23001) not in ("", servers), "the agent meets the guard"
    for port in range(23010, 23020):
        assert who(port, "garbage") in ("", "ConnectionResetError", "BrokenPipeError")
        assert who(port, uid=netns.GUARD_UID) == servers, "the guard was led to itself"


def test_a_port_that_the_guard_left_leads_past_nobody(pod):
    """Conntrack keeps a connection of the guard that the server broke off, not redirected as it was; an agent that connects
    by the same port (ports are told in /proc/net/tcp) rides on that. It is refused, or meets the guard."""
    def who(source, what="who", uid=netns.AGENT_UID, check=True):
        return pod.ns.run_python(WHO, uid=uid, args=[str(source), pod.ns.host4, str(pod.pg.port), what], timeout=30, check=check)
    servers = who(23100, uid=netns.GUARD_UID).stdout.strip()
    for port in range(23110, 23120):
        assert who(port, "garbage", uid=netns.GUARD_UID).stdout.strip() in ("", "ConnectionResetError", "BrokenPipeError")
        met = who(port, check=False)
        assert met.stdout.strip() != servers, "the agent met the server itself"
        assert met.stdout or "ConnectionRefusedError" in met.stderr, met.stderr
    assert pod.psql().stdout == "1\n"


def test_init_again_changes_nothing(pod):
    before = pod.ns.iptables_save()
    pod.init()
    assert pod.ns.iptables_save() == before
    assert pod.psql().stdout == "1\n"


# ---- without a living guard ----

def test_before_the_guard_nothing_leaves():
    p = Pod(guard=False)
    try:
        doors = [p.door(p.ns.host4), p.door(p.ns.host6), p.door(p.ns.host4, socket.SOCK_DGRAM)]
        for d in doors:
            assert "got" not in p.attempt(d.host, d.port, "udp" if d.kind == socket.SOCK_DGRAM else "tcp", 1.0)
        assert p.psql().returncode != 0
        assert not any(d.came for d in doors)
        p.guard.start()
        assert p.psql().stdout == "1\n"
    finally:
        p.close()


def test_i5_a_dead_guard_is_a_closed_door():
    p = Pod()
    try:
        held = p.ns.spawn(["psql", "-X", "-A", "-t", f"host={p.ns.host4} port={p.pg.port} user={USER} password=pw dbname=work sslmode=disable"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        held.stdin.write("SELECT id FROM t;\n")
        held.stdin.flush()
        assert held.stdout.readline() == "1\n"
        before = p.ns.iptables_save()
        p.guard.kill()
        assert p.ns.iptables_save() == before, "rules outlive the guard"
        held.stdin.write("SELECT id FROM t;\n")
        held.stdin.close()
        assert held.wait(15 * run.SLOWNESS) != 0, held.stdout.read()
        door = p.door(p.ns.host4)
        for host, port in ((p.ns.host4, p.pg.port), (p.ns.host6, p.pg.port), (door.host, door.port), (p.open.host, p.open.port)):
            assert "got" not in p.attempt(host, port, timeout=1.0)
        assert p.psql().returncode != 0 and not door.came and not p.open.came
        p.guard.start()
        assert p.psql().stdout == "1\n", "and opens again with a new guard"
    finally:
        p.close()
