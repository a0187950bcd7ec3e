"""Getting what containers need, and saying what is missing where it cannot be had."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from runtime.errors import SandboxUnavailable
from runtime.sandbox import privilege
from runtime.sandbox.capabilities import capability_mask
from runtime.sandbox.privilege import acquire
from runtime.sandbox.server import SandboxServer
from runtime.sandbox.syscalls import (
    CLONE_NEWNS,
    CLONE_NEWUSER,
    PR_CAPBSET_DROP,
    PR_SET_DUMPABLE,
    capget,
    capset,
    prctl,
    unshare,
)
from support.sandbox import Box, Refused, apart, inside, new_root, remove_folder


@pytest.fixture
def box(run_folder: Path) -> Iterator[Box]:
    folder = run_folder / f"privilege-{os.urandom(4).hex()}"
    folder.mkdir()
    yield Box(root=new_root(str(folder)), folder=str(folder))
    remove_folder(folder)


def remedy(work: Callable[[], object]) -> str:
    """What `SandboxUnavailable` says, with its hint."""
    with pytest.raises(SandboxUnavailable) as caught:
        work()
    assert caught.value.hint
    return f"{caught.value.message}; {caught.value.hint}"


def test_subordinate_ids_of_a_user(tmp_path: Path) -> None:
    path = tmp_path / "subuid"
    path.write_text("other:1:2\nme:100000:65536\n\n# me:7:7\nme:x:1\nme:300000:10\n1234:5:6\n")
    assert privilege._ranges(str(path), "me", 1234) == ((100000, 65536), (300000, 10), (5, 6))


def test_without_subordinate_ids(tmp_path: Path) -> None:
    both = "--add-subuids 100000-165535 --add-subgids 100000-165535 me"
    for name in ("subuid", "subgid"):
        path = str(tmp_path / name)
        said = remedy(partial(privilege._ranges, path, "me", 1))
        assert f"{path} has no line for me" in said
        made = f"touch {tmp_path}/subuid {tmp_path}/subgid"
        assert said.endswith(f"as root: {made} && usermod {both}")
    # A range that others have is not offered, and what is there is not asked for.
    (tmp_path / "subuid").write_text("me:100000:65536\n")
    (tmp_path / "subgid").write_text("other:1:5\nother:200000:65536\n")
    said = remedy(partial(privilege._ranges, str(tmp_path / "subgid"), "me", 1))
    assert said.endswith("as root: usermod --add-subgids 265536-331071 me")


def test_without_the_programs_that_map_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere::relative")
    monkeypatch.setattr(privilege, "_TOOLS_AT", ("/nowhere",))
    said = remedy(lambda: privilege._tool("newuidmap"))
    assert "newuidmap is not installed" in said
    assert "package uidmap" in said


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("user.max_user_namespaces", 0),
        ("kernel.unprivileged_userns_clone", 0),
        ("kernel.apparmor_restrict_unprivileged_userns", 1),
    ],
)
def test_a_setting_that_forbids_it(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: int
) -> None:
    monkeypatch.setattr(privilege, "_setting", {setting: value}.get)
    said = privilege._no_user_namespace(PermissionError(1, ""))
    assert said.why == f"{setting} is {value}"
    assert said.remedy is not None
    assert f"sysctl -w {setting}={65536 if 'max' in setting else 1 - value}" in said.remedy


def test_other_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privilege, "_setting", {}.get)
    reasons = [
        privilege._no_user_namespace(OSError(number, os.strerror(number))).message
        for number in (1, 22, 28)
    ]
    assert "the kernel refuses it (operation not permitted)" in reasons[0]
    assert "several threads" in reasons[1]
    assert "too many" in reasons[2]


@pytest.mark.namespaces
def test_it_is_had(box: Box) -> None:
    assert box.run("true").status == 0
    assert inside(os.geteuid) == 0


@pytest.mark.root
def test_a_user_without_subordinate_ids_has_one_id() -> None:
    def work() -> tuple[str, str, str]:
        os.setgroups([])
        os.setresgid(54321, 54321, 54321)
        os.setresuid(54321, 54321, 54321)
        prctl(PR_SET_DUMPABLE, 1)
        got = acquire()
        assert got.missing is not None
        return got.kind, got.missing.why, str(got.missing.remedy)

    kind, why, remedy = apart(work)
    assert kind == "single id"
    assert why.endswith("subuid has no line for 54321")
    assert remedy.startswith("as root: usermod --add-subuids ")
    assert remedy.endswith(" 54321")


def in_a_user_namespace(of_ids: int) -> None:
    """Enter one that maps our own ID to root, or as many as root has."""
    uid, gid = os.getuid(), os.getgid()
    if of_ids > 1:
        privilege._enter(privilege._Everything())
        return
    unshare(CLONE_NEWUSER | CLONE_NEWNS)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        Path(f"/proc/self/{name}").write_text(text)


@pytest.mark.namespaces
def test_a_root_of_one_id() -> None:
    def work() -> str:
        in_a_user_namespace(of_ids=1)
        return acquire().kind

    assert apart(work) == "single id"


@pytest.mark.root
def test_no_user_namespaces_left() -> None:
    def work() -> None:
        in_a_user_namespace(of_ids=65536)
        Path("/proc/sys/user/max_user_namespaces").write_text("0")
        privilege._enter(privilege._Everything())

    with pytest.raises(Refused, match=r"SandboxUnavailable: .*user.max_user_namespaces is 0"):
        apart(work)


@pytest.mark.root
def test_ids_that_cannot_be_mapped(tmp_path: Path) -> None:
    """A program that fails says why, and that is passed on."""
    tool = tmp_path / "newuidmap"
    tool.write_text("#!/bin/sh\necho 'newuidmap: range is not allowed' >&2\nexit 1\n")
    tool.chmod(0o755)

    class Failing(privilege._Subordinate):
        def __init__(self) -> None:
            self._commands = ((str(tool), 0, ((100000, 65536),)),)  # type: ignore[assignment]

    def work() -> None:
        privilege._enter(Failing())

    with pytest.raises(Refused, match="cannot be mapped: newuidmap: range is not allowed"):
        apart(work)


@pytest.mark.root
def test_a_root_that_may_not_mount_gets_a_user_namespace(box: Box) -> None:
    """As in a container that was given user namespaces, but not CAP_SYS_ADMIN."""

    def work() -> tuple[str, int, str]:
        sys_admin = capability_mask("CAP_SYS_ADMIN")
        prctl(PR_CAPBSET_DROP, sys_admin.bit_length() - 1)
        _, permitted, _ = capget()
        capset(permitted & ~sys_admin, permitted & ~sys_admin, 0)
        kind = acquire().kind
        with SandboxServer() as server:
            ended = box.run_on(
                server, box.spec("/bin/sh", "-c", "id -u; chown 33 /tmp; ls -nd /tmp")
            )
        return kind, ended.status, ended.output

    kind, status, output = apart(work)
    assert (kind, status) == ("user namespace", 0)
    assert output.startswith("0\n")
    assert " 33 " in output
