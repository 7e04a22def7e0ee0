# SPDX-License-Identifier: Apache-2.0
"""F4: a guard that is killed with SIGKILL at random moments under load, CHAPERONE_KILLS times: while it starts and recovers what
its predecessor left, while sessions log in, work and end, while it cuts, signs and uploads. Whatever the server executed
is in the records, and each record is whole or has exactly one gap, at its end, that says who ended it."""
import json
import os
import random
import re
import threading
import time

import pytest

from clients import raw
from clients.harness import Stack
from support import objectstore, run
from upload_test import RULES, SETUP, all_uploaded, bucket, guard, store, text_of, upload_args  # noqa: F401 (fixtures)

KILLS = int(os.environ.get("CHAPERONE_KILLS", 12 if run.VARIANT == "release" else 3))
SEED = int(os.environ.get("CHAPERONE_SEED", time.time()))
MARK = re.compile(r"kill-\d+-\d+-\d+\.")


def statements(c, mark, i):
    """Sends one statement, in one way or another, and says whether it was answered."""
    sql = f"SELECT v, '{'x' * (i * 37 % 400)}' FROM t WHERE id = {i % 20 + 1} /* {mark}-{i}. */"
    if i % 7 == 3:
        c.send(b"".join(raw.query(f"SELECT 1 /* {mark}-{i + k}. */") for k in (100000, 200000)) + raw.query(sql))
        return all(c.until_ready().rows for _ in range(3))
    return bool((c.extended(sql) if i % 3 == 1 else c.query(sql)).rows)


def work(stack, mark, answered):
    """Sessions of random length, one after the other, until the guard is gone."""
    rng = random.Random(f"{SEED}{mark}")
    i = 0
    try:
        while True:
            with stack.connect(timeout=5) as c:
                for _ in range(rng.choice((3, 30, 100000))):
                    if not statements(c, mark, i):
                        return
                    answered.append(f"{mark}-{i}.")
                    i += 1
    except (OSError, AssertionError, EOFError):
        pass


def one_life(stack, n, rng, answered):
    """From the guard's start to its death."""
    stack.guard.wait = rng.random() > 0.2
    if not stack.guard.wait:  # dies while it recovers, or soon after
        stack.guard.start()
        time.sleep(rng.random() * 0.15)
        stack.guard.kill()
        return
    stack.guard.start()
    threads = [threading.Thread(target=work, args=(stack, f"kill-{n}-{k}", answered)) for k in range(3)]
    for t in threads:
        t.start()
    time.sleep(rng.random() ** 2 * 1.2)
    stack.guard.kill()
    for t in threads:
        t.join()


def keys_of(folder, tmp_path):
    pems = {p.read_bytes() for p in folder.rglob("*.pub")}
    assert len(pems) == 1, "the key outlives the guard, in --state"
    keys = tmp_path / "trusted.pem"
    keys.write_bytes(pems.pop())
    return keys


@pytest.mark.slow
@pytest.mark.sanitize
@pytest.mark.skipif(not objectstore.available() and os.environ.get("CHAPERONE_TEST_STRICT") != "1", reason="no object store")
def test_kills_at_random_moments_lose_nothing_that_the_server_executed(store, bucket, tmp_path, capsys):  # noqa: F811
    state = tmp_path / "state"
    state.mkdir()
    more = ["--segment-bytes", "16Ki", "--state", state]
    stack = Stack(RULES, setup=SETUP, guard_args=upload_args(store, bucket, tmp_path / "cred", *more))
    stack.store, stack.bucket = store, bucket
    rng, answered, at = random.Random(SEED), [], stack.pg.log_mark()
    try:
        for n in range(KILLS):
            one_life(stack, n, rng, answered)
        stack.guard.wait = True
        stack.guard.start()
        all_uploaded(stack, 60 + KILLS)
        stack.guard.stop()
        assert not stack.guard.record_files()
        folder = store.download(bucket, tmp_path / "download")
        executed = set(MARK.findall(stack.pg.log_since(at)))
        recorded = set(MARK.findall(text_of(folder)))
        assert executed and not executed - recorded, (SEED, sorted(executed - recorded)[:3])
        assert set(answered) <= recorded, SEED
        check_verdicts(folder, keys_of(folder, tmp_path), len(executed), capsys)
    finally:
        stack.guard.close(check=False)


def check_verdicts(folder, keys, executed, capsys):
    parsed = json.loads(guard("verify", "--strict", "--key", keys, folder, "-o", "json").stdout)
    gaps = [r["gaps"] for r in parsed]
    assert all(r["verdict"] == "OK" for r in parsed), [r for r in parsed if r["verdict"] != "OK"][:3]
    assert max(gaps) <= 1 and sum(gaps) >= KILLS // 2, "a record that its guard did not end says so, once"
    with capsys.disabled():
        print(f"\nkills: {KILLS} (seed {SEED}): {executed} statements executed, all recorded; {len(parsed)} records, all OK, "
              f"{sum(gaps)} ended by a successor")
