# SPDX-License-Identifier: Apache-2.0
"""`make bench`: statements per second, CPU, large results, memory and start, side by side with peers in one run.

All targets stand at the same time; rounds visit them in alternating order, so that drift of the
machine meets all of them alike. Ratios are medians of per-round ratios. docs/benchmarks.md explains.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time

import procstat
import targets
from targets import DATABASE, PASSWORD, USER, run

sys.path.insert(0, str(targets.ROOT / "tests/integration"))
from clients import raw  # noqa: E402

MODES = ("simple", "extended", "prepared")
NOISY = 0.05


# ---- measuring ----

def pgbench_command(target, mode, clients, seconds, *extra, tls=False):
    argv = ["pgbench", "-n", "-S", "-M", mode, "-c", str(clients), "-j", "1", "-T", str(seconds), "-h", target.host, "-p",
            str(target.port), "-U", USER, *extra, DATABASE]
    env = {**os.environ, "PGPASSWORD": PASSWORD, "PGSSLMODE": "require" if tls else "disable", "PGGSSENCMODE": "disable"}
    return argv, env


def reported(target, status, out):
    """-> statements per second, without the time of the first connections."""
    if status:
        raise RuntimeError(f"pgbench against {target.name}: {out}")
    return float(re.search(r"tps = ([0-9.]+)", out).group(1))


def pgbench(target, mode, clients, seconds, *extra, tls=False, log=None):
    """-> statements per second"""
    argv, env = pgbench_command(target, mode, clients, seconds, *extra, tls=tls)
    if log:
        argv[1:1] = ["-l", "--log-prefix", str(log)]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=seconds + 60)
    return reported(target, done.returncode, done.stdout + done.stderr)


def pgbench_cpu(target, mode, clients, seconds, tls=False):
    """-> (statements per second, CPU seconds of the proxy for 100 000 statements). The CPU is counted from pgbench's
    first report of progress, a second after all have logged in, to its last: no login and no farewell is in it."""
    argv, env = pgbench_command(target, mode, clients, seconds + 1, "-P", "1", tls=tls)
    marks, said = [], ""
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
        for line in p.stderr:
            m = re.match(r"progress: ([0-9.]+) s, ([0-9.]+) tps", line)
            if m:
                marks.append((float(m.group(1)), float(m.group(2)), procstat.cpu_seconds(target.pid) if target.pid else 0))
            else:
                said += line
        out = p.stdout.read()
    tps = reported(target, p.returncode, out + said)
    if len(marks) < 2:
        raise RuntimeError(f"pgbench against {target.name} reported no progress: {said}")
    statements = sum((b[0] - a[0]) * b[1] for a, b in zip(marks, marks[1:]))
    return tps, (marks[-1][2] - marks[0][2]) / statements * 1e5


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


class Bench:
    def __init__(self, args):
        self.args = args
        self.out = {"rounds": args.rounds, "seconds": args.seconds, "noise": 0.0}
        self.pg = targets.start_server()
        self.targets = []

    def add(self, make, *a, **kw):
        t = make(self.pg, *a, **kw)
        self.targets.append(t)
        return t

    def by_name(self, *names):
        return [t for t in self.targets if t.name in names]

    def close(self):
        for t in self.targets:
            t.stop()
        self.pg.close()

    def watch(self):
        return procstat.Others([self.pg.pid] + [t.pid for t in self.targets if t.pid])

    def note(self, watch, where):
        share = watch.share()
        self.out["noise"] = max(self.out["noise"], share)
        if share > NOISY:
            print(f"  noisy: other processes took {share:.0%} of the CPUs during {where}", flush=True)

    # -- statements per second --

    def throughput(self, name, cases, among, tls=False):
        results = {}
        print(f"\n{name}: {self.args.rounds} rounds of {self.args.seconds} s each", flush=True)
        for mode, clients in cases:
            samples = {t.name: [] for t in among}
            watch = self.watch()
            for i in range(self.args.rounds):
                for t in among if i % 2 == 0 else among[::-1]:
                    tps, cpu = pgbench_cpu(t, mode, clients, self.args.seconds, tls=tls)
                    samples[t.name].append({"tps": tps, "cpu": cpu})
            self.note(watch, f"{mode} c={clients}")
            results[f"{mode} c={clients}"] = self._row(samples)
            self._print_case(f"{mode} c={clients}", results[f"{mode} c={clients}"])
        self.out[name] = results
        self._print_mean(results)

    @staticmethod
    def _print_mean(results):
        """Over all cases: one case's median still swings by 5 % from run to run."""
        cases = list(results.values())
        for base in ("to_direct", "to_relay", "to_pgbouncer"):
            means = {n: statistics.geometric_mean([c[n][base] for c in cases]) for n in cases[0] if base in cases[0][n]}
            if means:
                print(f"\n  geometric mean of the {len(cases)} ratios {base.replace('_', ' ')}: "
                      + ", ".join(f"{n} {v:.2f}" for n, v in means.items()), flush=True)

    @staticmethod
    def _row(samples):
        row = {}
        for name, rounds in samples.items():
            cell = {"tps": spread([r["tps"] for r in rounds]), "cpu_per_100k": spread([r["cpu"] for r in rounds])}
            for base in ("direct", "relay", "pgbouncer"):
                if base in samples:
                    cell[f"to_{base}"] = statistics.median([a["tps"] / b["tps"] for a, b in zip(rounds, samples[base])])
            if "relay" in samples and samples["relay"][0]["cpu"]:
                cell["cpu_to_relay"] = statistics.median([a["cpu"] / b["cpu"] for a, b in zip(rounds, samples["relay"])])
            row[name] = cell
        return row

    @staticmethod
    def _print_case(case, row):
        print(f"\n  {case:<18}{'tps median':>11} {'min':>8} {'max':>8}  {'/direct':>7} {'/relay':>7} {'/pgb':>6}  "
              f"{'CPU s/100k':>10} {'min':>6} {'max':>6} {'/relay':>7}")
        for name, c in row.items():
            ratio = {k: f"{c[k]:.2f}" if k in c else "-" for k in ("to_direct", "to_relay", "to_pgbouncer", "cpu_to_relay")}
            cpu = {k: f"{v:.2f}" if name != "direct" else "-" for k, v in c["cpu_per_100k"].items()}
            tps = c["tps"]
            print(f"  {name:<18}{tps['median']:>11.0f} {tps['min']:>8.0f} {tps['max']:>8.0f}  {ratio['to_direct']:>7} "
                  f"{ratio['to_relay']:>7} {ratio['to_pgbouncer']:>6}  {cpu['median']:>10} {cpu['min']:>6} {cpu['max']:>6} "
                  f"{ratio['cpu_to_relay'] if name != 'direct' else '-':>7}", flush=True)

    # -- one client --

    def latency(self, among):
        """No ratio: with one client these machines have two speeds."""
        print("\nlatency at one client, microseconds (p50, p99)", flush=True)
        results = {}
        where = run.temp_dir("bench-latency")
        for mode in ("simple", "prepared"):
            samples = {t.name: [] for t in among}
            for i in range(self.args.rounds):
                for t in among if i % 2 == 0 else among[::-1]:
                    prefix = where / f"{t.name}-{mode}-{i}"
                    pgbench(t, mode, 1, max(1, self.args.seconds // 2), log=prefix)
                    times = []
                    for f in where.glob(f"{prefix.name}.*"):
                        times += [int(line.split()[2]) for line in f.read_text().splitlines()]
                        f.unlink()
                    times.sort()
                    samples[t.name].append((times[len(times) // 2], times[len(times) * 99 // 100]))
            results[mode] = {n: {"p50": spread([a for a, _ in s]), "p99": spread([b for _, b in s])} for n, s in samples.items()}
            print(f"  {mode:<10}" + "  ".join(f"{n} {r['p50']['median']:.0f}/{r['p99']['median']:.0f}" for n, r in results[mode].items()), flush=True)
        self.out["latency"] = results

    # -- connections --

    def connections(self, among):
        print("\nconnect, one statement, disconnect (pgbench -C, c=4): per second", flush=True)
        samples = {t.name: [] for t in among}
        seconds = max(1, self.args.seconds // 2)
        for i in range(self.args.rounds):
            for t in among if i % 2 == 0 else among[::-1]:
                before = procstat.cpu_seconds(t.pid) if t.pid else 0
                rate = pgbench(t, "simple", 4, seconds, "-C")
                cpu = procstat.cpu_seconds(t.pid) - before if t.pid else 0
                samples[t.name].append((rate, cpu / (rate * seconds) * 1e3))
        self.out["connections"] = {n: {"per_second": spread([r for r, _ in s]), "cpu_ms": spread([c for _, c in s])} for n, s in samples.items()}
        print("  " + "  ".join(f"{n} {r['per_second']['median']:.0f} ({r['cpu_ms']['median']:.2f} ms CPU each)"
                               for n, r in self.out["connections"].items()), flush=True)

    # -- large results --

    LARGE = (("clean SELECT", "SELECT * FROM clean"), ("masked column SELECT", "SELECT * FROM people"),
             ("dense PII SELECT", "SELECT * FROM dense"), ("clean COPY", "COPY clean TO STDOUT"), ("dense PII COPY", "COPY dense TO STDOUT"))

    def large(self, among):
        print(f"\nlarge results, {self.args.rows} rows: MB/s received (ratio to direct)", flush=True)
        results = {}
        watch = self.watch()
        for name, sql in self.LARGE:
            samples, sizes, resident = {t.name: [] for t in among}, {}, {}
            for i in range(min(self.args.rounds, 3)):
                for t in among if i % 2 == 0 else among[::-1]:
                    rate, sizes[t.name] = fetch(t, sql)
                    samples[t.name].append(rate)
                    if t.pid:
                        resident[t.name] = procstat.rss_kib(t.pid)
            row = {n: {"mb_per_s": spread(s), "to_direct": statistics.median([a / b for a, b in zip(s, samples["direct"])]),
                       "bytes": sizes[n], "rss_kib_after": resident.get(n)} for n, s in samples.items()}
            results[name] = row
            print(f"  {name:<22}" + "  ".join(f"{n} {r['mb_per_s']['median']:.0f} ({r['to_direct']:.2f})" for n, r in row.items()), flush=True)
        self.note(watch, "large results")
        self.out["large"] = results

    # -- memory, start --

    def memory(self, makers, n=200):
        print(f"\nstart and memory (fresh processes; {n} idle connections)", flush=True)
        results = {}
        for name, make, legs in makers:
            starts = []
            for _ in range(3):
                t = make()
                starts.append(t.start_seconds * 1000)
                t.stop()
            row = {"start_ms": statistics.median(starts)}
            for tls in legs:
                t = make()
                try:
                    raw.connect(t.host, t.port, USER, DATABASE, PASSWORD, tls=tls).close()
                    time.sleep(0.3)  # let the first connection's leftovers settle; nothing to wait for
                    idle = procstat.rss_kib(t.pid)
                    held = [raw.connect(t.host, t.port, USER, DATABASE, PASSWORD, tls=tls) for _ in range(n)]
                    busy = procstat.rss_kib(t.pid)
                    for c in held:
                        c.close()
                finally:
                    t.stop()
                row.setdefault("idle_kib", idle)
                row["per_connection_kib" + ("_tls" if tls else "")] = (busy - idle) / n
            results[name] = row
            print("  " + f"{name:<12}" + "  ".join(f"{k} {v:.1f}" for k, v in row.items()), flush=True)
        self.out["memory"] = results


def fetch(target, sql):
    """Reads one result as fast as bytes come, without looking at them. -> (MB/s, bytes)"""
    c = raw.connect(target.host, target.port, USER, DATABASE, PASSWORD)
    try:
        c.sock.settimeout(120)
        buffer, tail, total = bytearray(1 << 18), b"", 0
        began = time.monotonic()
        c.send(raw.query(sql))
        while not (tail.endswith(b"Z\0\0\0\5I")):
            n = c.sock.recv_into(buffer)
            if n == 0:
                raise RuntimeError(f"{target.name} closed during {sql}")
            total += n
            tail = (tail + bytes(buffer[max(0, n - 6):n]))[-6:]
        took = time.monotonic() - began
        if total < 1000:
            raise RuntimeError(f"{target.name}: {sql}: {bytes(buffer[:total])!r}")
        return total / took / 1e6, total
    finally:
        c.close()


def versions(guard):
    def said(*argv):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return (done.stdout or done.stderr).splitlines()[0].strip()
    out = {"postgres": said("/usr/lib/postgresql/15/bin/postgres", "--version"), "pgbench": said("pgbench", "--version"),
           "pgbouncer": said("pgbouncer", "--version"), "haproxy": said("haproxy", "-v")}
    if guard:
        out["guard"] = said(str(run.program("chaperone-sidecar")), "--version")
    return out


def arguments():
    p = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__.splitlines()[0])
    p.add_argument("--rounds", type=int, default=int(os.environ.get("BENCH_ROUNDS", 5)))
    p.add_argument("--seconds", type=int, default=int(os.environ.get("BENCH_SECONDS", 5)))
    p.add_argument("--rows", type=int, default=1_000_000, help="of the large results")
    p.add_argument("--scale", type=int, default=10, help="pgbench's")
    p.add_argument("--only", default="throughput,tls,latency,connections,large,memory,rules")
    p.add_argument("--no-guard", action="store_true", help="peers only")
    p.add_argument("--json", metavar="FILE")
    return p.parse_args()


def measure(b, only, with_guard):
    b.add(targets.direct)
    b.add(targets.relay)
    b.add(targets.haproxy)
    b.add(targets.pgbouncer, b.pg.authority)
    if with_guard:
        b.add(targets.guard)
    every = list(b.targets)
    if "throughput" in only:
        b.throughput("throughput", [(m, c) for m in MODES for c in (8, 32)], every)
    if "tls" in only:
        print("\nTLS on the client's leg. direct, relay and haproxy: the server ends TLS; pgbouncer and the guard end it themselves.")
        b.throughput("tls", [("simple", 8), ("simple", 32), ("prepared", 8)], every, tls=True)
    if "latency" in only:
        b.latency(every)
    if "connections" in only:
        b.connections(every)
    if "large" in only:
        b.large(b.by_name("direct", "relay", "pgbouncer", "guard"))
    if "rules" in only and with_guard:
        many = b.add(targets.guard, name="guard, 1000 rules", extra_rules=1000)
        b.throughput("rules", [("simple", 8), ("prepared", 8)], b.by_name("direct", "relay", "guard") + [many])
    if "memory" in only:
        makers = [("relay", lambda: targets.relay(b.pg), [False]), ("haproxy", lambda: targets.haproxy(b.pg), [False]),
                  ("pgbouncer", lambda: targets.pgbouncer(b.pg, b.pg.authority), [False, True])]
        if with_guard:
            makers.append(("guard", lambda: targets.guard(b.pg), [False, True]))
        b.memory(makers)


def main():
    args = arguments()
    b = Bench(args)
    b.out["machine"], b.out["versions"] = procstat.machine(), versions(not args.no_guard)
    m = b.out["machine"]
    print(f"{m['cpu']}, {m['cpus']} CPUs, {m['memory_mib']} MiB, {m['kernel']}; everything on this machine, over loopback")
    print("; ".join(f"{k}: {v}" for k, v in b.out["versions"].items()), flush=True)
    try:
        targets.load(b.pg, args.rows, args.scale)
        measure(b, set(args.only.split(",")), not args.no_guard)
    finally:
        b.close()
    print("\nguard: one target, policy with masks by column and by value, records on (fsync of the server off).")
    print(f"noise: other processes took at most {b.out['noise']:.1%} of the CPUs" + (" -- noisy, repeat" if b.out["noise"] > NOISY else ""))
    if args.json:
        with open(args.json, "w") as f:
            json.dump(b.out, f, indent=1)


if __name__ == "__main__":
    main()
