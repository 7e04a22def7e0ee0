# SPDX-License-Identifier: Apache-2.0
"""SSH through the guard: a real sshd, real clients."""

import subprocess
import threading
import time

import pytest

from support import run as r
from support.guard import Guard
from support.sshd import Sshd

pytestmark = pytest.mark.sanitize

TARGET = """
apiVersion: chaperone.dev/v1alpha1
kind: GuardTarget
metadata: {{name: box, namespace: agents}}
spec:
  protocol: ssh
  hosts: [127.0.0.1]
  ports: [{port}]
  credentials: {{secretRef: {{name: box-key}}}}
  ssh: {{hostKeys: ["{key}"]}}
"""
PASS_THROUGH = TARGET.replace("  credentials: {{secretRef: {{name: box-key}}}}\n", "")
POLICY = """
---
apiVersion: chaperone.dev/v1alpha1
kind: GuardPolicy
metadata: {name: agents, namespace: agents}
spec:
  targets: [{name: box}]
  rules:
"""


def policies(sshd, *rules, target=TARGET):
    return target.format(port=sshd.port, key=sshd.host_key) + POLICY + \
        "".join(f"  - {rule}\n" for rule in rules)


@pytest.fixture(scope="module")
def sshd():
    with Sshd() as s:
        yield s


def guard(sshd, *rules, target=TARGET, secret=None, **kw):
    secret = secret or {"ssh-privatekey": sshd.client_key.read_text(), "username": sshd.user}
    return Guard(policies(sshd, *rules, target=target), listen={"box": None},
                 secrets={"box-key": secret}, **kw)


def ssh_options(g):
    return ["-F", "none", "-o", f"UserKnownHostsFile={g.trust}/known_hosts",
            "-o", "GlobalKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=yes",
            "-o", "LogLevel=ERROR", "-o", "BatchMode=yes"]


def ssh(g, *command, options=(), timeout=60, stdin=subprocess.DEVNULL, **kw):
    argv = ["ssh", *ssh_options(g), *options, "-p", str(g.ports["box"]), "agent@127.0.0.1",
            *command]
    if "input" not in kw:
        kw["stdin"] = stdin
    return subprocess.run(argv, capture_output=True, timeout=timeout * r.SLOWNESS, **kw)


def wait_events(g, kind, n=1):
    return r.wait_for(lambda: len(g.events(kind)) >= n and g.events(kind), 10,
                      what=f"{n} lines of type {kind}")


EXEC = ("{name: some, action: Allow, ssh: {requests: [exec], "
        "argv: [[uptime], [echo, '...'], [touch, '...'], [cat]]}}")


# ---- exec ----

def test_allowed_command_runs_and_is_recorded(sshd):
    with guard(sshd, EXEC) as g:
        done = ssh(g, "echo", "hello world")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"hello world\n", b"")
        statement, = wait_events(g, "statement")
        assert statement["kind"] == "exec" and statement["text"] == "echo hello world"
        assert statement["verdict"] == "Allow" and statement["rule"] == "some"
        data, = wait_events(g, "data")
        assert data["stream"] == "stdout" and data["text"] == "hello world\n"
        result, = wait_events(g, "result")
        assert result["exitStatus"] == 0
        wait_events(g, "session.close")
        auth, = g.events("auth")
        assert auth["user"] == "agent" and auth["upstreamUser"] == sshd.user and auth["ok"]
        path, = g.record_files()
        assert g.kubectl_guard("verify", path).returncode == 0


@pytest.mark.parametrize("command", [
    "touch {mark}; true", "echo x > {mark}", "echo `touch {mark}`", "echo $(touch {mark})",
    "echo x | tee {mark}", "sh -c 'touch {mark}'", "/bin/touch {mark}", "A=1 touch {mark}",
    "touch {mark} &", "true\ntouch {mark}", "(touch {mark})", "if true; then touch {mark}; fi",
    "echo {{a,b}} >{mark}", "\\touch $X {mark}",
])
def test_S5_denied_command_does_not_run(sshd, command, tmp_path):
    mark = tmp_path / "mark"
    with guard(sshd, EXEC) as g:
        before = sshd.text().count("Starting session")
        done = ssh(g, command.format(mark=mark))
        assert done.returncode == 126 and done.stdout == b""
        line, = done.stderr.decode().splitlines()
        assert line.startswith("chaperone: denied: running") and "policy 'agents'" in line
        assert not mark.exists()
        assert sshd.text().count("Starting session") == before
        decision, = wait_events(g, "decision")
        assert decision["verdict"] == "Deny" and decision["requestId"] in line
        assert ssh(g, "echo", "still here").stdout == b"still here\n"


def test_exit_status_and_streams(sshd):
    with guard(sshd, "{name: any, action: Allow, ssh: {requests: [exec]}}") as g:
        done = ssh(g, "echo out; echo err >&2; exit 37")
        assert (done.returncode, done.stdout, done.stderr) == (37, b"out\n", b"err\n")
        assert {d["stream"]: d["text"] for d in wait_events(g, "data", 2)} == \
            {"stdout": "out\n", "stderr": "err\n"}
        assert ssh(g, "cat", input=b"x" * 100000).stdout == b"x" * 100000


# ---- approval ----

ASK = "{name: ask, action: RequireApproval, ssh: {requests: [exec]}, approval: {timeout: 30s}}"


def spawn(g, *command):
    return subprocess.Popen(["ssh", *ssh_options(g), "-o", "ServerAliveInterval=1",
                             "-o", "ServerAliveCountMax=3", "-p", str(g.ports["box"]),
                             "agent@127.0.0.1", *command], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def requested(g):
    return r.wait_for(lambda: [e["id"] for e in g.events("approval")
                               if e["phase"] == "Requested"], 10, what="a request")[0]


def test_approved_command_runs_as_shown(sshd):
    with guard(sshd, ASK) as g:
        child = spawn(g, "echo $((6*7))")
        ident = requested(g)
        shown = g.kubectl_guard("show", ident).stdout
        assert "echo $((6*7))" in shown
        time.sleep(5)  # longer than ServerAliveInterval * ServerAliveCountMax
        g.kubectl_guard("approve", ident, "--reason", "ok")
        out, err = child.communicate(timeout=20 * r.SLOWNESS)
        assert (child.returncode, out) == (0, b"42\n")
        assert b"waits for approval " + ident.encode() in err


def test_denied_approval(sshd, tmp_path):
    with guard(sshd, ASK) as g:
        child = spawn(g, f"touch {tmp_path}/mark")
        ident = requested(g)
        g.kubectl_guard("deny", ident, "--reason", "not today")
        out, err = child.communicate(timeout=20 * r.SLOWNESS)
        assert child.returncode == 126 and b"not today" in err
        assert not (tmp_path / "mark").exists()


def test_approval_is_withdrawn_when_the_agent_leaves(sshd):
    with guard(sshd, ASK) as g:
        child = spawn(g, "true")
        requested(g)
        r.stop(child)
        r.wait_for(lambda: [e for e in g.events("approval") if e["phase"] == "Withdrawn"], 10)


# ---- who may log in, and how ----

def paramiko_transport(port):
    import paramiko
    t = paramiko.Transport(("127.0.0.1", port))
    t.start_client(timeout=10)
    return t


def pinned_user_key(sshd):
    return {"ssh-privatekey": sshd.client_key.read_text(), "username": sshd.user}


def test_token_is_the_login_where_issuers_are_trusted(sshd):
    import paramiko
    from support.issuer import Issuer
    with Issuer() as idp, guard(sshd, EXEC, issuers=f"issuers:\n- {idp.yaml()}\n") as g:
        assert ssh(g, "echo", "x").returncode == 255  # no token
        for bad in ("", "x", idp.token(ttl=-600), idp.token(aud="other"),
                    idp.token()[:-8] + "AAAAAAAA"):
            with pytest.raises(paramiko.AuthenticationException):
                t = paramiko_transport(g.ports["box"])
                t.auth_password("agent", bad, fallback=False)
            t.close()
        t = paramiko_transport(g.ports["box"])
        t.auth_password("agent", idp.token(sub="ann"), fallback=False)
        c = t.open_session()
        c.exec_command("echo token")
        assert c.recv(100) == b"token\n" and c.recv_exit_status() == 0
        t.close()
        auth = [e for e in wait_events(g, "auth", 6) if e["ok"]]
        assert len(auth) == 1 and auth[0]["method"] == "token" and "ann" in auth[0]["identity"]


def test_S10_host_key_that_is_not_pinned(sshd):
    with Sshd() as other:
        wrong = TARGET.format(port=sshd.port, key=other.host_key)
        with Guard(wrong + POLICY + f"  - {EXEC}\n", listen={"box": None},
                   secrets={"box-key": pinned_user_key(sshd)}) as g:
            done = ssh(g, "echo", "x")
            assert done.returncode == 255 and b"host key" in done.stderr
            assert b"Received disconnect" in done.stderr
            assert any("host key" in e["message"] for e in wait_events(g, "error"))


def test_wrong_upstream_key(sshd):
    secret = {"ssh-privatekey": sshd.other_key.read_text(), "username": sshd.user}
    with guard(sshd, EXEC, secret=secret) as g:
        done = ssh(g, "echo", "x")
        assert done.returncode == 255 and b"refused the login" in done.stderr


def test_known_hosts_is_strict(sshd, tmp_path):
    with guard(sshd, EXEC) as g, guard(sshd, EXEC) as other:
        done = ssh(g, "echo", "x", options=["-o", f"UserKnownHostsFile={other.trust}/known_hosts"])
        # the first UserKnownHostsFile wins, so ask with the other's file alone
        argv = ["ssh", *[o.replace(str(g.trust), str(other.trust)) for o in ssh_options(g)], "-p",
                str(g.ports["box"]), "agent@127.0.0.1", "echo", "x"]
        refused = subprocess.run(argv, capture_output=True, timeout=30, stdin=subprocess.DEVNULL)
        assert done.returncode == 0 and refused.returncode == 255
        assert (g.trust / "known_hosts").stat().st_mode & 0o777 == 0o644


def test_agent_that_no_policy_selects(sshd):
    text = policies(sshd, EXEC).replace("  targets:", "  subjects: [{serviceAccounts: [other]}]\n  targets:")
    with Guard(text, listen={"box": None}, secrets={"box-key": pinned_user_key(sshd)}) as g:
        done = ssh(g, "echo", "x")
        assert done.returncode == 255 and b"no policy selects the agent" in done.stderr


# ---- files ----

def files_rule(root, access="read, write, delete", name="files"):
    return (f"{{name: {name}, action: Allow, ssh: {{requests: [sftp], paths: ['{root}/**'], "
            f"access: [{access}]}}}}")


def sftp(g, batch, timeout=60):
    argv = ["sftp", *ssh_options(g), "-P", str(g.ports["box"]), "-b", "-", "agent@127.0.0.1"]
    return subprocess.run(argv, input=batch.encode(), capture_output=True,
                          timeout=timeout * r.SLOWNESS)


def scp(g, *args, timeout=60):
    argv = ["scp", *ssh_options(g), "-P", str(g.ports["box"]), *map(str, args)]
    return subprocess.run(argv, capture_output=True, timeout=timeout * r.SLOWNESS,
                          stdin=subprocess.DEVNULL)


def test_sftp_within_its_paths(sshd, tmp_path):
    root = tmp_path / "srv"
    root.mkdir()
    (root / "a.txt").write_text("hello\n")
    (tmp_path / "secret").write_text("secret\n")
    with guard(sshd, files_rule(root)) as g:
        done = sftp(g, f"get {root}/a.txt {tmp_path}/got\nput {tmp_path}/got {root}/b.txt\n"
                       f"ls -l {root}\nrename {root}/b.txt {root}/c.txt\nchmod 600 {root}/c.txt\n"
                       f"mkdir {root}/d\nrmdir {root}/d\nsymlink c.txt {root}/l\nrm {root}/l\n")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "got").read_text() == (root / "c.txt").read_text() == "hello\n"
        assert (root / "c.txt").stat().st_mode & 0o777 == 0o600
        done = sftp(g, f"get {tmp_path}/secret {tmp_path}/stolen\n")
        assert done.returncode != 0 and b"no rule of policy" in done.stdout + done.stderr
        assert not (tmp_path / "stolen").exists()
        texts = [e["text"] for e in g.events("statement") if e["kind"] == "sftp"]
        assert f"open {root}/a.txt" in texts and f"posix-rename {root}/b.txt {root}/c.txt" in texts
        closes = [e for e in wait_events(g, "result", 3) if e.get("tag") == "close"]
        assert {e["bytes"] for e in closes} >= {6}


@pytest.mark.parametrize("batch", [
    "get {root}/../secret {got}", "get {root}/./../secret {got}", "get {out} {got}",
    "get {root}/link {got}", "get {root}/dirlink/secret {got}", "rename {root}/a.txt {out}2",
    "ln {out} {root}/hard", "rm {out}", "put {root}/a.txt {out}", "chmod 777 {out}",
    "mkdir {outdir}/x", "symlink {root}/a.txt {outdir}/x", "ls {outdir}", "rename {out} {root}/x",
    "put {root}/a.txt {root}/link",
])
def test_S8_sftp_does_not_leave_its_paths(sshd, tmp_path, batch):
    root = tmp_path / "srv"
    root.mkdir()
    (root / "a.txt").write_text("hello\n")
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    (root / "link").symlink_to(secret)
    (root / "dirlink").symlink_to(tmp_path)
    before = sorted(p.name for p in tmp_path.rglob("*"))
    with guard(sshd, files_rule(root)) as g:
        done = sftp(g, batch.format(root=root, out=secret, outdir=tmp_path, got=tmp_path / "got") +
                    "\n")
        assert done.returncode != 0
        assert sorted(p.name for p in tmp_path.rglob("*")) == before
        assert secret.read_text() == "secret\n" and secret.stat().st_mode & 0o777 != 0o777
        assert [e for e in wait_events(g, "decision") if e["verdict"] == "Deny"]
        assert sftp(g, f"get {root}/a.txt {tmp_path}/benign\n").returncode == 0


def test_sftp_access(sshd, tmp_path):
    root = tmp_path / "srv"
    root.mkdir()
    (root / "a.txt").write_text("hello\n")
    with guard(sshd, files_rule(root, "read")) as g:
        assert sftp(g, f"get {root}/a.txt {tmp_path}/x\n").returncode == 0
        for bad in (f"put {tmp_path}/x {root}/b", f"rm {root}/a.txt", f"mkdir {root}/d",
                    f"chmod 600 {root}/a.txt", f"rename {root}/a.txt {root}/b",
                    f"symlink a.txt {root}/b"):
            assert sftp(g, bad + "\n").returncode != 0, bad
        assert [p.name for p in root.iterdir()] == ["a.txt"]
        assert not [e for e in g.events("statement") if e["text"].startswith("write")]


def test_scp_both_modes(sshd, tmp_path):
    root = tmp_path / "srv"
    root.mkdir()
    data = bytes(range(256)) * 4000
    (tmp_path / "in").write_bytes(data)
    old = ("{name: scp, action: Allow, ssh: {requests: [exec], argv: "
           f"[[scp, '-t', '{root}/**'], [scp, '-f', '{root}/**']]}}}}")
    with guard(sshd, files_rule(root), old) as g:
        at = "agent@127.0.0.1:"
        for mode in ((), ("-O",)):
            assert scp(g, *mode, tmp_path / "in", f"{at}{root}/f").returncode == 0
            assert scp(g, *mode, f"{at}{root}/f", tmp_path / "out").returncode == 0
            assert (tmp_path / "out").read_bytes() == data
            (tmp_path / "out").unlink()
        done = scp(g, "-O", f"{at}/etc/hostname", tmp_path / "out")
        assert done.returncode != 0 and b"denied" in done.stderr
        assert scp(g, f"{at}/etc/hostname", tmp_path / "out").returncode != 0
        assert scp(g, "-O", f"{at}{root}/../in", tmp_path / "out").returncode != 0
        assert not (tmp_path / "out").exists()


def test_sftp_operation_waits_for_approval(sshd, tmp_path):
    (tmp_path / "a").write_text("x")
    ask = (f"{{name: ask, action: RequireApproval, ssh: {{requests: [sftp], paths: ['{tmp_path}/**'], "
           "access: [delete]}, approval: {timeout: 20s}}")
    with guard(sshd, files_rule(tmp_path), ask) as g:
        child = subprocess.Popen(["sftp", *ssh_options(g), "-P", str(g.ports["box"]), "-b", "-",
                                  "agent@127.0.0.1"], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        child.stdin.write(f"rm {tmp_path}/a\n".encode())
        child.stdin.close()
        ident = requested(g)
        assert (tmp_path / "a").exists()
        assert f"remove {tmp_path}/a" in g.kubectl_guard("show", ident).stdout
        g.kubectl_guard("approve", ident, "--reason", "ok")
        assert child.wait(timeout=20) == 0
        assert not (tmp_path / "a").exists()


# ---- the guard's key changes ----

def keys_of(sshd, key):
    return {"ssh-privatekey": key.read_text(), "username": sshd.user}


def test_key_rotates_under_load():
    """Logins never stop. While the server knows both keys none fails; when it forgets the old one before the Secret has the
    new one, only those fail that were under way between the two."""
    with Sshd() as own, guard(own, EXEC) as g:
        stop, log = threading.Event(), []

        def drive():
            while not stop.is_set():
                begun = time.monotonic()
                done = ssh(g, "echo", "in")
                log.append((begun, time.monotonic(), done.stdout == b"in\n", done.stderr))

        def more(n):
            have = len(log)
            r.wait_for(lambda: len(log) > have + n, 60, what="logins")
        old, windows = own.client_key, []
        g.mount_secret("box-key", keys_of(own, old))
        threads = [threading.Thread(target=drive) for _ in range(3)]
        for t in threads:
            t.start()
        for n in range(4):
            fresh = own.new_key(f"key-{n}")
            more(4)
            if n < 2:
                own.authorize(old, fresh)
                g.mount_secret("box-key", keys_of(own, fresh))
                more(6)  # who read the old one has come through
                own.authorize(fresh)
            else:
                begun = time.monotonic()
                own.authorize(fresh)
                g.mount_secret("box-key", keys_of(own, fresh))
                windows.append((begun, time.monotonic()))
            old = fresh
        more(6)
        stop.set()
        for t in threads:
            t.join(60)
        failed = [(a, b, err) for a, b, ok, err in log if not ok]
        assert len(log) > 40
        for a, b, err in failed:
            assert any(a <= end and b >= begun for begun, end in windows), err
        own.authorize(own.other_key)
        assert ssh(g, "echo", "in").returncode != 0, "a key that the server does not know was let in"
        line = old.read_text().splitlines()[2]
        for text in (g.stderr(), *(p.read_text() for p in g.record_files())):
            assert line not in text
