"""Whose files are: what the kernel says, or what is recorded where there is only one id."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from typing import Final

from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.overlay_marks import xattr_names
from runtime.owner_record import (
    NAME,
    RESERVED,
    UNCHANGED,
    Record,
    has_one_id,
    parse_record,
    read_record,
    unescaped,
    write_record,
)

_ORIGIN: Final = "user.overlay.origin"
_DEVICES: Final = {"c": Kind.CHARACTER, "b": Kind.BLOCK}
_LETTERS: Final = {kind: letter for letter, kind in _DEVICES.items()}


@dataclass(frozen=True, slots=True)
class KernelOwners:
    """Files belong to whom the kernel says; they can be given away."""


@dataclass(frozen=True, slots=True)
class RecordedOwners:
    """All files belong to one id, and whose they should be is recorded (`owner_record`).

    made_by     in an overlay's upper directory that is about to become a layer, whose a file is
                that has no record and was not copied from a layer below: it gets its record when
                it is read. Elsewhere (`None`) what has no record is root's.
    """

    made_by: tuple[int, int] | None = None


Owners = KernelOwners | RecordedOwners
KERNEL_OWNERS: Final = KernelOwners()


def owners_here() -> Owners:
    """How files have owners in this process's user namespace."""
    return RecordedOwners() if has_one_id() else KERNEL_OWNERS


def recorded_entry(
    owners: RecordedOwners, entry: Entry, place: int | bytes, group: int | None = None
) -> Entry:
    """An entry as its file's record has it: owner, and device number.

    `place` is the file, open or by a path whose last component is not followed; `group` is that
    of the directory it lies in, if what is made there gets it (the set-group-ID bit).
    """
    plain = entry.kind in (Kind.REGULAR, Kind.DIRECTORY)
    if plain:
        value = dict(entry.xattrs).get(NAME)
        record = parse_record(value) if value is not None else None
    else:
        record = read_record(place, stat.S_IFLNK)
    if record is None:
        record = Record(UNCHANGED, UNCHANGED)
    if UNCHANGED in (record.uid, record.gid):
        uid, gid = 0, 0
        if owners.made_by is not None and _ORIGIN not in xattr_names(place):
            uid, gid = owners.made_by
            gid = gid if group is None else group
        record.uid = uid if record.uid == UNCHANGED else record.uid
        record.gid = gid if record.gid == UNCHANGED else record.gid
        if owners.made_by is not None and (record.uid or record.gid or record.kind):
            write_record(place, stat.S_IFREG if plain else stat.S_IFLNK, record)
    changed = replace(entry, uid=record.uid, gid=record.gid, xattrs=_own(entry.xattrs))
    if not record.kind or entry.kind is not Kind.REGULAR:
        return changed
    kind = _DEVICES[record.kind]
    return replace(changed, kind=kind, rdev=record.rdev, size=0, content=b"", xattrs=(), inode=None)


def give(owners: Owners, place: int | str, mode: int, uid: int, gid: int) -> None:
    """Give a file of this mode to somebody; the last component of a path is not followed."""
    if isinstance(owners, RecordedOwners):
        write_record(place, mode, Record(uid, gid))
    elif isinstance(place, int):
        os.fchown(place, uid, gid)
    else:
        os.lchown(place, uid, gid)


def give_special(owners: Owners, entry: Entry, name: bytes, parent: int) -> None:
    """Give a link, fifo or device that was just made to whom its entry says.

    What stands for a device has its owner from the beginning.
    """
    if not isinstance(owners, RecordedOwners):
        os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
    elif entry.kind not in _LETTERS:
        place = b"/proc/self/fd/%d/%b" % (parent, name)
        write_record(place, stat.S_IFLNK, Record(entry.uid, entry.gid))


def make_stand_in(entry: Entry, name: bytes, parent: int) -> None:
    """A regular file, for a device that cannot be made; its owner is recorded, too."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=parent)
    try:
        record = Record(entry.uid, entry.gid, _LETTERS[entry.kind], entry.rdev)
        write_record(fd, stat.S_IFREG, record)
    finally:
        os.close(fd)


def _own(xattrs: tuple[tuple[str, bytes], ...]) -> tuple[tuple[str, bytes], ...]:
    """The attributes that are not ours."""
    if not any(name.startswith(RESERVED) for name, _ in xattrs):
        return xattrs
    return tuple(sorted((unescaped(name), value) for name, value in xattrs if name != NAME))
