"""Image names, by Docker's rules.

    reference := [domain "/"] path [":" tag] ["@" digest]

A name without a domain belongs to Docker's hub, one without a namespace there to `library`, one
with neither tag nor digest means `:latest` (the grammar and its normalisation: distribution's
`reference` package). A `Reference` is always the whole, normalised form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from runtime.image.digest import Digest
from runtime.image.digest import parse as parse_digest
from runtime.image.errors import InvalidDigest, InvalidReference

DEFAULT_DOMAIN: Final = "docker.io"
DEFAULT_TAG: Final = "latest"
LEGACY_DEFAULT_DOMAIN: Final = "index.docker.io"
"""What the default domain was called; other tools still keep its credentials under this name."""
_OFFICIAL: Final = "library/"
_LENGTH_LIMIT: Final = 255

_HOST_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(
    rf"(?:{_HOST_LABEL}(?:\.{_HOST_LABEL})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?", re.ASCII
)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_IDENTIFIER = re.compile(r"[a-f0-9]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A normalised image name. Made by `Reference.parse`; the parts are taken as they are."""

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a name as users write it; `InvalidReference` says what is wrong with it."""
        if not text:
            raise InvalidReference(text, "it is empty")
        if _IDENTIFIER.fullmatch(text):
            raise InvalidReference(text, "64 hexadecimal digits are an image ID, not a name")
        domain, rest = _split_domain(text)
        rest, digest = _split_digest(text, rest)
        path, colon, tag = rest.partition(":")
        _check_name(text, domain, path)
        if colon and not _TAG.fullmatch(tag):
            raise InvalidReference(text, _tag_fault(tag))
        if not colon and digest is None:
            tag = DEFAULT_TAG
        return cls(domain=domain, path=path, tag=tag or None, digest=digest)

    @property
    def repository(self) -> str:
        """The name without tag and digest, in full: what a registry knows it by."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_repository(self) -> str:
        """The name without tag and digest, as short as users write it."""
        if self.domain != DEFAULT_DOMAIN:
            return self.repository
        short = self.path.removeprefix(_OFFICIAL)
        # library/a/b has to keep its prefix: a/b is another repository.
        if "/" in short and short != self.path:
            return self.path
        if _IDENTIFIER.fullmatch(short) or _split_domain(short) != (self.domain, self.path):
            return self.repository
        return short

    def familiar(self) -> str:
        """The shortest text that `parse` reads as this reference."""
        tag = None if self.tag == DEFAULT_TAG and self.digest is None else self.tag
        return _assemble(self.familiar_repository, tag, self.digest)

    def tagged(self) -> str:
        """The short form with its tag, as Docker's archives and listings show it."""
        return _assemble(self.familiar_repository, self.tag, self.digest)

    def __str__(self) -> str:
        return _assemble(self.repository, self.tag, self.digest)


def _assemble(repository: str, tag: str | None, digest: Digest | None) -> str:
    text = repository
    if tag is not None:
        text += f":{tag}"
    if digest is not None:
        text += f"@{digest}"
    return text


def _split_domain(text: str) -> tuple[str, str]:
    """Docker's rule: the first component is a domain if it could not be a path component."""
    first, slash, rest = text.partition("/")
    is_domain = slash and (
        first == "localhost" or "." in first or ":" in first or first.lower() != first
    )
    if not is_domain:
        first, rest = DEFAULT_DOMAIN, text
    if first == LEGACY_DEFAULT_DOMAIN:
        first = DEFAULT_DOMAIN
    if first == DEFAULT_DOMAIN and "/" not in rest:
        rest = _OFFICIAL + rest
    return first, rest


def _split_digest(text: str, rest: str) -> tuple[str, Digest | None]:
    rest, at, digest = rest.partition("@")
    if not at:
        return rest, None
    try:
        return rest, parse_digest(digest)
    except InvalidDigest as error:
        raise InvalidReference(text, error.message) from error


def _check_name(text: str, domain: str, path: str) -> None:
    if not _DOMAIN.fullmatch(domain):
        raise InvalidReference(text, f"{domain!r} is not a host name with an optional port")
    if path.lower() != path:
        raise InvalidReference(text, f"repository name ({path}) must be lowercase")
    if not path.removeprefix(_OFFICIAL) and domain == DEFAULT_DOMAIN:
        raise InvalidReference(text, "it has no repository name")
    if not _PATH.fullmatch(path):
        raise InvalidReference(text, f"{_faulty_component(path)!r} is not a path component")
    if len(path) > _LENGTH_LIMIT:
        raise InvalidReference(text, f"repository name is longer than {_LENGTH_LIMIT} characters")


def _faulty_component(path: str) -> str:
    return next(
        (part for part in path.split("/") if not re.fullmatch(_COMPONENT, part, re.ASCII)), path
    )


def _tag_fault(tag: str) -> str:
    if not tag:
        return "the tag after the colon is empty"
    if len(tag) > 128:
        return "the tag is longer than 128 characters"
    return f"{tag!r} is not a tag: letters, digits, and after the first character . and -"
