"""What failed steps have left: their trees and what they ran with, kept for a while.

    failed/<id>/step.json    what the step was, and what it stood on
    failed/<id>/upper        what it had changed when it failed, and what was mended there since
    failed/<id>/script-N     its here-documents
    failed/<id>/lock         held by who works in it

The ID is the beginning of the step's key. A few of the newest are kept, for some days; the
layers that they stand on are leased meanwhile.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from builder.errors import BuildError
from builder.plan.steps import RunStep
from runtime.image.digest import DiffID
from runtime.image.store.remove import remove_tree
from runtime.image.store.store import Store
from runtime.sandbox.spec import BindMount, Mount, TmpfsMount

FOLDER: Final = "failed"
MOST_KEPT: Final = 5
KEPT_SECONDS: Final = 3 * 86400
_STEP: Final = "step.json"
_ID_LENGTH: Final = 32
_LARGEST_SCRIPT: Final = 1 << 20


class StepInUse(BuildError):
    """Somebody else works in what a failed step has left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptStep:
    """A failed step.

    id          of the folder, the beginning of its key
    text        the instruction
    layers      what it stands on
    mounts      those of its mounts that can be had again: (kind, source, target, read-only)
    missing     the targets of the others
    network, security  as in the step; `host_network` is what that comes to
    made_at     in seconds since 1970
    adopted     the layer that its tree has become by `--resume`, if it has
    """

    id: str
    text: str
    argv: tuple[str, ...]
    layers: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    workdir: str
    user: str
    host_network: bool
    insecure: bool
    extra_hosts: tuple[tuple[str, str], ...] = ()
    shm_size: int | None = None
    mounts: tuple[tuple[str, str, str, bool], ...] = ()
    missing: tuple[str, ...] = ()
    made_at: float = 0
    adopted: str | None = None

    @property
    def diff_ids(self) -> tuple[DiffID, ...]:
        return tuple(DiffID(layer) for layer in self.layers)


def kept_id(key: str) -> str:
    """The ID under which a step of that key would be kept."""
    return key[:_ID_LENGTH]


def folder_of(store: Store, step_id: str) -> str:
    return os.path.join(store.root, FOLDER, step_id)


def upper_of(store: Store, step_id: str) -> str:
    """Where the tree of a failed step is."""
    return os.path.join(folder_of(store, step_id), "upper")


def describe(step: RunStep, text: str, layers: Sequence[DiffID], key: str, **more: Any) -> KeptStep:
    """A step that has failed; `more` are the fields that the build decides."""
    return KeptStep(
        id=kept_id(key),
        text=text,
        argv=step.argv,
        layers=tuple(layers),
        env=step.env,
        workdir=step.workdir,
        user=step.user,
        insecure=step.security == "insecure",
        made_at=time.time(),
        **more,
    )


def with_mounts(store: Store, kept: KeptStep, mounts: Sequence[Mount], workspace: str) -> KeptStep:
    """The step with those of its mounts that outlive its build.

    Those are caches, file systems in memory and here-documents. Secrets are never among them.
    """
    caches = os.path.join(store.root, "caches") + "/"
    found: list[tuple[str, str, str, bool]] = []
    missing = []
    for mount in mounts:
        if isinstance(mount, TmpfsMount):
            found.append(("tmpfs", "", mount.target, False))
        elif mount.source.startswith(caches):
            found.append(("bind", mount.source, mount.target, mount.read_only))
        elif _is_script(mount, workspace):
            found.append(("script", os.path.basename(mount.source), mount.target, True))
        else:
            missing.append(mount.target)
    return replace(kept, mounts=tuple(found), missing=tuple(missing))


def keep(store: Store, kept: KeptStep, upper: str, workspace: str) -> None:
    """Take over the tree of a failed step, and let go of those that are too old or too many.

    `StepInUse` if somebody works in what it left before, `OSError`, `ImageError`.
    """
    aside = os.path.join(workspace, "kept")
    os.mkdir(aside, 0o700)
    os.rename(upper, os.path.join(aside, "upper"))
    for kind, name, _, _ in kept.mounts:
        if kind == "script":
            shutil.copy(os.path.join(workspace, name), os.path.join(aside, name))
    _write(aside, kept)
    os.makedirs(os.path.join(store.root, FOLDER), mode=0o700, exist_ok=True)
    drop(store, kept.id)
    os.rename(aside, folder_of(store, kept.id))
    # After it: a lease of nobody's would keep layers for ever.
    store.lease(_owner(kept.id), kept.diff_ids)
    sweep(store, most=MOST_KEPT, seconds=KEPT_SECONDS)


def kept_steps(store: Store) -> list[KeptStep]:
    """Every failed step that is kept, the last one first."""
    try:
        names = os.listdir(os.path.join(store.root, FOLDER))
    except FileNotFoundError:
        return []
    found = [step for name in names if (step := find_kept(store, name)) is not None]
    return sorted(found, key=lambda step: -step.made_at)


def find_kept(store: Store, step_id: str) -> KeptStep | None:
    """The failed step of that ID, if it is kept."""
    try:
        with open(os.path.join(folder_of(store, step_id), _STEP), encoding="utf-8") as file:
            document = json.load(file)
        known = {each.name for each in fields(KeptStep)}
        return KeptStep(
            **{name: _frozen(value) for name, value in document.items() if name in known}
        )
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None


@contextmanager
def working_in(store: Store, kept: KeptStep) -> Iterator[str]:
    """The tree of a failed step, which nobody else works in meanwhile; `StepInUse`."""
    path = os.path.join(folder_of(store, kept.id), "lock")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StepInUse(f"somebody works in what {kept.text} has left") from None
        yield upper_of(store, kept.id)
    finally:
        os.close(fd)


def adopted(store: Store, kept: KeptStep, diff_id: DiffID) -> None:
    """Record that the tree of a failed step has become a layer."""
    store.lease(_owner(kept.id), (diff_id,))
    _write(folder_of(store, kept.id), replace(kept, adopted=diff_id))


def sandbox_mounts(store: Store, kept: KeptStep) -> tuple[tuple[Mount, ...], tuple[str, ...]]:
    """The mounts of a failed step as far as they are there, and the targets of the others."""
    mounts: list[Mount] = []
    missing = list(kept.missing)
    for kind, source, target, read_only in kept.mounts:
        if kind == "tmpfs":
            mounts.append(TmpfsMount(target=target))
            continue
        place = os.path.join(folder_of(store, kept.id), source) if kind == "script" else source
        if os.path.lexists(place):
            mounts.append(BindMount(source=place, target=target, read_only=read_only))
        else:
            missing.append(target)
    return tuple(mounts), tuple(missing)


def drop(store: Store, step_id: str) -> None:
    """Let go of a failed step; nothing happens if it is not there. `StepInUse`."""
    folder = folder_of(store, step_id)
    kept = find_kept(store, step_id)
    if kept is not None:
        with working_in(store, kept):
            store.release(_owner(step_id))
            remove_tree(folder)
    elif os.path.lexists(folder):
        store.release(_owner(step_id))
        remove_tree(folder)


def sweep(store: Store, *, most: int, seconds: float) -> int:
    """Let go of all but the newest, and of those that are older; how many."""
    gone = 0
    for number, step in enumerate(kept_steps(store)):
        if number >= most or time.time() - step.made_at > seconds:
            with suppress(StepInUse):
                drop(store, step.id)
                gone += 1
    return gone


def _owner(step_id: str) -> str:
    return f"{FOLDER}-{step_id}"


def _write(folder: str, kept: KeptStep) -> None:
    path = os.path.join(folder, _STEP)
    document = {each.name: getattr(kept, each.name) for each in fields(KeptStep)}
    with open(f"{path}.new", "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump(document, file)
    os.rename(f"{path}.new", path)


def _is_script(mount: BindMount, workspace: str) -> bool:
    if os.path.dirname(mount.source) != workspace:
        return False
    status = os.lstat(mount.source)
    name = os.path.basename(mount.source)
    small = stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST_SCRIPT
    return small and name.startswith("script-")


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
