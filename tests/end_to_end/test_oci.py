"""`lamina oci`: bundles of others. crun is the judge: it passes the same tests."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import probes
from support.bases import BUSYBOX, root_file_system
from support.cli import Lamina
from support.containers import wait_for
from support.oci_runtimes import Runtime, config_of, crun, own, own_program

# As root: how crun is kept from this machine's hybrid cgroups takes root. What plain users have
# is in test_bundle.
pytestmark = [pytest.mark.namespaces, pytest.mark.root]

Config = dict[str, Any]
Change = Callable[[Config], None]


class Bundles:
    """Bundles with one root, and a config each."""

    def __init__(self, base: Path, folder: Path) -> None:
        self._base = config_of(base)
        self._base["root"]["path"] = str(base / "rootfs")
        self._base["linux"].pop("resources")
        self._base["mounts"] = [m for m in self._base["mounts"] if m["type"] != "bind"]
        self.folder = folder

    def make(self, *command: str, change: Change | None = None) -> Path:
        """A bundle that runs a command."""
        config = copy.deepcopy(self._base)
        config["process"]["args"] = list(command)
        if change is not None:
            change(config)
        place = self.folder / f"bundle-{os.urandom(4).hex()}"
        place.mkdir()
        (place / "config.json").write_text(json.dumps(config))
        return place

    def sh(self, script: str, change: Change | None = None) -> Path:
        return self.make("sh", "-c", script, change=change)


@pytest.fixture(scope="module")
def base(lamina: Lamina, run_folder: Path) -> Iterator[Path]:
    place = run_folder / f"oci-{os.urandom(4).hex()}"
    lamina("bundle", "busybox", place)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def bundles(base: Path, tmp_path: Path) -> Bundles:
    return Bundles(base, tmp_path)


@pytest.fixture
def ours(tmp_path: Path) -> Runtime:
    return own(tmp_path / "state")


@pytest.fixture(params=[crun, own])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Runtime:
    made: Runtime = request.param(tmp_path / "state")
    return made


def status(runtime: Runtime, name: str) -> str:
    return str(json.loads(runtime("state", name))["status"])


def refused(runtime: Runtime, *words: str | Path) -> str:
    """What a runtime says of what it refuses."""
    process = runtime.tried(*words)
    assert process.returncode != 0, process.args
    assert "Traceback" not in process.stderr
    assert "defect" not in process.stderr
    return process.stdout + process.stderr


def new_id() -> str:
    return f"t{os.urandom(6).hex()}"


def test_a_life(runtime: Runtime, bundles: Bundles, tmp_path: Path) -> None:
    name, pid_file = new_id(), tmp_path / "pid"
    bundle = bundles.sh("sleep 100 & echo up > /dev/shm/up; wait")
    runtime("create", "--bundle", bundle, "--pid-file", pid_file, name)
    state = json.loads(runtime("state", name))
    assert (state["id"], state["status"], state["bundle"]) == (name, "created", str(bundle))
    pid = int(pid_file.read_text())
    assert state["pid"] == pid
    assert Path(f"/proc/{pid}/root/dev/null").exists()
    assert not Path(f"/proc/{pid}/root/dev/shm/up").exists()
    assert "exist" in refused(runtime, "create", "--bundle", bundle, name)
    runtime("start", name)
    wait_for(Path(f"/proc/{pid}/root/dev/shm/up").exists)
    assert status(runtime, name) == "running"
    assert refused(runtime, "start", name)
    assert refused(runtime, "delete", name)
    assert status(runtime, name) == "running"
    runtime("kill", name, "KILL")
    wait_for(lambda: status(runtime, name) == "stopped")
    assert refused(runtime, "kill", name, "TERM")
    assert refused(runtime, "start", name)
    runtime("delete", name)
    assert refused(runtime, "state", name)
    assert refused(runtime, "delete", name)


def test_delete_by_force(runtime: Runtime, bundles: Bundles) -> None:
    for started in (False, True):
        name = new_id()
        runtime("create", "--bundle", bundles.make("sleep", "100"), name)
        pid = json.loads(runtime("state", name))["pid"]
        if started:
            runtime("start", name)
        runtime("delete", "--force", name)
        wait_for(lambda pid=pid: not Path(f"/proc/{pid}/root/dev").exists())  # type: ignore[misc]
        assert refused(runtime, "state", name)


def test_who_the_process_is(runtime: Runtime, bundles: Bundles) -> None:
    def change(config: Config) -> None:
        process = config["process"]
        process["user"] = {"uid": 7, "gid": 8, "additionalGids": [9, 10], "umask": 0o27}
        process["cwd"] = "/usr"
        process["env"] = ["PATH=/bin", "A=b c", "EMPTY=", "HOME=/h"]
        process["noNewPrivileges"] = True
        process["oomScoreAdj"] = 123
        process["rlimits"] = [
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        ]
        process["capabilities"] = {
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"],
            "permitted": ["CAP_CHOWN", "CAP_KILL"],
            "effective": ["CAP_KILL"],
            "inheritable": ["CAP_KILL"],
            "ambient": ["CAP_KILL"],
        }

    script = (
        "id -u; id -g; id -G; umask; pwd; ulimit -n; ulimit -Hn; ulimit -c; env | sort | head -4;"
        " cat /proc/self/oom_score_adj; grep 'Cap\\|NoNew\\|Seccomp:' /proc/self/status"
    )
    said = runtime.run(bundles.sh(script, change)).split("\n")
    assert said[:9] == ["7", "8", "8 9 10", "0027", "/usr", "100", "200", "0", "A=b c"]
    assert "EMPTY=" in said
    assert "123" in said
    caps = dict(line.split(":\t") for line in said if ":\t" in line)
    # What is ambient is all that is left over an exec.
    assert caps == {
        "CapInh": f"{1 << 5:016x}", "CapPrm": f"{1 << 5:016x}", "CapEff": f"{1 << 5:016x}",
        "CapBnd": f"{1 | 1 << 5 | 1 << 21:016x}", "CapAmb": f"{1 << 5:016x}",
        "NoNewPrivs": "1", "Seccomp": "2",
    }  # fmt: skip


def test_mounts_and_devices(runtime: Runtime, bundles: Bundles, tmp_path: Path) -> None:
    there = tmp_path / "there"
    (there / "below").mkdir(parents=True)
    (there / "file").write_text("host's\n")

    def change(config: Config) -> None:
        def bind(target: str, source: str, *options: str) -> None:
            mount = {"destination": target, "type": "bind", "source": source}
            config["mounts"].append(mount | {"options": list(options)})

        bind("/new/deep/dir", str(there), "rbind", "ro", "nosuid", "nodev", "noexec")
        bind("/new/file", str(there / "file"), "bind")
        bind("/etc/../../../up", str(there), "rbind", "rw")
        tmpfs = {"destination": "/t", "type": "tmpfs", "source": "tmpfs"}
        config["mounts"].append(tmpfs | {"options": ["size=4k", "mode=700", "noatime", "noexec"]})
        config["linux"]["devices"] = [
            {"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640,
             "uid": 3, "gid": 4},
            {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
        ]  # fmt: skip
        config["linux"]["maskedPaths"] = ["/new/file", "/proc/kcore", "/usr"]
        config["linux"]["readonlyPaths"] = ["/etc", "/nothing"]
        config["root"]["readonly"] = True
        config["hostname"] = "here"
        config["domainname"] = "there.example"
        config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"}

    script = """
    cat /new/deep/dir/file; (echo > /new/deep/dir/x) 2>/dev/null || echo ro
    grep ' /new/deep/dir \\| /t ' /proc/self/mounts | cut -d' ' -f2,4 | sed 's/,discard.*//'
    wc -c < /new/file; echo x > /up/written; (echo > /y) 2>/dev/null || echo root is ro
    stat -c '%F %t:%T %a %u:%g' /dev/mine /dev/pipe; head -c 4 /dev/mine | od -An -tx1
    ls /usr; (echo > /etc/x) 2>/dev/null || echo etc is ro
    hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward
    cat /proc/sys/kernel/shm_rmid_forced; for l in fd stdout ptmx; do readlink /dev/$l; done
    """
    said = runtime.run(bundles.sh(script, change)).splitlines()
    assert said[:2] == ["host's", "ro"]
    assert said[2].split()[0] == "/new/deep/dir"
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(said[2].split()[1].split(","))
    assert {"noexec", "noatime", "size=4k"} <= set(said[3].split()[1].split(","))
    assert said[4:8] == ["0", "root is ro", "character special file 1:5 640 3:4",
                         "fifo 0:0 600 0:0"]  # fmt: skip
    assert said[8:10] == [" 00 00 00 00", "etc is ro"]
    assert said[10:] == [
        "here", "there.example", "1", "1", "/proc/self/fd", "/proc/self/fd/1", "pts/ptmx",
    ]  # fmt: skip
    assert (there / "written").read_text() == "x\n"


def test_propagation(ours: Runtime, bundles: Bundles, tmp_path: Path) -> None:
    """What is mounted on the host later comes in where a mount is a slave of the host's."""
    there = tmp_path / "there"
    there.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", there], check=True)
    subprocess.run(["mount", "--make-shared", there], check=True)
    try:
        for name in ("a", "b"):
            (there / name).mkdir()

        def change(config: Config) -> None:
            config["linux"]["rootfsPropagation"] = "rslave"
            for target, propagation in (("/slave", "rslave"), ("/private", "rprivate")):
                mount = {"destination": target, "type": "bind", "source": str(there)}
                config["mounts"].append(mount | {"options": ["rbind", propagation]})

        name = new_id()
        ours("create", "--bundle", bundles.make("sleep", "100", change=change), name)
        pid = json.loads(ours("state", name))["pid"]
        subprocess.run(["mount", "-t", "tmpfs", "none", there / "a"], check=True)
        (there / "a" / "later").touch()
        seen = Path(f"/proc/{pid}/root")
        assert (seen / "slave/a/later").exists()
        assert not (seen / "private/a/later").exists()
        ours("delete", "--force", name)
    finally:
        subprocess.run(["umount", "-R", there], check=True)


def test_namespaces_of_others(runtime: Runtime, bundles: Bundles) -> None:
    with subprocess.Popen(
        ["unshare", "--net", "--uts", "sh", "-c", "hostname theirs; echo; exec sleep 100"],
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        try:
            place = f"/proc/{other.pid}/ns"

            def join(kind: str, path: str | None) -> Change:
                def change(config: Config) -> None:
                    config.pop("hostname")
                    kinds = config["linux"]["namespaces"]
                    kinds[:] = [each for each in kinds if each["type"] != kind]
                    if path is not None:
                        kinds.append({"type": kind, "path": path})

                return change

            shown = "readlink /proc/self/ns/net; readlink /proc/self/ns/uts; hostname"
            net = os.readlink(f"{place}/net")
            said = runtime.run(bundles.sh(shown, join("network", f"{place}/net"))).splitlines()
            assert said[0] == net
            assert said[1] != os.readlink(f"{place}/uts")
            said = runtime.run(bundles.sh(shown, join("uts", f"{place}/uts"))).splitlines()
            assert said[1:] == [os.readlink(f"{place}/uts"), "theirs"]
            said = runtime.run(bundles.sh(shown, join("network", None))).splitlines()
            assert said[0] == os.readlink("/proc/self/ns/net")
            wrong = bundles.make("true", change=join("network", f"{place}/uts"))
            assert refused(runtime, "create", "--bundle", wrong, new_id())
        finally:
            other.send_signal(signal.SIGKILL)


def test_a_user_namespace(runtime: Runtime, bundles: Bundles, tmp_path: Path) -> None:
    """Its IDs are others outside; a root of its own, which they own."""
    root = tmp_path / "root"
    root.mkdir()
    subprocess.run(["tar", "-xf", root_file_system(BUSYBOX), "-C", root], check=True)
    subprocess.run(["chown", "-R", "--no-dereference", "200000:200000", root], check=True)
    for above in (tmp_path, *tmp_path.parents):
        if above.stat().st_uid == os.getuid() and not above.stat().st_mode & 1:
            above.chmod(above.stat().st_mode | 0o111)

    def change(config: Config) -> None:
        config["root"]["path"] = str(root)
        config["linux"]["namespaces"].append({"type": "user"})
        mapping = [{"containerID": 0, "hostID": 200000, "size": 1000}]
        config["linux"] |= {"uidMappings": mapping, "gidMappings": mapping}
        config["process"]["user"] = {"uid": 5, "gid": 6, "additionalGids": [7]}

    said = runtime.run(bundles.sh("id -u; id -G; cat /proc/self/uid_map; ls -ldn /", change))
    uid, gids, mapped, folder = said.splitlines()
    assert (uid, gids, mapped.split()) == ("5", "6 7", ["0", "200000", "1000"])
    assert folder.split()[2:4] == ["0", "0"]


def test_hooks(runtime: Runtime, bundles: Bundles, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def hook(name: str, *, script: str = "") -> Config:
        script = script or f'echo "{name} $A $(cat)" >> {log}'
        return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["A=b", "PATH=/bin"]}

    def change(config: Config) -> None:
        names = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
        config["hooks"] = {name: [hook(name)] for name in names}
        config["hooks"]["startContainer"] = [
            hook("startContainer", script="echo $A $(cat) > /dev/shm/hook")
        ]
        config["annotations"] = {"org.example": "yes"}

    name = new_id()
    bundle = bundles.sh("cat /dev/shm/hook; sleep 100", change)
    runtime("create", "--bundle", bundle, name)
    pid = json.loads(runtime("state", name))["pid"]
    assert [line.split()[0] for line in log.read_text().splitlines()] == [
        "prestart", "createRuntime", "createContainer",
    ]  # fmt: skip
    runtime("start", name)
    wait_for(lambda: "poststart" in log.read_text())
    shown = Path(f"/proc/{pid}/root/dev/shm/hook")  # crun does not wait for this one
    wait_for(lambda: shown.exists() and shown.read_text())
    inside = shown.read_text()
    runtime("delete", "--force", name)
    lines = log.read_text().splitlines()
    assert [line.split()[0] for line in lines][3:] == ["poststart", "poststop"]
    for line in (*lines, f"startContainer {inside}"):
        what, given, text = line.split(" ", 2)
        state = json.loads(text)
        assert given == "b"
        assert state["id"] == name
        assert state["annotations"] == {"org.example": "yes"}
        if what in ("prestart", "createRuntime", "poststart") or runtime.name != "crun":
            # Inside the container crun does not know it.
            assert state["bundle"] == str(bundle)
            assert state["pid"] == (0 if what == "poststop" else pid)


@pytest.mark.parametrize("when", ["createRuntime", "createContainer"])
def test_a_hook_that_fails(runtime: Runtime, bundles: Bundles, when: str) -> None:
    def change(config: Config) -> None:
        config["hooks"] = {when: [{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}]}

    name = new_id()
    assert refused(runtime, "create", "--bundle", bundles.make("true", change=change), name)
    assert refused(runtime, "state", name)


def test_a_hook_that_takes_too_long(ours: Runtime, bundles: Bundles) -> None:
    def change(config: Config) -> None:
        config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "9"],
                                              "timeout": 1}]}  # fmt: skip

    text = refused(ours, "create", "--bundle", bundles.make("true", change=change), new_id())
    assert "/bin/sleep did not end within 1 seconds" in text


def test_a_terminal(runtime: Runtime, bundles: Bundles, tmp_path: Path) -> None:
    def change(config: Config) -> None:
        config["process"]["terminal"] = True
        config["process"]["consoleSize"] = {"height": 33, "width": 77}

    path, name = tmp_path / "console", new_id()
    bundle = bundles.sh("tty; stty size; ls -l /dev/console | cut -c1; read a; echo got $a", change)
    assert refused(runtime, "create", "--bundle", bundle, new_id())
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        runtime("create", "--bundle", bundle, "--console-socket", path, name)
        connection, _ = listening.accept()
        with connection:
            _, fds, _, _ = socket.recv_fds(connection, 4096, 1)
    runtime("start", name)
    said = b""
    os.write(fds[0], b"hello\n")
    while b"got hello" not in said:
        said += os.read(fds[0], 4096)
    os.close(fds[0])
    assert said.decode().split("\r\n")[:4] == ["hello", "/dev/pts/0", "33 77", "c"] or (
        said.decode().replace("hello\r\n", "", 1).split("\r\n")[:3] == ["/dev/pts/0", "33 77", "c"]
    )
    runtime("delete", "--force", name)


def test_limits(runtime: Runtime, bundles: Bundles) -> None:
    if not os.path.isdir("/sys/fs/cgroup/memory"):
        probes.unmet("cgroups of version 1 are not there")
    if runtime.name == "crun":
        pytest.skip("crun is run without cgroups here")
    path = f"/lamina-test-{new_id()}"

    def change(config: Config) -> None:
        config["linux"]["cgroupsPath"] = path
        config["linux"]["resources"] = {
            "memory": {"limit": 64 << 20},
            "pids": {"limit": 50},
            "cpu": {"shares": 512, "quota": 20000, "period": 100000},
            "devices": [{"allow": False, "access": "rwm"}],
        }
        config["mounts"].append(
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["ro", "nosuid", "nodev", "noexec"]}
        )  # fmt: skip

    script = (
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max cpu/cpu.shares"
        " cpu/cpu.cfs_quota_us; (echo 1 > pids/pids.max) 2>/dev/null || echo ro;"
        " mknod /vda b 8 0 && (cat /vda) 2>&1 | head -1; echo > /dev/null"
    )
    said = runtime.run(bundles.sh(script, change)).splitlines()
    assert said[:5] == [str(64 << 20), "50", "512", "20000", "ro"]
    assert "not permitted" in said[5]
    assert not list(Path("/sys/fs/cgroup").glob(f"*{path}"))


def test_exec(ours: Runtime, bundles: Bundles, tmp_path: Path) -> None:
    name = new_id()
    ours("create", "--bundle", bundles.make("sleep", "100"), name)
    assert "it is created" in refused(ours, "exec", name, "true")
    ours("start", name)
    shown = "id -u; id -g; pwd; echo $A; grep 'CapEff\\|Seccomp:' /proc/self/status; ls /proc"
    words = ("--cwd", "/usr", "--env", "A=b", "--user", "7:8", name, "sh", "-c", shown)
    said = ours("exec", *words).splitlines()
    assert said[:4] == ["7", "8", "/usr", "b"]
    assert said[4:6] == ["CapEff:\t0000000000000000", "Seccomp:\t2"]
    assert said[6] == "1"
    file = tmp_path / "process.json"
    file.write_text(json.dumps({"args": ["sh", "-c", "exit 5"], "cwd": "/", "env": ["PATH=/bin"]}))
    assert ours.tried("exec", "--process", file, name).returncode == 5
    assert "executable file not found" in refused(ours, "exec", name, "nothing")
    ours("pause", name)
    assert status(ours, name) == "paused"
    ours("resume", name)
    assert name in ours("list")
    ours("delete", "--force", name)


def test_a_command_that_is_not_there(ours: Runtime, bundles: Bundles) -> None:
    text = refused(ours, "create", "--bundle", bundles.make("nothing"), name := new_id())
    assert "exec nothing: executable file not found in $PATH" in text
    assert "does not exist" in refused(ours, "state", name)
    ours("create", "--bundle", bundles.make("/etc"), name)
    assert "is a directory" in refused(ours, "start", name)
    wait_for(lambda: status(ours, name) == "stopped")
    ours("delete", name)
    assert ours.tried("run", "--bundle", bundles.sh("exit 9"), name).returncode == 9
    assert ours("list", "-q") == ""


def test_what_is_wrong_with_a_config(ours: Runtime, bundles: Bundles) -> None:
    """More of that is in tests/runtime/test_oci_plan.py."""

    def unknown_action(config: Config) -> None:
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_NOTIFY"}

    def no_mounts(config: Config) -> None:
        config["linux"]["namespaces"] = [{"type": "pid"}]

    wrong: tuple[tuple[Change, str], ...] = (
        (unknown_action, "SCMP_ACT_NOTIFY"),
        (no_mounts, "there is no mount namespace"),
    )
    for change, told in wrong:
        bundle = bundles.make("true", change=change)
        assert told in refused(ours, "create", "--bundle", bundle, new_id())
    assert ours("list", "-q") == ""


def test_what_is_no_config(ours: Runtime, tmp_path: Path) -> None:
    assert "no such file" in refused(ours, "create", "--bundle", tmp_path, "a")
    for text, told in (("[]", "it is no object"), ("{", "it is no JSON"), ("[" * 9999, "no JSON")):
        (tmp_path / "config.json").write_text(text)
        assert told in refused(ours, "create", "--bundle", tmp_path, "a")
    assert "invalid container ID" in refused(ours, "create", "--bundle", tmp_path, "../a")


def test_what_is_ignored_is_said(ours: Runtime, bundles: Bundles) -> None:
    def change(config: Config) -> None:
        config["process"]["apparmorProfile"] = "x"
        config["linux"]["intelRdt"] = {"closID": "x"}

    process = ours.tried("run", "--bundle", bundles.make("true", change=change), new_id())
    assert process.returncode == 0
    assert "process.apparmorProfile is ignored" in process.stderr
    assert "linux.intelRdt is ignored" in process.stderr


def test_a_root_of_links_leads_nowhere(ours: Runtime, bundles: Bundles, tmp_path: Path) -> None:
    """Mounts and devices of a hostile root stay in it."""
    root = tmp_path / "root"
    root.mkdir()
    subprocess.run(["tar", "-xf", root_file_system(BUSYBOX), "-C", root], check=True)
    canary = tmp_path / "canary"
    canary.mkdir()
    up = "/".join([".."] * 20)
    (root / "a").symlink_to(f"{up}{canary}")
    (root / "b").symlink_to(canary)
    shutil.rmtree(root / "dev")
    (root / "dev").symlink_to(f"{up}{canary}")

    def change(config: Config) -> None:
        config["root"]["path"] = str(root)
        config["linux"]["readonlyPaths"] = ["/a", "/b"]
        for target in ("/a/x", "/b/y/z"):
            mount = {"destination": target, "type": "tmpfs", "source": "tmpfs"}
            config["mounts"].append(mount)

    process = ours.tried("run", "--bundle", bundles.sh("echo in", change), new_id())
    assert process.stdout in ("in\n", "")
    assert list(canary.iterdir()) == []


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a short path: podman's may have 50 characters."""
    folder = Path(tempfile.mkdtemp(prefix="podman-", dir="/var/tmp"))
    yield folder
    shutil.rmtree(folder)


def test_podman_runs_containers_with_it(tmp_path: Path, short: Path) -> None:
    podman = probes.need_tool("podman")
    limits = '["nofile=1024:1024", "nproc=1024:1024"]'
    (tmp_path / "conf").write_text(f"[containers]\ndefault_ulimits = {limits}\n")
    words = [
        podman, "--root", str(short / "root"), "--runroot", str(short / "run"),
        "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs",
        "--runtime", str(own_program(tmp_path)),
    ]  # fmt: skip

    def call(*more: str, status: int = 0, stdin: str = "") -> str:
        process = subprocess.run(
            [*words, *more], input=stdin, capture_output=True, encoding="utf-8", timeout=120,
            env=os.environ | {"CONTAINERS_CONF": str(tmp_path / "conf")},
        )  # fmt: skip
        assert process.returncode == status, (process.args, process.stdout, process.stderr)
        return process.stdout.strip()

    call("import", str(root_file_system(BUSYBOX)), "busybox")
    run = ("run", "--rm", "--network", "none")
    assert call(*run, "-h", "box", "busybox", "sh", "-c", "hostname; exit 4", status=4) == "box"
    assert call(*run, "busybox", "nothing", status=127) == ""
    assert call(*run, "-t", "busybox", "tty") == "/dev/pts/0"
    name = call("run", "-d", "--network", "none", "busybox", "sleep", "100")
    assert call("exec", "-i", name, "cat", stdin="hello") == "hello"
    assert call("exec", name, "sh", "-c", "exit 6", status=6) == ""
    call("pause", name)
    call("unpause", name)
    call("rm", "-f", "-t", "0", name)
