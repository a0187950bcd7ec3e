"""Files with credentials, as docker (config.json) and podman (auth.json) write them.

    {"auths": {"HOST[/PATH]": {"auth": base64 of USER:PASSWORD, "identitytoken": …}},
     "credHelpers": {"HOST": NAME}, "credsStore": NAME, …}

What else is in a file stays as it is.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from runtime.image import json_bytes
from runtime.image.errors import ArchiveError
from runtime.image.new_file import write_all
from runtime.image.reference import DEFAULT_DOMAIN, LEGACY_DEFAULT_DOMAIN
from runtime.image.registry.credential_helper import CredentialHelper
from runtime.image.registry.credentials import Login
from runtime.image.registry.errors import CredentialsError

_LIMIT: Final = 8 << 20
_DEFAULT_SERVER: Final = f"https://{LEGACY_DEFAULT_DOMAIN}/v1/"
"""How docker names the default registry in its files and to its helpers."""


class AuthFiles:
    """Files that are looked in, one after the other, and the one that is written to."""

    def __init__(self, paths: Sequence[str], write_to: str) -> None:
        self._paths = tuple(paths)
        self._write_to = write_to
        self._read: dict[str, Mapping[str, Any]] = {}

    def find(self, entry: str) -> Login | None:
        """The credentials for `host[:port][/path]`: of its longest part that has some."""
        for path in self._paths:
            found = _find(self._document(path), entry, path)
            if found is not None:
                return found
        return None

    def store(self, host: str, login: Login) -> str:
        """Keep credentials for a host; where they are now, for people to read.

        In the first file that has some for it, since that is looked in first.
        """
        known = (path for path in self._paths if _keys(self._document(path), host))
        path = next(known, self._write_to)
        with _rewritten(path) as document:
            helper = _helper(document, host)
            auths = _member(document, "auths", path)
            for key in _keys(document, host):
                del auths[key]
            if helper is None:
                auths[_server(host)] = _entry(login)
                where = path
            else:
                helper.store(_server(host), login)
                auths[_server(host)] = {}
                where = helper.program
        self._read.pop(path, None)
        return where

    def erase(self, host: str) -> bool:
        """Forget the credentials for a host in every file; whether there were any."""
        found = False
        for path in dict.fromkeys((*self._paths, self._write_to)):
            keys = _keys(self._document(path), host)
            helper = _helper(self._document(path), host)
            if helper is not None and helper.get(_server(host)) is not None:
                helper.erase(_server(host))
                found = True
            if keys:
                found = True
                with _rewritten(path) as document:
                    for key in _keys(document, host):
                        del document["auths"][key]
                self._read.pop(path, None)
        return found

    def _document(self, path: str) -> Mapping[str, Any]:
        if path not in self._read:
            self._read[path] = _read(path)
        return self._read[path]


def _find(document: Mapping[str, Any], entry: str, path: str) -> Login | None:
    host = entry.partition("/")[0]
    helper = document.get("credHelpers", {}).get(host)
    if helper is not None:
        return CredentialHelper(helper).get(_server(host))
    auths = {_normal(key): value for key, value in document.get("auths", {}).items()}
    place = entry
    while place:
        login = _login(auths.get(place, {}), place, path)
        if login is not None:
            return login
        place = place.rpartition("/")[0]
    store = document.get("credsStore")
    return CredentialHelper(store).get(_server(host)) if store else None


def _helper(document: Mapping[str, Any], host: str) -> CredentialHelper | None:
    name = document.get("credHelpers", {}).get(host) or document.get("credsStore")
    return CredentialHelper(name) if name else None


def _keys(document: Mapping[str, Any], host: str) -> list[str]:
    """The keys of a host's entries, however they are written."""
    return [key for key in document.get("auths", {}) if _normal(key) == host]


def _normal(key: str) -> str:
    """A key as references have it: docker's are addresses, podman's `host[/path]`."""
    scheme, found, rest = key.partition("://")
    if not found:
        rest = scheme
    host, slash, path = rest.partition("/")
    if host == LEGACY_DEFAULT_DOMAIN:
        return DEFAULT_DOMAIN
    return host if found or path.rstrip("/") in ("", "v1", "v2") else f"{host}{slash}{path}"


def _server(host: str) -> str:
    return _DEFAULT_SERVER if host == DEFAULT_DOMAIN else host


def _entry(login: Login) -> dict[str, str]:
    pair = f"{login.username}:{'' if login.identity_token else login.password}"
    entry = {"auth": base64.b64encode(pair.encode("utf-8", "surrogateescape")).decode()}
    if login.identity_token:
        entry["identitytoken"] = login.identity_token
    return entry


def _login(entry: Mapping[str, Any], place: str, path: str) -> Login | None:
    """The credentials of an entry; an empty one says that a helper has them."""
    what = f"the entry of {place}"
    try:
        members = json_bytes.as_object(entry, what)
        identity = json_bytes.string(members, "identitytoken", what)
        registry = json_bytes.string(members, "registrytoken", what)
        username = json_bytes.string(members, "username", what)
        password = json_bytes.string(members, "password", what)
        encoded = json_bytes.string(members, "auth", what)
        if encoded:
            pair = base64.b64decode(encoded, validate=True).decode("utf-8", "surrogateescape")
            username, colon, password = pair.partition(":")
            password = password.rstrip("\0")
            if not colon:
                raise ArchiveError(f"{what} holds no user name and password")
    except ArchiveError as error:
        raise CredentialsError(path, error.message) from error
    except binascii.Error as error:
        raise CredentialsError(path, f"{what} is not base64") from error
    if not (identity or registry or username or password):
        return None
    return Login(
        username=username, password=password, identity_token=identity, registry_token=registry
    )


def _read(path: str) -> Mapping[str, Any]:
    """The document of a file, its known members checked; empty if there is none."""
    try:
        with open(path, "rb") as file:
            data = file.read(_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise CredentialsError(path, error.strerror or str(error)) from error
    if not data.strip():
        return {}
    try:
        if len(data) > _LIMIT:
            raise ArchiveError(f"it is longer than {_LIMIT} bytes")
        document = json_bytes.as_object(json_bytes.parse(data, "it"), "it")
        json_bytes.as_object(document.get("auths"), "auths")
        json_bytes.string(document, "credsStore", "it")
        helpers = json_bytes.as_object(document.get("credHelpers"), "credHelpers")
        for host in helpers:
            json_bytes.string(helpers, host, "credHelpers")
    except ArchiveError as error:
        raise CredentialsError(path, error.message) from error
    return {name: value for name, value in document.items() if value is not None}


def _member(document: dict[str, Any], name: str, path: str) -> dict[str, Any]:
    member = document.setdefault(name, {})
    if not isinstance(member, dict):
        raise CredentialsError(path, f"{name} is no object")
    return member


@contextmanager
def _rewritten(path: str) -> Iterator[dict[str, Any]]:
    """The document of a file, to be changed: then the file holds it, for its owner's eyes only.

    Whoever does this at the same time waits. On failure the file is as it was.
    """
    path = os.path.realpath(path)
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        document = dict(_read(path))
        yield document
        temporary = f"{path}.{os.urandom(6).hex()}"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, json.dumps(document, indent="\t").encode() + b"\n")
            os.fsync(fd)
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        finally:
            os.close(fd)
    finally:
        os.close(lock)
