# SPDX-License-Identifier: Apache-2.0
"""Tokens in requests to a real API server: forged ones, the end of streams with their token, and the guard's own login with a
token or a certificate that is exchanged. What is refused is recorded, not in the API server's audit log, and an honest
request works after it."""
import datetime
import http.client
import itertools
import json
import os
import socket
import ssl
import threading
import time

import pytest

from support import apiserver, run
from support.certs import Authority
from support.forged import FORGED
from support.guard import Guard
from support.impostor import Impostor, server_context
from support.issuer import Issuer

pytestmark = pytest.mark.skipif(not apiserver.available(), reason="no etcd or kube-apiserver: run make e2e-up once")

POD_UID = "5f1c2d0a-pod"
LOOK = "{name: look, action: Allow, kube: {verbs: [get, list, watch, update], resources: [configmaps, secrets], namespaces: [shop]}}"
MAPS = "/api/v1/namespaces/shop/configmaps"
numbers = itertools.count()


@pytest.fixture(scope="module")
def api():
    with apiserver.ApiServer(audit=True) as server:
        server.namespace("shop")
        for user in ("guard", "system:serviceaccount:shop:agent"):
            subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}
            server.request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", {
                "metadata": {"name": f"all-{user.replace(':', '.')}"}, "subjects": [subject],
                "roleRef": {"kind": "ClusterRole", "apiGroup": "rbac.authorization.k8s.io", "name": "cluster-admin"}})
        server.request("POST", MAPS, {"metadata": {"name": "c1"}, "data": {"a": "0"}})
        yield server


@pytest.fixture(scope="module")
def idp():
    with Issuer() as i:
        yield i


def policies(port, subjects="[]", identity=None):
    return apiserver.guard_target(port, "login") + f"""
apiVersion: chaperone.dev/v1alpha1
kind: GuardPolicy
metadata: {{name: p, namespace: agents}}
spec:
  subjects: {subjects}
  targets: [{{name: cluster}}]
  rules: [{LOOK}]
  {f"identity: {identity}" if identity else ""}
"""


def make_guard(api, idp, login=None, port=None, **kw):
    return Guard(policies(port or api.port, **kw), listen={"cluster": None}, issuers=f"issuers: [{idp.yaml()}]\n",
                 secrets={"login": login or {"token": api.token("shop", "agent")},
                          "cluster-ca": {"ca.crt": api.authority.pem}}, extra=["--pod-uid", POD_UID])


@pytest.fixture(scope="module")
def guard(api, idp):
    with make_guard(api, idp) as g:
        yield g


class Client:
    """One connection, kept open between requests."""

    def __init__(self, g, timeout=20):
        context = ssl.create_default_context(cafile=str(g.trust / "ca.crt"))
        self.http = http.client.HTTPSConnection("127.0.0.1", g.ports["cluster"], context=context, timeout=timeout * run.SLOWNESS)

    def open(self, path, token, method="GET", body=None):
        self.http.request(method, path, json.dumps(body) if body else None, {
            "Authorization": f"Bearer {token}", "Content-Type": "application/json"})
        return self.http.getresponse()

    def ask(self, path, token, **kw):
        answer = self.open(path, token, **kw)
        return answer.status, json.loads(answer.read())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.close()


def ask(g, path, token, **kw):
    with Client(g) as c:
        return c.ask(path, token, **kw)


def auths(g, outcome):
    return [e for e in g.events("auth") if e["outcome"] == outcome]


def wait_auths(g, n, outcome):
    return run.wait_for(lambda: len(auths(g, outcome)) >= n and auths(g, outcome), 10,
                        what=f"{n} auth records with outcome {outcome}")


def ended(g, word):
    return run.wait_for(lambda: [e for e in g.events("session.close") if word in e["reason"]], 10, what=f"an end: {word}")


# ---- forged tokens ----

SANITIZED = {"empty", "alg none", "one megabyte", "over the limit", "truncated", "duplicate claims", "another's key"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.sanitize] if n in SANITIZED else []) for n in FORGED])
def test_forged_token(api, guard, idp, name):
    make, reason = FORGED[name]
    mark, recorded = f"?labelSelector=forged%3Dn{next(numbers)}", len(auths(guard, "Refused"))
    status, body = ask(guard, MAPS + mark, make(idp))
    assert body["kind"] == "Status" and body["apiVersion"] == "v1" and body["status"] == "Failure"
    assert body["code"] == status and body["message"].startswith("chaperone: ")
    if name == "one megabyte":  # no server reads such a header
        assert status == 431 and body["reason"] == "RequestEntityTooLarge"
        run.wait_for(lambda: any("longer than 64 KiB" in e.get("reason", "") for e in guard.events("statement")), 10, what="a record")
    else:
        reason = "no bearer token" if name == "empty" else reason
        assert status == 401 and body["reason"] == "Unauthorized" and reason in body["message"], body
        line = wait_auths(guard, recorded + 1, "Refused")[-1]
        assert reason in line["reason"] and "token" not in line and not line["ok"]
    assert not api.audited(mark[1:]), "the API server saw it"
    good = f"?labelSelector=good%3Dn{next(numbers)}"
    assert ask(guard, MAPS + good, idp.token())[0] == 200
    assert api.audited(good[1:]), "the audit log shows nothing"


def test_somebody_elses_token_on_the_same_connection(api, guard, idp):
    with Client(guard) as c:
        assert c.ask(MAPS, idp.token(sub="ann"))[0] == 200
        assert c.ask(MAPS, idp.token(sub="ann", jti="fresher"))[0] == 200
        status, body = c.ask(MAPS + "?labelSelector=bobs%3D1", idp.token(sub="bob"))
        assert status == 401 and "somebody else's" in body["message"] and not api.audited("bobs")


# ---- the end of a stream ----

WATCH = MAPS + "?watch=true&resourceVersion=0"


def cut(answer):
    """All that still comes until the guard closes; never the regular end of an answer."""
    got = [b"-"]
    with pytest.raises((http.client.HTTPException, OSError)):
        while got[-1]:
            got.append(answer.read1(65536))
    assert got[-1], f"it ended as it should not have: {got}"


@pytest.mark.sanitize
@pytest.mark.parametrize("at_once", [True, False])
def test_a_watch_ends_with_its_token(api, idp, at_once):
    """At once when policy says so; else within a minute: 45 s after the expiry, seen here from 41."""
    with make_guard(api, idp, identity="{endAtExpiry: true}" if at_once else None) as g:
        begun, lasts = time.time(), 3 if at_once else 4
        token = idp.token(ttl=3 if at_once else -41, iat=int(time.time()) - 100)
        with Client(g) as c:
            answer = c.open(WATCH, token)
            assert answer.status == 200
            cut(answer)
            assert lasts - 1.5 < time.time() - begun < lasts + 8 * run.SLOWNESS
        line = wait_auths(g, 1, "Expired")[0]
        assert line["token"]["subject"] == "ann" and line["reason"] == "the token has expired"
        ended(g, "the token has expired")
        assert ask(g, MAPS, idp.token())[0] == 200


@pytest.mark.sanitize
def test_a_watch_ends_with_its_group(api, idp):
    with make_guard(api, idp, subjects="[{groups: [dba, sre]}]") as g, Client(g) as sre, Client(g) as dba:
        answer = sre.open(WATCH, idp.token(groups=["sre"]))
        other = dba.open(WATCH, idp.token(groups=["dba"]))
        assert answer.status == 200 and other.status == 200
        g.set_policies(policies(api.port, subjects="[{groups: [dba]}]"))
        cut(answer)
        ended(g, "policy has changed")
        status, body = ask(g, MAPS + "?labelSelector=no%3Dgroup", idp.token(groups=["sre"]))
        assert status == 403 and body["kind"] == "Status" and not api.audited("no%3Dgroup")
        now = api.request("GET", f"{MAPS}/c1")
        api.request("PUT", f"{MAPS}/c1", {**now, "data": {"a": f"{next(numbers)}"}})
        run.wait_for(lambda: b"c1" in other.read1(65536), 10, what="an event for who is still let in")


@pytest.mark.sanitize
def test_a_reader_that_is_slow_cannot_outlive_its_token(api, idp):
    """An answer that is taken in drops is never waited for: it ends all the same."""
    for n in range(8):
        api.request("POST", MAPS, {"metadata": {"name": f"big-{n}-{next(numbers)}"}, "data": {"a": "x" * 900000}})
    with make_guard(api, idp, identity="{endAtExpiry: true}") as g:
        context = ssl.create_default_context(cafile=str(g.trust / "ca.crt"))
        with socket.socket() as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            plain.connect(("127.0.0.1", g.ports["cluster"]))
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as s:
                begun = time.time()
                s.sendall(f"GET {MAPS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {idp.token(ttl=4)}\r\n\r\n".encode())
                run.wait_for(lambda: not s.recv(512) or auths(g, "Expired"), 20, what="the end", interval=0.1)
                assert time.time() - begun < 4 + 6 * run.SLOWNESS
        ended(g, "the token has expired")
        assert ask(g, f"{MAPS}/c1", idp.token())[0] == 200


# ---- the guard's login ----

class Load:
    """Requests without a pause, on connections that are kept: when each began and ended, and its status."""

    def __init__(self, g, idp, threads=3):
        self.guard, self.idp, self.log, self.stop = g, idp, [], threading.Event()
        self.threads = [threading.Thread(target=self._drive) for _ in range(threads)]

    def _drive(self):
        while not self.stop.is_set():
            with Client(self.guard) as c:
                for _ in range(40):
                    if self.stop.is_set():
                        return
                    begun = time.monotonic()
                    try:
                        status = c.ask(f"{MAPS}/c1", self.idp.token())[0]
                    except (OSError, http.client.HTTPException) as e:
                        status = repr(e)
                    self.log.append((begun, time.monotonic(), status))
                    if status != 200:
                        break

    def more(self, n=20):
        have = len(self.log)
        run.wait_for(lambda: len(self.log) > have + n, 40, what="requests")

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join(60)


def failures(log, windows):
    return [entry for entry in log if entry[2] != 200
            and not any(entry[0] <= end and entry[1] >= begun for begun, end in windows)]


def bound_token(api):
    """A token that the API server takes back when its Secret is deleted."""
    name = f"bound-{next(numbers)}"
    uid = api.request("POST", "/api/v1/namespaces/shop/secrets", {"metadata": {"name": name}})["metadata"]["uid"]
    token = api.request("POST", "/api/v1/namespaces/shop/serviceaccounts/agent/token", {"spec": {
        "expirationSeconds": 3600, "boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": name, "uid": uid}}})
    return name, token["status"]["token"]


def test_the_token_rotates_under_load(api, idp):
    """The old one is revoked with its Secret still mounted, then the new one is delivered: from there on nothing fails,
    on connections that are open since before."""
    name, token = bound_token(api)
    with make_guard(api, idp, {"token": token}) as g:
        g.mount_secret("login", {"token": token})
        with Load(g, idp) as load:
            load.more()
            old, (name, fresh) = name, bound_token(api)
            begun = time.monotonic()
            api.request("DELETE", f"/api/v1/namespaces/shop/secrets/{old}")
            # The API server remembers for ten seconds that a token is good.
            run.wait_for(lambda: any(s == 502 for *_, s in load.log), 30, what="the old token's end")
            g.mount_secret("login", {"token": fresh})
            windows = [(begun, time.monotonic())]
            load.more(60)
            g.mount_secret("login", {"token": bound_token(api)[1]})  # while the former is good: nothing is to be seen
            load.more(60)
        assert failures(load.log, windows) == [] and len(load.log) > 150
        assert {s for *_, s in load.log} == {200, 502}
        assert g.log("login.refused")
        texts = g.stderr() + "".join(p.read_text() for p in g.record_files())
        assert token not in texts and fresh not in texts


def short_certificate(api, seconds):
    start = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1) + datetime.timedelta(seconds=seconds)
    cert, key = api.authority.issue("guard", client=True, days=1, start=start, directory=run.temp_dir("client"))
    return {"tls.crt": cert.read_text(), "tls.key": key.read_text()}


def test_a_client_certificate_rotates_under_load(api, idp):
    """A kubeconfig's certificate expires; with the next one delivered nothing fails, whether before or after its end."""
    first, second = short_certificate(api, 6), short_certificate(api, 3600)
    with make_guard(api, idp, first) as g:
        g.mount_secret("login", first)
        with Load(g, idp) as load:
            load.more()
            run.wait_for(lambda: any(s != 200 for *_, s in load.log), 20, what="the old certificate's end")
            begun = time.monotonic() - 20
            g.mount_secret("login", second)
            windows = [(begun, time.monotonic())]
            load.more(60)
            g.mount_secret("login", short_certificate(api, 3600))
            load.more(60)
        assert failures(load.log, windows) == [] and len(load.log) > 140, failures(load.log, windows)[:3]
        texts = g.stderr() + "".join(p.read_text() for p in g.record_files())
        assert all(c["tls.key"].splitlines()[2] not in texts for c in (first, second))


@pytest.mark.sanitize
def test_a_refused_login_of_the_guard(api, idp):
    """The agent is told that it is not his token; the reason is in the log."""
    with make_guard(api, idp, {"token": "wrong-canary-4711"}) as g:
        for _ in range(2):
            status, body = ask(g, MAPS, idp.token())
            assert status == 502 and "the guard's own login" in body["message"] and body["kind"] == "Status"
        assert g.log("login.refused")[0]["status"] == 401
        g.mount_secret("login", {"token": api.token("shop", "agent")})
        run.wait_for(lambda: ask(g, MAPS, idp.token())[0] == 200, 10, what="the right token")
        assert "wrong-canary-4711" not in g.stderr() + "".join(p.read_text() for p in g.record_files())


# ---- where the secret must not go ----

class ApiImpostor(Impostor):
    """TLS with a certificate of whichever authority, or none at all; `got` is what it was told, decrypted."""

    def __init__(self, authority=None):
        super().__init__()
        self.context = authority and server_context(authority, "127.0.0.1")

    def talk(self, client):
        if not self.context:
            self.got += client.recv(65536)
            return
        with self.context.wrap_socket(client, server_side=True) as s:
            self.got += s.recv(65536)


@pytest.mark.sanitize
def test_an_impostor_never_gets_the_secret(api, idp):
    canary = "canary-kube-only-the-guard-knows"
    with ApiImpostor(Authority("Somebody else")) as bad, make_guard(api, idp, {"token": canary}, port=bad.port) as g:
        status, body = ask(g, MAPS, idp.token())
        assert status == 502 and canary not in str(body)
        run.wait_for(lambda: bad.served, 10, what="the end of the connection")
        assert bad.got == b""
        texts = g.stderr() + "".join(p.read_text() for p in g.record_files())
        assert canary not in texts
    with ApiImpostor(api.authority) as known, make_guard(api, idp, {"token": canary}, port=known.port) as g:
        assert ask(g, MAPS, idp.token())[0] == 502
        assert canary.encode() in known.got, "the search itself does not find"


@pytest.mark.parametrize("mode", ["Require", "Disable"])
def test_a_token_only_goes_over_verified_tls(api, idp, mode):
    """Whoever reads a bearer token has it: where the certificate is not looked at, it is not sent."""
    secret = api.token("shop", "agent")
    with ApiImpostor(Authority("Somebody else") if mode == "Require" else None) as bad:
        text = policies(bad.port).replace("{mode: VerifyFull, caSecretRef: {name: cluster-ca}}", f"{{mode: {mode}}}")
        with Guard(text, listen={"cluster": None}, issuers=f"issuers: [{idp.yaml()}]\n", extra=["--pod-uid", POD_UID],
                   secrets={"login": {"token": secret}, "cluster-ca": {"ca.crt": api.authority.pem}}) as g:
            status, body = ask(g, MAPS, idp.token())
            assert status == 502 and "'cluster' needs tls.mode VerifyFull" in body["message"], body
            assert bad.got == b""

            def recorded():
                return "over verified TLS" in "".join(p.read_text() for p in g.record_files())
            run.wait_for(recorded, 10, what="the record of the refusal")
            assert secret not in g.stderr() + "".join(p.read_text() for p in g.record_files())
            g.set_policies(policies(api.port))
            run.wait_for(lambda: ask(g, MAPS, idp.token())[0] == 200, 15, what="an answer over verified TLS")
            assert bad.got == b""
