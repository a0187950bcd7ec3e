"""A store in which containers, their monitors and the commands that act on them are killed at
random moments, and what must be true after each of them."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from support import leaks, probes
from support.cli import Lamina
from support.containers import wait_for

_SECONDS = 40
_CGROUPS = Path("/sys/fs/cgroup")
_COMMANDS = (
    ("sleep", "600"),
    ("sh", "-c", "while :; do echo x; sleep 0.05; done"),
    ("sh", "-c", "sleep 0.3; exit 1"),
)
_OPTIONS: tuple[tuple[str, ...], ...] = (
    (),
    ("--restart", "always"),
    ("--restart", "on-failure:5"),
    ("-v", "/anonymous", "-v", "kept:/kept"),
    ("--health-cmd", "true", "--health-interval", "200ms"),
    ("--init", "--tmpfs", "/mem"),
)
_OPTIONS_OF_ROOT: tuple[tuple[str, ...], ...] = (("-p", "127.0.0.1::80"), ("-m", "64m"))


class Killing:
    """Kills something at each `moment`; an assertion fails if something is not as it must be."""

    def __init__(self, lamina: Lamina, seed: int) -> None:
        self.lamina = lamina
        self.done: dict[str, int] = {}
        self._random = random.Random(seed)
        self._names = [f"c{number}" for number in range(4)]
        self._ids: set[str] = set()
        self._folder = lamina.root / "containers"

    def moment(self) -> None:
        """Kill somebody, and see whether `ps` tells the truth and `rm -f` removes all."""
        name = self._random.choice(self._names)
        there = self._id_of(name) is not None
        acts: list[Callable[[str], None]] = [self._kill_first, self._kill_monitor]
        if there:
            acts += [self._kill_caller("start"), self._kill_caller("rm", "-f", "-v")]
            acts += [self._kill_caller("restart", "-t", "0"), self._kill_caller("stop", "-t", "0")]
        else:
            acts += [self._kill_run_detached, self._kill_run]
        act = self._random.choice(acts)
        if not there and act in (self._kill_first, self._kill_monitor):
            self.lamina(*self._run(name, "-d"))
            time.sleep(self._random.random() * 0.4)
        act(name)
        self.see(name)
        if self._random.random() < 0.6:
            self.remove(name)

    def see(self, name: str) -> None:
        """Wait until `ps` says of a container what the kernel does."""
        said: list[str] = []

        def is_true() -> bool:
            said[:] = []
            for line in self.lamina(
                "ps", "-a", "--no-trunc", "--format", "json"
            ).stdout.splitlines():
                row = json.loads(line)
                if row["Names"] == name:
                    said[:] = [row["ID"], row["State"]]
            found = said[0] if said else self._id_of(name)
            inside, monitors = self.processes_of(found) if found else ([], [])
            said.append(f"{len(inside)} processes, {len(monitors)} monitors")
            match said[1] if len(said) == 3 else "":
                case "running" | "paused":
                    return bool(inside)
                case "restarting":
                    return bool(monitors)
                case _:
                    return not inside and not monitors

        try:
            wait_for(is_true, _SECONDS)
        except AssertionError:
            raise AssertionError(f"ps says of {name} what is not so: {said}") from None

    def remove(self, name: str) -> None:
        """Remove a container by force; nothing of it may be left."""
        found = self._id_of(name)
        volumes = self._anonymous(found) if found else []
        self.lamina("rm", "-f", "-v", name)
        assert not (self._folder / "names" / name).is_symlink()
        if found is not None:
            assert not (self._folder / found).exists()
            assert [
                each for each in volumes if (self.lamina.root / "volumes" / each).exists()
            ] == []
            try:
                wait_for(lambda: not self.left_of(found))
            except AssertionError:
                raise AssertionError(f"left of {name}: {self.left_of(found)}") from None

    def finish(self) -> None:
        """Remove all; then nothing may be left but what was to be kept."""
        for name in self._names:
            self.see(name)
            self.remove(name)
        # Whoever makes a container sweeps up what was killed halfway.
        self.lamina("run", "--rm", "busybox", "true")
        assert [path.name for path in self._folder.iterdir() if len(path.name) == 64] == []
        assert os.listdir(self._folder / "names") == []
        assert set(self.lamina("volume", "ls", "-q").stdout.split()) <= {"kept"}
        wait_for(lambda: not leaks.processes_using(self.lamina.root))
        assert leaks.mounts_below(self.lamina.root) == []
        for container_id in self._ids:
            assert self.left_of(container_id) == []
        self.lamina("fsck")  # which shows what it finds

    def left_of(self, container_id: str) -> list[str]:
        """What there is outside the store of a container."""
        inside, monitors = self.processes_of(container_id)
        left = [f"process {pid}" for pid in (*inside, *monitors)]
        left += [f"mount {point}" for point in leaks.mounts_below(self._folder / container_id)]
        left += [f"cgroup {path}" for path in _directories(_CGROUPS, container_id)]
        if probes.is_root():
            left += [
                f"link {line}"
                for line in _lines("ip", "-o", "link")
                if f"lv{container_id[:8]}" in line
            ]
            left += [
                f"rule {line}"
                for line in _lines("nft", "list", "ruleset")
                if container_id[:12] in line
            ]
        return left

    def processes_of(self, container_id: str) -> tuple[list[int], list[int]]:
        """Its processes, and those of ours that stand in its folder."""
        inside, monitors = [], []
        wanted = container_id.encode()
        for process in Path("/proc").iterdir():
            if not process.name.isdecimal():
                continue
            try:
                if wanted in (process / "mountinfo").read_bytes():
                    inside.append(int(process.name))
                elif wanted in os.fsencode(os.readlink(process / "cwd")):
                    monitors.append(int(process.name))
            except OSError:
                continue
        return inside, monitors

    # ---- who is killed

    def _kill_first(self, name: str) -> None:
        self._note("the first process")
        pid = self._state(name).get("process", {}).get("pid")
        if pid is not None:
            self._kill(pid)

    def _kill_monitor(self, name: str) -> None:
        self._note("the monitor")
        pid = self._state(name).get("runner", {}).get("pid")
        if pid is not None:
            self._kill(pid)

    def _kill_run_detached(self, name: str) -> None:
        self._note("run -d")
        self._kill_command(self._run(name, "-d"))

    def _kill_run(self, name: str) -> None:
        self._note("run --rm")
        self._kill_command(self._run(name, "--rm"))

    def _kill_caller(self, verb: str, *options: str) -> Callable[[str], None]:
        def kill(name: str) -> None:
            self._note(verb)
            self._kill_command([verb, *options, name])

        return kill

    def _kill_command(self, words: list[str]) -> None:
        with self.lamina.start(*words) as process:
            time.sleep(self._random.random() * 0.9)
            process.send_signal(signal.SIGKILL)
            process.communicate()

    def _kill(self, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return  # ended, or another user's now: its number had been somebody else's

    # ---- what there is

    def _run(self, name: str, *how: str) -> list[str]:
        options = list(_OPTIONS + (_OPTIONS_OF_ROOT if probes.is_root() else ()))
        chosen = {word: each for each in self._random.sample(options, 2) for word in each[:1]}
        if "--rm" in how:
            chosen.pop("--restart", None)
        words = [word for each in chosen.values() for word in each]
        command = self._random.choice(_COMMANDS)
        return ["run", *how, "--name", name, *words, "busybox", *command]

    def _id_of(self, name: str) -> str | None:
        try:
            found = os.readlink(self._folder / "names" / name)
        except OSError:
            return None
        self._ids.add(found)
        return found

    def _state(self, name: str) -> dict[str, dict[str, int]]:
        found = self._id_of(name)
        try:
            state = json.loads((self._folder / str(found) / "state.json").read_text())
        except OSError:
            return {}
        return {key: value for key, value in state.items() if isinstance(value, dict)}

    def _anonymous(self, container_id: str) -> list[str]:
        try:
            document = json.loads((self._folder / container_id / "config.json").read_text())
        except OSError:
            return []
        return [each["name"] for each in document["spec"]["volumes"] if each["anonymous"]]

    def _note(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1


def _directories(top: Path, part: str) -> list[str]:
    found = []
    for path, names, _ in os.walk(top):
        found += [os.path.join(path, name) for name in names if part in name]
    return found


def _lines(*command: str) -> list[str]:
    path = probes.need_tool(command[0])
    shown = subprocess.run([path, *command[1:]], capture_output=True, encoding="utf-8")
    return shown.stdout.splitlines()
