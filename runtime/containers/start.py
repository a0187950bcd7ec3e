"""Starting containers under monitors: new ones, and those that ran before."""

from __future__ import annotations

from dataclasses import replace

from runtime.containers.control import held
from runtime.containers.launch import MonitorProcess
from runtime.containers.prepare import new_container
from runtime.containers.record import Container, write_state
from runtime.containers.remove import sweep_containers
from runtime.containers.spec import ContainerSpec
from runtime.image.store.store import Store


def create(store: Store, spec: ContainerSpec) -> Container:
    """Make a container that is not started yet."""
    sweep_containers(store)
    with new_container(store, spec) as made:
        # Nobody is about to start it: without that a sweep would take it for left behind.
        state = replace(made.container.state, runner=None)
        write_state(made.container.folder, state)
        return replace(made.container, state=state)


def run_detached(
    store: Store,
    monitor: MonitorProcess,
    spec: ContainerSpec,
    *,
    client_fd: int | None = None,
    attached: tuple[bool, bool] = (False, False),
    size: tuple[int, int] = (0, 0),
) -> Container:
    """Make a container and have a monitor start it; see `MonitorProcess.start`."""
    sweep_containers(store)
    with new_container(store, spec) as made:
        monitor.start(store, made, client_fd=client_fd, attached=attached, size=size)
        return made.container


def start_again(
    store: Store,
    monitor: MonitorProcess,
    name: str,
    *,
    client_fd: int | None = None,
    attached: tuple[bool, bool] = (False, False),
    size: tuple[int, int] = (0, 0),
) -> Container:
    """Start a container that does not run; see `MonitorProcess.start`."""
    with held(store.root, name) as found:
        monitor.start(store, found, client_fd=client_fd, attached=attached, size=size)
        return found.container
