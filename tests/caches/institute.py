"""The servers of the institute: HTTPS by name for caches, HTTP for nodes that go there themselves. Every request is counted
when it comes."""

import hashlib
import http.server
import json
import os
import random
import socketserver
import ssl
import subprocess
import threading

OBSERVATORY = "roman"
HOSTS = [f"{observatory}-crds.stsci.edu" for observatory in ("hst", "jwst", OBSERVATORY)]
FILES = "/unchecked_get/"
CHUNK = 256 << 10


def contents(name, size):
    """Bytes that depend on the name alone."""
    source = random.Random(name)
    return b"".join(source.randbytes(min(1 << 20, size - at)) for at in range(0, size, 1 << 20))


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 256
    tls = None

    def finish_request(self, request, client_address):
        if not self.tls:
            super().finish_request(request, client_address)
            return
        # The handshake belongs into the connection's thread.
        try:
            secure = self.tls.wrap_socket(request, server_side=True)
        except (OSError, ValueError):
            return
        with secure:
            super().finish_request(secure, client_address)

    def handle_error(self, *_):
        pass


def handler(institute):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_):
            pass

        def handle(self):
            # A cache may leave at any moment; that is its right.
            try:
                super().handle()
            except (ConnectionError, ssl.SSLError, ValueError):
                self.close_connection = True

        def do_GET(self):
            institute.get(self)

        def do_HEAD(self):
            institute.get(self)

        def do_POST(self):
            institute.call(self)

    return Handler


def is_secure(request):
    return isinstance(request.connection, ssl.SSLSocket)


def check_name(connection, name, _):
    connection.crds_name = name
    return None if name in HOSTS else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME


class Institute:
    """The files of one observatory by name, and their description. What it is told to do wrong is in its fields."""

    def __init__(self, directory, files):
        self.files = {f"{OBSERVATORY}_0001.pmap": b"header = {}\nselector = {}\n"}
        self.files.update({name: contents(name, size) for name, size in files.items()})
        # What was asked for over HTTPS, and over HTTP: (method, name, first byte, number of bytes); calls by their method.
        self.requests, self.direct, self.lock = [], [], threading.Lock()
        self.status = self.direct_status = None  # of all replies with files over HTTPS and HTTP, instead of the right one
        self.version = 1  # of the validators
        self.is_careless = False  # it says what servers say who do not think of caches
        self.stop_at = None  # the number of bytes of files after which none follow ...
        self.sent = 0
        self.stopped, self.go_on = threading.Event(), threading.Event()  # ... and the events of that, and of their end
        # Caches that root starts leave root before they read it.
        os.chmod(directory, 0o755)
        self.certificate = certificate(directory)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(*self.certificate)
        self.tls.sni_callback = check_name
        self.handler = handler(self)
        self.port, self.direct_port, self.servers = 0, 0, []
        self.start()

    def start(self):
        secure = Server(("127.0.0.1", self.port), self.handler)
        secure.tls = self.tls
        direct = Server(("127.0.0.1", self.direct_port), self.handler)
        self.servers = [secure, direct]
        self.port, self.direct_port = (server.server_address[1] for server in self.servers)
        for server in self.servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self):
        """Nobody answers any more: new connections are refused."""
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def server_url(self):
        """For nodes that go there themselves."""
        return f"http://127.0.0.1:{self.direct_port}"

    def note(self, request, name, start=0, length=0):
        log = self.requests if is_secure(request) else self.direct
        with self.lock:
            log.append((request.command, name, start, length))

    def asked(self, method="GET"):
        with self.lock:
            return [entry[1:] for entry in self.requests if entry[0] == method]

    def bytes(self):
        return sum(length for _, _, length in self.asked())

    def reply(self, request, status, headers=(), body=b""):
        request.send_response(status)
        for name, value in headers:
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def refuses(self, request):
        host = request.headers.get("Host", "")
        if is_secure(request) and (host not in HOSTS or request.connection.crds_name != host):
            self.reply(request, 421, body=b"another server than asked for")
            return True
        return False

    def get(self, request):
        if self.refuses(request):
            return
        name = request.path.rsplit("/", 1)[-1]
        status = self.status if is_secure(request) else self.direct_status
        if status:
            self.note(request, f"refused {name}")
            self.reply(request, status, body=b"not now")
            return
        data = self.files.get(name)
        kind = "mappings" if name.endswith("map") else "references"
        if data is None or request.path != f"{FILES}{kind}/{OBSERVATORY}/{name}":
            self.note(request, f"missing {request.path}")
            self.reply(request, 404, body=b"no such file")
            return
        etag = f'"{self.version}-{len(data)}"'
        start, end, status = 0, len(data), 200
        asked = request.headers.get("Range")
        if asked and request.headers.get("If-Range") in (None, etag):
            first, last = asked.removeprefix("bytes=").split("-")
            start, end, status = int(first), min(int(last or len(data)) + 1, len(data)), 206
        body = b"" if request.command == "HEAD" else memoryview(data)[start:end]
        self.note(request, name, start, len(body))
        request.send_response(status)
        request.send_header("ETag", etag)
        request.send_header("Last-Modified", f"Mon, 02 Mar 2026 10:00:0{self.version} GMT")
        request.send_header("Accept-Ranges", "bytes")
        if self.is_careless:
            request.send_header("Set-Cookie", "session=1")
            request.send_header("Cache-Control", "no-cache, private")
        if status == 206:
            request.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        request.send_header("Content-Length", str(end - start))
        request.end_headers()
        for at in range(0, len(body), CHUNK):
            chunk = body[at : at + CHUNK]
            with self.lock:
                self.sent += len(chunk)
                wait = self.stop_at is not None and self.sent > self.stop_at
            if wait:
                self.stopped.set()
                self.go_on.wait(60)
            request.wfile.write(chunk)

    def call(self, request):
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        if self.refuses(request):
            return
        call = json.loads(body)
        self.note(request, call["method"])
        result = self.describe() if call["method"].endswith("get_server_info") else None
        text = json.dumps({"jsonrpc": "2.0", "id": call.get("id"), "result": result, "error": None}).encode()
        # As if it were a file: a cache that keeps it is wrong.
        self.reply(request, 200, [("Content-Type", "application/json"), ("Cache-Control", "max-age=3600")], text)

    def describe(self):
        context = f"{OBSERVATORY}_0001.pmap"
        digest = lambda data: hashlib.sha1(data).hexdigest()
        base = f"{self.server_url()}{FILES}"
        return {
            "observatory": OBSERVATORY,
            "operational_context": context,
            "latest_context": context,
            "edit_context": context,
            "mappings": [context],
            "bad_files_list": [],
            "last_synced": "2026-01-01 00:00:00",
            "download_metadata": {
                name: {"size": str(len(data)), "sha1sum": digest(data)} for name, data in self.files.items()
            },
            "mapping_url": {OBSERVATORY: f"{base}mappings/{OBSERVATORY}/"},
            "reference_url": {OBSERVATORY: f"{base}references/{OBSERVATORY}/"},
        }


def certificate(directory):
    """A certificate of the institute's names, its own authority, and its key."""
    paths = [os.path.join(directory, name) for name in ("institute.pem", "institute.key")]
    names = ",".join(f"DNS:{host}" for host in HOSTS)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=institute", "-addext", f"subjectAltName={names}", "-out", paths[0], "-keyout", paths[1]],
        check=True, capture_output=True,
    )
    return paths
