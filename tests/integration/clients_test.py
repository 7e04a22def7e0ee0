# SPDX-License-Identifier: Apache-2.0
"""Unchanged client programs do ordinary work through the guard: what they see is what they see without it.

The programs run as the agent in a namespace whose connections are redirected; a guard in the
namespace takes them (--capture) and finds the target by the original destination.
"""
import difflib
import re

import pytest

from clients import harness
from clients.harness import CLIENTS, USER
from support import netns, run
from support.guard import Guard
from support.netns import AgentNamespace
from support.postgres import PostgresServer, available

pytestmark = pytest.mark.netns

CAPTURE = 15001
FUNCTIONS = ("pg_sleep, nextval, currval, lastval, setval, pg_notify, set_config, pg_advisory_unlock_all, "
             "psql_double, public.psql_double, pg_backend_pid, txid_current, current_setting")
RULES = [
    '{name: all, action: Allow, sql: {operations: ["*"], relations: ["public.*", "pg_temp.*"], '
    f'functions: [{FUNCTIONS}]}}}}',
    '{name: no-relation, action: Allow, sql: {operations: [Do, Create, Drop]}}',
]


class World:
    """A server on the host's end of a pod-like namespace, and a guard inside."""

    def __init__(self, version, client_tls, upstream_tls):
        if not available(version):
            harness.cannot(f"no PostgreSQL {version}")
        self.tls = client_tls
        self.ns = AgentNamespace()
        self.pg = PostgresServer(version, listen=[self.ns.host4, "127.0.0.1"], tls=True,
                                 authority=harness.authority(), names=["localhost"]).start()
        self.pg.add_user(USER, "pw")
        self.pg.add_database("work", owner=USER)
        self.pg.sql(f"alter schema public owner to {USER}", dbname="work")
        self.ns.run_root([self.ns.bin / "chaperone-init", "--capture", CAPTURE, "--uid", netns.GUARD_UID,
                          "--gid", netns.GUARD_UID])
        text = harness.target(self.pg, tls=upstream_tls, host=self.ns.host4) + harness.policy(RULES)
        self.guard = Guard(text, capture=CAPTURE, ns=self.ns,
                           secrets={"upstream-ca": {"ca.crt": self.pg.authority.pem}})
        self.guard.start()

    def close(self, check):
        try:
            self.guard.close(check=check)
        finally:
            self.ns.close()
            self.pg.close()

    def url(self, host, scheme="postgresql"):
        mode = "require" if self.tls else "disable"
        if scheme == "jdbc":
            return f"jdbc:postgresql://{host}:{self.pg.port}/work?user={USER}&password=pw&sslmode={mode}"
        return f"postgresql://{USER}:pw@{host}:{self.pg.port}/work?sslmode={mode}"

    def direct(self, argv, env=None):
        return run.run(argv, check=False, timeout=120, env=env or ENV)

    def guarded(self, argv, env=None):
        return self.ns.run(argv, check=False, timeout=180, env=env or ENV)


ENV = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1",
       "TZ": "UTC"}


@pytest.fixture(scope="module", params=harness.stacks(
    (15, "plain", "plain"), (18, "tls", "tls"), (15, "tls", "plain"), (18, "plain", "tls")))
def world(request):
    w = World(**request.param)
    yield w
    w.close(check=not request.session.testsfailed)


def normal(text):
    text = re.sub(r"process with PID \d+", "process with PID N", text)
    text = re.sub(r"pg_temp_\d+ *\|", "pg_temp |", text)
    # psycopg's own warning, which depends on when the pipeline's last answer arrives
    text = re.sub(r"^error ignored terminating <psycopg\.Pipeline .*\n?", "", text, flags=re.M)
    return re.sub(r"psql:\S+psql_client.sql", "psql:psql_client.sql", text)


def same(direct, guarded):
    a, b = normal(direct.stdout + direct.stderr), normal(guarded.stdout + guarded.stderr)
    assert direct.returncode == 0 and "end: ok" in a, f"the program fails without a guard:\n{a[-3000:]}"
    difference = "\n".join(difflib.unified_diff(a.splitlines(), b.splitlines(), "direct", "guarded",
                                                lineterm="", n=1))
    assert not difference, f"exit {guarded.returncode}\n{difference[:6000]}"


def python_client(world, name):
    here = [run.CACHE / "venv/bin/python", CLIENTS / name, world.url(world.pg.host)]
    there = [world.ns.python, world.ns.repo / "tests/integration/clients" / name, world.url(world.ns.host4)]
    same(world.direct(here), world.guarded(there))


def test_psycopg(world):
    python_client(world, "psycopg_client.py")


def test_asyncpg(world):
    python_client(world, "asyncpg_client.py")


def test_sqlalchemy(world):
    python_client(world, "sqlalchemy_client.py")


def test_psql(world):
    argv = ["psql", "-X", "-f"]
    same(world.direct([*argv, CLIENTS / "psql_client.sql", world.url(world.pg.host)]),
         world.guarded([*argv, world.ns.repo / "tests/integration/clients/psql_client.sql",
                        world.url(world.ns.host4)]))


def test_pgjdbc(world):
    url = world.url(world.ns.host4, "jdbc")
    same(world.direct(harness.java("Jdbc", world.url(world.pg.host, "jdbc"))),
         world.guarded(harness.java("Jdbc", url)))


def test_everything_was_recorded_and_verifies(world):
    files = world.guard.record_files()
    assert files, "no record was written"
    world.guard.stop()
    for path in files:
        world.guard.kubectl_guard("verify", path)
    assert any(e["type"] == "statement" for e in world.guard.events())
