"""Content addresses: digests of blobs, diff IDs of layers, chain IDs of layer stacks.

All three are `sha256:` and 64 lower-case hexadecimal digits (OCI image-spec, descriptor.md);
they have types of their own because mixing them up is silent.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import NewType

from runtime.image.errors import InvalidDigest

Digest = NewType("Digest", str)
"""Of a blob as stored: a config, a manifest, a compressed layer."""
DiffID = NewType("DiffID", str)
"""Of a layer's uncompressed tar."""
ChainID = NewType("ChainID", str)
"""Of a stack of layers; the empty string is the empty stack."""

_FORM = re.compile(r"sha256:[0-9a-f]{64}")


def sha256(data: bytes) -> Digest:
    """The digest of some bytes."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def parse(text: str) -> Digest:
    """Check a digest that came from outside; `InvalidDigest` if it is none."""
    if not _FORM.fullmatch(text):
        raise InvalidDigest(text)
    return Digest(text)


def encoded(digest: Digest | DiffID | ChainID) -> str:
    """The hexadecimal part, which is also the file name in a blob store."""
    return digest.removeprefix("sha256:")


def chain_id(diff_ids: Sequence[DiffID]) -> ChainID:
    """The chain ID of layers, bottom first (OCI image-spec, config.md, "Layer ChainID")."""
    if not diff_ids:
        return ChainID("")
    chain: str = diff_ids[0]
    for diff_id in diff_ids[1:]:
        chain = "sha256:" + hashlib.sha256(f"{chain} {diff_id}".encode()).hexdigest()
    return ChainID(chain)
