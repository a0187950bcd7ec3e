"""Users and groups by name, looked up in the files of a root, never on the host."""

from __future__ import annotations

from collections.abc import Callable

from runtime.errors import UserNotFound
from runtime.image.layer.view import View
from runtime.user import Ids, find_owner, find_user

_MOST = 4 << 20


def find_ids(view: View, user: str) -> Ids:
    """The IDs of a USER in a root. `runtime.errors.UserNotFound`."""
    return find_user(_read(view, b"etc/passwd"), _read(view, b"etc/group"), user)


def find_chown(view: View, owner: str, notice: Callable[[str], None]) -> tuple[int, int]:
    """The owner that a `--chown` names.

    For a user that the root's files do not have, BuildKit takes root without a word, for such a
    group the user's own; images have come to rely on it. So do we, with a word.
    """
    passwd, group = _read(view, b"etc/passwd"), _read(view, b"etc/group")
    user, _, wanted = owner.partition(":")
    try:
        uid, gid = find_owner(passwd, group, user)
    except UserNotFound as error:
        notice(f"{error.message}: --chown={owner} gives root")
        uid = gid = 0
    if wanted:
        try:
            _, gid = find_owner(passwd, group, f"{uid}:{wanted}")
        except UserNotFound as error:
            notice(f"{error.message}: --chown={owner} gives the user's own group")
    return uid, gid


def _read(view: View, path: bytes) -> bytes:
    return view.read(path, _MOST) or b""
