# SPDX-License-Identifier: Apache-2.0
"""Databases, SSH and an API server through one guard for CHAPERONE_MIXED_SECONDS (10), at a rate of CHAPERONE_MIXED_RATE requests
a second and client (0: as fast as they can). Then every record verifies, and what replay shows is what the clients saw:
the same rows, output and answers, masked."""
import json
import os
import re
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from clients import raw
from clients.harness import PASSWORD, USER, Canaries, new_database, policy, server, target
from ssh_test import POLICY, TARGET, ssh
from support import apiserver, run
from support.guard import Guard
from support.sshd import Sshd

SECONDS = int(os.environ.get("CHAPERONE_MIXED_SECONDS", "10" if run.VARIANT == "release" else "5"))
RATE = float(os.environ.get("CHAPERONE_MIXED_RATE", "0"))
SECRETS = ["topsecretquark", "mzqwkfj@corp", "quarkintheconfig", PASSWORD]
SETUP = ["CREATE TABLE t (id int PRIMARY KEY, v text, secret text)",
         "INSERT INTO t SELECT g, 'value ' || g, 'topsecretquark' || g FROM generate_series(1, 20) g", "ALTER TABLE t OWNER TO agent"]
SQL = ['{name: work, action: Allow, sql: {operations: ["*"], relations: ["public.*"]}}',
       '{name: hide, action: Mask, sql: {columns: ["public.t.secret"]}, mask: {method: Redact}}',
       '{name: values, action: Mask, values: {detectors: [email]}}',
       '{name: no-drop, action: Deny, sql: {operations: [Drop]}}']
SSH = ['{name: some, action: Allow, ssh: {requests: [exec], argv: [[echo, "..."], [cat, "..."]]}}',
       '{name: values, action: Mask, values: {detectors: [email]}}']
KUBE = ["{name: look, action: Allow, kube: {verbs: [get, list], resources: [configmaps]}}",
        '{name: maps, action: Mask, kube: {resources: [configmaps], names: ["hidden*"]}}']


class Client(threading.Thread):
    """Works until `until`; what it saw is in `seen`, what went wrong in `failure`."""

    def __init__(self, world, n):
        super().__init__()
        self.world, self.n, self.seen, self.failure = world, n, {}, None

    def run(self):
        try:
            i = 0
            while time.monotonic() < self.world.until:
                began = time.monotonic()
                self.step(i)
                i += 1
                if RATE:
                    time.sleep(max(0, began + 1 / RATE - time.monotonic()))
        except Exception as e:  # noqa: BLE001 - told by the test
            self.failure = e
        self.done()

    def mark(self, i):
        return f"mixed-{type(self).__name__}-{self.n}-{i}."

    def done(self):
        pass


class Database(Client):
    """A session of fifty statements, then another. seen: mark -> rows as text, or the SQLSTATE."""
    session = None

    def step(self, i):
        if i % 50 == 0:
            self.done()
            self.session = raw.connect("127.0.0.1", self.world.guard.ports["db"], USER, self.world.database, PASSWORD, timeout=30 * run.SLOWNESS)
        mark = self.mark(i)
        sql = [f"SELECT id, v, secret FROM t WHERE id <= {i % 5} /* {mark} */", f"DROP TABLE t /* {mark} */",
               f"SELECT 'mail mzqwk' || 'fj@co' || 'rp.example' AS m, NULL AS n /* {mark} */", f"SELECT 1/0 /* {mark} */",
               f"UPDATE t SET v = v WHERE id = 1 /* {mark} */"][i % 5]
        reply = self.session.extended(sql) if i % 3 == 1 else self.session.query(sql)
        assert not reply.closed, reply
        self.seen[mark] = reply.sqlstate or [[None if v is None else v.decode() for v in row] for row in reply.rows]

    def done(self):
        if self.session:
            self.session.close()


class Shell(Client):
    """seen: mark -> output and exit status."""

    def step(self, i):
        mark = self.mark(i)
        words = [["echo", mark, "x" * (i % 3000)], ["touch", f"/nonexistent/{mark}"], ["cat", self.world.mails, f"/nonexistent/{mark}"]][i % 3]
        done = ssh(self.world.guard, *words)
        self.seen[mark] = (done.stdout.decode(), done.returncode)


class Cluster(Client):
    """seen: mark -> the answer's code and body."""

    def step(self, i):
        mark = self.mark(i)
        path = ["configmaps/hidden", "configmaps", "secrets", "configmaps/plain"][i % 4]
        context = ssl.create_default_context(cafile=str(self.world.guard.trust / "ca.crt"))
        q = urllib.request.Request(f"https://127.0.0.1:{self.world.guard.ports['cluster']}/api/v1/namespaces/mixed/{path}?fieldManager={mark}",
                                   headers={"Authorization": "Bearer token-admin"})
        try:
            with urllib.request.urlopen(q, context=context, timeout=60) as a:
                self.seen[mark] = (a.status, a.read().decode())
        except urllib.error.HTTPError as e:
            self.seen[mark] = (e.code, e.read().decode())


class World:
    def __init__(self, sshd, api, **kw):
        self.pg = server(15)
        self.database = new_database(self.pg, *SETUP)
        text = target(self.pg, tls=False) + policy(SQL)
        text += TARGET.format(port=sshd.port, key=sshd.host_key) + POLICY.replace("name: agents,", "name: shell,") + "".join(f"  - {x}\n" for x in SSH)
        secrets = {"upstream-ca": {"ca.crt": self.pg.authority.pem},
                   "box-key": {"ssh-privatekey": sshd.client_key.read_text(), "username": sshd.user}}
        listen = {"db": None, "box": None}
        if api:
            api.namespace("mixed")
            for name in ("plain", "hidden"):
                api.request("POST", "/api/v1/namespaces/mixed/configmaps", {"metadata": {"name": name}, "data": {
                    "key": "quarkintheconfig" if name == "hidden" else "plain"}})
            text += "---" + apiserver.guard_target(api.port) + "\n" + policy(KUBE, name="kube", targets=("cluster",))
            secrets["cluster-ca"] = {"ca.crt": api.authority.pem}
            listen["cluster"] = None
        self.mails = str(run.write_file(run.temp_dir("mails", mode=0o755) / "mails", "a mail: mzqwkfj@corp.example\n" * 50))
        self.guard = Guard(text, listen=listen, secrets=secrets, **kw)
        self.kinds = [Database, Database, Shell] + ([Cluster] if api else [])

    def bench(self):
        argv = ["pgbench", "-n", "-S", "-M", "prepared", "-c", "4", "-j", "1", "-T", str(SECONDS), *(["-R", str(RATE * 4)] if RATE else []),
                "-h", "127.0.0.1", "-p", str(self.guard.ports["db"]), "-U", USER, self.database]
        return subprocess.Popen(argv, env={**os.environ, "PGPASSWORD": PASSWORD, "PGSSLMODE": "disable"}, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True)

    def init(self):
        subprocess.run(["pgbench", "-i", "-q", "-s", "1", "-h", self.pg.host, "-p", str(self.pg.port), "-U", USER, self.database],
                       env={**os.environ, "PGPASSWORD": PASSWORD}, check=True, capture_output=True, timeout=120)

    def work(self):
        bench = self.bench()
        self.until = time.monotonic() + SECONDS
        clients = [kind(self, n) for n, kind in enumerate(self.kinds)]
        for c in clients:
            c.start()
        for c in clients:
            c.join()
        said = bench.communicate(timeout=120 * run.SLOWNESS)[0]
        assert bench.returncode == 0 and "number of failed transactions: 0 " in said, said[-2000:]
        return clients, int(re.search(r"transactions actually processed: (\d+)", said).group(1))


def replayed(guard):
    """mark -> the lines of its statement, in order, as replay shows them; and all that is said about statements."""
    by_mark, statements = {}, 0
    for path in guard.record_files():
        lines = [json.loads(x) for x in guard.kubectl_guard("replay", "--json", path, timeout=600).stdout.splitlines()]
        assert [e["seq"] for e in lines] == list(range(len(lines)))
        mark_of = {}
        for e in lines:
            if e["type"] == "statement":
                statements += 1
                found = re.search(r"mixed-\w+-\d+-\d+\.", e["text"])
                if found and e["n"] not in mark_of:
                    mark_of[e["n"]] = found.group()
            if e.get("n") in mark_of:
                by_mark.setdefault(mark_of[e["n"]], []).append(e)
    return by_mark, statements


def data(lines, *streams):
    return "".join(e["text"] for e in lines if e["type"] == "data" and (e.get("stream") in streams or e.get("direction") in streams))


def same(kind, seen, lines):
    """What a client saw is what its lines say."""
    result = [e for e in lines if e["type"] == "result"]
    if kind is Database and isinstance(seen, str):
        assert seen in [e.get("sqlstate") for e in lines]
    elif kind is Database:
        assert [row for e in result for row in e.get("rows", [])] == seen
    elif kind is Shell:
        refused = any(e["type"] == "decision" for e in lines)
        assert refused == (seen[1] == 126)
        assert refused or (data(lines, "stdout") == seen[0] and result[-1]["exitStatus"] == seen[1])
    else:
        refused = any(e["type"] == "decision" for e in lines)
        assert refused == (seen[0] == 403)
        assert refused or data(lines, "response") == seen[1]


@pytest.mark.slow
def test_mixed_load_verifies_and_replays_what_clients_saw(capsys):
    with Sshd() as sshd:
        if not apiserver.available():
            check(sshd, None, capsys)
            return
        with apiserver.ApiServer() as api:
            check(sshd, api, capsys)


def check(sshd, api, capsys):
    world = World(sshd, api)
    world.init()
    with world.guard as g:
        clients, benched = world.work()
        assert not [c.failure for c in clients if c.failure], [repr(c.failure) for c in clients]
        run.wait_for(lambda: all('"session.close"' in p.read_text()[-4096:] for p in g.record_files()), 30, what="sealed records", interval=0.5)
        files = g.record_files()
        for i in range(0, len(files), 200):
            done = g.kubectl_guard("verify", "--strict", *files[i:i + 200], timeout=900)
            assert done.stdout.count(": OK ") == len(files[i:i + 200])
        by_mark, statements = replayed(g)
        n = {}
        for c in clients:
            for mark, seen in c.seen.items():
                assert mark in by_mark, mark
                try:
                    same(type(c), seen, by_mark[mark])
                except AssertionError:
                    raise AssertionError((mark, seen, by_mark[mark])) from None
            n[type(c).__name__] = n.get(type(c).__name__, 0) + len(c.seen)
            assert c.seen
        for path in files:
            Canaries(SECRETS).absent_from_record(path)
        assert statements >= sum(n.values()) + benched
    with capsys.disabled():
        print(f"\nmixed: {SECONDS} s, {n} compared with replay, pgbench {benched} transactions; {statements} statements in {len(files)} records, "
              f"{sum(p.stat().st_size for p in files) >> 20} MiB, all OK")
