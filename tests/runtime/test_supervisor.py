"""What is done for a user with one id: the filter, the records, and no way out through either."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from runtime.owner_record import (
    NAME,
    UNCHANGED,
    Record,
    escaped,
    parse_record,
    read_record,
    unescaped,
    write_record,
)
from runtime.sandbox import emulation
from runtime.sandbox.capabilities import ALL_CAPABILITIES, capability_mask
from runtime.sandbox.emulation import ALLOW, ASK, SUCCEED, emulation_filter
from runtime.sandbox.privilege import acquire
from runtime.sandbox.seccomp import default_filter
from runtime.sandbox.server import SandboxServer
from runtime.sandbox.syscalls import CLONE_NEWNS, CLONE_NEWUSER, unshare
from support.filters import verdict
from support.sandbox import Box, Ended, apart, new_root, remove_folder

T = TypeVar("T")
X86_64, I386 = 0xC000003E, 0x40000003
HEADERS = Path("/usr/include/x86_64-linux-gnu/asm")


def with_one_id(work: Callable[[], T]) -> T:
    """What `work` gives in a process that is root of a namespace with nobody else."""

    def alone() -> T:
        uid, gid = os.getuid(), os.getgid()
        unshare(CLONE_NEWUSER | CLONE_NEWNS)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"0 {uid} 1"),
            ("gid_map", f"0 {gid} 1"),
        ):
            Path(f"/proc/self/{name}").write_text(text)
        assert acquire().kind == "single id"
        return work()

    return apart(alone)


@pytest.fixture
def box(run_folder: Path) -> Iterator[Box]:
    folder = run_folder / f"supervisor-{os.urandom(4).hex()}"
    folder.mkdir()
    yield Box(root=new_root(str(folder)), folder=str(folder))
    remove_folder(folder)


def run(box: Box, script: str, **fields: Any) -> Ended:
    """Run a shell script in a container, with one id."""

    def work() -> Ended:
        with SandboxServer() as server:
            spec = box.spec("/bin/sh", "-c", script, seccomp=default_filter(), **fields)
            return box.run_on(server, spec)

    return with_one_id(work)


# ---- the filter


@pytest.mark.parametrize(("header", "column"), [("unistd_64.h", 1), ("unistd_32.h", 2)])
def test_numbers_are_the_kernels(header: str, column: int) -> None:
    if not (HEADERS / header).exists():
        pytest.skip(f"{header} is not installed")
    rows = [line.split() for line in (HEADERS / header).read_text().splitlines()]
    kernels = {row[1]: int(row[2]) for row in rows if len(row) == 3 and row[2].isdigit()}
    ours = emulation._numbers(emulation._ASKED + emulation._SUCCEEDING, column)
    assert len(ours) > 12
    for name, number in ours:
        wide = f"__NR_{name}32" if column == 2 else ""
        assert number == kernels.get(wide, kernels[f"__NR_{name}"]), name


def test_what_waits_and_what_succeeds() -> None:
    program = emulation_filter(ALL_CAPABILITIES, "x86_64")
    for number in (92, 93, 94, 260, 5, 6):
        assert verdict(program, X86_64, number) == ASK
    for number in (105, 106, 113, 114, 116, 117, 119, 122, 123):
        assert verdict(program, X86_64, number) == SUCCEED
    assert verdict(program, I386, 212) == ASK
    # read, openat, execve, capset; and what another architecture calls chown
    for number in (0, 257, 59, 126, 212):
        assert verdict(program, X86_64, number) == ALLOW
    assert verdict(program, 0xC00000B7, 54) == ALLOW


def test_only_devices_wait_to_be_made() -> None:
    program = emulation_filter(ALL_CAPABILITIES, "x86_64")
    for kind, action in (
        (stat.S_IFCHR, ASK),
        (stat.S_IFBLK, ASK),
        (stat.S_IFIFO, ALLOW),
        (0, ALLOW),
    ):
        assert verdict(program, X86_64, 133, (0, kind | 0o644)) == action
        assert verdict(program, X86_64, 259, (0, 0, kind | 0o644)) == action


def test_who_only_looks_whether_something_is_there_does_not_wait() -> None:
    program = emulation_filter(0, "x86_64")
    for flags, action in ((0, ALLOW), (0x800, ALLOW), (0x100, ASK), (0x1000, ASK)):
        assert verdict(program, X86_64, 262, (0, 0, 0, flags)) == action
        assert verdict(program, X86_64, 332, (0, 0, flags)) == action


def test_nothing_is_granted_without_the_capability() -> None:
    program = emulation_filter(ALL_CAPABILITIES & ~capability_mask("CHOWN", "SETUID"), "x86_64")
    for number in (92, 93, 94, 260, 105, 117):
        assert verdict(program, X86_64, number) == ALLOW
    assert verdict(program, X86_64, 106) == SUCCEED


# ---- records


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (b"33:44", (33, 44, "", 0)),
        (b"33:", (33, UNCHANGED, "", 0)),
        (b"0:6:c:1:3", (0, 6, "c", os.makedev(1, 3))),
        (b"::b:8:0", (UNCHANGED, UNCHANGED, "b", os.makedev(8, 0))),
    ],
)
def test_records(value: bytes, seen: tuple[int, int, str, int], tmp_path: Path) -> None:
    record = parse_record(value)
    assert record is not None
    assert (record.uid, record.gid, record.kind, record.rdev) == seen
    write_record(str(tmp_path), stat.S_IFDIR, record)
    assert os.getxattr(tmp_path, NAME) == value


@pytest.mark.parametrize(
    "value",
    [
        b"", b"33", b"-1:0", b"33:44:", b"4294967296:0", b"1:2:c:0:0", b"1:2:x:1:3", b"1:2:c:1",
        b"1:2:c:1048576:0", b"\xff:1", b"1 :2", "\u0663:1".encode(), b"1:2:3:4:5:6",
    ],
)  # fmt: skip
def test_what_is_no_record(value: bytes) -> None:
    assert parse_record(value) is None


@pytest.mark.parametrize("name", [NAME, "user.lamina.x.owner", "user.lamina.", "user.other"])
def test_attributes_of_images_are_no_records(name: str) -> None:
    assert escaped(name) != NAME
    assert unescaped(escaped(name)) == name


@pytest.mark.namespaces
def test_links_and_fifos_have_records(tmp_path: Path) -> None:
    link, fifo = tmp_path / "link", tmp_path / "fifo"
    link.symlink_to("nowhere")
    os.mkfifo(fifo)

    def work() -> list[tuple[int, int] | None]:
        seen: list[tuple[int, int] | None] = []
        for path in (str(link), str(fifo)):
            mode = os.lstat(path).st_mode
            assert read_record(path, mode) is None
            write_record(path, mode, Record(7, 4_000_000_000))
            record = read_record(path, mode)
            seen.append((record.uid, record.gid) if record is not None else None)
        return seen

    assert with_one_id(work) == [(7, 4_000_000_000)] * 2


# ---- the supervisor


@pytest.mark.namespaces
@pytest.mark.single_id
def test_owners_are_seen_again(box: Box) -> None:
    """By what copies files, as GNU's and busybox's `mv` from another layer, and `chown`."""
    ended = run(
        box,
        "set -e; cd /tmp; touch f; chown 33:44 f; chown :5 f; chown 6 f; ln -s f l; chown -h 7:8 l;"
        " mkdir d; chown 9:10 d; cp -a f d/g; cp -a d e;"
        " ls -lnd f l d e e/g | awk '{print $3, $4}';"
        " mknod -m 600 n c 1 3; mknod n c 1 3 2>/dev/null || echo there; chmod 4755 f; chown 1 f;"
        " ls -l f | cut -c1-10; chown 1 nothing 2>&1",
    )
    lines = ended.output.splitlines()
    assert lines[:5] == ["9 10", "9 10", "6 5", "6 5", "7 8"]
    assert lines[5:] == ["there", "-rwxr-xr-x", "chown: nothing: No such file or directory"]
    assert ended.status == 1


@pytest.mark.namespaces
@pytest.mark.single_id
def test_no_way_out_of_the_root(box: Box, tmp_path: Path) -> None:
    """Links that lead to the host's files, and one that changes places with a directory."""
    tmp_path.chmod(0o755)
    canary = tmp_path / "canary"
    canary.write_text("")
    script = (
        # In the container there is the same path: busybox looks before it asks.
        f"mkdir -p /real{tmp_path} {tmp_path}; touch /real{canary} {canary}; cd /;"
        f" ln -s {canary} one; ln -s ../../../../../../../..{canary} two; ln -s {tmp_path} three;"
        f" chown 5 /one one /two two {canary} .{canary} ../../../..{canary} three/canary;"
        f" mknod /three/node c 1 3; mknod three/node2 c 1 3; mknod {tmp_path}/node3 b 1 3;"
        f" (while :; do mv /real /r2; ln -s / /real; rm /real; mv /r2 /real; done) &"
        f" i=0; while [ $i -lt 150 ]; do chown 5 /real{canary} 2>/dev/null;"
        f" mknod real{tmp_path}/n$i c 1 3 2>/dev/null; i=$((i+1)); done; kill $!; echo done"
    )
    assert run(box, script).output == "done\n"
    assert os.listxattr(canary) == []
    assert os.listdir(tmp_path) == ["canary"]


@pytest.mark.namespaces
@pytest.mark.single_id
def test_it_ends_with_the_container(box: Box) -> None:
    """Also the streams: nobody waits for an output that a supervisor holds."""

    def children(pid: int) -> list[str]:
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == pid:
                found.append(fields[0])
        return found

    def work() -> tuple[int, list[str]]:
        with SandboxServer() as server:
            for _ in range(3):
                box.run_on(server, box.spec("/bin/true"))
            deadline = time.monotonic() + 20
            while set(left := children(server._pid)) - {"Z"} and time.monotonic() < deadline:
                time.sleep(0.02)
            return len(left), left

    count, left = with_one_id(work)
    assert count <= 3
    assert set(left) <= {"Z"}


@pytest.mark.namespaces
@pytest.mark.single_id
def test_without_the_capability(box: Box) -> None:
    ended = run(box, "chown 5 /tmp || setpriv 2>/dev/null; ls -lnd /tmp", capabilities=0)
    assert "chown: /tmp: Invalid argument" in ended.output
    again = run(box, "chown 5 /tmp && ls -lnd /tmp", no_new_privileges=True)
    assert again.status == 0
    assert " 5 " in again.output
