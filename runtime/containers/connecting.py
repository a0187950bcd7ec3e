"""Connecting containers to networks, and disconnecting them, while they run or at rest."""

from __future__ import annotations

import marshal
import os
from dataclasses import replace
from typing import Any, Final

from runtime.containers.folder import container_folder, containers_directory, find_container
from runtime.containers.names import locked_names
from runtime.containers.networks import wanted_endpoint
from runtime.containers.record import Container, read_container, write_description
from runtime.errors import ContainerNotFound, InvalidContainer, NetworkError
from runtime.monitor import files
from runtime.monitor.identity import has_ended, open_process
from runtime.network import rules
from runtime.network.definitions import (
    Network,
    default_network,
    find_network,
    networks_folder,
    table,
)
from runtime.network.links import Links
from runtime.network.model import DEFAULT_NETWORK, Endpoint, PrivateNetworks
from runtime.network.namespace import owns_network
from runtime.network.places import plan_endpoint
from runtime.network.private import WANTED, drop_unused
from runtime.network.state import Locked
from runtime.network.wiring import connect as wire
from runtime.network.wiring import give_routes

_NOT_PRIVATE: Final = "only containers on private networks can be connected to others"


def connect(root: str, name: str, endpoint: Endpoint) -> None:
    """Put a container on one more network, now if it runs; it is so at later starts, too.

    `NetworkError`, `InvalidContainer`, `ContainerNotFound`.
    """
    container = find_container(root, name)
    network = _network(root, endpoint.network)
    endpoint = replace(endpoint, network=network.name)
    there = _endpoints(container)
    if any(each.network == network.name for each in there):
        raise NetworkError(f"container {container.name} is on network {network.name} already")
    if container.is_running:
        _change_now(root, container, wanted_endpoint(root, endpoint), None)
    _record(root, container, (*there, endpoint))


def disconnect(root: str, name: str, network_name: str) -> None:
    """Take a container off a network. Errors as of `connect`."""
    container = find_container(root, name)
    network = _network(root, network_name)
    there = _endpoints(container)
    left = tuple(each for each in there if each.network != network.name)
    if len(left) == len(there):
        raise NetworkError(f"container {container.name} is not on network {network.name}")
    if container.is_running:
        _change_now(root, container, None, network.id)
    _record(root, container, left)


def _network(root: str, name: str) -> Network:
    return default_network(root) if name == DEFAULT_NETWORK else find_network(root, name)


def _endpoints(container: Container) -> tuple[Endpoint, ...]:
    mode = container.spec.network.mode
    if not isinstance(mode, PrivateNetworks):
        raise InvalidContainer(
            f"container {container.name} has --network {container.spec.network.label}:"
            f" {_NOT_PRIVATE}"
        )
    return mode.endpoints


def _record(root: str, container: Container, endpoints: tuple[Endpoint, ...]) -> None:
    """Have later starts do as now; a monitor reads its own file, whoever starts it ours."""
    # Under the lock of names, as `rename` does, which writes the same file.
    with locked_names(containers_directory(root)):
        again = read_container(container_folder(root, container.id))
        if again is None:
            raise ContainerNotFound(container.name)
        network = replace(again.spec.network, mode=PrivateNetworks(endpoints))
        spec = replace(again.spec, network=network)
        write_description(again.folder, replace(again.description, spec=spec))
    path = os.path.join(container.folder, WANTED)
    if not os.path.exists(path):
        return
    with open(path, "rb") as file:
        wanted = marshal.load(file)
    wanted["endpoints"] = [wanted_endpoint(root, each) for each in endpoints]
    files.write_file(path, marshal.dumps(wanted, 4))


def _change_now(
    root: str, container: Container, more: dict[str, Any] | None, less: str | None
) -> None:
    """Connect a container that runs to a network, as monitors have it, or disconnect it."""
    pidfd = open_process(container.state.process)
    if pidfd is None or container.state.process is None:
        return  # It has just ended.
    if not owns_network():
        os.close(pidfd)
        raise NetworkError(
            f"cannot change the network of {container.name}: only root can while it runs",
            hint="stop it first; or make it with several --network",
        )
    try:
        namespace = os.open(
            f"/proc/{container.state.process.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC
        )
        try:
            if not has_ended(pidfd, 0):
                with Locked(networks_folder(root)) as locked:
                    _change(locked, container, table(root), namespace, more, less)
        finally:
            os.close(namespace)
    except FileNotFoundError:
        return  # It has just ended.
    except OSError as error:
        raise NetworkError(
            f"cannot change the network of {container.name}: {(error.strerror or '').lower()}"
        ) from error
    finally:
        os.close(pidfd)


def _change(
    locked: Locked,
    container: Container,
    of_store: str,
    namespace: int,
    more: dict[str, Any] | None,
    less: str | None,
) -> None:
    record = locked.record
    own = record.containers.get(container.id)
    if own is None:
        return
    endpoints = own["endpoints"]
    if more is not None:
        used = {each["interface"] for each in endpoints}
        number = next(n for n in range(len(used) + 1) if f"eth{n}" not in used)
        endpoint = plan_endpoint(record, container.id, more, number, None)
        endpoints.append(endpoint)
        locked.save()
        try:
            wire(record, endpoint, namespace, ports=bool(own["ports"]))
        except BaseException:
            endpoints.remove(endpoint)
            drop_unused(record)
            locked.save()
            raise
    for endpoint in [each for each in endpoints if each["network"] == less]:
        with Links() as links:
            links.delete(endpoint["veth"])
        endpoints.remove(endpoint)
    give_routes(record, endpoints, namespace)
    drop_unused(record)
    rules.apply(of_store, record)
    locked.save()
