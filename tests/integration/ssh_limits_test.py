# SPDX-License-Identifier: Apache-2.0
"""S11, S12: algorithms, packets, handshakes and floods, on both legs."""

import os
import socket
import struct
import subprocess
import threading
import time

import pytest

from support import run as r
from support.fakesshd import FakeSshd
from support.guard import Guard
from support.sshd import Sshd
from support.tamper import Wire

from ssh_attacks_test import ANY, logged_in, raw_connect, still_works
from ssh_test import EXEC, guard, pinned_user_key, policies, ssh, wait_events

sanitize = pytest.mark.sanitize  # what moves memory or threads; lists of algorithms do not


@pytest.fixture(scope="module")
def sshd():
    with Sshd() as s:
        yield s


def closed(g, n=1):
    return r.wait_for(lambda: len(g.events("session.close")) >= n and g.events("session.close"), 20,
                      what="the end of the session")


def cpu_s(g):
    fields = open(f"/proc/{g.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def output(channel):
    out = b""
    while piece := channel.recv(65536):
        out += piece
    return out


# ---- S12: maximum packet sizes ----

@sanitize
@pytest.mark.parametrize("size", [0, 10, 11, 20])
def test_S12_agent_with_a_tiny_packet_size(sshd, size):
    """libssh keeps 10 bytes of each packet for itself, and with nothing left writes for ever."""
    import paramiko
    with guard(sshd, ANY) as g:
        t = logged_in(g)
        t._sanitize_packet_size = lambda n: n
        before = cpu_s(g)
        try:
            c = t.open_session(max_packet_size=size, timeout=5)
            c.exec_command("seq 1 1000")
            assert len(output(c)) < 300
        except (paramiko.SSHException, EOFError):
            pass
        if size == 0:  # libssh opens no such channel, and goes on
            t.close()
        end, = closed(g)
        assert size == 0 or "maximum packet size" in end["reason"]
        assert cpu_s(g) - before < 1.5 * r.SLOWNESS
        still_works(g)


@sanitize
def test_S12_target_with_a_tiny_packet_size():
    def tiny(transport):
        transport.default_max_packet_size = 10
    with FakeSshd(on_transport=tiny) as d:
        with guard(d, ANY, secret={"password": "x", "username": "agent"}) as g:
            before = cpu_s(g)
            assert ssh(g, "cat", input=b"x" * 5000).returncode != 0
            assert "the target's maximum packet size" in closed(g)[0]["reason"]
            assert cpu_s(g) - before < 1.5 * r.SLOWNESS


# ---- S12: handshakes ----

@sanitize
def test_S12_one_deadline_for_a_slow_handshake(sshd):
    """From accept to logged in, however busy a client looks: a byte at a time is no progress."""
    with guard(sshd, EXEC, extra=["--handshake-timeout", "3"]) as g:
        begun = time.monotonic()
        silent, banner, dripping = raw_connect(g), raw_connect(g), raw_connect(g)
        banner.sendall(b"SSH-2.0-slow\r\n")
        stop = threading.Event()

        def drip():
            for b in b"SSH-2.0-slow\r\n" + struct.pack(">IB", 1000, 4) + b"\x14" * 500:
                try:
                    dripping.sendall(bytes([b]))
                except OSError:
                    return
                if stop.wait(0.1):
                    return
        threading.Thread(target=drip, daemon=True).start()
        import paramiko
        idle = paramiko.Transport(("127.0.0.1", g.ports["box"]))  # through key exchange, and no further
        idle.start_client(timeout=10)
        closed(g, 4)
        assert 2 < time.monotonic() - begun < 8 * r.SLOWNESS
        stop.set()
        idle.close()
        for s in (silent, banner, dripping):
            s.close()
        still_works(g)


def test_S12_many_half_open_handshakes(sshd):
    with guard(sshd, EXEC, extra=["--max-sessions", "40", "--handshake-timeout", "4"]) as g:
        before = g.rss()
        stalled = [raw_connect(g) for _ in range(60)]
        for s in stalled:
            s.sendall(b"SSH-2.0-stalled\r\n")
        r.wait_for(lambda: g.rss() > 0 and len(g.records()) >= 60, 10 * r.SLOWNESS)
        assert g.rss() - before < 60 << 20 or r.SLOWNESS > 1
        assert ssh(g, "echo", "fine").returncode != 0  # the limit holds
        r.wait_for(lambda: len(g.events("session.close")) >= 60, 15)
        still_works(g)
        for s in stalled:
            s.close()


# ---- S12: floods after login ----

def raw_message(kind, *parts):
    import paramiko
    m = paramiko.Message()
    m.add_byte(bytes([kind]))
    for p in parts:
        {int: m.add_int, bytes: m.add_string, bool: m.add_boolean}[type(p)](p)
    return m


def flood(t, make, n):
    """Sends until it is told to stop: how many went out."""
    for i in range(n):
        try:
            t._send_user_message(make(i))
        except (OSError, EOFError):
            return i
        if not t.is_active():
            return i
    return n


FLOODS = {
    "global requests": lambda c: lambda i: raw_message(80, b"tcpip-forward", True, b"127.0.0.1", 1),
    "unknown globals": lambda c: lambda i: raw_message(80, b"x" * 1000, False),
    "windows": lambda c: lambda i: raw_message(93, c.remote_chanid, 0xffffffff),
    "windows of nobody": lambda c: lambda i: raw_message(93, 12345, 1),
    "channels of odd kinds": lambda c: lambda i: raw_message(90, b"tun@openssh.com", i + 100, 1000, 1000),
    "ignore": lambda c: lambda i: raw_message(2, b"x" * 20000),
    "debug": lambda c: lambda i: raw_message(4, True, b"x" * 20000, b""),
    "agent requests": lambda c: lambda i: raw_message(98, c.remote_chanid, b"auth-agent-req@openssh.com", False),
}


@sanitize
@pytest.mark.parametrize("what", FLOODS)
def test_S12_floods_are_bounded(sshd, what):
    with guard(sshd, ANY) as g:
        t = logged_in(g)
        c = t.open_session()
        before = g.rss()
        flood(t, FLOODS[what](c), 2000)
        still_works(g)
        assert g.rss() - before < 30 << 20 or r.SLOWNESS > 1
        t.close()
        closed(g, 2)


@sanitize
def test_S12_channels_come_and_go(sshd):
    """What a channel took is given back when it is closed."""
    with guard(sshd, EXEC) as g:
        t = logged_in(g)

        def some(n):
            for _ in range(n):
                c = t.open_session(timeout=10)
                c.exec_command("denied")
                assert c.recv_exit_status() == 126
                c.close()
        some(50)
        before = g.rss()
        some(300 // r.SLOWNESS)
        assert g.rss() - before < 4 << 20 or r.SLOWNESS > 1
        t.close()


@sanitize
@pytest.mark.parametrize("length", [0x7fffffff, 0x40001, 262145, 35001 * 16, 3])
def test_S12_packet_length_after_key_exchange(sshd, length):
    """With GCM the length of a packet is not encrypted: a client that is being logged in gives any it likes."""
    with guard(sshd, EXEC) as g:
        with Wire(("127.0.0.1", g.ports["box"])) as wire:
            import paramiko
            t = paramiko.Transport(("127.0.0.1", wire.port))
            t.start_client(timeout=10)
            before = g.rss()
            far = wire.sockets[1]
            far.sendall(struct.pack(">I", length) + b"\0" * 70000)
            end, = closed(g)
            assert g.rss() - before < 10 << 20 or r.SLOWNESS > 1
            assert end["reason"]
            t.close()
        assert not g.events("statement")
        still_works(g)


# ---- S11: the wire is authenticated, on both legs ----

ANY_EXEC = "{name: any, action: Allow, ssh: {requests: [exec]}}"
WAYS = pytest.mark.parametrize("way", ["up", "down"])


def changed_byte(wire, way, connect, tmp_path):
    """A line comes through; of the next, one bit is changed on the way. What the client still got."""
    c = connect()
    c.settimeout(30)  # a library that lets it pass would leave us waiting
    c.exec_command(f"exec tee {tmp_path}/got")
    c.sendall(b"first\n")
    assert c.recv(100) == b"first\n"
    r.wait_for(lambda: (tmp_path / "got").read_bytes() == b"first\n", 10)
    wire.flip(way)
    c.sendall(b"second\n")
    out = output(c)
    assert wire.flipped == 1 and b"second" not in out
    assert c.recv_exit_status() != 0
    if way == "up":
        assert (tmp_path / "got").read_bytes() == b"first\n"


def client(port, cipher=None):
    import paramiko
    t = paramiko.Transport(("127.0.0.1", port))
    if cipher:
        t.get_security_options().ciphers = [cipher]
    t.start_client(timeout=10)
    t.auth_none("agent")
    return t.open_session()


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "aes256-ctr"])
@WAYS
def test_S11_changed_byte_on_the_agents_leg(sshd, tmp_path, cipher, way):
    with guard(sshd, ANY_EXEC) as g, Wire(("127.0.0.1", g.ports["box"])) as wire:
        changed_byte(wire, way, lambda: client(wire.port, cipher), tmp_path)
        closed(g)
        still_works_any(g)


@sanitize
@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "aes256-ctr"])
@WAYS
def test_S11_changed_byte_on_the_targets_leg(tmp_path, cipher, way):
    with Sshd(extra=f"Ciphers {cipher}") as own, Wire(("127.0.0.1", own.port)) as wire:
        text = policies(own, ANY_EXEC).replace(f"ports: [{own.port}]", f"ports: [{wire.port}]")
        with Guard(text, listen={"box": None}, secrets={"box-key": pinned_user_key(own)}) as g:
            begun = time.monotonic()
            changed_byte(wire, way, lambda: client(g.ports["box"]), tmp_path)
            assert time.monotonic() - begun < 10 * r.SLOWNESS  # the end of the target is told at once
            still_works_any(g)


def still_works_any(g):
    assert ssh(g, "echo fine").stdout == b"fine\n"


# ---- S11: algorithms ----

KEX = {"curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "ecdh-sha2-nistp384",
       "ecdh-sha2-nistp521", "diffie-hellman-group16-sha512", "diffie-hellman-group18-sha512",
       "diffie-hellman-group14-sha256"}
GCM = {"aes128-gcm@openssh.com", "aes256-gcm@openssh.com"}  # all that is offered to OpenSSH, which would choose CTR
CIPHER = {"aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr", "aes128-ctr"}
MAC = {"hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512"}


def offer_of(port, banner=b"SSH-2.0-OpenSSH_9.2\r\n"):
    """The name lists of the other side's SSH_MSG_KEXINIT."""
    with socket.create_connection(("127.0.0.1", port), 20) as s:
        s.sendall(banner)
        f = s.makefile("rb")
        assert f.readline().startswith(b"SSH-2.0-")
        length, pad = struct.unpack(">IB", f.read(5))
        body, lists, at = f.read(length - 1)[:-pad], [], 17
        for _ in range(10):
            n = struct.unpack(">I", body[at:at + 4])[0]
            lists.append(body[at + 4:at + 4 + n].decode().split(","))
            at += 4 + n
        return lists


def check_offer(lists, extra=()):
    """Nothing but these; and strict key exchange (CVE-2023-48795)."""
    kex, _, c2s, s2c, mac_c2s, mac_s2c, comp1, comp2 = lists[:8]
    strict = {k for k in kex if k.startswith("kex-strict-")}
    assert len(strict) == 1
    assert set(kex) - strict - set(extra) <= KEX
    assert set(c2s) <= CIPHER and set(s2c) <= CIPHER
    assert set(mac_c2s) <= MAC and set(mac_s2c) <= MAC
    assert comp1 == comp2 == ["none"]


@pytest.mark.parametrize("banner", [b"SSH-2.0-OpenSSH_9.2\r\n", b"SSH-2.0-other\r\n"])
def test_S11_what_the_guard_offers_to_agents(sshd, banner):
    with guard(sshd, EXEC) as g:
        lists = offer_of(g.ports["box"], banner)
        check_offer(lists)
        assert lists[1] == ["ssh-ed25519"]


def test_S11_what_the_guard_offers_to_targets():
    seen = []

    def serve(listener):
        s, _ = listener.accept()
        with s:
            s.settimeout(20)
            s.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            f = s.makefile("rb")
            f.readline()
            head = f.read(5)
            length, pad = struct.unpack(">IB", head)
            body, lists, at = f.read(length - 1)[:-pad], [], 17
            for _ in range(10):
                n = struct.unpack(">I", body[at:at + 4])[0]
                lists.append(body[at + 4:at + 4 + n].decode().split(","))
                at += 4 + n
            seen.append(lists)

    class Fake:
        user, host_key = "x", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJb1AjNf0vmHqrWuGEkmpZcjFcQSRTh5eTRsnWXJuD1Z"
    listener = socket.create_server(("127.0.0.1", 0))
    fake = Fake()
    fake.port = listener.getsockname()[1]
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    with guard(fake, EXEC, secret={"password": "x"}) as g:
        assert ssh(g, "echo", "x").returncode == 255
        check_offer(seen[0], extra=("ext-info-c",))
        assert seen[0][1] == ["ssh-ed25519"]
    listener.close()


def queries(kind):
    done = subprocess.run(["ssh", "-Q", kind], capture_output=True, text=True)
    return [line for line in done.stdout.split() if line]


def test_S11_every_algorithm_of_the_client(sshd):
    """What `ssh -Q` knows: the modern ones work, all others fail before anybody is logged in."""
    names = [(option, name, name in allowed)
             for option, kind, allowed in (("KexAlgorithms", "kex", KEX), ("Ciphers", "cipher", GCM),
                                           ("HostKeyAlgorithms", "HostKeyAlgorithms", {"ssh-ed25519"}))
             for name in queries(kind)]
    assert len([n for n in names if not n[2]]) > 15
    with guard(sshd, EXEC) as g:
        for option, name, good in names:
            options = ["-o", f"{option}={name}"]
            done = ssh(g, "echo", "x", options=options)
            assert (done.stdout == b"x\n") == good, (option, name, done.stderr)
        assert len(g.events("auth")) == len([n for n in names if n[2]])


OLD = ["Ciphers aes128-cbc,3des-cbc", "Ciphers chacha20-poly1305@openssh.com", "KexAlgorithms diffie-hellman-group1-sha1",
       "KexAlgorithms diffie-hellman-group14-sha1", "MACs hmac-sha1,hmac-md5\nCiphers aes128-ctr"]


@pytest.mark.parametrize("old", OLD)
def test_S11_target_with_old_algorithms(old):
    with Sshd(extra=old) as own, guard(own, EXEC) as g:
        done = ssh(g, "echo", "x")
        assert done.returncode == 255 and done.stdout == b""
        assert any("key exchange with the target" in e["message"] for e in wait_events(g, "error"))
        assert "Accepted" not in own.text()


def test_S11_strict_key_exchange_on_both_legs():
    with Sshd(extra="LogLevel DEBUG3") as own, guard(own, EXEC) as g:
        done = ssh(g, "echo", "x", options=["-vvv"])
        assert b"will use strict KEX ordering" in done.stderr
        assert b"cipher: aes128-gcm@openssh.com" in done.stderr
        assert "will use strict KEX ordering" in own.text()
        assert "aes128-gcm@openssh.com" in own.text()


# ---- S11: rekey ----

@sanitize
def test_S11_rekey_on_both_legs_in_the_middle(tmp_path):
    data = os.urandom(1 << 20) * 12
    (tmp_path / "f").write_bytes(data)
    with Sshd(extra="RekeyLimit 1M\nLogLevel DEBUG1") as own, guard(own, ANY_EXEC) as g:
        often = ["-o", "RekeyLimit=1M", "-v"]
        done = ssh(g, f"cat {tmp_path}/f", options=often)
        assert done.returncode == 0 and done.stdout == data
        assert done.stderr.count(b"SSH2_MSG_NEWKEYS received") > 5
        done = ssh(g, f"cat > {tmp_path}/up", options=often, input=data)
        assert done.returncode == 0 and (tmp_path / "up").read_bytes() == data
        assert own.text().count("rekey") > 10
