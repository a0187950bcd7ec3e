"""Removing containers, with what they changed, their names and their hold on layers."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import replace
from typing import Final

from runtime.containers.folder import (
    container_folder,
    containers_directory,
    find_container,
    folder_names,
    hold,
)
from runtime.containers.limiting import forget_groups, group_path, remove_groups
from runtime.containers.names import locked_names
from runtime.containers.record import (
    Container,
    read_container,
    recorded_name,
    write_state,
)
from runtime.containers.volumes import remove_anonymous
from runtime.errors import ContainerError, ContainerRunning, SetupFailed
from runtime.image.layer.owners import owners_here
from runtime.image.store.directory_lock import try_lock_directory
from runtime.image.store.remove import remove_tree
from runtime.image.store.store import Store, open_store
from runtime.monitor.events import append_event
from runtime.monitor.hierarchy import remove_freezer
from runtime.monitor.identity import has_ended, identify, is_alive, open_process, send_signal

_KILL_SECONDS: Final = 10
_STEP: Final = 0.2


def remove_container(store: Store, name: str, *, force: bool = False, volumes: bool = False) -> str:
    """Remove a container and its changes, with `volumes` also those made for it; gives its ID.

    `ContainerRunning` if it runs, unless forced: then it is killed.
    """
    container = find_container(store.root, name)
    deadline = time.monotonic() + _KILL_SECONDS
    while True:
        if container.is_active:
            if not force:
                raise ContainerRunning(container.id)
            kill_all(container)
        fd = hold(container.folder, _STEP)
        if fd is not None:
            break
        # Somebody was faster, a monitor that was to remove it perhaps; or is just starting it.
        if not os.path.isdir(container.folder):
            return container.id
        if time.monotonic() > deadline:
            raise SetupFailed("remove the container", 0, "another process is at it")
        container = read_container(container.folder) or container
    try:
        runner = identify(os.getpid())
        write_state(container.folder, replace(container.state, status="removing", runner=runner))
        own = volumes or container.spec.remove
        _remove(store, container.id, container.folder, volumes=own)
    finally:
        os.close(fd)
    attributes = event_attributes(container)
    append_event(containers_directory(store.root), "destroy", container.id, attributes)
    return container.id


def sweep_containers(store: Store) -> None:
    """Remove what was to be removed, but by processes that were killed before they had."""
    parent = containers_directory(store.root)
    for name in folder_names(parent):
        path = os.path.join(parent, name)
        container = read_container(path)
        if container is not None and not (_is_litter(container) or _has_left_groups(container)):
            continue
        fd = try_lock_directory(path)
        if fd is None:
            continue
        try:
            again = read_container(path)
            if again is None or _is_litter(again):
                own = again is None or again.spec.remove
                with suppress(OSError):
                    _remove(store, name, path, volumes=own)
            else:
                with suppress(OSError):
                    forget_groups(path)
        finally:
            os.close(fd)


def discard(root: str, container_id: str) -> None:
    """Remove a container whose folder this process holds, with the volumes made for it."""
    with open_store(root, owners_here()) as store:
        discard_held(store, container_id)


def discard_held(store: Store, container_id: str) -> None:
    """The same, in an open store."""
    _remove(store, container_id, container_folder(store.root, container_id), volumes=True)


def kill_all(container: Container) -> None:
    """End a container that runs and whoever runs it, and wait until both are gone.

    The latter first: it must not start the container again. `SetupFailed` if one does not end.
    """
    if not container.is_active:
        return
    for identity in (container.state.runner, container.state.process):
        fd = open_process(identity)
        if fd is None:
            continue
        try:
            with suppress(PermissionError):
                send_signal(fd, signal.SIGKILL)
            if container.state.status == "paused" and identity == container.state.process:
                # In version 1 of cgroups not even that ends a process that is frozen.
                from runtime.containers.freezer import thaw

                with suppress(ContainerError, OSError):
                    thaw(container)
            if not has_ended(fd, _KILL_SECONDS):
                raise SetupFailed("kill the container", 0, "it does not end")
        finally:
            os.close(fd)


def event_attributes(container: Container) -> dict[str, str]:
    """What events say of a container besides its ID."""
    spec = container.spec
    return {**dict(spec.labels), "image": spec.image, "name": container.name}


def forget_networks(root: str, container_id: str) -> None:
    """Take back what a container has of networks, if its monitor was killed before it did."""
    if os.path.isdir(os.path.join(root, "networks", "run")):
        from runtime.containers.networks import forget

        forget(root, container_id)


def _is_litter(container: Container) -> bool:
    state = container.state
    if state.status == "dead":
        return True
    # Killed between making it and recording that it runs: `create` names nobody who is to do so.
    begun = state.status == "created" and state.runner is not None
    return container.spec.remove and (
        state.status == "exited" or (begun and not is_alive(state.runner))
    )


def _has_left_groups(container: Container) -> bool:
    """Whether its groups may still be there: whoever ran it was killed, and recorded no end."""
    state = container.state
    return state.status == "exited" and group_path(container.folder) is not None


def _forget_by_runtime(container_id: str, path: str) -> None:
    """Have the runtime that made it forget it, if its monitor was killed before it had."""
    if os.path.isdir(os.path.join(path, "made", "state")):
        from runtime.oci.runtime_hook import forget

        forget(os.path.join(os.path.abspath(path), "made"), container_id)


def _remove(store: Store, container_id: str, path: str, *, volumes: bool) -> None:
    name = recorded_name(path)
    with locked_names(containers_directory(store.root)) as names:
        if name is not None:
            names.drop(name, container_id)
        else:
            names.drop_all(container_id)
    if volumes:
        # First: their names are recorded with the container.
        remove_anonymous(store, container_id, path)
    _forget_by_runtime(container_id, path)
    remove_groups(group_path(path))
    forget_networks(store.root, container_id)
    remove_tree(path)
    remove_freezer(container_id)
    store.release(container_id)
