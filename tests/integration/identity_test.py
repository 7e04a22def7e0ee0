# SPDX-License-Identifier: Apache-2.0
"""Tokens in place of passwords, and logins with a credential that only the guard holds: what is
refused and recorded, groups, expiry, rotation, and that the secret goes nowhere else."""
import asyncio
import json
import os
import pathlib
import re
import ssl
import threading
import time

import asyncpg
import psycopg
import pytest
import sqlalchemy

from clients import harness, raw
from support import dex, issuer, postgres, run
from support.certs import Authority
from support.guard import Guard
from support.issuer import Issuer, b64, compact, hs256

VERSION = int(os.environ.get("CHAPERONE_PG", "15").split(",")[0])
SERVICE = "svc"
CANARY = "canary-Zq7w-only-the-guard-knows"
POD_UID = "5f1c2d0a-pod"
READ = "{name: read, action: Allow, sql: {operations: [Read, Transaction, Show, Session]}}"


# ---- one server, one issuer, one guard ----

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


# ---- letting in ----

@pytest.mark.sanitize
def test_a_token_logs_in_as_the_service_user(server, guard, idp):
    token = idp.token(sub="ann", groups=["dba", "sre"])
    with login(guard, token) as c:
        assert c.query("SELECT current_user, session_user").text() == [[SERVICE, SERVICE]]
        assert c.query("SELECT id FROM t").text() == [["1"]]
        assert c.query("DELETE FROM t").sqlstate == "42501"
    line = wait_auths(guard, 1, "Accepted")[-1]
    assert line["token"]["subject"] == "ann" and line["token"]["groups"] == ["dba", "sre"]
    assert line["token"]["issuer"] == idp.url and line["identity"] == f"{idp.url}#ann"
    assert line["user"] == "agent" and line["upstreamUser"] == SERVICE
    assert line["method"] == "scram-sha-256 (by the guard)" and line["tls"]["upstream"] is True
    nowhere(CANARY, guard)
    nowhere(token.split(".")[2], guard)


@pytest.mark.parametrize("sslmode", ["disable", "require", "verify-full"])
def test_psycopg(guard, idp, sslmode):
    more = {"sslrootcert": str(guard.trust / "ca.crt")} if sslmode == "verify-full" else {}
    with psycopg.connect(host="127.0.0.1", port=guard.ports["orders-db"], user="agent", dbname="orders",
                         password=idp.token(), sslmode=sslmode, **more) as c:
        assert c.execute("SELECT current_user").fetchone() == (SERVICE,)


@pytest.mark.parametrize("alg", ["RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"])
def test_algorithms(server, alg):
    with Issuer(alg) as other, make_guard(server, target(server) + policy(), other.yaml()) as g:
        with login(g, other.token()) as c:
            assert c.query("SELECT 1").text() == [["1"]]
        refused(g, other.token(key=issuer.Key(alg, "k1")))


def test_service_account_token(server):
    with Issuer(name="https://kubernetes.default.svc.cluster.local") as api:
        entry = api.yaml(f'kind: Kubernetes, jwksURL: "{api.address}/keys"')
        subjects = '[{groups: ["system:serviceaccounts:agents"], serviceAccounts: [agent]}]'
        with make_guard(server, target(server) + policy(subjects=subjects), entry) as g:
            with login(g, api.account_token("agents", "agent-0", POD_UID, "agent")) as c:
                assert c.query("SELECT current_user").text() == [[SERVICE]]
            for wrong in [("agents", "agent-0", "another-pod", "agent"), ("agents", "agent-1", POD_UID, "agent"),
                          ("shop", "agent-0", POD_UID, "agent"), ("agents", "agent-0", POD_UID, "admin")]:
                assert refused(g, api.account_token(*wrong)).sqlstate == "28000"
            assert refused(g, api.token()).sqlstate == "28000"
            wait_auths(g, 5, "Refused")


# ---- forged tokens ----

def big(i):
    return i.token(padding="x" * (1 << 20))


def truncated(i):
    return i.token()[:-20]


def payload_swapped(i):
    head, _, sig = i.token().split(".")
    return f"{head}.{b64(i.claims(sub='root', groups=['dba']))}.{sig}"


def duplicate_claims(i):
    text = '{"iss":"%s","sub":"ann","sub":"root","aud":"chaperone","exp":%d}' % (i.url, time.time() + 300)
    return i.token(raw=text.encode())


def nested(i):
    inner = i.token()
    return i.token(header=i.header(cty="JWT"), raw=inner.encode())


def jwk_in_header(i):
    mine = issuer.Key("RS256", "mine")
    return i.token(key=mine, header={"alg": "RS256", "kid": "mine", "jwk": mine.jwk()})


def stranger(i):
    return i.token(key=issuer.Key("RS256", "k1"))


FORGED = {
    "empty": (lambda i: "", "token is needed"),
    "a password": (lambda i: "hunter2", "no token"),
    "alg none": (lambda i: compact({"alg": "none"}, i.claims(), lambda d: b""), "not signed"),
    "alg none with a signature": (lambda i: i.token(header=i.header(alg="none")), "'none' are not accepted"),
    "alg NONE": (lambda i: i.token(header=i.header(alg="NONE")), "not accepted"),
    "no alg": (lambda i: i.token(header={"kid": "k1"}), "names no algorithm"),
    "hmac with the public key": (lambda i: compact(i.header(alg="HS256"), i.claims(), hs256(i.key.pem())), "HS256"),
    "rs512 with an rs256 key": (lambda i: compact(i.header(alg="RS512"), i.claims(), lambda d: i.key.sign(d, "RS512")),
                                "its key is for RS256"),
    "ps256 with an rs256 key": (lambda i: compact(i.header(alg="PS256"), i.claims(), lambda d: i.key.sign(d, "PS256")),
                                "its key is for RS256"),
    "kid traversal": (lambda i: i.token(header=i.header(kid="../../../../dev/null")), "no key with the id"),
    "kid injection": (lambda i: i.token(header=i.header(kid="k1' OR '1'='1")), "no key with the id"),
    "kid is a number": (lambda i: i.token(header=i.header(kid=1)), "key id"),
    "jku": (lambda i: i.token(header=i.header(jku=f"{i.address}/keys")), "'jku'"),
    "x5u": (lambda i: i.token(header=i.header(x5u="https://evil.example/c")), "'x5u'"),
    "x5c": (lambda i: i.token(header=i.header(x5c=["AAAA"])), "'x5c'"),
    "jwk": (jwk_in_header, "'jwk'"),
    "crit": (lambda i: i.token(header=i.header(crit=["b64"], b64=False)), "'crit'"),
    "nested": (nested, "'cty'"),
    "typ": (lambda i: i.token(header=i.header(typ="secevent+jwt")), "type other"),
    "wrong issuer": (lambda i: i.token(iss="https://evil.example"), "is not trusted"),
    "issuer with a slash": (lambda i: i.token(iss=i.url + "/"), "is not trusted"),
    "issuer list": (lambda i: i.token(iss=[i.url]), "names no issuer"),
    "no issuer": (lambda i: i.token(iss=None), "names no issuer"),
    "wrong audience": (lambda i: i.token(aud="other"), "audience"),
    "no audience": (lambda i: i.token(aud=None), "audience"),
    "expired": (lambda i: i.token(ttl=-90), "has expired"),
    "no expiry": (lambda i: i.token(exp=None), "no expiry"),
    "expiry as text": (lambda i: i.token(exp=str(int(time.time()) + 300)), "is no number"),
    "not yet valid": (lambda i: i.token(nbf=int(time.time()) + 300), "not valid yet"),
    "from the future": (lambda i: i.token(iat=int(time.time()) + 300), "in the future"),
    "ten years": (lambda i: i.token(ttl=10 * 365 * 86400), "lives too long"),
    "no subject": (lambda i: i.token(sub=None), "subject"),
    "one megabyte": (big, "longer than 16384"),
    "over the limit": (lambda i: i.token(padding="x" * 16000), "longer than 16384"),
    "truncated": (truncated, "the token's signature is"),
    "cut in the middle": (lambda i: i.token()[:100], "three parts"),
    "five parts": (lambda i: i.token() + ".a.b", "three parts"),
    "duplicate claims": (duplicate_claims, "twice"),
    "deep claims": (lambda i: i.token(raw=b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}"), "nested too deeply"),
    "claims are a list": (lambda i: i.token(raw=b"[]"), "no JSON object"),
    "claims are no utf-8": (lambda i: i.token(raw=b'{"sub":"\xff"}'), "UTF-8"),
    "padded base64": (lambda i: i.token() + "==", "base64url"),
    "another's payload": (payload_swapped, "signature is wrong"),
    "another's key": (stranger, "signature is wrong"),
    "system group": (lambda i: i.token(groups=["system:masters"]), "cluster's group"),
    "another pod's": (lambda i: i.account_token("agents", "agent-1", "other", "agent"), "another pod's"),
    "no pod's": (lambda i: i.token(**{"kubernetes.io": {"namespace": "agents"}}), "not bound to a pod"),
}


@pytest.mark.sanitize
@pytest.mark.parametrize("name", FORGED)
def test_forged_token(server, guard, idp, name):
    make, reason = FORGED[name]
    forged = make(idp)
    mark, before = server.log_mark(), len(auths(guard, "Refused"))
    reply = refused(guard, forged)
    assert reply.sqlstate == "28000" and reason in reply.message, reply.errors
    line = wait_auths(guard, before + 1, "Refused")
    assert any(reason in e["reason"] and "token" not in e for e in line[before:])
    assert connections(server, mark) == 0, "a connection was opened for a forged token"
    if len(forged) > 60:
        nowhere(forged[-40:], guard)
    with login(guard, idp.token()) as c:  # and the honest are served
        assert c.query("SELECT 1").text() == [["1"]]


def test_huge_password_message_is_cut_off(server, guard, idp):
    """More than is worth reading: the connection ends, and nobody else notices."""
    c = raw.RawClient("127.0.0.1", guard.ports["orders-db"])
    c.send(raw.startup_packet({"user": "agent", "database": "orders"}))
    assert c.recv_message()[0] == b"R"
    try:
        c.send(b"p" + (0x7fffffff).to_bytes(4, "big") + b"x" * 65536)
        while c.recv_message():
            pass
    except (raw.Closed, OSError):
        pass
    c.close()
    login(guard, idp.token()).close()


def test_token_does_not_cross_a_network_in_clear(server, idp, agent_ns):
    with make_guard(server, target(server) + policy(), idp.yaml(), address=agent_ns.host4) as g:
        mark = server.log_mark()
        reply = refused(g, idp.token())
        assert reply.sqlstate == "28000" and "sslmode=require" in reply.message
        assert reply.kinds == "E", "the token was asked for"
        assert connections(server, mark) == 0
        login(g, idp.token(), tls=True).close()


# ---- keys ----

def test_keys_rotate(server):
    with Issuer() as i, make_guard(server, target(server) + policy(), i.yaml("refresh: 1s")) as g:
        old = i.key
        login(g, i.token()).close()
        i.rotate("k2")
        login(g, i.token()).close()
        login(g, i.token(key=old)).close()
        i.keys.pop("k1")

        def gone():
            return startup(g, i.token(key=old))[1].sqlstate == "28000"
        run.wait_for(gone, 10, what="the old key's end")
        assert "no key with the id" in refused(g, i.token(key=old)).message
        login(g, i.token()).close()


def test_unknown_keys_ask_once_a_minute(server):
    with Issuer() as i, make_guard(server, target(server) + policy(), i.yaml()) as g:
        login(g, i.token()).close()
        before = i.asked
        for n in range(20):
            refused(g, i.token(header=i.header(kid=f"made-up-{n}")))
        assert i.asked == before + 1
        login(g, i.token()).close()


def test_without_fresh_keys_nobody_is_let_in(server):
    with Issuer() as i:
        i.broken = True
        with make_guard(server, target(server) + policy(), i.yaml("refresh: 1s, staleAfter: 3s")) as g:
            assert "keys cannot be had" in refused(g, i.token()).message
            i.broken = False
            run.wait_for(lambda: startup(g, i.token())[1].status == "I", 15, what="keys")
            i.broken = True
            run.wait_for(lambda: startup(g, i.token())[1].status == "", 15, what="stale keys")
            assert refused(g, i.token()).sqlstate == "28000"


# ---- groups, claims, policy ----

@pytest.mark.sanitize
def test_groups_and_claims(server, idp):
    text = (target(server) + policy("dba", "[{groups: [dba]}]", ", credentials: {role: app_dba}")
            + policy("ro", "[{claims: {department: [sales, it]}}]", ", credentials: {role: app_ro}"))
    with make_guard(server, text, idp.yaml()) as g:
        mark = server.log_mark()
        for wrong in ({}, {"groups": ["DBA"]}, {"groups": ["x"]}, {"department": "hr"}, {"groups": "dba,x"}):
            reply = refused(g, idp.token(**wrong))
            assert reply.sqlstate == "28000" and "no GuardPolicy" in reply.message
        assert connections(server, mark) == 0
        for right, role in (({"groups": ["x", "dba"]}, "app_dba"), ({"groups": "dba"}, "app_dba"),
                            ({"department": "it"}, "app_ro"), ({"department": ["x", "sales"]}, "app_ro")):
            with login(g, idp.token(**right)) as c:
                assert c.query("SELECT current_user").text() == [[role]]
        reply = refused(g, idp.token(groups=["dba"], department="it"))
        assert reply.sqlstate == "28000" and "different roles" in reply.message


@pytest.mark.sanitize
def test_a_group_that_policy_drops_ends_its_sessions(server, idp):
    both = target(server) + policy("p", "[{groups: [dba, sre]}]")
    with make_guard(server, both, idp.yaml()) as g:
        with login(g, idp.token(groups=["sre"])) as sre, login(g, idp.token(groups=["dba"])) as dba:
            g.set_policies(target(server) + policy("p", "[{groups: [dba]}]"))
            reply = sre.until_ready(timeout=20)
            assert reply.closed and reply.sqlstate == "57P01" and "policy has changed" in reply.message
            assert dba.query("SELECT 1").text() == [["1"]]
            refused(g, idp.token(groups=["sre"]))
            g.set_policies(both)
            run.wait_for(lambda: startup(g, idp.token(groups=["sre"]))[1].status == "I", 10, what="the group's return")


@pytest.mark.sanitize
@pytest.mark.parametrize("at_once", [True, False])
def test_a_session_ends_with_its_token(server, idp, at_once):
    """At once when policy says so; else within a minute: 45 s after the expiry, seen here from 41."""
    ttl = 3 if at_once else -41
    with make_guard(server, target(server) + policy(identity="{endAtExpiry: true}" if at_once else None),
                    idp.yaml()) as g:
        token = idp.token(ttl=ttl, iat=int(time.time()) - 100)
        until = time.time() + (3 if at_once else 4)
        with login(g, token) as c:
            assert c.query("SELECT 1").text() == [["1"]]
            reply = c.until_ready(timeout=30)
            assert reply.sqlstate == "57P01" and "expired" in reply.message and reply.closed
            assert time.time() > until - 1.5
        line = wait_auths(g, 1, "Expired")[0]
        assert line["token"]["subject"] == "ann"
        login(g, idp.token()).close()


def test_pinned_role_cannot_be_left(server, idp):
    with make_guard(server, target(server) + policy(pins=", credentials: {role: app_ro}"), idp.yaml()) as g:
        with login(g, idp.token()) as c:
            for sql in ("RESET ROLE", "SET ROLE NONE", f"SET ROLE {SERVICE}", "SET SESSION AUTHORIZATION DEFAULT",
                        "RESET SESSION AUTHORIZATION", "DISCARD ALL", "RESET ALL", "SELECT set_config('role', 'none', false)",
                        "BEGIN; SET LOCAL ROLE none"):
                c.query(sql)
                c.query("ROLLBACK")
                assert c.query("SELECT current_user").text() == [["app_ro"]], sql
        assert wait_auths(g, 1, "Accepted")[0]["role"] == "app_ro"


def test_agent_cannot_choose_user_or_role(server, guard, idp):
    for user in (SERVICE, "postgres", "app_dba"):
        with login(guard, idp.token(), user=user) as c:
            assert c.query("SELECT current_user").text() == [[SERVICE]]
    c = raw.RawClient("127.0.0.1", guard.ports["orders-db"])
    reply = c.startup("agent", "orders", idp.token(), {"role": "app_dba"})
    assert reply.sqlstate == "0A000" and "role" in reply.message


def test_pinned_user(server, idp):
    text = target(server) + policy(pins=", credentials: {user: somebody}")
    with make_guard(server, text, idp.yaml()) as g:
        mark = server.log_mark()
        assert "pins another database user" in refused(g, idp.token()).message
        assert connections(server, mark) == 0
        g.set_policies(target(server) + policy(pins=f", credentials: {{user: {SERVICE}}}"))
        run.wait_for(lambda: startup(g, idp.token())[1].status == "I", 10, what="the right user")


def test_without_a_token(server, idp):
    """What target and policy say decides; the closed answer is the default."""
    with make_guard(server, target(server) + policy()) as g:  # no issuers: the pod's own identity
        with login(g, None) as c:
            assert c.query("SELECT current_user").text() == [[SERVICE]]
        g.set_policies(target(server) + policy(subjects="[{groups: [dba]}]"))
        run.wait_for(lambda: startup(g, None)[1].sqlstate == "28000", 10, what="a policy for a group")
        g.set_policies(target(server, more=", requireToken: true") + policy())
        run.wait_for(lambda: "--issuers" in startup(g, "x")[1].message, 10, what="a target that needs a token")
    with make_guard(server, target(server, more=", requireToken: false") + policy(), idp.yaml()) as g:
        login(g, None).close()
        g.set_policies(target(server, more=", requireToken: false") + policy(identity="{requireToken: true}"))
        run.wait_for(lambda: startup(g, "x")[1].sqlstate == "28000", 10, what="a policy that needs a token")
        login(g, idp.token()).close()


def test_relayed_logins(server, idp):
    """Pass-through goes on beside issuers; policy can forbid it."""
    server.sql("create role relayed login password 'relayed-pw'", "grant connect on database orders to relayed")
    plain = target(server, secret=None)
    with make_guard(server, plain + policy(), idp.yaml()) as g:
        c = login(g, "relayed-pw", user="relayed")
        assert c.query("SELECT current_user").text() == [["relayed"]]
        mark = server.log_mark()
        for what in ("requireInjection", "requireToken"):
            g.set_policies(plain + policy(identity=f"{{{what}: true}}"))
            run.wait_for(lambda w=what: w in startup(g, "relayed-pw", user="relayed")[1].message, 10, what=what)
        assert connections(server, mark) <= 2
        reply = refused(g, "relayed-pw", user="relayed")
        assert reply.sqlstate == "28000"


def ticket_of(reply):
    assert reply.sqlstate == "42501" and reply.status == "I", reply
    return re.search(r"\b[a-z2-7]{12}\b", " ".join(reply.errors[0].values())).group(0)


def test_a_grant_is_for_one_identity(server, idp):
    ask = '{name: w, action: RequireApproval, sql: {operations: [Insert]}, approval: {delivery: Ticket}}'
    text = target(server) + policy().replace(f"[{READ}]", f"[{READ}, {ask}]")
    sql = "INSERT INTO t SELECT 2 WHERE false"
    with make_guard(server, text, idp.yaml()) as g:
        with login(g, idp.token(sub="ann", groups=["x"])) as c:
            ann = ticket_of(c.query(sql))
        g.kubectl_guard("approve", ann, "--reason", "for ann")
        for other in ({"sub": "bob", "groups": ["x"]}, {"sub": "ann", "groups": ["y"]}, {"sub": "ann"}):
            with login(g, idp.token(**other)) as c:
                assert ticket_of(c.query(sql)) != ann, "somebody else's grant was used"
        with login(g, idp.token(sub="ann", groups=["x"])) as c:
            assert c.query(sql).tags == ["INSERT 0 0"]
        asked = [e for e in g.events("approval") if e.get("id") == ann or e.get("requestId") == ann]
        assert asked


def test_sessions_end_when_their_login_would_not_be_done_so_any_more(server, idp):
    plain, guarded = target(server, secret=None), target(server)
    server.sql("create role steady login password 'steady-pw'")
    for before, after in ((plain + policy(), plain + policy(identity="{requireInjection: true}")),
                          (plain + policy(), guarded + policy()),
                          (guarded + policy(), guarded + policy(pins=", credentials: {role: app_ro}")),
                          (guarded + policy(), target(server, more=", requireToken: true") + policy())):
        with make_guard(server, before) as g, login(g, "steady-pw", user="steady") as c:
            assert c.query("SELECT 1").text() == [["1"]]
            g.set_policies(after)
            reply = c.until_ready(timeout=20)
            assert reply.sqlstate == "57P01" and reply.closed and "policy has changed" in reply.message


# ---- the guard's login ----

def one_server(auth, **kw):
    pg = postgres.PostgresServer(VERSION, tls=True, auth=auth, authority=harness.authority(), **kw)
    pg.start()
    pg.add_user(SERVICE, CANARY)
    pg.add_database("orders", owner=SERVICE)
    return pg


@pytest.mark.sanitize
@pytest.mark.parametrize("auth", ["md5", "password"])
def test_weak_methods_only_over_verified_tls(idp, auth):
    pg = one_server(auth)
    try:
        with make_guard(pg, target(pg) + policy(), idp.yaml()) as g:
            with login(g, idp.token()) as c:
                assert c.query("SELECT current_user").text() == [[SERVICE]]
            for tls in ("Disable", "Require"):
                g.set_policies(target(pg, tls) + policy())
                run.wait_for(lambda: "VerifyFull" in startup(g, idp.token())[1].message, 10, what=f"refusal with {tls}")
            g.set_policies(target(pg) + policy())
            run.wait_for(lambda: startup(g, idp.token())[1].status == "I", 10, what="VerifyFull again")
            nowhere(CANARY, g)
    finally:
        pg.close()


def test_scram_without_tls(server, idp):
    with make_guard(server, target(server, "Disable") + policy(), idp.yaml()) as g:
        login(g, idp.token()).close()


@pytest.mark.sanitize
def test_client_certificate(idp):
    pg = one_server("cert")
    try:
        cert, key = (p.read_text() for p in pg.client_certificate(SERVICE))
        with make_guard(pg, target(pg) + policy(), idp.yaml(),
                        {"orders-login": {"username": SERVICE, "tls.crt": cert, "tls.key": key}}) as g:
            with login(g, idp.token()) as c:
                assert c.query("SELECT current_user").text() == [[SERVICE]]
            assert wait_auths(g, 1, "Accepted")[0]["method"] == "certificate (by the guard)"
            # rotated: another key and certificate, by the next login
            cert, key = (p.read_text() for p in pg.client_certificate(SERVICE))
            run.write_file(g.secrets / "orders-login/tls.key", key, mode=0o600)
            run.write_file(g.secrets / "orders-login/tls.crt", cert, mode=0o600)
            login(g, idp.token()).close()
            other, _ = (p.read_text() for p in pg.client_certificate("stranger"))
            run.write_file(g.secrets / "orders-login/tls.crt", other, mode=0o600)
            assert "not the key" in str(refused(g, idp.token()).errors) + g.stderr()
            nowhere(key.splitlines()[2], g)
    finally:
        pg.close()


BAD_SECRETS = {
    "missing": None,
    "empty": {"username": SERVICE, "password": ""},
    "no password": {"username": SERVICE},
    "no username": {"password": CANARY},
    "half a certificate": {"username": SERVICE, "tls.crt": "x"},
    "no certificate": {"username": SERVICE, "tls.crt": "x", "tls.key": "y"},
    "too long": {"username": SERVICE, "password": "x" * 70000},
    "long name": {"username": "u" * 64, "password": CANARY},
    "a key for another protocol": {"username": SERVICE, "ssh-privatekey": CANARY},
}


@pytest.mark.parametrize("name", BAD_SECRETS)
def test_unusable_secret(server, idp, name):
    secret = BAD_SECRETS[name]
    with make_guard(server, target(server, secret="other") + policy(), idp.yaml(),
                    {"other": secret} if secret else None) as g:
        reply = refused(g, idp.token())
        assert reply.sqlstate in ("28000", "08006"), reply.errors
        assert CANARY not in str(reply.errors)
        run.wait_for(lambda: g.log("login.refused"), 10, what="a reason in the log")
        nowhere(CANARY, g)
        for key, value in LOGIN.items():  # mended without a restart
            run.write_file(g.secrets / "other" / key, value, mode=0o600)
        for key in ("tls.crt", "tls.key"):
            (g.secrets / "other" / key).unlink(missing_ok=True)
        login(g, idp.token()).close()


@pytest.mark.sanitize
def test_rejected_secret(server, idp):
    with make_guard(server, target(server) + policy(), idp.yaml(),
                    {"orders-login": {"username": SERVICE, "password": "wrong-canary-4711"}}) as g:
        mark = server.log_mark()
        reply = refused(g, idp.token())
        assert reply.sqlstate == "28000" and "whoever runs the guard" in reply.message
        assert SERVICE not in reply.message
        assert g.log("login.refused")[0]["sqlstate"] == "28P01"
        assert connections(server, mark) == 1, "an unchanged secret is not tried again"
        nowhere("wrong-canary-4711", g)


def set_secret(g, password):
    run.write_file(g.secrets / "orders-login/password", password, mode=0o600)


def test_a_rejection_reads_the_secret_again(server, idp):
    """The password changes between the guard's reading and the upstream's check: a server in between holds the
    first login until then."""
    gate = Gate(server)
    server.sql("create role turning login password 'old-canary'")
    with gate, make_guard(server, target(gate, "Disable") + policy(), idp.yaml(),
                          {"orders-login": {"username": "turning", "password": "old-canary"}}) as g:
        done = []
        t = threading.Thread(target=lambda: done.append(startup(g, idp.token())[1]))
        t.start()
        run.wait_for(lambda: gate.waiting, 10, what="the first login")
        server.sql("alter role turning password 'new-canary'")
        set_secret(g, "new-canary")
        gate.open.set()
        t.join(20)
        assert done and done[0].status == "I", done
        assert gate.accepted == 2


class Gate:
    """A TCP relay to a server that lets the first connection's bytes wait until it is opened."""

    def __init__(self, pg):
        import socket
        self.pg, self.host = pg, "127.0.0.1"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open, self.waiting, self.accepted = threading.Event(), False, 0
        self.socket = socket

    def __enter__(self):
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.open.set()
        self.listener.close()

    def _serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            self.waiting = True
            upstream = self.socket.create_connection((self.pg.host, self.pg.port))
            for a, b in ((client, upstream), (upstream, client)):
                threading.Thread(target=self._pump, args=(a, b), daemon=True).start()

    def _pump(self, a, b):
        self.open.wait(30)
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(self.socket.SHUT_RDWR)
            except OSError:
                pass


def test_client_certificate_rotates_under_load(idp):
    """Certificate and key change together, as kubelet exchanges them: no login fails, and the last is of the last."""
    pg = one_server("cert")
    try:
        def fresh():
            cert, key = (p.read_text() for p in pg.client_certificate(SERVICE))
            return {"username": SERVICE, "tls.crt": cert, "tls.key": key}
        with make_guard(pg, target(pg) + policy(), idp.yaml()) as g:
            g.mount_secret("orders-login", fresh())
            stop, log = threading.Event(), []

            def drive():
                while not stop.is_set():
                    c, reply = startup(g, idp.token())
                    log.append(reply)
                    c.close()
            threads = [threading.Thread(target=drive) for _ in range(4)]
            for t in threads:
                t.start()
            for _ in range(8):
                have = len(log)
                run.wait_for(lambda h=have: len(log) > h + 15, 20, what="logins")
                last = fresh()
                g.mount_secret("orders-login", last)
            have = len(log)
            run.wait_for(lambda: len(log) > have + 15, 20, what="logins")
            stop.set()
            for t in threads:
                t.join(20)
            assert [r.errors for r in log if r.status != "I"] == [] and len(log) > 120
            assert {e["method"] for e in auths(g)} == {"certificate (by the guard)"}
            other, _ = (p.read_text() for p in pg.client_certificate("stranger"))
            g.mount_secret("orders-login", {**last, "tls.crt": other})
            refused(g, idp.token())
            nowhere(last["tls.key"].splitlines()[2], g)
    finally:
        pg.close()


def test_password_rotates_under_load(server, idp):
    """Logins never stop; once password and Secret have changed, none fails, without a restart."""
    server.sql("create role rolling login password 'rolling-0'", "grant connect on database orders to rolling")
    with make_guard(server, target(server) + policy(), idp.yaml(),
                    {"orders-login": {"username": "rolling", "password": "rolling-0"}}) as g:
        stop, log = threading.Event(), []

        def drive():
            while not stop.is_set():
                begun = time.monotonic()
                c, reply = startup(g, idp.token())
                log.append((begun, time.monotonic(), reply.status == "I"))
                c.close()
        threads = [threading.Thread(target=drive) for _ in range(4)]
        for t in threads:
            t.start()
        windows = []
        for n in range(1, 6):
            have = len(log)
            run.wait_for(lambda h=have: len(log) > h + 20, 20, what="logins")
            begun = time.monotonic()
            server.sql(f"alter role rolling password 'rolling-{n}'")
            set_secret(g, f"rolling-{n}")
            windows.append((begun, time.monotonic()))
        have = len(log)
        run.wait_for(lambda: len(log) > have + 20, 20, what="logins")
        stop.set()
        for t in threads:
            t.join(20)
        # Only who was logging in while one of the two was changed and the other not yet may have failed.
        failed = [(a, b) for a, b, ok in log if not ok]
        assert len(log) > 100 and len(failed) < len(log) / 2
        for a, b in failed:
            assert any(a <= end and b >= begun for begun, end in windows), "a login failed after the change"
        for n in range(6):
            nowhere(f"rolling-{n}", g)


# ---- where the secret must not go ----

class Impostor:
    """Takes the guard's connection, talks TLS with a certificate of its own when asked, and then asks for the
    password in the way it was told. `got`: all that it received, decrypted."""

    def __init__(self, authority, request, tls=True):
        import socket
        self.host, self.request, self.tls = "127.0.0.1", request, tls
        cert, key = authority.issue("localhost", ["localhost", "127.0.0.1"])
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert, key)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.got, self.served = b"", 0

    def __enter__(self):
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def _serve(self):
        while True:
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            c.settimeout(5)
            try:
                self._talk(c)
            except OSError:
                pass
            finally:
                c.close()
                self.served += 1

    def _talk(self, c):
        first = c.recv(8)
        self.got += first
        if first == (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big"):
            c.sendall(b"S" if self.tls else b"N")
            if not self.tls:
                self.got += c.recv(65536)
                return
            c = self.context.wrap_socket(c, server_side=True)
        self.got += c.recv(65536)
        c.sendall(self.request)
        while data := c.recv(65536):
            self.got += data


def auth_request(code, rest=b""):
    return b"R" + (8 + len(rest)).to_bytes(4, "big") + code.to_bytes(4, "big") + rest


@pytest.mark.sanitize
@pytest.mark.parametrize("ask", ["cleartext", "md5", "scram"])
@pytest.mark.parametrize("mode, tls", [("VerifyFull", True), ("VerifyFull", False), ("Require", True), ("Disable", False)])
def test_an_impostor_never_gets_the_secret(server, idp, ask, mode, tls):
    request = {"cleartext": auth_request(3), "md5": auth_request(5, b"salt"),
               "scram": auth_request(10, b"SCRAM-SHA-256\0\0")}[ask]
    with Impostor(Authority("Somebody else"), request, tls) as bad, \
            make_guard(server, target(bad, mode) + policy(), idp.yaml()) as g:
        c = raw.RawClient("127.0.0.1", g.ports["orders-db"])
        c.send(raw.startup_packet({"user": "agent", "database": "orders"}))
        if ask == "scram" and mode != "VerifyFull":
            # It gets as far as the first message of SCRAM, which is the same for every password.
            c.recv_message()
            c.send(raw.frame(b"p", raw.cstr(idp.token())))
            run.wait_for(lambda: b"n,,n=,r=" in bad.got, 10, what="the first message")
            c.close()
        else:
            c.recv_message()
            c.send(raw.frame(b"p", raw.cstr(idp.token())))
            reply = c.until_ready()
            assert reply.errors, reply
            run.wait_for(lambda: bad.served, 10, what="the end of the connection")
            if mode == "VerifyFull":
                assert SERVICE.encode() not in bad.got, "not even the startup message may go there"
        assert CANARY.encode() not in bad.got and b"md5" not in bad.got
        nowhere(CANARY, g)


def writable_memory(pid):
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            m = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if not m or "[vvar]" in line:
                continue
            at, end = (int(x, 16) for x in m.groups())
            mem.seek(at)
            try:
                yield mem.read(end - at)
            except OSError:
                continue


def test_the_process_keeps_the_secret_to_itself(server, idp):
    """Not dumpable, no core, /proc closed to other users; and after the login not even in memory."""
    with make_guard(server, target(server) + policy(), idp.yaml()) as g:
        with login(g, idp.token()) as c:
            assert c.query("SELECT 1").text() == [["1"]]
            assert os.stat(f"/proc/{g.pid}/environ").st_uid == 0
            limits = pathlib.Path(f"/proc/{g.pid}/limits").read_text()
            assert re.search(r"Max core file size +0 +0 ", limits)
            nowhere(CANARY, g)
            if run.is_root() and run.VARIANT == "release":
                seen = sum(CANARY.encode() in part for part in writable_memory(g.pid))
                assert seen == 0, "a copy of the password stayed in memory"
                probe = run.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat",
                                 f"/proc/{g.pid}/environ"], check=False)
                assert probe.returncode != 0


# ---- the command line ----

@pytest.mark.parametrize("text, reason", [
    ("issuers: [{issuer: 'http://idp.example.com', audience: x}]\n", "jwksURL"),
    ("issuers: [{issuer: 'https://idp', audience: x, algorithms: [HS256]}]\n", "HS256"),
    ("issuer: x\n", "unknown field"),
    ("{", "YAML"),
])
def test_a_bad_issuers_file_does_not_start(server, text, reason):
    g = Guard(target(server) + policy(), listen={"orders-db": None}, issuers=text, wait=False)
    with g:
        assert g.process.wait(15) == 1
        assert reason in g.stderr() and "issuers.yaml:" in g.stderr()


@pytest.mark.parametrize("text, reason", [
    ('{"issuers": [{"issuer": "http://127.0.0.1:1/dex", "audience": "x"}]}', "is the agent's own"),
    ('{"issuers": [{"issuer": "https://idp", "audience": "x", "jwksFile": "/keys"}]}', "no such file"),
    ('{"issuers": []}', "an empty list"), ("", "expected one document"),
])
def test_a_bad_list_of_a_pod_does_not_start(server, text, reason):
    g = Guard(target(server) + policy(), listen={"orders-db": None}, extra=["--issuers-inline", text], wait=False)
    with g:
        assert g.process.wait(15) == 1
        assert reason in g.stderr() and "--issuers-inline" in g.stderr()


def test_issuers_exclude_each_other(server, idp):
    g = Guard(target(server) + policy(), listen={"orders-db": None}, issuers=f"issuers: [{idp.yaml()}]\n",
              extra=["--issuers-inline", "{}"], wait=False)
    with g:
        assert g.process.wait(15) == 2 and "exclude each other" in g.stderr()


# ---- the file changes ----

def set_issuers(g, *entries, text=None):
    run.write_file(g.issuers, text if text is not None else f"issuers: [{', '.join(entries)}]\n")


@pytest.mark.sanitize
def test_the_issuers_file_is_read_again(server):
    """One comes, one goes; while the file is wrong the last good list counts; and open sessions are left alone."""
    with Issuer() as one, Issuer() as two, make_guard(server, target(server) + policy(), one.yaml()) as g:
        with login(g, one.token()) as open_session:
            assert "is not trusted" in refused(g, two.token()).message
            set_issuers(g, one.yaml(), two.yaml())
            run.wait_for(lambda: startup(g, two.token())[1].status == "I", 10, what="the second issuer")
            set_issuers(g, text="issuers: [")
            run.wait_for(lambda: g.log("issuers.refused"), 10, what="a complaint")
            login(g, one.token()).close()
            set_issuers(g, two.yaml())
            run.wait_for(lambda: startup(g, one.token())[1].sqlstate == "28000", 10, what="the first issuer's end")
            mark = server.log_mark()
            assert "is not trusted" in refused(g, one.token()).message
            assert connections(server, mark) == 0
            login(g, two.token()).close()
            assert open_session.query("SELECT 1").text() == [["1"]]
        assert "issuers.yaml:2: YAML" in g.log("issuers.refused")[0]["reason"]


@pytest.mark.sanitize
@pytest.mark.parametrize("gone", [False, True])
def test_a_wrong_issuers_file_is_not_outlived_for_ever(server, idp, gone):
    with make_guard(server, target(server) + policy(), idp.yaml(), extra=["--stale-after", "2"]) as g:
        login(g, idp.token()).close()
        if gone:
            g.issuers.unlink()
        else:
            set_issuers(g, text="issuers: [{issuer: 'https://idp', audience: x, algorithms: [none]}]")
        run.wait_for(lambda: startup(g, idp.token())[1].sqlstate == "28000", 15, what="the end of the last good list")
        mark = server.log_mark()
        assert "is not trusted" in refused(g, idp.token()).message and connections(server, mark) == 0
        assert g.log("issuers.stale")
        set_issuers(g, idp.yaml())
        run.wait_for(lambda: startup(g, idp.token())[1].status == "I", 10, what="the list that is good again")


def test_logins_never_fail_while_the_file_changes(server, idp):
    with Issuer() as other, make_guard(server, target(server) + policy(), idp.yaml()) as g:
        stop, log = threading.Event(), []

        def drive():
            while not stop.is_set():
                c, reply = startup(g, idp.token())
                log.append(reply)
                c.close()
        threads = [threading.Thread(target=drive) for _ in range(3)]
        for t in threads:
            t.start()
        for n in range(1, 4):
            set_issuers(g, *([idp.yaml(), other.yaml()] if n % 2 else [idp.yaml()]))
            run.wait_for(lambda k=n: len(g.log("issuers.loaded")) >= k, 10, what="the change")
        stop.set()
        for t in threads:
            t.join(20)
        assert len(log) > 20 and all(r.status == "I" for r in log), [r.errors for r in log if r.status != "I"]


# ---- a real provider ----

@pytest.fixture(scope="module")
def real_idp():
    if not dex.available():
        harness.cannot("no Dex (tests/support/install-deps test builds it, with Go)")
    with dex.Dex() as d:
        yield d


def test_dex_logs_in(server, real_idp):
    entry = f'{{issuer: "{real_idp.issuer}", audience: chaperone}}'
    text = target(server) + policy(subjects="[{groups: [authors], claims: {email_verified: 'true'}}]")
    with make_guard(server, text, entry) as g:
        token = real_idp.token()
        with login(g, token) as c:
            assert c.query("SELECT current_user").text() == [[SERVICE]]
        line = wait_auths(g, 1, "Accepted")[0]
        assert line["token"]["groups"] == dex.GROUPS and line["token"]["issuer"] == real_idp.issuer
        mark = server.log_mark()
        assert "audience" in refused(g, real_idp.token("elsewhere")).message
        assert "no GuardPolicy" in refused(g, real_idp.token(scope="openid email")).message  # without groups
        assert "signature" in refused(g, token[:-8] + "AAAAAAAA").message
        assert connections(server, mark) == 0
        login(g, real_idp.token()).close()
        nowhere(token.split(".")[2], g)


def test_dex_over_https_as_a_pod_has_it(server):
    """The list as an argument, as the webhook writes it; the provider's certificate is of the issuer's caBundle."""
    if not dex.available():
        harness.cannot("no Dex (tests/support/install-deps test builds it, with Go)")
    authority = Authority("a provider's CA")
    with dex.Dex(authority=authority) as d:
        def inline(bundle):
            return ["--issuers-inline", json.dumps({"issuers": [
                {"issuer": d.issuer, "audience": ["chaperone"], **({"caBundle": bundle} if bundle else {})}]})]
        text = target(server) + policy(subjects="[{groups: [authors]}]")
        with make_guard(server, text, extra=inline(authority.pem)) as g:
            with login(g, d.token()) as c:
                assert c.query("SELECT current_user").text() == [[SERVICE]]
            assert "no GuardPolicy" in refused(g, d.token(scope="openid email")).message
        for wrong in (None, Authority("somebody else").pem):
            with make_guard(server, text, extra=inline(wrong)) as g:
                mark = server.log_mark()
                assert "keys cannot be had" in refused(g, d.token()).message
                assert "certificate" in g.log("issuer.keys")[0]["reason"]
                assert connections(server, mark) == 0


# ---- clients ----

def test_psql_takes_the_token_from_a_password_file(guard, idp):
    """As docs/identity.md shows; the file is read at each connection, so that a rotated token is taken."""
    passfile = run.temp_dir("pass") / "pgpass"
    port = guard.ports["orders-db"]
    for user in ("one", "two"):
        run.write_file(passfile, f"*:*:*:*:{idp.token(sub=user)}\n", mode=0o600)
        done = run.run(["psql", "-XAtqc", "SELECT current_user", f"host=127.0.0.1 port={port} user=agent dbname=orders"],
                       env={**os.environ, "PGPASSFILE": str(passfile)})
        assert done.stdout.strip() == SERVICE
        run.wait_for(lambda u=user: any(e["token"]["subject"] == u for e in auths(guard, "Accepted")), 10, what=user)
    run.write_file(passfile, f"*:*:*:*:{idp.token(ttl=-100)}\n", mode=0o600)
    done = run.run(["psql", "-XAtqc", "SELECT 1", f"host=127.0.0.1 port={port} user=agent dbname=orders"], check=False,
                   env={**os.environ, "PGPASSFILE": str(passfile)})
    assert done.returncode == 2 and "the token has expired" in done.stderr


@pytest.mark.parametrize("tls", [False, True])
def test_asyncpg(guard, idp, tls):
    async def go():
        context = ssl.create_default_context(cafile=guard.trust / "ca.crt") if tls else False
        c = await asyncpg.connect(host="127.0.0.1", port=guard.ports["orders-db"], user="agent", database="orders",
                                  password=idp.token(), ssl=context)
        try:
            return await c.fetchval("SELECT current_user")
        finally:
            await c.close()
    assert asyncio.run(go()) == SERVICE


def test_sqlalchemy_reads_a_fresh_token_for_each_connection(guard, idp):
    tokens = []
    engine = sqlalchemy.create_engine(f"postgresql+psycopg://agent@127.0.0.1:{guard.ports['orders-db']}/orders",
                                      poolclass=sqlalchemy.pool.NullPool)

    @sqlalchemy.event.listens_for(engine, "do_connect")
    def give_token(_dialect, _record, _args, params):
        tokens.append(idp.token(sub=f"alchemy-{len(tokens)}"))
        params["password"] = tokens[-1]
    for _ in range(2):
        with engine.connect() as c:
            assert c.execute(sqlalchemy.text("SELECT current_user")).scalar() == SERVICE
    engine.dispose()
    assert len(tokens) == 2
