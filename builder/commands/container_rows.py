"""Containers as `ps` shows them: the texts of its columns, and which are shown."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from builder.commands.container_network_options import parse_exposed
from builder.commands.container_networks import publishers, shown_ports
from builder.commands.filters import all_fit, fits_label, parsed_filters
from builder.commands.tables import ago
from builder.errors import OptionError
from runtime.containers.folder import find_container
from runtime.containers.networks import wired_now
from runtime.containers.record import Container
from runtime.errors import ContainerError

HEADS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "RunningFor": "CREATED",
    "Status": "STATUS",
    "Ports": "PORTS",
    "Names": "NAMES",
    "CreatedAt": "CREATED AT",
    "State": "STATE",
    "Size": "SIZE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
}
_SHORT = 12
_BILLION = 1_000_000_000


def row(container: Container, wired: Mapping[str, Any], *, no_trunc: bool) -> dict[str, str]:
    """The texts of all columns but `Size`; `wired` are the containers on networks now."""
    description, spec = container.description, container.spec
    words = shlex.join(description.argv)
    seconds = description.created_ns // _BILLION
    return {
        "ID": container.id if no_trunc else container.id[:_SHORT],
        "Image": spec.image,
        "Command": f'"{words if no_trunc or len(words) <= 20 else words[:19] + "…"}"',
        "RunningFor": ago(time.time() - seconds),
        "Status": status_text(container),
        "Ports": shown_ports(container, wired),
        "Names": container.name,
        "CreatedAt": datetime.fromtimestamp(seconds)
        .astimezone()
        .strftime("%Y-%m-%d %H:%M:%S %z %Z"),
        "State": container.state.status,
        "Size": "",
        "Labels": ",".join(f"{key}={value}" for key, value in spec.labels),
        "Mounts": ",".join(_mounts(container, no_trunc=no_trunc)),
        "LocalVolumes": str(len(spec.volumes)),
        "Networks": ",".join(spec.network.networks),
    }


def status_text(container: Container) -> str:
    """`Up 3 minutes`, `Exited (1) 2 hours ago`, as docker says it."""
    state = container.state
    match state.status:
        case "running" | "paused":
            up = "Up " + _since(state.started_ns).removesuffix(" ago")
            if state.status == "paused":
                return f"{up} (Paused)"
            health = (state.health or {}).get("Status")
            if health == "starting":
                return f"{up} (health: starting)"
            return f"{up} ({health})" if health else up
        case "restarting":
            return f"Restarting ({_code(container)}) {_since(state.finished_ns)}"
        case "exited":
            since = f" {_since(state.finished_ns)}" if state.finished_ns else ""
            return f"Exited ({_code(container)}){since}"
        case "removing":
            return "Removal In Progress"
        case "created" | "dead":
            return state.status.capitalize()


def chosen(containers: Sequence[Container], filters: Sequence[str], root: str) -> list[Container]:
    """The containers that `--filter`s let through: of each key one value must fit, of labels all.

    `OptionError` for a filter that is none.
    """
    wanted = {
        key: [_value(root, key, value) for value in values]
        for key, values in parsed_filters(filters, sorted(_FILTERS)).items()
    }
    return [container for container in containers if all_fit(wanted, partial(_fits, container))]


def _fits(container: Container, key: str, value: str) -> Any:
    return _FILTERS[key](container, value)


def _value(root: str, key: str, value: str) -> str:
    if key == "publish":
        return " ".join(publishers(value, wired_now(root)))
    if key == "expose":
        parse_exposed(value, "--filter expose=")
    if key in ("before", "since"):
        try:
            return str(find_container(root, value).description.created_ns)
        except ContainerError as error:
            raise OptionError(f"--filter {key}={value}: {error.message}") from error
    return value


def _is_of(container: Container, value: str) -> bool:
    from runtime.image.errors import ImageError
    from runtime.image.reference import Reference

    image_id = container.description.image_id
    if image_id == value or image_id.removeprefix("sha256:").startswith(value):
        return True
    try:
        return Reference.parse(container.spec.image) == Reference.parse(value)
    except ImageError:
        return False


_FILTERS: dict[str, Callable[[Container, str], Any]] = {
    "ancestor": _is_of,
    "before": lambda container, value: container.description.created_ns < int(value),
    "exited": lambda container, value: (
        container.state.status == "exited" and _code(container) == value
    ),
    "expose": lambda container, value: (
        not set(parse_exposed(value)).isdisjoint(container.spec.network.exposed)
    ),
    "health": lambda container, value: (
        (container.state.health or {}).get("Status", "none") == value
    ),
    "id": lambda container, value: container.id.startswith(value),
    "label": lambda container, value: fits_label(dict(container.spec.labels), "label", value),
    "name": lambda container, value: value.removeprefix("/") in container.name,
    "network": lambda container, value: value in container.spec.network.networks,
    "publish": lambda container, value: container.is_active and container.id in value.split(),
    "restart-policy": lambda container, value: container.spec.restart == value,
    "since": lambda container, value: container.description.created_ns > int(value),
    "status": lambda container, value: container.state.status == value,
    "volume": lambda container, value: (
        value in _mounts(container, no_trunc=True)
        or any(mount.target == value for mount in (*container.spec.mounts, *container.spec.volumes))
    ),
}


def _mounts(container: Container, *, no_trunc: bool) -> list[str]:
    spec = container.spec
    sources = [getattr(mount, "source", mount.target) for mount in spec.mounts]
    sources += [mount.name or "" for mount in spec.volumes]
    return [s if no_trunc or len(s) <= 15 else s[:14] + "…" for s in sources]


def _since(nanoseconds: int) -> str:
    return ago(time.time() - nanoseconds / _BILLION)


def _code(container: Container) -> str:
    status = container.state.exit_status
    return "255" if status is None else str(status)
