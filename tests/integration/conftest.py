# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the integration tests. Marks:
    sanitize  also run against the asan and tsan builds
    slow      left out of `tests/run fast`
    netns     needs root and network namespaces
CHAPERONE_PG ("15", "18", "15,18") says which servers the `pg` fixture stands for.
"""

import itertools
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from support import netns, postgres, run  # noqa: E402
from support.certs import Authority  # noqa: E402

# What cannot run here is a skip on a developer's machine and a failure where all must run.
STRICT = os.environ.get("CHAPERONE_TEST_STRICT") == "1"
_numbers = itertools.count(1)


def pytest_configure(config):
    config.addinivalue_line("markers", "sanitize: also run with sanitizers")
    config.addinivalue_line("markers", "slow: left out of the fast run")
    config.addinivalue_line("markers", "netns: needs root and network namespaces")


def pytest_collection_modifyitems(items):
    for item in items:
        if "agent_ns" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.netns)


def pytest_runtest_setup(item):
    if item.get_closest_marker("netns") and not netns.available():
        _cannot("needs root and network namespaces")


def _cannot(why):
    if STRICT:
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


@pytest.fixture(scope="session")
def authority():
    return Authority()


@pytest.fixture(scope="session")
def agent_ns():
    """The session's namespace. Tests that change its rules make their own AgentNamespace."""
    if not netns.available():
        _cannot("needs root and network namespaces")
    with netns.AgentNamespace() as ns:
        yield ns


def _reachable_hosts(request):
    """Loopback, and this machine's end of the namespace where there is one. Other namespaces
    reach these addresses too, by their default route."""
    if not netns.available():
        return ["127.0.0.1"]
    ns = request.getfixturevalue("agent_ns")
    return ["127.0.0.1", ns.host4, ns.host6]


def _server(request, version, **options):
    if not postgres.available(version):
        _cannot(f"no PostgreSQL {version} here")
    authority = request.getfixturevalue("authority")
    return postgres.PostgresServer(version, listen=_reachable_hosts(request), tls=True,
                                   authority=authority, **options)


@pytest.fixture(scope="session")
def pg15(request):
    """Shared: TLS offered, SCRAM. Take `database` for one's own tables and role."""
    with _server(request, 15) as server:
        yield server


@pytest.fixture(scope="session")
def pg18(request):
    with _server(request, 18) as server:
        yield server


@pytest.fixture(scope="session", params=os.environ.get("CHAPERONE_PG", "15").split(","))
def pg(request):
    return request.getfixturevalue(f"pg{request.param.strip()}")


class Database:
    """A database of one test with a role that owns it: attributes server, name, user, password."""

    def __init__(self, server, number):
        self.server = server
        self.name = f"db{os.getpid()}_{number}"
        self.user = f"user{os.getpid()}_{number}"
        self.password = f"pw-{os.urandom(6).hex()}"
        server.add_user(self.user, self.password)
        server.add_database(self.name, self.user)

    def sql(self, *statements):
        return self.server.sql(*statements, dbname=self.name)

    def connect(self, **kw):
        """Straight to the server, as the role."""
        return self.server.connect(self.user, self.password, self.name, **kw)

    def drop(self):
        self.server.sql(f'drop database if exists "{self.name}" with (force)',
                        f'drop role if exists "{self.user}"')


@pytest.fixture
def database(pg):
    db = Database(pg, next(_numbers))
    yield db
    db.drop()


@pytest.fixture
def make_database():
    """make_database(server) -> Database; all are dropped at the end."""
    made = []

    def make(server):
        made.append(Database(server, next(_numbers)))
        return made[-1]

    yield make
    for db in made:
        db.drop()


@pytest.fixture(scope="session")
def programs():
    """The directory of the programs under test."""
    return run.bin_dir()
