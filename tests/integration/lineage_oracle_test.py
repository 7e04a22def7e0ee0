#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Column lineage against a real PostgreSQL.

Two databases with the same schema and the same clean data differ only in the values of masked
columns. Random queries are shown to the analyser; those that it does not deny run in both.
Masked cells, by the result's column origins and the analyser's facts as the guard would mask
them, are taken out. What is left must be the same in both databases, row for row (an agent could
tell nothing of the masked values from it), and must not contain a canary.

Environment: PGBIN (default: the newest of /usr/lib/postgresql), QUERIES (default 4000), SEED,
ANALYZE_CLI (default: compiled here).
"""
import ctypes
import glob
import json
import os
import pwd
import random
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CANARY = "cAnArY"


# ---- libpq ----

class Pq:
    lib = None

    def __init__(self, conninfo):
        if Pq.lib is None:
            lib = ctypes.CDLL("libpq.so.5")
            for name in ("PQconnectdb", "PQexec"):
                getattr(lib, name).restype = ctypes.c_void_p
            for name in ("PQgetvalue", "PQerrorMessage", "PQresultErrorField"):
                getattr(lib, name).restype = ctypes.c_char_p
            lib.PQftable.restype = ctypes.c_uint
            Pq.lib = lib
        self.conn = ctypes.c_void_p(self.lib.PQconnectdb(conninfo.encode()))
        if self.lib.PQstatus(self.conn) != 0:
            raise RuntimeError(self.lib.PQerrorMessage(self.conn).decode())

    def run(self, sql):
        """(sqlstate or None, [(table oid, attribute)], [[cell]])"""
        lib = self.lib
        res = ctypes.c_void_p(lib.PQexec(self.conn, sql.encode()))
        try:
            status = lib.PQresultStatus(res)
            if status not in (1, 2):
                state = lib.PQresultErrorField(res, ord("C"))
                return (state or b"?").decode(), [], []
            n = lib.PQnfields(res)
            origins = [(lib.PQftable(res, i), lib.PQftablecol(res, i)) for i in range(n)]
            rows = [[None if lib.PQgetisnull(res, r, i) else
                     lib.PQgetvalue(res, r, i).decode("utf-8", "replace") for i in range(n)]
                    for r in range(lib.PQntuples(res))]
            return None, origins, rows
        finally:
            lib.PQclear(res)


# ---- the server ----

def find_pgbin():
    if os.environ.get("PGBIN"):
        return os.environ["PGBIN"]
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(p.split("/")[4]))
    if not found:
        print("SKIP: no PostgreSQL server installed")
        sys.exit(0)
    return found[-1]


class Server:
    def __init__(self, top):
        self.bin, self.dir = find_pgbin(), top
        self.as_user = []
        if os.geteuid() == 0:
            os.chown(top, pwd.getpwnam("postgres").pw_uid, -1)
            self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        run = self.as_user + [self.bin + "/initdb", "-D", top + "/data", "-A", "trust", "-U",
                              "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL, cwd="/")
        subprocess.run(self.as_user + [
            self.bin + "/pg_ctl", "-D", top + "/data", "-w", "-l", top + "/log", "-o",
            "-k %s -c listen_addresses= -c fsync=off -c jit=off" % top, "start"],
            check=True, stdout=subprocess.DEVNULL, cwd="/")

    def stop(self):
        subprocess.run(self.as_user + [self.bin + "/pg_ctl", "-D", self.dir + "/data", "-m",
                                       "immediate", "-w", "stop"],
                       stdout=subprocess.DEVNULL, cwd="/")

    def connect(self, db):
        return Pq("host=%s user=postgres dbname=%s" % (self.dir, db))


SCHEMA = """
create table users(id int primary key, name text, email text, ssn text, phone text, org int);
create table orders(id int primary key, user_id int, total int, note text, email text);
create table orgs(id int primary key, name text);
create table parent(id int, email text, extra text);
create table child(more text) inherits (parent);
create table part(id int, ssn text) partition by range (id);
create table part1 partition of part for values from (0) to (100);
create view v_users as select id, email as mail, upper(name) as uname, org from users;
create view v_nest(mail2, id2) as select mail, id from v_users;
create view v_expr as select id, email || '!' as mixed, length(ssn) as len, name from users;
create view v_union as select id, email from users union all select id, note from orders;
create view v_join as select * from users join orders o(oid, user_id, total, note, omail)
    on users.id = o.user_id;
create view v_clean as select o.id, o.note from orders o where total > 0;
create view v_cte as with x as (select id, ssn as s from users) select x.s, x.id from x;
create view v_where as select id, name from users where email <> '';
"""

TABLES = {
    "users": [("id", "i"), ("name", "t"), ("email", "t"), ("ssn", "t"), ("phone", "t"),
              ("org", "i")],
    "orders": [("id", "i"), ("user_id", "i"), ("total", "i"), ("note", "t"), ("email", "t")],
    "orgs": [("id", "i"), ("name", "t")],
    "parent": [("id", "i"), ("email", "t"), ("extra", "t")],
    "child": [("id", "i"), ("email", "t"), ("extra", "t"), ("more", "t")],
    "part": [("id", "i"), ("ssn", "t")],
    "part1": [("id", "i"), ("ssn", "t")],
    "v_users": [("id", "i"), ("mail", "t"), ("uname", "t"), ("org", "i")],
    "v_nest": [("mail2", "t"), ("id2", "i")],
    "v_expr": [("id", "i"), ("mixed", "t"), ("len", "i"), ("name", "t")],
    "v_union": [("id", "i"), ("email", "t")],
    "v_join": [("id", "i"), ("name", "t"), ("email", "t"), ("ssn", "t"), ("phone", "t"),
               ("org", "i"), ("oid", "i"), ("user_id", "i"), ("total", "i"), ("note", "t"),
               ("omail", "t")],
    "v_clean": [("id", "i"), ("note", "t")],
    "v_cte": [("s", "t"), ("id", "i")],
}
SECRET = {"email", "ssn", "mail", "mail2", "mixed", "len", "s", "phone"}

MASKS = [
    {"schema": "public", "relation": "users", "column": "email", "method": "Partial",
     "rule": "pii"},
    {"schema": "public", "relation": "users", "column": "ssn", "method": "Redact", "rule": "pii"},
    {"schema": "*", "relation": "parent", "column": "em*", "method": "Token", "rule": "pii"},
    {"schema": "public", "relation": "part1", "column": "ssn", "method": "Token", "rule": "pii"},
    {"schema": "public", "relation": "users", "column": "phone", "method": "Redact",
     "rule": "lax", "allowPredicates": True},
]


def data(variant):
    """Insertions; only masked values depend on the variant (phone, whose mask permits
    conditions, is the same in both, but a canary all the same)."""
    rnd = random.Random(7)
    mixed = random.Random(variant)
    secret = lambda: "%s%d%s" % (CANARY, mixed.randrange(4), "x" * mixed.randrange(3))
    for i in range(8):
        yield "insert into users values (%d,'n%d','%s','%s','%sph%d',%d)" % (
            i, rnd.randrange(4), secret(), secret(), CANARY, i, rnd.randrange(3))
    for i in range(8):
        yield "insert into orders values (%d,%d,%d,'o%d','clean%d')" % (
            i, rnd.randrange(8), rnd.randrange(5), rnd.randrange(3), i)
    for i in range(3):
        yield "insert into orgs values (%d,'org%d')" % (i, i)
    for i in range(4):
        yield "insert into parent values (%d,'%s','e%d')" % (i, secret(), i)
        yield "insert into child values (%d,'%s','e%d','m')" % (i + 4, secret(), i)
        yield "insert into part values (%d,'%s')" % (i, secret())


# ---- random queries ----

class Gen:
    """Queries over typed columns. A scope is a list of (alias, [(column, type)])."""

    def __init__(self, rnd):
        self.r = rnd
        self.names = 0

    def alias(self):
        self.names += 1
        return self.r.choice(["a", "b", "u", "x", "users", "email"]) + (
            str(self.names) if self.r.random() < 0.9 else "")

    def chance(self, p):
        return self.r.random() < p

    def column(self, scopes, kind, secret=0.12):
        """A reference to a column of that type, mostly of the innermost scope."""
        candidates = []
        for level, scope in enumerate(scopes):
            if level and self.chance(0.6):
                continue
            for alias, cols in scope:
                candidates += [(alias, c) for c, t in cols if t == kind]
        clean = [x for x in candidates if x[1] not in SECRET]
        dirty = [x for x in candidates if x[1] in SECRET]
        pool = dirty if dirty and (self.chance(secret) or not clean) else clean
        if not pool:
            return None
        alias, name = self.r.choice(pool)
        if alias is None or self.chance(0.35):
            return name
        return self.r.choice(["%s.%s", "%s.%s", "%s.%s", "(%s).%s"]) % (alias, name)

    def text(self, scopes, d):
        r = self.r
        col = self.column(scopes, "t")
        pick = r.randrange(14) if d > 0 else r.randrange(3)
        if pick < 2 and col:
            return col
        if pick == 2 or not col:
            return r.choice(["'n1'", "'o1'", "'clean3'", "'z'", "null::text"])
        if pick == 3:
            return "%s || %s" % (self.text(scopes, d - 1), self.text(scopes, d - 1))
        if pick == 4:
            return "%s(%s)" % (r.choice(["lower", "upper", "md5", "reverse", "btrim"]),
                               self.text(scopes, d - 1))
        if pick == 5:
            return "coalesce(%s, %s)" % (self.text(scopes, d - 1), self.text(scopes, d - 1))
        if pick == 6:
            return "case when %s then %s else %s end" % (
                self.cond(scopes, d - 1), self.text(scopes, d - 1), self.text(scopes, d - 1))
        if pick == 7:
            return "(%s)" % self.query(scopes, d - 1, ["t"], one_row=True)[0]
        if pick == 8:
            return "(%s)::text" % self.int(scopes, d - 1)
        if pick == 9:
            return "substr(%s, 1, 3)" % self.text(scopes, d - 1)
        if pick == 10 and scopes[0]:
            alias = r.choice(scopes[0])[0]
            if alias:
                return r.choice(["row_to_json(%s)::text", "%s::text", "to_jsonb(%s)->>'email'",
                                 "%s.row_to_json::text", "(%s.*)::text"]) % alias
        if pick == 11:
            return "array_to_string(array(%s), ',')" % self.query(scopes, d - 1, ["t"])[0]
        return col or "'q'"

    def int(self, scopes, d):
        r = self.r
        col = self.column(scopes, "i")
        pick = r.randrange(8) if d > 0 else r.randrange(2)
        if pick == 0 or not col:
            return str(r.randrange(5))
        if pick == 2:
            return "(%s + %s)" % (self.int(scopes, d - 1), self.int(scopes, d - 1))
        if pick == 3:
            return "length(%s)" % self.text(scopes, d - 1)
        if pick == 4:
            return "(%s)" % self.query(scopes, d - 1, ["i"], one_row=True)[0]
        if pick == 5:
            return "(select count(*)::int from (%s) %s)" % (
                self.query(scopes, d - 1, ["t"])[0], self.alias())
        return col

    def expr(self, scopes, kind, d):
        return self.text(scopes, d) if kind == "t" else self.int(scopes, d)

    def cond(self, scopes, d):
        r = self.r
        pick = r.randrange(9) if d > 0 else r.randrange(3)
        if pick == 0:
            return "%s = %s" % (self.int(scopes, d - 1), self.int(scopes, d - 1))
        if pick == 1:
            return "%s %s %s" % (self.int(scopes, d - 1), r.choice(["<", ">", "<>", ">="]),
                                 self.int(scopes, d - 1))
        if pick == 2:
            return r.choice(["true", "not false", "1 = 1"])
        if pick == 3:
            return "%s like '%%1%%'" % self.text(scopes, d - 1)
        if pick == 4:
            return "exists (%s)" % self.query(scopes, d - 1, [r.choice("ti")])[0]
        if pick == 5:
            return "%s in (%s)" % (self.text(scopes, d - 1),
                                   self.query(scopes, d - 1, ["t"])[0])
        if pick == 6:
            return "(%s) is not null" % self.text(scopes, d - 1)
        if pick == 7:
            return "(%s or %s)" % (self.cond(scopes, d - 1), self.cond(scopes, d - 1))
        return "%s < any(%s)" % (self.int(scopes, d - 1), self.query(scopes, d - 1, ["i"])[0])

    def from_item(self, scopes, ctes, d, left):
        """(text, [(alias, columns)]) of one FROM item; `left`: what LATERAL may see."""
        r = self.r
        pick = r.randrange(10) if d > 0 else r.randrange(4)
        alias = self.alias()
        if pick < 4:
            pool = list(TABLES.items()) + [(n, c) for n, c in ctes for _ in range(4)]
            name, cols = r.choice(pool)
            if self.chance(0.15):
                return name, [(name, cols)]
            if self.chance(0.2):
                renamed = [("c%d" % i if not (c in SECRET and self.chance(0.5)) else "id", t)
                           for i, (c, t) in enumerate(cols)]
                seen, unique = set(), []
                for i, (c, t) in enumerate(renamed):
                    unique.append((c if c not in seen else "c%d" % i, t))
                    seen.add(unique[-1][0])
                # names chosen to mislead: a masked column may be called id, a clean one email
                return "%s as %s(%s)" % (name, alias, ", ".join(c for c, _ in unique)), \
                    [(alias, unique)]
            return "%s as %s" % (name, alias), [(alias, cols)]
        if pick < 6:
            lateral = self.chance(0.4)
            inner = [left] + scopes if lateral else scopes
            text, cols = self.query(inner, d - 1, None, ctes=ctes)
            return "%s(%s) as %s" % ("lateral " if lateral else "", text, alias), [(alias, cols)]
        if pick == 6:
            if self.chance(0.5):
                return "generate_series(1, 3) as %s" % alias, [(alias, [(alias, "i")])]
            return ("lateral (values (%s, 1), ('v', %s)) as %s(email, v)" % (
                self.text([left] + scopes, 1), self.int([left] + scopes, 0), alias),
                [(alias, [("email", "t"), ("v", "i")])])
        if pick == 7 and left:
            return ("lateral (select %s as e, 1 as id) as %s" % (
                self.column([left], "t", 0.5) or "'k'", alias), [(alias, [("e", "t"),
                                                                          ("id", "i")])])
        lt, ls = self.from_item(scopes, ctes, d - 1, left)
        rt, rs = self.from_item(scopes, ctes, d - 1, left + ls)
        how = r.randrange(5)
        joined = ls + rs
        if how == 0:
            text = "%s cross join %s" % (lt, rt)
        elif how == 1:
            text = "%s natural %s join %s" % (lt, r.choice(["", "left", "full"]), rt)
        elif how == 2:
            text = "%s %s join %s using (%s)" % (
                lt, r.choice(["", "left", "right", "full"]), rt,
                r.choice(["id", "id", "id", "email", "name"]))
        else:
            text = "%s %s join %s on %s" % (lt, r.choice(["", "left"]), rt,
                                            self.cond([joined], 1))
        if self.chance(0.15):
            flat = [c for _, cols in joined for c in cols]
            if len({c for c, _ in flat}) == len(flat):
                return "(%s) as %s" % (text, alias), [(alias, flat)]
        return "(%s)" % text, joined

    def select(self, scopes, d, kinds, ctes, one_row=False):
        r = self.r
        items, scope = [], []
        for _ in range(r.choice([0, 1, 1, 1, 1, 2, 2, 3]) if d > 0 else 1):
            text, cols = self.from_item(scopes, ctes, d - 1, list(scope))
            items.append(text)
            scope += cols
        inner = [scope] + scopes
        if kinds is None and scope and self.chance(0.25):
            flat = [c for _, cols in scope for c in cols]
            targets, out = ["*"], flat
            if self.chance(0.4) and scope[0][0]:
                targets, out = ["%s.*" % scope[0][0]], list(scope[0][1])
        else:
            targets, out = [], []
            for i, kind in enumerate(kinds or [r.choice("tti") for _ in range(r.choice([1, 2, 3]))]):
                plain = self.column(inner, kind, 0.35) if self.chance(0.7) else None
                text = plain or self.expr(inner, kind, max(0, d - 1))
                name = r.choice(["e%d" % i, "e%d" % i, "email", "id", "name"])
                if name in [c for c, _ in out]:
                    name = "f%d" % i
                if plain and self.chance(0.5) and "(" not in plain:
                    bare = plain.split(".")[-1]
                    if bare not in [c for c, _ in out]:
                        targets.append(plain)
                        out.append((bare, kind))
                        continue
                targets.append("%s as %s" % (text, name))
                out.append((name, kind))
        group = ""
        if kinds and len(kinds) == 1 and self.chance(0.12):
            agg = {"t": ["min(%s)", "string_agg(%s, ',' order by 1)"], "i": ["max(%s)", "sum(%s)::int"]}
            targets = ["%s as %s" % (r.choice(agg[kinds[0]]) % self.expr(inner, kinds[0], 0),
                                     out[0][0])]
            one_row = False
        distinct = ""
        if self.chance(0.06):
            distinct = "distinct "
        elif self.chance(0.04) and targets:
            distinct = "distinct on (%s) " % r.choice(["1", out[0][0]])
        text = "select %s%s" % (distinct, ", ".join(targets))
        if items:
            text += " from " + ", ".join(items)
        if self.chance(0.35):
            text += " where " + self.cond(inner, 1)
        text += group
        if self.chance(0.12):
            text += " order by %s" % r.choice(["1", out[0][0], self.int(inner, 1)])
        if one_row:
            text += " limit 1"
        elif self.chance(0.08):
            text += " limit %s" % r.choice(["2", "(%s)" % self.query(scopes, 0, ["i"], one_row=True)[0]])
        return text, out

    def query(self, scopes, d, kinds, one_row=False, ctes=()):
        r = self.r
        ctes = list(ctes)
        prefix = ""
        if d > 1 and self.chance(0.2):
            if self.chance(0.25):
                name = "rec%d" % self.names
                base = self.column([[("users", TABLES["users"])]], "t", 0.4)
                step = r.choice(["users.name", "users.id::text", "%s.v" % name, base])
                prefix = ("with recursive %s(n, v) as (select 1, %s from users union all "
                          "select n + 1, %s from %s join users on users.id = n where n < 3) " % (
                              name, base, step, name))
                ctes.append((name, [("n", "i"), ("v", "t")]))
            else:
                name = r.choice(["cte%d" % self.names, "users", "orders"])
                text, cols = self.query(scopes, d - 1, None, ctes=ctes)
                prefix = "with %s as (%s) " % (name, text)
                ctes = [c for c in ctes if c[0] != name] + [(name, cols)]
        if d > 0 and self.chance(0.1):
            ks = kinds or [r.choice("ti") for _ in range(r.choice([1, 2]))]
            left, cols = self.select(scopes, d - 1, ks, ctes)
            right, _ = self.select(scopes, d - 1, ks, ctes)
            op = r.choice(["union all", "union all", "union", "except", "intersect"])
            text = "(%s) %s (%s)" % (left, op, right)
            return prefix + text + (" limit 1" if one_row else ""), cols
        text, cols = self.select(scopes, d, kinds, ctes, one_row)
        return prefix + text, cols


# ---- the check ----

class Analyser:
    def __init__(self, program, catalog):
        self.p = subprocess.Popen([program, catalog], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        self.origins = {}

    def ask(self, line):
        self.p.stdin.write(line.replace("\\", "\\\\").replace("\n", "\\n") + "\n")
        self.p.stdin.flush()
        return json.loads(self.p.stdout.readline())

    def is_masked(self, origin):
        if origin not in self.origins:
            a = self.ask("#origin %d %d" % origin)
            self.origins[origin] = a["method"] != 0 or a["unknown"]
        return self.origins[origin]


def visible(result, facts, analyser):
    """The rows without what the guard masks, in an order that does not matter."""
    state, origins, rows = result
    keep = []
    for i, origin in enumerate(origins):
        if origin[0] == 0:
            masked = facts.get("maskOriginless", False)
        else:
            masked = analyser.is_masked(origin)
        if not masked:
            keep.append(i)
    return state, sorted([tuple(str(row[i]) for i in keep) for row in rows])


def compile_cli(top):
    if os.environ.get("ANALYZE_CLI"):
        return os.environ["ANALYZE_CLI"]
    out = top + "/analyze_cli"
    sources = ["tests/support/analyze_cli.c"]
    for folder in ("src-common", "sidecar/sql", "sidecar/mask"):
        sources += sorted(glob.glob(os.path.join(ROOT, folder, "*.c")))
    libs = subprocess.run(["pkg-config", "--cflags", "--libs", "json-c", "openssl"],
                          check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    subprocess.run(["gcc", "-std=gnu17", "-O1", "-g", "-D_GNU_SOURCE", "-I.", "-pthread", "-o",
                    out] + sources + libs + ["-lpg_query"], check=True, cwd=ROOT)
    return out


def dump_catalog(db, program, path):
    queries = subprocess.run([program, "--queries"], check=True, stdout=subprocess.PIPE,
                             text=True).stdout.splitlines()
    rows = []
    db.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    db.run("SET LOCAL search_path TO ''")
    for query in queries:
        state, _, cells = db.run(query)
        assert state is None, (state, query)
        rows.append(cells)
    db.run("ROLLBACK")
    with open(path, "w") as f:
        json.dump({"search_path": ["pg_catalog", "public"], "rows": rows, "masks": MASKS}, f)


# Statements with a known answer, so that the check itself is seen to work.
MUST_DENY = [
    "select id from users where email like 'c%'", "select length(ssn) from users",
    "select u from users u", "select count(distinct email) from users",
    "select 1 from users order by email", "select row_to_json(u) from users u",
    "select id from users union select 1 from users where ssn > ''",
]
MUST_PASS = ["select email, id from users", "select count(*) from users", "select * from v_users",
             "select (select email from users limit 1)"]


def main():
    rnd = random.Random(int(os.environ.get("SEED", "1")))
    count = int(os.environ.get("QUERIES", "4000"))
    with tempfile.TemporaryDirectory(prefix="lineage") as top:
        os.chmod(top, 0o755)
        program = compile_cli(top)
        server = Server(top)
        try:
            return check(server, program, top, rnd, count)
        finally:
            server.stop()


def check(server, program, top, rnd, count):
    admin = server.connect("postgres")
    admin.run("create database one")
    db = server.connect("one")
    for statement in SCHEMA.split(";"):
        if statement.strip():
            state = db.run(statement)[0]
            assert state is None, (state, statement)
    db.lib.PQfinish(db.conn)
    assert admin.run("create database two template one")[0] is None
    dbs = [server.connect("one"), server.connect("two")]
    for variant, db in enumerate(dbs):
        for statement in data(variant):
            state = db.run(statement)[0]
            assert state is None, (state, statement)
        db.run("set statement_timeout = '2s'")
        db.run("set default_transaction_read_only = on")
    dump_catalog(dbs[0], program, top + "/catalog.json")
    analyser = Analyser(program, top + "/catalog.json")
    for sql in MUST_DENY:
        assert "denied" in analyser.ask(sql)["statements"][0], sql
    for sql in MUST_PASS:
        assert "denied" not in analyser.ask(sql)["statements"][0], sql
    tally = dict.fromkeys(("denied", "invalid", "same", "leak", "masked"), 0)
    for _ in range(count):
        sql = Gen(rnd).query([], rnd.choice([1, 2, 2, 3]), None)[0]
        one(sql, analyser, dbs, tally)
    print("lineage oracle:", " ".join("%s=%d" % kv for kv in tally.items()))
    if tally["same"] < count // 20 or tally["denied"] < count // 50:
        print("too few queries say anything")
        return 1
    return 1 if tally["leak"] else 0


def one(sql, analyser, dbs, tally):
    answer = analyser.ask(sql)
    statement = answer.get("statements", [{"denied": "?"}])[0]
    unknown = any(o["op"] == 0 for o in statement.get("objects", []))
    if "denied" in statement or unknown or statement.get("functions"):
        tally["denied"] += 1
        if os.environ.get("SHOW_DENIED") and "denied" in statement:
            print("DENIED", sql, "\n   ", statement["denied"])
        return
    results = [db.run(sql) for db in dbs]
    if results[0][0] and results[0][0] == results[1][0]:
        tally["invalid"] += 1
        return
    seen = [visible(r, statement, analyser) for r in results]
    canary = any(CANARY.lower() in cell.lower() for _, rows in seen for row in rows
                 for cell in row)
    if seen[0] != seen[1] or canary:
        tally["leak"] += 1
        print("LEAK %s: %s\n  facts: %s\n  one: %s\n  two: %s" % (
            "canary" if canary else "difference", sql, json.dumps(statement), seen[0], seen[1]))
        return
    tally["same"] += 1
    tally["masked"] += bool(statement.get("touchesMasked"))


if __name__ == "__main__":
    sys.exit(main())
