"""`--ulimit NAME=SOFT[:HARD]`: limits by the names that `docker` has for them."""

from __future__ import annotations

import resource
from typing import Final

from runtime.sandbox.spec import Rlimit

NAMES: Final = {
    "as": resource.RLIMIT_AS,
    "core": resource.RLIMIT_CORE,
    "cpu": resource.RLIMIT_CPU,
    "data": resource.RLIMIT_DATA,
    "fsize": resource.RLIMIT_FSIZE,
    "locks": 10,  # of Linux, but not in the module
    "memlock": resource.RLIMIT_MEMLOCK,
    "msgqueue": resource.RLIMIT_MSGQUEUE,
    "nice": resource.RLIMIT_NICE,
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
    "rss": resource.RLIMIT_RSS,
    "rtprio": resource.RLIMIT_RTPRIO,
    "rttime": resource.RLIMIT_RTTIME,
    "sigpending": resource.RLIMIT_SIGPENDING,
    "stack": resource.RLIMIT_STACK,
}


class InvalidUlimit(ValueError):
    """What was given is no limit; `hint` says what one looks like."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def parse_ulimit(text: str) -> Rlimit:
    """Read one `--ulimit`: (resource, soft, hard), where -1 is no limit; `InvalidUlimit`."""
    name, equals, value = text.partition("=")
    if name not in NAMES:
        raise InvalidUlimit(f"invalid ulimit type: {name}", hint=", ".join(NAMES))
    soft_text, colon, hard_text = value.partition(":")
    try:
        soft = int(soft_text)
        hard = int(hard_text) if colon else soft
    except ValueError as error:
        raise InvalidUlimit(f"invalid ulimit: {text!r}", hint=f"{name}=SOFT[:HARD]") from error
    if not equals or soft < -1 or hard < -1:
        raise InvalidUlimit(f"invalid ulimit: {text!r}", hint=f"{name}=SOFT[:HARD]")
    if hard != -1 and (soft == -1 or soft > hard):
        raise InvalidUlimit(
            f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )
    return NAMES[name], soft, hard


def ulimit_name(resource_: int) -> str:
    """What docker calls a resource."""
    return next(name for name, number in NAMES.items() if number == resource_)
