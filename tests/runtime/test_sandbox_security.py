"""What a hostile image or command must not get: each test fails without the defence it is about."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import ContainerError, SetupFailed
from runtime.sandbox import child, privilege
from runtime.sandbox.capabilities import ALL_CAPABILITIES
from runtime.sandbox.child import Child
from runtime.sandbox.root import Root
from runtime.sandbox.seccomp import default_filter
from runtime.sandbox.server import SandboxServer
from runtime.sandbox.spec import BindMount, TmpfsMount
from runtime.sandbox.syscalls import MS_BIND, mount
from runtime.sandbox.wire import decode_order, encode_order
from support.attacks import OVERWRITE, host_programs
from support.sandbox import Box, Refused, copy_root, inside, new_root, remove_folder

pytestmark = pytest.mark.namespaces


@pytest.fixture(scope="module")
def box(run_folder: Path) -> Iterator[Box]:
    folder = run_folder / f"security-{os.urandom(4).hex()}"
    folder.mkdir()
    yield Box(root=new_root(str(folder)), folder=str(folder))
    remove_folder(folder)


def fresh(box: Box) -> tuple[str, Path]:
    """A copy of the root to make hostile, and a folder beside it."""
    place = Path(box.folder) / os.urandom(4).hex()
    place.mkdir()
    return copy_root(box.root, str(place / "root")), place


# ---- the interpreter as seen from inside (CVE-2019-5736)


def test_the_interpreter_cannot_be_overwritten(box: Box) -> None:
    interpreter = Path(box.folder) / "python"
    shutil.copy(os.readlink("/proc/self/exe"), interpreter)
    before = hashlib.sha256(interpreter.read_bytes()).digest()
    mounts = host_programs(box.root)

    def work() -> tuple[int, str]:
        server = SandboxServer(str(interpreter))
        output = os.memfd_create("output")
        spec = box.spec(
            "/proc/self/exe", "-I", "-S", "-c", OVERWRITE, mounts=mounts, die_with_parent=False
        )
        process = server.start(spec, output, output, output)
        # A file cannot be written while it is executed: from now on it is not, outside.
        server.close()
        status = process.wait()
        return status, os.pread(output, 10_000, 0).decode()

    status, output = inside(work)
    assert hashlib.sha256(interpreter.read_bytes()).digest() == before
    assert status == 0
    assert "Read-only file system" in output


# ---- what is open (CVE-2024-21626, CVE-2016-9962)


def test_inherited_descriptors_are_not_passed_on(box: Box) -> None:
    def work() -> str:
        os.dup2(os.open("/etc", os.O_RDONLY), 77)  # Inheritable, unlike what Python opens.
        with SandboxServer() as server:
            return box.run_on(server, box.spec("/bin/ls", "/proc/self/fd")).output

    # The last one is what `ls` itself has open.
    assert inside(work).split() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("number", range(3, 13))
def test_no_descriptor_is_a_way_out(box: Box, number: int) -> None:
    def work() -> str:
        os.set_inheritable(os.open("/", os.O_RDONLY), True)
        with SandboxServer() as server:
            spec = box.spec("/bin/pwd", cwd=f"/proc/self/fd/{number}")
            return box.run_on(server, spec).output

    with pytest.raises(Refused, match=r"SetupFailed: .*enter the working directory /proc/self/fd"):
        inside(work)


def test_a_link_to_a_descriptor_is_no_way_out_either(box: Box) -> None:
    root, _ = fresh(box)
    os.symlink("/proc/self/fd/5/../..", f"{root}/work")
    with pytest.raises(Refused, match=r"SetupFailed: .*enter the working directory /work"):
        box.run("/bin/pwd", lower=(root,), cwd="/work")


# ---- links in the image (CVE-2019-19921, CVE-2021-30465)


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
@pytest.mark.parametrize("target", ["/tmp", "tmp", "../../../../../../tmp", "/nowhere", "self"])
def test_standard_mounts_follow_no_link(box: Box, name: str, target: str) -> None:
    root, _ = fresh(box)
    os.rmdir(f"{root}/{name}")
    os.symlink(name if target == "self" else target, f"{root}/{name}")
    with pytest.raises(Refused, match=f"SetupFailed: .*mount /{name}: .*not a directory"):
        box.run("/bin/true", lower=(root,))


def test_mounts_follow_links_inside_the_root_only(box: Box) -> None:
    root, place = fresh(box)
    source, outside = place / "source", place / "outside"
    source.write_text("mounted\n")
    outside.mkdir()
    (outside / "hosts").write_text("canary\n")
    shutil.rmtree(f"{root}/etc")
    os.symlink(f"../../../../../../../../{outside}", f"{root}/etc")
    inner = f"{root}{outside}"
    os.makedirs(inner)
    Path(inner, "hosts").touch()
    mounts = (BindMount(source=str(source), target="/etc/hosts"),)
    ended = box.sh("cat /etc/hosts; echo changed > /etc/new", lower=(root,), mounts=mounts)
    assert ended.output == "mounted\n"
    assert os.listdir(outside) == ["hosts"]
    assert (outside / "hosts").read_text() == "canary\n"


def test_a_mount_point_is_made_inside_the_root_only(box: Box) -> None:
    """In a tmpfs whose content the image's links could lead elsewhere."""
    root, place = fresh(box)
    (place / "outside").mkdir()
    os.symlink(f"/../../../{place}/outside", f"{root}/link")
    os.makedirs(f"{root}/mnt/cover")
    mounts = (
        TmpfsMount(target="/mnt/cover"),
        TmpfsMount(target="/mnt/cover/../../link/new"),
    )
    with pytest.raises(Refused, match="no such file or directory"):
        box.run("/bin/true", lower=(root,), mounts=mounts)
    assert os.listdir(place / "outside") == []


def test_users_files_are_read_inside_the_root_only(box: Box) -> None:
    root, place = fresh(box)
    (place / "passwd").write_text("spy:x:4242:4242::/:/bin/sh\n")
    os.unlink(f"{root}/etc/passwd")
    os.symlink(f"../../../../../../../../../{place}/passwd", f"{root}/etc/passwd")
    with pytest.raises(Refused, match="UserNotFound"):
        box.run("/bin/true", lower=(root,), user="spy")


@pytest.mark.parametrize("kind", ["fifo", "directory", "link to a descriptor"])
def test_users_files_that_are_none(box: Box, kind: str) -> None:
    root, _ = fresh(box)
    path = f"{root}/etc/passwd"
    os.unlink(path)
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "directory":
            os.mkdir(path)
        case _:
            os.symlink("/proc/self/fd/0", path)
    ended = box.run("/bin/grep", "Uid", "/proc/self/status", lower=(root,), user="4711")
    assert ended.output.split()[1] == "4711"


# ---- the image's files and our interpreter (CVE-2019-14271)


def test_nothing_can_be_imported_after_the_pivot(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('the image has been executed')")

    class Entered(Root):
        def make(self) -> None:
            pass

        def enter(self) -> int:
            return os.open("/", os.O_PATH | os.O_DIRECTORY)

        def attach(self, root_fd: int) -> None:
            __import__("evil")

    def work() -> str:
        sys.path.insert(0, str(tmp_path))
        warnings.simplefilter("ignore", ImportWarning)
        order = decode_order(encode_order(box.spec("true")))
        try:
            Child(order, -1, 0)._set_up()
        except ModuleNotFoundError:
            return "not found"
        return "imported"

    monkeypatch.setattr(child, "Root", Entered)
    assert inside(work) == "not found"


def test_modules_in_the_image_are_not_executed(box: Box) -> None:
    """Not in any of the ways a container may end before its command is executed, either."""
    root, _ = fresh(box)
    listed = subprocess.run(
        [os.readlink("/proc/self/exe"), "-I", "-S", "-E", "-c", "import sys; print(*sys.path)"],
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    evil = "open('/executed', 'w').close()\n"
    repository = str(Path(__file__).parents[2])
    for folder in {*listed.stdout.split(), "/", repository}:
        if folder.endswith(".zip"):
            continue
        os.makedirs(root + folder, exist_ok=True)
        for name in (*sys.stdlib_module_names, "runtime"):
            if not os.path.lexists(f"{root}{folder}/{name}"):
                Path(f"{root}{folder}/{name}.py").write_text(evil)
        package = Path(f"{root}{folder}/encodings")
        if not package.exists():
            package.mkdir()
            (package / "__init__.py").write_text(evil)

    def work() -> list[str]:
        uppers = []
        with SandboxServer() as server:
            fields: dict[str, Any]
            for fields in (
                {},
                {"user": "nemo"},
                {"cwd": "/etc/passwd"},
                {"argv": ("nope",)},
                {"argv": ("/etc/passwd",)},
                {"env": (("LANG", "de_DE.ISO-8859-15"), ("PYTHONPATH", "/"))},
            ):
                argv = fields.pop("argv", ("/bin/true",))
                spec = box.spec(*argv, lower=(root,), **fields)
                assert spec.upper is not None
                uppers.append(spec.upper)
                try:
                    box.run_on(server, spec)
                except ContainerError:
                    continue
        return [name for upper in uppers for name in os.listdir(upper)]

    assert "executed" not in inside(work)


# ---- what shows of the host


def test_the_environment_does_not_leak(box: Box) -> None:
    def work() -> str:
        os.environ["LAMINA_SECRET"] = "hunter2"
        with SandboxServer() as server:
            script = "cat /proc/1/environ /proc/1/cmdline; env"
            return box.run_on(server, box.spec("/bin/sh", "-c", script)).output

    assert "hunter2" not in inside(work)


def test_masked_paths_are_empty(box: Box) -> None:
    masked = "/proc/kcore /proc/keys /proc/timer_list /proc/interrupts /proc/acpi /sys/firmware"
    ended = box.sh(f"for p in {masked}; do cat $p 2>/dev/null; ls -A $p/ 2>/dev/null; done")
    assert ended.output == ""


def test_kernel_settings_are_read_only(box: Box) -> None:
    ended = box.sh(
        "echo x > /proc/sys/kernel/domainname; echo 1 > /sys/kernel/uevent_seqnum",
        capabilities=ALL_CAPABILITIES,
    )
    assert ended.output.count("Read-only file system") == 2


def test_a_mask_cannot_be_used_to_change_the_hosts_null_device(box: Box) -> None:
    # The same mode: harmless where it succeeds.
    ended = box.sh("for p in /proc/keys /proc/timer_list; do [ -c $p ] && chmod 666 $p; done")
    assert ended.output
    assert {line.rpartition(": ")[2] for line in ended.output.splitlines()} == {
        "Read-only file system"
    }


def test_changing_a_device_does_not_change_the_hosts(box: Box) -> None:
    before = os.stat("/dev/null").st_mode
    box.sh("chmod 600 /dev/full")
    assert os.stat("/dev/full").st_mode == before
    assert os.stat("/dev/null").st_mode == before


@pytest.mark.root
def test_no_device_but_the_given_ones_can_be_used(box: Box) -> None:
    """Docker has a cgroup for that; without, root could make itself a node for any disk."""
    source = Path(box.folder) / "volume"
    source.mkdir()
    os.makedirs(f"{box.root}/mnt/volume", exist_ok=True)
    ended = box.sh(
        "for d in / /dev/ /dev/shm/ /tmp/ /mnt/volume/; do"
        " mknod ${d}n c 1 3 && echo made; echo x > ${d}n; done",
        mounts=(
            BindMount(source=str(source), target="/mnt/volume"),
            TmpfsMount(target="/tmp"),
        ),
    )
    assert ended.output.count("made") == 5
    assert ended.output.count("Permission denied") == 5


def test_devices_of_a_layer_are_dead(box: Box) -> None:
    assert "nodev" in box.sh("mount | grep ' on / '").output


# ---- system calls


CALLS = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
NR = {"mount": (165, (0, 0, 0, 0, 0)), "unshare": (272, (0x20000,)), "keyctl": (250, (0, -3, 0)),
      "bpf": (321, (5, 0, 0)), "open_tree": (428, (-100, 0, 0)), "setns": (308, (-1, 0)),
      "io_uring_setup": (425, (1, 0)), "clone3": (435, (0, 0)), "kexec_load": (246, (0, 0, 0, 0)),
      "AF_ALG": (41, (38, 5, 0)), "AF_VSOCK": (41, (40, 1, 0)), "pivot_root": (155, (0, 0)),
      "newer": (600, ()), "userfaultfd": (323, (0,)), "ptrace": (101, (0, 0, 0, 0))}
for name, (number, arguments) in NR.items():
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    print(name, "ok" if result >= 0 else errno.errorcode.get(ctypes.get_errno()))
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are x86-64's")
def test_the_filter_refuses_even_who_has_every_capability(box: Box) -> None:
    """The capabilities are there, so what refuses is the filter; `ptrace` shows that it thinks."""
    mounts = host_programs(box.root)
    python = os.path.realpath(f"/proc/{os.getpid()}/exe")

    def results(seccomp: bytes | None) -> dict[str, str]:
        ended = box.run(
            python, "-I", "-S", "-c", CALLS,
            mounts=mounts, capabilities=ALL_CAPABILITIES, seccomp=seccomp,
        )  # fmt: skip
        assert ended.status == 0, ended.output
        return dict(line.split(" ", 1) for line in ended.output.splitlines())

    filtered, free = results(default_filter()), results(None)
    refused = {
        "mount", "unshare", "keyctl", "bpf", "open_tree", "setns", "io_uring_setup", "kexec_load",
        "AF_ALG", "AF_VSOCK", "pivot_root", "userfaultfd",
    }  # fmt: skip
    assert {name for name, result in filtered.items() if result == "EPERM"} == refused
    assert filtered["clone3"] == filtered["newer"] == "ENOSYS"
    assert filtered["ptrace"] == "ok"
    # Without the filter the kernel at least looks at what it is asked.
    assert free["unshare"] == "ok"
    assert free["mount"] == free["open_tree"] == "EFAULT"
    assert free["setns"] == "EBADF"


def test_the_filter_holds_for_the_shell_too(box: Box) -> None:
    script = "mount -t tmpfs x /tmp; unshare -m true; chroot / true && echo fine"
    ended = box.sh(script, seccomp=default_filter(), capabilities=ALL_CAPABILITIES)
    assert (
        ended.output.count("Operation not permitted") + ended.output.count("permission denied") == 2
    )
    assert ended.output.endswith("fine\n")


def test_a_filter_with_no_new_privileges(box: Box) -> None:
    script = "grep -E 'Seccomp:|NoNewPrivs' /proc/self/status; mount -t tmpfs x /tmp"
    for user in ("", "33"):
        ended = box.sh(script, seccomp=default_filter(), no_new_privileges=True, user=user)
        assert "NoNewPrivs:\t1" in ended.output
        assert "Seccomp:\t2" in ended.output


# ---- the terminal


def test_there_is_no_controlling_terminal(box: Box) -> None:
    assert "No such device or address" in box.sh("echo x > /dev/tty").output


# ---- being inside another container


@pytest.mark.root
def test_where_proc_is_masked_the_remedy_is_named(box: Box) -> None:
    """A user namespace gets no /proc of its own where a part of the surrounding one is hidden."""

    def work() -> str:
        mount("/dev/null", "/proc/timer_list", None, MS_BIND)
        privilege._enter(privilege._Everything())
        with SandboxServer() as server:
            try:
                box.run_on(server, box.spec("true"))
            except SetupFailed as error:
                return f"{error.message}; {error.hint}"
        return "no error"

    said = inside(work)
    assert "make /proc: operation not permitted" in said
    assert "systempaths=unconfined" in said
