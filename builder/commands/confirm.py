"""Asking before something is removed."""

from __future__ import annotations

import sys

from builder.commands.failures import say


def confirmed(warning: str) -> bool:
    """Whether the user, told what will happen, says yes."""
    say(warning)
    sys.stderr.write("Are you sure you want to continue? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    say("nothing was removed")
    return False
