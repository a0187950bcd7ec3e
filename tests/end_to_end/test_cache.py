"""A step is done again when something it can see has changed, and only then."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.cli import Lamina
from support.steps import cached_steps

pytestmark = pytest.mark.namespaces

DOCKERFILE = """\
FROM busybox
COPY seen /seen
RUN cat /seen > /made && echo made it
COPY other /other
RUN echo independent > /free
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "seen").write_text("one\n")
    (tmp_path / "other").write_text("one\n")
    return tmp_path


def test_nothing_is_done_twice(private_lamina: Lamina, context: Path) -> None:
    first = private_lamina.build(context, "first")
    assert not any(cached_steps(first).values()), first.text
    second = private_lamina.build(context, "second")
    assert len(cached_steps(second)) == 4, second.text
    assert all(cached_steps(second).values()), second.text
    assert not re.search(r"^#\d+ [\d.]+ made it$", second.text, re.MULTILINE)
    assert re.search(r"^#\d+ [\d.]+ made it$", first.text, re.MULTILINE)
    assert private_lamina.inspect("first")["Id"] == private_lamina.inspect("second")["Id"]


def test_no_cache_does_everything_again_and_gets_the_same(
    private_lamina: Lamina, context: Path
) -> None:
    private_lamina.build(context, "first")
    again = private_lamina.build(context, "second", "--no-cache")
    assert not any(cached_steps(again).values()), again.text
    assert private_lamina.inspect("first")["Id"] == private_lamina.inspect("second")["Id"]


def test_a_changed_file_reruns_what_sees_it(private_lamina: Lamina, context: Path) -> None:
    private_lamina.build(context, "first")
    (context / "seen").write_text("two\n")
    done = cached_steps(private_lamina.build(context, "second"))
    assert done == {
        "COPY seen /seen": False,
        "RUN cat /seen > /made && echo made it": False,
        "COPY other /other": True,  # a copy does not see the files of its parent
        "RUN echo independent > /free": False,
    }
    assert private_lamina("run", "--rm", "second", "cat", "/made").stdout == "two\n"


def test_a_touched_file_reruns_nothing(private_lamina: Lamina, context: Path) -> None:
    private_lamina.build(context, "first")
    (context / "seen").write_text("one\n")
    assert all(cached_steps(private_lamina.build(context, "second")).values())


def test_the_same_layer_again_ends_the_rebuild(private_lamina: Lamina, tmp_path: Path) -> None:
    """Early cutoff: what follows a step that gave the same layer is still cached."""
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nCOPY list /list\nRUN sort /list > /sorted && rm /list\n"
        "FROM busybox\nCOPY --from=0 /sorted /sorted\nRUN wc -l < /sorted > /count\n"
    )
    (tmp_path / "list").write_text("a\nb\n")
    private_lamina.build(tmp_path, "first")
    (tmp_path / "list").write_text("b\na\n")
    done = cached_steps(private_lamina.build(tmp_path, "second"))
    assert done == {
        "COPY list /list": False,
        "RUN sort /list > /sorted && rm /list": False,
        "COPY --from=0 /sorted /sorted": True,
        "RUN wc -l < /sorted > /count": True,
    }


def test_an_argument_reruns_what_uses_it(private_lamina: Lamina, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nRUN echo before\nARG WORD=one\nRUN echo $WORD > /word\n"
    )
    private_lamina.build(tmp_path, "first")
    done = cached_steps(private_lamina.build(tmp_path, "second", "--build-arg", "WORD=two"))
    assert done == {"RUN echo before": True, "RUN echo $WORD > /word": False}
    assert private_lamina("run", "--rm", "second", "cat", "/word").stdout == "two\n"


def test_stores_agree(lamina: Lamina, private_lamina: Lamina, context: Path) -> None:
    """The same input gives the same image in every store."""
    lamina.build(context, "agreed", "--no-cache")
    private_lamina.build(context, "agreed")
    assert lamina.inspect("agreed")["Id"] == private_lamina.inspect("agreed")["Id"]
