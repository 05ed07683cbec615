"""An S3 server, a place between it and the mount where things go wrong, mounts, and a cache made for tests."""

import concurrent.futures
import hashlib
import http.client
import http.server
import json
import os
import pprint
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

import boto3
import botocore.config

BINARY = os.environ["CRDS_FS"]
SHARED = os.environ["CRDS_FS_SHARED_CACHE"]
HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT = 120
SERVERLESS = "https://crds-serverless-mode.stsci.edu"
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing-secret", "AWS_REGION": "us-east-1"}


def contents(name, size):
    """Bytes that depend on the name alone."""
    source = random.Random(name)
    return b"".join(source.randbytes(min(1 << 20, size - at)) for at in range(0, size, 1 << 20))


def sha1(data):
    return hashlib.sha1(data).hexdigest()


class Cache:
    """A CRDS cache in a directory: one context and some references of an observatory."""

    def __init__(self, root, files, observatory="roman"):
        self.root, self.observatory = root, observatory
        self.files = {}
        self.add(f"{observatory}_0001.pmap", b"header = {}\nselector = {}\n")
        for name, size in files.items():
            self.add(name, contents(name, size))
        self.describe()

    def add(self, name, data):
        kind = "mappings" if name.endswith("map") else "references"
        path = os.path.join(self.root, kind, self.observatory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(data)
        self.files[name] = data

    def describe(self):
        metadata = {
            name: {"size": str(len(data)), "sha1sum": sha1(data)} for name, data in self.files.items()
        }
        context = f"{self.observatory}_0001.pmap"
        info = {
            "observatory": self.observatory,
            "operational_context": context,
            "latest_context": context,
            "edit_context": context,
            "mappings": [context],
            "bad_files_list": [],
            "last_synced": "2026-01-01 00:00:00",
            "download_metadata": metadata,
            # Nobody listens there.
            "mapping_url": {self.observatory: "http://127.0.0.1:9/mappings"},
            "reference_url": {self.observatory: "http://127.0.0.1:9/references"},
        }
        directory = os.path.join(self.root, "config", self.observatory)
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, "server_config"), "w") as out:
            out.write(pprint.pformat(info))


class S3:
    """An S3 server."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-B", os.path.join(HERE, "s3_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.url = self.process.stdout.readline().strip()
        assert self.url, "the S3 server has not started"
        self.client = self.client_of("testing", "testing-secret")

    def client_of(self, key, secret, service="s3"):
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=botocore.config.Config(proxies={}),
        )

    def bucket(self, name, public=False):
        self.client.create_bucket(Bucket=name, ACL="public-read" if public else "private")

    def put(self, bucket, key, data, public=False):
        self.client.put_object(Bucket=bucket, Key=key, Body=data, ACL="public-read" if public else "private")

    def upload(self, bucket, prefix, root, public=False, wanted=lambda path: True):
        """Everything below a directory."""
        found = [os.path.relpath(os.path.join(directory, name), root) for directory, _, names in os.walk(root) for name in names]

        def put(below):
            with open(os.path.join(root, below), "rb") as data:
                self.put(bucket, f"{prefix}/{below}", data.read(), public)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(put, filter(wanted, found)))

    def ask_for_keys(self):
        """From now on requests must be signed by a user that there is."""
        address = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(address.hostname, address.port)
        connection.request("POST", "/moto-api/reset-auth", body="0")
        assert connection.getresponse().status == 200

    def stop(self):
        self.process.stdin.close()
        self.process.wait(LIMIT)
        self.process.stdout.close()


class Between:
    """A server that passes everything on to another one, and spoils some replies."""

    def __init__(self, url):
        self.lead_to(url)
        self.requests, self.methods = [], []
        # By the end of a path: how many times it is 503, or after how many bytes the connection ends.
        self.busy, self.cut = {}, {}
        # By the end of a path: how many times it is not there, whatever is there.
        self.absent = {}
        # How many writes of anything are 503.
        self.busy_writes = 0
        # By the end of a path: after how many bytes, of all replies together, nothing follows until it may go on.
        self.hold, self.lock = {}, threading.Lock()
        self.held, self.go_on = threading.Event(), threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do(self):
                try:
                    outer.answer(self)
                except ConnectionError:
                    # The mount may leave at any moment; that is its right.
                    self.close_connection = True

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def lead_to(self, url):
        address = urllib.parse.urlsplit(url)
        self.upstream = (address.hostname, address.port)

    def answer(self, request):
        name = request.path.split("?")[0].rsplit("/", 1)[-1]
        self.requests.append((name, request.headers.get("Range")))
        self.methods.append((request.command, name))
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        is_write = request.command in ("PUT", "POST")
        error = None
        if is_write and self.busy_writes > 0:
            self.busy_writes -= 1
            error = 503, "SlowDown"
        elif self.busy.get(name, 0) > 0:
            self.busy[name] -= 1
            error = 503, "SlowDown"
        elif request.command in ("GET", "HEAD") and self.absent.get(name, 0) > 0:
            self.absent[name] -= 1
            error = 404, "NoSuchKey"
        if error:
            text = f"<Error><Code>{error[1]}</Code><Message>As told.</Message></Error>".encode()
            request.send_response(error[0])
            request.send_header("Content-Length", str(len(text)))
            request.end_headers()
            request.wfile.write(b"" if request.command == "HEAD" else text)
            return
        connection = http.client.HTTPConnection(*self.upstream)
        connection.request(request.command, request.path, body=body or None, headers=dict(request.headers))
        reply = connection.getresponse()
        request.send_response(reply.status)
        for key, value in reply.getheaders():
            if key.lower() not in ("connection", "date", "server", "transfer-encoding"):
                request.send_header(key, value)
        request.end_headers()
        left = self.cut.pop(name, None)
        while chunk := reply.read(1 << 20):
            if left is not None and len(chunk) >= left:
                request.wfile.write(chunk[:left])
                request.close_connection = True
                break
            self.wait_if_held(name, len(chunk))
            request.wfile.write(chunk)
            left = None if left is None else left - len(chunk)
        if reply.length:
            # The other server has ended in the middle.
            request.close_connection = True
        connection.close()

    def wait_if_held(self, name, length):
        with self.lock:
            if name not in self.hold:
                return
            self.hold[name] -= length
            waits = self.hold[name] < 0
        if waits:
            self.held.set()
            self.go_on.wait(LIMIT)

    def stop(self):
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()


class Mount:
    """A mount with an environment made from nothing."""

    def __init__(self, *arguments, environment=(), observatory=None):
        self.root = tempfile.mkdtemp(prefix="crds-fs-sources-")
        self.path = os.path.join(self.root, "mnt")
        self.ended = False
        self.store = os.path.join(self.root, "store")
        os.mkdir(self.path)
        os.mkdir(self.store)
        self.environment = {"PATH": os.environ["PATH"], "HOME": self.root, **dict(environment)}
        command = [BINARY, "mount", "--cache", self.store, "--log-file", os.path.join(self.root, "log")]
        if observatory:
            command += ["--observatory", observatory]
        self.command = [*command, *arguments, self.path]
        self.run(*self.command)

    def run(self, *command, check=True):
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=LIMIT)
        if check and done.returncode != 0:
            raise AssertionError(f"{command}: {done.stdout}{done.stderr}{self.log()}")
        return done.stdout

    def log(self):
        try:
            with open(os.path.join(self.root, "log")) as log:
                return log.read()
        except FileNotFoundError:
            return ""

    def read(self, path):
        with open(os.path.join(self.path, path), "rb") as data:
            return data.read()

    def errno(self, path):
        """The number of the error with which a file cannot be opened; None if it can."""
        try:
            os.close(os.open(os.path.join(self.path, path), os.O_RDONLY))
        except OSError as error:
            return error.errno
        return None

    def json(self, path):
        with open(os.path.join(self.path, ".crds-fs", path)) as text:
            return json.load(text)

    def told(self, path):
        return self.json(f"files/{path}")

    def sources(self, observatory="roman"):
        of = [one for one in self.json("status.json")["observatories"] if one["name"] == observatory]
        return of[0]["sources"]

    def status(self):
        return self.run(BINARY, "status", self.path, check=False)

    def tier(self):
        return self.json("status.json")["tier"]

    def settle(self, wanted=lambda tier: True):
        """Waits until nothing waits to be written to the tier, and it is as wanted."""
        begun = time.monotonic()
        while not ((tier := self.tier())["queued_files"] == 0 and wanted(tier)):
            assert time.monotonic() - begun < LIMIT, f"{tier}\n{self.log()}"
            time.sleep(0.05)
        return tier

    def umount(self):
        """Unmounts; gives the log after the end."""
        self.run(BINARY, "umount", self.path)
        self.ended = True
        begun = time.monotonic()
        while not self.log().rstrip().endswith("the end") and time.monotonic() - begun < LIMIT:
            time.sleep(0.05)
        return self.log()

    def close(self):
        if self.ended:
            shutil.rmtree(self.root, ignore_errors=True)
            return
        done = subprocess.run(
            [BINARY, "umount", self.path], env=self.environment, capture_output=True, text=True, timeout=LIMIT
        )
        if done.returncode != 0:
            subprocess.run([BINARY, "umount", "--lazy", self.path], env=self.environment, timeout=LIMIT, check=False)
        shutil.rmtree(self.root, ignore_errors=True)


class Served:
    """`crds-fs serve` over a cache, on a port of its own."""

    def __init__(self, cache):
        self.process = subprocess.Popen(
            [BINARY, "serve", cache, "--listen", "127.0.0.1:0"],
            env={"PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        begun = time.monotonic()
        self.port = None
        while self.port is None and time.monotonic() - begun < LIMIT:
            line = self.process.stdout.readline()
            assert line, "crds-fs serve has ended"
            if "http://127.0.0.1:" in line:
                self.port = int(line.split("http://127.0.0.1:")[1].split("/")[0].split()[0])

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def config(self, observatory):
        """The description of the server."""
        url = f"{self.url}/{observatory}/unchecked_get/config/{observatory}/server_config"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=LIMIT) as reply:
            return reply.read()

    def kill(self):
        self.process.kill()
        self.process.wait(LIMIT)
        self.process.stdout.close()
