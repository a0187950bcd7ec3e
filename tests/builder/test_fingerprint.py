"""Files are read once, and again whenever they could have changed."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from builder.sources.context import Context, FileStamp
from builder.sources.fingerprint import ContextFingerprints, pack_known, unpack_known

NUMBERS = st.integers(0, 2**63 - 1)
STAMPS = st.builds(FileStamp, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
KNOWN = st.dictionaries(
    st.binary(min_size=1).filter(lambda name: b"\0" not in name),
    st.tuples(STAMPS, st.binary(min_size=32, max_size=32)),
    min_size=1,
    max_size=20,
)


@given(KNOWN)
def test_what_is_remembered_comes_back(known: dict[bytes, tuple[FileStamp, bytes]]) -> None:
    data = pack_known(known)
    assert unpack_known(data) == known
    assert unpack_known(data[:-1] if data.endswith(b"\0") else data + b"\0x") != known


@given(st.binary(max_size=200))
def test_damage_is_as_if_nothing_were_known(data: bytes) -> None:
    unpack_known(data)


def digest_of(root: Path, known: dict[bytes, tuple[FileStamp, bytes]]) -> tuple[str, int, bytes]:
    """A file's digest, how many files were read for it, and what is to be remembered."""
    context = Context(str(root))
    fingerprints = ContextFingerprints(context, known)
    entry = context.lstat(b"file")
    assert entry is not None
    digest = fingerprints.digest(entry)
    return digest.hex(), fingerprints.read, fingerprints.to_bytes()


def age(path: Path) -> None:
    """Wait until a file's change is older than the grain of file times."""
    while time.time_ns() - path.stat().st_ctime_ns < 200_000_000:
        time.sleep(0.05)


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"one")
    age(tmp_path / "file")
    digest, read, remembered = digest_of(tmp_path, {})
    assert (digest, read) == (hashlib.sha256(b"one").hexdigest(), 1)
    assert digest_of(tmp_path, unpack_known(remembered))[:2] == (digest, 0)


def test_a_change_with_the_old_times_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    before = path.stat()
    age(path)
    _, _, remembered = digest_of(tmp_path, {})
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    digest, read, _ = digest_of(tmp_path, unpack_known(remembered))
    assert (digest, read) == (hashlib.sha256(b"two").hexdigest(), 1)


def test_a_file_just_written_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"one")
    os.utime(tmp_path / "file", ns=(time.time_ns() + 10**12,) * 2)
    _, _, remembered = digest_of(tmp_path, {})
    assert unpack_known(remembered) == {}
