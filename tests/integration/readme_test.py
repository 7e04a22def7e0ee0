# SPDX-License-Identifier: Apache-2.0
"""The README is true: functions, folders, links, make targets, options, messages and the example policy's answers."""
import re

import pytest

from support import run

README = (run.ROOT / "README.md").read_text()
# Said by libpq, the C library and the Makefile, not by us.
OTHERS_WORDS = {"server closed the connection unexpectedly", "connection refused",
                "Operation not permitted", "pkg-config does not know: …"}


def section(title):
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.M | re.S)
    assert found, f"the README has no section '{title}'"
    return found.group(1)


def rows(text):
    """Cells of the table rows in a text, without heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    body = [line for i, line in enumerate(lines)
            if not re.fullmatch(r"[|\s-]+", line) and not (i + 1 < len(lines) and re.fullmatch(r"[|\s-]+", lines[i + 1]))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body]


def sources():
    """All C text, with adjacent string literals joined and quotes unescaped."""
    files = [p for d in ("src-common", "sidecar", "kubectl-guard") for p in sorted((run.ROOT / d).rglob("*.c"))]
    text = "\n".join(p.read_text() for p in files)
    return text, re.sub(r'"\s*\n?\s*"', "", text).replace('\\"', '"')


SOURCE, LITERALS = sources()


def defined(name):
    """A definition starts in the first column, and a body follows it rather than a semicolon."""
    return re.search(rf"^[a-z][^;{{}}\n=]*\b{name}\([^;{{]*\)\s*\{{", SOURCE, re.M) is not None


FUNCTIONS = sorted(set(re.findall(r"`([a-z_0-9]+)\(\)`", section("Follow a byte"))))


def test_follow_a_byte_names_functions():
    assert len(FUNCTIONS) > 25, FUNCTIONS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_exists(name):
    assert defined(name), f"'{name}' of the README is defined nowhere"


@pytest.mark.parametrize("name", ["listener_accept_everything", "memcpy", "if"])
def test_the_check_can_fail(name):
    assert not defined(name)


def test_functions_come_in_the_order_of_the_code():
    text = section("Follow a byte")
    chain = ["accept_one", "session_accept", "session_main", "proto_detect", "pghandshake_run", "pgwire_frame",
             "pgcontext_lookup", "policy_decide", "record_end", "record_flush", "pgflow_from_upstream", "row_rewrite", "session_end"]
    places = [text.index(f"`{name}()`") for name in chain]
    assert places == sorted(places), list(zip(places, chain))


def test_folders_exist():
    folders = [re.findall(r"`([^`]+/)`", row[0]) for row in rows(section("Follow a byte"))]
    named = [f for cell in folders for f in cell]
    assert len(named) >= 13
    assert [f for f in named if not (run.ROOT / f).is_dir()] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_lead_somewhere(page):
    text = (run.ROOT / page).read_text()
    anchors = {re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", README, re.M)}
    broken = []
    for link in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = link.partition("#")
        if not link.startswith("http") and not (run.ROOT / (path or page)).exists():
            broken.append(link)
        elif anchor and anchor not in anchors:
            broken.append(link)
    assert broken == []


def test_make_targets_exist():
    makefile = (run.ROOT / "Makefile").read_text()
    targets = set(re.findall(r"`(?:sudo )?make ([a-z-]+)`", README)) | set(re.findall(r"^make ([a-z-]+)", README, re.M))
    assert {"demo", "test", "lint"} <= targets
    assert [t for t in targets if not re.search(rf"^{t}:", makefile, re.M)] == []


def test_options_exist():
    helps = {p: run.run([run.program(p), "--help"], check=False) for p in ("chaperone-sidecar", "chaperone-init", "kubectl-guard")}
    text = "".join(h.stdout + h.stderr for h in helps.values())
    text += "".join(run.run([run.program("kubectl-guard"), c, "--help"]).stdout for c in ("approve", "explain", "list", "sessions"))
    code = "".join(re.findall(r"^```(?:sh|ini|console)\n(.*?)^```", README, re.M | re.S))
    ours = re.sub(r"^(helm|kubectl) (?!guard)(.*\\\n)*.*$", "", code, flags=re.M)  # their options are theirs
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours))
    assert len(options) > 12
    assert [o for o in options if not re.search(rf"{o}\b", text)] == []


# ---- messages ----

def phrases():
    for row in rows(section("Troubleshooting")):
        for phrase in re.findall(r"`([^`]+)`", row[0]):
            if phrase not in OTHERS_WORDS and " " in phrase:
                yield phrase


def fragments(phrase):
    """What stays of a message when its variable parts are taken out."""
    phrase = re.sub(r"^(ERROR|FATAL|NOTICE|DETAIL): |^\d{5} ", "", phrase)
    parts = re.split(r'["\']?\b(?:[A-Z]|ID|DIR|PostgreSQL 15)\b["\']?|…|"options"', phrase)
    return [p.strip(" ().") for p in parts if len(p.strip(" ().")) >= 9]


@pytest.mark.parametrize("phrase", list(phrases()))
def test_messages_are_what_the_code_says(phrase):
    assert fragments(phrase), f"nothing to look for in '{phrase}'"
    for fragment in fragments(phrase):
        assert fragment in LITERALS, f"no source says '{fragment}'"


# ---- the example ----

@pytest.fixture(scope="module")
def example():
    blocks = re.findall(r"^```yaml\n(.*?)^```", section("Policy by example"), re.M | re.S)
    assert len(blocks) == 1
    directory = run.temp_dir("readme")
    run.write_file(directory / "orders.yaml", blocks[0])
    return directory


def explain(directory, sql, labels="app=coder"):
    return run.run([run.program("kubectl-guard"), "explain", "--policies", directory, "--labels", labels,
                    "--database", "orders", "--sql", sql], check=False)


ANSWERS = [(row[0].strip("`"), row[1], row[2]) for row in rows(section("Policy by example")) if row[0].startswith("`")]


@pytest.mark.parametrize("sql, answer, by", ANSWERS)
def test_example_answers(example, sql, answer, by):
    done = explain(example, sql)
    last = [line for line in done.stdout.splitlines() if "=> " in line][-1]
    assert re.search(rf"=> {answer}\b", last), done.stdout
    assert done.returncode == (1 if answer == "Deny" else 0)
    rule = re.fullmatch(r"`(.+)`", by)
    assert f"by rule {rule.group(1)} " in last if rule else " by rule " not in last


def test_example_is_closed_to_others(example):
    assert len(ANSWERS) >= 8
    assert explain(example, "SELECT id FROM orders", labels="app=other").returncode == 1
