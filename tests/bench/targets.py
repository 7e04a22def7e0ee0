# SPDX-License-Identifier: Apache-2.0
"""What is measured: the server itself, a trivial relay, haproxy, pgbouncer, the guard. Each runs with
its own configuration in a temporary directory and is ended by its process id."""
import os
import pathlib
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support import run  # noqa: E402
from support.guard import Guard  # noqa: E402
from support.postgres import PostgresServer  # noqa: E402

USER, PASSWORD, DATABASE = "bench", "bench-password", "bench"
SETTINGS = {"shared_buffers": "1GB", "fsync": False, "synchronous_commit": False, "jit": False, "autovacuum": False,
            "max_parallel_workers_per_gather": 0, "max_connections": 320, "work_mem": "64MB", "log_connections": False}


def start_server():
    pg = PostgresServer(15, tls=True, settings=SETTINGS, log_statements=False).start()
    pg.add_user(USER, PASSWORD)
    pg.add_database(DATABASE, owner=USER)
    pg.sql("ALTER SCHEMA public OWNER TO bench", dbname=DATABASE)
    return pg


def load(pg, rows, scale):
    """pgbench's tables; a wide table without personal data, one with a column to mask, one full of it."""
    env = {**os.environ, "PGPASSWORD": PASSWORD}
    subprocess.run(["pgbench", "-i", "-q", "-s", str(scale), "-h", pg.host, "-p", str(pg.port), "-U", USER, DATABASE],
                   env=env, check=True, capture_output=True)
    with pg.connect(USER, PASSWORD, DATABASE) as c:
        c.execute(f"""CREATE TABLE clean AS SELECT g AS id, 'order line number ' || g AS title, md5(g::text) AS a,
            md5((g * 7)::text) AS b, (g * 1.25)::numeric AS price, 'shipped to warehouse ' || (g % 97) || ' on shelf ' || (g % 1013) AS place,
            repeat('lorem ipsum dolor sit amet ', 4) AS body FROM generate_series(1, {rows}) g""")
        c.execute("CREATE TABLE people AS SELECT id, title AS name, a AS email, b, price, place, body FROM clean")
        c.execute("ALTER TABLE people RENAME COLUMN email TO secret")
        c.execute(f"""CREATE TABLE dense AS SELECT g AS id, 'contact user' || g || '@mail' || (g % 50) || '.example.com or +1 415 555 ' || lpad((g % 10000)::text, 4, '0') AS a,
            'card 4111 1111 1111 1111, ssn 536-90-' || lpad((g % 9000 + 1000)::text, 4, '0') AS b,
            'iban DE89370400440532013000 key AKIAQ7ZTM4WXBN2PLRKD' AS c, 'second user' || g || '@corp.example.org' AS d,
            repeat('lorem ipsum dolor sit amet ', 3) AS body FROM generate_series(1, {rows}) g""")
        c.execute("VACUUM ANALYZE")


class Target:
    """name; port; pids() of the proxy (none for the server itself); sslmode of the client's leg."""

    def __init__(self, name, port, process=None, guard=None, host="127.0.0.1"):
        self.name, self.port, self.process, self.guard, self.host = name, port, process, guard, host
        self.start_seconds = None

    @property
    def pid(self):
        if self.guard:
            return self.guard.pid
        return self.process.pid if self.process else None

    def stop(self):
        if self.guard:
            self.guard.close(check=False)
        elif self.process:
            run.stop(self.process)


def _accepts(port):
    with socket.create_connection(("127.0.0.1", port), 1):
        return True


def _spawn(name, argv, port):
    began = time.monotonic()
    process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               start_new_session=True)

    def up():
        if process.poll() is not None:
            raise run.Fatal(f"{name}: {process.stderr.read().decode()[-1000:]}")
        return _accepts(port)
    run.wait_for(up, 10, what=f"{name} on port {port}", interval=0.001)
    t = Target(name, port, process)
    t.start_seconds = time.monotonic() - began
    return t


def relay(pg):
    port = run.free_port()
    return _spawn("relay", [ROOT / "build/release/tests/bench/relay", port, pg.host, pg.port], port)


def haproxy(pg):
    port, where = run.free_port(), run.temp_dir("haproxy")
    conf = run.write_file(where / "haproxy.cfg", f"""global
  nbthread 1
  maxconn 2000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen bench
  bind 127.0.0.1:{port}
  server pg {pg.host}:{pg.port}
""")
    return _spawn("haproxy", ["haproxy", "-db", "-f", conf], port)


def pgbouncer(pg, authority):
    """Session pooling, SCRAM on both legs with the role's own verifier."""
    port, where = run.free_port(), run.temp_dir("pgbouncer", uid=pg.user.pw_uid, gid=pg.user.pw_gid)
    own = {"uid": pg.user.pw_uid, "gid": pg.user.pw_gid, "mode": 0o600}
    (secret,), = pg.sql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{USER}'")
    run.write_file(where / "users", f'"{USER}" "{secret}"\n', **own)
    crt, key = authority.issue("pgbouncer", ["localhost", "127.0.0.1"], directory=where, uid=pg.user.pw_uid, gid=pg.user.pw_gid)
    conf = run.write_file(where / "pgbouncer.ini", f"""[databases]
{DATABASE} = host={pg.host} port={pg.port} dbname={DATABASE}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {where}/users
pool_mode = session
max_client_conn = 1000
default_pool_size = 260
server_tls_sslmode = disable
client_tls_sslmode = allow
client_tls_cert_file = {crt}
client_tls_key_file = {key}
log_connections = 0
log_disconnections = 0
ignore_startup_parameters = extra_float_digits,options
""", **own)
    argv = [*(run.as_user(pg.user.pw_uid, pg.user.pw_gid) if run.is_root() else []), "pgbouncer", "-q", conf]
    return _spawn("pgbouncer", argv, port)


def policies(pg, *, masks=True, detectors=True, extra_rules=0):
    rules = ['{name: read, action: Allow, sql: {operations: [Read], relations: ["public.*"]}}',
             '{name: session, action: Allow, sql: {operations: [Transaction, Session]}}',
             '{name: writes, action: Allow, sql: {operations: [Update, Insert], relations: ["public.pgbench_*"]}}',
             '{name: no-where, action: Deny, sql: {operations: [Update, Delete], where: Absent}}']
    if masks:
        rules.append('{name: column, action: Mask, sql: {columns: ["public.people.secret"]}, mask: {method: Partial}}')
    if detectors:
        rules.append('{name: values, action: Mask, values: {detectors: [creditCard, usSsn, email, phone, iban, awsAccessKey, privateKey, jwt, '
                     'ipv4, githubToken]}}')
    rules += [f'{{name: extra-{i}, action: Deny, sql: {{operations: [Delete], relations: ["other{i}.t{i}"]}}}}' for i in range(extra_rules)]
    return f"""apiVersion: chaperone.dev/v1alpha1
kind: GuardTarget
metadata: {{name: db, namespace: agents}}
spec: {{protocol: postgres, hosts: ["{pg.host}"], ports: [{pg.port}], tls: {{mode: Disable}}}}
---
apiVersion: chaperone.dev/v1alpha1
kind: GuardPolicy
metadata: {{name: bench, namespace: agents}}
spec:
  targets: [{{name: db}}]
  rules:
""" + "".join(f"  - {r}\n" for r in rules)


def guard(pg, name="guard", **options):
    g = Guard(policies(pg, **options), listen={"db": None}, extra=["--max-sessions", "1000"], wait=False)
    began = time.monotonic()
    g.start()
    run.wait_for(lambda: g.http_get("/readyz")[0] == 200, 20, what="the guard's readiness", interval=0.001)
    t = Target(name, g.ports["db"], guard=g)
    t.start_seconds = time.monotonic() - began
    return t


def direct(pg):
    return Target("direct", pg.port, host=pg.host)
