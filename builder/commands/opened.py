"""What every command that touches the store begins with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.image.layer.owners import owners_here
from runtime.image.store.store import Store, open_store
from runtime.sandbox.privilege import acquire
from runtime.sandbox.server import SandboxServer

if TYPE_CHECKING:
    from runtime.containers.launch import MonitorProcess
    from runtime.containers.spec import ContainerSpec


@contextmanager
def opened_store(root: str) -> Iterator[Store]:
    """The store, with the privileges to use it: as root, or inside a user namespace."""
    acquire()
    with open_store(root, owners_here()) as store:
        yield store


@dataclass(frozen=True, slots=True)
class Engine:
    """A store, and a server that starts containers."""

    store: Store
    sandbox: SandboxServer


@contextmanager
def opened_engine(root: str) -> Iterator[Engine]:
    """The store and a sandbox; the server starts up while the store is opened."""
    acquire()
    with SandboxServer() as sandbox, open_store(root, owners_here()) as store:
        yield Engine(store, sandbox)


@contextmanager
def opened_monitor(root: str, spec: ContainerSpec) -> Iterator[tuple[Store, MonitorProcess]]:
    """The store and a monitor for one container, which starts up while the store is opened."""
    from runtime.containers.beside import join_beside
    from runtime.containers.launch import MonitorProcess
    from runtime.containers.networks import is_shared_rootless

    with ExitStack() as stack:
        if is_shared_rootless(spec.network):
            from runtime.containers.held_networks import on_networks

            stack.enter_context(on_networks(root))
        elif not join_beside(root, spec):
            acquire()
        monitor = stack.enter_context(MonitorProcess())
        yield stack.enter_context(open_store(root, owners_here())), monitor
