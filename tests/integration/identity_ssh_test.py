# SPDX-License-Identifier: Apache-2.0
"""Tokens where SSH has a password: forged ones, real clients, the end of a session with its token, and the guard's own login
with a key that is exchanged. What is refused is recorded, unseen by the target, and an honest login works after it."""
import os
import subprocess
import threading
import time

import paramiko
import pytest

from support import run
from support.forged import FORGED
from support.guard import Guard
from support.impostor import Impostor
from support.issuer import Issuer
from support.sshd import Sshd

CANARY = "canary-ssh-only-the-guard-knows"
POD_UID = "5f1c2d0a-pod"
EXEC = "{name: some, action: Allow, ssh: {requests: [exec], argv: [[echo, '...'], [sleep, '*']]}}"
ASKPASS = """#!/bin/sh
# What docs/ssh.md shows: OpenSSH takes 1023 bytes of an answer, and the guard asks for the rest.
at=$(expr "$1" : '.*from byte \\([0-9]*\\)')
tail -c "+${at:-1}" "$TOKEN_FILE" | head -c 1023
"""


@pytest.fixture(scope="module")
def sshd():
    with Sshd() as s:
        yield s


@pytest.fixture(scope="module")
def idp():
    with Issuer() as i:
        yield i


def policies(port, host_key, subjects="[]", identity=None, pins=""):
    return f"""
apiVersion: chaperone.dev/v1alpha1
kind: GuardTarget
metadata: {{name: box, namespace: agents}}
spec:
  protocol: ssh
  hosts: [127.0.0.1]
  ports: [{port}]
  credentials: {{secretRef: {{name: box-key}}}}
  ssh: {{hostKeys: ["{host_key}"]}}
---
apiVersion: chaperone.dev/v1alpha1
kind: GuardPolicy
metadata: {{name: p, namespace: agents}}
spec:
  subjects: {subjects}
  targets: [{{name: box{pins}}}]
  rules: [{EXEC}]
  {f"identity: {identity}" if identity else ""}
"""


def key_login(sshd, key=None):
    return {"ssh-privatekey": (key or sshd.client_key).read_text(), "username": sshd.user}


def make_guard(sshd, idp, secret=None, **kw):
    return Guard(policies(sshd.port, sshd.host_key, **kw), listen={"box": None}, issuers=f"issuers: [{idp.yaml()}]\n",
                 secrets={"box-key": secret or key_login(sshd)}, extra=["--pod-uid", POD_UID])


@pytest.fixture(scope="module")
def guard(sshd, idp):
    with make_guard(sshd, idp) as g:
        yield g


class Client:
    """paramiko, one connection."""

    def __init__(self, g):
        self.transport = paramiko.Transport(("127.0.0.1", g.ports["box"]))
        self.transport.start_client(timeout=15 * run.SLOWNESS)
        self.transport.auth_timeout = 15 * run.SLOWNESS

    def password(self, text):
        return self.transport.auth_password("agent", text, fallback=False)

    def interactive(self, text):
        return self.transport.auth_interactive("agent", lambda _t, _i, prompts: [text for _ in prompts])

    def open(self, command):
        channel = self.transport.open_session(timeout=15 * run.SLOWNESS)
        channel.exec_command(command)
        return channel

    def run(self, command):
        channel = self.open(command)
        out = channel.makefile("rb").read().decode()
        return channel.recv_exit_status(), out

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.transport.close()


def log_in(g, token):
    c = Client(g)
    c.password(token)
    return c


def auths(g, outcome):
    return [e for e in g.events("auth") if e["outcome"] == outcome]


def wait_auths(g, n, outcome):
    return run.wait_for(lambda: len(auths(g, outcome)) >= n and auths(g, outcome), 10,
                        what=f"{n} auth records with outcome {outcome}")


def reached(sshd):
    return sshd.text().count("Connection from")


# ---- forged tokens ----

SANITIZED = {"empty", "alg none", "over the limit", "truncated", "duplicate claims", "another's key"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.sanitize] if n in SANITIZED else [])
                                  for n in FORGED if n != "one megabyte"])
def test_forged_token(sshd, guard, idp, name):
    """As a password and as an answer to keyboard-interactive; then the honest one on the same connection."""
    make, reason = FORGED[name]
    before, recorded = reached(sshd), len(auths(guard, "Refused"))
    with Client(guard) as c:
        for way in (c.password, c.interactive):
            with pytest.raises(paramiko.AuthenticationException):
                way(make(idp))
        lines = wait_auths(guard, recorded + 2, "Refused")[recorded:]
        assert all(reason in e["reason"] and "token" not in e and not e["ok"] for e in lines), lines
        assert reached(sshd) == before, "a connection was opened for a forged token"
        c.password(idp.token())
        assert c.run("echo fine") == (0, "fine\n")


@pytest.mark.sanitize
@pytest.mark.parametrize("way", ["password", "interactive"])
def test_one_megabyte(sshd, guard, idp, way):
    """More than a packet of SSH may be long: the connection ends, and the record says why."""
    before, closed = reached(sshd), len(guard.events("session.close"))
    with Client(guard) as c, pytest.raises((paramiko.SSHException, EOFError, OSError)):
        getattr(c, way)(FORGED["one megabyte"][0](idp))
    run.wait_for(lambda: len(guard.events("session.close")) > closed, 10, what="the session's end")
    assert any(e["verdict"] == "Deny" and "login of the agent" in e["reason"] for e in guard.events("decision"))
    assert reached(sshd) == before
    with log_in(guard, idp.token()) as c:
        assert c.run("echo fine") == (0, "fine\n")


def test_no_more_than_six_attempts(sshd, guard, idp):
    before = reached(sshd)
    with Client(guard) as c:
        for n in range(6):
            with pytest.raises(paramiko.SSHException):
                c.password(f"guess-{n}")
        run.wait_for(lambda: not c.transport.is_active(), 10, what="the end of the connection")
    assert reached(sshd) == before
    log_in(guard, idp.token()).__exit__()


# ---- clients ----

def openssh(g, token, method, *command):
    directory = run.temp_dir("askpass")
    run.write_file(directory / "token", token, mode=0o600)
    askpass = run.write_file(directory / "askpass", ASKPASS, mode=0o700)
    return subprocess.run(
        ["setsid", "ssh", "-F", "none", "-o", f"UserKnownHostsFile={g.trust}/known_hosts", "-o", "GlobalKnownHostsFile=/dev/null",
         "-o", "StrictHostKeyChecking=yes", "-o", "LogLevel=ERROR", "-o", f"PreferredAuthentications={method}",
         "-o", "NumberOfPasswordPrompts=1", "-p", str(g.ports["box"]), "agent@127.0.0.1", *command],
        env={"PATH": os.environ["PATH"], "SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force",
             "TOKEN_FILE": str(directory / "token")},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60 * run.SLOWNESS)


def token_of(idp, length, **claims):
    """A token of at least that many bytes; of exactly that many where base64 has such a length."""
    pad, token = 0, idp.token(**claims)
    while len(token) < length:
        pad += max(1, (length - len(token)) // 4 * 3)
        token = idp.token(padding="x" * pad, **claims)
    return token


@pytest.mark.sanitize
@pytest.mark.parametrize("length", [600, 1023, 1300, 2046, 5000])
def test_openssh_keyboard_interactive(sshd, guard, idp, length):
    """A pod's token is longer than the 1023 bytes that OpenSSH sends as one answer: the rest is asked for."""
    token = token_of(idp, length, sub=f"len-{length}")
    done = openssh(guard, token, "keyboard-interactive", "echo", "in")
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
    line = [e for e in wait_auths(guard, 1, "Accepted") if e["token"]["subject"] == f"len-{length}"]
    assert len(line) == 1 and line[0]["method"] == "token"


def test_openssh_password(sshd, guard, idp):
    done = openssh(guard, idp.token(), "password", "echo", "in")
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
    before, recorded = reached(sshd), len(auths(guard, "Refused"))
    for method in ("password", "keyboard-interactive"):
        done = openssh(guard, idp.token(ttl=-100), method, "echo", "in")
        assert done.returncode == 255 and not done.stdout and "Permission denied" in done.stderr, done.stderr
    assert all("has expired" in e["reason"] for e in wait_auths(guard, recorded + 2, "Refused")[recorded:])
    done = openssh(guard, token_of(idp, 1300, ttl=-100), "keyboard-interactive", "echo", "in")
    assert done.returncode == 255 and not done.stdout
    assert "has expired" in wait_auths(guard, recorded + 3, "Refused")[-1]["reason"]
    assert reached(sshd) == before


@pytest.mark.sanitize
@pytest.mark.parametrize("length", [600, 1023, 4000])
def test_paramiko_keyboard_interactive(sshd, guard, idp, length):
    """It sends any length at once; one that happens to be as long as OpenSSH's limit is not asked about."""
    with Client(guard) as c:
        c.interactive(token_of(idp, length))
        assert c.run("echo in") == (0, "in\n")


def test_pieces_without_an_end(sshd, guard, idp):
    """Somebody who answers on and on with 1023 bytes is refused at the limit of tokens."""
    asked = []

    def answer(_title, _instructions, prompts):
        asked.extend(prompts)
        return ["x" * 1023 for _ in prompts]
    before, recorded = reached(sshd), len(auths(guard, "Refused"))
    with Client(guard) as c:
        with pytest.raises(paramiko.SSHException):
            c.transport.auth_interactive("agent", answer)
        assert "longer than 16384" in wait_auths(guard, recorded + 1, "Refused")[-1]["reason"]
        assert 10 < len(asked) < 20 and reached(sshd) == before
        c.interactive(idp.token())
        assert c.run("echo fine") == (0, "fine\n")


# ---- the end of a session ----

@pytest.mark.sanitize
@pytest.mark.parametrize("at_once", [True, False])
def test_a_session_ends_with_its_token(sshd, idp, at_once):
    """At once when policy says so; else within a minute: 45 s after the expiry, seen here from 41."""
    with make_guard(sshd, idp, identity="{endAtExpiry: true}" if at_once else None) as g:
        begun, lasts = time.time(), 3 if at_once else 4
        token = idp.token(ttl=3 if at_once else -41, iat=int(time.time()) - 100)
        with log_in(g, token) as c:
            channel = c.open("sleep 60")
            told = channel.makefile_stderr("rb").read().decode()
            run.wait_for(lambda: not c.transport.is_active(), 10, what="the end of the connection")
            assert lasts - 1.5 < time.time() - begun < lasts + 8 * run.SLOWNESS
            assert "the session's token has expired" in told, told
        line = wait_auths(g, 1, "Expired")[0]
        assert line["token"]["subject"] == "ann" and line["reason"] == "the token has expired"
        run.wait_for(lambda: "expired" in g.events("session.close")[0]["reason"], 10, what="the end in the record")
        with pytest.raises(paramiko.AuthenticationException), Client(g) as c:
            c.password(idp.token(ttl=-100))
        with log_in(g, idp.token()) as c:
            assert c.run("echo fine") == (0, "fine\n")


@pytest.mark.sanitize
def test_a_group_that_policy_drops_ends_its_sessions(sshd, idp):
    with make_guard(sshd, idp, subjects="[{groups: [dba, sre]}]") as g:
        with log_in(g, idp.token(groups=["sre"])) as sre, log_in(g, idp.token(groups=["dba"])) as dba:
            channel = sre.open("sleep 60")
            g.set_policies(policies(sshd.port, sshd.host_key, subjects="[{groups: [dba]}]"))
            run.wait_for(lambda: not sre.transport.is_active(), 20, what="the end of the session")
            assert channel.closed
            assert dba.run("echo fine") == (0, "fine\n")
        before = reached(sshd)
        with pytest.raises(paramiko.SSHException), Client(g) as c:
            c.password(idp.token(groups=["sre"]))
        assert reached(sshd) == before
        assert any("policy has changed" in e["reason"] for e in g.events("session.close"))


# ---- the guard's login ----

def test_the_key_rotates_under_load(sshd, idp):
    """Logins never stop; once sshd and the Secret have the new key, none fails, without a restart."""
    with make_guard(sshd, idp) as g:
        stop, log = threading.Event(), []

        def drive():
            while not stop.is_set():
                begun, ok = time.monotonic(), False
                try:
                    with log_in(g, idp.token()) as c:
                        ok = c.run("echo on") == (0, "on\n")
                except (paramiko.SSHException, OSError, EOFError):
                    pass
                log.append((begun, time.monotonic(), ok))

        def more(n):
            have = len(log)
            run.wait_for(lambda: len(log) > have + n, 30, what="logins")
        threads = [threading.Thread(target=drive) for _ in range(2)]
        for t in threads:
            t.start()
        windows = []
        try:
            for n in range(3):
                more(8)
                key = sshd.new_key(f"rolling-{n}-{os.getpid()}")
                begun = time.monotonic()
                sshd.authorize(key)
                g.mount_secret("box-key", key_login(sshd, key))
                windows.append((begun, time.monotonic()))
            more(10)
        finally:
            stop.set()
            for t in threads:
                t.join(60)
            sshd.authorize(sshd.client_key)
        failed = [(a, b) for a, b, ok in log if not ok]
        assert len(log) > 30 and len(failed) < len(log) / 2
        for a, b in failed:
            assert any(a <= end and b >= begun for begun, end in windows), "a login failed after the change"


def test_policy_pins_the_user(sshd, idp):
    """Whatever the Secret and the agent say; another pin ends the session."""
    pin = f", credentials: {{user: {sshd.user}}}"
    with make_guard(sshd, idp, {**key_login(sshd), "username": "somebody"}, pins=pin) as g:
        with log_in(g, idp.token()) as c:
            assert c.run("echo fine") == (0, "fine\n")
            assert wait_auths(g, 1, "Accepted")[0]["upstreamUser"] == sshd.user
            g.set_policies(policies(sshd.port, sshd.host_key, pins=", credentials: {user: other}"))
            run.wait_for(lambda: not c.transport.is_active(), 20, what="the end of the session")
        with pytest.raises(paramiko.SSHException), Client(g) as c:
            c.password(idp.token())
        assert wait_auths(g, 1, "Refused")[0]["upstreamUser"] == "other"


# ---- where the secret must not go ----

class SshImpostor(Impostor, paramiko.ServerInterface):
    """An SSH server that notes what it is told before it refuses."""

    def __init__(self, key):
        super().__init__()
        self.key, self.told = key, []

    def talk(self, client):
        transport = paramiko.Transport(client)
        transport.add_server_key(self.key)
        try:
            transport.start_server(server=self)
            transport.join(20)
        except paramiko.SSHException:
            pass
        finally:
            transport.close()

    def get_allowed_auths(self, username):
        self.told.append(username)
        return "password,publickey"

    def check_auth_none(self, username):
        self.told.append(username)
        return paramiko.AUTH_FAILED

    def check_auth_password(self, username, password):
        self.told.append((username, password))
        return paramiko.AUTH_FAILED

    def check_auth_publickey(self, username, key):
        self.told.append((username, key.get_base64()))
        return paramiko.AUTH_FAILED


def line_of(key):
    return f"{key.get_name()} {key.get_base64()}"


@pytest.mark.sanitize
@pytest.mark.parametrize("kind", ["password", "key"])
def test_an_impostor_never_gets_the_secret(sshd, idp, kind):
    """With another host key than the pinned one it is told nothing, not even a name; with the pinned one it would be."""
    own, pinned = paramiko.ECDSAKey.generate(bits=256), paramiko.ECDSAKey.generate(bits=256)
    secret = {"username": "svc", "password": CANARY} if kind == "password" else {**key_login(sshd), "username": "svc"}
    with SshImpostor(own) as bad, Guard(policies(bad.port, line_of(pinned)), listen={"box": None}, secrets={"box-key": secret},
                                     issuers=f"issuers: [{idp.yaml()}]\n") as g:
        with pytest.raises(paramiko.SSHException), Client(g) as c:
            c.password(idp.token())
        run.wait_for(lambda: bad.served == 1, 10, what="the end of the connection")
        assert bad.told == []
        assert "host key" in wait_auths(g, 1, "Refused")[0]["reason"]
        g.set_policies(policies(bad.port, line_of(own)))

        def told():
            with pytest.raises(paramiko.SSHException), Client(g) as c:
                c.password(idp.token())
            return bad.told
        assert "svc" in str(run.wait_for(told, 15, what="what the pinned server is told"))
        texts = g.stderr() + "".join(p.read_text() for p in g.record_files()) + g.http_get("/metrics")[1]
        assert CANARY not in texts and sshd.client_key.read_text().splitlines()[2] not in texts
