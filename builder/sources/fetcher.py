"""What is elsewhere, as layers in the store: files, repositories, archives.

A context that is fetched becomes a layer as well, never files on the disk: nothing in an archive
can lead out of it, and COPY and mounts find in it what they find in any layer. Its files are
owned by root, as those of a directory are (dockerfile.md 1.6), and have no times.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

from builder.cache.keys import make_key
from builder.cache.layering import commit_entries
from builder.cache.work import Turns
from builder.errors import ContextError
from builder.plan.remote_names import Remote, RemoteFile, Repository
from builder.sources.downloads import CONTENT, Credentials, Downloads
from builder.sources.trees import FileTree
from builder.sources.unpack import Unpacker
from runtime.image.digest import DiffID
from runtime.image.errors import LayerError
from runtime.image.layer.entry import Entry, FileSource, Kind
from runtime.image.layer.flatten import flatten
from runtime.image.layer.writer import canonical_order
from runtime.image.store.store import Store

if TYPE_CHECKING:
    from builder.sources.repositories import Checkout, Repositories

_PIECE = 1 << 20
_MOST_TEXT = 64 << 20
_MOST_SENT = 1 << 40


class NamedFile:
    """A tree with one file in it."""

    def __init__(self, name: bytes, entry: Entry) -> None:
        self._entry = replace(entry, path=name)

    def lstat(self, path: bytes) -> Entry | None:
        """The root, and the file."""
        if not path:
            return Entry(path=b"", kind=Kind.DIRECTORY, mode=0o755)
        return self._entry if path == self._entry.path else None

    def listdir(self, path: bytes) -> list[bytes]:
        """The file's name."""
        return [] if path else [self._entry.path]

    def walk(self, path: bytes) -> Iterator[Entry]:
        """The file, with the root before it if that is asked for."""
        found = self.lstat(path)
        if found is not None:
            yield found
        if not path:
            yield self._entry


@dataclass(frozen=True, slots=True)
class FetchedText:
    """What was to be a context is no archive: it is taken for a Dockerfile."""

    data: bytes


class Fetcher:
    """Fetches into one store, everything once: a build that names a thing twice gets it twice."""

    def __init__(self, store: Store, credentials: Credentials) -> None:
        self._store = store
        self._downloads = Downloads(store, credentials)
        self._credentials = credentials
        self._turns = Turns()
        self._layers: dict[Remote, DiffID] = {}
        self._checkouts: dict[Repository, Checkout] = {}

    def _repositories(self) -> Repositories:
        from builder.sources.repositories import Repositories

        return Repositories(self._store, self._credentials)

    def source(self, remote: Remote) -> tuple[FileTree, bytes]:
        """What ADD takes: a file under its name, or a repository's files; `RemoteError`."""
        match remote:
            case RemoteFile():
                name = os.fsencode(remote.name)
                return NamedFile(name, self._file(self._layer(remote))), name
            case Repository():
                return self._store.view((self._layer(remote),)), b""

    def commit(self, repository: Repository) -> str:
        """The commit whose files a repository gives."""
        self._layer(repository)
        return self._checkouts[repository].commit

    def context(self, remote: Remote) -> DiffID | FetchedText:
        """A context: a repository's files, or those of an archive that a server has."""
        if isinstance(remote, Repository):
            return self._layer(remote)
        downloaded = self._layer(remote)
        file = self._file(downloaded)
        key = make_key("archive", {"layer": downloaded})
        record = self._store.record(key.digest)
        if record is not None:
            return record.diff_id
        layer = self._unpacked(file, remote.shown())
        if layer is None:
            return FetchedText(self._text(file, remote.shown()))
        self._store.put_record(key.digest, key.kind, key.components, layer)
        return layer

    def committed(self, repository: Repository) -> int:
        """When the commit was made that is checked out, in seconds since 1970; `RemoteError`."""
        self._layer(repository)
        return self._checkouts[repository].committed

    def files(self, remote: Remote) -> DiffID:
        """A named context: as any, but what is no archive is a file under its name."""
        found = self.context(remote)
        if not isinstance(found, FetchedText):
            return found
        assert isinstance(remote, RemoteFile)
        entry = replace(self._file(self._layer(remote)), path=os.fsencode(remote.name))
        return commit_entries(self._store, [entry])

    def sent(self, stream: BinaryIO, name: str) -> DiffID | FetchedText:
        """A context that comes as a stream: an archive, or a Dockerfile's text."""
        with self._store.workspace() as workspace:
            path = os.path.join(workspace, "sent")
            size = 0
            with open(path, "xb") as file:
                while data := stream.read(_PIECE):
                    size += len(data)
                    if size > _MOST_SENT:
                        raise ContextError(f"{name} is longer than {_MOST_SENT} bytes")
                    file.write(data)
            content = FileSource(os.fsencode(path))
            entry = Entry(path=CONTENT, kind=Kind.REGULAR, mode=0o600, size=size, content=content)
            layer = self._unpacked(entry, name)
            return FetchedText(self._text(entry, name)) if layer is None else layer

    def _layer(self, remote: Remote) -> DiffID:
        """A file or a repository as a layer."""
        if isinstance(remote, RemoteFile):
            remote = replace(remote, unpack=False)  # the same file, whatever becomes of it
        with self._turns.of(repr(remote)):
            found = self._layers.get(remote)
            if found is None:
                if isinstance(remote, RemoteFile):
                    found = self._downloads.layer(remote)
                else:
                    checkout = self._repositories().checkout(remote)
                    found, self._checkouts[remote] = checkout.diff_id, checkout
                self._layers[remote] = found
            return found

    def _file(self, layer: DiffID) -> Entry:
        entry = self._store.view((layer,)).lstat(CONTENT)
        assert entry is not None
        return entry

    def _unpacked(self, file: Entry, name: str) -> DiffID | None:
        """What is in an archive, as a layer; `None` if it is none."""
        try:
            with Unpacker(self._store) as unpacker:
                members = unpacker.unpack(file)
                if members is None:
                    return None
                entries = [replace(each, uid=0, gid=0, mtime=0) for each in flatten(members)]
                return commit_entries(self._store, canonical_order(entries))
        except LayerError as error:
            raise ContextError(f"cannot unpack {name}: {error.message}") from error

    def _text(self, file: Entry, name: str) -> bytes:
        if file.size > _MOST_TEXT:
            raise ContextError(
                f"{name} is no archive that is known, and too long for a Dockerfile",
                hint="a tar is needed: plain, or compressed with gzip, bzip2, xz or zstd",
            )
        assert isinstance(file.content, FileSource)
        fd = file.content.open()
        with os.fdopen(fd, "rb") as opened:
            return opened.read(file.size)
