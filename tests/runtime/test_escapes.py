"""Ways out of a container that others have had. Each test says which defence it holds, and has
been seen to fail without it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
import signal
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.errors import SetupFailed
from runtime.sandbox.capabilities import ALL_CAPABILITIES
from runtime.sandbox.cloning import last_capability
from runtime.sandbox.entry import clone_into
from runtime.sandbox.seccomp import default_filter
from runtime.sandbox.server import Process, SandboxServer
from runtime.sandbox.spec import BindMount, EntrySpec, TmpfsMount
from runtime.sandbox.wire import decode_failure, decode_order, encode_order
from support import probes
from support.attacks import OVERWRITE, host_programs
from support.sandbox import Box, copy_root, inside, new_root, remove_folder

pytestmark = pytest.mark.namespaces
AT_FDCWD, RENAME_EXCHANGE = -100, 2


@pytest.fixture(scope="module")
def box(run_folder: Path) -> Iterator[Box]:
    folder = run_folder / f"escapes-{os.urandom(4).hex()}"
    folder.mkdir()
    yield Box(root=new_root(str(folder)), folder=str(folder))
    remove_folder(folder)


@contextmanager
def sleeping(box: Box, server: SandboxServer, **fields: object) -> Iterator[Process]:
    """A container to be entered; in a process that has what it needs."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    process = server.start(box.spec("/bin/sleep", "60", **fields), null, null, null)
    try:
        yield process
    finally:
        process.kill(9)
        process.wait()
        os.close(null)


def enter(server: SandboxServer, into: Process, *argv: str, cwd: str = "/") -> tuple[int, str]:
    """Run a command in a container: its exit status and output."""
    output = os.memfd_create("output")
    entry = EntrySpec(pid=into.pid, argv=argv, cwd=cwd)
    process = server.start(entry, output, output, output, target_fd=into.pidfd)
    status = process.wait()
    return status, os.pread(output, 10_000, 0).decode()


# ---- the program that a container was started by


def test_the_interpreter_of_exec_cannot_be_overwritten(box: Box) -> None:
    """CVE-2019-5736 by way of `exec`: what enters runs on a read-only clone of its interpreter
    (runtime.sandbox.spawn)."""
    interpreter = Path(box.folder) / "python-of-exec"
    shutil.copy(os.readlink("/proc/self/exe"), interpreter)
    before = hashlib.sha256(interpreter.read_bytes()).digest()
    mounts = host_programs(box.root)

    def work() -> tuple[int, str]:
        with SandboxServer() as starting, sleeping(box, starting, mounts=mounts) as one:
            entering = SandboxServer(str(interpreter))
            output = os.memfd_create("output")
            argv = ("/proc/self/exe", "-I", "-S", "-c", OVERWRITE)
            entry = EntrySpec(pid=one.pid, argv=argv)
            process = entering.start(entry, output, output, output, target_fd=one.pidfd)
            # A file cannot be written while it is executed: from now on it is not, outside.
            entering.close()
            status = process.wait()
            return status, os.pread(output, 10_000, 0).decode()

    status, output = inside(work)
    assert hashlib.sha256(interpreter.read_bytes()).digest() == before
    assert (status, "Read-only file system" in output) == (0, True)


def test_the_init_of_a_container_cannot_be_looked_into(box: Box) -> None:
    """CVE-2016-9962's lesson: with `--init` a process of ours stays in the container, with the
    rights of its root. It is not dumpable (runtime.sandbox.reaper), so nobody there reads its
    memory, or gets at the file that it is executed from."""
    script = "for f in exe root cwd fd/0; do readlink /proc/1/$f; done; cat /proc/1/maps"
    ended = box.sh(f"{script}; echo x > /proc/1/mem; cat /proc/1/comm", init=True)
    said = [line for line in ended.output.splitlines() if "ermission denied" not in line]
    assert said == ["lamina-init"]


# ---- what is open


def test_no_descriptor_is_a_way_out_for_exec(box: Box) -> None:
    """CVE-2024-21626 by way of `exec -w /proc/self/fd/N`: the working directory is opened in the
    root and through no magic link (RESOLVE_NO_MAGICLINKS: ELOOP). Only then would it matter that
    it must be below the root.

    Not by way of the fork server, which has closed what it has inherited (the next test), but as
    monitors do it for health checks.
    """

    def work() -> str:
        host = os.dup2(os.open("/", os.O_RDONLY | os.O_DIRECTORY), 200)
        with SandboxServer() as server, sleeping(box, server) as one:
            entry = EntrySpec(pid=one.pid, argv=("/bin/pwd",), cwd=f"/proc/self/fd/{host}")
            read_fd, write_fd = os.pipe()
            pid, _, helper = clone_into(
                decode_order(encode_order(entry)), one.pidfd, (0, 1, 2), write_fd,
                last_capability(), exit_signal=signal.SIGCHLD,
            )  # fmt: skip
            os.close(write_fd)
            os.waitpid(helper, 0)
            os.waitpid(pid, 0)
            stage, number, _ = decode_failure(os.read(read_fd, 4096))
            return f"{stage}: {errno.errorcode[number]}"

    assert inside(work) == "enter the working directory /proc/self/fd/200: ELOOP"


def test_what_the_caller_has_open_is_not_passed_on(box: Box) -> None:
    """Neither to a container nor to a command of exec: the fork server closes what it inherits
    (close_range), and all but the three standard streams are closed on execution."""

    def work() -> tuple[str, str]:
        os.set_inheritable(os.open("/etc", os.O_RDONLY), True)
        os.dup2(os.open("/", os.O_RDONLY), 77)
        with SandboxServer() as server, sleeping(box, server) as one:
            ran = box.run_on(server, box.spec("/bin/ls", "/proc/self/fd")).output
            return ran, enter(server, one, "/bin/ls", "/proc/self/fd")[1]

    # The last one is what `ls` itself has open.
    assert [each.split() for each in inside(work)] == [["0", "1", "2", "3"]] * 2


# ---- links that are exchanged meanwhile


@contextmanager
def exchanging(folder: str, name: str, target: str) -> Iterator[Callable[[], int]]:
    """Have `name` in a folder be a directory and a link to `target` in turns, as fast as can be;
    gives how often they have been exchanged."""
    now, other = (os.fsencode(os.path.join(folder, each)) for each in (name, f"{name}.other"))
    os.mkdir(now)
    os.symlink(target, other)
    rename = ctypes.CDLL(None).renameat2
    turns = 0
    over = threading.Event()

    def exchange() -> None:
        nonlocal turns
        while not over.is_set():
            assert rename(AT_FDCWD, now, AT_FDCWD, other, RENAME_EXCHANGE) == 0
            turns += 1

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        yield lambda: turns
    finally:
        over.set()
        thread.join()


def attempts(box: Box, start: Callable[[SandboxServer], str]) -> list[str]:
    """What containers say that are started one after another; "" for those that cannot be."""

    def work() -> list[str]:
        said: list[str] = []
        deadline = time.monotonic() + 20
        with SandboxServer() as server:
            while time.monotonic() < deadline and len(said) < 100:
                try:
                    said.append(start(server))
                except SetupFailed:
                    said.append("")
        return said

    return inside(work)


def test_a_source_that_turns_into_a_link_meanwhile(box: Box) -> None:
    """A part of a volume, exchanged for a link to the host's by a container that has the volume:
    it is looked up below the volume, and what was found is mounted, by descriptor
    (runtime.sandbox.mounts.open_beneath)."""
    place = Path(box.folder) / "volume"
    outside = Path(box.folder) / "outside"
    for folder in (place, outside):
        folder.mkdir()
    (outside / "file").write_text("host's\n")
    os.makedirs(f"{box.root}/m", exist_ok=True)
    mount = BindMount(source=str(place), target="/m", subpath="part")

    def start(server: SandboxServer) -> str:
        spec = box.spec("/bin/sh", "-c", "cat /m/file; echo mounted", mounts=(mount,))
        return box.run_on(server, spec).output

    with exchanging(str(place), "part", str(outside)) as turns:
        said = attempts(box, start)
        assert turns() > 1000
    assert not any("host's" in each for each in said)
    assert any("mounted" in each for each in said)
    assert "" in said


def test_a_target_that_turns_into_a_link_meanwhile(box: Box) -> None:
    """A mount point in a volume, exchanged for a link to the host's: it is opened when the host's
    files are gone (the pivot), in the container's root (RESOLVE_IN_ROOT), and mounted on by
    descriptor. Nothing is made outside, and nothing mounted there."""
    place, outside = Path(box.folder) / "shared", Path(box.folder) / "host"
    for folder in (place, outside):
        folder.mkdir()
    (outside / "canary").write_text("host's\n")
    source = Path(box.folder) / "source"
    source.write_text("mounted\n")
    os.makedirs(f"{box.root}/m", exist_ok=True)
    mounts = (
        BindMount(source=str(place), target="/m"),
        BindMount(source=str(source), target="/m/part/new/file"),
    )

    def start(server: SandboxServer) -> str:
        spec = box.spec("/bin/sh", "-c", "cat /m/part/canary; echo started", mounts=mounts)
        return box.run_on(server, spec).output

    with exchanging(str(place), "part", str(outside)) as turns:
        said = attempts(box, start)
        assert turns() > 1000
    assert not any("host's" in each for each in said)
    assert any("started" in each for each in said)
    assert os.listdir(outside) == ["canary"]


def test_what_is_hidden_is_hidden_behind_links_too(box: Box) -> None:
    """CVE-2025-31133 and its like: what hides /proc/keys is the null device, and is put on what a
    descriptor stands for, so that no link in the image puts it elsewhere."""
    root = copy_root(box.root, os.path.join(box.folder, "hiding"))
    os.makedirs(f"{root}/data")
    Path(f"{root}/data/file").write_text("kept\n")
    os.symlink("/data/file", f"{root}/hidden")
    ended = box.sh(
        "cat /data/file; cat /hidden; stat -c %t:%T /proc/keys",
        lower=(root,),
        masked_paths=("/hidden", "/proc/keys"),
    )
    lines = ended.output.splitlines()
    assert lines[0] == "kept"
    assert lines[-1] == "1:3"


# ---- the kernel's files


def test_kernel_files_cannot_be_written(box: Box) -> None:
    """/proc and /sys are hidden or read-only where they are the machine's: even a root with every
    capability and without a filter writes nothing there."""
    # Nothing that is written would do harm: it is what is there already, or does nothing.
    script = """
    try() { [ -e "$1" ] || { echo "$1 missing"; return; }
            (printf %s "$2" > "$1") 2>/dev/null && echo "$1 WRITTEN" || echo "$1 refused"; }
    try /proc/sysrq-trigger h
    try /proc/sys/kernel/core_pattern "$(cat /proc/sys/kernel/core_pattern)"
    try /proc/sys/kernel/modprobe "$(cat /proc/sys/kernel/modprobe)"
    try /proc/sys/kernel/sysrq "$(cat /proc/sys/kernel/sysrq)"
    try /proc/sys/vm/panic_on_oom "$(cat /proc/sys/vm/panic_on_oom)"
    try /proc/irq/default_smp_affinity "$(cat /proc/irq/default_smp_affinity)"
    try /sys/kernel/uevent_helper "$(cat /sys/kernel/uevent_helper)"
    thp=/sys/kernel/mm/transparent_hugepage/enabled
    try $thp "$(sed 's/.*\\[//; s/\\].*//' $thp)"
    for each in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts /proc/latency_stats; do
        [ -e $each ] && echo "$each $(head -c 10 $each | wc -c)"
    done
    ls -A /sys/firmware /proc/acpi /proc/scsi 2>/dev/null | grep -v :$ | grep .
    true
    """
    ended = box.sh(f"exec 2>/dev/null; {script}", capabilities=ALL_CAPABILITIES)
    lines = ended.output.splitlines()
    assert "/proc/sys/kernel/core_pattern refused" in lines
    assert not [line for line in lines if line.endswith("WRITTEN")]
    assert "/proc/keys 0" in lines or not Path("/proc/keys").exists()
    assert {line.split()[1] for line in lines} <= {"refused", "missing", "0"}


def test_cgroups_have_no_way_out(box: Box) -> None:
    """CVE-2022-0492: a release agent is run by the kernel as the host's root. Without
    CAP_SYS_ADMIN (dropped), and by the filter alone as well, no cgroups can be mounted; and by the
    filter no user namespace can be made in which one would have it."""
    script = """
    mkdir /c; mount -t cgroup -o memory none /c 2>/dev/null && echo mounted
    mount -t cgroup2 none /c 2>/dev/null && echo mounted
    unshare -Ur true 2>/dev/null && echo unshared
    unshare -C true 2>/dev/null && echo unshared
    for each in $(find / -xdev -name release_agent 2>/dev/null) /sys/fs/cgroup/*/release_agent; do
        [ -e $each ] && (echo /bin/true > $each) 2>/dev/null && echo written
    done
    echo tried
    """
    assert box.sh(script, seccomp=default_filter()).output == "tried\n"
    assert "mounted" not in box.sh(script).output
    assert (
        "unshared"
        not in box.sh(script, seccomp=default_filter(), capabilities=ALL_CAPABILITIES).output
    )
    # What the test would see.
    assert "mounted" in box.sh(script, capabilities=ALL_CAPABILITIES).output


# ---- privileges


def test_set_user_id_programs_under_no_new_privileges(box: Box) -> None:
    """A set-user-ID program of root's in the image gives its rights to whoever executes it, unless
    `no-new-privileges` is set (prctl)."""
    root = copy_root(box.root, os.path.join(box.folder, "setuid"))
    mounts = host_programs(root)
    shutil.copy("/usr/bin/id", f"{root}/bin/id-of-root")
    os.chmod(f"{root}/bin/id-of-root", 0o4755)

    def uid(**fields: bool) -> str:
        argv = ("/bin/id-of-root", "-u")
        return box.run(*argv, lower=(root,), mounts=mounts, user="33", **fields).output.strip()

    assert uid() == "0"
    assert uid(no_new_privileges=True) == "33"


INTO_THE_TERMINAL = """
import fcntl, sys
for request, argument in ((0x540E, 1), (0x540E, 0), (0x5412, b"x")):  # TIOCSCTTY, TIOCSTI
    try:
        fcntl.ioctl(1, request, argument)
    except OSError as error:
        print(error.errno, file=sys.stderr)
    else:
        print("done", file=sys.stderr)
"""


def test_nothing_is_typed_into_the_callers_terminal(box: Box) -> None:
    """TIOCSTI (CVE-2017-5226): a container that writes to our terminal is in a session without it,
    its own (setsid in runtime.sandbox.child) below the fork server's (runtime.sandbox.spawn), and
    cannot take it."""
    setting = Path("/proc/sys/dev/tty/legacy_tiocsti")
    if setting.exists() and setting.read_text().strip() == "0":
        probes.unmet("the kernel lets nobody type into terminals")
    mounts = host_programs(box.root)
    python = os.path.realpath(f"/proc/{os.getpid()}/exe")

    def work() -> tuple[str, bool]:
        ours, theirs = os.openpty()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        errors = os.memfd_create("errors")
        with SandboxServer() as server:
            spec = box.spec(python, "-I", "-S", "-c", INTO_THE_TERMINAL, mounts=mounts)
            server.start(spec, theirs, theirs, errors).wait()
        typed = bytearray(4)
        fcntl.ioctl(theirs, termios.FIONREAD, typed)
        attributes = termios.tcgetattr(theirs)
        attributes[3] &= ~termios.ICANON
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        fcntl.ioctl(theirs, termios.FIONREAD, typed)
        os.close(ours)
        return os.pread(errors, 1000, 0).decode(), bool(int.from_bytes(typed, "little"))

    said, typed = inside(work)
    assert not typed
    assert said.split() == [str(errno.EPERM)] * 3


# ---- hostile images


def test_a_tmpfs_over_what_the_image_links(box: Box) -> None:
    """A file system in memory goes where the link leads in the root, not on the host: there are no
    files of the host's any more when it is attached (the pivot)."""
    root = copy_root(box.root, os.path.join(box.folder, os.urandom(4).hex()))
    os.symlink(f"../../../..{box.folder}", f"{root}/scratch")
    os.makedirs(f"{root}{box.folder}")
    mounts = (TmpfsMount(target="/scratch"),)
    ended = box.sh("echo x > /scratch/new; ls /scratch", lower=(root,), mounts=mounts)
    assert ended.output == "new\n"
    assert not os.path.exists(os.path.join(box.folder, "new"))
