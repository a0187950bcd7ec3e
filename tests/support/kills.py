"""Children that are killed at a step: a call that Python reports, or a statement of SQL."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable
from typing import Any

from runtime.image.store.database import Database


class Unsynced(sqlite3.Connection):
    """A connection that never waits for the disk: killed processes do not need it to."""

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        return super().execute(statement.replace("synchronous=NORMAL", "synchronous=OFF"), *values)


def connect_unsynced(*arguments: Any, **keywords: Any) -> sqlite3.Connection:
    return Unsynced(*arguments, **keywords)


class Countdown:
    """Kills the process at a step: a call that Python reports, or a statement of SQL."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def step(self, *_: object) -> None:
        self._left -= 1
        if self._left <= 0:
            signal.raise_signal(signal.SIGKILL)

    def event(self, event: str, _arguments: object) -> None:
        if event == "open" or event.startswith(("os.", "fcntl.", "sqlite3.")):
            self.step()


def killed_at(steps: int, scenario: Callable[[str], None], root: str) -> bool:
    """Carry a scenario out in a child that is killed at a step; whether it got so far."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            countdown = Countdown(steps)
            connect = Database._connect

            def connect_and_count(self: Database) -> Any:
                connection = connect(self)
                connection.set_trace_callback(countdown.step)
                return connection

            setattr(Database, "_connect", connect_and_count)  # noqa: B010
            sys.addaudithook(countdown.event)
            scenario(root)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    if status:
        raise RuntimeError(f"the scenario failed at step {steps}")
    return False
