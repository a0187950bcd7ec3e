"""Mounts of the builder's own, each a context manager.

They are made in the builder's private mount namespace (`runtime.sandbox.privilege`), so that a
killed build leaves none behind.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from runtime.sandbox.mounts import mount_overlay
from runtime.sandbox.syscalls import MNT_DETACH, MS_NODEV, MS_NOEXEC, MS_NOSUID, mount, umount2


@contextmanager
def mounted_overlay(trees: Sequence[str], folder: str, *, read_write: bool) -> Iterator[str]:
    """The path of an overlay of some trees, the topmost first; writes stay in `folder`."""
    merged = os.path.join(folder, "merged")
    upper = work = None
    os.mkdir(merged, 0o755)
    if read_write:
        upper, work = os.path.join(folder, "upper"), os.path.join(folder, "work")
        os.mkdir(upper, 0o755)
        os.mkdir(work, 0o700)
    mount_overlay(merged, lower=tuple(trees), upper=upper, work=work)
    try:
        yield merged
    finally:
        umount2(merged, MNT_DETACH)


@contextmanager
def mounted_tmpfs(folder: str) -> Iterator[None]:
    """A small file system in memory at `folder`."""
    mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=1m")
    try:
        yield
    finally:
        umount2(folder, MNT_DETACH)
