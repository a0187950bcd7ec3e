"""`-v`, `--mount`, `--tmpfs`: files of the host, and file systems in memory, in a container."""

from __future__ import annotations

import os
import posixpath

from builder.commands.failures import say
from builder.commands.values import size_in_bytes
from builder.errors import OptionError
from runtime.sandbox.spec import BindMount, Mount, TmpfsMount

_SAID = ("z", "Z")
_DEFAULTS = frozenset(("rw", "rbind", "rprivate", "private", "nocopy"))
_TMPFS_DEFAULTS = frozenset(("rw", "nosuid", "nodev"))
_NO_VOLUMES = "named and anonymous volumes are not supported yet"
_KEYS = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_BIND_KEYS = frozenset(("source", "target", "readonly", "bind-propagation", "bind-nonrecursive"))
_TMPFS_KEYS = frozenset(("target", "tmpfs-size", "tmpfs-mode"))


def mounts_of(
    volumes: tuple[str, ...], mounts: tuple[str, ...], tmpfs: tuple[str, ...]
) -> tuple[Mount, ...]:
    """The mounts that these options ask for; `OptionError`, also if two have one target.

    A source of `-v` that is missing is made, a directory, as docker does.
    """
    found: list[Mount] = [
        *(_volume(text) for text in volumes),
        *(_mount(text) for text in mounts),
        *(_tmpfs(text) for text in tmpfs),
    ]
    targets = [mount.target for mount in found]
    for target in targets:
        if targets.count(target) > 1:
            raise OptionError(f"duplicate mount point: {target}")
    return tuple(found)


def _volume(text: str) -> BindMount:
    source, colon, rest = text.partition(":")
    if not colon or ("/" not in source and source not in (".", "..")):
        raise OptionError(f"--volume {text}: {_NO_VOLUMES}", hint="give a path of the host's")
    target, _, options = rest.partition(":")
    read_only = False
    for option in options.split(",") if options else ():
        if option in _SAID:
            say(f"--volume {text}: {option} is ignored: files are not relabelled")
        elif option == "ro":
            read_only = True
        elif option not in _DEFAULTS:
            raise OptionError(f"--volume {text}: {option!r} is not supported", hint="ro, rw")
    source = os.path.realpath(source)
    if not os.path.exists(source):
        os.makedirs(source)
    return BindMount(source=source, target=_target(target, text), read_only=read_only)


def _mount(text: str) -> Mount:
    members: dict[str, str] = {}
    for field in text.split(","):
        key, equals, value = field.partition("=")
        members[_KEYS.get(key, key)] = value if equals else "true"
    kind = members.pop("type", "volume")
    if kind not in ("bind", "tmpfs"):
        why = _NO_VOLUMES if kind == "volume" else f"type {kind!r} is not known"
        raise OptionError(f"--mount {text}: {why}", hint="type=bind or type=tmpfs")
    unknown = members.keys() - (_BIND_KEYS if kind == "bind" else _TMPFS_KEYS)
    if unknown:
        raise OptionError(f"--mount {text}: {min(unknown)!r} is not supported for {kind}")
    target = _target(members.get("target", ""), text)
    if kind == "tmpfs":
        return _tmpfs_mount(
            target, members.get("tmpfs-size"), members.get("tmpfs-mode"), text, no_exec=True
        )
    source = os.path.realpath(members.get("source") or "")
    if "source" not in members or not os.path.exists(source):
        raise OptionError(f"--mount {text}: bind source path does not exist: {source}")
    if members.get("bind-propagation", "rprivate") not in _DEFAULTS:
        raise OptionError(f"--mount {text}: only bind-propagation=rprivate is supported")
    return BindMount(
        source=source,
        target=target,
        read_only=_switch(members.get("readonly", "false"), text),
        recursive=not _switch(members.get("bind-nonrecursive", "false"), text),
    )


def _tmpfs(text: str) -> TmpfsMount:
    target, _, options = text.partition(":")
    size = mode = None
    no_exec = True
    for option in options.split(",") if options else ():
        key, equals, value = option.partition("=")
        if key == "size" and equals:
            size = value
        elif key == "mode" and equals:
            mode = value
        elif option in ("exec", "noexec"):
            no_exec = option == "noexec"
        elif option not in _TMPFS_DEFAULTS:
            raise OptionError(
                f"--tmpfs {text}: {option!r} is not supported", hint="size=, mode=, exec, noexec"
            )
    return _tmpfs_mount(_target(target, text), size, mode, text, no_exec=no_exec)


def _tmpfs_mount(
    target: str, size: str | None, mode: str | None, text: str, *, no_exec: bool
) -> TmpfsMount:
    try:
        bits = int(mode, 8) if mode is not None else 0o1777
    except ValueError as error:
        raise OptionError(f"{text}: invalid mode {mode!r}") from error
    if not 0 <= bits <= 0o7777:
        raise OptionError(f"{text}: invalid mode {mode!r}")
    return TmpfsMount(target=target, size=size_in_bytes(size, text), mode=bits, no_exec=no_exec)


def _target(target: str, text: str) -> str:
    path = posixpath.normpath(target)
    if not target.startswith("/") or path.strip("/") == "":
        raise OptionError(f"{text}: the mount point must be an absolute path below /")
    return path


def _switch(text: str, option: str) -> bool:
    from builder.plan.units import parse_switch

    try:
        return parse_switch(text)
    except ValueError as error:
        raise OptionError(f"--mount {option}: {error}") from error
