"""A user in front of a container: what `run`, `start -a`, `attach` and `exec -t` share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from builder.commands.keys import DEFAULT_KEYS, parse_keys
from builder.commands.relay import Detached, Side, raw_mode, relay
from builder.errors import OptionError
from runtime.containers import control
from runtime.containers.attach import Attachment, attachment_pair
from runtime.containers.folder import find_container
from runtime.errors import ContainerNotFound, NotRunning, SetupFailed

_UNKNOWN_STATUS = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Which of a container's streams are passed on."""

    stdin: bool = False
    stdout: bool = True
    stderr: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A connection to a container's monitor. `their_fd` is for a monitor that is to start."""

    attachment: Attachment
    their_fd: int
    shown: Shown
    terminal: bool
    keys: bytes

    def sit(self, root: str, container_id: str, *, proxy: bool) -> int:
        """Be in front of the container until it ends; its exit status, 0 if let go of."""
        if self.their_fd >= 0:
            os.close(self.their_fd)

        def pass_on(number: int) -> None:
            with suppress(ContainerNotFound, NotRunning, SetupFailed):
                control.send(find_container(root, container_id), number)

        try:
            status = sit(
                self.attachment,
                shown=self.shown,
                terminal=self.terminal,
                keys=self.keys,
                on_signal=pass_on if proxy else None,
            )
        except Detached:
            return 0
        return _UNKNOWN_STATUS if status is None else status


@contextmanager
def new_session(shown: Shown, *, terminal: bool, keys: bytes) -> Iterator[Session]:
    """A session with a container that is about to start."""
    attachment, theirs = attachment_pair()
    try:
        yield Session(
            attachment=attachment,
            their_fd=theirs.detach(),
            shown=shown,
            terminal=terminal,
            keys=keys,
        )
    finally:
        attachment.close()


def need_terminal(*, interactive: bool, terminal: bool) -> None:
    """`OptionError` if input is to go to a terminal, and does not come from one."""
    if interactive and terminal and not os.isatty(0):
        raise OptionError("the input device is not a TTY", hint="leave out -t")


def keys_of(text: str | None) -> bytes:
    """The bytes of `--detach-keys`."""
    return parse_keys(text or DEFAULT_KEYS)


def sit(
    side: Side,
    *,
    shown: Shown,
    terminal: bool,
    keys: bytes,
    on_signal: Callable[[int], None] | None,
) -> int | None:
    """Be in front of a container until it ends; its exit status. `Detached`.

    The keys count where they are typed at a terminal.
    """
    with ExitStack() as stack:
        if shown.stdin and terminal:
            stack.enter_context(raw_mode(0))
        return relay(
            side,
            stdin=0 if shown.stdin else None,
            stdout=shown.stdout,
            stderr=shown.stderr,
            terminal=terminal,
            keys=keys if shown.stdin and os.isatty(0) else None,
            on_signal=on_signal,
        )
