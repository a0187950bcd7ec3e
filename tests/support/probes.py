"""What this machine lets a test do, found out by doing it."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

from runtime import owner_record

REQUIRE_ALL = os.environ.get("LAMINA_REQUIRE_ALL") == "1"


def is_root() -> bool:
    """Whether this is real root, or something that looks like it."""
    return os.geteuid() == 0


def has_one_id() -> bool:
    """Whether this user has no subordinate ids: then owners are recorded."""
    if is_root():
        return owner_record.has_one_id()
    names = (f"{pwd.getpwuid(os.getuid()).pw_name}:", f"{os.getuid()}:")
    lines = Path("/etc/subuid").read_text().splitlines() if Path("/etc/subuid").exists() else []
    return not any(line.startswith(names) for line in lines)


@functools.cache
def why_no_namespaces() -> str | None:
    """Why containers cannot be made here; `None` where they can.

    As root that takes mount namespaces; as another user a user namespace, and mounts inside it;
    with ids of others if it has any.
    """
    inside = "mount -t tmpfs none /mnt"
    enter = ["--mount"]
    if not is_root():
        enter += ["--user", "--map-root-user"]
    if not has_one_id():
        inside += " && chown 1:1 /mnt"
        enter += [] if is_root() else ["--map-auto"]
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


def need_tun() -> None:
    """What networks without root are made with; without it the test is skipped, or fails in CI."""
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        unmet(f"/dev/net/tun: {error.strerror} (make test mends it as root)")


def unmet(reason: str) -> NoReturn:
    """Skip for a reason; fail for it where nothing may be skipped (LAMINA_REQUIRE_ALL=1)."""
    if REQUIRE_ALL:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
