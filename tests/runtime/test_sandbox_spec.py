"""What a sandbox is to be, as a value, and on its way to the process that makes it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from runtime.sandbox.capabilities import (
    ALL_CAPABILITIES,
    DEFAULT_CAPABILITIES,
    capability_mask,
    capability_names,
)
from runtime.sandbox.spec import BindMount, EntrySpec, SandboxSpec, TmpfsMount
from runtime.sandbox.wire import (
    Order,
    decode_failure,
    decode_order,
    encode_failure,
    encode_order,
)

pytestmark = pytest.mark.any_user


def test_an_order_has_every_field_of_the_spec() -> None:
    wanted = {field.name for field in fields(SandboxSpec)} - {"pid", "ipc", "uts", "cgroup"}
    wanted |= {"enter", "namespaces", "network_fd"}
    assert set(Order.__annotations__) == wanted | {"cloner", "made", "shm_fd", "supervisor"}
    order = decode_order(encode_order(SandboxSpec(lower=("/a",), argv=("true",))))
    assert set(vars(order)) == wanted
    entry = decode_order(encode_order(EntrySpec(pid=7, argv=("true",))))
    assert set(vars(entry)) < wanted
    assert entry.enter == 7


def test_words_arrive_as_bytes_whatever_they_are() -> None:
    spec = SandboxSpec(
        lower=("/top", "/böttom"),
        argv=("echo", "\udcff", "ü"),
        env=(("A", "\udcfe"), ("B", "")),
        cwd="/ü",
        user="ü",
    )
    order = decode_order(encode_order(spec))
    assert order.lower == (b"/top", "/böttom".encode())
    assert order.argv == (b"echo", b"\xff", "ü".encode())
    assert order.env == ((b"A", b"\xfe"), (b"B", b""))
    assert order.cwd == "/ü".encode()
    assert order.user == "ü"
    assert order.upper is None


def test_mounts_come_in_the_order_in_which_they_cover_each_other() -> None:
    spec = SandboxSpec(
        lower=("/a",),
        argv=("true",),
        mounts=(
            BindMount(source="/file", target="/x/y/z"),
            TmpfsMount(target="/x", size=4096, mode=0o700),
            BindMount(source="/other", target="/x/y", read_only=True, recursive=False),
        ),
    )
    assert decode_order(encode_order(spec)).mounts == (
        ("tmpfs", b"mode=700,size=4096", b"/x", 2 | 4, False, b"", False),
        ("bind", b"/other", b"/x/y", 1, False, b"", False),
        ("bind", b"/file", b"/x/y/z", 0, True, b"", False),
    )


@pytest.mark.parametrize(
    "spec",
    [
        SandboxSpec(lower=("/a",), argv=("a\0b",)),
        SandboxSpec(lower=("/a",), argv=("a",), env=(("A", "\0"),)),
        SandboxSpec(lower=("/a",), argv=("a",), cwd="/\0"),
    ],
)
def test_a_nul_is_refused(spec: SandboxSpec) -> None:
    with pytest.raises(ValueError, match="NUL"):
        encode_order(spec)


def test_a_failure_arrives() -> None:
    assert decode_failure(encode_failure("mount /x", 2, "nö")) == ("mount /x", 2, "nö")


def test_capabilities_by_name() -> None:
    assert capability_mask("CAP_CHOWN", "net_admin") == 1 | 1 << 12
    assert len(capability_names(DEFAULT_CAPABILITIES)) == 14
    assert capability_mask(*capability_names(ALL_CAPABILITIES)) == ALL_CAPABILITIES
    assert capability_names(ALL_CAPABILITIES)[-1] == "CAP_CHECKPOINT_RESTORE"
    with pytest.raises(KeyError, match="CAP_NONE"):
        capability_mask("CAP_NONE")


@pytest.mark.parametrize("module", ["sandbox.fork_server", "monitor.program", "sandbox.server"])
def test_what_starts_containers_imports_next_to_nothing(module: str) -> None:
    """Its start-up is the time of its imports, and every module is a page to copy."""
    program = (
        "import sys; before = set(sys.modules); sys.path.append(sys.argv[1]); "
        "__import__(sys.argv[2]); print(*sorted(set(sys.modules) - before))"
    )
    root = Path(__file__).parents[2]
    listed = subprocess.run(
        [sys.executable, "-I", "-S", "-E", "-c", program, root, f"runtime.{module}"],
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    loaded = {name for name in listed.stdout.split() if not name.startswith(("_", "runtime"))}
    light = {"errno", "fcntl", "gc", "marshal", "select", "time"}
    light |= {"os", "os.path", "posixpath", "genericpath", "stat"}
    assert loaded <= light
