"""A container in another one's network: a hook of its monitor (see `runtime.monitor.hooks`).

Ahead of each start the other one must run; its record says which process that is.
"""

from __future__ import annotations

import json
import os

from runtime.errors import NetworkError
from runtime.monitor import files
from runtime.monitor.identity import ProcessIdentity, has_ended, open_process
from runtime.network.hook import NamespaceHook

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.monitor.loop import Loop
    from runtime.sandbox.wire import Order


def open_hook(data: bytes, _container_id: str, _loop: Loop) -> SharedNetwork:
    """The hook of a container; the data is the path of the other one's folder."""
    return SharedNetwork(os.fsdecode(data))


class SharedNetwork(NamespaceHook):
    """The network of another container."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = folder

    def before_start(self, order: Order) -> None:
        """Find the namespace; `NetworkError` if the other one does not run."""
        identity = self._process()
        pidfd = open_process(identity)
        if identity is None or pidfd is None:
            raise self._gone()
        try:
            self._namespace = os.open(f"/proc/{identity.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            # The number may have become another process's before it was opened.
            if has_ended(pidfd, 0):
                raise self._gone()
        except FileNotFoundError as error:
            raise self._gone() from error
        finally:
            os.close(pidfd)
        order.network, order.network_fd = "joined", self._namespace

    def after_exit(self) -> None:
        """Let go of the namespace."""
        self._let_go()

    def _gone(self) -> NetworkError:
        other = os.path.basename(self._folder)[:12]
        return NetworkError(
            f"container {other}, whose network is to be shared, is not running",
            hint=f"lamina start {other}",
        )

    def _process(self) -> ProcessIdentity | None:
        try:
            with open(os.path.join(self._folder, files.STATE), encoding="utf-8") as file:
                process = json.load(file)["process"]
        except (OSError, ValueError, KeyError):
            return None
        return ProcessIdentity(**process) if process is not None else None
