# SPDX-License-Identifier: Apache-2.0
"""A target that does not behave: an SSH server whose answers a test chooses. For what a real sshd cannot be made to do.

    with FakeSshd(on_exec=lambda channel, command: channel.sendall(b"…")) as d:
        d.port, d.host_key, d.commands
"""

import socket
import threading

import paramiko


class FakeSshd(paramiko.ServerInterface):
    def __init__(self, on_exec=None, on_subsystem=None, on_transport=None, prompts=None):
        self.key = paramiko.ECDSAKey.generate()
        self.host_key = f"ecdsa-sha2-nistp256 {self.key.get_base64()}"
        self.on_exec, self.on_subsystem = on_exec, on_subsystem
        self.on_transport, self.prompts = on_transport, prompts
        self.commands, self.answers, self.passwords, self.transports = [], [], [], []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.user = "agent"

    # ---- what paramiko asks ----

    def get_allowed_auths(self, username):
        return "keyboard-interactive" if self.prompts else "password,publickey"

    def check_auth_none(self, username):
        return paramiko.AUTH_FAILED

    def check_auth_publickey(self, username, key):
        return paramiko.AUTH_SUCCESSFUL

    def check_auth_password(self, username, password):
        self.passwords.append(password)
        return paramiko.AUTH_FAILED if self.prompts else paramiko.AUTH_SUCCESSFUL

    def check_auth_interactive(self, username, submethods):
        return paramiko.InteractiveQuery("", "", *self.prompts)

    def check_auth_interactive_response(self, responses):
        self.answers.append(responses)
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, command):
        self.commands.append(command)
        if self.on_exec:
            threading.Thread(target=self._later, args=(self.on_exec, channel, command), daemon=True).start()
        return True

    def check_channel_subsystem_request(self, channel, name):
        self.commands.append(name)
        if self.on_subsystem:
            threading.Thread(target=self._later, args=(self.on_subsystem, channel, name), daemon=True).start()
        return True

    def check_channel_env_request(self, channel, name, value):
        return True

    @staticmethod
    def _later(what, channel, text):
        try:
            what(channel, text)
        except (OSError, EOFError, paramiko.SSHException):
            pass

    # ---- life ----

    def _serve(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            t = paramiko.Transport(s)
            t.add_server_key(self.key)
            self.transports.append(t)
            if self.on_transport:
                self.on_transport(t)
            try:
                t.start_server(server=self, event=threading.Event())
            except (paramiko.SSHException, EOFError, OSError):
                pass

    def __enter__(self):
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.listener.close()
        for t in self.transports:
            t.close()
