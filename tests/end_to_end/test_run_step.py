"""RUN in all its forms, each in a real container, judged by what is in the image afterwards."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cli import Lamina, Outcome

pytestmark = pytest.mark.namespaces


class Builder:
    """Builds Dockerfiles in a folder and looks into the images."""

    def __init__(self, lamina: Lamina, folder: Path) -> None:
        self._lamina = lamina
        self._folder = folder
        self._name = f"{folder.name.lower()}-{os.getpid()}".replace("_", "-").strip("-0")

    def build(self, text: str, *options: str | Path, status: int = 0) -> Outcome:
        (self._folder / "Dockerfile").write_text(text)
        return self._lamina.build(self._folder, self._name, *options, status=status)

    def sh(self, command: str) -> str:
        """What a command prints in a container of the image."""
        return self._lamina("run", "--rm", self._name, "sh", "-c", command).stdout

    def remove(self) -> None:
        self._lamina("rmi", self._name, status=None)


@pytest.fixture
def builder(lamina: Lamina, tmp_path: Path) -> Iterator[Builder]:
    builder = Builder(lamina, tmp_path)
    yield builder
    builder.remove()


def test_a_step_sees_docker_s_world(builder: Builder) -> None:
    builder.build(
        "FROM busybox\nENV A=1\nWORKDIR /w\nRUN (id -u; pwd; hostname; echo $A; umask; "
        "cat /proc/self/status | grep -c CapEff; tr '\\0' '\\n' < /proc/1/environ | sort; "
        "ls /proc/self/fd | wc -l; ulimit -n; readlink /proc/1/exe) > /seen\n"
    )
    seen = builder.sh("cat /seen").splitlines()
    assert seen[:5] == ["0", "/w", "buildkitsandbox", "1", "0022"]
    assert "HOME=/root" in seen
    assert not [line for line in seen if line.startswith(("LAMINA", "TMPDIR", "PYTEST"))]
    assert seen[-2] == "1024"


def test_users_and_their_groups(builder: Builder) -> None:
    builder.build(
        "FROM busybox\nRUN mkdir -m 777 /out && echo app:x:7:8::/home/app:/bin/sh >> /etc/passwd "
        "&& echo extra:x:9:app >> /etc/group\nUSER app\n"
        "RUN id > /out/name; echo $HOME > /out/home\n"
        "USER 1234\nRUN id > /out/number\nUSER 1234:5678\nRUN id > /out/both\nWORKDIR /own\n"
    )
    assert builder.sh("cat /out/home").strip() == "/home/app"
    assert re.search(r"uid=7.* gid=8.*groups=8.*,9\(extra\)", builder.sh("cat /out/name"))
    assert re.search(r"uid=1234 gid=0", builder.sh("cat /out/number"))
    assert re.search(r"uid=1234 gid=5678 groups=5678", builder.sh("cat /out/both"))
    assert builder.sh("stat -c '%u %g %a' /own").strip() == "1234 5678 755"


def test_what_is_mounted_is_in_no_layer(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content\n")
    builder.build(
        "FROM busybox AS base\nRUN mkdir /data && echo stage > /data/x\nFROM busybox\n"
        "RUN --mount=type=bind,target=/ctx --mount=type=tmpfs,target=/t/mp "
        "--mount=type=cache,target=/ca/che --mount=from=base,source=/data,target=/from "
        "cat /ctx/file /from/x > /out && touch /t/mp/a /ca/che/b && echo hi > /etc/new\n"
    )
    assert builder.sh("cat /out") == "content\nstage\n"
    assert builder.sh("ls -d /ctx /t /ca /from 2>/dev/null; true") == ""
    assert builder.sh("cat /etc/new") == "hi\n"


def test_bind_mounts_are_read_only_or_throw_writes_away(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "file").write_text("kept\n")
    (tmp_path / ".dockerignore").write_text("dir/hidden\n")
    (tmp_path / "dir" / "hidden").write_text("x")
    builder.build(
        "FROM busybox\nRUN --mount=target=/m,source=dir ! touch /m/new && [ ! -e /m/hidden ]\n"
        "RUN --mount=target=/m,source=dir,rw echo changed > /m/file && cat /m/file > /seen\n"
        "RUN --mount=target=/one,source=dir/file cat /one > /file && [ -f /one ]\n"
    )
    assert builder.sh("cat /seen /file") == "changed\nkept\n"
    assert (tmp_path / "dir" / "file").read_text() == "kept\n"


def test_a_changed_bind_source_runs_the_step_again(builder: Builder, tmp_path: Path) -> None:
    text = "FROM busybox\nRUN --mount=target=/m cat /m/file > /seen\n"
    for content in ("one\n", "two\n"):
        (tmp_path / "file").write_text(content)
        builder.build(text)
        assert builder.sh("cat /seen") == content


def test_caches_outlive_builds_and_are_told_apart(builder: Builder, tmp_path: Path) -> None:
    name = f"test-{os.getpid()}-{tmp_path.name}"
    line = f"RUN --mount=type=cache,id={name},target=/c"
    text = "FROM busybox\nARG N\n" + line + ",sharing=%s echo $N >> /c/log; cat /c/log > /seen\n"
    for number, sharing in enumerate(("shared", "locked", "private")):
        builder.build(text % sharing, "--build-arg", f"N={number}")
    assert builder.sh("cat /seen").split() == ["0", "1", "2"]
    builder.build(
        f"FROM busybox\n{line},uid=5,mode=0700 stat -c '%u %a' /c > /seen; ls /c >> /seen\n"
    )
    assert builder.sh("cat /seen").split() == ["5", "700"]


def test_a_cache_can_start_with_a_stage_s_files(builder: Builder, tmp_path: Path) -> None:
    builder.build(
        "FROM busybox AS seed\nRUN mkdir -p /s/d && echo first > /s/d/f\nFROM busybox\n"
        f"RUN --mount=type=cache,id=seeded-{os.getpid()}-{tmp_path.name},from=seed,source=/s,"
        "target=/c cat /c/d/f > /seen\n"
    )
    assert builder.sh("cat /seen") == "first\n"


def test_secrets_reach_the_step_and_nothing_else(
    builder: Builder, tmp_path: Path, lamina: Lamina
) -> None:
    (tmp_path / "key").write_text("s3cr3t-value")
    builder.build(
        "FROM busybox\nRUN --mount=type=secret,id=key wc -c < /run/secrets/key > /count; "
        "stat -c '%a %u' /run/secrets/key >> /count; mount | grep -c secrets/key.*tmpfs >> /count\n"
        "RUN --mount=type=secret,id=key,env=KEY,target=/k [ \"$KEY\" = \"$(cat /k)\" ]\n"
        "RUN --mount=type=secret,id=other [ ! -e /run/secrets ]\n",
        "--secret", f"id=key,src={tmp_path / 'key'}",
    )  # fmt: skip
    assert builder.sh("cat /count").split() == ["12", "400", "0", "1"]
    assert builder.sh("ls /run 2>/dev/null; true") == ""
    if os.geteuid() == 0:  # the store of another user is in a user namespace
        trees = lamina.root / "trees"
        assert not [p for p in trees.rglob("count*") if "s3cr3t" in p.read_text()]


def test_a_required_secret_that_is_missing(builder: Builder) -> None:
    outcome = builder.build(
        "FROM busybox\nRUN --mount=type=secret,id=nosuch,required true\n", status=1
    )
    assert "secret nosuch: not found" in outcome.text
    assert "Dockerfile:2" in outcome.text


def test_heredocs(builder: Builder) -> None:
    builder.build(
        "FROM busybox\nARG A=x\nRUN <<EOF\necho $A > /one\nset -- a b; echo $# >> /one\nEOF\n"
        "RUN <<'EOF'\n#!/bin/awk -f\n"
        'BEGIN { print "awk" > "/two"; print ARGV[0] > "/two" }\nEOF\n'
        "RUN cat <<A <<B > /three && cat <<B >> /three\n1\nA\n2\nB\n3\nB\n"
        "COPY <<F /four\nvalue $A\nF\n"
    )
    assert builder.sh("cat /one") == "x\n2\n"
    assert builder.sh("head -1 /two") == "awk\n"
    assert builder.sh("cat /three") == "2\n3\n"
    assert builder.sh("cat /four") == "value x\n"
    assert builder.sh("ls -A /dev/pipes 2>/dev/null; true") == ""


def test_whiteouts_and_replaced_directories(builder: Builder) -> None:
    builder.build(
        "FROM busybox\nRUN mkdir -p /d/e /f && touch /d/a /d/e/b /f/c\n"
        "RUN rm -r /d && mkdir /d && touch /d/new\nRUN rm -r /f && touch /f\nRUN rm /f\n"
    )
    assert builder.sh("find /d /f 2>/dev/null | sort") == "/d\n/d/new\n"


def test_a_layer_that_comes_twice(builder: Builder) -> None:
    builder.build("FROM busybox\nRUN mkdir /d\nRUN rmdir /d\nRUN mkdir /d\nRUN ls -d /d > /out\n")
    assert builder.sh("ls -d /d; cat /out") == "/d\n/d\n"


def test_network_none_has_no_way_out(builder: Builder) -> None:
    builder.build(
        "FROM busybox\nRUN --network=none ip -o link | wc -l > /links; ip route | wc -l >> /links\n"
    )
    assert builder.sh("cat /links").split() == ["1", "0"]
    outcome = builder.build("FROM busybox\nRUN --network=host true\n", status=1)
    assert "entitlement network.host is not allowed" in outcome.text


def test_insecure_steps_have_to_be_allowed(builder: Builder) -> None:
    text = "FROM busybox\nRUN --security=insecure mount -t tmpfs none /mnt && echo ok > /done\n"
    assert "entitlement security.insecure is not allowed" in builder.build(text, status=1).text
    if os.geteuid() == 0:
        builder.build(text.replace("/mnt", "/tmp"), "--allow", "security.insecure")
        assert builder.sh("cat /done") == "ok\n"


def test_a_step_in_the_background_ends_with_its_step(builder: Builder) -> None:
    builder.build("FROM busybox\nRUN (sleep 600; touch /late) & echo started > /early\n")
    assert builder.sh("ls /early /late 2>/dev/null; true") == "/early\n"


def test_failures_name_line_command_and_status(builder: Builder) -> None:
    outcome = builder.build("FROM busybox\n\nRUN echo oops >&2; exit 42\n", status=1)
    assert "oops" in outcome.text
    assert "Dockerfile:3" in outcome.text
    assert (
        'process "/bin/sh -c echo oops >&2; exit 42" did not complete successfully: exit code: 42'
        in outcome.text
    )
    missing = builder.build('FROM busybox\nRUN ["/no/such"]\n', status=1)
    assert "exit code: 127" in missing.text
    assert "no such file or directory" in missing.text
    assert builder.build("FROM busybox\nUSER nosuch\nRUN true\n", status=1).text.count("nosuch")


def test_equal_steps_at_the_same_time_run_once(builder: Builder) -> None:
    outcome = builder.build(
        "FROM busybox AS a\nRUN sleep 0.2; echo same > /x\nFROM busybox AS b\n"
        "RUN sleep 0.2; echo same > /x\nFROM busybox\nCOPY --from=a /x /a\nCOPY --from=b /x /b\n",
        "--no-cache-filter", "stage-2",
    )  # fmt: skip
    assert builder.sh("cat /a /b") == "same\nsame\n"
    assert outcome.text.count("CACHED") == 1


def test_many_containers_do_not_see_each_other(builder: Builder, lamina: Lamina) -> None:
    builder.build("FROM busybox\nRUN echo 0 > /n\n")
    commands = [
        lamina.start("run", "--rm", builder._name, "sh", "-c", f"echo {n} >> /n; sleep 0.2; cat /n")
        for n in range(8)
    ]
    try:
        outputs = [command.communicate(timeout=120)[0] for command in commands]
    finally:
        for command in commands:
            command.kill()
            command.wait()
    assert outputs == [f"0\n{n}\n" for n in range(8)]
