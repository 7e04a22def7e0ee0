# SPDX-License-Identifier: Apache-2.0
"""Streams through the kube-apiserver guard: exec and attach as WebSockets (frames by hand where kubectl hides them), what is
recorded of them, watches with many events, logs without a pause."""

import json
import ssl
import struct
import subprocess
import threading
import time
import urllib.parse

import pytest

import kube_guard_test as k
from tests.bench import kube_bench as bench
from kube_guard_test import all_in, closed, ns, pod, refused  # noqa: F401 - ns and closed are fixtures
from support import wait_for
from tests.support import run as r

websocket = pytest.importorskip("websocket")
STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = b"\0", b"\1", b"\2", b"\3", b"\4", b"\xff"


@pytest.fixture(scope="module")
def w(ns):  # noqa: F811
    world = k.KubeWorld(ns, all_in(ns), *k.EVERYTHING, {"name": "v", "action": "Mask", "values": {"detectors": ["email"]}})
    yield world
    world.guard.close()


class Stream:
    """A WebSocket to a pod, channel by channel."""

    def __init__(self, w, target, protocol="v5.channel.k8s.io", **more):
        self.ws = websocket.create_connection(
            f"wss://127.0.0.1:{w.guard.ports['cluster']}/api/v1/namespaces/{w.ns.name}/pods/{target}", subprotocols=[protocol],
            sslopt={"ca_certs": str(w.guard.trust / "ca.crt"), "cert_reqs": ssl.CERT_REQUIRED}, timeout=30,
            header=["Authorization: Bearer the-agents"], **more)

    def send(self, channel, data=b""):
        self.ws.send_binary(channel + data)

    def all(self):
        """{channel: bytes} until the server closes; the close code."""
        got, code = {}, None
        while True:
            try:
                opcode, data = self.ws.recv_data(control_frame=True)
            except (websocket.WebSocketConnectionClosedException, ConnectionError):
                return got, code
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                code = struct.unpack("!H", data[:2])[0] if len(data) >= 2 else None
            elif data and opcode in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT):
                got[data[:1]] = got.get(data[:1], b"") + data[1:]

    def until(self, channel, words):
        got = b""
        while words not in got:
            data = self.ws.recv()
            got += data[1:] if data[:1] == channel else b""
        return got


def command(*argv, **flags):
    flags = {"stdout": True, "stderr": True, **flags}
    return urllib.parse.urlencode([("command", a) for a in argv] + [(n, str(v).lower()) for n, v in flags.items()])


# ---- exec ----

@pytest.mark.parametrize("protocol", ["v5.channel.k8s.io", "v4.channel.k8s.io"])
def test_exec_streams_status_and_close(w, protocol):
    s = Stream(w, "worker/exec?" + command("sh", "-c", "echo out; echo err >&2; exit 3"), protocol)
    assert s.ws.subprotocol == protocol
    got, code = s.all()
    assert got[STDOUT] == b"out\n" and got[STDERR] == b"err\n"
    status = json.loads(got[STATUS])
    assert status["reason"] == "NonZeroExitCode" and status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    assert code == 1000
    wait_for(lambda: any(e.get("exitStatus") == 3 and e["status"] == 101 for e in w.events("result")), 10, "the result in the record")


def test_exec_half_close_of_v5(w):
    """cat ends because its input does: CLOSE of channel 0."""
    s = Stream(w, "worker/exec?" + command("sh", "-c", "cat; echo that was all", stdin=True))
    s.send(STDIN, b"one ")
    s.send(STDIN, b"two\n")
    assert s.until(STDOUT, b"two\n") == b"one two\n"
    s.send(CLOSE, STDIN)
    got, _ = s.all()
    assert got[STDOUT] == b"that was all\n" and json.loads(got[STATUS])["status"] == "Success"
    wait_for(lambda: any(e.get("stream") == "stdin" and "one" in e.get("text", "") for e in w.events("data")), 10, "the input in the record")


def test_exec_terminal_resize(w):
    s = Stream(w, "worker/exec?" + command("sh", "-c", "while :; do stty size; sleep 0.1; done", stdin=True, tty=True, stderr=False))
    s.send(RESIZE, json.dumps({"Width": 91, "Height": 17}).encode())
    assert b"17 91" in s.until(STDOUT, b"17 91")
    s.ws.close()


def test_exec_masks_across_frames(w):
    text = "x" * 40 + " ann@example.com and bob@example.org " + "y" * 40
    s = Stream(w, "worker/exec?" + command("sh", "-c", "cat", stdin=True))
    for i in range(0, len(text), 7):  # the pod's answer comes back in frames like these
        s.send(STDIN, text[i:i + 7].encode())
    s.send(CLOSE, STDIN)
    got, _ = s.all()
    assert got[STDOUT].startswith(b"x" * 40) and got[STDOUT].endswith(b"y" * 40)
    assert b"example" not in got[STDOUT], got
    wait_for(lambda: [e for e in w.events("data") if e.get("stream") == "stdout" and "yyy" in e.get("text", "")], 10, "the output in the record")
    assert not any("example" in e.get("text", "") for e in w.events("data") if e.get("stream") == "stdout")


def test_exec_ends_when_the_agent_leaves(w):
    s = Stream(w, "worker/exec?" + command("sh", "-c", "echo begun 777; sleep 777", stdin=True, tty=True, stderr=False))
    s.until(STDOUT, b"begun 777")
    s.ws.sock.close()
    wait_for(lambda: [e for e in w.events("session.close") if e["session"] in
                      {d["session"] for d in w.events("data") if "begun 777" in d.get("text", "")}], 20, "the end in the record")


@pytest.mark.parametrize("argv,allowed", [(["echo", "hi"], True), (["echo", "hi", "there"], True), (["ls", "/tmp"], True), (["ls", "-la", "/tmp"], False),
                                          (["echo"], True), (["sh", "-c", "echo hi"], False), (["/bin/echo", "hi"], False), (["ls", "/tmp", "/etc"], False)])
def test_exec_matches_whole_command_lines(argv_world, argv, allowed):
    w = argv_world
    answer = w.kubectl("exec", "worker", "--", *argv, check=False)
    if allowed:
        assert answer.code == 0, answer
    else:
        refused(w, answer, "connect pods/exec worker", "allows it")


@pytest.fixture(scope="module")
def argv_world(ns):  # noqa: F811
    world = k.KubeWorld(ns, {"name": "read", "action": "Allow", "kube": {"resources": ["pods", "configmaps"], "verbs": ["get"]}},
                        {"name": "few", "action": "Allow", "kube": {"verbs": ["connect"], "resources": ["pods/exec"], "argv": [["echo", "..."], ["ls", "/tm*"]]}})
    yield world
    world.guard.close()


def test_frames_that_no_client_sends_end_the_stream(w):
    for frame in (b"\x82\x01\x00", b"\xc2\x81\0\0\0\0\0", b"\x80\x81\0\0\0\0\0", b"\x83\x80\0\0\0\0", b"\x82\xff\x7f" + b"\xff" * 7 + b"\0\0\0\0",
                  b"\x82\xfe\x00\x05\0\0\0\0hello"):  # not masked, reserved bits, nothing to go on with, opcode, endless, length too long
        s = Stream(w, "worker/exec?" + command("cat", stdin=True))
        s.ws.sock.sendall(frame)
        got, _ = s.all()
        assert STATUS not in got
    wait_for(lambda: [e for e in w.events("result") if e.get("error") == "frames that cannot be read"], 10, "the reason in the record")
    assert w.kubectl("exec", "worker", "--", "echo", "fine").out == "fine\n"


# ---- attach ----

def test_attach_to_a_program_that_reads(w, ns):  # noqa: F811
    p = pod("reader", ["sh", "-c", "while read x; do echo got $x; [ $x = end ] && exit 0; done"], stdin=True)
    p["spec"]["restartPolicy"] = "Never"
    ns.apply(p)
    ns.wait_ready("reader")
    s = Stream(w, "reader/attach?stdin=true&stdout=true&stderr=true")
    s.send(STDIN, b"hello\n")
    assert s.until(STDOUT, b"got hello\n")
    s.ws.close()
    attached = w.popen("attach", "reader", "-i", stdin=subprocess.PIPE)  # input that ends at once races with the answer, directly too
    try:
        attached.stdin.write("again\nend\n")
        attached.stdin.flush()
        assert "got again" in attached.stdout.readline() + attached.stdout.readline()
    finally:
        attached.terminate()
        attached.communicate(timeout=20)
    assert any(e.get("stream") == "stdin" and "hello" in e.get("text", "") for e in w.events("data"))
    assert any(e["subresource"] == "attach" and e["verb"] == "connect" for e in w.events("statement") if "subresource" in e)


def test_the_cast_of_an_exec_session(w):
    w.kubectl("exec", "worker", "--", "sh", "-c", r"printf '\033[31mred\033[0m \033]0;title\007mail ann@example.com\n'; exit 5", check=False)
    path = wait_for(lambda: [p for p in w.guard.record_files() if b"[31mred" in p.read_bytes() and b"session.close" in p.read_bytes()], 10, "the record")[0]
    cast = w.guard.kubectl_guard("export", path, "--asciicast", "-").stdout.splitlines()
    assert json.loads(cast[0])["version"] == 2
    shown = "".join(json.loads(line)[2] for line in cast[1:])
    assert "$ sh -c printf" in shown and "\x1b[31mred\x1b[0m mail " in shown and "-- exit status 5" in shown
    assert "\x1b]" not in shown and "ann@example.com" not in shown.split("exit 5", 1)[1] and "APIGroupDiscoveryList" not in shown
    assert w.guard.kubectl_guard("verify", path).returncode == 0


# ---- watches and logs ----

def test_a_watch_of_many_events(w, ns):  # noqa: F811
    """Every event arrives, in order, as it comes; and again from the API server's memory, as fast as it can: far more than the 200 a
    second that a busy cluster has. The guard's memory stays where it is."""
    events, parts = 400, 4
    for part in range(parts):
        ns.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"busy{part}"}, "stringData": {"password": k.CANARY, "pad": "x" * 5000}})
    version = ns.kubectl("get", "--raw", f"/api/v1/namespaces/{ns.name}/secrets").json["metadata"]["resourceVersion"]
    before = w.guard.rss()

    path, failed = f"/api/v1/namespaces/{ns.name}/secrets", []

    def write(part, c):
        for i in range(part, events, parts):
            c.request("PATCH", f"{path}/busy{part}", json.dumps({"metadata": {"labels": {"n": str(i)}}}), {"Content-Type": "application/merge-patch+json"})
            answer = c.getresponse()
            body = answer.read()
            if answer.status != 200:
                failed.append(body)

    def watch():
        seen, start = [], time.monotonic()
        c = bench.connect(w, True)
        c.request("GET", f"{path}?watch=1&resourceVersion={version}&timeoutSeconds=90", headers={"Accept": "application/json"})
        for line in c.getresponse():
            o = json.loads(line)["object"]
            assert all(v == "KioqKg==" for v in (o.get("data") or {}).values())
            if "n" in o["metadata"].get("labels", {}):
                seen.append(int(o["metadata"]["labels"]["n"]))
            if len(seen) == events:
                break
        c.close()
        assert not failed and sorted(seen) == list(range(events)), failed
        for part in range(parts):
            assert [n for n in seen if n % parts == part] == list(range(part, events, parts))
        return events / (time.monotonic() - start)
    writers = [threading.Thread(target=write, args=(part, bench.connect(w, False))) for part in range(parts)]
    for t in writers:
        t.start()
    live = watch()
    for t in writers:
        t.join()
    again = watch()
    grown = w.guard.rss() - before
    print(f"{live:.0f} events/s live, {again:.0f} again; RSS {before >> 20} MiB, {grown / 2**20:+.1f} MiB")
    assert again > 200 / r.SLOWNESS
    assert grown < (16 << 20) * r.SLOWNESS


def test_a_log_without_a_pause_ends_when_its_session_is_killed(w, ns):  # noqa: F811
    ns.apply(pod("chatty", ["bash", "-c", "while :; do echo some line of an endless log; done"]))
    ns.wait_ready("chatty")
    logs = subprocess.Popen(w.argv("logs", "-f", "chatty"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        def session():
            shown = json.loads(w.guard.kubectl_guard("sessions", "-o", "json").stdout)
            rows = [s for s in shown["sessions"] if s.get("bytesToClient", 0) > 4 << 20]
            return rows[0]["id"] if rows else None
        w.guard.kubectl_guard("kill", wait_for(session, 60, "four megabytes of log"))
        assert logs.wait(20) is not None
    finally:
        logs.kill()
        logs.wait()
        ns.kubectl("delete", "pod", "chatty", "--wait=false")
