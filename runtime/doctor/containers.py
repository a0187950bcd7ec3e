"""Whether containers can be had: one is started, on the file system that the store lies on."""

from __future__ import annotations

import os
import time
from typing import Any

from runtime.doctor.apart import told_apart
from runtime.doctor.findings import Finding
from runtime.doctor.program import smallest_program
from runtime.errors import ContainerError, SandboxUnavailable
from runtime.image.store.remove import remove_tree
from runtime.sandbox.privilege import Privilege, acquire
from runtime.sandbox.seccomp import default_filter
from runtime.sandbox.server import SandboxServer
from runtime.sandbox.spec import SandboxSpec

_NAME = "containers"


def probe_containers(folder: str) -> Finding:
    """Start a container below a folder of ours; in another process, since that changes it."""
    program = smallest_program(os.uname().machine)
    if program is None:
        detail = f"not tried: no test program for {os.uname().machine}"
        return Finding(name=_NAME, state="limited", detail=detail, needed=True)
    told = told_apart(lambda: _told(folder, program))
    if "milliseconds" in told:
        remedy = told["remedy"]
        return Finding(
            name=_NAME,
            state="works" if remedy is None else "limited",
            detail=f"started one as {told['rung']} in {told['milliseconds']:.0f} ms",
            remedy=remedy,
            needed=True,
        )
    return Finding(
        name=_NAME, state="missing", detail=told["why"], remedy=told.get("remedy"), needed=True
    )


def _told(folder: str, program: bytes) -> dict[str, Any]:
    try:
        privilege = acquire()
        place = os.path.join(folder, f"lamina-doctor-{os.urandom(6).hex()}")
        os.mkdir(place, 0o700)
        try:
            spent = _start_one(place, program)
        finally:
            remove_tree(place)
        return {"rung": _rung(privilege), "milliseconds": spent, "remedy": _better(privilege)}
    except SandboxUnavailable as error:
        return {"why": error.message, "remedy": error.remedy}
    except ContainerError as error:
        return {"why": error.message, "remedy": error.hint}
    except OSError as error:
        return {"why": f"{error.strerror}: {error.filename or folder}"}


def _start_one(place: str, program: bytes) -> float:
    """Milliseconds from the request to the end of the smallest program in a container."""
    root, upper, work = (os.path.join(place, name) for name in ("root", "upper", "work"))
    for path in (root, upper, work, *(f"{root}/{name}" for name in ("dev", "proc", "sys"))):
        os.mkdir(path, 0o755)
    fd = os.open(f"{root}/true", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o755)
    try:
        os.write(fd, program)
    finally:
        os.close(fd)
    spec = SandboxSpec(
        lower=(root,), upper=upper, work=work, volatile=True, argv=("/true",),
        seccomp=default_filter(),
    )  # fmt: skip
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        with SandboxServer() as server:
            server.start(spec, null, null, null).wait()  # The server is up then.
            again = os.path.join(place, "again")
            os.mkdir(again)
            began = time.monotonic()
            status = server.start(_with_work(spec, again), null, null, null).wait()
            spent = (time.monotonic() - began) * 1000
    finally:
        os.close(null)
    if status != 0:
        raise ContainerError(f"the test program ended with status {status}")
    return spent


def _with_work(spec: SandboxSpec, work: str) -> SandboxSpec:
    """A volatile overlay's work directory is good for one mount."""
    from dataclasses import replace

    return replace(spec, work=work)


def _rung(privilege: Privilege) -> str:
    if privilege.kind == "root":
        return "root"
    if privilege.kind == "single id":
        return "a user with a single id (owners of files are recorded)"
    with open("/proc/self/uid_map", encoding="ascii") as file:
        count = sum(int(line.split()[2]) for line in file)
    return f"a plain user with {count:,} ids"


def _better(privilege: Privilege) -> str | None:
    """What would give the user more than one ID."""
    if privilege.kind != "single id":
        return None
    if privilege.missing is None:
        return "for more ids: run as the plain user itself, outside of this namespace"
    return f"for more ids ({privilege.missing.why}): {privilege.missing.remedy}"
