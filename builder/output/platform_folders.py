"""The files of images for several platforms: below a folder for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from builder.output.files_output import entries, write_tar
from builder.plan.epoch import created_time
from runtime.image.layer.entry import Entry, Kind
from runtime.image.platform import Platform
from runtime.image.store.store import Image, Store


def write_folders_tar(store: Store, images: Sequence[Image], out: str | int) -> None:
    """Write the files of images as a tar, in a folder each, to a path or a descriptor."""
    write_tar(_folders(store, images), out)


def _folders(store: Store, images: Sequence[Image]) -> Iterator[Entry]:
    """The files of each image below a folder named after its platform."""
    ordered = sorted(images, key=lambda image: platform_folder(image.config.platform))
    for number, image in enumerate(ordered):
        mtime = created_time(image.config)
        above = platform_folder(image.config.platform).encode()
        yield Entry(path=above, kind=Kind.DIRECTORY, mode=0o755, mtime=mtime)
        for entry in entries(store.view(image.config.diff_ids), mtime):
            changed = replace(entry, path=above + b"/" + entry.path)
            if entry.kind is Kind.HARDLINK:
                changed = replace(changed, target=above + b"/" + entry.target)
            if entry.inode is not None:
                # A file of a layer that two images share is one file in each, not one for both.
                device, inode = entry.inode
                changed = replace(changed, inode=(device + (number << 64), inode))
            yield changed


def platform_folder(platform: Platform) -> str:
    """`linux_arm_v7`, as buildx names it."""
    return str(platform).replace("/", "_")
