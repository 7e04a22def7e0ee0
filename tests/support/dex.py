# SPDX-License-Identifier: Apache-2.0
"""Dex, a real OpenID Connect provider, as tests/support/install-deps built it.

    with Dex() as dex:
        dex.issuer, dex.token("chaperone")
Its one user is the mock connector's: Kilgore Trout, of the group "authors".
"""

import base64
import http.client
import json
import os
import subprocess
import urllib.parse
import urllib.request

from . import run as r

PROGRAM = r.CACHE / "dex" / "dex"
GROUPS = ["authors"]
BACK = "http://127.0.0.1/back"

CONFIG = """
issuer: {issuer}
storage: {{type: memory}}
web: {{http: "127.0.0.1:{port}"}}
expiry: {{idTokens: {lifetime}}}
oauth2: {{skipApprovalScreen: true}}
connectors:
- {{type: mockCallback, id: mock, name: Mock}}
staticClients:
- {{id: chaperone, name: guard, secret: client-secret, redirectURIs: ["{back}"]}}
- {{id: elsewhere, name: other, secret: client-secret, redirectURIs: ["{back}"]}}
"""


def available():
    return PROGRAM.exists()


class Dex:
    def __init__(self, lifetime="10m"):
        self.lifetime = lifetime
        self.process = None

    def __enter__(self):
        port = r.free_port()
        self.issuer = f"http://127.0.0.1:{port}/dex"
        self.dir = r.temp_dir("dex")
        config = r.write_file(self.dir / "config.yaml", CONFIG.format(
            issuer=self.issuer, port=port, lifetime=self.lifetime, back=BACK))
        with open(self.dir / "log", "ab") as log:
            self.process = subprocess.Popen([*r.die_with_parent(), str(PROGRAM), "serve", str(config)],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={"PATH": os.environ["PATH"], "HOME": str(self.dir)}, cwd=self.dir)
        r.wait_for(self._answers, 20, what="Dex")
        return self

    def __exit__(self, *_):
        r.stop(self.process)

    def _answers(self):
        if self.process.poll() is not None:
            raise r.Fatal((self.dir / "log").read_text()[-2000:])
        with urllib.request.urlopen(f"{self.issuer}/.well-known/openid-configuration", timeout=5) as a:
            return json.load(a)["issuer"] == self.issuer

    def _code(self, client, scope):
        """The browser's part of the authorization code flow: redirects, until one leads back to us."""
        at = f"{self.issuer}/auth?" + urllib.parse.urlencode({
            "client_id": client, "redirect_uri": BACK, "response_type": "code", "scope": scope, "state": "s"})
        for _ in range(10):
            url = urllib.parse.urlsplit(at)
            c = http.client.HTTPConnection(url.netloc, timeout=20)
            try:
                c.request("GET", f"{url.path}?{url.query}")
                where = c.getresponse().getheader("Location")
            finally:
                c.close()
            at = urllib.parse.urljoin(at, where)
            if at.startswith(BACK):
                return urllib.parse.parse_qs(urllib.parse.urlsplit(at).query)["code"][0]
        raise RuntimeError(f"no way back from {at}")

    def token(self, client="chaperone", scope="openid email groups"):
        """An ID token for that client."""
        form = {"grant_type": "authorization_code", "code": self._code(client, scope), "redirect_uri": BACK}
        secret = base64.b64encode(f"{client}:client-secret".encode()).decode()
        q = urllib.request.Request(f"{self.issuer}/token", urllib.parse.urlencode(form).encode(),
                                   {"Authorization": f"Basic {secret}"})
        with urllib.request.urlopen(q, timeout=20) as a:
            return json.load(a)["id_token"]
