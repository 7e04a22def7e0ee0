# SPDX-License-Identifier: Apache-2.0
"""What people use over SSH, through the guard: the same results as directly."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import threading

import pytest

from support import netns, run as r
from support.guard import Guard
from support.sshd import Sshd

from ssh_test import (PASS_THROUGH, files_rule, guard, paramiko_transport, policies, sftp, ssh,
                      ssh_options, wait_events)

ANY = "{name: any, action: Allow, ssh: {requests: [exec]}}"
TERMINAL = "{name: term, action: Allow, ssh: {requests: [exec, shell, pty]}}"


@pytest.fixture(scope="module")
def sshd():
    with Sshd() as s:
        yield s


def rsh(g):
    return "ssh " + " ".join(ssh_options(g)) + f" -p {g.ports['box']}"


def test_rsync(sshd, tmp_path):
    (tmp_path / "src").mkdir()
    for i in range(20):
        (tmp_path / "src" / f"f{i}").write_bytes(os.urandom(5000))
    rule = (f"{{name: rsync, action: Allow, ssh: {{requests: [exec], "
            f"argv: [[rsync, '--server', '-**', '.', '{tmp_path}/dst/']], output: AsIs}}}}")
    with guard(sshd, rule) as g:
        def run(to):
            return subprocess.run(["rsync", "-a", "-e", rsh(g), f"{tmp_path}/src/",
                                   f"agent@127.0.0.1:{to}"], capture_output=True, timeout=60)
        done = run(f"{tmp_path}/dst/")
        assert done.returncode == 0, done.stderr
        assert {p.name: p.read_bytes() for p in (tmp_path / "dst").iterdir()} == \
            {p.name: p.read_bytes() for p in (tmp_path / "src").iterdir()}
        assert run(f"{tmp_path}/other/").returncode != 0
        assert not (tmp_path / "other").exists()


def test_git(sshd, tmp_path):
    def git(*args, cwd=tmp_path, **env):
        return subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@example.com",
                               "-c", "init.defaultBranch=main", *args], cwd=cwd,
                              capture_output=True, timeout=60, env={**os.environ, **env})
    bare = tmp_path / "r.git"
    git("init", "--bare", str(bare))
    rule = ("{name: git, action: Allow, ssh: {requests: [exec], output: AsIs, "
            f"argv: [[git-upload-pack, '{bare}'], [git-receive-pack, '{bare}']]}}}}")
    with guard(sshd, rule) as g:
        env = {"GIT_SSH_COMMAND": "ssh " + " ".join(ssh_options(g))}
        url = f"ssh://agent@127.0.0.1:{g.ports['box']}{bare}"
        assert git("clone", url, "work", **env).returncode == 0
        work = tmp_path / "work"
        (work / "f").write_text("x" * 100000)
        git("add", "f", cwd=work)
        git("commit", "-m", "c", cwd=work)
        pushed = git("push", "origin", "HEAD:main", cwd=work, **env)
        assert pushed.returncode == 0, pushed.stderr
        assert git("clone", "-b", "main", url, "again", **env).returncode == 0
        assert (tmp_path / "again" / "f").read_text() == "x" * 100000
        refused = git("clone", url.replace("r.git", "other.git"), "no", **env)
        assert refused.returncode != 0 and b"chaperone: denied" in refused.stderr


def test_terminal(sshd):
    with guard(sshd, TERMINAL) as g:
        done = ssh(g, options=["-tt"], input=b"stty size; echo marker-$((40+2)); exit 5\n")
        assert done.returncode == 5 and b"marker-42" in done.stdout
        path, = g.record_files()
        wait_events(g, "session.close")
        shown = g.kubectl_guard("replay", path).stdout
        assert "marker-42" in shown and "\x1b" not in shown
        cast = g.dir / "cast"
        g.kubectl_guard("export", path, "--asciicast", cast)
        lines = cast.read_text().splitlines()
        assert json.loads(lines[0])["version"] == 2
        assert "marker-42" in "".join(json.loads(x)[2] for x in lines[1:])


def test_terminal_is_denied_by_default(sshd):
    with guard(sshd, ANY) as g:
        done = ssh(g, options=["-tt"], input=b"echo $((40+2))\n")
        assert done.returncode == 255 and b"42" not in done.stdout  # OpenSSH gives up
        assert any("a terminal (pty): no rule" in e["reason"] for e in wait_events(g, "decision"))
        done = ssh(g, input=b"echo $((40+2))\n")
        assert done.returncode == 126 and b"an interactive shell: no rule" in done.stderr
        assert b"42" not in done.stdout
        assert ssh(g, "echo", "x").stdout == b"x\n"


def test_window_size_and_signal(sshd):
    with guard(sshd, TERMINAL, target=PASS_THROUGH.replace("  ssh:", "  credentials: {{secretRef: "
               "{{name: box-key}}}}\n  ssh:")) as g:
        t = paramiko_transport(g.ports["box"])
        t.auth_none("agent")
        c = t.open_session()
        c.get_pty("xterm", 91, 27)
        c.exec_command("stty size; read x; stty size")
        assert b"27 91" in c.recv(100)
        c.resize_pty(50, 11)
        c.sendall(b"\n")
        out = b""
        while b"11 50" not in out:
            piece = c.recv(100)
            assert piece, out
            out += piece
        assert c.recv_exit_status() == 0
        t.close()


def test_exit_signal(sshd):
    with guard(sshd, ANY) as g:
        t = paramiko_transport(g.ports["box"])
        t.auth_none("agent")
        c = t.open_session()
        c.exec_command("kill -9 $$")
        assert c.recv_exit_status() == -1  # ended by a signal, as directly
        t.close()
        r.wait_for(lambda: [e for e in g.events("result") if e.get("exitSignal") == "KILL"], 10)


def test_paramiko_sftp(sshd, tmp_path):
    import paramiko
    data = os.urandom(3_000_000)
    with guard(sshd, files_rule(tmp_path)) as g:
        t = paramiko_transport(g.ports["box"])
        t.auth_none("agent")
        s = paramiko.SFTPClient.from_transport(t)
        with s.open(f"{tmp_path}/f", "wb") as f:
            f.set_pipelined(True)
            f.write(data)
        with s.open(f"{tmp_path}/f", "rb") as f:
            f.prefetch()
            assert f.read() == data
        assert s.stat(f"{tmp_path}/f").st_size == len(data)
        assert [a.filename for a in s.listdir_attr(str(tmp_path))] == ["f"]
        with pytest.raises(PermissionError):
            s.open("/etc/shadow")
        s.remove(f"{tmp_path}/f")
        assert not (tmp_path / "f").exists()
        t.close()


def test_ansible_ping(sshd, tmp_path):
    ansible = pathlib.Path(sys.executable).parent / "ansible"
    if not ansible.exists():
        pytest.skip("ansible-core is not installed")
    rules = ["{name: sh, action: Allow, ssh: {requests: [exec, pty]}}",
             "{name: tmp, action: Allow, ssh: {requests: [sftp], paths: ['/root/.ansible/**', "
             "'/home/*/.ansible/**']}}"]
    with guard(sshd, *rules) as g:
        args = " ".join(o for o in ssh_options(g) if o != "-F" and o != "none")
        done = subprocess.run(
            [ansible, "all", "-i", f"127.0.0.1:{g.ports['box']},", "-u", sshd.user, "-m", "ping",
             f"--ssh-common-args={args}"], capture_output=True, text=True, timeout=180,
            cwd=tmp_path, env={**os.environ, "ANSIBLE_HOME": str(tmp_path), "LC_ALL": "C.UTF-8",
                               "ANSIBLE_PYTHON_INTERPRETER": sys.executable})
        assert done.returncode == 0 and '"ping": "pong"' in done.stdout, done.stdout + done.stderr


def test_pass_through_password(sshd):
    """The agent's own password is the target's; the guard has no credential."""
    import paramiko
    with guard(sshd, ANY, target=PASS_THROUGH) as g:
        t = paramiko_transport(g.ports["box"])
        with pytest.raises(paramiko.AuthenticationException):
            t.auth_password(sshd.user, "certainly wrong", fallback=False)
        t.close()
        auth = wait_events(g, "auth")
        assert not auth[0]["ok"] and auth[0]["user"] == sshd.user


def test_exit_status_over_a_shared_connection(sshd, tmp_path):
    """A client that has seen end of file closes before the exit status is there."""
    with guard(sshd, ANY) as g:
        shared = ["-o", "ControlMaster=auto", "-o", "ControlPersist=30s",
                  "-o", f"ControlPath={tmp_path}/c"]
        try:
            for i in range(15):
                assert ssh(g, f"echo {i}; exit {i}", options=shared).returncode == i
                slow = ssh(g, "exec >&- 2>&-; sleep 0.2; exit 7", options=shared)
                assert slow.returncode == 7
        finally:
            subprocess.run(["ssh", "-O", "exit", *shared, "x"], capture_output=True)


# ---- masks ----

MASK = "{name: cards, action: Mask, values: {detectors: [creditCard, awsAccessKey, email]}}"


def test_output_is_masked_across_packets(sshd):
    with guard(sshd, ANY, MASK) as g:
        done = ssh(g, "echo card 4111111111111111 end; echo mail bob@example.com >&2")
        assert done.returncode == 0 and b"4111111111111111" not in done.stdout
        assert done.stdout.startswith(b"card ") and done.stdout.endswith(b" end\n")
        assert b"bob@example.com" not in done.stderr and b"mail " in done.stderr
        done = ssh(g, "for i in 4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1; do printf $i; sleep 0.01; done")
        assert done.stdout == b"*" * 16
        recorded = json.dumps(g.events())
        assert "4111111111111111" not in recorded.replace("echo card 4111111111111111", "")


def test_binary_is_exempt_when_allowed(sshd, tmp_path):
    text = b"x 4111111111111111 y\n" * 1000
    (tmp_path / "f").write_bytes(text)
    exempt = (f"{{name: raw, action: Allow, ssh: {{requests: [exec], argv: [[cat, '{tmp_path}/f']], "
              "output: AsIs}}")
    with guard(sshd, exempt, ANY, MASK) as g:
        assert ssh(g, f"cat {tmp_path}/f").stdout == text
        assert b"4111111111111111" not in ssh(g, f"cat {tmp_path}/f; true").stdout


def test_files_are_masked(sshd, tmp_path):
    body = b"".join(b"%07d 4111111111111111 bob@example.com\n" % i for i in range(20000))
    root = tmp_path / "srv"
    root.mkdir()
    (root / "f").write_bytes(body)
    (root / "bob@example.com").write_text("x")
    with guard(sshd, files_rule(root), MASK) as g:
        done = sftp(g, f"get {root}/f {tmp_path}/got\nls {root}\n")
        assert done.returncode == 0, done.stderr
        got = (tmp_path / "got").read_bytes()
        assert len(got) == len(body)
        assert b"4111111111111111" not in got and b"bob@" not in got
        assert got.count(b"*" * 16) == 20000
        assert b"bob@example.com" not in done.stdout


# ---- size and number ----

@pytest.mark.slow
def test_500_mb_by_cat_and_sftp(sshd, tmp_path):
    big = tmp_path / "big"
    digest = hashlib.sha256()
    with open(big, "wb") as f:
        for _ in range(500):
            piece = os.urandom(1 << 20)
            digest.update(piece)
            f.write(piece)
    with guard(sshd, ANY, files_rule(tmp_path)) as g:
        before = g.rss()
        argv = f"{rsh(g)} agent@127.0.0.1 cat {big} | sha256sum"
        done = subprocess.run(["bash", "-o", "pipefail", "-c", argv], capture_output=True,
                              text=True, timeout=120 * r.SLOWNESS)
        assert done.returncode == 0 and done.stdout.split()[0] == digest.hexdigest()
        assert sftp(g, f"get {big} {tmp_path}/got\n", timeout=120).returncode == 0
        with open(tmp_path / "got", "rb") as f:
            assert hashlib.file_digest(f, "sha256").hexdigest() == digest.hexdigest()
        assert g.rss() - before < 40 << 20
        result = [e for e in wait_events(g, "result", 2) if "exitStatus" in e][0]
        assert result["exitStatus"] == 0 and result["bytes"] == 500 << 20


@pytest.mark.slow
def test_upload_through_exec(sshd, tmp_path):
    data = os.urandom(20 << 20)
    with guard(sshd, ANY) as g:
        assert ssh(g, f"cat > {tmp_path}/up", input=data, timeout=120).returncode == 0
        assert (tmp_path / "up").read_bytes() == data


@pytest.mark.slow
def test_100_sessions_at_once(sshd):
    with guard(sshd, ANY) as g:
        results = {}

        def one(i):
            results[i] = ssh(g, f"echo {i}; sleep 1", timeout=300)
        threads = [threading.Thread(target=one, args=(i,)) for i in range(100)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert all(results[i].stdout == b"%d\n" % i and results[i].returncode == 0
                   for i in range(100)), [results[i] for i in range(100)
                                          if results[i].returncode][:3]
        r.wait_for(lambda: len(g.events("session.close")) == 100, 20)


# ---- through the redirection ----

@pytest.mark.netns
def test_through_the_redirection(agent_ns):
    ns = agent_ns
    with Sshd(listen=ns.host4) as d:
        text = policies(d, ANY).replace("127.0.0.1", ns.host4)
        with Guard(text, capture=15001, ns=ns,
                   secrets={"box-key": {"ssh-privatekey": d.client_key.read_text(),
                                        "username": d.user}}) as g:
            ns.run_root([ns.bin / "chaperone-init", "--capture", "15001", "--uid", "15001",
                         "--gid", "15001"])
            code = f"""
import paramiko
c = paramiko.SSHClient()
c.load_host_keys({str(g.trust / "known_hosts")!r})
entry = c.get_host_keys()._entries[0]
c.get_host_keys().add("[{ns.host4}]:{d.port}", "ssh-ed25519", entry.key)
c.connect({ns.host4!r}, {d.port}, "agent", password="pod", allow_agent=False,
          look_for_keys=False)
print(c.exec_command("echo through")[1].read().decode(), end="")
"""
            done = ns.run_python(code, check=False)
            assert done.returncode == 0 and done.stdout == "through\n", done.stderr
