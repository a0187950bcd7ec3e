"""What a build shows: whole lines, and nothing that could move the cursor."""

from __future__ import annotations

import io
import json

import pytest

from builder.commands.failures import report
from builder.errors import BuildError
from builder.events import (
    BaseUsed,
    BuildFinished,
    Event,
    Noticed,
    StepCached,
    StepEnded,
    StepFinished,
    StepOutput,
    StepStarted,
    Warned,
)
from builder.progress import JsonProgress, PlainProgress
from grammar.nodes import Span
from runtime.image.digest import DiffID, Digest

LAYER = DiffID("sha256:" + "0" * 64)


def shown(*events: Event) -> list[str]:
    stream = io.StringIO()
    progress = PlainProgress(stream)
    for event in events:
        progress(event)
    return stream.getvalue().splitlines()


def test_plain_lines() -> None:
    assert shown(
        BaseUsed(number=1, label="1/3", text="FROM busybox"),
        StepCached(number=2, label="2/3", text="COPY . .", diff_id=LAYER),
        StepStarted(number=3, label="3/3", text="RUN make"),
        StepFinished(number=3, seconds=1.24, diff_id=LAYER),
        Noticed(message="careful", span=Span("Dockerfile", 4, 4)),
        BuildFinished(image_id=Digest("sha256:1"), seconds=2.0),
        Warned(rule="StageNameCasing", message="it is not", span=Span("Dockerfile", 1, 1)),
    ) == [
        "#1 [1/3] FROM busybox",
        "#2 [2/3] COPY . .",
        "#2 CACHED",
        "#3 [3/3] RUN make",
        "#3 DONE 1.2s",
        "WARNING: careful (Dockerfile:4)",
        "built sha256:1 in 2.0s",
        "WARN: StageNameCasing: it is not (line 1)",
    ]


def test_output_is_shown_by_whole_lines() -> None:
    assert shown(
        StepOutput(number=3, data=b"one\ntw", seconds=0.5),
        StepOutput(number=4, data=b"other\n", seconds=0.6),
        StepOutput(number=3, data=b"o\nthree", seconds=0.7),
        StepFinished(number=3, seconds=1.0, diff_id=LAYER),
    ) == ["#3 0.500 one", "#4 0.600 other", "#3 0.500 two", "#3 0.700 three", "#3 DONE 1.0s"]


def test_control_characters_do_not_reach_the_terminal() -> None:
    (line,) = shown(StepOutput(number=1, data=b"a\x1b[2Jb\x07\tc\r\n", seconds=0.0))
    assert line == "#1 0.000 a�[2Jb�\tc"
    assert shown(BaseUsed(number=1, label="1/1", text="FROM a\x1b[2J")) == ["#1 [1/1] FROM a�[2J"]


def test_nor_do_those_in_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    report(BuildError("no image a\x1b[2J\nthere", hint="not \u202etxt"))
    assert capsys.readouterr().err == "ERROR: no image a�[2J\nthere\nhint: not �txt\n"


def test_a_step_that_did_not_finish() -> None:
    assert shown(
        StepEnded(number=1, seconds=1, message="boom", cancelled=False),
        StepEnded(number=2, seconds=1, message="", cancelled=True),
    ) == ["#1 ERROR: boom", "#2 CANCELED"]


def test_json_lines() -> None:
    stream = io.StringIO()
    progress = JsonProgress(stream)
    progress(StepOutput(number=1, data=b"\xff\n", seconds=0.5))
    assert json.loads(stream.getvalue()) == {
        "event": "StepOutput", "number": 1, "data": "�\n", "seconds": 0.5,
    }  # fmt: skip
