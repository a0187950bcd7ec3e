"""The root of a container: an image's layers, and what has to be there for mounts.

Where a mount's target is missing, something to mount on is put into an extra directory on top
of the image's layers. So nothing is made in the layer that the container writes, nothing has to
be removed from it afterwards, and nothing can be removed by mistake (CVE-2024-23652).
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass

from runtime.errors import InvalidContainer
from runtime.image.errors import LayerError
from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.owners import KERNEL_OWNERS, Owners, RecordedOwners, give
from runtime.image.layer.view import View
from runtime.network.model import THE_HOSTS_NAMES, Names
from runtime.network_files import hosts, resolv_conf
from runtime.owner_record import escaped
from runtime.sandbox.mounts import open_beneath
from runtime.sandbox.spec import BindMount, Mount

_STANDARD = (b"dev", b"proc", b"sys")
_ETC_HOSTS = "/etc/hosts"
_ETC_RESOLV_CONF = "/etc/resolv.conf"
_ETC_HOSTNAME = "/etc/hostname"
_APT_SETTINGS = "/etc/apt/apt.conf.d"


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
    domainname: str = "",
    has_addresses: bool = False,
    names: Names = THE_HOSTS_NAMES,
    hostname_file: bool = False,
    read_only_files: bool = True,
    files: RootFiles | None = None,
    owners: Owners = KERNEL_OWNERS,
) -> RootParts:
    """Make what a root needs besides its layers, in `workspace` or among the shared `files`.

    `trees` are the layers' directories, the lowest first; `view` is the same as one tree. The
    result has their mounts and those of generated files, unless something else is mounted
    there: /etc/hosts (with `extra_hosts`, names and addresses; without the host's own name if
    that `has_addresses`), /etc/resolv.conf and, with `hostname_file`, /etc/hostname.
    `InvalidContainer` for a target that cannot be.
    """
    files = files or RootFiles(workspace, owners)
    wanted = list(mounts)
    taken = {os.path.normpath(mount.target) for mount in wanted}
    generated = [
        (_ETC_HOSTS, hosts("" if has_addresses else hostname, extra_hosts, domainname=domainname)),
        (_ETC_RESOLV_CONF, resolv_conf(network, names)),
    ]
    if hostname_file:
        generated.append((_ETC_HOSTNAME, f"{hostname}\n"))
    for target, content in generated:
        if target not in taken:
            source = files.file(os.path.basename(target), content)
            wanted.append(BindMount(source=source, target=target, read_only=read_only_files))
    if isinstance(owners, RecordedOwners):
        wanted.extend(_for_apt(view, files, taken))
    work = os.path.join(workspace, "work")
    os.mkdir(work, 0o700)
    stubs = _Stubs(view)
    for name in _STANDARD:
        stubs.add_directory(name)
    stubs.add_targets(wanted)
    lower = tuple(reversed(trees))
    return RootParts(
        lower=(files.tree(stubs.finish()), *lower) if stubs.missing or not lower else lower,
        work=work,
        mounts=tuple(wanted),
    )


def _for_apt(view: View, files: RootFiles, taken: Set[str]) -> Iterator[Mount]:
    """What keeps apt from changing to a user of its own, which it would check that it became."""
    entry = view.lstat(_APT_SETTINGS.strip("/").encode())
    target = f"{_APT_SETTINGS}/zz-lamina"
    if entry is not None and entry.kind is Kind.DIRECTORY and target not in taken:
        content = 'APT::Sandbox::User "root";\n'
        yield BindMount(source=files.file("apt.conf", content), target=target, read_only=True)


@dataclass(frozen=True, slots=True)
class _Stub:
    """An empty file or a directory; one that is there below is copied, `entry` says how."""

    path: bytes
    is_file: bool = False
    entry: Entry | None = None


class RootFiles:
    """Files that roots need, in one directory. Roots that need the same share them.

    Whoever writes to a root writes to a layer of its own, so nothing here ever changes.
    """

    def __init__(self, directory: str, owners: Owners = KERNEL_OWNERS) -> None:
        self._directory = directory
        self._owners = owners
        self._made: dict[object, str] = {}
        self._guard = threading.Lock()

    def file(self, name: str, content: str) -> str:
        """The path of a file with that content."""
        return self._once((name, content), name, lambda path: _write(path, content))

    def tree(self, stubs: tuple[_Stub, ...]) -> str:
        """The path of a directory that holds just these."""
        return self._once(
            stubs, "stubs", lambda path: _make_stubs(os.fsencode(path), stubs, self._owners)
        )

    def _once(self, what: object, name: str, make: Callable[[str], None]) -> str:
        with self._guard:
            if what not in self._made:
                number = f"-{len(self._made)}" if self._made else ""
                path = os.path.join(self._directory, name + number)
                make(path)
                self._made[what] = path
            return self._made[what]


class _Stubs:
    """What is missing in a view, with the directories above it as they are there."""

    def __init__(self, view: View) -> None:
        self.missing = False
        self._view = view
        self._stubs: dict[bytes, _Stub] = {}

    def add_targets(self, mounts: Iterable[Mount]) -> None:
        """What the targets lack, but not below one another: that is made when they are mounted."""
        targets: dict[bytes, bool] = dict.fromkeys(_STANDARD, True)
        for mount in sorted(mounts, key=lambda mount: mount.target.count("/")):
            path = self._resolve(mount.target)
            if not path:
                raise InvalidContainer(f"invalid mount target {mount.target!r}: it is the root")
            covered = any(path.startswith(above + b"/") for above in targets)
            is_folder = not isinstance(mount, BindMount) or _binds_folder(mount)
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

    def finish(self) -> tuple[_Stub, ...]:
        """All of them, each after the directory it lies in; the first is the root itself."""
        self._directory(b"")
        return tuple(self._stubs.values())

    def _resolve(self, target: str) -> bytes:
        try:
            return self._view.resolve(target.encode("utf-8", "surrogateescape"))
        except LayerError as error:
            raise InvalidContainer(f"invalid mount target {target!r}: {error.message}") from error

    def _add_file(self, path: bytes) -> None:
        if path not in self._stubs and self._view.lstat(path) is None:
            above, _, _ = path.rpartition(b"/")
            self._directory(above)
            self._stubs[path] = _Stub(path, is_file=True)
            self.missing = True

    def _directory(self, path: bytes) -> None:
        if path in self._stubs:
            return
        if path:
            above, _, _ = path.rpartition(b"/")
            self._directory(above)
        entry = self._view.lstat(path)
        if entry is not None and entry.kind is not Kind.DIRECTORY:
            shown = os.fsdecode(path)
            raise InvalidContainer(f"cannot mount anything below /{shown}: it is no directory")
        self._stubs[path] = _Stub(path, entry=entry)
        if entry is None:
            self.missing = True


def _binds_folder(mount: BindMount) -> bool:
    if not mount.subpath:
        return os.path.isdir(mount.source)
    try:
        fd = open_beneath(mount.source, mount.subpath)
    except OSError as error:
        raise InvalidContainer(
            f"cannot mount {mount.subpath!r} of {mount.source} on {mount.target}:"
            f" {(error.strerror or '').lower()}",
            hint="a subpath has to be there, and no link in it may lead out",
        ) from error
    try:
        return stat.S_ISDIR(os.fstat(fd).st_mode)
    finally:
        os.close(fd)


def _make_stubs(root: bytes, stubs: tuple[_Stub, ...], owners: Owners) -> None:
    """Make a tree of stubs. Copied directories get their attributes last, the deepest first."""
    copied = []
    recorded = isinstance(owners, RecordedOwners)
    for stub in stubs:
        place = os.path.join(root, stub.path) if stub.path else root
        if stub.is_file:
            _write(place, "")
            continue
        os.mkdir(place, 0o755)
        if stub.entry is None:
            os.chmod(place, 0o755)
        else:
            copied.append((place, stub.entry))
    for place, entry in reversed(copied):
        give(owners, os.fsdecode(place), stat.S_IFDIR, entry.uid, entry.gid)
        os.chmod(place, entry.mode)
        for name, value in entry.xattrs:
            os.setxattr(place, escaped(name) if recorded else name, value)
        os.utime(place, (entry.mtime, entry.mtime))


def _write(path: str | bytes, content: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
        os.fchmod(fd, stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IROTH)
        file.write(content)
