"""A user with one id: owners are recorded, and come out of every layer, archive and view."""

from __future__ import annotations

import io
import json
import shlex
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from support import probes
from support.bases import BUSYBOX, DEBIAN
from support.cli import Lamina
from support.containers import wait_for

pytestmark = [pytest.mark.namespaces, pytest.mark.single_id]

# Each layer has owners that came about in another way.
DOCKERFILE = """\
FROM busybox
RUN set -e; touch /a /b /c; chown 33:33 /a; ln -s a /l; chown -h 7:8 /l; \\
    mkdir -p /d/e/f; chown 100 /d; chown :5 /d; chown -R 12:13 /d/e; mkfifo /f; chown 9:9 /f; \\
    chmod 4755 /b; chown 1:1 /b; chmod 6755 /c; chown 2:2 /c; chmod 4711 /c; \\
    cp /a /i; chown 5:60 /i; chmod 0640 /i; ln /a /hard; chown 44:45 /hard; \\
    cd /d && chown 3:4 ../d/e/f; ln -s ../../d/e e/up; chown 65534:65533 e/up/f/..; \\
    mkdir /g; chown 0:8 /g; chmod 2755 /g; touch /g/x; mkdir /g/y; touch /g/z; chown 0:0 /g/z; \\
    chroot /d chown 77:78 . 2>/dev/null || true; chown 6 /dev/stdout
RUN set -e; mv /l /l2; mv /d/e /d/moved; mv /d/moved /d/e; \\
    chown -h 90:91 /l2; rm /f; chown 65534:65534 /bin/su; chown 0:0 /i
RUN mv /l2 /l3; chmod 600 /hard; echo more >> /a; mkdir /made; chown 5:5 /made; touch /made/x
COPY --chown=11:12 src /copied
COPY --chown=21:22 --link src /linked
USER 1000:1001
WORKDIR /home/made/here
RUN id -u > /tmp/mine; ln -s mine /tmp/link; mkdir /tmp/dir; ! chown 5 /tmp/dir 2>/dev/null
USER 0
RUN --mount=type=cache,target=/cache,uid=5,gid=6 chown -R 1000:7 /tmp/dir && touch /tmp/dir/new
"""
OWNERS = {
    "a": "44:45", "hard": "44:45", "b": "1:1", "c": "2:2", "i": "0:0", "l3": "90:91",
    "d": "100:5", "d/e": "65534:65533", "d/e/f": "3:4", "d/e/up": "0:0", "bin/su": "65534:65534",
    "g/x": "0:8", "g/y": "0:8", "g/z": "0:0",
    "made": "5:5", "made/x": "0:0", "copied": "11:12", "copied/link": "11:12", "linked/x": "21:22",
    "home": "0:0", "home/made/here": "1000:1001", "tmp": "0:0", "tmp/mine": "1000:1001",
    "tmp/link": "1000:1001", "tmp/dir": "1000:7", "tmp/dir/new": "0:0",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class OneId(Lamina):
    """The command as one id has it: this user, as root of a namespace with nobody else."""

    process: int  # whose namespace that is

    def command(self, *arguments: str | Path) -> list[str]:
        enter = ["nsenter", "--user", "--preserve-credentials", "--target", str(self.process)]
        return [*enter, *Lamina.command(self, *arguments)]


@pytest.fixture(scope="module")
def one_id(run_folder: Path) -> Iterator[OneId]:
    folder = Path(tempfile.mkdtemp(prefix="one-id-", dir=run_folder))
    held = ["unshare", "--user", "--map-root-user", "sh", "-c", "echo; exec sleep infinity"]
    with subprocess.Popen(held, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
            root, temporary = folder / "store", run_folder / "tmp"
            command = OneId(root=root, temporary=temporary, process=process.pid)
            command.need(BUSYBOX)
            yield command
        finally:
            process.kill()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "x").write_text("hi\n")
    (tmp_path / "src" / "link").symlink_to("x")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    return tmp_path


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


def owners(file: Path) -> dict[str, str]:
    found = members(file.read_bytes())
    return {path: f"{each.uid}:{each.gid}" for path, each in found.items()}


def test_the_same_layers_as_with_more_ids(
    lamina: Lamina, one_id: OneId, context: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lamina.build(context, "owned", "--no-cache")
    one_id.build(context, "owned", "--no-cache")
    layers = [each.inspect("owned")["RootFS"]["Layers"] for each in (lamina, one_id)]
    assert layers[0] == layers[1]
    file = tmp_path_factory.mktemp("out") / "files.tar"
    one_id.build(context, "owned", "-o", f"type=tar,dest={file}")
    found = owners(file)
    assert {path: found[path] for path in OWNERS} == OWNERS
    modes = {path: stat.S_IMODE(members(file.read_bytes())[path].mode) for path in "bci"}
    assert modes == {"b": 0o755, "c": 0o4711, "i": 0o640}
    # Out of the store again, and into another; nothing of a record is in a layer.
    archive = file.with_name("image.tar")
    one_id("save", "-o", archive, "owned")
    assert b"user.lamina" not in archive.read_bytes()
    one_id("rmi", "owned")
    one_id("load", "-i", archive)
    assert one_id.inspect("owned")["RootFS"]["Layers"] == layers[1]
    told = json.loads(one_id("fsck", "--json").stdout)
    assert told["sound"], told


def test_what_comes_from_elsewhere(one_id: OneId, tmp_path: Path) -> None:
    """Devices, capabilities, and an attribute that would be taken for one of ours."""
    base = tmp_path / "base.tar"
    with tarfile.open(base, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, uid, gid, mode in (
            ("null", tarfile.CHRTYPE, 0, 6, 0o640),
            ("disk", tarfile.BLKTYPE, 3, 4, 0o660),
            ("pipe", tarfile.FIFOTYPE, 5, 6, 0o600),
            ("link", tarfile.SYMTYPE, 7, 8, 0o777),
            ("file", tarfile.REGTYPE, 9, 10, 0o4755),
            ("empty", tarfile.DIRTYPE, 11, 12, 0o2775),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.uid, member.gid, member.mode = kind, uid, gid, mode
            member.devmajor, member.devminor = (1, 3) if name == "null" else (8, 1)
            member.linkname = "file" if name == "link" else ""
            if name == "file":
                own = "SCHILY.xattr.user.lamina.owner"
                member.pax_headers = {own: "1:1"}
            archive.addfile(member)
    one_id("import", base, "foreign")
    one_id("save", "-o", tmp_path / "saved.tar", "foreign")
    (tmp_path / "Dockerfile").write_text("FROM foreign\n")
    out = tmp_path / "out.tar"
    one_id.build(tmp_path, "again", "-o", f"type=tar,dest={out}")
    found = members(out.read_bytes())
    seen = {name: (m.type, m.uid, m.gid, oct(m.mode)) for name, m in found.items()}
    assert seen == {
        "null": (tarfile.CHRTYPE, 0, 6, "0o640"),
        "disk": (tarfile.BLKTYPE, 3, 4, "0o660"),
        "pipe": (tarfile.FIFOTYPE, 5, 6, "0o600"),
        "link": (tarfile.SYMTYPE, 7, 8, "0o777"),
        "file": (tarfile.REGTYPE, 9, 10, "0o4755"),
        "empty": (tarfile.DIRTYPE, 11, 12, "0o2775"),
    }
    assert (found["null"].devmajor, found["null"].devminor) == (1, 3)
    assert found["file"].pax_headers == {"SCHILY.xattr.user.lamina.owner": "1:1"}
    assert json.loads(one_id("fsck", "--json").stdout)["sound"]


def test_a_device_is_recorded(one_id: OneId, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "FROM busybox\nRUN umask 077; mknod /null c 1 3; mknod -m 660 /sda b 8 0; chown 4:5 /sda\n"
    )
    out = tmp_path / "out.tar"
    one_id.build(tmp_path, "devices", "-o", f"type=tar,dest={out}")
    found = members(out.read_bytes())
    null, sda = found["null"], found["sda"]
    assert (null.type, null.devmajor, null.devminor, null.mode) == (tarfile.CHRTYPE, 1, 3, 0o600)
    assert (sda.type, sda.devmajor, sda.devminor, sda.mode) == (tarfile.BLKTYPE, 8, 0, 0o660)
    assert (sda.uid, sda.gid) == (4, 5)


def test_users_in_containers(one_id: OneId) -> None:
    """Another user is that under its number; root's programs seem to become others."""
    seen = one_id("run", "--rm", "--user", "1000:5", "busybox", "sh", "-c", "id -u; id -g; id -G")
    assert seen.stdout.split() == ["1000", "5", "5"]
    refused = one_id("run", "--rm", "--user", "1000", "busybox", "chown", "0", "/tmp", status=1)
    assert "chown: /tmp: " in refused.stderr
    dropped = "su nobody -s /bin/sh -c 'echo done'"
    assert one_id("run", "--rm", "busybox", "sh", "-c", dropped).stdout == "done\n"


def test_a_container_in_the_background(one_id: OneId, tmp_path: Path) -> None:
    """Its monitor's supervisor is there again after a restart, and `exec` has one of its own."""
    script = "touch /one; chown 3:4 /one; echo ready; exec sleep 1000"
    one_id("run", "-d", "--name", "owner", "busybox", "sh", "-c", script)
    try:
        wait_for(lambda: "ready" in one_id("logs", "owner").stdout)
        one_id("exec", "owner", "sh", "-c", "touch /two; chown 5:6 /two")
        assert one_id("exec", "-u", "9", "owner", "id", "-u").stdout == "9\n"
        one_id("restart", "-t", "0", "owner")
        wait_for(lambda: one_id("logs", "owner").stdout.count("ready") == 2)
        one_id("exec", "owner", "chown", ":7", "/two")
        one_id("export", "-o", tmp_path / "out.tar", "owner")
        _copy_out_and_in(one_id, tmp_path)
        one_id("commit", "owner", "committed")
    finally:
        one_id("rm", "-f", "owner")
    words = (
        "--user",
        "12:13",
        "committed",
        "sh",
        "-c",
        "mkdir /tmp/d; touch /tmp/d/f; ln -s f /tmp/l",
    )
    one_id("run", "--name", "again", *words)
    one_id("export", "-o", tmp_path / "committed.tar", "again")
    one_id("rm", "again")
    found = owners(tmp_path / "out.tar")
    assert found["one"] == "3:4"
    assert found["two"].endswith(":7")
    found |= {"in/one": "3:4", "in/two": found["two"]}
    again = owners(tmp_path / "committed.tar")
    assert [again[f"tmp{path}"] for path in ("", "/d", "/d/f", "/l")] == ["0:0", *["12:13"] * 3]
    assert {path: again[path] for path in found if path.startswith(("one", "two", "in"))} == {
        path: owner for path, owner in found.items() if path.startswith(("one", "two", "in"))
    }


def _copy_out_and_in(one_id: OneId, folder: Path) -> None:
    """By way of tars, which say whose files are."""
    one_id("exec", "owner", "mkdir", "/in")
    for name in ("one", "two"):
        words = shlex.join(one_id.command("cp", f"owner:/{name}", "-"))
        into = shlex.join(one_id.command("cp", "-", "owner:/in"))
        subprocess.run(
            ["sh", "-c", f"{words} | {into}"], check=True, env=one_id.environment(None), cwd=folder
        )


def test_a_store_is_for_one_kind_of_user(private_lamina: Lamina, one_id: OneId) -> None:
    if probes.has_one_id():
        return  # Whoever has one id has no other store to offer.
    other = replace(one_id, root=private_lamina.root)
    told = other("images", status=1).stderr
    assert "was made with more than one user ID, and there is a single one now" in told
    assert "lamina doctor" in told
    with_more = Lamina(root=one_id.root, temporary=one_id.temporary)
    told = with_more("images", status=1).stderr
    assert "was made by a user with a single ID" in told
    assert f"rm -rf {one_id.root}" in told
    # What is remembered of an earlier run is no way around that.
    words = ("run", "--rm", "--network", "none", "busybox", "true")
    for _ in range(2):
        one_id(*words)
    assert "was made by a user with a single ID" in with_more(*words, status=125).stderr


@pytest.mark.xdist_group("debian")
def test_a_package_with_a_user_of_its_own(debian: Lamina, tmp_path: Path) -> None:
    """As whoever runs the tests: root, a plain user, one with a single id."""
    (tmp_path / "Dockerfile").write_text(
        f"FROM {DEBIAN.name}\n"
        "RUN apt-get update && apt-get install -y --no-install-recommends dbus openssh-client"
        " && rm -rf /var/lib/apt/lists/*\n"
        "RUN install -D -o 33 -g www-data -m 2750 -d /srv/www/data"
        " && install -o daemon -m 600 /etc/passwd /srv/www/data\n"
    )
    out = tmp_path / "out.tar"
    debian.build(tmp_path, "with-users", "-o", f"type=tar,dest={out}")
    with tarfile.open(out) as archive:
        groups = archive.extractfile("etc/group")
        assert groups is not None
        ids = dict(line.split(":")[::2] for line in groups.read().decode().splitlines())
        seen = {m.name: (m.uid, m.gid, oct(m.mode)) for m in archive}
    helper = seen["usr/lib/dbus-1.0/dbus-daemon-launch-helper"]
    assert helper == (0, int(ids["messagebus"]), "0o4754")
    assert seen["usr/bin/ssh-agent"] == (0, int(ids["_ssh"]), "0o2755")
    assert seen["srv/www/data"] == (33, 33, "0o2750")
    assert seen["srv/www/data/passwd"] == (1, 33, "0o600")
    assert not any(path.startswith("etc/apt/apt.conf.d/zz-lamina") for path in seen)


def test_owners_come_and_go_with_copies_and_commits(one_id: OneId, tmp_path: Path) -> None:
    given = tmp_path / "in.tar"
    with tarfile.open(given, "w") as archive:
        for name, kind, uid in (("f", tarfile.REGTYPE, 33), ("d", tarfile.DIRTYPE, 34),
                                ("d/l", tarfile.SYMTYPE, 35)):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.type, member.uid, member.gid, member.mode = kind, uid, uid + 10, 0o755
            member.linkname = "../f" if kind == tarfile.SYMTYPE else ""
            archive.addfile(member, io.BytesIO())
    wanted = {"f": "33:43", "d": "34:44", "d/l": "35:45"}
    one_id("create", "--name", "copied", "-v", "/vol", "busybox", "true")
    out = tmp_path / "out.tar"
    for place in ("/tmp", "/vol"):
        with given.open("rb") as source:
            words = one_id.command("cp", "-", f"copied:{place}")
            subprocess.run(words, stdin=source, check=True, env=one_id.environment(None))
        words = one_id.command("cp", f"copied:{place}/.", "-")
        shown = subprocess.run(
            words, stdout=subprocess.PIPE, check=True, env=one_id.environment(None)
        )
        out.write_bytes(shown.stdout)
        found = {path.partition("/")[2]: owner for path, owner in owners(out).items()}
        assert {path: found[path] for path in wanted} == wanted
    one_id("commit", "copied", "committed")
    one_id("create", "--name", "again", "committed")
    one_id("export", "-o", out, "again")
    found = owners(out)
    assert {path: found[f"tmp/{path}"] for path in wanted} == wanted
    assert "who has one id" in one_id("cp", "-a", "copied:/tmp/f", tmp_path, status=2).stderr
    one_id("rm", "-v", "copied", "again")
