"""A container that is made by a remembered start, from its folder to its removal."""

from __future__ import annotations

import os

from runtime.containers.attending import Attended, attend
from runtime.containers.entry_file import write_entry
from runtime.containers.holding import folder_names, make_folder
from runtime.containers.names import check_name, locked_names
from runtime.image.store.directory_lock import try_lock_directory
from runtime.image.store.remove import remove_tree
from runtime.monitor import files
from runtime.monitor.hierarchy import remove_freezer
from runtime.monitor.identity import identify
from runtime.monitor.json_text import json_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.containers.starts import Start
    from runtime.containers.wanted import Pairs, Wanted
    from runtime.sandbox.server import SandboxServer


def run_made(root: str, start: Start, wanted: Wanted, sandbox: SandboxServer) -> int:
    """Make a container and run it to its end in the foreground; its exit status."""
    container_id, folder, fd = make_folder(root)
    made = Made(root, container_id, folder)
    try:
        attended = made.record(start, wanted)
        stdin = 0
        if not start.config["spec"]["open_stdin"]:
            stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return attend(
                attended,
                sandbox,
                lambda: made.prepare(start),
                command=made.argv[0],
                standard=(stdin, 1, 2),
            )
        finally:
            sandbox.hang_up()
            made.discard()
            attended.event("destroy")
    except BaseException:
        made.discard()
        raise
    finally:
        os.close(fd)


class Made:
    """A container of ours on its way, in a folder of its own."""

    def __init__(self, root: str, container_id: str, folder: str) -> None:
        self._root = root
        self._containers = os.path.dirname(folder)
        self._id = container_id
        self._folder = folder
        self._name = self._hostname = ""
        self._config = b""
        self._env: Pairs = ()
        self.argv: tuple[str, ...] = ()

    def record(self, start: Start, wanted: Wanted) -> Attended:
        """Write down what it is to be."""
        os.close(os.open(f"{self._folder}/{files.PASSING}", os.O_CREAT | os.O_WRONLY, 0o600))
        self._hostname = start.hostname_of(self._id)
        self._env = start.environment(wanted.env, self._hostname)
        self.argv = start.argv(wanted.command)
        name = check_name(wanted.name) if wanted.name is not None else None
        with locked_names(self._containers) as names:
            self._name = names.take(name, self._id)
            config = start.config_for(
                self._id,
                self._name,
                given=(wanted.name, wanted.command, wanted.env),
                argv=self.argv,
                env=self._env,
                hostname=self._hostname,
            )
            self._config = json_text(config).encode() + b"\n"
            files.write_file(f"{self._folder}/{files.CONFIG}", self._config)
        attributes = {**start.attributes, "name": self._name}
        attended = Attended(self._id, self._folder, start.state, attributes)
        runner = identify(os.getpid())
        attended.record(runner=runner.to_document() if runner is not None else None)
        attended.event("create")
        return attended

    def prepare(self, start: Start) -> bytes:
        """Make what its sandbox needs; its order."""
        start.make(self._folder, self._hostname)
        write_entry(self._folder, start.entry_order_for(self._env))
        return start.order_for(self._folder, self.argv, self._env, self._hostname)

    def discard(self) -> None:
        """Leave nothing of it; nothing happens if there is nothing."""
        if not os.path.isdir(self._folder):
            return
        if self._config and self._is_changed():
            from runtime.containers.remove import discard

            discard(self._root, self._id)
            return
        if self._name:
            with locked_names(self._containers) as names:
                names.drop(self._name, self._id)
        remove_tree(self._folder)
        remove_freezer(self._id)

    def _is_changed(self) -> bool:
        """Whether somebody has given it another name, or groups."""
        if os.path.lexists(f"{self._folder}/{files.CGROUP}"):
            return True
        with open(f"{self._folder}/{files.CONFIG}", "rb") as file:
            return file.read() != self._config


def sweep(root: str, containers: str) -> None:
    """Remove what processes that were killed have left, if there is any."""
    for name in folder_names(containers):
        path = f"{containers}/{name}"
        if _may_be_litter(path) and (fd := try_lock_directory(path)) is not None:
            os.close(fd)
            _sweep(root)
            return


def _sweep(root: str) -> None:
    from runtime.containers.remove import sweep_containers
    from runtime.image.errors import ImageError
    from runtime.image.layer.owners import owners_here
    from runtime.image.store.store import open_store

    try:
        with open_store(root, owners_here()) as store:
            sweep_containers(store)
    except (ImageError, OSError):
        # The command has ended, and its status is what is asked for. The litter stays where the
        # next one finds it, who says what is wrong if it cannot go on.
        return


def _may_be_litter(path: str) -> bool:
    """Whether a container is to be removed at its end, or nothing is recorded of it."""
    return os.path.lexists(f"{path}/{files.PASSING}") or not os.path.lexists(
        f"{path}/{files.CONFIG}"
    )
