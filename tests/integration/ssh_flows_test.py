# SPDX-License-Identifier: Apache-2.0
"""What happens to an SSH session from login to end: passwords, tickets, times that run out, records that cannot be written,
people who watch, guards that start anew."""

import json
import os
import re
import subprocess
import time

import pytest

from support import run as r
from support.guard import Guard
from support.passwords import PasswordSshd
from support.sshd import Sshd

from ssh_test import (ASK, EXEC, PASS_THROUGH, TARGET, files_rule, guard, paramiko_transport, policies, requested, sftp, spawn,
                      ssh, ssh_options, wait_events)

ANY = "{name: any, action: Allow, ssh: {requests: [exec, shell, pty]}}"
root_only = pytest.mark.skipif(not r.is_root(), reason="needs root")


@pytest.fixture(scope="module")
def sshd():
    with Sshd() as s:
        yield s


@pytest.fixture(scope="module", params=["password", "prompts"])
def passwords(request):
    if not r.is_root():
        pytest.skip("a user of one's own needs root")
    with PasswordSshd(ask=request.param == "prompts") as s:
        yield s


def run_on(t, command):
    c = t.open_session()
    c.exec_command(command)
    out = b""
    while piece := c.recv(1000):
        out += piece
    return c.recv_exit_status(), out


def sessions(sshd):
    return sshd.text().count("Starting session")


def refusal(done):
    """The one line of a refused command."""
    assert done.returncode == 126 and done.stdout == b"", (done.returncode, done.stdout, done.stderr)
    line, = done.stderr.decode().splitlines()
    assert line.startswith("chaperone: ") and re.search(r"\(request [0-9A-Z]{26}/\d+\)$", line), line
    return line


def nowhere(g, secret):
    """Neither in the log nor in the records."""
    for text in (g.stderr(), *(p.read_text() for p in g.record_files())):
        assert secret not in text


# ---- passwords ----

@pytest.mark.sanitize
def test_the_agents_own_password_is_relayed(passwords):
    """After a wrong one, on the same connection; the user is the agent's choice, the password nobody's to read."""
    import paramiko
    with guard(passwords, "{name: id, action: Allow, ssh: {requests: [exec], argv: [[id, '-un']]}}", target=PASS_THROUGH) as g:
        t = paramiko_transport(g.ports["box"])
        with pytest.raises(paramiko.AuthenticationException):
            t.auth_password(passwords.user, "wrong" + passwords.password, fallback=False)
        t.auth_password(passwords.user, passwords.password, fallback=False)
        assert run_on(t, "id -un") == (0, b"deploy\n")
        assert run_on(t, "id -u")[0] == 126
        t.close()
        t = paramiko_transport(g.ports["box"])
        t.auth_interactive(passwords.user, lambda _title, _text, prompts: [passwords.password for _ in prompts])
        assert run_on(t, "id -un") == (0, b"deploy\n")
        t.close()
        auth = wait_events(g, "auth", 3)
        assert [a["ok"] for a in auth] == [False, True, True]
        assert {a["upstreamUser"] for a in auth} == {"deploy"}
        nowhere(g, passwords.password)


def test_openssh_with_a_password(passwords, tmp_path):
    ask = r.write_file(tmp_path / "ask", f"#!/bin/sh\necho '{passwords.password}'\n", mode=0o700)
    with guard(passwords, EXEC, target=PASS_THROUGH) as g:
        options = [o for o in ssh_options(g) if o != "BatchMode=yes"]
        argv = ["ssh", *options[:-1], "-p", str(g.ports["box"]), "deploy@127.0.0.1", "echo", "in"]
        env = {"PATH": os.environ["PATH"], "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        done = subprocess.run(argv, capture_output=True, timeout=60 * r.SLOWNESS, stdin=subprocess.DEVNULL, env=env)
        assert (done.returncode, done.stdout) == (0, b"in\n"), done.stderr


@pytest.mark.sanitize
def test_the_guards_password_is_injected(passwords):
    with guard(passwords, EXEC, secret={"username": "deploy", "password": passwords.password}) as g:
        assert ssh(g, "echo", "in").stdout == b"in\n"
        auth, = wait_events(g, "auth")
        assert auth["ok"] and auth["user"] == "agent" and auth["upstreamUser"] == "deploy"
        g.mount_secret("box-key", {"username": "deploy", "password": "rotated away"})
        done = ssh(g, "echo", "in")
        assert done.returncode == 255 and b"refused the login of 'deploy'" in done.stderr
        g.mount_secret("box-key", {"username": "deploy", "password": passwords.password})
        assert ssh(g, "echo", "in").stdout == b"in\n"
        nowhere(g, passwords.password)


# ---- tickets ----

TICKET = ("{name: ask, action: RequireApproval, ssh: {requests: [exec]}, "
          "approval: {delivery: Ticket, allowSelf: true, timeout: 60s, validFor: 5m, uses: 1}}")


def ticket_of(done):
    line = refusal(done)
    assert "rule 'ask' of policy 'agents'" in line and "run the same again" in line
    return re.search(r"needs approval ([a-z2-7]{12}) ", line).group(1)


@pytest.mark.sanitize
def test_a_ticket_lets_the_same_command_through_once(sshd, tmp_path):
    with guard(sshd, TICKET) as g:
        before = sessions(sshd)
        command = f"echo x >>{tmp_path}/mark"
        first = ticket_of(ssh(g, command))
        assert ticket_of(ssh(g, command)) == first, "the same question is asked once"
        g.kubectl_guard("approve", first, "--reason", "go")
        assert ticket_of(ssh(g, command + " ")) != first, "another text is another question"
        assert ticket_of(ssh(g, command, options=["-o", "SetEnv=LC_TIME=C"])) != first, "another environment, too"
        assert sessions(sshd) == before and not (tmp_path / "mark").exists()
        assert ssh(g, command).returncode == 0
        assert (tmp_path / "mark").read_text() == "x\n"
        assert ticket_of(ssh(g, command)) != first, "used up"
        assert (tmp_path / "mark").read_text() == "x\n" and sessions(sshd) == before + 1
        phases = [e["phase"] for e in g.events("approval") if e["id"] == first]
        assert phases.count("Granted") == 1


def test_a_ticket_of_somebody_else_is_worth_nothing(sshd):
    """The grant is for whom the guard logs in as, too."""
    with guard(sshd, TICKET) as g:
        first = ticket_of(ssh(g, "echo $HOME"))
        g.kubectl_guard("approve", first, "--reason", "go")
        argv = ["ssh", *ssh_options(g), "-p", str(g.ports["box"]), "other@127.0.0.1", "echo $HOME"]
        done = subprocess.run(argv, capture_output=True, timeout=60 * r.SLOWNESS, stdin=subprocess.DEVNULL)
        assert ticket_of(done) != first
        assert ssh(g, "echo $HOME").returncode == 0


def test_a_denied_ticket(sshd):
    with guard(sshd, TICKET) as g:
        first = ticket_of(ssh(g, "echo $HOME"))
        g.kubectl_guard("deny", first, "--reason", "no")
        assert ticket_of(ssh(g, "echo $HOME")) != first


# ---- held requests that nobody answers ----

@pytest.mark.sanitize
def test_time_runs_out(sshd, tmp_path):
    quick = ASK.replace("timeout: 30s", "timeout: 1s")
    with guard(sshd, quick, EXEC.replace("some", "plain")) as g:
        done = ssh(g, f"touch {tmp_path}/mark; true")
        assert done.returncode == 126 and done.stdout == b""
        waits, line = done.stderr.decode().splitlines()
        assert "waits for approval" in waits
        assert "(rule 'ask' of policy 'agents') was not decided in time; run it again" in line
        assert not (tmp_path / "mark").exists()
        assert any("not decided in time" in e["reason"] for e in wait_events(g, "decision"))


def test_policy_changes_while_a_command_is_held(sshd, tmp_path):
    """The new policy is asked: it denies, and nobody waits any more."""
    with guard(sshd, ASK) as g:
        child = spawn(g, f"touch {tmp_path}/mark; true")
        requested(g)
        g.set_policies(policies(sshd, EXEC))
        out, err = child.communicate(timeout=30 * r.SLOWNESS)
        assert child.returncode == 126 and b"no rule of policy 'agents'" in err, err
        assert not (tmp_path / "mark").exists()
        assert [e for e in g.events("approval") if e["phase"] == "Withdrawn"]


def test_other_channels_go_on_while_one_waits(sshd):
    """And keep-alives: three unanswered ones in three seconds would end this client."""
    with guard(sshd, ASK, "{name: echo, action: Allow, ssh: {requests: [exec], argv: [[echo, '...']]}}",
               ) as g:
        child = spawn(g, "echo $((6*7))")
        ident = requested(g)
        begun = time.monotonic()
        while time.monotonic() - begun < 4:
            assert child.poll() is None
            time.sleep(0.2)
        g.kubectl_guard("approve", ident, "--reason", "ok")
        out, _ = child.communicate(timeout=20 * r.SLOWNESS)
        assert (child.returncode, out) == (0, b"42\n")


# ---- records that cannot be written ----

@pytest.fixture
def small_spool(sshd):
    """A guard whose spool is a disk of its own, with room for little."""
    g = guard(sshd, ANY, files_rule("/tmp"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k,mode=700", "none", g.spool], check=True)
    try:
        with g:
            yield g
    finally:
        subprocess.run(["umount", "-l", g.spool], check=False)


def ready_again(g):
    r.wait_for(lambda: ssh(g, "echo", "again").stdout == b"again\n", 20, what="recovery after there was room again")
    r.wait_for(lambda: g.http_get("/readyz")[0] == 200, 10, what="readiness")


@root_only
def test_a_full_spool_refuses_commands_and_recovers(sshd, small_spool, tmp_path):
    g = small_spool
    t = paramiko_transport(g.ports["box"])
    t.auth_none("agent")
    status, n = 0, 0
    while status == 0 and n < 200:
        n += 1
        status, _ = run_on(t, f"echo {n} >{tmp_path}/{n}; seq 1 2000")
        if not t.is_active():
            break
    assert n < 200, "the spool never filled"
    before = sessions(sshd)
    done = ssh(g, f"touch {tmp_path}/mark")
    assert done.returncode in (126, 255) and b"cannot be recorded" in done.stderr, done.stderr
    assert not (tmp_path / "mark").exists() and sessions(sshd) == before
    put = sftp(g, f"put /etc/hostname {tmp_path}/mark\n")
    assert put.returncode != 0 and not (tmp_path / "mark").exists()
    assert g.http_get("/readyz")[0] != 200
    subprocess.run(["mount", "-o", "remount,size=64m", g.spool], check=True)
    ready_again(g)
    for path in g.record_files():
        assert not re.search(r"seq \d+ .*break", g.kubectl_guard("verify", path, check=False).stdout)
    t.close()


@root_only
def test_a_spool_that_becomes_read_only(sshd, small_spool, tmp_path):
    g = small_spool
    assert ssh(g, "echo", "x").returncode == 0
    subprocess.run(["mount", "-o", "remount,ro", g.spool], check=True)
    before = sessions(sshd)
    done = ssh(g, f"touch {tmp_path}/mark")
    assert done.returncode in (126, 255) and b"cannot be recorded" in done.stderr, done.stderr
    assert not (tmp_path / "mark").exists() and sessions(sshd) == before
    subprocess.run(["mount", "-o", "remount,rw", g.spool], check=True)
    ready_again(g)


# ---- people who watch ----

def test_tail_shows_a_session_and_kill_ends_it(sshd):
    mask = "{name: cards, action: Mask, values: {detectors: [creditCard]}}"
    with guard(sshd, ANY, mask) as g:
        child = subprocess.Popen(["ssh", *ssh_options(g), "-p", str(g.ports["box"]), "agent@127.0.0.1", "cat"],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        session = r.wait_for(lambda: g.events("statement") and next(iter(g.records())), 10)
        assert session in g.kubectl_guard("sessions").stdout
        tail = subprocess.Popen([r.program("kubectl-guard"), "--socket", g.control, "tail", session, "--json"],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        try:
            seen = []

            def typed():
                child.stdin.write(b"4111111111111111\n")
                child.stdin.flush()
                os.set_blocking(tail.stdout.fileno(), False)
                seen.extend(json.loads(x) for x in (tail.stdout.read() or "").splitlines())
                return [e for e in seen if e.get("stream") == "stdout"]
            first = r.wait_for(typed, 10, what="output in the tail", interval=0.3)[0]
            assert first["text"].startswith("*" * 16)
            g.kubectl_guard("kill", session)
            assert child.wait(timeout=20 * r.SLOWNESS) != 0
            assert b"killed" in child.stderr.read()
            r.wait_for(lambda: [e for e in g.events("session.close") if "killed" in e["reason"]], 10)
        finally:
            r.stop(tail)
            r.stop(child)
        assert ssh(g, "echo", "next").stdout == b"next\n"


TRICKS = {"title": "\\033]0;owned\\007", "clipboard": "\\033]52;c;cm0gLXJmIC8=\\007", "link": "\\033]8;;http://x/\\033\\\\x\\033]8;;\\033\\\\",
          "asks": "\\033[6n\\033[c\\033]11;?\\007", "device": "\\033P+q544e\\033\\\\", "keys": "\\033P1;1|17/0a\\033\\\\",
          "report": "\\033[21t", "c1": "\\302\\2350;x\\007", "bracketed": "\\033[200~id\\033[201~", "printer": "\\033[5i"}


@pytest.mark.parametrize("pty", [False, True], ids=["pipe", "terminal"])
def test_replay_and_cast_have_no_terminal_tricks(sshd, pty):
    """S13: what a terminal stores, answers or executes is shown as text, or left out of a cast; colours stay there."""
    program = "printf '" + "".join(f"<{k}>{v}" for k, v in TRICKS.items()) + "\\033[31mred\\033[0m end\\n'"
    with guard(sshd, ANY) as g:
        assert ssh(g, program, options=["-tt"] if pty else []).returncode == 0
        wait_events(g, "session.close")
        path, = g.record_files()
        shown = g.kubectl_guard("replay", path).stdout
        assert "red" in shown and "owned" in shown
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown)
        cast = g.dir / "cast"
        g.kubectl_guard("export", path, "--asciicast", cast)
        played = "".join(json.loads(x)[2] for x in cast.read_text().splitlines()[1:])
        assert "end" in played and "\x1b[31mred\x1b[0m" in played
        for trick in ("\x1b]", "\x1bP", "\x1b[6n", "\x1b[c", "\x1b[21t", "\x1b[5i", "\x9d", "\x1b[200~"):
            assert trick not in played, repr(trick)
        live = g.kubectl_guard("export", path, "--json", check=False)
        assert "\x1b" not in live.stdout


# ---- guards that start anew ----

def test_the_host_key_is_kept_over_a_restart(sshd, tmp_path):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    with guard(sshd, EXEC, extra=["--state", state]) as g:
        known = (g.trust / "known_hosts").read_text()
        assert ssh(g, "echo", "x").returncode == 0
        assert (state / "ssh_host_ed25519_key").stat().st_mode & 0o777 == 0o600
        g.kill()
        g.start()
        assert (g.trust / "known_hosts").read_text() == known
        mine = r.write_file(tmp_path / "known", known)
        assert ssh(g, "echo", "x", options=["-o", f"UserKnownHostsFile={mine}"]).returncode == 0
        g.kill()
        (state / "ssh_host_ed25519_key").write_text("nonsense")
        g.wait = False
        g.start()
        r.wait_for(lambda: g.process.poll() is not None, 10, what="the guard's refusal to start")
        assert "ssh_host_ed25519_key is no private key" in g.stderr()
