# SPDX-License-Identifier: Apache-2.0
"""What the tests of identity share: a PostgreSQL server, an issuer of tokens, guards between them, and what they recorded.
Modules import the fixtures by name."""
import os
import pathlib

import pytest

from clients import harness, raw
from support import postgres, run
from support.guard import Guard
from support.issuer import Issuer

VERSION = int(os.environ.get("CHAPERONE_PG", "15").split(",")[0])
SERVICE = "svc"
CANARY = "canary-Zq7w-only-the-guard-knows"
POD_UID = "5f1c2d0a-pod"
READ = "{name: read, action: Allow, sql: {operations: [Read, Transaction, Show, Session]}}"


@pytest.fixture(scope="module")
def server():
    with postgres.PostgresServer(VERSION, tls=True, authority=harness.authority(),
                                 settings={"max_connections": 200}) as pg:
        pg.add_user(SERVICE, CANARY)
        pg.sql("create role app_ro", "create role app_dba", f"grant app_ro, app_dba to {SERVICE}")
        pg.add_database("orders", owner=SERVICE)
        pg.sql("create table t (id int)", "insert into t values (1)", f"alter table t owner to {SERVICE}",
               "grant select on t to app_ro, app_dba", dbname="orders")
        yield pg


@pytest.fixture(scope="module")
def idp():
    with Issuer() as i:
        yield i


def target(pg, tls="VerifyFull", more="", secret="orders-login", name="orders-db"):
    mode = {"VerifyFull": "{mode: VerifyFull, caSecretRef: {name: upstream-ca}, serverName: localhost}"}
    return f"""
apiVersion: chaperone.dev/v1alpha1
kind: GuardTarget
metadata: {{name: {name}, namespace: agents}}
spec:
  protocol: postgres
  hosts: ["{pg.host}"]
  ports: [{pg.port}]
  tls: {mode.get(tls, f"{{mode: {tls}}}")}
  {f"credentials: {{secretRef: {{name: {secret}}}{more}}}" if secret else ""}
---
"""


def policy(name="p", subjects=None, pins="", identity=None, target_name="orders-db"):
    return f"""
apiVersion: chaperone.dev/v1alpha1
kind: GuardPolicy
metadata: {{name: {name}, namespace: agents}}
spec:
  subjects: {subjects or "[]"}
  targets: [{{name: {target_name}{pins}}}]
  rules: [{READ}]
  {f"identity: {identity}" if identity else ""}
---
"""


LOGIN = {"username": SERVICE, "password": CANARY + "\n"}


def make_guard(pg, text, issuers=None, secrets=None, extra=(), name="orders-db", **kw):
    return Guard(text, listen={name: None}, issuers=f"issuers: [{issuers}]\n" if issuers else None,
                 secrets={"orders-login": LOGIN, "upstream-ca": {"ca.crt": pg.authority.pem}, **(secrets or {})},
                 extra=["--pod-uid", POD_UID, *extra], **kw)


@pytest.fixture(scope="module")
def guard(server, idp):
    with make_guard(server, target(server) + policy(), idp.yaml()) as g:
        yield g


def startup(g, password, user="agent", tls=False, port=None):
    """(client, reply)"""
    c = raw.RawClient(g.address, port or next(iter(g.ports.values())))
    if tls:
        assert c.ssl_request() == b"S"
        c.start_tls()
    return c, c.startup(user, "orders", password)


def login(g, password, **kw):
    c, reply = startup(g, password, **kw)
    assert reply.status == "I", reply
    return c


def refused(g, password, **kw):
    c, reply = startup(g, password, **kw)
    c.close()
    assert reply.errors and reply.status == "", f"let in: {reply}"
    return reply


def connections(pg, mark):
    return pg.log_since(mark).count("connection received")


def auths(g, outcome=None):
    return [e for e in g.events("auth") if outcome is None or e["outcome"] == outcome]


def wait_auths(g, n, outcome):
    return run.wait_for(lambda: len(auths(g, outcome)) >= n and auths(g, outcome), 10,
                        what=f"{n} auth records with outcome {outcome}")


def nowhere(secret, g):
    """The secret is in no record, no log line, no status page, no command line or environment."""
    haystacks = {"stderr": g.stderr(), "status": g.http_get("/metrics")[1],
                 **{p.name: p.read_text(errors="replace") for p in g.record_files()}}
    for f in ("cmdline", "environ"):
        haystacks[f] = pathlib.Path(f"/proc/{g.pid}/{f}").read_bytes().decode(errors="replace")
    for where, text in haystacks.items():
        assert secret not in text, f"the secret is in {where}"
