# SPDX-License-Identifier: Apache-2.0
"""Two hundred sessions at once, with policy, masks and records on, for CHAPERONE_SOAK_SECONDS (30)."""
import os
import re
import subprocess

import pytest

from clients import raw
from clients.harness import PASSWORD, USER, Stack
from support import run

pytestmark = pytest.mark.slow
SESSIONS = 200
SECONDS = int(os.environ.get("CHAPERONE_SOAK_SECONDS", "30" if run.VARIANT == "release" else "8"))
RULES = ['{name: read, action: Allow, sql: {operations: [Read, Transaction, Session, Update, Insert], relations: ["public.*"]}}',
         '{name: hide, action: Mask, sql: {columns: ["public.pgbench_accounts.filler"]}, mask: {method: Redact}}',
         '{name: values, action: Mask, values: {detectors: [creditCard, usSsn, email, iban, awsAccessKey, privateKey, jwt]}}']


@pytest.fixture(scope="module")
def stack():
    with Stack(RULES, guard_args=["--max-sessions", "400"]) as s:
        subprocess.run(["pgbench", "-i", "-q", "-s", "2", "-h", s.pg.host, "-p", str(s.pg.port), "-U", USER, s.database],
                       env={**os.environ, "PGPASSWORD": PASSWORD}, check=True, capture_output=True, timeout=120)
        s.pg.sql("ALTER SYSTEM SET log_statement = 'none'", "ALTER SYSTEM SET log_min_messages = 'warning'", "SELECT pg_reload_conf()")
        yield s
        s.pg.sql("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")


def bench(stack, mode, seconds, *extra):
    argv = ["pgbench", "-n", "-M", mode, "-c", str(SESSIONS), "-j", "2", "-T", str(seconds), "-h", "127.0.0.1", "-p", str(stack.port),
            "-U", USER, *extra, stack.database]
    done = subprocess.run(argv, env={**os.environ, "PGPASSWORD": PASSWORD, "PGSSLMODE": "disable"}, capture_output=True, text=True,
                          timeout=(seconds + 120) * run.SLOWNESS)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert not re.search(r"error|abort", done.stderr, re.IGNORECASE), done.stderr[-2000:]
    assert re.search(r"number of failed transactions: 0 ", done.stdout), done.stdout
    return float(re.search(r"tps = ([0-9.]+)", done.stdout).group(1))


def test_two_hundred_sessions(stack, capsys):
    idle, descriptors = stack.guard.rss(), stack.guard.fds()
    tps = bench(stack, "simple", max(2, SECONDS // 3), "-S") + bench(stack, "prepared", max(2, SECONDS // 3), "-S")
    bench(stack, "extended", max(2, SECONDS // 3), "-S")
    busy = stack.guard.rss()
    run.wait_for(lambda: stack.guard.fds() <= descriptors + 4, 20, what="all descriptors closed again")
    after = stack.guard.rss()
    with capsys.disabled():
        print(f"\nsoak: {tps / 2:.0f} statements/s; RSS idle {idle >> 20} MiB, busy {busy >> 20} MiB, after {after >> 20} MiB")
    assert busy - idle < (64 << 20) * run.SLOWNESS, "bounded: a few tens of KiB a session"
    with stack.connect() as c:
        assert c.query("SELECT filler FROM pgbench_accounts WHERE aid = 1").text() == [["****"]]


def test_nothing_grows_over_many_short_sessions(stack):
    def sessions(n):
        for _ in range(n):
            with raw.connect("127.0.0.1", stack.port, USER, stack.database, PASSWORD) as c:
                c.query("SELECT abalance FROM pgbench_accounts WHERE aid = 1")
                c.query("DROP TABLE pgbench_accounts")
    sessions(100)
    before, descriptors = stack.guard.rss(), stack.guard.fds()
    sessions(300)
    run.wait_for(lambda: stack.guard.fds() <= descriptors + 2, 10, what="no leaked descriptors")
    assert stack.guard.rss() - before < (4 << 20) * run.SLOWNESS


def test_all_records_verify(stack):
    """After the others: every session of the soak left a whole, sealed record."""
    run.wait_for(lambda: all('"session.close"' in _tail(p) for p in stack.guard.record_files()), 20, what="sealed records")
    files = stack.guard.record_files()
    assert len(files) >= SESSIONS * 3
    for i in range(0, len(files), 100):
        stack.guard.kubectl_guard("verify", *files[i:i + 100], timeout=300)


def _tail(path):
    with open(path, "rb") as f:
        f.seek(max(0, path.stat().st_size - 4096))
        return f.read().decode(errors="replace")
