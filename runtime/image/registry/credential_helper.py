"""Programs that keep credentials: docker-credential-NAME (docker's credential helper protocol)."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Final, Literal

from runtime.image import json_bytes
from runtime.image.errors import ArchiveError
from runtime.image.registry.credentials import Login
from runtime.image.registry.errors import CredentialsError

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_NOT_FOUND: Final = "credentials not found"
_TOKEN_USER: Final = "<token>"
_SECONDS: Final = 120
"""It may ask the user for a passphrase."""


class CredentialHelper:
    """The program `docker-credential-NAME`; `CredentialsError` where it fails."""

    def __init__(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise CredentialsError(f"docker-credential-{name}", "that is no program's name")
        self.program = f"docker-credential-{name}"

    def get(self, server: str) -> Login | None:
        """The credentials for a server, if it has some."""
        answer = self._run("get", server)
        if answer is None:
            return None
        try:
            members = json_bytes.as_object(json_bytes.parse(answer, "its answer"), "its answer")
            username = json_bytes.string(members, "Username", "its answer")
            secret = json_bytes.string(members, "Secret", "its answer")
        except ArchiveError as error:
            raise CredentialsError(self.program, error.message) from error
        if username == _TOKEN_USER:
            return Login(identity_token=secret)
        return Login(username=username, password=secret) if username or secret else None

    def store(self, server: str, login: Login) -> None:
        """Keep credentials for a server."""
        token = login.identity_token
        document = {
            "ServerURL": server,
            "Username": _TOKEN_USER if token else login.username,
            "Secret": token or login.password,
        }
        self._run("store", json.dumps(document))

    def erase(self, server: str) -> None:
        """Forget those for a server."""
        self._run("erase", server)

    def _run(self, verb: Literal["get", "store", "erase"], given: str) -> bytes | None:
        try:
            process = subprocess.run(
                [self.program, verb],
                input=given.encode(),
                capture_output=True,
                timeout=_SECONDS,
            )
        except FileNotFoundError as error:
            raise CredentialsError(
                self.program, "it is not installed", hint="the auth file names it as its store"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise CredentialsError(self.program, f"no answer in {_SECONDS} s") from error
        if process.returncode == 0:
            return process.stdout
        said = (process.stdout + process.stderr).decode("utf-8", "replace").strip()
        if verb != "store" and _NOT_FOUND in said:
            return None
        raise CredentialsError(self.program, said or f"exit status {process.returncode}")
