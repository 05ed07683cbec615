"""Mounts in the states that the page tells of, over the observatory of the demonstration behind a slow link."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time

BINARY = os.environ["CRDS_FS"]
LIMIT = 120
PMAP = "roman_0002.pmap"
BIG = ["roman_wfi_flat_0002.asdf", "roman_wfi_dark_0001.asdf", "roman_wfi_area_0001.fits", "roman_wfi_mask_0001.fits"]
GONE = "roman_wfi_distortion_0001.asdf"


class Link:
    """A relay that passes on so many bytes per second and connection."""

    def __init__(self, port):
        self.port, self.rate, self.ends = port, None, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.port))
            self.ends += [near, far]
            threading.Thread(target=self.relay, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self.relay, args=(far, near, True), daemon=True).start()

    def close(self):
        for end in [self.listener, *self.ends]:
            end.close()

    def relay(self, source, sink, slow):
        try:
            while data := source.recv(4096):
                sink.sendall(data)
                if slow and self.rate:
                    time.sleep(len(data) / self.rate)
        except OSError:
            # Either end may leave at any time.
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def clean_environment():
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ} | {"CRDS_FS_PREFETCH": "none"}


def run(*arguments):
    subprocess.run([BINARY, *arguments], check=True, env=clean_environment(), stdout=subprocess.DEVNULL)


def first_url(*arguments):
    """Starts a command that serves, and gives its process and the URL that it tells first."""
    process = subprocess.Popen([BINARY, *arguments], env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return process, process.stdout.readline().split()[0]


class Scene:
    def __init__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="crds-fs-page-")
        self.path = self.directory.name
        self.processes, self.mounts = [], {}
        cache = os.path.join(self.path, "cache")
        run("demo", "--write", cache)
        server, url = first_url("serve", cache, "--datasets", f"{cache}/datasets.json", "--listen", "127.0.0.1:0")
        self.processes.append(server)
        self.wait_ready(server)
        os.remove(os.path.join(cache, "references/roman", GONE))
        self.link = Link(int(url.split("/")[2].split(":")[1]))

    @staticmethod
    def wait_ready(server):
        while server.stdout.readline().strip() != "ready":
            if server.poll() is not None:
                raise RuntimeError("the server ended")

    def mount(self, name, observatories):
        """Mounts, and gives the URL of the page about it. Only Roman has a server."""
        place, store = self.place(name), self.store(name)
        os.makedirs(place)
        os.makedirs(store, exist_ok=True)
        servers = []
        for observatory in observatories:
            servers += ["--server", f"{observatory}=http://{self.link.address}/{observatory}"]
        log = os.path.join(self.path, name + ".log")
        run("mount", place, "--cache", store, "--observatory", ",".join(observatories), *servers, "--log-file", log, "-q", "--timeout", "2min")
        page, url = first_url("status", place, "--serve", "127.0.0.1:0")
        self.processes.append(page)
        self.mounts[name] = page
        return url

    def await_catalog(self, name):
        """Waits until the mount has Roman's catalog, for which no lookup waits long."""
        latest = os.path.join(self.place(name), "bestrefs/roman-latest")
        begun = time.monotonic()
        while True:
            try:
                assert os.readlink(latest) == PMAP
                return
            except OSError:
                if time.monotonic() - begun > LIMIT:
                    raise
                time.sleep(0.05)

    def place(self, name):
        return os.path.join(self.path, name)

    def store(self, name):
        return os.path.join(self.path, name + ".store")

    def fill(self, name):
        """Puts files without contents into the store, as large as those of a mission."""
        for observatory, parts in {
            "hst": {"acs": 160, "cos": 12, "stis": 30, "wfc3": 90, "wfpc2": 10, "nicmos": 4},
            "jwst": {"miri": 500, "nircam": 700, "niriss": 300, "nirspec": 380, "fgs": 80},
            "roman": {"wfi": 900},
        }.items():
            directory = os.path.join(self.store(name), "references", observatory)
            os.makedirs(directory)
            for place, (instrument, size) in enumerate(parts.items()):
                for number in range(8 + place):
                    with open(f"{directory}/{observatory}_{instrument}_gain_{number + 100:04}.fits", "wb") as file:
                        file.truncate(size * (number + 1) << 17)

    def touch(self, name, *observatories):
        """Looks at the files of observatories, which asks for their catalogs."""
        for observatory in observatories:
            # Some have no server.
            with contextlib.suppress(OSError):
                os.listdir(os.path.join(self.place(name), "references", observatory))

    def open(self, name, *files):
        """Opens files in the mount, each in a process of its own, which waits."""
        for file in files:
            path = os.path.join(self.place(name), "references/roman", file)
            self.processes.append(subprocess.Popen(["head", "-c", "1", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def kill(self, name):
        with open(os.path.join(self.place(name), ".crds-fs/status.json")) as file:
            pid = int(file.read().split('"pid": ')[1].split(",")[0])
        os.kill(pid, signal.SIGKILL)

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        for name in self.mounts:
            subprocess.run([BINARY, "umount", "--lazy", self.place(name)], env=clean_environment(), stderr=subprocess.DEVNULL)
        self.link.close()
        self.directory.cleanup()
