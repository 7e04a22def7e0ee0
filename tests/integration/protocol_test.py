# SPDX-License-Identifier: Apache-2.0
"""The wire protocol's edges, spoken by a client that knows no manners. IDs of the attack catalogue in the names.

After every misbehaviour a well-behaved session on the same guard must still work.
"""
import socket
import ssl
import struct
import subprocess
import time

import pytest

from clients import raw
from clients.harness import FULL, PASSWORD, USER, Stack
from support import run

SETUP = ["CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 100) g",
         "ALTER TABLE t OWNER TO agent"]
RULES = ['{name: all, action: Allow, sql: {operations: ["*"], relations: ["public.*", "pg_temp.*"], functions: [pg_sleep]}}',
         '{name: no-drop, action: Deny, sql: {operations: [Drop]}}']


@pytest.fixture(scope="module", params=FULL)
def stack(request):
    with Stack(RULES, setup=SETUP, **request.param) as s:
        yield s


@pytest.fixture(autouse=True)
def others_are_unaffected(request, stack):
    yield
    with stack.connect() as c:
        assert c.query("SELECT count(*) FROM t").text() == [["100"]]


def login(stack, c, **params):
    if stack.client_tls:
        assert c.ssl_request() == b"S"
        c.start_tls()
    return c.startup(USER, stack.database, PASSWORD, params)


def fatal(c, states=("08P01",), timeout=10):
    """The peer ends the connection, with or without a last word; never with a working session."""
    reply = c.until(b"E", timeout * run.SLOWNESS)
    if reply.errors:
        assert reply.errors[0]["S"] == "FATAL" and reply.sqlstate in states, reply.errors
    return reply.closed or c.closed_by_peer(timeout * run.SLOWNESS)


# ---- P1 to P3: negotiation ----

def test_p1_ssl_request_twice(stack):
    with stack.bare() as c:
        assert c.ssl_request() == b"S"
        c.send(raw.request_packet(raw.SSL_REQUEST))
        assert c.closed_by_peer()


def test_p1_gssenc_then_ssl(stack):
    with stack.bare() as c:
        c.send(raw.request_packet(raw.GSSENC_REQUEST))
        assert c.recv_exact(1) == b"N"
        assert login(stack, c).status == "I"


def test_p1_gssenc_twice(stack):
    with stack.bare() as c:
        c.send(raw.request_packet(raw.GSSENC_REQUEST))
        assert c.recv_exact(1) == b"N"
        c.send(raw.request_packet(raw.GSSENC_REQUEST))
        assert c.closed_by_peer()


def test_p1_ten_thousand_requests(stack):
    with stack.bare() as c:
        try:
            for _ in range(100):
                c.send(raw.request_packet(raw.GSSENC_REQUEST) * 100)
        except OSError:
            return  # closed while we were sending: right
        assert c.closed_by_peer()
        assert len(c.received) < 200


def test_p1_ssl_request_inside_tls(stack):
    with stack.bare() as c:
        c.ssl_request()
        c.start_tls()
        c.send(raw.request_packet(raw.SSL_REQUEST))
        assert c.closed_by_peer()


@pytest.mark.parametrize("stuffed", [raw.query("SELECT 1"), raw.startup_packet({"user": USER}), b"\x16", b"X" * 100],
                         ids=["query", "startup", "hello", "junk"])
def test_p2_bytes_behind_ssl_request(stack, stuffed):
    """What was sent in clear must never be taken for part of the encrypted session."""
    with stack.bare() as c:
        c.send(raw.request_packet(raw.SSL_REQUEST) + stuffed)
        try:
            answer = c.recv_exact(1)
        except raw.Closed:
            return
        if answer == b"S":
            with pytest.raises((OSError, raw.Closed)):
                c.start_tls()
                assert login(stack, c).status == ""
                raise OSError
        else:
            assert answer in (b"E", b"N")
            assert c.closed_by_peer()


def test_p3_direct_tls_without_alpn(stack):
    with stack.bare() as c:
        with pytest.raises((OSError, AssertionError, raw.Closed)):
            c.start_tls()
            reply = c.startup(USER, stack.database, PASSWORD)
            assert reply.status == "I", "no session came of it"


def test_p3_direct_tls_with_alpn(stack):
    """PostgreSQL 17's way in. Allowed, and then guarded like any other; or closed. Never relayed unread."""
    with stack.bare() as c:
        try:
            c.start_tls(alpn=["postgresql"])
        except OSError:
            return
        assert c.sock.selected_alpn_protocol() == "postgresql"
        assert c.startup(USER, stack.database, PASSWORD).status == "I"
        assert c.query("DROP TABLE t").sqlstate == "42501"


def test_p3_direct_tls_with_wrong_alpn(stack):
    with stack.bare() as c:
        with pytest.raises((OSError, AssertionError, raw.Closed)):
            c.start_tls(alpn=["http/1.1"])
            assert c.startup(USER, stack.database, PASSWORD).status == "I"


def test_p3_openssl_s_client(stack):
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{stack.port}", "-starttls", "postgres", "-brief"],
                          input="", capture_output=True, text=True, timeout=30)
    assert "TLSv1.3" in done.stderr or "TLSv1.3" in done.stdout, done.stderr


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_refused(stack, version):
    context = ssl._create_unverified_context()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with stack.bare() as c:
        c.ssl_request()
        with pytest.raises(OSError):
            c.start_tls(context=context)


def test_tls_cut_short(stack):
    with stack.bare() as c:
        c.ssl_request()
        c.send(b"\x16\x03\x01\x02\x00\x01\x00")
        c.sock.shutdown(socket.SHUT_WR)
        assert c.closed_by_peer()


# ---- P5: time and number ----

def test_p5_stalled_handshakes_do_not_last():
    with Stack(RULES, setup=SETUP, guard_args=["--handshake-timeout", "2"]) as s:
        idle = [s.bare() for _ in range(50)]
        stalled = s.bare()
        stalled.send(raw.request_packet(raw.SSL_REQUEST))
        half = s.bare()
        half.send(b"\0\0\0\x50\0\3\0\0user")
        t = time.monotonic()
        with s.connect() as c:
            assert c.query("SELECT 1").text() == [["1"]]
        assert time.monotonic() - t < 5 * run.SLOWNESS
        for c in (*idle, stalled, half):
            assert c.closed_by_peer(15 * run.SLOWNESS)
            c.close()


def test_p5_too_many_sessions_are_told(stack):
    with Stack(RULES, version=stack.version, database=stack.database, guard_args=["--max-sessions", "5"]) as s:
        kept = [s.connect() for _ in range(5)]
        with s.bare() as c:
            reply = c.startup(USER, s.database, PASSWORD)
            assert reply.sqlstate == "53300" and reply.status == "", reply
        kept.pop().close()

        def free():
            with s.bare() as c:
                return c.startup(USER, s.database, PASSWORD).status == "I"
        run.wait_for(free, 10, what="a place that became free")
        for c in kept:
            assert c.query("SELECT 1").text() == [["1"]]
            c.close()


# ---- P6, P7: start-up packet ----

@pytest.mark.parametrize("key,value", [
    ("options", "-c search_path=evil"), ("options", "-c session_preload_libraries=x"),
    ("session_authorization", "postgres"), ("role", "postgres"), ("statement_timeout", "0"), ("log_statement", "none"),
    ("row_security", "off"), ("standard_conforming_strings", "off"), ("client_encoding", "SJIS"), ("client_encoding", "LATIN1")])
def test_p6_startup_parameters_outside_the_list(stack, key, value):
    """Refused, or dropped, or made harmless; never in force."""
    with stack.bare() as c:
        reply = login(stack, c, **{key: value})
        if reply.status:
            name = "search_path" if "search_path" in value else key
            if name not in ("options", "statement_timeout"):
                assert c.query(f"SHOW {name}").text()[0][0] != value
        else:
            assert reply.errors[0]["S"] == "FATAL", reply


@pytest.mark.parametrize("key,value", [("application_name", "my-app"), ("DateStyle", "ISO, DMY"), ("TimeZone", "Europe/Vienna"),
                                       ("extra_float_digits", "3"), ("client_encoding", "UTF8")])
def test_startup_parameters_that_drivers_send(stack, key, value):
    with stack.bare() as c:
        assert login(stack, c, **{key: value}).status == "I"
        assert c.query(f"SHOW {key}").text() == [[value]]


def test_p6_duplicate_keys(stack):
    with stack.bare() as c:
        if stack.client_tls:
            c.ssl_request()
            c.start_tls()
        c.send(raw.startup_packet([("user", USER), ("database", "postgres"), ("user", "postgres"), ("database", stack.database)]))
        reply = c.login(USER, PASSWORD)
        assert reply.status == "" or c.query("SELECT current_user, current_database()").text()[0][0] == USER


@pytest.mark.parametrize("packet", [
    raw.startup_packet({}), raw.startup_packet({"database": "postgres"}), raw.startup_packet({"user": ""}),
    struct.pack("!iI", 8, raw.PROTOCOL_3_0), struct.pack("!iI", 9, raw.PROTOCOL_3_0) + b"u",
    struct.pack("!iI", 13, raw.PROTOCOL_3_0) + b"user\0", struct.pack("!iI", 12, raw.PROTOCOL_3_0) + b"abcd",
    struct.pack("!iI", 7, 0), struct.pack("!iI", 4, 0), struct.pack("!i", -1) * 2,
    struct.pack("!iI", 0x7fffffff, raw.PROTOCOL_3_0), struct.pack("!iI", 20000, raw.PROTOCOL_3_0), b"GET / HTTP/1.1\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n", struct.pack("!iI", 8, 0x00020000), struct.pack("!iI", 8, 0x00040000), b"\0" * 100], ids=lambda b: b[:24].hex())
def test_malformed_startup(stack, packet):
    with stack.bare() as c:
        if stack.client_tls:
            c.ssl_request()
            c.start_tls()
        c.send(packet)
        assert fatal(c, ("08P01", "0A000", "28000", "54000", "42501"))


def negotiated(body):
    version, n = struct.unpack_from("!Ii", body)
    return version, [x.decode() for x in body[8:].split(b"\0")[:n]]


@pytest.mark.parametrize("minor", [2, 7, 9999])
def test_p7_newer_minor_version(stack, minor):
    with stack.bare() as c:
        if stack.client_tls:
            c.ssl_request()
            c.start_tls()
        c.send(raw.startup_packet({"user": USER, "database": stack.database}, (3 << 16) | minor))
        reply = c.login(USER, PASSWORD)
        assert reply.status == "I", reply
        if minor > 2 or c.negotiated:
            assert c.negotiated, "NegotiateProtocolVersion says what was agreed"
            assert negotiated(c.negotiated)[0] in (raw.PROTOCOL_3_0, raw.PROTOCOL_3_2)
        assert c.query("SELECT 1").text() == [["1"]]


def test_p7_unknown_protocol_options(stack):
    with stack.bare() as c:
        reply = login(stack, c, **{"_pq_.tricks": "yes", "_pq_.more": "1"})
        assert reply.status == "I"
        assert set(negotiated(c.negotiated)[1]) == {"_pq_.tricks", "_pq_.more"}


def test_psql_18_direct_tls(stack):
    """libpq 18 (with the npm binaries) speaks 3.2 on request and direct TLS."""
    import psycopg
    if psycopg.pq.version() < 170000:
        pytest.skip(f"libpq {psycopg.pq.version()}")
    options = {"sslnegotiation": "direct", "sslmode": "require"}
    if psycopg.pq.version() >= 180000:
        options["max_protocol_version"] = "3.2"
    with psycopg.connect(**{**stack.conninfo(), **options}) as c:
        assert c.execute("SELECT count(*) FROM t").fetchone() == (100,)


def test_login_failures_look_like_the_servers(stack):
    for user, password, state in ((USER, "wrong", "28P01"), ("nobody", "x", "28P01")):
        with stack.bare() as c, raw.RawClient(stack.pg.host, stack.pg.port) as d:
            if stack.client_tls:
                c.ssl_request()
                c.start_tls()
            a, b = c.startup(user, stack.database, password), d.startup(user, stack.database, password)
            assert a.sqlstate == b.sqlstate == state and a.errors[0]["S"] == "FATAL" and not a.status
            assert c.closed_by_peer()


def test_unknown_database(stack):
    with stack.bare() as c:
        if stack.client_tls:
            c.ssl_request()
            c.start_tls()
        reply = c.startup(USER, "absent", PASSWORD)
        assert reply.sqlstate in ("3D000", "42501") and reply.errors[0]["S"] == "FATAL"


# ---- P8: cancel ----

def cancel(stack, pid, key, tls=False):
    with stack.bare() as c:
        if tls:
            c.ssl_request()
            c.start_tls()
        c.send(raw.cancel_packet(pid, key))
        assert c.closed_by_peer() and len(c.received) <= 1, "a cancel request gets no answer"


def test_p8_cancel_with_the_right_key(stack):
    for tls in (False, True):
        with stack.connect() as c:
            c.send(raw.query("SELECT pg_sleep(60)"))
            assert c.silent_for(0.3)
            t = time.monotonic()
            cancel(stack, c.pid, c.key, tls)
            assert c.until_ready().sqlstate == "57014" and time.monotonic() - t < 10 * run.SLOWNESS
            assert c.query("SELECT 1").text() == [["1"]]


def test_p8_cancel_with_the_wrong_key(stack):
    with stack.connect() as c:
        c.send(raw.query("SELECT pg_sleep(1.5)"))
        for pid, key in ((c.pid, bytes(len(c.key))), (c.pid ^ 1, c.key), (c.pid, c.key[:-1] + bytes([c.key[-1] ^ 1])),
                         (c.pid, b""), (c.pid, c.key[:2]), (c.pid, c.key + b"x"), (c.pid, b"k" * 300), (0, c.key)):
            with stack.bare() as other:
                other.send(raw.cancel_packet(pid, key))
                assert other.closed_by_peer() and not other.received
        reply = c.until_ready()
        assert not reply.errors and reply.tags == ["SELECT 1"]


def test_p8_the_servers_own_key_is_not_ours(stack):
    """The agent never learns the upstream's key, so it cannot cancel past the guard."""
    with stack.connect() as c:
        pid = int(stack.admin(f"SELECT pid FROM pg_stat_activity WHERE datname = '{stack.database}' "
                              "AND pid <> pg_backend_pid() ORDER BY backend_start DESC LIMIT 1")[0][0])
        with raw.RawClient(stack.pg.host, stack.pg.port) as d:
            c.send(raw.query("SELECT pg_sleep(1)"))
            d.send(raw.cancel_packet(pid, c.key))
            assert d.closed_by_peer()
        assert not c.until_ready().errors


def test_p8_cancel_of_another_session_leaves_ours(stack):
    with stack.connect() as a, stack.connect() as b:
        assert (a.pid, a.key) != (b.pid, b.key)
        a.send(raw.query("SELECT pg_sleep(30)"))
        b.send(raw.query("SELECT pg_sleep(1)"))
        assert a.silent_for(0.3)
        cancel(stack, a.pid, a.key)
        assert a.until_ready().sqlstate == "57014"
        assert not b.until_ready().errors


def test_cancel_with_nothing_running(stack):
    with stack.connect() as c:
        cancel(stack, c.pid, c.key)
        run.wait_for(lambda: not c.query("SELECT 1").errors, 5, what="a query after a late cancel")


# ---- P9: lengths and contents ----

@pytest.mark.parametrize("name,data", [
    ("length -1", b"Q" + struct.pack("!i", -1)), ("length 0", b"Q" + struct.pack("!i", 0)), ("length 2", b"Q" + struct.pack("!i", 2)),
    ("length 3", b"Q" + struct.pack("!i", 3)), ("1 GiB", b"Q" + struct.pack("!i", 1 << 30)), ("2 GiB", b"d" + struct.pack("!i", 0x7fffffff)),
    ("min int", b"P" + struct.pack("!i", -2**31)), ("Query without NUL", raw.frame(b"Q", b"SELECT 1")),
    ("Query with inner NUL", raw.frame(b"Q", b"SELECT 1\0; DROP TABLE t\0")), ("empty Query body", raw.frame(b"Q", b"")),
    ("Sync with body", raw.frame(b"S", b"x")), ("20 kB Sync", raw.frame(b"S", b"x" * 20000)), ("Flush with body", raw.frame(b"H", b"abc")),
    ("Terminate with body", raw.frame(b"X", b"abc")), ("unknown type", raw.frame(b"z", b"abc")), ("type 0", raw.frame(b"\0", b"")),
    ("server message", raw.frame(b"T", b"\0\0")), ("password now", raw.frame(b"p", b"pw\0")), ("Parse short", raw.frame(b"P", b"a\0SELECT 1\0")),
    ("Parse trailing", raw.frame(b"P", b"a\0SELECT 1\0\0\0x")), ("Parse many types", raw.frame(b"P", b"a\0SELECT 1\0\x7f\xff")),
    ("Bind short", raw.frame(b"B", b"\0\0\0\1")), ("Bind -2", raw.frame(b"B", b"\0\0\0\0\0\1" + struct.pack("!i", -2) + b"\0\0")),
    ("Bind long value", raw.frame(b"B", b"\0\0\0\0\0\1" + struct.pack("!i", 1000) + b"x\0\0")),
    ("Bind trailing", raw.frame(b"B", b"\0\0\0\0\0\0\0\0junk")), ("Bind negative count", raw.frame(b"B", b"\0\0\xff\xff\0\0\0\0")),
    ("Execute short", raw.frame(b"E", b"\0\0")), ("Execute no NUL", raw.frame(b"E", b"abc")), ("Describe kind", raw.frame(b"D", b"Xa\0")),
    ("Describe short", raw.frame(b"D", b"S")), ("Close kind", raw.frame(b"C", b"?\0")), ("Close empty", raw.frame(b"C", b"")),
    ("FunctionCall short", raw.frame(b"F", b"\0")), ("CopyData out of COPY", None)], ids=lambda v: v if isinstance(v, str) else "")
def test_p9_malformed_messages(stack, name, data):
    with stack.connect() as c:
        if data is None:  # harmless in PostgreSQL, which ignores it: the session goes on
            c.send(raw.copy_data(b"x"), raw.COPY_DONE, raw.copy_fail("no"))
            reply = c.query("SELECT 1")
            assert reply.closed or reply.text() == [["1"]]
            return
        c.send(data)
        try:
            reply = c.until_ready(10 * run.SLOWNESS)
        except TimeoutError:
            pytest.fail("neither answer nor close")
        assert not reply.rows
        assert reply.closed or (reply.errors and reply.sqlstate in ("08P01", "54000", "0A000")), reply
        if reply.closed and reply.errors:
            assert reply.errors[-1]["S"] == "FATAL"


def test_p9_a_lie_about_length_holds_no_memory(stack):
    before = stack.guard.rss()
    clients = [stack.connect() for _ in range(10)]
    for c in clients:
        c.send(b"B" + struct.pack("!i", 900 << 20) + b"x" * 1000)
    assert stack.guard.rss() - before < (64 << 20) * run.SLOWNESS
    for c in clients:
        c.close()


def test_terminate_early(stack):
    with stack.connect() as c:
        c.send(raw.query("SELECT 1"), raw.TERMINATE)
        reply = c.until_ready()
        assert reply.closed or reply.text() == [["1"]]
        assert c.closed_by_peer()


def test_client_vanishes_in_a_query(stack):
    c = stack.connect()
    c.send(raw.query("SELECT pg_sleep(5) /* vanishing */"))
    assert c.silent_for(0.2)
    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()

    def gone():
        return not stack.admin("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%vanishing%' AND pid <> pg_backend_pid()")
    run.wait_for(gone, 25, what="the upstream session's end")


def test_upstream_vanishes_in_a_query(stack):
    with stack.connect() as c:
        c.send(raw.query("SELECT pg_sleep(30) /* killed */"))
        assert c.silent_for(0.2)
        stack.admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%killed%' AND pid <> pg_backend_pid()")
        reply = c.until_ready()
        assert reply.closed and reply.sqlstate in ("57P01", "08006"), reply


# ---- COPY ----

def test_copy_in_states(stack):
    with stack.connect() as c:
        c.query("CREATE TEMP TABLE x (a int)")
        for end, tag, state in ((raw.COPY_DONE, ["COPY 2"], None), (raw.copy_fail("changed my mind"), [], "57014")):
            c.send(raw.query("COPY x FROM STDIN"))
            assert c.until(b"G").kinds == "G"
            c.send(raw.SYNC, raw.FLUSH, raw.copy_data(b"1\n2"), raw.copy_data(b"\n"), end)
            reply = c.until_ready()
            assert reply.tags == tag and reply.sqlstate == state, reply
        assert c.query("SELECT count(*) FROM x").text() == [["2"]]


def test_p16_query_during_copy_in(stack):
    with stack.connect() as c:
        c.query("CREATE TEMP TABLE x (a int)")
        c.send(raw.query("COPY x FROM STDIN"))
        c.until(b"G")
        c.send(raw.query("SELECT 1"))
        reply = c.until_ready()
        assert reply.errors and (reply.closed or reply.status == "I")


def test_extended_copy_in(stack):
    with stack.connect() as c, stack.direct() as d:
        results = []
        for x in (c, d):
            x.query("CREATE TEMP TABLE x (a int)")
            x.send(raw.parse("", "COPY x FROM STDIN"), raw.bind("", ""), raw.execute(), raw.FLUSH)
            x.until(b"G")
            x.send(raw.copy_data(b"5\n"), raw.COPY_DONE, raw.SYNC)
            reply = x.until_ready()
            results.append((reply.tags, reply.status, x.query("TABLE x").text()))
        assert results[0] == results[1]


# ---- backpressure ----

def test_slow_reader_costs_no_memory(stack):
    with stack.connect(timeout=120) as c:
        before = stack.guard.rss()
        c.send(raw.query("SELECT g, repeat('x', 1000) FROM generate_series(1, 300000) g"))  # 300 MB
        assert not c.silent_for(5)
        peak = 0
        for _ in range(200):
            c.sock.recv(65536)
            peak = max(peak, stack.guard.rss() - before)
        assert peak < (16 << 20) * run.SLOWNESS, f"{peak >> 20} MiB"
