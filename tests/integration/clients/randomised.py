# SPDX-License-Identifier: Apache-2.0
"""Random conversations of the extended protocol, for differential tests and for leak tests."""
from clients import raw

NAMES, PORTALS = ["", "a", "b"], ["", "p", "q"]


def batch(rng, texts):
    """Some messages that end with Sync: names that exist or do not, errors of every stage, portals in pieces."""
    def bind():
        values, formats = rng.choice([(), ("7",), ("x",), (None,)]), rng.choice([(), (0,), (1,)])
        return raw.bind(rng.choice(PORTALS), rng.choice(NAMES), values, (), formats)

    def whole():
        name, portal = rng.choice(NAMES), rng.choice(PORTALS)
        closing = raw.close("S", name) if rng.random() < 0.5 else b""
        return closing + raw.parse(name, rng.choice(texts)) + raw.bind(portal, name) + raw.execute(portal, rng.choice([0, 1]))

    def again():
        name, portal = rng.choice(NAMES), rng.choice(PORTALS)
        return raw.bind(portal, name, (), (), rng.choice([(), (1,)])) + raw.execute(portal, rng.choice([0, 1]))

    makers = [
        whole, whole, again, again,
        lambda: raw.parse(rng.choice(NAMES), rng.choice(texts)),
        lambda: raw.parse("", rng.choice(texts)),
        bind,
        lambda: raw.describe("S", rng.choice(NAMES)),
        lambda: raw.describe("P", rng.choice(PORTALS)),
        lambda: raw.execute(rng.choice(PORTALS), rng.choice([0, 0, 1, 2])),
        lambda: raw.execute(rng.choice(PORTALS)),
        lambda: raw.close("S", rng.choice(NAMES)),
        lambda: raw.close("P", rng.choice(PORTALS)),
        lambda: raw.FLUSH,
        lambda: raw.query(rng.choice(texts)),
        lambda: raw.SYNC,
        lambda: raw.parse("", "SELECT $1::int") + raw.bind("", "", ["5"]) + raw.describe("P") + raw.execute(),
    ]
    return [rng.choice(makers)() for _ in range(rng.randint(1, 12))] + [raw.SYNC]


def trickle(rng, client, data, pause=0.002):
    """Sends in pieces of random size, sometimes waiting a little. False: the peer closed."""
    at = 0
    while at < len(data):
        n = rng.choice([1, 2, 5, 17, 60, 300, 2000])
        try:
            client.send(data[at:at + n])
        except OSError:
            return False
        at += n
        if rng.random() < 0.05:
            client.silent_for(pause)
    return True
