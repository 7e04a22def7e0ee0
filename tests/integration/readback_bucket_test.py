# SPDX-License-Identifier: Apache-2.0
"""Records read back from a real object store: listed over several pages, verified, replayed, exported, followed, and what verify
says of a bucket in which somebody removed, changed or moved objects. Logins as the AWS CLI has them."""
import json
import os
import shutil
import subprocess
import threading

import pytest

from support import objectstore, run
from support.certs import Authority
from upload_test import (TAMPERINGS, all_uploaded, bucket, sample, segments, stack, store, tamper, work)  # noqa: F401

pytestmark = pytest.mark.skipif(not objectstore.available() and os.environ.get("CHAPERONE_TEST_STRICT") != "1",
                                reason="no object store: tests/support/install-deps test")

GONE = [k for k in os.environ if k.startswith("AWS_")]


def environment(store, **more):  # noqa: F811
    env = {k: v for k, v in os.environ.items() if k not in GONE}
    return {**env, "HOME": "/nonexistent", "AWS_ACCESS_KEY_ID": objectstore.ACCESS, "AWS_SECRET_ACCESS_KEY": objectstore.SECRET,
            "AWS_REGION": objectstore.REGION, "AWS_ENDPOINT_URL_S3": store.endpoint, **more}


def read(store, *args, check=True, env=None, timeout=60):  # noqa: F811
    done = subprocess.run([run.program("kubectl-guard"), *map(str, args)], capture_output=True, text=True,
                          env=env or environment(store), timeout=timeout)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def put(store, name, folder):  # noqa: F811
    """A bucket without a lock that holds what the folder holds."""
    store.bucket(name, lock=False)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            status, _, body = store.request("PUT", f"/{name}/{path.relative_to(folder)}", path.read_bytes())
            assert status == 200, body
    return name


@pytest.fixture(scope="module")
def place(store, sample):  # noqa: F811
    folder, key = sample
    return f"s3://{put(store, 'readback', folder)}/audit", key


# ---- reading ----

@pytest.mark.sanitize
def test_verify_reads_the_bucket_as_it_reads_the_download(store, sample, place):  # noqa: F811
    folder, key = sample
    url, _ = place
    here = json.loads(read(store, "verify", "--strict", "--key", key, folder / "audit", "-o", "json").stdout)
    there = json.loads(read(store, "verify", "--strict", "--key", key, "--from", url, "-o", "json").stdout)
    for a, b in zip(here, there, strict=True):
        assert a.pop("file").replace(str(folder / "audit"), url) == b.pop("file")
        assert a == b and a["verdict"] == "OK"
    assert len(there) == 4, "three sessions and the ledger"
    assert there == [{**r} for r in json.loads(read(store, "verify", "--published-keys", "--from", url + "/", "-o", "json").stdout)
                     if r.pop("file")]


@pytest.mark.sanitize
def test_sessions_replay_and_export_from_the_bucket(store, sample, place):  # noqa: F811
    folder, _ = sample
    url, _ = place
    listed = read(store, "sessions", "--from", url).stdout
    names = [k for k in segments(folder) if not k.startswith("guard-")]
    assert len(names) == 3 and all(n in listed for n in names) and "guard-" not in listed and listed.count("OK") == 3
    local = folder / "audit/agents/agent-0" / names[0]
    for how in ((), ("-o", "json")):
        want = read(store, "replay", local, *how).stdout
        assert want == read(store, "replay", names[0], "--from", url, *how).stdout
        assert want == read(store, "replay", f"agents/agent-0/{names[0]}", "--from", url, *how).stdout
        assert want == read(store, "replay", f"{url}/agents/agent-0/{names[0]}.000001.jsonl.zst", *how).stdout
        assert want == read(store, "replay", names[0], "--from", folder, *how).stdout, "a session somewhere below a directory"
    for form in ("csv", "json", "asciicast"):
        assert read(store, "export", local, f"--{form}", "-").stdout == read(store, "export", names[0], "--from", url, f"--{form}", "-").stdout


def test_long_lists_are_read_to_their_end(store, sample):  # noqa: F811
    """Two pages of objects that are no records before the records, as S3 cuts them at a thousand."""
    folder, key = sample
    name = put(store, "pages", folder)
    data = store.dir / "data" / name / "audit/agents/agent-0"
    for i in range(2100):
        (data / f"0-{i:05}.txt").write_bytes(b"x")
    done = read(store, "verify", "--key", key, "--from", f"s3://{name}")
    assert done.stdout.count(": OK ") == 4, done.stdout


def test_tail_follows_a_session_in_the_bucket(stack):  # noqa: F811
    where = ("--from", f"s3://{stack.bucket}/audit")
    with stack.connect() as c:
        c.query("SELECT 1 /* early. */")

        def begun():
            return next((k.split("/")[-1].split(".")[0] for k in stack.store.keys(stack.bucket) if k.endswith(".zst") and "guard-" not in k), None)
        name = run.wait_for(begun, 15, what="the first segment")
        tail = subprocess.Popen([run.program("kubectl-guard"), "tail", name, *where], stdout=subprocess.PIPE, text=True, env=environment(stack.store))
        until(tail, "early.")
        c.query("SELECT 1 /* late. */")
        until(tail, "late.")
    assert "session ended" in tail.stdout.read() and tail.wait(20) == 0
    assert read(stack.store, "tail", "01ZZZZZZZZZZZZZZZZZZZZZZZZ", *where, check=False).returncode == 3


def until(process, word):
    for line in process.stdout:
        if word in line:
            return
    raise AssertionError(f"the output ended before {word}")


# ---- what is wrong in a bucket ----

@pytest.mark.parametrize("how", TAMPERINGS)
def test_tampering_is_found_in_the_bucket(store, sample, tmp_path, how):  # noqa: F811
    folder, key = sample
    copy = shutil.copytree(folder, tmp_path / "copy")
    tamper(how, copy)
    name = put(store, "t-" + how.replace(" ", "-").replace("'", ""), copy)
    here = read(store, "verify", "--key", key, copy, check=False)
    there = read(store, "verify", "--key", key, "--from", f"s3://{name}", check=False)
    assert there.returncode == 1 and there.stdout.replace(f"s3://{name}", str(copy)) == here.stdout
    assert "TAMPERED at seq" in there.stdout or "MISSING" in there.stdout
    assert there.stdout.count(": OK ") >= 1, "the others are still good"


def test_the_first_bad_line_is_named(store, sample, tmp_path):  # noqa: F811
    folder, key = sample
    copy = shutil.copytree(folder, tmp_path / "copy")
    one = next(v for k, v in segments(copy).items() if not k.startswith("guard-"))
    seal = json.loads(one[1].read_bytes()[8:].split(b"}", 1)[0] + b"}")
    one[1].unlink()
    name = put(store, "first-bad", copy)
    out = read(store, "verify", "--key", key, "--from", f"s3://{name}", check=False).stdout
    assert f"TAMPERED at seq {seal['first']}: segment 1 is missing" in out, out


def test_keys_that_somebody_else_published_are_not_those_of_the_guard(store, sample, tmp_path):  # noqa: F811
    folder, key = sample
    copy = shutil.copytree(folder, tmp_path / "copy")
    for p in copy.rglob("*.pub"):
        p.unlink()
    name = put(store, "no-pub", copy)
    done = read(store, "verify", "--published-keys", "--from", f"s3://{name}", check=False)
    assert done.returncode == 1 and "not a key that you trust" in done.stdout, done.stdout


# ---- logins, endpoints, refusals ----

def profile(tmp_path, **more):
    files = {"AWS_SHARED_CREDENTIALS_FILE": tmp_path / "credentials", "AWS_CONFIG_FILE": tmp_path / "config"}
    files["AWS_SHARED_CREDENTIALS_FILE"].write_text(
        "# comment\n[default]\naws_access_key_id = nobody\naws_secret_access_key=wrong\n\n"
        f"[audit]\n  ignored = 1\naws_access_key_id={objectstore.ACCESS}\naws_secret_access_key = {objectstore.SECRET}\n")
    files["AWS_CONFIG_FILE"].write_text(f"[default]\nregion = nowhere-1\n[profile audit]\nregion = {objectstore.REGION}\ns3 =\n  region = nested\n")
    return {k: str(v) for k, v in files.items()} | more


def test_logins_as_the_aws_cli_has_them(store, place, tmp_path):  # noqa: F811
    url, _ = place
    bare = {k: v for k, v in environment(store).items() if not k.startswith("AWS_")}
    files = {**bare, **profile(tmp_path), "AWS_ENDPOINT_URL": store.endpoint}
    assert read(store, "sessions", "--from", url, env={**files, "AWS_PROFILE": "audit"}).stdout.count("OK") == 3
    assert read(store, "sessions", "--from", url, "--s3-profile", "audit", env=files).stdout.count("OK") == 3
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    for name in ("credentials", "config"):
        shutil.copy(tmp_path / name, home / ".aws" / name)
    assert read(store, "sessions", "--from", url, "--s3-profile", "audit", "--s3-endpoint", store.endpoint,
                env={**bare, "HOME": str(home)}).stdout.count("OK") == 3
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    store.credentials(mounted)
    assert read(store, "sessions", "--from", url, "--s3-credentials", mounted, "--s3-endpoint", store.endpoint, "--s3-region", objectstore.REGION,
                env=bare).stdout.count("OK") == 3
    wrong = read(store, "sessions", "--from", url, "--s3-region", objectstore.REGION, env=files, check=False)
    assert wrong.returncode == 3 and "nobody" in wrong.stderr and "profile default" in wrong.stderr and "s3:ListBucket" in wrong.stderr, wrong.stderr
    assert "wrong" not in wrong.stderr.replace("went wrong", ""), "no secret in a message"
    none = read(store, "sessions", "--from", url, env={**bare, "AWS_ENDPOINT_URL": store.endpoint}, check=False)
    assert none.returncode == 3 and "AWS_ACCESS_KEY_ID" in none.stderr and "--s3-profile" in none.stderr


@pytest.mark.parametrize("url,word", [("s3://absent-bucket/audit", "NoSuchBucket"), ("s3://readback/nothing", "nothing is at"), ("s3://x", "3 to 63"),
                                      ("s3://readback/audit/agents/agent-0/01ZZZZZZZZZZZZZZZZZZZZZZZZ", "nothing is at")])
def test_what_is_not_there_is_said(store, place, url, word):  # noqa: F811
    for command in ("sessions", "verify"):
        done = read(store, command, "--from", url, check=False)
        assert done.returncode == 3 and word in done.stderr, done.stderr


def test_a_session_that_is_not_there_and_a_store_that_is_away(store, place):  # noqa: F811
    url, _ = place
    done = read(store, "replay", "01ZZZZZZZZZZZZZZZZZZZZZZZZ", "--from", url, check=False)
    assert done.returncode == 3 and "no record of a session 01ZZ" in done.stderr
    port = run.free_port()
    done = read(store, "verify", "--from", url, "--s3-endpoint", f"http://127.0.0.1:{port}", check=False)
    assert done.returncode == 3 and str(port) in done.stderr, done.stderr
    assert read(store, "verify", check=False).returncode == 2


class Proxy(threading.Thread):
    """TLS in front of the store; fails the first requests with what it is told."""

    def __init__(self, store, cert=None, failures=()):  # noqa: F811
        import http.server
        import ssl
        super().__init__(daemon=True)
        failures, seen = list(failures), []
        self.seen = seen

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                seen.append(self.path)
                status, body = failures.pop(0) if failures else (None, b"")
                if status is None:
                    import http.client
                    c = http.client.HTTPConnection("127.0.0.1", store.port, timeout=20)
                    c.request("GET", self.path, headers=dict(self.headers))
                    a = c.getresponse()
                    status, body = a.status, a.read()
                    c.close()
                if status == "cut":
                    self.send_response(200)
                    self.send_header("Content-Length", "100000")
                    self.end_headers()
                    self.wfile.write(b"part")
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if cert:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*cert)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        self.start()

    def run(self):
        self.server.serve_forever()


def test_what_passes_is_tried_again_and_what_is_cut_off_is_no_content(store, place):  # noqa: F811
    url, key = place
    slow = (503, b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>")
    proxy = Proxy(store, failures=[slow, ("cut", b""), slow])
    done = read(store, "verify", "--key", key, "--from", url, "--s3-endpoint", f"http://127.0.0.1:{proxy.port}")
    assert done.stdout.count(": OK ") == 4
    proxy = Proxy(store, failures=[slow] * 8)
    done = read(store, "verify", "--key", key, "--from", url, "--s3-endpoint", f"http://127.0.0.1:{proxy.port}", check=False)
    assert done.returncode == 3 and "SlowDown" in done.stderr and 4 <= len(proxy.seen) <= 8, done.stderr
    proxy.server.shutdown()


def test_tls_with_an_authority_of_ones_own(store, place, tmp_path):  # noqa: F811
    url, key = place
    authority = Authority()
    proxy = Proxy(store, cert=authority.issue("127.0.0.1", ["127.0.0.1"]))
    where = ("--from", url, "--s3-endpoint", f"https://127.0.0.1:{proxy.port}")
    done = read(store, "verify", "--key", key, *where, check=False)
    assert done.returncode == 3 and "--s3-ca" in done.stderr, done.stderr
    ca = authority.ca
    assert read(store, "verify", "--key", key, *where, "--s3-ca", ca).stdout.count(": OK ") == 4
    assert read(store, "verify", "--key", key, *where, env=environment(store, AWS_CA_BUNDLE=str(ca))).stdout.count(": OK ") == 4
    proxy.server.shutdown()
