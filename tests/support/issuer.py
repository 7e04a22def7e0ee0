# SPDX-License-Identifier: Apache-2.0
"""An issuer of tokens, of the test's own: discovery and keys over HTTP on this machine, keys that rotate,
tokens made to order and forged.

    with Issuer() as idp:
        idp.yaml()                       # an entry for --issuers
        idp.token(groups=["dba"])        # for psycopg's password
"""

import base64
import hashlib
import hmac
import http.server
import json
import threading
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature


def b64(data):
    if not isinstance(data, bytes):
        data = json.dumps(data).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(n, size=None):
    return b64(n.to_bytes(size or (n.bit_length() + 7) // 8, "big"))


HASHES = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}


class Key:
    def __init__(self, alg, kid):
        self.alg, self.kid = alg, kid
        if alg[:2] in ("RS", "PS"):
            self.private = rsa.generate_private_key(65537, 2048)
        elif alg[:2] == "ES":
            self.private = ec.generate_private_key(ec.SECP256R1() if alg == "ES256" else ec.SECP384R1())
        else:
            self.private = ed25519.Ed25519PrivateKey.generate()

    def jwk(self):
        out = {"kid": self.kid, "alg": self.alg, "use": "sig"}
        public = self.private.public_key()
        if self.alg[:2] in ("RS", "PS"):
            n = public.public_numbers()
            out.update(kty="RSA", n=_number(n.n), e=_number(n.e))
        elif self.alg[:2] == "ES":
            n, size = public.public_numbers(), public.curve.key_size // 8
            out.update(kty="EC", crv=f"P-{public.curve.key_size}", x=_number(n.x, size), y=_number(n.y, size))
        else:
            raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            out.update(kty="OKP", crv="Ed25519", x=b64(raw))
        return out

    def pem(self):
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def sign(self, data, alg=None):
        alg = alg or self.alg
        if alg == "EdDSA":
            return self.private.sign(data)
        h = HASHES[alg[2:]]()
        if alg[:2] == "RS":
            return self.private.sign(data, padding.PKCS1v15(), h)
        if alg[:2] == "PS":
            return self.private.sign(data, padding.PSS(padding.MGF1(h), h.digest_size), h)
        r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(h)))
        size = self.private.curve.key_size // 8
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def compact(header, claims, sign):
    text = f"{b64(header)}.{b64(claims)}"
    return f"{text}.{b64(sign(text.encode()))}"


def hs256(secret):
    return lambda data: hmac.new(secret, data, hashlib.sha256).digest()


class Issuer:
    """Attributes: url, keys (published, by kid), asked (requests for the keys so far), broken."""

    def __init__(self, alg="RS256", audience="chaperone", name=None):
        self.audience = audience
        self.key = Key(alg, "k1")
        self.keys = {"k1": self.key}
        self.asked = 0
        self.broken = False
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                issuer._answer(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.url = name or self.address

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def _answer(self, handler):
        if self.broken:
            handler.send_error(503)
            return
        if handler.path == "/.well-known/openid-configuration":
            body = {"issuer": self.url, "jwks_uri": f"{self.address}/keys"}
        elif handler.path == "/keys":
            self.asked += 1
            body = {"keys": [k.jwk() for k in self.keys.values()]}
        else:
            handler.send_error(404)
            return
        data = json.dumps(body).encode()
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def yaml(self, more=""):
        """One entry of the issuers' file; more: further fields, as in a flow mapping."""
        return f'{{issuer: "{self.url}", audience: {self.audience}{", " if more else ""}{more}}}'

    def rotate(self, kid, keep_old=True):
        """Signs with a new key from now on."""
        if not keep_old:
            self.keys.clear()
        self.key = self.keys[kid] = Key(self.key.alg, kid)

    def claims(self, sub="ann", ttl=300, **more):
        now = int(time.time())
        out = {"iss": self.url, "sub": sub, "aud": self.audience, "iat": now, "exp": now + ttl, **more}
        return {k: v for k, v in out.items() if v is not None}

    def header(self, **more):
        return {"alg": self.key.alg, "kid": self.key.kid, **more}

    def token(self, *, key=None, header=None, raw=None, **claims):
        """A token with those claims (None: left out). raw: the payload's bytes instead."""
        key = key or self.key
        header = header or {"alg": key.alg, "kid": key.kid}
        return compact(header, raw if raw is not None else self.claims(**claims), lambda d: key.sign(d))

    def account_token(self, namespace, pod, pod_uid, service_account, **claims):
        """As the API server makes them for a projected volume."""
        return self.token(sub=f"system:serviceaccount:{namespace}:{service_account}", **{
            "aud": [self.audience],
            "kubernetes.io": {"namespace": namespace, "pod": {"name": pod, "uid": pod_uid},
                              "serviceaccount": {"name": service_account, "uid": "sa-uid"}}, **claims})
