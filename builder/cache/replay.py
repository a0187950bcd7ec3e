"""Answering a build that changes nothing, before anything is imported that could build.

A build that succeeded is remembered under its working directory and arguments, with all it
depended on: this program, its environment, what its base images' names stand for, and the stamp
(device, inode, size, times) of every file and folder it looked at. If all of that is as it was,
so is the image. Anything else is not an answer but an ordinary build.

As git's index does, a stamp counts only if it is older than the build: a file that was written
while the build looked at it could have changed without a trace.

Imported by `builder.start` alone among what every `lamina build` pays for: no dataclasses, no
regular expressions, nothing of the builder.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Mapping, Sequence

_FIELDS = 5
GRAIN_NS = 50_000_000
"""How far behind a file's times may be: kernels take them from a clock that ticks (4-10 ms)."""
_IRRELEVANT = frozenset(
    ("_", "COLUMNS", "LINES", "OLDPWD", "PWD", "SHLVL", "TERM", "COLORTERM", "WINDOWID")
)
"""Variables that no build looks at and that differ from one call to the next."""
_PACKAGES = ("builder", "grammar", "runtime")

FOLLOWED = b">"
"""Before a path that is read through links."""

Stamp = tuple[int, int, int, int, int]
"""Device, inode, size, mtime and ctime in nanoseconds: what changes whenever a file does."""
Seen = Mapping[bytes, Stamp | None]
"""What a build looked at; `None` is a file that was not there."""


def stamp_of(status: os.stat_result) -> Stamp:
    """The stamp of a file's status."""
    return (
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns,
    )  # fmt: skip


def look(path: bytes) -> Stamp | None:
    """A file's own stamp, no link followed; `None` where there is nothing.

    Links are followed in a path that begins with `>`: what others than the build context are read
    through, so that the stamp is that of what was read.
    """
    try:
        return stamp_of(os.stat(path[1:]) if path.startswith(FOLLOWED) else os.lstat(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def call_text(arguments: Sequence[str]) -> str:
    """What was asked for, and where."""
    return "\0".join((os.getcwd(), *arguments))


def conditions() -> str:
    """All but files that decides what a build gives: the program, the kernel, the environment.

    Not the user: a store is one user's, who may be root by the time this is asked again.
    """
    environment = sorted(
        f"{name}={value}" for name, value in os.environ.items() if name not in _IRRELEVANT
    )
    machine = os.uname()
    return "\0".join(
        (
            sys.version, machine.machine, machine.release, _program(), *environment,
        )
    )  # fmt: skip


def pack(seen: Seen) -> tuple[bytes, bytes]:
    """What was looked at, as two byte strings: the stamps, and the paths."""
    stamps = array("q")
    for stamp in seen.values():
        stamps.extend(stamp or (0,) * _FIELDS)
    return stamps.tobytes(), b"\0".join(seen)


def unchanged(stamps: bytes, paths: bytes) -> bool:
    """Whether every file is as it was."""
    found = array("q")
    for path in paths.split(b"\0"):
        found.extend(look(path) or (0,) * _FIELDS)
    return found.tobytes() == stamps


def is_settled(seen: Seen, began_ns: int) -> bool:
    """Whether all stamps are older than the build, and so will not stand for two contents."""
    latest = began_ns - GRAIN_NS
    return all(stamp is None or max(stamp[3], stamp[4]) < latest for stamp in seen.values())


def _program() -> str:
    """This program's own files, summed up: a changed one may build otherwise."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    count = size = times = 0
    folders = [f"{root}/{name}" for name in _PACKAGES]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.path)
                elif not entry.name.endswith(".pyc"):
                    status = entry.stat()
                    count += 1
                    size += status.st_size
                    times += status.st_mtime_ns
    return f"{count} {size} {times}"
