"""Stacks of layers seen as one tree, from trees, from tars and from both."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.image.errors import LayerError
from runtime.image.layer.entry import Entry, FileSource, Kind
from runtime.image.layer.extract import extract_layer
from runtime.image.layer.view import TarForm, TreeForm, View
from runtime.image.layer.writer import canonical_order, write_layer

Layer = Sequence[Entry]
Stack = Callable[..., View]

UID, GID = os.geteuid(), os.getegid()


def regular(path: bytes, content: bytes = b"", *, mtime: int = 0) -> Entry:
    return Entry(
        path=path,
        kind=Kind.REGULAR,
        size=len(content),
        content=content,
        uid=UID,
        gid=GID,
        mtime=mtime,
    )


def directory(path: bytes, mode: int = 0o755) -> Entry:
    return Entry(path=path, kind=Kind.DIRECTORY, mode=mode, uid=UID, gid=GID)


def link(path: bytes, target: bytes) -> Entry:
    return Entry(path=path, kind=Kind.SYMLINK, mode=0o777, target=target, uid=UID, gid=GID)


def removed(path: bytes) -> Entry:
    return Entry(path=path, kind=Kind.WHITEOUT, mode=0)


def opaque(path: bytes) -> Entry:
    return Entry(path=path, kind=Kind.OPAQUE, mode=0)


def make(folder: Path, layers: Sequence[Layer], as_tree: Callable[[int], bool]) -> View:
    forms: list[TreeForm | TarForm] = []
    for number, layer in enumerate(layers):
        tar, tree = folder / f"{number}.tar", folder / f"{number}"
        with tar.open("wb") as out:
            write_layer(canonical_order(layer), out.fileno())
        if as_tree(number):
            tree.mkdir()
            extract_layer([tar.read_bytes()], str(tree), skip_devices_if_forbidden=False)
            forms.append(TreeForm(str(tree)))
        else:
            forms.append(TarForm(str(tar)))
    return View(forms)


@pytest.fixture(params=["trees", "tars", "even trees", "odd trees"])
def stack(tmp_path: Path, request: pytest.FixtureRequest) -> Stack:
    """Layers, bottom first, as a view; in every combination of forms."""
    choices: dict[str, Callable[[int], bool]] = {
        "trees": lambda _: True,
        "tars": lambda _: False,
        "even trees": lambda number: number % 2 == 0,
        "odd trees": lambda number: number % 2 == 1,
    }
    return lambda *layers: make(tmp_path, layers, choices[request.param])


def paths(view: View, start: bytes = b"") -> list[bytes]:
    return [entry.path for entry in view.walk(start)]


def test_no_layers() -> None:
    view = View([])
    root = view.lstat(b"")
    assert root is not None
    assert (root.path, root.kind, root.mode) == (b"", Kind.DIRECTORY, 0o755)
    assert view.lstat(b"a") is None
    assert view.listdir(b"") == []
    assert paths(view) == [b""]
    assert view.resolve(b"/a/../b//c") == b"b/c"
    assert view.read(b"etc/passwd", 10) is None


def test_upper_wins_and_directories_merge(stack: Stack) -> None:
    view = stack(
        [directory(b"d", 0o700), regular(b"d/a", b"old"), regular(b"d/b", b"old")],
        [directory(b"d", 0o711), regular(b"d/a", b"newer"), regular(b"d/c", b"new")],
    )
    assert view.listdir(b"d") == [b"a", b"b", b"c"]
    assert [view.read(b"d/" + name, 9) for name in (b"a", b"b", b"c")] == [b"newer", b"old", b"new"]
    entry = view.lstat(b"d")
    assert entry is not None
    assert (entry.kind, entry.mode) == (Kind.DIRECTORY, 0o711)
    assert paths(view) == [b"", b"d", b"d/a", b"d/b", b"d/c"]
    assert paths(view, b"d/b") == [b"d/b"]
    assert paths(view, b"missing") == []


def test_whiteouts(stack: Stack) -> None:
    view = stack(
        [regular(b"a", b"1"), directory(b"d"), regular(b"d/e", b"1")],
        [removed(b"a"), removed(b"d")],
        [regular(b"f"), directory(b"d"), regular(b"d/g")],
    )
    assert view.lstat(b"a") is None
    assert view.lstat(b"d/e") is None
    assert paths(view) == [b"", b"d", b"d/g", b"f"]


def test_whiteout_with_nothing_below(stack: Stack) -> None:
    assert paths(stack([removed(b"x"), directory(b"d"), removed(b"d/y")])) == [b"", b"d"]


def test_opaque(stack: Stack) -> None:
    view = stack(
        [directory(b"d"), regular(b"d/a"), directory(b"d/s"), regular(b"d/s/t")],
        [directory(b"d"), opaque(b"d"), regular(b"d/b"), directory(b"d/s")],
        [directory(b"d"), regular(b"d/c")],
    )
    assert view.listdir(b"d") == [b"b", b"c", b"s"]
    assert view.listdir(b"d/s") == []
    assert view.lstat(b"d/s/t") is None


def test_whiteout_and_directory_in_one_layer_hide_what_is_below(stack: Stack) -> None:
    view = stack(
        [directory(b"d"), regular(b"d/a")], [removed(b"d"), directory(b"d"), regular(b"d/b")]
    )
    assert view.listdir(b"d") == [b"b"]


def test_kinds_replace_each_other(stack: Stack) -> None:
    view = stack(
        [directory(b"d"), regular(b"d/a"), regular(b"f", b"1"), directory(b"l"), regular(b"l/x")],
        [regular(b"d", b"file"), directory(b"f"), regular(b"f/b"), link(b"l", b"f")],
        [directory(b"d"), regular(b"d/c")],
    )
    assert paths(view) == [b"", b"d", b"d/c", b"f", b"f/b", b"l"]
    assert view.lstat(b"l/b") is None  # not followed
    assert view.listdir(b"l") == []
    assert view.lstat(view.resolve(b"l/b")) == view.lstat(b"f/b")


def test_file_between_directories_ends_the_merge(stack: Stack) -> None:
    view = stack([directory(b"d"), regular(b"d/a")], [regular(b"d")], [directory(b"d")])
    assert view.listdir(b"d") == []


def test_hard_links_share_an_inode(stack: Stack) -> None:
    linked = Entry(path=b"d/b", kind=Kind.HARDLINK, target=b"a", uid=UID, gid=GID)
    view = stack(
        [regular(b"a", b"content"), directory(b"d"), linked, replace(linked, path=b"c")],
        [
            regular(b"z", b"content"),
            replace(linked, path=b"zz", target=b"z"),
            regular(b"y", b"content"),
        ],
    )
    entries = {entry.path: entry for entry in view.walk(b"")}
    a, b, c, z, zz = (entries[path] for path in (b"a", b"d/b", b"c", b"z", b"zz"))
    assert a.inode is not None
    assert a.inode == b.inode == c.inode
    assert z.inode is not None
    assert z.inode == zz.inode != a.inode
    assert entries[b"y"].inode is None
    assert all(entry.kind is not Kind.HARDLINK for entry in entries.values())
    assert view.read(b"d/b", 100) == b"content"
    assert (b.size, b.path) == (7, b"d/b")


def test_entries_are_complete(stack: Stack) -> None:
    whole = Entry(
        path=b"f",
        kind=Kind.REGULAR,
        mode=0o4755,
        uid=UID,
        gid=GID,
        mtime=123456789,
        size=3,
        content=b"abc",
        xattrs=(("user.k", b"v"),),
    )
    entry = stack([whole, Entry(path=b"p", kind=Kind.FIFO, mode=0o620, uid=UID, gid=GID)]).lstat(
        b"f"
    )
    assert entry is not None
    assert isinstance(entry.content, FileSource)
    fd = entry.content.open()
    assert os.read(fd, entry.size) == b"abc"
    os.close(fd)
    assert replace(entry, content=b"abc") == whole


def test_resolve(stack: Stack) -> None:
    view = stack(
        [
            directory(b"usr"),
            directory(b"usr/bin"),
            regular(b"usr/bin/sh", b"shell"),
            link(b"bin", b"usr/bin"),
            link(b"usr/abs", b"/bin"),
            link(b"usr/up", b"../../../../bin"),
            link(b"loop", b"loop2"),
            link(b"loop2", b"loop"),
            link(b"dangling", b"/nowhere/at/all"),
            link(b"c00", b"usr"),
            *(link(b"c%02d" % n, b"c%02d" % (n - 1)) for n in range(1, 50)),
        ],
        [directory(b"usr"), link(b"usr/top", b"bin/../abs/sh")],
    )
    cases = {
        b"": b"",
        b"/": b"",
        b"bin/sh": b"usr/bin/sh",
        b"/bin/./sh": b"usr/bin/sh",
        b"usr/abs/sh": b"usr/bin/sh",
        b"usr/up/sh": b"usr/bin/sh",
        b"usr/top": b"usr/bin/sh",
        b"../../bin": b"usr/bin",
        b"bin/..": b"usr",
        b"bin/new/file": b"usr/bin/new/file",
        b"missing/../bin/x": b"usr/bin/x",
        b"dangling": b"nowhere/at/all",
        b"dangling/x": b"nowhere/at/all/x",
        b"usr/bin/sh/below": b"usr/bin/sh/below",
        b"c39": b"usr",
    }
    assert {path: view.resolve(path) for path in cases} == cases
    assert view.resolve(b"bin", follow_last=False) == b"bin"
    assert view.resolve(b"bin/", follow_last=False) == b"bin"
    assert view.resolve(b"usr/abs/../loop", follow_last=False) == b"usr/loop"
    assert view.resolve(b"c10/abs", follow_last=False) == b"usr/abs"
    for path in (b"loop", b"loop/x", b"c40", b"c49"):
        with pytest.raises(LayerError, match="too many levels"):
            view.resolve(path)
    assert view.read(b"usr/top", 5) == b"shell"
    assert view.read(b"usr", 5) is None
    assert view.read(b"dangling", 5) is None
    with pytest.raises(LayerError, match="larger than 4"):
        view.read(b"bin/sh", 4)


def test_empty_files(stack: Stack) -> None:
    assert stack([regular(b"a")]).read(b"a", 0) == b""


def test_walk_is_canonical(stack: Stack) -> None:
    view = stack(
        [regular(b"b-"), directory(b"b"), regular(b"b/x"), regular(b"\xff")],
        [regular(b"b."), regular(b"A")],
    )
    entries = list(view.walk(b""))[1:]
    assert [entry.path for entry in entries] == [b"A", b"b", b"b/x", b"b-", b"b.", b"\xff"]
    assert canonical_order(entries) == entries
    write_layer(entries, None)


def test_deep_paths(tmp_path: Path) -> None:
    """Deeper than Python's stack."""
    names = [b"d"] * 1500
    deep = [directory(b"/".join(names[: n + 1])) for n in range(len(names))]
    view = make(tmp_path, [deep, [regular(b"x")]], lambda _: False)
    assert view.lstat(b"/".join(names)) is not None
    assert view.lstat(b"/".join([*names, b"missing"])) is None
    assert len(paths(view)) == 1502


def test_one_lstat_does_not_walk(tmp_path: Path) -> None:
    """A tree is asked about the path only: what cannot even be listed does not disturb."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("x")
    for number in range(50):
        (tmp_path / f"a/{number}").touch()
    listed: list[object] = []
    real = os.scandir

    def scandir(path: bytes) -> object:
        listed.append(path)
        return real(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        view = View([TreeForm(str(tmp_path))])
        assert view.lstat(b"a/b/file") is not None
        assert view.read(b"a/b/file", 5) == b"x"
        assert view.resolve(b"a/b/../b/file") == b"a/b/file"
    assert listed == []


def test_a_tar_is_read_when_it_is_asked(tmp_path: Path) -> None:
    form = TarForm(str(tmp_path / "tar"))
    view = View([form])
    with (tmp_path / "tar").open("wb") as out:
        write_layer([regular(b"a", b"1")], out.fileno())
    assert view.read(b"a", 1) == b"1"


def test_many_threads(tmp_path: Path) -> None:
    layers = [
        [directory(b"d%d" % n), *(regular(b"d%d/%d" % (n, m), b"x" * m) for m in range(20))]
        for n in range(20)
    ]
    view = make(tmp_path, layers, lambda number: number % 2 == 0)
    failures: list[BaseException] = []

    def look() -> None:
        try:
            assert len(paths(view)) == 421
            assert view.read(b"d3/7", 10) == b"x" * 7
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.root
def test_devices(tmp_path: Path) -> None:
    layer = [Entry(path=b"null", kind=Kind.CHARACTER, mode=0o666, rdev=os.makedev(1, 3))]
    for as_tree in (True, False):
        folder = tmp_path / str(as_tree)
        folder.mkdir()
        view = make(folder, [layer], [lambda _: False, lambda _: True][as_tree])
        assert view.lstat(b"null") == layer[0]
