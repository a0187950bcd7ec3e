"""Being where the containers are that another is to share namespaces with.

Each command of a plain user makes a user namespace of its own; what belongs to another's can only
be joined from there. Root's containers need nothing of the kind.
"""

from __future__ import annotations

import os

from runtime.containers.folder import find_container
from runtime.containers.spec import ContainerSpec
from runtime.monitor.identity import is_alive
from runtime.network.model import OtherContainer
from runtime.sandbox.privilege import join


def join_beside(root: str, spec: ContainerSpec) -> bool:
    """Enter the user namespace of a container that this one shares something with, for good.

    Whether that was done: then there is nothing more to acquire. `ContainerNotFound`;
    `SandboxUnavailable`.
    """
    if os.geteuid() == 0:
        return False
    mode = spec.network.mode
    for name in (*spec.security.joined, *([mode.name] if isinstance(mode, OtherContainer) else [])):
        state = find_container(root, name).state
        whose = state.runner if is_alive(state.runner) else state.process
        if whose is not None:
            join(whose.pid)
            return True
    return False
