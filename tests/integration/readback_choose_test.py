# SPDX-License-Identifier: Apache-2.0
"""Choosing sessions and statements; replay with time, keys and a terminal; encrypted records; completion of all that."""
import csv
import io
import json
import os
import pty
import re
import select
import subprocess
import time

import pytest

from clients import raw
from clients.harness import Stack
from readback_bucket_test import put, read
from support import objectstore, run
from upload_test import RULES, SETUP, segments, store, upload_args  # noqa: F401


@pytest.fixture(scope="module")
def spool():
    """Two sessions: SELECTs and a refused DROP; an UPDATE."""
    with Stack(RULES, setup=SETUP) as s:
        for texts in (["SELECT 1 /* Apple */", "DROP TABLE t", "SELECT 2 /* pear */"], ["UPDATE t SET v = v WHERE id = 1 /* apple */"]):
            with s.connect() as c:
                for text in texts:
                    c.query(text)
                c.send(raw.TERMINATE)
                assert c.closed_by_peer()
        run.wait_for(lambda: sum('"session.close"' in p.read_text() for p in s.guard.record_files()) == 2, 10, what="two records")
        yield s.guard.spool, sorted(p.stem for p in s.guard.record_files())


def guard(*args, check=True):
    done = subprocess.run([run.program("kubectl-guard"), *map(str, args)], capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done


def found(spool, *args):
    return [s["session"] for s in json.loads(guard("sessions", "--from", spool[0], "-o", "json", *args).stdout)["sessions"]]


@pytest.mark.parametrize("args,which", [
    ([], "01"), (["--verdict", "deny"], "0"), (["--rule", "no-drop"], "0"), (["--rule", "*/no-*"], "0"), (["--rule", "nothing"], ""), (["--text", "apple"], "01"),
    (["--text", "PEAR"], "0"), (["--text", "pear", "--verdict", "Deny"], ""), (["--text", "update"], "1"), (["-n", "agents"], "01"), (["-n", "other"], ""),
    (["--pod", "agent-*"], "01"), (["--pod", "agent-1"], ""), (["--target", "db"], "01"), (["--target", "other"], ""), (["--identity", "agent"], "01"), (["--identity", "nobody"], ""),
    (["--since", "1h"], "01"), (["--until", "1h"], ""), (["--since", "2020-01-01", "--until", "2020-01-02T10:00"], "")])
def test_sessions_are_chosen(spool, args, which):
    assert found(spool, *args) == [spool[1][int(i)] for i in which]


@pytest.mark.parametrize("args,word", [(["--since", "yesterday"], "--since"), (["--until", "2026-13-40"], "--until"), (["--verdict", "Maybe"], "--verdict"),
                                       (["--since", "1h", "--until", "2h"], "nothing is between"), (["--since", "-1h"], "--since")])
def test_what_cannot_be_understood_is_said(spool, args, word):
    done = guard("sessions", "--from", spool[0], *args, check=False)
    assert done.returncode == 2 and word in done.stderr, done.stderr


def test_filters_need_records(spool):
    done = guard("sessions", "--socket", "/nonexistent", "--text", "x", check=False)
    assert done.returncode == 2 and "--from" in done.stderr


def test_replay_and_export_show_the_statements_that_match(spool):
    shown = guard("replay", "--from", spool[0], "--verdict", "Deny").stdout
    assert "DROP TABLE t" in shown and "SELECT" not in shown and "UPDATE" not in shown and "a part is shown" in shown and "session ended" in shown
    lines = [json.loads(x) for x in guard("replay", spool[1][0], "--from", spool[0], "--text", "pear", "--json").stdout.splitlines()]
    assert [e["text"] for e in lines if e["type"] == "statement"] == ["SELECT 2 /* pear */"] and any(e["type"] == "result" for e in lines)
    rows = list(csv.DictReader(io.StringIO(guard("export", "--from", spool[0], "--csv", "-").stdout)))
    assert len(rows) == 4 and {r["session"] for r in rows} == set(spool[1]) and rows[0]["pod"] == "agent-0"
    document = json.loads(guard("export", spool[1][0], "--from", spool[0], "--format", "json", "--rule", "no-drop").stdout)
    assert document["partial"] and sum(e["type"] == "statement" for e in document["lines"]) == 1
    done = guard("replay", spool[1][1], "--from", spool[0], "--verdict", "Deny", check=False)
    assert done.returncode == 1 and "nothing in it matches" in done.stderr
    done = guard("export", "--from", spool[0], "--html", "-", check=False)
    assert done.returncode == 2 and "more than one matches" in done.stderr


def test_wide_and_yaml(spool):
    wide = guard("sessions", "--from", spool[0], "-o", "wide").stdout
    assert wide.split()[:3] == ["NAMESPACE", "POD", "SESSION"] and "agent-0" in wide and "postgres" in wide and str(spool[0]) in wide
    text = guard("sessions", "--from", spool[0], "-o", "yaml").stdout
    assert f'- session: "{spool[1][0]}"' in text and "statements: 3" in text and "denied: 1" in text


# ---- time and keys ----

def test_replay_takes_its_time_and_keys(spool, tmp_path):
    """A pause of a day becomes --idle seconds; a space holds it, another lets it go on, q ends it, and the terminal is as before."""
    text = (spool[0] / f"{spool[1][0]}.jsonl").read_text().splitlines()
    later = [x if i < 3 else re.sub(r'"time":"\d{4}', '"time":"2031', x, count=1) for i, x in enumerate(text)]
    path = tmp_path / "slow.jsonl"
    path.write_text("\n".join(later) + "\n")  # tampered with, and shown all the same
    begun = time.monotonic()
    done = guard("replay", path, "--speed", "1", "--idle", "0.7", check=False)
    assert 0.6 < time.monotonic() - begun < 10 and "TAMPERED" in done.stderr and done.returncode == 1
    master, slave = pty.openpty()
    before = subprocess.run(["stty", "-a"], stdin=slave, capture_output=True, text=True).stdout
    p = subprocess.Popen([run.program("kubectl-guard"), "replay", path, "--speed", "1", "--idle", "3600"], stdin=slave, stdout=slave, stderr=slave)
    seen = ""

    def expect(word, deadline=10):
        nonlocal seen
        until = time.monotonic() + deadline
        while word not in seen:
            assert time.monotonic() < until, (word, seen)
            if select.select([master], [], [], 0.1)[0]:
                seen += os.read(master, 65536).decode()
    expect("q ends")
    expect("login")
    os.write(master, b" ")
    expect("paused")
    os.write(master, b" +")
    expect("(speed 2)")
    assert "session ended" not in seen, "it waits an hour"
    os.write(master, b"n")
    expect("SELECT 1")
    os.write(master, b"q" * 3)
    p.wait(10)
    assert subprocess.run(["stty", "-a"], stdin=slave, capture_output=True, text=True).stdout == before
    os.close(master), os.close(slave)


def test_terminal_view_is_what_the_client_saw(spool):
    shown = guard("replay", spool[1][0], "--from", spool[0], "--terminal").stdout
    assert "=> SELECT 1" in shown and "ERROR:" in shown and "[0:00" not in shown


# ---- encrypted ----

@pytest.mark.skipif(not objectstore.available(), reason="no object store")
def test_encrypted_records_are_read_with_the_auditors_key(store, tmp_path):  # noqa: F811
    for who in ("auditor", "other"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x", "-days", "2",
                        "-keyout", tmp_path / f"{who}.key", "-out", tmp_path / f"{who}.crt"], check=True, capture_output=True)
    store.bucket("secret")
    args = upload_args(store, "secret", tmp_path / "cred", "--encrypt-to", tmp_path / "auditor.crt")
    with Stack(RULES, setup=SETUP, guard_args=args) as s:
        with s.connect() as c:
            for i in range(5):
                c.query(f"SELECT v FROM t WHERE id = {i} /* sealed-{i}. */")
            c.send(raw.TERMINATE)
        s.guard.stop()
        folder = store.download("secret", tmp_path / "download")
    names = [p.name for p in folder.rglob("*") if p.is_file()]
    assert any(n.endswith(".zst.cms") for n in names) and not any(n.endswith(".zst") for n in names), names
    key = ("--decrypt-key", tmp_path / "auditor.key")
    for place in ("s3://secret", folder):
        ok = read(store, "verify", "--published-keys", "--strict", "--from", place, *key)
        assert ok.stdout.count(": OK ") == 2, ok.stdout
        (name,) = [x["session"] for x in json.loads(read(store, "sessions", "--from", place, *key, "-o", "json").stdout)["sessions"]]
        assert "sealed-4." in read(store, "replay", name, "--from", place, *key).stdout
        none = read(store, "verify", "--from", place, check=False)
        assert none.returncode == 3 and "--decrypt-key" in none.stderr, none.stderr
        wrong = read(store, "replay", name, "--from", place, "--decrypt-key", tmp_path / "other.key", check=False)
        assert wrong.returncode == 3 and "sealed-" not in wrong.stdout + wrong.stderr, wrong.stderr
    one = next(p for p in folder.rglob("*.cms") if not p.name.startswith("guard-"))
    data = bytearray(one.read_bytes())
    data[len(data) // 2] ^= 1
    one.write_bytes(data)
    for place in (f"s3://{put(store, 'secret-changed', folder)}", folder):
        bad = read(store, "verify", "--from", place, *key, check=False)
        assert bad.returncode == 1 and "TAMPERED at seq" in bad.stdout, bad.stdout + bad.stderr


# ---- completion ----

@pytest.mark.parametrize("words,offered", [
    (["sessions", "--from", "x", "--ver"], "--verdict"), (["replay", "--sp"], "--speed"), (["replay", "--verdict", "R"], "RequireApproval"), (["export", "--format", "h"], "html"),
    (["export", "--ht"], "--html"), (["verify", "--pub"], "--published-keys"), (["sessions", "--since", "2"], "24h"), (["verify", "--s3-e"], "--s3-endpoint"), (["replay", "--dec"], "--decrypt-key")])
def test_completion_knows_the_new_words(words, offered):
    assert offered in [x.split("\t")[0] for x in guard("__complete", *words).stdout.splitlines()]
