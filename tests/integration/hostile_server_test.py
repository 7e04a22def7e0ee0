# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server that does not behave, or is not the one that policy means, while a session begins. (Once it has
begun, the transcripts hostile_*.txt in tests/wire/postgres say what is refused.) IDs of the attack catalogue in the names.

The agent gets a FATAL error and a closed connection, no word of it reaches the server that it was not meant for, the
record says that the login was refused, and a session with a real server works all the while.
"""
import contextlib
import datetime
import socket
import ssl
import struct
import threading

import pytest

from clients import raw
from clients.harness import ALL, PASSWORD, USER, authority, new_database, policy, server, target
from support import run
from support.certs import Authority
from support.guard import Guard

OK = raw.frame(b"R", struct.pack("!i", 0))
READY = raw.frame(b"Z", b"I")
KEY = raw.frame(b"K", struct.pack("!iI", 7, 7))
CLEARTEXT = raw.frame(b"R", struct.pack("!i", 3))


def parameter(name, value):
    return raw.frame(b"S", raw.cstr(name) + raw.cstr(value))


class Fake:
    """`offer` answers SSLRequest, with `stuffed` behind it; after the startup message comes `script`.
    `got`: all that arrived, decrypted."""
    host = "127.0.0.1"

    def __init__(self):
        self.listener = socket.create_server((self.host, 0))
        self.port = self.listener.getsockname()[1]
        self.play(b"")
        threading.Thread(target=self._serve, daemon=True).start()

    def play(self, script, offer=b"S", stuffed=b"", certificate=None):
        self.script, self.offer, self.stuffed, self.certificate = script, offer, stuffed, certificate
        self.got, self.served = bytearray(), 0

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                c, _ = self.listener.accept()
                c.settimeout(10 * run.SLOWNESS)
                with contextlib.suppress(OSError):
                    self._talk(c)
                c.close()
                self.served += 1

    def _talk(self, c):
        first = c.recv(65536)
        if first == raw.request_packet(raw.SSL_REQUEST):
            c.sendall(self.offer + self.stuffed)
            if self.offer == b"S" and not self.stuffed:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*self.certificate)
                c = context.wrap_socket(c, server_side=True)
            first = c.recv(65536)
        self.got += first
        if first:
            c.sendall(self.script)
        while data := c.recv(65536):
            self.got += data


class World:
    def __init__(self):
        self.pg, self.plain, self.full = server(), Fake(), Fake()
        self.database = new_database(self.pg)
        self.guard = Guard(target(self.pg) + target(self.plain, name="plain") + target(self.full, name="full", tls=True)
                           + policy([ALL], targets=("db", "plain", "full")),
                           listen={"db": None, "plain": None, "full": None},
                           secrets={"upstream-ca": {"ca.crt": authority().pem}})

    def refused(self, where, states):
        """The agent's attempt, which comes to nothing."""
        before = len(self.guard.events("auth"))
        with raw.RawClient("127.0.0.1", self.guard.ports[where], 15 * run.SLOWNESS) as c:
            reply = c.startup(USER, self.database, PASSWORD)
            assert reply.status == "" and reply.errors, reply
            assert reply.errors[0]["S"] == "FATAL" and reply.sqlstate in states, reply.errors
            assert c.closed_by_peer(10 * run.SLOWNESS)
        auth = run.wait_for(lambda: self.guard.events("auth")[before:], 10, what="the record of the login")
        assert [(e["outcome"], e["ok"]) for e in auth] == [("Refused", False)] and auth[0]["reason"]
        fake = self.plain if where == "plain" else self.full
        run.wait_for(lambda: fake.served == 1, 15, what="the end of the guard's connection")
        return reply

    def works(self):
        with raw.connect("127.0.0.1", self.guard.ports["db"], USER, self.database, PASSWORD) as c:
            assert c.query("SELECT 41 + 1").text() == [["42"]]


@pytest.fixture(scope="module")
def world():
    w = World()
    with w.guard:
        yield w


@pytest.fixture(autouse=True)
def others_are_unaffected(world):
    yield
    world.works()


def certificate(name="localhost", ca=None, **kw):
    return (ca or authority()).issue(name, [name, "127.0.0.1"] if name == "localhost" else [name], **kw)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    old = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=60)

    def place():
        return tmp_path_factory.mktemp("certificate")
    return {"somebody else's": certificate(ca=Authority("Somebody else")),
            "another name": certificate("other.example.com"),
            "for clients": certificate(client=True, directory=place()),
            "expired": certificate(start=old, directory=place())}


@pytest.mark.parametrize("whose", ["somebody else's", "another name", "for clients", "expired"])
def test_p4_wrong_certificate(world, certificates, whose):
    world.full.play(CLEARTEXT, certificate=certificates[whose])
    reply = world.refused("full", ("08006",))
    assert "certificate" in reply.message
    assert not world.full.got, "not even the startup message may go there"


@pytest.mark.parametrize("answer", [b"N", b"E", b"X", b"\0", b"R"])
def test_p4_no_tls_where_policy_wants_it(world, answer):
    world.full.play(CLEARTEXT, offer=answer)
    assert "does not offer TLS" in world.refused("full", ("08006",)).message
    assert not world.full.got


@pytest.mark.parametrize("stuffed", [OK + KEY + READY, CLEARTEXT, b"\x16\x03", b"x"], ids=["login", "cleartext", "record", "junk"])
def test_p2_bytes_stuffed_behind_the_answer(world, stuffed):
    """CVE-2021-23222: what came in clear must not be taken for what came encrypted."""
    world.full.play(b"", stuffed=stuffed)
    world.refused("full", ("08P01", "08006"))
    assert not world.full.got


# What follows the startup message, and the SQLSTATEs that may come of it.
SCRIPTS = {
    "ready before a login": (READY, ("08P01",)),
    "a row before a login": (raw.frame(b"D", b"\0\0"), ("08P01",)),
    "parameters before a login": (parameter("client_encoding", "UTF8"), ("08P01",)),
    "an unknown type": (raw.frame(b"\xff"), ("08P01",)),
    "authentication without a code": (raw.frame(b"R", b"\0\0"), ("0A000", "08P01")),
    "an unknown method": (raw.frame(b"R", struct.pack("!i", 77)), ("0A000",)),
    "gssapi": (raw.frame(b"R", struct.pack("!i", 7)), ("0A000",)),
    "sasl without a mechanism": (raw.frame(b"R", struct.pack("!i", 10) + b"\0"), ("0A000",)),
    "sasl, cut off": (raw.frame(b"R", struct.pack("!i", 10) + b"SCRAM-SHA-256-PLU"), ("0A000",)),
    "negotiation without end": (raw.frame(b"v", struct.pack("!ii", 0, 0)) * 50, ("08P01",)),
    "notices without end": (raw.frame(b"N", b"SNOTICE\0C00000\0Mx\0\0") * 50, ("08P01",)),
    "length 0": (b"R\0\0\0\0", ("08006",)),
    "length 3": (b"R\0\0\0\3", ("08006",)),
    "length -1": (b"R\xff\xff\xff\xff", ("08006",)),
    "length 1 GiB": (b"R\x40\0\0\0", ("08006",)),
    "a row in the greeting": (OK + raw.frame(b"D", b"\0\0"), ("08P01",)),
    "a second login": (OK + CLEARTEXT, ("08P01",)),
    "a parameter without a value": (OK + raw.frame(b"S", b"client_encoding\0"), ("08P01",)),
    "a parameter with three parts": (OK + raw.frame(b"S", b"a\0b\0c\0"), ("08P01",)),
    "another encoding": (OK + parameter("client_encoding", "SJIS"), ("22023",)),
    "backslashes in strings": (OK + parameter("standard_conforming_strings", "off"), ("22023",)),
    "a short key": (OK + raw.frame(b"K", b"\0\0\0\7\0\0\0"), ("08P01",)),
    "a long key": (OK + raw.frame(b"K", b"\0\0\0\7" + b"k" * 257), ("08P01",)),
    "endless parameters": (OK + parameter("x", "y" * 60000) * 40, ("53200", "08P01")),
    "an error without a code": (raw.frame(b"E", b"SFATAL\0Mwords\0\0"), ("08P01",)),
    "an error without anything": (raw.frame(b"E", b"\0"), ("08P01",)),
    "an empty error": (raw.frame(b"E"), ("08P01",)),
    "an error that is cut off": (raw.frame(b"E", b"SFATAL\0C123"), ("08P01",)),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_p10_a_server_that_does_not_behave(world, name):
    script, states = SCRIPTS[name]
    world.plain.play(script)
    world.refused("plain", states)
    assert PASSWORD.encode() not in world.plain.got
