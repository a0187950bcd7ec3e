"""Fixtures for tests that use the command itself, the markers' meaning, and the leak check.

A run of the tests has one folder, shared by all its workers: `store` is the root of the store
that most end-to-end tests share, as users share theirs; `tmp` is $TMPDIR of every command.
When the last worker is done nothing may be mounted there, no process may use it and `tmp`
must be empty.
"""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from support import leaks, probes
from support.bases import BUSYBOX, DEBIAN
from support.cli import Lamina
from support.containers import Containers
from support.daemon import Docker, docker_daemon
from support.interop import (
    DOCKERFILE,
    NAME,
    Original,
    OtherTool,
    files,
    said_by,
    tree_in,
)
from support.registry import Registry, running_registry

RUN_FOLDER = pytest.StashKey[Path]()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    worker = getattr(session.config, "workerinput", None)
    if worker is not None:
        session.config.stash[RUN_FOLDER] = Path(worker["run_folder"])
        return
    # What ends a run from outside, as timeout(1) does, ends it as ^C would: everything is removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Not /tmp: it may be a tmpfs too small for a Debian, or one without user xattrs.
    run = Path(tempfile.mkdtemp(prefix="lamina-tests-", dir="/var/tmp"))
    (run / "tmp").mkdir()
    session.config.stash[RUN_FOLDER] = run


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: pytest.Item) -> None:
    """Tell an xdist worker (whose type xdist does not export) where the run's folder is."""
    node.workerinput["run_folder"] = str(node.config.stash[RUN_FOLDER])  # type: ignore[attr-defined]


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    yield
    if hasattr(session.config, "workerinput"):
        return
    run = session.config.stash[RUN_FOLDER]
    left = leaks.left_behind(run)
    leaks.remove(run)
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.section("left behind by the tests", red=True)
            reporter.write_line("\n".join(left))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes that nobody could read name no test: compressed ones differ from worker to worker."""
    unreadable = isinstance(val, bytes) and not (val.isascii() and val.decode().isprintable())
    return argname if unreadable else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `root` are not for other users, those marked `plain` not for root."""
    other = "plain" if probes.is_root() else "root"
    kept = [item for item in items if item.get_closest_marker(other) is None]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("namespaces") is not None:
        reason = probes.why_no_namespaces()
        if reason is not None:
            probes.unmet(f"no containers here: {reason}")


@pytest.fixture(scope="session")
def run_folder(pytestconfig: pytest.Config) -> Path:
    """The folder of this run of the tests, on a real disk, the same for every worker."""
    return pytestconfig.stash[RUN_FOLDER]


@pytest.fixture(scope="session")
def lamina(run_folder: Path) -> Lamina:
    """The command on the store that all tests share, with `busybox` in it."""
    command = Lamina(root=run_folder / "store", temporary=run_folder / "tmp")
    command.need(BUSYBOX)
    return command


@pytest.fixture
def containers(lamina: Lamina) -> Iterator[Containers]:
    """Containers of the test's own, in the store that all share; removed at its end."""
    made = Containers(lamina)
    yield made
    made.remove_all()


@pytest.fixture(scope="session")
def debian(lamina: Lamina) -> Lamina:
    """The same, with `debian:bookworm-slim` in it too."""
    lamina.need(DEBIAN)
    return lamina


@pytest.fixture(scope="session")
def only_busybox(run_folder: Path) -> Lamina:
    """The command on a store with nothing but `busybox` in it: to be copied, not used."""
    command = Lamina(root=run_folder / "only-busybox", temporary=run_folder / "tmp")
    command.need(BUSYBOX)
    return command


def _private(run_folder: Path, only_busybox: Lamina) -> Lamina:
    """A copy of that store: a third of a second less than importing."""
    folder = Path(tempfile.mkdtemp(prefix="private-", dir=run_folder))
    for made in only_busybox.root.parent.glob(f"{only_busybox.root.name}*"):
        there = folder / made.name.replace(only_busybox.root.name, "store", 1)
        subprocess.run(["cp", "-a", "--reflink=auto", made, there], check=True)
    return Lamina(root=folder / "store", temporary=run_folder / "tmp")


@pytest.fixture
def private_lamina(run_folder: Path, only_busybox: Lamina) -> Lamina:
    """The command on a store of the test's own, with nothing but `busybox` in it."""
    return _private(run_folder, only_busybox)


@pytest.fixture
def bare_lamina(run_folder: Path) -> Lamina:
    """The command on a store of the test's own, with nothing in it."""
    folder = Path(tempfile.mkdtemp(prefix="bare-", dir=run_folder))
    return Lamina(root=folder / "store", temporary=run_folder / "tmp")


@pytest.fixture
def another_private_lamina(run_folder: Path, only_busybox: Lamina) -> Lamina:
    """A second such store, to compare with the first."""
    return _private(run_folder, only_busybox)


@pytest.fixture(scope="session")
def registry(run_folder: Path) -> Iterator[Registry]:
    """A registry without TLS that asks nobody; tests have repositories of their own in it."""
    folder = Path(tempfile.mkdtemp(prefix="registry-", dir=run_folder))
    with running_registry(folder) as running:
        yield running


@pytest.fixture(scope="session")
def interop_folder(run_folder: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix="i-", dir=run_folder))


@pytest.fixture(scope="session")
def original(lamina: Lamina, interop_folder: Path) -> Original:
    """The image with everything, in the store that all share and in an archive."""
    context = interop_folder / "context"
    context.mkdir()
    (context / "files.tar").write_bytes(files())
    (context / "Dockerfile").write_text(DOCKERFILE)
    lamina.build(context, NAME)
    archive = interop_folder / "original.tar"
    lamina("save", "-o", archive, NAME)
    return Original(
        archive=archive,
        told=lamina.inspect(NAME),
        tree=tree_in(lamina, NAME),
        said=said_by(lamina, NAME),
    )


@pytest.fixture(scope="session")
def docker(interop_folder: Path) -> Iterator[Docker]:
    """A daemon of the tests' own; who uses it belongs to the xdist group `docker`."""
    state = interop_folder / "docker"
    state.mkdir()
    with docker_daemon(state) as running:
        yield running


@pytest.fixture(scope="session")
def podman(interop_folder: Path) -> OtherTool:
    return OtherTool("podman", interop_folder)


@pytest.fixture(scope="session")
def buildah(interop_folder: Path) -> OtherTool:
    return OtherTool("buildah", interop_folder)
