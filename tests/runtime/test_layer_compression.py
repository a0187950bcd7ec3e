"""Compressed blobs: deterministic out, anything in, errors and threads accounted for."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import random
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import zstandard

from runtime.image.errors import CompressorUnfit, LayerError
from runtime.image.layer.buffers import Fanout
from runtime.image.layer.compression import compress_blob, compressing
from runtime.image.layer.decompression import open_decompressed
from runtime.image.layer.gzip_blocks import GzipBlocks
from runtime.image.layer.recipe import (
    GZIP,
    UNCOMPRESSED,
    ZSTD,
    Compression,
    Recipe,
    compressor_id,
    own_recipes,
)
from support import tars

pytestmark = pytest.mark.any_user

RECIPES = (
    GZIP,
    Recipe(Compression.GZIP, 0),
    Recipe(Compression.GZIP, 2),
    Recipe(Compression.GZIP, 6),
    Recipe(Compression.GZIP, "best"),
    Recipe(Compression.GZIP, reproducible=True),
    ZSTD,
    Recipe(Compression.ZSTD, 1),
    Recipe(Compression.ZSTD, 6),
    UNCOMPRESSED,
)


def sample(size: int, seed: int = 0) -> bytes:
    """Bytes that compress somewhat."""
    numbers = random.Random(seed)
    words = [numbers.randbytes(numbers.randrange(1, 9)) for _ in range(300)]
    parts = numbers.choices(words, k=size // 4 + 1)
    return b"".join(parts)[:size].ljust(size, b"x")


def zstd(data: bytes, *, checksum: bool = True, sizes: bool = True) -> bytes:
    compressor = zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=sizes)
    return compressor.compress(data)


def compressed(tmp_path: Path, data: bytes, recipe: Recipe) -> bytes:
    (tmp_path / "raw").write_bytes(data)
    with (tmp_path / "out").open("wb") as out:
        digest, size = compress_blob(str(tmp_path / "raw"), out.fileno(), recipe)
    blob = (tmp_path / "out").read_bytes()
    assert size == len(blob)
    assert digest == "sha256:" + hashlib.sha256(blob).hexdigest()
    return blob


def plain(path: Path, data: bytes) -> bytes:
    path.write_bytes(data)
    with closing(open_decompressed(str(path))) as chunks:
        return b"".join(chunks)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("size", [0, 1024, (1 << 20) - 1, 1 << 20, (5 << 20) + 12345])
def test_round_trip(tmp_path: Path, recipe: Recipe, size: int) -> None:
    data = sample(size)
    blob = compressed(tmp_path, data, recipe)
    assert compressed(tmp_path, data, recipe) == blob
    assert plain(tmp_path / "blob", blob) == data
    with (tmp_path / "raw").open("rb") as raw, (tmp_path / "out").open("wb") as out:
        compress_blob(raw.fileno(), out.fileno(), recipe)
    assert (tmp_path / "out").read_bytes() == blob


def test_other_programs_read_it(tmp_path: Path) -> None:
    data = sample(3 << 20)
    assert gzip.decompress(compressed(tmp_path, data, GZIP)) == data
    frame = compressed(tmp_path, data, ZSTD)
    assert zstandard.ZstdDecompressor().decompressobj().decompress(frame) == data
    assert compressed(tmp_path, data, UNCOMPRESSED) == data


def test_gzip_header_says_nothing(tmp_path: Path) -> None:
    blob = compressed(tmp_path, b"x", GZIP)
    assert blob[:4] == b"\x1f\x8b\x08\x00"  # no name, no comment
    assert blob[4:8] == bytes(4)  # no time


def test_feeding_does_not_depend_on_the_producer(tmp_path: Path) -> None:
    data = sample(3 << 20)
    blob = compressed(tmp_path, data, GZIP)
    with (tmp_path / "out").open("wb") as out:
        with compressing(out.fileno(), GZIP) as made, Fanout(made.feed) as raw:
            for start in range(0, len(data), 777):
                raw.put(data[start : start + 777])
        assert made.digest == "sha256:" + hashlib.sha256(blob).hexdigest()
    assert (tmp_path / "out").read_bytes() == blob


def test_without_isal(tmp_path: Path) -> None:
    """zlib stands in, under another identifier; both libraries read both."""
    data = sample(2 << 20)
    (tmp_path / "in").write_bytes(data)
    program = """
import os, sys
sys.modules["isal"] = None
from runtime.image.layer.compression import compress_blob
from runtime.image.layer.decompression import open_decompressed
from runtime.image.layer.recipe import GZIP, compressor_id
assert compressor_id(GZIP).startswith("zlib-")
with open(sys.argv[2], "wb") as out:
    compress_blob(sys.argv[1], out.fileno(), GZIP)
assert b"".join(open_decompressed(sys.argv[2])) == open(sys.argv[1], "rb").read()
"""
    arguments = [sys.executable, "-c", program, str(tmp_path / "in"), str(tmp_path / "out")]
    subprocess.run(arguments, check=True, cwd=Path(__file__).parents[2])
    blob = (tmp_path / "out").read_bytes()
    assert zlib.decompress(blob, 31) == data
    assert plain(tmp_path / "blob", blob) == data


def test_identifiers_differ() -> None:
    assert len({compressor_id(recipe) for recipe in RECIPES}) == len(RECIPES)


def test_blocks_are_the_same_whatever_the_number_of_threads(tmp_path: Path) -> None:
    data = sample((5 << 20) + 333)
    made = set()
    for threads in (1, 2, 5):
        with GzipBlocks(6, threads) as blocks:
            parts = [
                blocks.compress(memoryview(data)[start : start + (1 << 20)])
                for start in range(0, len(data), 1 << 20)
            ]
            made.add(b"".join(parts) + blocks.flush())
    (blob,) = made
    assert gzip.decompress(blob) == data
    (tmp_path / "blob.gz").write_bytes(blob)
    subprocess.run(["gzip", "-t", tmp_path / "blob.gz"], check=True)
    assert len(blob) < 1.02 * len(gzip.compress(data, 6))


def test_reproducible_blobs_are_zlibs_own() -> None:
    """Golden: whoever changes these bytes breaks a promise (docs/images.md)."""
    data = sample((2 << 20) + 5)
    with GzipBlocks(6) as blocks:
        made = b"".join(
            blocks.compress(memoryview(data)[start : start + (1 << 20)])
            for start in range(0, len(data), 1 << 20)
        )
        made += blocks.flush()
    assert hashlib.sha256(made).hexdigest() == (
        "510a972b966d2af1eca075af2e90639c1ebb4be70d2b77635c0d48849d74867b"
    )


def test_levels_that_there_are_not() -> None:
    for compression, level in ((Compression.GZIP, 10), (Compression.ZSTD, 23)):
        with pytest.raises(ValueError, match="levels are 0 to"):
            Recipe(compression, level)
    with pytest.raises(ValueError, match="no level"):
        Recipe(Compression.UNCOMPRESSED, 1)
    with pytest.raises(ValueError, match="version to version"):
        Recipe(Compression.ZSTD, reproducible=True)


def test_own_recipes_are_known_by_their_compressors() -> None:
    known = own_recipes()
    assert all(compressor_id(recipe) == name for name, recipe in known.items())
    assert {compressor_id(recipe) for recipe in RECIPES} <= known.keys()
    assert "unknown" not in known


def test_zlib_ng_does_not_stand_in_where_zlibs_bytes_are_promised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(zlib, "ZLIB_RUNTIME_VERSION", "1.3.1.zlib-ng")
    with pytest.raises(CompressorUnfit, match="zlib-ng"):
        compressor_id(Recipe(Compression.GZIP, reproducible=True))
    assert "zlib-ng" in compressor_id(Recipe(Compression.GZIP, 6))
    assert GZIP in own_recipes().values()


SKIPPABLE = b"\x5e\x2a\x4d\x18" + (12).to_bytes(4, "little") + b"twelve bytes"


@pytest.mark.parametrize(
    ("blob", "data"),
    [
        (b"", b""),
        (b"plain text", b"plain text"),
        (gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two"), b"onetwo"),
        (gzip.compress(b"padded") + bytes(3000), b"padded"),
        (zstd(b"one") + zstd(b"two", checksum=False, sizes=False), b"onetwo"),
        (SKIPPABLE + zstd(b"one") + SKIPPABLE + zstd(b"") + SKIPPABLE, b"one"),
        (bz2.compress(b"one") + bz2.compress(b"two"), b"onetwo"),
        (lzma.compress(b"one") + lzma.compress(b"two") + bytes(8), b"onetwo"),
    ],
)
def test_streams_of_several_parts(tmp_path: Path, blob: bytes, data: bytes) -> None:
    assert plain(tmp_path / "blob", blob) == data


@pytest.mark.parametrize(
    "compress", [gzip.compress, zstd, bz2.compress, lambda data: lzma.compress(data, preset=0)]
)
def test_many_parts_over_many_reads(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    data = [os.urandom(100_000 + 7 * number) + bytes(50_000) for number in range(20)]
    blob = b"".join(compress(part) for part in data)
    assert plain(tmp_path / "blob", blob) == b"".join(data)


@pytest.mark.parametrize(
    "compress",
    [gzip.compress, zstd, lambda data: zstd(data, checksum=False), bz2.compress, lzma.compress],
)
def test_cut_off_or_corrupt(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    blob = compress(sample(600_000)) + compress(sample(300_000, 1))
    for cut in (1, 4, 5, 1000, len(blob) // 2, len(blob) - 300):
        with pytest.raises(LayerError, match=r"cut off|corrupt"):
            plain(tmp_path / "blob", blob[:-cut])
    with pytest.raises(LayerError):
        plain(tmp_path / "blob", blob + b"something else")


@pytest.mark.parametrize("compress", [gzip.compress, zstd, bz2.compress, lzma.compress])
def test_flipped_bits_are_noticed(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    blob = bytearray(compress(sample(300_000)))
    blob[len(blob) // 2] ^= 0xFF
    with pytest.raises(LayerError):
        plain(tmp_path / "blob", bytes(blob))


@pytest.mark.parametrize("compress", [gzip.compress, zstd, bz2.compress, lzma.compress])
def test_bombs_come_in_small_chunks(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    (tmp_path / "bomb").write_bytes(compress(bytes(50 << 20)))
    with closing(open_decompressed(str(tmp_path / "bomb"))) as chunks:
        sizes = [len(chunk) for chunk in chunks]
    assert sum(sizes) == 50 << 20
    assert max(sizes) <= 1 << 20


def test_a_tar_is_a_tar_whatever_its_first_name(tmp_path: Path) -> None:
    for name in (b"BZh91AY", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ"):
        data = tars.file(name, b"x") + tars.END
        assert plain(tmp_path / "tar", data) == data


def test_closing_early_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    (tmp_path / "blob").write_bytes(gzip.compress(bytes(100 << 20), 1))
    chunks = open_decompressed(str(tmp_path / "blob"))
    assert next(chunks)
    chunks.close()
    assert threading.active_count() == before
    del chunks
    unused = open_decompressed(str(tmp_path / "blob"))
    del unused
    with pytest.raises(FileNotFoundError):
        next(open_decompressed(str(tmp_path / "missing")))
    assert threading.active_count() == before


def test_pipes(tmp_path: Path) -> None:
    """Read to the end; or left, though the writer says nothing more."""
    before = threading.active_count()
    data = sample(300_000)
    blob = gzip.compress(data)
    source, sink = os.pipe()

    def feed() -> None:
        with open(sink, "wb") as pipe:
            pipe.write(blob)

    feeder = threading.Thread(target=feed)
    feeder.start()
    assert b"".join(open_decompressed(source)) == data
    feeder.join()
    os.close(source)

    source, sink = os.pipe()
    os.write(sink, b"plain " * 100)
    chunks = open_decompressed(source)
    assert next(chunks).startswith(b"plain")
    chunks.close()
    os.close(source)
    os.close(sink)
    assert threading.active_count() == before


def test_errors_of_writing_reach_the_caller(tmp_path: Path) -> None:
    before = threading.active_count()
    (tmp_path / "raw").write_bytes(os.urandom(30 << 20))
    for recipe in (GZIP, Recipe(Compression.GZIP, 6), ZSTD, UNCOMPRESSED):
        with open("/dev/full", "wb") as full, pytest.raises(OSError, match="No space left"):
            compress_blob(str(tmp_path / "raw"), full.fileno(), recipe)
    assert threading.active_count() == before
