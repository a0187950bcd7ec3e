"""Base images for the tests, made once a machine by the scripts under fixtures/."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base image: the name Dockerfiles know it by, the script that makes it, its config."""

    name: str
    script: str
    changes: tuple[str, ...]


BUSYBOX = Base(
    name="busybox:latest", script="busybox_rootfs.sh", changes=(f"ENV {_PATH}", 'CMD ["sh"]')
)
DEBIAN = Base(
    name="debian:bookworm-slim",
    script="debian_rootfs.sh",
    changes=(f"ENV {_PATH}", 'CMD ["bash"]'),
)


def cache_folder() -> Path:
    """Where made root file systems are kept between runs."""
    if folder := os.environ.get("LAMINA_TEST_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lamina-tests"


def root_file_system(base: Base) -> Path:
    """The base's tar, made where this version of its script has not made it yet."""
    script = REPOSITORY / "fixtures" / base.script
    key = hashlib.sha256(script.read_bytes()).hexdigest()[:16]
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    tar = folder / f"{script.stem}-{key}.tar"
    with (folder / f"{script.stem}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tar.exists():
            subprocess.run([script, tar], check=True, stdin=subprocess.DEVNULL)
            for old in folder.glob(f"{script.stem}-*.tar"):
                if old != tar:
                    old.unlink()
    return tar
