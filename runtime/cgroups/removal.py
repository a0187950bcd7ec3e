"""Removing cgroups, with whatever is in them."""

from __future__ import annotations

import errno
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_SECONDS = 10


def remove_groups(
    directories: Iterable[str], kill: Callable[[str], None], *, refusals: Sequence[int] = ()
) -> None:
    """Remove groups, and `kill` what is in each until it is empty; those that are there.

    `OSError` for one that does not get empty (EBUSY), or cannot be removed, unless its number is
    of the `refusals`: that one stays.
    """
    deadline = time.monotonic() + _SECONDS
    for path in directories:
        wait = 0.0005
        while not _rmdir(path, kill, refusals):
            kill(path)
            if time.monotonic() > deadline:
                raise OSError(errno.EBUSY, "its processes do not end", path)
            time.sleep(wait)
            wait = min(wait * 2, 0.05)


def _rmdir(path: str, kill: Callable[[str], None], refusals: Sequence[int]) -> bool:
    """Remove a group and what a container made below it; whether it is gone."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in refusals:
            return True  # Never ours.
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
    else:
        return True
    try:
        with os.scandir(path) as entries:
            below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return True
    for each in below:
        if not _rmdir(each, kill, refusals):
            kill(each)
    return False
