"""What is copied between trees and tars, one file at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runtime.errors import ContainerError


class CopyFailed(ContainerError):
    """Something could not be copied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A file, directory, link or device.

    path     below what is copied, without links on its way; `b""` is that itself
    mode     with the format, as `st_mode`
    target   a symbolic link's text
    link     the path of an item that came before and is the same file
    read     gives the next bytes of a regular file, at most so many; only until the next item
    """

    path: bytes
    mode: int
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size: int = 0
    rdev: int = 0
    target: bytes = b""
    link: bytes | None = None
    read: Callable[[int], bytes] | None = None
