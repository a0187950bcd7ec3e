"""Names of things elsewhere: files on a server and git repositories (dockerfile.md 1.6, 1.7).

    RemoteNameError      a name that looks like one of them, and cannot be

Nothing is fetched here: what a name says is all that is known.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from builder.plan.units import parse_switch

_UNNAMED: Final = "__unnamed__"
_GIT_SCHEMES: Final = ("git", "ssh", "file")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://)")
_SCP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9][A-Za-z0-9.-]*:(?!//)[^\s]+")
_BAD_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|^[-/]|/$|\.lock$")
_COMMIT = re.compile(r"[0-9a-f]{4,64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class RemoteNameError(ValueError):
    """A name that cannot be; the planner or the command line adds where it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file that a server has. `checksum` is the digest it must have, as `sha256:…`."""

    url: str
    checksum: str | None = None
    unpack: bool = False

    @property
    def name(self) -> str:
        """The last element of the URL's path."""
        name = unquote(urlsplit(self.url).path).rstrip("/").rpartition("/")[2]
        return _UNNAMED if name in ("", ".", "..") or "\0" in name else name

    def shown(self) -> str:
        """The URL without a password, for messages."""
        return without_password(self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A git repository at a commit.

    `ref` is a branch, a tag or a whole commit; empty, it is what HEAD there is. `commit` is how
    the commit's name must begin. Only what is below `subdirectory` counts.
    """

    url: str
    ref: str = ""
    subdirectory: str = ""
    commit: str | None = None
    keep_git_dir: bool = False
    submodules: bool = True

    def shown(self) -> str:
        """The name without a password, for messages."""
        return without_password(self.url) + (f"#{self.ref}" if self.ref else "")


Remote = RemoteFile | Repository


def parse_remote(text: str) -> Remote | None:
    """What a name refers to elsewhere, `None` if it is a path; `RemoteNameError`.

    A server's URL is a repository if its path ends in `.git`.
    """
    found = _SCHEME.match(text)
    if found is None:
        return _repository(*_split_scp(text)) if _SCP.fullmatch(text) else None
    scheme = found[0].lower()
    try:
        parts = urlsplit(text)
        host = parts.hostname
        _ = parts.port
    except ValueError as error:
        raise RemoteNameError(f"invalid URL {without_password(text)!r}: {error}") from error
    if scheme in _GIT_SCHEMES or (scheme in ("http", "https") and parts.path.endswith(".git")):
        if host is None and scheme != "file":
            raise RemoteNameError(f"invalid URL {text!r}: it has no host")
        if host is not None and host.startswith("-"):
            raise RemoteNameError(f"invalid URL {text!r}: {host!r} is no host")
        bare = urlunsplit((scheme, parts.netloc, parts.path, "", ""))
        if scheme == "file" and not parts.netloc:
            bare = "file://" + parts.path
        return _repository(bare, parts.fragment, parts.query)
    if scheme not in ("http", "https"):
        return None
    if not host:
        raise RemoteNameError(f"invalid URL {text!r}: it has no host")
    return RemoteFile(url=text)


def with_flags(
    remote: Remote, *, checksum: str | None, keep_git_dir: bool | None, unpack: bool | None
) -> Remote:
    """What the flags of an ADD add to a name; `RemoteNameError` where the two disagree."""
    if isinstance(remote, RemoteFile):
        if checksum is not None and not _DIGEST.fullmatch(checksum):
            raise RemoteNameError(
                f"invalid checksum {checksum!r}: expected sha256: and 64 hexadecimal digits"
            )
        return replace(remote, checksum=checksum, unpack=unpack is True)
    if checksum is not None:
        commit = _commit(checksum)
        if remote.commit is not None and not _agree(commit, remote.commit):
            raise RemoteNameError(
                f"checksum mismatch: the flag says {commit}, the URL {remote.commit}"
            )
        remote = replace(remote, commit=max(commit, remote.commit or "", key=len))
    if keep_git_dir is not None:
        remote = replace(remote, keep_git_dir=keep_git_dir)
    return remote


def without_password(url: str) -> str:
    """A URL as it can be shown."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:xxxxx@", url)


def is_whole_commit(text: str) -> bool:
    """Whether a ref is a commit's full name."""
    return len(text) in (40, 64) and _COMMIT.fullmatch(text) is not None


def _split_scp(text: str) -> tuple[str, str, str]:
    url, _, fragment = text.partition("#")
    return url, fragment, ""


def _repository(url: str, fragment: str, query: str) -> Repository:
    ref, _, subdirectory = unquote(fragment).partition(":")
    repository = Repository(url=url, ref=ref, subdirectory=_below(subdirectory))
    by_commit = False
    for key, value in _options(query):
        match key:
            case "ref" | "branch" | "tag":
                if repository.ref:
                    raise RemoteNameError(f"{key} conflicts with the ref {repository.ref!r}")
                prefix = {"branch": "refs/heads/", "tag": "refs/tags/"}.get(key, "")
                repository = replace(repository, ref=prefix + value.removeprefix(prefix))
            case "subdir":
                if repository.subdirectory:
                    raise RemoteNameError("subdir conflicts with the one behind #")
                repository = replace(repository, subdirectory=_below(value))
            case "checksum" | "commit":
                repository = replace(repository, commit=_commit(value))
            case "keep-git-dir":
                repository = replace(repository, keep_git_dir=_switch(key, value))
            case "submodules":
                repository = replace(repository, submodules=_switch(key, value))
            case "fetch-by-commit":
                by_commit = _switch(key, value)
            case "mtime" if value == "checkout":
                pass  # all files of a layer have the same time
            case _:
                raise RemoteNameError(f"unexpected query {key}={value!r} in the name of a git ref")
    if by_commit:
        if repository.commit is None or not is_whole_commit(repository.commit):
            raise RemoteNameError("fetch-by-commit needs a whole commit as checksum")
        repository = replace(repository, ref=repository.commit)
    if _BAD_IN_REF.search(repository.ref):
        raise RemoteNameError(f"invalid git ref {repository.ref!r}")
    return repository


def _options(query: str) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key in seen:
            raise RemoteNameError(f"{key} is given twice in the name of a git ref")
        seen.add(key)
        yield key, value


def _below(path: str) -> str:
    """A path inside the repository; `..` stops at its root."""
    return posixpath.normpath("/" + path).strip("/")


def _switch(key: str, value: str) -> bool:
    try:
        return parse_switch(value) if value else True
    except ValueError as error:
        raise RemoteNameError(f"invalid value for {key}: {value!r}") from error


def _commit(text: str) -> str:
    if not _COMMIT.fullmatch(text):
        raise RemoteNameError(
            f"invalid checksum {text!r} of a git ref: expected the beginning of a commit"
        )
    return text


def _agree(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
