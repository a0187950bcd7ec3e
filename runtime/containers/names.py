"""Names of containers: each is one container's only.

A name is a link in `containers/names`, to the ID. All changes are made under the lock of that
folder; a link whose container has another name, or is gone, is what a killed process left.
"""

from __future__ import annotations

import os

from runtime.errors import InvalidContainer, NameTaken
from runtime.monitor.locked_folder import locked_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_OTHERS: Final = frozenset("_.-")
_SHORTEST: Final = 2
_LONGEST: Final = 200
_ADJECTIVES: Final = (
    "able", "airy", "amber", "bold", "brave", "bright", "brisk", "calm", "candid", "clear",
    "clever", "cosy", "crisp", "deft", "eager", "early", "fair", "fine", "firm", "fleet", "fond",
    "frank", "free", "fresh", "gentle", "glad", "golden", "grand", "handy", "happy", "hardy",
    "hazel", "honest", "jolly", "keen", "kind", "lively", "loyal", "lucid", "lucky", "mellow",
    "merry", "mild", "modest", "neat", "nimble", "noble", "olive", "patient", "placid", "plain",
    "polite", "proud", "quick", "quiet", "rapid", "ready", "serene", "sharp", "silver", "sleek",
    "smooth", "snug", "solid", "sound", "spry", "steady", "still", "stout", "sturdy", "sunny",
    "sure", "swift", "tidy", "trim", "true", "trusty", "vivid", "warm", "wise", "witty", "zesty",
)  # fmt: skip
_NOUNS: Final = (
    "acorn", "alder", "anchor", "apple", "arch", "aspen", "badger", "barge", "beacon", "beech",
    "birch", "bison", "bridge", "brook", "cabin", "canoe", "cedar", "cliff", "clover", "comet",
    "coral", "crane", "creek", "daisy", "delta", "dune", "eagle", "elm", "ember", "falcon",
    "fern", "finch", "fjord", "forge", "fox", "gale", "garden", "glade", "grove", "harbor",
    "hare", "harp", "heron", "hill", "holly", "island", "ivy", "juniper", "kestrel", "kiln",
    "lagoon", "lake", "lantern", "larch", "lark", "lemon", "lichen", "linden", "loom", "lotus",
    "maple", "marten", "meadow", "mill", "moss", "oak", "oasis", "orchard", "otter", "owl",
    "pebble", "pine", "plover", "pond", "poplar", "quarry", "quartz", "raven", "reed", "ridge",
    "robin", "rowan", "sail", "sparrow", "spruce", "stork", "summit", "swan", "thistle", "tide",
    "tulip", "valley", "violet", "walnut", "willow", "wren", "yew", "zephyr",
)  # fmt: skip


def check_name(name: str) -> str:
    """The name again; `InvalidContainer` if containers cannot be called that."""
    name = name.removeprefix("/")
    if (
        not _SHORTEST <= len(name) <= _LONGEST
        or name[0] not in _LETTERS
        or not (_LETTERS | _OTHERS).issuperset(name)
    ):
        raise InvalidContainer(
            f"invalid container name ({name})",
            hint="only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
        )
    return name


def made_up_name() -> str:
    """Two words, as good as any."""
    number = int.from_bytes(os.urandom(4), "big")
    number, adjective = divmod(number, len(_ADJECTIVES))
    return f"{_ADJECTIVES[adjective]}_{_NOUNS[number % len(_NOUNS)]}"


class Names:
    """The names in a folder of containers. Make one by `locked_names`, to change any."""

    def __init__(self, containers: str) -> None:
        self._containers = containers
        self._folder = os.path.join(containers, "names")

    def find(self, name: str) -> str | None:
        """The ID that a name stands for, if any; whether it is current is for the caller."""
        if "/" in name or not name:
            return None
        try:
            return os.readlink(os.path.join(self._folder, name))
        except OSError:
            return None

    def take(self, name: str | None, container_id: str) -> str:
        """Give a container a name (a made-up one if `None`); `NameTaken` if it is another's."""
        if name is not None:
            if not self._link(name, container_id):
                raise NameTaken(name, self.find(name) or "")
            return name
        for attempt in range(100):
            made_up = made_up_name() + (str(attempt) if attempt > 5 else "")
            if self._link(made_up, container_id):
                return made_up
        raise InvalidContainer("no free name was found", hint="give one with --name")

    def drop(self, name: str, container_id: str) -> None:
        """Let go of a name, if it is this container's."""
        if self.find(name) == container_id:
            try:
                os.unlink(os.path.join(self._folder, name))
            except FileNotFoundError:
                return

    def drop_all(self, container_id: str) -> None:
        """Let go of whatever names are this container's: of one that was killed ahead of its
        record."""
        for name in os.listdir(self._folder):
            self.drop(name, container_id)

    def _link(self, name: str, container_id: str) -> bool:
        path = os.path.join(self._folder, name)
        try:
            os.symlink(container_id, path)
        except FileExistsError:
            if self._is_current(name, os.readlink(path)):
                return False
            os.unlink(path)
            os.symlink(container_id, path)
        return True

    def _is_current(self, name: str, container_id: str) -> bool:
        """Whether a container still is called that."""
        from runtime.containers.record import recorded_name

        folder = os.path.join(self._containers, container_id)
        return os.path.isdir(folder) and recorded_name(folder) in (None, name)


class locked_names:
    """The names in a folder of containers, changed by nobody else until the end of the block."""

    def __init__(self, containers: str) -> None:
        self._containers = containers
        self._lock = locked_folder(os.path.join(containers, "names"))

    def __enter__(self) -> Names:
        self._lock.__enter__()
        return Names(self._containers)

    def __exit__(self, *_: object) -> None:
        self._lock.__exit__()
