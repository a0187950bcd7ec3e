"""A root file system from a tar, as the first layer of an image."""

from __future__ import annotations

import os

from runtime.image.archives.plain_tar import plain_tar
from runtime.image.layer.flatten import flatten
from runtime.image.layer.tar_reader import index_tar
from runtime.image.layer.writer import canonical_order, write_layer
from runtime.image.model import History, ImageConfig, RuntimeConfig, rfc3339
from runtime.image.platform import Platform, default_platform
from runtime.image.store.store import Store


def import_rootfs(
    store: Store,
    source: str | int,
    *,
    config: RuntimeConfig | None = None,
    platform: Platform | None = None,
    comment: str = "",
) -> ImageConfig:
    """Make a layer of a tar (a path, or a descriptor to read from), and the config of its image.

    Plain, or compressed as `open_decompressed` knows it. The layer is in the store afterwards,
    the image not yet: that is `Store.put_image`. Both are a function of what the tar holds and
    of the arguments: the layer is canonical and keeps the tar's times, the image was created at
    the newest of them. `LayerError` for what is no tar, or must not be a root file system.
    """
    with store.workspace() as space:
        entries = canonical_order(flatten(index_tar(plain_tar(source, space))))
        path = os.path.join(space, "layer")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            layer = write_layer(entries, fd)
        finally:
            os.close(fd)
        store.add_raw(layer, path)
    platform = platform or default_platform()
    created = rfc3339(max((entry.mtime for entry in entries), default=0))
    image = ImageConfig(
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant,
        created=created,
        config=config or RuntimeConfig(),
    )
    return image.with_layer(layer.diff_id, History(created=created, comment=comment))
