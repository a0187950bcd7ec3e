"""lamina.toml: what holds for every command of a machine or a user.

    [store]
    max-size = "20GB"           what a build leaves the store at most; a number is bytes
    max-inodes = 2_000_000      the same in files, directories and links

Of two files the later one's keys count. A file that says anything else is refused: a limit that
is misspelt would be none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Final

from builder.errors import SettingsError
from builder.plan.units import parse_size

_LONGEST_FILE: Final = 1 << 20
_KEYS: Final = ("max-size", "max-inodes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the files say; `None` where they do not."""

    store_max_size: int | None = None
    store_max_inodes: int | None = None


def read_settings(paths: Iterable[str]) -> Settings:
    """The settings of the files that exist, the later ones over the earlier; `SettingsError`."""
    settings = Settings()
    for path in paths:
        try:
            with open(path, "rb") as file:
                data = file.read(_LONGEST_FILE + 1)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if len(data) > _LONGEST_FILE:
            raise SettingsError(path, 1, f"it is longer than {_LONGEST_FILE} bytes")
        settings = parse_settings(data, path, settings)
    return settings


def parse_settings(data: bytes, path: str, settings: Settings) -> Settings:
    """One file over other settings; `SettingsError` names what is wrong, and the line."""
    import tomllib

    try:
        text = data.decode()
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SettingsError(path, line, "it is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(path, _line_in(str(error)), f"it is no TOML: {error}") from error
    for key, table in document.items():
        line = _line_of(text, key)
        if key != "store":
            raise SettingsError(path, line, f"unknown table {key!r}", hint=_near(key, ("store",)))
        if not isinstance(table, dict):
            raise SettingsError(path, line, "store is not a table", hint="[store]")
        for name, value in table.items():
            settings = _with(settings, name, value, path, _line_of(text, name))
    return settings


def _with(settings: Settings, name: str, value: Any, path: str, line: int) -> Settings:
    match name:
        case "max-size":
            return replace(settings, store_max_size=_size(value, path, line))
        case "max-inodes":
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise SettingsError(path, line, f"[store] max-inodes is no number: {value!r}")
            return replace(settings, store_max_inodes=value)
        case _:
            why = f"[store]: unknown key {name!r}"
            raise SettingsError(path, line, why, hint=_near(name, _KEYS))


def _size(value: Any, path: str, line: int) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        try:
            return parse_size(value)
        except ValueError:
            pass
    raise SettingsError(path, line, f"[store] max-size is no size: {value!r}", hint='"20GB"')


def _near(key: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(key, known, 1)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"


def _line_of(text: str, key: str) -> int:
    """The first line that looks as if it set a key; 1 if none does."""
    written = re.compile(rf"\s*\[?\s*(\"|'|)(\w+\s*\.\s*)?{re.escape(key)}\1\s*[].=]")
    for number, line in enumerate(text.splitlines(), 1):
        if written.match(line):
            return number
    return 1


def _line_in(message: str) -> int:
    """The line that a parser's message names."""
    found = re.search(r"line (\d+)", message)
    return int(found[1]) if found else 1
