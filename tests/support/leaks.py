"""What must not be left when the tests are over: mounts, processes, temporary files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from support import probes


def mounts_below(folder: Path) -> list[str]:
    """Mount points of this mount namespace at or below a folder."""
    return [
        point
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if Path(point := line.split()[4]).is_relative_to(folder)
    ]


def processes_using(folder: Path) -> dict[int, str]:
    """Processes, other than this one, that know the folder: by argument, by environment, by a
    mount made of it, or by standing in it."""
    found = {}
    pids = {int(p.name) for p in Path("/proc").iterdir() if p.name.isdecimal()} - {os.getpid()}
    for pid in sorted(pids):
        process = Path("/proc", str(pid))
        if any(os.fsencode(folder) in text for text in _traces(process)):
            words = _read(process / "cmdline").replace(b"\0", b" ")
            found[pid] = words.decode(errors="replace").strip()
    return found


def _traces(process: Path) -> Iterator[bytes]:
    for name in ("cmdline", "environ", "mountinfo"):
        yield _read(process / name)
    for name in ("cwd", "root", "exe"):
        try:
            yield os.fsencode(os.readlink(process / name))
        except OSError:  # gone, a zombie, or another user's
            continue


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def left_behind(run: Path) -> list[str]:
    """A sentence for each thing a run of the tests left in or around its folder."""
    left = [f"mount {point}" for point in mounts_below(run)]
    left += [f"process {pid}: {words}" for pid, words in processes_using(run).items()]
    left += [f"temporary file {path}" for path in sorted((run / "tmp").iterdir())]
    return left + networks_of(run)


def networks_of(run: Path) -> list[str]:
    """Bridges and rules on this machine's network of stores in a folder."""
    if os.geteuid() != 0:
        return []
    from runtime.network import nft
    from runtime.network.definitions import table, tag
    from runtime.network.links import Links

    left = []
    for root in _stores(run):
        with Links() as links:
            left += [f"bridge {name}" for name in links.indexes(f"lm{tag(root)}").values()]
        tables = {name for name, _, _ in nft.chains(nft.INET)}
        left += [f"rules {name}" for name in tables & {table(root)}]
    return left


def _stores(run: Path) -> list[str]:
    """The stores in a folder that have had networks."""
    found = (*run.glob("*/networks"), *run.glob("*/*/networks"))
    return [str(networks.parent) for networks in found]


def _remove_networks(run: Path) -> None:
    """Remove what containers whose monitors were killed have left of networks."""
    from runtime.network import nft
    from runtime.network.definitions import table, tag
    from runtime.network.links import Links

    for root in _stores(run):
        with Links() as links:
            for name in links.indexes(f"lm{tag(root)}").values():
                links.delete(name)
        if any(name == table(root) for name, _, _ in nft.chains(nft.INET)):
            changes = nft.Changes()
            changes.delete_table(table(root))
            changes.commit()


def remove(run: Path) -> None:
    """Remove a run's folder, whoever owns what is in it, but never across a mount.

    Processes that still use it are ended first.
    """
    for pid in processes_using(run):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    if mounts_below(run):
        return
    if os.geteuid() == 0:
        _remove_networks(run)
        shutil.rmtree(run)
    else:  # files of subordinate ids are only ours inside a user namespace
        enter = ["unshare", "--user", "--map-root-user"]
        enter += [] if probes.has_one_id() else ["--map-auto"]
        subprocess.run([*enter, "rm", "-rf", "--one-file-system", run], check=True)
