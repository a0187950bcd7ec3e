"""Names for what steps give that need no look at what they stand on.

A copy's own key is made of what it sees of the layers below, so those have to be here. A cache from
elsewhere knows results whose layers have not been fetched; by these keys, made of nothing but the
layers' digests, a step on such layers is found without any of them.
"""

from __future__ import annotations

from dataclasses import replace

from builder.cache.keys import Key, entries_key, identity, make_key
from builder.errors import BuildError
from builder.execution.copy import CopyProblem, CopyRules, copy_entries
from builder.plan.remote_names import RemoteFile, Repository
from builder.plan.steps import CopyStep, FromNothing, PlannedStep, WorkdirStep
from builder.sources.inputs import Inputs, LayersOf
from builder.sources.trees import EmptyTree, TooManyLinks
from builder.sources.unpack import Unpacker
from runtime.image.digest import DiffID, chain_id
from runtime.image.errors import ImageError
from runtime.image.layer.writer import canonical_order


def early_key(
    planned: PlannedStep,
    layers: tuple[DiffID, ...],
    *,
    epoch: int,
    inputs: Inputs,
    unpacker: Unpacker,
    layers_of: LayersOf,
) -> Key | None:
    """The early key of a step; `None` for one that has none, or that cannot be done anyway."""
    step = planned.step
    if isinstance(step, WorkdirStep):
        components = {"path": step.path, "user": step.user}
    elif isinstance(step, CopyStep):
        content = _content(step, inputs, unpacker, layers_of)
        if content is None:
            return None
        components = {"step": identity(replace(step, input=FromNothing())), "content": content}
    else:
        return None
    # A linked copy sees nothing below it, unless it needs to know who its owner is.
    free = isinstance(step, CopyStep) and step.link and step.chown is None
    parent = "" if free else chain_id(layers)
    return make_key("early", {**components, "parent": parent, "epoch": str(epoch)})


def early_layers(
    planned: PlannedStep, layers: tuple[DiffID, ...], inputs: Inputs, layers_of: LayersOf
) -> tuple[DiffID, ...]:
    """The layers that a step looks into before it is known whether it has to be done."""
    step = planned.step
    if isinstance(step, WorkdirStep):
        return layers
    if isinstance(step, CopyStep):
        return (*layers, *(inputs.layers(step.input, layers_of) or ()))
    return ()


def _content(step: CopyStep, inputs: Inputs, unpacker: Unpacker, layers_of: LayersOf) -> str | None:
    """What there is to be copied, as far as it can be named without a layer."""
    if any(isinstance(each, RemoteFile | Repository) for each in step.sources):
        return None
    layers = inputs.layers(step.input, layers_of)
    if layers is not None:
        return f"layers {chain_id(layers)}"
    rules = CopyRules(owner=None, change_mode=None, mtime=0)
    try:
        tree = inputs.tree(step.input, layers_of)
        entries = copy_entries(step, tree, EmptyTree(), rules, unpacker.unpack)
        key = entries_key(
            canonical_order(entries),
            lambda entry: unpacker.place(entry, inputs.place) or inputs.place(entry),
        )
    except (CopyProblem, TooManyLinks, BuildError, ImageError, OSError):
        return None  # The copy itself fails of the same, and says where.
    return f"files {key.digest}"
