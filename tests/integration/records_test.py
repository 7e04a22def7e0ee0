# SPDX-License-Identifier: Apache-2.0
"""Records: written before a statement is forwarded, holding what the agent saw, and impossible to change unnoticed."""
import hashlib
import json
import os
import re
import subprocess
import threading

import psycopg
import pytest

from clients import raw
from clients.harness import FULL, PASSWORD, USER, Canaries, Stack
from support import run

SETUP = ["CREATE TABLE t (id int PRIMARY KEY, v text, secret text)",
         "INSERT INTO t SELECT g, 'value ' || g, 'topsecretquark' || g FROM generate_series(1, 20) g", "ALTER TABLE t OWNER TO agent"]
RULES = ['{name: work, action: Allow, sql: {operations: ["*"], relations: ["public.*"], functions: [pg_sleep]}}',
         '{name: hide, action: Mask, sql: {columns: ["public.t.secret"]}, mask: {method: Redact}}',
         '{name: values, action: Mask, values: {detectors: [email]}}',
         '{name: no-drop, action: Deny, sql: {operations: [Drop]}}']
SECRET = Canaries(["topsecretquark", "mzqwkfj@corp", PASSWORD])


@pytest.fixture(scope="module", params=FULL)
def stack(request):
    with Stack(RULES, setup=SETUP, **request.param) as s:
        yield s


@pytest.fixture
def own():
    """A guard of the test's own, for tests that break things."""
    with Stack(RULES, setup=SETUP) as s:
        yield s


def a_session(stack, mark):
    """Some work; returns the path of its finished record."""
    with stack.connect() as c:
        c.query(f"SELECT id, v, secret FROM t WHERE id <= 2 /* {mark} */")
        c.extended("SELECT v FROM t WHERE id = $1", ["3"])
        c.query("DROP TABLE t")
        c.query("SELECT 1/0")
        c.query("SELECT 'mail mzq' || 'wkf' || 'j@corp.example' AS m")
        c.send(raw.TERMINATE)
        assert c.closed_by_peer()

    def finished():
        for path in stack.guard.record_files():
            text = path.read_text()
            if mark in text and '"session.close"' in text:
                return path
        return None
    return run.wait_for(finished, 10, what=f"the finished record of {mark}")


def lines_of(path):
    return [json.loads(x) for x in path.read_text().splitlines()]


def test_shape_and_order(stack):
    path = a_session(stack, "shape")
    lines = lines_of(path)
    kinds = [e["type"] for e in lines]
    assert kinds[0] == "session.open" and kinds[-1] == "session.close"
    assert [e["seq"] for e in lines] == list(range(lines[0]["seq"], lines[0]["seq"] + len(lines)))
    assert {"statement", "decision", "result", "error"} <= set(kinds)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", e["time"]) for e in lines)
    assert len({e["session"] for e in lines}) == 1 and lines[0]["session"] == path.stem
    opened = json.dumps(lines[:2])
    assert USER in opened and stack.database in opened and "agent-0" in opened
    assert oct(path.stat().st_mode & 0o777) == "0o600"


def test_chain_is_what_the_documentation_says(stack):
    """Checked here by hand, not by our own verifier."""
    previous = "0" * 64
    for text in a_session(stack, "chain").read_bytes().splitlines():
        line = json.loads(text)
        body, _, rest = text.rpartition(b',"hash":"')
        assert rest == line["hash"].encode() + b'"}'
        assert hashlib.sha256(body + b"}").hexdigest() == line["hash"]
        assert line["prev"] == previous
        previous = line["hash"]


def test_masked_values_only(stack):
    path = a_session(stack, "masked-only")
    SECRET.absent_from_record(path)
    text = path.read_text()
    assert "****" in text and "value 2" in text, "what the agent saw is there"
    SECRET.absent(stack.guard.stderr().encode())


def test_denial_and_parameters_are_there(stack):
    lines = lines_of(a_session(stack, "denial"))
    denial = next(e for e in lines if e["type"] == "decision")
    assert denial["verdict"] == "Deny" and denial["rule"] == "no-drop"
    assert any(e["type"] == "statement" and "3" in json.dumps(e.get("parameters")) for e in lines)
    assert any(e["type"] == "error" and e["sqlstate"] == "22012" for e in lines)


def test_failed_login_is_recorded(stack):
    with stack.bare() as c:
        if stack.client_tls:
            c.ssl_request()
            c.start_tls()
        assert c.startup(USER, stack.database, "wrong-pass word-xyzzy").sqlstate == "28P01"
    run.wait_for(lambda: any(not e["ok"] for e in stack.guard.events("auth")), 10, what="a record of the failed login")
    assert not any("xyzzy" in p.read_text() for p in stack.guard.record_files())


# ---- kubectl-guard ----

def test_sessions_and_kill(stack):
    with stack.connect() as c:
        c.query("SELECT 1 /* live-one */")
        session = stack.record_of("live-one")[0]["session"]
        assert session in stack.guard.kubectl_guard("sessions").stdout
        stack.guard.kubectl_guard("kill", session)
        reply = c.until_ready()
        assert reply.closed and reply.sqlstate == "57P01"
    run.wait_for(lambda: session not in stack.guard.kubectl_guard("sessions").stdout, 10, what="the session's end")
    assert stack.guard.kubectl_guard("kill", session, check=False).returncode != 0


def test_tail_follows(stack):
    with stack.connect() as c:
        c.query("SELECT 1 /* tail-start */")
        session = stack.record_of("tail-start")[0]["session"]
        tail = subprocess.Popen([str(run.program("kubectl-guard")), "--socket", str(stack.guard.control), "tail", session],
                                stdout=subprocess.PIPE, text=True)
        try:
            os.set_blocking(tail.stdout.fileno(), False)
            seen = ""

            def arrived():
                nonlocal seen
                c.query("SELECT secret FROM t WHERE id = 1 /* tail-live */")
                seen += tail.stdout.read() or ""
                return "tail-live" in seen
            run.wait_for(arrived, 10, what="the live line")
            SECRET.absent(seen.encode())
        finally:
            run.stop(tail)


def test_replay(stack):
    path = a_session(stack, "replayed")
    out = stack.guard.kubectl_guard("replay", path, "--speed", "1000").stdout
    assert "replayed" in out and "DROP TABLE t" in out and "****" in out
    parsed = [json.loads(x) for x in stack.guard.kubectl_guard("replay", path, "--json").stdout.splitlines()]
    assert [e["type"] for e in parsed][0] == "session.open"


def test_replay_shows_no_escapes(stack):
    with stack.connect() as c:
        c.query("SELECT E'\\x1b[2J\\x1b]0;owned\\x07 end' /* escapes \x1b[31m */")
    path = stack.guard.spool / (stack.record_of("/* escapes")[0]["session"] + ".jsonl")
    run.wait_for(lambda: "session.close" in path.read_text(), 10, what="the end of the session")
    out = stack.guard.kubectl_guard("replay", path, "--speed", "1000").stdout
    assert "\x1b[2J" not in out and "\x1b]0" not in out and "\x1b[31m" not in out


def test_export_asciicast(stack, tmp_path):
    path, cast = a_session(stack, "exported"), tmp_path / "out.cast"
    stack.guard.kubectl_guard("export", path, "--asciicast", cast)
    lines = [json.loads(x) for x in cast.read_text().splitlines()]
    assert lines[0]["version"] in (2, 3) and "exported" in json.dumps(lines[1:])
    assert all(len(x) == 3 and x[1] in "oim" for x in lines[1:])
    SECRET.absent(cast.read_bytes())


@pytest.mark.sanitize
def test_verify(stack):
    done = stack.guard.kubectl_guard("verify", a_session(stack, "good"))
    assert done.returncode == 0


TAMPERINGS = ["change a word", "change a verdict", "delete a line", "swap lines", "repeat a line", "delete the first", "cut a line",
              "recompute one hash", "insert a line", "garbage", "change a time", "another session's line"]


@pytest.mark.parametrize("how", TAMPERINGS)
def test_tampering_is_found_and_located(stack, tmp_path, how):
    good = a_session(stack, "tampered")
    lines = good.read_bytes().splitlines(keepends=True)
    at = 4
    if how == "change a word":
        at = next(i for i, x in enumerate(lines) if b"value 2" in x)
        lines[at] = lines[at].replace(b"value 2", b"value 7")
    elif how == "change a verdict":
        at = next(i for i, x in enumerate(lines) if b'"verdict":"Deny"' in x)
        lines[at] = lines[at].replace(b'"verdict":"Deny"', b'"verdict":"Allow"')
    elif how == "delete a line":
        del lines[at]
    elif how == "swap lines":
        lines[at], lines[at + 1] = lines[at + 1], lines[at]
    elif how == "repeat a line":
        lines.insert(at, lines[at])
    elif how == "delete the first":
        at = 0
        del lines[0]
    elif how == "cut a line":
        lines[at] = lines[at][:40] + b"\n"
    elif how == "recompute one hash":
        body = lines[at].rpartition(b',"hash":"')[0].replace(b'"time":"2', b'"time":"3') + b"}"
        lines[at] = body[:-1] + b',"hash":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'
        at += 1  # the line itself is consistent; the next one's prev gives it away
    elif how == "insert a line":
        lines.insert(at, b'{"seq":4,"type":"statement"}\n')
    elif how == "garbage":
        lines[at] = b"\0\xff garbage\n"
    elif how == "change a time":
        lines[at] = lines[at].replace(b'"time":"2', b'"time":"1')
    else:
        lines[at] = a_session(stack, "tampered-2").read_bytes().splitlines(keepends=True)[at]
    bad = tmp_path / good.name
    bad.write_bytes(b"".join(lines))
    done = stack.guard.kubectl_guard("verify", bad, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    said = done.stdout + done.stderr
    first = json.loads(good.read_bytes().splitlines()[0])["seq"]
    numbers = {int(n) for n in re.findall(r"(?:seq|line)[^0-9]{0,12}(\d+)", said)}
    assert numbers & {at + first, at + first - 1, at + first + 1}, f"the place ({at + first}) is named: {said}"


def test_truncation_is_seen(stack, tmp_path):
    """A record without its end is whole as far as it goes; verify says that the end is missing."""
    good = a_session(stack, "truncated")
    cut = tmp_path / good.name
    cut.write_bytes(b"".join(good.read_bytes().splitlines(keepends=True)[:-2]))
    whole = stack.guard.kubectl_guard("verify", good, check=False)
    done = stack.guard.kubectl_guard("verify", cut, check=False)
    assert (done.returncode, done.stdout) != (whole.returncode, whole.stdout)
    assert re.search(r"not sealed|unsealed|not closed|no end|truncat|open", done.stdout + done.stderr, re.IGNORECASE), done.stdout


def test_verify_of_several_names_the_bad_one(stack, tmp_path):
    good, other = a_session(stack, "several-1"), a_session(stack, "several-2")
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(other.read_bytes().replace(b"several-2", b"several-3"))
    done = stack.guard.kubectl_guard("verify", good, bad, check=False)
    assert done.returncode == 1 and "bad.jsonl" in done.stdout + done.stderr
    assert stack.guard.kubectl_guard("verify", tmp_path / "absent.jsonl", check=False).returncode not in (0, 1)


# ---- write ahead ----

@pytest.mark.sanitize
@pytest.mark.parametrize("how", ["simple", "extended"])
def test_statement_is_recorded_before_it_runs(own, how):
    """F4: SIGKILL while the statement runs upstream: it is in the record."""
    sql = f"SELECT pg_sleep(6) /* killed-{how} */"
    c = own.connect()
    c.send(raw.query(sql) if how == "simple" else raw.parse("", sql) + raw.bind("", "") + raw.execute() + raw.SYNC)
    run.wait_for(lambda: own.admin(f"SELECT 1 FROM pg_stat_activity WHERE query LIKE '%killed-{how}%' AND pid <> pg_backend_pid()"),
                 10, what="the statement upstream")
    own.guard.kill()
    (path,) = [p for p in own.guard.record_files() if f"killed-{how}" in p.read_text()]
    assert '"session.close"' not in path.read_text()
    done = subprocess.run([run.program("kubectl-guard"), "verify", path], capture_output=True, text=True)
    assert "chain" not in done.stderr.lower() or done.returncode in (0, 1)
    assert not any("reak" in x and "seq" in x for x in (done.stdout + done.stderr).splitlines())
    c.close()
    run.wait_for(lambda: not own.admin(f"SELECT 1 FROM pg_stat_activity WHERE query LIKE '%killed-{how}%' AND pid <> pg_backend_pid() AND state = 'active'"),
                 20, what="the upstream session's end")


def test_kill_loop_loses_no_acknowledged_statement():
    """F4: whatever the client was answered is in the record, at whatever moment the guard dies."""
    stack = Stack(RULES, setup=SETUP)
    try:
        for n in range(5 if run.VARIANT == "release" else 2):
            stack.guard.start()
            answered = []
            c = stack.connect()
            killer = threading.Timer(0.05 + 0.03 * n, stack.guard.kill)
            killer.start()
            try:
                for i in range(100000):
                    if c.query(f"SELECT 1 /* ack-{n}-{i}. */").rows:
                        answered.append(f"ack-{n}-{i}.")
                    else:
                        break
            except OSError:
                pass
            killer.join()
            c.close()
            text = "".join(p.read_text(errors="replace") for p in stack.guard.record_files())
            missing = [a for a in answered if a not in text]
            assert answered and not missing, missing[:3]
    finally:
        stack.guard.close(check=False)


@pytest.mark.sanitize
def test_kill_under_load_loses_nothing_that_the_server_saw():
    """Busy sessions' lines are copied into a mapping of the file: what reached the server is there, and the chain holds."""
    def work(c, n):
        try:
            for i in range(1000000):
                if not c.query(f"SELECT 1 /* load-{n}-{i}. */").rows:
                    return
        except OSError:
            pass

    stack = Stack(RULES, setup=SETUP)
    try:
        stack.guard.start()
        at = stack.pg.log_mark()
        clients = [stack.connect() for _ in range(4)]
        threads = [threading.Thread(target=work, args=(c, n)) for n, c in enumerate(clients)]
        for t in threads:
            t.start()
        run.wait_for(lambda: any(p.read_bytes().endswith(b"\n" * 4096) for p in stack.guard.record_files()), 30, what="a busy session", interval=0.2)
        stack.guard.kill()
        for t in threads:
            t.join()
        for c in clients:
            c.close()
        seen = set(re.findall(r"load-\d+-\d+\.", stack.pg.log_since(at)))
        recorded = set(re.findall(r"load-\d+-\d+\.", "".join(p.read_text() for p in stack.guard.record_files())))
        assert len(seen) > 100 and not seen - recorded, sorted(seen - recorded)[:3]
        for path in stack.guard.record_files():
            done = subprocess.run([run.program("kubectl-guard"), "verify", path], capture_output=True, text=True)
            assert "UNSEALED" in done.stdout and "TAMPERED" not in done.stdout, done
            shown = subprocess.run([run.program("kubectl-guard"), "replay", "--json", path], capture_output=True, text=True)
            assert [json.loads(x)["seq"] for x in shown.stdout.splitlines()] == list(range(len(shown.stdout.splitlines())))
    finally:
        stack.guard.close(check=False)


# ---- a full disk ----

@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs")
def test_full_spool_refuses_and_recovers():
    stack = Stack(RULES, setup=SETUP)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k,mode=700", "none", stack.guard.spool], check=True)
    try:
        with stack:
            with stack.connect() as c:
                at = stack.pg.log_mark()
                refused = None
                for i in range(3000):
                    try:
                        reply = c.query(f"SELECT {i}, '{'x' * 200}' /* fill-{i}. */")
                    except OSError:
                        refused = i
                        break
                    if reply.errors or reply.closed:
                        refused = i
                        assert reply.sqlstate == "58030", reply.errors
                        break
                assert refused, "the spool never filled"
                assert not stack.pg.saw(f"fill-{refused}.", since=at), "refused before the server saw it"
                assert stack.guard.http_get("/readyz")[0] != 200
            with stack.bare() as c:
                reply = c.startup(USER, stack.database, PASSWORD)
                assert reply.status == "" or c.query("SELECT 1 /* still-full */").sqlstate == "58030"
            subprocess.run(["mount", "-o", "remount,size=64m", stack.guard.spool], check=True)

            def works():
                with stack.bare() as c:
                    return c.startup(USER, stack.database, PASSWORD).status == "I" and not c.query("SELECT 1 /* room-again */").errors
            run.wait_for(works, 15, what="recovery after there was room again")
            run.wait_for(lambda: stack.guard.http_get("/readyz")[0] == 200, 10, what="readiness")
            for path in stack.guard.record_files():
                done = stack.guard.kubectl_guard("verify", path, check=False)
                assert not re.search(r"seq \d+ .*break", done.stdout), done.stdout
    finally:
        subprocess.run(["umount", "-l", stack.guard.spool], check=False)


def test_recording_may_be_optional_only_when_the_policy_says_so():
    """content: Statements keeps the rows out."""
    with Stack(RULES, setup=SETUP, recording="{required: true, content: Statements}") as s:
        with s.connect() as c:
            c.query("SELECT v FROM t WHERE id = 7 /* no-rows */")
        text = json.dumps(s.record_of("no-rows"))
        assert "value 7" not in text


# ---- status ----

@pytest.mark.sanitize
def test_status_endpoints(stack):
    a_session(stack, "status")
    assert stack.guard.http_get("/livez")[0] == 200
    assert stack.guard.http_get("/readyz")[0] == 200
    assert stack.guard.http_get("/nothing")[0] == 404
    status, text = stack.guard.http_get("/metrics")
    assert status == 200
    for line in text.splitlines():
        assert re.fullmatch(r'#.*|[a-zA-Z_:][a-zA-Z0-9_:]*(\{[^}]*\})? [-+0-9.eEInfNa]+', line), line
    values = stack.guard.metrics()
    for word in ("session", "statement", "denied"):
        assert any(word in name and value > 0 for name, value in values.items()), (word, values)
    assert "value 2" not in text and "SELECT" not in text


def test_metrics_count(own):
    def total(word):
        return sum(v for k, v in own.guard.metrics().items() if word in k and "total" in k)
    before = total("denied")
    with own.connect() as c:
        for _ in range(5):
            c.query("DROP TABLE t")
    run.wait_for(lambda: total("denied") == before + 5, 5, what="five denials in the metrics")


def test_a_driver_session_verifies(stack):
    with psycopg.connect(**stack.conninfo()) as c:
        for i in range(20):
            c.execute("SELECT v FROM t WHERE id = %s /* driver */", (i,))
    session = stack.record_of("/* driver */")[0]["session"]
    path = stack.guard.spool / f"{session}.jsonl"
    run.wait_for(lambda: "session.close" in path.read_text(), 10, what="the end of the record")
    stack.guard.kubectl_guard("verify", path)
