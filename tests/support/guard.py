# SPDX-License-Identifier: Apache-2.0
"""The program under test: starts a guard on policy text, waits until it is ready, reads what it
logs and records, and ends it. A sanitizer's finding in its output fails stop().

    with Guard(policies=YAML, listen={"orders-db": None}, secrets={"login": {"password": "x"}}) as g:
        psycopg.connect(host="127.0.0.1", port=g.ports["orders-db"], …)
        g.kubectl_guard("approve", id)
    g.records()   # session id -> list of events
"""

import http.client
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess

from . import run as r
from .netns import GUARD_UID


_versions = itertools.count(1)


class Guard:
    """Attributes: ports (target -> port), pid, dir, spool, control, trust, status_port."""

    def __init__(self, policies, *, listen=None, capture=None, secrets=None, issuers=None,
                 namespace="agents", pod="agent-0", service_account="agent", labels=None,
                 control=True, status=True, trust=True, spool=True, extra=(), env=None,
                 ns=None, uid=None, gid=None, address="127.0.0.1", wait=True):
        """policies: YAML text or {file name: text}. listen: {target: port or None for a free one}.
        capture: a port (redirected connections, with ns). ns: an AgentNamespace; then the guard
        runs in it as uid/gid 15001 unless told otherwise. extra: further arguments."""
        self.ns = ns
        self.uid = uid if uid is not None else (GUARD_UID if ns else None)
        self.gid = gid if gid is not None else self.uid
        self.address = address
        self.ports = {t: p or r.free_port(address) for t, p in (listen or {}).items()}
        self.capture = capture
        self.identity = {"namespace": namespace, "pod": pod, "service-account": service_account,
                         "labels": ",".join(f"{k}={v}" for k, v in (labels or {}).items())}
        self.extra = [str(a) for a in extra]
        self.env = dict(env or {})
        self.wait = wait
        self.process = None
        self.exit_status = None
        self.dir = r.temp_dir("guard", uid=self.uid, gid=self.gid, mode=0o755)
        own = {"uid": self.uid, "gid": self.gid}
        self.policies = self._subdir("policies")
        self.set_policies(policies)
        self.secrets = self._subdir("secrets", 0o700)
        for name, keys in (secrets or {}).items():
            for key, value in keys.items():
                r.write_file(self.secrets / name / key, value, mode=0o600, **own)
            if self.uid is not None and r.is_root():
                os.chown(self.secrets / name, self.uid, self.gid)
        self.spool = self._subdir("spool", 0o700) if spool else None
        self.trust = self._subdir("trust") if trust else None
        self.control = self.dir / "control.sock" if control else None
        self.status_port = r.free_port() if status else None
        self.issuers = r.write_file(self.dir / "issuers.yaml", issuers, **own) if issuers else None
        self.stderr_path = self.dir / "stderr"

    def _subdir(self, name, mode=0o755):
        path = self.dir / name
        path.mkdir(mode=mode)
        path.chmod(mode)
        if self.uid is not None and r.is_root():
            os.chown(path, self.uid, self.gid)
        return path

    def set_policies(self, policies):
        """Replaces all policy files; the guard sees the change by itself."""
        files = {"policy.yaml": policies} if isinstance(policies, str) else policies
        for old in self.policies.glob("*.yaml"):
            if old.name not in files:
                old.unlink()
        for name, text in files.items():
            r.write_file(self.policies / name, text, uid=self.uid, gid=self.gid)

    def mount_secret(self, name, keys):
        """As kubelet does: all keys of one version, exchanged by one rename. Owned by who runs the tests."""
        place = self.secrets / name
        if not (place / "..data").is_symlink():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
        former = (place / "..data").resolve() if (place / "..data").is_symlink() else None
        version = place / f"..v{next(_versions)}"
        for key, value in keys.items():
            r.write_file(version / key, value, mode=0o600)
            if not (place / key).is_symlink():
                (place / key).symlink_to(f"..data/{key}")
        (place / "..data_tmp").symlink_to(version.name)
        os.rename(place / "..data_tmp", place / "..data")
        if former:
            shutil.rmtree(former)

    # ---- life ----

    def argv(self):
        a = ["--policies", self.policies, "--secrets", self.secrets]
        for target, port in self.ports.items():
            host = f"[{self.address}]" if ":" in self.address else self.address
            a += ["--listen", f"{host}:{port}={target}"]
        for flag, value in (("--capture", self.capture), ("--spool", self.spool),
                            ("--trust", self.trust), ("--control", self.control),
                            ("--issuers", self.issuers)):
            if value is not None:
                a += [flag, value]
        if self.status_port:
            a += ["--status", f"127.0.0.1:{self.status_port}"]
        for name, value in self.identity.items():
            if value:
                a += [f"--{name}", value]
        return [str(v) for v in a] + self.extra

    def _command(self):
        if self.ns is not None:
            return self.ns.command([*r.without_aslr(), self.ns.bin / "chaperone-sidecar",
                                    *self.argv()], self.uid, self.gid)
        prefix = r.die_with_parent()
        if self.uid is not None and r.is_root():
            prefix = r.as_user(self.uid, self.gid)
        return [*prefix, *r.without_aslr(), str(self._reachable_program()), *self.argv()]

    def _reachable_program(self):
        """A guard that runs as another user may not be able to enter the build directory."""
        program = r.program("chaperone-sidecar")
        if self.uid is None or not r.is_root():
            return program
        probe = r.run([*r.as_user(self.uid, self.gid), "test", "-x", program], check=False)
        return program if probe.returncode == 0 else shutil.copy(program, self.dir)

    def start(self):
        r.program("chaperone-sidecar")  # says what to build when it is missing
        env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **r.sanitizer_env(), **self.env}
        with open(self.stderr_path, "ab") as err:
            self.process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=err,
                                            stderr=err, env=env, start_new_session=True,
                                            cwd="/")
        if self.wait:
            self.wait_ready()
        return self

    __enter__ = start

    def __exit__(self, exc_type, exc, tb):
        self.close(check=exc_type is None)

    @property
    def pid(self):
        return self.process.pid

    def wait_ready(self, deadline=15):
        """Until /readyz says 200, or without --status until every listener takes a connection."""
        try:
            r.wait_for(self._ready, deadline, what="the guard's readiness")
        except (TimeoutError, r.Fatal) as e:
            self.kill()
            raise RuntimeError(f"{e}\n{self.stderr()[-4000:]}") from None

    def _ready(self):
        if self.process.poll() is not None:
            raise r.Fatal(f"the guard exited {self.process.returncode}")
        if self.status_port:
            return self.http_get("/readyz")[0] == 200
        return all(self._accepts(p) for p in self.ports.values())

    def _accepts(self, port):
        with self._connect(self.address, port):
            return True

    def _connect(self, host, port):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        s = self.ns.socket(family) if self.ns else socket.socket(family)
        try:
            s.settimeout(5 * r.SLOWNESS)
            s.connect((host, port))
        except BaseException:
            s.close()
            raise
        return s

    def stop(self, deadline=15, check=True):
        """SIGTERM, a deadline, SIGKILL. check: a sanitizer's finding raises. The exit status."""
        if self.process is not None:
            self.exit_status = r.stop(self.process, deadline=deadline)
            self.process = None
        found = r.sanitizer_report(self.stderr())
        if check and found:
            raise AssertionError(f"a sanitizer spoke in the guard:\n{found}")
        return self.exit_status

    def kill(self):
        """SIGKILL, as the out-of-memory killer would."""
        if self.process is not None:
            self.exit_status = r.stop(self.process, first=signal.SIGKILL)
            self.process = None

    def close(self, check=True):
        """Ends it; the directory stays until the test process exits, so that records() works."""
        self.stop(check=check)

    # ---- looking at it ----

    def http_get(self, path):
        """(status, text) from the status address."""
        c = http.client.HTTPConnection("127.0.0.1", self.status_port)
        c.sock = self._connect("127.0.0.1", self.status_port)
        try:
            c.request("GET", path)
            answer = c.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            c.close()

    def metrics(self):
        """{"name{labels}": value} of /metrics."""
        status, text = self.http_get("/metrics")
        if status != 200:
            raise RuntimeError(f"/metrics answered {status}")
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#")
        return {name: float(value) for name, value in pairs}

    def stderr(self):
        try:
            return self.stderr_path.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def log(self, event=None):
        """The log's JSON lines, all or those of one event."""
        lines = []
        for text in self.stderr().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and (event is None or line.get("event") == event):
                lines.append(line)
        return lines

    def rss(self):
        """Resident memory in bytes."""
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("no VmRSS")

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def record_files(self):
        return sorted(self.spool.rglob("*.jsonl")) if self.spool else []

    def records(self):
        """{session: [event, …]}, whole lines only: the guard may be writing the last one."""
        sessions = {}
        for path in self.record_files():
            whole = path.read_bytes().rpartition(b"\n")[0]
            sessions[path.stem] = [json.loads(line) for line in whole.split(b"\n") if line]
        return sessions

    def events(self, kind=None):
        """All sessions' events in file order, all or of one type."""
        return [e for lines in self.records().values() for e in lines
                if kind is None or e.get("type") == kind]

    def kubectl_guard(self, *args, check=True, **kw):
        """kubectl-guard on this guard's control socket."""
        done = r.run([*r.without_aslr(), r.program("kubectl-guard"), "--socket", self.control,
                      *args], check=check, env={**os.environ, **r.sanitizer_env()}, **kw)
        found = r.sanitizer_report(done.stderr)
        if found:
            raise AssertionError(f"a sanitizer spoke in kubectl-guard:\n{found}")
        return done
