"""Docker's own archives, read: `manifest.json`, and the files it names.

Docker's and podman's layers are `<id>/layer.tar` and `<diff ID>.tar`, other tools have others,
also compressed: the manifest says it. What is named is looked for in the archive, nowhere else.
"""

from __future__ import annotations

import posixpath
import re
from typing import Final

from runtime.image import json_bytes
from runtime.image.archives.contents import (
    MOST_DOCUMENT,
    MOST_IMAGES,
    ArchivedImage,
    Wanted,
    check_platform,
    layer_files,
)
from runtime.image.archives.files import ArchiveFiles, read_file
from runtime.image.digest import Digest, sha256
from runtime.image.errors import ArchiveError, InvalidReference
from runtime.image.json_bytes import Json
from runtime.image.model import ImageConfig
from runtime.image.reference import Reference

MANIFEST: Final = "manifest.json"
_DOCUMENT: Final = MANIFEST
_BLOB: Final = re.compile(r"blobs/sha256/([0-9a-f]{64})", re.ASCII)
_CONFIG: Final = re.compile(r"(?:blobs/sha256/|sha256:)?([0-9a-f]{64})(?:\.json)?", re.ASCII)


def read_images(files: ArchiveFiles, wanted: Wanted) -> list[ArchivedImage]:
    """Every image of an archive; `ArchiveError`, `PlatformMissing`."""
    data = read_file(files, MANIFEST, MOST_DOCUMENT)
    images = json_bytes.as_list(json_bytes.parse(data, _DOCUMENT), _DOCUMENT)
    if not images:
        raise ArchiveError(f"{files.name} has no images in it")
    if len(images) > MOST_IMAGES:
        raise ArchiveError(f"{files.name} lists more than {MOST_IMAGES} images")
    return [_image(files, image, wanted) for image in images]


def _image(files: ArchiveFiles, value: Json, wanted: Wanted) -> ArchivedImage:
    members = json_bytes.as_object(value, _DOCUMENT)
    path = _path(files, json_bytes.string(members, "Config", _DOCUMENT))
    document = read_file(files, path, MOST_DOCUMENT)
    said = _CONFIG.fullmatch(path)
    if said is not None and sha256(document) != f"sha256:{said[1]}":
        raise ArchiveError(f"{files.name}: {path} is not what its name says")
    config = ImageConfig.parse(document)
    texts = json_bytes.as_strings(members.get("RepoTags"), _DOCUMENT)
    names = tuple(dict.fromkeys(_name(files, text) for text in texts))
    what = f"{files.name}: {names[0].familiar()}" if names else files.name
    check_platform(config, wanted, what)
    layers = json_bytes.as_strings(members.get("Layers"), _DOCUMENT)
    paths = [_path(files, each) for each in layers]
    return ArchivedImage(
        names=names,
        document=document,
        config=config,
        layers=layer_files(what, config, [(path, _digest(path), None) for path in paths]),
    )


def _name(files: ArchiveFiles, text: str) -> Reference:
    try:
        return Reference.parse(text)
    except InvalidReference as error:
        raise ArchiveError(f"{files.name}: {MANIFEST}: {error.message}") from error


def _path(files: ArchiveFiles, text: str) -> str:
    """A name of a file in the archive; one that leads elsewhere is refused."""
    path = posixpath.normpath(text)
    if not text or path.startswith(("/", "../")) or path in (".", ".."):
        raise ArchiveError(f"{files.name}: {MANIFEST} names {text!r}, which is not in the archive")
    return path


def _digest(path: str) -> Digest | None:
    found = _BLOB.fullmatch(path)
    return None if found is None else Digest(f"sha256:{found[1]}")
