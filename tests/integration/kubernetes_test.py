# SPDX-License-Identifier: Apache-2.0
"""--kubernetes against a real API server: policies, labels and approvals are objects there."""
import json
import os
import stat
import threading
import time

import psycopg
import pytest

from support import apiserver, run
from support.kubeguard import KubeGuard

pytestmark = pytest.mark.skipif(not apiserver.available(), reason="no etcd or kube-apiserver: run make e2e-up once")

READ = {"name": "read", "action": "Allow", "sql": {"operations": ["Read", "Session", "Transaction", "Show"]}}
WRITES = {"name": "writes", "action": "RequireApproval", "sql": {"operations": ["Update"]},
          "approval": {"approvers": {"groups": ["dba"]}, "timeout": "20s"}}
# What a schema cannot know: that target is a database.
BROKEN = [{"name": "orders-db", "namespaces": ["shop"]}]
DENY = {"name": "no-reading", "action": "Deny", "sql": {"operations": ["Read"]}, "message": "not today"}


@pytest.fixture(scope="module")
def api():
    with apiserver.ApiServer() as server:
        yield server


class World:
    """A namespace, a database and a guard between."""

    def __init__(self, api, db, name, **kw):
        self.api, self.db, self.ns = api, db, api.namespace(name)
        db.sql("create table public.orders (id int primary key, state text)",
               f'alter table public.orders owner to "{db.user}"', "insert into public.orders values (1, 'open')")
        self.target()
        self.policy(READ)
        self.guard = KubeGuard(api, self.ns, listen={"orders-db": None}, **kw)

    def target(self, name="orders-db", **more):
        spec = {"protocol": "postgres", "hosts": [self.db.server.host], "ports": [self.db.server.port],
                "tls": {"mode": "Disable"}, **more}
        return self.api.put(self.ns, "GuardTarget", name, spec)

    def policy(self, *rules, name="agents", **more):
        return self.api.put(self.ns, "GuardPolicy", name,
                            {"targets": [{"name": "orders-db"}], **more, "rules": list(rules)})

    def connect(self, **kw):
        return psycopg.connect(host="127.0.0.1", port=self.guard.ports["orders-db"], user=self.db.user,
                               password=self.db.password, dbname=self.db.name, autocommit=True,
                               sslmode="disable", connect_timeout=20, **kw)

    def state(self):
        return self.db.sql("select state from public.orders where id = 1")


_names = iter(range(1000))


@pytest.fixture
def make_world(api, database):
    made = []

    def make(**kw):
        w = World(api, database, f"t{os.getpid()}-{next(_names)}", **kw)
        made.append(w)
        return w

    yield make
    for w in made:
        w.guard.close()


@pytest.fixture
def world(make_world):
    w = make_world()
    w.guard.start()
    return w


def reads(c):
    return c.execute("select state from public.orders").fetchall()


def refused(c, sql="select state from public.orders"):
    with pytest.raises(psycopg.Error) as e:
        c.execute(sql)
    return e.value


def in_force(world, o):
    """Waits until the guard says that it uses the object in this generation."""
    want = (o["metadata"]["uid"], o["metadata"]["generation"])

    def there():
        answer = json.loads(world.guard.http_get("/policies")[1])
        return any((p["uid"], p["generation"]) == want for p in answer["objects"])
    run.wait_for(there, 5, what=f"{o['kind']} {o['metadata']['name']} in force")


# ---- policies ----

def test_a_change_is_in_force_within_two_seconds_on_an_open_connection(world):
    with world.connect() as c:
        assert reads(c) == [("open",)]
        begun = time.monotonic()
        o = world.policy(READ, DENY)
        run.wait_for(lambda: _denied(c), 2, what="the new policy on an open connection", interval=0.01)
        took = time.monotonic() - begun
        in_force(world, o)
        world.policy(READ)
        run.wait_for(lambda: reads(c), 2, what="the policy before")
    assert took < 2 * run.SLOWNESS
    assert any(e.get("rule") == "no-reading" and e["verdict"] == "Deny" for e in world.guard.events("decision"))


def _denied(c):
    try:
        reads(c)
    except psycopg.errors.InsufficientPrivilege as e:
        return "no-reading" in str(e)
    return False


def test_a_cluster_policy_is_a_floor(world, api):
    api.put(None, "ClusterGuardPolicy", f"floor-{world.ns}", {"rules": [DENY]})
    try:
        with world.connect() as c:
            run.wait_for(lambda: _denied(c), 5, what="the cluster policy")
            api.delete(None, "ClusterGuardPolicy", f"floor-{world.ns}")
            run.wait_for(lambda: reads(c), 5, what="its removal")
    finally:
        if any(o["metadata"]["name"] == f"floor-{world.ns}" for o in api.list(None, "ClusterGuardPolicy")):
            api.delete(None, "ClusterGuardPolicy", f"floor-{world.ns}")


def test_other_namespaces_do_not_count(world, api):
    other = api.namespace(f"{world.ns}-other")
    api.put(other, "GuardPolicy", "agents", {"rules": [DENY]})
    world.policy(READ, name="second")
    with world.connect() as c:
        assert reads(c) == [("open",)]
    assert all(p["namespace"] in ("", world.ns) for p in json.loads(world.guard.http_get("/policies")[1])["objects"])


def test_a_policy_that_is_gone_permits_nothing(world, api):
    with world.connect() as c:
        assert reads(c) == [("open",)]
        api.delete(world.ns, "GuardPolicy", "agents")
        run.wait_for(lambda: c.closed or _no_rule(c), 5, what="the refusal")


def _no_rule(c):
    try:
        reads(c)
    except psycopg.Error:
        return True
    return False


def test_an_invalid_object_keeps_the_last_good_policy_until_it_is_stale(make_world, api):
    w = make_world(stale_after=3)
    w.guard.start()
    with w.connect() as c:
        w.policy(READ, targets=BROKEN)
        run.wait_for(lambda: w.guard.log("policy.refused"), 5, what="the refusal")
        assert "GuardPolicy agents: spec.targets[0].namespaces: the target 'orders-db' has no namespaces" in \
            w.guard.log("policy.refused")[0]["reason"]
        assert reads(c) == [("open",)]
        assert w.guard.http_get("/readyz")[0] == 200
        assert "has no namespaces" in json.loads(w.guard.http_get("/policies")[1])["error"]
        run.wait_for(lambda: _no_rule(c), 10, what="staleness")
        assert "out of date" in str(refused(c))
        assert w.guard.http_get("/readyz")[0] == 503
        o = w.policy(READ)
        in_force(w, o)
        assert reads(c) == [("open",)]
        assert w.guard.http_get("/readyz")[0] == 200


def test_without_the_api_server_nothing_begins(make_world, api):
    w = make_world(wait=False)
    w.guard.env["KUBERNETES_SERVICE_PORT"] = str(run.free_port())
    w.guard.start()
    run.wait_for(lambda: w.guard.http_get("/readyz")[0] == 503, 10, what="the status port")
    assert "none yet" in w.guard.http_get("/readyz")[1]
    with pytest.raises(psycopg.OperationalError):
        w.connect()
    assert "has not received its policies yet" in w.guard.log("session.refused")[0]["reason"]
    assert w.guard.metrics()["chaperone_api_server_watched"] == 0


def test_the_last_good_policy_outlives_the_api_server_until_it_is_stale(make_world, api):
    w = make_world(stale_after=4)
    w.guard.start()
    try:
        with w.connect() as c:
            api.stop()
            run.wait_for(lambda: w.guard.metrics()["chaperone_api_server_watched"] == 0, 5, what="the absence")
            assert reads(c) == [("open",)]
            run.wait_for(lambda: _no_rule(c), 10, what="staleness")
            assert w.guard.http_get("/readyz")[0] == 503
            run.wait_for(lambda: w.guard.log("policy.stale"), 3, what="the line in the log")
            with pytest.raises(psycopg.OperationalError):
                w.connect()
            api.start()
            run.wait_for(lambda: reads(c), 20, what="the policy again")
            assert w.guard.http_get("/readyz")[0] == 200
    finally:
        if "kube-apiserver" not in api.processes:
            api.start()


def test_what_changed_while_the_api_server_was_away_is_seen(world, api):
    with world.connect() as c:
        api.stop()
        run.wait_for(lambda: world.guard.metrics()["chaperone_api_server_watched"] == 0, 5, what="the absence")
        api.start()
        world.policy(READ, DENY)
        run.wait_for(lambda: _denied(c), 15, what="the new policy")


def test_labels_take_effect_on_open_sessions(make_world):
    w = make_world(labels={"app": "coder"})
    w.policy(READ, subjects=[{"podSelector": {"matchLabels": {"app": "coder"}}}])
    w.guard.start()
    with w.connect() as c:
        assert reads(c) == [("open",)]
        w.guard.set_labels({"app": "other"})
        run.wait_for(lambda: c.closed or _no_rule(c), 5, what="the new labels")
    with pytest.raises(psycopg.OperationalError, match="no GuardPolicy"):
        w.connect()
    w.guard.set_labels({"app": "coder"})
    run.wait_for(lambda: _connects(w), 5, what="the old labels")


def _connects(w):
    with w.connect() as c:
        return reads(c)


# ---- files ----

def test_the_agents_service_account(world):
    d = world.guard.trust / "serviceaccount"
    assert (d / "token").read_text() == "agent-token-1"
    assert (d / "namespace").read_text() == world.ns
    assert (d / "ca.crt").read_text() == (world.guard.trust / "ca.crt").read_text()
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o644 for p in d.iterdir())
    seen = set()
    stop = threading.Event()

    def reader():
        while not stop.is_set():
            seen.add((d / "token").read_text())
    t = threading.Thread(target=reader)
    t.start()
    run.write_file(world.guard.agent_token, "agent-token-2")
    run.wait_for(lambda: (d / "token").read_text() == "agent-token-2", 5, what="the new token")
    stop.set()
    t.join()
    assert seen <= {"agent-token-1", "agent-token-2"}
    assert world.guard.account.joinpath("token").read_text() not in seen


def test_the_pods_ca_survives_a_restart(world):
    before = (world.guard.trust / "ca.crt").read_text()
    world.guard.kill()
    world.guard.start()
    assert (world.guard.trust / "ca.crt").read_text() == before
    assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in world.guard.state.iterdir())
    world.guard.stop()
    run.write_file(world.guard.state / "ca.key", "no key")
    world.guard.start()
    assert (world.guard.trust / "ca.crt").read_text() != before
    assert _connects(world)


# ---- approvals ----

UPDATE = "update public.orders set state = 'paid' where id = 1"


class Asking(threading.Thread):
    def __init__(self, world, sql=UPDATE):
        super().__init__()
        self.world, self.sql, self.error = world, sql, None
        self.start()

    def run(self):
        try:
            with self.world.connect() as c:
                c.execute(self.sql)
        except psycopg.Error as e:
            self.error = e

    def answer(self):
        self.join(40 * run.SLOWNESS)
        assert not self.is_alive()
        return self.error


@pytest.fixture
def asking(world):
    """A statement that waits, and its ApprovalRequest."""
    in_force(world, world.policy(READ, WRITES))
    a = Asking(world)
    a.object = run.wait_for(lambda: next(iter(world.api.list(world.ns, "ApprovalRequest")), None), 10,
                            what="the ApprovalRequest")
    a.id = a.object["metadata"]["name"]
    return a


def test_the_request_says_all(world, asking):
    spec, meta = asking.object["spec"], asking.object["metadata"]
    assert meta["labels"] == {"chaperone.dev/pod-uid": world.guard.uid_of_pod}
    assert meta["ownerReferences"][0]["uid"] == world.guard.uid_of_pod
    assert spec["statement"] == UPDATE and spec["rule"] == "writes" and spec["policy"] == "agents"
    assert spec["approvers"] == {"groups": ["dba"], "users": []} and spec["count"] == 1
    assert spec["delivery"] == "Hold" and len(spec["digest"]) == 64 and "public.orders" in spec["effect"]
    world.api.decide(world.ns, asking.id, "bob@example.com", ["dba"], phase="Approved", reason="ticket 4711")
    assert asking.answer() is None
    assert "paid" in str(world.state())
    decided = [e for e in world.guard.events("approval") if e["phase"] == "Approved"]
    assert decided[0]["by"] == "bob@example.com" and decided[0]["reason"] == "ticket 4711"


def test_a_denial(world, asking):
    world.api.decide(world.ns, asking.id, "bob@example.com", ["dba"], "Deny", phase="Denied", reason="no")
    e = asking.answer()
    assert e.sqlstate == "42501" and "denied" in str(e) and "bob@example.com" in e.diag.message_detail
    assert "open" in str(world.state())


@pytest.mark.parametrize("by, groups", [("mallory@example.com", ["dbas"]), ("mallory@example.com", []),
                                        ("system:serviceaccount:NS:agent", ["dba"])])
def test_who_may_not_approve_does_not(world, asking, by, groups):
    world.api.decide(world.ns, asking.id, by.replace("NS", world.ns), groups)
    run.wait_for(lambda: world.guard.log("approval.vote_refused"), 10, what="the refusal of the vote")
    assert asking.is_alive() and "open" in str(world.state())
    world.api.decide(world.ns, asking.id, "bob@example.com", ["dba"])
    assert asking.answer() is None


def test_a_phase_without_decisions_approves_nothing(world, asking):
    world.api.request("PATCH", world.api.path(world.ns, "ApprovalRequest", asking.id) + "/status",
                      {"status": {"phase": "Approved"}}, content="application/merge-patch+json")
    e = asking.answer()
    assert e.sqlstate == "42501" and "do not satisfy the rule" in e.diag.message_detail
    assert "open" in str(world.state())


def test_a_deleted_request_is_denied(world, asking):
    world.api.delete(world.ns, "ApprovalRequest", asking.id)
    assert "deleted" in asking.answer().diag.message_detail
    assert "open" in str(world.state())


def test_two_different_people(world):
    two = {**WRITES, "approval": {**WRITES["approval"], "count": 2}}
    in_force(world, world.policy(READ, two))
    a = Asking(world)
    o = run.wait_for(lambda: world.api.list(world.ns, "ApprovalRequest"), 10, what="the request")[0]
    name = o["metadata"]["name"]
    world.api.decide(world.ns, name, "bob@example.com", ["dba"])
    world.api.decide(world.ns, name, "bob@example.com", ["dba"])
    run.wait_for(lambda: world.guard.log("approval.vote_refused"), 10, what="the refusal of the second vote")
    assert a.is_alive() and "open" in str(world.state())
    world.api.decide(world.ns, name, "carol@example.com", ["dba"])
    assert a.answer() is None


def test_time_runs_out_and_clients_leave(world):
    quick = {**WRITES, "approval": {**WRITES["approval"], "timeout": "1s"}}
    in_force(world, world.policy(READ, quick))
    a = Asking(world)
    e = a.answer()
    assert "not decided in time" in str(e)

    def expired():
        return [o for o in world.api.list(world.ns, "ApprovalRequest") if o["status"]["phase"] == "Expired"]
    run.wait_for(expired, 10, what="the phase Expired")
    in_force(world, world.policy(READ, WRITES))
    with world.connect() as c:
        c.pgconn.send_query(UPDATE.encode())
        run.wait_for(lambda: len(world.api.list(world.ns, "ApprovalRequest")) == 2, 10, what="the second request")
        c.close()
    run.wait_for(lambda: len(expired()) == 2, 10, what="the withdrawal")
    assert "open" in str(world.state())


def test_a_restarted_guard_expires_what_nobody_waits_for(world, asking):
    world.guard.kill()
    assert asking.answer()
    world.guard.start()
    run.wait_for(lambda: world.api.list(world.ns, "ApprovalRequest")[0]["status"]["phase"] == "Expired", 15,
                 what="the phase Expired")


def test_without_the_api_server_nobody_waits_in_vain(world, api):
    in_force(world, world.policy(READ, WRITES))
    with world.connect() as c:
        api.stop()
        try:
            run.wait_for(lambda: world.guard.metrics()["chaperone_approvals_open"] == 0, 5, what="the absence")
            begun = time.monotonic()
            e = refused(c, UPDATE)
            assert e.sqlstate == "58030" and "the API server is away" in str(e)
            assert time.monotonic() - begun < 2 * run.SLOWNESS
            assert reads(c) == [("open",)]
        finally:
            api.start()
        run.wait_for(lambda: world.guard.metrics()["chaperone_approvals_open"] == 1, 20, what="the return")
    assert any(e["sqlstate"] == "58030" for e in world.guard.events("decision"))


def test_an_api_server_that_hangs_is_away(world, api):
    in_force(world, world.policy(READ, WRITES))
    with world.connect() as c:
        api.freeze()
        try:
            e = refused(c, UPDATE)
            assert e.sqlstate == "58030" and "the API server is away" in str(e)
            assert reads(c) == [("open",)]
        finally:
            api.thaw()
    assert "open" in str(world.state())


def test_the_right_to_ask_is_missing(world, api):
    in_force(world, world.policy(READ, WRITES))
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{world.ns}/rolebindings/chaperone-guard-{world.ns}"
    api.request("DELETE", path)
    with world.connect() as c:
        def forbidden():
            e = refused(c, UPDATE)
            return e.sqlstate == "58030" and "403" in str(e)
        run.wait_for(forbidden, 10, what="the refusal")


def test_the_control_socket_lists_and_does_not_decide(world, asking):
    assert asking.id in world.guard.kubectl_guard("list").stdout
    for command in ("approve", "deny"):
        done = world.guard.kubectl_guard(command, asking.id, "--reason", "x", check=False)
        assert done.returncode == 1 and "kubectl guard approve" in done.stderr
    assert asking.is_alive()
    world.api.decide(world.ns, asking.id, "bob@example.com", ["dba"])
    assert asking.answer() is None


# ---- Events ----

def events(world, reason):
    return [e for e in world.api.events(world.ns) if e["reason"] == reason]


def told(world, reason, n=1):
    return run.wait_for(lambda: (lambda e: e if len(e) >= n else None)(events(world, reason)), 10,
                        what=f"{n} Events {reason}")


def test_the_pods_story(world):
    in_force(world, world.policy(READ, {**DENY, "sql": {"operations": ["Delete"]}}))
    with world.connect() as c:
        reads(c)
        for _ in range(3):
            refused(c, "delete from public.orders where state = 'canary-4711'")
        refused(c, "select 'canary-4711' frm nothing")
        session = next(iter(world.guard.records()))
        told(world, "StatementDenied", 2)
    started, ended = told(world, "SessionStarted")[0], told(world, "SessionEnded")[0]
    assert session in started["note"] and "orders-db" in started["note"]
    closing = world.guard.records()[session][-1]
    assert closing["type"] == "session.close" and f"record head {closing['hash']}" in ended["note"]
    assert started["regarding"] == {"apiVersion": "v1", "kind": "Pod", "name": "agent-0", "namespace": world.ns,
                                    "uid": world.guard.uid_of_pod}
    rule = next(e for e in events(world, "StatementDenied") if "no-reading" in e["note"])
    assert rule["type"] == "Warning" and "refuses Delete on orders-db" in rule["note"] and session in rule["note"]
    assert "canary-4711" not in json.dumps(world.api.events(world.ns))
    assert told(world, "GuardStarted")


def test_repetition_is_one_event(world):
    in_force(world, world.policy(READ, {**DENY, "sql": {"operations": ["Delete"]}}))
    with world.connect() as c:
        for _ in range(500):
            refused(c, "delete from public.orders")
    told(world, "SessionEnded")
    assert len(told(world, "StatementDenied")) <= 2
    assert world.guard.metrics()["chaperone_statements_denied_total"] == 500


def test_a_flood_of_sessions_makes_few_events(world):
    for _ in range(60):
        with world.connect():
            pass
    told(world, "SessionEnded")
    run.wait_for(lambda: world.guard.metrics()["chaperone_events_dropped_total"] > 0, 10, what="dropped Events")
    assert len(world.api.events(world.ns)) <= 32 * run.SLOWNESS
    assert world.guard.metrics()["chaperone_events_sent_total"] <= 32 * run.SLOWNESS


def test_events_wait_for_the_api_server(world, api):
    told(world, "GuardStarted")
    with world.connect() as c:
        api.stop()
        try:
            refused(c, "truncate public.orders")
            run.wait_for(lambda: world.guard.log("event.not_sent"), 10, what="the failure")
            assert reads(c) == [("open",)]
        finally:
            api.start()
        note = run.wait_for(lambda: events(world, "StatementDenied"), 120, what="the Event, afterwards")[0]["note"]
    assert "orders-db" in note


def test_approvals_and_policies_are_told(world, asking):
    assert asking.id in told(world, "ApprovalRequested")[0]["note"]
    world.api.decide(world.ns, asking.id, "bob@example.com", ["dba"])
    assert asking.answer() is None
    assert "Approve by bob@example.com" in told(world, "ApprovalDecided")[0]["note"]
    world.policy(READ, targets=BROKEN)
    assert "has no namespaces" in told(world, "PolicyRefused")[0]["note"]
    world.policy(READ)
    told(world, "PolicyRestored")


def test_a_refused_connection_is_told(world, api):
    api.delete(world.ns, "GuardPolicy", "agents")
    api.delete(world.ns, "GuardTarget", "orders-db")

    def gone():
        try:
            world.connect().close()
        except psycopg.OperationalError:
            return events(world, "ConnectionDenied")
    assert "there is no GuardTarget 'orders-db'" in run.wait_for(gone, 10, what="the Event")[0]["note"]


# ---- secrets ----

def test_a_secret_that_is_not_mounted_means_recreate_the_pod(world):
    world.target("orders-db", credentials={"secretRef": {"name": "new-login"}, "requireToken": False})
    in_force(world, world.policy(READ, name="again"))
    with pytest.raises(psycopg.OperationalError, match="not mounted in this pod.*has to be recreated"):
        world.connect()
    ca = {"mode": "VerifyFull", "caSecretRef": {"name": "new-ca", "key": "ca.crt"}}
    in_force(world, world.target("orders-db", tls=ca))
    with pytest.raises(psycopg.OperationalError, match="has to be recreated"):
        world.connect()
    assert "open" in str(world.state())
    in_force(world, world.target("orders-db"))
    assert _connects(world)
