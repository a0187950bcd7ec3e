"""What is recorded of a container, and what is true of it.

    config.json     what it is to be; written when it is made (and when it gets another name)
    state.json      what became of it; written by whoever holds the lock of its folder
    stopped         there if somebody told it to stop
    upper made/     its changes to the image, and what was made for its mounts

Both documents are replaced as a whole, so never half written. A record that says "running" is
not believed: the kernel is asked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from runtime.containers.spec import SHORT_ID, ContainerSpec, spec_document, spec_from_document
from runtime.image.digest import DiffID
from runtime.monitor import files
from runtime.monitor.cgroups import is_frozen
from runtime.monitor.identity import ProcessIdentity, is_alive

Status = Literal["created", "running", "paused", "restarting", "exited", "removing", "dead"]

_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a container is to be: the caller's wishes and the image's config, put together.

    `image_id` and `diff_ids` are what the image's name stood for when the container was made.
    `created_ns` is in nanoseconds since 1970.
    """

    id: str
    name: str
    created_ns: int
    image_id: str
    diff_ids: tuple[DiffID, ...]
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    hostname: str
    spec: ContainerSpec

    @property
    def short_id(self) -> str:
        return self.id[:SHORT_ID]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What has become of a container. Times in nanoseconds since 1970; 0 is never.

    process      its first process, while it runs
    runner       its monitor, or the command in whose foreground it runs
    exit_status  of its last run; `None` if there was none, or whoever ran it was killed
    error        why it could not be started
    health       as docker's `inspect` has it
    """

    status: Status
    process: ProcessIdentity | None = None
    runner: ProcessIdentity | None = None
    monitored: bool = False
    exit_status: int | None = None
    error: str = ""
    oom_killed: bool = False
    started_ns: int = 0
    finished_ns: int = 0
    restarts: int = 0
    health: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container as it is: `state` is what the kernel confirms. `folder` is its own."""

    description: Description
    state: State
    folder: str

    @property
    def id(self) -> str:
        return self.description.id

    @property
    def name(self) -> str:
        return self.description.name

    @property
    def spec(self) -> ContainerSpec:
        return self.description.spec

    @property
    def was_stopped(self) -> bool:
        """Whether it is at rest because somebody told it to stop."""
        return os.path.lexists(os.path.join(self.folder, files.STOPPED))

    @property
    def is_running(self) -> bool:
        """Whether it has processes; a paused one has."""
        return self.state.status in ("running", "paused")

    @property
    def is_active(self) -> bool:
        """Whether it runs, or is about to run again."""
        return self.is_running or self.state.status == "restarting"


def write_description(folder: str, description: Description) -> None:
    """Record what a container is to be."""
    document = {
        "version": _VERSION,
        "id": description.id,
        "name": description.name,
        "created_ns": description.created_ns,
        "image_id": description.image_id,
        "diff_ids": description.diff_ids,
        "argv": description.argv,
        "env": description.env,
        "hostname": description.hostname,
        "spec": spec_document(description.spec),
    }
    files.write_file(os.path.join(folder, files.CONFIG), json.dumps(document).encode() + b"\n")


def write_state(folder: str, state: State) -> None:
    """Record what has become of a container. Only for who holds the lock of its folder."""
    files.write_json(os.path.join(folder, files.STATE), state_document(state))


def state_document(state: State) -> dict[str, Any]:
    """A state as it is recorded."""
    return {
        "status": state.status,
        "process": state.process.to_document() if state.process is not None else None,
        "runner": state.runner.to_document() if state.runner is not None else None,
        "monitored": state.monitored,
        "exit_status": state.exit_status,
        "error": state.error,
        "oom_killed": state.oom_killed,
        "started_ns": state.started_ns,
        "finished_ns": state.finished_ns,
        "restarts": state.restarts,
        "health": state.health,
    }


def read_container(folder: str) -> Container | None:
    """The container in a folder; `None` if there is none (yet), or its record is damaged."""
    try:
        document = _load(os.path.join(folder, files.CONFIG))
        spec = spec_from_document(document["spec"])
        description = Description(
            id=document["id"],
            name=document["name"],
            created_ns=document["created_ns"],
            image_id=document["image_id"],
            diff_ids=tuple(document["diff_ids"]),
            argv=tuple(document["argv"]),
            env=tuple((name, value) for name, value in document["env"]),
            hostname=document["hostname"],
            spec=spec,
        )
        state = read_state(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if description.id != os.path.basename(folder) or document["version"] != _VERSION:
        return None
    return Container(description=description, state=confirmed(state, folder), folder=folder)


def read_state(folder: str) -> State:
    """The state as it is recorded, whether it still is true or not.

    `OSError`, `ValueError`, `KeyError` or `TypeError` for a damaged one.
    """
    document = _load(os.path.join(folder, files.STATE))
    process, runner = document["process"], document["runner"]
    return State(
        **{
            **document,
            "process": ProcessIdentity(**process) if process is not None else None,
            "runner": ProcessIdentity(**runner) if runner is not None else None,
        }
    )


def recorded_name(folder: str) -> str | None:
    """What a container is called; `None` if nothing is recorded."""
    try:
        name = _load(os.path.join(folder, files.CONFIG))["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def confirmed(state: State, folder: str) -> State:
    """A recorded state as the kernel confirms it.

    One whose process has ended is "exited"; its status is unknown if whoever ran it cannot
    tell any more. One that was being removed by who is gone is "dead".
    """
    match state.status:
        case "running":
            if is_alive(state.process):
                assert state.process is not None
                return replace(state, status="paused") if is_frozen(state.process.pid) else state
            if is_alive(state.runner):
                return state  # It is just being recorded.
            return replace(state, status="exited", process=None, exit_status=None)
        case "restarting":
            if is_alive(state.runner):
                return state
            return replace(state, status="exited", process=None)
        case "removing":
            return state if is_alive(state.runner) else replace(state, status="dead")
        case _:
            return state


def _load(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        document = json.load(file)
    if not isinstance(document, dict):
        raise ValueError(path)
    return document
