"""registries.toml: how registries are reached.

    [registries."registry.example.com:5000"]
    http = true                 plain HTTP (false: HTTPS even on loopback)
    insecure = true             any certificate, and plain HTTP where there is no HTTPS
    ca = "FILE"                 its certificate authority (PEM); relative to this file
    client-cert = "FILE"        who we are, to a server that asks for it (PEM)
    client-key = "FILE"         its key, if that is not in the same file
    mirrors = ["mirror.example.com:5000/prefix"]    asked before it when pulling
    blocked = true              it is asked for nothing, nor are its mirrors
    credentials = "host/path"   whose entry in the auth files is used; "none" for none

A host's table in the later of two files replaces its table in the earlier one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

from runtime.image.errors import InvalidReference
from runtime.image.reference import DEFAULT_DOMAIN, LEGACY_DEFAULT_DOMAIN, Reference
from runtime.image.registry.errors import ConfigurationError

ANONYMOUS: Final = "none"
"""In place of an auth file's entry: no credentials are used."""
_LONGEST_FILE: Final = 1 << 20
_SWITCHES: Final = ("http", "insecure", "blocked")
_FILES: Final = ("ca", "client-cert", "client-key")
_KEYS: Final = (*_SWITCHES, *_FILES, "mirrors", "credentials")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """How one registry is reached; `http` is `None` where the file does not say."""

    http: bool | None = None
    insecure: bool = False
    blocked: bool = False
    ca: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    mirrors: tuple[str, ...] = ()
    credentials: str | None = None


_USUAL: Final = HostSettings()


@dataclass(frozen=True, slots=True)
class Registries:
    """The settings of the registries that have some."""

    hosts: Mapping[str, HostSettings] = field(default_factory=dict)

    def settings(self, host: str) -> HostSettings:
        """Of `host[:port]`, by the name that image references have."""
        return self.hosts.get(host, _USUAL)


def read_registries(paths: Iterable[str]) -> Registries:
    """Read the files that exist, the later ones over the earlier; `ConfigurationError`."""
    hosts: dict[str, HostSettings] = {}
    for path in paths:
        try:
            with open(path, "rb") as file:
                data = file.read(_LONGEST_FILE + 1)
        except FileNotFoundError:
            continue
        if len(data) > _LONGEST_FILE:
            raise ConfigurationError(path, f"it is longer than {_LONGEST_FILE} bytes")
        hosts.update(parse_registries(data, path))
    return Registries(hosts)


def parse_registries(data: bytes, path: str) -> dict[str, HostSettings]:
    """The hosts of one file; `ConfigurationError` names what is wrong, and where."""
    import tomllib

    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(path, f"it is no TOML: {error}") from error
    for key in document:
        if key != "registries":
            raise ConfigurationError(
                path, f"unknown key {key!r}", hint='tables are named [registries."HOST"]'
            )
    tables = document.get("registries", {})
    if not isinstance(tables, dict):
        raise ConfigurationError(path, "registries is not a table")
    return {_host(name, path): _settings(name, table, path) for name, table in tables.items()}


def _host(name: str, path: str) -> str:
    if name == LEGACY_DEFAULT_DOMAIN:
        return DEFAULT_DOMAIN
    try:
        reference = Reference.parse(f"{name}/x/x")
    except InvalidReference:
        reference = None
    if reference is None or reference.domain != name:
        hint = None
        if "://" in name:
            hint = "without a scheme: http = true says that it is plain HTTP"
        raise ConfigurationError(path, f"registries: {name!r} is not a host", hint=hint)
    return name


def _settings(name: str, table: Any, path: str) -> HostSettings:
    where = f'[registries."{name}"]'
    if not isinstance(table, dict):
        raise ConfigurationError(path, f"{where} is not a table")
    for key, value in table.items():
        _check(key, value, where, path)
    files = {key: _beside(path, table[key]) for key in _FILES if key in table}
    if "client-key" in files and "client-cert" not in files:
        raise ConfigurationError(path, f"{where}: client-key without client-cert")
    if table.get("http") and (files or table.get("insecure")):
        raise ConfigurationError(path, f"{where}: http = true leaves no certificates to speak of")
    return HostSettings(
        http=table.get("http"),
        insecure=table.get("insecure", False),
        blocked=table.get("blocked", False),
        ca=files.get("ca"),
        client_cert=files.get("client-cert"),
        client_key=files.get("client-key"),
        mirrors=tuple(table.get("mirrors", ())),
        credentials=table.get("credentials"),
    )


def _check(key: str, value: Any, where: str, path: str) -> None:
    if key not in _KEYS:
        near = get_close_matches(key, _KEYS, 1)
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(_KEYS)}"
        raise ConfigurationError(path, f"{where}: unknown key {key!r}", hint=hint)
    if key in _SWITCHES:
        right, what = isinstance(value, bool), "true or false"
    elif key == "mirrors":
        right = isinstance(value, list) and all(map(_is_mirror, value))
        what = "a list of HOST[:PORT][/PATH], without a scheme"
    else:
        right, what = isinstance(value, str) and value != "", "a text"
    if not right:
        raise ConfigurationError(path, f"{where}: {key} has to be {what}")


def _is_mirror(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return Reference.parse(f"{value}/x/x").domain == value.partition("/")[0]
    except InvalidReference:
        return False


def _beside(path: str, name: str) -> str:
    return os.path.join(os.path.dirname(os.path.abspath(path)), name)
