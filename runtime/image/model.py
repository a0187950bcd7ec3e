"""What an image says about itself, as values (OCI image-spec, config.md; Docker's additions).

Fields this module does not know are kept in `unknown`, so that an image derived from another
loses nothing; members that are empty are left out when written. A config that came from
elsewhere is never written again as it is: the store keeps its bytes, and so its digest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from runtime.image import json_bytes
from runtime.image.digest import DiffID
from runtime.image.digest import parse as parse_digest
from runtime.image.errors import ArchiveError, InvalidDigest
from runtime.image.json_bytes import Json
from runtime.image.manifest import Descriptor, Index, Manifest
from runtime.image.platform import Platform

__all__ = [
    "Descriptor",
    "Healthcheck",
    "History",
    "ImageConfig",
    "Index",
    "Manifest",
    "RuntimeConfig",
    "Unknown",
    "rfc3339",
    "unix_seconds",
]

Unknown = tuple[tuple[str, bytes], ...]
"""Members without a field: name and canonical JSON, sorted by name."""

_DOCUMENT: Final = "image config"
_FIRST_SECOND: Final = -62135596800
_LAST_SECOND: Final = 253402300799


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck:
    """How a container is asked whether it is well. Times in nanoseconds; 0 means inherit."""

    test: tuple[str, ...] = ()
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0
    unknown: Unknown = ()

    @classmethod
    def from_json(cls, value: Json) -> Healthcheck:
        what = f"{_DOCUMENT}: Healthcheck"
        members = json_bytes.as_object(value, what)
        return cls(
            test=json_bytes.as_strings(members.get("Test"), f"{what}: Test"),
            interval_ns=json_bytes.integer(members, "Interval", what),
            timeout_ns=json_bytes.integer(members, "Timeout", what),
            start_period_ns=json_bytes.integer(members, "StartPeriod", what),
            start_interval_ns=json_bytes.integer(members, "StartInterval", what),
            retries=json_bytes.integer(members, "Retries", what),
            unknown=_unknown(members, _HEALTHCHECK_MEMBERS),
        )

    def to_json(self) -> dict[str, Json]:
        return _without_empty(
            {
                "Test": self.test,
                "Interval": self.interval_ns,
                "Timeout": self.timeout_ns,
                "StartPeriod": self.start_period_ns,
                "StartInterval": self.start_interval_ns,
                "Retries": self.retries,
            },
            self.unknown,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """How a container of the image starts: the `config` member of an image's config.

    `env` is in order, a name may come twice. `labels`, `exposed_ports` and `volumes` are sorted:
    they are objects in the document. `None` and `()` are the same when written.
    """

    user: str = ""
    env: tuple[tuple[str, str], ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    working_dir: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    shell: tuple[str, ...] | None = None
    on_build: tuple[str, ...] = ()
    args_escaped: bool = False
    unknown: Unknown = ()

    @classmethod
    def from_json(cls, value: Json) -> RuntimeConfig:
        members = json_bytes.as_object(value, f"{_DOCUMENT}: config")
        env = _strings(members, "Env")
        healthcheck = members.get("Healthcheck")
        return cls(
            user=json_bytes.string(members, "User", _DOCUMENT),
            env=tuple((name, text) for name, _, text in (item.partition("=") for item in env)),
            entrypoint=_strings(members, "Entrypoint") or None,
            cmd=_strings(members, "Cmd") or None,
            working_dir=json_bytes.string(members, "WorkingDir", _DOCUMENT),
            labels=_labels(members),
            exposed_ports=_names(members, "ExposedPorts"),
            volumes=_names(members, "Volumes"),
            stop_signal=json_bytes.string(members, "StopSignal", _DOCUMENT),
            healthcheck=Healthcheck.from_json(healthcheck) if healthcheck else None,
            shell=_strings(members, "Shell") or None,
            on_build=_strings(members, "OnBuild"),
            args_escaped=json_bytes.boolean(members, "ArgsEscaped", _DOCUMENT),
            unknown=_unknown(members, _RUNTIME_MEMBERS),
        )

    def to_json(self) -> dict[str, Json]:
        nothing: dict[str, Json] = {}
        return _without_empty(
            {
                "User": self.user,
                "Env": tuple(f"{name}={text}" for name, text in self.env),
                "Entrypoint": self.entrypoint,
                "Cmd": self.cmd,
                "WorkingDir": self.working_dir,
                "Labels": dict(self.labels),
                "ExposedPorts": dict.fromkeys(self.exposed_ports, nothing),
                "Volumes": dict.fromkeys(self.volumes, nothing),
                "StopSignal": self.stop_signal,
                "Healthcheck": self.healthcheck.to_json() if self.healthcheck else None,
                "Shell": self.shell,
                "OnBuild": self.on_build,
                "ArgsEscaped": self.args_escaped,
            },
            self.unknown,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One instruction of an image's making; `empty_layer` if it made no layer."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False
    unknown: Unknown = ()

    @classmethod
    def from_json(cls, value: Json) -> History:
        what = f"{_DOCUMENT}: history"
        members = json_bytes.as_object(value, what)
        return cls(
            created=json_bytes.string(members, "created", what),
            created_by=json_bytes.string(members, "created_by", what),
            author=json_bytes.string(members, "author", what),
            comment=json_bytes.string(members, "comment", what),
            empty_layer=json_bytes.boolean(members, "empty_layer", what),
            unknown=_unknown(members, _HISTORY_MEMBERS),
        )

    def to_json(self) -> dict[str, Json]:
        return _without_empty(
            {
                "created": self.created,
                "created_by": self.created_by,
                "author": self.author,
                "comment": self.comment,
                "empty_layer": self.empty_layer,
            },
            self.unknown,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """An image's config: what it runs on, how it starts, and the layers it is made of.

    `created` is RFC 3339, or empty. Derive with `dataclasses.replace`, and add layers with
    `with_layer` and `with_empty_layer`, which keep history and layers in step.
    """

    architecture: str
    os: str = "linux"
    variant: str = ""
    created: str = ""
    author: str = ""
    config: RuntimeConfig = RuntimeConfig()
    diff_ids: tuple[DiffID, ...] = ()
    history: tuple[History, ...] = ()
    unknown: Unknown = ()

    @classmethod
    def parse(cls, data: bytes) -> ImageConfig:
        """Read a config from elsewhere; `ArchiveError` if it is not one."""
        members = json_bytes.as_object(json_bytes.parse(data, _DOCUMENT), _DOCUMENT)
        history = json_bytes.as_list(members.get("history"), f"{_DOCUMENT}: history")
        return cls(
            architecture=json_bytes.string(members, "architecture", _DOCUMENT),
            os=json_bytes.string(members, "os", _DOCUMENT),
            variant=json_bytes.string(members, "variant", _DOCUMENT),
            created=json_bytes.string(members, "created", _DOCUMENT),
            author=json_bytes.string(members, "author", _DOCUMENT),
            config=RuntimeConfig.from_json(members.get("config")),
            diff_ids=_diff_ids(members.get("rootfs")),
            history=tuple(History.from_json(entry) for entry in history),
            unknown=_unknown(members, _CONFIG_MEMBERS),
        )

    def to_bytes(self) -> bytes:
        """The canonical document; its digest is the image ID.

        `ValueError` if a string in it is no Unicode text.
        """
        document = _without_empty(
            {
                "variant": self.variant,
                "created": self.created,
                "author": self.author,
                "history": tuple(entry.to_json() for entry in self.history),
            },
            self.unknown,
        )
        # These are there even when they are empty: other tools read them unasked.
        document |= {
            "architecture": self.architecture,
            "os": self.os,
            "config": self.config.to_json(),
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
        }
        return json_bytes.canonical(document)

    @property
    def platform(self) -> Platform:
        return Platform(self.os, self.architecture, self.variant)

    def with_layer(self, diff_id: DiffID, history: History) -> ImageConfig:
        """This image and one more layer, made by `history`."""
        return replace(
            self,
            diff_ids=(*self.diff_ids, diff_id),
            history=(*self._settled_history(), replace(history, empty_layer=False)),
        )

    def with_empty_layer(self, history: History) -> ImageConfig:
        """This image and one more entry of history, which made no layer."""
        return replace(self, history=(*self._settled_history(), replace(history, empty_layer=True)))

    def _settled_history(self) -> tuple[History, ...]:
        """The history, with as many entries that made a layer as there are layers.

        Some tools write none, or one too few or too many; others refuse such an image.
        """
        missing = len(self.diff_ids)
        settled = []
        for entry in self.history:
            makes_layer = not entry.empty_layer and missing > 0
            missing -= makes_layer
            settled.append(replace(entry, empty_layer=not makes_layer))
        return (*settled, *(History(created=self.created),) * missing)


def rfc3339(seconds: int) -> str:
    """A time in seconds since 1970 as the documents write it, in UTC, in the years 1 to 9999."""
    from datetime import UTC, datetime, timedelta

    seconds = min(max(seconds, _FIRST_SECOND), _LAST_SECOND)
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return moment.replace(tzinfo=None).isoformat() + "Z"


def unix_seconds(text: str) -> int:
    """A time from a document in whole seconds since 1970; `ArchiveError` if it is none."""
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArchiveError(f"{_DOCUMENT}: {text!r} is not a time") from error
    if moment.tzinfo is None:
        raise ArchiveError(f"{_DOCUMENT}: {text!r} is a time without a zone")
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86400 + since.seconds


_HEALTHCHECK_MEMBERS: Final = frozenset(
    ("Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")
)
_RUNTIME_MEMBERS: Final = frozenset(
    ("User", "Env", "Entrypoint", "Cmd", "WorkingDir", "Labels", "ExposedPorts", "Volumes")
) | {"StopSignal", "Healthcheck", "Shell", "OnBuild", "ArgsEscaped"}
_HISTORY_MEMBERS: Final = frozenset(("created", "created_by", "author", "comment", "empty_layer"))
_CONFIG_MEMBERS: Final = frozenset(
    ("architecture", "os", "variant", "created", "author", "config", "rootfs", "history")
)


def _unknown(members: Mapping[str, Json], known: frozenset[str]) -> Unknown:
    return tuple(
        (name, json_bytes.canonical(value))
        for name, value in sorted(members.items())
        if name not in known
    )


def _without_empty(members: Mapping[str, Json], unknown: Unknown) -> dict[str, Json]:
    document: dict[str, Json] = {name: value for name, value in members.items() if value}
    for name, value in unknown:
        document[name] = json_bytes.parse(value, name)
    return document


def _strings(members: Mapping[str, Json], name: str) -> tuple[str, ...]:
    return json_bytes.as_strings(members.get(name), f"{_DOCUMENT}: {name}")


def _names(members: Mapping[str, Json], name: str) -> tuple[str, ...]:
    return tuple(sorted(json_bytes.as_object(members.get(name), f"{_DOCUMENT}: {name}")))


def _labels(members: Mapping[str, Json]) -> tuple[tuple[str, str], ...]:
    what = f"{_DOCUMENT}: Labels"
    labels = json_bytes.as_object(members.get("Labels"), what)
    return tuple((name, json_bytes.string(labels, name, what)) for name in sorted(labels))


def _diff_ids(rootfs: Json) -> tuple[DiffID, ...]:
    what = f"{_DOCUMENT}: rootfs"
    members = json_bytes.as_object(rootfs, what)
    if members.get("type", "layers") != "layers":
        raise ArchiveError(f"{what} is not made of layers")
    diff_ids: Sequence[str] = json_bytes.as_strings(members.get("diff_ids"), f"{what}: diff_ids")
    try:
        return tuple(DiffID(parse_digest(diff_id)) for diff_id in diff_ids)
    except InvalidDigest as error:
        raise ArchiveError(f"{what}: {error.message}") from error
