"""The seam for what a container needs around it: networks, limits.

A hook is a module that the monitor's request names, with data of its own (made by
`runtime.containers.surroundings`). The monitor opens each hook once, calls `before_start` ahead
of every start, and `after_exit` after every exit and after every start that failed, in the
monitor's current folder, which is the container's.

A network is made before the container is cloned: a hook gives the order `network = "joined"` and
a `network_fd` that it keeps open until `after_exit`. What only lives in that namespace ends with
it, however the monitor ends. What does not, whoever comes next has to find: a hook writes down
what it makes with the identity of its monitor, and `runtime.containers.surroundings` undoes what
is left of monitors that were killed.

A hook module offers `open_hook(data: bytes, container_id: str, loop: Loop) -> Hook`; with the
loop it can watch descriptors of its own as long as the monitor lives. Monitors import it, so it
imports little, and nothing when it is called. `lamina run --rm` in the foreground has no monitor
and no hooks but that of its limits: who needs others is run under a monitor.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from runtime.monitor.loop import Loop
    from runtime.sandbox.wire import Order

    class Hook(Protocol):
        """What surrounds a container while it runs."""

        def before_start(self, order: Order) -> None:
            """Make what it needs, and say so in its order; a `ContainerError` ends the start."""

        def started(self, pid: int) -> None:
            """Its command is running."""

        def ended(self) -> dict[str, object]:
            """Its first process has ended: what its state is to say of that."""

        def after_exit(self) -> None:
            """Undo all that `before_start` and `started` did, as far as it is there."""


def open_hooks(hooks: Sequence[tuple[str, bytes]], container_id: str, loop: Loop) -> list[Hook]:
    """The hooks of a container, in their order."""
    if not hooks:
        return []
    import importlib

    opened: list[Hook] = []
    for module, data in hooks:
        opened.append(importlib.import_module(module).open_hook(data, container_id, loop))
    return opened
