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
import ssl
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
web: {web}
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
    def __init__(self, lifetime="10m", address="127.0.0.1", authority=None):
        """authority (tests.support.certs): HTTPS with a certificate of it."""
        self.lifetime, self.address, self.authority = lifetime, address, authority
        self.context = ssl.create_default_context(cadata=authority.pem) if authority else None
        self.process = None

    def _web(self, port):
        if not self.authority:
            return f'{{http: "{self.address}:{port}"}}'
        cert, key = self.authority.issue(self.address, [self.address])
        return f'{{https: "{self.address}:{port}", tlsCert: "{cert}", tlsKey: "{key}"}}'

    def __enter__(self):
        port = r.free_port(self.address)
        self.issuer = f"{'https' if self.authority else 'http'}://{self.address}:{port}/dex"
        self.dir = r.temp_dir("dex")
        config = r.write_file(self.dir / "config.yaml", CONFIG.format(
            issuer=self.issuer, web=self._web(port), lifetime=self.lifetime, back=BACK))
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
        with urllib.request.urlopen(f"{self.issuer}/.well-known/openid-configuration", timeout=5, context=self.context) as a:
            return json.load(a)["issuer"] == self.issuer

    def _code(self, client, scope):
        """The browser's part of the authorization code flow: redirects, until one leads back to us."""
        at = f"{self.issuer}/auth?" + urllib.parse.urlencode({
            "client_id": client, "redirect_uri": BACK, "response_type": "code", "scope": scope, "state": "s"})
        for _ in range(10):
            url = urllib.parse.urlsplit(at)
            c = (http.client.HTTPSConnection(url.netloc, timeout=20, context=self.context) if self.context
                 else http.client.HTTPConnection(url.netloc, timeout=20))
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
        with urllib.request.urlopen(q, timeout=20, context=self.context) as a:
            return json.load(a)["id_token"]
