# SPDX-License-Identifier: Apache-2.0
"""export --html, opened in a real browser: sessions of PostgreSQL and SSH whose statements, results and output try to break out
of the page. Nothing of theirs runs, nothing is fetched, all of it can be read; the terminal plays."""
import html.parser
import json
import os
import re
import subprocess
import threading

import pytest

import ssh_test
from clients import raw
from clients.harness import Stack
from support import browser, run
from support.sshd import Sshd

pytestmark = pytest.mark.skipif(not browser.available() and os.environ.get("CHAPERONE_TEST_STRICT") != "1",
                                reason="no chromium and chromedriver: tests/support/install-deps test")

# Each sets window.pwned or opens a dialog when it runs anywhere.
PAYLOADS = ["</script><script>window.pwned=1</script>", "</pre><img src=x onerror=window.pwned=2>", "<!--<script>", "\"><svg onload=window.pwned=3>",
            "</title><script>alert(4)</script>", "]]>--></textarea></noscript><iframe srcdoc='<script>top.pwned=5</script>'>",
            "<a href=javascript:window.pwned=6>x</a>", "</style><style>body{display:none}</style>", "<base href=//evil.example/>",
            "<meta http-equiv=refresh content='0;url=https://evil.example/'>", "\u2028\u2029\u202e<link rel=stylesheet href=//evil.example/x.css>", "'; window.pwned=7; //\\"]
RULES = ['{name: work, action: Allow, sql: {operations: ["*"], relations: ["public.*"]}}',
         '{name: hide, action: Mask, sql: {columns: ["public.t.secret"]}, mask: {method: Redact}}',
         '{name: no-drop, action: Deny, sql: {operations: [Drop]}}',
         '{name: ask, action: RequireApproval, sql: {operations: [Delete]}, approval: {timeout: 20s}}']
SETUP = ["CREATE TABLE t (id int PRIMARY KEY, v text, secret text)",
         "INSERT INTO t VALUES (1, 'plain', 'topsecretquark'), (2, '</td></table><script>window.pwned=9</script>', 'topsecretquark2')", "ALTER TABLE t OWNER TO agent"]


def export(record, path, *more):
    done = subprocess.run([run.program("kubectl-guard"), "export", record, "--html", path, *more], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert path.stat().st_mode & 0o777 == 0o600
    return path


def approve(g):
    def pending():
        listed = json.loads(g.kubectl_guard("list", "--json").stdout)
        return [a["id"] for a in listed["approvals"] if a["phase"] == "Pending"]
    (name,) = run.wait_for(pending, 20, what="a request")
    assert g.kubectl_guard("approve", name, "--reason", "fine <script>window.pwned=10</script>").returncode == 0


def finished(g):
    def whole():
        return [p for p in g.record_files() if '"session.close"' in p.read_text()] or None
    return run.wait_for(whole, 15, what="a finished record")[0]


@pytest.fixture(scope="module")
def postgres_report(tmp_path_factory):
    with Stack(RULES, setup=SETUP) as s:
        with s.connect() as c:
            c.query("SELECT id, v, secret FROM t ORDER BY id")
            for i, p in enumerate(PAYLOADS):
                c.query("SELECT " + "'" + p.replace("'", "''") + f"' AS payload{i}")
            c.query("DROP TABLE t")
            c.query('SELECT 1 AS "<script>window.pwned=11</script>"')
            c.query("SELECT nope FROM t")
            t = threading.Thread(target=approve, args=(s.guard,))
            t.start()
            c.query("DELETE FROM t WHERE id = 2")
            t.join()
            c.extended("SELECT v FROM t WHERE v = $1", ["</script><script>window.pwned=12</script>"])
            c.send(raw.TERMINATE)
        return export(finished(s.guard), tmp_path_factory.mktemp("report") / "postgres.html")


SSH_RULES = ("{name: some, action: Allow, ssh: {requests: [exec, pty], argv: [[printf, '...'], [echo, '...']]}}",
             "{name: never, action: Deny, ssh: {requests: [exec], argv: [[touch, '...']]}}")
SHOWN = r"\033[1;31mred\033[0m plain\r\n\033]0;title\007\033[2Jcleared\033[3;5Hmoved</script><script>window.pwned=13</script>\n"


@pytest.fixture(scope="module")
def ssh_report(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("report")
    with Sshd() as sshd, ssh_test.guard(sshd, *SSH_RULES) as g:
        control = ["-o", "ControlMaster=auto", "-o", f"ControlPath={tmp}/c", "-o", "ControlPersist=30"]
        assert ssh_test.ssh(g, "echo", "first light", options=control).returncode == 0
        assert b"moved" in ssh_test.ssh(g, "printf", f"'{SHOWN}'", options=control).stdout
        assert ssh_test.ssh(g, "touch", "/tmp/never", options=control).returncode == 126
        assert ssh_test.ssh(g, "echo", "the end", options=control).returncode == 0
        subprocess.run(["ssh", "-o", f"ControlPath={tmp}/c", "-O", "exit", "agent@127.0.0.1"], capture_output=True)
        return export(finished(g), tmp / "ssh.html")


# ---- the file ----

class Tags(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.all = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.all.append((tag, dict(attrs)))


@pytest.mark.parametrize("which", ["postgres_report", "ssh_report"])
def test_it_is_one_file_and_its_policy_lets_nothing_else_in(which, request):
    text = request.getfixturevalue(which).read_text()
    tags = Tags(text).all
    assert sum(t == "script" for t, _ in tags) == 2 and sum(t == "style" for t, _ in tags) == 1
    assert not [(t, a) for t, a in tags for k in a if k in ("src", "srcdoc", "style", "action") or k.startswith("on")]
    assert all(a["href"].startswith("#") for _, a in tags if "href" in a)
    assert not {t for t, _ in tags} & {"img", "svg", "iframe", "link", "base", "object", "embed", "form", "textarea"}
    (policy,) = [a["content"] for t, a in tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert re.fullmatch(r"default-src 'none'; script-src 'sha256-[A-Za-z0-9+/]{43}='; style-src 'sha256-[A-Za-z0-9+/]{43}='; base-uri 'none'; form-action 'none'",
                        policy), policy
    assert text.index("Content-Security-Policy") < text.index("<title>") < text.index("window.pwned")
    assert not re.search("[\u2028\u2029\u202e]", text)


# ---- in a browser ----

def unharmed(b):
    assert b.dialog() is None and b.script("return window.pwned === undefined")
    assert b.script("return document.querySelectorAll('img, svg, iframe, link, base, object, a[href^=javascript]').length") == 0
    assert b.script("return performance.getEntriesByType('resource').length") == 0
    assert "evil.example" not in b.script("return document.baseURI + location.href")
    assert b.complaints() == []


def test_postgres_session_reads_well_and_nothing_of_it_runs(postgres_report, tmp_path):
    with browser.Browser() as b:
        b.open(postgres_report)
        assert b.script("return document.title").startswith("Session ")
        assert b.text("#integrity") == "OK"
        facts = b.text(".facts")
        assert "agent-0" in facts and "agents" in facts
        statements = b.script("return [...document.querySelectorAll('.statement')].map(e => e.textContent)")
        for p in PAYLOADS[:10]:
            assert any(p.replace("'", "''") in s for s in statements), p
        assert any("<U+2028>" in s for s in statements)
        assert b.script("return [...document.querySelectorAll('td.masked')].length") == 2
        assert "topsecretquark" not in postgres_report.read_text()
        (refused,) = b.script("return [...document.querySelectorAll('article')].filter(a => a.querySelector('.statement') && a.textContent.includes('DROP')).map(a => a.textContent)")
        assert "Deny" in refused and "no-drop" in refused
        assert b.script("return [...document.querySelectorAll('.approval')].some(a => a.textContent.includes('Approved') && a.textContent.includes('fine <script>'))")
        assert b.script("return [...document.querySelectorAll('.approval .badge.no')].length") == 0, "what was approved is not shown as refused"
        unharmed(b)
        everything = b.shown("article")
        b.click("label[for=only-no]")
        assert 0 < b.shown("article") < everything
        b.click("label[for=only-wait]")
        assert 0 < b.shown("article") < everything
        b.click("label[for=only-all]")
        assert b.shown("article") == everything
        b.screenshot(tmp_path / "postgres.png")
        plays(b, "DROP TABLE t")
        unharmed(b)


def plays(b, last):
    """From the start to the end, with the button; in the middle the end is not on the screen yet."""
    assert last in b.text("#screen"), "before it plays, the screen shows the end"
    b.script("const s = document.getElementById('seek'); s.value = 0; s.dispatchEvent(new Event('input'))")
    assert last not in b.text("#screen")
    b.script("""window.frames_ = []; window.labels_ = [];
        const watch = (id, to) => new MutationObserver(() => to.push(document.getElementById(id).textContent))
            .observe(document.getElementById(id), {childList: true, subtree: true, characterData: true});
        watch('screen', window.frames_); watch('play', window.labels_);""")
    b.click("#play")
    run.wait_for(lambda: b.text("#play") == "Play" and last in b.text("#screen"), 30, what="the end of the show")
    frames, labels = b.script("return [window.frames_, window.labels_]")
    assert labels[0] == "Pause" and labels[-1] == "Play"
    assert len(frames) >= 3 and last not in frames[0] and last in frames[-1]


def test_ssh_session_plays_in_the_terminal(ssh_report, tmp_path):
    with browser.Browser() as b:
        b.open(ssh_report)
        screen = b.text("#screen")
        assert re.search(r"(?m)^    moved</script>", screen) and "the end" in screen and "red" not in screen.split("moved")[0], screen
        b.screenshot(tmp_path / "ssh.png")
        assert b.script("return [...document.querySelectorAll('#screen span')].some(e => e.textContent.includes('moved</script>'))")
        assert "title" not in screen
        assert b.script("return [...document.querySelectorAll('.data')].some(e => e.textContent.includes('red plain'))"), "and as text, without sequences"
        plays(b, "the end")
        unharmed(b)


def test_without_javascript_all_but_the_terminal_is_there(postgres_report):
    with browser.Browser(javascript=False) as b:
        b.open(postgres_report)
        assert b.shown("#player") == 0 and b.shown("noscript p") == 1
        everything = b.shown("article")
        assert everything > 10 and "DELETE FROM t" in b.text("body")
        b.click("label[for=only-no]")
        assert 0 < b.shown("article") < everything


def test_one_session_a_report(postgres_report, tmp_path):
    done = subprocess.run([run.program("kubectl-guard"), "export", "/nonexistent", "--html", tmp_path / "x.html"], capture_output=True, text=True)
    assert done.returncode == 3 and "nonexistent" in done.stderr
