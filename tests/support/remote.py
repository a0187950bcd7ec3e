"""Servers and repositories of a test's own: nothing beyond loopback is asked."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(slots=True)
class Site:
    """What a server has, and what it was asked: `seen` is (path, status, Authorization)."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    with_etag: bool = True
    with_modified: bool = False
    cut_short: bool = False
    seen: list[tuple[str, int, str | None]] = field(default_factory=list)

    @property
    def statuses(self) -> list[int]:
        return [status for _, status, _ in self.seen]


_MODIFIED = "Tue, 14 Nov 2023 22:13:20 GMT"


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path in site.redirects:
                self._answer(302, {"Location": site.redirects[path]})
                return
            data = site.files.get(path)
            if data is None:
                self._answer(404, {})
                return
            told = {}
            if site.with_etag:
                told["ETag"] = f'"{sha256(data).hexdigest()}"'
            if site.with_modified:
                told["Last-Modified"] = _MODIFIED
            same = "ETag" in told and self.headers["If-None-Match"] == told["ETag"]
            same |= site.with_modified and self.headers["If-Modified-Since"] == _MODIFIED
            if same:
                self._answer(304, told)
            else:
                self._answer(200, told, data)

        def _answer(self, status: int, headers: dict[str, str], data: bytes = b"") -> None:
            site.seen.append((self.path, status, self.headers["Authorization"]))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if site.cut_short else data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextmanager
def serving(**files: bytes) -> Iterator[Site]:
    """A server on 127.0.0.1, gone afterwards."""
    site = Site(files={"/" + name: data for name, data in files.items()})
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(site)) as server:
        site.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


def git(folder: Path, *arguments: str, **more: str) -> str:
    """Run git as somebody, whatever is configured here; `more` is for its environment."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (
            ("NAME", "A"), ("EMAIL", "a@example.com"), ("DATE", "1700000000 +0000"),
        )},
        **more,
    }  # fmt: skip
    process = subprocess.run(
        ["git", "-c", "protocol.file.allow=always", *arguments],
        cwd=folder, env=environment, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def repository(folder: Path) -> Path:
    """A new repository with nothing in it."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "-b", "main")
    return folder


def commit(folder: Path, **files: str) -> str:
    """Commit files (`__` in a name is a slash, `_` a dot); the commit's name."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "change")
    return git(folder, "rev-parse", "HEAD")
