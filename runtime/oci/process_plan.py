"""`process` of a config.json: who runs what, with which rights. Pure."""

from __future__ import annotations

from typing import Any, Final

from runtime.oci.config import RLIMITS
from runtime.oci.section import Section
from runtime.sandbox.capabilities import capability_mask

CAPABILITY_SETS: Final = ("bounding", "effective", "permitted", "inheritable", "ambient")
_UNLIMITED: Final = (1 << 63) - 1


def plan_process(process: Section, warnings: list[str]) -> dict[str, Any]:
    """The fields of an order that are the process's. `InvalidConfig`."""
    argv = process.texts("args")
    if not argv:
        raise process.wrong("args", "there is no command")
    cwd = process.needed("cwd")
    if not cwd.startswith("/"):
        raise process.wrong("cwd", f"{cwd!r} is no absolute path")
    user = process.section("user")
    if "username" in user:
        warnings.append(f"{user.path('username')} is ignored: it is for Windows")
    size = process.section("consoleSize")
    terminal = process.flag("terminal")
    height, width = size.number("height", 0), size.number("width", 0)
    umask = user.number("umask")
    for name in ("apparmorProfile", "selinuxLabel", "ioPriority", "scheduler", "execCPUAffinity"):
        if name in process:
            warnings.append(f"{process.path(name)} is ignored")
    return {
        "argv": tuple(map(_bytes, argv)),
        "env": tuple(_variable(process, text) for text in process.texts("env")),
        "cwd": _bytes(cwd),
        "uid": user.id("uid"),
        "gid": user.id("gid"),
        "groups": user.numbers("additionalGids"),
        "umask": 0o022 if umask is None else umask & 0o777,
        "capability_sets": _capabilities(process.section("capabilities"), warnings),
        "rlimits": tuple(_limits(process)),
        "no_new_privileges": process.flag("noNewPrivileges"),
        "terminal": terminal,
        "terminal_size": (height, width) if terminal else (0, 0),
        "oom_score": _oom_score(process),
    }


def _variable(process: Section, text: str) -> tuple[bytes, bytes]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise process.wrong("env", f"{text!r} is no NAME=VALUE")
    return _bytes(name), _bytes(value)


def _capabilities(section: Section, warnings: list[str]) -> dict[str, int]:
    masks = {}
    for name in CAPABILITY_SETS:
        mask = 0
        for word in section.texts(name):
            try:
                mask |= capability_mask(word)
            except KeyError:
                warnings.append(f"{section.path(name)}: there is no capability {word}")
        masks[name] = mask
    return masks


def _limits(process: Section) -> list[tuple[int, int, int]]:
    limits = {}
    for section in process.sections("rlimits"):
        name = section.needed("type")
        bare = name.removeprefix("RLIMIT_")
        if not name.startswith("RLIMIT_") or bare not in RLIMITS:
            raise section.wrong("type", f"there is no resource {name!r}")
        if bare in limits:
            raise section.wrong("type", f"{name} is limited twice")
        soft, hard = _limit(section, "soft"), _limit(section, "hard")
        if hard != -1 and (soft == -1 or soft > hard):
            raise section.wrong("soft", "it is larger than the hard limit")
        limits[bare] = (RLIMITS.index(bare), soft, hard)
    return list(limits.values())


def _limit(section: Section, name: str) -> int:
    value = section.number(name)
    if value is None:
        raise section.wrong(name, "it is missing")
    return -1 if value < 0 or value > _UNLIMITED else value


def _oom_score(process: Section) -> int | None:
    score = process.number("oomScoreAdj")
    if score is not None and not -1000 <= score <= 1000:
        raise process.wrong("oomScoreAdj", f"{score} is not from -1000 to 1000")
    return score


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
