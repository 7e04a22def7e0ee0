# SPDX-License-Identifier: Apache-2.0
"""A real sshd with a user who has a password, in a mount namespace of its own: /etc/passwd and /etc/shadow of the machine
stay as they are. Needs root.

    with PasswordSshd() as sshd: sshd.user, sshd.password
    PasswordSshd(ask=True)     # keyboard-interactive by PAM alone"""

import pathlib
import secrets
import shlex

from . import run as r
from .sshd import Sshd

UID = 60321


class PasswordSshd(Sshd):
    def __init__(self, ask=False):
        how = "UsePAM yes\nKbdInteractiveAuthentication yes\nPasswordAuthentication no\n" if ask else ""
        super().__init__(user_key=False, extra=how)
        self.user, self.password = "deploy", secrets.token_urlsafe(12)
        self.home = self.dir / "home"
        self.home.mkdir(mode=0o755)
        shadow = r.run(["openssl", "passwd", "-6", self.password]).stdout.strip()
        self._copy("passwd", f"deploy:x:{UID}:{UID}::{self.home}:/bin/sh\n", 0o644)
        self._copy("group", f"deploy:x:{UID}:\n", 0o644)
        self._copy("shadow", f"deploy:{shadow}:19000:0:99999:7:::\n", 0o600)

    def _copy(self, name, line, mode):
        lines = pathlib.Path(f"/etc/{name}").read_text().splitlines(keepends=True)
        kept = [x for x in lines if not x.startswith("deploy:")]
        r.write_file(self.dir / f"etc-{name}", "".join(kept) + line, mode=mode)

    def command(self):
        """Over the files of the machine lie the copies; only this process and its children see them."""
        binds = "".join(f"mount --bind {shlex.quote(str(self.dir / f'etc-{n}'))} /etc/{n} && " for n in ("passwd", "group", "shadow"))
        return [*r.die_with_parent(), "unshare", "--mount", "--propagation", "private", "sh", "-c",
                binds + 'exec "$@"', "sh", *self.program()]
