"""Containers, for real: what a command in one sees and may do."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.sandbox.capabilities import capability_mask
from runtime.sandbox.mounts import mount_overlay
from runtime.sandbox.server import SandboxServer
from runtime.sandbox.spec import BindMount, SandboxSpec, TmpfsMount
from runtime.sandbox.syscalls import MNT_DETACH, umount2
from support.sandbox import Box, Ended, Refused, inside, new_root, remove_folder

pytestmark = pytest.mark.namespaces


@pytest.fixture(scope="module")
def box(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    folder = run_folder / tmp_path_factory.mktemp("sandbox").name
    folder.mkdir(exist_ok=True)
    folder = folder / os.urandom(4).hex()
    folder.mkdir()
    yield Box(root=new_root(str(folder)), folder=str(folder))
    remove_folder(folder)


def test_status_and_streams(box: Box) -> None:
    assert box.sh("echo out; echo err >&2; exit 7") == Ended(7, "out\nerr\n")


def test_the_status_of_a_killed_command(box: Box) -> None:
    # As PID 1 it cannot kill itself.
    def work() -> int:
        with SandboxServer() as server:
            null = os.open(os.devnull, os.O_RDWR)
            process = server.start(box.spec("/bin/sleep", "60"), null, null, null)
            process.kill(signal.SIGKILL)
            return process.wait()

    assert inside(work) == 128 + signal.SIGKILL


def test_namespaces_of_its_own(box: Box) -> None:
    script = "for n in mnt pid ipc uts net cgroup; do readlink /proc/self/ns/$n; done"
    isolated = box.sh(script).output.split()
    ours = [
        os.readlink(f"/proc/self/ns/{n}") for n in ["mnt", "pid", "ipc", "uts", "net", "cgroup"]
    ]
    assert len(isolated) == 6
    assert not set(isolated) & set(ours)
    shared = box.sh(script, network="host").output.split()
    assert shared[4] == ours[4]
    assert not {*shared[:4], shared[5]} & set(ours)


def test_it_is_process_one_and_alone(box: Box) -> None:
    assert box.sh("echo $$; ls -d /proc/[0-9]* | wc -l").output.split()[0] == "1"
    assert "sleep" not in box.sh("ps").output


def test_host_name_and_loopback(box: Box) -> None:
    ended = box.sh("hostname; ip addr show lo", hostname="wonder.land")
    assert ended.output.startswith("wonder.land\n")
    assert "inet 127.0.0.1/8" in ended.output
    assert "LOOPBACK,UP" in ended.output


def test_only_the_loopback_without_network(box: Box) -> None:
    assert box.sh("ls /sys/class/net").output.split() == ["lo"]


def test_changes_go_to_the_upper_directory_only(box: Box) -> None:
    spec = box.spec("/bin/sh", "-c", "echo new > /new; rm /etc/group", volatile=True)

    def work() -> list[str]:
        with SandboxServer() as server:
            assert box.run_on(server, spec).status == 0
        assert spec.upper is not None
        return sorted(os.listdir(spec.upper)) + os.listdir(f"{spec.upper}/etc")

    assert inside(work) == ["etc", "new", "group"]
    assert os.path.exists(f"{box.root}/etc/group")
    assert not os.path.exists(f"{box.root}/new")


def test_layers_cover_each_other(box: Box) -> None:
    top = Path(box.folder) / "top"
    (top / "etc").mkdir(parents=True)
    (top / "etc" / "motd").write_text("from the top\n")
    ended = box.sh("cat /etc/motd; head -n 1 /etc/passwd", lower=(str(top), box.root))
    assert ended.output == "from the top\nroot:x:0:0:root:/root:/bin/sh\n"


def test_many_layers_with_long_names(box: Box) -> None:
    layers = []
    for number in range(100):
        layer = Path(box.folder) / ("l" * 180) / f"{number:0>60}"
        layer.mkdir(parents=True)
        (layer / f"file-{number}").touch()
        layers.append(str(layer))
    ended = box.sh("ls -d /file-* | wc -l", lower=(*layers, box.root))
    assert ended.output == "100\n"


def test_a_root_without_upper_directory_is_read_only(box: Box) -> None:
    for lower in ((box.root,), (os.path.join(box.folder, "none"), box.root)):
        os.makedirs(lower[0], exist_ok=True)
        ended = box.sh("touch /x || mount | grep ' / '", upper=None, work=None, lower=lower)
        assert "Read-only file system" in ended.output
        assert "ro," in ended.output


def test_a_read_only_root(box: Box) -> None:
    ended = box.sh("touch /x; touch /dev/shm/y && echo yes", read_only_root=True)
    assert "/x: Read-only file system" in ended.output
    assert ended.output.endswith("yes\n")


def test_bind_mounts(box: Box) -> None:
    source = Path(box.folder) / "source"
    source.mkdir()
    (source / "file").write_text("text\n")
    os.makedirs(f"{box.root}/mnt/rw", exist_ok=True)
    os.makedirs(f"{box.root}/mnt/ro", exist_ok=True)
    mounts = (
        BindMount(source=str(source), target="/mnt/rw"),
        BindMount(source=str(source), target="/mnt/ro", read_only=True),
        BindMount(source=str(source / "file"), target="/etc/group", read_only=True),
    )
    ended = box.sh(
        "cat /mnt/ro/file /etc/group; touch /mnt/rw/new; touch /mnt/ro/no", mounts=mounts
    )
    assert ended.output.startswith("text\ntext\n")
    assert "/mnt/ro/no: Read-only file system" in ended.output
    assert (source / "new").exists()


def test_tmpfs_mounts(box: Box) -> None:
    os.makedirs(f"{box.root}/mnt/tmp", exist_ok=True)
    mounts = (TmpfsMount(target="/mnt/tmp", size=1 << 20, mode=0o701),)
    script = (
        "mount | grep /mnt/tmp; stat -c %a /mnt/tmp; dd if=/dev/zero of=/mnt/tmp/x bs=1M count=2"
    )
    ended = box.sh(script, mounts=mounts)
    assert "nosuid,nodev" in ended.output
    assert "size=1024k" in ended.output
    assert "\n701\n" in ended.output
    assert "No space left" in ended.output


def test_a_mount_point_is_made_where_another_mount_covers_the_root(box: Box) -> None:
    source = Path(box.folder) / "script"
    source.write_text("hello\n")
    os.makedirs(f"{box.root}/mnt/cover", exist_ok=True)
    mounts = (
        BindMount(source=str(source), target="/dev/pipes/EOF"),
        TmpfsMount(target="/mnt/cover"),
        BindMount(source=str(source), target="/mnt/cover/a/b"),
    )
    ended = box.sh("cat /dev/pipes/EOF /mnt/cover/a/b", mounts=mounts)
    assert ended == Ended(0, "hello\nhello\n")


def test_no_mount_point_is_made_in_the_root_itself(box: Box) -> None:
    with pytest.raises(Refused, match=r"mount /missing/x.*no such file or directory"):
        box.sh("true", mounts=(TmpfsMount(target="/missing/x"),))


def test_devices(box: Box) -> None:
    ended = box.sh(
        "echo x > /dev/null && head -c 2 /dev/zero | wc -c; head -c 5 /dev/urandom | wc -c;"
        "echo x > /dev/full; ls /dev | tr '\\n' ' '"
    )
    assert ended.output.startswith("2\n5\n")
    assert "No space left" in ended.output
    assert ended.output.endswith(
        "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero "
    )


def test_shared_memory_looks_as_dockers(box: Box) -> None:
    assert "shm on /dev/shm type tmpfs (rw,nosuid,nodev,noexec,relatime,size=65536k" in (
        box.sh("mount").output
    )
    assert "size=1024k" in box.sh("mount | grep ^shm", shm_size=1 << 20).output


def test_the_user(box: Box) -> None:
    ended = box.sh("id; echo $HOME", user="www-data")
    assert ended.output == "uid=33(www-data) gid=33(www-data) groups=33(www-data)\n/var/www\n"
    assert box.sh("id -G; echo $HOME", user="4711:5").output == "5\n/\n"
    assert box.sh("id -G").output == "0 10\n"
    assert box.sh("echo $HOME", env=(("HOME", "/elsewhere"),)).output == "/elsewhere\n"
    with pytest.raises(Refused, match="UserNotFound: unable to find user nemo"):
        box.sh("true", user="nemo")


def test_capabilities(box: Box) -> None:
    script = "grep Cap /proc/self/status | cut -f 2 | tr '\\n' ' '"
    none, default = "0" * 16, "00000000a80425fb"
    assert box.sh(script).output.split() == [none, default, default, default, none]
    assert box.sh(script, user="33").output.split() == [none, none, none, default, none]
    few = capability_mask("CAP_CHOWN", "CAP_SETUID")
    mask = f"{few:016x}"
    assert box.sh(script, capabilities=few).output.split() == [none, mask, mask, mask, none]


def test_no_new_privileges(box: Box) -> None:
    script = "grep NoNewPrivs /proc/self/status"
    assert box.sh(script).output.split() == ["NoNewPrivs:", "0"]
    assert box.sh(script, no_new_privileges=True).output.split() == ["NoNewPrivs:", "1"]


def test_limits(box: Box) -> None:
    assert box.sh("ulimit -n; ulimit -Hn").output.split()[0] == "1024"
    # More than this process may have becomes as much as it has, not an error.
    assert box.sh("ulimit -n", rlimits=((7, 1 << 40, 1 << 40),)).status == 0


def test_signals_and_mask_are_as_after_a_boot(box: Box) -> None:
    rows = dict(
        line.split(":\t")
        for line in box.run("/bin/cat", "/proc/self/status").output.splitlines()
        if line.startswith("Sig")
    )
    # 32 and 33 are the C library's own, which no program can set.
    assert int(rows["SigIgn"], 16) & ~(3 << 31) == 0
    assert int(rows["SigBlk"], 16) == 0


def test_a_pipe_ends_a_writer(box: Box) -> None:
    assert box.sh("yes | head -n 1; echo done").output == "y\ndone\n"


def test_umask_and_session(box: Box) -> None:
    assert box.sh("umask").output == "0022\n"
    assert box.sh("ps -o pid,sid | head -n 2").output.split()[2:4] == ["1", "1"]
    assert "tty" not in box.sh("readlink /proc/self/fd/0").output


def test_working_directory(box: Box) -> None:
    assert box.sh("pwd", cwd="/etc").output == "/etc\n"
    ended = box.sh("pwd; stat -c '%a %u %g' /made /made/here", cwd="/made/here", user="33:34")
    assert ended.output == "/made/here\n755 0 0\n755 33 34\n"
    os.symlink("/etc", f"{box.root}/to-etc")
    assert box.sh("pwd; pwd -P", cwd="/to-etc/../to-etc/new").output == "/etc/new\n/etc/new\n"
    with pytest.raises(Refused, match="enter the working directory /etc/passwd"):
        box.sh("true", cwd="/etc/passwd")


def test_the_environment_is_what_was_given(box: Box) -> None:
    env = (("A", "1"), ("B", ""), ("A", "2"), ("PATH", "/bin"))
    assert set(box.run("/bin/env", env=env).output.splitlines()) == {
        "A=2", "B=", "PATH=/bin", "HOME=/root",
    }  # fmt: skip


def test_commands_are_looked_for_in_the_path(box: Box) -> None:
    assert box.run("true").status == 0
    assert box.run("bin/true", cwd="/").status == 0
    assert box.run("true", env=(("PATH", "/nowhere:/bin"),)).status == 0
    with pytest.raises(Refused, match=r"CommandNotFound: exec true: executable file not found"):
        box.run("true", env=(("PATH", "/nowhere"),))


def script(box: Box, text: str, mode: int = 0o755) -> str:
    path = Path(box.root) / f"script-{os.urandom(4).hex()}"
    path.write_text(text)
    path.chmod(mode)
    return f"/{path.name}"


def test_why_a_command_cannot_be_run(box: Box) -> None:
    with pytest.raises(Refused, match=r"CommandNotFound: exec /nope: no such file or directory$"):
        box.run("/nope")
    with pytest.raises(Refused, match="CommandNotRunnable: exec /etc/passwd: permission denied"):
        box.run("/etc/passwd")
    with pytest.raises(Refused, match="CommandNotRunnable: exec /etc: is a directory"):
        box.run("/etc")
    missing = script(box, "#!/bin/bash -e\ntrue\n")
    with pytest.raises(Refused, match=r"CommandNotFound: .*interpreter of this script, /bin/bash,"):
        box.run(missing)
    with pytest.raises(Refused, match=r"CommandNotRunnable: .*exec format error"):
        box.run(script(box, "true\n"))
    with pytest.raises(Refused, match=r"CommandNotRunnable: .*permission denied"):
        box.run(script(box, "#!/bin/sh\n", mode=0o700), user="33")


def test_a_program_without_its_loader(box: Box) -> None:
    program = Path(os.readlink("/proc/self/exe"))
    (Path(box.root) / "program").write_bytes(program.read_bytes())
    (Path(box.root) / "program").chmod(0o755)
    with pytest.raises(Refused, match=r"CommandNotFound: .*loader of this program, /lib"):
        box.run("/program")


def test_many_at_once(box: Box) -> None:
    """From several threads: each has its own root, streams and status."""

    def work() -> list[Ended]:
        results: list[Ended | None] = [None] * 12
        with SandboxServer() as server:

            def one(number: int) -> None:
                spec = box.spec("/bin/sh", "-c", f"echo {number} > /n; cat /n; exit {number}")
                results[number] = box.run_on(server, spec)

            threads = [threading.Thread(target=one, args=(n,)) for n in range(len(results))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return [result for result in results if result is not None]

    assert inside(work) == [Ended(number, f"{number}\n") for number in range(12)]


def test_a_large_command(box: Box) -> None:
    long = "x" * 120_000
    ended = box.sh(f"echo ${{#A}} ${{#B}}; : {long}", env=(("A", long), ("B", long)))
    assert ended.output == "120000 120000\n"


def test_what_cannot_be_set_up_says_where(box: Box) -> None:
    with pytest.raises(Refused, match=r"SetupFailed: .*make the overlay of the root: /nowhere"):
        box.run("true", lower=("/nowhere",))
    with pytest.raises(Refused, match=r"SetupFailed: .*make the mount of /mnt: /nowhere"):
        box.run("true", mounts=(BindMount(source="/nowhere", target="/mnt"),))
    with pytest.raises(Refused, match=r"SetupFailed: .*NUL"):
        box.run("a\0b")


def test_waiting_and_killing_from_several_threads(box: Box) -> None:
    def work() -> list[int]:
        statuses: list[int] = []
        with SandboxServer() as server:
            null = os.open(os.devnull, os.O_RDWR)
            process = server.start(box.spec("/bin/sleep", "60"), null, null, null)
            threads = [
                threading.Thread(target=lambda: statuses.append(process.wait())) for _ in range(4)
            ]
            for thread in threads:
                thread.start()
            process.kill(signal.SIGKILL)
            for thread in threads:
                thread.join()
            process.kill(signal.SIGKILL)  # Nothing happens.
            statuses.append(process.wait())
        return statuses

    assert inside(work) == [137] * 5


def test_a_closed_server_starts_nothing(box: Box) -> None:
    def work() -> None:
        server = SandboxServer()
        server.close()
        server.close()
        box.run_on(server, box.spec("true"))

    with pytest.raises(Refused, match=r"SetupFailed: .*it has been closed"):
        inside(work)


def test_a_killed_server_is_an_error_not_a_hang(box: Box) -> None:
    def work() -> None:
        with SandboxServer() as server:
            assert box.run_on(server, box.spec("true")).status == 0
            os.kill(server._pid, signal.SIGKILL)
            box.run_on(server, box.spec("true"))

    with pytest.raises(Refused, match=r"SetupFailed: .*ended unexpectedly"):
        inside(work)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 30
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} lives on"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "command",
    [
        ("/bin/sleep", "600"),
        # A change of credentials undoes being killed with the parent.
        ("/bin/su", "-s", "/bin/sh", "www-data", "-c", "exec sleep 600"),
    ],
)
def test_no_container_outlives_who_started_it(box: Box, command: tuple[str, ...]) -> None:
    read_fd, write_fd = os.pipe()

    def work() -> None:
        server = SandboxServer()
        null = os.open(os.devnull, os.O_RDWR)
        process = server.start(box.spec(*command), null, null, null)
        os.write(write_fd, f"{process.pid} {server._pid}".encode())
        time.sleep(0.3)  # Let it change its credentials.
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(AssertionError, match="ended early"):
        inside(work)
    os.close(write_fd)
    pids = os.read(read_fd, 100).split()
    os.close(read_fd)
    assert len(pids) == 2
    for pid in pids:
        wait_until_gone(int(pid))


def test_closing_the_server_ends_its_containers(box: Box) -> None:
    def work() -> int:
        server = SandboxServer()
        null = os.open(os.devnull, os.O_RDWR)
        process = server.start(box.spec("/bin/sleep", "600"), null, null, null)
        server.close()
        return process.wait()

    assert inside(work) == 137


def test_an_overlay_of_ones_own(box: Box) -> None:
    target, upper, work_directory = (Path(box.folder) / name for name in ("merged", "up", "wd"))
    for folder in (target, upper, work_directory):
        folder.mkdir()

    def work() -> tuple[bool, list[str]]:
        mount_overlay(str(target), lower=(box.root,), upper=str(upper), work=str(work_directory))
        there = (target / "etc/passwd").exists()
        (target / "new").touch()
        umount2(str(target), MNT_DETACH)
        return there, os.listdir(target)

    assert inside(work) == (True, [])
    assert (upper / "new").exists()
    assert os.listdir(target) == []


def test_kernels_that_take_layers_in_one_option_only(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 6.7 an overlay is made by mounting it, somewhere."""
    from runtime.sandbox import mounts

    monkeypatch.setattr(mounts, "_new_overlay", lambda *_: None)
    target, empty = Path(box.folder) / "old", Path(box.folder) / "empty"
    for folder in (target, empty):
        folder.mkdir()
    spec: SandboxSpec = box.spec("true")

    def work() -> tuple[list[str], bool]:
        fd = mounts.overlay(spec.lower, spec.upper, spec.work, volatile=True)
        listed = os.listdir(f"/proc/self/fd/{fd}")
        os.close(fd)
        mounts.mount_overlay(str(target), lower=(box.root, str(empty)))
        there = (target / "etc/passwd").exists()
        umount2(str(target), MNT_DETACH)
        return listed, there

    listed, there = inside(work)
    assert "etc" in listed
    assert there
    too_many = [f"/proc/self/fd/{number}" for number in range(1000)]
    with pytest.raises(OSError, match="more layers than this kernel can mount"):
        mounts._mount_overlay(str(target), too_many, [], 0)
