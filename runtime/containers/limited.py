"""Limits of a container in the foreground, which has no monitor to see to them."""

from __future__ import annotations

from typing import Any, Final

from runtime.containers.limiting import limits_hooks
from runtime.containers.record import Container
from runtime.monitor.hooks import open_hooks
from runtime.monitor.loop import Loop
from runtime.sandbox.server import Process
from runtime.sandbox.spec import SandboxSpec
from runtime.sandbox.wire import decode_order, encode_order

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal

    from runtime.monitor.hooks import Hook
else:
    import _signal

OUT_OF_MEMORY: Final = "a process of the container was killed: it had no memory left (see --memory)"


class Limited:
    """The cgroups of a container without a monitor; undone at the end of the block."""

    def __init__(self) -> None:
        self._hooks: list[Hook] = []
        self._process: Process | None = None

    def __enter__(self) -> Limited:
        return self

    def __exit__(self, *_: object) -> None:
        for hook in reversed(self._hooks):
            hook.after_exit()

    def prepare(self, container: Container, spec: SandboxSpec) -> bytes:
        """Have everything made that the container needs around it; its order."""
        data = encode_order(spec)
        hooks = open_hooks(limits_hooks(container, monitored=False), container.id, Loop())
        if not hooks:
            return data
        order = decode_order(data)
        for hook in hooks:
            self._hooks.append(hook)
            hook.before_start(order)
        return encode_order(order)

    def started(self, process: Process) -> None:
        """Its command is running; on error it no longer is."""
        try:
            for hook in self._hooks:
                hook.started(process.pid)
        except BaseException:
            process.kill(_signal.SIGKILL)
            process.wait()
            raise

    def ended(self) -> dict[str, Any]:
        """What its state is to say of its end."""
        facts: dict[str, Any] = {}
        for hook in self._hooks:
            facts |= hook.ended()
        return facts
