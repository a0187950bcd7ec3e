"""Another kernel: user-mode Linux (Debian's package), booted on this machine's own files.

Its root is the host's, read-only; a disk of its own holds a store. It needs no virtualization,
boots in seconds, and has what this machine's kernel may not: cgroup version 2 alone, and the age
of a stable distribution's.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from support import probes
from support.cli import LAMINA

_MODULES = Path("/usr/lib/uml/modules")
_LOAD = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for path in sys.argv[1:]:
    if libc.syscall(313, os.open(path, os.O_RDONLY), b"", 0):  # finit_module
        sys.exit(f"{path}: {os.strerror(ctypes.get_errno())}")
"""
_INIT = """\
#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export HOME=/tmp TMPDIR=/tmp PYTHONDONTWRITEBYTECODE=1 LAMINA_REGISTRIES={settings}
dmesg -n 1
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts devpts /dev/pts
for folder in /dev/shm /tmp /run; do mount -t tmpfs tmpfs $folder; done
chmod 1777 /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount /dev/ubda /mnt
{python} -I -S -c '{load}' {modules}
lamina() {{ {lamina} --root /mnt/store "$@" 2>&1; }}
part() {{ echo "== $1"; }}
{script}
part end
poweroff -f || echo o > /proc/sysrq-trigger
"""


def run_in_machine(
    script: str, folder: Path, disk: Path, *, seconds: float = 240
) -> dict[str, str]:
    """What a shell script writes as root of such a machine, by the parts that it names.

    It has `lamina`, on a store on a disk that begins with the files of `disk`, and `part NAME`.
    """
    linux = probes.need_tool("linux.uml")
    modules = [str(path) for path in _MODULES.glob("*/kernel/fs/overlayfs/overlay.ko")]
    if not modules or os.uname().machine != "x86_64":
        probes.unmet("no modules for user-mode Linux here")
    image, init = folder / "disk", folder / "init"
    with image.open("wb") as file:
        file.truncate(256 << 20)
    subprocess.run([probes.need_tool("mkfs.ext4"), "-q", "-d", disk, image], check=True)
    init.write_text(
        _INIT.format(
            settings=Path(__file__).with_name("offline.toml"),
            python=sys.executable,
            load=_LOAD,
            modules=" ".join(modules),
            lamina=LAMINA,
            script=script,
        )
    )
    init.chmod(0o755)
    ended = subprocess.run(
        [
            linux, "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}",
            "mem=768M", f"ubd0={image}", "con0=fd:0,fd:1", "con=null", "quiet",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        timeout=seconds,
        env={"TMPDIR": str(folder), "PATH": os.environ["PATH"], "HOME": str(folder)},
    )  # fmt: skip
    text = ended.stdout.replace("\r", "")
    parts = re.split(r"^== (\w+)\n", text, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert "end" in found, text
    return found
