"""`lamina events`: what happens to containers, volumes and images."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from builder.commands.filters import all_fit, fits_label, parsed_filters
from builder.commands.times import moment
from grammar.errors import printable
from runtime.containers.folder import containers_directory
from runtime.containers.journal import Event, read_events
from runtime.monitor.times import rfc3339_nano

_BILLION = 1_000_000_000


@click.command("events", short_help="Show what happens, as it happens.")
@click.option("--since", metavar="TIME", help="What has happened since, first.")
@click.option("--until", metavar="TIME", help="Not for ever.")
@click.option("-f", "--filter", "filters", multiple=True, metavar="KEY=VALUE",
              help="Only such: container, event, image, label, network, type, volume.")  # fmt: skip
@click.option("--format", "form", metavar="json|TEMPLATE", help="Such as '{{.Action}} {{.ID}}'.")
@click.pass_obj
def events_command(
    root: str, /, since: str | None, until: str | None, filters: tuple[str, ...], form: str | None
) -> int:
    """Show events of containers, volumes and images, until ^C or --until.

    TIME is an RFC 3339 time, seconds since 1970, or a duration before now, such as 10m.
    """
    wanted = parsed_filters(filters, sorted(_FILTERS))
    show = _shower(form)
    from_ns = _nanoseconds(since, "--since")
    until_ns = _nanoseconds(until, "--until")
    for event in read_events(containers_directory(root), since_ns=from_ns, until_ns=until_ns):
        if all_fit(wanted, partial(_fits, event)):
            sys.stdout.write(show(event) + "\n")
            sys.stdout.flush()
    return 0


def _nanoseconds(text: str | None, option: str) -> int | None:
    """A time; a duration with `+` before it, or below zero, is in the future."""
    if text is None:
        return None
    if text.startswith("-"):
        return 2 * time.time_ns() - _of(moment(text[1:], option))
    return _of(moment(text, option))


def _of(stamp: str) -> int:
    from datetime import datetime

    head, _, fraction = stamp.rstrip("Z").partition(".")
    return int(datetime.fromisoformat(head + "+00:00").timestamp()) * _BILLION + int(fraction)


def _shower(form: str | None) -> Callable[[Event], str]:
    if not form:
        return _line
    if form in ("json", "{{json .}}"):
        return lambda event: json.dumps(_document(event), ensure_ascii=False)
    from builder.commands.templates import Template

    template = Template(form.replace("\\t", "\t"))
    return lambda event: template.render(_template_fields(event))


def _line(event: Event) -> str:
    actor = event["Actor"]
    attributes = ", ".join(f"{key}={value}" for key, value in sorted(actor["Attributes"].items()))
    more = f" ({attributes})" if attributes else ""
    stamp = rfc3339_nano(int(event["timeNano"]))
    return printable(f"{stamp} {event['Type']} {event['Action']} {actor['ID']}{more}")


def _document(event: Event) -> dict[str, Any]:
    """As docker's: with the names of its older form for containers."""
    older = {}
    if event["Type"] == "container":
        image = event["Actor"]["Attributes"].get("image", "")
        older = {"status": event["Action"], "id": event["Actor"]["ID"], "from": image}
    return {**older, **event, "scope": "local"}


def _template_fields(event: Event) -> dict[str, Any]:
    return {
        **event,
        "ID": event["Actor"]["ID"],
        "Status": event["Action"],
        "From": event["Actor"]["Attributes"].get("image", ""),
        "Scope": "local",
        "Time": event["time"],
        "TimeNano": event["timeNano"],
    }


def _fits(event: Event, key: str, value: str) -> bool:
    return _FILTERS[key](event, value)


def _is_actor(kind: str) -> Callable[[Event, str], bool]:
    def fits(event: Event, value: str) -> bool:
        actor = event["Actor"]
        name = actor["Attributes"].get("name")
        return event["Type"] == kind and (str(actor["ID"]).startswith(value) or name == value)

    return fits


def _is_action(event: Event, value: str) -> bool:
    action = str(event["Action"])
    return action == value or action.startswith(f"{value}:")


def _is_image(event: Event, value: str) -> bool:
    actor = event["Actor"]
    attributes = actor["Attributes"]
    name = attributes.get("name" if event["Type"] == "image" else "image", "")
    return value in (name, name.rpartition(":")[0], actor["ID"])


_FILTERS: dict[str, Callable[[Event, str], bool]] = {
    "container": _is_actor("container"),
    "event": _is_action,
    "image": _is_image,
    "label": lambda event, value: fits_label(event["Actor"]["Attributes"], "label", value),
    "network": _is_actor("network"),
    "scope": lambda _event, value: value == "local",
    "type": lambda event, value: event["Type"] == value,
    "volume": _is_actor("volume"),
}
