# SPDX-License-Identifier: Apache-2.0
"""F5: the disk under the spool is full, physically, with and without a store: whatever has to be recorded is refused in the words of its
protocol, nothing reaches the targets, status and figures say so. When somebody has made room all goes on in the same guard and
the same connections' successors, and every record verifies."""
import http.client
import os
import re
import ssl
import subprocess

import pytest

from clients import raw
from clients.harness import PASSWORD, USER
from records_mixed_test import World
from ssh_test import ssh_options
from support import apiserver, objectstore, run
from support.sshd import Sshd
from upload_test import guard, upload_args

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs")]


class Connections:
    """One of each protocol, open since before the disk was full."""

    def __init__(self, world, api, tmp):
        self.world, g = world, world.guard
        self.sql = self.database()
        self.socket = tmp / "mux"
        self.master = subprocess.Popen(["ssh", *ssh_options(g), "-M", "-S", str(self.socket), "-N", "-p", str(g.ports["box"]), "agent@127.0.0.1"],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        run.wait_for(self.socket.exists, 20, what="the shared SSH connection")
        self.kube = None
        if api:
            context = ssl.create_default_context(cafile=str(g.trust / "ca.crt"))
            self.kube = http.client.HTTPSConnection("127.0.0.1", g.ports["cluster"], context=context, timeout=30)
            assert self.get()[0] == 200

    def database(self):
        return raw.connect("127.0.0.1", self.world.guard.ports["db"], USER, self.world.database, PASSWORD, timeout=30 * run.SLOWNESS)

    def shell(self, *words):
        return subprocess.run(["ssh", *ssh_options(self.world.guard), "-S", str(self.socket), "x@127.0.0.1", *words], capture_output=True, timeout=60,
                              stdin=subprocess.DEVNULL)

    def get(self, padding=""):
        """(status, body); 0 when the answer was cut: it could not be recorded as it came."""
        try:
            self.kube.request("GET", f"/api/v1/namespaces/mixed/configmaps/plain?fieldManager={padding}", headers={"Authorization": "Bearer token-admin"})
            answer = self.kube.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""

    def close(self):
        self.sql.close()
        run.stop(self.master)
        if self.kube:
            self.kube.close()


def fill(mount):
    """Somebody else's file takes what there is."""
    with open(mount / ".ballast", "wb", buffering=0) as f:
        try:
            while f.write(b"x" * 4096):
                pass
        except OSError:
            pass


def refused_by_all(c, world, mark):
    at = world.pg.log_mark()
    for i in range(200):  # what fits into the last page is still forwarded
        reply = c.sql.query(f"SELECT '{'x' * 500}' /* {mark}-{i}. */")
        if reply.errors:
            break
    assert reply.sqlstate == "58030" and "cannot be recorded" in str(reply.errors), reply.errors
    assert not world.pg.saw(f"{mark}-{i}.", since=at)
    c.sql.close()
    touched = world.guard.dir / f"{mark}-touched"
    done = c.shell("cat", world.mails, str(touched))
    assert done.returncode == 126 and b"cannot be recorded" in done.stdout + done.stderr, done
    assert b"mail" not in done.stdout
    if c.kube:
        answers = [c.get("x" * 3000)]
        while answers[-1][0] == 200 and len(answers) < 10:  # into the last page
            answers.append(c.get("x" * 3000))
        status, body = answers[-1]
        assert status == 0 or (status == 503 and "cannot be recorded" in body), answers
    return i


def check_told(world):
    status, text = world.guard.http_get("/readyz")
    assert status == 503 and "recorder: failing: records cannot be written: No space left on device" in text, text
    assert world.guard.metrics()["chaperone_record_failures_total"] > 0
    with raw.RawClient("127.0.0.1", world.guard.ports["db"], 15 * run.SLOWNESS) as c:  # who comes now is told, too
        assert c.startup(USER, world.database, PASSWORD).sqlstate == "58030"


def works_again(world):
    with raw.RawClient("127.0.0.1", world.guard.ports["db"], 15 * run.SLOWNESS) as c:
        return c.startup(USER, world.database, PASSWORD).status == "I" and not c.query("SELECT 1 /* room-again */").errors


def exercise(world, api, tmp):
    """Full and empty again, twice, in one guard."""
    mount = world.guard.spool
    for n in range(2):
        c = Connections(world, api, tmp)
        assert c.shell("echo", "before").stdout == b"before\n"
        fill(mount)
        refused_by_all(c, world, f"full-{n}")
        check_told(world)
        (mount / ".ballast").unlink()
        run.wait_for(lambda: works_again(world), 20, what="recovery without a restart")
        run.wait_for(lambda: world.guard.http_get("/readyz")[0] == 200, 10, what="readiness")
        c.close()
        c = Connections(world, api, tmp)
        assert c.shell("echo", "after").stdout == b"after\n"
        c.close()


@pytest.mark.parametrize("upload", [False, True], ids=["alone", "with a store"])
def test_full_disk(tmp_path, upload):
    if upload and not objectstore.available():
        pytest.skip("no object store")
    store = objectstore.ObjectStore().start() if upload else None
    api = apiserver.ApiServer() if apiserver.available() else None
    try:
        if api:
            api.__enter__()
        if store:
            store.bucket("records")
        extra = upload_args(store, "records", tmp_path / "cred") if store else ()
        with Sshd() as sshd:
            world = World(sshd, api, extra=extra)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", world.guard.spool], check=True)
            try:
                with world.guard as g:
                    exercise(world, api, tmp_path)
                    if store:
                        run.wait_for(lambda: not [p for p in g.spool.iterdir() if p.suffix == ".zst"], 40, what="an empty spool")
                    g.stop()
                    folder = store.download("records", tmp_path / "download") if store else g.spool
                    done = guard("verify", "--strict", folder)
                    assert done.stdout.count(": OK ") >= 8 and not re.search("TAMPERED|MISSING", done.stdout), done.stdout
            finally:
                subprocess.run(["umount", "-l", world.guard.spool], check=False)
    finally:
        if api:
            api.__exit__(None, None, None)
        if store:
            store.__exit__()
