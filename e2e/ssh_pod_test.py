# SPDX-License-Identifier: Apache-2.0
"""SSH in a cluster: a pod with OpenSSH's server, an injected agent with OpenSSH's clients that nobody has configured. The guard
logs in with a key from a Secret, lets some commands through, refuses one, asks a person about another, and tells it all."""

import json
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

import support
import world
from support import wait_for
from world import API, Agent, Person, finish, grant, on_node, pending

IMAGE = "chaperone-e2e/sshd:1"
SECRET = "bastion-key"
STRICT = ("-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes")
# OpenSSH takes 1023 bytes of an answer, and the guard asks for the rest.
ASKPASS = """#!/bin/sh
at=$(expr "$1" : '.*from byte \\([0-9]*\\)')
tail -c "+${at:-1}" /var/run/secrets/kubernetes.io/serviceaccount/token | head -c 1023
"""
CANARIES = ("4111 1111 1111 1111", "ada.l@example.com")
RULES = [
    {"name": "look", "action": "Allow", "ssh": {"requests": ["exec"], "argv": [
        ["uptime"], ["id", "-un"], ["echo", "..."], ["cat", "/srv/reports/**"], ["cat", "/srv/reports/**", "-"], ["rm", "..."]]}},
    {"name": "old-scp", "action": "Allow", "ssh": {"requests": ["exec"], "argv": [["scp", "-t", "/srv/in/**"]]}},
    {"name": "no-trees", "action": "Deny", "ssh": {"requests": ["exec"], "hazards": ["DeleteTree"]}, "message": "ask the owners"},
    {"name": "deploy", "action": "RequireApproval", "ssh": {"requests": ["exec"], "argv": [["touch", "/srv/deploy/*"]]},
     "approval": {"approvers": {"groups": ["sre"]}, "timeout": "90s"}},
    {"name": "reports", "action": "Allow", "ssh": {"requests": ["sftp"], "paths": ["/srv/reports/**"], "access": ["read"]}},
    {"name": "inbox", "action": "Allow", "ssh": {"requests": ["sftp"], "paths": ["/srv/in/**"], "access": ["read", "write"]}},
    {"name": "values", "action": "Mask", "values": {"detectors": ["creditCard", "email"]}},
]


def keygen(folder, name):
    path = pathlib.Path(folder) / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
    return path.read_text(), " ".join(path.with_suffix(".pub").read_text().split()[:2])


class Bastion:
    """sshd behind the Service `bastion`, on the ports 22 (a target: the pod is who it is), 2022 (a target that wants the
    agent's token) and 2222 (none)."""

    def __init__(self, namespace):
        self.ns = namespace
        self.host = f"bastion.{namespace.name}.svc"
        folder = tempfile.mkdtemp()
        try:
            host_key, self.host_public = keygen(folder, "host")
            self.key, public = keygen(folder, "guard")
        finally:
            shutil.rmtree(folder)
        meta = {"name": "bastion", "labels": {"app": "bastion"}}
        container = {"name": "sshd", "image": IMAGE, "imagePullPolicy": "Never", "env": [{"name": "SSH_PORTS", "value": "22 2022 2222"}],
                     "readinessProbe": {"tcpSocket": {"port": 22}, "periodSeconds": 1},
                     "volumeMounts": [{"name": "keys", "mountPath": "/keys"}]}
        namespace.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": meta,
             "stringData": {"ssh_host_ed25519_key": host_key, "authorized_keys": public + "\n"}},
            {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": meta["labels"], "ports": [
                {"name": f"p{port}", "port": port} for port in (22, 2022, 2222)]}},
            {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {
                "terminationGracePeriodSeconds": 1, "containers": [container],
                "volumes": [{"name": "keys", "secret": {"secretName": "bastion"}}]}})
        namespace.wait_ready("bastion")
        self.run(f"echo 'card {CANARIES[0]}, mail {CANARIES[1]}' >/srv/reports/q3.txt; echo secret >/srv/private/plan.txt")

    def run(self, script, **options):
        return self.ns.exec("bastion", "bash", "-c", script, container="sshd", **options).out.strip()

    def exists(self, path):
        return self.run(f"test -e {path} && echo yes || echo no") == "yes"

    def sessions(self):
        return self.ns.logs("bastion", "sshd").count("Starting session")

    def objects(self):
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET},
                  "stringData": {"username": "deploy", "ssh-privatekey": self.key}}
        return [secret, self.target("bastion", 22, False), self.target("bastion-token", 2022, True)]

    def target(self, name, port, token):
        return {"apiVersion": API, "kind": "GuardTarget", "metadata": {"name": name}, "spec": {
            "protocol": "ssh", "hosts": [self.host], "ports": [port], "ssh": {"hostKeys": [self.host_public]},
            "credentials": {"secretRef": {"name": SECRET}, "requireToken": token}}}


class World:
    def __init__(self, data, agents):
        self.ns, self.data = agents, data
        self.bastion = Bastion(data)
        agents.apply(*self.bastion.objects(), world.policy(RULES))
        self.agent = Agent(agents, None)
        self.alice, self.carol = Person("alice", "sre"), Person("carol", "dev")
        grant(agents, "chaperone-approver", groups=["sre", "dev"])

    @property
    def login(self):
        return f"deploy@{self.bastion.host}"

    def ssh(self, *command, options=(), **kw):
        return self.agent.run("ssh", *STRICT, *options, self.login, *command, **kw)

    def works(self):
        assert self.ssh("id", "-un", check=True).out == "deploy\n"

    def records(self):
        """{session: text of its record}, read from the node, past the guard."""
        pid = world.container_pid(self.agent.guard_status()["containerID"])
        spool = f"/proc/{pid}/root/var/lib/chaperone/spool"
        names = on_node("sh", "-c", f"cd {spool} && find . -name '*.jsonl'").out.split()
        return {pathlib.Path(n).stem: on_node("cat", f"{spool}/{n}").out for n in names}

    def record(self, *words):
        """The record that has all the words."""
        return wait_for(lambda: next((text for text in self.records().values() if all(x in text for x in words)), None), 15,
                        f"a record with {words}")


@pytest.fixture(scope="module")
def w(chaperone):
    with support.Namespace(prefix="sshdata") as data, support.Namespace(inject=True, prefix="sshagents") as agents:
        yield World(data, agents)


def refused(w, answer, *words):
    """One line on standard error, exit 126, in the record with its number; the server has seen nothing (the caller looks)."""
    line = answer.err.splitlines()[0]
    assert answer.code == 126 and answer.out == "" and line.startswith("chaperone: "), str(answer)
    for word in words:
        assert word in line, str(answer)
    request = re.search(r"request ([0-9A-Z]{26}/[0-9]+)", line).group(1)
    w.record(f'"requestId":"{request}"')
    return line


# ---- what is permitted ----

def test_strict_checking_holds_and_nobody_configured_anything(w):
    """BatchMode and StrictHostKeyChecking=yes; no known_hosts of the agent's own, no key, no password."""
    w.works()
    assert w.agent.run("sh", "-c", "ls -A ~/.ssh 2>/dev/null").out.strip() in ("", "known_hosts")
    assert not w.agent.run("sh", "-c", "cat ~/.ssh/known_hosts 2>/dev/null").out
    known = w.agent.run("cat", "/etc/ssh/ssh_known_hosts", check=True).out
    assert known.startswith("* ssh-ed25519 ") and w.bastion.host_public.split()[1] not in known
    assert w.agent.run("sh", "-c", "echo >>/etc/ssh/ssh_known_hosts").code != 0


def test_the_key_is_the_guards_alone(w):
    secret = [line for line in w.bastion.key.splitlines() if "-" not in line][1]
    found = w.agent.run("sh", "-c", f"env | grep -c {secret}; grep -rls -e {secret} /etc /home /run /tmp /var /proc/self/mounts")
    assert found.out.strip() == "0", str(found)


def test_output_is_masked(w):
    answer = w.ssh("cat", "/srv/reports/q3.txt", check=True)
    assert answer.out.startswith("card ****") and ", mail ****" in answer.out
    for c in CANARIES:
        assert c not in answer.text
        assert c not in w.record("cat /srv/reports/q3.txt")


def test_the_agents_token_is_the_login_where_the_target_wants_one(w):
    assert w.agent.run("ssh", *STRICT, "-p", "2022", w.login, "id", "-un").code == 255
    w.agent.run("sh", "-c", "cat >/tmp/ask && chmod +x /tmp/ask", input=ASKPASS, check=True)
    ssh = f"SSH_ASKPASS=/tmp/ask SSH_ASKPASS_REQUIRE=force ssh -o StrictHostKeyChecking=yes -p 2022 {w.login} id -un"
    answer = w.agent.run("sh", "-c", ssh)
    assert answer.code == 0 and answer.out == "deploy\n", str(answer)
    w.record('"method":"token"', f"system:serviceaccount:{w.ns.name}:coder")


def test_files_by_sftp_and_scp(w):
    """Reports may be read, and come masked; the inbox may be written to; nothing else."""
    get = w.agent.run("sh", "-c", f"cd /tmp && echo 'get /srv/reports/q3.txt' | sftp {' '.join(STRICT)} -b - {w.login} && cat q3.txt")
    assert get.code == 0 and "card ****" in get.out and CANARIES[0] not in get.out, str(get)
    for mode in ((), ("-O",)):
        put = w.agent.run("sh", "-c", f"echo hello{len(mode)} >/tmp/up && scp {' '.join([*STRICT, *mode])} /tmp/up {w.login}:/srv/in/up")
        assert put.code == 0, str(put)
        assert w.bastion.run("cat /srv/in/up") == f"hello{len(mode)}"
    for source, target in ((f"{w.login}:/srv/private/plan.txt", "/tmp/plan"), ("/tmp/up", f"{w.login}:/srv/reports/up"),
                           (f"{w.login}:/srv/in/../private/plan.txt", "/tmp/plan")):
        answer = w.agent.run("scp", *STRICT, source, target)
        assert answer.code != 0 and "no rule of policy" in answer.text, str(answer)
    assert not w.bastion.exists("/srv/reports/up") and w.agent.run("cat", "/tmp/plan").code != 0
    w.works()


# ---- refusal ----

def test_rm_rf_is_refused_never_runs_and_is_told(w):
    before = w.bastion.sessions()
    line = refused(w, w.ssh("rm", "-rf", "/srv/reports"), "rule 'no-trees' of policy", "ask the owners")
    assert "rm -rf /srv/reports" in line
    assert w.bastion.sessions() == before and w.bastion.exists("/srv/reports/q3.txt")
    refused(w, w.ssh("sh -c 'rm -fr /srv/reports'"), "'no-trees'")
    refused(w, w.ssh("ls", "/"), "no rule of policy")
    assert w.bastion.sessions() == before
    wait_for(lambda: "no-trees" in w.agent.events(), 20, "the refusal among the pod's Events")
    w.works()


@pytest.mark.parametrize("options", [("-W", "127.0.0.1:22"), ("-tt",), ("-N", "-R", "0:127.0.0.1:22", "-o", "ExitOnForwardFailure=yes")],
                         ids=lambda o: o[0] + o[1] if o[0] == "-N" else o[0])
def test_no_tunnels_and_no_terminal(w, options):
    before = w.bastion.sessions()
    answer = w.ssh(options=options)
    assert answer.code not in (0, 124) and "SSH-2.0" not in answer.out, str(answer)
    assert w.bastion.sessions() == before
    w.works()


def test_other_ports_and_addresses_lead_nowhere(w):
    """The same server: by a port that is no target, and by addresses that are none."""
    pod = w.data.get("pod", "bastion")["status"]["podIP"]
    for host, port in ((w.bastion.host, 2222), (pod, 22), (pod, 2222)):
        knock = w.agent.python(f"import socket; s = socket.create_connection(('{host}', {port}), 5); s.settimeout(5); print(s.recv(99))")
        assert "SSH-2.0-OpenSSH" not in knock.out, str(knock)
        assert w.agent.run("ssh", *STRICT, "-p", str(port), f"deploy@{host}", "id", "-un").code == 255
    from_agent = f"Connection from {w.agent.object['status']['podIP']} "
    assert not [line for line in w.data.logs("bastion", "sshd").splitlines() if from_agent in line and " port 2222 " in line]
    w.works()


# ---- approval ----

def test_a_command_waits_for_a_person(w):
    touch = w.agent.start("ssh", *STRICT, w.login, "touch", "/srv/deploy/v2")
    request = pending(w.ns, "touch /srv/deploy/v2")
    name = request["metadata"]["name"]
    assert request["spec"]["rule"] == "deploy" and request["spec"]["effect"] == "run a command"
    no = w.carol.guard("approve", name, namespace=w.ns.name)
    assert no.code == 1 and "sre" in no.text, str(no)
    assert touch.poll() is None and not w.bastion.exists("/srv/deploy/v2")
    w.alice.guard("approve", name, "--reason", "change 12", namespace=w.ns.name, check=True)
    code, output = finish(touch)
    assert code == 0 and f"waits for approval {name}" in output, output
    assert w.bastion.exists("/srv/deploy/v2")
    w.record("touch /srv/deploy/v2", "alice", "change 12")
    wait_for(lambda: "alice" in w.agent.events(), 20, "alice among the pod's Events")


def test_a_denied_command_never_runs(w):
    touch = w.agent.start("ssh", *STRICT, w.login, "touch", "/srv/deploy/v3")
    name = pending(w.ns, "touch /srv/deploy/v3")["metadata"]["name"]
    w.alice.guard("deny", name, "--reason", "freeze", namespace=w.ns.name, check=True)
    code, output = finish(touch)
    assert code == 126 and "freeze" in output and "alice" in output, output
    assert not w.bastion.exists("/srv/deploy/v3")
    w.works()


# ---- what people see ----

def test_a_session_is_watched_and_ended(w):
    """Tail shows the output while it comes, masked; kill ends the session."""
    session = w.agent.interactive("ssh", *STRICT, w.login, "cat", "/srv/reports/q3.txt", "-")
    lines = world.Lines(support.program("kubectl"), "guard", "tail", w.agent.pod, "--json", "-n", w.ns.name)
    try:
        def typed():
            session.stdin.write("typed by hand\n")
            session.stdin.flush()
            return any("typed by hand" in line for line in lines.lines)
        wait_for(typed, 30, "the first line of tail", interval=0.5)
        line = json.loads(lines.wait(lambda t: '"stdout"' in t and "typed by hand" in t, 10, "what the program answered"))
        world.kubectl_guard("kill", line["session"], namespace=w.ns.name, check=True)
        assert session.wait(timeout=20) != 0
        lines.wait(lambda t: '"session.close"' in t and "killed" in t, 10, "the end in the record")
    finally:
        session.kill()
        lines.close()
    w.works()


def test_the_record_tells_the_story(w, tmp_path):
    w.ssh("echo", "the story", check=True)
    text = w.record('"text":"echo the story"', "session.close")
    path = tmp_path / f"{json.loads(text.splitlines()[0])['session']}.jsonl"
    path.write_text(text)
    replay = world.kubectl_guard("replay", str(path), check=True).out
    assert "echo the story" in replay and "\n    the story" in replay, replay
    assert world.kubectl_guard("verify", str(path)).code == 0
    path.write_text(text.replace("the story", "no story"))
    assert world.kubectl_guard("verify", str(path)).code == 1
    events = w.agent.events()
    for word in ("GuardStarted", "SessionStarted", "ApprovalRequested", "ApprovalDecided", "StatementDenied", "bastion"):
        assert word in events, f"{word}:\n{events}"
    assert "plan.txt" not in events and "q3.txt" not in events


# ---- the guard dies ----

def test_a_killed_guard_is_a_closed_door_until_it_is_back(w):
    if world.foreign_cluster():
        pytest.skip("needs the node of e2e/cluster")
    w.works()
    before = w.agent.guard_status()
    known = w.agent.run("cat", "/etc/ssh/ssh_known_hosts").out
    probe = w.agent.start("sh", "-c", f"while :; do ssh {' '.join(STRICT)} {w.login} id -un 2>&1; sleep .1; done")
    on_node("kill", "-9", str(world.container_pid(before["containerID"])))
    wait_for(lambda: w.agent.guard_status()["restartCount"] > before["restartCount"], 60, "the guard's restart", interval=0.2)
    wait_for(lambda: w.ssh("id", "-un").out == "deploy\n", 60, "the guard working again")
    probe.terminate()
    output = probe.communicate(timeout=10)[0]
    assert "Connection refused" in output and "verification failed" not in output, output[-2000:]
    assert w.agent.run("cat", "/run/chaperone/trust/known_hosts").out == known, "the agent's container sees the old file"
