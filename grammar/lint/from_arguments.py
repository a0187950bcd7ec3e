"""What stands in FROM: UndefinedArgInFrom, InvalidDefaultArgInFrom, RedundantTargetPlatform,
FromPlatformFlagConstDisallowed, InvalidBaseImagePlatform."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from grammar.errors import WordError, quoted, shown
from grammar.lint.findings import Report
from grammar.lint.image_names import valid_image_name
from grammar.lint.rules import (
    FROM_PLATFORM_FLAG_CONST_DISALLOWED,
    INVALID_BASE_IMAGE_PLATFORM,
    INVALID_DEFAULT_ARG_IN_FROM,
    REDUNDANT_TARGET_PLATFORM,
    UNDEFINED_ARG_IN_FROM,
)
from grammar.lint.surroundings import BaseImage, Surroundings
from grammar.nodes import Copy, Dockerfile, From, Run
from grammar.suggest import did_you_mean
from grammar.words import Expanded, expand

_ARCHITECTURES = {
    "aarch64": "arm64",
    "armel": "arm",
    "armhf": "arm",
    "i386": "386",
    "x86-64": "amd64",
    "x86_64": "amd64",
}
_SYSTEMS = ("android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "wasip1", "windows")
_COMPONENT = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Globals:
    """The arguments before the first FROM: the values of those that have one, all names."""

    values: Mapping[str, str]
    names: tuple[str, ...]


def global_arguments(
    dockerfile: Dockerfile, surroundings: Surroundings, build_args: Mapping[str, str]
) -> Globals:
    """What can be used in FROM. Raises `WordError`."""
    values = dict(surroundings.automatic)
    values.update(
        (name, value) for name, value in surroundings.build_args.items() if name in values
    )
    names = dict.fromkeys(values)
    for node in dockerfile.arguments:
        for name, default in node.pairs:
            names[name] = None
            if name in build_args:
                values[name] = build_args[name]
            elif default is not None:
                values[name] = expand(default, values, escape=dockerfile.escape).text
    return Globals(values, tuple(names))


def check_defaults(dockerfile: Dockerfile, surroundings: Surroundings, report: Report) -> None:
    """Whether every FROM names an image when no build argument is given."""
    try:
        defaults = global_arguments(dockerfile, surroundings, {})
        for stage in dockerfile.stages:
            written = stage.base.image
            name = expand(written, defaults.values, escape=dockerfile.escape).text
            if not valid_image_name(name):
                message = (
                    f"Default value for ARG {shown(written)} results in empty or invalid base image"
                    " name"
                )
                report.add(INVALID_DEFAULT_ARG_IN_FROM, message, stage.base)
    except WordError:
        return


def check_from(node: From, arguments: Globals, escape: str, report: Report) -> str | None:
    """Look at one FROM; the name of its base, `None` where it cannot be told."""
    try:
        image = expand(node.image, arguments.values, escape=escape)
        _undeclared(image, node, arguments, report)
        if node.platform is not None:
            platform = expand(node.platform, arguments.values, escape=escape)
            _undeclared(platform, node, arguments, report)
            _redundant(platform, node, arguments, report)
            _constant(platform, node, report)
    except WordError:
        return None
    return image.text or None


def check_platform(
    node: From | Copy | Run,
    name: str,
    image: BaseImage,
    arguments: Globals,
    escape: str,
    report: Report,
) -> None:
    """Whether an image is for the platform it is used for."""
    wanted = arguments.values.get("TARGETPLATFORM", "")
    if isinstance(node, From) and node.platform is not None:
        try:
            wanted = expand(node.platform, arguments.values, escape=escape).text
        except WordError:
            return
    expected, actual = _platform(wanted), _platform(image.platform)
    if expected is not None and actual is not None and expected[:2] != actual[:2]:
        message = (
            f"Base image {name} was pulled with platform {quoted(_shown(actual))}, expected"
            f" {quoted(_shown(expected))} for current build"
        )
        report.add(INVALID_BASE_IMAGE_PLATFORM, message, node)


def _undeclared(word: Expanded, node: From, arguments: Globals, report: Report) -> None:
    for name in sorted(word.unset - frozenset(arguments.names)):
        near = did_you_mean(name, arguments.names)
        report.add(UNDEFINED_ARG_IN_FROM, f"FROM argument '{name}' is not declared{near}", node)


def _redundant(platform: Expanded, node: From, arguments: Globals, report: Report) -> None:
    only = platform.used == {"TARGETPLATFORM"} and not platform.unset
    if only and platform.text == arguments.values.get("TARGETPLATFORM"):
        message = (
            f"Setting platform to predefined {node.platform} in FROM is redundant as this is the"
            " default behavior"
        )
        report.add(REDUNDANT_TARGET_PLATFORM, message, node)


def _constant(platform: Expanded, node: From, report: Report) -> None:
    """A constant is fine in a stage whose name has the system or the architecture in it."""
    if platform.used or platform.unset:
        return
    parsed = _platform(platform.text)
    if parsed is None or any(part in (node.name or "") for part in parsed[:2]):
        return
    message = f"FROM --platform flag should not use constant value {quoted(platform.text)}"
    report.add(FROM_PLATFORM_FLAG_CONST_DISALLOWED, message, node)


def _platform(text: str) -> tuple[str, str, str] | None:
    """System, architecture and variant; `None` for what is no platform."""
    parts = text.lower().split("/")
    if len(parts) > 3 or not all(_COMPONENT.fullmatch(part) for part in parts):
        return None
    if len(parts) == 1:
        parts = [parts[0], "amd64"] if parts[0] in _SYSTEMS else ["linux", parts[0]]
    system, architecture, variant = (*parts, "")[:3]
    architecture = _ARCHITECTURES.get(architecture, architecture)
    if (architecture, variant) == ("arm64", "v8"):
        variant = ""
    return system, architecture, variant


def _shown(platform: tuple[str, str, str]) -> str:
    return "/".join(part for part in platform if part)
