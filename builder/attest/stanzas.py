"""Files of paragraphs with fields: dpkg's status, apk's database, Python's metadata.

All of them come out of images: what is not of the form is passed over, and nothing is believed
but text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from builder.attest.package import Distribution, Package

_MOST_FIELD = 4096


def dpkg_packages(text: str, place: str) -> Iterator[Package]:
    """What dpkg's `status` says is installed (deb-control(5), dpkg(1))."""
    for fields in _paragraphs(text):
        state = fields.get("status", "install ok installed").split()
        name, version = fields.get("package", ""), fields.get("version", "")
        if name and version and state[-1:] == ["installed"]:
            yield Package(
                kind="deb",
                name=name,
                version=version,
                place=place,
                architecture=fields.get("architecture", ""),
                supplier=fields.get("maintainer", ""),
                homepage=fields.get("homepage", ""),
                source=fields.get("source", "").partition(" ")[0],
            )


def apk_packages(text: str, place: str) -> Iterator[Package]:
    """What apk's `installed` says (its one-letter fields)."""
    for fields in _paragraphs(text, fold=False):
        if fields.get("P") and fields.get("V"):
            yield Package(
                kind="apk",
                name=fields["P"],
                version=fields["V"],
                place=place,
                architecture=fields.get("A", ""),
                license=fields.get("L", ""),
                supplier=fields.get("m", ""),
                homepage=fields.get("U", ""),
                source=fields.get("o", ""),
            )


def python_package(text: str, place: str) -> Package | None:
    """What a `METADATA` or `PKG-INFO` says (core metadata); `None` if it names nothing."""
    fields = next(_paragraphs(text), {})
    name, version = fields.get("name", ""), fields.get("version", "")
    if not name or not version:
        return None
    license = fields.get("license-expression") or fields.get("license", "")
    return Package(
        kind="pypi",
        name=name,
        version=version,
        place=place,
        license="" if license == "UNKNOWN" else license,
        supplier=fields.get("author-email") or fields.get("author", ""),
        homepage=fields.get("home-page", ""),
    )


def distribution(text: str) -> Distribution | None:
    """What an `os-release` says."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            fields[name] = value.strip("\"'")
    if not fields.get("ID"):
        return None
    return Distribution(
        id=fields["ID"],
        version=fields.get("VERSION_ID", ""),
        name=fields.get("PRETTY_NAME", "") or fields.get("NAME", ""),
    )


def _paragraphs(text: str, *, fold: bool = True) -> Iterator[Mapping[str, str]]:
    """The fields of each paragraph, the first line of each; names in lower case if `fold`."""
    fields: dict[str, str] = {}
    # Not splitlines: a form feed in a description is no end of a line.
    for line in text.split("\n"):
        line = line.rstrip("\r")
        if not line:
            if fields:
                yield fields
            fields = {}
            continue
        name, colon, value = line.partition(":")
        if colon and not line[0].isspace():
            fields.setdefault(name.lower() if fold else name, value.strip()[:_MOST_FIELD])
    if fields:
        yield fields
