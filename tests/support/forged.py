# SPDX-License-Identifier: Apache-2.0
"""Forged and unfit tokens, each with a word of the reason that a guard gives: the same for every protocol.

    for name, (make, reason) in FORGED.items():
        make(issuer)    # support.issuer.Issuer, whose audience, pod and keys the guard knows
"""

import time

from .issuer import Key, b64, compact, hs256


def big(i):
    return i.token(padding="x" * (1 << 20))


def truncated(i):
    return i.token()[:-20]


def payload_swapped(i):
    head, _, sig = i.token().split(".")
    return f"{head}.{b64(i.claims(sub='root', groups=['dba']))}.{sig}"


def duplicate_claims(i):
    text = '{"iss":"%s","sub":"ann","sub":"root","aud":"chaperone","exp":%d}' % (i.url, time.time() + 300)
    return i.token(raw=text.encode())


def nested(i):
    inner = i.token()
    return i.token(header=i.header(cty="JWT"), raw=inner.encode())


def jwk_in_header(i):
    mine = Key("RS256", "mine")
    return i.token(key=mine, header={"alg": "RS256", "kid": "mine", "jwk": mine.jwk()})


def stranger(i):
    return i.token(key=Key("RS256", "k1"))


FORGED = {
    "empty": (lambda i: "", "token is needed"),
    "a password": (lambda i: "hunter2", "no token"),
    "alg none": (lambda i: compact({"alg": "none"}, i.claims(), lambda d: b""), "not signed"),
    "alg none with a signature": (lambda i: i.token(header=i.header(alg="none")), "'none' are not accepted"),
    "alg NONE": (lambda i: i.token(header=i.header(alg="NONE")), "not accepted"),
    "no alg": (lambda i: i.token(header={"kid": "k1"}), "names no algorithm"),
    "hmac with the public key": (lambda i: compact(i.header(alg="HS256"), i.claims(), hs256(i.key.pem())), "HS256"),
    "rs512 with an rs256 key": (lambda i: compact(i.header(alg="RS512"), i.claims(), lambda d: i.key.sign(d, "RS512")),
                                "its key is for RS256"),
    "ps256 with an rs256 key": (lambda i: compact(i.header(alg="PS256"), i.claims(), lambda d: i.key.sign(d, "PS256")),
                                "its key is for RS256"),
    "kid traversal": (lambda i: i.token(header=i.header(kid="../../../../dev/null")), "no key with the id"),
    "kid injection": (lambda i: i.token(header=i.header(kid="k1' OR '1'='1")), "no key with the id"),
    "kid is a number": (lambda i: i.token(header=i.header(kid=1)), "key id"),
    "jku": (lambda i: i.token(header=i.header(jku=f"{i.address}/keys")), "'jku'"),
    "x5u": (lambda i: i.token(header=i.header(x5u="https://evil.example/c")), "'x5u'"),
    "x5c": (lambda i: i.token(header=i.header(x5c=["AAAA"])), "'x5c'"),
    "jwk": (jwk_in_header, "'jwk'"),
    "crit": (lambda i: i.token(header=i.header(crit=["b64"], b64=False)), "'crit'"),
    "nested": (nested, "'cty'"),
    "typ": (lambda i: i.token(header=i.header(typ="secevent+jwt")), "type other"),
    "wrong issuer": (lambda i: i.token(iss="https://evil.example"), "is not trusted"),
    "issuer with a slash": (lambda i: i.token(iss=i.url + "/"), "is not trusted"),
    "issuer list": (lambda i: i.token(iss=[i.url]), "names no issuer"),
    "no issuer": (lambda i: i.token(iss=None), "names no issuer"),
    "wrong audience": (lambda i: i.token(aud="other"), "audience"),
    "no audience": (lambda i: i.token(aud=None), "audience"),
    "expired": (lambda i: i.token(ttl=-90), "has expired"),
    "no expiry": (lambda i: i.token(exp=None), "no expiry"),
    "expiry as text": (lambda i: i.token(exp=str(int(time.time()) + 300)), "is no number"),
    "not yet valid": (lambda i: i.token(nbf=int(time.time()) + 300), "not valid yet"),
    "from the future": (lambda i: i.token(iat=int(time.time()) + 300), "in the future"),
    "ten years": (lambda i: i.token(ttl=10 * 365 * 86400), "lives too long"),
    "no subject": (lambda i: i.token(sub=None), "subject"),
    "one megabyte": (big, "longer than 16384"),
    "over the limit": (lambda i: i.token(padding="x" * 16000), "longer than 16384"),
    "truncated": (truncated, "the token's signature is"),
    "cut in the middle": (lambda i: i.token()[:100], "three parts"),
    "five parts": (lambda i: i.token() + ".a.b", "three parts"),
    "duplicate claims": (duplicate_claims, "twice"),
    "deep claims": (lambda i: i.token(raw=b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}"), "nested too deeply"),
    "claims are a list": (lambda i: i.token(raw=b"[]"), "no JSON object"),
    "claims are no utf-8": (lambda i: i.token(raw=b'{"sub":"\xff"}'), "UTF-8"),
    "padded base64": (lambda i: i.token() + "==", "base64url"),
    "another's payload": (payload_swapped, "signature is wrong"),
    "another's key": (stranger, "signature is wrong"),
    "system group": (lambda i: i.token(groups=["system:masters"]), "cluster's group"),
    "another pod's": (lambda i: i.account_token("agents", "agent-1", "other", "agent"), "another pod's"),
    "no pod's": (lambda i: i.token(**{"kubernetes.io": {"namespace": "agents"}}), "not bound to a pod"),
}
