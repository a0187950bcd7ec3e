"""Making room: what can go goes, the least valuable first, until there is enough.

Nothing that is in use goes, whoever uses it: not what another process holds, not what a container
has. What nothing refers to always goes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, assert_never

from runtime.image.digest import DiffID, Digest, encoded
from runtime.image.errors import StoreError
from runtime.image.layer.recipe import own_recipes
from runtime.image.store.caches import CACHE_MEMO, taken_cache
from runtime.image.store.candidates import (
    CachedLayer,
    CacheMount,
    Limit,
    Reason,
    SpareForm,
    Victim,
    by_worth,
    cache_mounts,
    cached_layers,
    choose,
    spare_forms,
)
from runtime.image.store.collect import Collected, collect
from runtime.image.store.measure import Amount, total_of
from runtime.image.store.partial import sweep_partial
from runtime.image.store.parts import Parts
from runtime.image.store.remove import remove_tree
from runtime.image.store.reserve import spent_reserve
from runtime.image.store.spare import drop_form
from runtime.image.store.usage import ImageUsage, Survey, survey

_SHORT: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneRequest:
    """What may go, and how much may stay.

    Without a `limit` all that may go goes: images without a name and layers that only the build
    cache needs. With one, things go until there is no more than that; then cache mounts and spare
    forms of layers may go too. `everything` adds them in any case, and images with names.
    `unused_seconds` keeps what was used since, `image_seconds` does so for images alone.
    `images_in_use` gives the images that containers were made of.
    """

    everything: bool = False
    limit: Limit | None = None
    unused_seconds: float = 0
    image_seconds: float = 0
    images_in_use: Callable[[], Collection[Digest]] = tuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """Something that went: what it was, why it could go, how much it took."""

    subject: str
    why: str
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Things of a kind that stay for the same reason."""

    kind: Literal["image", "cached layer", "cache mount"]
    reason: Reason
    count: int
    amount: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What went, what stays and why, what there is now."""

    removed: tuple[Removal, ...]
    kept: tuple[Kept, ...]
    left: Amount

    @property
    def amount(self) -> Amount:
        """How much went."""
        return total_of(removal.amount for removal in self.removed)


def prune(parts: Parts, request: PruneRequest) -> Pruned:
    """Make room in a store. No other thread of this process may be using it."""
    with spent_reserve(parts.paths):
        parts.new_name()  # If we are killed, this is what calls for a collection.
        return _Pruning(parts, request).run()


class _Pruning:
    def __init__(self, parts: Parts, request: PruneRequest) -> None:
        self._parts = parts
        self._request = request
        self._removed: list[Removal] = []
        self._refused: dict[object, Reason] = {}
        self._total = Amount()

    def run(self) -> Pruned:
        self._remove_litter(self._look())
        found = self._look()
        self._remove_images([image for image in found.images if not image.names], found)
        self._remove_victims()
        if self._request.everything:
            found = self._look()
            self._remove_images(found.images, found)
            self._remove_victims()
            self._drop_memory()
        found = self._look()
        return Pruned(
            removed=tuple(self._removed),
            kept=tuple(kept_of(found, self._request, self._refused)),
            left=found.amount,
        )

    def _look(self) -> Survey:
        found = survey(self._parts)
        self._total = found.amount
        return found

    def _excess(self) -> Amount | None:
        """How much is too much; without a limit nothing is enough (`None`)."""
        limit = self._request.limit
        return None if limit is None else limit.excess(self._total)

    def _is_enough(self) -> bool:
        return self._excess() == Amount()

    def _note(self, subject: str, why: str, amount: Amount) -> None:
        self._removed.append(Removal(subject=subject, why=why, amount=amount))
        self._total -= amount

    def _is_recent(self, last_used: int, seconds: float) -> bool:
        now = time.time()
        return now - min(last_used, now) < seconds

    # ---- what nothing refers to

    def _remove_litter(self, found: Survey) -> None:
        layers = {layer.diff_id: layer for layer in found.layers}
        loose = {item.path: item.amount for item in found.loose}
        collected = self._collect(None)
        for diff_id in collected.layers:
            if diff_id in layers:
                self._note(_short("layer", diff_id), "nothing refers to it", layers[diff_id].amount)
        for digest in collected.blobs:
            amount = loose.get(f"blobs/sha256/{encoded(digest)}", Amount())
            self._note(_short("blob", digest), "nothing refers to it", amount)
        empty = [
            layer.diff_id
            for layer in found.layers
            if layer.records and not (layer.tree or layer.blobs or layer.images or layer.leases)
        ]
        self._collect(empty, forget_steps=True)
        freed = sweep_partial(self._parts.paths.partial, self._request.unused_seconds)
        if freed:
            why = "nobody goes on with them"
            self._note("beginnings of downloads", why, Amount(bytes=freed))

    def _collect(self, only: Collection[DiffID] | None, *, forget_steps: bool = False) -> Collected:
        parts = self._parts
        parts.layers.forget()
        collected = collect(
            parts.paths, parts.database, parts.holds, parts.new_name, only,
            forget_steps=forget_steps,
        )  # fmt: skip
        for tree in collected.trash:
            self._throw_away(tree)
        return collected

    def _throw_away(self, tree: str) -> None:
        """Remove what is out of the way already; what cannot be removed, a sweep will find."""
        with suppress(OSError):
            remove_tree(tree)

    # ---- images

    def _remove_images(self, images: Iterable[ImageUsage], found: Survey) -> None:
        """Remove images, the one that was used longest ago first, until there is room enough."""
        for image in sorted(images, key=lambda image: (image.last_used, image.id)):
            if self._is_enough():
                return
            reason = self._remove_image(image, found)
            if reason is not None:
                self._refused[image.id] = reason
            elif image.names and self._request.limit is not None:
                self._remove_victims()

    def _remove_image(self, image: ImageUsage, found: Survey) -> Reason | None:
        request, database = self._request, self._parts.database
        seconds = max(request.unused_seconds, request.image_seconds)
        if self._is_recent(image.last_used, seconds):
            return Reason.RECENT
        with self._parts.holds.taking([image.id]) as taken:
            if not taken:
                return Reason.IN_USE
            if image.id in request.images_in_use():
                return Reason.CONTAINER
            with database.transaction():
                if request.everything:
                    database.execute("DELETE FROM names WHERE image = ?", (image.id,))
                    database.execute("DELETE FROM list_images WHERE image = ?", (image.id,))
                if not database.execute(
                    "DELETE FROM images WHERE id = ? AND NOT EXISTS"
                    " (SELECT 1 FROM names WHERE image = id UNION"
                    " SELECT 1 FROM list_images WHERE image = id)",
                    (image.id,),
                ):
                    return Reason.NAMED
        layers = {layer.diff_id: layer for layer in found.layers}
        gone = self._collect(image.layers).layers
        amount = total_of(layers[diff_id].amount for diff_id in gone if diff_id in layers)
        names = ", ".join(image.names)
        why = "no container uses it" if names else "it has no name"
        self._note(_short("image", image.id) + (f" ({names})" if names else ""), why, amount)
        return None

    # ---- layers, forms and cache mounts

    def _remove_victims(self) -> None:
        """Remove what is worth least, until there is room enough or nothing is left to go."""
        while not self._is_enough():
            found = self._look()
            chosen = self._chosen(self._victims(found))
            if not chosen:
                return
            # All at once: each collection looks at every reference.
            self._remove_layers([victim for victim in chosen if isinstance(victim, CachedLayer)])
            for victim in chosen:
                match victim:
                    case CachedLayer():
                        pass
                    case SpareForm():
                        self._remove_form(victim)
                    case CacheMount():
                        self._remove_cache(victim)
                    case _:
                        assert_never(victim)

    def _victims(self, found: Survey) -> list[Victim]:
        victims: list[Victim] = [*cached_layers(found.layers)]
        if self._request.everything or self._request.limit is not None:
            used = {image.id: image.last_used for image in found.images}
            victims += spare_forms(found.layers, used, own_recipes().keys())
            victims += cache_mounts(found.caches)
        left = []
        for victim in victims:
            if self._is_recent(victim.last_used, self._request.unused_seconds):
                self._refused[victim.key] = Reason.RECENT
            elif victim.key not in self._refused:
                left.append(victim)
        return left

    def _chosen(self, victims: list[Victim]) -> list[Victim]:
        """Of the victims those worth least, as many as it takes."""
        limit, excess = self._request.limit, self._excess()
        if limit is None or excess is None:
            return victims
        ordered = by_worth(victims, now=time.time(), limit=limit, excess=excess)
        return choose(ordered, self._total, limit)

    def _remove_layers(self, layers: list[CachedLayer]) -> None:
        gone = set(self._collect([layer.diff_id for layer in layers], forget_steps=True).layers)
        for layer in layers:
            if layer.diff_id in gone:
                subject = f"{_short('layer', layer.diff_id)} ({', '.join(layer.kinds)})"
                self._note(subject, "only the build cache had it", layer.amount)
            else:
                self._refused[layer.key] = Reason.IN_USE

    def _remove_form(self, form: SpareForm) -> None:
        reason = drop_form(self._parts, form)
        if reason is not None:
            self._refused[form.key] = reason
            return
        what = "tree of " if form.digest is None else f"{_short('blob', form.digest)} of "
        why = "it can be made again from another form"
        self._note(what + _short("layer", form.diff_id), why, form.amount)

    def _remove_cache(self, cache: CacheMount) -> None:
        path = f"{self._parts.paths.caches}/{cache.name}"
        trash = self._parts.new_name()
        with taken_cache(path) as free:
            if not free:
                self._refused[cache.key] = Reason.IN_USE
                return
            os.rename(path, trash)
        self._throw_away(trash)
        self._note(f"cache mount {cache.name[:_SHORT]}", "no step is using it", cache.amount)

    # ---- the database's own memory

    def _drop_memory(self) -> None:
        """Forget what is only worth not computing twice, and give the pages back."""
        if self._is_enough():
            return
        database = self._parts.database
        with database.transaction():
            database.execute("DELETE FROM replays")
            database.execute("DELETE FROM memos WHERE kind != ?", (CACHE_MEMO,))
        with suppress(StoreError):  # Others are writing: the pages will be used again.
            database.rows("VACUUM")
            database.rows("PRAGMA wal_checkpoint(TRUNCATE)")


def kept_of(
    found: Survey, request: PruneRequest, refused: Mapping[object, Reason]
) -> Iterator[Kept]:
    """What stays of what could go at all, and why."""
    otherwise = Reason.ENOUGH if request.limit is not None else Reason.NOT_ASKED
    counted: set[DiffID] = set()
    layers = {layer.diff_id: layer for layer in found.layers}
    images: dict[Reason, list[Amount]] = {}
    for image in found.images:
        reason = refused.get(image.id, otherwise if request.everything else Reason.NAMED)
        fresh = {i for i in image.layers if i in layers} - counted
        counted |= fresh
        images.setdefault(reason, []).append(total_of(layers[i].amount for i in fresh))
    yield from _kept("image", images)
    cached: dict[Reason, list[Amount]] = {}
    for layer in cached_layers(found.layers):
        cached.setdefault(refused.get(layer.key, otherwise), []).append(layer.amount)
    yield from _kept("cached layer", cached)
    mounts: dict[Reason, list[Amount]] = {}
    for mount in cache_mounts(found.caches):
        mounts.setdefault(refused.get(mount.key, otherwise), []).append(mount.amount)
    yield from _kept("cache mount", mounts)


def _kept(
    kind: Literal["image", "cached layer", "cache mount"], found: Mapping[Reason, list[Amount]]
) -> Iterator[Kept]:
    for reason, amounts in found.items():
        yield Kept(kind=kind, reason=reason, count=len(amounts), amount=total_of(amounts))


def _short(kind: str, name: Digest | DiffID) -> str:
    return f"{kind} {encoded(name)[:_SHORT]}"
