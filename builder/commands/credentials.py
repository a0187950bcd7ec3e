"""`--secret`, `--ssh` and `--ca`: what steps may use, and what fetching may need."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from builder.errors import OptionError

if TYPE_CHECKING:  # Imported by what fetches.
    from builder.sources.downloads import Credentials

_SECRET_HINT = "id=ID,src=FILE or id=ID,env=NAME"
_SECRET_TYPES = ("file", "env")


def credentials(options: Mapping[str, Any]) -> Credentials:
    """What may be needed for a context: for it, the user's own agent is the user's."""
    from builder.sources.downloads import Credentials

    return Credentials(
        secrets=secrets(options["secrets"]),
        authorities=authorities(options["authorities"]),
        agent=agents(options["ssh"]).get("default") or os.environ.get("SSH_AUTH_SOCK"),
    )


def authorities(path: str | None) -> bytes | None:
    """The certificates of `--ca`."""
    if not path:
        return None
    from builder.execution.authorities import read_authorities

    return read_authorities(path)


def agents(values: tuple[str, ...]) -> dict[str, str]:
    """The sockets of `--ssh`: `default` alone is the agent of $SSH_AUTH_SOCK."""
    found: dict[str, str] = {}
    for text in values:
        name, equals, socket = text.partition("=")
        if not equals:
            socket = os.environ.get("SSH_AUTH_SOCK", "")
            if not socket:
                raise OptionError(
                    f"--ssh {text}: no agent is running", hint="SSH_AUTH_SOCK is not set"
                )
        if not name or "," in text:
            raise OptionError(f"invalid --ssh {text!r}", hint="default or ID=SOCKET")
        try:
            mode = os.stat(socket).st_mode
        except OSError as error:
            raise OptionError(f"--ssh {text}: {socket}: {error.strerror}") from error
        if not stat.S_ISSOCK(mode):
            raise OptionError(
                f"--ssh {text}: {socket} is no agent's socket",
                hint="key files are not taken: add them to an agent with ssh-add",
            )
        found[name] = os.path.abspath(socket)
    return found


def secrets(values: tuple[str, ...]) -> dict[str, bytes]:
    """The value of each `--secret`; it is read once, before anything runs."""
    return dict(_secret(text) for text in values)


def _secret(text: str) -> tuple[str, bytes]:
    import csv

    options = dict(part.partition("=")[::2] for part in next(csv.reader([text]), []))
    name, kind = options.get("id", ""), options.get("type")
    unknown = set(options) - {"id", "src", "source", "env", "type"}
    if unknown or not name or kind not in (None, *_SECRET_TYPES):
        raise OptionError(f"invalid --secret {text!r}", hint=_SECRET_HINT)
    path = options.get("src") or options.get("source")
    variable = options.get("env")
    if kind == "env" and path:
        path, variable = None, path
    if not path and not variable:
        from_environment = kind == "env" or (kind is None and name in os.environ)
        variable, path = (name, None) if from_environment else (None, name)
    if path is not None:
        with open(os.path.expanduser(path), "rb") as file:
            return name, file.read()
    value = os.environ.get(variable or "")
    if value is None:
        raise OptionError(f"--secret {text}: the variable {variable} is not set")
    return name, os.fsencode(value)
