"""`lamina cp`: by docker's rules, and never out of the container."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cli import Lamina
from support.containers import Containers, wait_for

pytestmark = pytest.mark.namespaces

_SETUP = (
    "mkdir -p /d/sub /empty /other; echo one > /d/one; ln /d/one /d/two; ln -s one /d/link; "
    "echo sub > /d/sub/f; chmod 750 /d/sub; chown 33:44 /d/one; chmod 4755 /d/one; "
    "mkfifo /d/pipe; ln -s /other /abs; ln -s /etc/passwd /d/passwd; ln -s ../../../../../.. /up; "
    "echo vol > /vol/f; mkdir /ram/x; echo ram > /ram/x/f; touch /ready; sleep 600"
)


@pytest.fixture(scope="module")
def running(lamina: Lamina) -> Iterator[str]:
    """A container that runs, with files, a volume and a file system in memory."""
    made = Containers(lamina)
    name = made.sh("one", _SETUP, "-v", "/vol", "--tmpfs", "/ram")
    wait_for(lambda: lamina("exec", name, "test", "-e", "/ready", status=None).status == 0)
    yield name
    made.remove_all()


def inside(lamina: Lamina, name: str, script: str) -> str:
    return lamina("exec", name, "sh", "-c", script).stdout


def test_from_a_container(lamina: Lamina, running: str, tmp_path: Path) -> None:
    def cp(source: str, destination: Path | str, *options: str, status: int = 0) -> str:
        return lamina("cp", *options, f"{running}:{source}", destination, status=status).stderr

    there = tmp_path / "there"
    assert "Successfully copied 8B to" in cp("/d", there)
    assert cp("d/.", there, "-q") == ""  # merged; a path without / is the root's
    names = {"one", "two", "link", "sub", "pipe", "passwd"}
    assert {path.name for path in there.iterdir()} == names
    one = (there / "one").stat()
    assert one.st_ino == (there / "two").stat().st_ino
    # The caller's, and no rights of an owner that is gone.
    assert (one.st_uid, one.st_gid, one.st_mode & 0o7777) == (os.geteuid(), os.getegid(), 0o755)
    assert (there / "sub").stat().st_mode & 0o7777 == 0o750
    assert (os.readlink(there / "link"), os.readlink(there / "passwd")) == ("one", "/etc/passwd")
    cp("/d", there)
    assert (there / "d" / "sub" / "f").read_text() == "sub\n"
    cp("/vol/f", tmp_path / "file")
    cp("/ram/x", there)
    assert ((tmp_path / "file").read_text(), (there / "x" / "f").read_text()) == ("vol\n", "ram\n")
    cp("/d/one", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "one\n"
    cp("/d/link", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    cp("/d/link", tmp_path / "followed", "-L")
    assert (tmp_path / "followed").read_text() == "one\n"
    if os.geteuid() == 0:
        cp("/d/one", tmp_path / "owned", "-a")
        owned = (tmp_path / "owned").stat()
        assert (owned.st_uid, owned.st_gid, owned.st_mode & 0o7777) == (33, 44, 0o4755)
    assert "no such file" in cp("/none", there, status=1)
    assert "not a directory" in cp("/d/one/", there, status=1)
    assert "is no directory" in cp("/d", tmp_path / "file", status=1)
    assert "does not exist" in cp("/d/one", tmp_path / "no" / "such", status=1)
    assert "no such directory" in cp("/d/one", f"{tmp_path}/new/", status=1)


def test_to_a_container(lamina: Lamina, running: str, tmp_path: Path) -> None:
    def cp(source: Path | str, destination: str, *options: str, status: int = 0) -> str:
        return lamina("cp", *options, source, f"{running}:{destination}", status=status).stderr

    mine = tmp_path / "mine"
    (mine / "deep").mkdir(parents=True)
    (mine / "deep" / "f").write_text("f\n")
    (mine / "g").write_text("g\n")
    (mine / "g").chmod(0o640)
    (mine / "l").symlink_to("/etc/shadow")
    cp(mine, "/in")
    assert inside(lamina, running, "cd /in; cat deep/f g; readlink l; stat -c %u:%g:%a g") == (
        "f\ng\n/etc/shadow\n0:0:640\n"
    )
    cp(mine, "/in")
    cp(f"{mine}/.", "/empty/")
    assert inside(lamina, running, "ls /in /empty").split() == [
        "/empty:", "deep", "g", "l", "/in:", "deep", "g", "l", "mine",
    ]  # fmt: skip
    cp(mine / "g", "/vol/new")
    cp(mine / "g", "/abs/g")
    cp(mine / "g", "/up")  # a directory: the root, however often it says ..
    cp(mine / "g", "/etc/hosts")  # mounted, so written in place
    assert inside(lamina, running, "cat /vol/new /other/g /g /etc/hosts") == "g\n" * 4
    (tmp_path / "short").symlink_to("mine/g")
    cp(tmp_path / "short", "/followed", "-L")
    assert inside(lamina, running, "test -L /followed || cat /followed") == "g\n"
    assert "is no directory" in cp(mine, "/d/one", status=1)
    assert "does not exist" in cp(mine / "g", "/no/such", status=1)
    inside(lamina, running, "mkdir -p /clash/g /file/deep; rm -r /file/deep; touch /file/deep")
    assert "cannot overwrite directory" in cp(mine / "g", "/clash", status=1)
    assert "cannot overwrite non-directory" in cp(f"{mine}/.", "/file", status=1)
    assert "not supported" in lamina("cp", "a:/x", "b:/y", status=2).stderr
    assert "must be in a container" in lamina("cp", "/x", "/y", status=2).stderr
    assert "no such container" in lamina("cp", "/etc/passwd", "none:/x", status=1).stderr


def test_as_a_tar(lamina: Lamina, running: str, tmp_path: Path) -> None:
    file = tmp_path / "out.tar"
    with file.open("wb") as out:
        subprocess.run(
            lamina.command("cp", f"{running}:/d", "-"), stdout=out, check=True,
            env=lamina.environment(None),
        )  # fmt: skip
    with tarfile.open(file) as tar:
        members = {member.name: member for member in tar}
    assert set(members) == {"d", *(f"d/{name}" for name in
                            ("one", "two", "link", "passwd", "pipe", "sub", "sub/f"))}  # fmt: skip
    assert (members["d/one"].uid, members["d/one"].gid) == (33, 44)
    assert members["d/two"].islnk()
    inside(lamina, running, "mkdir -p /back; ln -s / /back/root")
    with file.open("rb") as source:
        subprocess.run(
            lamina.command("cp", "-", f"{running}:/back"), stdin=source, check=True,
            env=lamina.environment(None),
        )  # fmt: skip
    look = "cd /back/d; cat two; stat -c '%u:%g %h %a' one; readlink link"
    assert inside(lamina, running, look) == "one\n33:44 2 4755\none\n"

    def unpack(*names: str) -> subprocess.CompletedProcess[bytes]:
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:gz") as tar:
            for name in names:
                tar.addfile(tarfile.TarInfo(name), io.BytesIO())
        return subprocess.run(
            lamina.command("cp", "-", f"{running}:/back"), input=data.getvalue(),
            capture_output=True, env=lamina.environment(None),
        )  # fmt: skip

    # Through a link, but never out of the root: that is the container's own.
    assert unpack("root/tmp/through", "new/deep/file").returncode == 0
    assert inside(lamina, running, "ls /tmp/through /back/new/deep/file").count("\n") == 2
    assert not Path("/tmp/through").exists()
    assert b"leads out" in unpack("../x").stderr
    assert b"no tar" in subprocess.run(
        lamina.command("cp", "-", f"{running}:/back"), input=b"x" * 2000, capture_output=True,
        env=lamina.environment(None),
    ).stderr  # fmt: skip
    refused = lamina("cp", "-", f"{running}:/d/one", status=1)
    assert "must be a directory" in refused.stderr


def test_one_that_does_not_run(containers: Containers, lamina: Lamina, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("f\n")
    name = containers.name("one")
    script = "cat /root/f /vol/f; rm /etc/motd; echo changed > /etc/issue"
    lamina("create", "--name", name, "-v", "/vol", "busybox", "sh", "-c", script)
    lamina("cp", tmp_path / "f", f"{name}:/root")
    lamina("cp", tmp_path / "f", f"{name}:/vol")
    lamina("start", name)
    containers.ended(name)
    assert containers.logs(name) == "f\nf\n"
    for path in ("/vol/f", "/etc/issue", "/etc/hostname"):
        lamina("cp", f"{name}:{path}", tmp_path)
    assert (tmp_path / "issue").read_text() == "changed\n"
    assert (tmp_path / "hostname").read_text() == containers.inspect(name)["Id"][:12] + "\n"
    fixed = containers.name("two")
    lamina("create", "--name", fixed, "--read-only", "busybox")
    assert "read-only" in lamina("cp", tmp_path / "f", f"{fixed}:/x", status=1).stderr


def test_links_that_are_exchanged_meanwhile_lead_nowhere(
    containers: Containers, lamina: Lamina, run_folder: Path, tmp_path: Path
) -> None:
    """CVE-2018-15664: a directory that turns into a link to the host's while we copy."""
    canary = run_folder / containers.prefix
    canary.mkdir()
    (canary / "file").write_text("host's\n")
    script = (
        f"mkdir -p /play{canary} /race/real; cd /race; echo mine > real/file; touch /ready; "
        f"while :; do ln -sfn {canary} now; rm now; mv real now; mv now real; done"
    )
    name = containers.sh("one", script)
    wait_for(lambda: lamina("exec", name, "test", "-e", "/ready", status=None).status == 0)
    (tmp_path / "file").write_text("written\n")
    for _ in range(5):
        lamina("cp", tmp_path / "file", f"{name}:/race/now/file", status=None)
        out = tmp_path / "out"
        lamina("cp", f"{name}:/race/now/file", out, status=None)
        if out.exists():
            assert out.read_text() != "host's\n"
            out.unlink()
        lamina("cp", f"{name}:/race", tmp_path, status=None)
    assert (canary / "file").read_text() == "host's\n"
    assert os.listdir(canary) == ["file"]


@pytest.mark.root
def test_one_with_ids_of_its_own(
    containers: Containers, lamina: Lamina, run_folder: Path, tmp_path: Path
) -> None:
    name = containers.detached(
        "one", "--userns", "auto", "--network", "none", "-v", "/vol", "--tmpfs", "/ram", "--",
        "sleep", "600",
    )  # fmt: skip
    mine = run_folder / containers.prefix
    mine.write_text("mine\n")
    mine.chmod(0o600)
    for place in ("vol", "ram", "root"):
        lamina("cp", mine, f"{name}:/{place}/f")
        shown = inside(lamina, name, f"stat -c %u:%g:%a /{place}/f; cat /{place}/f")
        assert shown == "0:0:600\nmine\n"
    inside(lamina, name, "chown 33:44 /vol/f; chmod 4755 /vol/f")
    lamina("cp", f"{name}:/vol/f", tmp_path / "f")
    lamina("cp", "-a", f"{name}:/vol/f", tmp_path / "g")
    owners = [(s.st_uid, s.st_gid, s.st_mode & 0o7777)
              for s in ((tmp_path / each).stat() for each in "fg")]  # fmt: skip
    assert owners == [(0, 0, 0o755), (33, 44, 0o4755)]
    lamina("cp", "-a", tmp_path / "g", f"{name}:/root/g")
    assert inside(lamina, name, "stat -c %u:%g:%a /root/g") == "33:44:4755\n"
