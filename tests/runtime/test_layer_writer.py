"""Entries to a layer: order, links, content, errors."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.image.errors import LayerError
from runtime.image.layer.entry import Entry, FileSource, Kind
from runtime.image.layer.writer import canonical_order, write_layer, write_layer_to


def regular(path: bytes, content: bytes = b"", inode: tuple[int, int] | None = None) -> Entry:
    return Entry(path=path, kind=Kind.REGULAR, size=len(content), content=content, inode=inode)


def written(entries: list[Entry], path: Path) -> bytes:
    with path.open("wb") as file:
        layer = write_layer(entries, file.fileno())
    data = path.read_bytes()
    assert layer.size == len(data)
    assert layer.diff_id == "sha256:" + hashlib.sha256(data).hexdigest()
    assert layer.entries == len(entries)
    assert write_layer(entries, None) == layer
    return data


def test_empty_layer_is_1024_zeros(tmp_path: Path) -> None:
    assert written([], tmp_path / "tar") == bytes(1024)


def test_contents_of_every_awkward_size(tmp_path: Path) -> None:
    """Around a block, around a buffer, over several; from memory and from files."""
    mebi = 1 << 20
    sizes = [0, 1, 511, 512, 513, mebi - 1025, mebi - 1024, mebi - 1023, mebi - 513, mebi - 512]
    sizes += [mebi - 1, mebi, mebi + 1, 3 * mebi + 7]
    contents = {b"%02d" % n: os.urandom(size) for n, size in enumerate(sizes)}
    memory = [regular(name, content) for name, content in contents.items()]
    files = []
    for name, content in contents.items():
        path = tmp_path / os.fsdecode(name)
        path.write_bytes(content)
        files.append(replace(regular(name, content), content=FileSource(bytes(path))))
    data = written(memory, tmp_path / "tar")
    assert written(files, tmp_path / "tar2") == data
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            body = archive.extractfile(member)
            assert body is not None
            assert body.read() == contents[os.fsencode(member.name)]


def test_part_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"headerCONTENTmore")
    source = FileSource(bytes(tmp_path / "archive"), 6)
    entry = replace(regular(b"a", b"CONTENT"), content=source)
    assert written([entry], tmp_path / "1") == written([regular(b"a", b"CONTENT")], tmp_path / "2")


def test_open_source(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello")
    fd = os.open(tmp_path / "x", os.O_RDONLY)
    try:
        entry = replace(regular(b"a", b"hello"), content=FileSource(b"nowhere", fd=fd))
        assert write_layer([entry], None) == write_layer([regular(b"a", b"hello")], None)
    finally:
        os.close(fd)


def test_canonical_order() -> None:
    entries = [
        regular(b"b-"),
        Entry(path=b"b", kind=Kind.DIRECTORY),
        regular(b"b/z"),
        regular(b"b0"),
        Entry(path=b"b/zz", kind=Kind.WHITEOUT),
        Entry(path=b"b", kind=Kind.OPAQUE),
        Entry(path=b"zz", kind=Kind.WHITEOUT),
        regular(b"b/a"),
        Entry(path=b"b/a", kind=Kind.WHITEOUT),
    ]
    ordered = [(entry.kind, entry.path) for entry in canonical_order(entries)]
    assert ordered == [
        (Kind.WHITEOUT, b"zz"),
        (Kind.DIRECTORY, b"b"),
        (Kind.OPAQUE, b"b"),
        (Kind.WHITEOUT, b"b/a"),
        (Kind.WHITEOUT, b"b/zz"),
        (Kind.REGULAR, b"b/a"),
        (Kind.REGULAR, b"b/z"),
        (Kind.REGULAR, b"b-"),
        (Kind.REGULAR, b"b0"),
    ]
    write_layer(canonical_order(reversed(entries)), None)


def test_of_equal_paths_the_last_counts() -> None:
    (entry,) = canonical_order([regular(b"a", b"1"), regular(b"a", b"2")])
    assert entry.content == b"2"


def test_hard_link_changes_places_with_a_later_target() -> None:
    link = Entry(path=b"a", kind=Kind.HARDLINK, target=b"m")
    entries = [link, regular(b"m", b"content"), replace(link, path=b"z")]
    first, second, third = canonical_order(entries)
    assert (first.path, first.kind, first.content) == (b"a", Kind.REGULAR, b"content")
    assert (second.path, second.kind, second.target) == (b"m", Kind.HARDLINK, b"a")
    assert (third.path, third.kind, third.target) == (b"z", Kind.HARDLINK, b"a")
    write_layer([first, second, third], None)


def test_equal_inodes_become_hard_links(tmp_path: Path) -> None:
    entries = [
        regular(b"a", b"x", (1, 1)),
        regular(b"b", b"x", (1, 1)),
        regular(b"c", b"x", (1, 2)),
    ]
    data = written(entries, tmp_path / "tar")
    assert written(canonical_order(entries), tmp_path / "tar2") == data
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = {member.name: member for member in archive}
    assert members["b"].islnk()
    assert members["b"].linkname == "a"
    assert members["c"].isreg()


@pytest.mark.parametrize(
    "entries",
    [
        [regular(b"b"), regular(b"a")],
        [regular(b"a"), regular(b"a")],
        [regular(b"a"), Entry(path=b"b", kind=Kind.WHITEOUT)],
        [regular(b"b-"), regular(b"b/x")],
        [Entry(path=b"a", kind=Kind.HARDLINK, target=b"b"), regular(b"b")],
        [Entry(path=b"a", kind=Kind.REGULAR, size=5, content=b"four")],
    ],
)
def test_unsound_entries_are_refused(entries: list[Entry]) -> None:
    with pytest.raises(LayerError):
        write_layer(entries, None)


@pytest.mark.parametrize("size", [0, 10, 100, 3 << 20])
@pytest.mark.parametrize("change", [-1, 1])
def test_wrong_size_is_noticed(tmp_path: Path, size: int, change: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    if size + change <= 0:
        return
    entry = Entry(path=b"x", kind=Kind.REGULAR, size=size + change, content=FileSource(bytes(path)))
    with pytest.raises(LayerError, match="changed"):
        write_layer([entry], None)


def test_sources_are_never_links(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    source = FileSource(bytes(tmp_path / "link"))
    with pytest.raises(OSError, match="symbolic links"):
        write_layer([Entry(path=b"x", kind=Kind.REGULAR, size=1, content=source)], None)


def endless() -> Iterator[Entry]:
    number = 0
    while True:
        yield regular(b"%020d" % number, bytes(100_000))
        number += 1


def test_errors_of_a_thread_reach_the_caller(tmp_path: Path) -> None:
    """A full disk ends an endless layer, and leaves no thread."""
    before = threading.active_count()
    with open("/dev/full", "wb") as full, pytest.raises(OSError, match="No space left"):
        write_layer(endless(), full.fileno())
    with open("/dev/full", "wb") as full, pytest.raises(OSError, match="No space left"):
        write_layer([], full.fileno())
    assert threading.active_count() == before


def test_errors_of_the_entries_reach_the_caller() -> None:
    def broken() -> Iterator[Entry]:
        for number, entry in enumerate(endless()):
            if number == 50:
                raise KeyError("broken")
            yield entry

    before = threading.active_count()
    with pytest.raises(KeyError):
        write_layer(broken(), None)
    assert threading.active_count() == before


def test_any_error_of_a_consumer_is_raised() -> None:
    def fails(data: memoryview) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        write_layer_to(endless(), fails)
    assert threading.active_count() == before


def test_a_consumer_is_fed_full_buffers() -> None:
    fed: list[int] = []
    small = [regular(b"%09d" % number, bytes(number)) for number in range(3000)]
    layer = write_layer_to(small, lambda data: fed.append(len(data)))
    assert sum(fed) == layer.size
    assert set(fed[:-1]) == {1 << 20}


def test_file_beyond_8_gib(tmp_path: Path) -> None:
    """Only its first piece is read: the second consumer has seen enough."""
    size = (8 << 30) + 5
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, size)
    seen: list[bytes] = []

    class Enough(Exception):
        pass

    def head(data: memoryview) -> None:
        seen.append(bytes(data[:2048]))
        raise Enough

    entry = Entry(path=b"big", kind=Kind.REGULAR, size=size, content=FileSource(bytes(path)))
    with pytest.raises(Enough):
        write_layer_to([entry], head)
    with tarfile.open(fileobj=io.BytesIO(seen[0])) as archive:
        member = archive.next()
    assert member is not None
    assert member.size == size
