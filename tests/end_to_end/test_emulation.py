"""A RUN for another processor, by an emulator that the kernel starts.

The handler is registered in a user namespace, which since Linux 6.7 has handlers of its own:
nothing of the machine's is changed. Needs Debian's qemu-user-static.
"""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.image.platform import default_platform
from support.cli import Lamina
from support.probes import unmet

pytestmark = [pytest.mark.namespaces, pytest.mark.root]

QEMU = Path("/usr/bin/qemu-aarch64-static")
SUPPORTED = "binfmt_misc" in Path("/proc/filesystems").read_text()

# Runs its arguments as root of a user namespace with a handler for programs of arm64.
INSIDE = r"""
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
ready, tell = os.pipe()
mapped, go = os.pipe()
pid = os.fork()
if pid == 0:
    if libc.unshare(0x10000000 | 0x20000):
        os._exit(77)
    os.write(tell, b"!")
    os.read(mapped, 1)
    os.setgid(0)
    os.setuid(0)
    place = b"/proc/sys/fs/binfmt_misc"
    if libc.mount(b"none", place, b"binfmt_misc", 0, None):
        os._exit(77)
    magic = rb"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    mask = rb"\xff\xff\xff\xff\xff\xff\xff\x00" + rb"\xff" * 8 + rb"\xfe\xff\xff\xff"
    with open(place + b"/register", "wb", buffering=0) as file:
        file.write(b":ours:M::" + magic + b":" + mask + b":" + sys.argv[1].encode() + b":OPF")
    os.execv(sys.argv[2], sys.argv[2:])
if os.read(ready, 1):
    for kind in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{kind}", "w") as file:
            file.write("0 0 65536\n")
    os.write(go, b"!")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def program(text: bytes) -> bytes:
    """A program for arm64 that writes `text` and ends: two system calls."""
    code = struct.pack(
        "<8I",
        0xD2800020,  # mov x0, #1
        0x100000E1,  # adr x1, text
        0xD2800002 | len(text) << 5,  # mov x2, #length
        0xD2800808,  # mov x8, #64: write
        0xD4000001,  # svc #0
        0xD2800000,  # mov x0, #0
        0xD2800BA8,  # mov x8, #93: exit
        0xD4000001,  # svc #0
    )
    base, start = 0x400000, 64 + 56
    size = start + len(code) + len(text)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, base + start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    header += struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return header + code + text


@pytest.mark.skipif(
    default_platform().architecture == "arm64", reason="nothing is foreign in arm64 to arm64"
)
def test_a_run_of_a_foreign_program(private_lamina: Lamina, tmp_path: Path) -> None:
    if not QEMU.exists():
        unmet("qemu-user-static is not installed (make test installs it as root)")
    if not SUPPORTED:
        unmet("this kernel has no binfmt_misc")
    (tmp_path / "hello").write_bytes(program(b"hello from arm64\n"))
    (tmp_path / "hello").chmod(0o755)
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCOPY hello /\nRUN ["/hello"]\n')
    command = private_lamina.command("build", "--platform", "linux/arm64", "-t", "arm", tmp_path)
    process = subprocess.run(
        [sys.executable, "-c", INSIDE, str(QEMU), *command],
        env=private_lamina.environment(None),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
    )
    if process.returncode == 77:
        unmet("user namespaces here have no handlers of their own (Linux 6.7)")
    assert process.returncode == 0, process.stderr
    assert "hello from arm64" in process.stderr
    assert private_lamina.inspect("arm")["Architecture"] == "arm64"
