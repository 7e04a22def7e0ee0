# SPDX-License-Identifier: Apache-2.0
"""What the PostgreSQL suites share: servers by version, guards in front of them, policies, canaries.

A Stack is one PostgreSQL, one guard before it and one way of connecting; suites are parametrised
over stacks. Servers are started once for a test run; each suite makes databases of its own.
"""
import atexit
import base64
import functools
import itertools
import json
import os
import pathlib
import re
import shutil
import socket
import sys
import threading

CLIENTS = pathlib.Path(__file__).resolve().parent
ROOT = CLIENTS.parents[2]
for folder in (ROOT / "tests", CLIENTS.parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import pytest  # noqa: E402

from clients import raw  # noqa: E402
from support import postgres, run  # noqa: E402
from support.certs import Authority  # noqa: E402
from support.guard import Guard  # noqa: E402

USER, PASSWORD = "agent", "agent-pass word"
_numbers = itertools.count(1)


def cannot(why):
    """A skip on a developer's machine, a failure where all must run."""
    if os.environ.get("CHAPERONE_TEST_STRICT") == "1":
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


# ---- servers ----

@functools.cache
def authority():
    return Authority()


@functools.cache
def server(version=15):
    """Started once; it offers TLS and takes plain connections too. Has the role `agent`."""
    if not postgres.available(version):
        cannot(f"no PostgreSQL {version}")
    pg = postgres.PostgresServer(version, tls=True, authority=authority(),
                                 settings={"max_connections": 300, "max_prepared_transactions": 10})
    pg.start()
    atexit.register(pg.close)
    pg.add_user(USER, PASSWORD)
    return pg


def new_database(pg, *statements, superuser=False):
    """A fresh database that belongs to the agent's role, prepared by the superuser."""
    name = f"db{next(_numbers)}"
    pg.add_database(name, owner=USER)
    pg.sql(f'alter role "{USER}" {"superuser" if superuser else "nosuperuser"}')
    pg.sql('alter schema public owner to "agent"', *statements, dbname=name)
    return name


# ---- policies ----

def target(pg, name="db", tls=False, credentials=None, host=None):
    text = f"""
apiVersion: chaperone.dev/v1alpha1
kind: GuardTarget
metadata: {{name: {name}, namespace: agents}}
spec:
  protocol: postgres
  hosts: ["{host or pg.host}"]
  ports: [{pg.port}]
"""
    if tls:
        text += "  tls: {mode: VerifyFull, caSecretRef: {name: upstream-ca, key: ca.crt}, serverName: localhost}\n"
    else:
        text += "  tls: {mode: Disable}\n"
    if credentials:
        text += f"  credentials: {{secretRef: {{name: {credentials}}}}}\n"
    return text + "---\n"


def policy(rules, *, name="p", targets=("db",), mode=None, recording=None, egress=None):
    """A GuardPolicy; rules are YAML flow mappings, one text each."""
    text = f"""
apiVersion: chaperone.dev/v1alpha1
kind: GuardPolicy
metadata: {{name: {name}, namespace: agents}}
spec:
"""
    if mode:
        text += f"  mode: {mode}\n"
    if targets is not None:
        text += "  targets: [" + ", ".join(f"{{name: {t}}}" for t in targets) + "]\n"
    text += "  rules:\n" + "".join(f"  - {r}\n" for r in rules)
    if egress:
        text += "  egress:\n" + "".join(f"  - {e}\n" for e in egress)
    if recording:
        text += f"  recording: {recording}\n"
    return text + "---\n"


# ---- stacks ----

class Stack:
    """One database behind one guard. Use as a context manager, or start() and close()."""

    def __init__(self, rules, *, version=15, client_tls=False, upstream_tls=False, database=None,
                 setup=(), superuser=False, mode=None, recording=None, more="", guard_args=None, **guard_kw):
        self.version, self.client_tls, self.upstream_tls = version, client_tls, upstream_tls
        self.pg = server(version)
        self.database = database or new_database(self.pg, *setup, superuser=superuser)
        self.mode, self.recording, self.more = mode, recording, more
        secrets = {"upstream-ca": {"ca.crt": self.pg.authority.pem}, **guard_kw.pop("secrets", {})}
        self.guard = Guard(self.policy_text(rules), listen={"db": None}, secrets=secrets,
                           extra=guard_args or (), **guard_kw)

    def policy_text(self, rules):
        return target(self.pg, tls=self.upstream_tls) + policy(
            rules, mode=self.mode, recording=self.recording) + self.more

    def __enter__(self):
        self.guard.start()
        return self

    def __exit__(self, kind, *_):
        self.guard.close(check=kind is None)

    @property
    def port(self):
        return self.guard.ports["db"]

    def connect(self, *, timeout=15.0, params=None, tls=None):
        """A raw client through the guard, ready for queries."""
        return raw.connect("127.0.0.1", self.port, USER, self.database, PASSWORD,
                           tls=self.client_tls if tls is None else tls, params=params,
                           timeout=timeout * run.SLOWNESS)

    def bare(self, timeout=15.0):
        """A TCP connection to the guard, nothing sent yet."""
        return raw.RawClient("127.0.0.1", self.port, timeout * run.SLOWNESS)

    def direct(self):
        return raw.connect(self.pg.host, self.pg.port, USER, self.database, PASSWORD)

    def conninfo(self, *, host="127.0.0.1", port=None, sslmode=None):
        """Keywords for psycopg."""
        return {"host": host, "port": port or self.port, "user": USER, "password": PASSWORD,
                "dbname": self.database, "connect_timeout": 15,
                "sslmode": sslmode or ("require" if self.client_tls else "disable")}

    def url(self, *, host="127.0.0.1", port=None, sslmode=None):
        mode = sslmode or ("require" if self.client_tls else "disable")
        return (f"postgresql://{USER}:{PASSWORD.replace(' ', '%20')}@{host}:{port or self.port}"
                f"/{self.database}?sslmode={mode}")

    def jdbc_url(self, *, host="127.0.0.1", port=None, sslmode=None):
        mode = sslmode or ("require" if self.client_tls else "disable")
        return (f"jdbc:postgresql://{host}:{port or self.port}/{self.database}?user={USER}"
                f"&password={PASSWORD.replace(' ', '%20')}&sslmode={mode}")

    def admin(self, *statements):
        return self.pg.sql(*statements, dbname=self.database)

    # -- records --

    def record_of(self, needle):
        """The events of the session whose record mentions `needle`; waits for it to be written."""
        def find():
            for events in self.guard.records().values():
                if any(needle in json.dumps(e, ensure_ascii=False) for e in events):
                    return events
            return None
        return run.wait_for(find, 10, what=f"a record of {needle!r}")

    def denied_in_record(self, needle):
        """True when the statement that mentions `needle` was recorded with a denial after it."""
        def find():
            for events in self.guard.records().values():
                seen = False
                for e in events:
                    text = json.dumps(e, ensure_ascii=False)
                    seen = seen or needle in text
                    if seen and e["type"] == "decision" and "deny" in text.lower():
                        return True
            return False
        return run.wait_for(find, 10, what=f"a recorded denial of {needle!r}")


def stacks(*keys):
    """pytest parameters from (version, client leg, upstream leg). The first one is the quick one and
    the one for sanitizers."""
    out = []
    for i, (version, client, upstream) in enumerate(keys):
        out.append(pytest.param({"version": version, "client_tls": client == "tls",
                                 "upstream_tls": upstream == "tls"},
                                id=f"pg{version}-{client}-{upstream}",
                                marks=[pytest.mark.slow] if i else [pytest.mark.sanitize]))
    return out


FULL = stacks((15, "plain", "plain"), (18, "tls", "tls"))
MIXED = stacks((15, "tls", "plain"), (18, "plain", "tls"), (15, "tls", "tls"), (18, "plain", "plain"))

ALL = '{name: all, action: Allow, sql: {operations: ["*"], relations: ["public.*", "pg_temp.*"]}}'


# ---- canaries ----

class Canaries:
    """Unique values that must never reach the client, in whatever disguise."""

    WINDOW = 7

    def __init__(self, cores):
        self.needles = {}
        for core in cores:
            for form in self._forms(core):
                self.needles[form] = core

    def _forms(self, core):
        text = core.encode()
        yield text
        yield text[::-1]
        yield text.hex().encode()
        yield text.hex().upper().encode()
        for encoding in ("utf-16-le", "utf-16-be"):
            yield core.encode(encoding)
        for shift in range(3):  # base64 of a text that begins anywhere
            coded = base64.b64encode(b"\0" * shift + text)
            middle = coded[4 if shift else 0:-4]
            if len(middle) >= self.WINDOW:  # less turns up by chance, e.g. in a SCRAM nonce
                yield middle
        for at in range(len(core) - self.WINDOW + 1):  # a piece is a leak too
            yield text[at:at + self.WINDOW]

    def found(self, data):
        """What leaked, in words; empty when nothing did."""
        data = bytes(data)
        out = []
        for needle, core in self.needles.items():
            at = data.find(needle)
            if at >= 0:
                out.append(f"{core} as {needle!r} in {data[max(0, at - 60):at + 60]!r}")
        return out[:5]


    def absent(self, data):
        """Fails, in few words, when anything leaked."""
        __tracebackhide__ = True
        found = self.found(data)
        if found:
            pytest.fail("leaked: " + "; ".join(found)[:600], pytrace=True)


    def absent_from_record(self, path):
        """As absent, but for the chain's own hashes: with hundreds of random hex digits a line, seven of them
        will one day be a piece of a canary."""
        __tracebackhide__ = True
        self.absent(re.sub(rb'"(?:prev|hash|digest|policyDigest)":"[0-9a-f]{64}"', b"", path.read_bytes()))


class Tap:
    """A TCP relay that keeps what goes to the client: `with Tap(port) as tap: … tap.to_client`."""

    def __init__(self, port, host="127.0.0.1"):
        self.upstream = (host, port)
        self.to_client, self.to_server = bytearray(), bytearray()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server_side = socket.create_connection(self.upstream)
            for a, b, kept in ((client, server_side, self.to_server),
                               (server_side, client, self.to_client)):
                threading.Thread(target=self._pump, args=(a, b, kept), daemon=True).start()

    @staticmethod
    def _pump(a, b, kept):
        try:
            while data := a.recv(65536):
                kept += data
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass


# ---- Java ----

@functools.cache
def java_classes():
    """Classpath with Jdbc.class and the driver, for this user and the agent's."""
    jar = run.CACHE / "java" / "postgresql.jar"
    if not jar.exists():
        cannot("no pgjdbc; run tests/support/install-deps test")
    out = run.temp_dir("java", mode=0o755)
    run.run(["javac", "-cp", jar, "-d", out, *CLIENTS.glob("*.java")], timeout=120)
    shutil.copy(jar, out / "postgresql.jar")
    for f in out.rglob("*"):
        f.chmod(0o755)
    return f"{out}/postgresql.jar:{out}"


def java(*args, prefix=()):
    return [*prefix, "java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp",
            java_classes(), *args]
