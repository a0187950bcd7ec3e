"""What holds for any layer: written, read, extracted, packed and looked at, it is the same."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.image.errors import LayerError
from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.extract import extract_layer
from runtime.image.layer.pack import pack_tree
from runtime.image.layer.tar_reader import read_tar
from runtime.image.layer.view import TarForm, TreeForm, View
from runtime.image.layer.writer import canonical_order, write_layer, write_layer_to
from support import tars

pytestmark = pytest.mark.any_user

modest = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)

names = st.one_of(
    st.sampled_from([b"a", b"b", b"a-", b"a.", b"..a", b" ", b"\xff"]),
    st.binary(min_size=1, max_size=12).filter(
        lambda name: not {*name} & {0, 0x2F} and name not in (b".", b"..") and name[:4] != b".wh."
    ),
    st.sampled_from([b"n" * 99, b"n" * 100, b"n" * 101, b"n" * 155, b"n" * 251]),
)
paths = st.lists(names, min_size=1, max_size=5).map(b"/".join)
targets = st.one_of(paths, st.just(b"/x"), st.just(b"../y"), st.binary(min_size=1, max_size=200))
xattrs = st.dictionaries(
    st.sampled_from(["user.a", "user.b=%", "security.capability"]),
    st.binary(max_size=40),
    max_size=2,
)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    kind = draw(st.sampled_from(Kind))
    path = draw(paths)
    if kind is Kind.WHITEOUT or kind is Kind.OPAQUE:
        return Entry(path=path, kind=kind, mode=0)
    if kind is Kind.HARDLINK:
        kind = Kind.REGULAR
    content = draw(st.binary(max_size=1200)) if kind is Kind.REGULAR else b""
    device = kind in (Kind.CHARACTER, Kind.BLOCK)
    return Entry(
        path=path,
        kind=kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(st.sampled_from([0, 1000, 0o7777777, 0o10000000, 0xFFFFFFFE])),
        gid=draw(st.integers(0, 0xFFFFFFFE)),
        mtime=draw(st.integers(-(1 << 35), 1 << 35)),
        size=len(content),
        target=draw(targets).replace(b"\0", b"n") if kind is Kind.SYMLINK else b"",
        rdev=os.makedev(draw(st.integers(1, 4095)), draw(st.integers(0, 99999))) if device else 0,
        xattrs=tuple(sorted(draw(xattrs).items())) if kind is Kind.REGULAR else (),
        content=content,
    )


def written(layer: list[Entry]) -> bytes:
    buffer = io.BytesIO()
    write_layer_to(layer, buffer.write)
    return buffer.getvalue()


def read(data: bytes, step: int) -> list[Entry]:
    chunks = (data[start : start + step] for start in range(0, len(data), step))
    return [replace(entry, content=body.read()) for entry, body in read_tar(chunks)]


@given(st.lists(entries(), max_size=12), st.integers(1, 5000))
@modest
def test_entries_to_tar_to_entries(found: list[Entry], step: int) -> None:
    layer = canonical_order(found)
    data = written(layer)
    assert read(data, step) == layer
    assert written(canonical_order(reversed(layer))) == data


@given(st.lists(entries(), max_size=12))
@modest
def test_tarfile_agrees(found: list[Entry]) -> None:
    layer = canonical_order(found)
    with tarfile.open(fileobj=io.BytesIO(written(layer))) as archive:
        members = archive.getmembers()
        assert len(members) == len(layer)
        for member, entry in zip(members, layer, strict=True):
            name = os.fsencode(member.name)
            if entry.kind is Kind.WHITEOUT:
                above, slash, last = entry.path.rpartition(b"/")
                assert name == above + slash + b".wh." + last
                continue
            if entry.kind is Kind.OPAQUE:
                assert name == entry.path + b"/.wh..wh..opq"
                continue
            assert name == entry.path
            assert (member.mode, member.uid, member.gid) == (entry.mode, entry.uid, entry.gid)
            assert (int(member.mtime), member.size) == (entry.mtime, entry.size)
            assert os.fsencode(member.linkname) == entry.target
            if entry.kind is Kind.REGULAR:
                body = archive.extractfile(member)
                assert body is not None
                assert body.read() == entry.content


few = st.sampled_from([b"a", b"b", b"c"])
places = st.lists(few, min_size=1, max_size=4).map(b"/".join)
links = st.lists(st.sampled_from([b"a", b"b", b"c", b"..", b"."]), min_size=1, max_size=4)


@st.composite
def members(draw: st.DrawFn) -> bytes:
    """One member of a tar nobody wrote with care."""
    path = draw(places)
    above, slash, name = path.rpartition(b"/")
    mode = draw(st.sampled_from([0o644, 0o755, 0o4711, 0o2775, 0]))
    mtime = draw(st.integers(0, 5))
    match draw(st.integers(0, 9)):
        case 0 | 1 | 2:
            body = draw(st.binary(max_size=20))
            return tars.header(path, size=len(body), mode=mode, mtime=mtime) + tars.padded(body)
        case 3 | 4:
            return tars.header(path + b"/", b"5", mode=mode, mtime=mtime)
        case 5:
            target = b"/".join(draw(links))
            return tars.symlink(path, b"/" + target if draw(st.booleans()) else target)
        case 6:
            return tars.hardlink(path, draw(places))
        case 7:
            return tars.file(above + slash + b".wh." + name)
        case 8:
            return tars.file(path + b"/.wh..wh..opq")
        case _:
            return tars.header(path, b"6", mode=mode, mtime=mtime)


@contextmanager
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="lamina-property-"))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def look(form: TreeForm | TarForm) -> list[object]:
    """Everything a form says, contents and links by what they are, not by where."""
    said: list[object] = []
    files: dict[tuple[int, int] | None, int] = {None: 0}
    pending = [b""]
    while pending:
        path = pending.pop()
        said.append((path, form.is_opaque(path)))
        for name, removed in sorted(form.names(path)):
            below = path + b"/" + name if path else name
            entry = form.entry(below)
            assert entry is not None
            assert removed == (entry.kind is Kind.WHITEOUT)
            body = View([form]).read(below, 100) if entry.kind is Kind.REGULAR else b""
            number = files.setdefault(entry.inode, len(files))
            said.append((replace(entry, content=b"", inode=None, uid=0, gid=0), body, number))
            if entry.kind is Kind.DIRECTORY:
                pending.append(below)
    return said


@pytest.mark.root
@pytest.mark.parametrize("kernel", ["openat2", "walk"])
@given(st.lists(members(), min_size=1, max_size=14))
@modest
def test_a_tar_looks_like_the_tree_it_becomes(kernel: str, parts: list[bytes]) -> None:
    data = b"".join(parts) + tars.END
    with folder() as made, pytest.MonkeyPatch.context() as patch:
        if kernel == "walk":
            patch.setattr("runtime.image.layer.in_root._SYS_OPENAT2", 9999)
        (made / "tar").write_bytes(data)
        (made / "tree").mkdir()
        (made / "outside").mkdir()
        extracted: list[object] | LayerError
        indexed: list[object] | LayerError
        try:
            extract_layer([data], str(made / "tree"), skip_devices_if_forbidden=False)
            extracted = look(TreeForm(str(made / "tree")))
        except LayerError as error:
            extracted = error
        try:
            indexed = look(TarForm(str(made / "tar")))
        except LayerError as error:
            indexed = error
        if isinstance(extracted, LayerError) or isinstance(indexed, LayerError):
            assert isinstance(extracted, LayerError), (extracted, indexed)
            assert isinstance(indexed, LayerError), (extracted, indexed)
            assert extracted.message == indexed.message
        else:
            assert extracted == indexed
        assert sorted(os.listdir(made)) == ["outside", "tar", "tree"]


@pytest.mark.root
@given(st.lists(st.lists(members(), max_size=8), min_size=1, max_size=4), st.integers(0, 15))
@modest
def test_forms_can_be_mixed(layers: list[list[bytes]], which: int) -> None:
    """A stack looks the same whatever form each layer has."""
    with folder() as made:
        trees: list[TreeForm | TarForm] = []
        mixed: list[TreeForm | TarForm] = []
        for number, parts in enumerate(layers):
            data = b"".join(parts) + tars.END
            tar, tree = made / f"{number}.tar", made / str(number)
            tar.write_bytes(data)
            tree.mkdir()
            try:
                extract_layer([data], str(tree), skip_devices_if_forbidden=False)
            except LayerError:
                continue
            trees.append(TreeForm(str(tree)))
            mixed.append(TarForm(str(tar)) if which >> number & 1 else trees[-1])

        def seen(view: View) -> list[Entry]:
            return [replace(e, content=b"", inode=None, uid=0, gid=0) for e in view.walk(b"")][1:]

        one, other = View(trees), View(mixed)
        found = seen(one)
        assert found == seen(other)
        for entry in found:
            assert one.lstat(entry.path) is not None
            content = one.read(entry.path, 100) if entry.kind is Kind.REGULAR else None
            assert content is None or content == other.read(entry.path, 100)
        write_layer(other.walk(b"a"), None)


def is_file(entry: Entry | None) -> bool:
    return entry is not None and entry.kind is not Kind.DIRECTORY


@pytest.mark.root
@given(st.lists(entries(), max_size=10))
@modest
def test_extracting_and_packing_is_the_same_layer(found: list[Entry]) -> None:
    """A sound layer comes back byte for byte from the tree it became."""
    plain: dict[bytes, Entry] = {}
    for entry in found:
        if entry.kind is Kind.OPAQUE:
            continue
        parents = entry.path.split(b"/")
        above = [b"/".join(parents[:length]) for length in range(1, len(parents))]
        if entry.path in plain or any(is_file(plain.get(path)) for path in above):
            continue
        for path in above:
            plain.setdefault(path, Entry(path=path, kind=Kind.DIRECTORY, mode=0o711, mtime=9))
        if any("security" in name for name, _ in entry.xattrs):
            entry = replace(entry, xattrs=())  # the kernel takes well-formed capabilities only
        if entry.kind is not Kind.WHITEOUT:
            entry = replace(entry, mtime=entry.mtime % (1 << 31))
        if entry.kind is Kind.SYMLINK:
            entry = replace(entry, mode=0o777)
        plain[entry.path] = entry
    layer = canonical_order(plain.values())
    data = written(layer)
    with folder() as made:
        (made / "tree").mkdir()
        result = extract_layer([data], str(made / "tree"), skip_devices_if_forbidden=False)
        assert pack_tree(str(made / "tree"), None).diff_id == result.diff_id


@given(st.binary(max_size=3000))
@modest
def test_noise_is_refused(data: bytes) -> None:
    try:
        read(data, 512)
    except LayerError:
        return
    assert len(data) >= 512


@given(st.lists(members(), min_size=1, max_size=5), st.data())
@modest
def test_damage_is_refused_or_harmless(parts: list[bytes], data: st.DataObject) -> None:
    """Whatever bytes change: an answer or a LayerError, nothing else."""
    tar = bytearray(b"".join(parts) + tars.END)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(tar) // 512 - 1)) * 512
        position = start + data.draw(st.integers(0, 511))
        tar[position] = data.draw(st.integers(0, 255))
        block = tar[start : start + 512]
        if data.draw(st.booleans()):  # with a checksum to match
            tar[start + 148 : start + 156] = b"%06o\0 " % (
                sum(block[:148]) + 256 + sum(block[156:])
            )
    with suppress(LayerError):
        read(bytes(tar), 700)
