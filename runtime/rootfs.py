"""The root of a container: an image's layers, and what has to be there for mounts.

Where a mount's target is missing, something to mount on is put into an extra directory on top
of the image's layers. So nothing is made in the layer that the container writes, nothing has to
be removed from it afterwards, and nothing can be removed by mistake (CVE-2024-23652).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runtime.errors import InvalidContainer
from runtime.image.errors import LayerError
from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.view import View
from runtime.network_files import hosts, resolv_conf
from runtime.sandbox.spec import BindMount, Mount

_STANDARD = (b"dev", b"proc", b"sys")
_ETC_HOSTS = "/etc/hosts"
_ETC_RESOLV_CONF = "/etc/resolv.conf"
_ETC_HOSTNAME = "/etc/hostname"


@dataclass(frozen=True, slots=True)
class RootParts:
    """Parts of a `SandboxSpec`: the directories of the root (the topmost first), and its mounts."""

    lower: tuple[str, ...]
    work: str
    mounts: tuple[Mount, ...]


def prepare_root(
    *,
    view: View,
    trees: Sequence[str],
    workspace: str,
    mounts: Iterable[Mount] = (),
    hostname: str,
    network: str = "host",
    extra_hosts: Sequence[tuple[str, str]] = (),
    hostname_file: bool = False,
    read_only_files: bool = True,
) -> RootParts:
    """Make what a root needs besides its layers, as files in `workspace`.

    `trees` are the layers' directories, the lowest first; `view` is the same as one tree. The
    result has their mounts and those of generated files, unless something else is mounted
    there: /etc/hosts (with `extra_hosts`, names and addresses), /etc/resolv.conf and, with
    `hostname_file`, /etc/hostname. `InvalidContainer` for a target that cannot be.
    """
    wanted = list(mounts)
    taken = {os.path.normpath(mount.target) for mount in wanted}
    generated = [
        (_ETC_HOSTS, hosts(hostname, extra_hosts)),
        (_ETC_RESOLV_CONF, resolv_conf(network)),
    ]
    if hostname_file:
        generated.append((_ETC_HOSTNAME, f"{hostname}\n"))
    for target, content in generated:
        if target not in taken:
            source = os.path.join(workspace, os.path.basename(target))
            _write(source, content)
            wanted.append(BindMount(source=source, target=target, read_only=read_only_files))
    work = os.path.join(workspace, "work")
    os.mkdir(work, 0o700)
    stubs = _Stubs(view, os.path.join(workspace, "stubs"))
    for name in _STANDARD:
        stubs.add_directory(name)
    stubs.add_targets(wanted)
    lower = tuple(reversed(trees))
    return RootParts(
        lower=(stubs.finish(), *lower) if stubs.made or not lower else lower,
        work=work,
        mounts=tuple(wanted),
    )


class _Stubs:
    """A tree of what is missing in a view, with the directories above it as they are there."""

    def __init__(self, view: View, path: str) -> None:
        self.made = False
        self._view = view
        self._path = os.fsencode(path)
        self._copied: list[tuple[bytes, Entry]] = []
        self._there: set[bytes] = set()

    def add_targets(self, mounts: Iterable[Mount]) -> None:
        """What the targets lack, but not below one another: that is made when they are mounted."""
        targets: dict[bytes, bool] = dict.fromkeys(_STANDARD, True)
        for mount in sorted(mounts, key=lambda mount: mount.target.count("/")):
            path = self._resolve(mount.target)
            if not path:
                raise InvalidContainer(f"invalid mount target {mount.target!r}: it is the root")
            covered = any(path.startswith(above + b"/") for above in targets)
            is_folder = not isinstance(mount, BindMount) or os.path.isdir(mount.source)
            targets[path] = is_folder
            if not covered:
                if is_folder:
                    self.add_directory(path)
                else:
                    self._add_file(path)

    def add_directory(self, path: bytes) -> None:
        """Have a directory there, if nothing is."""
        if self._view.lstat(path) is None:
            self._directory(path)

    def finish(self) -> str:
        """The tree's path. Gives copied directories their attributes, the deepest first."""
        if not self._there:
            self._directory(b"")
        for path, entry in reversed(self._copied):
            os.chown(path, entry.uid, entry.gid)
            os.chmod(path, entry.mode)
            for name, value in entry.xattrs:
                os.setxattr(path, name, value)
            os.utime(path, (entry.mtime, entry.mtime))
        return os.fsdecode(self._path)

    def _resolve(self, target: str) -> bytes:
        try:
            return self._view.resolve(target.encode("utf-8", "surrogateescape"))
        except LayerError as error:
            raise InvalidContainer(f"invalid mount target {target!r}: {error.message}") from error

    def _add_file(self, path: bytes) -> None:
        if self._view.lstat(path) is None and path not in self._there:
            above, _, _ = path.rpartition(b"/")
            self._directory(above)
            _write(os.path.join(self._path, path), "")
            self._there.add(path)
            self.made = True

    def _directory(self, path: bytes) -> None:
        if path in self._there:
            return
        if path:
            above, _, _ = path.rpartition(b"/")
            self._directory(above)
        entry = self._view.lstat(path)
        if entry is not None and entry.kind is not Kind.DIRECTORY:
            shown = os.fsdecode(path)
            raise InvalidContainer(f"cannot mount anything below /{shown}: it is no directory")
        place = os.path.join(self._path, path) if path else self._path
        os.mkdir(place, 0o755)
        self._there.add(path)
        if entry is not None:
            self._copied.append((place, entry))
        else:
            os.chmod(place, 0o755)
            self.made = True


def _write(path: str | bytes, content: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
        os.fchmod(fd, stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IROTH)
        file.write(content)
