"""The journal of what happens to containers, as `lamina events` shows it: a line of JSON each.

Whoever does something to a container appends to `containers/events` in the store. A journal of
more than a mebibyte becomes `events.1`, and there are no more than those two. The form of an
event is docker's.
"""

from __future__ import annotations

import os
import time

from runtime.monitor.json_text import json_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from runtime.monitor.json_text import Json

JOURNAL = "events"
_LARGEST = 1 << 20
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


def append_event(
    folder: str,
    action: str,
    actor: str,
    attributes: Mapping[str, str],
    *,
    kind: str = "container",
) -> None:
    """Record that `action` happened to `actor` (an ID or a name).

    A journal that cannot be written stops nobody: it is there to be looked at.
    """
    now = time.time_ns()
    document: Json = {
        "Type": kind,
        "Action": action,
        "Actor": {"ID": actor, "Attributes": dict(attributes)},
        "time": now // 1_000_000_000,
        "timeNano": now,
    }
    path = f"{folder}/{JOURNAL}"
    try:
        fd = os.open(path, _FLAGS, 0o600)
        try:
            # One write: lines of several processes do not get mixed.
            os.write(fd, json_text(document).encode() + b"\n")
            status = os.fstat(fd)
            if status.st_size > _LARGEST and status.st_ino == os.stat(path).st_ino:
                os.rename(path, f"{path}.1")
        finally:
            os.close(fd)
    except OSError:
        return


def last_actions(folder: str, actor: str) -> tuple[str, ...]:
    """What last happened to a container that may be gone: its actions since it was started."""
    import json

    actions: list[str] = []
    for name in (f"{JOURNAL}.1", JOURNAL):
        try:
            with open(f"{folder}/{name}", encoding="utf-8") as file:
                events = [json.loads(line) for line in file if actor in line]
        except FileNotFoundError:
            continue
        for event in events:
            if event["Actor"]["ID"] == actor:
                actions = [] if event["Action"] == "start" else [*actions, event["Action"]]
    return tuple(actions)
