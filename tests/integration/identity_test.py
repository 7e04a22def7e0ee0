# SPDX-License-Identifier: Apache-2.0
"""Tokens in place of passwords: who is let in, what is refused and recorded, groups and claims, expiry."""
import asyncio
import os
import re
import ssl
import time

import asyncpg
import psycopg
import pytest
import sqlalchemy

from identity_world import (CANARY, POD_UID, READ, SERVICE, auths, connections, guard, idp, login, make_guard, nowhere, policy,
                            refused, server, startup, target, wait_auths)  # noqa: F401 - fixtures
from clients import raw
from support import issuer, run
from support.forged import FORGED
from support.issuer import Issuer


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
