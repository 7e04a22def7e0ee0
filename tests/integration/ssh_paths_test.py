# SPDX-License-Identifier: Apache-2.0
"""S8, by hand: what a raw client can write into an sftp message that the usual clients do not, against a real sftp-server."""

import struct

import pytest

from support import run as r
from support.sshd import Sshd

from ssh_attacks_test import logged_in, message, raw_sftp, read_message
from ssh_test import files_rule, guard

READ, WRITE, APPEND, CREATE, TRUNCATE, EXCLUSIVE = 1, 2, 4, 8, 16, 32
OK, NO_SUCH_FILE, DENIED = 0, 2, 3


@pytest.fixture(scope="module")
def sshd():
    with Sshd() as s:
        yield s


class Sftp:
    def __init__(self, g):
        self.transport = logged_in(g)
        self.channel = raw_sftp(self.transport)
        self.n = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.transport.close()

    def ask(self, kind, *parts):
        """The answer's type, and its status or what follows its number."""
        self.n += 1
        self.channel.sendall(message(kind, self.n, *parts))
        reply = read_message(self.channel)
        assert struct.unpack(">I", reply[1:5])[0] == self.n
        return reply[0], struct.unpack(">I", reply[5:9])[0] if reply[0] == 101 else reply[5:]

    def open(self, path, flags):
        return self.ask(3, str(path), struct.pack(">II", flags, 0))

    def handle(self, path, flags):
        kind, rest = self.open(path, flags)
        assert kind == 102, rest
        return rest[4:].decode()

    def read(self, handle):
        return self.ask(5, handle, struct.pack(">QI", 0, 100))

    def symlink(self, leads_to, path):
        return self.ask(20, str(leads_to), str(path))


@pytest.mark.parametrize("flags", [CREATE, APPEND, TRUNCATE, CREATE | APPEND, CREATE | TRUNCATE, 0])
def test_what_the_server_opens_for_reading_needs_read(sshd, tmp_path, flags):
    """Without the flag for writing a server opens for reading, whatever else is asked for."""
    (tmp_path / "secret").write_text("secret\n")
    with guard(sshd, files_rule(tmp_path, "write, delete")) as g, Sftp(g) as s:
        assert s.open(tmp_path / "secret", flags) == (101, DENIED)
        assert (tmp_path / "secret").read_text() == "secret\n"
        handle = s.handle(tmp_path / "new", WRITE | CREATE)
        assert s.read(handle) == (101, DENIED)
        refused = [e for e in g.events("decision") if e["verdict"] == "Deny"]
        assert [e["operation"] for e in refused] == ["sftp", "sftp"]
        assert s.ask(6, handle, struct.pack(">Q", 0), "fine") == (101, OK)
    assert (tmp_path / "new").read_text() == "fine"


def chain(s, root, n):
    """Links that the agent may make: each leads to the next; the last, with a folder that is a link, out of the permitted paths."""
    assert s.ask(14, f"{root}/deep", struct.pack(">I", 0)) == (101, OK)
    assert s.symlink(root, f"{root}/deep/up") == (101, OK)
    assert s.symlink(f"{root}/deep/up/../outside/secret", f"{root}/l0") == (101, OK)
    for i in range(1, n):
        assert s.symlink(f"l{i - 1}", f"{root}/l{i}") == (101, OK)


@pytest.mark.parametrize("n", [1, 20, 36, 37, 38, 39])
def test_a_chain_of_links_that_the_server_does_not_follow_to_its_end(sshd, tmp_path, n):
    """OpenSSH's REALPATH gives up after 32 links, the kernel after 40."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret\n")
    root = tmp_path / "root"
    root.mkdir()
    with guard(sshd, files_rule(root)) as g, Sftp(g) as s:
        chain(s, root, n)
        for flags in (READ, WRITE, WRITE | TRUNCATE):
            kind, status = s.open(f"{root}/l{n - 1}", flags)
            assert kind == 101 and status in (NO_SUCH_FILE, DENIED)
        assert s.ask(17, f"{root}/l{n - 1}")[0] == 101
        assert s.ask(9, f"{root}/l{n - 1}", struct.pack(">IQ", 1, 0))[1] in (NO_SUCH_FILE, DENIED)
        refused = [e for e in g.events("decision") if e["verdict"] == "Deny"]
        unknown = [e for e in g.events("error") if "does not say where" in e["message"]]
        assert len(refused) + len(unknown) == 5
        s.handle(root / "fine", WRITE | CREATE)
    assert (tmp_path / "outside" / "secret").read_text() == "secret\n"


def test_what_does_not_exist_is_told_so(sshd, tmp_path):
    """As without the guard: no such file, not permission denied, for a name whose folder is not there."""
    with guard(sshd, files_rule(tmp_path)) as g, Sftp(g) as s:
        assert s.ask(17, f"{tmp_path}/none/file") == (101, NO_SUCH_FILE)
        assert s.ask(17, f"{tmp_path}/none") == (101, NO_SUCH_FILE)
        assert s.ask(14, f"{tmp_path}/none/folder", struct.pack(">I", 0)) == (101, NO_SUCH_FILE)
        assert s.ask(17, "/etc/none/file") == (101, DENIED)
        s.handle(tmp_path / "new", WRITE | CREATE | EXCLUSIVE)
