"""A CRDS server, a site server over it, and the tools of two versions of the Python client."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request

BINARY = os.environ["CRDS_FS"]
LIMIT = 300
OBSERVATORY = "roman"
# The environments of both clients, by version.
CLIENTS = {"14": os.path.dirname(os.path.dirname(os.path.abspath(sys.executable))), "13": os.environ["CRDS_FS_SITE_OTHER"]}


def environment(**more):
    """An environment that knows nothing of this one's CRDS settings or proxies."""
    keep = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LANG", "LD_LIBRARY_PATH") if key in os.environ}
    return {**keep, "PYTHONDONTWRITEBYTECODE": "1", "NO_PROXY": "*", "no_proxy": "*", **more}


class Server:
    """`crds-fs serve`, until `close`."""

    def __init__(self, *arguments, log):
        self.log = open(log, "w")
        self.process = subprocess.Popen(
            [BINARY, "serve", *arguments], stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment()
        )
        self.url = None
        for line in self.process.stdout:
            if line.strip() == "ready":
                return
            self.url = line.split()[0]
        raise RuntimeError(f"the server did not start: see {log}")

    def get(self, path):
        base = self.url.rsplit("/", 1)[0]
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(base + path, timeout=60) as reply:
            return reply.read().decode()

    def counters(self):
        return json.loads(self.get("/.counters"))

    def downloads(self):
        """GET requests so far, by file."""
        return {name: count["gets"] for name, count in self.counters()["files"].items() if count["gets"]}

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        self.log.close()


class Rig:
    """A small observatory on a server of its own, and a site server with an empty cache."""

    def __init__(self):
        self.root = tempfile.mkdtemp(prefix="crds-fs-site-")
        self.servers = []
        try:
            self.cache = self.path("upstream")
            subprocess.run([BINARY, "demo", "--write", self.cache], check=True, timeout=LIMIT, env=environment())
            self.datasets = os.path.join(self.cache, "datasets.json")
            self.upstream = self.serve(self.cache, "--datasets", self.datasets, log="upstream.log")
            self.site = self.start_site()
        except BaseException:
            self.close()
            raise

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def serve(self, *arguments, log):
        server = Server(*arguments, "--listen", "127.0.0.1:0", log=self.path(log))
        self.servers.append(server)
        return server

    def start_site(self):
        return self.serve(self.path("site"), "--upstream", f"{OBSERVATORY}={self.upstream.url}", log="site.log")

    def close(self):
        for server in reversed(self.servers):
            server.close()
        shutil.rmtree(self.root, ignore_errors=True)


def tool(version, url, path, *arguments):
    """Runs the `crds` tool of a version of the client with its cache in `path`, against the server at `url`."""
    ran = subprocess.run(
        [os.path.join(CLIENTS[version], "bin", "crds"), *arguments],
        env=environment(CRDS_PATH=path, CRDS_SERVER_URL=url, CRDS_OBSERVATORY=OBSERVATORY),
        capture_output=True, text=True, timeout=LIMIT,
    )
    if ran.returncode != 0:
        raise AssertionError(f"crds {arguments} of {version} at {url} ended with {ran.returncode}:\n{ran.stdout}\n{ran.stderr}")
    return ran.stdout, ran.stderr
