# SPDX-License-Identifier: Apache-2.0
"""The parts of a test run and their sum. Called by tests/run, which has installed what is needed.

Every part ends as a Tally. What cannot be built, crashes, hangs or reports nothing counts as a
failure: a run is green only when something passed and nothing else happened."""

import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from run import CACHE, ROOT  # noqa: E402

JOBS = max(1, os.cpu_count() or 1)
UNIT_DEADLINE = {"release": 120, "asan": 300, "tsan": 600}
PYTEST_DEADLINE = {"release": 2400, "asan": 1500, "tsan": 1500}
TEST_DEADLINE = {"release": 120, "asan": 300, "tsan": 600}
BUILD_DEADLINE = 1200
E2E_BUILD_DEADLINE = 1500  # Kubernetes itself is compiled the first time
E2E_TEST_DEADLINE = 400
E2E_DEADLINE = 1500
FUZZ_SECONDS = 20


class Tally:
    def __init__(self, passed=0, failed=0, skipped=0):
        self.passed, self.failed, self.skipped = passed, failed, skipped

    def __iadd__(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        return self

    def __str__(self):
        text = f"{self.passed} passed, {self.failed} failed"
        return text + (f", {self.skipped} skipped" if self.skipped else "")


FAILURE = (0, 1)


def say(text=""):
    print(text, flush=True)


def failed(why):
    say(f"FAILED: {why}")
    return Tally(*FAILURE)


# ---- processes ----


def environment(variant, **more):
    """The caller's, without what would change which programs are tested or how they report."""
    env = {k: v for k, v in os.environ.items()
           if k not in ("CHAPERONE_BIN", "MAKEFLAGS", "MFLAGS", "CHAPERONE_PG")}
    suppressions = f"suppressions={ROOT}/tests/support/tsan.supp"
    env.update(
        ASAN_OPTIONS="detect_leaks=1:exitcode=86",
        UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1:exitcode=86",
        TSAN_OPTIONS=f"halt_on_error=0:exitcode=86:{suppressions}",
        CHAPERONE_VARIANT=variant, **more)
    return env


def execute(argv, deadline, *, env=None, capture=True):
    """(status, output): the whole group is ended at the deadline; then the status is None."""
    process = subprocess.Popen(
        [str(a) for a in argv], cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if capture else None,
        stderr=subprocess.STDOUT if capture else None, start_new_session=True)
    try:
        out, _ = process.communicate(timeout=deadline)
        return process.returncode, (out or b"").decode(errors="replace")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)  # lets fixtures remove what they made
        try:
            out, _ = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, _ = process.communicate()
        return None, (out or b"").decode(errors="replace")


def no_aslr(variant):
    """gcc's ThreadSanitizer cannot place its shadow when addresses are too random."""
    return ["setarch", os.uname().machine, "-R"] if variant == "tsan" else []


# ---- building ----


def make(variant, *targets, keep_going=False):
    flags = ["-k"] if keep_going else []
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "VARIANT")}
    return execute(["make", f"-j{JOBS}", *flags, f"VARIANT={variant}", *targets], BUILD_DEADLINE,
                   env=env)


def show_build_errors(output):
    lines = [line for line in output.splitlines() if not re.match(r"  (CC|LD|AR) ", line)]
    say("\n".join(lines[-60:]))


def build(variant, target):
    """None when it succeeded, else a Tally with one failure."""
    status, output = make(variant, target)
    if status == 0:
        return None
    show_build_errors(output)
    return failed(f"make VARIANT={variant} {target}" + (" took too long" if status is None else ""))


def build_each(variant, aggregate, programs):
    """Builds all that can be built; returns the programs that could not."""
    status, output = make(variant, aggregate, keep_going=True)
    if status == 0:
        return []
    show_build_errors(output)
    if status is None:
        return programs
    return [p for p in programs
            if make(variant, p.relative_to(ROOT))[0] != 0]


# ---- unit tests ----

CMOCKA = {name: re.compile(rf"^\[ +{name} +\] (\d+) test\(s\)", re.M)
          for name in ("PASSED", "FAILED", "SKIPPED")}


def count_cmocka(status, output):
    """A program that ends otherwise than its counts say has failed once more."""
    n = {name: sum(int(m) for m in pattern.findall(output)) for name, pattern in CMOCKA.items()}
    tally = Tally(n["PASSED"], n["FAILED"], n["SKIPPED"])
    if status != 0 and tally.failed == 0:
        tally.failed = 1
    if status == 0 and tally.passed + tally.failed + tally.skipped == 0:
        tally.failed = 1
    return tally


def unit_programs(variant):
    sources = sorted((ROOT / "tests/unit").rglob("*_test.c"))
    base = ROOT / "build" / variant / "tests/unit"
    return [base / s.relative_to(ROOT / "tests/unit").with_suffix("") for s in sources]


def run_unit(program, variant):
    started = time.monotonic()
    status, output = execute([*no_aslr(variant), program], UNIT_DEADLINE[variant],
                             env=environment(variant))
    tally = count_cmocka(status, output)
    if tally.failed:
        keep = [line for line in output.splitlines()
                if not re.match(r"\[ +(RUN|OK) +\]", line)]
        end = "hung" if status is None else f"exit status {status}"
        output = "\n".join(keep[-80:]) + f"\n({end})"
    return program, tally, output, time.monotonic() - started


def unit(variant):
    programs = unit_programs(variant)
    if not programs:
        return failed("there are no unit tests")
    broken = build_each(variant, "unit", programs)
    tally = Tally()
    for program in broken:
        tally += failed(f"{program.name} cannot be built")
    base = ROOT / "build" / variant / "tests/unit"
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        runs = pool.map(lambda p: run_unit(p, variant), [p for p in programs if p not in broken])
        for program, one, output, seconds in runs:
            say(f"{program.relative_to(base)}: {one} ({seconds:.1f} s)")
            if one.failed:
                say(output)
            tally += one
    return tally


# ---- integration tests ----


def count_junit(path):
    tally = Tally()
    for suite in xml.etree.ElementTree.parse(path).getroot().iter("testsuite"):
        n = {k: int(suite.get(k, 0)) for k in ("tests", "failures", "errors", "skipped")}
        bad = n["failures"] + n["errors"]
        tally += Tally(max(0, n["tests"] - bad - n["skipped"]), bad, n["skipped"])
    return tally


def run_pytest(folder, test_deadline, deadline, env, marks="", workers=0):
    with tempfile.TemporaryDirectory(prefix="chaperone-junit-") as work:
        report = pathlib.Path(work) / "junit.xml"
        argv = [CACHE / "venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider",
                "--tb=short", "-rfE", "--continue-on-collection-errors", "--durations=8",
                f"--timeout={test_deadline}", f"--junitxml={report}", ROOT / folder]
        if marks:
            argv += ["-m", marks]
        if workers:
            argv += ["-n", str(workers), "--dist", "loadfile"]
        status, _ = execute(argv, deadline, capture=False, env=env)
        if status is None:
            say(f"FAILED: the tests in {folder} took too long and were ended")
        if not report.exists():
            return failed(f"pytest ended with status {status} and reported nothing")
        tally = count_junit(report)
        # 0 all passed, 1 some failed; anything else is an interruption or no tests at all.
        if status != 0 and tally.failed == 0:
            tally += failed(f"pytest ended with status {status}")
        return tally


def integration(variant, *, marks="", servers="15,18"):
    """Each file's tests in one process, one process more than CPUs: they wait more than they compute."""
    return build(variant, "programs") or run_pytest(
        "tests/integration", TEST_DEADLINE[variant], PYTEST_DEADLINE[variant],
        environment(variant, CHAPERONE_PG=servers), marks, workers=len(os.sched_getaffinity(0)) + 1)


# ---- end-to-end tests: a real cluster ----


def script(path, deadline):
    """None when it succeeded, else a Tally with one failure."""
    status, output = execute([ROOT / path], deadline)
    if status == 0:
        return None
    say(output[-6000:])
    return failed(path + (" took too long" if status is None else f" ended with status {status}"))


def end_to_end():
    """Leaves a cluster running that was running before."""
    if os.geteuid() != 0 and not os.environ.get("KUBECONFIG"):
        say("skipped: needs root, or KUBECONFIG")
        return Tally(0, 0, 1)
    broken = build("release", "programs")
    if broken:
        return broken
    was_up = execute([ROOT / "e2e/cluster/is-up"], 30)[0] == 0
    try:
        return script("e2e/cluster/up", E2E_BUILD_DEADLINE) or script("e2e/images/build", E2E_BUILD_DEADLINE) \
            or run_pytest("e2e", E2E_TEST_DEADLINE, E2E_DEADLINE,
                          environment("release", CHAPERONE_TEST_STRICT="1"))
    finally:
        if not was_up:
            script("e2e/cluster/down", 120)


# ---- fuzz targets ----


def fuzz_programs():
    base = ROOT / "build/asan/tests/fuzz"
    return [base / s.stem for s in sorted((ROOT / "tests/fuzz").glob("*_fuzz.c"))]


def corpus_of(program):
    return ROOT / "tests/fuzz/corpus" / program.name.removesuffix("_fuzz")


def fuzz_one(program, seconds):
    """Replays the files; with seconds, then mutates them for that long."""
    inputs = sorted(p for p in corpus_of(program).rglob("*") if p.is_file())
    if not inputs:
        return failed(f"{program.name} has no corpus in {corpus_of(program).relative_to(ROOT)}")
    runs = [inputs]
    if seconds:
        runs.append(["--smoke", str(seconds), corpus_of(program)])
    for arguments in runs:
        status, output = execute([program, *arguments], 120 + seconds, env=environment("asan"))
        if status != 0:
            say(output[-6000:])
            end = "hung" if status is None else f"ended with status {status}"
            return failed(f"{program.name} {end}")
    say(f"{program.name}: {len(inputs)} inputs" + (f", then {seconds} s" if seconds else ""))
    return Tally(1)


def fuzz(seconds=0):
    """Release builds would let an overflow pass unseen; this is always the asan build."""
    programs = fuzz_programs()
    if not programs:
        say("there are no fuzz targets")
        return Tally()
    broken = build_each("asan", "fuzz-targets", programs)
    tally = Tally()
    for program in programs:
        tally += failed(f"{program.name} cannot be built") if program in broken \
            else fuzz_one(program, seconds)
    return tally


# ---- modes ----


def sanitized(variant):
    return [(f"unit tests, {variant}", lambda: unit(variant)),
            (f"integration tests, {variant}",
             lambda: integration(variant, marks="sanitize", servers="15"))]


RELEASE_UNIT = ("unit tests", lambda: unit("release"))
CORPORA = ("fuzz corpora", fuzz)
END_TO_END = ("end-to-end tests", end_to_end)
MODES = {
    "unit": [RELEASE_UNIT],
    "fast": [RELEASE_UNIT,
             ("integration tests, quick",
              lambda: integration("release", marks="not slow", servers="15"))],
    "integration": [("integration tests", lambda: integration("release"))],
    "asan": [*sanitized("asan"), CORPORA],
    "tsan": sanitized("tsan"),
    "fuzz": [("fuzzing", lambda: fuzz(FUZZ_SECONDS))],
    "e2e": [END_TO_END],
    "all": [RELEASE_UNIT, ("integration tests", lambda: integration("release")),
            *sanitized("asan"), CORPORA, *sanitized("tsan"), END_TO_END],
}


def main(mode):
    total = Tally()
    sums = []
    started = time.monotonic()
    for name, part in MODES[mode]:
        say(f"\n==== {name} ====")
        began = time.monotonic()
        try:
            tally = part()
        except Exception as e:  # noqa: BLE001 - one part's trouble must not hide the others
            tally = failed(f"{name}: {e!r}")
        sums.append(f"{name}: {tally} ({time.monotonic() - began:.0f} s)")
        total += tally
    say(f"\n==== summary, {time.monotonic() - started:.0f} s ====")
    say("\n".join(sums))
    say(str(total))
    return 0 if total.failed == 0 and total.passed > 0 else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except KeyboardInterrupt:
        say("interrupted\n0 passed, 1 failed")
        sys.exit(130)
