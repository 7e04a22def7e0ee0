# SPDX-License-Identifier: Apache-2.0
"""What /proc says about processes: CPU seconds, memory, and how much others were running."""
import os
import pathlib
import time

TICK = os.sysconf("SC_CLK_TCK")
CPUS = os.cpu_count()


def _stat(pid):
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2:].split()


def children(pid):
    out = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        out += [int(p) for p in task.read_text().split()]
    return out


def tree(pid):
    out, todo = [], [pid]
    while todo:
        p = todo.pop()
        out.append(p)
        try:
            todo += children(p)
        except OSError:
            pass
    return out


def cpu_seconds(pid, *, reaped=True):
    """Of a process and its children: the living and, when `reaped`, those waited for."""
    total = 0
    for p in tree(pid):
        try:
            f = _stat(p)
        except OSError:
            continue
        total += int(f[11]) + int(f[12]) + (int(f[13]) + int(f[14]) if reaped else 0)
    return total / TICK


def rss_kib(pid):
    total = 0
    for p in tree(pid):
        for line in pathlib.Path(f"/proc/{p}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total


def busy_seconds():
    """All CPUs, all processes."""
    f = pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq = (int(x) for x in f[:7])
    return (user + nice + system + irq + softirq) / TICK


class Others:
    """The share of all CPUs that processes outside the benchmark took."""

    def __init__(self, pids):
        self.pids = pids
        self.started, self.busy, self.own = time.monotonic(), busy_seconds(), self._own()

    def _own(self):
        t = os.times()
        mine = t.user + t.system + t.children_user + t.children_system
        return mine + sum(cpu_seconds(p) for p in self.pids if os.path.exists(f"/proc/{p}"))

    def share(self):
        wall = time.monotonic() - self.started
        others = (busy_seconds() - self.busy) - (self._own() - self.own)
        return max(0.0, others / (wall * CPUS))


def machine():
    info = pathlib.Path("/proc/cpuinfo").read_text()
    model = next((x.split(":")[1].strip() for x in info.splitlines() if x.startswith("model name")), "?")
    memory = pathlib.Path("/proc/meminfo").read_text().split()[1]
    u = os.uname()
    return {"cpu": model, "cpus": CPUS, "memory_mib": int(memory) // 1024, "kernel": f"{u.sysname} {u.release}"}
