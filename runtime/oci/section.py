"""A config.json being read: every member by its type, and errors that say where it is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from runtime.errors import ContainerError


class InvalidConfig(ContainerError):
    """A config.json that cannot be run: where in it, and why."""

    def __init__(self, place: str, why: str, *, hint: str | None = None) -> None:
        super().__init__(f"config.json: {place or 'the document'}: {why}", hint=hint)
        self.place = place


class Section:
    """An object of the document; `place` is the path to it, as `linux.resources`.

    What is missing, or null, is empty. Members that nobody asked for are `unread`.
    """

    def __init__(self, members: Any, place: str = "") -> None:
        if members is None:
            members = {}
        if not isinstance(members, Mapping):
            raise InvalidConfig(place, "it is no object")
        self.place = place
        self.members: Mapping[str, Any] = members
        self._read: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self.members)

    def __contains__(self, name: str) -> bool:
        return self.members.get(name) is not None

    @property
    def unread(self) -> tuple[str, ...]:
        """The paths of members that are there and have not been asked for."""
        return tuple(self.path(name) for name in self.members if name not in self._read)

    def path(self, name: str) -> str:
        return f"{self.place}.{name}" if self.place else name

    def section(self, name: str) -> Section:
        return Section(self._get(name), self.path(name))

    def sections(self, name: str) -> Iterator[Section]:
        """The objects of an array."""
        for number, each in enumerate(self._list(name)):
            yield Section(each, f"{self.path(name)}[{number}]")

    def text(self, name: str, default: str = "") -> str:
        value = self._get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.wrong(name, "it is no string")
        if "\0" in value:
            raise self.wrong(name, "it has a NUL in it")
        return value

    def needed(self, name: str) -> str:
        """A string that must be there and not empty."""
        value = self.text(name)
        if not value:
            raise self.wrong(name, "it is missing")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        values = self._list(name)
        for number, value in enumerate(values):
            if not isinstance(value, str) or "\0" in value:
                raise self.wrong(f"{name}[{number}]", "it is no string without a NUL")
        return tuple(values)

    def number(self, name: str, default: int | None = None) -> int | None:
        value = self._get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong(name, "it is no whole number")
        return value

    def numbers(self, name: str) -> tuple[int, ...]:
        values = self._list(name)
        for number, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, int):
                raise self.wrong(f"{name}[{number}]", "it is no whole number")
        return tuple(values)

    def id(self, name: str) -> int:
        """A number that a user or group can have; 0 if it is missing."""
        value = self.number(name, 0)
        assert value is not None
        if not 0 <= value < (1 << 32) - 1:
            raise self.wrong(name, f"{value} is no ID")
        return value

    def flag(self, name: str) -> bool:
        value = self._get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.wrong(name, "it is neither true nor false")
        return value

    def table(self, name: str) -> dict[str, str]:
        """An object of strings."""
        section = self.section(name)
        return {key: section.text(key) for key in section.members}

    def wrong(self, name: str, why: str, *, hint: str | None = None) -> InvalidConfig:
        """The error for a member, to be raised."""
        return InvalidConfig(self.path(name), why, hint=hint)

    def _get(self, name: str) -> Any:
        self._read.add(name)
        return self.members.get(name)

    def _list(self, name: str) -> list[Any]:
        value = self._get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.wrong(name, "it is no array")
        return value
