# SPDX-License-Identifier: Apache-2.0
"""A real PostgreSQL server: Debian's (15) or the npm binaries (18), fresh, in its own directory.

    with PostgresServer(15, tls=True, authority=ca) as pg:
        pg.add_user("agent", "s3cret")
        with pg.superuser() as su: su.execute("create table …")
        mark = pg.log_mark()
        … drive the guard …
        assert not pg.saw("drop table", since=mark)

Servers refuse to run as root, so root starts them as `postgres` or, failing that, `nobody`.
"""

import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess

import psycopg

from .certs import Authority
from .run import CACHE, Fatal, as_user, die_with_parent, free_port, is_root, run, stop, \
    temp_dir, wait_for, write_file

AUTH_METHODS = ("scram-sha-256", "md5", "password", "trust", "cert")


def _server_user():
    if not is_root():
        return pwd.getpwuid(os.geteuid())
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("neither user postgres nor nobody exists; PostgreSQL refuses root")


def _installed(version):
    debian = pathlib.Path(f"/usr/lib/postgresql/{version}")
    if (debian / "bin/postgres").exists():
        return debian
    cached = CACHE / f"pg{version}" / "pg"
    if (cached / "bin/postgres").exists():
        return cached
    return None


def available(version):
    """False: tests of that version are to be skipped."""
    return _installed(version) is not None


_copies = {}  # version -> directory


def _reachable_prefix(version, user):
    """Where the binaries are, for `user`; root's home, where the cache may be, is closed to it."""
    prefix = _installed(version)
    if prefix is None:
        raise FileNotFoundError(f"no PostgreSQL {version}; run tests/support/install-deps test")
    if not is_root():
        return prefix
    probe = run([*as_user(user.pw_uid, user.pw_gid), "test", "-x", prefix / "bin/postgres"],
                check=False)
    if probe.returncode == 0:
        return prefix
    if version not in _copies:
        copy = temp_dir(f"pg{version}-binaries", mode=0o755)
        shutil.copytree(prefix, copy / "pg", symlinks=True)
        _copies[version] = copy / "pg"
    return _copies[version]


def _conf(settings):
    def value(v):
        if isinstance(v, bool):
            return "on" if v else "off"
        return str(v) if isinstance(v, (int, float)) else "'" + str(v).replace("'", "''") + "'"
    return "".join(f"{k} = {value(v)}\n" for k, v in settings.items())


class PostgresServer:
    """Attributes: version, host (first listening address), hosts, port, dir, pid, authority."""

    def __init__(self, version=15, *, listen="127.0.0.1", port=None, tls=False, require_tls=False,
                 authority=None, names=(), auth="scram-sha-256", settings=None, fsync=False,
                 log_statements=True):
        """listen: an address or a list; names: further subject names of the certificate.
        log_statements=False for benchmarks: then saw() has nothing to read."""
        if auth not in AUTH_METHODS:
            raise ValueError(f"auth {auth} is none of {AUTH_METHODS}")
        self.version = int(version)
        self.hosts = [listen] if isinstance(listen, str) else list(listen)
        self.host = self.hosts[0]
        self.port = port
        self.tls = tls or require_tls or auth == "cert"
        self.require_tls = require_tls or auth == "cert"
        self.authority = authority or (Authority() if self.tls else None)
        self.names = list(names)
        self.auth = auth
        self.settings = dict(settings or {})
        self.fsync = fsync
        self.log_statements = log_statements
        self.user = _server_user()
        self.process = None
        self.dir = None

    # ---- life ----

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.close()

    @property
    def pid(self):
        return self.process.pid

    @property
    def data(self):
        return self.dir / "data"

    @property
    def log_path(self):
        return self.dir / "log"

    def start(self):
        if self.dir is None:
            self._create()
        fixed = self.port is not None
        for attempt in range(3):
            if not fixed:
                self.port = free_port(self.host)
            try:
                self._launch()
                return self
            except Exception:
                self.stop()
                if fixed or attempt == 2:
                    raise
        return self

    def stop(self, first=signal.SIGINT):
        """Stops the server (SIGINT is PostgreSQL's fast shutdown); the data stays for start()."""
        if self.process is not None:
            stop(self.process, first=first, deadline=20)
            self.process = None

    def kill(self):
        """As if the machine had lost power."""
        self.stop(first=signal.SIGQUIT)

    def close(self):
        self.stop()
        if self.dir is not None:
            shutil.rmtree(self.dir, ignore_errors=True)
            self.dir = None

    def reload(self):
        os.kill(self.pid, signal.SIGHUP)

    # ---- use ----

    def connect_args(self, user="postgres", password=None, dbname="postgres", **kw):
        """Keywords for psycopg.connect to this server itself, not through a guard."""
        args = {"host": self.host, "port": self.port, "user": user, "dbname": dbname,
                "connect_timeout": 10}
        if password is not None:
            args["password"] = password
        args.update(kw)
        return args

    def connect(self, user="postgres", password=None, dbname="postgres", *, autocommit=True, **kw):
        return psycopg.connect(**self.connect_args(user, password, dbname, **kw),
                               autocommit=autocommit)

    def superuser(self, dbname="postgres", **kw):
        """A superuser's connection over the server's private unix socket."""
        return psycopg.connect(host=str(self.dir), port=self.port, user="postgres", dbname=dbname,
                               autocommit=True, **kw)

    def sql(self, *statements, dbname="postgres"):
        """Runs statements as superuser; the rows of the last one, if it has any."""
        with self.superuser(dbname) as c:
            cur = None
            for text in statements:
                cur = c.execute(text)
            return cur.fetchall() if cur is not None and cur.description else []

    def add_user(self, name, password=None, options="login"):
        quoted = "'" + password.replace("'", "''") + "'" if password is not None else None
        self.sql(f'create role "{name}" {options}' + (f" password {quoted}" if quoted else ""))

    def add_database(self, name, owner="postgres"):
        self.sql(f'create database "{name}" owner "{owner}"')

    def client_certificate(self, name):
        """(certificate, key) for auth="cert": the common name is the role."""
        return self.authority.issue(name, client=True)

    # ---- what it saw ----

    def log(self):
        return self.log_path.read_text(errors="replace")

    def log_mark(self):
        """A place in the log, behind everything that has been answered so far."""
        return self.log_path.stat().st_size

    def log_since(self, mark=0):
        with open(self.log_path, "rb") as f:
            f.seek(mark)
            return f.read().decode(errors="replace")

    def saw(self, text, since=0):
        """Whether the server read `text` in any statement: parsed, bound, run or refused."""
        if not self.log_statements:
            raise RuntimeError("this server does not log statements")
        return re.search(re.escape(text), self.log_since(since), re.IGNORECASE) is not None

    # ---- making one ----

    def _create(self):
        user = self.user
        self.prefix = _reachable_prefix(self.version, user)
        self.dir = temp_dir(f"pg{self.version}", uid=user.pw_uid, gid=user.pw_gid)
        run([*self._as(), self.prefix / "bin/initdb", "-D", self.data, "-U", "postgres",
             "-E", "UTF8", "--locale=C", "-A", "trust", "--no-sync"],
            cwd=self.dir, env=self._env())
        if self.tls:
            self.authority.issue("localhost", ["localhost", *self._sans()], directory=self.dir,
                                 uid=user.pw_uid, gid=user.pw_gid)
            write_file(self.dir / "ca.crt", self.authority.pem)

    def _sans(self):
        return dict.fromkeys([*(h for h in self.hosts if h != "*"), "127.0.0.1", "::1",
                              *self.names])

    def _as(self):
        if is_root():
            return as_user(self.user.pw_uid, self.user.pw_gid, sig="QUIT")
        return die_with_parent("QUIT")

    def _env(self):
        return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "HOME": str(self.dir)}

    def _write_conf(self):
        conf = {
            "listen_addresses": ",".join(self.hosts), "port": self.port,
            "unix_socket_directories": str(self.dir), "max_connections": 200,
            "shared_buffers": "64MB", "timezone": "UTC", "fsync": self.fsync,
            "synchronous_commit": self.fsync, "full_page_writes": self.fsync,
            "log_timezone": "UTC",
            "password_encryption": "md5" if self.auth == "md5" else "scram-sha-256",
        }
        if self.log_statements:
            # debug2 has a line for each Parse and Bind too, so that a statement which was
            # prepared but never executed leaves its trace.
            conf.update(log_statement="all", log_min_messages="debug2",
                        log_line_prefix="%m [%p] %q%u@%d ", log_connections=True)
        if self.tls:
            conf.update(ssl=True, ssl_cert_file=str(self.dir / "localhost.crt"),
                        ssl_key_file=str(self.dir / "localhost.key"),
                        ssl_ca_file=str(self.dir / "ca.crt"))
        conf.update(self.settings)
        host = "hostssl" if self.require_tls else "host"
        hba = ["local all all trust"] + [f"{host} {db} all {net} {self.auth}"
                                         for db in ("all", "replication")
                                         for net in ("0.0.0.0/0", "::/0")]
        owner = {"uid": self.user.pw_uid, "gid": self.user.pw_gid, "mode": 0o600}
        write_file(self.data / "postgresql.conf", _conf(conf), **owner)
        write_file(self.data / "pg_hba.conf", "\n".join(hba) + "\n", **owner)

    def _launch(self):
        self._write_conf()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self._as(), str(self.prefix / "bin/postgres"), "-D", str(self.data)],
                cwd=self.dir, env=self._env(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
        wait_for(self._answers, 30, what=f"PostgreSQL {self.version} on port {self.port}")

    def _answers(self):
        if self.process.poll() is not None:
            raise Fatal(f"postgres exited {self.process.returncode}:\n{self.log()[-2000:]}")
        with self.superuser(connect_timeout=2) as c:
            return c.execute("select 1").fetchone() == (1,)
