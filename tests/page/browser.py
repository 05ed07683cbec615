"""Chromium without a window, by its debugging protocol."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import websocket

LIMIT = 60


class Browser:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="crds-fs-page-")
        flags = ["--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--hide-scrollbars"]
        if os.geteuid() == 0:
            # The sandbox needs an ordinary user.
            flags.append("--no-sandbox")
        self.process = subprocess.Popen(
            ["chromium", *flags, "--remote-debugging-port=0", f"--user-data-dir={self.directory}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        told = Path(self.directory, "DevToolsActivePort")
        deadline = time.monotonic() + LIMIT
        while not (told.exists() and len(told.read_text().split()) == 2):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise RuntimeError("chromium does not start")
            time.sleep(0.05)
        port, path = told.read_text().split()
        self.socket = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=LIMIT, suppress_origin=True)
        self.number = 0

    def close(self):
        if socket := getattr(self, "socket", None):
            socket.close()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def call(self, method, session=None, told=None, **params):
        """Calls a method; events that come before the result go to `told`."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        self.socket.send(json.dumps(message))
        while True:
            reply = json.loads(self.socket.recv())
            if reply.get("id") == self.number:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error']}")
                return reply["result"]
            if told is not None and "method" in reply:
                told.append(reply)

    def page(self, url, width=1200, scheme="light", scripts=True):
        return Tab(self, url, width, scheme, scripts)


class Tab:
    """A page that has loaded."""

    def __init__(self, browser, url, width, scheme, scripts):
        self.browser, self.events = browser, []
        self.target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ["Page", "Runtime", "Log"]:
            self.call(f"{domain}.enable")
        self.width = width
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        # The checks are no part of the page.
        self.call("Page.setBypassCSP", enabled=False)
        if not scripts:
            self.call("Emulation.setScriptExecutionDisabled", value=True)
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def call(self, method, **params):
        return self.browser.call(method, session=self.session, told=self.events, **params)

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)

    def run(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression[:200]}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait_for(self, expression):
        deadline = time.monotonic() + LIMIT
        while not self.run(expression):
            if time.monotonic() > deadline:
                raise RuntimeError(f"never: {expression}")
            time.sleep(0.05)

    def press(self, key):
        for kind in ["keyDown", "keyUp"]:
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode={"Tab": 9, "Enter": 13}[key], **text)

    def picture(self, path):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": self.width, "height": min(size["height"], 6000), "scale": 1}
        data = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    def complaints(self):
        """What the browser has to say: violated policies, failed requests, errors of scripts."""
        self.run("1")
        found = []
        for event in self.events:
            entry = event["params"].get("entry", {})
            if event["method"] == "Log.entryAdded" and entry.get("level") in ("error", "warning"):
                found.append(entry["text"])
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(event["params"]))
        return found
