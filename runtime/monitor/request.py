"""What a monitor is told to look after, and what it answers.

A request is a dictionary that `marshal` knows: monitors import nothing that is slow.
"""

from __future__ import annotations

import marshal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SOCKET_FD = 3
"""Where a monitor finds the connection to who started it."""


class Request:
    """A container to be run.

    id, root, folder  the container's, its store, and its folder there
    name, attributes  what its events say of it
    order       its sandbox, as `runtime.sandbox.wire` writes it
    state       what is recorded of it so far, as in its `state.json`
    open_stdin  its input comes from who attaches to it; else there is none
    stdin_once  its input ends with the first that gave it some
    log         (largest size or `None`, number of files); no log if `None`
    restart     a policy's name, and the most restarts of `on-failure` (0 is any number)
    stop_signal, stop_seconds  how it is stopped when the machine goes down
    health      how it is asked whether it is well, as `runtime.monitor.health` has it, or `None`
    remove      leave nothing of it
    attached    who started it is attached to it from the beginning: input, output
    hooks       modules and their data: see `runtime.monitor.hooks`
    """

    id: str
    root: str
    folder: str
    attributes: dict[str, str]
    order: bytes
    state: dict[str, Any]
    open_stdin: bool
    stdin_once: bool
    log: tuple[int | None, int] | None
    restart: tuple[str, int]
    stop_signal: int
    stop_seconds: int
    health: dict[str, Any] | None
    remove: bool
    attached: tuple[bool, bool] | None
    hooks: tuple[tuple[str, bytes], ...]

    def __init__(self, fields: dict[str, Any]) -> None:
        self.__dict__.update(fields)


def encode_request(fields: dict[str, Any]) -> bytes:
    """The fields of a `Request` as bytes."""
    return marshal.dumps(fields)


def decode_request(data: bytes) -> Request:
    """What `encode_request` was given."""
    return Request(marshal.loads(data))


def encode_started(pid: int) -> bytes:
    """The answer that the command is running."""
    return marshal.dumps((pid, "", 0, ""))


def encode_refusal(stage: str, errno: int, text: str) -> bytes:
    """The answer that it cannot be: what failed, and how."""
    return marshal.dumps((0, stage, errno, text))


def decode_answer(data: bytes) -> tuple[int, str, int, str]:
    """The process ID, or 0; then stage, errno and text of what failed."""
    pid, stage, errno, text = marshal.loads(data)
    return pid, stage, errno, text
