"""How the C library deals with the large blocks that streams of layers are made of."""

from __future__ import annotations

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LARGEST: Final = 4 << 20
_KEPT: Final = 32 << 20


def keep_freed_memory() -> None:
    """Have malloc(3) reuse blocks of a mebibyte, up to 32 of them, in this process.

    glibc would ask the kernel for each and give it back: a page fault for every 4 KiB of a
    layer, which is a fifth of the time that extracting takes. Other C libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
