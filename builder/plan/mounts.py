"""Reading `RUN --mount=…` (dockerfile.md 1.5): a comma-separated list of options.

    MountError      a mount that cannot be; the planner adds where it stands

Variables are expanded option by option before the option is read, in every value but `from`'s.
"""

from __future__ import annotations

import csv
import posixpath
from collections.abc import Callable, Mapping
from typing import Literal

from builder.plan.steps import (
    BindRequest,
    CacheRequest,
    FromContext,
    Input,
    MountRequest,
    SecretRequest,
    SshRequest,
    TmpfsRequest,
)
from builder.plan.units import parse_size, parse_switch
from grammar.errors import quoted
from grammar.suggest import did_you_mean

_TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
_ALIASES = {
    "dst": "target", "destination": "target", "src": "source", "ro": "readonly",
    "rw": "readwrite",
}  # fmt: skip
_SWITCHES = {"readonly", "readwrite", "required"}
OPTIONS: Mapping[str, frozenset[str]] = {
    "bind": frozenset({"target", "source", "from", "readonly", "readwrite"}),
    "cache": frozenset(
        {"target", "source", "from", "id", "sharing", "mode", "uid", "gid", "readonly", "readwrite"}
    ),
    "tmpfs": frozenset({"target", "size", "readonly", "readwrite"}),
    "secret": frozenset({"id", "source", "target", "env", "required", "mode", "uid", "gid"}),
    "ssh": frozenset({"id", "target", "required", "mode", "uid", "gid"}),
}
_KNOWN = frozenset().union(*OPTIONS.values())
_SSH_AGENT = "/run/buildkit/ssh_agent.{}"
"""Where BuildKit puts the socket; scripts have it hard-coded."""


class MountError(ValueError):
    """A mount that cannot be."""


def parse_mount(
    text: str,
    *,
    workdir: str,
    number: int,
    expand: Callable[[str], str],
    find_input: Callable[[str], Input],
) -> MountRequest:
    """Read one `--mount` flag.

    `expand` expands variables, `find_input` turns a `from=` into an input, `number` counts the
    mounts of the instruction. `MountError` says what is wrong, in BuildKit's words.
    """
    options = _options(text, expand)
    kind = options.pop("type", "bind").lower()
    if kind not in _TYPES:
        raise MountError(f"unsupported mount type {quoted(kind)}{did_you_mean(kind, _TYPES)}")
    for key in options:
        if key not in OPTIONS[kind]:
            raise MountError(f'{key} not allowed for "{kind}" type mounts')
    target = options.get("target")
    if target is not None:
        target = posixpath.normpath(posixpath.join("/", workdir, target)).replace("//", "/")
        if target == "/" and kind in ("bind", "cache", "tmpfs"):
            raise MountError(f'invalid mount target "{target}"')
    match kind:
        case "bind":
            return BindRequest(
                target=target if target is not None else _mountable(workdir),
                source=_rooted(options.get("source", "/")),
                input=_input(options, find_input) or FromContext(),
                read_write=_switch(options, "readwrite") or not _switch(options, "readonly", True),
            )
        case "cache":
            return _cache(options, target, workdir, find_input)
        case "tmpfs":
            if target is None:
                raise MountError("target is required for tmpfs mounts")
            size = options.get("size")
            return TmpfsRequest(target=target, size=None if size is None else _size(size))
        case "secret":
            return _secret(options, target)
        case _:
            return SshRequest(
                id=options.get("id", "default"),
                target=target or _SSH_AGENT.format(number),
                required=_switch(options, "required"),
                mode=_octal(options.get("mode", "0600"), "mode"),
                uid=_number(options, "uid"),
                gid=_number(options, "gid"),
            )


def _options(text: str, expand: Callable[[str], str]) -> dict[str, str]:
    """The options by their full names, expanded; switches without a value are `true`."""
    try:
        fields = next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise MountError(f"failed to parse csv mounts: {error}") from error
    options: dict[str, str] = {}
    for field in fields:
        key, equals, value = field.partition("=")
        key = _ALIASES.get(key.lower(), key.lower())
        if not equals:
            if key not in _SWITCHES:
                raise MountError(f"invalid field '{field}' must be a key=value pair")
            value = "true"
        if key != "type" and key not in _KNOWN:
            near = did_you_mean(key, ("type", *sorted(_KNOWN | set(_ALIASES))))
            raise MountError(f"unexpected key '{key}' in '{field}'{near}")
        if key == "from":
            if "$" in value:
                raise MountError(
                    "'from' doesn't support variable expansion, define alias stage instead"
                )
        elif equals:
            value = expand(value)
        options[key] = value
    return options


def _cache(
    options: Mapping[str, str],
    target: str | None,
    workdir: str,
    find_input: Callable[[str], Input],
) -> CacheRequest:
    target = target if target is not None else _mountable(workdir)
    sharing = options.get("sharing", "shared").lower()
    return CacheRequest(
        target=target,
        id=options.get("id", target),
        read_only=_switch(options, "readonly"),
        sharing=_sharing(sharing),
        input=_input(options, find_input),
        source=_rooted(options.get("source", "/")),
        mode=_octal(options.get("mode", "0755"), "mode"),
        uid=_number(options, "uid"),
        gid=_number(options, "gid"),
    )


def _sharing(text: str) -> Literal["shared", "private", "locked"]:
    match text:
        case "shared" | "private" | "locked":
            return text
        case _:
            near = did_you_mean(text, ("shared", "private", "locked"))
            raise MountError(f"unsupported sharing value {quoted(text)}{near}")


def _secret(options: Mapping[str, str], target: str | None) -> SecretRequest:
    if "id" in options and "source" in options:
        raise MountError("both id and source can't be set")
    name = options.get("id") or options.get("source")
    env = options.get("env")
    if not name:
        if not target:
            raise MountError("invalid secret mount. one of source, target required")
        name = posixpath.basename(target)
    if target is None and env is None:
        target = "/run/secrets/" + posixpath.basename(name)
    return SecretRequest(
        id=name,
        target=target,
        env=env,
        required=_switch(options, "required"),
        mode=_octal(options.get("mode", "0400"), "mode"),
        uid=_number(options, "uid"),
        gid=_number(options, "gid"),
    )


def _input(options: Mapping[str, str], find_input: Callable[[str], Input]) -> Input | None:
    return find_input(options["from"]) if options.get("from") else None


def _mountable(workdir: str) -> str:
    if workdir == "/":
        raise MountError('invalid mount target "/"')
    return workdir


def _rooted(path: str) -> str:
    return posixpath.normpath(posixpath.join("/", path)).replace("//", "/")


def _switch(options: Mapping[str, str], key: str, default: bool = False) -> bool:
    if key not in options:
        return default
    try:
        return parse_switch(options[key])
    except ValueError:
        raise MountError(f"invalid value for {key}: {options[key]}") from None


def _octal(text: str, key: str) -> int:
    try:
        return int(text, 8)
    except ValueError:
        raise MountError(f"invalid value {text} for {key}") from None


def _number(options: Mapping[str, str], key: str) -> int:
    text = options.get(key, "0")
    if not text.isascii() or not text.isdigit():
        raise MountError(f"invalid value {text} for {key}")
    return int(text)


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise MountError(str(error)) from None
