"""Platforms of a build: which was asked for, and whether its programs can be run.

A stage of a foreign platform can be planned and copied into like any other; only its RUNs need
help: an emulator that the kernel starts for foreign programs (binfmt_misc). It has to be
registered with the flag F, so that the kernel holds it open: it is not in the image.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from builder.errors import OptionError, PlanError
from builder.plan.steps import Plan, RunStep
from runtime.image.errors import InvalidPlatform
from runtime.image.platform import Platform, default_platform

BINFMT = "/proc/sys/fs/binfmt_misc"

# ELF: class (1 is 32 bits), byte order (1 is little), machine.
_ELF = {
    "386": (1, 1, 3),
    "amd64": (2, 1, 62),
    "arm": (1, 1, 40),
    "arm64": (2, 1, 183),
    "loong64": (2, 1, 258),
    "mips64": (2, 2, 8),
    "mips64le": (2, 1, 8),
    "ppc64le": (2, 1, 21),
    "riscv64": (2, 1, 243),
    "s390x": (2, 2, 22),
}
_RUNS_TOO = {"amd64": ("386",), "arm64": ("arm",)}
"""What processors run besides their own architecture's programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """An entry of binfmt_misc: programs that look like `magic` are given to `interpreter`."""

    name: str
    interpreter: str
    flags: str
    offset: int
    magic: bytes
    mask: bytes

    def takes(self, header: bytes) -> bool:
        """Whether a program that begins with `header` is given to this handler."""
        part = header[self.offset : self.offset + len(self.magic)]
        if len(part) < len(self.magic):
            return False
        mask = self.mask or b"\xff" * len(self.magic)
        return all(a & m == b & m for a, b, m in zip(part, self.magic, mask, strict=True))


def parse_platforms(values: Iterable[str]) -> tuple[Platform, ...]:
    """The platforms of `--platform`, each once; none where it was not given; `OptionError`."""
    own = default_platform()
    wanted: dict[Platform, None] = {}
    for value in values:
        for text in filter(None, (part.strip() for part in value.split(","))):
            try:
                wanted[own if text == "local" else Platform.parse(text)] = None
            except InvalidPlatform as error:
                raise OptionError(f"--platform: {error.message}") from error
    for platform in wanted:
        if platform.os != "linux":
            raise OptionError(f"--platform {platform}: only images for linux can be built")
    return tuple(wanted)


def runs_here(platform: Platform, own: Platform) -> bool:
    """Whether the processor itself runs programs of a platform."""
    return platform.architecture in (
        "",
        own.architecture,
        *_RUNS_TOO.get(own.architecture, ()),
    )


def handlers(folder: str = BINFMT) -> tuple[Handler, ...]:
    """The enabled handlers that recognise programs by content."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return ()
    found = []
    for name in names:
        if name in ("register", "status"):
            continue
        try:
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                handler = _handler(name, file.read())
        except OSError:
            continue
        if handler is not None:
            found.append(handler)
    return tuple(found)


def check_runnable(plan: Plan, own: Platform, folder: str = BINFMT) -> None:
    """`PlanError` for the first RUN of a platform whose programs nothing here can run."""
    known: tuple[Handler, ...] | None = None
    for stage in plan.stages:
        platform = stage.config.platform
        if runs_here(platform, own):
            continue
        for planned in stage.steps:
            if isinstance(planned.step, RunStep):
                known = handlers(folder) if known is None else known
                problem = _why_not(platform, known, folder)
                if problem is not None:
                    raise PlanError(
                        f"cannot run a command for {platform} on {own}: {problem}",
                        span=planned.span,
                        hint="install Debian's qemu-user-static (and binfmt-support), or run the"
                        " command in a stage that is FROM --platform=$BUILDPLATFORM",
                    )
                break


def _why_not(platform: Platform, known: tuple[Handler, ...], folder: str) -> str | None:
    elf = _ELF.get(platform.architecture)
    if elf is None:
        return f"the architecture {platform.architecture} is not known"
    header = _elf_header(*elf)
    fitting = [handler for handler in known if handler.takes(header)]
    if any("F" in handler.flags for handler in fitting):
        return None
    if fitting:
        return (
            f"binfmt_misc's handler {fitting[0].name} has not the flag F, so that"
            f" {fitting[0].interpreter} would have to be in the image"
        )
    if not os.path.exists(os.path.join(folder, "status")):
        return f"no emulator is registered (binfmt_misc is not mounted at {folder})"
    return "no emulator is registered for it with binfmt_misc"


def _elf_header(bits: int, order: int, machine: int) -> bytes:
    """What every program of an architecture begins with (elf(5)), as an ET_EXEC."""
    import struct

    fields = struct.pack("<HH" if order == 1 else ">HH", 2, machine)
    return b"\x7fELF" + bytes((bits, order, 1)) + bytes(9) + fields + bytes(44)


def _handler(name: str, text: str) -> Handler | None:
    lines = text.splitlines()
    if not lines or lines[0] != "enabled":
        return None
    values = dict(line.partition(" ")[::2] for line in lines[1:])
    if "magic" not in values:
        return None
    try:
        return Handler(
            name=name,
            interpreter=values.get("interpreter", ""),
            flags=values.get("flags:", ""),
            offset=int(values.get("offset", "0")),
            magic=bytes.fromhex(values["magic"]),
            mask=bytes.fromhex(values.get("mask", "")),
        )
    except ValueError:
        return None
