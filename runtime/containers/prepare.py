"""From an image and a spec to a container, and from a container to a sandbox."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from runtime.containers.confined import confined, with_joined
from runtime.containers.devices import device_mounts
from runtime.containers.entry_file import write_entry
from runtime.containers.execute import entry_order
from runtime.containers.folder import containers_directory, find_container, new_folder
from runtime.containers.names import check_name, locked_names
from runtime.containers.networks import checked, extra_hosts, names_of, shared_files
from runtime.containers.record import Container, Description, State, write_description, write_state
from runtime.containers.remove import discard_held, event_attributes
from runtime.containers.spec import (
    SHORT_ID,
    ContainerSpec,
    command_line,
    environment,
    resolved,
)
from runtime.containers.surroundings import sandbox_network
from runtime.containers.volume_mounts import (
    check_owners,
    provide_volumes,
    sandbox_mounts,
    with_volumes,
)
from runtime.image.store.remove import remove_tree
from runtime.image.store.store import Store
from runtime.monitor.events import append_event
from runtime.monitor.files import PASSING, write_file
from runtime.monitor.identity import identify
from runtime.network.model import HostNetwork, OtherContainer, PrivateNetworks
from runtime.rootfs import prepare_root
from runtime.sandbox.spec import SandboxSpec, merged_rlimits


@dataclass(frozen=True, slots=True)
class Held:
    """A container whose folder this process holds, by a descriptor."""

    container: Container
    lock_fd: int


@contextmanager
def new_container(store: Store, spec: ContainerSpec) -> Iterator[Held]:
    """Make a container, which nobody else touches until the end of the block.

    `ImageNotFound`, `NameTaken`, `InvalidContainer`, `InvalidVolume`. On error nothing is left.
    """
    spec = checked(store.root, spec)
    image = store.image(spec.image)
    config = image.config.config
    argv = command_line(spec, config)
    name = check_name(spec.name) if spec.name is not None else None
    final = with_volumes(store.root, resolved(spec, config), config)
    final = with_joined(store.root, final)
    with new_folder(store.root) as (container_id, folder, lock_fd):
        try:
            hostname = _hostname(store.root, final, container_id)
            with locked_names(containers_directory(store.root)) as names:
                name = names.take(name, container_id)
                description = Description(
                    id=container_id,
                    name=name,
                    created_ns=time.time_ns(),
                    image_id=str(image.id),
                    diff_ids=image.config.diff_ids,
                    argv=argv,
                    env=environment(spec, config, hostname),
                    hostname=hostname,
                    spec=final,
                )
                write_description(folder, description)
            if final.volumes:
                # Recorded first: what is made for it is then known to be, whoever is killed.
                view = store.view(image.config.diff_ids)
                provide_volumes(store, container_id, final.volumes, view)
            state = State(status="created", runner=identify(os.getpid()))
            write_state(folder, state)
            if spec.remove:
                write_file(os.path.join(folder, PASSING), b"")
            store.lease(container_id, image.config.diff_ids)
            os.mkdir(os.path.join(folder, "upper"), 0o755)
        except BaseException:
            discard_held(store, container_id)
            raise
        container = Container(description=description, state=state, folder=folder)
        event(container, "create")
        yield Held(container, lock_fd)


def sandbox_of(
    store: Store, container: Container, terminal_size: tuple[int, int] = (0, 0)
) -> SandboxSpec:
    """The sandbox of a container that is about to start; for who holds its folder.

    What an earlier run made for its mounts is made anew.
    """
    description, spec, folder = container.description, container.spec, container.folder
    made = os.path.join(folder, "made")
    try:
        os.mkdir(made, 0o700)
    except FileExistsError:
        remove_tree(made)
        os.mkdir(made, 0o700)
    diff_ids = description.diff_ids
    network = sandbox_network(spec)
    volumes = sandbox_mounts(store.root, spec.volumes)
    check_owners((*spec.mounts, *volumes))
    root = prepare_root(
        view=store.view(diff_ids),
        trees=tuple(store.tree(diff_id) for diff_id in diff_ids),
        workspace=made,
        mounts=(
            *spec.mounts,
            *volumes,
            *device_mounts(spec.devices),
            *shared_files(store.root, spec),
        ),
        hostname=description.hostname,
        network=network,
        extra_hosts=extra_hosts(store.root, spec),
        has_addresses=isinstance(spec.network.mode, PrivateNetworks),
        domainname=spec.network.domainname,
        names=names_of(spec.network),
        hostname_file=True,
        read_only_files=spec.read_only,
        owners=store.owners,
    )
    sandbox = SandboxSpec(
        lower=root.lower,
        upper=os.path.join(folder, "upper"),
        work=root.work,
        volatile=spec.remove,
        mounts=root.mounts,
        argv=description.argv,
        env=description.env,
        cwd=spec.working_dir or "/",
        user=spec.user or "",
        hostname=description.hostname,
        domainname=spec.network.domainname,
        network=network,
        capabilities=spec.capabilities,
        no_new_privileges=spec.no_new_privileges,
        read_only_root=spec.read_only,
        shm_size=spec.shm_size,
        rlimits=merged_rlimits(spec.ulimits),
        oom_score_adj=spec.oom_score_adj,
        init=spec.init,
        terminal=spec.terminal,
        terminal_size=terminal_size,
    )
    write_entry(folder, entry_order(container))
    return confined(store.root, spec, sandbox)


def event(container: Container, action: str, **more: str) -> None:
    """Record that something happened to a container."""
    attributes = {**event_attributes(container), **more}
    append_event(os.path.dirname(container.folder), action, container.id, attributes)


def _hostname(root: str, spec: ContainerSpec, container_id: str) -> str:
    if spec.hostname is not None:
        return spec.hostname
    if spec.security.uts == "host":
        return os.uname().nodename
    match spec.network.mode:
        case HostNetwork():
            return os.uname().nodename
        case OtherContainer(name):
            return find_container(root, name).description.hostname
        case _:
            return container_id[:SHORT_ID]
