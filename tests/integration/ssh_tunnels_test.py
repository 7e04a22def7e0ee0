# SPDX-License-Identifier: Apache-2.0
"""S2: every way of OpenSSH's client to carry something else through a session. Each is refused, leaves a line in the record, is
unseen by the target, and what is permitted still works after it."""

import os
import socket
import struct
import subprocess

import pytest

from support import run as r
from support.sshd import Sshd

from ssh_test import guard, paramiko_transport, ssh, ssh_options

# All that a rule can give but `forward`.
ANY = "{name: any, action: Allow, ssh: {requests: [exec, shell, pty, env, sftp]}}"


@pytest.fixture(scope="module")
def sshd():
    with Sshd("LogLevel DEBUG1\nX11Forwarding yes\nPermitTunnel yes\nAllowStreamLocalForwarding yes") as s:
        yield s


@pytest.fixture(scope="module")
def g(sshd):
    with guard(sshd, ANY) as g:
        yield g


@pytest.fixture(autouse=True)
def refused(sshd, g):
    """What the target's server was asked for meanwhile, and what the guard has recorded."""
    log, denied = len(sshd.text()), len(g.events("decision"))
    yield lambda operation: r.wait_for(lambda: [e for e in g.events("decision")[denied:] if e["operation"] == operation], 10,
                                       what=f"a refusal of {operation} in the record")
    asked = sshd.text()[log:]
    for sign in ("direct-tcpip", "direct-streamlocal", "tcpip-forward", "streamlocal-forward", "x11-req", "auth-agent-req", "tun@"):
        assert sign not in asked
    decisions = [e for e in g.events("decision")[denied:]]
    assert decisions
    assert all(e["verdict"] == "Deny" and e["requestId"] for e in decisions)
    assert ssh(g, "echo", "fine").stdout == b"fine\n"


def test_agent_forwarding(g, refused, tmp_path):
    """-A: the program that runs has no agent."""
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", tmp_path / "agent"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        r.wait_for((tmp_path / "agent").exists, 10)
        env = {**os.environ, "SSH_AUTH_SOCK": str(tmp_path / "agent")}
        done = ssh(g, "echo [$SSH_AUTH_SOCK]", options=["-A"], env=env)
        assert done.returncode == 0 and done.stdout == b"[]\n"
    finally:
        r.stop(agent)
    refused("auth-agent")


def test_x11(g, refused):
    """-X and -Y: the program that runs has no display."""
    done = ssh(g, "echo [$DISPLAY]", options=["-Y", "-o", "XAuthLocation=/nonexistent"], env={**os.environ, "DISPLAY": "127.0.0.1:99"})
    assert done.returncode == 0 and done.stdout == b"[]\n"
    refused("x11")


def test_stdio(sshd, g, refused):
    """-W"""
    done = ssh(g, options=["-W", f"127.0.0.1:{sshd.port}"])
    assert done.returncode != 0 and done.stdout == b""
    assert "forwarding" in refused("forward")[0]["reason"]


def test_jump(sshd, g, refused):
    """-J: the guard's target as the host in between."""
    jump = "ssh " + " ".join(ssh_options(g)) + f" -p {g.ports['box']} -W %h:%p agent@127.0.0.1"
    done = subprocess.run(["ssh", *ssh_options(g), "-o", f"ProxyCommand={jump}", "-i", sshd.client_key, "-p", str(sshd.port),
                           f"{sshd.user}@127.0.0.1", "echo", "through"], capture_output=True, timeout=60 * r.SLOWNESS,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 255 and done.stdout == b""
    refused("forward")


def connect(path):
    s = socket.socket(socket.AF_UNIX if "/" in str(path) else socket.AF_INET)
    s.connect(str(path) if "/" in str(path) else ("127.0.0.1", path))
    s.settimeout(10 * r.SLOWNESS)
    return s


def forwarding(g, *options):
    return subprocess.Popen(["ssh", *ssh_options(g), "-N", *options, "-p", str(g.ports["box"]), "agent@127.0.0.1"],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_local_port(sshd, g, refused):
    """-L"""
    port = r.free_port()
    child = forwarding(g, "-L", f"{port}:127.0.0.1:{sshd.port}")
    try:
        with r.wait_for(lambda: connect(port), 10) as s:
            assert s.recv(100) == b""
    finally:
        r.stop(child)
    assert refused("forward")


def test_local_sockets(g, refused, tmp_path):
    """-L with paths: direct-streamlocal"""
    child = forwarding(g, "-L", f"{tmp_path}/here:/run/there.sock")
    try:
        with r.wait_for(lambda: connect(tmp_path / "here"), 10) as s:
            assert s.recv(100) == b""
    finally:
        r.stop(child)
    refused("channel")


def test_socks(sshd, g, refused):
    """-D"""
    port = r.free_port()
    child = forwarding(g, "-D", str(port))
    try:
        with r.wait_for(lambda: connect(port), 10) as s:
            s.sendall(b"\5\1\0")
            assert s.recv(2) == b"\5\0"
            s.sendall(b"\5\1\0\1" + socket.inet_aton("127.0.0.1") + struct.pack(">H", sshd.port))
            answer = b""
            while piece := s.recv(100):
                answer += piece
            assert b"SSH-2.0" not in answer
    finally:
        r.stop(child)
    refused("forward")


def remote(g, there):
    child = forwarding(g, "-o", "ExitOnForwardFailure=yes", "-R", f"{there}:127.0.0.1:22")
    try:
        assert child.wait(timeout=20 * r.SLOWNESS) == 255
        assert b"remote port forwarding failed" in child.stderr.read()
    finally:
        r.stop(child)


def test_remote_port(g, refused):
    """-R"""
    remote(g, f"127.0.0.1:{r.free_port()}")
    refused("tcpip-forward")


def test_remote_socket(g, refused, tmp_path):
    """-R with a path: libssh refuses it before the guard sees it, and the guard has to notice."""
    remote(g, tmp_path / "there")
    assert not (tmp_path / "there").exists()
    assert len(refused("global")) == 1
    assert [e["text"] for e in g.events("statement") if e["kind"] == "global"][-1] == "streamlocal-forward@openssh.com"


def test_any_global_request(g, refused):
    """Many, with names made to confuse: counted, one line each as long as there is room; signs of life are none."""
    t = paramiko_transport(g.ports["box"])
    t.auth_none("agent")
    for name in ("keepalive@x", "no-more-sessions@openssh.com", "a, want_reply = 1", "b" * 3000, ""):
        t.global_request(name, wait=True)
    assert refused("global")
    t.close()
    r.wait_for(lambda: len([e for e in g.events("statement") if e["kind"] == "global"]) >= 4, 10)
    texts = [e["text"] for e in g.events("statement") if e["kind"] == "global"][-3:]
    assert texts == ["a, want_reply = 1", "b" * 63, ""]


def test_terminal_of_a_running_program(g, refused):
    """A request that policy would permit, at the wrong time: recorded as what it is, a refusal."""
    import paramiko
    t = paramiko_transport(g.ports["box"])
    t.auth_none("agent")
    c = t.open_session()
    c.exec_command("cat")
    c.set_environment_variable("LANG", "C")
    refused("env")
    with pytest.raises(paramiko.SSHException):
        c.get_pty()
    t.close()
    refused("pty")
    assert all(e["verdict"] == "Deny" and "running" not in e["reason"] for e in g.events("statement") if e["kind"] == "pty")


def test_network_device(g, refused):
    """-w: tun@openssh.com"""
    import paramiko
    t = paramiko_transport(g.ports["box"])
    t.auth_none("agent")
    with pytest.raises(paramiko.SSHException):
        t.open_channel("tun@openssh.com", timeout=5)
    t.close()
    refused("channel")


