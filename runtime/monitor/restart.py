"""Whether and when a container is started again: docker's rules."""

from __future__ import annotations

_FIRST = 0.1
_LONGEST = 60.0
_GOOD_RUN = 10.0
"""A container that ran for so many seconds is no longer taken for one that cannot run."""


class Restarts:
    """A policy (`no`, `on-failure`, `always`, `unless-stopped`) at work."""

    def __init__(self, policy: str, most: int) -> None:
        self._policy = policy
        self._most = most
        self._wait = 0.0
        self.count = 0

    def seconds_until_next(self, status: int, ran: float, *, stopped: bool) -> float | None:
        """How long to wait after a run of `ran` seconds that ended with `status`.

        `None` if that was the last one: somebody stopped it, or the policy has it so.
        """
        if stopped or self._policy == "no":
            return None
        if self._policy == "on-failure" and (status == 0 or 0 < self._most <= self.count):
            return None
        self.count += 1
        fresh = self._wait == 0.0 or ran >= _GOOD_RUN
        self._wait = _FIRST if fresh else min(self._wait * 2, _LONGEST)
        return self._wait
