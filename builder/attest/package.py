"""A package as it was found in an image, and its name for the rest of the world.

Package URLs by the purl specification: `pkg:TYPE/NAMESPACE/NAME@VERSION?QUALIFIERS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

PackageKind = Literal["apk", "deb", "npm", "pypi", "rpm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """What an image's operating system says of itself (os-release(5))."""

    id: str
    version: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Package:
    """One installed package. What is not known is empty; `place` is the file that told of it."""

    kind: PackageKind
    name: str
    version: str
    place: str
    architecture: str = ""
    license: str = ""
    supplier: str = ""
    homepage: str = ""
    source: str = ""


def package_url(package: Package, distribution: Distribution | None) -> str:
    """The package's purl; of distributions' packages it says which distribution it is of."""
    name, qualifiers = package.name, {}
    namespace = ""
    match package.kind:
        case "apk" | "deb" | "rpm":
            namespace = distribution.id if distribution else ""
            if package.architecture:
                qualifiers["arch"] = package.architecture
            if distribution and distribution.version:
                qualifiers["distro"] = f"{distribution.id}-{distribution.version}"
            if package.kind == "rpm" and ":" in package.version:
                qualifiers["epoch"] = package.version.partition(":")[0]
        case "npm":
            namespace, slash, rest = package.name.partition("/")
            namespace, name = (namespace, rest) if slash else ("", package.name)
        case "pypi":
            name = package.name.lower().replace("_", "-")
    version = package.version.rpartition(":")[2] if package.kind == "rpm" else package.version
    path = "/".join(_quoted(part) for part in (namespace, name) if part)
    text = f"pkg:{package.kind}/{path}"
    if version:
        text += f"@{_quoted(version)}"
    if qualifiers:
        text += "?" + "&".join(f"{key}={_quoted(qualifiers[key])}" for key in sorted(qualifiers))
    return text


def _quoted(text: str) -> str:
    return quote(text, safe=":")
