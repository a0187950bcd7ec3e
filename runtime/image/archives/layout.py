"""OCI image layouts, read: from a directory or from a tar (OCI image-spec, image-layout.md).

Every document is held to its descriptor. Attestations beside images are read, in either form;
what else is in an index (signatures, other artifacts) is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from runtime.image.archives.contents import (
    MOST_DOCUMENT,
    MOST_IMAGES,
    ArchivedImage,
    Wanted,
    check_platform,
    layer_files,
)
from runtime.image.archives.files import ArchiveFiles, read_file
from runtime.image.attestations import (
    MOST_STATEMENT,
    REFERENCE_DIGEST,
    Attestation,
    read_statements,
)
from runtime.image.choice import choose, is_attestation
from runtime.image.digest import Digest, encoded, sha256
from runtime.image.errors import ArchiveError, InvalidReference
from runtime.image.manifest import Descriptor, Index, Manifest
from runtime.image.model import ImageConfig
from runtime.image.reference import Reference

ANNOTATION_TAG: Final = "org.opencontainers.image.ref.name"
ANNOTATION_NAME: Final = "io.containerd.image.name"
INDEX: Final = "index.json"
LAYOUT: Final = "oci-layout"
_MOST_DEPTH: Final = 4
_INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_CONFIGS: Final = (
    "",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
_LAYERS: Final = (
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.",
)


def blob_path(digest: Digest) -> str:
    """Where a layout has a blob."""
    return f"blobs/sha256/{encoded(digest)}"


def tags(descriptor: Descriptor) -> set[str]:
    """The tags that a layout's index gives a manifest."""
    annotations = dict(descriptor.annotations)
    found = (annotations.get(ANNOTATION_TAG, ""), annotations.get(ANNOTATION_NAME, ""))
    return {text.rpartition(":")[2] for text in found if text}


def read_images(files: ArchiveFiles, wanted: Wanted) -> list[ArchivedImage]:
    """Every image of a layout, of those for several platforms the one that is wanted.

    `ArchiveError`; `PlatformMissing` if there is none for it.
    """
    layout = LayoutReader(files)
    listed = layout.index().manifests
    found: dict[Digest, ArchivedImage] = {}
    for descriptors in _groups(listed):
        image = layout.image(descriptors, wanted)
        if image is None:
            continue
        digest = sha256(image.document)
        before = found.get(digest)
        if before is not None:
            names = tuple(dict.fromkeys((*before.names, *image.names)))
            image = replace(before, names=names)
        found[digest] = image
    if not found:
        raise ArchiveError(f"{files.name} has no images in it")
    said = layout.referrers(listed)
    return [
        replace(image, attestations=(*image.attestations, *said.get(image.manifest, [])))
        for image in found.values()
    ]


class LayoutReader:
    """A layout's documents."""

    def __init__(self, files: ArchiveFiles) -> None:
        self._files = files
        self.name = files.name

    def index(self) -> Index:
        """What the layout lists at its top."""
        index = Index.parse(read_file(self._files, INDEX, MOST_DOCUMENT))
        if len(index.manifests) > MOST_IMAGES:
            raise ArchiveError(f"{self.name} lists more than {MOST_IMAGES} images")
        return index

    def document(self, descriptor: Descriptor) -> bytes:
        """A manifest's or config's bytes, which are what the digest says."""
        return self._read(descriptor, MOST_DOCUMENT)

    def _statement(self, descriptor: Descriptor) -> bytes:
        return self._read(descriptor, MOST_STATEMENT)

    def _read(self, descriptor: Descriptor, limit: int) -> bytes:
        data = read_file(self._files, blob_path(descriptor.digest), limit)
        if sha256(data) != descriptor.digest or len(data) != descriptor.size:
            raise ArchiveError(f"{self.name}: blob {descriptor.digest} is not what its name says")
        return data

    def image(self, descriptors: Sequence[Descriptor], wanted: Wanted) -> ArchivedImage | None:
        """One of the manifests of a name; `None` if it is none of an image."""
        names = tuple(dict.fromkeys(name for each in descriptors for name in _names(each)))
        what = f"{self.name}: {names[0].familiar()}" if names else self.name
        chosen = descriptors[0]
        if len(descriptors) > 1:
            chosen = choose(descriptors, wanted.platform, what)
        beside: list[Descriptor] = []
        for _ in range(_MOST_DEPTH):
            if chosen.media_type not in _INDEXES:
                break
            present = self._present(Index.parse(self.document(chosen)).manifests)
            chosen = choose(present, wanted.platform, what)
            beside += [
                each for each in present if (REFERENCE_DIGEST, chosen.digest) in each.annotations
            ]
        else:
            raise ArchiveError(f"{what}: its indexes are nested too deep")
        image = self._image(chosen, names, wanted, what)
        if image is None:
            return None
        manifests = [Manifest.parse(self.document(each)) for each in beside]
        said = [one for each in manifests for one in read_statements(each, self._statement)]
        return replace(image, attestations=tuple(said))

    def referrers(self, listed: Sequence[Descriptor]) -> Mapping[Digest | None, list[Attestation]]:
        """What artifacts at the top of the layout say of manifests, by these manifests' digests."""
        found: dict[Digest | None, list[Attestation]] = {}
        for descriptor in listed:
            if descriptor.artifact_type not in _CONFIGS:
                manifest = Manifest.parse(self.document(descriptor))
                if manifest.subject is not None:
                    said = read_statements(manifest, self._statement)
                    found.setdefault(manifest.subject.digest, []).extend(said)
        return found

    def _image(
        self, descriptor: Descriptor, names: tuple[Reference, ...], wanted: Wanted, what: str
    ) -> ArchivedImage | None:
        manifest = Manifest.parse(self.document(descriptor))
        if manifest.config.media_type not in _CONFIGS:
            return None
        document = self.document(manifest.config)
        config = ImageConfig.parse(document)
        check_platform(config, wanted, what)
        for layer in manifest.layers:
            if not layer.media_type.startswith(_LAYERS) or layer.media_type.endswith("encrypted"):
                raise ArchiveError(
                    f"{what}: its layers are of type {layer.media_type!r}, which is unknown"
                )
        files = [(blob_path(each.digest), each.digest, each.size) for each in manifest.layers]
        return ArchivedImage(
            names=names,
            document=document,
            config=config,
            layers=layer_files(what, config, [*files]),
            manifest=descriptor.digest,
        )

    def _present(self, manifests: Sequence[Descriptor]) -> list[Descriptor]:
        """Those that are there: an index may name more platforms than were saved."""
        return [each for each in manifests if blob_path(each.digest) in self._files]


def _groups(manifests: Sequence[Descriptor]) -> Iterator[list[Descriptor]]:
    """What belongs together: manifests of one name, which are for different platforms."""
    named: dict[str, list[Descriptor]] = {}
    for number, descriptor in enumerate(manifests):
        if is_attestation(descriptor) or descriptor.artifact_type not in _CONFIGS:
            continue
        names = _names(descriptor)
        named.setdefault(str(names[0]) if names else f"#{number}", []).append(descriptor)
    for name, group in named.items():
        platforms = {each.platform for each in group}
        different = {each.digest for each in group}
        if len(different) > 1 and len(platforms) < len(different):
            raise ArchiveError(f"several images are named {name}")
        yield group


def _names(descriptor: Descriptor) -> tuple[Reference, ...]:
    """The full names that a descriptor has; a tag alone is none.

    Where the two annotations say different tags, umoci has changed the one it knows.
    """
    annotations = dict(descriptor.annotations)
    name, tag = annotations.get(ANNOTATION_NAME, ""), annotations.get(ANNOTATION_TAG, "")
    is_full = "/" in tag or ":" in tag
    with suppress(InvalidReference):
        if name:
            found = Reference.parse(name)
            if tag and not is_full and found.tag not in (None, tag):
                return (Reference.parse(f"{found.repository}:{tag}"),)
            return (found,)
        if is_full:
            return (Reference.parse(tag),)
    return ()
