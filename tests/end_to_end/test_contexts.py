"""Contexts that are no directory, named contexts, and ADD of what is elsewhere, built for real."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from support.cli import Lamina, Outcome, check
from support.remote import commit, repository, serving

pytestmark = [pytest.mark.namespaces, pytest.mark.any_user]

DOCKERFILE = "FROM busybox\nCOPY a /copied\nRUN --mount=target=/c cat /c/a /copied\n"


def piped(lamina: Lamina, data: bytes, *options: str, status: int = 0) -> Outcome:
    """Build with standard input that is no text."""
    return fed(lamina, data, "build", "--progress", "plain", *options, status=status)


def fed(lamina: Lamina, data: bytes, *arguments: str | Path, status: int = 0) -> Outcome:
    """Run with standard input that is no text."""
    command = lamina.command(*arguments)
    process = subprocess.run(
        command, input=data, capture_output=True, env=lamina.environment(None), timeout=600
    )
    out, err = (each.decode("utf-8", "replace") for each in (process.stdout, process.stderr))
    told = Outcome(command=" ".join(command), status=process.returncode, stdout=out, stderr=err)
    return check(told, status)


def archive(mode: str = "w", **files: str) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=mode) as tar:  # type: ignore[call-overload]
        for name, text in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size, member.uid, member.mode = len(text), 1234, 0o644
            tar.addfile(member, io.BytesIO(text.encode()))
    return held.getvalue()


def cat(lamina: Lamina, image: str, *paths: str) -> str:
    return lamina("run", "--rm", image, "cat", *paths).stdout


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_on_standard_input(lamina: Lamina, mode: str) -> None:
    data = archive(mode, Dockerfile=DOCKERFILE, a="AAA\n", **{".dockerignore": "a\n"})
    done = piped(lamina, data, "-t", "sent", "-")
    assert done.text.count("AAA") == 2 or "CACHED" in done.text
    assert cat(lamina, "sent", "/copied") == "AAA\n"
    owner = lamina("run", "--rm", "sent", "stat", "-c", "%u:%g %a", "/copied").stdout
    assert owner == "0:0 644\n"


def test_a_dockerfile_inside_an_archive(lamina: Lamina) -> None:
    data = archive(sub__D="FROM busybox\nRUN echo inner > /x\n")
    piped(lamina, data, "-t", "inside", "-f", "../sub/D", "-")
    assert cat(lamina, "inside", "/x") == "inner\n"
    missing = piped(lamina, data, "-", status=1)
    assert "failed to read dockerfile: open Dockerfile" in missing.text


def test_a_dockerfile_on_standard_input(lamina: Lamina) -> None:
    piped(lamina, b"FROM busybox\nRUN echo alone > /x\n", "-t", "alone", "-")
    assert cat(lamina, "alone", "/x") == "alone\n"
    nothing = piped(lamina, b"FROM busybox\nCOPY a /\n", "-", status=1)
    assert '"/a": not found' in nothing.text
    both = piped(lamina, b"FROM busybox\n", "-f", "-", "-", status=1)
    assert "can't use stdin for both build context and dockerfile" in both.text
    twice = piped(lamina, b"FROM busybox\n", "-f", "x", "-", status=1)
    assert "ambiguous Dockerfile source" in twice.text


def test_an_archive_is_a_context_by_its_path(lamina: Lamina, tmp_path: Path) -> None:
    (tmp_path / "c.tar").write_bytes(archive(Dockerfile=DOCKERFILE, a="by path\n"))
    lamina.build(tmp_path / "c.tar", "by-path")
    assert cat(lamina, "by-path", "/copied") == "by path\n"
    (tmp_path / "text").write_text("FROM busybox\n")
    refused = lamina.build(tmp_path / "text", "none", status=1)
    assert "neither a directory nor an archive" in refused.text


def test_a_repository_is_a_context(lamina: Lamina, tmp_path: Path) -> None:
    origin = repository(tmp_path / "origin")
    commit(origin, Dockerfile="FROM nothing\n", sub__Dockerfile=DOCKERFILE, sub__a="git\n")
    lamina("build", "-t", "from-git", f"file://{origin}#main:sub")
    assert cat(lamina, "from-git", "/copied") == "git\n"
    missing = lamina("build", f"file://{origin}#none", status=1)
    assert "has no ref none" in missing.text


def test_a_server_has_contexts(lamina: Lamina) -> None:
    with serving(Dockerfile=b"FROM busybox\nRUN echo served > /x\n") as site:
        site.files["/c.tgz"] = archive("w:gz", Dockerfile=DOCKERFILE, a="served\n")
        lamina("build", "-t", "served", site.url + "/c.tgz")
        assert cat(lamina, "served", "/copied") == "served\n"
        lamina("build", "-t", "text", site.url + "/Dockerfile")
        assert cat(lamina, "text", "/x") == "served\n"
        assert "404" in lamina("build", site.url + "/none", status=1).text


def test_add_takes_from_servers_and_repositories(lamina: Lamina, tmp_path: Path) -> None:
    origin = repository(tmp_path / "origin")
    sha = commit(origin, a="from git\n")
    with serving(file=b"from server\n") as site:
        site.files["/x.tar"] = archive(inner="from archive\n")
        context = tmp_path / "context"
        context.mkdir()
        (context / "Dockerfile").write_text(
            "FROM busybox\nARG URL\nARG REPO\n"
            "ADD $URL/file /named\n"
            "ADD --chown=7:8 --chmod=640 $URL/file $URL/x.tar /into/\n"
            "ADD --unpack=true $URL/x.tar /unpacked/\n"
            f"ADD --checksum={sha[:9]} file://$REPO /repo\n"
            "ADD --keep-git-dir=true file://$REPO /kept\n"
        )
        options = ("--build-arg", f"URL={site.url}", "--build-arg", f"REPO={origin}")
        first = lamina.build(context, "added", *options)
        assert "CACHED" not in first.text
        again = lamina.build(context, "added", *options)
        assert again.text.count("CACHED") == 5
        assert site.statuses == [200, 200, 304, 304]
        files = ("/named", "/into/file", "/unpacked/inner", "/repo/a", "/kept/a")
        lines = cat(lamina, "added", *files).split("\n")
        assert lines == ["from server"] * 2 + ["from archive"] + ["from git"] * 2 + [""]
        shown = lamina(
            "run", "--rm", "added", "stat", "-c", "%a %u:%g %Y", "/named", "/into/file", "/repo/a"
        ).stdout.splitlines()
        assert [line.rpartition(" ")[0] for line in shown] == ["600 0:0", "640 7:8", "644 0:0"]
        assert len({line.rpartition(" ")[2] for line in shown}) == 1
        site.files["/file"] = b"changed\n"
        changed = lamina.build(context, "added", *options)
        assert changed.text.count("CACHED") == 3


def test_add_says_where_it_failed(lamina: Lamina, tmp_path: Path) -> None:
    wrong = "sha256:" + "0" * 64
    with serving(file=b"x") as site:
        (tmp_path / "Dockerfile").write_text(
            f"FROM busybox\n\nADD --checksum={wrong} {site.url}/file /\n"
        )
        failed = lamina.build(tmp_path, "none", status=1)
    assert "Dockerfile:3" in failed.text
    assert f"expected {wrong}, got sha256:2d711642" in failed.text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("https://h.invalid/x", "source can't be a URL for COPY"),
        ("https://h.invalid/x.git", "source can't be a git ref for COPY"),
    ],
)
def test_copy_refuses(lamina: Lamina, tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM busybox\nCOPY {source} /\n")
    assert message in lamina.build(tmp_path, "none", status=1).text


def test_named_contexts(lamina: Lamina, tmp_path: Path) -> None:
    origin = repository(tmp_path / "origin")
    commit(origin, a="git\n")
    named = tmp_path / "named"
    named.mkdir()
    (named / "seen").write_text("seen\n")
    (named / "hidden").write_text("hidden\n")
    (named / ".dockerignore").write_text("hidden\n.dockerignore\n")
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(
        "FROM alpine AS stage\nRUN exit 1\nFROM busy\n"
        "COPY --from=named . /named\nCOPY --from=repo a /git\nCOPY --from=tar inner /tar\n"
        "COPY --from=stage /bin/busybox /from-stage\n"
        "RUN --mount=from=named,target=/m --mount=from=repo,target=/r cat /m/seen /r/a > /mounted\n"
    )
    with serving() as site:
        site.files["/x.tar"] = archive(inner="tar\n")
        options = [
            f"named={named}", f"repo=file://{origin}", f"tar={site.url}/x.tar",
            "stage=docker-image://busybox", "busy=docker-image://busybox",
        ]  # fmt: skip
        given = [word for each in options for word in ("--build-context", each)]
        lamina.build(context, "with-named", *given)
        again = lamina.build(context, "with-named", *given)
    assert again.text.count("CACHED") == 5
    listed = lamina("run", "--rm", "with-named", "ls", "-A", "/named").stdout
    assert listed == "seen\n"
    assert cat(lamina, "with-named", "/git", "/tar", "/mounted") == "git\ntar\nseen\ngit\n"


def test_files_are_a_base(lamina: Lamina, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a").write_text("base\n")
    (tmp_path / "Dockerfile").write_text(
        "FROM rootfs AS files\nFROM busybox\nCOPY --from=files / /got/\n"
    )
    lamina.build(tmp_path, "on-files", "--build-context", f"rootfs={tmp_path / 'files'}")
    assert cat(lamina, "on-files", "/got/a") == "base\n"
    lamina.build(
        tmp_path, "files", "--target", "files", "--build-context", f"rootfs={tmp_path / 'files'}"
    )
    assert len(lamina.inspect("files")["RootFS"]["Layers"]) == 1


def test_a_layout_is_a_base(lamina: Lamina, private_lamina: Lamina, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    (made / "Dockerfile").write_text("FROM busybox\nENV FROM=layout\nRUN echo layout > /x\n")
    lamina.build(made, "local/made:1", "-o", f"type=oci,dest={tmp_path}/l,tar=false")
    (tmp_path / "Dockerfile").write_text("FROM base\nRUN echo $FROM >> /x\n")
    place = f"base=oci-layout://{tmp_path}/l"
    private_lamina.build(tmp_path, "on-layout", "--build-context", place)
    assert cat(private_lamina, "on-layout", "/x") == "layout\nlayout\n"
    (tmp_path / "l/index.json").write_text('{"schemaVersion":2,"manifests":[]}')
    refused = private_lamina.build(tmp_path, "none", "--build-context", place, status=1)
    assert "has no image" in refused.text


def test_what_a_context_holds(lamina: Lamina, tmp_path: Path) -> None:
    for name in ("Dockerfile", "a.log", "keep.log", "d/x", "d/y.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("12")
    (tmp_path / ".dockerignore").write_text("# comment\n*.log\n!keep.log\nd\n!d/x\n")
    listed = lamina("context", "ls", tmp_path)
    assert [line.split() for line in listed.stdout.splitlines()] == [
        ["33", ".dockerignore"], ["2", "Dockerfile"], ["-", "d/"], ["2", "d/x"], ["2", "keep.log"],
    ]  # fmt: skip
    assert listed.stderr == "4 files, 39 bytes\n"

    def why(path: str, *options: str) -> str:
        return lamina("context", "ls", "--why", path, *options, tmp_path).stdout

    assert why("a.log") == f"a.log: excluded by *.log ({tmp_path}/.dockerignore, line 2)\n"
    assert f"brought back by !keep.log ({tmp_path}/.dockerignore, line 3)" in why("keep.log")
    assert "excluded by d (" in why("d/y.tmp")
    assert "there for what is brought back below it" in why("d")
    assert "no pattern" in why("Dockerfile")
    assert "there is no such file" in why("none")
    (tmp_path / "Dockerfile.dockerignore").write_text("Dockerfile\n")
    assert "no pattern" in why("a.log")
    assert "Dockerfile.dockerignore, line 1" in why("Dockerfile", "-f", "Dockerfile")


def test_what_a_context_holds_that_has_to_be_fetched(lamina: Lamina, tmp_path: Path) -> None:
    data = archive(a="12", d__b="345", **{".dockerignore": "a\n"})
    (tmp_path / "c.tar").write_bytes(data)
    origin = repository(tmp_path / "origin")
    commit(origin, a="12", d__b="345", _dockerignore="a\n")
    expected = [["2", ".dockerignore"], ["2", "a"], ["-", "d/"], ["3", "d/b"]]

    def listed(context: str | Path, stdin: bytes = b"") -> list[list[str]]:
        outcome = fed(lamina, stdin, "context", "ls", context)
        assert outcome.stderr == "3 files, 7 bytes\n"
        return [line.split() for line in outcome.stdout.splitlines()]

    assert listed(tmp_path / "c.tar") == expected
    assert listed(f"file://{origin}/.git#main") == expected
    assert listed("-", data) == expected
    with serving() as site:
        site.files["/c.tar"] = data
        assert listed(f"{site.url}/c.tar") == expected
    why = lamina("context", "ls", "--why", "/a", tmp_path / "c.tar").stdout
    assert why == "a: included: ignore files are for directories only\n"
    why = lamina("context", "ls", "--why", "none", tmp_path / "c.tar").stdout
    assert "none: included (there is no such file)" in why
    only = lamina("context", "ls", "-", stdin="FROM scratch\n")
    assert (only.stdout, only.stderr) == ("", "0 files, 0 bytes\n")
    refused = lamina("context", "ls", tmp_path / "nosuch", status=1)
    assert "not found" in refused.stderr
