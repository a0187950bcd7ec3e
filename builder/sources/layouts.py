"""Images from OCI image layouts on disk, taken into the store (OCI image-spec, image-layout.md)."""

from __future__ import annotations

import os

from runtime.image.archives.contents import Wanted
from runtime.image.archives.files import open_archive
from runtime.image.archives.layout import INDEX, LAYOUT, LayoutReader, tags
from runtime.image.archives.loading import store_images
from runtime.image.digest import Digest
from runtime.image.digest import parse as parse_digest
from runtime.image.errors import ArchiveError
from runtime.image.manifest import Descriptor
from runtime.image.platform import default_platform
from runtime.image.store.store import Image, Store


def read_layout(store: Store, place: str) -> Image:
    """The image of a layout, `PATH[:TAG|@DIGEST]`; `ArchiveError`.

    It is in the store afterwards, without a name. Without a tag it is the only one, or `latest`.
    """
    path, tag, digest = _split(place)
    if not os.path.isfile(os.path.join(path, LAYOUT)):
        raise ArchiveError(f"{path} is no OCI image layout: it has no file {LAYOUT}")
    with store.workspace() as space, open_archive(path, space, path) as files:
        layout = LayoutReader(files)
        found = _wanted(path, layout.index().manifests, tag, digest)
        image = layout.image([found], Wanted(default_platform()))
        if image is None:
            raise ArchiveError(f"{path}: {digest or tag or INDEX} is no image")
        (image_id,) = store_images(store, files, [image], space)
    return store.image(image_id)


def _split(place: str) -> tuple[str, str, Digest | None]:
    path, at, digest = place.rpartition("@")
    if at:
        return path, "", parse_digest(digest)
    path, colon, tag = place.rpartition(":")
    return (path, tag, None) if colon and "/" not in tag else (place, "", None)


def _wanted(
    path: str, manifests: tuple[Descriptor, ...], tag: str, digest: Digest | None
) -> Descriptor:
    if digest is not None:
        found = [each for each in manifests if each.digest == digest]
    elif tag:
        found = [each for each in manifests if tag in tags(each)]
    else:
        found = [each for each in manifests if "latest" in tags(each)] or list(manifests)
    names = {each.digest for each in found}
    if len(names) == 1:
        return found[0]
    what = digest or tag
    has = ", ".join(sorted(set().union(*map(tags, manifests)))) or "no tags"
    raise ArchiveError(
        f"{path} has {'several images' if names else 'no image'}" + (f" {what}" if what else ""),
        hint=f"it has {has}: oci-layout://PATH:TAG or oci-layout://PATH@DIGEST",
    )
