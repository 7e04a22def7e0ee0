# SPDX-License-Identifier: Apache-2.0
"""Whose tokens are trusted: the list of issuers, its changes, and a real OpenID Connect provider."""
import json
import threading

import pytest

from identity_world import (SERVICE, connections, idp, login, make_guard, nowhere, policy, refused, server, startup, target,
                            wait_auths)  # noqa: F401 - fixtures
from clients import harness
from support import dex, run
from support.certs import Authority
from support.guard import Guard
from support.issuer import Issuer


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
