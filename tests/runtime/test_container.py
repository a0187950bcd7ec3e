"""Containers: how an image's config and the caller's wishes become a process."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from runtime.containers.folder import (
    containers_directory,
    find_container,
    list_containers,
    new_folder,
)
from runtime.containers.foreground import run
from runtime.containers.names import locked_names
from runtime.containers.record import (
    Container,
    Description,
    State,
    read_container,
    write_description,
    write_state,
)
from runtime.containers.remove import remove_container, sweep_containers
from runtime.containers.spec import ContainerSpec, command_line, environment
from runtime.errors import ContainerNotFound, InvalidContainer, NameTaken
from runtime.image.archives.importing import import_rootfs
from runtime.image.model import RuntimeConfig
from runtime.image.reference import Reference
from runtime.image.store.store import Store
from runtime.monitor.identity import ProcessIdentity, identify, is_alive
from runtime.network.model import HostNetwork, NetworkSpec
from runtime.sandbox.server import SandboxServer
from runtime.sandbox.spec import BindMount
from support.bases import BUSYBOX, root_file_system
from support.sandbox import Refused, inside, remove_folder

T = TypeVar("T")
IMAGE = RuntimeConfig(entrypoint=("/entry", "-x"), cmd=("a", "b"), env=(("A", "1"), ("PATH", "/p")))


def spec(**fields: Any) -> ContainerSpec:
    return ContainerSpec(image="busybox", **fields)


# ---- what is run, without running it


@pytest.mark.parametrize(
    ("wanted", "config", "argv"),
    [
        (spec(), IMAGE, ("/entry", "-x", "a", "b")),
        (spec(command=("c",)), IMAGE, ("/entry", "-x", "c")),
        (spec(entrypoint=("/mine",)), IMAGE, ("/mine",)),
        (spec(entrypoint=("/mine",), command=("c",)), IMAGE, ("/mine", "c")),
        (spec(entrypoint=(), command=("c",)), IMAGE, ("c",)),
        (spec(), RuntimeConfig(cmd=("sh",)), ("sh",)),
        (spec(), RuntimeConfig(entrypoint=("e",)), ("e",)),
    ],
)
def test_the_command(wanted: ContainerSpec, config: RuntimeConfig, argv: tuple[str, ...]) -> None:
    assert command_line(wanted, config) == argv


@pytest.mark.parametrize("wanted", [spec(), spec(entrypoint=())])
def test_nothing_to_run(wanted: ContainerSpec) -> None:
    with pytest.raises(InvalidContainer, match="no command specified"):
        command_line(wanted, RuntimeConfig())


def test_the_environment() -> None:
    default = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert environment(spec(), RuntimeConfig(), "h") == (("PATH", default), ("HOSTNAME", "h"))
    env = environment(spec(env=(("A", "2"), ("B", ""))), IMAGE, "h")
    assert env == (("PATH", "/p"), ("HOSTNAME", "h"), ("A", "2"), ("B", ""))


def test_a_process_is_more_than_its_id() -> None:
    me = identify(os.getpid())
    assert me is not None
    assert me == identify(os.getpid())
    assert me.start_time > 0
    assert identify(0) is None
    assert identify(1 << 22) is None


# ---- what is recorded


def recorded(
    root: Path, *, name: str | None = None, created: int = 1, remove: bool = False, **fields: Any
) -> Container:
    values: dict[str, Any] = {"status": "exited", "exit_status": 0}
    state = State(**(values | fields))
    with new_folder(str(root)) as (container_id, folder, _):
        with locked_names(containers_directory(str(root))) as names:
            description = Description(
                id=container_id,
                name=names.take(name, container_id),
                created_ns=created,
                image_id="sha256:0",
                diff_ids=(),
                argv=("sh", "ü\udcff"),
                env=(("A", "1"),),
                hostname="box",
                spec=spec(remove=remove, mounts=(BindMount(source="/a", target="/b"),)),
            )
            write_description(folder, description)
        write_state(folder, state)
    return Container(description=description, state=state, folder=folder)


def test_what_is_recorded_is_listed_newest_first(tmp_path: Path) -> None:
    assert list_containers(str(tmp_path)) == []
    old = recorded(tmp_path, created=1)
    new = recorded(tmp_path, created=2, exit_status=3, finished_ns=9, error="ü\udcff")
    assert list_containers(str(tmp_path)) == [new, old]


def test_a_container_is_found_by_its_name_and_the_beginning_of_its_id(tmp_path: Path) -> None:
    first, second = recorded(tmp_path, name="first"), recorded(tmp_path)
    root = str(tmp_path)
    assert find_container(root, first.id) == first
    assert find_container(root, second.id[:20]) == second
    assert find_container(root, "first") == find_container(root, "/first") == first
    assert find_container(root, second.name) == second
    for name in ("", "x", first.id + "0", "../" + first.id, "names", "../names"):
        with pytest.raises(ContainerNotFound):
            find_container(root, name)


def test_the_beginning_of_several_ids_is_none(tmp_path: Path) -> None:
    ids = [recorded(tmp_path).id for _ in range(17)]
    beginnings = [name[0] for name in ids]
    shared = next(letter for letter in beginnings if beginnings.count(letter) > 1)
    with pytest.raises(InvalidContainer, match="several containers"):
        find_container(str(tmp_path), shared)


def test_a_name_is_one_containers_only(tmp_path: Path) -> None:
    first = recorded(tmp_path, name="only")
    with pytest.raises(NameTaken, match=f"already in use by container {first.id[:12]}"):
        recorded(tmp_path, name="only")
    # What a killed process left stands for nothing.
    link = tmp_path / "containers" / "names" / "stale"
    link.symlink_to("0" * 64)
    with pytest.raises(ContainerNotFound):
        find_container(str(tmp_path), "stale")
    assert recorded(tmp_path, name="stale").name == "stale"
    link = tmp_path / "containers" / "names" / "former"
    link.symlink_to(first.id)
    with pytest.raises(ContainerNotFound):
        find_container(str(tmp_path), "former")
    assert recorded(tmp_path, name="former").name == "former"


def test_a_process_that_has_its_id_now_is_not_the_container(tmp_path: Path) -> None:
    me = identify(os.getpid())
    assert me is not None
    others = ProcessIdentity(pid=me.pid, start_time=me.start_time - 1, boot_id=me.boot_id)
    elder = ProcessIdentity(pid=me.pid, start_time=me.start_time, boot_id="another")
    for identity, status in ((me, "running"), (others, "exited"), (elder, "exited")):
        container = recorded(tmp_path, status="running", process=identity, exit_status=None)
        found = find_container(str(tmp_path), container.id)
        assert (found.state.status, found.state.exit_status) == (status, None)


@pytest.mark.parametrize("document", ["", "{", "[]", "{}", '{"status": "running"}', "\xff"])
@pytest.mark.parametrize("file", ["state.json", "config.json"])
def test_a_damaged_record_is_passed_over(tmp_path: Path, file: str, document: str) -> None:
    container = recorded(tmp_path)
    (Path(container.folder) / file).write_bytes(document.encode("latin-1"))
    assert list_containers(str(tmp_path)) == []
    assert read_container(container.folder) is None


def test_a_sweep_takes_only_what_nobody_has(tmp_path: Path) -> None:
    with Store(str(tmp_path / "store")) as store:
        root = Path(store.root)
        kept = recorded(root)
        litter = recorded(root, remove=True, status="running", exit_status=None)
        half_removed = recorded(root, status="removing")
        (Path(litter.folder) / "upper").mkdir()
        with new_folder(store.root) as (half_made, _, _):
            sweep_containers(store)
            names = {path.name for path in (root / "containers").iterdir()} - {"names"}
            assert names == {kept.id, half_made}
        sweep_containers(store)
        assert {path.name for path in (root / "containers").iterdir()} == {kept.id, "names"}
        assert half_removed.id not in os.listdir(root / "containers")
        assert os.listdir(root / "containers" / "names") == [kept.name]


# ---- and run


class Shop:
    """A store with a busybox in it, made and used by processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = str(folder / "store")
        self.command_of(self.fill)

    def fill(self, store: Store) -> None:
        config = RuntimeConfig(cmd=("/bin/sh", "-c", "echo default"), env=(("FROM", "image"),))
        image = import_rootfs(store, str(root_file_system(BUSYBOX)), config=config)
        store.tag(Reference.parse("busybox"), store.put_image(image))

    def command_of(self, work: Callable[[Store], T]) -> T:
        def command() -> T:
            with Store(self.root) as store:
                return work(store)

        return inside(command)

    def run(self, *command: str, stdin: str = "", **fields: Any) -> tuple[int, str]:
        """Status and output of a container."""

        def work(store: Store) -> tuple[int, str]:
            with SandboxServer() as sandbox:
                return run_here(store, sandbox, spec(command=command, **fields), stdin)

        return self.command_of(work)

    def sh(self, script: str, **fields: Any) -> tuple[int, str]:
        return self.run("/bin/sh", "-c", script, **fields)


def run_here(
    store: Store, sandbox: SandboxServer, wanted: ContainerSpec, stdin: str = ""
) -> tuple[int, str]:
    source, output = os.memfd_create("stdin"), os.memfd_create("output")
    os.pwrite(source, stdin.encode(), 0)
    status = run(store, sandbox, wanted, stdin_fd=source, stdout_fd=output, stderr_fd=output)
    return status, os.pread(output, 1 << 20, 0).decode()


@pytest.fixture(scope="module")
def shop(run_folder: Path) -> Iterator[Shop]:
    folder = run_folder / f"containers-{os.urandom(4).hex()}"
    folder.mkdir()
    yield Shop(folder)
    remove_folder(folder)


namespaces = pytest.mark.namespaces


def left_in(shop: Shop) -> list[str]:
    """What there is of containers, and their names."""
    folder = Path(shop.root, "containers")
    found = [path.name for path in folder.iterdir() if path.name not in ("names", "events")]
    return found + os.listdir(folder / "names")


@namespaces
def test_the_images_own_command(shop: Shop) -> None:
    assert shop.run(remove=True) == (0, "default\n")


@namespaces
def test_what_the_caller_wants(shop: Shop) -> None:
    status, output = shop.sh(
        "cat; pwd; id -u; echo $FROM $MORE; exit 3",
        stdin="input\n",
        working_dir="/var/tmp/new",
        user="www-data",
        env=(("MORE", "caller"),),
        remove=True,
    )
    assert (status, output) == (3, "input\n/var/tmp/new\n33\nimage caller\n")


@namespaces
def test_its_name(shop: Shop) -> None:
    script = "hostname; cat /etc/hostname; grep -c $(hostname) /etc/hosts; echo $HOSTNAME"
    _, output = shop.sh(script, remove=True)
    name, *others = output.split()
    assert len(name) == 12
    assert others == [name, "1", name]
    assert shop.sh(script, hostname="box", remove=True)[1].split() == ["box", "box", "1", "box"]
    _, output = shop.sh("hostname", network=NetworkSpec(mode=HostNetwork()), remove=True)
    assert output.strip() == os.uname().nodename


@namespaces
def test_its_files_of_the_network_can_be_written(shop: Shop) -> None:
    script = "echo 10.0.0.1 x >> /etc/hosts && echo y > /etc/resolv.conf && echo fine"
    assert shop.sh(script, remove=True) == (0, "fine\n")


@namespaces
def test_changes_are_kept_until_it_is_removed(shop: Shop) -> None:
    status, output = shop.sh("hostname; echo kept > /kept; exit 9")
    assert status == 9

    def look(store: Store) -> tuple[Container, str]:
        found = find_container(store.root, output.strip())
        folder = Path(store.root, "containers", found.id)
        return found, (folder / "upper/kept").read_text()

    found, kept = shop.command_of(look)
    assert kept == "kept\n"
    assert (found.state.status, found.state.exit_status) == ("exited", 9)
    assert found.state.finished_ns > found.state.started_ns > found.description.created_ns
    assert found.spec.image == "busybox"
    assert found.description.argv[0] == "/bin/sh"

    def remove(store: Store) -> tuple[str, list[Container]]:
        return remove_container(store, found.id[:12]), list_containers(store.root)

    removed, left = shop.command_of(remove)
    assert removed == found.id
    assert left == []


@namespaces
def test_nothing_is_left_of_one_that_is_not_to_be_kept(shop: Shop) -> None:
    shop.sh("echo x > /x", remove=True)
    with pytest.raises(Refused, match="CommandNotFound"):
        shop.run("/nope", remove=True)
    with pytest.raises(Refused, match="UserNotFound"):
        shop.run("true", user="nemo", remove=True)
    assert left_in(shop) == []


@namespaces
@pytest.mark.parametrize(
    ("command", "status"), [("/nope", 127), ("/etc/passwd", 126), ("/bin/true", 125)]
)
def test_one_that_cannot_be_started_is_kept_with_dockers_status(
    shop: Shop, command: str, status: int
) -> None:
    user = "nemo" if status == 125 else None
    with pytest.raises(Refused):
        shop.run(command, user=user)
    (found,) = list_containers(shop.root)
    assert (found.state.status, found.state.exit_status) == ("exited", status)
    shop.command_of(lambda store: remove_container(store, found.id))


@namespaces
def test_its_layers_stay_while_it_is_kept(shop: Shop) -> None:
    def work(store: Store) -> tuple[int, int]:
        image = store.image("busybox")
        store.tag(Reference.parse("other"), image.id)
        with SandboxServer() as sandbox:
            run_here(store, sandbox, ContainerSpec(image="other", command=("true",)))
        store.remove_image("busybox")
        store.remove_image("other")
        kept = store.collect().layers
        (container,) = list_containers(store.root)
        remove_container(store, container.id)
        return len(kept), len(store.collect().layers)

    assert shop.command_of(work) == (0, 1)
    shop.command_of(shop.fill)


@namespaces
def test_many_of_one_image_do_not_see_each_others_changes(shop: Shop) -> None:
    def work(store: Store) -> list[str]:
        outputs: list[str] = []
        # Signals are the main thread's: each container gets its process here, as on the
        # command line, but forked from a thread-free parent.
        pids = []
        for number in range(24):
            read_fd, write_fd = os.pipe()
            pid = os.fork()
            if pid == 0:
                script = f"echo {number} >> /shared; sleep 0.2; cat /shared"
                with Store(shop.root) as mine, SandboxServer() as sandbox:
                    wanted = spec(command=("/bin/sh", "-c", script), remove=True)
                    run(mine, sandbox, wanted, stdout_fd=write_fd)
                os._exit(0)
            os.close(write_fd)
            pids.append((pid, read_fd))
        for pid, read_fd in pids:
            with os.fdopen(read_fd) as output:
                outputs.append(output.read())
            os.waitpid(pid, 0)
        return outputs

    assert shop.command_of(work) == [f"{number}\n" for number in range(24)]
    assert left_in(shop) == []


@namespaces
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_passed_on(shop: Shop, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got; exit 5' {name}; echo ready; while :; do sleep 0.05; done"

    def work(store: Store) -> tuple[int, str]:
        read_fd, write_fd = os.pipe()
        heard = bytearray()

        def listen() -> None:
            sent = False
            while data := os.read(read_fd, 100):
                heard.extend(data)
                if not sent:
                    sent = True
                    os.kill(os.getpid(), number)

        listener = threading.Thread(target=listen)
        with SandboxServer() as sandbox:
            listener.start()
            wanted = spec(command=("/bin/sh", "-c", script), remove=True)
            status = run(store, sandbox, wanted, stdout_fd=write_fd)
        os.close(write_fd)
        listener.join()
        return status, heard.decode()

    before = signal.getsignal(number)
    assert shop.command_of(work) == (5, "ready\ngot\n")
    assert signal.getsignal(number) == before


@namespaces
def test_the_status_of_one_that_a_signal_ended(shop: Shop) -> None:
    # PID 1 has no default actions; a child of its own has.
    assert shop.sh("sh -c 'kill -TERM $$'; exit $?", remove=True)[0] == 143


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def start_in_background(shop: Shop, **fields: Any) -> int:
    """A process that runs a container which does not end; its ID."""
    read_fd, write_fd = os.pipe()

    def command() -> None:
        pid = os.fork()
        if pid:
            os.write(write_fd, f"{pid}\n".encode())
            return
        os.setsid()
        for fd in set(range(3, 256)) - {write_fd}:
            with suppress(OSError):
                os.close(fd)
        with Store(shop.root) as store, SandboxServer() as sandbox:
            wanted = spec(command=("/bin/sh", "-c", "echo up; exec sleep 600"), **fields)
            run(store, sandbox, wanted, stdin_fd=0, stdout_fd=write_fd)
        os._exit(0)

    inside(command)
    os.close(write_fd)
    with os.fdopen(read_fd) as lines:
        pid = int(lines.readline())
        assert lines.readline() == "up\n"
    wait_for(lambda: list_containers(shop.root)[0].state.status == "running")
    return pid


@namespaces
def test_one_that_runs_is_only_removed_by_force(shop: Shop) -> None:
    pid = start_in_background(shop)
    (found,) = list_containers(shop.root)
    assert found.state.status == "running"
    assert found.state.process is not None
    with pytest.raises(Refused, match=r"ContainerRunning: container .* is running"):
        shop.command_of(lambda store: remove_container(store, found.id))
    shop.command_of(lambda store: remove_container(store, found.id, force=True))
    assert list_containers(shop.root) == []
    assert identify(found.state.process.pid) != found.state.process
    wait_for(lambda: identify(pid) is None)


@namespaces
def test_what_a_killed_command_leaves_is_swept_by_the_next(shop: Shop) -> None:
    pid = start_in_background(shop, remove=True)
    (found,) = list_containers(shop.root)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: list_containers(shop.root)[0].state.status == "exited")
    assert found.state.process is not None
    wait_for(lambda: not is_alive(found.state.process))
    assert shop.run(remove=True)[0] == 0
    assert left_in(shop) == []
