"""What a build's plain log says of its steps."""

from __future__ import annotations

import re

from support.cli import Outcome


def cached_steps(outcome: Outcome) -> dict[str, bool]:
    """Each step's text in the plain log, and whether it came from the cache."""
    texts: dict[str, str] = {}
    cached: dict[str, bool] = {}
    for number, rest in re.findall(r"^#(\d+) (.*)$", outcome.text, re.MULTILINE):
        if match := re.fullmatch(r"\[.*\d+/\d+\] (.*)", rest):
            texts[number] = match[1]
        elif rest == "CACHED" or rest.startswith("DONE"):
            cached[texts[number]] = rest == "CACHED"
    return cached
