"""How transfers are shown: bars that are redrawn on a terminal, lines elsewhere."""

from __future__ import annotations

import io

from builder.transfers import TransferBars, TransferLines
from runtime.image.digest import Digest
from runtime.image.registry.transfer_events import (
    BlobFinished,
    BlobProgressed,
    BlobSkipped,
    BlobStarted,
    Retrying,
)

ONE, TWO = (Digest(f"sha256:{number:064x}") for number in (1, 2))
EVENTS = (
    BlobSkipped(digest=TWO, why="exists"),
    BlobStarted(digest=ONE, size=2_000_000, done=1_000_000),
    BlobProgressed(digest=ONE, done=1_500_000),
    Retrying(why="cut off", seconds=1.5),
    BlobFinished(digest=ONE),
)


def test_lines() -> None:
    said: list[str] = []
    lines = TransferLines(said.append, "pull")
    for event in EVENTS:
        lines(event)
    assert said[:3] == [
        "000000000000: Already exists",
        "000000000000: Pulling 2MB, 1MB of it there",
        "Retrying in 1.5s: cut off",
    ]
    assert said[3].startswith("000000000000: Pull complete in ")


def test_bars() -> None:
    stream = io.StringIO()
    bars = TransferBars(stream, "push")
    for event in EVENTS:
        bars(event)
    drawn = stream.getvalue()
    assert "[===============>              ]" in drawn
    assert "Retrying in 1.5s: cut off\n" in drawn
    assert drawn.endswith("\x1b[2K000000000000: Pushed\n")
    assert "\x1b[2A" in drawn
