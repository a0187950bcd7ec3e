"""Whether containers of a plain user can have private networks: one is connected, and cut again."""

from __future__ import annotations

import os
import tempfile
import time
from typing import Any

from runtime.doctor.apart import told_apart
from runtime.errors import ContainerError
from runtime.network.namespace import make_namespace
from runtime.network.user_mode import Uplink, find_programs
from runtime.sandbox.privilege import acquire


def told_of_uplink() -> dict[str, Any]:
    """`program` and `milliseconds`; or `why` not, and `remedy`."""
    return told_apart(_told)


def _told() -> dict[str, Any]:
    try:
        acquire()
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="lamina-doctor-") as folder:
            os.chdir(folder)
            try:
                uplink = Uplink(find_programs(os.environ.get("PATH", "")), make_namespace(), ())
                uplink.end()
            finally:
                os.chdir("/")
    except ContainerError as error:
        why = error.message.removeprefix("cannot connect the network: ")
        return {"why": why, "remedy": (error.hint or "").partition("; or take ")[0] or None}
    except OSError as error:
        return {"why": f"{(error.strerror or '').lower()}: {error.filename or 'netlink'}"}
    return {"program": uplink.program, "milliseconds": (time.monotonic() - began) * 1000}
