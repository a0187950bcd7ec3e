"""ARG and ENV: what is visible where (dockerfile.md 1.4).

`Scope` is a stage's: what its variables expand to and what its commands see. It is a value;
each change gives a new one, so that a stage that starts from another cannot disturb it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
"""Arguments that need no ARG, and are no part of what a command's result depends on."""

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The variables of a stage at one point of it.

    `variables` is what `$NAME` expands to and what a command sees: the image's environment,
    then ENV and ARG in the order they were given. `arguments` are the ARGs with a value.
    """

    variables: Pairs = ()
    arguments: Pairs = ()

    def with_env(self, pairs: Pairs) -> Scope:
        """After an ENV."""
        return replace(self, variables=updated(self.variables, pairs))

    def with_argument(self, name: str, value: str | None) -> Scope:
        """After an ARG; without a value nothing changes."""
        if value is None:
            return self
        pair = ((name, value),)
        return Scope(
            variables=updated(self.variables, pair), arguments=updated(self.arguments, pair)
        )


def updated(pairs: Pairs, changes: Pairs) -> Pairs:
    """`pairs` with `changes` applied; a name that is there keeps its place."""
    merged = dict(pairs)
    merged.update(changes)
    return tuple(merged.items())


def proxy_variables(build_args: Mapping[str, str], declared: Pairs) -> Pairs:
    """The proxy settings to pass to a command, in both cases, but for those an ARG declares."""
    names = dict(declared)
    found: dict[str, str] = {}
    for name in PROXIES:
        for spelling in (name, name.lower()):
            if spelling in build_args and spelling not in names:
                found.setdefault(name, build_args[spelling])
    both = [(spelling, value) for name, value in found.items() for spelling in (name, name.lower())]
    return tuple(pair for pair in both if pair[0] not in names)


def platform_arguments(
    *, target: tuple[str, str, str], build: tuple[str, str, str], stage: str
) -> dict[str, str]:
    """The automatic global arguments; a platform is (os, architecture, variant)."""
    arguments: dict[str, str] = {}
    for prefix, (system, architecture, variant) in (("TARGET", target), ("BUILD", build)):
        whole = "/".join(part for part in (system, architecture, variant) if part)
        arguments |= {
            f"{prefix}PLATFORM": whole,
            f"{prefix}OS": system,
            f"{prefix}OSVERSION": "",
            f"{prefix}ARCH": architecture,
            f"{prefix}VARIANT": variant,
        }
    return {**arguments, "TARGETSTAGE": stage}
