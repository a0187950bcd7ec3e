"""tarsafe at the gate: what it objects to in an image archive is not looked at further.

Nothing rests on it. It can be deceived (a link to `.` under another link is not seen through),
so nothing of an archive is ever written by a name from it: `archives.files` reads members where
they lie. What it refuses is what no image archive has: names and links that lead out, devices.
"""

from __future__ import annotations

import os
import tarfile
from typing import Any

from tarsafe import TarSafe, TarSafeException  # type: ignore[import-untyped]

from runtime.image.errors import ArchiveError

_HOSTILE = (
    TarSafeException,
    tarfile.TarError,
    ValueError,
    ArithmeticError,
    LookupError,
    EOFError,
)
"""What reading a tar that was made to break its reader has been seen to raise."""


class _Gate(TarSafe):  # type: ignore[misc]  # it has no types
    """tarsafe, told where symbolic links start: it takes them to start at the top."""

    # Newer versions of Python ask for one, though nothing is extracted.
    extraction_filter = staticmethod(getattr(tarfile, "data_filter", None) or (lambda *_: None))

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._seen: set[int] = set()
        super().__init__(*arguments, **options)

    def next(self) -> tarfile.TarInfo | None:
        member: tarfile.TarInfo | None = super().next()
        if member is not None and member.issym() and member.offset not in self._seen:
            self._seen.add(member.offset)  # the first one is given out twice
            member.linkname = os.path.join(os.path.dirname(member.name), member.linkname)
        return member


def check_outer(path: str, name: str) -> None:
    """Let tarsafe look through an uncompressed tar; `ArchiveError` with its objection."""
    try:
        with _Gate.open(path, "r:") as tar:
            # Checks every member, and extracts none.
            tar.extractall(os.path.dirname(path), members=[])
    except _HOSTILE as error:
        raise ArchiveError(f"{name} is refused: {error}") from error
