"""A token server of a test's own; docker-registry accepts its tokens (distribution's spec)."""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from support.probes import need_tool
from support.registry import BASIC, USER, make_tls

SERVICE, ISSUER = "tests", "lamina tests"


@dataclass(slots=True)
class TokenServer:
    """Gives tokens for everything to the user, for pulling from `public/` to anybody.

    `seen` is what was asked: the method, the scopes, the Authorization header.
    """

    url: str
    configuration: str
    seen: list[tuple[str, tuple[str, ...], str | None]] = field(default_factory=list)
    seconds: int = 300
    identity_token: str = field(default_factory=lambda: secrets.token_hex(8))


@contextmanager
def running_token_server(folder: Path) -> Iterator[TokenServer]:
    """The server, gone afterwards; its `configuration` is for `running_registry`."""
    tls = make_tls(folder)
    state = TokenServer("", "")
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(state, folder)) as server:
        state.url = f"http://127.0.0.1:{server.server_port}/token"
        state.configuration = (
            f"{{realm: '{state.url}', service: {SERVICE}, issuer: {ISSUER},"
            f" rootcertbundle: {tls.authority}}}"
        )
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


def _handler(state: TokenServer, folder: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            user = self.headers["Authorization"]
            self._answer("GET", query.get("scope", []), user, "offline_token" in query)

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            given = form["refresh_token"][0] == state.identity_token
            user = BASIC if given else "unknown"
            self._answer("POST", form.get("scope", [""])[0].split(), user, False)

        def _answer(self, method: str, scopes: list[str], user: str | None, wants: bool) -> None:
            state.seen.append((method, tuple(scopes), self.headers["Authorization"]))
            if user not in (None, BASIC):
                self._send(401, {"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]})
                return
            access = [given for scope in scopes if (given := _access(scope, user)) is not None]
            token = _signed(folder, access, state.seconds)
            answer = {"token": token, "expires_in": state.seconds}
            if wants:
                answer["refresh_token"] = state.identity_token
            self._send(200, answer)

        def _send(self, status: int, document: object) -> None:
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def _access(scope: str, user: str | None) -> dict[str, object] | None:
    kind, name, actions = scope.split(":")
    if user == BASIC:
        return {"type": kind, "name": name, "actions": actions.split(",")}
    return {"type": kind, "name": name, "actions": ["pull"]} if name[:7] == "public/" else None


def _signed(folder: Path, access: list[dict[str, object]], seconds: int) -> str:
    """A JSON Web Token (ES256), signed with the certificate's key by openssl."""
    certificate = (folder / "server.pem").read_text().split("-----")[2].replace("\n", "")
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "sub": USER,
        "aud": SERVICE,
        "exp": now + seconds,
        "nbf": now - 10,
        "iat": now,
        "jti": secrets.token_hex(8),
        "access": access,
    }
    head = {"typ": "JWT", "alg": "ES256", "x5c": [certificate]}
    text = ".".join(_encoded(json.dumps(part).encode()) for part in (head, claims))
    der = subprocess.run(
        [need_tool("openssl"), "dgst", "-sha256", "-sign", str(folder / "server.key")],
        input=text.encode(),
        capture_output=True,
        check=True,
    ).stdout
    return f"{text}.{_encoded(_raw_signature(der))}"


def _raw_signature(der: bytes) -> bytes:
    """The two numbers of an ECDSA signature, 32 bytes each (RFC 7518, 3.4)."""
    first = der[4 : 4 + der[3]]
    second = der[6 + der[3] :]
    return b"".join(number[-32:].rjust(32, b"\0") for number in (first, second))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
