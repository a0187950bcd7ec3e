"""`lamina fsck`: is everything in the store what its name says?"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, replace

import click

from builder.commands.failures import say
from runtime.containers.check_volumes import check_volumes
from runtime.image.layer.owners import owners_here
from runtime.image.store.faults import Checked, Fault
from runtime.image.store.fsck import check_store
from runtime.image.store.salvage import check_database
from runtime.image.store.store import open_store
from runtime.sandbox.privilege import acquire

_MOST_JOBS = 8


@click.command("fsck", short_help="Check the store, and mend it.")
@click.option("--repair", is_flag=True, help="Make again or drop what is broken.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="How many layers at once.")
@click.option("--json", "as_json", is_flag=True, help="One document with every fault.")
@click.pass_obj
def fsck_command(root: str, repair: bool, jobs: int | None, as_json: bool) -> int:
    """Verify every layer, image, step and reference of the store.

    Exit status 0 if nothing is wrong, or all of it was mended; else 1. Images that lost a layer
    are kept, and said each time.
    """
    began = time.monotonic()
    acquire()
    faults = check_database(root, repair=repair)
    checked = Checked(faults=tuple(faults))
    if checked.sound:
        workers = jobs or min(_MOST_JOBS, os.cpu_count() or 1)
        with open_store(root, owners_here()) as store:
            found = check_store(store.parts, repair=repair, jobs=workers)
            faults += check_volumes(store, repair=repair)
        checked = replace(found, faults=(*faults, *found.faults))
    if as_json:
        click.echo(json.dumps({"sound": checked.sound, **asdict(checked)}, indent=2))
    else:
        _tell(checked, time.monotonic() - began)
    return 0 if checked.sound else 1


def _tell(checked: Checked, seconds: float) -> None:
    for fault in checked.faults:
        click.echo(_line(fault))
    for note in checked.notes:
        say(f"note: {note}")
    counts = (
        f"{checked.layers} layers ({checked.trees} trees, {checked.blobs} blobs), "
        f"{checked.images} images, {checked.records} steps"
    )
    mended = sum(fault.mended for fault in checked.faults)
    result = "nothing is wrong"
    if checked.faults:
        number = len(checked.faults)
        result = f"{number} fault{'' if number == 1 else 's'}, {mended} mended"
    click.echo(f"checked {counts} in {seconds:.1f}s: {result}")


def _line(fault: Fault) -> str:
    done = f" ({fault.done})" if fault.done else ""
    return f"{fault.kind} {fault.subject}: {fault.problem}{done}"
