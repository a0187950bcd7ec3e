"""What is said of an image, beside it: attestations, as other tools find them.

An attestation is a predicate of some type (in-toto's attestation framework). What it is said of
is an image in the store; once the image has a manifest, the predicate becomes a statement about
that manifest, and the statement a blob of a manifest of its own. That one either points to the
image as its `subject` (OCI image-spec, manifest.md: a referrer) or stands beside it in an index,
as BuildKit has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote

from runtime.image import json_bytes
from runtime.image.digest import Digest, encoded, sha256
from runtime.image.errors import ArchiveError
from runtime.image.manifest import MEDIA_TYPE_MANIFEST, Descriptor, Manifest
from runtime.image.platform import Platform
from runtime.image.reference import Reference

PREDICATE_SPDX: Final = "https://spdx.dev/Document"
PREDICATE_PROVENANCE: Final = "https://slsa.dev/provenance/v1"
IN_TOTO: Final = "application/vnd.in-toto+json"
BUILDKIT_ARTIFACT: Final = "application/vnd.docker.attestation.manifest.v1+json"
PREDICATE_TYPE: Final = "in-toto.io/predicate-type"
REFERENCE_TYPE: Final = "vnd.docker.reference.type"
REFERENCE_DIGEST: Final = "vnd.docker.reference.digest"
BUILDKIT_REFERENCE: Final = "attestation-manifest"
MOST_STATEMENT: Final = 32 << 20
"""Bytes of a statement that are read."""

AttestationForm = Literal["referrers", "index"]

_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_EMPTY_CONFIG: Final = b"{}"
_MEDIA_TYPE_EMPTY: Final = "application/vnd.oci.empty.v1+json"
_UNKNOWN: Final = Platform("unknown", "unknown")


@dataclass(frozen=True, slots=True)
class Attestation:
    """A predicate: what is said of an image, as canonical JSON, and by which rules to read it."""

    predicate_type: str
    predicate: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A manifest that speaks of another: its descriptor, and all documents that belong to it."""

    descriptor: Descriptor
    documents: tuple[bytes, ...]


def statement(attestation: Attestation, subjects: Sequence[str], digest: Digest) -> bytes:
    """An in-toto statement that an attestation is true of the manifest with that digest.

    `subjects` are names for it (package URLs); without any the digest has to do.
    """
    about: list[json_bytes.Json] = [
        {"digest": {"sha256": encoded(digest)}, "name": name} for name in subjects or ("_",)
    ]
    parts = {
        "_type": json_bytes.canonical(_STATEMENT),
        "predicate": attestation.predicate,
        "predicateType": json_bytes.canonical(attestation.predicate_type),
        "subject": json_bytes.canonical(about),
    }
    return b"{" + b",".join(b'"%b":%b' % (n.encode(), parts[n]) for n in sorted(parts)) + b"}"


def image_url(name: Reference, platform: Platform) -> str:
    """The package URL of an image, as BuildKit writes it."""
    version = f"@{quote(name.tag, safe=':')}" if name.tag else ""
    where = quote(name.familiar_repository, safe="/:")
    return f"pkg:docker/{where}{version}?platform={quote(str(platform), safe='')}"


def attach(
    attestations: Sequence[Attestation],
    manifest: Descriptor,
    subjects: Sequence[str],
    form: AttestationForm,
) -> tuple[Attached, ...]:
    """Manifests that carry the attestations of the image with that manifest.

    As referrers one each, so that whoever looks for a type finds it; in an index one for all.
    """
    if not attestations:
        return ()
    if form == "index":
        return (_beside(attestations, manifest, subjects),)
    return tuple(_referrer(each, manifest, subjects) for each in attestations)


def read_statements(
    manifest: Manifest, read: Callable[[Descriptor], bytes]
) -> tuple[Attestation, ...]:
    """The attestations of a manifest made by `attach`, or by others in that way; `ArchiveError`."""
    found = []
    for layer in manifest.layers:
        if layer.media_type != IN_TOTO:
            continue
        document = "in-toto statement"
        members = json_bytes.as_object(json_bytes.parse(read(layer), document), document)
        kind = json_bytes.string(members, "predicateType", document)
        predicate = members.get("predicate")
        if not kind or predicate is None:
            raise ArchiveError(f"{document} {layer.digest} says nothing")
        found.append(Attestation(kind, json_bytes.canonical(predicate)))
    return tuple(found)


def _referrer(attestation: Attestation, manifest: Descriptor, subjects: Sequence[str]) -> Attached:
    annotations = ((PREDICATE_TYPE, attestation.predicate_type),)
    return _attached([attestation], manifest, subjects, IN_TOTO, annotations, annotations)


def _beside(
    attestations: Sequence[Attestation], manifest: Descriptor, subjects: Sequence[str]
) -> Attached:
    annotations = ((REFERENCE_DIGEST, manifest.digest), (REFERENCE_TYPE, BUILDKIT_REFERENCE))
    return _attached(attestations, manifest, subjects, BUILDKIT_ARTIFACT, (), annotations)


def _attached(
    attestations: Sequence[Attestation],
    manifest: Descriptor,
    subjects: Sequence[str],
    artifact_type: str,
    annotations: tuple[tuple[str, str], ...],
    outside: tuple[tuple[str, str], ...],
) -> Attached:
    statements = [statement(each, subjects, manifest.digest) for each in attestations]
    layers = tuple(
        Descriptor(
            media_type=IN_TOTO,
            digest=sha256(data),
            size=len(data),
            annotations=((PREDICATE_TYPE, each.predicate_type),),
        )
        for each, data in zip(attestations, statements, strict=True)
    )
    document = Manifest(
        config=Descriptor(
            media_type=_MEDIA_TYPE_EMPTY, digest=sha256(_EMPTY_CONFIG), size=len(_EMPTY_CONFIG)
        ),
        layers=layers,
        annotations=annotations,
        artifact_type=artifact_type,
        subject=Descriptor(
            media_type=manifest.media_type, digest=manifest.digest, size=manifest.size
        ),
    ).to_bytes()
    descriptor = Descriptor(
        media_type=MEDIA_TYPE_MANIFEST,
        digest=sha256(document),
        size=len(document),
        annotations=outside,
        artifact_type=artifact_type,
        platform=_UNKNOWN if artifact_type == BUILDKIT_ARTIFACT else None,
    )
    return Attached(descriptor=descriptor, documents=(document, _EMPTY_CONFIG, *statements))
