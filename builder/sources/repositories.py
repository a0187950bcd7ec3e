"""Git repositories, each commit's files kept in the store as a layer.

The git command does it, shut off from what is configured here: no prompts, no hooks, no filters,
no helpers, and only the protocols of `_ALLOWED`. A commit that was checked out before is not
fetched again: then the server is only asked what a branch or tag is.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from builder.cache.keys import Key, make_key
from builder.cache.layering import commit_entries
from builder.errors import RemoteError
from builder.plan.remote_names import Repository, is_whole_commit, without_password
from builder.sources.certificates import bundle
from builder.sources.downloads import Credentials
from runtime.image.digest import DiffID
from runtime.image.layer.entry import Entry, FileSource, Kind
from runtime.image.layer.pack import scan_tree
from runtime.image.store.remove import remove_tree
from runtime.image.store.store import Store

_ALLOWED: Final = ("https", "http", "ssh", "git")
_PASSED_ON: Final = (
    "PATH", "http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy",
    "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip
_SETTINGS: Final = (
    ("core.hooksPath", "/dev/null"),
    ("core.autocrlf", "false"),
    ("core.fsmonitor", "false"),
    ("core.logAllRefUpdates", "false"),
    ("credential.helper", ""),
    ("advice.detachedHead", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("init.defaultBranch", "main"),
    ("http.lowSpeedLimit", "1000"),
    ("http.lowSpeedTime", "60"),
)
_MEMO: Final = "commit-time"
_OF_NO_USE: Final = ("FETCH_HEAD", "ORIG_HEAD", "COMMIT_EDITMSG", "logs", "hooks", "description")


@dataclass(frozen=True, slots=True)
class Checkout:
    """A commit, when it was made (seconds since 1970), and the layer that has its files."""

    commit: str
    committed: int
    diff_id: DiffID


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a ref is there: its full name, the commit, and the tag's own name if it is one."""

    name: str
    commit: str
    tag: str = ""


class Repositories:
    """Checks repositories out into one store."""

    def __init__(self, store: Store, credentials: Credentials) -> None:
        self._store = store
        self._credentials = credentials

    def checkout(self, repository: Repository) -> Checkout:
        """The files of a repository at a commit, as a layer; `RemoteError`."""
        with self._store.workspace() as workspace:
            git = _Git(workspace, repository, self._credentials)
            wanted = _find(git, repository)
            _check(repository, wanted)
            key = _key(repository, wanted.commit)
            record = self._store.record(key.digest)
            memo = self._store.get_memo(_MEMO, wanted.commit)
            if record is not None and memo is not None:
                return Checkout(wanted.commit, int(memo), record.diff_id)
            git.take(wanted)
            committed = int(git.run("show", "--no-patch", "--format=%ct", wanted.commit))
            diff_id = commit_entries(self._store, _entries(git, repository))
        self._store.put_memo(_MEMO, wanted.commit, b"%d" % committed)
        self._store.put_record(key.digest, key.kind, key.components, diff_id)
        return Checkout(wanted.commit, committed, diff_id)


class _Git:
    """The git command in a directory of its own."""

    def __init__(self, workspace: str, repository: Repository, credentials: Credentials) -> None:
        self._repository = repository
        self.tree = os.path.join(workspace, "tree")
        os.mkdir(self.tree, 0o755)
        local = repository.url.startswith("file://")
        settings = (*_SETTINGS, *_authorization(repository.url, credentials))
        self._environment = {
            **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            "HOME": workspace,
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_SYSTEM": "/dev/null",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "SSH_ASKPASS": "/bin/false",
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
            "GIT_ALLOW_PROTOCOL": ":".join((*_ALLOWED, "file") if local else _ALLOWED),
            # Settings come this way, not with -c: submodules' git processes see them too.
            "GIT_CONFIG_COUNT": str(len(settings)),
            **{f"GIT_CONFIG_KEY_{n}": key for n, (key, _) in enumerate(settings)},
            **{f"GIT_CONFIG_VALUE_{n}": value for n, (_, value) in enumerate(settings)},
        }
        if credentials.agent is not None:
            self._environment["SSH_AUTH_SOCK"] = credentials.agent
        if credentials.authorities is not None:
            path = os.path.join(workspace, "authorities")
            with open(path, "xb") as file:
                file.write(bundle(credentials.authorities))
            self._environment["GIT_SSL_CAINFO"] = path

    def run(self, *arguments: str) -> str:
        """What git says; `RemoteError` with its complaint if it fails."""
        process = self._start(arguments)
        if process.returncode:
            said = process.stderr.decode("utf-8", "replace").strip().splitlines()
            raise RemoteError(
                f"git {arguments[0]} of {self._repository.shown()} failed:"
                f" {without_password('; '.join(said[-3:])) or process.returncode}"
            )
        return process.stdout.decode("utf-8", "surrogateescape")

    def works(self, *arguments: str) -> bool:
        """Whether git succeeds."""
        return self._start(arguments).returncode == 0

    def _start(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                ["git", *arguments],
                cwd=self.tree,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                umask=0o022,
            )
        except FileNotFoundError as error:
            raise RemoteError(
                f"git is needed for {self._repository.shown()}, and is not installed",
                hint="install git, or give an archive of the repository",
            ) from error

    def take(self, wanted: _Wanted) -> None:
        """Fetch a commit and check it out, its submodules with it."""
        repository, url = self._repository, self._repository.url
        self.run("init", "--quiet", "--template=")
        # Submodules may be named relative to it. It may end in an image, so without a password.
        self.run("remote", "add", "origin", without_password(url).replace(":xxxxx@", "@"))
        shallow = ("fetch", "--quiet", "--depth=1", "--no-tags", "--", url)
        if not self.works(*shallow, wanted.commit):
            # Servers need not give out a commit by its name: then all that they name is fetched.
            self.run(
                "fetch", "--quiet", "--no-tags", "--", url,
                "+refs/heads/*:refs/lamina/heads/*", "+refs/tags/*:refs/lamina/tags/*",
            )  # fmt: skip
            if not self.works("cat-file", "-e", wanted.commit + "^{commit}"):
                raise RemoteError(f"{repository.shown()} has no commit {wanted.commit}")
        self.run("checkout", "--quiet", "--force", "--detach", wanted.commit)
        if repository.submodules and os.path.isfile(os.path.join(self.tree, ".gitmodules")):
            self.run("submodule", "--quiet", "update", "--init", "--recursive", "--depth=1")
        if repository.keep_git_dir:
            self._tidy()

    def _tidy(self) -> None:
        """Take out of `.git` what depends on when and where it was made."""
        self.run("read-tree", "HEAD")  # an index without the files' times and inodes
        folder = os.path.join(self.tree, ".git")
        for name in _OF_NO_USE:
            path = os.path.join(folder, name)
            if os.path.isdir(path):
                remove_tree(path)
            elif os.path.lexists(path):
                os.unlink(path)


def _authorization(url: str, credentials: Credentials) -> Iterator[tuple[str, str]]:
    """The header for the server, from the secrets that BuildKit knows it by."""
    if not url.startswith(("https://", "http://")):
        return
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0].rpartition("@")[2]
    for suffix in (f".{host}", ""):
        header = credentials.secrets.get("GIT_AUTH_HEADER" + suffix)
        token = credentials.secrets.get("GIT_AUTH_TOKEN" + suffix)
        value = header.decode("latin-1").strip() if header else None
        if value is None and token:
            from base64 import b64encode

            value = "basic " + b64encode(b"x-access-token:" + token.strip()).decode("ascii")
        if value:
            yield f"http.{scheme}://{host}/.extraHeader", f"Authorization: {value}"
            return


def _find(git: _Git, repository: Repository) -> _Wanted:
    """What the ref is on the server."""
    ref = repository.ref
    if is_whole_commit(ref):
        return _Wanted(ref, ref)
    names = ["HEAD"]
    if ref and ref != "HEAD":
        names = [ref] if ref.startswith("refs/") else [f"refs/tags/{ref}", f"refs/heads/{ref}"]
    patterns = [pattern for name in names for pattern in (name, name + "^{}")]
    listed = git.run("ls-remote", "--quiet", "--", repository.url, *patterns)
    found = dict(line.split("\t", 1)[::-1] for line in listed.splitlines() if "\t" in line)
    for name in names:
        if name in found:
            return _Wanted(name, found.get(name + "^{}", found[name]), found[name])
    raise RemoteError(
        f"{without_password(repository.url)} has no ref {ref or 'HEAD'}",
        hint="a branch, a tag or a whole commit is needed",
    )


def _check(repository: Repository, wanted: _Wanted) -> None:
    expected = repository.commit
    if expected and not (wanted.commit.startswith(expected) or wanted.tag.startswith(expected)):
        raise RemoteError(
            f"expected checksum of {repository.shown()} to match {expected}, got {wanted.commit}",
            hint="the branch or tag has moved, or --checksum is another commit's",
        )


def _key(repository: Repository, commit: str) -> Key:
    return make_key(
        "repository",
        {
            "url": repository.url,
            "commit": commit,
            "subdirectory": repository.subdirectory,
            "keep_git_dir": str(repository.keep_git_dir),
            "submodules": str(repository.submodules),
        },
    )


def _entries(git: _Git, repository: Repository) -> Iterator[Entry]:
    """What is checked out, as a layer: owned by root, modes as git knows them, no times."""
    root = _inside(git.tree, repository)
    for entry in scan_tree(root, mtime=0, drop=lambda path: _left_out(path, repository)):
        name = entry.path.rpartition(b"/")[2]
        if entry.kind in (Kind.WHITEOUT, Kind.OPAQUE) or name.startswith(b".wh."):
            raise RemoteError(
                f"{repository.shown()} has a file {os.fsdecode(entry.path)!r}, which no layer can"
            )
        content = entry.content
        if isinstance(content, FileSource):
            content = replace(content, fd=None)  # it is open until the next entry is asked for
        yield replace(entry, uid=0, gid=0, mode=_mode(entry), xattrs=(), content=content)


def _left_out(path: bytes, repository: Repository) -> bool:
    return not repository.keep_git_dir and path.rpartition(b"/")[2] == b".git"


def _inside(tree: str, repository: Repository) -> str:
    """The subdirectory, which may not be reached through links."""
    path = tree
    for part in repository.subdirectory.split("/") if repository.subdirectory else ():
        path = os.path.join(path, part)
        try:
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            mode = 0
        if not stat.S_ISDIR(mode) or part == ".git":
            raise RemoteError(f"{repository.shown()} has no directory {repository.subdirectory!r}")
    return path


def _mode(entry: Entry) -> int:
    match entry.kind:
        case Kind.SYMLINK:
            return entry.mode
        case Kind.DIRECTORY:
            return 0o755
        case _:
            return 0o755 if entry.mode & 0o100 else 0o644
