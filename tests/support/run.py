# SPDX-License-Identifier: Apache-2.0
"""Processes, ports and waiting. Whatever is started here is ended by its own process id."""

import atexit
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("CHAPERONE_CACHE") or pathlib.Path.home() / ".cache/chaperone")
VARIANT = os.environ.get("CHAPERONE_VARIANT", "release")
# Sanitizers slow everything down; deadlines follow.
SLOWNESS = {"release": 1, "asan": 4, "tsan": 8}.get(VARIANT, 4)


def bin_dir():
    """Where the programs under test are; CHAPERONE_BIN names another build directory's bin."""
    return pathlib.Path(os.environ.get("CHAPERONE_BIN") or ROOT / "build" / VARIANT / "bin")


def program(name):
    path = bin_dir() / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is not built (make VARIANT={VARIANT})")
    return path


def is_root():
    return os.geteuid() == 0


class Fatal(Exception):
    """Raised by a condition of wait_for: it cannot come true any more."""


def wait_for(condition, deadline=10.0, what="condition", interval=0.02):
    """Polls until condition() is true and returns its value; TimeoutError names `what`.

    An exception of the condition counts as "not yet", the last one is shown at the end; Fatal
    ends the wait."""
    end = time.monotonic() + deadline * SLOWNESS
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
        except Fatal:
            raise
        except Exception as e:  # noqa: BLE001 - shown below
            last = e
        if time.monotonic() >= end:
            raise TimeoutError(f"{what} did not happen in {deadline * SLOWNESS:g} s"
                               + (f" (last: {last!r})" if last else ""))
        time.sleep(interval)


def free_port(host="127.0.0.1"):
    """A port that was free a moment ago."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.bind((host, 0))
        return s.getsockname()[1]


def run(argv, *, check=True, timeout=60, **kw):
    """subprocess.run with captured text; a failure shows what the program said."""
    kw.setdefault("stdin", subprocess.DEVNULL if "input" not in kw else None)
    if kw["stdin"] is None:
        del kw["stdin"]
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True,
                          timeout=timeout * SLOWNESS, check=False, **kw)
    if check and done.returncode != 0:
        raise RuntimeError(f"{argv} exited {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def die_with_parent(sig="KILL"):
    """argv prefix: the program gets `sig` should this process die before it has cleaned up."""
    return ["setpriv", f"--pdeathsig={sig}"]


def as_user(uid, gid, *, sig="KILL", drop_all=True):
    """argv prefix: run as that user, without groups, capabilities or a way to get them."""
    argv = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", f"--pdeathsig={sig}"]
    if drop_all:
        argv += ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
    return argv


def without_aslr():
    """argv prefix: gcc 12's ThreadSanitizer cannot place its shadow under high-entropy ASLR."""
    return ["setarch", os.uname().machine, "-R"] if VARIANT == "tsan" else []


def sanitizer_env():
    """Finds end the program with a status that no test expects; leaks count."""
    return {
        "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=86",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=86",
        "TSAN_OPTIONS": f"halt_on_error=0:exitcode=86:second_deadlock_stack=1:"
                        f"suppressions={ROOT}/tests/support/tsan.supp",
    }


SANITIZER_MARKS = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:")


def sanitizer_report(text):
    """The part of a program's output that a sanitizer wrote; empty when it found nothing."""
    at = [text.find(mark) for mark in SANITIZER_MARKS if mark in text]
    return text[max(0, min(at) - 200):][:8000] if at else ""


def stop(process, *, first=signal.SIGTERM, deadline=10.0):
    """Ends one process that we started: `first`, a deadline, then SIGKILL. Its exit status."""
    if process.poll() is None:
        process.send_signal(first)
        try:
            process.wait(deadline * SLOWNESS)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def temp_dir(prefix, *, uid=None, gid=None, mode=0o700):
    """A directory under /tmp that is removed at exit at the latest."""
    path = pathlib.Path(tempfile.mkdtemp(prefix=f"chaperone-{prefix}-", dir="/tmp"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    path.chmod(mode)
    if uid is not None and is_root():
        os.chown(path, uid, uid if gid is None else gid)
    return path


def write_file(path, text, *, mode=0o644, uid=None, gid=None):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text if isinstance(text, bytes) else text.encode()
    # Written beside and renamed: whoever watches the directory never sees half a file.
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(data)
    beside.chmod(mode)
    if uid is not None and is_root():
        os.chown(beside, uid, uid if gid is None else gid)
    os.replace(beside, path)
    return path
