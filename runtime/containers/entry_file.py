"""What a command of `exec` is to be under, kept beside its container: the order, ready made.

Whoever starts a container writes it, into the container's folder. It counts for the program that
wrote it: another one makes the order anew. Imported ahead of every `lamina exec`.
"""

from __future__ import annotations

import binascii
import marshal
import os
import sys

from runtime.monitor.files import read_own, write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

ENTRY: Final = "entry"
_PARTS: Final = ("confined", "entry_file", "execute", "security", "spec")
_SANDBOX: Final = ("child", "entry", "fork_server", "seccomp", "seccomp_policy", "spec", "wire")


def write_entry(folder: str, order: dict[str, Any]) -> None:
    """Keep an order; for who holds the container's folder."""
    data = marshal.dumps(order)
    write_file(f"{folder}/{ENTRY}", _head(data) + data)


def read_entry(folder: str) -> dict[str, Any] | None:
    """The order; `None` if there is none from this very program, whole."""
    data = read_own(f"{folder}/{ENTRY}")
    if data is None:
        return None
    head, newline, content = data.partition(b"\n")
    if head + newline != _head(content):
        return None
    order: dict[str, Any] = marshal.loads(content)
    return order


def _head(content: bytes) -> bytes:
    return b"%x %x %x\n" % (sys.hexversion, _program(), binascii.crc32(content))


def _program() -> int:
    """A sum of the files that decide what an order is and means."""
    here = os.path.dirname(os.path.abspath(__file__))
    sandbox = f"{os.path.dirname(here)}/sandbox"
    total = 0
    paths = (*(f"{here}/{name}.py" for name in _PARTS), *(f"{sandbox}/{n}.py" for n in _SANDBOX))
    for number, path in enumerate(paths, 1):
        status = os.stat(path)
        total += number * (status.st_mtime_ns ^ status.st_size)
    return total & 0xFFFF_FFFF_FFFF_FFFF
