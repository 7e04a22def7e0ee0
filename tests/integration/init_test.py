# SPDX-License-Identifier: Apache-2.0
"""chaperone-init in real network namespaces: what it installs holds, and it says so only then."""

import contextlib
import json
import select
import socket
import subprocess

import pytest

from support.netns import AGENT_UID, GUARD_UID, AgentNamespace
from support.run import run, sanitizer_env, sanitizer_report, wait_for

pytestmark = [pytest.mark.netns, pytest.mark.sanitize]

CAPTURE = 15001
OTHER_UID = 15003
FULL_CAPS = "net_admin,net_raw,setuid,setgid"

# Runs inside, with the standard library alone: KIND HOST PORT WAIT [DEVICE]. One word on stdout.
PROBE = r"""
import errno, select, socket, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
names = {errno.ECONNREFUSED: "refused", errno.EPERM: "refused", errno.EACCES: "refused",
         errno.EHOSTUNREACH: "refused", errno.ENETUNREACH: "no-route", 0: "ok"}
def word(e):
    return names.get(e, errno.errorcode.get(e, str(e)))
def attempt():
    if kind == "raw":
        socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP); return "ok"
    if kind == "icmp":
        s = socket.socket(family, socket.SOCK_DGRAM,
                          socket.IPPROTO_ICMPV6 if ":" in host else socket.IPPROTO_ICMP)
        data = bytes([128 if ":" in host else 8, 0, 0, 0, 0, 1, 0, 1])
    else:
        s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        data = b"hello"
    if len(sys.argv) > 5:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, sys.argv[5].encode())
    s.settimeout(float(sys.argv[4]))
    s.connect(socket.getaddrinfo(host, port)[0][4])
    if kind == "tcp":
        return "ok"
    s.send(data)
    if kind == "udp":
        s.send(data)  # an ICMP error on the first shows here
        return "ok"
    s.recv(100); return "ok"
try:
    print(attempt())
except TimeoutError:
    print("silent")
except OSError as e:
    print(word(e.errno))
"""

# Stands in for the guard: accepts on both loopbacks and prints the original destinations.
CAPTURER = r"""
import json, selectors, socket, struct, sys
sel = selectors.DefaultSelector()
for family, host, level in ((socket.AF_INET, "127.0.0.1", socket.IPPROTO_IP),
                            (socket.AF_INET6, "::1", socket.IPPROTO_IPV6)):
    s = socket.socket(family); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((host, int(sys.argv[1]))); s.listen(); sel.register(s, 1, level)
print("ready", flush=True)
while True:
    for key, _ in sel.select():
        c, _ = key.fileobj.accept()
        raw = c.getsockopt(key.data, 80, 28)
        at = slice(4, 8) if key.data == socket.IPPROTO_IP else slice(8, 24)
        family = socket.AF_INET if key.data == socket.IPPROTO_IP else socket.AF_INET6
        print(json.dumps([socket.inet_ntop(family, raw[at]), struct.unpack(">H", raw[2:4])[0]]),
              flush=True)
        c.close()
"""


def init(ns, *args, caps="net_admin", check=True, before=()):
    """Runs chaperone-init as its container would; `before` is an argv prefix inside."""
    argv = [*before, ns.bin / "chaperone-init", "--capture", CAPTURE, "--uid", GUARD_UID, "--gid",
            GUARD_UID, *args]
    done = ns.run_root(argv, caps=caps, check=False, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                                                          **sanitizer_env()})
    assert not sanitizer_report(done.stderr), done.stderr
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def answer(done):
    """The one JSON line on standard output."""
    lines = done.stdout.splitlines()
    assert len(lines) == 1, done.stdout + done.stderr
    return json.loads(lines[0])


def probe(ns, kind, host, port=0, *, uid=AGENT_UID, gid=None, wait=3, device=None):
    extra = [device] if device else []
    return ns.run(["/usr/bin/python3", "-c", PROBE, kind, host, port, wait, *extra], uid=uid,
                  gid=gid).stdout.strip()


def both(ns):
    return [ns.host4, ns.host6]


@contextlib.contextmanager
def server(host, kind=socket.SOCK_STREAM, port=0):
    """A socket on this machine's end; received(s) tells whether anything reached it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((host, port))
        if kind == socket.SOCK_STREAM:
            s.listen()
        yield s


def port_of(s):
    return s.getsockname()[1]


def received(s, wait=0.0):
    return bool(select.select([s], [], [], wait)[0])


@contextlib.contextmanager
def capturer(ns):
    """Yields a function that reads the next captured original destination."""
    child = ns.spawn(["/usr/bin/python3", "-c", CAPTURER, str(CAPTURE)], uid=GUARD_UID,
                     stdout=subprocess.PIPE, text=True)

    def next_line():
        assert select.select([child.stdout], [], [], 10)[0], "nothing was captured"
        return child.stdout.readline()

    assert next_line() == "ready\n"
    try:
        yield lambda: tuple(json.loads(next_line()))
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@pytest.fixture
def ns():
    """Fresh, without rules."""
    with AgentNamespace() as made:
        made.admin(["sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647"])
        yield made


@pytest.fixture(scope="module")
def walled():
    """With rules, and no guard running."""
    with AgentNamespace() as made:
        made.admin(["sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647"])
        init(made)
        yield made


# ---- the control: what the wall tests rely on works without the wall ----


def test_without_rules_everything_gets_out(ns):
    for host in both(ns):
        with server(host) as tcp, server(host, socket.SOCK_DGRAM) as udp:
            assert probe(ns, "tcp", host, port_of(tcp)) == "ok"
            assert probe(ns, "udp", host, port_of(udp)) == "ok"
            assert received(tcp, 5) and received(udp, 5)
        assert probe(ns, "icmp", host) == "ok"


# ---- installing ----


def test_says_what_it_proved(ns):
    said = answer(init(ns, caps=FULL_CAPS))
    assert said["result"] == "ok" and said["backend"] == "nft"
    for family in "46":
        assert said[f"tcp{family}"] == "redirected"
        assert said[f"udp{family}"] == "refused"
        assert said[f"guard{family}"] == "exempt"


def test_net_admin_alone_is_enough(ns):
    said = answer(init(ns, caps="net_admin"))
    assert said["tcp4"] == said["tcp6"] == "redirected"
    assert said["guard4"].startswith("skipped: no right")


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_three_runs_leave_one_set(ns, backend):
    saved = []
    for _ in range(3):
        assert answer(init(ns, "--backend", backend, caps=FULL_CAPS))["backend"] == backend
        saved.append(ns.iptables_save())
    assert saved[0] == saved[1] == saved[2]
    assert saved[0].count("-A OUTPUT -j CHAPERONE_OUT") == 2  # IPv4 and IPv6
    assert saved[0].count("-A OUTPUT -j CHAPERONE_EGRESS") == 2
    assert saved[0].count("-A INPUT -j CHAPERONE_IN") == 2


def test_a_new_run_replaces_port_and_name_servers(ns):
    init(ns)
    ns.set_resolv_conf("nameserver 10.1.2.3\n")
    done = ns.run_root([ns.bin / "chaperone-init", "--capture", 15555, "--uid", 20001, "--gid",
                        20002])
    assert json.loads(done.stdout)["result"] == "ok"
    text = ns.iptables_save()
    assert "--to-ports 15555" in text and f"--to-ports {CAPTURE}" not in text
    assert "-d 10.1.2.3/32" in text and f"-d {ns.host4}/32" not in text
    assert f"--uid-owner {GUARD_UID}" not in text


def test_other_peoples_rules_stay_behind_ours(ns):
    for tool in ("iptables", "ip6tables"):
        ns.admin([tool, "-A", "OUTPUT", "-p", "tcp", "-j", "ACCEPT"])
        ns.admin([tool, "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-j", "REDIRECT", "--to-ports",
                  "15999"])
    init(ns)
    init(ns)
    text = ns.iptables_save()
    assert text.count("--to-ports 15999") == 2  # still there
    for table, ours, theirs in (("*filter", "-j CHAPERONE_EGRESS", "-p tcp -j ACCEPT"),
                                ("*nat", "-j CHAPERONE_OUT", "-p tcp -j REDIRECT")):
        part = text[text.index(table):]
        assert part.index(f"-A OUTPUT {ours}") < part.index(f"-A OUTPUT {theirs}")
    with capturer(ns) as captured:
        assert probe(ns, "tcp", ns.host4, 1234) == "ok"
        assert captured() == (ns.host4, 1234)


def test_dry_run_touches_nothing_and_prints_what_is_fed(ns):
    before = ns.iptables_save()
    text = init(ns, "--dry-run").stdout
    assert ns.iptables_save() == before
    # Fed by hand, the printed text gives exactly what the program installs.
    v4, v6 = text.split("# ip6tables-nft-restore")
    ns.admin(["iptables-nft-restore", "--noflush"], input=v4)
    ns.admin(["ip6tables-nft-restore", "--noflush"], input="#" + v6)
    by_hand = ns.iptables_save()
    assert by_hand != before
    init(ns)
    assert ns.iptables_save() == by_hand
    # A second dry run shows the replacement of the jumps that are there now.
    again = init(ns, "--dry-run").stdout
    assert again.count("-D OUTPUT -j CHAPERONE_OUT") == 2
    assert ns.iptables_save() == by_hand


def test_dry_run_needs_no_capability(ns):
    done = ns.run([ns.bin / "chaperone-init", "--capture", CAPTURE, "--uid", 1, "--gid", 1,
                   "--dry-run"])
    assert "-A CHAPERONE_OUT -p tcp -j CHAPERONE_REDIRECT" in done.stdout
    assert "as for a fresh namespace" in done.stdout


def test_without_nft_the_legacy_backend_serves(ns):
    hide = ["sh", "-c", 'mount --bind /dev/null /usr/sbin/xtables-nft-multi; exec "$@"', "sh"]
    said = answer(init(ns, caps=FULL_CAPS + ",sys_admin", before=hide))
    assert said["backend"] == "legacy" and said["result"] == "ok"
    assert probe(ns, "udp", ns.host4, 443) == "refused"


@pytest.mark.parametrize("backend,caps", [("nft", "net_admin"), ("legacy", "net_admin,net_raw")])
def test_a_read_only_file_system_is_enough(ns, backend, caps):
    keep = "".join(f",+{c}" for c in caps.split(","))
    read_only = ["sh", "-c", "mount --bind / / && mount -o remount,bind,ro / && "
                 "mount -t tmpfs -o ro none /run && ! touch /run/x /etc/x 2>/dev/null && "
                 'exec "$@"', "sh", "setpriv", f"--bounding-set=-all{keep}"]
    said = answer(init(ns, "--backend", backend, caps=caps + ",sys_admin,setpcap",
                       before=read_only))
    assert said["result"] == "ok" and said["backend"] == backend


def test_ipv6_switched_off_is_no_failure():
    with AgentNamespace(ipv6=False) as ns:
        said = answer(init(ns))
        assert said["tcp4"] == "redirected"
        assert said["tcp6"].startswith("skipped")
        # Whoever switches it on later finds the rules in place.
        assert ns.iptables_save().count("-A OUTPUT -j CHAPERONE_EGRESS") == 2


def test_no_default_route_is_tested_with_a_neighbour():
    with AgentNamespace(default_route=False) as ns:
        said = answer(init(ns))
        assert said["tcp4"] == said["tcp6"] == "redirected"


def test_a_guard_that_listens_already_is_used(ns):
    init(ns)
    with capturer(ns) as captured:
        said = answer(init(ns))
        assert said["tcp4"].startswith("redirected to the listener")
        assert captured() == ("192.0.2.1", 443)


# ---- refusing to claim what is not so ----


def test_without_net_admin_it_names_the_capability(ns):
    done = init(ns, caps="chown", check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert "NET_ADMIN" in done.stderr
    assert "CHAPERONE" not in ns.iptables_save()


def test_legacy_without_net_raw_names_the_capability(ns):
    done = init(ns, "--backend", "legacy", check=False)
    assert done.returncode == 1
    assert "NET_RAW" in done.stderr


def test_without_any_tool_it_names_the_package(ns):
    hide = ["sh", "-c", "mount --bind /dev/null /usr/sbin/xtables-nft-multi; "
            "mount --bind /dev/null /usr/sbin/xtables-legacy-multi; exec \"$@\"", "sh"]
    done = init(ns, caps=FULL_CAPS + ",sys_admin", before=hide, check=False)
    assert done.returncode == 1
    assert "iptables-nft-restore is not in this image" in done.stderr
    assert "install the package iptables" in done.stderr


def test_a_redirection_that_does_not_work_fails_closed(ns):
    # Untracked packets are never translated: what a broken kernel or a hostile rule would do.
    ns.admin(["iptables", "-t", "raw", "-A", "OUTPUT", "-j", "NOTRACK"])
    done = init(ns, check=False)
    assert done.returncode == 1
    said = answer(done)
    assert said["result"] == "failed" and said["tcp4"] == "failed: refused, not redirected"
    assert "IPv4" in said["reason"]
    # The rules stay: nothing leaves.
    with server(ns.host4) as s:
        assert probe(ns, "tcp", ns.host4, port_of(s)) == "refused"
        assert not received(s)


def test_success_is_never_claimed_while_somebody_else_captures(ns):
    # Which backend translates first is the kernel's affair; that we notice is ours.
    ns.admin(["iptables-legacy", "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-j", "REDIRECT",
              "--to-ports", "15999"])
    with ns.socket() as other:
        other.bind(("127.0.0.1", 15999))
        other.listen()
        done = init(ns, check=False)
        assert (done.returncode == 0) == (not received(other))
        assert (answer(done)["tcp4"] == "redirected") == (not received(other))


def test_what_was_put_into_our_chains_is_gone_after_a_run(ns):
    init(ns)
    ns.admin(["iptables", "-t", "nat", "-I", "CHAPERONE_REDIRECT", "1", "-p", "tcp", "-j",
              "REDIRECT", "--to-ports", "15999"])
    ns.admin(["iptables", "-I", "CHAPERONE_EGRESS", "1", "-j", "ACCEPT"])
    assert answer(init(ns))["tcp4"] == "redirected"
    assert probe(ns, "udp", ns.host4, 443) == "refused"


def test_a_namespace_without_network_cannot_be_proven():
    with AgentNamespace() as ns:
        ns.admin(["ip", "link", "del", "eth0"])
        done = init(ns, check=False)
        assert done.returncode == 1
        assert "no route" in answer(done)["reason"]
        assert "CHAPERONE_EGRESS" in ns.iptables_save()


@pytest.mark.parametrize("args", [
    [], ["--capture", "15001"], ["--capture", "0", "--uid", "1", "--gid", "1"],
    ["--capture", "65536", "--uid", "1", "--gid", "1"],
    ["--capture", "15001", "--uid", "0", "--gid", "1"],
    ["--capture", "15001", "--uid", "1", "--gid", "0"],
    ["--capture", "15001", "--uid", "4294967295", "--gid", "1"],
    ["--capture", "15001", "--uid", "-1", "--gid", "1"],
    ["--capture", "15001", "--uid", "1 ", "--gid", "1"],
    ["--capture", "15001x", "--uid", "1", "--gid", "1"],
    ["--capture", "15001", "--uid", "1", "--gid", "1", "stray"],
    ["--capture", "15001", "--uid", "1", "--gid", "1", "--backend", "pf"],
    ["--capture", "15001", "--uid", "1", "--gid", "1", "--no-such-option"],
])
def test_wrong_usage_changes_nothing(agent_ns, programs, args):
    before = agent_ns.iptables_save()
    done = agent_ns.run_root([agent_ns.bin / "chaperone-init", *args], check=False)
    assert done.returncode == 2 and "usage: chaperone-init" in done.stderr
    assert agent_ns.iptables_save() == before


def test_an_unreadable_resolv_conf_fails(ns):
    done = init(ns, "--resolv-conf", "/proc/self", check=False)
    assert done.returncode == 1 and "/proc/self" in done.stderr
    assert "CHAPERONE" not in ns.iptables_save()


# ---- the redirection ----


def test_every_tcp_connection_is_captured_with_its_destination(ns):
    init(ns)
    with capturer(ns) as captured:
        for host, port in ((ns.host4, 5432), (ns.host6, 5432), ("192.0.2.7", 443),
                           ("2001:db8::7", 22), (ns.host4, 53000), (ns.host4, CAPTURE)):
            assert probe(ns, "tcp", host, port) == "ok"
            assert captured() == (host, port)


def test_half_of_the_guards_identity_is_not_the_guard(ns):
    init(ns)
    for host in both(ns):
        with server(host) as s, capturer(ns) as captured:
            for uid, gid in ((GUARD_UID, OTHER_UID), (OTHER_UID, GUARD_UID), (0, 0)):
                assert probe(ns, "tcp", host, port_of(s), uid=uid, gid=gid) == "ok"
                assert captured() == (host, port_of(s))
            assert not received(s)


def test_the_guard_itself_goes_straight_out(ns):
    init(ns)
    for host in both(ns):
        with server(host) as s:
            assert probe(ns, "tcp", host, port_of(s), uid=GUARD_UID) == "ok"
            assert received(s, 5)


# ---- the wall, with no guard running ----


def test_tcp_is_refused(walled):
    for host in both(walled):
        with server(host) as s:
            assert probe(walled, "tcp", host, port_of(s)) == "refused"
            assert not received(s)
    assert probe(walled, "tcp", "192.0.2.7", 443) == "refused"
    assert probe(walled, "tcp", "2001:db8::7", 443) == "refused"


@pytest.mark.parametrize("port", [443, 80, 54, 123])
def test_udp_is_refused(walled, port):
    for host in both(walled):
        with server(host, socket.SOCK_DGRAM, port) as s:
            assert probe(walled, "udp", host, port) == "refused"
            assert not received(s, 0.1)


def test_udp_of_half_a_guard_is_refused(walled):
    for uid, gid in ((GUARD_UID, OTHER_UID), (OTHER_UID, GUARD_UID), (0, 0)):
        with server(walled.host4, socket.SOCK_DGRAM) as s:
            assert probe(walled, "udp", walled.host4, port_of(s), uid=uid, gid=gid) == "refused"
            assert not received(s, 0.1)


def test_icmp_is_refused(walled):
    for host in both(walled):
        assert probe(walled, "icmp", host) == "refused"


def test_broadcast_and_multicast_are_refused(walled):
    for host in ("224.0.0.251", "ff02::fb%eth0"):
        assert probe(walled, "udp", host, 5353) in ("refused", "no-route")


def test_raw_sockets_are_the_capability_of_others(walled):
    assert probe(walled, "raw", walled.host4) == "refused"


def test_binding_to_a_device_is_no_way_out(walled):
    for host in both(walled):
        for device in ("lo", "eth0"):
            with server(host) as tcp, server(host, socket.SOCK_DGRAM) as udp:
                assert probe(walled, "tcp", host, port_of(tcp), wait=0.5, device=device) != "ok"
                probe(walled, "udp", host, port_of(udp), device=device)
                assert not received(tcp, 0.1) and not received(udp, 0.1)


def test_dns_reaches_the_listed_servers_alone(walled):
    for host in both(walled):
        with server(host, socket.SOCK_DGRAM, 53) as udp, server(host, port=53) as tcp:
            assert probe(walled, "udp", host, 53) == "ok"
            assert probe(walled, "tcp", host, 53) == "ok"
            assert received(udp, 5) and received(tcp, 5)


def test_dns_elsewhere_is_refused(walled):
    for host in ("192.0.2.53", "2001:db8::53"):
        assert probe(walled, "udp", host, 53) == "refused"
        assert probe(walled, "tcp", host, 53) == "refused"


def test_loopback_and_the_pods_own_address_pass(walled):
    for host in ("127.0.0.1", "::1", walled.agent4, walled.agent6):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with walled.socket(family) as s:
            s.bind((host, 0))
            s.listen()
            assert probe(walled, "tcp", host, port_of(s)) == "ok"
            assert received(s, 5)


def test_probes_from_outside_still_reach_the_agent(walled):
    for host in (walled.agent4, walled.agent6):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with walled.socket(family) as s:
            s.bind((host, 0))
            s.listen()
            with socket.create_connection((host, port_of(s)), timeout=5) as c:
                inside, _ = s.accept()
                with inside:
                    inside.sendall(b"pong")  # an answer on an established connection
                    assert c.recv(4) == b"pong"


def test_the_capture_port_is_closed_from_outside(walled):
    for host in (walled.agent4, walled.agent6):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with walled.socket(family) as s:
            s.bind((host, CAPTURE))
            s.listen()
            with pytest.raises(TimeoutError):
                socket.create_connection((host, CAPTURE), timeout=0.5)
            assert not received(s)


def test_ipv6_neighbours_are_still_found(walled):
    """Without neighbour discovery IPv6 is dead, and DNS over it with it."""
    walled.admin(["ip", "-6", "neigh", "flush", "dev", "eth0"])
    with server(walled.host6, socket.SOCK_DGRAM, 53) as s:
        wait_for(lambda: probe(walled, "udp", walled.host6, 53) == "ok" and received(s),
                 what="DNS over IPv6")


def test_nothing_of_this_is_in_the_machines_own_namespace():
    for tool in ("iptables-save", "ip6tables-save"):
        assert "CHAPERONE" not in run([tool]).stdout
