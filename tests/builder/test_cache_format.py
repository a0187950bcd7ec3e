"""Caches as they are written and read: equal ones are equal bytes, and nothing read is trusted."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.exchange.format import (
    CacheContent,
    CacheRecord,
    Content,
    config_bytes,
    parse_config,
    read_cache,
    write_cache,
)
from runtime.image.digest import DiffID, Digest, sha256
from runtime.image.errors import ArchiveError
from runtime.image.manifest import MEDIA_TYPE_LAYER, Descriptor
from runtime.image.store.store import Store

hexadecimal = st.text("0123456789abcdef", min_size=64, max_size=64)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
records = st.builds(
    CacheRecord,
    key=hexadecimal,
    kind=texts,
    diff_id=hexadecimal.map(lambda digits: DiffID("sha256:" + digits)),
    text=texts,
    components=st.dictionaries(texts, texts, max_size=3).map(lambda d: tuple(sorted(d.items()))),
    created=st.integers(0, 2**40),
)
several = st.lists(records, max_size=5, unique_by=lambda record: record.key)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@dataclass
class Memory:
    """A cache in memory: a target and a source in few lines."""

    name: str = "memory"
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    written: bytes = b""

    def has(self, descriptor: Descriptor) -> bool:
        return descriptor.digest in self.blobs

    def put(self, descriptor: Descriptor, content: Content) -> None:
        self.blobs[descriptor.digest] = b"".join(content(0, descriptor.size))

    def finish(self, descriptor: Descriptor, manifest: bytes) -> None:
        assert sha256(manifest) == descriptor.digest
        self.written = manifest

    def manifest(self) -> bytes:
        return self.written

    def document(self, descriptor: Descriptor) -> bytes:
        return self.blobs[descriptor.digest][: descriptor.size]

    def fetch(self, store: Store, diff_id: DiffID, descriptor: Descriptor) -> None:
        raise AssertionError("no layer is asked for")


@given(several)
def test_records_come_back(made: list[CacheRecord]) -> None:
    layers = {
        record.diff_id: Descriptor(
            media_type=MEDIA_TYPE_LAYER + "+gzip", digest=Digest(record.diff_id), size=3
        )
        for record in made
    }
    memory = Memory()
    write_cache(memory, CacheContent(records=tuple(made), layers=layers))
    found = read_cache(memory, 1 << 20)
    assert found.records == tuple(sorted(made, key=lambda record: record.key))
    assert {diff_id: layer.digest for diff_id, layer in found.layers.items()} == {
        diff_id: layer.digest for diff_id, layer in layers.items()
    }


@given(several)
def test_equal_records_are_equal_bytes(made: list[CacheRecord]) -> None:
    assert config_bytes(made) == config_bytes(reversed(made))


@given(st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
def test_nothing_but_our_own_error(data: bytes) -> None:
    with pytest.raises(ArchiveError):
        parse_config(data)


@given(several, values, st.sampled_from(("key", "kind", "layer", "text", "components", "created")))
def test_a_record_of_anything_is_refused_or_read(
    made: list[CacheRecord], value: object, member: str
) -> None:
    document = json.loads(config_bytes(made))
    for record in document["records"]:
        record[member] = value
    try:
        found = parse_config(json.dumps(document).encode())
    except ArchiveError:
        return
    for each in found:
        assert len(each.key) == 64
        assert each.diff_id.startswith("sha256:")


def test_too_many_records_are_refused() -> None:
    record = CacheRecord(key="0" * 64, kind="run", diff_id=DiffID("sha256:" + "0" * 64))
    with pytest.raises(ArchiveError, match="more than"):
        parse_config(config_bytes([record] * 20_001))
