# SPDX-License-Identifier: Apache-2.0
"""Commands over SSH that need people who cannot be asked: a real API server that is away, hangs, or refuses the request; and people
who decide there. The agent gets exit status 126 and one line with the rule and what to do; nothing runs."""

import subprocess

import pytest

from support import apiserver, run
from support.kubeguard import KubeGuard
from support.sshd import Sshd

from ssh_test import ssh, ssh_options

pytestmark = pytest.mark.skipif(not apiserver.available(), reason="no etcd or kube-apiserver: run make e2e-up once")

RULES = [{"name": "look", "action": "Allow", "ssh": {"requests": ["exec"], "argv": [["echo", "..."]]}},
         {"name": "ask", "action": "RequireApproval", "ssh": {"requests": ["exec"], "argv": [["touch", "**"]]},
          "approval": {"approvers": {"groups": ["sre"]}, "timeout": "30s"}}]


class World:
    def __init__(self, api, sshd):
        self.api, self.sshd, self.ns = api, sshd, api.namespace("sshasks")
        secret = {"ssh-privatekey": sshd.client_key.read_text(), "username": sshd.user}
        api.put(self.ns, "GuardTarget", "box", {
            "protocol": "ssh", "hosts": ["127.0.0.1"], "ports": [sshd.port], "ssh": {"hostKeys": [sshd.host_key]},
            "credentials": {"secretRef": {"name": "box-key"}, "requireToken": False}})
        api.put(self.ns, "GuardPolicy", "agents", {"targets": [{"name": "box"}], "rules": RULES})
        self.guard = KubeGuard(api, self.ns, listen={"box": None}, secrets={"box-key": secret})

    def start(self, *command):
        return subprocess.Popen(["ssh", *ssh_options(self.guard), "-p", str(self.guard.ports["box"]), "agent@127.0.0.1", *command],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def works(self):
        done = ssh(self.guard, "echo", "fine")
        assert done.stdout == b"fine\n", done.stderr


@pytest.fixture(scope="module")
def w():
    with apiserver.ApiServer() as api, Sshd() as sshd:
        w = World(api, sshd)
        with w.guard:
            run.wait_for(lambda: ssh(w.guard, "echo", "up").returncode == 0, 20, what="the policy in force")
            yield w


def last_line(status, err, mark):
    assert status == 126 and not mark.exists(), err
    line = err.decode().splitlines()[-1]
    assert line.startswith("chaperone: ") and "rule 'ask' of policy 'agents'" in line and "run it again" in line, line
    return line


def request_for(w, mark):
    def pending():
        found = [o for o in w.api.list(w.ns, "ApprovalRequest") if str(mark) in o["spec"]["statement"]]
        return found[0] if found else None
    return run.wait_for(pending, 10, what=f"the request for {mark}")


@pytest.mark.parametrize("decision, status", [("Approve", 0), ("Deny", 126)])
def test_people_decide_in_the_cluster(w, tmp_path, decision, status):
    mark = tmp_path / "mark"
    child = w.start("touch", str(mark))
    request = request_for(w, mark)
    assert request["spec"]["statement"] == f"touch {mark}" and request["spec"]["effect"] == "run a command"
    w.api.decide(w.ns, request["metadata"]["name"], "alice@example.com", ["sre"], decision=decision, reason="change 7")
    _, err = child.communicate(timeout=30 * run.SLOWNESS)
    assert child.returncode == status and mark.exists() == (status == 0), err
    if status:
        assert b"(rule 'ask' of policy 'agents') was denied by alice@example.com: change 7" in err
    w.works()


def test_an_api_server_that_is_away(w, tmp_path):
    mark = tmp_path / "mark"
    w.api.stop()
    try:
        run.wait_for(lambda: w.guard.metrics()["chaperone_approvals_open"] == 0, 5, what="the absence")
        done = ssh(w.guard, "touch", str(mark))
        assert "nobody can be asked now" in last_line(done.returncode, done.stderr, mark)
        w.works()
    finally:
        w.api.start()
    run.wait_for(lambda: w.guard.metrics()["chaperone_approvals_open"] == 1, 20, what="the return")


def test_an_api_server_that_hangs(w, tmp_path):
    mark = tmp_path / "mark"
    w.api.freeze()
    try:
        done = ssh(w.guard, "touch", str(mark))
        assert "cannot be asked for: the API server is away" in last_line(done.returncode, done.stderr, mark)
        w.works()
    finally:
        w.api.thaw()
    run.wait_for(lambda: w.guard.metrics()["chaperone_approvals_open"] == 1, 20, what="the return")


def test_an_object_that_is_deleted(w, tmp_path):
    mark = tmp_path / "mark"
    child = w.start("touch", str(mark))
    w.api.delete(w.ns, "ApprovalRequest", request_for(w, mark)["metadata"]["name"])
    _, err = child.communicate(timeout=30 * run.SLOWNESS)
    assert child.returncode == 126 and b"rule 'ask' of policy 'agents'" in err and not mark.exists(), err
    w.works()


def test_the_right_to_ask_is_missing(w, tmp_path):
    """Last: it stays away."""
    mark = tmp_path / "mark"
    w.api.request("DELETE", f"/apis/rbac.authorization.k8s.io/v1/namespaces/{w.ns}/rolebindings/chaperone-guard-{w.ns}")

    def forbidden():
        done = ssh(w.guard, "touch", str(mark))
        return b"403" in done.stderr and last_line(done.returncode, done.stderr, mark)
    assert "cannot be asked for" in run.wait_for(forbidden, 10, what="the refusal")
    w.works()
