# SPDX-License-Identifier: Apache-2.0
"""SSH through the guard against OpenSSH itself, alternating, on one machine:

    tests/bench/run ssh [--rounds N] [--megabytes N]

throughput: `ssh host cat FILE > /dev/null`, MB/s; connect: `ssh host true`, ms. Direct uses OpenSSH's
own choice of algorithms, and AES-GCM for a fair second row: the guard makes clients use that.
"""

import argparse
import os
import statistics
import subprocess
import time

from tests.support import run as r
from tests.support.guard import Guard
from tests.support.sshd import Sshd

POLICY = """
apiVersion: chaperone.dev/v1alpha1
kind: GuardTarget
metadata: {{name: box, namespace: agents}}
spec:
  protocol: ssh
  hosts: [127.0.0.1]
  ports: [{port}]
  credentials: {{secretRef: {{name: key}}}}
  ssh: {{hostKeys: ["{key}"]}}
---
apiVersion: chaperone.dev/v1alpha1
kind: GuardPolicy
metadata: {{name: p, namespace: agents}}
spec:
  targets: [{{name: box}}]
  rules:
  - {{name: any, action: Allow, ssh: {{requests: [exec]}}}}
{more}"""
MASK = "  - {name: m, action: Mask, values: {detectors: [creditCard, email, jwt, privateKey]}}\n"


def ssh(argv, command):
    start = time.monotonic()
    subprocess.run([*argv, command], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=600)
    return time.monotonic() - start


def client(port, user, known_hosts, *more):
    return ["ssh", "-F", "none", "-o", f"UserKnownHostsFile={known_hosts}", "-o", "BatchMode=yes",
            *more, "-p", str(port), f"{user}@127.0.0.1"]


def targets(sshd, guard, masking):
    hosts = sshd.dir / "known_hosts"
    hosts.write_text(f"* {sshd.host_key}\n")
    key = ["-i", str(sshd.client_key)]
    return {"direct": client(sshd.port, sshd.user, hosts, *key),
            "direct, AES-GCM": client(sshd.port, sshd.user, hosts, *key, "-c",
                                      "aes128-gcm@openssh.com"),
            "guard": client(guard.ports["box"], "agent", guard.trust / "known_hosts"),
            "guard, masking": client(masking.ports["box"], "agent",
                                     masking.trust / "known_hosts")}


def main():
    p = argparse.ArgumentParser(prog="tests/bench/run ssh", description=__doc__.splitlines()[0])
    p.add_argument("--rounds", type=int, default=int(os.environ.get("BENCH_ROUNDS", 5)))
    p.add_argument("--megabytes", type=int, default=500)
    args = p.parse_args()
    big = r.temp_dir("sshbench") / "big"
    line = b"nothing of interest in this line of a log file, number 12345, once more\n"
    big.write_bytes((line * (1 + (1 << 20) // len(line)))[:1 << 20] * args.megabytes)
    with Sshd() as d:
        def guard(more):
            return Guard(POLICY.format(port=d.port, key=d.host_key, more=more),
                         listen={"box": None},
                         secrets={"key": {"ssh-privatekey": d.client_key.read_text(),
                                          "username": d.user}})
        with guard("") as g, guard(MASK) as m:
            found = {name: ([], []) for name in targets(d, g, m)}
            for _ in range(args.rounds):
                for name, argv in targets(d, g, m).items():
                    found[name][0].append(args.megabytes / ssh(argv, f"cat {big}"))
                    found[name][1].append(1000 * ssh(argv, "true"))
            base = [statistics.median(v) for v in found["direct"]]
            print(f"{'':18}{'MB/s':>8}{'of direct':>11}{'connect ms':>12}{'added':>8}")
            for name, values in found.items():
                rate, ms = (statistics.median(v) for v in values)
                print(f"{name:18}{rate:8.0f}{rate / base[0]:11.2f}{ms:12.0f}{ms - base[1]:+8.0f}")
            print(f"resident after: {g.rss() >> 20} MB, masking {m.rss() >> 20} MB; load "
                  f"{os.getloadavg()[0]:.1f}; {args.rounds} rounds of {args.megabytes} MB, medians")


main()
