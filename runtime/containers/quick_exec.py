"""A command in a container that runs, by the order that is kept beside the container.

It does what `runtime.containers.execute` does, for a command without a terminal.
"""

from __future__ import annotations

import _json
import os

from runtime.containers.entry_file import read_entry
from runtime.monitor import files
from runtime.monitor.cgroups import is_frozen
from runtime.monitor.events import append_event
from runtime.monitor.identity import ProcessIdentity, is_alive, open_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_ID_LENGTH: Final = 64


class Wanted:
    """A command, and what is to be different for it from the container's own command."""

    __slots__ = ("command", "cwd", "env", "interactive", "user")

    def __init__(self, command: tuple[str, ...], env: dict[str, str]) -> None:
        self.command = command
        self.env = env
        self.cwd: str | None = None
        self.user: str | None = None
        self.interactive = False


class Found:
    """A container that runs, and the order that is kept beside it."""

    def __init__(self, folder: str, config: dict[str, Any], state: dict[str, Any]) -> None:
        self._folder = folder
        self._config = config
        process, runner = state["process"], state["runner"]
        self._process = ProcessIdentity(**process) if process is not None else None
        self._runner = ProcessIdentity(**runner) if runner is not None else None
        self._order: dict[str, Any] = {}
        self._pidfd: int | None = None

    def is_ready(self) -> bool:
        """Whether commands can be executed in it just so."""
        order = read_entry(self._folder)
        self._pidfd = open_process(self._process)
        if order is None or self._pidfd is None or self._process is None:
            return False
        self._order = order
        return not is_frozen(self._process.pid)

    def execute(self, wanted: Wanted) -> int:
        """Execute a command, passing signals on to it; its exit status. A `ContainerError`."""
        from runtime.sandbox.privilege import join
        from runtime.sandbox.server import SandboxServer

        assert self._process is not None
        runner = self._runner if is_alive(self._runner) else None
        join((runner or self._process).pid)
        with SandboxServer() as sandbox:
            from runtime.containers.forwarding import Forwarding

            self._event(wanted)
            null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            with Forwarding() as forwarding:
                process = sandbox.start_order(
                    self._order_for(wanted),
                    (0 if wanted.interactive else null, 1, 2),
                    command=wanted.command[0],
                    target_fd=self._pidfd,
                )
                status = forwarding.attend(process)
            sandbox.hang_up()
        return status

    def _order_for(self, wanted: Wanted) -> bytes:
        import marshal

        assert self._process is not None
        order = {**self._order, "enter": self._process.pid}
        order["argv"] = tuple(map(_text, wanted.command))
        env = dict(order["env"])
        env |= {_text(name): _text(value) for name, value in wanted.env.items()}
        order["env"] = tuple(env.items())
        if wanted.cwd:
            order["cwd"] = _text(wanted.cwd)
        if wanted.user is not None:
            order["user"] = wanted.user
        return marshal.dumps(order)

    def _event(self, wanted: Wanted) -> None:
        spec, name = self._config["spec"], self._config["name"]
        attributes = {**dict(spec["labels"]), "image": spec["image"], "name": name}
        action = f"exec_start: {' '.join(wanted.command)}"
        append_event(os.path.dirname(self._folder), action, self._config["id"], attributes)


def find(root: str, name: str) -> Found | None:
    """The container of that name or whole ID, if it is recorded as running."""
    containers = f"{os.path.abspath(root)}/containers"
    bare = name.removeprefix("/")
    if not bare or "/" in bare:
        return None
    try:
        container_id = os.readlink(f"{containers}/names/{bare}")
    except OSError:
        container_id = bare
    if len(container_id) != _ID_LENGTH:
        return None
    folder = f"{containers}/{container_id}"
    try:
        config, state = _load(f"{folder}/{files.CONFIG}"), _load(f"{folder}/{files.STATE}")
        if bare not in (config["name"], config["id"]) or state["status"] != "running":
            return None
        return Found(folder, config, state)
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None  # The ordinary way says what is wrong.


class _Numbers:
    """How JSON is read, as `json.decoder` says it."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int = float, int
    parse_constant = float


def _load(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        text = file.read()
    numbers: Any = _Numbers()
    document, _ = _json.make_scanner(numbers)(text, 0)
    if not isinstance(document, dict):
        raise ValueError(path)
    return document


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
