# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the scenarios in a cluster. Everything here needs one; without it tests are skipped, or fail with
CHAPERONE_TEST_STRICT=1. Marks:
    last        changes the installation that others use: runs after them

    chaperone   the chart, installed once for all tests and removed at the end, unless it was there before
                (CHAPERONE_E2E_KEEP=1 keeps it in any case)
    namespace   a namespace without injection      agents   one with injection, and the chart
"""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import support  # noqa: E402

STRICT = os.environ.get("CHAPERONE_TEST_STRICT") == "1"


def pytest_configure(config):
    config.addinivalue_line("markers", "last: changes the installation that others use")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(scope="session", autouse=True)
def cluster():
    why = support.cluster_available()
    if why and STRICT:
        pytest.fail(why, pytrace=False)
    if why:
        pytest.skip(why)


@pytest.fixture(scope="session")
def crds(cluster):
    """The kinds, whether or not the chart brought them. Left there: others may have objects of them."""
    kinds = sorted((support.ROOT / "crds").glob("*.yaml"))
    if not support.get("crd", "guardpolicies.chaperone.dev"):
        for f in kinds:
            support.kubectl("apply", "--server-side", "-f", f)
    for f in kinds:
        support.kubectl("wait", "--for=condition=Established", "-f", f, "--timeout=30s")


@pytest.fixture(scope="session")
def chaperone(cluster):
    here = support.helm("status", support.RELEASE, "--namespace", support.SYSTEM, check=False).code == 0
    if not here:
        support.install_chart()
    yield
    if not here and os.environ.get("CHAPERONE_E2E_KEEP") != "1":
        support.uninstall_chart()


@pytest.fixture
def namespace(cluster):
    with support.Namespace() as ns:
        yield ns


@pytest.fixture
def agents(chaperone):
    with support.Namespace(inject=True) as ns:
        yield ns


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows its namespaces and the webhook as they are now, before they are deleted."""
    report = (yield).get_result()
    if not report.failed or not support.kubeconfig():
        return
    for ns in list(support.Namespace.live):
        report.sections.append((f"namespace {ns.name}", support.shown(ns.show)))
    if "chaperone" in item.fixturenames:
        report.sections.append((support.SYSTEM, support.shown(support.show_system)))
