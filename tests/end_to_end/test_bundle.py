"""`lamina bundle`: crun and runc make the same container of it as lamina itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import probes
from support.cli import Lamina
from support.oci_runtimes import Runtime, config_of, crun, own, runc

pytestmark = pytest.mark.namespaces

# What a process can see of its container, a line each; the same whoever made the container.
# (Not /dev/core: runc makes it where the host has a /proc/kcore, the others always.)
PROBE = r"""
id -u; id -g; echo $(id -G); pwd; hostname; umask; ulimit -n; ulimit -Hn
env | grep -v '^HOSTNAME=\|^SHLVL=\|^OLDPWD=' | sort
grep '^Cap\|^NoNewPrivs\|^Seccomp:' /proc/self/status
for p in /proc/kcore /proc/keys /proc/timer_list /proc/interrupts; do
    [ -e $p ] && echo $p $(wc -c < $p 2>/dev/null)
done
for p in /proc/acpi /sys/firmware; do [ -e $p ] && echo $p: $(ls $p); done
for p in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/irq/x /sys/x; do
    (echo x > $p) 2>/dev/null && echo $p can be written
done
cd /dev; for f in *; do [ $f = console -o $f = core ] || stat -c '%N %t %T %a' $f; done
cd - > /dev/null
ls /sys/class/net | grep -v 'tunl\|sit\|gre\|erspan\|vti\|ip6'
mount -t tmpfs none /mnt 2>/dev/null && echo can mount
unshare -U true 2>/dev/null && echo can make namespaces
cat /etc/hosts | sed "s/$(hostname)/NAME/"; cat /etc/hostname | sed "s/$(hostname)/NAME/"
ls -ldn /work /made /data; cat /data/file; (echo > /data/x) 2>/dev/null || echo /data is read-only
"""
# Of each mount what can be compared: place, kind, and what restricts it. The root is an overlay
# or a folder; devices are bound one by one by lamina; what hides a path is one's own affair.
MOUNTS = "cut -d' ' -f2-4 /proc/self/mounts"
_HIDING = ("tmpfs", "devtmpfs")


def shown_mounts(text: str) -> dict[str, tuple[str, frozenset[str]]]:
    mounts = {}
    for line in text.splitlines():
        place, kind, options = line.split(" ")
        kept = frozenset(options.split(",")) & {"ro", "nosuid", "nodev", "noexec"}
        if place == "/" or (place.startswith("/dev/") and kind == "tmpfs" and place != "/dev/shm"):
            continue
        if place == "/dev":
            # The devices in it are mounts of their own with lamina, so that no others work.
            kept -= {"nodev"}
        if kind in _HIDING and re.match("/(proc|sys)/", place):
            kind, kept = "hidden", frozenset()
        elif place.startswith("/proc/"):
            # crun forgets what the mount below forbids; that is not what is asked for.
            kept &= {"ro"}
        mounts[place] = kind, kept
    return mounts


@pytest.fixture(params=[pytest.param(crun, marks=pytest.mark.root), runc, own])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Runtime:
    made: Runtime = request.param(tmp_path / "state")
    return made


@pytest.fixture
def place(lamina: Lamina, run_folder: Path) -> Iterator[Path]:
    """A folder for bundles, whose files may belong to others."""
    folder = run_folder / f"bundles-{os.urandom(4).hex()}"
    folder.mkdir()
    yield folder
    if probes.is_root():
        shutil.rmtree(folder)
    else:
        inside = ["unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", str(folder)]
        subprocess.run(inside, check=True)


def test_the_same_container_by_every_runtime(lamina: Lamina, runtime: Runtime, place: Path) -> None:
    data = place / "data"
    data.mkdir()
    (data / "file").write_text("host's\n")
    options = (
        "--network", "none", "-e", "A=b c", "-w", "/made/here", "--hostname", "box",
        "--tmpfs", "/work:size=1m,mode=700",
        "-v", f"{data}:/data:ro", "--shm-size", "1m",
    )  # fmt: skip
    # As a plain user runc leaves a process the groups of who calls it.
    keeps_groups = runtime.name == "runc" and not probes.is_root()
    for user in ("0:0",) if keeps_groups else ("0:0", "12:34"):
        words = ("-u", user, "busybox", "sh", "-c", f"{PROBE}\necho ====\n{MOUNTS}")
        ours = lamina("run", "--rm", *options, *words).stdout
        bundle = place / f"bundle-{user.partition(':')[0]}"
        lamina("bundle", *options, *words[:3], bundle, "--", *words[3:])
        theirs = runtime.run(bundle)
        (seen, mounts), (seen_there, mounts_there) = ours.split("====\n"), theirs.split("====\n")
        assert seen_there == seen
        assert "nodev" in mounts_there
        assert shown_mounts(mounts_there) == shown_mounts(mounts)


def test_the_files_are_the_images(lamina: Lamina, place: Path, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\n"
        "RUN mkdir /d && echo one > /d/a && ln /d/a /d/b && chown 12:34 /d/a && chmod 4755 /d/a"
        " && ln -s a /d/c && mkfifo /d/p && chmod 2770 /d && chown 5:6 /d\n"
    )
    lamina.build(tmp_path, "files")
    lamina("bundle", "files", place / "b")
    folder = place / "b" / "rootfs" / "d"
    shown = "cd /d && stat -c '%n %u %g %a %h %F %N' . a b c p"
    expected = lamina("run", "--rm", "files", "sh", "-c", shown).stdout
    enter = [] if probes.is_root() else ["unshare", "--user", "--map-root-user", "--map-auto"]
    busybox = place / "b" / "rootfs" / "bin" / "busybox"
    inside = f"cd {folder} && {busybox} stat -c '%n %u %g %a %h %F %N' . a b c p"
    there = subprocess.run([*enter, "sh", "-c", inside], capture_output=True, encoding="utf-8")
    assert there.stdout == expected
    assert " 5 6 2770 " in expected
    assert "a 12 34 4755 2 " in expected
    config = config_of(place / "b")
    assert config["process"]["args"] == ["sh"]
    assert config["root"] == {"path": "rootfs", "readonly": False}


def test_a_bundle_can_be_moved_and_leaves_no_container(
    lamina: Lamina, place: Path, tmp_path: Path
) -> None:
    lamina("bundle", "--read-only", "-u", "0:0", "busybox", place / "one", "cat", "/etc/hostname")
    name = f"bundled-{os.urandom(4).hex()}"
    lamina("bundle", "--name", name, "busybox", place / "three")
    assert lamina("ps", "-aq", "--filter", f"name={name}").stdout == ""
    (place / "one").rename(place / "two")
    hostname = config_of(place / "two")["hostname"]
    assert runc(tmp_path / "state").run(place / "two") == f"{hostname}\n"


@pytest.mark.root
def test_all_the_groups_of_a_user(
    lamina: Lamina, runtime: Runtime, place: Path, tmp_path: Path
) -> None:
    """Not as a plain user: runc refuses additional groups then."""
    passwd = "echo me:x:7:8::/home/me:/bin/sh >> /etc/passwd; echo a:x:9:me >> /etc/group"
    (tmp_path / "Dockerfile").write_text(f"FROM busybox\nRUN {passwd}\nUSER me\n")
    lamina.build(tmp_path, "groups")
    lamina("bundle", "groups", place / "b", "--", "sh", "-c", "id -G; echo $HOME")
    assert runtime.run(place / "b") == "8 9\n/home/me\n"


def test_what_cannot_be(lamina: Lamina, place: Path) -> None:
    (place / "full").mkdir()
    (place / "full" / "file").touch()
    refused = lamina("bundle", "busybox", place / "full", status=1)
    assert "is not empty" in refused.stderr
    assert [path.name for path in (place / "full").iterdir()] == ["file"]
    refused = lamina("bundle", "--init", "busybox", place / "new", status=1)
    assert "--init is of lamina's own sandbox" in refused.stderr
    assert list((place / "new").iterdir()) == []
    refused = lamina("bundle", "--user", "nobody-here", "busybox", place / "new", status=1)
    assert "nobody-here" in refused.stderr
    assert "above it is missing" in lamina("bundle", "busybox", place / "a/b", status=1).stderr
