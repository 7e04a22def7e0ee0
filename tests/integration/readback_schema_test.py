# SPDX-License-Identifier: Apache-2.0
"""docs/schema/record.schema.json and real records: of PostgreSQL, SSH, Kubernetes, an approval, a ledger. Every line is valid by it, every field
of theirs is declared in it, and what is no line of a record is not valid."""
import json
import subprocess
import threading
import time

import jsonschema
import pytest

import readback_report_test as report
import records_mixed_test as mixed
from clients import raw
from clients.harness import Stack
from support import apiserver, objectstore, run
from support.sshd import Sshd

SCHEMA = json.loads((run.ROOT / "docs/schema/record.schema.json").read_text())
FRAME = set(SCHEMA["properties"])


def lines_of(paths):
    return [json.loads(x) for p in paths for x in p.read_text().splitlines() if x]


@pytest.fixture(scope="module")
def some_of_all():
    """The records of three protocols at one guard, after two seconds of work."""
    if not apiserver.available():
        pytest.skip("no etcd or kube-apiserver: run make e2e-up once")
    with Sshd() as sshd, apiserver.ApiServer() as api:
        world = mixed.World(sshd, api)
        with world.guard as g:
            world.until = time.monotonic() + 2
            clients = [kind(world, n) for n, kind in enumerate(world.kinds)]
            for c in clients:
                c.start()
            for c in clients:
                c.join()
            assert not [c.failure for c in clients if c.failure]
            run.wait_for(lambda: all('"session.close"' in p.read_text()[-4096:] for p in g.record_files()), 30, what="sealed records")
            yield lines_of(g.record_files())


@pytest.fixture(scope="module")
def an_approval():
    with Stack(report.RULES, setup=report.SETUP) as s:
        with s.connect() as c:
            t = threading.Thread(target=report.approve, args=(s.guard,))
            t.start()
            c.query("DELETE FROM t WHERE id = 2")
            t.join()
            c.query("DO $$ BEGIN RAISE NOTICE 'noticed'; END $$")
            c.send(raw.TERMINATE)
        report.finished(s.guard)
        yield lines_of(s.guard.record_files())


@pytest.fixture(scope="module")
def a_ledger(tmp_path_factory):
    if not objectstore.available():
        pytest.skip("no object store")
    tmp = tmp_path_factory.mktemp("ledger")
    import upload_test
    with objectstore.ObjectStore() as store:
        store.bucket("schema")
        with Stack(report.RULES, setup=report.SETUP, guard_args=upload_test.upload_args(store, "schema", tmp / "cred")) as s:
            s.store, s.bucket = store, "schema"
            with s.connect() as c:
                c.query("SELECT 1")
                c.send(raw.TERMINATE)
            upload_test.all_uploaded(s)
            s.guard.stop()
            folder = store.download("schema", tmp / "download")
    paths = sorted(folder.rglob("*.zst"))
    text = b"".join(subprocess.run(["zstd", "-dcq", p], capture_output=True, check=True).stdout for p in paths)
    return [json.loads(x) for x in text.splitlines()]


def declared(line):
    return FRAME | set(SCHEMA["$defs"].get(line["type"], {}).get("properties", ()))


def check(lines, *types):
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for e in lines:
        wrong = [f"{'/'.join(map(str, x.path))}: {x.message}" for x in validator.iter_errors(e)]
        assert not wrong, (wrong, e)
        assert e["type"] in SCHEMA["$defs"] and set(e) <= declared(e), (e["type"], set(e) - declared(e))
    assert set(types) <= {e["type"] for e in lines}


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    text = (run.ROOT / "docs/records.md").read_text()
    for name, d in SCHEMA["$defs"].items():
        if "properties" in d:
            assert f"`{name}`" in text, name
            assert not [f for f in d["properties"] if f"`{f}`" not in text], (name, [f for f in d["properties"] if f"`{f}`" not in text])


def test_records_of_three_protocols(some_of_all):
    check(some_of_all, "session.open", "auth", "statement", "decision", "result", "data", "error", "session.close")
    assert {e["protocol"] for e in some_of_all if e["type"] == "session.open"} == {"postgres", "ssh", "kubernetes"}


def test_an_approval_and_a_notice(an_approval):
    check(an_approval, "approval")
    assert {e["phase"] for e in an_approval if e["type"] == "approval"} == {"Requested", "Approved"}


def test_a_ledger(a_ledger):
    check(a_ledger, "guard.start", "session.seen", "segment.stored")


WRONG = [{"seq": -1}, {"seq": "0"}, {"time": "2026-11-24"}, {"time": None}, {"type": ""}, {"type": 7}, {"session": "../x"}, {"session": ""}, {"prev": "0"},
         {"hash": "F" * 64}, {"verdict": "Maybe"}, {"verdict": None}, {"n": "1"}, {"n": -1}, {"kind": 1}, {"text": ["x"]}, {"parameters": [1]}, {"parameters": {"a": 1}},
         {"wouldDeny": "yes"}]


@pytest.mark.parametrize("change", WRONG, ids=json.dumps)
def test_what_is_no_line_is_not_valid(some_of_all, change):
    good = next(e for e in some_of_all if e["type"] == "statement")
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert validator.is_valid(good) and not validator.is_valid({**good, **change})
    assert validator.is_valid({**good, "type": "later.kind"}) and validator.is_valid({**good, "future": {"x": 1}}), "readers pass over what is new"
