"""Signals that come in the middle of anything end the command with their own status."""

from __future__ import annotations

import pytest

from builder.cli import Terminated, signal_behind


class Interrupted:
    """What a class has when a signal comes while it is being made."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __set_name__(self, owner: type, name: str) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "status"), [(Terminated(15), 143), (Terminated(1), 129), (KeyboardInterrupt(), 130)]
)
def test_a_signal_while_a_class_is_made(error: BaseException, status: int) -> None:
    with pytest.raises((RuntimeError, type(error))) as caught:
        type("Made", (), {"member": Interrupted(error)})
    assert signal_behind(caught.value) == status


def test_what_is_no_signal() -> None:
    assert signal_behind(ValueError("no")) is None
