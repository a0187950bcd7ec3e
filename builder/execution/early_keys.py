"""Names for what steps give that need no look at what they stand on.

A copy's own key is made of what it sees of the layers below, so those have to be here. A cache from
elsewhere knows results whose layers have not been fetched; by these keys, made of nothing but the
layers' digests, a step on such layers is found without any of them.
"""

from __future__ import annotations

from dataclasses import replace

from builder.cache.keys import Key, entries_key, identity, make_key
from builder.cache.work import Elsewhere
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


class EarlyKeys:
    """The early keys of one build's steps."""

    def __init__(
        self, elsewhere: Elsewhere, inputs: Inputs, unpacker: Unpacker, layers_of: LayersOf
    ) -> None:
        self._elsewhere = elsewhere
        self._inputs = inputs
        self._unpacker = unpacker
        self._layers_of = layers_of

    def key(self, planned: PlannedStep, layers: tuple[DiffID, ...], epoch: int) -> Key | None:
        """The early key of a step; `None` for one that has none, or that cannot be done anyway."""
        step = planned.step
        if isinstance(step, WorkdirStep):
            components = {"path": step.path, "user": step.user}
        elif isinstance(step, CopyStep):
            content = self._content(step)
            if content is None:
                return None
            components = {"step": identity(replace(step, input=FromNothing())), "content": content}
        else:
            return None
        # A linked copy sees nothing below it, unless it needs to know who its owner is.
        free = isinstance(step, CopyStep) and step.link and step.chown is None
        parent = "" if free else chain_id(layers)
        return make_key("early", {**components, "parent": parent, "epoch": str(epoch)})

    def needs_fetch(self, planned: PlannedStep, layers: tuple[DiffID, ...]) -> bool:
        """Whether a step would look into layers that are not here to find its own key."""
        step = planned.step
        if isinstance(step, CopyStep):
            layers = (*layers, *(self._inputs.layers(step.input, self._layers_of) or ()))
        elif not isinstance(step, WorkdirStep):
            return False
        return not self._elsewhere.are_here(layers)

    def _content(self, step: CopyStep) -> str | None:
        """What there is to be copied, as far as it can be named without a layer."""
        if any(isinstance(each, RemoteFile | Repository) for each in step.sources):
            return None
        layers = self._inputs.layers(step.input, self._layers_of)
        if layers is not None:
            return f"layers {chain_id(layers)}"
        rules = CopyRules(owner=None, change_mode=None, mtime=0)
        place = self._inputs.place
        try:
            tree = self._inputs.tree(step.input, self._layers_of)
            entries = copy_entries(step, tree, EmptyTree(), rules, self._unpacker.unpack)
            key = entries_key(
                canonical_order(entries),
                lambda entry: self._unpacker.place(entry, place) or place(entry),
            )
        except (CopyProblem, TooManyLinks, BuildError, ImageError, OSError):
            return None  # The copy itself fails of the same, and says where.
        return f"files {key.digest}"
