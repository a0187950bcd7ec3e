"""What `lamina df` shows a row of: kinds of things, each layer counted for one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runtime.containers.record import Container
from runtime.containers.volumes import Volume
from runtime.image.store.measure import Amount, total_of
from runtime.image.store.usage import ImageUsage, LayerUsage, Survey


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A kind of thing: how many there are, how many are needed, what they take, what could go."""

    kind: str
    total: int
    active: int
    amount: Amount
    reclaimable: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A store's content, its containers and volumes, with what these take themselves.

    `users` are the containers of each volume; `failed` is what each failed step has left.
    """

    survey: Survey
    containers: tuple[tuple[Container, Amount], ...]
    volumes: tuple[tuple[Volume, Amount], ...] = ()
    users: Mapping[str, Sequence[str]] = field(default_factory=dict)
    failed: tuple[Amount, ...] = ()

    @property
    def amount(self) -> Amount:
        """All of it together."""
        own = total_of(amount for _, amount in (*self.containers, *self.volumes))
        return self.survey.amount + own + total_of(self.failed)

    def container_count(self, image: ImageUsage) -> int:
        return sum(container.description.image_id == image.id for container, _ in self.containers)


def rows(found: Found) -> list[Row]:
    """A row for each kind of thing.

    A layer counts for the images, or else the cache, or else a container, or else for none.
    """
    survey = found.survey
    images = {image.id: image for image in survey.images}
    active = {image.id for image in survey.images if found.container_count(image)}
    of_images = [layer for layer in survey.layers if layer.images]
    others = [layer for layer in survey.layers if not layer.images]
    cached = [layer for layer in others if layer.records]
    leased = [layer for layer in others if layer.leases and not layer.records]
    unused = [layer for layer in others if not layer.leases and not layer.records]
    records = [record for layer in survey.layers for record in layer.records]
    needed = [layer for layer in survey.layers if layer.images or layer.leases]
    running = [pair for pair in found.containers if pair[0].is_running]
    own = total_of(amount for _, amount in found.containers)
    loose = total_of(item.amount for item in survey.unreferenced)
    return [
        Row(
            kind="Images",
            total=len(images),
            active=len(active),
            amount=amount_of(of_images),
            reclaimable=amount_of(
                layer
                for layer in of_images
                if not active.intersection(layer.images) and not layer.leases
            ),
        ),
        Row(
            kind="Containers",
            total=len(found.containers),
            active=len(running),
            amount=own + amount_of(leased),
            reclaimable=total_of(
                amount for container, amount in found.containers if not container.is_running
            ),
        ),
        Row(
            kind="Local Volumes",
            total=len(found.volumes),
            active=sum(volume.name in found.users for volume, _ in found.volumes),
            amount=total_of(amount for _, amount in found.volumes),
            reclaimable=total_of(
                amount for volume, amount in found.volumes if volume.name not in found.users
            ),
        ),
        Row(
            kind="Build Cache",
            total=len(records),
            active=sum(len(layer.records) for layer in needed),
            amount=amount_of(cached),
            reclaimable=amount_of(layer for layer in cached if not layer.leases),
        ),
        Row(
            kind="Cache Mounts",
            total=len(survey.caches),
            active=0,
            amount=total_of(cache.amount for cache in survey.caches),
            reclaimable=total_of(cache.amount for cache in survey.caches),
        ),
        *_failed_steps(found),
        Row(
            kind="Unreferenced",
            total=len(unused) + len(survey.unreferenced),
            active=0,
            amount=amount_of(unused) + loose,
            reclaimable=amount_of(unused) + loose,
        ),
    ]


def amount_of(layers: Iterable[LayerUsage]) -> Amount:
    return total_of(layer.amount for layer in layers)


def _failed_steps(found: Found) -> list[Row]:
    """What failed steps have left, where there is any."""
    if not found.failed:
        return []
    amount = total_of(found.failed)
    return [
        Row(
            kind="Failed Steps",
            total=len(found.failed),
            active=0,
            amount=amount,
            reclaimable=amount,
        )
    ]
