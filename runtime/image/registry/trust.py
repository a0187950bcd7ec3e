"""policy.toml: which images are believed when they are pulled.

    default = "accept"                      of what no rule is for; or "reject"

    [[rule]]
    name = "registry.example.com/team"      a repository, or what it is below; the longest counts
    keys = ["team.pub"]                     one of these (PEM) has signed; relative to this file
    signed-as = "registry.example.com/x"    under which name, if it was copied from there
    [[rule]]
    name = "registry.example.com/other"
    reject = true                           or accept = true

What several files say all has to hold: nobody's own file weakens the machine's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from runtime.image.errors import InvalidReference
from runtime.image.reference import Reference
from runtime.image.registry.errors import ConfigurationError

_LONGEST_FILE: Final = 1 << 20
_LONGEST_KEY: Final = 1 << 16
_KEYS: Final = ("name", "keys", "signed-as", "accept", "reject")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is asked of images below a name: nothing, to be signed, or not to be pulled at all.

    `keys` are PEM by the paths they come from; `signed_as` is the repository in the signature.
    """

    name: str
    place: str
    reject: bool = False
    keys: tuple[tuple[str, bytes], ...] = ()
    signed_as: str = ""

    def is_for(self, repository: str) -> bool:
        """Whether a repository is that one, or below it."""
        return not self.name or repository == self.name or repository.startswith(self.name + "/")


@dataclass(frozen=True, slots=True)
class Trust:
    """The rules of each policy file."""

    files: tuple[tuple[Rule, ...], ...] = ()

    def rules(self, repository: str) -> tuple[Rule, ...]:
        """The rules that hold for a repository, one of each file that has one."""
        found = []
        for rules in self.files:
            fitting = [rule for rule in rules if rule.is_for(repository)]
            if fitting:
                found.append(max(fitting, key=lambda rule: len(rule.name)))
        return tuple(rule for rule in found if rule.reject or rule.keys)


def read_trust(paths: Iterable[str]) -> Trust:
    """Read the files that exist; `ConfigurationError`."""
    files = []
    for path in paths:
        try:
            with open(path, "rb") as file:
                data = file.read(_LONGEST_FILE + 1)
        except FileNotFoundError:
            continue
        if len(data) > _LONGEST_FILE:
            raise ConfigurationError(path, f"it is longer than {_LONGEST_FILE} bytes")
        files.append(parse_trust(data, path))
    return Trust(tuple(files))


def parse_trust(data: bytes, path: str) -> tuple[Rule, ...]:
    """The rules of one file; `ConfigurationError` names what is wrong, and where."""
    import tomllib

    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(path, f"it is no TOML: {error}") from error
    for key in document:
        if key not in ("default", "rule"):
            raise ConfigurationError(path, f"unknown key {key!r}", hint="default, or [[rule]]")
    default = document.get("default", "accept")
    if default not in ("accept", "reject"):
        raise ConfigurationError(path, 'default has to be "accept" or "reject"')
    tables = document.get("rule", [])
    if not isinstance(tables, list):
        raise ConfigurationError(path, "rules are written [[rule]]")
    rules = [_rule(table, path) for table in tables]
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(path, f"there are two rules for {name}")
    return (Rule(name="", place=path, reject=default == "reject"), *rules)


def _rule(table: Any, path: str) -> Rule:
    if not isinstance(table, dict):
        raise ConfigurationError(path, "rules are written [[rule]]")
    name = table.get("name")
    if not isinstance(name, str) or not name:
        raise ConfigurationError(path, "a rule needs a name")
    where = f"the rule for {name}"
    for key in table:
        if key not in _KEYS:
            raise ConfigurationError(path, f"{where}: unknown key {key!r}")
    said = [key for key in ("keys", "accept", "reject") if table.get(key)]
    if len(said) != 1:
        raise ConfigurationError(path, f"{where} needs one of keys, accept and reject")
    keys = table.get("keys", [])
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ConfigurationError(path, f"{where}: keys has to be a list of files")
    for key in ("accept", "reject"):
        if not isinstance(table.get(key, True), bool):
            raise ConfigurationError(path, f"{where}: {key} has to be true or false")
    signed_as = table.get("signed-as", "")
    if not isinstance(signed_as, str) or (signed_as and not keys):
        raise ConfigurationError(path, f"{where}: signed-as goes with keys, and is a name")
    return Rule(
        name=_repository(name, path, where),
        place=path,
        reject=bool(table.get("reject")),
        keys=tuple(_key(path, key) for key in keys),
        signed_as=_repository(signed_as, path, where) if signed_as else "",
    )


def _repository(name: str, path: str, where: str) -> str:
    """A name of a registry or a repository, in full."""
    name = name.rstrip("/")
    try:
        if "/" not in name and Reference.parse(f"{name}/x/x").domain == name:
            return name
        reference = Reference.parse(name)
    except InvalidReference as error:
        raise ConfigurationError(path, f"{where}: {error.message}") from error
    if reference.digest is not None or ":" in name.rpartition("/")[2]:
        raise ConfigurationError(path, f"{where}: a rule is for repositories, not for tags")
    return reference.repository


def _key(path: str, name: str) -> tuple[str, bytes]:
    found = os.path.join(os.path.dirname(os.path.abspath(path)), name)
    try:
        with open(found, "rb") as file:
            return found, file.read(_LONGEST_KEY)
    except OSError as error:
        raise ConfigurationError(path, f"the key {found}: {error.strerror}") from error
