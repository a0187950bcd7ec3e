"""What package managers leave behind that no two runs agree on (DESIGN §6).

Each path is dropped from new layers unless `--keep-noise` is given. The list is short on purpose:
only logs and caches that their owners make again, and whose absence nothing notices.
"""

from __future__ import annotations

NOISE: frozenset[bytes] = frozenset(
    {
        # Times of installation, line by line.
        b"var/log/dpkg.log",
        b"var/log/alternatives.log",
        b"var/log/apt/history.log",
        b"var/log/apt/term.log",
        b"var/log/apt/eipp.log.xz",
        b"var/log/bootstrap.log",
        # Inode numbers and times of every library; ldconfig makes it again.
        b"var/cache/ldconfig/aux-cache",
        # apt's parsed lists: memory addresses and times; apt makes them again.
        b"var/cache/apt/pkgcache.bin",
        b"var/cache/apt/srcpkgcache.bin",
        # The state before the last change, by the package managers' own copies.
        b"var/cache/debconf/config.dat-old",
        b"var/cache/debconf/templates.dat-old",
        b"var/lib/dpkg/status-old",
        b"var/lib/dpkg/diversions-old",
        b"var/lib/dpkg/statoverride-old",
    }
)


def is_noise(path: bytes) -> bool:
    """Whether a path is left out of new layers."""
    return path in NOISE
