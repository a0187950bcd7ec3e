"""Fetching into a real store, from real servers and repositories on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.errors import ContextError, RemoteError
from builder.plan.remote_names import RemoteFile, Repository, parse_remote
from builder.sources.downloads import CONTENT, Credentials, Downloads
from builder.sources.fetcher import FetchedText, Fetcher
from builder.sources.repositories import Repositories
from runtime.image.digest import DiffID
from runtime.image.layer.entry import Entry, Kind
from runtime.image.store.store import Store, open_store
from support import tars
from support.remote import Site, commit, git, repository, serving

NOBODY = Credentials()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(str(tmp_path / "store")) as opened:
        yield opened


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(file=b"one") as served:
        yield served


def content(store: Store, layer: DiffID) -> bytes | None:
    return store.view((layer,)).read(CONTENT, 1 << 20)


def tree(store: Store, layer: DiffID) -> dict[str, Entry]:
    return {entry.path.decode(): entry for entry in store.view((layer,)).walk(b"") if entry.path}


# ---- files


def test_a_file_that_has_not_changed_is_not_sent_again(store: Store, site: Site) -> None:
    file = RemoteFile(url=site.url + "/file")
    first = Downloads(store, NOBODY).layer(file)
    assert content(store, first) == b"one"
    assert Downloads(store, NOBODY).layer(file) == first
    site.files["/file"] = b"two"
    assert content(store, Downloads(store, NOBODY).layer(file)) == b"two"
    assert site.statuses == [200, 304, 200]


def test_last_modified_serves_where_there_is_no_etag(store: Store, site: Site) -> None:
    site.with_etag, site.with_modified = False, True
    for _ in range(2):
        Downloads(store, NOBODY).layer(RemoteFile(url=site.url + "/file"))
    assert site.statuses == [200, 304]


def test_a_checksum_that_is_known_asks_nobody(store: Store, site: Site) -> None:
    checksum = "sha256:" + hashlib.sha256(b"one").hexdigest()
    file = RemoteFile(url=site.url + "/file", checksum=checksum)
    assert Downloads(store, NOBODY).layer(file) == Downloads(store, NOBODY).layer(file)
    assert site.statuses == [200]


def test_another_checksum_is_refused_with_both(store: Store, site: Site) -> None:
    wrong, right = "sha256:" + "0" * 64, "sha256:" + hashlib.sha256(b"one").hexdigest()
    file = RemoteFile(url=site.url + "/file", checksum=wrong)
    for _ in range(2):
        with pytest.raises(RemoteError, match=f"expected {wrong}, got {right}"):
            Downloads(store, NOBODY).layer(file)
    # Nor when the server says that nothing has changed.
    Downloads(store, NOBODY).layer(RemoteFile(url=site.url + "/file"))
    with pytest.raises(RemoteError, match=f"expected {wrong}, got {right}"):
        Downloads(store, NOBODY).layer(file)


def test_a_file_that_is_gone_from_the_store_is_fetched_again(store: Store, site: Site) -> None:
    file = RemoteFile(url=site.url + "/file")
    layer = Downloads(store, NOBODY).layer(file)
    Path(store.blob_path(layer)).unlink()  # type: ignore[arg-type]
    assert content(store, Downloads(store, NOBODY).layer(file)) == b"one"
    assert site.statuses == [200, 200]


def test_redirects_are_followed_but_not_for_ever(store: Store, site: Site) -> None:
    site.redirects = {"/there": "/file", "/round": "/round"}
    assert content(store, Downloads(store, NOBODY).layer(RemoteFile(url=site.url + "/there")))
    with pytest.raises(RemoteError, match="redirects"):
        Downloads(store, NOBODY).layer(RemoteFile(url=site.url + "/round"))


def test_failures_say_what_and_where(store: Store, site: Site) -> None:
    with pytest.raises(RemoteError, match="/missing: invalid response status 404"):
        Downloads(store, NOBODY).layer(RemoteFile(url=site.url + "/missing"))
    with pytest.raises(RemoteError, match="longer than 2 bytes"):
        Downloads(store, NOBODY, most=2).layer(RemoteFile(url=site.url + "/file"))
    site.cut_short = True
    with pytest.raises(RemoteError, match="cannot download"):
        Downloads(store, NOBODY).layer(RemoteFile(url=site.url + "/file"))
    with pytest.raises(RemoteError, match=r"cannot reach http://127\.0\.0\.1:1/x"):
        Downloads(store, NOBODY).layer(RemoteFile(url="http://127.0.0.1:1/x"))


def test_secrets_are_for_their_server_only(store: Store, site: Site) -> None:
    host = site.url.removeprefix("http://")
    credentials = Credentials(secrets={f"HTTP_AUTH_TOKEN_{host}": b"t0ken\n"})
    with serving(file=b"other") as other:
        site.redirects = {"/away": other.url + "/file"}
        Downloads(store, credentials).layer(RemoteFile(url=site.url + "/away"))
        assert [header for *_, header in site.seen] == ["Bearer t0ken"]
        assert [header for *_, header in other.seen] == [None]


def test_a_build_asks_for_each_file_once(store: Store, site: Site) -> None:
    fetcher = Fetcher(store, NOBODY)
    for unpack in (False, True):
        found, path = fetcher.source(RemoteFile(url=site.url + "/file", unpack=unpack))
        entry = found.lstat(path)
        assert entry is not None
        assert (entry.path, entry.mode, entry.size) == (b"file", 0o600, 3)
    assert site.statuses == [200]


# ---- repositories


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    folder = repository(tmp_path / "origin")
    (folder / "run").write_text("#!/bin/sh\n")
    (folder / "run").chmod(0o777)
    (folder / "link").symlink_to("run")
    commit(folder, file_txt="first", sub__inner="in")
    git(folder, "tag", "-a", "-m", "one", "v1")
    git(folder, "branch", "old")
    commit(folder, file_txt="second")
    return folder


def named(origin: Path, rest: str = "") -> Repository:
    found = parse_remote(f"file://{origin}{rest}")
    assert isinstance(found, Repository)
    return found


def test_a_repository_is_its_files(store: Store, origin: Path) -> None:
    checkout = Repositories(store, NOBODY).checkout(named(origin))
    assert checkout.commit == git(origin, "rev-parse", "HEAD")
    files = tree(store, checkout.diff_id)
    assert {path: (e.kind, e.mode, e.uid, e.gid, e.mtime) for path, e in files.items()} == {
        "file.txt": (Kind.REGULAR, 0o644, 0, 0, 0),
        "link": (Kind.SYMLINK, 0o777, 0, 0, 0),
        "run": (Kind.REGULAR, 0o755, 0, 0, 0),
        "sub": (Kind.DIRECTORY, 0o755, 0, 0, 0),
        "sub/inner": (Kind.REGULAR, 0o644, 0, 0, 0),
    }


@pytest.mark.parametrize("rest", ["#v1", "#old", "#refs/heads/old", "?tag=v1", "?branch=old"])
def test_refs(store: Store, origin: Path, rest: str) -> None:
    checkout = Repositories(store, NOBODY).checkout(named(origin, rest))
    assert checkout.commit == git(origin, "rev-parse", "v1^{commit}")
    assert store.view((checkout.diff_id,)).read(b"file.txt", 99) == b"first"


def test_commits_and_what_they_must_be(store: Store, origin: Path) -> None:
    old = git(origin, "rev-parse", "old")
    repositories = Repositories(store, NOBODY)
    assert repositories.checkout(named(origin, f"#{old}")).commit == old
    assert repositories.checkout(named(origin, f"?ref=v1&checksum={old[:8]}")).commit == old
    with pytest.raises(RemoteError, match=f"to match {old[:8]}, got "):
        repositories.checkout(named(origin, f"?checksum={old[:8]}"))
    for rest in ("#nothing", "#" + "0" * 40):
        with pytest.raises(RemoteError, match=r"has no ref|has no commit"):
            repositories.checkout(named(origin, rest))


def test_subdirectories(store: Store, origin: Path) -> None:
    checkout = Repositories(store, NOBODY).checkout(named(origin, "#main:sub"))
    assert list(tree(store, checkout.diff_id)) == ["inner"]
    (origin / "out").symlink_to("/")
    commit(origin)
    for missing in ("none", "file.txt", "out/etc", ".git"):
        with pytest.raises(RemoteError, match="has no directory"):
            Repositories(store, NOBODY).checkout(named(origin, f"#:{missing}"))


def test_the_git_directory_is_kept_on_request_and_tells_no_times(
    store: Store, origin: Path, tmp_path: Path
) -> None:
    kept = named(origin, "?keep-git-dir=true")
    first = Repositories(store, NOBODY).checkout(kept)
    with open_store(str(tmp_path / "another")) as other:
        assert Repositories(other, NOBODY).checkout(kept) == first
    files = tree(store, first.diff_id)
    assert {".git/HEAD", ".git/index", ".git/config"} <= set(files)
    assert not any("hooks" in path or "logs" in path for path in files)


def test_a_commit_is_fetched_once(store: Store, origin: Path) -> None:
    old = git(origin, "rev-parse", "old")
    first = Repositories(store, NOBODY).checkout(named(origin, f"#{old}"))
    (origin / ".git").rename(origin / "gone")
    assert Repositories(store, NOBODY).checkout(named(origin, f"#{old}")) == first


def test_submodules_come_along_unless_not_wanted(
    store: Store, origin: Path, tmp_path: Path
) -> None:
    inner = repository(tmp_path / "inner")
    commit(inner, x="x")
    git(origin, "submodule", "--quiet", "add", "../inner", "module")
    commit(origin)
    found = tree(store, Repositories(store, NOBODY).checkout(named(origin)).diff_id)
    assert "module/x" in found
    assert "module/.git" not in found
    checkout = Repositories(store, NOBODY).checkout(named(origin, "?submodules=false"))
    assert "module/x" not in tree(store, checkout.diff_id)


def test_nothing_configured_here_is_obeyed(
    store: Store, origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "ran"
    hook = tmp_path / "hooks/post-checkout"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o755)
    config = tmp_path / "config"
    config.write_text(f'[core]\n hooksPath = {hook.parent}\n[filter "x"]\n smudge = touch {mark}\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    commit(origin, _gitattributes="* filter=x\n")
    Repositories(store, NOBODY).checkout(named(origin))
    assert not mark.exists()


def test_a_repository_needs_git(
    store: Store, origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RemoteError, match="git is needed for") as caught:
        Repositories(store, NOBODY).checkout(named(origin))
    assert caught.value.hint is not None


def test_a_file_that_would_be_a_whiteout_is_refused(store: Store, origin: Path) -> None:
    (origin / ".wh.file.txt").write_text("")
    commit(origin)
    with pytest.raises(RemoteError, match="no layer can"):
        Repositories(store, NOBODY).checkout(named(origin))


# ---- archives as contexts


def test_an_archive_is_what_is_in_it(store: Store, site: Site) -> None:
    data = tars.directory(b"d/", mode=0o700) + tars.header(b"d/f", size=4, uid=7, mtime=9)
    data += tars.padded(b"text")
    site.files["/a.tar"] = data + tars.END
    found = Fetcher(store, NOBODY).context(RemoteFile(url=site.url + "/a.tar"))
    assert not isinstance(found, FetchedText)
    files = tree(store, found)
    assert list(files) == ["d", "d/f"]
    assert (files["d/f"].uid, files["d/f"].mtime, files["d"].mode) == (0, 0, 0o700)
    assert Fetcher(store, NOBODY).context(RemoteFile(url=site.url + "/a.tar")) == found


def test_what_is_no_archive_is_text(store: Store, site: Site) -> None:
    assert Fetcher(store, NOBODY).context(RemoteFile(url=site.url + "/file")) == FetchedText(b"one")
    layer = Fetcher(store, NOBODY).files(RemoteFile(url=site.url + "/file"))
    assert list(tree(store, layer)) == ["file"]


@pytest.mark.parametrize(
    "data",
    [
        tars.symlink(b"out", b"OUT") + tars.file(b"out/escaped", b"x"),
        tars.file(b"../escaped", b"x"),
        tars.file(b"../../../../../../../../OUT/escaped", b"x"),
        tars.hardlink(b"escaped", b"OUT/secret"),
        tars.symlink(b"a", b"../outside") + tars.file(b"a/escaped", b"x"),
        tars.file(b"OUT/escaped", b"x"),
    ],
)
def test_a_hostile_archive_touches_nothing_else(
    store: Store, site: Site, tmp_path: Path, data: bytes
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    path = str(outside).encode()
    if b"OUT" in data:
        blocks = [data[n : n + 512] for n in range(0, len(data), 512)]
        assert len(path) < 90
        data = b"".join(_renamed(block, path) for block in blocks)
    site.files["/a.tar"] = data + tars.END
    try:
        found = Fetcher(store, NOBODY).context(RemoteFile(url=site.url + "/a.tar"))
    except ContextError:
        pass
    else:
        assert not isinstance(found, FetchedText)
        view = store.view((found,))
        assert not any(
            view.read(e.path, 99) == b"secret" for e in view.walk(b"") if e.kind is Kind.REGULAR
        )
    assert [p.name for p in outside.iterdir()] == ["secret"]
    assert not list(tmp_path.rglob("escaped"))


def _renamed(block: bytes, path: bytes) -> bytes:
    """A header with OUT as `path`, and the checksum that goes with it."""
    if b"OUT" not in block:
        return block
    name, link = block[:100].rstrip(b"\0"), block[157:257].rstrip(b"\0")
    changed = [part.replace(b"OUT", path).ljust(100, b"\0")[:100] for part in (name, link)]
    block = changed[0] + block[100:157] + changed[1] + block[257:]
    block = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def test_a_layer_is_no_context(store: Store, site: Site) -> None:
    site.files["/a.tar"] = tars.file(b".wh.x", b"") + tars.END
    with pytest.raises(ContextError, match=r"cannot unpack .* meaning of their own"):
        Fetcher(store, NOBODY).context(RemoteFile(url=site.url + "/a.tar"))
