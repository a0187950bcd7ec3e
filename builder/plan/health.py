"""HEALTHCHECK: from the instruction to the image's config."""

from __future__ import annotations

from typing import assert_never

from grammar.nodes import Exec, Healthcheck, Shell
from runtime.image.model import Healthcheck as HealthConfig


def health_of(node: Healthcheck) -> HealthConfig:
    """What the config says for it; times that are not given are 0, which means inherited."""
    match node.command:
        case None:
            test: tuple[str, ...] = ("NONE",)
        case Shell(text):
            test = ("CMD-SHELL", text)
        case Exec(argv):
            test = ("CMD", *argv)
        case _:
            assert_never(node.command)
    return HealthConfig(
        test=test,
        interval_ns=node.interval or 0,
        timeout_ns=node.timeout or 0,
        start_period_ns=node.start_period or 0,
        start_interval_ns=node.start_interval or 0,
        retries=node.retries or 0,
    )
