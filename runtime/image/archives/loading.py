"""Images out of archives and into the store: all that was asked for, or nothing.

An archive is read twice: its documents first, so that what cannot be right is refused before
anything large is touched, then its layers, side by side and only those the store does not have.
They wait in a workspace until the last one is verified; names come last of all.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Final

from runtime.image.archives import docker, layout
from runtime.image.archives.contents import ArchivedImage, LayerFile, Wanted
from runtime.image.archives.files import ArchiveFiles, open_archive
from runtime.image.archives.intake import TakenLayer, keep_layer, take_layer
from runtime.image.digest import DiffID, Digest
from runtime.image.errors import ArchiveError, LayerError
from runtime.image.platform import Platform, default_platform
from runtime.image.reference import Reference
from runtime.image.store.store import Store

_MOST_THREADS: Final = 4


@dataclass(frozen=True, slots=True)
class Loaded:
    """An image that is in the store now, and the names it has been given."""

    image_id: Digest
    names: tuple[Reference, ...]


def load_archive(
    store: Store, source: str | int, *, platform: Platform | None = None, name: str = ""
) -> tuple[Loaded, ...]:
    """Take over all images of an archive: a path, or a descriptor to read from.

    An OCI layout as a directory, or a tar of one, or what `docker save` writes; compressed or
    not. Of an image for several platforms it is the one for `platform`, or for this machine. On
    an error (`ArchiveError`, `LayerError`, `PlatformMissing`) the store is as it was. `name` is
    what errors call the archive.
    """
    wanted = Wanted(platform or default_platform(), insisted=platform is not None)
    name = name or (source if isinstance(source, str) else "the archive")
    with store.workspace() as space, open_archive(source, space, name) as files:
        images = read_archive(files, wanted)
        ids = store_images(store, files, images, space)
    for image, image_id in zip(images, ids, strict=True):
        for each in image.names:
            store.tag(each, image_id)
    return tuple(Loaded(image_id, image.names) for image, image_id in zip(images, ids, strict=True))


def read_archive(files: ArchiveFiles, wanted: Wanted) -> list[ArchivedImage]:
    """The images of an archive, as its documents have them; `ArchiveError`."""
    if layout.INDEX in files:  # newer Dockers write both: this one knows the images' full names
        return layout.read_images(files, wanted)
    if docker.MANIFEST in files:
        return docker.read_images(files, wanted)
    if "repositories" in files:
        raise ArchiveError(
            f"{files.name} was written by a Docker before 1.10",
            hint="load it with a newer Docker and save it again",
        )
    raise ArchiveError(
        f"{files.name} is no image archive: it has neither {layout.INDEX} nor {docker.MANIFEST}",
        hint="lamina import makes an image of a root file system",
    )


def store_images(
    store: Store, files: ArchiveFiles, images: Sequence[ArchivedImage], space: str
) -> list[Digest]:
    """Bring images into the store, without names; their IDs. All, or none of them."""
    for taken in _take(store, files, images, space):
        keep_layer(store, taken)
    ids = [store.put_image(image.document) for image in images]
    for image, image_id in zip(images, ids, strict=True):
        store.statements.put(image_id, image.attestations)
    return ids


def _take(
    store: Store, files: ArchiveFiles, images: Sequence[ArchivedImage], space: str
) -> list[TakenLayer]:
    """The layers that the store does not have, each once, verified, in files of their own."""
    missing: dict[DiffID, LayerFile] = {}
    for image in images:
        for layer in image.layers:
            if layer.diff_id not in missing and not store.has_layer(layer.diff_id):
                _check_size(files, layer)
                missing[layer.diff_id] = layer
    failed = threading.Event()

    def take(number: int, layer: LayerFile) -> TakenLayer:
        what = f"{files.name}: {layer.path}"
        path = os.path.join(space, f"layer-{number}")
        try:
            return take_layer(
                files.section(layer.path), path, layer.diff_id, layer.digest, what, failed.is_set
            )
        except LayerError as error:
            raise ArchiveError(f"{what}: {error.message}") from error

    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        waiting = [pool.submit(take, number, each) for number, each in enumerate(missing.values())]
        try:
            done, _ = wait(waiting, return_when=FIRST_EXCEPTION)
            for each in done:
                each.result()
            return [each.result() for each in waiting]
        except BaseException:
            failed.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _check_size(files: ArchiveFiles, layer: LayerFile) -> None:
    """Refuse a layer that is not there, or cannot be it, before the first one is read."""
    size = files.section(layer.path).size
    if layer.size is not None and size != layer.size:
        raise ArchiveError(
            f"{files.name}: {layer.path} has {size} bytes, and not {layer.size} as it should"
        )
