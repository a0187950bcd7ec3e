"""Containers: an image as a process.

`run` holds a container in the foreground: its streams are the caller's, signals go on to it, and
its exit status is the result. The rules by which an image's config and what the caller says
become a command are Docker's.
"""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, Final, Literal

from runtime.container_state import (
    Container,
    discard,
    find_container,
    identify,
    list_containers,
    new_container,
    remove_container,
    sweep_containers,
    write_config,
    write_state,
)
from runtime.errors import CommandNotFound, CommandNotRunnable, ContainerError, InvalidContainer
from runtime.image.model import RuntimeConfig
from runtime.image.store.store import Image, Store
from runtime.rootfs import prepare_root
from runtime.sandbox.capabilities import DEFAULT_CAPABILITIES
from runtime.sandbox.seccomp import default_filter
from runtime.sandbox.server import Process, SandboxServer
from runtime.sandbox.spec import Mount, SandboxSpec

__all__ = [
    "Container",
    "ContainerSpec",
    "command_line",
    "environment",
    "find_container",
    "list_containers",
    "remove_container",
    "run",
    "sweep_containers",
]

_DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHORT_ID: Final = 12
_FAILED: Final = 125
_NOT_RUNNABLE: Final = 126
_NOT_FOUND: Final = 127
_FORWARDED: Final = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGWINCH, signal.SIGCONT, signal.SIGALRM,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """An image, and what is to be different from what its config says.

    image        a name or an ID
    command      instead of the image's Cmd
    entrypoint   instead of the image's Entrypoint and Cmd; `()` is none
    env          after the image's, instead of variables with the same name
    hostname     the short ID if `None`, the host's with the host's network
    remove       leave nothing behind at the end
    """

    image: str
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    env: tuple[tuple[str, str], ...] = ()
    working_dir: str | None = None
    user: str | None = None
    hostname: str | None = None
    network: Literal["none", "host"] = "none"
    extra_hosts: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    capabilities: int = DEFAULT_CAPABILITIES
    seccomp: bool = True
    no_new_privileges: bool = False
    read_only: bool = False
    shm_size: int | None = None
    remove: bool = False


def run(
    store: Store,
    sandbox: SandboxServer,
    spec: ContainerSpec,
    *,
    stdin_fd: int = 0,
    stdout_fd: int = 1,
    stderr_fd: int = 2,
) -> int:
    """Run a container to its end in the foreground; its exit status, 128 + n for signal n.

    To be called by the main thread: signals that this process gets meanwhile are the
    container's. `ImageNotFound`, or a `ContainerError` if it cannot be started.
    """
    image = store.image(spec.image)
    argv = command_line(spec, image.config.config)
    sweep_containers(store)
    with new_container(store.root) as (container_id, path):
        container = Container(
            id=container_id,
            image=spec.image,
            image_id=str(image.id),
            command=argv,
            created=int(time.time()),
            status="created",
            owner=identify(os.getpid()),
            remove=spec.remove,
        )
        write_state(path, container)
        try:
            store.lease(container_id, image.config.diff_ids)
            sandbox_spec = _sandbox_spec(store, spec, image, argv, container_id, path)
            write_config(path, _config_document(spec, sandbox_spec))
            with _Forwarding() as forwarding:
                try:
                    process = sandbox.start(sandbox_spec, stdin_fd, stdout_fd, stderr_fd)
                except ContainerError as error:
                    write_state(path, _ended(container, _status_of(error)))
                    raise
                container = replace(container, status="running", process=identify(process.pid))
                status = _attend(process, forwarding, path, container)
            write_state(path, _ended(container, status))
            return status
        finally:
            if spec.remove:
                discard(store, container_id)


def command_line(spec: ContainerSpec, config: RuntimeConfig) -> tuple[str, ...]:
    """The words of the command: Entrypoint, then Cmd.

    An entrypoint of the caller's makes the image's Cmd void. `InvalidContainer` if there is
    nothing to run.
    """
    if spec.entrypoint is not None:
        argv = (*spec.entrypoint, *spec.command)
    else:
        argv = (*(config.entrypoint or ()), *(spec.command or config.cmd or ()))
    if not argv:
        raise InvalidContainer(
            "no command specified: the image has neither Entrypoint nor Cmd",
        )
    return argv


def environment(
    spec: ContainerSpec, config: RuntimeConfig, hostname: str
) -> tuple[tuple[str, str], ...]:
    """PATH and HOSTNAME, then the image's variables, then the caller's; the last one counts."""
    env = {"PATH": _DEFAULT_PATH, "HOSTNAME": hostname}
    env |= dict(config.env)
    env |= dict(spec.env)
    return tuple(env.items())


def _sandbox_spec(
    store: Store,
    spec: ContainerSpec,
    image: Image,
    argv: tuple[str, ...],
    container_id: str,
    path: str,
) -> SandboxSpec:
    config = image.config.config
    diff_ids = image.config.diff_ids
    hostname = spec.hostname
    if hostname is None:
        hostname = os.uname().nodename if spec.network == "host" else container_id[:_SHORT_ID]
    upper = os.path.join(path, "upper")
    os.mkdir(upper, 0o755)
    root = prepare_root(
        view=store.view(diff_ids),
        trees=tuple(store.tree(diff_id) for diff_id in diff_ids),
        workspace=path,
        mounts=spec.mounts,
        hostname=hostname,
        network=spec.network,
        extra_hosts=spec.extra_hosts,
        hostname_file=True,
        read_only_files=False,
    )
    return SandboxSpec(
        lower=root.lower,
        upper=upper,
        work=root.work,
        volatile=spec.remove,
        mounts=root.mounts,
        argv=argv,
        env=environment(spec, config, hostname),
        cwd=spec.working_dir or config.working_dir or "/",
        user=config.user if spec.user is None else spec.user,
        hostname=hostname,
        network=spec.network,
        capabilities=spec.capabilities,
        seccomp=default_filter(spec.capabilities) if spec.seccomp else None,
        no_new_privileges=spec.no_new_privileges,
        read_only_root=spec.read_only,
        shm_size=spec.shm_size,
    )


def _attend(process: Process, forwarding: _Forwarding, path: str, container: Container) -> int:
    """Wait for a container's end, passing signals on to it."""
    try:
        forwarding.begin(process)
        write_state(path, container)
        forwarding.wait()
        return process.wait()
    except BaseException:
        process.kill(signal.SIGKILL)
        process.wait()
        raise


class _Forwarding:
    """Has the signals that this process gets sent to a container; early ones when it is there."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._early: list[int] = []
        self._before: list[tuple[int, Any]] = []
        self._read_fd = self._write_fd = self._wakeup_before = -1

    def __enter__(self) -> _Forwarding:
        self._read_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup_before = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        self._before = [(number, signal.signal(number, self._forward)) for number in _FORWARDED]
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._read_fd)
        os.close(self._write_fd)

    def begin(self, process: Process) -> None:
        """From now on signals go to this process, first those that came already."""
        self._process = process
        for number in self._early:
            process.kill(number)

    def wait(self) -> None:
        """Return when the process has ended.

        A signal that came just before a plain wait would only be seen after it. Here its number
        is in the pipe, and the handler is called before the next poll.
        """
        assert self._process is not None
        poll = select.poll()
        poll.register(self._process.pidfd, select.POLLIN)
        poll.register(self._read_fd, select.POLLIN)
        while all(fd == self._read_fd for fd, _ in poll.poll()):
            os.read(self._read_fd, 4096)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        if self._process is None:
            self._early.append(number)
        else:
            self._process.kill(number)


def _ended(container: Container, status: int) -> Container:
    return replace(
        container, status="exited", process=None, exit_status=status, finished=int(time.time())
    )


def _status_of(error: ContainerError) -> int:
    """The exit status that docker gives to a container that cannot be started."""
    match error:
        case CommandNotFound():
            return _NOT_FOUND
        case CommandNotRunnable():
            return _NOT_RUNNABLE
        case _:
            return _FAILED


def _config_document(spec: ContainerSpec, sandbox: SandboxSpec) -> dict[str, object]:
    """What is worth knowing of a container later."""
    return {
        "image": spec.image,
        "argv": sandbox.argv,
        "env": [f"{name}={value}" for name, value in sandbox.env],
        "cwd": sandbox.cwd,
        "user": sandbox.user,
        "hostname": sandbox.hostname,
        "network": sandbox.network,
        "read_only": spec.read_only,
        "remove": spec.remove,
    }
