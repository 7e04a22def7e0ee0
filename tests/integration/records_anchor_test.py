# SPDX-License-Identifier: Apache-2.0
"""Heads of records in Events of a real API server: what who holds the records can do, and verify --anchors finds. And Events that say that
records cannot be written, or do not leave."""
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess

import psycopg
import pytest

from conftest import Database
from kubernetes_test import World, api  # noqa: F401 (fixture)
from support import apiserver, objectstore, run

pytestmark = pytest.mark.skipif(not apiserver.available(), reason="no etcd or kube-apiserver: run make e2e-up once")
_numbers = itertools.count(1)
SEAL = ["--seal", "--segment-seconds", "1", "--anchor-seconds", "1"]


def guard(*args, check=True, **kw):
    done = subprocess.run([run.program("kubectl-guard"), *map(str, args)], capture_output=True, text=True, **kw)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def told(world, reason, n=1, deadline=15):
    def find():
        found = [e for e in world.api.events(world.ns) if e["reason"] == reason]
        return found if len(found) >= n else None
    return run.wait_for(find, deadline, what=f"{n} Events {reason}")


def sessions(world, n, statements=5):
    for i in range(n):
        with world.connect() as c:
            for k in range(statements):
                c.execute(f"select state from public.orders /* anchored-{i}-{k}. */")


def saved_events(world, path):
    path.write_text(json.dumps({"kind": "List", "items": world.api.events(world.ns)}))
    return path


@pytest.fixture(scope="module", params=["sealed", "plain"])
def evidence(request, api, pg, tmp_path_factory):  # noqa: F811
    """(kind, records, Events): what a guard left that has ended. A module's worth of tampering works on copies."""
    tmp, database = tmp_path_factory.mktemp(request.param), Database(pg, f"anchor_{request.param}")
    w = World(api, database, f"anchor-{request.param}-{os.getpid()}-{next(_numbers)}", extra=SEAL if request.param == "sealed" else [])
    with w.guard:
        sessions(w, 3)
        told(w, "SessionEnded", 3)
        if request.param == "sealed":
            told(w, "RecordsAnchored")
        w.guard.stop()
        if request.param == "sealed":
            run.wait_for(lambda: any("records end here" in e["note"] for e in told(w, "RecordsAnchored")), 10, what="the last anchor")
    return request.param, w.guard.spool, saved_events(w, tmp / "events.json")


def test_untouched_records_agree_with_their_events(evidence):
    kind, folder, events = evidence
    done = guard("verify", "--strict", "--anchors", events, folder)
    assert done.stdout.count(": OK ") == (4 if kind == "sealed" else 3), done.stdout
    by_stdin = guard("verify", "--anchors", "-", folder, input=events.read_text())
    assert by_stdin.stdout == done.stdout
    lines = "\n".join(json.dumps(e) for e in json.loads(events.read_text())["items"])
    assert guard("verify", "--anchors", "-", folder, input=lines).stdout == done.stdout


def test_events_as_kubectl_prints_them(evidence):
    """v1 names things otherwise."""
    _, folder, events = evidence
    old = [{"reportingComponent": e["reportingController"], "message": e["note"], "involvedObject": e["regarding"], "reason": e["reason"]}
           for e in json.loads(events.read_text())["items"]]
    assert guard("verify", "--anchors", "-", folder, input=json.dumps({"items": old})).returncode == 0
    done = guard("verify", "--anchors", "-", folder, input=json.dumps({"items": [{**e, "reportingComponent": "somebody"} for e in old]}), check=False)
    assert done.returncode == 3 and "no guard's Event" in done.stderr
    for wrong in ("", "{", "nonsense"):
        assert guard("verify", "--anchors", "-", folder, input=wrong, check=False).returncode == 3


def ask_cluster(api, folder, ns, token="token-admin"):  # noqa: F811
    return guard("verify", "--anchors", "events", "--server", f"https://127.0.0.1:{api.port}", "--certificate-authority", api.authority.ca,
                 "--token", token, "-n", ns, folder, check=False, env={**os.environ, "KUBECTL": apiserver._program("kubectl")})


@pytest.mark.skipif(not apiserver._program("kubectl"), reason="no kubectl: run make e2e-up once")
def test_events_are_asked_of_the_cluster(evidence, api, tmp_path):  # noqa: F811
    """As from a file, and what keeps us from comparing is exit code 3, never 1 and never 0."""
    kind, folder, events = evidence
    ns = json.loads(events.read_text())["items"][0]["metadata"]["namespace"]
    done = ask_cluster(api, folder, ns)
    assert done.returncode == 0 and done.stdout == guard("verify", "--anchors", events, folder).stdout, done.stderr
    assert "could not be compared" not in done.stderr
    copy = shutil.copytree(folder, tmp_path / "cut")
    if kind == "plain":
        path = sorted(copy.glob("*.jsonl"))[1]
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    else:
        sorted(copy.glob("guard-*.zst"))[-1].unlink()
    done = ask_cluster(api, copy, ns)
    assert done.returncode == 1 and "its end was cut off: an Event of" in done.stdout, done.stdout + done.stderr
    empty = api.namespace(f"{ns}-empty")
    done = ask_cluster(api, folder, empty)
    assert done.returncode == 3 and not done.stdout
    assert "The API server forgets Events" in done.stderr and "--event-ttl" in done.stderr and "-n, or -A" in done.stderr
    done = ask_cluster(api, folder, ns, token="nobody's")
    assert done.returncode == 3 and not done.stdout and "Unauthorized" in done.stderr, done.stderr
    done = guard("verify", "-n", ns, folder, check=False)
    assert done.returncode == 2 and "--anchors events" in done.stderr


def test_records_whose_events_have_expired_are_counted(evidence):
    kind, folder, events = evidence
    if kind == "sealed":
        pytest.skip("of plain records")
    left = [e for e in json.loads(events.read_text())["items"] if e["reason"] == "SessionEnded"][:1]
    done = guard("verify", "--anchors", "-", folder, input=json.dumps({"items": left}))
    assert "warning: 2 records could not be compared" in done.stderr


def rechain(lines, start=0):
    """The lines anew, with hashes that hold: what anybody can compute."""
    previous, out = None, []
    for n, text in enumerate(lines):
        line = json.loads(text)
        body = text[:text.rindex(b',"prev":"')]
        body = re.sub(rb'^\{"seq":\d+', b'{"seq":%d' % n, body)
        previous = previous or "0" * 64
        body += b',"prev":"' + previous.encode() + b'"'
        previous = hashlib.sha256(body + b"}").hexdigest()
        out.append(body + b',"hash":"' + previous.encode() + b'"}')
        assert line["type"]
    return out


def test_plain_records_cut_off_or_written_anew(evidence, tmp_path):
    kind, folder, events = evidence
    if kind == "sealed":
        pytest.skip("of plain records")
    for how in ("cut", "anew", "without a statement", "gone"):
        copy = shutil.copytree(folder, tmp_path / how)
        path = sorted(copy.glob("*.jsonl"))[1]
        lines = path.read_bytes().splitlines()
        want = None
        if how == "cut":
            path.write_bytes(b"\n".join(lines[:-3]) + b"\n")
            want = rf"TAMPERED at seq {len(lines) - 3}: its end was cut off"
        elif how == "anew":
            path.write_bytes(b"\n".join(rechain([x.replace(b"anchored-1-2", b"harmless-1-2") for x in lines])) + b"\n")
            want = rf"TAMPERED at seq {len(lines) - 1}: an Event names another hash"
        elif how == "without a statement":
            path.write_bytes(b"\n".join(rechain([x for x in lines if b"anchored-1-2" not in x])) + b"\n")
            want = "TAMPERED at seq"
        else:
            path.unlink()
            want = f"{path.stem}: MISSING: an Event of"
        alone, done = guard("verify", copy, check=False), guard("verify", "--anchors", events, copy, check=False)
        assert "TAMPERED" not in alone.stdout and "MISSING" not in alone.stdout, "the chain alone does not show it"
        assert done.returncode == 1 and re.search(want, done.stdout), (how, done.stdout)
        assert done.stdout.count(": OK ") == 2, "the others are good"


def test_sealed_records_cut_off_with_their_ledger(evidence, tmp_path):
    """All that came after a moment, and all that speaks of it, is removed: the rest is consistent and signed."""
    kind, folder, events = evidence
    if kind == "plain":
        pytest.skip("of sealed records")
    ledger = sorted(folder.glob("guard-*.zst"))
    assert len(ledger) >= 2, "a ledger of several segments"
    for how in ("the ledger's end", "the ledger and a session", "all"):
        copy = shutil.copytree(folder, tmp_path / how)
        victims = sorted(copy.glob("guard-*.zst"))
        if how == "the ledger's end":
            victims = victims[-1:]
        elif how == "the ledger and a session":
            session = sorted(p.name.split(".")[0] for p in copy.glob("0*.zst"))[-1]
            victims += copy.glob(f"{session}.*")
        else:
            victims = [p for p in copy.iterdir() if p.suffix == ".zst"][:-1]
        for p in victims:
            p.unlink()
        done = guard("verify", "--anchors", events, copy, check=False)
        assert done.returncode == 1 and re.search("TAMPERED at seq .*cut off|MISSING: an Event of", done.stdout), (how, done.stdout)


def test_keys_in_events_are_the_ones_to_trust(evidence, tmp_path):
    kind, folder, events = evidence
    if kind == "plain":
        pytest.skip("of sealed records")
    from upload_test import forge
    copy = shutil.copytree(folder, tmp_path / "copy")
    forge(sorted(copy.glob("0*.zst"))[0], copy)
    done = guard("verify", "--anchors", events, copy, check=False)
    assert done.returncode == 1 and "not a key that you trust" in done.stdout


@pytest.mark.slow
def test_running_guard_anchors_what_goes_on(api, database, tmp_path):  # noqa: F811
    """A session that lasts: its segments are in the ledger, whose head is in Events while it lasts. What was cut after an anchor shows."""
    w = World(api, database, f"anchor-live-{os.getpid()}-{next(_numbers)}", extra=[*SEAL, "--segment-bytes", "4Ki"])
    with w.guard, w.connect() as c:
        def anchored():
            c.execute("select state from public.orders /* live */")
            ledger = next(w.guard.spool.glob("guard-*.jsonl"), None)
            return ledger and "segment.stored" in ledger.read_text(errors="replace") and len(told(w, "RecordsAnchored")) >= 2
        run.wait_for(anchored, 20, what="two anchors", interval=0.2)
        events = saved_events(w, tmp_path / "events.json")
        copy = shutil.copytree(w.guard.spool, tmp_path / "copy")
        for p in copy.glob("guard-*.jsonl"):
            p.unlink()
        segments = sorted(copy.glob("guard-*.zst"))
        for p in segments[1:] or segments:
            p.unlink()
        done = guard("verify", "--anchors", events, copy, check=False)
        assert done.returncode == 1 and re.search("guard-.*(cut off|MISSING)", done.stdout), done.stdout
        assert len(told(w, "RecordsAnchored")) <= 20 * run.SLOWNESS


# ---- what is not well is told ----

@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs")
def test_full_disk_is_told_once_and_so_is_its_end(api, database):  # noqa: F811
    w = World(api, database, f"anchor-full-{os.getpid()}-{next(_numbers)}")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k,mode=700", "none", w.guard.spool], check=True)
    try:
        with w.guard:
            with pytest.raises(psycopg.Error) as e, w.connect() as c:
                for i in range(3000):
                    c.execute(f"select state, '{'x' * 300}' from public.orders /* fill-{i}. */")
            assert e.value.sqlstate == "58030"
            note, = {e["note"] for e in told(w, "RecordingFailed")}
            assert "No space left on device" in note and "refused" in note
            assert "No space left on device" in w.guard.http_get("/readyz")[1]
            subprocess.run(["mount", "-o", "remount,size=64m", w.guard.spool], check=True)
            run.wait_for(lambda: works(w), 15, what="recovery")
            told(w, "RecordingRestored", deadline=45)
            assert len(told(w, "RecordingFailed")) == 1
    finally:
        subprocess.run(["umount", "-l", w.guard.spool], check=False)


def works(w):
    try:
        with w.connect() as c:
            return c.execute("select state from public.orders").fetchall()
    except psycopg.Error:
        return None


@pytest.mark.slow
@pytest.mark.skipif(not objectstore.available(), reason="no object store")
def test_failing_upload_is_told_once_and_so_is_its_end(api, database, tmp_path):  # noqa: F811
    with objectstore.ObjectStore() as store:
        store.bucket("audit")
        folder = tmp_path / "cred"
        folder.mkdir()
        store.credentials(folder, access="somebody-else")
        w = World(api, database, f"anchor-upload-{os.getpid()}-{next(_numbers)}", extra=[
            "--upload", "s3://audit/x", "--s3-endpoint", store.endpoint, "--s3-region", objectstore.REGION, "--s3-credentials", folder,
            "--segment-seconds", "1"])
        with w.guard:
            assert works(w)
            note, = {e["note"] for e in told(w, "UploadFailed")}
            assert "403" in note and "wait in the spool" in note
            store.credentials(folder)
            told(w, "UploadRestored", deadline=60)
            assert len(told(w, "UploadFailed")) == 1
