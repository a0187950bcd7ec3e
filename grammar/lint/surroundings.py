"""What a Dockerfile alone does not say: base images, build arguments, ignored files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from grammar.dockerignore import Patterns

_PLATFORM = {"PLATFORM": "linux/amd64", "OS": "linux", "OSVERSION": "", "ARCH": "amd64"}

AUTOMATIC: Mapping[str, str] = {
    **{
        f"{side}{part}": value
        for side in ("TARGET", "BUILD")
        for part, value in (*_PLATFORM.items(), ("VARIANT", ""))
    },
    "TARGETSTAGE": "default",
}
"""The arguments that need no ARG before the first FROM, with values for where none are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """What an image brings into a stage. `platform` is `os/architecture[/variant]`, or empty."""

    env: tuple[tuple[str, str], ...] = ()
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()
    platform: str = ""


def _no_image(_name: str) -> BaseImage | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What is known besides the text.

    `find_base` gives what is known of the image of that name, `None` where nothing is: then
    variables may come from it, and only those that look misspelt are undefined. `ignored` are
    the patterns of the context's ignore file. `automatic` are the platform arguments.
    """

    build_args: Mapping[str, str] = field(default_factory=dict)
    automatic: Mapping[str, str] = field(default_factory=lambda: dict(AUTOMATIC))
    find_base: Callable[[str], BaseImage | None] = _no_image
    ignored: Patterns | None = None
