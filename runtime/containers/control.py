"""Acting on containers that are there: signals, stopping, waiting, starting again, renaming.

Signals need no privileges but those of the user whose containers they are; so none of this
enters a namespace.
"""

from __future__ import annotations

import _socket
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Final

from runtime.containers.folder import find_container, hold
from runtime.containers.freezer import thaw
from runtime.containers.launch import DEFAULT_STOP_SECONDS
from runtime.containers.names import check_name, locked_names
from runtime.containers.prepare import Held, event
from runtime.containers.record import (
    Container,
    Description,
    State,
    confirmed,
    read_container,
    read_state,
    write_description,
)
from runtime.errors import InvalidContainer, NotRunning, SetupFailed
from runtime.monitor import files
from runtime.monitor.identity import has_ended, is_alive, open_process, send_signal

_RECORDED_SECONDS: Final = 10
_KILL_SECONDS: Final = 10
_STEP: Final = 0.005


def send(container: Container, number: int) -> None:
    """Send a signal to a container's first process.

    If it is one that ends containers, a restart policy no longer applies. `NotRunning`.
    """
    fd = _open(container)
    try:
        stops = container.spec.stop_signal or signal.SIGTERM
        if number in (signal.SIGKILL, stops):
            _mark_stopped(container)
        _send(fd, number)
        if number == signal.SIGKILL:
            with suppress(InvalidContainer):
                thaw(container)
    finally:
        os.close(fd)
    event(container, "kill", signal=str(number))


def stop(container: Container, *, seconds: int | None = None, number: int | None = None) -> None:
    """Have a container end: by its stop signal, and after so many seconds by SIGKILL.

    Negative is any number of seconds. On return its end is recorded, and nobody starts it again.
    Nothing happens to one that does not run.
    """
    if seconds is None:
        seconds = container.spec.stop_seconds
    if seconds is None:
        seconds = DEFAULT_STOP_SECONDS
    stopped = False
    while (now := _active(container)) is not None:
        if not stopped:
            _mark_stopped(now)
            stopped = True
        # Its monitor may be about to start it again, or to record how it ended: look once more.
        fd = open_process(now.state.process)
        if fd is None:
            nudge(now.folder)
            time.sleep(_STEP)
            continue
        try:
            _end(now, fd, seconds, number or now.spec.stop_signal or signal.SIGTERM)
        finally:
            os.close(fd)
        _await_record(now, now.state)
    if stopped:
        event(container, "stop")


def _active(container: Container) -> Container | None:
    """A container as it is by now; `None` if nothing of it runs, or ever will again."""
    try:
        state = confirmed(read_state(container.folder), container.folder)
    except FileNotFoundError:
        return None
    now = replace(container, state=state)
    return now if now.is_active else None


def _end(container: Container, fd: int, seconds: int, number: int) -> None:
    """Send the signal, and SIGKILL if that does not end the process in time."""
    _send(fd, number)
    with suppress(InvalidContainer):
        thaw(container)
    event(container, "kill", signal=str(number))
    if has_ended(fd, None if seconds < 0 else seconds):
        return
    _send(fd, signal.SIGKILL)
    event(container, "kill", signal=str(int(signal.SIGKILL)))
    if not has_ended(fd, _KILL_SECONDS):
        raise SetupFailed("stop the container", 0, "it does not end")


def wait(container: Container) -> int | None:
    """Its exit status, when it has ended; that of the last run if it does not run.

    `None` if whoever ran it was killed, and cannot tell.
    """
    if container.is_running:
        fd = open_process(container.state.process)
        if fd is not None:
            try:
                has_ended(fd, None)
            finally:
                os.close(fd)
        return _await_record(container, container.state)
    if container.state.status == "restarting":
        return _await_record(container, None)
    return container.state.exit_status


def rename(root: str, name: str, new: str) -> None:
    """Call a container otherwise; `NameTaken`, `InvalidContainer`."""
    new = check_name(new)
    container = find_container(root, name)
    parent = os.path.dirname(container.folder)
    with locked_names(parent) as names:
        again = read_container(container.folder)
        if again is None:
            find_container(root, container.id)  # raises: it is gone
            return
        old = again.name
        if new == old:
            raise InvalidContainer(f"the container is called {new} already")
        names.take(new, container.id)
        description: Description = replace(again.description, name=new)
        write_description(container.folder, description)
        names.drop(old, container.id)
    renamed = replace(container, description=description)
    event(renamed, "rename", oldName=old)


@contextmanager
def held(root: str, name: str) -> Iterator[Held]:
    """A container that does not run, held so that nobody else starts or removes it meanwhile.

    `InvalidContainer` if it runs, or somebody else holds it.
    """
    container = find_container(root, name)
    fd = None if container.is_active else hold(container.folder, _RECORDED_SECONDS)
    if fd is None:
        find_container(root, name)
        raise InvalidContainer(f"container {container.description.short_id} is running")
    try:
        again = read_container(container.folder)
        if again is None or again.is_active:
            raise InvalidContainer(f"container {container.description.short_id} is running")
        yield Held(again, fd)
    finally:
        os.close(fd)


def nudge(folder: str) -> None:
    """Have a container's monitor look what it was told."""
    with suppress(OSError):
        connect(folder).close()


def connect(folder: str) -> _socket.socket:
    """A connection to a container's monitor. `OSError` if there is none."""
    # By the folder's descriptor: a path may be longer than the address of a socket can be.
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{fd}/{files.SOCKET}")
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(fd)
    return connection


def _open(container: Container) -> int:
    fd = open_process(container.state.process) if container.is_running else None
    if fd is None:
        raise NotRunning(container.id)
    return fd


def _send(fd: int, number: int) -> None:
    try:
        send_signal(fd, number)
    except PermissionError as error:
        raise SetupFailed(
            "send a signal to the container", error.errno or 0, (error.strerror or "").lower()
        ) from error


def _mark_stopped(container: Container) -> None:
    with suppress(FileNotFoundError):  # one that was to be removed at its end, perhaps
        files.write_file(os.path.join(container.folder, files.STOPPED), b"")


def _await_record(container: Container, before: State | None) -> int | None:
    """Wait until an end has been recorded, or nobody is left to do so; the exit status.

    `before` is the state with the run that has ended; with `None`, until it is no longer active.
    """
    deadline: float | None = None
    while True:
        try:
            state = read_state(container.folder)
        except FileNotFoundError:
            return container.state.exit_status
        if before is not None and state.process != before.process:
            return state.exit_status
        if before is None and confirmed(state, container.folder).status != "restarting":
            return state.exit_status
        if not is_alive(container.state.runner):
            now = time.monotonic()
            deadline = deadline or now + 1
            if now > deadline or state.status == "exited":
                return state.exit_status if state.status == "exited" else None
        time.sleep(_STEP)
