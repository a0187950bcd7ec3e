"""What this machine lets a test do, found out by doing it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from typing import NoReturn

import pytest

REQUIRE_ALL = os.environ.get("LAMINA_REQUIRE_ALL") == "1"


def is_root() -> bool:
    """Whether this is real root, or something that looks like it."""
    return os.geteuid() == 0


@functools.cache
def why_no_namespaces() -> str | None:
    """Why containers cannot be made here; `None` where they can.

    As root that takes mount namespaces; as another user a user namespace with subordinate
    ids, and mounts inside it.
    """
    inside = "mount -t tmpfs none /mnt && chown 1:1 /mnt"
    enter = ["--mount"] if is_root() else ["--user", "--map-root-user", "--map-auto", "--mount"]
    try:
        probe = subprocess.run(
            ["unshare", *enter, "sh", "-c", inside], capture_output=True, encoding="utf-8"
        )
    except FileNotFoundError as error:
        return str(error)
    return None if probe.returncode == 0 else probe.stderr.strip() or "unshare failed"


def need_tool(name: str) -> str:
    """The path of a program the test is about; without it the test is skipped, or fails in CI."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        unmet(f"{name} is not installed (make test installs it as root)")
    return path


def unmet(reason: str) -> NoReturn:
    """Skip for a reason; fail for it where nothing may be skipped (LAMINA_REQUIRE_ALL=1)."""
    if REQUIRE_ALL:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
