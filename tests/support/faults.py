"""A proxy before a registry that does to some answers what networks and servers do.

What happens to which request is drawn from a seeded generator. Requests of several threads come in
an order of their own, so a seed gives a kind of run, not the same one twice.
"""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support.registry import BASIC

FAULTS = (
    "cut", "cut request", "no answer", "429", "500", "502", "503", "trickle", "wrong byte",
    "too long", "too short", "half", "elsewhere",
)  # fmt: skip
_LOST = ("content-length", "transfer-encoding", "connection", "date", "server")


@dataclass(slots=True)
class Faults:
    """What goes wrong: each request with `chance`, `left` times at the most.

    `leaked` is what arrived at the other host that should not have; `done` what was done.
    """

    chance: float
    left: int
    random: random.Random
    host: str = ""
    elsewhere: str = ""
    pause: float = 0.002
    leaked: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def draw(self, method: str, path: str) -> str | None:
        """The fault for a request, if it is to have one."""
        with self.lock:
            if self.left <= 0 or self.random.random() >= self.chance:
                return None
            fault = self.random.choice(FAULTS)
            if fault == "elsewhere" and method not in ("GET", "HEAD"):
                return None
            self.left -= 1
            self.done.append(f"{method} {fault}")
            return fault

    def seen(self, headers: Mapping[str, str]) -> None:
        """Look at what a client sends."""

    def somewhere(self, size: int) -> int:
        """A position in so many bytes."""
        with self.lock:
            return self.random.randrange(size + 1)


@contextmanager
def faulty(upstream: str, faults: Faults) -> Iterator[Faults]:
    """A proxy to `upstream` (`host:port`), and a second host that it sends clients to."""
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), _proxy(upstream, faults)) as first,
        ThreadingHTTPServer(("127.0.0.1", 0), _other(upstream, faults)) as second,
    ):
        first.daemon_threads = second.daemon_threads = True
        faults.host = f"127.0.0.1:{first.server_port}"
        # Another name, so another host, whoever compares names only.
        faults.elsewhere = f"localhost:{second.server_port}"
        threads = [
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            for server in (first, second)
        ]
        for thread in threads:
            thread.start()
        try:
            yield faults
        finally:
            for server in (first, second):
                server.shutdown()
            for thread in threads:
                thread.join()


class _Forwarding(BaseHTTPRequestHandler):
    """Answers as the registry does."""

    protocol_version = "HTTP/1.1"
    upstream: str
    faults: Faults

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle(self) -> None:
        with suppress(ConnectionError):  # A client that has gone is what some faults are about.
            super().handle()

    def body(self, size: int) -> bytes:
        return self.rfile.read(size) if size else b""

    def forward(self, body: bytes, length: int, **extra: str) -> tuple[int, dict[str, str], bytes]:
        """The registry's answer to this request, of which the client has sent `body` so far."""
        connection = http.client.HTTPConnection(self.upstream, timeout=30)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "content-length"):
                    connection.putheader(name, value)
            for name, value in extra.items():
                connection.putheader(name, value)
            if length or self.command in ("POST", "PUT", "PATCH"):
                connection.putheader("Content-Length", str(length))
            connection.endheaders()
            connection.send(body)
            if len(body) < length:
                time.sleep(0.01)
                return 0, {}, b""
            answer = connection.getresponse()
            headers = {k: v for k, v in answer.getheaders() if k.lower() not in _LOST}
            return answer.status, headers, answer.read()
        finally:
            connection.close()

    def answer(self, status: int, headers: dict[str, str], data: bytes, length: int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def close(self) -> None:
        self.close_connection = True

    def do_GET(self) -> None:
        raise NotImplementedError

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def do_PATCH(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()


def _proxy(upstream_host: str, given: Faults) -> type[BaseHTTPRequestHandler]:
    class Proxy(_Forwarding):
        upstream = upstream_host
        faults = given

        def do_GET(self) -> None:
            self.faults.seen(dict(self.headers))
            fault = self.faults.draw(self.command, self.path)
            length = int(self.headers["Content-Length"] or 0)
            if fault == "cut request":
                self.forward(self.body(self.faults.somewhere(max(0, length - 1))), length)
                self.close()
                return
            body = self.body(length)
            if fault == "no answer":
                self.close()
            elif fault in ("429", "500", "502", "503"):
                told = {"Retry-After": "0"} if fault == "429" else {}
                self.answer(int(fault), told, b"<html>", 6)
            elif fault == "elsewhere":
                place = f"http://{self.faults.elsewhere}{self.path}"
                self.answer(307, {"Location": place}, b"", 0)
            else:
                self.spoil(fault, *self.forward(body, length))

        def spoil(
            self, fault: str | None, status: int, headers: dict[str, str], data: bytes
        ) -> None:
            size = len(data)
            somewhere = self.faults.somewhere(max(0, size - 1))
            if self.command == "HEAD" or not data or fault is None:
                told = headers.get("Docker-Content-Length", str(size))
                self.answer(status, headers, data, int(told))
            elif fault == "cut":
                self.answer(status, headers, data[:somewhere], size)
                self.close()
            elif fault == "trickle":
                self.answer(status, headers, b"", size)
                step = max(1, size // 20)
                for start in range(0, size, step):
                    self.wfile.write(data[start : start + step])
                    time.sleep(self.faults.pause)
            elif fault == "wrong byte":
                spoilt = bytearray(data)
                spoilt[somewhere] ^= 0x55
                self.answer(status, headers, bytes(spoilt), size)
            elif fault == "too long":
                self.answer(status, headers, data + b"x" * 100, size + 100)
            elif fault in ("too short", "half"):
                part = data[: size // 2 if fault == "half" else somewhere]
                self.answer(status, headers, part, len(part))

    return Proxy


def _other(upstream_host: str, given: Faults) -> type[BaseHTTPRequestHandler]:
    class Other(_Forwarding):
        upstream = upstream_host
        faults = given

        def do_GET(self) -> None:
            given = self.headers["Authorization"]
            if given is not None:
                self.faults.leaked.append(given)
            # A storage that needs no credentials: it has its own with the registry.
            status, headers, data = self.forward(b"", 0, Authorization=BASIC)
            self.answer(status, headers, data, len(data))

    return Other
