"""`# syntax=`: the image that would read the Dockerfile. Here, the language is built in.

Docker's own (`docker/dockerfile`, of any version, from any mirror) is what is built in. Another
may be for another language: that is said before its Dockerfile is read as if it were this one.
"""

from __future__ import annotations

from collections.abc import Mapping

from grammar.nodes import Dockerfile

_OURS = ("docker/dockerfile", "docker/dockerfile-upstream")
_ARGUMENT = "BUILDKIT_SYNTAX"


def foreign_syntax(dockerfile: Dockerfile, build_args: Mapping[str, str]) -> str | None:
    """The frontend that is asked for, where it is none whose language is built in."""
    written = build_args.get(_ARGUMENT) or dict(dockerfile.directives).get("syntax", "")
    image = written.split(" ")[0]
    name = image.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    name = folder + slash + last.partition(":")[0]
    if not image or name == "dockerfile.v0":
        return None
    return None if any(name == o or name.endswith("/" + o) for o in _OURS) else image
