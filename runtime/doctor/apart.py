"""Trying in another process what changes the one that does it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any


def told_apart(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a child process says of what it did; `why` if it ended without a word."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_fd)
        try:
            os.write(write_fd, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    try:
        data = b""
        while piece := os.read(read_fd, 65536):
            data += piece
    finally:
        os.close(read_fd)
        os.waitpid(pid, 0)
    told: dict[str, Any] = json.loads(data or b'{"why": "the test ended without a word"}')
    return told
