"""What a container has around it, besides its sandbox: for now its network.

Says which hooks of `runtime.monitor.hooks` its monitor gets, and with what data.
"""

from __future__ import annotations

from runtime.containers.record import Container
from runtime.containers.spec import ContainerSpec
from runtime.errors import SandboxUnavailable
from runtime.network.model import HostNetwork, NoNetwork, OtherContainer, PrivateNetworks
from runtime.sandbox.spec import SandboxNetwork

Hooks = tuple[tuple[str, bytes], ...]


def needs_monitor(spec: ContainerSpec) -> bool:
    """Whether only a monitor can give it what it wants."""
    return not isinstance(spec.network.mode, NoNetwork | HostNetwork)


def hooks_of(container: Container) -> Hooks:
    """The hooks that a container's monitor opens, in their order."""
    match container.spec.network.mode:
        case NoNetwork() | HostNetwork():
            return ()
        case OtherContainer() | PrivateNetworks():
            raise SandboxUnavailable(
                f"--network {container.spec.network.label}",
                "private networks are not supported yet",
                "--network none or --network host",
            )


def sandbox_network(spec: ContainerSpec) -> SandboxNetwork:
    """What its sandbox is told of its network; "joined" by a hook."""
    match spec.network.mode:
        case NoNetwork():
            return "none"
        case HostNetwork():
            return "host"
        case OtherContainer() | PrivateNetworks():
            return "joined"
