# SPDX-License-Identifier: Apache-2.0
"""Tampering at random places: CHAPERONE_TAMPERINGS (8) of each kind, of plain records and of a bucket's segments. Each is found, and the
first bad line is named. CHAPERONE_SEED repeats a run."""
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import time

import pytest

from clients.harness import Stack
from support import objectstore, run
from upload_test import RULES, SETUP, flip, forge, guard, sample, segments, store, text_of  # noqa: F401

pytestmark = pytest.mark.skipif(not objectstore.available() and os.environ.get("CHAPERONE_TEST_STRICT") != "1",
                                reason="no object store: tests/support/install-deps test")
EACH = int(os.environ.get("CHAPERONE_TAMPERINGS", "8"))
SEED = int(os.environ.get("CHAPERONE_SEED", time.time()))
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


@pytest.fixture(scope="module")
def plain(sample, tmp_path_factory):  # noqa: F811
    """Two records as files of whole lines."""
    folder, _ = sample
    out = tmp_path_factory.mktemp("plain")
    sessions = {k: v for k, v in segments(folder).items() if not k.startswith("guard-")}
    for session, paths in sessions.items():
        one = out / f"{session}.d"
        one.mkdir()
        for p in paths:
            shutil.copy(p, one)
        (out / f"{session}.jsonl").write_text(text_of(one))
    return sorted(out.glob("*.jsonl"))[:2]


def rehash(line):
    """A line whose hash is that of its content."""
    body = line[:line.rindex(b',"hash":"')] + b"}"
    return body[:-1] + b',"hash":"' + hashlib.sha256(body).hexdigest().encode() + b'"}'


def edited(line, rng):
    """One byte of it changed, into another that a line may hold."""
    at = rng.randrange(len(line))
    return line[:at] + bytes([(line[at] ^ 1) if line[at] ^ 1 != 10 else 65]) + line[at + 1:]


# kind -> (lines, other record's lines, place, random) -> lines; and the number of the first bad line, relative to the place
def edit(a, b, i, rng):
    a[i] = edited(a[i], rng)
    return i


def remove(a, b, i, rng):
    del a[i]
    return i


def remove_many(a, b, i, rng):
    del a[i:min(len(a) - 1, i + rng.randrange(2, 20))]
    return i


def swap(a, b, i, rng):
    j = rng.randrange(i + 1, len(a))
    a[i], a[j] = a[j], a[i]
    return i


def repeat(a, b, i, rng):
    a.insert(i + 1, a[i])
    return i + 1


def splice(a, b, i, rng):
    a[i] = b[min(i, len(b) - 2)]
    return i


def splice_tail(a, b, i, rng):
    a[i:] = b[min(i, len(b) - 2):]
    return i


def change_and_rehash(a, b, i, rng):
    """The line itself is consistent: the next one gives it away."""
    a[i] = rehash(a[i].replace(b'"type":"', b'"type":"x', 1))
    return i + 1


def blank(a, b, i, rng):
    a.insert(i, b"")
    return i


def cut_inside(a, b, i, rng):
    a[i:] = [a[i][:rng.randrange(1, len(a[i]))]]
    return i


def append(a, b, i, rng):
    a.append(rehash(b[-1]))
    return len(a) - 1


KINDS = [edit, remove, remove_many, swap, repeat, splice, splice_tail, change_and_rehash, blank, cut_inside, append]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_lines(plain, tmp_path, kind):
    rng = random.Random(f"{SEED}{kind.__name__}")
    lines, other = (p.read_bytes().splitlines() for p in plain)
    bad = tmp_path / plain[0].name
    for _ in range(EACH):
        now, i = list(lines), rng.randrange(1, len(lines) - 1)
        first = kind(now, other, i, rng)
        bad.write_bytes(b"\n".join(now) + (b"" if kind is cut_inside else b"\n"))
        done = guard("verify", bad, check=False)
        assert done.returncode == 1, (SEED, i, done.stdout)
        assert f"TAMPERED at seq {first}:" in done.stdout, (SEED, i, first, done.stdout)


def test_truncation_at_any_line(plain, tmp_path):
    """A record that ends early is not sealed: with --strict that is a failure. Where it was cut only an anchor, a seal or the ledger knows."""
    rng = random.Random(f"{SEED}truncation")
    lines = plain[0].read_bytes().splitlines()
    cut = tmp_path / plain[0].name
    for i in rng.sample(range(1, len(lines)), EACH):
        cut.write_bytes(b"\n".join(lines[:i]) + b"\n")
        done = guard("verify", "--strict", cut, check=False)
        assert done.returncode == 1 and f"UNSEALED {i} lines" in done.stdout, (SEED, i, done.stdout)


# ---- in a bucket ----

def seal_of(path):
    data = path.read_bytes()
    return json.loads(data[8:8 + int.from_bytes(data[4:8], "little")])


def flip_bit(paths, others, i, rng):
    flip(paths[i], rng.randrange(paths[i].stat().st_size))


def cut_segment(paths, others, i, rng):
    paths[i].write_bytes(paths[i].read_bytes()[:rng.randrange(paths[i].stat().st_size)])


def remove_segment(paths, others, i, rng):
    paths[i].unlink()


def swap_segments(paths, others, i, rng):
    j = rng.randrange(i + 1, len(paths))
    a, b = paths[i].read_bytes(), paths[j].read_bytes()
    paths[i].write_bytes(b), paths[j].write_bytes(a)


def splice_segment(paths, others, i, rng):
    paths[i].write_bytes(rng.choice(others).read_bytes())


def repeat_segment(paths, others, i, rng):
    paths[i].write_bytes(paths[i - 1 if i else 1].read_bytes())


def forge_segment(paths, others, i, rng):
    forge(paths[i], None)


def append_bytes(paths, others, i, rng):
    paths[i].write_bytes(paths[i].read_bytes() + rng.randbytes(rng.randrange(1, 100)))


BUCKET = [flip_bit, cut_segment, remove_segment, swap_segments, splice_segment, repeat_segment, forge_segment, append_bytes]


@pytest.mark.parametrize("kind", BUCKET, ids=lambda k: k.__name__)
def test_segments(sample, tmp_path, kind):  # noqa: F811
    folder, key = sample
    rng = random.Random(f"{SEED}{kind.__name__}")
    for n in range(EACH):
        copy = pathlib.Path(shutil.copytree(folder, tmp_path / str(n)))
        found = segments(copy)
        session = rng.choice([k for k, v in found.items() if len(v) > 2])
        others = [p for k, v in found.items() if k != session for p in v]
        i = rng.randrange(len(found[session]) - 1)
        seal = seal_of(found[session][i])
        kind(found[session], others, i, rng)
        done = guard("verify", "--key", key, copy, check=False)
        said = re.search(rf"{session}: TAMPERED at seq (\d+)", done.stdout)
        assert done.returncode == 1 and said, (SEED, session, i, done.stdout)
        assert seal["first"] <= int(said[1]) <= seal["last"] + 1, (SEED, session, i, seal, done.stdout)
        shutil.rmtree(copy)


def test_whole_sessions_and_ends(sample, tmp_path):  # noqa: F811
    """What has no line left to be wrong: the ledger of the pod names it."""
    folder, key = sample
    rng = random.Random(f"{SEED}missing")
    for n in range(EACH):
        copy = pathlib.Path(shutil.copytree(folder, tmp_path / str(n)))
        found = segments(copy)
        session = rng.choice([k for k in found if not k.startswith("guard-")])
        keep = rng.randrange(len(found[session]))
        for p in found[session][keep:]:
            p.unlink()
        done = guard("verify", "--key", key, copy, check=False)
        assert done.returncode == 1 and re.search(rf"{session}: MISSING", done.stdout), (SEED, session, keep, done.stdout)
        shutil.rmtree(copy)


# ---- a wrong clock ----

@pytest.mark.skipif(not os.path.exists(FAKETIME) or run.VARIANT != "release", reason="no faketime")
def test_a_clock_that_goes_back_is_said(tmp_path):
    clock = tmp_path / "clock"
    clock.write_text("+0")
    tmp_path.chmod(0o755)
    env = {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with Stack(RULES, setup=SETUP, env=env) as s:
        with s.connect() as c:
            c.query("SELECT 1 /* before */")
            clock.write_text("-2h")
            c.query("SELECT 1 /* two hours ago */")
            path = s.guard.spool / (s.record_of("two hours ago")[0]["session"] + ".jsonl")
        run.wait_for(lambda: "session.close" in path.read_text(), 10, what="the end of the session")
        done = guard("verify", path)
        assert "the clock went back 1 times" in done.stdout, done.stdout
        assert json.loads(guard("verify", "-o", "json", path).stdout)[0]["clockBack"] == 1
