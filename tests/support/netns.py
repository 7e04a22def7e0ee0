# SPDX-License-Identifier: Apache-2.0
"""A network namespace that stands in for an agent's pod: one veth to this machine, IPv4 and IPv6.

    with AgentNamespace() as ns:
        ns.run(["psql", "-h", ns.host4, …])                  # as the agent, uid 15002
        ns.spawn([...], uid=15001, gid=15001)                # as the guard
        ns.run_root([...])                                   # as the init container
        s = ns.socket(); s.connect(("10.77.1.1", 5432))      # a socket of this process, in there

Inside, the repository is also at ns.repo and the cache at ns.cache, because root's home, where they
may really be, is closed to the agent's uid. Only root can make one.
"""

import ctypes
import functools
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading

from .run import CACHE, ROOT, as_user, bin_dir, is_root, run, stop, wait_for

AGENT_UID = 15002
GUARD_UID = 15001
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

# Runs inside `ip netns exec`, whose mount namespace is private to this one command: nothing of it
# shows outside. $1 $2 $3 are cache, repository, programs; the rest is the command.
_MOUNTS = """set -e
mount -t tmpfs -o mode=755,size=1m none /mnt
mkdir /mnt/cache /mnt/repo /mnt/bin
mount --bind "$1" /mnt/cache; mount --bind "$2" /mnt/repo; mount --bind "$3" /mnt/bin
shift 3; exec "$@"
"""


@functools.lru_cache(maxsize=1)
def available():
    """Whether this process may make namespaces and run things in them."""
    if not is_root() or shutil.which("ip") is None:
        return False
    name = f"chaperone-{os.getpid()}-probe"
    made = run(["ip", "netns", "add", name], check=False)
    if made.returncode != 0:
        return False
    ran = run(["ip", "netns", "exec", name, "true"], check=False)
    run(["ip", "netns", "del", name], check=False)
    return ran.returncode == 0


def _sweep():
    """Removes what a test run left that was killed: namespaces named after a process that is
    gone. The links go with them."""
    for path in pathlib.Path("/run/netns").glob("chaperone-*-*"):
        owner = path.name.split("-")[1]
        if not pathlib.Path("/proc", owner).exists():
            for pid in run(["ip", "netns", "pids", path.name], check=False).stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            run(["ip", "netns", "del", path.name], check=False)
            shutil.rmtree(pathlib.Path("/etc/netns") / path.name, ignore_errors=True)


class AgentNamespace:
    """Attributes: name, host4 host6 (this machine's end), agent4 agent6 (inside), repo, cache."""

    repo = pathlib.Path("/mnt/repo")
    cache = pathlib.Path("/mnt/cache")
    bin = pathlib.Path("/mnt/bin")
    python = "/mnt/cache/venv/bin/python"

    def __init__(self, *, resolv_conf=None, ipv6=True, default_route=True):
        """resolv_conf: text; the default names this machine's end, v4 and v6."""
        _sweep()
        self._children = []
        self._made = []  # undo commands, last first
        self.ipv6 = ipv6
        self.index = self._claim_index()
        x = self.index
        self.host4, self.agent4 = f"10.77.{x}.1", f"10.77.{x}.2"
        self.host6, self.agent6 = f"fd77:0:0:{x:x}::1", f"fd77:0:0:{x:x}::2"
        self._etc = pathlib.Path("/etc/netns") / self.name
        try:
            self._configure(default_route)
            if resolv_conf is None:
                resolv_conf = f"nameserver {self.host4}\n" + \
                    (f"nameserver {self.host6}\n" if ipv6 else "")
            self.set_resolv_conf(resolv_conf)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    # ---- making and removing ----

    def _claim_index(self):
        """The link's name is the lock: two test runs at once take different numbers."""
        for x in range(1, 250):
            self.name = f"chaperone-{os.getpid()}-{x}"
            link = f"chap{x}h"
            if pathlib.Path("/sys/class/net", link).exists():
                continue
            run(["ip", "netns", "add", self.name])
            made = run(["ip", "link", "add", link, "type", "veth", "peer", "name", "eth0",
                        "netns", self.name], check=False)
            if made.returncode == 0:
                self._made = [["ip", "netns", "del", self.name], ["ip", "link", "del", link]]
                self.link = link
                return x
            run(["ip", "netns", "del", self.name])
            if "File exists" not in made.stderr:
                raise RuntimeError(f"cannot make a veth pair: {made.stderr}")
        raise RuntimeError("no free number for a test namespace")

    def _configure(self, default_route):
        inside = ["ip", "-n", self.name]
        run(["ip", "addr", "add", f"{self.host4}/24", "dev", self.link])
        run([*inside, "addr", "add", f"{self.agent4}/24", "dev", "eth0"])
        if self.ipv6:
            run(["ip", "addr", "add", f"{self.host6}/64", "dev", self.link, "nodad"])
            run([*inside, "addr", "add", f"{self.agent6}/64", "dev", "eth0", "nodad"])
        else:
            run(["ip", "netns", "exec", self.name, "sysctl", "-qw",
                 "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"])
        run(["ip", "link", "set", self.link, "up"])
        run([*inside, "link", "set", "lo", "up"])
        run([*inside, "link", "set", "eth0", "up"])
        if default_route:
            run([*inside, "route", "add", "default", "via", self.host4])
            if self.ipv6:
                run([*inside, "-6", "route", "add", "default", "via", self.host6])
        wait_for(lambda: "LOWER_UP" in run([*inside, "link", "show", "eth0"]).stdout,
                 what="the veth link")

    def set_resolv_conf(self, text):
        self._etc.mkdir(parents=True, exist_ok=True)
        (self._etc / "resolv.conf").write_text(text)

    def pids(self):
        """Every process in the namespace; all of them descend from this one."""
        out = run(["ip", "netns", "pids", self.name], check=False).stdout
        return [int(p) for p in out.split()]

    def close(self):
        for child in self._children:
            stop(child, deadline=5)
        self._children = []
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for undo in reversed(self._made):
            run(undo, check=False)
        self._made = []
        shutil.rmtree(self._etc, ignore_errors=True)
        try:
            self._etc.parent.rmdir()
        except OSError:
            pass

    # ---- running things inside ----

    def _inside(self):
        CACHE.mkdir(parents=True, exist_ok=True)
        programs = bin_dir() if bin_dir().exists() else ROOT
        return ["ip", "netns", "exec", self.name, "sh", "-c", _MOUNTS, "sh",
                str(CACHE), str(ROOT), str(programs)]

    def command(self, argv, uid=AGENT_UID, gid=None):
        """The whole argv that runs `argv` in here as that user without any capability."""
        return [*self._inside(), *as_user(uid, uid if gid is None else gid),
                *[str(a) for a in argv]]

    def root_command(self, argv, caps="net_admin"):
        """As the init container: uid 0, only the named capabilities ("a,b")."""
        keep = "".join(f",+{c}" for c in caps.split(",") if c)
        return [*self._inside(), "setpriv", f"--inh-caps=-all{keep}", f"--bounding-set=-all{keep}",
                "--no-new-privs", "--pdeathsig=KILL", *[str(a) for a in argv]]

    def run(self, argv, *, uid=AGENT_UID, gid=None, **kw):
        return run(self.command(argv, uid, gid), **kw)

    def run_root(self, argv, *, caps="net_admin", **kw):
        return run(self.root_command(argv, caps), **kw)

    def run_python(self, code, *, uid=AGENT_UID, gid=None, args=(), **kw):
        """Python text with the test environment's packages (psycopg, asyncpg, …), in here."""
        return self.run([self.python, "-c", code, *args], uid=uid, gid=gid, **kw)

    def admin(self, argv, **kw):
        """With all capabilities and nothing else changed: for setting up and looking."""
        return run(["ip", "netns", "exec", self.name, *argv], **kw)

    def spawn(self, argv, *, uid=AGENT_UID, gid=None, as_root=False, **kw):
        """A process that close() ends at the latest. Its pid is the program's own."""
        full = self.root_command(argv) if as_root else self.command(argv, uid, gid)
        kw.setdefault("stdin", subprocess.DEVNULL)
        kw.setdefault("start_new_session", True)
        child = subprocess.Popen(full, **kw)
        self._children.append(child)
        return child

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_STREAM, proto=0):
        """A socket of this process (uid 0) that lives in the namespace."""
        made = []

        def enter():  # setns changes only the calling thread, and this thread ends here
            fd = os.open(f"/run/netns/{self.name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(fd, _CLONE_NEWNET) != 0:
                    made.append(OSError(ctypes.get_errno(), "setns"))
                else:
                    made.append(socket.socket(family, kind, proto))
            except OSError as e:
                made.append(e)
            finally:
                os.close(fd)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if isinstance(made[0], Exception):
            raise made[0]
        return made[0]

    def iptables_save(self):
        """Both families' rules without counters and comments: equal text, equal rules."""
        text = ""
        for tool in ("iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save",
                     "ip6tables-legacy-save"):
            out = self.admin([tool], check=False).stdout
            lines = [line.split(" [")[0] for line in out.splitlines() if not line.startswith("#")]
            text += f"## {tool}\n" + "\n".join(lines) + "\n"
        return text
