"""Failed steps can be looked into, mended, and built on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.cli import Lamina
from support.terminals import user_of

pytestmark = pytest.mark.namespaces

DOCKERFILE = """\
FROM busybox
ENV A=b
WORKDIR /work
RUN echo one > one
RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/fast \\
    --mount=type=secret,id=key --mount=type=bind,source=file,target=/bound \\
    echo two > two && echo kept > /cache/file && cat /bound need
RUN cat one two need > three
"""


@pytest.fixture
def private(private_lamina: Lamina) -> Lamina:
    return private_lamina


@pytest.fixture
def failed(private: Lamina, tmp_path: Path) -> Path:
    """A context whose third RUN cannot be; it has failed just now."""
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "file").write_text("bound\n")
    (tmp_path / "key").write_text("secret\n")
    outcome = private.build(tmp_path, "made", "--secret", f"id=key,src={tmp_path}/key", status=1)
    assert "hint: lamina debug opens a shell in what it has left" in outcome.stderr
    return tmp_path


def test_a_shell_where_it_failed(private: Lamina, failed: Path) -> None:
    script = "pwd; ls; cat two /cache/file; echo $A; ls /fast; ls /run/secrets /bound; exit 7\n"
    shown = private("debug", stdin=script, status=7)
    assert shown.stdout.split() == ["/work", "one", "two", "two", "kept", "b"]
    assert "what you change is kept" in shown.stderr
    assert "/bound is not mounted" in shown.stderr
    assert "No such file" in shown.stderr
    words = ("--secret", f"id=key,src={failed}/key", "-e", "X=y", "-u", "5:6", "--")
    shown = private("debug", *words, "sh", "-c", "id -u; id -g; echo $X; ls /run/secrets")
    assert shown.stdout.split() == ["5", "6", "y", "key"]
    assert private("debug", "--", "cat", "/run/secrets/key", status=1).stdout == ""
    assert private("debug", "--", "nothing", status=127).stdout == ""
    assert "RUN /bin/sh -c echo two" in private("debug", "--list").stdout
    assert list((private.root / "work").iterdir()) == []


def test_the_state_after_any_step(private: Lamina, failed: Path) -> None:
    assert private("debug", "@1", "--", "ls", "/").stdout.split().count("work") == 0
    assert private("debug", "-1@2", "--", "ls", "/work").stdout == ""
    shown = private("debug", "@3", "--", "sh", "-c", "pwd; ls; echo $A; echo x > one; cat one")
    assert shown.stdout.split() == ["/work", "one", "b", "x"]
    assert private("debug", "@3", "--", "cat", "one").stdout == "one\n"
    assert private("debug", "@4", "--", "cat", "two").stdout == "two\n"
    assert "was not done" in private("debug", "@5", status=2).stderr or (
        "has no step 5" in private("debug", "@5", status=2).stderr
    )
    assert "has no step 9" in private("debug", "@9", status=2).stderr
    assert "no build nothing is recorded" in private("debug", "nothing", status=2).stderr


def test_building_on_from_a_mended_tree(private: Lamina, failed: Path) -> None:
    private("debug", "--", "sh", "-c", "cat two > need; rm two; echo mended > two")
    told = private.build(failed, "made", "--resume")
    assert "its layer is a tree mended by hand" in told.text
    assert "TAKEN from a tree mended by hand" in told.text
    three = private("run", "--rm", "--network", "none", "made", "cat", "three").stdout
    assert three == "one\nmended\ntwo\n"
    assert private("history", "made").stdout.count("(a tree mended by hand)") == 1
    assert "from a tree mended by hand" in private("explain").stdout
    # Nobody else takes it for what the step makes.
    again = private.build(failed, "again", "--secret", f"id=key,src={failed}/key", status=1)
    assert "cat: can't open 'need'" in again.text


def test_what_was_mended_can_be_taken_again(private: Lamina, failed: Path) -> None:
    dockerfile = failed / "Dockerfile"
    private("debug", "--", "touch", "need")
    dockerfile.write_text(DOCKERFILE + "RUN exit 3\n")
    private.build(failed, "made", "--resume", status=1)
    dockerfile.write_text(DOCKERFILE + "RUN echo four > four\n")
    told = private.build(failed, "made", "--resume")
    assert "TAKEN from" in told.text
    shown = private("run", "--rm", "--network", "none", "made", "cat", "two", "four")
    assert shown.stdout == "two\nfour\n"
    assert private("fsck").status == 0


def test_a_build_without_failures_does_not_resume(private: Lamina, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN true\n")
    assert "no step of this build had failed" in private.build(tmp_path, "x", "--resume").text
    assert "no failed step is kept" in private("debug", status=2).stderr
    words = ("build", "--resume", "--provenance", "true", tmp_path)
    assert "contradict each other" in private(*words, status=2).stderr


def test_a_shell_as_soon_as_it_fails(private: Lamina, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM busybox\nRUN <<E\necho x > /x\nfalse\nE\n")
    words = ("build", "--progress", "plain", "--on-fail", "shell", tmp_path)
    shown = private(*words, stdin="cat /x; touch /y\n", status=1)
    assert shown.stdout == "x\n"
    assert private("debug", "--", "ls", "/y").stdout == "/y\n"


def test_a_terminal_if_there_is_one(private: Lamina, failed: Path) -> None:
    with user_of(private.command("debug"), private.environment(None)) as user:
        user.reads("what you change is kept")
        user.type("tty; stty size; echo A is $A\n")
        user.reads("/dev/pts/")
        user.reads("30 100")
        user.reads("A is b")
        user.type("exit 4\n")
        assert user.leaves_with() == 4


def test_two_do_not_work_in_one_tree(private: Lamina, failed: Path) -> None:
    with private.start("debug", "--", "sh", "-c", "echo in; sleep 100") as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "in\n"
        refused = private("debug", "--", "true", status=1)
        assert "somebody works in what" in refused.stderr
        secret = f"id=key,src={failed}/key"
        again = private.build(failed, "made", "--secret", secret, status=1)
        assert "is not kept: somebody works in" in again.text
        assert "cat: can't open 'need'" in again.text
        shell.kill()  # the container ends with it
    assert private("fsck").status == 0


def test_what_is_kept_is_bounded_and_counted(private: Lamina, tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / "Dockerfile").write_text(f"FROM busybox\nRUN echo {number} > /n && exit 1\n")
        private.build(tmp_path, "x", status=1)
    kept = private("debug", "--list").stdout.splitlines()
    assert [line.split()[5] for line in kept] == ["6", "5", "4", "3", "2"]
    rows = json.loads(private("df", "--json").stdout)["kinds"]
    assert rows["failed_steps"]["total"] == 5
    assert private("fsck").status == 0
    assert "5 failed steps had left" in private("prune", "-f").stdout
    assert private("debug", "--list").stdout == ""
    assert "failed_steps" not in json.loads(private("df", "--json").stdout)["kinds"]
    assert private("fsck").status == 0
