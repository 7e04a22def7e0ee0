# SPDX-License-Identifier: Apache-2.0
"""recording.durability: Node. Nothing is at the target before its record has been forced to the disk; a slow disk holds up
nobody but those who wait for it; one that fails refuses."""
import http.client
import json
import ssl
import subprocess
import threading
import time

import pytest

from clients import raw
from clients.harness import Stack
from ssh_test import EXEC, guard as ssh_guard, ssh
from support import apiserver, run
from support.guard import Guard
from support.sshd import Sshd

pytestmark = pytest.mark.skipif(run.VARIANT != "release", reason="preloads a library")

RULES = ['{name: work, action: Allow, sql: {operations: ["*"], relations: ["public.*"]}}',
         '{name: no-drop, action: Deny, sql: {operations: [Drop]}}']
SETUP = ["CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t SELECT g, 'value ' || g FROM generate_series(1, 20) g",
         "ALTER TABLE t OWNER TO agent"]
NODE = "{durability: Node}"


class Disk:
    def __init__(self, folder):
        self.library, self.word = folder / "faultdisk.so", folder / "word"
        source = run.ROOT / "tests/support/faultdisk.c"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-Wall", "-Werror", "-o", self.library, source, "-ldl"], check=True)
        self.say("")

    @property
    def env(self):
        return {"LD_PRELOAD": str(self.library), "FAULTDISK": str(self.word)}

    def say(self, word):
        new = self.word.with_suffix(".new")
        new.write_text(word)
        new.replace(self.word)

    def log(self):
        path = self.word.with_name("word.log")
        return path.read_text().split() if path.exists() else []

    def wait_asked(self, before, what):
        run.wait_for(lambda: len(self.log()) > before, 10, what=f"{what} to ask for the disk")


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk")
    folder.chmod(0o777)
    return Disk(folder)


@pytest.fixture
def stack(disk):
    disk.say("")
    with Stack(RULES, setup=SETUP, recording=NODE, env=disk.env) as s:
        yield s
        disk.say("")


def in_background(work):
    said = []
    thread = threading.Thread(target=lambda: said.append(work()))
    thread.start()
    return thread, said


@pytest.mark.parametrize("how", ["query", "extended"])
def test_statement_waits_for_the_disk_and_others_do_not_wait_for_it(stack, disk, how):
    with stack.connect() as c, stack.connect() as other:
        other.query("SELECT 1")
        at, asked = stack.pg.log_mark(), len(disk.log())
        disk.say("hold")
        sql = f"SELECT v FROM t WHERE id = 3 /* held-{how} */"
        thread, said = in_background(lambda: c.query(sql) if how == "query" else c.extended(sql))
        disk.wait_asked(asked, "the statement")
        assert "held-" in json.dumps(stack.record_of(f"held-{how}")), "in the kernel's hands already"
        # The loop goes on: a refusal needs no disk, and is told to another session at once.
        assert other.query("DROP TABLE t").sqlstate == "42501"
        assert not stack.pg.saw(f"held-{how}", since=at) and not said
        disk.say("")
        thread.join(20)
        assert said and not said[0].errors and said[0].rows == [[b"value 3"]], said
        assert stack.pg.saw(f"held-{how}", since=at)


def test_every_statement_waits_once_and_those_that_wait_together_share_a_call(stack, disk):
    with stack.connect() as c:
        c.query("SELECT 1")
        before = len(disk.log())
        disk.say("hold")
        c.send(b"".join(raw.query(f"SELECT {i} /* batch-{i}. */") for i in range(50)))
        disk.wait_asked(before, "the batch")
        disk.say("")
        assert all(c.until_ready().rows for _ in range(50))
        assert disk.log()[before:].count("done") <= 10
        c.query("SELECT 1")
        before = len(disk.log())
        for i in range(50):
            assert not c.query(f"SELECT {i} /* one-{i}. */").errors
        each = disk.log()[before:].count("done")
        assert 50 <= each <= 60, "one call a statement"
    metrics = stack.guard.metrics()
    assert metrics["chaperone_record_syncs_total"] >= 50 and metrics["chaperone_record_syncs_waiting"] == 0


def test_process_asks_nothing_of_the_disk(disk):
    disk.say("hold")  # would hold for ever
    with Stack(RULES, setup=SETUP, env=disk.env) as s, s.connect() as c:
        assert not c.query("SELECT v FROM t /* plain */").errors
        assert s.guard.metrics()["chaperone_record_syncs_total"] == 0
    disk.say("")


def test_failing_disk_refuses_and_new_sessions_work_when_it_is_well(stack, disk):
    with stack.connect() as c:
        assert not c.query("SELECT v FROM t WHERE id = 1").errors
        at = stack.pg.log_mark()
        disk.say("fail")
        reply = c.query("SELECT v FROM t /* unsynced */")
        assert reply.sqlstate == "58030" and "recorded" in str(reply.errors), reply.errors
        assert not stack.pg.saw("unsynced", since=at) and "unsynced" in json.dumps(stack.record_of("unsynced"))
        status, text = stack.guard.http_get("/readyz")
        assert status == 503 and "recorder: failing" in text, text
        assert "records.sync_failed" in stack.guard.stderr()
        disk.say("")
        assert c.query("SELECT 2 /* never */").closed, "what was lost of this record stays lost: its session has ended"
    with stack.connect() as c:
        assert not c.query("SELECT v FROM t /* well-again */").errors
    run.wait_for(lambda: stack.guard.http_get("/readyz")[0] == 200, 5, what="readiness")
    assert not stack.pg.saw("never", since=at)


def test_optional_recording_goes_on(disk):
    disk.say("fail")
    with Stack(RULES, setup=SETUP, recording="{durability: Node, required: false}", env=disk.env) as s, s.connect() as c:
        assert not c.query("SELECT v FROM t /* went-on */").errors
        assert s.guard.metrics()["chaperone_record_failures_total"] >= 1
    disk.say("")


def test_killed_client_and_stopping_guard_do_not_wait(stack, disk):
    c, asked = stack.connect(), len(disk.log())
    disk.say("hold")
    at = stack.pg.log_mark()
    thread, _ = in_background(lambda: c.query("SELECT 1 /* abandoned */"))
    disk.wait_asked(asked, "the statement")
    session = stack.record_of("abandoned")[0]["session"]
    stack.guard.kubectl_guard("kill", session)
    thread.join(10 * run.SLOWNESS)
    assert not thread.is_alive()
    run.wait_for(lambda: session not in stack.guard.kubectl_guard("sessions").stdout, 10, what="the session's end")
    disk.say("")
    assert not stack.pg.saw("abandoned", since=at)


def test_many_sessions_under_a_slow_disk(stack, disk):
    """Eight sessions work while the disk is held and let go over and over: all is there, in order."""
    def work(n, out):
        with stack.connect() as c:
            for i in range(40):
                assert not c.query(f"SELECT v FROM t WHERE id = 1 /* many-{n}-{i}. */").errors
                out.append((n, i))
    out, threads = [], []
    for n in range(8):
        threads.append(threading.Thread(target=work, args=(n, out)))
        threads[-1].start()
    while any(t.is_alive() for t in threads):
        disk.say("hold")
        time.sleep(0.02)
        disk.say("")
        time.sleep(0.02)
    for t in threads:
        t.join()
    assert len(out) == 8 * 40
    for path in stack.guard.record_files():
        assert "TAMPERED" not in stack.guard.kubectl_guard("verify", path, check=False).stdout


def test_ssh_waits_for_the_disk(disk, tmp_path):
    disk.say("")
    with Sshd() as sshd:
        g = ssh_guard(sshd, EXEC, env=disk.env)
        path = g.policies / "policy.yaml"
        g.set_policies(path.read_text() + f"  recording: {NODE}\n")
        with g:
            assert ssh(g, "echo", "first").returncode == 0
            asked, mark = len(disk.log()), tmp_path / "touched"
            disk.say("hold")
            thread, said = in_background(lambda: ssh(g, "touch", str(mark)))
            disk.wait_asked(asked, "the command")
            assert not mark.exists() and not said
            disk.say("fail")
            thread.join(20)
            assert said[0].returncode != 0 and not mark.exists()
            assert b"recorded" in said[0].stdout + said[0].stderr, said
            disk.say("")
            assert ssh(g, "touch", str(mark)).returncode == 0 and mark.exists()


CONFIG_MAPS = "/api/v1/namespaces/shop/configmaps"


def kube_policies(api):
    return apiserver.guard_target(api.port) + f"""
apiVersion: chaperone.dev/v1alpha1
kind: GuardPolicy
metadata: {{name: p, namespace: agents}}
spec:
  targets: [{{name: cluster}}]
  recording: {NODE}
  rules: [{{name: remove, action: Allow, kube: {{verbs: [delete], resources: [configmaps], namespaces: [shop]}}}}]
"""


def remove(g, name):
    context = ssl.create_default_context(cafile=str(g.trust / "ca.crt"))
    c = http.client.HTTPSConnection("127.0.0.1", g.ports["cluster"], context=context, timeout=30 * run.SLOWNESS)
    c.request("DELETE", f"{CONFIG_MAPS}/{name}", headers={"Authorization": "Bearer token-admin"})
    answer = c.getresponse()
    text = answer.read().decode()
    c.close()
    return answer.status, text


@pytest.mark.skipif(not apiserver.available(), reason="no etcd or kube-apiserver: run make e2e-up once")
def test_kube_waits_for_the_disk(disk):
    disk.say("")
    with apiserver.ApiServer(audit=True) as api:
        api.namespace("shop")
        for name in ("first", "held", "refused"):
            api.request("POST", CONFIG_MAPS, {"metadata": {"name": name}})

        def there():
            return {o["metadata"]["name"] for o in api.request("GET", CONFIG_MAPS)["items"]} & {"first", "held", "refused"}
        with Guard(kube_policies(api), listen={"cluster": None}, secrets={"cluster-ca": {"ca.crt": api.authority.pem}}, env=disk.env) as g:
            assert remove(g, "first")[0] == 200 and there() == {"held", "refused"}
            for name, word, status in (("held", "", 200), ("refused", "fail", 503)):
                asked = len(disk.log())
                disk.say("hold")
                thread, said = in_background(lambda n=name: remove(g, n))
                disk.wait_asked(asked, "the request")
                assert name in there() and not api.audited(f"configmaps/{name}") and not said
                disk.say(word)
                thread.join(20 * run.SLOWNESS)
                assert said and said[0][0] == status, said
            assert "recorded" in said[0][1] and there() == {"refused"} and not api.audited("configmaps/refused")
            assert any("configmaps/refused" in p.read_text() for p in g.record_files())
            disk.say("")
            assert remove(g, "refused")[0] == 200 and not there()
