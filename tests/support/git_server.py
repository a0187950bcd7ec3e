"""A git server of a test's own, as hosts have it: git's http-backend, TLS, a password; a proxy."""

from __future__ import annotations

import os
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from support.registry import Tls


@dataclass(slots=True)
class GitServer:
    """The repositories below `root`; `seen` is the Authorization of each request."""

    root: Path
    url: str = ""
    authorization: str | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    seen: list[str | None] = field(default_factory=list)


def _git_handler(server: GitServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, body: bytes) -> None:
            path, _, query = self.path.partition("?")
            given = self.headers["Authorization"]
            server.seen.append(given)
            if server.authorization is not None and given != server.authorization:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="tests"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if path in server.files:
                self._send(200, {}, server.files[path])
                return
            environment = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(server.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers["Content-Type"] or "",
                "HTTP_CONTENT_ENCODING": self.headers["Content-Encoding"] or "",
                "GIT_PROTOCOL": self.headers["Git-Protocol"] or "",
                "REMOTE_ADDR": "127.0.0.1",
            }
            process = subprocess.run(
                ["git", "http-backend"], env=environment, input=body, capture_output=True
            )
            head, _, content = process.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
            self._send(int(headers.pop("Status", "200").split()[0]), headers, content)

        def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(content))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextmanager
def git_server(
    root: Path, *, tls: Tls | None = None, authorization: str | None = None
) -> Iterator[GitServer]:
    """A server on loopback, gone afterwards."""
    made = GitServer(root=root, authorization=authorization)
    with _served(_git_handler(made), tls) as port:
        made.url = f"http://127.0.0.1:{port}" if tls is None else f"https://localhost:{port}"
        yield made


@contextmanager
def proxy(seen: list[str]) -> Iterator[str]:
    """The URL of a proxy; `seen` gets what it was asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._forward(b"")

        def do_POST(self) -> None:
            self._forward(self.rfile.read(int(self.headers["Content-Length"])))

        def do_CONNECT(self) -> None:
            seen.append(f"CONNECT {self.path}")
            host, _, port = self.path.rpartition(":")
            with socket.create_connection((host, int(port))) as other:
                self.send_response(200)
                self.end_headers()
                _join(self.connection, other)

        def _forward(self, body: bytes) -> None:
            seen.append(f"{self.command} {self.path}")
            place = urlsplit(self.path)
            connection = HTTPConnection(place.netloc)
            target = place._replace(scheme="", netloc="").geturl()
            connection.request(self.command, target, body, dict(self.headers.items()))
            answer = connection.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with _served(Handler, None) as port:
        yield f"http://127.0.0.1:{port}"


def _join(one: socket.socket, other: socket.socket) -> None:
    """Pass bytes both ways until either side ends."""
    while True:
        ready, _, _ = select.select([one, other], [], [])
        for side in ready:
            data = side.recv(1 << 16)
            if not data:
                return
            (other if side is one else one).sendall(data)


@contextmanager
def _served(handler: type[BaseHTTPRequestHandler], tls: Tls | None) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
