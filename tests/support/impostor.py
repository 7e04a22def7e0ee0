# SPDX-License-Identifier: Apache-2.0
"""Servers that a guard must not trust: one accepts whoever comes and notes what it is told.

    class Mine(Impostor):
        def talk(self, client):          # one connection; closed afterwards
            self.got += client.recv(100)

    with Mine() as bad:
        ...                              # bad.port
    bad.served                           # connections that are over
"""

import socket
import ssl
import threading


class Impostor:
    """Attributes: host, port, served (connections that are over), got (what talk() notes, bytes)."""

    def __init__(self):
        self.host = "127.0.0.1"
        self.listener = socket.create_server((self.host, 0))
        self.port = self.listener.getsockname()[1]
        self.got, self.served = b"", 0

    def talk(self, client):
        raise NotImplementedError

    def __enter__(self):
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def _serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            client.settimeout(5)
            try:
                self.talk(client)
            except (OSError, EOFError):
                pass
            finally:
                client.close()
                self.served += 1


def server_context(authority, *names):
    """TLS of a server that calls itself that."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(names[0], list(names)))
    return context
