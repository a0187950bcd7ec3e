"""`--ulimit NAME=SOFT[:HARD]`: limits by the names that `docker` has for them."""

from __future__ import annotations

import resource
from typing import Final

from builder.errors import OptionError
from runtime.sandbox.spec import SandboxSpec

Limit = tuple[int, int, int]

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


def parse_ulimit(text: str) -> Limit:
    """Read one `--ulimit`: (resource, soft, hard), where -1 is no limit; `OptionError`."""
    name, equals, value = text.partition("=")
    if name not in NAMES:
        raise OptionError(f"invalid ulimit type: {name}", hint=", ".join(NAMES))
    soft_text, colon, hard_text = value.partition(":")
    try:
        soft = int(soft_text)
        hard = int(hard_text) if colon else soft
    except ValueError as error:
        raise OptionError(f"invalid ulimit: {text!r}", hint=f"{name}=SOFT[:HARD]") from error
    if not equals or soft < -1 or hard < -1:
        raise OptionError(f"invalid ulimit: {text!r}", hint=f"{name}=SOFT[:HARD]")
    if hard != -1 and (soft == -1 or soft > hard):
        raise OptionError(
            f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )
    return NAMES[name], soft, hard


def merged_limits(given: tuple[Limit, ...]) -> tuple[Limit, ...]:
    """What a container has by default, with what was given in its place; the last one counts."""
    merged = {limit[0]: limit for limit in (*SandboxSpec(lower=(), argv=()).rlimits, *given)}
    return tuple(merged.values())
