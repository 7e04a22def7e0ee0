# SPDX-License-Identifier: Apache-2.0
"""A wire between two ends of a TCP connection that can be told to change a bit of what passes.

    with Wire(("127.0.0.1", port)) as wire:
        connect(wire.port); wire.flip("up"); …      # "up": towards the server, "down": from it
"""

import socket
import threading


class Wire:
    def __init__(self, to):
        self.to = to
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.armed = {"up": False, "down": False}
        self.flipped = 0
        self.passed = {"up": 0, "down": 0}
        self.sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def flip(self, direction):
        """In the next piece in that direction a bit of the first packet arrives changed."""
        self.armed[direction] = True

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection(self.to, timeout=10)
            except OSError:
                return
            far.settimeout(None)
            self.sockets += [near, far]
            for a, b, way in ((near, far, "up"), (far, near, "down")):
                threading.Thread(target=self._carry, args=(a, b, way), daemon=True).start()

    def _carry(self, a, b, way):
        try:
            while piece := a.recv(65536):
                self.passed[way] += len(piece)
                if self.armed[way] and len(piece) > 16:
                    self.armed[way] = False
                    self.flipped += 1
                    piece = piece[:8] + bytes([piece[8] ^ 1]) + piece[9:]
                b.sendall(piece)
        except OSError:
            pass
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.listener.close()
        for s in self.sockets:
            s.close()
