# SPDX-License-Identifier: Apache-2.0
"""The kube-apiserver guard against a direct connection, alternating, on one machine with a cluster (e2e/cluster/up):

    tests/bench/run kube [--rounds N] [--requests N]

latency: GET of one object on a kept connection, ms; throughput: a list of 2000 Secrets, MB/s of what the API server sends (the guard's client gets less: values are masked).
"""

import argparse
import http.client
import json
import os
import pathlib
import ssl
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "e2e"))

import kube_guard_test as k  # noqa: E402
import support  # noqa: E402


def direct_context(world):
    login, ca, _, _ = k.credentials()
    context = ssl.create_default_context(cadata=ca)
    for name, text in login.items():
        (world.guard.dir / name).write_text(text)
    context.load_cert_chain(world.guard.dir / "tls.crt", world.guard.dir / "tls.key")
    return context


def connect(world, through):
    if through:
        context = ssl.create_default_context(cafile=str(world.guard.trust / "ca.crt"))
        return http.client.HTTPSConnection("127.0.0.1", world.guard.ports["cluster"], context=context)
    return http.client.HTTPSConnection(world.host, world.port, context=direct_context(world))


def get(connection, path):
    connection.request("GET", path, headers={"Accept": "application/json"})
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, body
    return len(body)


def latency(connection, path, n):
    times = []
    for _ in range(n):
        start = time.monotonic()
        get(connection, path)
        times.append((time.monotonic() - start) * 1000)
    return statistics.median(times), sorted(times)[int(n * 0.99)]


def throughput(connection, path, size):
    start = time.monotonic()
    get(connection, path)
    return size / 1e6 / (time.monotonic() - start)


def cpu_ms(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def main():
    p = argparse.ArgumentParser(prog="tests/bench/run kube", description=__doc__.splitlines()[0])
    p.add_argument("--rounds", type=int, default=int(os.environ.get("BENCH_ROUNDS", 5)))
    p.add_argument("--requests", type=int, default=300)
    args = p.parse_args()
    with support.Namespace(prefix="kubebench") as ns:
        world = k.KubeWorld(ns, *k.EVERYTHING)
        items = [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"s{i}"}, "stringData": {"pad": "x" * 2000}}
                 for i in range(2000)]
        for at in range(0, 2000, 500):
            ns.create({"apiVersion": "v1", "kind": "List", "items": items[at:at + 500]}, deadline=240)
        ns.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}})
        base = f"/api/v1/namespaces/{ns.name}"
        rows = {"direct": [], "guard": []}
        size = get(connect(world, False), f"{base}/secrets")
        cpu = []
        for _ in range(args.rounds):
            for name, through in (("direct", False), ("guard", True)):
                c = connect(world, through)
                get(c, f"{base}/configmaps/c")
                times = latency(c, f"{base}/configmaps/c", args.requests)
                before = cpu_ms(world.guard.pid)
                lists = [throughput(c, f"{base}/secrets", size) for _ in range(5)]
                cpu += [(cpu_ms(world.guard.pid) - before) / 5] if through else []
                rows[name].append((*times, statistics.median(lists)))
                c.close()
        rss = world.guard.rss()
        world.guard.close()
    for name, samples in rows.items():
        p50, p99, mb = (statistics.median(s) for s in zip(*samples))
        print(f"{name:8} GET p50 {p50:6.2f} ms  p99 {p99:6.2f} ms   list of 2000 Secrets {mb:6.1f} MB/s")
    print(json.dumps({"guard_rss_mib": rss >> 20, "list_mb": round(size / 1e6, 1), "guard_cpu_ms_per_list": round(statistics.median(cpu), 1)}))


if __name__ == "__main__":
    main()
