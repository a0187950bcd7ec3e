"""What a container has around it, besides its sandbox: its cgroups, its network.

Says which hooks of `runtime.monitor.hooks` its monitor gets, and with what data.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from runtime.containers.folder import container_folder
from runtime.containers.limiting import limits_hooks
from runtime.containers.networks import network_hook, write_wanted
from runtime.containers.record import Container
from runtime.containers.spec import ContainerSpec
from runtime.network.model import (
    HostNetwork,
    NetworkMode,
    NoNetwork,
    OtherContainer,
    PrivateNetworks,
)
from runtime.sandbox.spec import Mount, SandboxNetwork

Hooks = tuple[tuple[str, bytes], ...]


def default_mode() -> NetworkMode:
    """The network of a container whose caller does not say."""
    return PrivateNetworks()


def needs_monitor(spec: ContainerSpec) -> bool:
    """Whether only a monitor can give it what it wants."""
    if spec.runtime is not None:
        return True
    shares_processes = spec.security.pid != "private" or bool(spec.security.joined)
    return shares_processes or not isinstance(spec.network.mode, NoNetwork | HostNetwork)


def hooks_of(root: str, container: Container, mounts: Sequence[Mount]) -> Hooks:
    """The hooks that a container's monitor opens, in their order; `mounts` are its sandbox's."""
    hooks = limits_hooks(container, monitored=True)
    if container.spec.security.pid != "private":
        hooks += (("runtime.monitor.leftovers", b""),)
    match container.spec.network.mode:
        case NoNetwork() | HostNetwork():
            return hooks
        case OtherContainer(other):
            folder = os.fsencode(os.path.abspath(container_folder(root, other)))
            return (("runtime.network.shared", folder), *hooks)
        case PrivateNetworks():
            write_wanted(root, container, mounts)
            return (network_hook(root, container.spec.network), *hooks)


def sandbox_network(spec: ContainerSpec) -> SandboxNetwork:
    """What its sandbox is told of its network; "joined" by a hook."""
    match spec.network.mode:
        case NoNetwork():
            return "none"
        case HostNetwork():
            return "host"
        case OtherContainer() | PrivateNetworks():
            return "joined"
