"""What a plan depends on besides the files of its context."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from builder.plan.remote_names import RemoteFile, Repository
from builder.plan.steps import FromImage, FromNamed, ImageBase, NamedBase, Plan
from runtime.image.digest import Digest
from runtime.image.model import ImageConfig

Images = tuple[tuple[str, Digest], ...]
"""Images a plan stands on: each reference as it was written, and what it stood for."""


def images_used(plan: Plan) -> Images | None:
    """The images a plan depends on; `None` if it takes something from outside the store too."""
    images: dict[str, Digest] = {}
    for value in plan_values(plan):
        match value:
            case ImageBase() | FromImage():
                images[value.reference] = value.image_id
            case RemoteFile() | Repository() | FromNamed() | NamedBase():
                return None
            case _:
                continue
    return tuple(images.items())


def base_images(plan: Plan) -> Images:
    """The images a plan depends on, whatever else it does."""
    used = (v for v in plan_values(plan) if isinstance(v, ImageBase | FromImage))
    return tuple({value.reference: value.image_id for value in used}.items())


def plan_values(plan: Plan) -> Iterator[Any]:
    """Every value in a plan: bases, steps, inputs, what is elsewhere."""
    yield from _values(plan.stages)


def _values(value: Any) -> Iterator[Any]:
    """A plan's values and all that is in them; configs are known by their image's ID."""
    if isinstance(value, tuple):
        for item in value:
            yield from _values(item)
    elif is_dataclass(value) and not isinstance(value, type | ImageConfig):
        yield value
        for field in fields(value):
            yield from _values(getattr(value, field.name))
