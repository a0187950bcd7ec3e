"""Machines made of network namespaces: one that runs containers, and the world around it.

What containers do to the network of their host is done to such a one. It is made with ip(8), so
that our own netlink is not its own judge.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from support import probes
from support.cli import Lamina

HOST, WORLD = "203.0.113.1", "203.0.113.2"
HOST_6, WORLD_6 = "2001:db8::1", "2001:db8::2"


@dataclass(frozen=True, slots=True)
class Machine:
    """A network namespace, held by a process."""

    pid: int

    def enter(self) -> list[str]:
        """What goes before a command that is to run there."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--"]

    def run(self, *words: str, check: bool = True, timeout: float = 20, say: str = "") -> str:
        """What a command there writes to its standard output."""
        done = subprocess.run(
            [*self.enter(), *words], input=say, capture_output=True, text=True, timeout=timeout
        )
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def ask(self, address: str, port: int, *, udp: bool = False, say: str = "") -> str:
        """What is heard at a port; empty if nothing is."""
        family = "-6" if ":" in address else "-4"
        kind = ["-u"] if udp else ["-N"]
        done = subprocess.run(
            [*self.enter(), "nc", family, *kind, "-w", "2", address, str(port)],
            input=say,
            capture_output=True,
            text=True,
            timeout=20,
        )
        return done.stdout

    def links(self) -> set[str]:
        """The names of its interfaces."""
        return {
            line.split()[0].partition("@")[0] for line in self.run("ip", "-br", "link").splitlines()
        }

    @contextmanager
    def answering(self, kind: str, port: int) -> Iterator[None]:
        """Somebody there says at a port what it is told: `kind` as socat(1), `UDP4-LISTEN`."""
        words = ["socat", f"{kind}:{port},fork,reuseaddr", "EXEC:cat"]
        with subprocess.Popen([*self.enter(), *words], start_new_session=True) as server:
            try:
                what = "-lnuH" if kind.startswith("UDP") else "-lntH"
                deadline = time.monotonic() + 10
                while not self.run("ss", what, f"sport = :{port}"):
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                yield
            finally:
                os.killpg(server.pid, signal.SIGKILL)  # with what it has forked

    def rules(self) -> str:
        """All its rules, as nft(8) reads them."""
        return self.run("nft", "list", "ruleset")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaminaThere(Lamina):
    """The command as it runs on another machine."""

    machine: Machine

    def command(self, *arguments: object) -> list[str]:
        plain = Lamina(root=self.root, temporary=self.temporary)
        return [*self.machine.enter(), *plain.command(*map(str, arguments))]


@contextmanager
def running_machine() -> Iterator[Machine]:
    """A machine with nothing but a loopback interface."""
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    try:
        here = os.readlink("/proc/self/ns/net")
        deadline = time.monotonic() + 10
        while os.readlink(f"/proc/{holder.pid}/ns/net") == here:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        machine = Machine(holder.pid)
        machine.run("ip", "link", "set", "lo", "up")
        yield machine
    finally:
        holder.kill()
        holder.wait()


@contextmanager
def machine_and_world() -> Iterator[tuple[Machine, Machine]]:
    """A machine that runs containers, and the world: 203.0.113.1 and .2, 2001:db8::1 and ::2."""
    for tool in ("ip", "nft", "nc", "nsenter", "socat", "ss"):
        probes.need_tool(tool)
    with running_machine() as machine, running_machine() as world:
        machine.run(
            "ip",
            "link",
            "add",
            "wan",
            "type",
            "veth",
            "peer",
            "name",
            "wan",
            "netns",
            str(world.pid),
        )
        for each, four, six in ((machine, HOST, HOST_6), (world, WORLD, WORLD_6)):
            each.run("ip", "address", "add", f"{four}/24", "dev", "wan")
            each.run("ip", "address", "add", f"{six}/64", "dev", "wan", "nodad")
            each.run("ip", "link", "set", "wan", "up")
        # The world may try to get by the host without being asked in.
        world.run("ip", "route", "add", "10.0.0.0/8", "via", HOST)
        world.run("ip", "route", "add", "fd00::/8", "via", HOST_6)
        yield machine, world
