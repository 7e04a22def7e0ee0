# SPDX-License-Identifier: Apache-2.0
"""Ways around the SSH guard. Each is refused, recorded, unseen by the target, and what is permitted
still works after it. Names begin with the number in the catalogue of attacks; S5 and S8 are also in ssh_test,
S9, S10, S13 and S14 in ssh_targets_test, S11 and S12 in ssh_limits_test."""

import socket
import struct
import subprocess
import time

import pytest

from support import run as r
from support.issuer import Issuer
from support.sshd import Sshd

from ssh_test import EXEC, files_rule, guard, paramiko_transport, requested, ssh, ssh_options, wait_events

sanitize = pytest.mark.sanitize  # what moves memory or threads; tables of refusals do not
ANY = "{name: any, action: Allow, ssh: {requests: [exec, shell, pty, sftp]}}"


@pytest.fixture(scope="module")
def sshd():
    with Sshd() as s:
        yield s


def logged_in(g):
    t = paramiko_transport(g.ports["box"])
    t.auth_none("agent")
    return t


def still_works(g):
    assert ssh(g, "echo", "fine").stdout == b"fine\n"


def sessions(sshd):
    return sshd.text().count("Starting session")


# ---- S2: tunnels ----

class Listener:
    """Where a tunnel would lead: counts who comes."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(0.3)
        self.port = self.socket.getsockname()[1]

    def nobody_came(self):
        try:
            self.socket.accept()[0].close()
        except TimeoutError:
            return True
        return False


def through(port, *first):
    """Connects to the local end of a tunnel and says something: what comes back before it is closed."""
    with r.wait_for(lambda: socket.create_connection(("127.0.0.1", port), 2), 10) as s:
        s.settimeout(15 * r.SLOWNESS)
        try:
            for piece in first:
                s.sendall(piece)
            got = b""
            while piece := s.recv(100):
                got += piece
            return got
        except ConnectionResetError:
            return b""


def socks(port):
    return b"\x05\x01\x00", b"\x05\x01\x00\x01\x7f\x00\x00\x01" + struct.pack(">H", port)


@sanitize
@pytest.mark.parametrize("flag", ["-L", "-D", "-Lsocket"])
def test_S2_tunnel_carries_nothing(sshd, flag):
    port, there = r.free_port(), Listener()
    to = {"-L": f"{port}:127.0.0.1:{there.port}", "-D": str(port), "-Lsocket": f"{port}:/run/some.sock"}[flag]
    with guard(sshd, ANY, EXEC) as g:
        child = subprocess.Popen(["ssh", *ssh_options(g), "-N", flag[:2], to, "-p", str(g.ports["box"]),
                                  "agent@127.0.0.1"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            got = through(port, *(socks(there.port) if flag == "-D" else (b"hello",)))
        finally:
            r.stop(child)
        assert b"SSH" not in got and there.nobody_came()
        assert wait_events(g, "decision")[0]["verdict"] == "Deny"
        still_works(g)


@pytest.mark.parametrize("options", [["-W", "127.0.0.1:{there}"],
                                     ["-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:{there}", "-N"],
                                     ["-o", "ExitOnForwardFailure=yes", "-R", "/tmp/some.sock:127.0.0.1:{there}", "-N"],
                                     ["-o", "ExitOnForwardFailure=yes", "-w", "0:0", "-N"]])
def test_S2_tunnel_is_refused(sshd, options):
    there = Listener()
    with guard(sshd, ANY, EXEC) as g:
        done = ssh(g, options=[o.format(there=there.port) for o in options])
        assert done.returncode != 0 and there.nobody_came()
        # A client without /dev/net/tun asks nobody; and libssh refuses what it does not know by itself (docs/ssh.md).
        if "-w" not in options and "/tmp" not in str(options):
            assert wait_events(g, "decision")[0]["verdict"] == "Deny"
        still_works(g)


def test_S2_jump(sshd):
    """-J is -W, and another login inside of it."""
    with guard(sshd, ANY, EXEC) as g:
        inner = "ssh " + " ".join(ssh_options(g)) + f" -W %h:%p -p {g.ports['box']} agent@127.0.0.1"
        before = sshd.text().count("Connection from")
        done = subprocess.run(["ssh", *ssh_options(g), "-o", f"ProxyCommand={inner}", "-p", str(sshd.port),
                               "127.0.0.1", "true"], capture_output=True, timeout=60 * r.SLOWNESS)
        assert done.returncode == 255
        assert sshd.text().count("Connection from") == before + 1  # the guard's own
        assert "forwarding" in wait_events(g, "decision")[0]["reason"]
        still_works(g)


@sanitize
def test_S2_remote_forward_x11_agent_tun(sshd):
    import paramiko
    with guard(sshd, ANY) as g:
        t = logged_in(g)
        with pytest.raises(paramiko.SSHException):
            t.request_port_forward("127.0.0.1", 0)
        c = t.open_session()
        with pytest.raises(paramiko.SSHException):
            c.request_x11()
        c = t.open_session()
        c.request_forward_agent(lambda ch: None)  # paramiko does not wait for the answer
        r.wait_for(lambda: any("keys are not forwarded" in e["reason"] for e in g.events("decision")), 10)
        for kind in ("x11", "auth-agent@openssh.com", "tun@openssh.com",
                     "direct-streamlocal@openssh.com", "forwarded-tcpip"):
            with pytest.raises(paramiko.SSHException):
                t.open_channel(kind, dest_addr=("127.0.0.1", 1), src_addr=("127.0.0.1", 1),
                               timeout=5)
        t.close()
        still_works(g)


@sanitize
def test_S2_forward_when_allowed(sshd):
    rule = "{name: tunnel, action: Allow, ssh: {requests: [forward]}}"
    with guard(sshd, rule, EXEC) as g:
        t = logged_in(g)
        c = t.open_channel("direct-tcpip", ("127.0.0.1", sshd.port), ("127.0.0.1", 1))
        assert c.recv(100).startswith(b"SSH-2.0-OpenSSH")
        t.close()
        assert wait_events(g, "statement")[0]["kind"] == "forward"


# ---- S3, S4 ----

@pytest.mark.parametrize("name", ["netconf", "sftp ", "SFTP", "", "sftp-server", "x" * 5000])
def test_S3_unlisted_subsystem(sshd, name):
    import paramiko
    with guard(sshd, ANY) as g:
        before = sessions(sshd)
        t = logged_in(g)
        c = t.open_session()
        with pytest.raises(paramiko.SSHException):
            c.invoke_subsystem(name)
        t.close()
        assert sessions(sshd) == before
        assert "only the subsystem sftp" in wait_events(g, "decision")[0]["reason"]
        still_works(g)


@pytest.mark.parametrize("options", [["-tt"], ["-T"], []])
def test_S4_shell_is_refused(sshd, tmp_path, options):
    """Text that is typed is not a command: no shell unless a rule says so."""
    with guard(sshd, "{name: any, action: Allow, ssh: {requests: [exec, sftp]}}") as g:
        before = sessions(sshd)
        done = ssh(g, options=options, input=b"touch %s/mark\n" % str(tmp_path).encode())
        assert done.returncode in (126, 255)
        assert sessions(sshd) == before and not (tmp_path / "mark").exists()
        assert {e["verdict"] for e in wait_events(g, "decision")} == {"Deny"}
        still_works(g)


@sanitize
def test_S4_shell_that_waits_for_approval_says_what_it_is(sshd, tmp_path):
    ask = "{name: ask, action: RequireApproval, ssh: {requests: [shell]}, approval: {timeout: 30s}}"
    with guard(sshd, ask, EXEC) as g:
        before = sessions(sshd)
        child = subprocess.Popen(["ssh", *ssh_options(g), "-T", "-p", str(g.ports["box"]), "agent@127.0.0.1"],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        child.stdin.write(b"touch %s/mark; echo typed\n" % str(tmp_path).encode())
        child.stdin.close()
        ident = requested(g)
        assert "recorded, not policed" in g.kubectl_guard("show", ident).stdout
        assert sessions(sshd) == before and not (tmp_path / "mark").exists()
        g.kubectl_guard("deny", ident, "--reason", "no")
        assert child.wait(timeout=20 * r.SLOWNESS) == 126
        assert sessions(sshd) == before and not (tmp_path / "mark").exists()
        child.stdout.close()
        child.stderr.close()
        still_works(g)


# ---- S6 ----

@sanitize
def test_S6_environment(sshd):
    with guard(sshd, "{name: e, action: Allow, ssh: {requests: [exec, env]}}") as g:
        env = ["LD_PRELOAD=/x.so", "BASH_ENV=/x", "ENV=/x", "PATH=/x", "LC_TIME=de_DE.UTF-8",
               "GIT_SSH_COMMAND=x", "IFS=x", "MYVAR=1", "LANG=$(id)"]
        done = ssh(g, "env", options=["-o", "SetEnv=" + " ".join(f'"{e}"' for e in env)])
        assert done.returncode == 0
        out = done.stdout.decode()
        assert "LC_TIME=de_DE.UTF-8" in out and "MYVAR=1" in out
        for name in ("LD_PRELOAD", "BASH_ENV", "/x.so", "GIT_SSH_COMMAND", "$(id)"):
            assert name not in out
        assert len([e for e in g.events("decision") if "LD_PRELOAD" in e["reason"]]) == 1


def test_S6_environment_by_default(sshd):
    with guard(sshd, "{name: e, action: Allow, ssh: {requests: [exec]}}") as g:
        out = ssh(g, "env", options=["-o", 'SetEnv="MYVAR=1" "LC_TIME=C"']).stdout.decode()
        assert "MYVAR" not in out and "LC_TIME=C" in out


# ---- S7 ----

@sanitize
def test_S7_second_program_on_a_channel(sshd):
    import paramiko
    with guard(sshd, EXEC) as g:
        t = logged_in(g)
        c = t.open_session()
        c.exec_command("cat")
        with pytest.raises(paramiko.SSHException):
            c.exec_command("echo two")
        t.close()
        r.wait_for(lambda: any("second program" in e["reason"] for e in g.events("decision")), 10)
        still_works(g)


@sanitize
def test_S7_many_channels_and_requests(sshd):
    import paramiko
    with guard(sshd, ANY) as g:
        t = logged_in(g)
        opened = []
        with pytest.raises(paramiko.SSHException):
            while len(opened) < 200:
                opened.append(t.open_session(timeout=10))
        assert len(opened) == 32
        t.close()
        t = logged_in(g)
        c = t.open_session()
        for _ in range(500):
            m = paramiko.Message()
            m.add_byte(bytes([98]))
            m.add_int(c.remote_chanid)
            m.add_string("env")
            m.add_boolean(False)
            m.add_string("LC_X")
            m.add_string("x")
            try:
                t._send_user_message(m)
            except (OSError, EOFError):
                break
        r.wait_for(lambda: not t.is_active(), 10)
        still_works(g)


@sanitize
def test_S7_data_before_exec_is_not_a_command(sshd, tmp_path):
    with guard(sshd, EXEC) as g:
        t = logged_in(g)
        c = t.open_session()
        c.sendall(b"touch %s/mark\n" % str(tmp_path).encode())
        c.exec_command("sh")
        assert c.recv_exit_status() == 126
        assert not (tmp_path / "mark").exists()
        t.close()
        still_works(g)


@sanitize
def test_S7_flood_beyond_the_window(sshd):
    import paramiko
    with guard(sshd, ANY) as g:
        t = logged_in(g)
        c = t.open_session()
        c.exec_command("sleep 60")
        before = g.rss()
        m = paramiko.Message()
        m.add_byte(bytes([94]))
        m.add_int(c.remote_chanid)
        m.add_string(b"x" * 30000)
        try:
            for _ in range(3000):
                t._send_user_message(m)
        except (OSError, EOFError):
            pass
        r.wait_for(lambda: not t.is_active() or g.events("session.close"), 30)
        assert g.rss() - before < 40 * r.SLOWNESS << 20
        still_works(g)


# ---- S8 ----

def raw_sftp(t):
    c = t.open_session()
    c.invoke_subsystem("sftp")
    c.sendall(struct.pack(">IBI", 5, 1, 3))
    assert read_message(c)[0] == 2
    return c


def read_message(c):
    head = b""
    while len(head) < 4:
        piece = c.recv(4 - len(head))
        if not piece:
            return b""
        head += piece
    left, body = struct.unpack(">I", head)[0], b""
    while len(body) < left:
        body += c.recv(left - len(body))
    return body


def message(kind, ident, *parts):
    body = struct.pack(">BI", kind, ident)
    for p in parts:
        body += p if isinstance(p, bytes) else struct.pack(">I", len(p)) + p.encode()
    return struct.pack(">I", len(body)) + body


@sanitize
@pytest.mark.parametrize("name, status", [
    (message(200, 7, "copy-data", b"\0" * 40), 8),
    (message(200, 7, "expand-path@openssh.com", "~/x"), 8),
    (message(200, 7, "home-directory", "root"), 8),
    (message(200, 7, "users-groups-by-id@openssh.com", "", ""), 8),
    (message(21, 7, "x"), 8),
    (message(200, 7, "hardlink@openssh.com", "/etc/shadow", "{root}/h"), 3),
    (message(200, 7, "posix-rename@openssh.com", "/etc/hostname", "{root}/h"), 3),
    (message(3, 7, "/etc/shadow", struct.pack(">II", 1, 0)), 3),
    (message(3, 7, "{root}/../../etc/shadow", struct.pack(">II", 1, 0)), 3),
    (message(5, 7, "nohandle", struct.pack(">QI", 0, 10)), 4),
])
def test_S8_sftp_operations(sshd, tmp_path, name, status):
    with guard(sshd, files_rule(tmp_path), EXEC) as g:
        t = logged_in(g)
        c = raw_sftp(t)
        text = name.replace(b"{root}", b"")  # lengths are fixed: the paths only have to be outside
        c.sendall(text if b"{root}" not in name else rebuild(name, str(tmp_path)))
        reply = read_message(c)
        assert reply[0] == 101 and struct.unpack(">II", reply[1:9]) == (7, status)
        t.close()
        still_works(g)


def rebuild(name, root):
    """The same message with {root} replaced, and lengths that fit."""
    body, at, out = name[4:], 5, name[4:9]
    while at + 4 <= len(body):
        n = struct.unpack(">I", body[at:at + 4])[0]
        if at + 4 + n > len(body) or n > 300 or (n < 3 and body[4] != 200):
            break
        text = body[at + 4:at + 4 + n].replace(b"{root}", root.encode())
        out += struct.pack(">I", len(text)) + text
        at += 4 + n
    out += body[at:]
    return struct.pack(">I", len(out)) + out


@sanitize
@pytest.mark.parametrize("raw", [
    struct.pack(">I", 0), struct.pack(">I", 0xffffffff) + b"x", struct.pack(">I", 300000) + b"x",
    message(3, 1, b"\xff\xff\xff\xff"), message(3, 1, "/x", b"\0\0\0\1\xff\xff\xff\xff"),
    message(7, 1, "/a\0b"), message(7, 1, "/x", b"more"), struct.pack(">IBI", 5, 1, 3),
])
def test_S8_malformed_sftp_ends_the_channel(sshd, tmp_path, raw):
    with guard(sshd, files_rule(tmp_path), EXEC) as g:
        t = logged_in(g)
        c = raw_sftp(t)
        c.sendall(raw)
        c.settimeout(20)
        assert read_message(c) == b""
        t.close()
        assert any("malformed" in e["message"] for e in wait_events(g, "error"))
        still_works(g)


# ---- S12: packets and handshakes ----

def raw_connect(g):
    s = socket.create_connection(("127.0.0.1", g.ports["box"]), timeout=20)
    s.settimeout(20)
    return s


@sanitize
@pytest.mark.parametrize("junk", [
    b"\0" * 64, b"GET / HTTP/1.0\r\n\r\n", b"SSH-1.5-old\r\n", b"A" * 100000,
    b"SSH-2.0-x\r\n" + struct.pack(">IB", 0x7fffffff, 4) + b"\x14" * 60,
    b"SSH-2.0-x\r\n" + struct.pack(">IB", 300000, 4) + b"\x14" * 60,
    b"SSH-2.0-x\r\n" + struct.pack(">IB", 12, 200) + b"\x14" * 60,
])
def test_S12_junk_instead_of_a_handshake(sshd, junk):
    with guard(sshd, EXEC) as g:
        with raw_connect(g) as s:
            try:
                s.sendall(junk)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except OSError:  # the guard was quicker
                pass
        r.wait_for(lambda: g.events("session.close"), 20)
        assert g.rss() < 100 << 20 or r.SLOWNESS > 1
        still_works(g)


# ---- S1: logins that are none ----

@sanitize
def test_S1_client_cannot_declare_itself_logged_in(sshd):
    """USERAUTH_SUCCESS from the client (CVE-2018-10933), before and after a refused login."""
    import paramiko
    with Issuer() as idp, guard(sshd, EXEC, issuers=f"issuers:\n- {idp.yaml()}\n") as g:
        accepted = sshd.text().count("Accepted")
        for refused_first in (False, True):
            t = paramiko_transport(g.ports["box"])
            if refused_first:
                with pytest.raises(paramiko.AuthenticationException):
                    t.auth_password("agent", "x", fallback=False)
            m = paramiko.Message()
            m.add_byte(bytes([52]))
            t._send_message(m)
            t.authenticated, t.auth_handler = True, None
            with pytest.raises((paramiko.SSHException, EOFError, OSError)):
                t.open_session(timeout=5).exec_command("echo pwned")
            t.close()
        r.wait_for(lambda: len(g.events("session.close")) == 2, 10)
        assert not g.events("statement") and not [e for e in g.events("auth") if e["ok"]]
        assert sshd.text().count("Accepted") == accepted
        t = paramiko_transport(g.ports["box"])
        t.auth_password("agent", idp.token(sub="ann"), fallback=False)
        c = t.open_session()
        c.exec_command("echo fine")
        assert c.recv(100) == b"fine\n"
        t.close()


def test_S1_offered_key_is_no_login(sshd):
    """A key proves something to the guard that it cannot pass on (GHSA-3cjp-w4cp-m9c8)."""
    import paramiko
    with Issuer() as idp, guard(sshd, EXEC, issuers=f"issuers:\n- {idp.yaml()}\n") as g:
        accepted = sshd.text().count("Accepted")
        t = paramiko_transport(g.ports["box"])
        key = paramiko.Ed25519Key.from_private_key_file(str(sshd.client_key))
        with pytest.raises(paramiko.BadAuthenticationType):
            t.auth_publickey(sshd.user, key)
        assert not t.is_authenticated() and b"own keys cannot be relayed" in t.get_banner()
        with pytest.raises((paramiko.SSHException, EOFError, OSError)):
            t.open_session(timeout=5)
        t.close()
        r.wait_for(lambda: g.events("session.close"), 10)
        assert sshd.text().count("Accepted") == accepted and not g.events("statement")
        t = paramiko_transport(g.ports["box"])
        t.auth_password("agent", idp.token(sub="ann"), fallback=False)
        t.close()


# ---- live: kill, policy ----

@sanitize
def test_kill(sshd):
    with guard(sshd, ANY) as g:
        t = logged_in(g)
        c = t.open_session()
        c.exec_command("echo ready; sleep 60")
        assert c.recv(100) == b"ready\n"
        session = next(iter(g.records()))
        g.kubectl_guard("kill", session)
        r.wait_for(lambda: not t.is_active(), 10)
        r.wait_for(lambda: [e for e in g.events("session.close") if "killed" in e["reason"]], 10)


@sanitize
def test_policy_change_holds_for_the_next_command(sshd):
    from ssh_test import policies
    with guard(sshd, EXEC) as g:
        t = logged_in(g)
        c = t.open_session()
        c.exec_command("echo one")
        assert c.recv_exit_status() == 0
        g.set_policies(policies(sshd, EXEC.replace("[echo, '...']", "[nothing]")))
        r.wait_for(lambda: len(g.log("policy.loaded")) >= 2, 15)

        def denied():
            c = t.open_session()
            c.exec_command("echo two")
            return c.recv_exit_status() == 126
        r.wait_for(denied, 10)
        t.close()
