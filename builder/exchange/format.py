"""Caches that leave a store and come to another: what is in them, and how it is written.

A cache is an OCI image manifest. Its config, of a media type of its own, lists records: a step's
key and the layer that the step gave. Its layers are those, as any image's are, with their diff IDs
as annotations. An image can have its records in its own manifest instead (`INLINE`). A record may
name a layer that the cache does not have: enough to go on with, as long as nobody looks into it.

What a key was made of is not in a cache, only digests of it: values of build arguments are nobody
else's business.

`BlobTarget` and `BlobSource` are where a cache lies: a folder (`builder.exchange.folder`), or
whatever can take and give blobs by their digests.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from runtime.image import json_bytes
from runtime.image.digest import DiffID, sha256
from runtime.image.digest import parse as parse_digest
from runtime.image.errors import ArchiveError, InvalidDigest
from runtime.image.json_bytes import Json
from runtime.image.manifest import MEDIA_TYPE_LAYER, MEDIA_TYPE_MANIFEST, Descriptor, Manifest
from runtime.image.model import ImageConfig
from runtime.image.store.store import Store

MEDIA_TYPE_CACHE: Final = "application/vnd.lamina.cache.config.v1+json"
DIFF_ID: Final = "lamina.diff-id"
"""The annotation of a layer that gives its diff ID."""
INLINE: Final = "lamina.cache"
"""The annotation of an image's manifest that has records: compressed with zlib, in base 64."""
_MOST_INLINE: Final = 256 << 10
MOST_RECORDS: Final = 20_000
MOST_TEXT: Final = 200
"""How much of an instruction a record has."""
_VERSION: Final = 1
_KEY_LENGTH: Final = 64
_DOCUMENT: Final = "cache config"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRecord:
    """A step's key and the layer it gave.

    `text` is the instruction, `components` digests of what the key was made of, by name: both to
    explain with. `created` is in seconds since 1970.
    """

    key: str
    kind: str
    diff_id: DiffID
    text: str = ""
    components: tuple[tuple[str, str], ...] = ()
    created: int = 0

    def to_json(self) -> dict[str, Json]:
        return {
            "key": self.key,
            "kind": self.kind,
            "layer": self.diff_id,
            "text": self.text,
            "components": dict(self.components),
            "created": self.created,
        }

    @classmethod
    def from_json(cls, value: Json) -> CacheRecord:
        """Read a record from elsewhere; `ArchiveError`."""
        members = json_bytes.as_object(value, _DOCUMENT)
        key = json_bytes.string(members, "key", _DOCUMENT)
        if len(key) != _KEY_LENGTH or not set(key) <= set("0123456789abcdef"):
            raise ArchiveError(f"{_DOCUMENT}: {key!r} is no key")
        components = json_bytes.as_object(members.get("components"), _DOCUMENT)
        return cls(
            key=key,
            kind=json_bytes.string(members, "kind", _DOCUMENT),
            diff_id=_diff_id(json_bytes.string(members, "layer", _DOCUMENT)),
            text=json_bytes.string(members, "text", _DOCUMENT),
            components=tuple(
                (name, json_bytes.string(components, name, _DOCUMENT)) for name in components
            ),
            created=json_bytes.integer(members, "created", _DOCUMENT),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheContent:
    """A cache: its records, and the blobs of those layers that it has."""

    records: tuple[CacheRecord, ...]
    layers: Mapping[DiffID, Descriptor]


Content = Callable[[int, int], Iterator[bytes]]
"""A blob's bytes from one position to another."""


class BlobTarget(Protocol):
    """Where a cache is written to. `name` is what people call it."""

    name: str

    def has(self, descriptor: Descriptor) -> bool:
        """Whether a blob is there already."""

    def put(self, descriptor: Descriptor, content: Content) -> None:
        """Write a blob; it is there whole, or not at all."""

    def finish(self, descriptor: Descriptor, manifest: bytes) -> None:
        """Write the manifest, all of whose blobs are there, and let the cache's name stand for
        it.
        """


class BlobSource(Protocol):
    """Where a cache is read from. What it gives is held to its digest by who asks."""

    name: str

    def manifest(self) -> bytes:
        """The manifest that the cache's name stands for."""

    def document(self, descriptor: Descriptor) -> bytes:
        """A small blob's bytes: no more than the descriptor's size."""

    def fetch(self, store: Store, diff_id: DiffID, descriptor: Descriptor) -> None:
        """Bring a layer into the store, which holds it to both its sums; `ImageError`."""


def config_bytes(records: Iterable[CacheRecord]) -> bytes:
    """The records as a config: by key, so that equal ones are equal bytes."""
    ordered = sorted(records, key=lambda record: record.key)
    return json_bytes.canonical(
        {"version": _VERSION, "records": [record.to_json() for record in ordered]}
    )


def parse_config(data: bytes) -> tuple[CacheRecord, ...]:
    """Read a config from elsewhere; `ArchiveError`."""
    members = json_bytes.as_object(json_bytes.parse(data, _DOCUMENT), _DOCUMENT)
    version = json_bytes.integer(members, "version", _DOCUMENT)
    if version != _VERSION:
        raise ArchiveError(f"{_DOCUMENT} is of version {version}, not {_VERSION}")
    records = json_bytes.as_list(members.get("records"), f"{_DOCUMENT}: records")
    if len(records) > MOST_RECORDS:
        raise ArchiveError(f"{_DOCUMENT} has more than {MOST_RECORDS} records")
    return tuple(CacheRecord.from_json(record) for record in records)


def write_cache(target: BlobTarget, content: CacheContent) -> Descriptor:
    """Write a cache whose layers are in the target already; the descriptor of its manifest."""
    config = config_bytes(content.records)
    described = Descriptor(media_type=MEDIA_TYPE_CACHE, digest=sha256(config), size=len(config))
    if not target.has(described):
        target.put(described, lambda start, end: iter((config[start:end],)))
    manifest = Manifest(
        config=described,
        layers=tuple(
            _annotated(descriptor, diff_id) for diff_id, descriptor in content.layers.items()
        ),
    ).to_bytes()
    descriptor = Descriptor(
        media_type=MEDIA_TYPE_MANIFEST, digest=sha256(manifest), size=len(manifest)
    )
    target.finish(descriptor, manifest)
    return descriptor


def read_cache(source: BlobSource, most: int) -> CacheContent:
    """Read what a cache has, but for its layers. `ArchiveError`, also for a config over `most`."""
    manifest = Manifest.parse(source.manifest())
    inline = dict(manifest.annotations).get(INLINE)
    if inline is not None:
        return _inline(inline, source, manifest, most)
    if manifest.config.media_type != MEDIA_TYPE_CACHE:
        raise ArchiveError(
            f"it is no cache of lamina's: its config is {manifest.config.media_type!r}"
        )
    config = _config(source, manifest, most)
    layers = {}
    for layer in manifest.layers:
        if not layer.media_type.startswith(MEDIA_TYPE_LAYER):
            raise ArchiveError(f"it has a layer of type {layer.media_type!r}")
        layers[_diff_id(dict(layer.annotations).get(DIFF_ID, ""))] = layer
    return CacheContent(records=parse_config(config), layers=layers)


def inline_annotation(records: Iterable[CacheRecord]) -> str | None:
    """Records as the annotation `INLINE` of an image's manifest; `None` if they are too many."""
    packed = zlib.compress(config_bytes(records), 9)
    return None if len(packed) > _MOST_INLINE else b64encode(packed).decode("ascii")


def _inline(text: str, source: BlobSource, manifest: Manifest, most: int) -> CacheContent:
    """What an image's manifest says of how its layers came about; `ArchiveError`."""
    try:
        unpacker = zlib.decompressobj()
        config = unpacker.decompress(b64decode(text, validate=True), most)
    except (ValueError, zlib.error) as error:
        raise ArchiveError(f"its annotation {INLINE} cannot be read") from error
    if not unpacker.eof:
        long = len(config) == most
        why = f"is longer than the {most} bytes it may have" if long else "is cut off"
        raise ArchiveError(f"its annotation {INLINE} {why}")
    diff_ids = ImageConfig.parse(_config(source, manifest, most)).diff_ids
    if len(diff_ids) != len(manifest.layers):
        raise ArchiveError("its config has not as many layers as its manifest")
    layers = dict(zip(diff_ids, manifest.layers, strict=True))
    return CacheContent(records=parse_config(config), layers=layers)


def _config(source: BlobSource, manifest: Manifest, most: int) -> bytes:
    if manifest.config.size > most:
        raise ArchiveError(f"its config is longer than the {most} bytes it may have")
    config = source.document(manifest.config)
    if sha256(config) != manifest.config.digest:
        raise ArchiveError(f"its config {manifest.config.digest} is not what its name says")
    return config


def _annotated(descriptor: Descriptor, diff_id: DiffID) -> Descriptor:
    return Descriptor(
        media_type=descriptor.media_type,
        digest=descriptor.digest,
        size=descriptor.size,
        annotations=((DIFF_ID, diff_id),),
    )


def _diff_id(text: str) -> DiffID:
    try:
        return DiffID(parse_digest(text))
    except InvalidDigest as error:
        raise ArchiveError(f"cache: {error.message}") from error
