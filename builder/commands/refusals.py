"""Options that others have and that cannot be had here: each is known, and refused with why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import click

from builder.errors import OptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Why an option cannot be had, and what to do instead."""

    why: str
    hint: str | None = None


class RefusingCommand(click.Command):
    """A command that knows options it refuses. They cost nothing where nobody gives them."""

    refused: Mapping[str, Missing] = {}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            missing = self.refused.get(error.option_name)
            if missing is None:
                raise
            raise OptionError(f"{error.option_name}: {missing.why}", hint=missing.hint) from error


def refusing(refused: Mapping[str, Missing]) -> type[RefusingCommand]:
    """A class of commands that refuse these options, by each of their names."""
    return type("RefusingCommand", (RefusingCommand,), {"refused": refused})
