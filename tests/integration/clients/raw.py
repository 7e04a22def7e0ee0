# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL client that says exactly what a test tells it to say.

Frames are built and taken apart here byte by byte, so that tests can send what no driver sends.
Everything that arrives is kept in `received` (after TLS), for scans over every byte that reached
the client. Nothing here retries or repairs.
"""
import base64
import hashlib
import hmac
import os
import secrets
import select
import socket
import ssl
import struct
import time
from dataclasses import dataclass, field

PROTOCOL_3_0 = 0x00030000
PROTOCOL_3_2 = 0x00030002
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104
CANCEL_REQUEST = 80877102


class Closed(Exception):
    """The peer closed the connection."""


# ---- building ----

def frame(kind, body=b""):
    return kind + struct.pack("!i", len(body) + 4) + body


def cstr(text):
    return (text.encode() if isinstance(text, str) else text) + b"\0"


def query(sql):
    return frame(b"Q", cstr(sql))


def parse(name, sql, types=()):
    body = cstr(name) + cstr(sql) + struct.pack("!h", len(types))
    return frame(b"P", body + b"".join(struct.pack("!I", t) for t in types))


def bind(portal, statement, values=(), formats=(), result_formats=()):
    body = cstr(portal) + cstr(statement) + struct.pack("!h", len(formats))
    body += b"".join(struct.pack("!h", f) for f in formats) + struct.pack("!h", len(values))
    for v in values:
        if v is None:
            body += struct.pack("!i", -1)
        else:
            v = v.encode() if isinstance(v, str) else v
            body += struct.pack("!i", len(v)) + v
    body += struct.pack("!h", len(result_formats))
    return frame(b"B", body + b"".join(struct.pack("!h", f) for f in result_formats))


def describe(kind, name=""):
    return frame(b"D", kind.encode() + cstr(name))


def close(kind, name=""):
    return frame(b"C", kind.encode() + cstr(name))


def execute(portal="", rows=0):
    return frame(b"E", cstr(portal) + struct.pack("!i", rows))


def function_call(oid, arguments=()):
    body = struct.pack("!Ihh", oid, 0, len(arguments))
    for a in arguments:
        body += struct.pack("!i", len(a)) + a
    return frame(b"F", body + struct.pack("!h", 0))


SYNC = frame(b"S")
FLUSH = frame(b"H")
TERMINATE = frame(b"X")
COPY_DONE = frame(b"c")


def copy_data(data):
    return frame(b"d", data)


def copy_fail(why):
    return frame(b"f", cstr(why))


def startup_packet(params, version=PROTOCOL_3_0):
    body = struct.pack("!I", version)
    items = params.items() if isinstance(params, dict) else params
    body += b"".join(cstr(k) + cstr(v) for k, v in items) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


def request_packet(code):
    return struct.pack("!iI", 8, code)


def cancel_packet(pid, key):
    return struct.pack("!iII", 12 + len(key), CANCEL_REQUEST, pid) + key


# ---- taking apart ----

@dataclass
class Column:
    name: str
    table: int
    attribute: int
    type: int
    format: int


def columns_of(body):
    (n,), at, out = struct.unpack_from("!h", body), 2, []
    for _ in range(n):
        end = body.index(b"\0", at)
        name = body[at:end].decode("utf-8", "replace")
        table, attribute, kind, _size, _mod, fmt = struct.unpack_from("!IhIhih", body, end + 1)
        out.append(Column(name, table, attribute, kind, fmt))
        at = end + 19
    return out


def cells_of(body):
    (n,), at, out = struct.unpack_from("!h", body), 2, []
    for _ in range(n):
        (size,) = struct.unpack_from("!i", body, at)
        at += 4
        out.append(None if size < 0 else body[at:at + size])
        at += max(size, 0)
    return out


def fields_of(body):
    """Of ErrorResponse and NoticeResponse: {field letter: text}."""
    out = {}
    for part in body.split(b"\0"):
        if part:
            out[chr(part[0])] = part[1:].decode("utf-8", "replace")
    return out


@dataclass
class Reply:
    """What came up to and including one ReadyForQuery (or up to the end of the connection)."""
    columns: list = field(default_factory=list)
    rows: list = field(default_factory=list)
    errors: list = field(default_factory=list)
    notices: list = field(default_factory=list)
    notifications: list = field(default_factory=list)
    tags: list = field(default_factory=list)
    copy: bytes = b""
    status: str = ""
    kinds: str = ""
    closed: bool = False

    @property
    def sqlstate(self):
        return self.errors[0].get("C") if self.errors else None

    @property
    def message(self):
        return self.errors[0].get("M", "") if self.errors else ""

    def text(self):
        return [[None if c is None else c.decode("utf-8", "replace") for c in r] for r in self.rows]


class RawClient:
    def __init__(self, host, port, timeout=15.0):
        self.timeout = timeout
        self.received = bytearray()
        self.pending = bytearray()
        self.parameters = {}
        self.pid = None
        self.key = b""
        self.negotiated = None
        self.auth_kinds = []
        if str(host).startswith("/"):
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(timeout)
            self.sock.connect(os.path.join(host, f".s.PGSQL.{port}"))
        else:
            self.sock = socket.create_connection((host, port), timeout=timeout)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self.sock.close()
        except OSError:
            pass

    # -- bytes --

    def send(self, *parts):
        self.sock.sendall(b"".join(parts))

    def _fill(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no answer; so far {bytes(self.pending[:80])!r}")
        self.sock.settimeout(left)
        try:
            data = self.sock.recv(65536)
        except socket.timeout:
            raise TimeoutError(f"no answer; so far {bytes(self.pending[:80])!r}") from None
        except (ConnectionError, ssl.SSLError) as e:
            raise Closed(str(e)) from None
        if not data:
            raise Closed("end of connection")
        self.received += data
        self.pending += data

    def recv_exact(self, n, timeout=None):
        deadline = time.monotonic() + (timeout or self.timeout)
        while len(self.pending) < n:
            self._fill(deadline)
        out = bytes(self.pending[:n])
        del self.pending[:n]
        return out

    def recv_message(self, timeout=None):
        deadline = time.monotonic() + (timeout or self.timeout)
        while len(self.pending) < 5:
            self._fill(deadline)
        kind, size = bytes(self.pending[:1]), struct.unpack_from("!i", self.pending, 1)[0]
        if size < 4:
            raise ValueError(f"message {kind!r} with length {size}")
        while len(self.pending) < size + 1:
            self._fill(deadline)
        body = bytes(self.pending[5:size + 1])
        del self.pending[:size + 1]
        return kind, body

    def silent_for(self, seconds):
        """True when nothing arrives for that long."""
        if self.pending:
            return False
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
            return False
        return not select.select([self.sock], [], [], seconds)[0]

    def closed_by_peer(self, timeout=10.0):
        """Reads to the end of the connection; True when it came within the time."""
        deadline = time.monotonic() + timeout
        try:
            while True:
                self._fill(deadline)
        except Closed:
            return True
        except TimeoutError:
            return False

    # -- start-up --

    def ssl_request(self):
        self.send(request_packet(SSL_REQUEST))
        return self.recv_exact(1)

    def start_tls(self, alpn=None, context=None):
        context = context or ssl._create_unverified_context()
        if alpn:
            context.set_alpn_protocols(alpn)
        self.sock = context.wrap_socket(self.sock, server_hostname="localhost")

    def startup(self, user, database, password=None, params=None, version=PROTOCOL_3_0):
        """To the first ReadyForQuery or error. -> Reply."""
        values = {"user": user, "database": database, "client_encoding": "UTF8", **(params or {})}
        self.send(startup_packet(values, version))
        return self.login(user, password)

    def login(self, user, password):
        scram = None
        reply = Reply()
        while True:
            try:
                kind, body = self.recv_message()
            except Closed:
                reply.closed = True
                return reply
            reply.kinds += kind.decode("latin1")
            if kind == b"R":
                scram = self._authenticate(body, user, password, scram)
            elif kind == b"E":
                reply.errors.append(fields_of(body))
            elif kind == b"v":
                self.negotiated = body
            elif kind == b"S":
                name, value = body.split(b"\0")[:2]
                self.parameters[name.decode()] = value.decode()
            elif kind == b"K":
                self.pid, self.key = struct.unpack_from("!I", body)[0], body[4:]
            elif kind == b"N":
                reply.notices.append(fields_of(body))
            elif kind == b"Z":
                reply.status = body.decode()
                return reply

    def _authenticate(self, body, user, password, scram):
        (code,) = struct.unpack_from("!I", body)
        self.auth_kinds.append(code)
        if code == 0:
            return None
        if code == 3:
            self.send(frame(b"p", cstr(password)))
        elif code == 5:
            inner = hashlib.md5((password + user).encode()).hexdigest()
            outer = hashlib.md5(inner.encode() + body[4:8]).hexdigest()
            self.send(frame(b"p", cstr("md5" + outer)))
        elif code == 10:
            scram = Scram(password)
            first = scram.first()
            self.send(frame(b"p", cstr("SCRAM-SHA-256") + struct.pack("!i", len(first)) + first))
        elif code == 11:
            self.send(frame(b"p", scram.final(body[4:])))
        elif code == 12:
            scram.check(body[4:])
        else:
            raise ValueError(f"authentication request {code}")
        return scram

    # -- conversation --

    def until_ready(self, timeout=None, n=1):
        """Everything up to the n-th ReadyForQuery, or the end of the connection. -> Reply"""
        reply = Reply()
        while True:
            try:
                kind, body = self.recv_message(timeout)
            except Closed:
                reply.closed = True
                return reply
            self._note(reply, kind, body)
            if kind == b"Z":
                n -= 1
                if n == 0:
                    return reply
            if kind == b"G":
                return reply

    def until(self, kind, timeout=None):
        """Everything up to a message of that kind."""
        reply = Reply()
        while True:
            try:
                got, body = self.recv_message(timeout)
            except Closed:
                reply.closed = True
                return reply
            self._note(reply, got, body)
            if got == kind:
                return reply

    @staticmethod
    def _note(reply, kind, body):
        reply.kinds += kind.decode("latin1")
        if kind == b"T":
            reply.columns = columns_of(body)
        elif kind == b"D":
            reply.rows.append(cells_of(body))
        elif kind == b"E":
            reply.errors.append(fields_of(body))
        elif kind == b"N":
            reply.notices.append(fields_of(body))
        elif kind == b"C":
            reply.tags.append(body[:-1].decode())
        elif kind == b"d":
            reply.copy += body
        elif kind == b"A":
            reply.notifications.append(body)
        elif kind == b"Z":
            reply.status = body.decode()

    def query(self, sql, timeout=None):
        self.send(query(sql))
        return self.until_ready(timeout)

    def extended(self, sql, values=(), types=(), result_formats=(), rows=0, describe_it=True,
                 formats=()):
        parts = [parse("", sql, types), bind("", "", values, formats, result_formats)]
        if describe_it:
            parts.append(describe("P"))
        self.send(*parts, execute("", rows), SYNC)
        return self.until_ready()


class Scram:
    """SCRAM-SHA-256 without channel binding (RFC 5802, 7677)."""

    def __init__(self, password):
        self.password = password.encode()
        self.nonce = base64.b64encode(secrets.token_bytes(18)).decode()

    def first(self):
        self.bare = f"n=,r={self.nonce}"
        return ("n,," + self.bare).encode()

    def final(self, server_first):
        text = server_first.decode()
        values = dict(p.split("=", 1) for p in text.split(","))
        if not values["r"].startswith(self.nonce):
            raise ValueError("the server changed our nonce")
        salted = hashlib.pbkdf2_hmac("sha256", self.password, base64.b64decode(values["s"]),
                                     int(values["i"]))
        without = f"c=biws,r={values['r']}"
        message = ",".join([self.bare, text, without]).encode()
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature))
        self.server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), message, "sha256")
        return f"{without},p={base64.b64encode(proof).decode()}".encode()

    def check(self, server_final):
        if base64.b64decode(server_final.decode()[2:]) != self.server:
            raise ValueError("the server does not know the password")


def connect(host, port, user, database, password=None, tls=False, params=None, timeout=15.0):
    """A client that is ready for queries, or an AssertionError that says why not."""
    client = RawClient(host, port, timeout)
    if tls:
        answer = client.ssl_request()
        assert answer == b"S", f"SSLRequest answered {answer!r}"
        client.start_tls()
    reply = client.startup(user, database, password, params)
    assert reply.status == "I", f"login failed: {reply.errors or 'connection closed'}"
    return client
