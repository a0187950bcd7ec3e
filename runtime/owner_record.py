"""Owners kept aside, for a user that has one id: files cannot be given to others, so what they
should be is written on them, as an attribute that goes where the file goes.

Regular files and directories have `user.lamina.owner`: `UID:GID`, and of a device, for which a
regular file stands, `UID:GID:c:MAJOR:MINOR` (or `b`). Links and fifos can have no `user.*`
attributes; a file capability, which means nothing on what is never executed, holds two numbers.
Overlayfs copies both with the file. What has no record belongs to 0:0; so does what is left out
of one (`33:`, after `chown 33`).

Only what is cheap is imported: the processes that look after containers use this.
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

NAME: Final = "user.lamina.owner"
RESERVED: Final = "user.lamina."
_ESCAPED: Final = "user.lamina.x."
_CAPABILITY: Final = "security.capability"
_HEAD: Final = (0x0200_0000).to_bytes(4, "little")
_ABSENT: Final = (errno.ENODATA, errno.ENOTSUP, errno.EPERM)
UNCHANGED: Final = 0xFFFF_FFFF


class Record:
    """An owner, of which a part may be `UNCHANGED` from the beginning; and of a device what kind it
    is (`c` or `b`), and its number."""

    __slots__ = ("gid", "kind", "rdev", "uid")

    def __init__(self, uid: int, gid: int, kind: str = "", rdev: int = 0) -> None:
        self.uid = uid
        self.gid = gid
        self.kind = kind
        self.rdev = rdev


def parse_record(value: bytes) -> Record | None:
    """The record in a `user.lamina.owner`; `None` if that has another form."""
    words = value.decode("ascii", "replace").split(":")
    if len(words) not in (2, 5) or (len(words) == 5 and words.pop(2) not in ("c", "b")):
        return None
    words[:2] = [word or str(UNCHANGED) for word in words[:2]]
    if not all(word.isascii() and word.isdigit() and len(word) < 11 for word in words):
        return None
    uid, gid, *numbers = map(int, words)
    if max(uid, gid) > UNCHANGED or any(number >= 1 << 20 for number in numbers):
        return None
    if not numbers:
        return Record(uid, gid)
    kind = value.split(b":")[2].decode()
    if kind == "c" and numbers == [0, 0]:
        return None  # That is how overlayfs says that something is removed.
    return Record(uid, gid, kind, os.makedev(*numbers))


def read_record(place: int | str | bytes, mode: int, *, follow: bool = False) -> Record | None:
    """What is recorded of a file of this mode; `follow` the last component of its path or not."""
    named = _has_named(mode)
    try:
        value = _get(place, NAME if named else _CAPABILITY, follow)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    if named:
        return parse_record(value)
    if len(value) < 12:
        return None
    return Record(int.from_bytes(value[4:8], "little"), int.from_bytes(value[8:12], "little"))


def write_record(
    place: int | str | bytes, mode: int, record: Record, *, follow: bool = False
) -> None:
    """Record an owner, instead of what is recorded. `OSError` if the file system cannot."""
    named = _has_named(mode)
    if named:
        text = ":".join("" if i == UNCHANGED else str(i) for i in (record.uid, record.gid))
        if record.kind:
            text += f":{record.kind}:{os.major(record.rdev)}:{os.minor(record.rdev)}"
        value = text.encode()
    else:
        owner = record.uid.to_bytes(4, "little") + record.gid.to_bytes(4, "little")
        value = _HEAD + owner + bytes(8)
    _set(place, NAME if named else _CAPABILITY, value, follow)


def escaped(name: str) -> str:
    """An image's own attribute, as it is kept: one of ours would be taken for a record."""
    return _ESCAPED + name.removeprefix(RESERVED) if name.startswith(RESERVED) else name


def unescaped(name: str) -> str:
    """What `escaped` was given."""
    return RESERVED + name.removeprefix(_ESCAPED) if name.startswith(_ESCAPED) else name


def has_one_id() -> bool:
    """Whether this process's user namespace has a single user, so that owners are recorded."""
    fd = os.open("/proc/self/uid_map", os.O_RDONLY | os.O_CLOEXEC)
    try:
        lines = os.read(fd, 4096).splitlines()
    finally:
        os.close(fd)
    return len(lines) == 1 and lines[0].split()[2] == b"1"


def _has_named(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _get(place: int | str | bytes, name: str, follow: bool) -> bytes:
    if isinstance(place, int):
        return os.getxattr(place, name)
    return os.getxattr(place, name, follow_symlinks=follow)


def _set(place: int | str | bytes, name: str, value: bytes, follow: bool) -> None:
    if isinstance(place, int):
        os.setxattr(place, name, value)
    else:
        os.setxattr(place, name, value, follow_symlinks=follow)
