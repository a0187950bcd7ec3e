"""A container as an image: what it changed as a layer, how it was started as the config."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from runtime.containers.record import Container
from runtime.containers.signals import signal_name
from runtime.image.layer.owners import Owners, RecordedOwners
from runtime.image.layer.pack import scan_tree
from runtime.image.layer.writer import write_layer
from runtime.image.model import Healthcheck, History, ImageConfig, RuntimeConfig, rfc3339
from runtime.image.store.store import Store
from runtime.oci.conversion import ids_in


def committed(
    store: Store, container: Container, *, comment: str = "", author: str = ""
) -> ImageConfig:
    """The config of an image of a container; its layer is in the store then, the image not yet.

    What is mounted is not in the layer. `LayerError` if the container changes files meanwhile;
    `ImageNotFound` if its image is gone.
    """
    image = store.image(container.description.image_id)
    with store.workspace() as space:
        path = os.path.join(space, "layer")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            upper = os.path.join(container.folder, "upper")
            layer = write_layer(scan_tree(upper, owners=upper_owners(store, container)), fd)
        finally:
            os.close(fd)
        store.add_raw(layer, path)
    created = rfc3339(int(time.time()))
    history = History(
        created=created,
        created_by=" ".join(container.description.argv),
        comment=comment,
        author=author,
    )
    return replace(
        image.config,
        created=created,
        author=author or image.config.author,
        config=_config(container, image.config.config),
    ).with_layer(layer.diff_id, history)


def upper_owners(store: Store, container: Container) -> Owners:
    """How owners of what it made are known: with one id, what has no record is its user's."""
    if not isinstance(store.owners, RecordedOwners):
        return store.owners
    ids = ids_in(store.view(container.description.diff_ids), container.spec.user or "")
    return RecordedOwners(made_by=(ids.uid, ids.gid))


def _config(container: Container, base: RuntimeConfig) -> RuntimeConfig:
    """The image's config with what the container was to have instead."""
    spec = container.spec
    entrypoint, command = base.entrypoint, spec.command or base.cmd
    if spec.entrypoint is not None:
        entrypoint, command = spec.entrypoint or None, spec.command or None
    own = () if spec.volumes_from else spec.volumes
    health = spec.health
    if health is None and base.healthcheck is not None:
        health = Healthcheck(test=("NONE",))
    return replace(
        base,
        user=spec.user or "",
        env=tuple({**dict(base.env), **dict(spec.env)}.items()),
        entrypoint=entrypoint,
        cmd=command,
        working_dir=base.working_dir if spec.working_dir == "/" else spec.working_dir or "",
        labels=tuple(sorted(spec.labels)),
        volumes=tuple(sorted({*base.volumes, *(m.target for m in own if m.anonymous)})),
        stop_signal=signal_name(spec.stop_signal) if spec.stop_signal else base.stop_signal,
        healthcheck=health,
    )
