# SPDX-License-Identifier: Apache-2.0
"""Records that leave the machine: sealed, signed, uploaded to a real object store under a lock, and what verify finds
when somebody tampers with them there. F1, F2, F5: the store down, slow or refusing, the spool full. The guard killed:
records_kill_test.py."""
import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from clients.harness import PASSWORD, USER, Stack
from support import objectstore, run

pytestmark = pytest.mark.skipif(not objectstore.available() and os.environ.get("CHAPERONE_TEST_STRICT") != "1",
                                reason="no object store: tests/support/install-deps test")

SETUP = ["CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t SELECT g, 'value ' || g FROM generate_series(1, 20) g",
         "ALTER TABLE t OWNER TO agent"]
RULES = ['{name: work, action: Allow, sql: {operations: ["*"], relations: ["public.*"]}}',
         '{name: no-drop, action: Deny, sql: {operations: [Drop]}}']
BUCKET = "records"


@pytest.fixture(scope="module")
def store():
    with objectstore.ObjectStore() as s:
        yield s


_numbers = iter(range(1, 1000))


@pytest.fixture
def bucket(store):
    name = f"{BUCKET}{next(_numbers)}"
    store.bucket(name)
    return name


def upload_args(store, bucket, folder, *more, lock="Compliance:1d", access=objectstore.ACCESS):
    folder.mkdir(exist_ok=True)
    store.credentials(folder, access=access)
    return ["--upload", f"s3://{bucket}/audit", "--s3-endpoint", store.endpoint, "--s3-region", objectstore.REGION,
            "--s3-credentials", folder, "--segment-seconds", "1", *(["--s3-lock", lock] if lock else []), *more]


@pytest.fixture
def stack(store, bucket, tmp_path):
    with Stack(RULES, setup=SETUP, guard_args=upload_args(store, bucket, tmp_path / "cred", "--state", tmp_path / "state")) as s:
        s.tmp, s.bucket, s.store = tmp_path, bucket, store
        yield s


def guard(*args, check=True):
    done = subprocess.run([run.program("kubectl-guard"), *map(str, args)], capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def work(stack, mark, n=5):
    with stack.connect() as c:
        for i in range(n):
            assert not c.query(f"SELECT v FROM t WHERE id = {i % 20 + 1} /* {mark}-{i}. */").errors
        assert c.query("DROP TABLE t").errors


def waiting(stack):
    return [p for p in stack.guard.spool.iterdir() if p.suffix in (".zst", ".pub", ".damaged")]


def all_uploaded(stack, deadline=20):
    """Of sessions that have ended; the ledger goes on."""
    run.wait_for(lambda: not waiting(stack) and all(p.name.startswith("guard-") for p in stack.guard.record_files()),
                 deadline, what="an empty spool")


def keys(stack):
    return stack.store.keys(stack.bucket)


def text_of(folder):
    """All lines of all segments, decompressed by the zstd program: nothing of ours."""
    paths = sorted(pathlib.Path(folder).rglob("*.zst"))
    return "".join(subprocess.run(["zstd", "-dcq", p], capture_output=True, check=True).stdout.decode() for p in paths)


def stopped(stack, tmp_path):
    """The guard has ended in order and all is in the store: a download of it, and its key from the log."""
    stack.guard.stop()
    assert not waiting(stack) and not stack.guard.record_files(), list(stack.guard.spool.iterdir())
    key = tmp_path / "trusted.pem"
    key.write_bytes(stack.store.get(stack.bucket, next(k for k in keys(stack) if k.endswith(".pub"))))
    return stack.store.download(stack.bucket, tmp_path / "download"), key


# ---- what is uploaded ----

@pytest.mark.sanitize
def test_records_are_uploaded_locked_signed_and_verify(stack, tmp_path):
    work(stack, "first")
    work(stack, "second")
    all_uploaded(stack)
    segments = [k for k in keys(stack) if k.endswith(".zst")]
    assert len(segments) >= 2 and all(k.startswith("audit/agents/agent-0/") for k in segments)
    for key in segments:
        status, headers = stack.store.head(stack.bucket, key)
        assert status == 200 and headers["x-amz-object-lock-mode"] == "COMPLIANCE"
        until = datetime.datetime.fromisoformat(headers["x-amz-object-lock-retain-until-date"].replace("Z", "+00:00"))
        assert 23 < (until - datetime.datetime.now(datetime.timezone.utc)).total_seconds() / 3600 <= 24
        assert headers["x-amz-checksum-sha256"]
    folder, key = stopped(stack, tmp_path)
    text = text_of(folder)
    assert all(f"{m}-{i}." in text for m in ("first", "second") for i in range(5)) and '"Deny"' in text
    done = guard("verify", "--strict", "--key", key, folder)
    assert done.stdout.count(": OK ") == 3 and "signed by" in done.stdout, done.stdout
    parsed = json.loads(guard("verify", "--key", key, folder, "-o", "json").stdout)
    assert all(r["verdict"] == "OK" and re.fullmatch("[0-9a-f]{64}", r["key"]) for r in parsed)
    assert "signs" in stack.guard.stderr() or parsed[0]["key"] in stack.guard.stderr(), "the key is in the log"
    SECRETS = (PASSWORD, objectstore.SECRET)
    assert not any(s in text or s in stack.guard.stderr() for s in SECRETS)


def test_locked_objects_cannot_be_removed_or_replaced(stack):
    work(stack, "locked")
    all_uploaded(stack)
    found = [(k, v) for k, v in stack.store.versions(stack.bucket) if k.endswith(".zst")]
    assert found
    for key, version in found:
        status, _, body = stack.store.request("DELETE", f"/{stack.bucket}/{key}", query=f"versionId={version}")
        assert status == 403 and b"AccessDenied" in body
        status, _, _ = stack.store.request("PUT", f"/{stack.bucket}/{key}", b"forged",
                                           headers={"if-none-match": "*"})
        assert status == 412
        status, _, body = stack.store.request(
            "PUT", f"/{stack.bucket}/{key}", query=f"retention=&versionId={version}",
            body=b"<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>2026-11-25T00:00:00Z</RetainUntilDate></Retention>")
        assert status in (400, 403), body
    assert set(found) <= set(stack.store.versions(stack.bucket)), "they are still there, every version"


def test_long_session_is_cut_into_segments_and_the_spool_shrinks(store, bucket, tmp_path):
    with Stack(RULES, setup=SETUP, guard_args=upload_args(store, bucket, tmp_path / "cred", "--segment-bytes", "64Ki")) as s:
        s.store, s.bucket = store, bucket
        with s.connect() as c:
            for i in range(2000):
                assert not c.query(f"SELECT v, '{'x' * 100}' FROM t WHERE id = 3 /* long-{i}. */").errors
            def many():
                return sum(k.endswith(".zst") and "guard-" not in k for k in keys(s)) >= 10
            run.wait_for(many, 20, what="ten segments of a session that goes on")
            (live,) = [p for p in s.guard.record_files() if not p.name.startswith("guard-")]
            run.wait_for(lambda: live.stat().st_blocks * 512 < live.stat().st_size / 2, 10, what="a hole in the front of the record")
            done = guard("verify", live)
            assert "UNSEALED" in done.stdout and "from line" in done.stdout, done.stdout
            c.query("SELECT 1 /* the-end */")
            shown = guard("replay", live, "--json").stdout.splitlines()
            first = json.loads(shown[0])["seq"]
            assert first > 0 and [json.loads(x)["seq"] for x in shown] == list(range(first, first + len(shown)))
        folder, key = stopped(s, tmp_path)
        text = text_of(folder)
        assert all(f"long-{i}." in text for i in range(2000)) and "the-end" in text
        done = guard("verify", "--strict", "--key", key, folder)
        assert "TAMPERED" not in done.stdout


def test_replay_and_export_read_downloads(stack, tmp_path):
    work(stack, "reread", 50)
    folder, _ = stopped(stack, tmp_path)
    (segment,) = [p for p in folder.rglob("*.000000.jsonl.zst") if not p.name.startswith("guard-")]
    session = segment.name.split(".")[0]
    lines = [json.loads(x) for x in guard("replay", "--json", segment).stdout.splitlines()]
    assert [e["seq"] for e in lines] == list(range(len(lines))) and lines[-1]["type"] == "session.close"
    assert guard("replay", segment.parent / session).stdout == guard("replay", session, "--spool", segment.parent).stdout
    assert "integrity: OK" in guard("replay", segment).stdout
    document = json.loads(guard("export", segment, "--json", "-").stdout)
    assert document["verdict"] == "OK" and document["lines"] == lines
    assert "reread-7." in guard("export", segment, "--csv", "-").stdout
    listed = guard("sessions", "--spool", segment.parent).stdout
    assert session in listed and "OK" in listed


# ---- tampering in the store ----

@pytest.fixture(scope="module")
def sample(store, tmp_path_factory):
    """A bucket's content: two sessions of several segments each, a third, and the ledger."""
    tmp = tmp_path_factory.mktemp("sample")
    store.bucket("sample")
    with Stack(RULES, setup=SETUP, guard_args=upload_args(store, "sample", tmp / "cred", "--segment-bytes", "4Ki")) as s:
        s.store, s.bucket = store, "sample"
        for mark in ("one", "two", "three"):
            work(s, mark, 60)
        folder, key = stopped(s, tmp)
    assert guard("verify", "--strict", "--key", key, folder).returncode == 0
    return folder, key


def segments(folder):
    """Session -> its segments, the ledger last."""
    found = {}
    for p in sorted(folder.rglob("*.zst")):
        found.setdefault(p.name.split(".")[0], []).append(p)
    return found


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def forge(path, folder):
    """The segment anew, by somebody with a key of their own and the knowledge of the format."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    data = path.read_bytes()
    length = int.from_bytes(data[4:8], "little")
    seal = json.loads(data[8:8 + length])
    key = Ed25519PrivateKey.generate()
    seal.pop("signature")
    seal["key"] = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    text = json.dumps(seal, separators=(",", ":")).encode()
    text = text[:-1] + b',"signature":"' + key.sign(text).hex().encode() + b'"}'
    path.write_bytes(data[:4] + len(text).to_bytes(4, "little") + text + data[8 + length:])


def tamper(how, folder):
    all_of = segments(folder)
    ledger = next(k for k in all_of if k.startswith("guard-"))
    one, two, *_ = [v for k, v in all_of.items() if k != ledger]
    middle = one[1]
    if how == "a bit of the lines":
        flip(middle, middle.stat().st_size - 40)
    elif how == "a bit of the seal":
        flip(middle, 60)
    elif how == "a bit of the signature":
        length = int.from_bytes(middle.read_bytes()[4:8], "little")
        flip(middle, 8 + length - 10)
    elif how == "truncated":
        middle.write_bytes(middle.read_bytes()[:-20])
    elif how == "appended":
        middle.write_bytes(middle.read_bytes() + one[0].read_bytes())
    elif how == "empty":
        middle.write_bytes(b"")
    elif how == "reordered":
        a, b = middle.read_bytes(), one[2].read_bytes()
        middle.write_bytes(b), one[2].write_bytes(a)
    elif how == "repeated":
        one[2].write_bytes(middle.read_bytes())
    elif how == "spliced from another session":
        middle.write_bytes(two[1].read_bytes())
    elif how == "missing in the middle":
        middle.unlink()
    elif how == "missing in front":
        one[0].unlink()
    elif how == "missing at the end":
        one[-1].unlink()
    elif how == "a session missing":
        for p in one:
            p.unlink()
    elif how == "a session and the ledger missing":
        for p in [*one, *all_of[ledger]]:
            p.unlink()
    elif how == "the ledger's middle missing":
        all_of[ledger][1].unlink()
    elif how == "signed by another key":
        forge(one[0], folder)
    elif how == "an unsigned record instead":
        session = one[0].name.split(".")[0]
        plain = b"".join(subprocess.run(["zstd", "-dcq", p], capture_output=True).stdout for p in one)
        for p in one:
            p.unlink()
        (one[0].parent / f"{session}.jsonl").write_bytes(plain)


TAMPERINGS = ["a bit of the lines", "a bit of the seal", "a bit of the signature", "truncated", "appended", "empty", "reordered", "repeated",
              "spliced from another session", "missing in the middle", "missing in front", "missing at the end", "a session missing",
              "a session and the ledger missing", "the ledger's middle missing", "signed by another key", "an unsigned record instead"]


@pytest.mark.parametrize("how", TAMPERINGS)
def test_tampering_in_the_store_is_found(sample, tmp_path, how):
    folder, key = sample
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert guard("verify", "--strict", "--key", key, copy).returncode == 0
    tamper(how, copy)
    done = guard("verify", "--key", key, copy, check=False)
    assert done.returncode == 1 and re.search("TAMPERED at seq \\d+|MISSING", done.stdout), done.stdout + done.stderr
    assert done.stdout.count(": OK ") >= 1, "the others are still good"


def test_every_bit_of_a_segment_counts(sample, tmp_path):
    folder, key = sample
    path = shutil.copy(next(v for k, v in segments(folder).items() if not k.startswith("guard-"))[0], tmp_path)
    good = pathlib.Path(path).read_bytes()
    for at in range(0, len(good), max(1, len(good) // 150)):
        flip(pathlib.Path(path), at)
        done = guard("verify", "--key", key, path, check=False)
        assert done.returncode == 1 and "TAMPERED" in done.stdout, (at, done.stdout)
        pathlib.Path(path).write_bytes(good)


def test_verify_without_a_key_says_that_it_trusts_nobody(sample):
    folder, _ = sample
    done = guard("verify", folder)
    assert "for --key to say" in done.stdout
    assert guard("verify", "--key", "/nonexistent", folder, check=False).returncode == 3


# ---- a store that fails ----

def fill_until_refused(c, stack, mark):
    for i in range(20000):
        reply = c.query(f"SELECT '{os.urandom(300).hex()}' /* {mark}-{i}. */")
        if reply.errors:
            return i, reply
    raise AssertionError("the spool never filled")


@pytest.mark.slow
def test_store_down_nothing_is_lost_and_it_catches_up(bucket, tmp_path):
    own = objectstore.ObjectStore().start()
    try:
        own.bucket(bucket)
        with Stack(RULES, setup=SETUP, guard_args=upload_args(own, bucket, tmp_path / "cred")) as s:
            s.store, s.bucket = own, bucket
            work(s, "before")
            all_uploaded(s)
            own.stop()
            work(s, "during")
            run.wait_for(lambda: s.guard.metrics()["chaperone_upload_failures_total"] >= 2, 20, what="two failed attempts")
            run.wait_for(lambda: s.guard.metrics()["chaperone_upload_lag_milliseconds"] > 1000, 10, what="the lag")
            assert s.guard.http_get("/readyz")[0] == 200, "statements can still be recorded"
            assert waiting(s)
            work(s, "still")
            own.start()
            all_uploaded(s, 90)
            run.wait_for(lambda: s.guard.metrics()["chaperone_upload_waiting"] == 0, 10, what="no lag")
            folder, key = stopped(s, tmp_path)
            text = text_of(folder)
            assert all(f"{m}-{i}." in text for m in ("before", "during", "still") for i in range(5))
            assert guard("verify", "--strict", "--key", key, folder).returncode == 0
            assert "records.upload_failed" in s.guard.stderr() and "records.upload_again" in s.guard.stderr()
    finally:
        own.__exit__()


def test_slow_store_holds_nobody_up(bucket, tmp_path):
    own = objectstore.ObjectStore().start()
    try:
        own.bucket(bucket)
        with Stack(RULES, setup=SETUP, guard_args=upload_args(own, bucket, tmp_path / "cred")) as s:
            s.store, s.bucket = own, bucket
            own.freeze()
            work(s, "frozen", 200)
            run.wait_for(lambda: waiting(s), 10, what="something to upload")
            work(s, "frozen-too", 200)
            own.thaw()
            folder, key = stopped(s, tmp_path)
            text = text_of(folder)
            assert all(f"frozen-{i}." in text and f"frozen-too-{i}." in text for i in range(200))
            assert guard("verify", "--strict", "--key", key, folder).returncode == 0
    finally:
        own.__exit__()


@pytest.mark.parametrize("how", ["403", "no such bucket", "no lock on the bucket"])
def test_refusing_store_keeps_records_and_says_why(store, bucket, tmp_path, how):
    args = upload_args(store, bucket, tmp_path / "cred", access="somebody-else" if how == "403" else objectstore.ACCESS)
    if how == "no such bucket":
        args[1] = "s3://absent-bucket/audit"
    if how == "no lock on the bucket":
        name = f"{bucket}-plain"
        store.bucket(name, lock=False)
        args[1] = f"s3://{name}/audit"
    with Stack(RULES, setup=SETUP, guard_args=args) as s:
        s.store, s.bucket = store, bucket
        work(s, "kept")
        code = {"403": "403", "no such bucket": "404 NoSuchBucket", "no lock on the bucket": "ObjectLockConfiguration"}[how]
        run.wait_for(lambda: code in s.guard.http_get("/readyz")[1], 20, what="the reason in /readyz")
        run.wait_for(lambda: len(waiting(s)) >= 2, 30, what="a sealed session")
        assert code in s.guard.stderr()
        assert "kept-4." in text_of(s.guard.spool), "it is in the spool"
        if how == "403":
            objectstore.ObjectStore.credentials(tmp_path / "cred")  # a Secret that was put right is read again
            all_uploaded(s, 60)
            assert any(k.endswith(".zst") for k in store.keys(bucket))


@pytest.mark.slow
def test_full_spool_refuses_and_recovers(bucket, tmp_path):
    own = objectstore.ObjectStore().start()
    try:
        own.bucket(bucket)
        args = upload_args(own, bucket, tmp_path / "cred", "--spool-limit", "512Ki")
        own.stop()
        with Stack(RULES, setup=SETUP, guard_args=args) as s:
            s.store, s.bucket = own, bucket
            with s.connect() as c:
                at = s.pg.log_mark()
                refused, reply = fill_until_refused(c, s, "fill")
                assert reply.sqlstate == "58030", reply.errors
                assert refused > 50 and not s.pg.saw(f"fill-{refused}.", since=at), "refused before the server saw it"
                run.wait_for(lambda: s.guard.http_get("/readyz")[0] != 200, 10, what="not ready")
                own.start()

                def works():
                    with s.bare() as again:
                        return again.startup(USER, s.database, PASSWORD).status == "I" and not again.query("SELECT 1 /* room-again */").errors
                run.wait_for(works, 90, what="recovery after the store took records again")
                run.wait_for(lambda: s.guard.http_get("/readyz")[0] == 200, 10, what="readiness")
            folder, key = stopped(s, tmp_path)
            text = text_of(folder)
            assert all(f"fill-{i}." in text for i in range(refused)) and "room-again" in text, "nothing was lost"
            assert guard("verify", "--strict", "--key", key, folder).returncode == 0
    finally:
        own.__exit__()


# ---- a guard that dies ----

@pytest.mark.slow
def test_what_is_left_by_a_guard_that_could_not_upload_is_uploaded_by_the_next(bucket, tmp_path):
    own = objectstore.ObjectStore().start()
    stack = Stack(RULES, setup=SETUP, guard_args=upload_args(own, bucket, tmp_path / "cred"))
    stack.store, stack.bucket = own, bucket
    try:
        own.bucket(bucket)
        own.stop()
        stack.guard.start()
        work(stack, "left")
        run.wait_for(lambda: len(waiting(stack)) >= 2, 10, what="a sealed session")
        stack.guard.kill()
        own.start()
        stack.guard.start()
        all_uploaded(stack, 30)
        folder = (stack.guard.stop(), own.download(bucket, tmp_path / "download"))[1]
        assert "left-4." in text_of(folder)
        keys_file = tmp_path / "both.pem"
        keys_file.write_bytes(b"".join(p.read_bytes() for p in folder.rglob("*.pub")))
        assert guard("verify", "--strict", "--key", keys_file, folder).stdout.count("OK") >= 3
    finally:
        stack.guard.close(check=False)
        own.__exit__()


def test_damaged_record_of_a_dead_guard_is_kept_as_it_is(store, bucket, tmp_path):
    stack = Stack(RULES, setup=SETUP, guard_args=upload_args(store, bucket, tmp_path / "cred", "--segment-seconds", "600"))
    stack.store, stack.bucket = store, bucket
    try:
        stack.guard.start()
        with stack.connect() as c:
            for i in range(10):
                c.query(f"SELECT 1 /* damaged-{i}. */")
            stack.guard.kill()
        (path,) = [p for p in stack.guard.record_files() if not p.name.startswith("guard-")]
        bad = path.read_bytes().replace(b"damaged-5", b"damaged-X")
        path.write_bytes(bad)
        stack.guard.start()
        run.wait_for(lambda: any(k.endswith(".damaged") for k in keys(stack)), 20, what="the damaged record in the store")
        folder = (stack.guard.stop(), store.download(bucket, tmp_path / "download"))[1]
        (kept,) = folder.rglob("*.damaged")
        assert kept.read_bytes() == bad
        done = guard("verify", folder, check=False)
        assert done.returncode == 1 and "TAMPERED at seq" in done.stdout
    finally:
        stack.guard.close(check=False)


# ---- the command line ----

@pytest.mark.parametrize("args,word", [
    (["--upload", "s3://b"], "bucket"), (["--upload", "http://b/x"], "s3://BUCKET"), (["--upload", "s3://bucket/../x", "--s3-credentials", "/tmp"], "prefix"),
    (["--upload", "s3://bucket/x"], "--s3-credentials"), (["--s3-lock", "Compliance:30d"], "--upload"),
    (["--upload", "s3://bucket", "--s3-credentials", "/tmp", "--s3-lock", "Compliance"], "--s3-lock"),
    (["--upload", "s3://bucket", "--s3-credentials", "/tmp", "--s3-lock", "Forever:1d"], "--s3-lock"),
    (["--upload", "s3://bucket", "--s3-credentials", "/tmp", "--s3-lock", "Compliance:0d"], "--s3-lock"),
    (["--upload", "s3://bucket", "--s3-credentials", "/tmp", "--s3-endpoint", "minio:9000"], "--s3-endpoint"),
    (["--spool-limit", "1"], "--spool-limit"), (["--spool-limit", "1Ti"], "--spool-limit"), (["--segment-seconds", "0"], "--segment-seconds")])
def test_wrong_options_are_refused_with_their_name(tmp_path, args, word):
    (tmp_path / "p").mkdir()
    done = subprocess.run([run.program("chaperone-sidecar"), "--policies", tmp_path / "p", "--spool", tmp_path / "s", "--listen", "127.0.0.1:1=db", *args],
                          capture_output=True, text=True, timeout=20)
    assert done.returncode in (1, 2) and word in done.stderr, done.stderr


def test_two_guards_do_not_share_a_spool(stack, tmp_path):
    argv = [str(run.program("chaperone-sidecar")), *stack.guard.argv()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "another guard" in done.stderr
    work(stack, "undisturbed")
