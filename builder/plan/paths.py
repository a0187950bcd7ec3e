"""Paths that instructions name, as absolute paths in the image."""

from __future__ import annotations

import posixpath


def clean_path(path: str) -> str:
    """An absolute path without `.`, `..` or doubled slashes."""
    return posixpath.normpath(posixpath.join("/", path)).replace("//", "/")


def destination_path(workdir: str, path: str) -> str:
    """Where a COPY goes: with a trailing slash wherever it must be a directory."""
    clean = clean_path(posixpath.join(workdir or "/", path))
    directory = path.endswith(("/", "/.", "/..")) or path in ("", ".", "..")
    return clean + "/" if directory and clean != "/" else clean
