# SPDX-License-Identifier: Apache-2.0
"""A real browser without a screen: Debian's Chromium, steered by its driver through W3C WebDriver, which is JSON over HTTP.

    with Browser() as b:
        b.open(path); b.script("return document.title"); b.click("#play"); b.screenshot(path); b.complaints()
"""
import base64
import json
import pathlib
import shutil
import subprocess
import urllib.error
import urllib.request

from . import run as r


def available():
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


class Browser:
    def __init__(self, javascript=True, dark=False, size=(1200, 1600)):
        self.javascript, self.dark, self.size = javascript, dark, size

    def __enter__(self):
        self.dir = r.temp_dir("browser")
        self.port = r.free_port()
        self.process = subprocess.Popen([*r.die_with_parent(), "chromedriver", f"--port={self.port}"], cwd=self.dir,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self._environment())
        r.wait_for(self._ready, 20, what="the browser's driver")
        args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                f"--window-size={self.size[0]},{self.size[1]}", *(["--force-dark-mode"] if self.dark else [])]
        options = {"args": args, "prefs": {} if self.javascript else {"profile.managed_default_content_settings.javascript": 2}}
        self.session = "/session/" + self._call("POST", "/session", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}})["sessionId"]
        return self

    def _environment(self):
        import os
        return {"PATH": os.environ["PATH"], "HOME": str(self.dir), "TMPDIR": str(self.dir)}

    def __exit__(self, *_):
        try:
            self._call("DELETE", self.session)
        finally:
            r.stop(self.process)
            shutil.rmtree(self.dir, ignore_errors=True)

    def _call(self, method, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method,
                                         data=json.dumps(body).encode() if body is not None else None)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as e:
            raise AssertionError(e.read().decode()) from None

    def _ready(self):
        try:
            return self._call("GET", "/status")["ready"]
        except OSError:
            return False

    def open(self, path):
        self._call("POST", self.session + "/url", {"url": path if "://" in str(path) else pathlib.Path(path).resolve().as_uri()})

    def script(self, text, *args):
        return self._call("POST", self.session + "/execute/sync", {"script": text, "args": args})

    def source(self):
        return self._call("GET", self.session + "/source")

    def elements(self, css):
        return [next(iter(e.values())) for e in self._call("POST", self.session + "/elements", {"using": "css selector", "value": css})]

    def click(self, css):
        self._call("POST", f"{self.session}/element/{self.elements(css)[0]}/click", {})

    def text(self, css):
        return self._call("GET", f"{self.session}/element/{self.elements(css)[0]}/text")

    def shown(self, css):
        return sum(self._call("GET", f"{self.session}/element/{e}/displayed") for e in self.elements(css))

    def dialog(self):
        """The text of a box that a script has opened, or None."""
        try:
            return self._call("GET", self.session + "/alert/text")
        except AssertionError:
            return None

    def screenshot(self, path):
        pathlib.Path(path).write_bytes(base64.b64decode(self._call("GET", self.session + "/screenshot")))

    def complaints(self):
        """What the console said: refused scripts, failed requests, exceptions."""
        return [e["message"] for e in self._call("POST", self.session + "/se/log", {"type": "browser"})]
