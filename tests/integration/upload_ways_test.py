# SPDX-License-Identifier: Apache-2.0
"""Ways to a store: the bucket in the host's name, a CA of its own, a bound on the bandwidth; keys that are rotated, keys for a
token; encryption by the store, and to an auditor's certificate. Two real stores: versitygw, and MinIO, which has a token
service and keeps keys."""
import http.client
import http.server
import json
import re
import subprocess
import threading
import time
import urllib.parse

import pytest

from clients.harness import Stack
from support import certs, issuer, objectstore, run
from upload_test import RULES, SETUP, all_uploaded, guard, keys, stopped, text_of, upload_args, waiting, work

pytestmark = pytest.mark.skipif(not objectstore.available() and run.os.environ.get("CHAPERONE_TEST_STRICT") != "1",
                                reason="no object stores: tests/support/install-deps test")
BUCKET = "records"
WRITE_ONLY = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["s3:PutObject", "s3:PutObjectRetention"], "Resource": ["arn:aws:s3:::*/audit/*"]}]}
_numbers = iter(range(1, 1000))


def bucket_of(store):
    name = f"ways{next(_numbers)}"
    store.bucket(name)
    return name


def stack_with(store, bucket, args):
    s = Stack(RULES, setup=SETUP, guard_args=args)
    s.store, s.bucket = store, bucket
    return s


def readyz(s):
    return s.guard.http_get("/readyz")[1]


def stays(s, word, mark):
    """Records are kept, and /readyz says why; statements still run."""
    stays_anyhow(s, word, mark)
    assert not any(k.endswith(".zst") for k in keys(s)) or word == "not encrypted so"


def stays_anyhow(s, word, mark):
    """As stays, in a bucket where there is something already."""
    run.wait_for(lambda: word in readyz(s), 20, what=f"{word!r} in /readyz")
    work(s, mark)
    run.wait_for(lambda: f"{mark}-4." in text_of(s.guard.spool), 10, what="the record in the spool")


# ---- the way ----

@pytest.fixture(scope="module")
def authority():
    return certs.Authority("store CA")


@pytest.fixture(scope="module")
def tls_store(authority):
    with objectstore.ObjectStore(authority, domain="s3.localhost") as s:
        yield s


@pytest.mark.parametrize("style", ["path", "virtual"])
def test_both_styles_of_addressing_by_tls_with_a_ca_of_its_own(tls_store, authority, tmp_path, style):
    bucket = bucket_of(tls_store)
    args = upload_args(tls_store, bucket, tmp_path / "cred", "--s3-style", style)
    args[3] = f"https://s3.localhost:{tls_store.port}"
    run.write_file(tmp_path / "cred/ca.crt", authority.pem)
    with stack_with(tls_store, bucket, args) as s:
        work(s, style)
        all_uploaded(s)
        folder, key = stopped(s, tmp_path)
        assert f"{style}-4." in text_of(folder)
        assert guard("verify", "--strict", "--key", key, folder).returncode == 0


def test_a_ca_that_did_not_sign_the_store_is_refused_until_it_is_replaced(tls_store, authority, tmp_path):
    bucket = bucket_of(tls_store)
    args = upload_args(tls_store, bucket, tmp_path / "cred")
    run.write_file(tmp_path / "cred/ca.crt", certs.Authority("somebody else").pem)
    with stack_with(tls_store, bucket, args) as s:
        stays(s, "certificate", "kept")
        run.write_file(tmp_path / "cred/ca.crt", authority.pem)
        all_uploaded(s, 60)


def test_a_bucket_with_dots_is_no_host(tmp_path):
    (tmp_path / "p").mkdir()
    done = subprocess.run([run.program("chaperone-sidecar"), "--policies", tmp_path / "p", "--spool", tmp_path / "s", "--listen", "127.0.0.1:1=db",
                           "--upload", "s3://my.bucket/x", "--s3-credentials", tmp_path, "--s3-style", "virtual"],
                          capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "dots" in done.stderr, done.stderr


def test_the_bound_on_the_bandwidth_holds_and_the_end_does_not_wait_for_it(tls_store, authority, tmp_path):
    bucket = bucket_of(tls_store)
    args = upload_args(tls_store, bucket, tmp_path / "cred", "--segment-bytes", "32Ki", "--upload-rate", "32Ki")
    run.write_file(tmp_path / "cred/ca.crt", authority.pem)
    with stack_with(tls_store, bucket, args) as s, s.connect() as c:
        began = time.monotonic()
        for i in range(700):
            assert not c.query(f"SELECT '{run.os.urandom(400).hex()}' /* bound-{i}. */").errors
        run.wait_for(lambda: s.guard.metrics()["chaperone_upload_bytes_total"] > 100_000, 30, what="a hundred thousand bytes")
        sent, took = s.guard.metrics()["chaperone_upload_bytes_total"], time.monotonic() - began
        assert sent / took < 1.5 * 32768 + 65536 / took, f"{sent} bytes in {took:.1f} s"
        assert s.guard.metrics()["chaperone_upload_waiting_bytes"] > 0 and readyz(s).startswith("upload: ok")
        began = time.monotonic()
        folder, key = stopped(s, tmp_path)
        assert time.monotonic() - began < 15
        text = text_of(folder)
        assert all(f"bound-{i}." in text for i in range(700))


# ---- keys ----

def admin(store, *command):
    subprocess.run([objectstore.PROGRAM, "admin", "--access", objectstore.ACCESS, "--secret", objectstore.SECRET, "--region", objectstore.REGION,
                    "--endpoint-url", store.endpoint, "--allow-insecure", *command], check=True, capture_output=True)


def test_rotated_keys_take_effect_without_a_restart(tls_store, authority, tmp_path):
    """As a Secret is: first the new key is made, then the old one is removed. Both are users of the store's own."""
    bucket = bucket_of(tls_store)
    policy = {"Statement": [{"Effect": "Allow", "Principal": {"AWS": ["first", "second"]}, "Action": ["s3:PutObject", "s3:PutObjectRetention"],
                             "Resource": f"arn:aws:s3:::{bucket}/audit/*"}]}
    for name in ("first", "second"):
        admin(tls_store, "create-user", "--access", name, "--secret", f"{name}/secret", "--role", "user")
    assert tls_store.request("PUT", f"/{bucket}", json.dumps(policy).encode(), query="policy=")[0] == 204
    args = upload_args(tls_store, bucket, tmp_path / "cred", access="first")
    objectstore.ObjectStore.credentials(tmp_path / "cred", "first", "first/secret")
    run.write_file(tmp_path / "cred/ca.crt", authority.pem)
    with stack_with(tls_store, bucket, args) as s:
        work(s, "first")
        all_uploaded(s)
        admin(tls_store, "delete-user", "--access", "first")
        objectstore.ObjectStore.credentials(tmp_path / "cred", "second", "second/secret")
        work(s, "second")
        all_uploaded(s)
        assert "second-4." in text_of(tls_store.download(bucket, tmp_path / "d")) and s.guard.metrics()["chaperone_upload_failures_total"] == 0
        log = s.guard.stderr()
    assert "first/secret" not in log and "second/secret" not in log


def documented_policy(bucket):
    """The example of docs/records.md, for this bucket."""
    text = (run.ROOT / "docs/records.md").read_text().split("```json\n")[1].split("```")[0]
    assert json.loads(text)["Statement"][0]["Sid"] == "GuardsWrite"
    return json.loads(text.replace(":::records", f":::{bucket}").replace("/chaperone/*", "/audit/*"))


def test_the_documented_policy_lets_guards_write_and_auditors_read(tls_store, authority, tmp_path):
    bucket = bucket_of(tls_store)
    for name in ("chaperone-guard", "auditor"):
        admin(tls_store, "create-user", "--access", name, "--secret", f"{name}/secret", "--role", "user")
    status, _, body = tls_store.request("PUT", f"/{bucket}", json.dumps(documented_policy(bucket)).encode(), query="policy=")
    assert status == 204, body
    broken = documented_policy(bucket)
    broken["Statement"][0]["Action"].append("s3:NoSuchAction")
    assert tls_store.request("PUT", f"/{bucket}", json.dumps(broken).encode(), query="policy=")[0] == 400, "the store reads what it is given"
    args = upload_args(tls_store, bucket, tmp_path / "cred")
    objectstore.ObjectStore.credentials(tmp_path / "cred", "chaperone-guard", "chaperone-guard/secret")
    run.write_file(tmp_path / "cred/ca.crt", authority.pem)
    with stack_with(tls_store, bucket, args) as s:
        work(s, "policy")
        all_uploaded(s)

    def by(who, method, path, **options):
        return tls_store.request(method, path, access=who, secret=f"{who}/secret", **options)[0]
    key, version = next(v for v in tls_store.versions(bucket) if v[0].endswith(".zst"))
    for who in ("chaperone-guard", "auditor"):
        assert by(who, "DELETE", f"/{bucket}/{key}") == 403
        assert by(who, "DELETE", f"/{bucket}/{key}", query=f"versionId={version}") == 403
    assert by("chaperone-guard", "GET", f"/{bucket}/{key}") == 403 == by("chaperone-guard", "GET", f"/{bucket}", query="list-type=2")
    assert by("chaperone-guard", "PUT", f"/{bucket}/elsewhere") == 403 == by("auditor", "PUT", f"/{bucket}/audit/x")
    assert by("auditor", "GET", f"/{bucket}/{key}") == 200 == by("auditor", "GET", f"/{bucket}", query="list-type=2")


def test_the_documented_policy_is_good_for_a_role_too(minio):
    """Without principals, as policies of users and roles are; MinIO reads them strictly."""
    policy = documented_policy("records")
    for statement in policy["Statement"]:
        del statement["Principal"]
    put = "/minio/admin/v3/add-canned-policy"
    status, _, body = minio.request("PUT", put, json.dumps(policy).encode(), query="name=documented")
    assert status == 200, body
    policy["Statement"][0]["Action"].append("s3:NoSuchAction")
    assert minio.request("PUT", put, json.dumps(policy).encode(), query="name=broken")[0] == 400


@pytest.fixture(scope="module")
def idp():
    with issuer.Issuer(audience="records-store") as i:
        yield i


@pytest.fixture(scope="module")
def minio(idp):
    with objectstore.Minio(idp, WRITE_ONLY) as m:
        yield m


def token_args(minio, bucket, tmp_path, token, *more):
    path = run.write_file(tmp_path / "token", token + "\n", mode=0o600)
    return ["--upload", f"s3://{bucket}/audit", "--s3-endpoint", minio.endpoint, "--s3-region", objectstore.REGION, "--segment-seconds", "1",
            "--s3-lock", "Compliance:1d", "--s3-role", minio.role_arn, "--s3-token", path, "--s3-sts", minio.endpoint + "/", *more]


def test_keys_for_a_token_of_the_guard(minio, idp, tmp_path):
    """No secret anywhere: MinIO checks the token with the issuer's keys, and gives keys of an hour."""
    bucket = bucket_of(minio)
    with stack_with(minio, bucket, token_args(minio, bucket, tmp_path, idp.token(sub="system:serviceaccount:agents:guard"))) as s:
        work(s, "token")
        all_uploaded(s)
        (tmp_path / "token").unlink()  # the keys are at hand for an hour: it is not needed for each object
        work(s, "cached")
        all_uploaded(s)
        folder, key = stopped(s, tmp_path)
        assert guard("verify", "--strict", "--key", key, folder).returncode == 0
        assert "token-4." in text_of(folder) and "cached-4." in text_of(folder)
        assert idp.token()[:20] not in s.guard.stderr()
        assert all(minio.head(bucket, k)[1]["x-amz-object-lock-mode"] == "COMPLIANCE" for k in keys(s))


class TokenService:
    """In front of MinIO's own: passes requests on, changes when the keys end, counts, and fails when told."""

    def __init__(self, minio):
        self.asked, self.failing, self.lasts, self.forms = 0, False, 3600, []
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                service.asked += 1
                service.forms.append((self.path, self.headers["content-type"], urllib.parse.parse_qs(body.decode(), strict_parsing=True)))
                c = http.client.HTTPConnection(minio.host, minio.port, timeout=20)
                c.request("POST", "/", body, {"content-type": "application/x-www-form-urlencoded"})
                answer = c.getresponse()
                ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + service.lasts))
                data = re.sub(rb"<Expiration>[^<]+", b"<Expiration>" + ends.encode(), answer.read())
                status = 503 if service.failing else answer.status
                self.send_response(status)
                self.send_header("content-length", str(0 if service.failing else len(data)))
                self.end_headers()
                self.wfile.write(b"" if service.failing else data)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def test_keys_are_kept_until_five_minutes_before_their_end(minio, idp, tmp_path):
    bucket, service = bucket_of(minio), TokenService(minio)
    args = token_args(minio, bucket, tmp_path, idp.token())
    args[args.index("--s3-sts") + 1] = service.url
    with stack_with(minio, bucket, args) as s:
        for i in range(3):
            work(s, f"hour-{i}")
            all_uploaded(s)
        assert service.asked == 1, "one exchange for all objects of an hour"
        path, kind, form = service.forms[0]
        assert path == "/" and kind == "application/x-www-form-urlencoded" and form == {
            "Action": ["AssumeRoleWithWebIdentity"], "Version": ["2011-06-15"], "RoleArn": [minio.role_arn], "RoleSessionName": ["agent-0"],
            "DurationSeconds": ["3600"], "WebIdentityToken": [(tmp_path / "token").read_text().strip()]}
    service.lasts = 290  # too near: asked for anew each time, and used all the same while the service fails
    with stack_with(minio, bucket, args) as s:
        work(s, "short")
        all_uploaded(s)
        many = service.asked
        assert many >= 3
        service.failing = True
        work(s, "failing")
        all_uploaded(s)
        assert service.asked > many and s.guard.metrics()["chaperone_upload_failures_total"] == 0
        service.failing = False
    service.lasts = -10  # ended already: nothing can be sent with them
    with stack_with(minio, bucket, args) as s:
        service.failing = True
        stays_anyhow(s, "--s3-sts answered 503", "ended")
        service.failing = False
        service.lasts = 3600
        all_uploaded(s, 60)
    service.server.shutdown()


@pytest.mark.parametrize("how", ["forged", "expired", "audience", "no file", "empty", "role"])
def test_a_token_that_is_not_good_is_refused_until_it_is(minio, idp, tmp_path, how):
    bucket = bucket_of(minio)
    bad = {"forged": idp.token(key=issuer.Key("RS256", "k1")), "expired": idp.token(ttl=-60), "audience": idp.token(aud="others"), "empty": ""}
    args = token_args(minio, bucket, tmp_path, bad.get(how, idp.token()))
    if how == "no file":
        (tmp_path / "token").unlink()
    if how == "role":
        args[args.index("--s3-role") + 1] = "arn:minio:iam:::role/none"
    with stack_with(minio, bucket, args) as s:
        stays(s, {"no file": "cannot read", "empty": "holds no token"}.get(how, "--s3-sts answered 40"), "kept")
        if how == "role":
            s.guard.kill()
        else:
            run.write_file(tmp_path / "token", idp.token(), mode=0o600)
            all_uploaded(s, 60)
            assert "upload: ok" in readyz(s)


def test_a_role_without_rights_is_refused_by_the_store(minio, idp, tmp_path):
    """The policy of the role allows nothing outside of audit/."""
    bucket = bucket_of(minio)
    args = token_args(minio, bucket, tmp_path, idp.token())
    args[1] = f"s3://{bucket}/elsewhere"
    with stack_with(minio, bucket, args) as s:
        stays(s, "403 AccessDenied", "kept")
        s.guard.kill()  # in order it would try for 15 s


# ---- encryption by the store ----

@pytest.mark.parametrize("sse,says", [("AES256", {"": "AES256"}), ("aws:kms", {"": "aws:kms"}), (
    f"aws:kms:{objectstore.Minio.KMS_KEY}", {"": "aws:kms", "-aws-kms-key-id": f"arn:aws:kms:{objectstore.Minio.KMS_KEY}"})])
def test_the_store_encrypts_as_asked(minio, tmp_path, sse, says):
    bucket = bucket_of(minio)
    with stack_with(minio, bucket, upload_args(minio, bucket, tmp_path / "cred", "--s3-sse", sse)) as s:
        work(s, "sse")
        all_uploaded(s)
        folder, key = stopped(s, tmp_path)
        for k in keys(s):
            headers = minio.head(bucket, k)[1]
            assert all(headers["x-amz-server-side-encryption" + tail] == v for tail, v in says.items()), headers
            assert headers["x-amz-object-lock-mode"] == "COMPLIANCE"
        assert "sse-4." in text_of(folder) and guard("verify", "--strict", "--key", key, folder).returncode == 0


def test_a_key_that_the_store_has_not(minio, tmp_path):
    bucket = bucket_of(minio)
    with stack_with(minio, bucket, upload_args(minio, bucket, tmp_path / "cred", "--s3-sse", "aws:kms:another-key")) as s:
        stays(s, "KeyNotFound", "kept")
        s.guard.kill()


def test_a_store_that_passes_over_what_was_asked_is_told_on(tls_store, authority, tmp_path):
    """versitygw answers 200 and encrypts nothing: the file stays in the spool."""
    bucket = bucket_of(tls_store)
    args = upload_args(tls_store, bucket, tmp_path / "cred", "--s3-sse", "AES256")
    run.write_file(tmp_path / "cred/ca.crt", authority.pem)
    with stack_with(tls_store, bucket, args) as s:
        stays(s, "not encrypted so", "kept")
        assert waiting(s)
        s.guard.kill()


# ---- encryption to a certificate ----

def auditor(folder, name, kind):
    key, cert = folder / f"{name}.key", folder / f"{name}.crt"
    subprocess.run(["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-keyout", key, "-out", cert, "-subj", f"/CN={name}", "-days", "1"],
                   check=True, capture_output=True)
    return key, cert


RSA, EC = ["rsa:3072"], ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]


def openssl_opens(folder, key, to):
    """Each envelope by the openssl program; nothing of ours."""
    for path in folder.rglob("*"):
        if path.is_file():
            plain = to / path.relative_to(folder)
            plain.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".cms":
                subprocess.run(["openssl", "cms", "-decrypt", "-inform", "DER", "-in", path, "-inkey", key, "-out", plain.with_suffix("")],
                               check=True, capture_output=True)
            else:
                plain.write_bytes(path.read_bytes())
    return to


@pytest.mark.sanitize
@pytest.mark.parametrize("inline", [False, True])
def test_only_the_auditors_read_what_is_stored(tls_store, authority, tmp_path, inline):
    bucket = bucket_of(tls_store)
    ann, bob = auditor(tmp_path, "ann", RSA), auditor(tmp_path, "bob", EC)
    both = run.write_file(tmp_path / "both.crt", ann[1].read_text() + bob[1].read_text())
    args = upload_args(tls_store, bucket, tmp_path / "cred", *(["--encrypt-to-inline", both.read_text()] if inline else ["--encrypt-to", both]))
    run.write_file(tmp_path / "cred/ca.crt", authority.pem)
    with stack_with(tls_store, bucket, args) as s:
        work(s, "secret", 30)
        all_uploaded(s)
        folder, key = stopped(s, tmp_path)
        assert not list(s.guard.spool.glob("*.cms")), "envelopes go with what they held"
    names = [p.name for p in folder.rglob("*") if p.is_file()]
    assert sum(n.endswith(".pub") for n in names) == 1 and all(n.endswith((".jsonl.zst.cms", ".pub")) for n in names), names
    everything = b"".join(p.read_bytes() for p in folder.rglob("*.cms"))
    assert b"\x28\xb5\x2f\xfd" not in everything and b"chaperone" not in everything, "neither zstd nor a seal is in sight"
    for who in (ann, bob):
        plain = openssl_opens(folder, who[0], tmp_path / f"plain-{who[0].stem}")
        assert all(f"secret-{i}." in text_of(plain) for i in range(30))
        assert guard("verify", "--strict", "--key", key, plain).stdout.count(": OK ") == 2
        assert guard("verify", "--strict", "--key", key, "--decrypt-key", who[0], folder).stdout.count(": OK ") == 2
    eve = auditor(tmp_path, "eve", EC)
    with pytest.raises(subprocess.CalledProcessError):
        openssl_opens(folder, eve[0], tmp_path / "nothing")


def test_an_upload_that_was_interrupted_goes_on_with_the_same_bytes(authority, tmp_path):
    """The store has the envelope and the guard dies before it hears of it: the next one must not make another."""
    own = objectstore.ObjectStore().start()
    try:
        own.bucket(BUCKET)
        ann = auditor(tmp_path, "ann", EC)
        s = stack_with(own, BUCKET, upload_args(own, BUCKET, tmp_path / "cred", "--encrypt-to", ann[1]))
        own.stop()
        s.guard.start()
        work(s, "interrupted")
        run.wait_for(lambda: list(s.guard.spool.glob("*.cms")), 20, what="an envelope that waits")
        s.guard.kill()
        (envelope, *_) = s.guard.spool.glob("*.cms")
        content = envelope.read_bytes()
        (s.guard.spool / "GONE.000000.jsonl.zst.cms").write_bytes(b"its segment has been stored and removed")
        own.start()
        status, _, body = own.request("PUT", f"/{BUCKET}/audit/agents/agent-0/{envelope.name}", content)
        assert status == 200, body
        s.guard.start()
        all_uploaded(s, 30)
        folder, _ = stopped(s, tmp_path)
        assert next(folder.rglob(envelope.name)).read_bytes() == content
        assert "interrupted-4." in text_of(openssl_opens(folder, ann[0], tmp_path / "plain"))
        assert not list(folder.rglob("GONE*")) and not list(s.guard.spool.glob("*.cms"))
        s.guard.close(check=False)
    finally:
        own.__exit__()


@pytest.mark.parametrize("args,word", [
    (["--s3-style", "host"], "--s3-style"), (["--s3-sse", "DES"], "--s3-sse"), (["--s3-sse", "aws:kms:"], "--s3-sse"),
    (["--s3-role", "arn:x"], "--s3-token"), (["--s3-token", "/tmp/x"], "--s3-role"), (["--s3-sts", "https://sts"], "--s3-sts"),
    (["--s3-role", "a", "--s3-token", "/x", "--s3-sts", "http://sts.example.com"], "without TLS only localhost"),
    (["--s3-role", "a", "--s3-token", "/x", "--s3-sts", "http://localhost.example.com"], "--s3-sts"),
    (["--upload-rate", "1Ki"], "--upload-rate"), (["--encrypt-to", "/nonexistent"], "/nonexistent"),
    (["--encrypt-to-inline", "no PEM"], "no certificate"), (["--encrypt-to", "/x", "--encrypt-to-inline", "y"], "exclude")])
def test_wrong_options_are_refused_with_their_name(tmp_path, args, word):
    (tmp_path / "p").mkdir()
    done = subprocess.run([run.program("chaperone-sidecar"), "--policies", tmp_path / "p", "--spool", tmp_path / "s", "--listen", "127.0.0.1:1=db",
                           "--upload", "s3://bucket/x", "--s3-credentials", tmp_path, *args], capture_output=True, text=True, timeout=20)
    assert done.returncode in (1, 2) and word in done.stderr, done.stderr


@pytest.mark.parametrize("option", ["--s3-sse", "--s3-style", "--s3-role", "--encrypt-to", "--upload-rate"])
def test_options_without_an_upload_are_refused(tmp_path, option):
    (tmp_path / "p").mkdir()
    done = subprocess.run([run.program("chaperone-sidecar"), "--policies", tmp_path / "p", "--spool", tmp_path / "s", "--listen", "127.0.0.1:1=db",
                           option, "64Ki"], capture_output=True, text=True, timeout=20)
    assert done.returncode in (1, 2) and "--upload" in done.stderr, done.stderr
