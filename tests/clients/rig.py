"""A served and mounted cache, and the Python client in processes of its own.

The client writes its defaults into the environment of the process that imports it, so every use is a fresh process with
an environment made from nothing.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

BINARY = os.environ["CRDS_FS"]
SHARED = os.environ["CRDS_FS_SHARED_CACHE"]
LIMIT = 300


class Observatory:
    """One observatory of a cache: its contexts, and headers whose references are in the cache."""

    def __init__(self, name, contexts, cases):
        self.name = name
        self.contexts = contexts
        self.cases = cases


def roman(detector, element, exposure="WFI_IMAGE"):
    return {
        "ROMAN.META.INSTRUMENT.NAME": "WFI",
        "ROMAN.META.INSTRUMENT.DETECTOR": detector,
        "ROMAN.META.INSTRUMENT.OPTICAL_ELEMENT": element,
        "ROMAN.META.EXPOSURE.TYPE": exposure,
        "ROMAN.META.EXPOSURE.START_TIME": "2027-01-01 00:00:00",
    }


ACS = {"INSTRUME": "ACS", "DETECTOR": "WFC", "DATE-OBS": "2005-01-01", "TIME-OBS": "00:00:00"}
MIRI = {
    "META.INSTRUMENT.NAME": "MIRI",
    "META.INSTRUMENT.DETECTOR": "MIRIMAGE",
    "META.INSTRUMENT.FILTER": "F560W",
    "META.OBSERVATION.DATE": "2019-01-01",
    "META.OBSERVATION.TIME": "00:00:00",
}

# What is asked of the shared cache: rules of three observatories; of the references only a few are there.
SHARED_OBSERVATORIES = [
    Observatory(
        "roman",
        ["roman_0004.pmap", "roman_0005.pmap"],
        [("roman_0005.pmap", roman("WFI01", "F158"), ["dark"]), ("roman_0005.pmap", roman("WFI01", "GRISM"), ["flat", "distortion"])],
    ),
    Observatory("hst", ["hst_0427.pmap"], [("hst_0427.pmap", ACS, ["idctab"])]),
    Observatory("jwst", ["jwst_0541.pmap"], []),
]

# What is asked of the demonstration's observatory.
DEMO_OBSERVATORIES = [
    Observatory(
        "roman",
        ["roman_0001.pmap", "roman_0002.pmap"],
        [
            ("roman_0002.pmap", roman("WFI01", "F158"), ["dark", "flat", "area", "gain"]),
            ("roman_0001.pmap", roman("WFI16", "F158"), ["dark", "flat", "mask"]),
        ],
    ),
]


class Rig:
    """`crds-fs serve` over a cache and `crds-fs mount` of it, until `close`."""

    def __init__(self):
        self.root = tempfile.mkdtemp(prefix="crds-fs-clients-")
        self.mount = os.path.join(self.root, "mnt")
        self.server = None
        self.mounted = False
        os.mkdir(self.mount)
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self):
        if os.path.isdir(SHARED):
            self.cache, self.observatories = os.path.realpath(SHARED), SHARED_OBSERVATORIES
        else:
            self.cache, self.observatories = os.path.join(self.root, "cache"), DEMO_OBSERVATORIES
            subprocess.run([BINARY, "demo", "--write", self.cache], check=True, timeout=LIMIT)
        self.server = subprocess.Popen(
            [BINARY, "serve", self.cache, "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE, text=True, env=environment(),
        )
        self.urls = {}
        for line in self.server.stdout:
            if line.strip() == "ready":
                break
            url = line.split()[0]
            self.urls[url.rsplit("/", 1)[1]] = url
        else:
            raise RuntimeError("the server did not start")
        names = [observatory.name for observatory in self.observatories]
        command = [BINARY, "mount", self.mount, "--observatory", ",".join(names), "--log-file", os.path.join(self.root, "log")]
        for name in names:
            command += ["--server", f"{name}={self.urls[name]}"]
        subprocess.run(command, check=True, timeout=LIMIT, env=environment())
        self.mounted = True

    def settle(self):
        """Waits until nothing is being fetched."""
        begun = time.monotonic()
        while self.transfers():
            if time.monotonic() - begun > LIMIT:
                raise RuntimeError("it fetches without end")
            time.sleep(0.05)

    def transfers(self):
        with open(os.path.join(self.mount, ".crds-fs/status.json")) as status:
            return json.load(status)["transfers"]

    def counters(self):
        base = next(iter(self.urls.values())).rsplit("/", 1)[0]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(base + "/.counters", timeout=30) as reply:
            return json.load(reply)

    def umount(self):
        """Leaves the ordinary cache behind."""
        if self.mounted:
            subprocess.run([BINARY, "umount", self.mount], check=True, timeout=60, env=environment())
            deadline = time.monotonic() + 30
            while os.path.ismount(self.mount):
                if time.monotonic() > deadline:
                    raise RuntimeError("still mounted")
                time.sleep(0.05)
            self.mounted = False

    def close(self):
        try:
            self.umount()
        except Exception:
            subprocess.run([BINARY, "umount", "--lazy", self.mount], check=False, timeout=60, env=environment())
        if self.server is not None:
            self.server.send_signal(signal.SIGTERM)
            try:
                self.server.wait(20)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()
            self.server.stdout.close()
        # Never through a mount that is still there.
        if not os.path.ismount(self.mount):
            shutil.rmtree(self.root, ignore_errors=True)


def environment(**more):
    """An environment that knows nothing of this one's CRDS settings or proxies."""
    keep = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH") if key in os.environ}
    return {**keep, "PYTHONDONTWRITEBYTECODE": "1", "NO_PROXY": "*", **more}


def python(code, *arguments, messages=None, **variables):
    """Runs code with the arguments as JSON in `arguments`; the code sets `result`, which is the answer.

    What the client logs is added to the list `messages`.
    """
    program = (
        "import json, sys\n"
        "arguments = json.loads(sys.argv[1])\n"
        f"{code}\n"
        "sys.stdout.write('\\nRESULT ' + json.dumps(result))\n"
    )
    ran = run([sys.executable, "-B", "-c", program, json.dumps(arguments)], **variables)
    if messages is not None:
        messages += ran.stderr.splitlines()
    return json.loads(ran.stdout.rsplit("RESULT ", 1)[1])


def tool(*arguments, check=True, **variables):
    """Runs the `crds` command line tool, which must succeed unless `check` is false."""
    return run([os.path.join(os.path.dirname(sys.executable), "crds"), *arguments], check=check, **variables)


def run(command, check=True, **variables):
    ran = subprocess.run(command, env=environment(**variables), capture_output=True, text=True, timeout=LIMIT)
    if check and ran.returncode != 0:
        raise AssertionError(f"{command} ended with {ran.returncode}:\n{ran.stdout[-2000:]}\n{ran.stderr[-4000:]}")
    return ran
