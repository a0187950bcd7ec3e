"""`--build-context NAME=VALUE`: what names in a Dockerfile refer to instead (dockerfile.md 1.7).

An image stands for a base, files for anything. Which it is can be told from the value, so that
planning needs nothing of what is elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from builder.errors import OptionError
from builder.plan.remote_names import Remote, RemoteNameError, parse_remote
from runtime.image.errors import InvalidPlatform, InvalidReference
from runtime.image.platform import Platform
from runtime.image.reference import Reference

LAYOUT = "oci-layout://"
_IMAGE = "docker-image://"
_FIXED = ("scratch", "context")
_OTHERS = ("target:", "input:")


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image, as `StoredImages` finds it: by name, or in a layout."""

    reference: str


@dataclass(frozen=True, slots=True)
class NamedDirectory:
    """A directory here, with an ignore file of its own."""

    path: str


NamedContext = NamedImage | NamedDirectory | Remote
NamedContexts = Mapping[str, NamedContext]


def parse_named_contexts(texts: Iterable[str]) -> NamedContexts:
    """Read the options; the last of a name counts. `OptionError`."""
    return dict(_parsed(text) for text in texts)


def find_named(
    contexts: NamedContexts, name: str, platform: Platform
) -> tuple[str, NamedContext] | None:
    """The context that a name refers to, one for the platform before one for any."""
    if not contexts or name in _FIXED:
        return None
    short = short_name(name)
    for key in (f"{short}::{platform}", short):
        if key in contexts:
            return key, contexts[key]
    return None


def short_name(name: str) -> str:
    """A name as all ways to write it have it: `docker.io/library/a:latest` is `a`."""
    try:
        return Reference.parse(name).familiar().removesuffix(":latest")
    except InvalidReference:
        return name


def _parsed(text: str) -> tuple[str, NamedContext]:
    name, _, value = text.partition("=")
    if not name or not value:
        raise OptionError(f"invalid --build-context {text!r}", hint="NAME=DIRECTORY, or NAME=URL")
    bare, colons, platform = name.partition("::")
    key = short_name(bare)
    if key in _FIXED:
        raise OptionError(f"--build-context {text}: {key!r} always means the same")
    if colons:
        try:
            key += f"::{Platform.parse(platform)}"
        except InvalidPlatform as error:
            raise OptionError(f"--build-context {text}: {error.message}") from error
    return key, _value(value, text)


def _value(value: str, text: str) -> NamedContext:
    if value.startswith(_IMAGE):
        try:
            return NamedImage(str(Reference.parse(value.removeprefix(_IMAGE))))
        except InvalidReference as error:
            raise OptionError(f"--build-context {text}: {error.message}") from error
    if value.startswith(LAYOUT):
        return NamedImage(value)
    if value.startswith(_OTHERS):
        raise OptionError(
            f"--build-context {text}: {value.partition(':')[0]}: is for bake files only"
        )
    try:
        remote = parse_remote(value)
    except RemoteNameError as error:
        raise OptionError(f"--build-context {text}: {error}") from error
    if remote is not None:
        return remote
    if not os.path.isdir(value):
        what = "is not a directory" if os.path.exists(value) else "not found"
        raise OptionError(f"--build-context {text}: path {value!r} {what}")
    return NamedDirectory(os.path.abspath(value))
