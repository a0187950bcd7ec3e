"""What hostile containers try, and what they need for it."""

from __future__ import annotations

import os
import sys

from runtime.sandbox.spec import BindMount, Mount


def host_folders() -> list[str]:
    """What this Python needs of the host's to run inside a container."""
    folders = ["/usr", "/lib", "/lib64", sys.base_prefix]
    if sys.base_prefix.startswith("/usr"):
        folders.pop()
    return [folder for folder in folders if os.path.isdir(folder)]


def host_programs(root: str) -> tuple[Mount, ...]:
    """Mounts of that, and the folders to mount on in a root."""
    there = host_folders()
    for folder in there:
        os.makedirs(root + folder, exist_ok=True)
    return tuple(BindMount(source=folder, target=folder, read_only=True) for folder in there)


# Run by this Python as /proc/self/exe: write to the file that it is executed from, as soon as
# nobody executes it any more, whoever of ours ends meanwhile (prctl: PR_SET_PDEATHSIG).
OVERWRITE = """
import ctypes, os
ctypes.CDLL(None).prctl(1, 0)
fd = os.open("/proc/self/exe", os.O_PATH)
os.set_inheritable(fd, True)
os.execv("/bin/sh", ["sh", "-c", f'''
    n=0
    while [ $n -lt 600 ]; do
        if (echo overwritten > /proc/self/fd/{fd}) 2>${{WHY:-/tmp/why}}; then exit 66; fi
        grep -q busy ${{WHY:-/tmp/why}} || break
        n=$((n + 1)); sleep 0.05
    done
    cat ${{WHY:-/tmp/why}}
'''])
"""
