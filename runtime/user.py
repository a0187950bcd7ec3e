"""Users and groups by name, as the files of a root give them. Pure; never the host's.

Never the C library's look-up either: with a hostile root that would run its code
(CVE-2019-14271). A container's first process uses this module, so it imports nothing but
errors, and `Ids` is no dataclass (importing those costs more than a container).
"""

from __future__ import annotations

from runtime.errors import UserNotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_LARGEST_ID = (1 << 31) - 1


class Ids:
    """Who a process is: `groups` are all of its groups, the primary one first."""

    __slots__ = ("gid", "groups", "home", "uid")

    def __init__(self, uid: int, gid: int, groups: tuple[int, ...], home: str) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ids) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Ids({self.uid}, {self.gid}, {self.groups}, {self.home!r})"

    def _key(self) -> tuple[int, int, tuple[int, ...], str]:
        return self.uid, self.gid, self.groups, self.home


def find_user(passwd: bytes, group: bytes, spec: str) -> Ids:
    """The IDs of a `USER`: `""` (root), `name` or `uid`, with `:group` or `:gid` or without.

    As Docker: a number is always an ID, also where a user has it for a name; one that nobody
    has is fine and has the group 0 and the home `/`. With a group given, that is the only
    group. `UserNotFound` for a name nobody has and an ID out of range.
    """
    user, _, wanted_group = spec.partition(":")
    uid, gid, home, name = _passwd_ids(passwd, user)
    if wanted_group:
        gid = _group_id(group, wanted_group)
        return Ids(uid, gid, (gid,), home)
    groups = [gid]
    if name is not None:
        for fields in _records(group):
            if len(fields) > 3 and name in fields[3].split(","):
                number = _id(fields[2])
                if number is not None and number not in groups:
                    groups.append(number)
    return Ids(uid, gid, tuple(groups), home)


def with_groups(ids: Ids, group: bytes, wanted: tuple[str, ...]) -> Ids:
    """The same user in more groups, by name or number. `UserNotFound` for a name nobody has."""
    groups = list(ids.groups)
    for each in wanted:
        gid = _group_id(group, each)
        if gid not in groups:
            groups.append(gid)
    return Ids(ids.uid, ids.gid, tuple(groups), ids.home)


def find_owner(passwd: bytes, group: bytes, chown_spec: str) -> tuple[int, int]:
    """The uid and gid of `COPY --chown=user[:group]`.

    A user without a group: a name has its primary group, a number `n` the group `n` (BuildKit).
    `UserNotFound` where a name is unknown: BuildKit then takes 0, and documents an error.
    """
    user, _, wanted_group = chown_spec.partition(":")
    number = _number(user) if user else 0
    if number is not None:
        uid = gid = number
    else:
        uid, gid, _, _ = _passwd_ids(passwd, user)
    if wanted_group:
        gid = _group_id(group, wanted_group)
    return uid, gid


def _passwd_ids(passwd: bytes, user: str) -> tuple[int, int, str, str | None]:
    """uid, gid, home and name of a user; `""` is the user with ID 0."""
    number = _number(user) if user else 0
    for fields in _records(passwd):
        if len(fields) < 4:
            continue
        uid, gid = _id(fields[2]), _id(fields[3])
        if uid is None or gid is None:
            continue
        if uid == number if number is not None else fields[0] == user:
            home = fields[5] if len(fields) > 5 and fields[5] else "/"
            return uid, gid, home, fields[0]
    if number is None:
        raise UserNotFound(f"unable to find user {user}: no matching entries in passwd file")
    return number, 0, "/", None


def _group_id(group: bytes, wanted: str) -> int:
    number = _number(wanted)
    if number is not None:
        return number
    for fields in _records(group):
        if len(fields) > 2 and fields[0] == wanted:
            gid = _id(fields[2])
            if gid is not None:
                return gid
    raise UserNotFound(f"unable to find group {wanted}: no matching entries in group file")


def _records(content: bytes) -> Iterator[list[str]]:
    for line in content.decode("utf-8", "surrogateescape").split("\n"):
        line = line.strip()
        if line and not line.startswith("#"):
            yield line.split(":")


def _number(text: str) -> int | None:
    """The ID a word is; `None` if it is a name."""
    if not (text.isascii() and text.isdigit()):
        return None
    number = int(text) if len(text) < 20 else _LARGEST_ID + 1
    if number > _LARGEST_ID:
        raise UserNotFound(f"user and group IDs must be in the range 0-{_LARGEST_ID}: {text}")
    return number


def _id(text: str) -> int | None:
    """The ID in a record; `None` where there is none, and so no record."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    number = int(text)
    return number if number <= _LARGEST_ID else None
