# SPDX-License-Identifier: Apache-2.0
"""Logins with a credential that only the guard holds: methods, rotation, and that the secret goes nowhere else."""
import os
import pathlib
import re
import threading
import time

import pytest

from identity_world import (CANARY, LOGIN, SERVICE, VERSION, auths, connections, guard, idp, login, make_guard, nowhere, policy,
                            refused, server, startup, target, wait_auths)  # noqa: F401 - fixtures
from clients import harness, raw
from support import postgres, run
from support.certs import Authority
from support.impostor import Impostor, server_context


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

class PostgresImpostor(Impostor):
    """Takes the guard's connection, talks TLS with a certificate of its own when asked, and then asks for the
    password in the way it was told. `got`: all that it received, decrypted."""

    def __init__(self, authority, request, tls=True):
        super().__init__()
        self.request, self.tls = request, tls
        self.context = server_context(authority, "localhost", "127.0.0.1")

    def talk(self, client):
        first = client.recv(8)
        self.got += first
        if first == (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big"):
            client.sendall(b"S" if self.tls else b"N")
            if not self.tls:
                self.got += client.recv(65536)
                return
            client = self.context.wrap_socket(client, server_side=True)
        with client:
            self.got += client.recv(65536)
            client.sendall(self.request)
            while data := client.recv(65536):
                self.got += data


def auth_request(code, rest=b""):
    return b"R" + (8 + len(rest)).to_bytes(4, "big") + code.to_bytes(4, "big") + rest


@pytest.mark.sanitize
@pytest.mark.parametrize("ask", ["cleartext", "md5", "scram"])
@pytest.mark.parametrize("mode, tls", [("VerifyFull", True), ("VerifyFull", False), ("Require", True), ("Disable", False)])
def test_an_impostor_never_gets_the_secret(server, idp, ask, mode, tls):
    request = {"cleartext": auth_request(3), "md5": auth_request(5, b"salt"),
               "scram": auth_request(10, b"SCRAM-SHA-256\0\0")}[ask]
    with PostgresImpostor(Authority("Somebody else"), request, tls) as bad, \
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
