"""Containers for tests, made in a process of their own.

As a plain user a user namespace must be entered, which a process with threads cannot do, and
which could never be left again.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import tempfile
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from runtime.errors import ContainerError
from runtime.image.store.remove import remove_tree
from runtime.sandbox.privilege import acquire
from runtime.sandbox.server import SandboxServer
from runtime.sandbox.spec import SandboxSpec
from support.bases import BUSYBOX, root_file_system

T = TypeVar("T")


class Refused(Exception):
    """A `ContainerError` of the other process: the name of its class, and its message."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message


def inside(work: Callable[[], T]) -> T:
    """What `work` gives in a child process that has what containers need."""

    def acquired() -> T:
        acquire()
        return work()

    return apart(acquired)


def apart(work: Callable[[], T]) -> T:
    """What `work` gives in a child process; its errors are raised here."""
    read_fd, write_fd = os.pipe()
    with warnings.catch_warnings():
        # Newer Pythons warn of the threads of whoever runs the tests: none holds a lock of ours.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(read_fd)
        _answer(work, write_fd)
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as answer:
        data = answer.read()
    os.waitpid(pid, 0)
    assert data, "the process for the container ended early"
    kind, value = pickle.loads(data)
    if kind == "refused":
        raise Refused(*value)
    assert kind == "result", value
    result: T = value
    return result


def _answer(work: Callable[[], Any], fd: int) -> None:
    try:
        answer = ("result", work())
    except ContainerError as error:
        answer = ("refused", (type(error).__name__, error.message))
    except BaseException:
        answer = ("error", traceback.format_exc())
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(pickle.dumps(answer))
    finally:
        os._exit(0)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container ended, and what it wrote."""

    status: int
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A busybox to run in containers: its root, and a folder for what they change."""

    root: str
    folder: str

    def spec(self, *argv: str, **fields: Any) -> SandboxSpec:
        """A container of the busybox with a new upper directory."""
        place = tempfile.mkdtemp(prefix="container-", dir=self.folder)
        upper, work = os.path.join(place, "upper"), os.path.join(place, "work")
        os.mkdir(upper, 0o755)
        os.mkdir(work, 0o700)
        defaults: dict[str, Any] = {"lower": (self.root,), "upper": upper, "work": work}
        return SandboxSpec(argv=argv, **(defaults | fields))

    def run(self, *argv: str, **fields: Any) -> Ended:
        """Run a command; its output is both streams'."""

        def work() -> Ended:
            with SandboxServer() as server:
                return self.run_on(server, self.spec(*argv, **fields))

        return inside(work)

    def sh(self, script: str, **fields: Any) -> Ended:
        """Run a shell script."""
        return self.run("/bin/sh", "-c", script, **fields)

    def run_on(self, server: SandboxServer, spec: SandboxSpec) -> Ended:
        """Run a container on a server, in a process that has what it needs."""
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        output = os.memfd_create("output")
        try:
            status = server.start(spec, null, output, output).wait()
            size = os.fstat(output).st_size
            return Ended(status, os.pread(output, size, 0).decode(errors="replace"))
        finally:
            os.close(null)
            os.close(output)


def new_root(folder: str) -> str:
    """A root directory with the busybox image's files, owned by whoever runs the tests."""
    path = os.path.join(folder, "root")
    os.mkdir(path, 0o755)
    tar = ["tar", "--no-same-owner", "-C", path, "-xf", str(root_file_system(BUSYBOX))]
    subprocess.run(tar, check=True)
    os.chmod(os.path.join(path, "tmp"), 0o1777)
    return path


def copy_root(root: str, path: str) -> str:
    """A copy of a root, to be made hostile."""
    shutil.copytree(root, path, symlinks=True, copy_function=os.link)
    return path


def remove_folder(folder: Path) -> None:
    """Remove what containers have left, whoever owns it."""
    inside(lambda: remove_tree(str(folder)))
