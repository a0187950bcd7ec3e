"""Registry servers of a test's own: Debian's docker-registry on loopback."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.probes import need_tool

USER, PASSWORD = "alice", "wonderland"
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
"""The header that the user sends."""
_BCRYPT = "alice:$2y$05$2zIeyJTyHqhTPi8PxRqz9OoqW.NoOtS3ns.I1a44Rkg3nFJoVuKJm"
_LISTENING = re.compile(r"listening on (?:127\.0\.0\.1|\[::\]):(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A server: `host` is what image names begin with, `ca` its authority if it speaks TLS."""

    host: str
    storage: Path
    ca: Path | None = None

    @property
    def url(self) -> str:
        return f"{'http' if self.ca is None else 'https'}://{self.host}"


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate for 127.0.0.1 and localhost, its key, and the authority that signed it."""

    certificate: Path
    key: Path
    authority: Path


@contextmanager
def running_registry(
    folder: Path,
    *,
    tls: Tls | None = None,
    passwords: bool = False,
    token: str = "",
    port: int = 0,
) -> Iterator[Registry]:
    """A registry, gone afterwards. `token` is its configuration for bearer tokens (YAML)."""
    program = need_tool("docker-registry")
    storage = folder / "storage"
    storage.mkdir(parents=True, exist_ok=True)
    lines = [
        "version: 0.1",
        "log: {level: info, accesslog: {disabled: true}}",
        f"storage: {{filesystem: {{rootdirectory: {storage}}}, delete: {{enabled: true}}}}",
        "http:",
        f"  addr: 127.0.0.1:{port}",
    ]
    if tls is not None:
        lines.append(f"  tls: {{certificate: {tls.certificate}, key: {tls.key}}}")
    if passwords:
        (folder / "htpasswd").write_text(_BCRYPT + "\n")
        lines.append(f"auth: {{htpasswd: {{realm: tests, path: {folder / 'htpasswd'}}}}}")
    if token:
        lines.append(f"auth: {{token: {token}}}")
    (folder / "config.yml").write_text("\n".join(lines) + "\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("REGISTRY_")}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [program, "serve", str(folder / "config.yml")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.PIPE,
            env=environment,
            encoding="utf-8",
        ) as process,
    ):
        try:
            found = _port(process, log.fileno())
            authority = None if tls is None else tls.authority
            yield Registry(host=f"127.0.0.1:{found}", storage=storage, ca=authority)
        finally:
            process.send_signal(signal.SIGKILL)


def _port(process: subprocess.Popen[str], log: int) -> int:
    """The port the server says it listens on; what it says after that goes to the log."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if found := _LISTENING.search(line):
            _pump(process.stderr.fileno(), log)
            return int(found[1])
    raise AssertionError("docker-registry did not start:\n" + "".join(said))


def _pump(source: int, target: int) -> None:
    import threading

    def pump() -> None:
        while data := os.read(source, 1 << 16):
            os.write(target, data)

    threading.Thread(target=pump, daemon=True).start()


def make_tls(folder: Path) -> Tls:
    """A new authority, and a certificate of it for loopback."""
    openssl = need_tool("openssl")
    folder.mkdir(parents=True, exist_ok=True)

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    run(
        "req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
        "-subj", "/CN=lamina tests",
    )  # fmt: skip
    run("req", *curve, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    run(
        "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2",
        "-CAcreateserial", "-extfile", "names", "-out", "server.pem",
    )  # fmt: skip
    return Tls(folder / "server.pem", folder / "server.key", folder / "ca.pem")
