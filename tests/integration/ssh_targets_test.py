# SPDX-License-Identifier: Apache-2.0
"""S9, S10, S13, S14: targets that do not behave, protocols inside of commands, and text that is meant for the screens
of those who approve and replay."""

import struct

import pytest

from support import run as r
from support.fakesshd import FakeSshd
from support.guard import Guard
from support.sshd import Sshd
from support.tamper import Wire

from ssh_attacks_test import logged_in, message, raw_sftp, read_message, sessions, still_works
from ssh_test import (EXEC, PASS_THROUGH, files_rule, guard, paramiko_transport, pinned_user_key, policies, requested, ssh,
                      wait_events)

sanitize = pytest.mark.sanitize


@pytest.fixture(scope="module")
def sshd():
    with Sshd() as s:
        yield s


# ---- S9: protocols inside of exec ----

@pytest.mark.parametrize("command", [
    "scp -t {root}/../etc", "scp -t /etc", "scp -t {root}/a /etc/b", "scp -S sh -t {root}/a", "scp -t -o x {root}/a",
    "scp -f {root}/a", "scp -t {root}/a;id", "scp -t '{root}/a b'/../../x", "/usr/bin/scp -t {root}/a",
    "rsync --server --rsh=id . {root}/in/", "rsync --server -e. . /etc/", "rsync --server --sender -e. . {root}/in/",
    "rsync --server -e. . {root}/in/../../etc/", "rsync --daemon", "rsync -e id x: {root}/in/",
])
def test_S9_templates_of_scp_and_rsync(sshd, tmp_path, command):
    rule = ("{name: copy, action: Allow, ssh: {requests: [exec], output: AsIs, argv: "
            f"[[scp, '-t', '{tmp_path}/**'], [rsync, '--server', '-e.*', '.', '{tmp_path}/in/']]}}}}")
    with guard(sshd, rule, EXEC) as g:
        before = sessions(sshd)
        done = ssh(g, command.format(root=tmp_path))
        assert done.returncode == 126 and b"chaperone: denied" in done.stderr
        assert sessions(sshd) == before
        assert wait_events(g, "decision")[0]["verdict"] == "Deny"
        still_works(g)


@sanitize
@pytest.mark.parametrize("name", ["../../.ssh/authorized_keys", "/etc/cron.d/x", "a/b", "", "a\0b"])
def test_S9_names_that_a_target_makes_up(name):
    """A listing names files of its folder. A name that leads elsewhere is for clients that write where it says
    (CVE-2026-0964, CVE-2019-6111)."""
    def serve(channel, _):
        def listing(ident, names):
            body = struct.pack(">BII", 104, ident, len(names))
            for n in names:
                body += 2 * (struct.pack(">I", len(n)) + n.encode()) + struct.pack(">I", 0)
            channel.sendall(struct.pack(">I", len(body)) + body)
        while body := read_message(channel):
            kind, ident = body[0], int.from_bytes(body[1:5], "big")
            if kind == 1:
                channel.sendall(struct.pack(">IBI", 5, 2, 3))
            elif kind == 16:
                n = int.from_bytes(body[5:9], "big")
                listing(ident, ["/srv" if body[9:9 + n] == b"." else body[9:9 + n].decode()])
            elif kind == 11:
                channel.sendall(message(102, ident, "h"))
            elif kind == 12:
                listing(ident, ["plain", name])
    with FakeSshd(on_subsystem=serve) as d:
        with guard(d, files_rule("/srv"), secret={"password": "x", "username": "agent"}) as g:
            t = logged_in(g)
            c = raw_sftp(t)
            c.sendall(message(11, 1, "/srv"))
            assert read_message(c)[0] == 102
            c.sendall(message(12, 2, "h"))
            assert read_message(c) == b""
            assert any("malformed sftp message from the target" in e["message"] for e in wait_events(g, "error"))
            t.close()


# ---- S10: another host key ----

@sanitize
def test_S10_host_key_that_changes():
    """Nothing is learnt from the first connection, and nothing is sent to a host with another key."""
    with Sshd() as good, Sshd() as other:
        with Wire(("127.0.0.1", good.port)) as wire:
            text = policies(good, EXEC).replace(f"ports: [{good.port}]", f"ports: [{wire.port}]")
            other.authorize(good.client_key)
            with Guard(text, listen={"box": None}, secrets={"box-key": pinned_user_key(good)}) as g:
                still_works(g)
                wire.to = ("127.0.0.1", other.port)
                done = ssh(g, "echo", "x")
                assert done.returncode == 255 and b"host key" in done.stderr and b"disconnect" in done.stderr
                assert any("is none of those" in e["message"] for e in wait_events(g, "error"))
                assert "Accepted" not in other.text() and "authenticating" not in other.text().replace("preauth", "")
                wire.to = ("127.0.0.1", good.port)
                still_works(g)


# ---- S13: text for people's screens ----

SCREEN = ["\x1b]0;owned\x07", "\x1b]52;c;ZWNobyBoaQ==\x07", "\x1b]112\x07", "\x1b[2J\x1b[1;1H", "\x1bP$q\x1b\\", "\x9b31m",
          "\u202etxt.exe", "\u2066x\u2069", "\rrm -rf /", "\x08\x08\x08ls", "\x1b[8mhidden\x1b[0m", "a\u200bb"]


def harmless(text):
    bad = [c for c in text if c != "\n" and c != "\t" and
           (ord(c) < 32 or 0x7f <= ord(c) < 0xa0 or 0x200b <= ord(c) <= 0x200f or 0x202a <= ord(c) <= 0x202e or
            0x2066 <= ord(c) <= 0x2069)]
    return not bad


@pytest.mark.parametrize("trick", SCREEN)
def test_S13_escapes_on_the_screen_of_who_approves(sshd, trick):
    ask = "{name: ask, action: RequireApproval, ssh: {requests: [exec]}, approval: {timeout: 30s}}"
    with guard(sshd, ask) as g:
        t = logged_in(g)
        c = t.open_session()
        c.exec_command(f"echo {trick} end")
        ident = requested(g)
        for shown in (g.kubectl_guard("show", ident).stdout, g.kubectl_guard("list").stdout):
            assert harmless(shown), shown
        g.kubectl_guard("deny", ident, "--reason", "no")
        assert c.recv_exit_status() == 126
        t.close()


@sanitize
def test_S13_escapes_in_replay_and_tail(sshd, tmp_path):
    """The record has the bytes as they were; nothing that shows it passes them to a terminal."""
    (tmp_path / "f").write_text("".join(f"{t} line\n" for t in SCREEN))
    with guard(sshd, "{name: any, action: Allow, ssh: {requests: [exec]}}") as g:
        done = ssh(g, f"cat {tmp_path}/f")
        assert done.stdout == (tmp_path / "f").read_bytes()  # the agent gets what is there
        r.wait_for(lambda: g.events("session.close"), 10)
        assert "".join(e["text"] for e in g.events("data")) == (tmp_path / "f").read_bytes().decode()
        path, = g.record_files()
        assert harmless(g.kubectl_guard("replay", path).stdout)
        assert harmless(g.kubectl_guard("sessions").stdout)
        still_works_any(g)


def still_works_any(g):
    assert ssh(g, "echo fine").stdout == b"fine\n"


# ---- S14: prompts of the target ----

@sanitize
@pytest.mark.parametrize("prompts, answered", [
    ([("Password: ", False)], True), ([("One-time code: ", True)], False),
    ([("Password: ", False), ("Code: ", False)], False),
])
def test_S14_prompts_are_not_relayed(prompts, answered):
    """What a target asks is answered by the guard with the password it has, or not at all: the agent sees only the
    guard's own prompt."""
    import paramiko
    with FakeSshd(prompts=prompts) as d:
        with guard(d, EXEC, target=PASS_THROUGH, secret={"password": "unused"}) as g:
            seen = []

            def answer(title, instructions, asked):
                seen.extend(asked)
                return ["secret"] * len(asked)
            t = paramiko_transport(g.ports["box"])
            if answered:
                t.auth_interactive("agent", answer)
            else:
                with pytest.raises(paramiko.AuthenticationException):
                    t.auth_interactive("agent", answer)
            t.close()
            assert {text for text, _ in seen} == {"Password: "} and not any(echo for _, echo in seen)
            assert d.answers == ([["secret"]] if answered else [])
            assert [e["ok"] for e in wait_events(g, "auth")][:1] == [answered]
            assert not any("One-time" in str(e) for e in g.events())
