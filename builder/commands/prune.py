"""`lamina prune`: making room in the store."""

from __future__ import annotations

import re
import sys
import time
from datetime import datetime
from typing import Any

import click

from builder.commands.confirm import confirmed
from builder.commands.failures import say
from builder.commands.opened import opened_store
from builder.commands.tables import size_text
from builder.commands.values import size_in_bytes
from builder.commands.volume import prune_volumes
from builder.errors import OptionError
from runtime.containers.folder import list_containers
from runtime.image.digest import Digest
from runtime.image.store.candidates import Limit, Reason
from runtime.image.store.prune import Kept, Pruned, PruneRequest, prune
from runtime.image.store.store import Store

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns))+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


@click.command("prune", short_help="Make room in the store.")
@click.option(
    "-a",
    "--all",
    "everything",
    is_flag=True,
    help="Also images with names that no container uses, and cache mounts.",
)
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="until=…",
    help="Only what has not been used since: 24h, a date, or seconds since 1970.",
)
@click.option("--keep-storage", metavar="SIZE", help="Stop when the store takes no more than that.")
@click.option("--max-inodes", type=click.IntRange(0), help="Stop when it has no more than these.")
@click.option("--volumes", is_flag=True, help="Also anonymous volumes that no container has.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def prune_command(root: str, /, **options: Any) -> int:
    """Remove what can go: what nothing refers to, images without a name, and layers that only the
    build cache needs.

    With --keep-storage or --max-inodes the least valuable things go first, until the store is
    small enough; then cache mounts, and blobs and trees that can be made again, may go too.
    Nothing that a container or another process uses ever goes, nor does a container.
    """  # fmt: skip
    limit = _limit(options["keep_storage"], options["max_inodes"])
    unused = _unused_seconds(options["filters"])
    volumes = options["volumes"]
    if not options["force"] and not confirmed(_warning(options["everything"], limit, volumes)):
        return 1
    if volumes:
        removed, taken = prune_volumes(root)
        for name in removed:
            click.echo(f"removed volume {name[:12]}: no container has it")
        if removed:
            click.echo(f"{len(removed)} volumes took {size_text(taken)}")
    with opened_store(root) as store:
        from builder.execution.kept_steps import sweep

        if gone := sweep(store, most=sys.maxsize if unused else 0, seconds=unused):
            click.echo(f"removed what {gone} failed step{'' if gone == 1 else 's'} had left")
        request = PruneRequest(
            everything=options["everything"],
            limit=limit,
            unused_seconds=unused,
            images_in_use=lambda: images_of_containers(store),
        )
        pruned = prune(store.parts, request)
    _tell(pruned, request)
    return 0


def images_of_containers(store: Store) -> frozenset[Digest]:
    """The images that a container was made of, running or not."""
    return frozenset(
        Digest(container.description.image_id) for container in list_containers(store.root)
    )


def _limit(keep_storage: str | None, max_inodes: int | None) -> Limit | None:
    size = size_in_bytes(keep_storage, "--keep-storage")
    if size is None and max_inodes is None:
        return None
    return Limit(bytes=size, inodes=max_inodes)


def _unused_seconds(filters: tuple[str, ...]) -> float:
    """How long something must not have been used; the longest of what is asked for."""
    seconds = 0.0
    for text in filters:
        name, equals, value = text.partition("=")
        if name != "until" or not equals:
            raise OptionError(f"invalid --filter {text!r}", hint="until=24h, or until=2026-01-31")
        seconds = max(seconds, since_seconds(value))
    return seconds


def since_seconds(text: str) -> float:
    """Seconds since a moment, as docker's `until` gives it: `1h30m`, a date, or Unix seconds."""
    if _DURATION.fullmatch(text):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    try:
        if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
            moment = float(text)
        else:
            moment = datetime.fromisoformat(text).timestamp()
        return max(0.0, time.time() - moment)
    except (ValueError, OverflowError) as error:
        raise OptionError(
            f"invalid --filter until={text!r}",
            hint="24h, 2026-01-31T12:00:00, or seconds since 1970",
        ) from error


def _warning(everything: bool, limit: Limit | None, volumes: bool) -> str:
    lines = [
        "WARNING! This will remove:",
        "  - what nothing refers to",
        "  - images without a name that no container uses",
        "  - layers that only the build cache needs",
    ]
    if everything or limit is not None:
        lines.append("  - cache mounts, and forms of layers that can be made again")
    if everything:
        lines.append("  - all other images that no container uses")
    if limit is not None:
        lines.append("the least valuable first, until the store is small enough")
    if volumes:
        lines.append("  - anonymous volumes that no container has")
    return "\n".join(lines) + "\n"


def _tell(pruned: Pruned, request: PruneRequest) -> None:
    for removal in pruned.removed:
        click.echo(f"removed {removal.subject}: {removal.why}, {size_text(removal.amount.bytes)}")
    for kept in pruned.kept:
        click.echo(_kept_line(kept, request))
    click.echo(f"Total reclaimed space: {size_text(max(0, pruned.amount.bytes))}")
    if request.limit is not None:
        excess = request.limit.excess(pruned.left)
        if excess.bytes or excess.inodes:
            say(
                f"the store still takes {size_text(pruned.left.bytes)} in {pruned.left.inodes}"
                " inodes: what is left is in use or has to be asked for"
            )


def _kept_line(kept: Kept, request: PruneRequest) -> str:
    number = f"{kept.count} {kept.kind}{'' if kept.count == 1 else 's'}"
    return f"kept {number}, {size_text(kept.amount.bytes)}: {_why(kept, request)}"


def _why(kept: Kept, request: PruneRequest) -> str:
    match kept.reason:
        case Reason.NAMED:
            return "with names (--all removes those that no container uses)"
        case Reason.NOT_ASKED:
            return "not asked for (--all removes them)"
        case Reason.RECENT:
            return "used since"
        case _:
            return str(kept.reason.value)
