"""What the hooks of networks have in common (see `runtime.monitor.hooks`)."""

from __future__ import annotations

import os


class NamespaceHook:
    """A hook that finds or makes the container's network namespace ahead of its start, and holds
    it until it has ended."""

    def __init__(self) -> None:
        self._namespace = -1

    def started(self, pid: int) -> None:
        """Nothing is left to be done."""

    def ended(self) -> dict[str, object]:
        """Nothing is to be said."""
        return {}

    def _let_go(self) -> None:
        if self._namespace >= 0:
            os.close(self._namespace)
            self._namespace = -1
