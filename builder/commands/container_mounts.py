"""`-v`, `--mount`, `--tmpfs`, `--volumes-from`: what is mounted in a container."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from builder.commands.container_tmpfs import mode_of, tmpfs_of
from builder.commands.failures import say
from builder.commands.values import key_value, size_in_bytes
from builder.errors import OptionError
from runtime.containers.spec import VolumeMount
from runtime.containers.volume_options import place_of
from runtime.containers.volumes import check_volume_name
from runtime.errors import InvalidVolume
from runtime.sandbox.spec import BindMount, Mount, TmpfsMount

Decorated = Callable[..., Any]

_LABELLING = frozenset(("z", "Z"))
_CONSISTENCY = frozenset(("consistent", "cached", "delegated"))
"""For other systems' file sharing; docker takes them here, and does nothing."""
_PRIVATE = frozenset(("private", "rprivate"))
_SLAVE = frozenset(("slave", "rslave"))
_SHARED = frozenset(("shared", "rshared"))
_NOT_SHARED = "what is mounted in a container never reaches the host"
_KEYS = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_COMMON = frozenset(("target", "readonly", "consistency"))
_KNOWN = {
    "bind": _COMMON | {"source", "bind-propagation", "bind-nonrecursive", "bind-recursive"},
    "tmpfs": _COMMON | {"tmpfs-size", "tmpfs-mode"},
    "volume": _COMMON
    | {"source", "volume-nocopy", "volume-subpath", "volume-label", "volume-driver", "volume-opt"},
}
_REPEATED = frozenset(("volume-label", "volume-opt"))


@dataclass(frozen=True, slots=True)
class Mounted:
    """What a container is to have mounted, and from which others it has volumes."""

    mounts: tuple[Mount, ...]
    volumes: tuple[VolumeMount, ...]
    volumes_from: tuple[tuple[str, bool], ...]


def mount_options(command: Decorated) -> Decorated:
    """What is mounted."""
    for option in reversed((
        click.option("-v", "--volume", "volumes", multiple=True, metavar="[SOURCE:]TARGET[:ro,…]",
                     help="A volume, or a file or directory of the host's."),
        click.option("--mount", "mounts", multiple=True,
                     metavar="type=bind|volume|tmpfs,target=…"),
        click.option("--tmpfs", "tmpfs", multiple=True, metavar="TARGET[:size=…,mode=…]",
                     help="A file system in memory."),
        click.option("--volumes-from", "volumes_from", multiple=True, metavar="CONTAINER[:ro]",
                     help="What another container has mounted."),
        click.option("--volume-driver", metavar="local", help="Of new volumes."),
    )):  # fmt: skip
        command = option(command)
    return command


def mounts_of(options: Mapping[str, Any]) -> Mounted:
    """What these options ask for; `OptionError`, also if two mounts have one target.

    A source of `-v` that is missing is made, a directory, as docker does.
    """
    if options["volume_driver"] not in (None, "local"):
        raise OptionError(f"--volume-driver {options['volume_driver']}: there is only local")
    found: list[Mount | VolumeMount] = [
        *(_volume(text) for text in options["volumes"]),
        *(_mount(text) for text in options["mounts"]),
        *(_tmpfs(text) for text in options["tmpfs"]),
    ]
    targets = [mount.target for mount in found]
    for target in targets:
        if targets.count(target) > 1:
            raise OptionError(f"duplicate mount point: {target}")
    for mount in found:
        if isinstance(mount, BindMount) and not os.path.exists(mount.source):
            os.makedirs(mount.source)
    return Mounted(
        mounts=tuple(mount for mount in found if not isinstance(mount, VolumeMount)),
        volumes=tuple(mount for mount in found if isinstance(mount, VolumeMount)),
        volumes_from=tuple(_source(text) for text in options["volumes_from"]),
    )


def _source(text: str) -> tuple[str, bool]:
    name, _, mode = text.partition(":")
    if not name or mode not in ("", "ro", "rw", "z", "Z"):
        raise OptionError(f"invalid --volumes-from {text!r}", hint="CONTAINER[:ro]")
    return name, mode == "ro"


def _volume(text: str) -> BindMount | VolumeMount:
    source, colon, rest = text.partition(":")
    if not colon:
        return VolumeMount(target=_target(source, text), anonymous=True)
    target, _, words = rest.partition(":")
    options = _short_options(words, text)
    if "/" not in source and source not in (".", ".."):
        if options & (_PRIVATE | _SLAVE):
            raise OptionError(f"--volume {text}: propagation is for paths of the host's")
        return VolumeMount(
            target=_target(target, text),
            name=_name(source, text),
            read_only="ro" in options,
            copy="nocopy" not in options,
        )
    if "nocopy" in options:
        raise OptionError(f"--volume {text}: nocopy is for volumes")
    return BindMount(
        source=os.path.realpath(source),
        target=_target(target, text),
        read_only="ro" in options,
        slave=bool(options & _SLAVE),
    )


def _short_options(words: str, text: str) -> set[str]:
    options = set(words.split(",")) if words else set()
    for option in sorted(options):
        if option in _LABELLING:
            say(f"--volume {text}: {option} is ignored: files are not relabelled")
        elif option in _SHARED:
            raise OptionError(f"--volume {text}: {option}: {_NOT_SHARED}", hint="rslave")
        elif option not in {"ro", "rw", "nocopy", *_CONSISTENCY, *_PRIVATE, *_SLAVE}:
            hint = "ro, rw, nocopy, rslave, rprivate"
            raise OptionError(f"--volume {text}: {option!r} is not supported", hint=hint)
    if {"ro", "rw"} <= options:
        raise OptionError(f"--volume {text}: ro and rw exclude one another")
    return options


def _mount(text: str) -> Mount | VolumeMount:
    import csv

    members: dict[str, str] = {}
    repeated: list[tuple[str, str]] = []
    for field in next(csv.reader([text])):
        key, equals, value = field.partition("=")
        key = _KEYS.get(key.lower(), key.lower())
        if key in _REPEATED:
            repeated.append((key, value))
        else:
            members[key] = value if equals else "true"
    kind = members.pop("type", "volume")
    known = _KNOWN.get(kind)
    if known is None:
        raise OptionError(
            f"--mount {text}: type {kind!r} is not known", hint="type=bind, volume or tmpfs"
        )
    unknown = (members.keys() | {key for key, _ in repeated}) - known
    if unknown:
        raise OptionError(f"--mount {text}: {min(unknown)!r} is not supported for {kind}")
    target = _target(members.get("target", ""), text)
    read_only = _switch(members.get("readonly", "false"), text)
    if kind == "bind":
        return _bind_mount(members, target, text, read_only=read_only)
    if kind == "volume":
        return _volume_mount(members, repeated, target, text, read_only=read_only)
    return TmpfsMount(
        target=target,
        size=size_in_bytes(members.get("tmpfs-size"), text),
        mode=mode_of(members.get("tmpfs-mode"), text),
        no_exec=True,
        read_only=read_only,
    )


def _bind_mount(members: Mapping[str, str], target: str, text: str, *, read_only: bool) -> Mount:
    source = os.path.realpath(members.get("source") or "")
    if "source" not in members or not os.path.exists(source):
        raise OptionError(f"--mount {text}: bind source path does not exist: {source}")
    propagation = members.get("bind-propagation", "rprivate")
    if propagation in _SHARED:
        raise OptionError(
            f"--mount {text}: {propagation}: {_NOT_SHARED}", hint="bind-propagation=rslave"
        )
    if propagation not in _PRIVATE | _SLAVE:
        raise OptionError(f"--mount {text}: invalid bind-propagation {propagation!r}")
    recursive = members.get("bind-recursive", "enabled")
    if recursive == "writable":
        raise OptionError(f"--mount {text}: what is read-only is so with all that is below")
    if recursive == "readonly" and not read_only:
        raise OptionError(f"--mount {text}: bind-recursive=readonly needs readonly")
    if recursive not in ("enabled", "disabled", "readonly"):
        raise OptionError(f"--mount {text}: invalid bind-recursive {recursive!r}")
    alone = recursive == "disabled" or _switch(members.get("bind-nonrecursive", "false"), text)
    return BindMount(
        source=source,
        target=target,
        read_only=read_only,
        recursive=not alone,
        slave=propagation in _SLAVE,
    )


def _volume_mount(
    members: Mapping[str, str],
    repeated: list[tuple[str, str]],
    target: str,
    text: str,
    *,
    read_only: bool,
) -> VolumeMount:
    if members.get("volume-driver", "local") != "local":
        raise OptionError(f"--mount {text}: there is only the volume driver local")
    name = members.get("source") or None
    subpath = members.get("volume-subpath", "")
    if subpath.startswith("/") or ".." in subpath.split("/"):
        raise OptionError(f"--mount {text}: volume-subpath must be a path below the volume")
    if subpath and name is None:
        raise OptionError(f"--mount {text}: volume-subpath needs a source")
    options = tuple(key_value(value, key) for key, value in repeated if key == "volume-opt")
    try:
        place_of(dict(options))
    except InvalidVolume as error:
        raise OptionError(f"--mount {text}: {error.message}", hint=error.hint) from error
    return VolumeMount(
        target=target,
        name=_name(name, text) if name is not None else None,
        read_only=read_only,
        copy=not _switch(members.get("volume-nocopy", "false"), text),
        subpath=subpath,
        anonymous=name is None,
        labels=tuple(key_value(value, key) for key, value in repeated if key == "volume-label"),
        options=options,
    )


def _tmpfs(text: str) -> TmpfsMount:
    target, _, options = text.partition(":")
    return tmpfs_of(_target(target, text), options, text)


def _name(name: str, text: str) -> str:
    try:
        return check_volume_name(name)
    except InvalidVolume as error:
        raise OptionError(f"{text}: {error.message}", hint=error.hint) from error


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
