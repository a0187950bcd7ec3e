"""Filling a volume with what the image has where it is mounted: docker's copy-up.

Only an empty volume is filled. The copy is made aside; where nobody else uses the volume it takes
the place of the empty folder at once, so that no killed process leaves half of it.
"""

from __future__ import annotations

import os
import posixpath
import stat
from dataclasses import replace

from runtime.containers.spec import VolumeMount
from runtime.containers.volumes import Volume, locked_volumes, volume_users
from runtime.errors import InvalidContainer
from runtime.image.errors import LayerError
from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.owners import Owners, give
from runtime.image.layer.view import View
from runtime.image.store.store import Store


def fill_volume(store: Store, volume: Volume, mount: VolumeMount, view: View, *, user: str) -> None:
    """Fill a volume that container `user` has, if it is empty and the mount does not forbid it.

    Owners, modes, attributes and links are those of the image. `InvalidContainer` if the image
    has something else there than a folder.
    """
    if os.listdir(volume.data):
        return
    try:
        path = view.resolve(mount.target.encode("utf-8", "surrogateescape"))
    except LayerError as error:
        raise InvalidContainer(f"invalid mount target {mount.target}: {error.message}") from error
    top = view.lstat(path)
    if top is None:
        return
    if top.kind is not Kind.DIRECTORY:
        shown = posixpath.normpath(mount.target)
        raise InvalidContainer(f"cannot mount volume over existing file, file exists {shown}")
    if mount.subpath or not mount.copy:
        return
    prefix = len(path) + 1
    entries = [
        replace(entry, path=entry.path[prefix:]) for entry in view.walk(path) if entry.path != path
    ]
    with store.workspace() as space:
        made = os.path.join(space, "data")
        os.mkdir(made, 0o755)
        if entries:
            _extract(entries, space, made, store.owners)
        with locked_volumes(store.root):
            if os.listdir(volume.data):
                return
            others = set(volume_users(store.root).get(volume.name, ())) - {user}
            if not others:
                _dress(made, top, store.owners)
                os.rename(made, volume.data)
                return
            # Another container may have it mounted: the folder must stay the same.
            for name in os.listdir(made):
                os.rename(os.path.join(made, name), os.path.join(volume.data, name))
            _dress(volume.data, top, store.owners)


def _extract(entries: list[Entry], space: str, folder: str, owners: Owners) -> None:
    from runtime.image.layer.decompression import open_decompressed
    from runtime.image.layer.extract import extract_layer
    from runtime.image.layer.writer import canonical_order, write_layer

    tar = os.path.join(space, "content.tar")
    fd = os.open(tar, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        write_layer(canonical_order(entries), fd)
    finally:
        os.close(fd)
    chunks = open_decompressed(tar)
    extract_layer(chunks, folder, skip_devices_if_forbidden=True, owners=owners)


def _dress(folder: str, like: Entry, owners: Owners) -> None:
    """Give a folder the owner, mode, attributes and time of the image's."""
    give(owners, folder, stat.S_IFDIR, like.uid, like.gid)
    os.chmod(folder, like.mode)
    for name, value in like.xattrs:
        os.setxattr(folder, name, value)
    os.utime(folder, (like.mtime, like.mtime))
