# SPDX-License-Identifier: Apache-2.0
"""F1: a store's bad days, one after the other, in front of a real store: down, slow, silent, refusing, out of step with our clock, cutting
connections, full. While it lasts records are taken on, the reason and the lag show; afterwards all is there, once, and
verifies. CHAPERONE_FAULT_SECONDS (2) is how long each lasts."""
import os
import re
import subprocess
import time

import pytest

from clients.harness import Stack
from support import objectstore, run
from support.faultproxy import FaultProxy
from upload_test import RULES, SETUP, all_uploaded, bucket, guard, store, stopped, text_of, upload_args, waiting, work  # noqa: F401

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not objectstore.available() and os.environ.get("CHAPERONE_TEST_STRICT") != "1",
                                                   reason="no object store: tests/support/install-deps test")]
SECONDS = float(os.environ.get("CHAPERONE_FAULT_SECONDS", "2"))
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


@pytest.fixture
def proxy(store):  # noqa: F811
    with FaultProxy(store.host, store.port) as p:
        yield p


def args_through(proxy, store, bucket, folder, *more):  # noqa: F811
    args = upload_args(store, bucket, folder, *more)
    args[args.index("--s3-endpoint") + 1] = proxy.endpoint
    return args


def figures(s):
    m = s.guard.metrics()
    return {k: m[f"chaperone_upload_{k}"] for k in ("lag_milliseconds", "failures_total", "waiting")}


def lag_shows(s, reason):
    """The figures and the status say that records wait, how long, and why."""
    run.wait_for(lambda: re.search(f"upload: failing: .*{reason}", s.guard.http_get("/readyz")[1]), 75, what=f"{reason} in /readyz")
    run.wait_for(lambda: figures(s)["lag_milliseconds"] > min(SECONDS, 2) * 500, 30, what="a lag")
    now = figures(s)
    assert now["waiting"] > 0 and now["failures_total"] > 0, now
    status, text = s.guard.http_get("/readyz")
    assert status == 200 and re.search(r"upload: failing: .*, \d+ files wait, for \d+ s", text), text


def goes_on(s, mark):
    """Statements pass while the store is away; how many."""
    n, until = 0, time.monotonic() + SECONDS
    while time.monotonic() < until or n < 20:
        work(s, f"{mark}-{n}", 5)
        n += 5
    return n


def statements_in(text):
    """The names that `work` gives to its statements; looked for once, for a long outage has tens of thousands."""
    return set(re.findall(r"\w+-\d+-\d+(?=\. )", text))


def expected(mark, n):
    return {f"{mark}-{i}-{k}" for i in range(0, n, 5) for k in range(5)}


def everything_is_there(s, tmp_path, marks):
    """After the fault: the spool empties by itself, every statement is stored, once, and verifies."""
    all_uploaded(s, 150)
    folder, key = stopped(s, tmp_path)
    stored = statements_in(text_of(folder))
    for mark, n in marks.items():
        assert expected(mark, n) <= stored, sorted(expected(mark, n) - stored)[:5]
    done = guard("verify", "--strict", "--key", key, folder)
    assert "TAMPERED" not in done.stdout and "MISSING" not in done.stdout
    assert "records.upload_failed" in s.guard.stderr() and "records.upload_again" in s.guard.stderr()
    names = [v[0] for v in s.store.versions(s.bucket)]
    assert len(names) == len(set(names)), "nothing is stored twice"


ANSWERS = {"403": (403, "AccessDenied", "403"), "503": (503, "SlowDown", "503"), "500": (500, "InternalError", "500"),
           "429": (429, "TooManyRequests", "429"), "skewed": (403, "RequestTimeTooSkewed", "RequestTimeTooSkewed"),
           "expired": (400, "ExpiredToken", "ExpiredToken"), "moved": (301, "PermanentRedirect", "301"), "200 of something else": (200, "Nonsense", "")}


@pytest.mark.parametrize("how", ANSWERS)
def test_store_that_refuses(store, bucket, proxy, tmp_path, how):  # noqa: F811
    status, code, reason = ANSWERS[how]
    with Stack(RULES, setup=SETUP, guard_args=args_through(proxy, store, bucket, tmp_path / "cred")) as s:
        s.store, s.bucket = store, bucket
        work(s, "first-0")
        proxy.answer(status, code)
        n = goes_on(s, "during")
        lag_shows(s, reason)
        # What is said of one object does not hold up the others: then each file is tried, in a few passes.
        each = 10 * figures(s)["waiting"] if how == "200 of something else" else 0
        assert proxy.count("answer") < 40 + 4 * SECONDS + each, "it is not hammered"
        proxy.mode = "pass"
        everything_is_there(s, tmp_path, {"first": 5, "during": n})


@pytest.mark.parametrize("how", ["cut request", "cut answer"])
def test_connections_that_are_cut(store, bucket, proxy, tmp_path, how):  # noqa: F811
    with Stack(RULES, setup=SETUP, guard_args=args_through(proxy, store, bucket, tmp_path / "cred")) as s:
        s.store, s.bucket = store, bucket
        proxy.mode = how
        n = goes_on(s, "cut")
        run.wait_for(lambda: proxy.count(how) >= 2, 30, what="two attempts")
        lag_shows(s, ".")
        proxy.mode = "pass"
        everything_is_there(s, tmp_path, {"cut": n})


def test_store_that_is_slow(store, bucket, proxy, tmp_path):  # noqa: F811
    """Slower than records come: they wait in the spool, and nobody else does."""
    with Stack(RULES, setup=SETUP, guard_args=args_through(proxy, store, bucket, tmp_path / "cred")) as s:
        s.store, s.bucket = store, bucket
        proxy.mode, proxy.rate = "slow", 400
        began = time.monotonic()
        n = goes_on(s, "slow")
        assert n / (time.monotonic() - began) > 5
        run.wait_for(lambda: figures(s)["lag_milliseconds"] > 2000 and figures(s)["waiting"] > 2, 60, what="a lag")
        proxy.mode = "pass"
        all_uploaded(s, 150)
        assert figures(s)["lag_milliseconds"] == 0 or figures(s)["waiting"] > 0
        folder, key = stopped(s, tmp_path)
        assert expected("slow", n) <= statements_in(text_of(folder))
        guard("verify", "--strict", "--key", key, folder)


def test_store_that_says_nothing(store, bucket, proxy, tmp_path):  # noqa: F811
    with Stack(RULES, setup=SETUP, guard_args=args_through(proxy, store, bucket, tmp_path / "cred")) as s:
        s.store, s.bucket = store, bucket
        proxy.mode = "hang"
        n = goes_on(s, "hung")
        lag_shows(s, ".")  # thirty seconds without a byte
        proxy.mode = "pass"
        everything_is_there(s, tmp_path, {"hung": n})


def test_store_that_is_down(bucket, tmp_path):  # noqa: F811
    with objectstore.ObjectStore() as own:
        own.bucket(bucket)
        with Stack(RULES, setup=SETUP, guard_args=upload_args(own, bucket, tmp_path / "cred")) as s:
            s.store, s.bucket = own, bucket
            work(s, "before-0")
            own.stop()
            n = goes_on(s, "down")
            lag_shows(s, "connect")
            own.start()
            everything_is_there(s, tmp_path, {"before": 5, "down": n})


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs")
def test_store_that_is_full(bucket, tmp_path):  # noqa: F811
    own = objectstore.ObjectStore()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", own.dir / "data"], check=True)
    try:
        with own:
            own.bucket(bucket)
            (own.dir / "data" / "ballast").write_bytes(b"x" * 40000)
            with Stack(RULES, setup=SETUP, guard_args=upload_args(own, bucket, tmp_path / "cred")) as s:
                s.store, s.bucket = own, bucket
                n = goes_on(s, "full")
                lag_shows(s, "50[07]")
                subprocess.run(["mount", "-o", "remount,size=64m", own.dir / "data"], check=True)
                everything_is_there(s, tmp_path, {"full": n})
    finally:
        subprocess.run(["umount", "-l", own.dir / "data"], check=False)


@pytest.mark.skipif(not os.path.exists(FAKETIME), reason="no faketime")
@pytest.mark.skipif(run.VARIANT != "release", reason="preloads a library")
def test_our_clock_is_wrong(store, bucket, tmp_path):  # noqa: F811
    """An hour behind: the store refuses what we sign. When the clock has been set, all goes on by itself."""
    clock = tmp_path / "clock"
    clock.write_text("-1h")
    tmp_path.chmod(0o755)
    env = {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with Stack(RULES, setup=SETUP, env=env, guard_args=upload_args(store, bucket, tmp_path / "cred")) as s:
        s.store, s.bucket = store, bucket
        n = goes_on(s, "skewed")
        run.wait_for(lambda: "RequestTimeTooSkewed" in s.guard.http_get("/readyz")[1], 30, what="the reason in /readyz")
        assert waiting(s) and figures(s)["failures_total"] > 0
        clock.write_text("+0")
        everything_is_there(s, tmp_path, {"skewed": n})
