"""A cache in a directory: an OCI image layout, whose index has a tag for each cache in it."""

from __future__ import annotations

import fcntl
import os
from dataclasses import replace
from typing import Final

from builder.exchange.format import Content
from builder.exchange.options import FolderFrom, FolderTo
from runtime.image.archives.contents import MOST_DOCUMENT
from runtime.image.archives.files import ArchiveFiles, Section, open_archive
from runtime.image.archives.intake import keep_layer, take_layer
from runtime.image.archives.layout import ANNOTATION_TAG, INDEX, LAYOUT, LayoutReader, blob_path
from runtime.image.archives.layout import tags as tags_of
from runtime.image.digest import DiffID
from runtime.image.errors import ArchiveError
from runtime.image.manifest import Descriptor, Index
from runtime.image.new_file import new_file, write_all
from runtime.image.store.store import Store

_LAYOUT_FILE: Final = b'{"imageLayoutVersion":"1.0.0"}'


class FolderTarget:
    """A directory that a cache is written to; other tags in it stay as they are."""

    def __init__(self, chosen: FolderTo) -> None:
        self.name = f"type=local,dest={chosen.directory}"
        self._directory = chosen.directory
        self._tag = chosen.tag
        if os.path.isdir(self._directory) and os.listdir(self._directory):
            self._index()
        os.makedirs(os.path.join(self._directory, "blobs", "sha256"), exist_ok=True)

    def has(self, descriptor: Descriptor) -> bool:
        """Whether a blob of that length is there; a shorter one is written again."""
        try:
            return os.stat(self._path(descriptor)).st_size == descriptor.size
        except FileNotFoundError:
            return False

    def put(self, descriptor: Descriptor, content: Content) -> None:
        """Write a blob aside and rename it."""
        with new_file(self._path(descriptor)) as fd:
            for chunk in content(0, descriptor.size):
                write_all(fd, chunk)

    def finish(self, descriptor: Descriptor, manifest: bytes) -> None:
        """Write the manifest, and last the index: until then the tag stands for what it did."""
        self.put(descriptor, lambda start, end: iter((manifest[start:end],)))
        with new_file(os.path.join(self._directory, LAYOUT)) as fd:
            write_all(fd, _LAYOUT_FILE)
        folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)  # Another build may give another tag.
            kept = [each for each in self._index().manifests if self._tag not in tags_of(each)]
            named = replace(descriptor, annotations=((ANNOTATION_TAG, self._tag),))
            index = Index(manifests=(*kept, named))
            with new_file(os.path.join(self._directory, INDEX)) as fd:
                write_all(fd, index.to_bytes())
        finally:
            os.close(folder)

    def _path(self, descriptor: Descriptor) -> str:
        return os.path.join(self._directory, blob_path(descriptor.digest))

    def _index(self) -> Index:
        """The index that is there; `ArchiveError` for a directory that holds something else."""
        path = os.path.join(self._directory, INDEX)
        if not os.path.exists(path):
            strangers = set(os.listdir(self._directory)) - {"blobs", LAYOUT}
            if strangers:
                raise ArchiveError(
                    f"{self._directory} is no cache: it holds {min(strangers)}",
                    hint="give an empty or a new directory",
                )
            return Index(manifests=())
        with open(path, "rb") as file:
            return Index.parse(file.read(MOST_DOCUMENT))


class FolderSource:
    """A directory that a cache is read from."""

    def __init__(self, chosen: FolderFrom) -> None:
        self.name = f"type=local,src={chosen.directory}"
        self._chosen = chosen

    def manifest(self) -> bytes:
        """The manifest of the tag, or of the digest."""
        layout = LayoutReader(self._files())
        chosen = self._chosen
        for each in layout.index().manifests:
            if each.digest == chosen.digest or (not chosen.digest and chosen.tag in tags_of(each)):
                return layout.document(each)
        raise ArchiveError(f"it has nothing of the name {chosen.digest or chosen.tag}")

    def document(self, descriptor: Descriptor) -> bytes:
        """A blob's bytes; `ArchiveError` if it is missing or of another length."""
        return b"".join(self._blob(descriptor).chunks())

    def fetch(self, store: Store, diff_id: DiffID, descriptor: Descriptor) -> None:
        """Take a layer over into the store, once it is what is said of it."""
        with store.workspace() as space:
            section, path = self._blob(descriptor), os.path.join(space, "layer")
            what = f"layer {descriptor.digest}"
            keep_layer(
                store, take_layer(section, path, diff_id, descriptor.digest, what, lambda: False)
            )

    def _blob(self, descriptor: Descriptor) -> Section:
        section = self._files().section(blob_path(descriptor.digest))
        if section.size != descriptor.size:
            raise ArchiveError(f"its blob {descriptor.digest} has {section.size} bytes")
        return section

    def _files(self) -> ArchiveFiles:
        if not os.path.isdir(self._chosen.directory):
            raise ArchiveError(f"{self._chosen.directory} is no directory")
        with open_archive(self._chosen.directory, "", self._chosen.directory) as files:
            return files  # A directory's need not be kept open.
