"""Fetching over TLS, with passwords, through proxies: from real servers on this machine."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.errors import RemoteError
from builder.plan.remote_names import RemoteFile, Repository, parse_remote
from builder.sources.downloads import CONTENT, Credentials, Downloads
from builder.sources.repositories import Repositories
from runtime.image.layer.entry import Entry
from runtime.image.store.store import Store, open_store
from support.cli import Lamina
from support.git_server import GitServer, git_server, proxy
from support.registry import Tls, make_tls
from support.remote import commit, repository

TOKEN = b"t0ken"
BASIC = "basic " + b64encode(b"x-access-token:" + TOKEN).decode()
PROXIES = (
    *("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
    *("no_proxy", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"),
)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "store")) as opened:
        yield opened


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    origin = repository(tmp_path / "served" / "r")
    commit(origin, Dockerfile="FROM busybox\nCOPY file.txt /\n", file_txt="from git\n")
    return tmp_path / "served"


@pytest.fixture
def server(root: Path, tls: Tls) -> Iterator[GitServer]:
    with git_server(root, tls=tls) as served:
        served.files["/file"] = b"a file"
        yield served


def trusting(tls: Tls, **secrets: bytes) -> Credentials:
    return Credentials(authorities=tls.authority.read_bytes(), secrets=secrets)


def named(server: GitServer) -> Repository:
    found = parse_remote(f"{server.url}/r/.git#main")
    assert isinstance(found, Repository)
    return found


def files(store: Store, credentials: Credentials, server: GitServer) -> dict[str, Entry]:
    checkout = Repositories(store, credentials).checkout(named(server))
    entries = store.view((checkout.diff_id,)).walk(b"")
    return {entry.path.decode(): entry for entry in entries}


def downloaded(store: Store, credentials: Credentials, server: GitServer) -> bytes | None:
    layer = Downloads(store, credentials).layer(RemoteFile(url=server.url + "/file"))
    return store.view((layer,)).read(CONTENT, 1 << 20)


def test_a_file_over_tls(store: Store, server: GitServer, tls: Tls) -> None:
    with pytest.raises(RemoteError, match="certificate verify failed"):
        downloaded(store, Credentials(), server)
    assert downloaded(store, trusting(tls), server) == b"a file"


def test_a_repository_over_tls(store: Store, server: GitServer, tls: Tls) -> None:
    with pytest.raises(RemoteError, match=r"(?i)certificate"):
        files(store, Credentials(), server)
    assert "file.txt" in files(store, trusting(tls), server)


def test_certificates_with_words_around_them(store: Store, server: GitServer, tls: Tls) -> None:
    """As bundles have them, in any language."""
    text = "# Autorité de certification\n".encode() + tls.authority.read_bytes()
    assert downloaded(store, Credentials(authorities=text), server) == b"a file"
    assert "file.txt" in files(store, Credentials(authorities=text), server)


def test_certificates_that_are_none(store: Store, server: GitServer) -> None:
    spoilt = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    with pytest.raises(RemoteError, match="certificates of --ca cannot be used"):
        downloaded(store, Credentials(authorities=spoilt), server)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GIT_AUTH_TOKEN", TOKEN),
        ("GIT_AUTH_TOKEN.localhost:{port}", TOKEN + b"\n"),
        ("GIT_AUTH_HEADER", BASIC.encode()),
        ("GIT_AUTH_HEADER.localhost:{port}", BASIC.encode() + b"\n"),
    ],
)
def test_secrets_for_a_repository(
    store: Store, root: Path, tls: Tls, name: str, value: bytes
) -> None:
    with git_server(root, tls=tls, authorization=BASIC) as server:
        name = name.format(port=server.url.rpartition(":")[2])
        assert "file.txt" in files(store, trusting(tls, **{name: value}), server)
        assert set(server.seen) == {BASIC}


def test_a_header_comes_before_a_token(store: Store, root: Path, tls: Tls) -> None:
    both = trusting(tls, GIT_AUTH_TOKEN=b"other", GIT_AUTH_HEADER=BASIC.encode())
    with git_server(root, tls=tls, authorization=BASIC) as server:
        assert "file.txt" in files(store, both, server)


@pytest.mark.parametrize("name", ["GIT_AUTH_TOKEN.example.com", "GIT_AUTH", "OTHER"])
def test_secrets_for_another_server(store: Store, root: Path, tls: Tls, name: str) -> None:
    with git_server(root, tls=tls, authorization=BASIC) as server:
        with pytest.raises(RemoteError, match=r"git ls-remote of https://localhost:.* failed"):
            files(store, trusting(tls, **{name: TOKEN}), server)
        assert BASIC not in server.seen


def test_a_build_with_a_token(lamina: Lamina, root: Path, tls: Tls) -> None:
    options = ("--ca", tls.authority, "--secret", "id=GIT_AUTH_TOKEN,env=MINE")
    with git_server(root, tls=tls, authorization=BASIC) as server:
        url = f"{server.url}/r/.git#main"
        secret = {"MINE": TOKEN.decode()}
        lamina("build", *options, "-t", "private", url, environment=secret)
        listed = lamina("context", "ls", *options, url, environment=secret)
        assert "file.txt" in listed.stdout
        refused = lamina("build", "--ca", tls.authority, url, status=1)
        assert "git ls-remote" in refused.stderr
        told = lamina("history", "--no-trunc", "private").stdout
        assert TOKEN.decode() not in told
    shown = lamina("run", "--rm", "private", "cat", "/file.txt").stdout
    assert shown == "from git\n"


@pytest.mark.parametrize("secure", [False, True])
def test_proxies_are_used(
    store: Store, root: Path, tls: Tls, secure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    with git_server(root, tls=tls if secure else None) as server, proxy(seen) as url:
        server.files["/file"] = b"a file"
        monkeypatch.setenv("https_proxy" if secure else "http_proxy", url)
        assert downloaded(store, trusting(tls), server) == b"a file"
        host = server.url.partition("://")[2]
        asked = f"CONNECT {host}" if secure else f"GET {server.url}/file"
        assert seen == [asked]
        seen.clear()
        assert "file.txt" in files(store, trusting(tls), server)
        assert seen
        seen.clear()
        monkeypatch.setenv("no_proxy", host.partition(":")[0])
        assert downloaded(store, trusting(tls), server) == b"a file"
        assert seen == []


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1", "what://127.0.0.1:1", "nothing"])
def test_a_proxy_that_cannot_be_used(
    store: Store, server: GitServer, tls: Tls, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", url)
    with pytest.raises(RemoteError, match=r"cannot (download|reach) https://localhost"):
        downloaded(store, trusting(tls), server)
