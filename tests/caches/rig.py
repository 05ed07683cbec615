"""nginx and squid with the files of contrib/, and nodes that fetch through them."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from institute import FILES, OBSERVATORY

BINARY = os.environ["CRDS_FS"]
CONTRIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../contrib")
LIMIT = 120
# Nothing else of this machine is there, so that a port can be used again.
HOST = "127.83.0.1"


def free_port():
    with socket.socket() as found:
        found.bind((HOST, 0))
        return found.getsockname()[1]


def listener(port):
    """The inode number of the socket that listens at a port of this address."""
    address = f"{int.from_bytes(socket.inet_aton(HOST), sys.byteorder):08X}:{port:04X}"
    with open("/proc/net/tcp") as table:
        for line in table.read().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if (local, state) == (address, "0A"):
                return rest[5]
    return None


def sockets(process):
    """The inode numbers of the sockets that a process has open."""
    found = set()
    directory = f"/proc/{process}/fd"
    # It may end, or close one, meanwhile.
    with contextlib.suppress(OSError):
        for number in os.listdir(directory):
            with contextlib.suppress(OSError):
                found.add(os.readlink(f"{directory}/{number}").removeprefix("socket:[").rstrip("]"))
    return found


def put(text, old, new):
    """Replaces a pattern, which must be there: the files of contrib/ are tried as they are but for this."""
    changed, count = re.subn(old, new, text, flags=re.MULTILINE)
    assert count, f"there is no {old!r} in the configuration"
    return changed


class Cache:
    """A program that caches, as a process with a directory of its own."""

    def __init__(self, institute):
        # Programs that root starts leave root, and must find their way there.
        self.root = tempfile.mkdtemp(prefix="crds-fs-caches-")
        os.chmod(self.root, 0o755)
        self.institute = institute
        self.kept = self.path("kept")
        self.log = open(self.path("out"), "w+")
        self.process = None
        for _ in range(10):
            # Another process may take the port before the program does.
            self.port = free_port()
            self.start()
            if self.listens():
                return
            self.end()
        raise AssertionError(f"it does not start: {self.said()}")

    def path(self, name):
        return os.path.join(self.root, name)

    def run(self, *command, user=None, directory=None):
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, user=user, group=user,
            extra_groups=[] if user else None, cwd=directory or self.root,
        )

    def listens(self):
        """Waits until the program itself listens at the port, whoever else may do so before it."""
        begun = time.monotonic()
        while self.process.poll() is None and time.monotonic() - begun < LIMIT:
            if listener(self.port) in sockets(self.process.pid):
                return True
            time.sleep(0.01)
        return False

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def said(self):
        text = ""
        for name in ("out", "error.log", "cache.log"):
            if os.path.exists(self.path(name)):
                with open(self.path(name), errors="replace") as log:
                    text += log.read()[-4000:]
        return text

    def close(self):
        self.end()
        self.log.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def largest(self, name, size):
        """The largest file on its disk, when a file of this name and size is there, which may be after it was sent on."""
        begun = time.monotonic()
        while not self.has_kept(name, size):
            assert time.monotonic() - begun < LIMIT, self.said()
            time.sleep(0.02)
        return max(self.kept_files(), key=os.path.getsize)

    def kept_files(self):
        return [os.path.join(at, name) for at, _, names in os.walk(self.kept) for name in names]


class Nginx(Cache):
    def has_kept(self, _, size):
        # What is on its way has another name, with a dot in it.
        files = self.kept_files()
        return not any("." in os.path.basename(path) for path in files) and sum(map(os.path.getsize, files)) >= size

    def configuration(self):
        with open(os.path.join(CONTRIB, "nginx/crds-cache.conf")) as text:
            conf = text.read()
        conf = put(conf, "/var/cache/nginx/crds", self.kept)
        conf = put(conf, "min_free=10g", "min_free=1m")
        conf = put(conf, "listen 8080;", f"listen {HOST}:{self.port};")
        conf = put(conf, r"server [a-z]+-crds\.stsci\.edu:443;", f"server 127.0.0.1:{self.institute.port};")
        return put(conf, "/etc/ssl/certs/ca-certificates.crt", self.institute.certificate[0])

    def start(self):
        places = "".join(
            f"{kind}_temp_path {self.path('temp')};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;" if os.geteuid() == 0 else ""
        with open(self.path("nginx.conf"), "w") as out:
            out.write(
                f"daemon off; {user} pid {self.path('pid')}; error_log {self.path('error.log')};\n"
                "events {}\nhttp {\nlog_format lengths '$request_method $body_bytes_sent of $sent_http_content_length';\n"
                f"access_log {self.path('access.log')} lengths;\n{places}{self.configuration()}}}\n"
            )
        self.run("nginx", "-c", self.path("nginx.conf"), "-e", self.path("error.log"))

    def finish(self):
        """Ends all that it is about, whether somebody still waits for it or not, and begins anew with what it keeps."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(LIMIT)
        self.start()
        assert self.listens(), f"it does not start again: {self.said()}"

    def cut_off(self):
        """The number of requests whose client left in the middle. It asks for the next slice while it sends one, and throws
        it away when it sees then that nobody is there."""
        self.finish()
        with open(self.path("access.log")) as log:
            return sum(int(sent) < int(length) for sent, length in re.findall(r"^GET (\d+) of (\d+)$", log.read(), re.MULTILINE))

    def source(self):
        return f"http://{HOST}:{self.port}"

    def server(self):
        return f"http://{HOST}:{self.port}/{OBSERVATORY}"

    def forget(self, name):
        """As contrib/README.md tells."""
        kind = "mappings" if name.endswith("map") else "references"
        done = subprocess.run(
            ["grep", "-rlaF", f"KEY: /{kind}/{OBSERVATORY}/{name}", self.kept], capture_output=True, text=True, check=True
        )
        for path in done.stdout.splitlines():
            os.unlink(path)


class Squid(Cache):
    def cut_off(self):
        """None, for what it is asked for: it goes on with a file whose client left (quick_abort)."""
        return 0

    def has_kept(self, name, _):
        with open(self.path("store.log")) as log:
            return any(" SWAPOUT " in line and line.rstrip().endswith(f"/{name}") for line in log)

    def start(self):
        with open(os.path.join(CONTRIB, "squid/crds-cache.conf")) as text:
            conf = text.read()
        conf = put(conf, "^http_port 8080 ", f"http_port {HOST}:{self.port} ")
        conf = put(conf, "/var/spool/squid 500000 64 256", f"{self.kept} 4000 4 16")
        conf = put(conf, " parent 443 ", f" parent {self.institute.port} ")
        conf = put(conf, " tls ", f" tls tls-cafile={self.institute.certificate[0]} ")
        with open(self.path("hosts"), "w") as hosts:
            hosts.writelines(f"127.0.0.1 {name}-crds.stsci.edu\n" for name in ("hst", "jwst", OBSERVATORY))
        with open(self.path("squid.conf"), "w") as out:
            out.write(
                f"{conf}\nhosts_file {self.path('hosts')}\npid_filename {self.path('pid')}\n"
                f"access_log stdio:{self.path('access.log')}\ncache_log {self.path('cache.log')}\n"
                f"cache_store_log stdio:{self.path('store.log')}\n"
                "pinger_enable off\nnetdb_filename none\ncoredump_dir none\nshutdown_lifetime 0 seconds\n"
            )
        os.makedirs(self.kept, exist_ok=True)
        self.name = f"crdsfs{os.getpid()}p{self.port}"
        user = None
        if os.geteuid() == 0:
            # It refuses to run as root.
            user = "proxy"
            for path in (self.root, self.kept):
                shutil.chown(path, user, user)
        self.run("squid", "-n", self.name, "-N", "-z", "-f", self.path("squid.conf"), user=user)
        self.process.wait(LIMIT)
        self.run("squid", "-n", self.name, "-N", "-f", self.path("squid.conf"), user=user)

    def source(self):
        return f"http://{HOST}:{self.port}{FILES}{{kind}}/{{obs}}/{{name}}"

    def forget(self, name):
        """As contrib/README.md tells."""
        kind = "mappings" if name.endswith("map") else "references"
        with socket.create_connection((HOST, self.port)) as asked:
            request = f"PURGE {FILES}{kind}/{OBSERVATORY}/{name} HTTP/1.1\r\nHost: cache\r\nConnection: close\r\n\r\n"
            asked.sendall(request.encode())
            answer = asked.recv(1 << 16)
            assert b" 200 " in answer.split(b"\r\n")[0], answer

    def close(self):
        super().close()
        for name in os.listdir("/dev/shm"):
            if name.startswith(f"{self.name}-"):
                os.unlink(f"/dev/shm/{name}")


class Node:
    """A machine with a cache of its own, which begins empty."""

    def __init__(self, *sources, server):
        self.root = tempfile.mkdtemp(prefix="crds-fs-caches-node-")
        self.cache = os.path.join(self.root, "cache")
        os.mkdir(self.cache)
        self.settings = ["--server", f"{OBSERVATORY}={server}"]
        for source in sources:
            self.settings += ["--source", source]
        self.process = None

    def start(self, *names):
        command = [BINARY, "fetch", "--cache", self.cache, *self.settings, *names]
        self.process = subprocess.Popen(
            command, env={"PATH": os.environ["PATH"], "HOME": self.root}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )

    def wait(self):
        said = self.process.communicate(timeout=5 * LIMIT)[0]
        return self.process.returncode, said

    def fetch(self, *names):
        self.start(*names)
        return self.wait()

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def path(self, name):
        kind = "mappings" if name.endswith("map") else "references"
        return os.path.join(self.cache, kind, OBSERVATORY, name)

    def has(self, name):
        return os.path.exists(self.path(name))

    def read(self, name):
        with open(self.path(name), "rb") as data:
            return data.read()

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.root, ignore_errors=True)
