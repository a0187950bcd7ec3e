"""The seam for what a container needs around it: networks, limits.

A hook is a module that the container's description names, with data of its own. Whoever runs
the container (its monitor, or `lamina run --rm` in the foreground) opens each hook, calls
`before_start` ahead of every start, and `after_exit` after every exit. `after_exit` is called
once more by whoever finds that the one who ran it was killed: it must do no harm then.

A hook module offers `open_hook(data: bytes, container_id: str, loop: Loop) -> Hook`; while the
container runs, the loop calls what the hook has it watch. Monitors import it, so it imports
little, and nothing when it is called.
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
            """Make what it needs, and say so in its order; a `ContainerError` ends the start.

            A network namespace is given as `order.network_fd`, with `order.network` "joined".
            """

        def started(self, pid: int) -> None:
            """Its command is running."""

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
