# SPDX-License-Identifier: Apache-2.0
"""A real OpenSSH server on a free loopback port, with its own keys and configuration.

    with Sshd() as sshd:
        sshd.port, sshd.user, sshd.host_key    # "ssh-ed25519 AAAA…"
        sshd.client_key                        # path of a private key that it accepts
"""

import getpass
import os
import pathlib
import shutil
import socket
import subprocess

from . import run as r


class Sshd:
    """extra: lines that win over those below, which sshd takes as first come."""

    def __init__(self, extra="", host_key_type="ed25519", user_key=True, listen="127.0.0.1"):
        self.dir = r.temp_dir("sshd", mode=0o755)
        self.listen = listen
        self.port = r.free_port(listen)
        self.user = getpass.getuser()
        self.process = None
        self.key = self._keygen("host", host_key_type)
        self.client_key = self._keygen("client", "ed25519")
        self.other_key = self._keygen("other", "ed25519")
        self.host_key = " ".join(
            (self.dir / "host.pub").read_text().split()[:2])
        authorized = self.dir / "authorized_keys"
        authorized.write_text((self.dir / "client.pub").read_text() if user_key else "")
        authorized.chmod(0o600)
        self.authorized = authorized
        self.log = self.dir / "log"
        server = next(p for p in ("/usr/lib/openssh/sftp-server", "/usr/libexec/sftp-server",
                                  "internal-sftp") if p == "internal-sftp" or os.path.exists(p))
        (self.dir / "config").write_text(f"""
{extra}
Port {self.port}
ListenAddress {self.listen}
HostKey {self.key}
PidFile none
AuthorizedKeysFile {authorized}
StrictModes no
UsePAM no
PasswordAuthentication yes
KbdInteractiveAuthentication no
PermitRootLogin yes
AllowAgentForwarding yes
AllowTcpForwarding yes
X11Forwarding no
PermitUserEnvironment no
AcceptEnv *
MaxStartups 300:30:400
MaxSessions 64
LogLevel VERBOSE
PrintMotd no
PrintLastLog no
Subsystem sftp {server}
""")

    def _keygen(self, name, kind):
        path = self.dir / name
        r.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path, "-C", name])
        return path

    def authorize(self, *keys):
        """From now on these keys (paths of their private halves) and no others are let in."""
        fresh = self.dir / "authorized_keys.new"
        fresh.write_text("".join(pathlib.Path(f"{k}.pub").read_text() for k in keys))
        fresh.chmod(0o600)
        fresh.rename(self.authorized)

    def new_key(self, name):
        return self._keygen(name, "ed25519")

    def program(self):
        return [shutil.which("sshd", path="/usr/sbin:/usr/bin"), "-D", "-e", "-f", str(self.dir / "config")]

    def command(self):
        return [*r.die_with_parent(), *self.program()]

    def __enter__(self):
        if r.is_root():
            pathlib.Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, env={"PATH": os.environ["PATH"]})
        try:
            r.wait_for(self._accepts, 10, what="sshd")
        except BaseException:
            self.stop()
            raise
        return self

    def _accepts(self):
        if self.process.poll() is not None:
            raise r.Fatal(f"sshd exited: {self.text()}")
        with socket.create_connection((self.listen, self.port), timeout=2):
            return True

    def text(self):
        return self.log.read_text(errors="replace")

    def stop(self):
        if self.process is not None:
            r.stop(self.process)
            self.process = None

    def __exit__(self, *exc):
        self.stop()
