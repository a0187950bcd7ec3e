"""The marks by which a removed path and a hidden directory are known, in trees and in tars.

In a tar: an entry `.wh.NAME` and an entry `.wh..wh..opq` (OCI image-spec, layer.md,
"Whiteouts"). In a tree: as overlayfs has them when it is mounted with `userxattr`, that is a
character device 0/0 and the attribute `user.overlay.opaque`. What other mounts leave behind
(`trusted.overlay.*`, whiteouts as attributes) is understood, but never written.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

WHITEOUT_PREFIX: Final = b".wh."
OPAQUE_NAME: Final = b".wh..wh..opq"
META_PREFIX: Final = b".wh..wh."
"""Names that aufs kept for itself; old layers still carry some."""

_OPAQUE: Final = ("user.overlay.opaque", "trusted.overlay.opaque")
_WHITEOUT: Final = frozenset(("user.overlay.whiteout", "trusted.overlay.whiteout"))
_NO_XATTRS: Final = frozenset((errno.ENOTSUP, errno.EPERM, errno.ENODATA))


def is_kept(name: str) -> bool:
    """Whether a layer carries this extended attribute.

    File capabilities and the user's own do; labels of the machine and overlayfs's notes do not.
    """
    if name.startswith("user."):
        return not name.startswith("user.overlay.")
    return name == "security.capability"


def xattr_names(path: bytes | int) -> list[str]:
    """The names of the extended attributes of a path (the last component is not followed)."""
    try:
        if isinstance(path, int):
            return os.listxattr(path)
        return os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_XATTRS:
            return []
        raise


def kept_xattrs(path: bytes | int, names: list[str]) -> tuple[tuple[str, bytes], ...]:
    """Of the attributes `names`, those that belong in a layer, sorted, with their values."""
    kept = sorted(name for name in names if is_kept(name))
    if isinstance(path, int):
        return tuple((name, os.getxattr(path, name)) for name in kept)
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in kept)


def is_whiteout_device(mode: int, rdev: int) -> bool:
    """Whether an inode of this mode and device number says that a path is removed."""
    return rdev == 0 and stat.S_ISCHR(mode)


def is_whiteout_file(names: list[str]) -> bool:
    """Whether an empty regular file with these attributes is a whiteout (Linux 6.7)."""
    return not _WHITEOUT.isdisjoint(names)


def is_opaque(path: bytes | int, names: list[str]) -> bool:
    """Whether the directory at `path`, which has these attributes, hides what lies below it."""
    return _opaque_value(path, names) == b"y"


def has_whiteout_files(path: bytes | int) -> bool:
    """Whether there can be whiteouts as attributes in the directory at `path`."""
    return _opaque_value(path, xattr_names(path)) == b"x"


def _opaque_value(path: bytes | int, names: list[str]) -> bytes | None:
    for name in _OPAQUE:
        if name in names:
            if isinstance(path, int):
                return os.getxattr(path, name)
            return os.getxattr(path, name, follow_symlinks=False)
    return None


def set_opaque(directory: int) -> None:
    """Make an open directory hide what lies below it."""
    os.setxattr(directory, _OPAQUE[0], b"y")


def make_whiteout(name: bytes, dir_fd: int) -> None:
    """Create a whiteout; the name must be free. The kernel allows it in user namespaces too."""
    os.mknod(name, stat.S_IFCHR, 0, dir_fd=dir_fd)
