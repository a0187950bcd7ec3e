"""What the options of docker's local volume driver mean: where a volume's files are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.errors import InvalidVolume


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """In the volume's own folder."""


@dataclass(frozen=True, slots=True)
class HostFolder:
    """In a folder of the host's (`type=none,o=bind,device=PATH`)."""

    path: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class InMemory:
    """In memory, each container's own (`type=tmpfs,device=tmpfs,o=size=…`)."""

    options: tuple[str, ...] = ()


Place = OwnFiles | HostFolder | InMemory

_TMPFS = ("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks")


def place_of(options: Mapping[str, str]) -> Place:
    """Where the files of a volume with these options are; `InvalidVolume`."""
    unknown = options.keys() - {"type", "o", "device"}
    if unknown:
        raise InvalidVolume(f"invalid volume option {min(unknown)!r}", hint="type, o, device")
    if not options:
        return OwnFiles()
    kind, device = options.get("type", ""), options.get("device", "")
    words = [word for word in options.get("o", "").split(",") if word]
    if kind == "tmpfs":
        wrong = [word for word in words if word.partition("=")[0] not in _TMPFS]
        wrong += [word for word in words if word.startswith("mode=") and not _is_mode(word[5:])]
        if wrong:
            raise InvalidVolume(f"invalid option {wrong[0]!r} of a tmpfs", hint=", ".join(_TMPFS))
        return InMemory(tuple(words))
    if kind in ("", "none", "bind") and {"bind", "rbind"} & set(words):
        if set(words) - {"bind", "rbind", "ro", "rw"}:
            raise InvalidVolume(f"invalid mount options {options['o']!r}", hint="bind, ro")
        if not os.path.isabs(device):
            raise InvalidVolume("device= must be an absolute path of a folder of the host's")
        return HostFolder(device, read_only="ro" in words)
    raise InvalidVolume(
        f"volumes of type {kind!r} are not supported",
        hint="mount it on the host, and give type=none,o=bind,device=PATH",
    )


def _is_mode(text: str) -> bool:
    return text != "" and len(text) < 6 and set(text) <= set("01234567")
