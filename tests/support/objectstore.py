# SPDX-License-Identifier: Apache-2.0
"""A real S3 with Object Lock: versitygw over a directory, as tests/support/install-deps built it.

    with ObjectStore() as store:
        store.bucket("records")
        store.endpoint, store.credentials("dir")     # what a guard is told
        store.keys("records"), store.get("records", key)
freeze() and thaw() make it slow to the point of silence; stop() and start() take it away and back.
Requests are signed here, by hand: a second opinion on what the guard signs.
"""

import base64
import datetime
import hashlib
import hmac
import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import urllib.parse

from . import run as r

PROGRAM = r.CACHE / "s3" / "versitygw"
MINIO = r.CACHE / "minio" / "minio"
ACCESS, SECRET, REGION = "guard-access", "guard-secret/with+signs", "eu-test-1"


def available():
    return PROGRAM.exists() and MINIO.exists()


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signature(method, path, query, headers, digest, date, access, secret):
    """The Authorization header of AWS Signature Version 4 for S3."""
    names = sorted(headers)
    canonical = "\n".join([method, path, query, *[f"{n}:{headers[n]}" for n in names], "", ";".join(names), digest])
    scope = f"{date[:8]}/{REGION}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = _hmac(_hmac(_hmac(_hmac(("AWS4" + secret).encode(), date[:8]), REGION), "s3"), "aws4_request")
    return (f"AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={';'.join(names)}, "
            f"Signature={hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}")


class Client:
    """Requests to the store at host and port; context: an SSLContext, or None for plain HTTP."""

    def __init__(self, host, port, context=None):
        self.host, self.port, self.context = host, port, context
        self.endpoint = f"http{'s' if context else ''}://{host}:{port}"

    def request(self, method, path, body=b"", *, query="", headers=None, access=ACCESS, secret=SECRET):
        """(status, headers, body). query is written canonically: sorted, with `=`."""
        date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        path = urllib.parse.quote(path)
        sent = {"host": f"{self.host}:{self.port}", "x-amz-date": date, "x-amz-content-sha256": digest,
                **{k.lower(): v for k, v in (headers or {}).items()}}
        sent["authorization"] = signature(method, path, query, sent, digest, date, access, secret)
        c = (http.client.HTTPSConnection(self.host, self.port, timeout=20, context=self.context) if self.context
             else http.client.HTTPConnection(self.host, self.port, timeout=20))
        try:
            c.request(method, path + ("?" + query if query else ""), body, sent)
            a = c.getresponse()
            return a.status, {k.lower(): v for k, v in a.getheaders()}, a.read()
        finally:
            c.close()

    # ---- what tests ask ----

    def bucket(self, name, lock=True):
        status, _, body = self.request("PUT", f"/{name}", headers={"x-amz-bucket-object-lock-enabled": "true"} if lock else {})
        assert status == 200, body

    def keys(self, bucket):
        found = []
        while True:
            after = "&start-after=" + urllib.parse.quote(found[-1], safe="") if found else ""
            status, _, body = self.request("GET", f"/{bucket}", query="list-type=2" + after)
            assert status == 200, body
            found += sorted(re.findall(r"<Key>([^<]+)</Key>", body.decode()))
            if b"<IsTruncated>true" not in body:
                return found

    def versions(self, bucket):
        """(key, version id) of every version, not of delete markers."""
        status, _, body = self.request("GET", f"/{bucket}", query="versions=")
        assert status == 200, body
        return [(re.search(r"<Key>([^<]+)", v)[1], re.search(r"<VersionId>([^<]+)", v)[1])
                for v in re.findall(r"<Version>(.*?)</Version>", body.decode(), re.DOTALL)]

    def get(self, bucket, key):
        status, headers, body = self.request("GET", f"/{bucket}/{key}")
        assert status == 200, body
        return body

    def head(self, bucket, key):
        return self.request("HEAD", f"/{bucket}/{key}", headers={"x-amz-checksum-mode": "ENABLED"})[:2]

    def download(self, bucket, folder):
        """Every object as a file under folder, as `aws s3 sync` would."""
        for key in self.keys(bucket):
            path = folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.get(bucket, key))
        return folder


class ObjectStore(Client):
    """authority: speaks TLS with a certificate of it, as `localhost`; domain: buckets may be names of hosts in it."""

    def __init__(self, authority=None, domain=None):
        super().__init__("localhost" if authority or domain else "127.0.0.1", r.free_port(),
                         ssl.create_default_context(cafile=authority.ca) if authority else None)
        self.dir = r.temp_dir("s3")
        self.leaf = authority.issue("localhost", ["localhost", "s3.localhost", "*.s3.localhost"], directory=self.dir) if authority else None
        self.domain = domain
        for name in ("data", "versions", "iam"):
            (self.dir / name).mkdir()
        self.process = None

    def _argv(self):
        return [PROGRAM, "--port", f"127.0.0.1:{self.port}", "--region", REGION, "--access", ACCESS, "--secret", SECRET,
                "--iam-dir", self.dir / "iam", *(["--cert", self.leaf[0], "--key", self.leaf[1]] if self.leaf else []),
                *(["--virtual-domain", self.domain] if self.domain else []),
                "posix", "--versioning-dir", self.dir / "versions", self.dir / "data"]

    def _env(self):
        return {"PATH": os.environ["PATH"], "HOME": str(self.dir)}

    def start(self):
        with open(self.dir / "log", "ab") as log:
            self.process = subprocess.Popen([*r.die_with_parent(), *map(str, self._argv())], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=self._env(), cwd=self.dir)
        r.wait_for(self._answers, 20, what="the object store")
        return self

    __enter__ = start

    def stop(self):
        self.thaw()
        r.stop(self.process)
        self.process = None

    def __exit__(self, *_):
        if self.process:
            self.stop()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        if self.process:
            self.process.send_signal(signal.SIGCONT)

    def _answers(self):
        if self.process.poll() is not None:
            raise r.Fatal((self.dir / "log").read_text()[-2000:])
        try:
            return self.request("GET", "/")[0] == 200
        except OSError:
            return False

    @staticmethod
    def credentials(folder, access=ACCESS, secret=SECRET):
        """A directory as a mounted Secret has it."""
        r.write_file(folder / "accessKeyId", access, mode=0o600)
        r.write_file(folder / "secretAccessKey", secret, mode=0o600)
        return folder


class Minio(ObjectStore):
    """Another real store, for what the first has not: a token service and encryption. issuer: whose tokens it takes, for the
    role whose policy is `policy` (`role_arn` is how MinIO calls it)."""

    KMS_KEY = "records-key"

    def __init__(self, issuer=None, policy=None):
        self.issuer, self.policy = issuer, policy
        super().__init__()

    def _argv(self):
        return [MINIO, "server", "--address", f"127.0.0.1:{self.port}", self.dir / "data"]

    def _env(self):
        env = {**super()._env(), "MINIO_ROOT_USER": ACCESS, "MINIO_ROOT_PASSWORD": SECRET, "MINIO_SITE_REGION": REGION, "MINIO_BROWSER": "off",
               "MINIO_UPDATE": "off", "MINIO_KMS_SECRET_KEY": f"{self.KMS_KEY}:{base64.b64encode(bytes(range(32))).decode()}",
               "GOMAXPROCS": "2"}
        if self.issuer:
            env |= {"MINIO_IDENTITY_OPENID_CONFIG_URL": self.issuer.address + "/.well-known/openid-configuration",
                    "MINIO_IDENTITY_OPENID_CLIENT_ID": self.issuer.audience, "MINIO_IDENTITY_OPENID_ROLE_POLICY": "guards"}
        return env

    def start(self):
        super().start()
        if self.policy:
            r.wait_for(self._takes_policy, 30, what="MinIO's policies")
        return self

    def _takes_policy(self):
        status, _, body = self.request("PUT", "/minio/admin/v3/add-canned-policy", json.dumps(self.policy).encode(), query="name=guards")
        if status not in (200, 503):
            raise r.Fatal(body)
        return status == 200

    __enter__ = start

    @property
    def role_arn(self):
        return re.search(r"arn:minio:iam:\S*:role/\S+", (self.dir / "log").read_text())[0]
