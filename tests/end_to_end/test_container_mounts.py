"""Files of the host, and file systems in memory, in containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.cli import Lamina
from support.containers import Containers

pytestmark = pytest.mark.namespaces


def test_files_of_the_host(containers: Containers, lamina: Lamina, run_folder: Path) -> None:
    there = run_folder / containers.prefix
    there.mkdir()
    (there / "file").write_text("host's\n")
    script = "cat /data/file; echo mine > /data/new; echo no > /fixed/file; cat /one"
    words = (
        "-v", f"{there}:/data", "-v", f"{there}:/fixed:ro,Z", "--mount",
        f"type=bind,src={there / 'file'},dst=/one,readonly", "busybox", "sh", "-c", script,
    )  # fmt: skip
    shown = lamina("run", "--rm", *words)
    assert shown.stdout == "host's\nhost's\n"
    assert "Z is ignored" in shown.stderr
    assert "ead-only" in shown.stderr
    assert (there / "new").read_text() == "mine\n"
    assert (there / "file").read_text() == "host's\n"
    made = there / "made"
    lamina("run", "--rm", "-v", f"{made}:/made", "busybox", "true")
    assert made.is_dir()


def test_they_are_there_again_after_a_restart(
    containers: Containers, lamina: Lamina, run_folder: Path
) -> None:
    there = run_folder / containers.prefix
    there.mkdir()
    name = containers.sh("one", "echo x >> /data/f; wc -l < /data/f", "-v", f"{there}:/data")
    containers.ended(name)
    lamina("start", "-a", name)
    assert containers.logs(name) == "1\n2\n"
    (mount,) = containers.inspect(name)["Mounts"]
    assert (mount["Type"], mount["Source"], mount["Destination"]) == ("bind", str(there), "/data")


def test_a_target_in_the_image_leads_nowhere_else(
    containers: Containers, lamina: Lamina, run_folder: Path, tmp_path: Path
) -> None:
    there = run_folder / containers.prefix
    there.mkdir()
    (there / "file").write_text("inside\n")
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN ln -s ../../../../etc/x /data\n")
    image = containers.name("image")
    lamina.build(tmp_path, image)
    shown = lamina("run", "--rm", "-v", f"{there}:/data", image, "cat", "/etc/x/file")
    assert shown.stdout == "inside\n"
    assert not Path("/etc/x").exists()
    lamina("rmi", image)


def test_file_systems_in_memory(lamina: Lamina) -> None:
    script = "grep -E ' /(a|b|c) ' /proc/mounts; stat -c %a /a"
    words = ("--tmpfs", "/a:size=64k,mode=700", "--tmpfs", "/b:exec", "--mount")
    shown = lamina("run", "--rm", *words, "type=tmpfs,dst=/c", "busybox", "sh", "-c", script)
    *mounted, mode = shown.stdout.splitlines()
    a, b, c = sorted(mounted, key=lambda line: line.split()[1])
    assert "size=64k" in a
    assert ("noexec" in a, "noexec" in b, "noexec" in c) == (True, False, True)
    assert mode == "700"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-v", "/tmp:data"), "must be an absolute path"),
        (("-v", "/tmp:/"), "below /"),
        (("-v", "n:/data"), "invalid volume name (n)"),
        (("-v", "/tmp:/a:shared"), "never reaches the host"),
        (("-v", "/tmp:/a:nocopy"), "nocopy is for volumes"),
        (("-v", "name:/a:rslave"), "propagation is for paths"),
        (("-v", "name:/a:U"), "'U' is not supported"),
        (("-v", "name:/a:ro,rw"), "exclude one another"),
        (("--volume-driver", "nfs"), "there is only local"),
        (("--mount", "type=bind,src=/tmp,dst=/a,bind-propagation=rshared"), "never reaches"),
        (("--mount", "src=name,dst=/a,volume-subpath=../x"), "below the volume"),
        (("--mount", "type=image,src=busybox,dst=/a"), "type 'image' is not known"),
        (("--tmpfs", "/a:dev"), "device files work in no mount"),
        (("-v", "/tmp:/a", "--tmpfs", "/a/"), "duplicate mount point: /a"),
        (("--mount", "type=bind,src=/no/such,dst=/a"), "does not exist"),
        (("--mount", "dst=/a,tmpfs-size=1m"), "'tmpfs-size' is not supported for volume"),
        (("--mount", "type=tmpfs,dst=/a,colour=red"), "'colour' is not supported"),
        (("--tmpfs", "/a:nope"), "'nope' is not supported"),
    ],
)
def test_what_is_refused(lamina: Lamina, words: tuple[str, ...], said: str) -> None:
    assert said in lamina("run", "--rm", *words, "busybox", "true", status=2).stderr
