"""The commit that a build context is of, where it lies in a git checkout: when it was made.

Read without git, see `builder.sources.git_objects`. As git does, a checkout is looked for upwards,
on the same file system; as git's safe.directory does, one that is somebody else's is not taken.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final

from builder.sources.git_objects import Unreadable, read_commit, read_file

_MOST_REFS: Final = 64 << 20
_MOST_SYMBOLIC: Final = 5
_LATEST: Final = 253402300799
"""The last second that RFC 3339 can write."""
_NAME: Final = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REF: Final = re.compile(rb"refs/[^\0-\x20\x7f~^:?*\[\\]+")
_COMMITTER: Final = re.compile(rb"^committer [^\n]*> ([0-9]{1,12}) [-+][0-9]{4}$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Head:
    """The time of a commit in seconds since 1970, and the files that say which one it is.

    `time` is `None` outside of checkouts, and where it cannot be told. While none of `files`
    changes, those that are not there included, it stays what it is.
    """

    time: int | None
    files: tuple[str, ...]


def find_head(context: str) -> Head:
    """The commit that HEAD is in the checkout around a directory. Raises nothing."""
    finder = _Finder()
    try:
        time = finder.time(os.path.realpath(context))
    except (OSError, ValueError, Unreadable):
        time = None
    return Head(time, tuple(dict.fromkeys(finder.files)))


class _Finder:
    """One search; `files` are those that were looked for."""

    def __init__(self) -> None:
        self.files: list[str] = []

    def time(self, context: str) -> int | None:
        found = self._checkout(context)
        if found is None:
            return None
        shared = self._text(os.path.join(found, "commondir"))
        common = found if shared is None else _joined(found, shared)
        name = self._commit(found, common)
        if name is None:
            return None
        text = read_commit(os.path.join(common, "objects"), name)
        committer = _COMMITTER.search(text.partition(b"\n\n")[0])
        if committer is None or int(committer[1]) > _LATEST:
            return None
        return int(committer[1])

    def _checkout(self, context: str) -> str | None:
        """The git directory of the checkout that a directory is in."""
        status = os.stat(context)
        folder = context
        while os.stat(folder).st_dev == status.st_dev:
            path = os.path.join(folder, ".git")
            directory = self._directory(folder, path)
            if directory is not None and self._text(os.path.join(directory, "HEAD")) is not None:
                owned = os.stat(path).st_uid == status.st_uid
                return directory if owned else None
            if folder == "/":
                break
            folder = os.path.dirname(folder)
        return None

    def _directory(self, folder: str, path: str) -> str | None:
        """The git directory that a `.git` is, or names."""
        if os.path.isdir(path):
            # Not the directory itself: whatever git does changes it.
            return path
        text = self._text(path)
        if text is None or not text.startswith(b"gitdir: "):
            return None
        return _joined(folder, text.removeprefix(b"gitdir: "))

    def _commit(self, directory: str, common: str) -> str | None:
        """The name of HEAD's commit; `None` before the first."""
        text = self._text(os.path.join(directory, "HEAD"))
        for _ in range(_MOST_SYMBOLIC):
            if text is None:
                return None
            text = text.strip()
            if _NAME.fullmatch(text):
                return text.decode("ascii")
            ref = text.removeprefix(b"ref:").strip()
            if not _REF.fullmatch(ref) or b".." in ref:
                return None
            text = self._ref(directory, common, ref)
        return None

    def _ref(self, directory: str, common: str, ref: bytes) -> bytes | None:
        """What is in a ref: a file of its own, in a linked checkout's directory first."""
        for folder in dict.fromkeys((directory, common)):
            text = self._text(os.path.join(folder, os.fsdecode(ref)))
            if text is not None:
                return text
        packed = self._text(os.path.join(common, "packed-refs"), _MOST_REFS)
        found = re.search(rb"^([0-9a-f]+) " + re.escape(ref) + rb"$", packed or b"", re.MULTILINE)
        return None if found is None else found[1]

    def _text(self, path: str, limit: int = 1 << 12) -> bytes | None:
        self.files.append(path)
        return read_file(path, limit)


def _joined(folder: str, text: bytes) -> str:
    """The path that a line in a file names, relative to a folder."""
    return os.path.realpath(os.path.join(folder, os.fsdecode(text.strip())))
