"""What a root needs besides its layers: stubs for mounts, and the files of the network."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from runtime.errors import InvalidContainer
from runtime.image.layer.view import TreeForm, View
from runtime.network_files import hosts, resolv_conf
from runtime.rootfs import RootParts, prepare_root
from runtime.sandbox.spec import BindMount, Mount, TmpfsMount
from support.sandbox import inside


class Layers:
    """A few layers in a folder, and a workspace."""

    def __init__(self, folder: Path) -> None:
        self.bottom = folder / "bottom"
        self.top = folder / "top"
        self.workspace = folder / "workspace"
        for path in (self.bottom, self.top, self.workspace):
            path.mkdir()

    def prepare(self, *mounts: Mount, hostname: str = "box") -> RootParts:
        trees = (str(self.bottom), str(self.top))
        return prepare_root(
            view=View([TreeForm(tree) for tree in trees]),
            trees=trees,
            workspace=str(self.workspace),
            mounts=mounts,
            hostname=hostname,
            extra_hosts=(("db", "10.0.0.2"),),
        )

    def stubs(self, *mounts: Mount) -> dict[str, str]:
        """The stubs' tree: `d` or the size of each file, by path."""
        parts = self.prepare(*mounts)
        if parts.lower[0] == str(self.top):
            return {}
        root = Path(parts.lower[0])
        return {
            str(path.relative_to(root)): "d" if path.is_dir() else str(path.stat().st_size)
            for path in sorted(root.rglob("*"))
        }


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return Layers(tmp_path)


def complete(layers: Layers) -> None:
    for name in ("proc", "sys", "dev", "etc"):
        (layers.bottom / name).mkdir(exist_ok=True)
    for name in ("hosts", "resolv.conf"):
        (layers.bottom / "etc" / name).touch()


def test_an_empty_image_gets_what_it_lacks(layers: Layers) -> None:
    assert layers.stubs() == {
        "dev": "d", "etc": "d", "etc/hosts": "0", "etc/resolv.conf": "0", "proc": "d", "sys": "d",
    }  # fmt: skip


def test_a_complete_image_gets_nothing(layers: Layers) -> None:
    complete(layers)
    parts = layers.prepare()
    assert parts.lower == (str(layers.top), str(layers.bottom))
    assert os.listdir(parts.work) == []


def test_only_what_is_missing_is_made_and_above_it_nothing_changes(layers: Layers) -> None:
    complete(layers)
    (layers.bottom / "etc" / "hosts").unlink()
    (layers.bottom / "etc").chmod(0o711)
    os.utime(layers.bottom / "etc", (1000, 1000))
    os.setxattr(layers.bottom / "etc", "user.kept", b"value")
    parts = layers.prepare()
    etc = Path(parts.lower[0]) / "etc"
    assert sorted(os.listdir(parts.lower[0])) == ["etc"]
    assert os.listdir(etc) == ["hosts"]
    assert stat.S_IMODE(etc.stat().st_mode) == 0o711
    assert etc.stat().st_mtime == 1000
    assert os.getxattr(etc, "user.kept") == b"value"


@pytest.mark.root
def test_owners_of_directories_are_kept(layers: Layers) -> None:
    complete(layers)
    (layers.bottom / "srv").mkdir()
    os.chown(layers.bottom / "srv", 4, 5)
    parts = layers.prepare(TmpfsMount(target="/srv/data/deep"))
    root = Path(parts.lower[0])
    assert ((root / "srv").stat().st_uid, (root / "srv").stat().st_gid) == (4, 5)
    assert (root / "srv/data").stat().st_uid == 0


def test_targets_of_mounts(layers: Layers, tmp_path: Path) -> None:
    complete(layers)
    (layers.top / "there").mkdir()
    (tmp_path / "file").touch()
    stubs = layers.stubs(
        BindMount(source=str(tmp_path / "file"), target="/a/b/file"),
        BindMount(source=str(tmp_path), target="/a/b/folder"),
        TmpfsMount(target="/there"),
        TmpfsMount(target="/tmp/../cache/"),
    )
    assert stubs == {"a": "d", "a/b": "d", "a/b/file": "0", "a/b/folder": "d", "cache": "d"}


def test_links_in_the_image_are_followed_inside_it(layers: Layers, tmp_path: Path) -> None:
    complete(layers)
    (layers.bottom / "run").symlink_to("/var/run")
    (layers.bottom / "var").mkdir()
    (layers.bottom / "var/run").symlink_to("../../../../really")
    assert layers.stubs(TmpfsMount(target="/run/x")) == {"really": "d", "really/x": "d"}


def test_what_is_covered_by_another_mount_needs_no_stub(layers: Layers) -> None:
    complete(layers)
    stubs = layers.stubs(
        TmpfsMount(target="/c/d/e"), TmpfsMount(target="/c"), TmpfsMount(target="/dev/x")
    )
    assert stubs == {"c": "d"}


def test_a_removed_directory_is_missing(layers: Layers) -> None:
    """A whiteout above it: the stub must not bring back what was in it."""
    complete(layers)
    (layers.bottom / "gone").mkdir()
    (layers.bottom / "gone" / "file").touch()
    os.mknod(layers.top / "gone", stat.S_IFCHR, os.makedev(0, 0))
    assert layers.stubs(TmpfsMount(target="/gone/new")) == {"gone": "d", "gone/new": "d"}


def test_targets_that_cannot_be(layers: Layers) -> None:
    complete(layers)
    (layers.bottom / "file").touch()
    (layers.bottom / "loop").symlink_to("loop")
    for target, why in (
        ("/", "it is the root"),
        ("/etc/..", "it is the root"),
        ("/file/below", "/file: it is no directory"),
        ("/loop/x", "too many levels of symbolic links"),
    ):
        with pytest.raises(InvalidContainer, match=why):
            Layers.prepare(_again(layers), TmpfsMount(target=target))


def _again(layers: Layers) -> Layers:
    """The same layers with a new workspace."""
    layers.workspace = layers.workspace.with_name(os.urandom(4).hex())
    layers.workspace.mkdir()
    return layers


def test_generated_files(layers: Layers) -> None:
    parts = layers.prepare(hostname="wonderland")
    sources = {mount.target: mount for mount in parts.mounts}
    hosts_mount = sources["/etc/hosts"]
    assert isinstance(hosts_mount, BindMount)
    assert hosts_mount.read_only
    assert Path(hosts_mount.source).read_text() == (
        "127.0.0.1\tlocalhost wonderland\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.2\tdb\n"
    )
    assert stat.S_IMODE(os.stat(hosts_mount.source).st_mode) == 0o644
    assert "/etc/resolv.conf" in sources
    assert "/etc/hostname" not in sources


def test_what_somebody_mounts_there_comes_first(layers: Layers, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    mine = BindMount(source=str(tmp_path / "mine"), target="/etc/../etc/hosts")
    parts = layers.prepare(mine)
    assert [mount.target for mount in parts.mounts] == ["/etc/../etc/hosts", "/etc/resolv.conf"]


def test_hosts() -> None:
    assert hosts("h").splitlines()[0] == "127.0.0.1\tlocalhost h"


STUB = "# systemd\nnameserver 127.0.0.53\noptions edns0\nsearch example\n"


def test_resolvers(tmp_path: Path) -> None:
    path, real = tmp_path / "resolv.conf", tmp_path / "real"
    path.write_text(STUB)
    # With the host's network its own resolver can be reached.
    assert resolv_conf("host", path=str(path), real=str(real)) == STUB
    without = "# systemd\noptions edns0\nsearch example\n"
    assert resolv_conf("none", path=str(path), real=str(real)) == without
    real.write_text("nameserver 10.1.1.1\nnameserver ::1\n")
    assert resolv_conf("none", path=str(path), real=str(real)) == "nameserver 10.1.1.1\n"
    assert resolv_conf("none", path=str(tmp_path / "none"), real=str(real)) == ""


@pytest.mark.namespaces
def test_the_stubs_serve_a_user_namespace_too(layers: Layers) -> None:
    assert "etc/hosts" in inside(lambda: layers.stubs())
