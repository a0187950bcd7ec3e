"""Transfers that are cut off, interrupted or made twice at once."""

from __future__ import annotations

import gzip
import random
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runtime.image.digest import sha256
from support import tars
from support.archives import Layout
from support.cli import Lamina
from support.faults import Faults, faulty
from support.registry import Registry
from support.registry_images import Hand

SIZE = 3 << 20
REPOSITORY = "interrupted/large"


@dataclass(slots=True)
class OneFault(Faults):
    """One kind of fault for the layer, and what ranges were asked for."""

    fault: str = ""
    digest: str = ""
    ranges: list[str] = field(default_factory=list)

    def draw(self, method: str, path: str) -> str | None:
        if method != "GET" or self.digest not in path or self.left <= 0:
            return None
        self.left -= 1
        return self.fault

    def seen(self, headers: Mapping[str, str]) -> None:
        if "Range" in headers:
            self.ranges.append(headers["Range"])

    def somewhere(self, size: int) -> int:
        return size // 2


@pytest.fixture(scope="module")
def layer() -> bytes:
    return tars.file(b"large", random.Random(1).randbytes(SIZE)) + tars.END


@pytest.fixture(scope="module")
def digest(registry: Registry, layer: bytes) -> str:
    """That of the layer of an image in the registry, which takes a while."""
    layout = Layout()
    Hand(registry).publish(REPOSITORY, "1", layout, layout.manifest(layer))
    return sha256(gzip.compress(layer, mtime=0))


def one_fault(fault: str, digest: str, *, left: int = 100, pause: float = 0) -> OneFault:
    drawn = random.Random(1)
    return OneFault(chance=1, left=left, random=drawn, fault=fault, digest=digest, pause=pause)


def partial(lamina: Lamina) -> list[Path]:
    folder = lamina.root / "partial"
    return list(folder.iterdir()) if folder.exists() else []


def test_the_next_process_goes_on(
    bare_lamina: Lamina, registry: Registry, digest: str, layer: bytes
) -> None:
    faults = one_fault("cut", digest, left=2)
    with faulty(registry.host, faults):
        name = f"{faults.host}/{REPOSITORY}:1"
        said = bare_lamina("pull", "--retry", "1", "--retry-delay", "0.01", name, status=1).stderr
        assert "ERROR" in said
        (left,) = partial(bare_lamina)
        come = left.stat().st_size
        assert SIZE // 4 < come < SIZE
        assert not bare_lamina("images", "-q").stdout
        bare_lamina("pull", name)
        assert f"bytes={come}-" in faults.ranges
    assert not partial(bare_lamina)
    assert bare_lamina.inspect(name)["RootFS"]["Layers"] == [sha256(layer)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_at_once(
    bare_lamina: Lamina, registry: Registry, digest: str, number: signal.Signals
) -> None:
    faults = one_fault("trickle", digest, pause=0.5)
    with faulty(registry.host, faults):
        name = f"{faults.host}/{REPOSITORY}:1"
        with bare_lamina.start("pull", name) as process:
            end = time.monotonic() + 30
            while not any(each.stat().st_size for each in partial(bare_lamina)):
                assert time.monotonic() < end
                time.sleep(0.02)
            began = time.monotonic()
            process.send_signal(number)
            _, said = process.communicate(timeout=30)
        assert process.returncode == 128 + number
        assert "Traceback" not in said
        assert time.monotonic() - began < 10
    assert len(partial(bare_lamina)) == 1
    assert not any((bare_lamina.root / "work").iterdir())
    bare_lamina("pull", f"{registry.host}/{REPOSITORY}:1")
    assert not partial(bare_lamina)


def test_two_processes_fetch_a_layer_once(
    bare_lamina: Lamina, registry: Registry, digest: str
) -> None:
    faults = one_fault("trickle", digest, pause=0.05)
    with faulty(registry.host, faults):
        name = f"{faults.host}/{REPOSITORY}:1"
        with bare_lamina.start("pull", name) as first, bare_lamina.start("pull", name) as second:
            said = [process.communicate(timeout=60)[1] for process in (first, second)]
            assert (first.returncode, second.returncode) == (0, 0), said
        assert sum("Pull complete" in text for text in said) == 1, said
    assert not partial(bare_lamina)
