# SPDX-License-Identifier: Apache-2.0
"""kubectl and helm for the scenarios. Every call has a deadline; what fails says what it was and what came back.

The cluster is the one that KUBECONFIG names, else the one of e2e/cluster/up. Objects of a test live in namespaces of
its own (`Namespace`, the fixtures in conftest.py), which are shown when the test fails and deleted afterwards."""

import dataclasses
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(1, str(ROOT / "tests/support"))

from run import CACHE, Fatal, wait_for  # noqa: E402,F401 - also for the scenarios

CHART = ROOT / "helm/chaperone"
SYSTEM = os.environ.get("CHAPERONE_E2E_NAMESPACE", "chaperone-system")
RELEASE = "chaperone"
INJECT = "chaperone.dev/inject"
GUARD = "chaperone"  # the guard's container
_numbers = itertools.count(1)


def kubeconfig():
    """Path of the kubeconfig, or None."""
    own = CACHE / "e2e-cluster/admin.kubeconfig"
    path = os.environ.get("KUBECONFIG") or (str(own) if own.exists() else None)
    return path


def program(name):
    built = CACHE / "kube" / name
    path = str(built) if built.exists() else shutil.which(name)
    if not path:
        raise FileNotFoundError(f"{name} is neither in {built.parent} nor in PATH (e2e/cluster/up makes it)")
    return path


def cluster_available():
    """None, or why there is no cluster to test with."""
    if not kubeconfig():
        return "no cluster: set KUBECONFIG or run e2e/cluster/up"
    answer = run(program("kubectl"), "get", "--raw", "/readyz", check=False, deadline=10)
    return None if answer.code == 0 else f"the cluster does not answer: {answer.err.strip()}"


# ---- programs ----

@dataclasses.dataclass
class Answer:
    command: str
    code: int  # of the program; 124: it took longer than its deadline
    out: str
    err: str

    def __str__(self):
        return f"$ {self.command}\nexit {self.code}\n{self.out[-6000:]}{self.err[-6000:]}"

    @property
    def text(self):
        return self.out + self.err

    @property
    def json(self):
        return json.loads(self.out)


class Failed(AssertionError):
    def __init__(self, answer):
        super().__init__(str(answer))
        self.answer = answer


def run(*command, input=None, deadline=60, check=True, env=None):
    """Runs to the end; Failed unless it exits with 0 (or check=False)."""
    command = [str(c) for c in command]
    shown = " ".join(c if len(c) < 200 else c[:200] + "…" for c in command)
    environment = {**os.environ, "KUBECONFIG": kubeconfig() or "/nonexistent", **(env or {})}
    try:
        done = subprocess.run(command, input=input, capture_output=True, text=True, errors="replace",
                              timeout=deadline, env=environment, check=False,
                              stdin=subprocess.DEVNULL if input is None else None)
        answer = Answer(shown, done.returncode, done.stdout, done.stderr)
    except subprocess.TimeoutExpired as e:
        parts = [(b or b"").decode(errors="replace") if isinstance(b, bytes) else b or "" for b in (e.stdout, e.stderr)]
        answer = Answer(shown, 124, parts[0], parts[1] + f"\n(ended after {deadline} s)\n")
    if check and answer.code != 0:
        raise Failed(answer)
    return answer


def start(*command, stdin=subprocess.DEVNULL):
    """A program that goes on while the test does something else; the caller ends it (Popen)."""
    return subprocess.Popen([str(c) for c in command], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env={**os.environ, "KUBECONFIG": kubeconfig()})


def _flags(namespace, user, groups):
    flags = ["--namespace", namespace] if namespace else []
    flags += ["--as", user] if user else []
    for g in groups:
        flags += ["--as-group", g]
    return flags


def kubectl(*args, namespace=None, user=None, groups=(), input=None, deadline=60, check=True):
    """`user` and `groups`: as somebody else, by impersonation. Admission sees them, RBAC decides on them."""
    return run(program("kubectl"), *_flags(namespace, user, groups), *args, input=input, deadline=deadline, check=check)


def kubectl_start(*args, namespace=None, user=None, groups=(), **popen):
    return start(program("kubectl"), *_flags(namespace, user, groups), *args, **popen)


def helm(*args, deadline=300, check=True, input=None):
    cache = CACHE / "helm"
    places = {f"HELM_{n}_HOME": str(cache / n.lower()) for n in ("CACHE", "CONFIG", "DATA")}
    return run(program("helm"), *args, deadline=deadline, check=check, input=input, env=places)


# ---- objects ----

def get(kind, name=None, namespace=None, **options):
    """The object, a list of objects without a name, None when there is none of that name."""
    args = ["get", kind, *([name] if name else []), "-o", "json", "--ignore-not-found"]
    out = kubectl(*args, namespace=namespace, **options).out
    if not out.strip():
        return None if name else []
    found = json.loads(out)
    return found if name else found["items"]


def apply(*objects, namespace=None, check=True, **options):
    """Objects as dicts or YAML texts; created or changed. With check=False the refusal is returned."""
    texts = [o if isinstance(o, str) else json.dumps(o) for o in objects]
    return kubectl("apply", "-f", "-", input="\n---\n".join(texts), namespace=namespace, check=check, **options)


def create(obj, namespace=None, check=True, **options):
    text = obj if isinstance(obj, str) else json.dumps(obj)
    return kubectl("create", "-f", "-", input=text, namespace=namespace, check=check, **options)


def refused(answer, *words):
    """Asserts that the API server refused and said each of the words."""
    assert answer.code != 0, f"was not refused:\n{answer}"
    for w in words:
        assert w in answer.text, f"the refusal does not say {w!r}:\n{answer}"
    return answer


def delete(kind, name, namespace=None, wait=True, deadline=90):
    return kubectl("delete", kind, name, "--ignore-not-found", f"--wait={'true' if wait else 'false'}",
                   namespace=namespace, deadline=deadline)


def condition(obj, kind):
    """Status of a condition: "True", "False", "Unknown", or None."""
    for c in (obj or {}).get("status", {}).get("conditions", []):
        if c["type"] == kind:
            return c["status"]
    return None


# ---- namespaces and pods ----

class Namespace:
    """A namespace of a test. Methods act in it."""

    live = []  # shown when a test fails
    lock = threading.Lock()

    def __init__(self, inject=False, labels=None, prefix="e2e"):
        self.name = f"{prefix}-{os.getpid()}-{next(_numbers)}"
        labels = {**({INJECT: "enabled"} if inject else {}), **(labels or {})}
        create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name, "labels": labels}})
        with self.lock:
            self.live.append(self)
        wait_for(lambda: get("serviceaccount", "default", self.name), 30, f"ServiceAccount default of {self.name}")

    def delete(self, wait=True):
        with self.lock:
            if self in self.live:
                self.live.remove(self)
        kubectl("delete", "namespace", self.name, "--ignore-not-found", f"--wait={'true' if wait else 'false'}",
                deadline=180)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.delete(wait=False)

    def kubectl(self, *args, **options):
        return kubectl(*args, namespace=self.name, **options)

    def get(self, kind, name=None, **options):
        return get(kind, name, self.name, **options)

    def apply(self, *objects, **options):
        return apply(*objects, namespace=self.name, **options)

    def create(self, obj, **options):
        return create(obj, namespace=self.name, **options)

    def exec(self, pod, *command, container="agent", deadline=60, check=True, input=None, **options):
        """In a container, without a terminal; with `input` as its standard input."""
        flags = ["-i"] if input is not None else []
        return self.kubectl("exec", *flags, pod, "-c", container, "--", *command, deadline=deadline, check=check,
                            input=input, **options)

    def logs(self, pod, container=None, *flags):
        which = ["-c", container] if container else ["--all-containers"]
        return self.kubectl("logs", pod, *which, *flags, check=False).out

    def wait_ready(self, pod, deadline=90):
        """The pod, once Ready; Fatal as soon as it cannot be any more."""
        def ready():
            p = self.get("pod", pod)
            if p and p["status"].get("phase") in ("Failed", "Succeeded"):
                raise Fatal(f"pod {pod} ended: {json.dumps(p['status'])[:2000]}")
            return p if condition(p, "Ready") == "True" else None
        return wait_for(ready, deadline, f"pod {pod} of {self.name} being Ready", interval=0.3)

    def wait_condition(self, kind, name, what, status="True", deadline=60):
        """The object, once the condition has the status for the object's generation."""
        def has():
            o = self.get(kind, name)
            for c in (o or {}).get("status", {}).get("conditions", []):
                current = c.get("observedGeneration", o["status"].get("observedGeneration", 0))
                if c["type"] == what and c["status"] == status and current >= o["metadata"]["generation"]:
                    return o
            return None
        return wait_for(has, deadline, f"{what}={status} of {kind} {name}", interval=0.3)

    def show(self):
        """What a person would look at first, as text."""
        parts = [kubectl("get", "pods,guardpolicies,guardtargets,approvalrequests", "-o", "wide", namespace=self.name,
                         check=False, deadline=20).text,
                 kubectl("get", "events", "--sort-by=.lastTimestamp", namespace=self.name, check=False, deadline=20).text]
        for pod in [p["metadata"]["name"] for p in get("pods", namespace=self.name) or []]:
            parts.append(f"--- {pod}\n" + kubectl("logs", pod, "--all-containers", "--prefix", "--tail=60",
                                                  namespace=self.name, check=False, deadline=20).text)
        return "\n".join(parts)


# ---- the chart ----

def chart_values():
    """Flags for helm: images of this tree (never pulled in the cluster of e2e/cluster), and a file of the user's."""
    extra = os.environ.get("CHAPERONE_E2E_VALUES")
    if extra:
        return ["--values", extra]
    tag = os.environ.get("CHAPERONE_E2E_TAG", "")  # of e2e/images/build --tag
    tags = [f"images.{i}.tag={tag}" for i in ("guard", "init", "webhook")] if tag else []
    return ["--set", ",".join(["images.pullPolicy=Never", *tags])]


def adopt_kinds(release, namespace):
    """The kinds may be there already, from `kubectl apply`: helm takes over what bears its marks."""
    here = [c for c in get("crd") if c["spec"]["group"] == "chaperone.dev"]
    for name in [c["metadata"]["name"] for c in here]:
        kubectl("label", "--overwrite", "crd", name, "app.kubernetes.io/managed-by=Helm")
        kubectl("annotate", "--overwrite", "crd", name, f"meta.helm.sh/release-name={release}",
                f"meta.helm.sh/release-namespace={namespace}")


def install_chart(*flags, release=RELEASE, namespace=SYSTEM, deadline=240, wait=True):
    """Installs or upgrades, and waits until it is ready."""
    adopt_kinds(release, namespace)
    waiting = ["--wait", "--timeout", f"{deadline - 20}s"] if wait else []
    answer = helm("upgrade", "--install", release, CHART, "--namespace", namespace, "--create-namespace", *waiting,
                  *chart_values(), *flags, deadline=deadline)
    if wait:
        wait_for(webhook_answers, 30, "the API server reaching the webhook")
    return answer


def webhook_answers():
    """Ready pods come before the rules that lead to them: for a moment the Service refuses connections."""
    probe = {"apiVersion": "chaperone.dev/v1alpha1", "kind": "GuardPolicy", "metadata": {"name": "probe"}, "spec": {"rules": []}}
    return kubectl("create", "--dry-run=server", "-f", "-", namespace="default", input=json.dumps(probe), check=False).code == 0


def uninstall_chart(*flags, release=RELEASE, namespace=SYSTEM):
    return helm("uninstall", release, "--namespace", namespace, "--wait", "--timeout", "120s", *flags, deadline=150)


def show_system():
    parts = [kubectl("get", "pods", "-o", "wide", namespace=SYSTEM, check=False, deadline=20).text,
             kubectl("get", "events", "--sort-by=.lastTimestamp", namespace=SYSTEM, check=False, deadline=20).text,
             kubectl("logs", "-l", "app.kubernetes.io/name=chaperone", "--all-containers", "--prefix", "--tail=80",
                     namespace=SYSTEM, check=False, deadline=20).text]
    return "\n".join(parts)


def shown(show):
    """The text, or why there is none: what is shown about a failure must not fail itself."""
    try:
        return show()
    except Exception as e:  # noqa: BLE001
        return repr(e)


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
