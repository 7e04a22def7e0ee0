# SPDX-License-Identifier: Apache-2.0
"""A store's bad days: a proxy in front of a real one. `mode` is looked at for each request, and while it is passed on:

    pass            everything goes through
    slow            so many bytes a second towards the store (`rate`)
    answer          the store is not asked: `status`, `code` and `message` are the answer
    cut request     the connection is reset in the middle of what is sent
    cut answer      the store has answered, and the connection is reset before the answer passes
    hang            nothing is passed on, and nothing is said
"""

import re
import socket
import socketserver
import struct
import threading
import time

from . import run as r


class FaultProxy:
    def __init__(self, host, port):
        self.upstream = (host, port)
        self.mode, self.rate = "pass", 4096
        self.status, self.code, self.message = 503, "SlowDown", "Reduce your request rate"
        self.requests = {}  # mode -> how many
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                try:
                    outer.serve(self.request)
                except OSError:
                    pass

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

        self.server = Server(("127.0.0.1", r.free_port()), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, status, code, message=""):
        self.status, self.code, self.message, self.mode = status, code, message, "answer"

    def count(self, mode):
        return self.requests.get(mode, 0)

    # ---- one connection ----

    @staticmethod
    def reset(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def serve(self, client):
        while True:
            request = self.message_of(client)
            if not request:
                return
            mode = self.mode
            self.requests[mode] = self.requests.get(mode, 0) + 1
            if mode == "hang":
                while self.mode == "hang":
                    time.sleep(0.05)
                return self.reset(client)
            if mode == "answer":
                client.sendall(self.error(request.startswith(b"HEAD")))
                continue
            with socket.create_connection(self.upstream, 20) as store:
                if not self.forward(store, request, mode):
                    return self.reset(client)
                answer = self.message_of(store, head=request.startswith(b"HEAD"))
            if mode == "cut answer":
                return self.reset(client)
            client.sendall(answer)

    def forward(self, store, request, mode):
        if mode == "cut request":
            store.sendall(request[:len(request) - len(request) // 3])
            return False
        if mode != "slow":
            store.sendall(request)
            return True
        at = 0
        while at < len(request):
            step = len(request) if self.mode != "slow" else max(1, self.rate // 20)
            store.sendall(request[at:at + step])
            at += step
            time.sleep(0.05)
        return True

    @staticmethod
    def message_of(sock, head=False):
        """A whole HTTP/1.1 message; b"" when the other side has closed."""
        data = b""
        while b"\r\n\r\n" not in data:
            some = sock.recv(65536)
            if not some:
                return b""
            data += some
            if b"\r\n\r\n" in data and re.search(rb"(?i)\r\nexpect: *100-continue", data):
                sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        front = data.index(b"\r\n\r\n") + 4
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", data[:front])
        want = front + (int(length[1]) if length and not head else 0)
        while len(data) < want:
            some = sock.recv(65536)
            if not some:
                return b""
            data += some
        return data

    def error(self, head):
        body = f"<?xml version=\"1.0\"?><Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>".encode()
        front = f"HTTP/1.1 {self.status} Fault\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        return front if head else front + body
