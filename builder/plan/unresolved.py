"""A name that gives no image, in the words that BuildKit has for it."""

from __future__ import annotations

from builder.errors import PlanError
from grammar.errors import quoted, shown
from grammar.nodes import Span
from runtime.image.errors import ImageError, InvalidReference
from runtime.image.reference import Reference


def unresolved(name: str, error: ImageError, *, span: Span, hint: str | None) -> PlanError:
    """Why there is no image of that name, or that it is no name."""
    hint = hint or error.hint
    if isinstance(error, InvalidReference):
        message = f"failed to parse stage name {quoted(name)}: {error.message}"
        return PlanError(message, span=span, hint=hint)
    message = f"{shown(name)}: failed to resolve source metadata{_in_full(name)}: {error.message}"
    return PlanError(message, span=span, hint=hint)


def _in_full(name: str) -> str:
    try:
        return f" for {Reference.parse(name)}"
    except InvalidReference:  # an ID, or a layout
        return ""
