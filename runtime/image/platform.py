"""Platforms: operating system and processor, in the names the OCI formats take from Go."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from runtime.image.errors import InvalidPlatform

# uname's machine -> Go's architecture and its variant. Docker leaves arm64's v8 out.
_MACHINES: Final = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "loongarch64": ("loong64", ""),
    "mips64": ("mips64le", ""),
}

# What users write besides Go's names (containerd's platforms.Normalize).
_ALIASES: Final = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "i386": ("386", ""),
}


@dataclass(frozen=True, slots=True)
class Platform:
    """`os/architecture[/variant]`; an empty variant is the architecture's usual one."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read `linux/arm64/v8`, `linux/amd64` or just `amd64`; aliases become Go's names."""
        parts = text.lower().split("/")
        if len(parts) == 1:
            parts.insert(0, "linux")
        if len(parts) > 3 or not all(part and part.isascii() for part in parts):
            raise InvalidPlatform(text)
        system, architecture = parts[0], parts[1]
        architecture, variant = _ALIASES.get(architecture, (architecture, ""))
        if len(parts) == 3:
            variant = parts[2]
        if (architecture, variant) == ("arm64", "v8"):
            variant = ""
        if (architecture, variant) == ("arm", ""):
            variant = "v7"
        return cls(system, architecture, variant)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def default_platform() -> Platform:
    """The platform of this machine."""
    machine = os.uname().machine
    return Platform("linux", *_MACHINES.get(machine, (machine, "")))


def suits(image: Platform, wanted: Platform) -> bool:
    """Whether an image can stand where a platform is wanted; a lower variant can, too."""
    if not image.architecture:
        return True
    image, wanted = Platform.parse(str(image)), Platform.parse(str(wanted))
    if (image.os, image.architecture) != (wanted.os, wanted.architecture):
        return False
    return not image.variant or not wanted.variant or image.variant <= wanted.variant
