"""Which packages an image holds, found by what package managers leave behind in its layers.

dpkg's status (also by parts, as images without a package manager have it), apk's and rpm's
databases, the metadata of Python's distributions, and the `package.json` of modules below a
`node_modules`. Nothing is mounted or run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from builder.attest.package import Distribution, Package
from builder.attest.rpm_database import UnreadableDatabase, rpm_packages
from builder.attest.stanzas import (
    apk_packages,
    distribution,
    dpkg_packages,
    python_package,
)
from runtime.image import json_bytes
from runtime.image.errors import ArchiveError, LayerError
from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.view import View

_MOST_DATABASE = 256 << 20
_MOST_METADATA = 4 << 20

_OS_RELEASE = (b"etc/os-release", b"usr/lib/os-release")
_DPKG = b"var/lib/dpkg/status"
_DPKG_PARTS = b"var/lib/dpkg/status.d"
_APK = (b"lib/apk/db/installed", b"usr/lib/apk/db/installed")
_RPM = (b"var/lib/rpm/rpmdb.sqlite", b"usr/lib/sysimage/rpm/rpmdb.sqlite")
_OLD_RPM = (
    b"var/lib/rpm/Packages",
    b"var/lib/rpm/Packages.db",
    b"usr/lib/sysimage/rpm/Packages",
    b"usr/lib/sysimage/rpm/Packages.db",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """What was found, sorted; `skipped` says of which files nothing could be made, and why."""

    packages: tuple[Package, ...]
    distribution: Distribution | None
    skipped: tuple[tuple[str, str], ...] = ()


def scan(view: View) -> Scanned:
    """The packages that the files of an image speak of."""
    scanner = _Scanner(view)
    scanner.databases()
    scanner.walk()
    return Scanned(
        packages=tuple(sorted(set(scanner.packages))),
        distribution=scanner.distribution(),
        skipped=tuple(sorted(scanner.skipped)),
    )


class _Scanner:
    def __init__(self, view: View) -> None:
        self._view = view
        self.packages: list[Package] = []
        self.skipped: list[tuple[str, str]] = []

    def distribution(self) -> Distribution | None:
        for path in _OS_RELEASE:
            text = self._text(path, _MOST_METADATA)
            found = None if text is None else distribution(text)
            if found is not None:
                return found
        return None

    def databases(self) -> None:
        """What lies in known places."""
        parts = [_DPKG_PARTS + b"/" + name for name in self._view.listdir(_DPKG_PARTS)]
        for path in (_DPKG, *(part for part in parts if not part.endswith(b".md5sums"))):
            self._add(path, dpkg_packages)
        for path in _once(self._view, _APK):
            self._add(path, apk_packages)
        for path in _once(self._view, _RPM):
            self._rpm(path)
        for path in _once(self._view, _OLD_RPM):
            self._skip(path, "rpm's database is not of the kind that is read (SQLite)")

    def walk(self) -> None:
        """What may lie anywhere."""
        for entry in self._view.walk(b""):
            if entry.kind is Kind.REGULAR:
                self._file(entry)

    def _file(self, entry: Entry) -> None:
        path = entry.path
        if path.endswith((b".dist-info/METADATA", b".egg-info/PKG-INFO", b".egg-info")):
            self._python(path)
        elif path.endswith(b"/package.json") and _is_module(path.removesuffix(b"/package.json")):
            self._npm(path)

    def _add(self, path: bytes, parse: Callable[[str, str], Iterable[Package]]) -> None:
        text = self._text(path, _MOST_DATABASE)
        if text is not None:
            self.packages += parse(text, _shown(path))

    def _rpm(self, path: bytes) -> None:
        data = self._read(path, _MOST_DATABASE)
        if data is None:
            return
        try:
            log = self._read(path + b"-wal", _MOST_DATABASE) or b""
            self.packages += rpm_packages(data, log, _shown(path))
        except UnreadableDatabase as error:
            self._skip(path, str(error))

    def _python(self, path: bytes) -> None:
        text = self._text(path, _MOST_METADATA)
        found = None if text is None else python_package(text, _shown(path))
        if found is not None:
            self.packages.append(found)

    def _npm(self, path: bytes) -> None:
        data = self._read(path, _MOST_METADATA)
        if data is None:
            return
        try:
            members = json_bytes.as_object(json_bytes.parse(data, "package.json"), "package.json")
            found = _npm_package(members.get, _shown(path))
        except ArchiveError as error:
            self._skip(path, error.message)
            return
        if found is not None:
            self.packages.append(found)

    def _text(self, path: bytes, limit: int) -> str | None:
        data = self._read(path, limit)
        return None if data is None else data.decode("utf-8", "replace")

    def _read(self, path: bytes, limit: int) -> bytes | None:
        try:
            return self._view.read(path, limit)
        except LayerError as error:
            self._skip(path, error.message)
            return None

    def _skip(self, path: bytes, why: str) -> None:
        self.skipped.append((_shown(path), why))


def _npm_package(get: Callable[[str], json_bytes.Json], place: str) -> Package | None:
    """A module, if it says its name and version: others are parts of modules."""

    def text(value: json_bytes.Json, member: str = "") -> str:
        if isinstance(value, dict):
            value = value.get(member)
        return value if isinstance(value, str) else ""

    name, version = text(get("name")), text(get("version"))
    if not name or not version:
        return None
    return Package(
        kind="npm",
        name=name,
        version=version,
        place=place,
        license=text(get("license"), "type"),
        supplier=text(get("author"), "name"),
        homepage=text(get("homepage")),
    )


def _is_module(folder: bytes) -> bool:
    """Whether a folder is `…/node_modules/NAME` or `…/node_modules/@SCOPE/NAME`."""
    *above, name = folder.split(b"/")
    if above and above[-1].startswith(b"@"):
        above.pop()
    return bool(above) and above[-1] == b"node_modules" and not name.startswith((b".", b"@"))


def _once(view: View, paths: tuple[bytes, ...]) -> Iterator[bytes]:
    """The files behind these paths: one may be a link to the folder of another."""
    seen: set[bytes] = set()
    for path in paths:
        try:
            real = view.resolve(path)
        except LayerError:
            continue
        entry = view.lstat(real)
        if entry is not None and entry.kind is Kind.REGULAR and real not in seen:
            seen.add(real)
            yield real


def _shown(path: bytes) -> str:
    return "/" + os.fsdecode(path).encode("utf-8", "replace").decode()
