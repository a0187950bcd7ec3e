"""`lamina explain`: what made a step run is named; `--expect-cached` fails where one has to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.cli import Lamina

pytestmark = [pytest.mark.namespaces, pytest.mark.any_user]


def explained(lamina: Lamina, *arguments: str) -> dict[str, Any]:
    """The explanation for programs."""
    document = json.loads(lamina("explain", "--json", *arguments).stdout)
    assert isinstance(document, dict)
    return document


def why(lamina: Lamina, text: str) -> list[dict[str, Any]]:
    """Why the step of that text ran in the last build."""
    (step,) = [each for each in explained(lamina)["steps"] if each["text"] == text]
    reasons = step["why"]
    assert isinstance(reasons, list)
    return reasons


def write(folder: Path, dockerfile: str, **files: str) -> None:
    (folder / "Dockerfile").write_text(dockerfile)
    for name, content in files.items():
        (folder / name).write_text(content)


def test_the_one_changed_file_among_5000(private_lamina: Lamina, tmp_path: Path) -> None:
    write(tmp_path, "FROM busybox\nCOPY . /app\nRUN ls /app > /list\n")
    (tmp_path / ".dockerignore").write_text("Dockerfile\n.dockerignore\n")
    source = tmp_path / "src"
    source.mkdir()
    for number in range(5000):
        (source / f"module{number}.py").write_text(f"{number}\n")
    private_lamina.build(tmp_path, "app")
    (source / "module4711.py").write_text("changed\n")
    private_lamina.build(tmp_path, "app")

    told = private_lamina("explain").stdout
    assert "COPY . /app: 1 of 5,000 files changed: src/module4711.py\n" in told
    assert "RUN ls /app > /list: #2 COPY . /app gave another layer\n" in told
    (reason,) = why(private_lamina, "COPY . /app")
    assert reason["changes"] == [
        {"path": "src/module4711.py", "fate": "changed", "how": ["content"]}
    ]


def test_files_that_came_went_and_changed_their_mode(
    private_lamina: Lamina, tmp_path: Path
) -> None:
    write(tmp_path, "FROM busybox\nCOPY data/ /data/\n")
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder, "", gone="1", script="2", kept="3")
    (folder / "link").symlink_to("gone")
    private_lamina.build(tmp_path, "app")
    (folder / "gone").unlink()
    (folder / "script").chmod(0o755)
    (folder / "new").write_text("4")
    (folder / "link").unlink()
    (folder / "link").symlink_to("new")
    private_lamina.build(tmp_path, "app")

    told = private_lamina("explain", "-1", "2").stdout.splitlines()
    assert told[0].endswith("5 files, 2 changed, 1 added, 1 removed: data/gone, data/link, "
                            "data/new, data/script")  # fmt: skip
    assert [line.strip() for line in told[1:5]] == [
        "removed data/gone",
        "changed data/link (target gone → new)",
        "added data/new",
        "changed data/script (mode 0644 → 0755)",
    ]


def test_the_changed_argument(private_lamina: Lamina, tmp_path: Path) -> None:
    write(
        tmp_path,
        "FROM busybox\nRUN true\nARG VERSION=1.0\nARG OTHER=same\nENV DEEP=$VERSION-x\n"
        "RUN echo $VERSION > /version\n",
    )
    private_lamina.build(tmp_path, "app")
    private_lamina.build(tmp_path, "app", "--build-arg", "VERSION=2.0")
    reasons = why(private_lamina, "RUN echo $VERSION > /version")
    assert [reason["summary"] for reason in reasons] == [
        "ARG VERSION: 1.0 → 2.0",
        "ENV DEEP: 1.0-x → 2.0-x",
    ]
    assert reasons[0]["kind"] == "argument"
    told = private_lamina("explain").stdout
    assert "#2 cached  RUN true\n" in told
    assert "RUN echo $VERSION > /version: ARG VERSION: 1.0 → 2.0; ENV DEEP" in told


def test_secrets_are_never_told(private_lamina: Lamina, tmp_path: Path) -> None:
    write(
        tmp_path,
        "FROM busybox\nARG A=1\nRUN --mount=type=secret,id=token,env=TOKEN test -n $TOKEN\n",
    )
    for number in (1, 2):
        private_lamina(
            "build", "--secret", "id=token,env=HIDDEN", "--build-arg", f"A={number}", tmp_path,
            environment={"HIDDEN": f"swordfish{number}"},
        )  # fmt: skip
    told = private_lamina("explain", "-v").text + private_lamina("explain", "2", "-v").text
    assert "ARG A: 1 → 2" in told
    assert "swordfish" not in told + json.dumps(explained(private_lamina))


def test_the_changed_base(private_lamina: Lamina, tmp_path: Path) -> None:
    base, top = tmp_path / "base", tmp_path / "top"
    base.mkdir()
    top.mkdir()
    write(base, "FROM busybox\nCOPY file /file\n", file="one\n")
    write(top, "FROM base\nCOPY Dockerfile /here\nRUN cat /file > /copy\n")
    digests = []
    for content in ("one\n", "two\n"):
        (base / "file").write_text(content)
        private_lamina.build(base, "base")
        digests.append(private_lamina.inspect("base")["Id"])
        private_lamina.build(top, "top")
    (reason,) = why(private_lamina, "RUN cat /file > /copy")
    assert (reason["kind"], reason["old"], reason["new"]) == ("base", *digests)
    short = [digest[: len("sha256:") + 12] for digest in digests]
    told = private_lamina("explain").stdout
    changed = f"base base: {short[0]} → {short[1]}"
    assert f"#1 base    FROM base: {changed}\n" in told
    assert f"RUN cat /file > /copy: {changed}\n" in told
    assert "#2 cached  COPY Dockerfile /here\n" in told


def test_the_added_line_of_the_ignore_file(private_lamina: Lamina, tmp_path: Path) -> None:
    write(tmp_path, "FROM busybox\nCOPY . /app\n", kept="1")
    ignore = tmp_path / ".dockerignore"
    ignore.write_text("Dockerfile\n.dockerignore\n")
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(12):
        (docs / f"page{number}.md").write_text("text\n")
    private_lamina.build(tmp_path, "app")
    ignore.write_text("Dockerfile\n.dockerignore\n**/*.md\n")
    private_lamina.build(tmp_path, "app")
    told = private_lamina("explain").stdout
    assert ".dockerignore line 3 `**/*.md` now leaves out 12 files; 1 file, 12 removed" in told
    ignore.write_text("Dockerfile\n.dockerignore\n")
    private_lamina.build(tmp_path, "again", "--no-cache")
    told = private_lamina("explain").stdout
    assert "--no-cache was given" in told


def test_a_line_of_the_ignore_file_that_is_gone(private_lamina: Lamina, tmp_path: Path) -> None:
    write(tmp_path, "FROM busybox\nCOPY docs /docs\n")
    docs = tmp_path / "docs"
    docs.mkdir()
    write(docs, "", one="1", two="2")
    (tmp_path / ".dockerignore").write_text("docs/t*\n")
    private_lamina.build(tmp_path, "app")
    (tmp_path / ".dockerignore").unlink()
    private_lamina.build(tmp_path, "app")
    reason = why(private_lamina, "COPY docs /docs")[0]
    assert (reason["kind"], reason["file"], reason["line"]) == ("ignore", ".dockerignore", 1)
    assert (reason["pattern"], reason["added"], reason["files"]) == ("docs/t*", False, 1)


def test_commands_mounts_and_users(private_lamina: Lamina, tmp_path: Path) -> None:
    write(tmp_path, "FROM busybox\nRUN --mount=target=/in cat /in/note > /note\n", note="one")
    private_lamina.build(tmp_path, "app")
    (tmp_path / "note").write_text("two")
    private_lamina.build(tmp_path, "app")
    (reason,) = why(private_lamina, "RUN --mount=target=/in cat /in/note > /note")
    assert reason["summary"] == "what is mounted at /in changed: 1 of 2 files changed: note"
    write(tmp_path, "FROM busybox\nUSER 7\nRUN cat /etc/passwd > /tmp/note\n")
    private_lamina.build(tmp_path, "app")
    summaries = [each["summary"] for each in why(private_lamina, "RUN cat /etc/passwd > /tmp/note")]
    assert summaries[0] == "its command changed"
    assert "mount /in is gone" in summaries
    assert "user: '' → 7" in summaries


def test_at_most_20_lines_a_step(private_lamina: Lamina, tmp_path: Path) -> None:
    write(tmp_path, "FROM busybox\nCOPY many /many\n")
    many = tmp_path / "many"
    many.mkdir()
    for number in range(100):
        (many / f"{number:03}").write_text("1")
    private_lamina.build(tmp_path, "app")
    for path in many.iterdir():
        path.write_text("2")
    private_lamina.build(tmp_path, "app", "--explain")
    overview = private_lamina("explain").stdout.splitlines()
    assert len(overview) == 2 + 20
    assert overview[-1].strip() == "… and 82 lines more: -v shows them"
    assert len(private_lamina("explain", "-v").stdout.splitlines()) == 2 + 101
    detailed = private_lamina("explain", "2").stdout
    assert detailed.count("changed many/") == 18
    assert private_lamina("explain", "-v", "2").stdout.count("changed many/") == 100


def test_one_line_a_step_after_the_build(private_lamina: Lamina, tmp_path: Path) -> None:
    write(tmp_path, "FROM busybox\nCOPY a /a\nRUN cat /a > /b\n", a="1")
    private_lamina.build(tmp_path, "app")
    (tmp_path / "a").write_text("2")
    outcome = private_lamina("build", "--quiet", "--explain", tmp_path)
    assert outcome.stdout.startswith("sha256:")
    assert outcome.stderr.splitlines()[1:] == [
        "#2 ran     COPY a /a: 1 of 1 file changed: a",
        "#3 ran     RUN cat /a > /b: #2 COPY a /a gave another layer",
    ]


def test_expect_cached(private_lamina: Lamina, tmp_path: Path) -> None:
    write(tmp_path, "FROM busybox\nCOPY a /a\nRUN cat /a > /b\n", a="1")
    private_lamina.build(tmp_path, "app")
    private_lamina.build(tmp_path, "app", "--expect-cached")
    (tmp_path / "a").write_text("2")
    outcome = private_lamina.build(tmp_path, "app", "--expect-cached", status=1)
    assert "#2 to run  COPY a /a: 1 of 1 file changed: a\n" in outcome.stderr
    assert "ERROR: failed to solve: not cached: COPY a /a\n" in outcome.stderr
    assert explained(private_lamina)["outcome"] == "failed"
    # Nothing was run: the image is as it was, and so is what is known.
    assert "1" in private_lamina("run", "--rm", "app", "cat", "/b").stdout
    private_lamina.build(tmp_path, "app", "--expect-cached", status=1)
    (tmp_path / "a").write_text("1")
    private_lamina.build(tmp_path, "app", "--expect-cached")
    private_lamina.build(tmp_path, "app", "--expect-cached", "--no-cache", status=2)


def test_a_command_that_failed_and_one_whose_layer_is_gone(
    private_lamina: Lamina, tmp_path: Path
) -> None:
    write(tmp_path, "FROM busybox\nRUN test -n $(date +%Y) && exit 3\n")
    private_lamina.build(tmp_path, "app", status=1)
    private_lamina.build(tmp_path, "app", status=1)
    document = explained(private_lamina)
    assert document["outcome"] == "failed"
    assert document["steps"][1]["status"] == "failed"
    assert document["steps"][1]["why"][0]["kind"] == "unfinished"


def test_what_gives_another_layer_from_the_same_inputs(
    private_lamina: Lamina, tmp_path: Path
) -> None:
    write(tmp_path, "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /id\n")
    private_lamina.build(tmp_path, "app")
    private_lamina.build(tmp_path, "app", "--no-cache")
    kinds = [
        each["kind"] for each in why(private_lamina, "RUN cat /proc/sys/kernel/random/uuid > /id")
    ]
    assert kinds == ["no-cache", "unlike"]


def test_builds_by_id_by_turn_and_by_image(private_lamina: Lamina, tmp_path: Path) -> None:
    write(tmp_path, "FROM busybox\nCOPY a /a\n", a="1")
    private_lamina.build(tmp_path, "first")
    (tmp_path / "a").write_text("2")
    private_lamina.build(tmp_path, "second")
    last, before = explained(private_lamina), explained(private_lamina, "-2")
    assert (before["names"], last["names"]) == (["first"], ["second"])
    assert explained(private_lamina, "-1") == last
    assert explained(private_lamina, before["id"][:6]) == before
    assert explained(private_lamina, "first") == before
    assert explained(private_lamina, private_lamina.inspect("second")["Id"]) == last
    assert len(explained(private_lamina, "first", "2")["steps"]) == 1
    for arguments in (("-9",), ("nothing",), ("first", "7"), ("-x",), ("-1", "x")):
        assert "ERROR: " in private_lamina("explain", *arguments, status=2).stderr


def test_nothing_is_recorded_yet(private_lamina: Lamina) -> None:
    assert "no build is recorded yet" in private_lamina("explain", status=2).stderr


def test_a_build_that_was_only_answered(private_lamina: Lamina, tmp_path: Path) -> None:
    """A replayed build is that build asked for again, and the last one then."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
        write(folder, f"FROM busybox\nRUN echo {folder.name} > /name\n")
    private_lamina("build", "-t", "one", one)
    private_lamina("build", "-t", "two", two)
    identifier = explained(private_lamina, "one")["id"]
    for _ in range(3):  # the first may be too early to be answered: files were just written
        private_lamina("build", "-t", "one", one)
    document = explained(private_lamina)
    assert document["names"] == ["one"]
    assert document["answered"] is not None or document["id"] != identifier
    assert explained(private_lamina, "-1", "2")["steps"][0]["text"] == "RUN echo one > /name"


def test_stages_and_named_contexts(private_lamina: Lamina, tmp_path: Path) -> None:
    extra = tmp_path / "extra"
    context = tmp_path / "context"
    extra.mkdir()
    context.mkdir()
    write(
        context,
        "FROM busybox AS one\nCOPY a /a\nFROM one AS two\nRUN cat /a > /b\n"
        "FROM more\nCOPY --from=two /b /b\n",
        a="1",
    )
    (extra / "x").write_text("1")
    arguments = ("--build-context", f"more={extra}")
    private_lamina.build(context, "app", *arguments)
    (context / "a").write_text("2")
    (extra / "x").write_text("2")
    private_lamina.build(context, "app", *arguments)
    told = private_lamina("explain").stdout
    assert "RUN cat /a > /b: #2 COPY a /a gave another layer\n" in told
    assert "COPY --from=two /b /b: 1 of 1 file changed: b\n" in told
