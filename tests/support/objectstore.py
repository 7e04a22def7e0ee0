# SPDX-License-Identifier: Apache-2.0
"""A real S3 with Object Lock: versitygw over a directory, as tests/support/install-deps built it.

    with ObjectStore() as store:
        store.bucket("records")
        store.endpoint, store.credentials("dir")     # what a guard is told
        store.keys("records"), store.get("records", key)
freeze() and thaw() make it slow to the point of silence; stop() and start() take it away and back.
Requests are signed here, by hand: a second opinion on what the guard signs.
"""

import datetime
import hashlib
import hmac
import http.client
import os
import re
import signal
import subprocess
import urllib.parse

from . import run as r

PROGRAM = r.CACHE / "s3" / "versitygw"
ACCESS, SECRET, REGION = "guard-access", "guard-secret/with+signs", "eu-test-1"


def available():
    return PROGRAM.exists()


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
    def __init__(self):
        super().__init__("127.0.0.1", r.free_port())
        self.dir = r.temp_dir("s3")
        for name in ("data", "versions", "iam"):
            (self.dir / name).mkdir()
        self.process = None

    def start(self):
        with open(self.dir / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*r.die_with_parent(), str(PROGRAM), "--port", f"127.0.0.1:{self.port}", "--region", REGION,
                 "--access", ACCESS, "--secret", SECRET, "--iam-dir", str(self.dir / "iam"),
                 "posix", "--versioning-dir", str(self.dir / "versions"), str(self.dir / "data")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={"PATH": os.environ["PATH"], "HOME": str(self.dir)}, cwd=self.dir)
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
        return self.request("GET", "/")[0] == 200

    @staticmethod
    def credentials(folder, access=ACCESS, secret=SECRET):
        """A directory as a mounted Secret has it."""
        r.write_file(folder / "accessKeyId", access, mode=0o600)
        r.write_file(folder / "secretAccessKey", secret, mode=0o600)
        return folder
