"""`lamina explain`, and the explanations of `lamina build`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from builder.commands.failures import say
from builder.commands.opened import opened_store
from builder.commands.tables import ago
from builder.errors import NotCached, OptionError
from builder.events import Emit, Event, Recorded
from builder.records.model import BuildRecord, StepRecord, read_build
from builder.records.telling import (
    Explained,
    build_json,
    component_lines,
    explain_step,
    heading,
    headline,
    lines,
    step_lines,
)
from runtime.image.errors import ImageNotFound
from runtime.image.store.builds import MOST_BUILDS, StoredBuild
from runtime.image.store.store import Store


@click.command(
    "explain",
    short_help="Say why each step of a build ran or not.",
    # `-2` is a build, not an option.
    context_settings={"ignore_unknown_options": True},
)
@click.argument("build", required=False)
@click.argument("step", required=False)
@click.option("-v", "--verbose", is_flag=True, help="All there is to say of a step.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def explain_command(
    root: str, build: str | None, step: str | None, verbose: bool, as_json: bool
) -> int:
    """Say why each step of BUILD ran, or STEP of it in detail.

    BUILD is the beginning of a build's ID, -1 for the last one (which is explained if none is
    named), -2 for the one before, or an image's name or ID. STEP is the number behind the #.
    """
    if step is None and build is not None and build.isascii() and build.isdigit():
        build, step = None, build
    for each in (build, step):
        if each is not None and each.startswith("-") and not each[1:].isdigit():
            raise OptionError(f"no such option: {each}")
    with opened_store(root) as store:
        past = Past(store, find_build(store, build))
        if step is not None:
            chosen = past.one(step)
            told = _detailed(past, chosen, verbose) if not as_json else []
        else:
            told = [] if as_json else _overview(past, verbose)
            chosen = None
        if as_json:
            import json

            steps = past.explained() if chosen is None else [chosen]
            click.echo(json.dumps(build_json(past.build, steps), indent=2))
        else:
            click.echo("\n".join(told))
    return 0


class Past:
    """A build, and those before it to compare it with; each is read when it is needed."""

    def __init__(self, store: Store, stored: StoredBuild) -> None:
        self._store = store
        build = read_build(stored)
        if build is None:
            raise OptionError(f"the record of build {stored.id} is of another version of lamina")
        self.build = build
        read = (read_build(each) for each in store.builds.before(stored))
        self.earlier = tuple(each for each in read if each is not None)

    def explained(self) -> list[Explained]:
        """Every step."""
        return [self._explained(each) for each in self.build.steps]

    def one(self, number: str) -> Explained:
        """The step of a number."""
        found = self.build.step(int(number)) if number.isascii() and number.isdigit() else None
        if found is None:
            last = self.build.steps[-1].number if self.build.steps else 0
            raise OptionError(
                f"build {self.build.id} has no step {number}", hint=f"they are 1 to {last}"
            )
        return self._explained(found)

    def _explained(self, step: StepRecord) -> Explained:
        return explain_step(self.build, step, self.earlier, self._store.builds.listing)

    def made(self, explained: Explained) -> BuildRecord | None:
        """The last build that ran a step, by its key."""
        for build in self.earlier:
            if any(each.status == "ran" and each.key == explained.step.key for each in build.steps):
                return build
        return None


def find_build(store: Store, text: str | None) -> StoredBuild:
    """The build that is meant; `OptionError` if there is none, or several."""
    back = 1 if text is None else int(text[1:]) if text.startswith("-") else 0
    if back:
        latest = store.builds.latest(back)
        if len(latest) < back:
            raise OptionError(
                f"only {len(latest)} builds are recorded" if latest else "no build is recorded yet",
                hint=None if latest else "lamina build leaves a record",
            )
        return latest[-1]
    assert text is not None
    found = store.builds.beginning_with(text)
    if len(found) == 1 or (found and found[0].id == text):
        return found[0]
    if found:
        names = ", ".join(each.id for each in found[:4])
        raise OptionError(f"several builds begin with {text}: {names}")
    named = _of_image(store, text)
    if named is None:
        raise OptionError(
            f"no build {text} is recorded",
            hint="lamina explain without arguments explains the last one",
        )
    return named


def _of_image(store: Store, name: str) -> StoredBuild | None:
    """The last build that gave an image."""
    try:
        image = store.image(name)
    except ImageNotFound:
        return None
    for stored in store.builds.latest(MOST_BUILDS):
        build = read_build(stored)
        if build is not None and build.image_id == image.id:
            return stored
    return None


def _overview(past: Past, verbose: bool) -> list[str]:
    build = past.build
    told = [heading(build, ago(time.time() - build.created))]
    if build.answered:
        since = ago(time.time() - build.answered)
        told.append(f"asked for again {since}: nothing that it reads had changed; it was done so:")
    for explained in past.explained():
        told += lines(explained, None) if verbose else lines(explained)
    if build.message:
        told.append(f"failed: {build.message}")
    return told


def _detailed(past: Past, explained: Explained, verbose: bool) -> list[str]:
    made = past.made(explained) if explained.step.status == "cached" else None
    about = step_lines(explained, past.build, made)
    if verbose:
        return [*lines(explained, None), *about, *component_lines(explained.step)]
    return [*lines(explained), *about]


@contextmanager
def explained(store: Store, emit: Emit, options: dict[str, Any]) -> Iterator[Emit]:
    """A reader of a build's events; when the build has ended, it is explained.

    In one line a step with `--explain`; where `--expect-cached` failed, what has to run, and why.
    """
    record = ""

    def read(event: Event) -> None:
        nonlocal record
        if isinstance(event, Recorded):
            record = event.id
        emit(event)

    missing = False
    try:
        yield read
    except NotCached:
        missing = True
        raise
    finally:
        if record and (options["explain"] or missing):
            past = Past(store, store.builds.beginning_with(record)[0])
            for each in past.explained():
                if options["explain"]:
                    say(headline(each))
                if missing and each.step.status == "keyed":
                    told = lines(each)[1:] if options["explain"] else lines(each)
                    say("\n".join(told) or headline(each))
