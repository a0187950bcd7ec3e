"""When a context's commit was made, read without git and held against what git says."""

from __future__ import annotations

import os
import random
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.sources.git_head import find_head
from support.cli import Lamina
from support.remote import commit, git, repository

LATER = "1750000000"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = repository(tmp_path / "repository")
    commit(folder, Dockerfile="FROM scratch\n")
    return folder


def told(folder: Path) -> int:
    """What git says of HEAD."""
    return int(git(folder, "log", "-1", "--format=%ct"))


def test_a_commit_that_was_just_made(checkout: Path) -> None:
    assert find_head(str(checkout)).time == told(checkout) == 1700000000
    below = checkout / "a" / "b"
    below.mkdir(parents=True)
    assert find_head(str(below)).time == 1700000000


def many(folder: Path) -> None:
    """Commits so alike that a pack has them as deltas of each other, and much else."""
    for number in range(30):
        text = "".join(f"{line} and the same again\n" for line in range(60))
        git(folder, "commit", "--quiet", "--allow-empty", "-m", f"{number}\n\n{text}")
    git(folder, "repack", "-adfq", "--depth=50", "--window=50")


def by_reference(folder: Path) -> None:
    """The same with deltas that name their base."""
    many(folder)
    git(folder, "-c", "repack.useDeltaBaseOffset=false", "repack", "-adfq", "--depth=50")


def tagged_and_packed(folder: Path) -> None:
    git(folder, "tag", "-a", "-m", "a tag", "v1")
    git(folder, "branch", "other")
    git(folder, "pack-refs", "--all")


def detached(folder: Path) -> None:
    git(folder, "checkout", "--quiet", "--detach")


def symbolic(folder: Path) -> None:
    git(folder, "symbolic-ref", "refs/heads/alias", "refs/heads/main")
    git(folder, "symbolic-ref", "HEAD", "refs/heads/alias")


@pytest.mark.parametrize("change", [many, by_reference, tagged_and_packed, detached, symbolic])
def test_however_git_keeps_it(checkout: Path, change: Callable[[Path], None]) -> None:
    change(checkout)
    assert find_head(str(checkout)).time == told(checkout)


def test_each_of_many_commits_in_a_pack(checkout: Path) -> None:
    for number in range(20):
        when = {"GIT_COMMITTER_DATE": f"{1700000000 + number * 977} +0100"}
        git(checkout, "commit", "--quiet", "--allow-empty", "-m", f"one\n\n{'same ' * 200}", **when)
    names = git(checkout, "log", "--format=%H").split()
    git(checkout, "repack", "-adfq", "--depth=50", "--window=50")
    times = set()
    for name in names:
        git(checkout, "checkout", "--quiet", "--detach", name)
        assert find_head(str(checkout)).time == told(checkout)
        times.add(told(checkout))
    assert len(times) == 20


def test_linked_shared_and_shallow_checkouts(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "commit", "--quiet", "--allow-empty", "-m", "two", GIT_COMMITTER_DATE=LATER)
    git(checkout, "worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
    git(tmp_path, "clone", "--quiet", "--shared", str(checkout), "shared")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{checkout}", "shallow")
    outer = repository(tmp_path / "outer")
    git(outer, "submodule", "--quiet", "add", str(checkout), "inner")
    for folder in (tmp_path / "linked", tmp_path / "shared", tmp_path / "shallow", outer / "inner"):
        assert find_head(str(folder)).time == told(folder) == int(LATER)


def test_names_of_another_length(tmp_path: Path) -> None:
    folder = tmp_path / "sha256"
    folder.mkdir()
    git(folder, "init", "--quiet", "-b", "main", "--object-format=sha256")
    commit(folder, file="text")
    assert find_head(str(folder)).time == 1700000000
    git(folder, "gc", "--quiet")
    assert find_head(str(folder)).time == 1700000000


def test_where_there_is_nothing_to_tell(checkout: Path, tmp_path: Path) -> None:
    assert find_head(str(tmp_path)).time is None
    assert find_head(str(tmp_path / "missing")).time is None
    assert find_head(str(repository(tmp_path / "empty"))).time is None
    (checkout / "no-repository" / ".git").mkdir(parents=True)
    assert find_head(str(checkout / "no-repository")).time == 1700000000


def test_somebody_elses_checkout_is_not_taken(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As git's safe.directory, but for who owns the context rather than who runs."""
    real = os.stat

    def others(path: str, *arguments: object, **keywords: object) -> os.stat_result:
        status = real(path, *arguments, **keywords)  # type: ignore[arg-type]
        if str(path).endswith(".git"):
            return os.stat_result((*status[:4], status.st_uid + 1, *status[5:]))
        return status

    monkeypatch.setattr(os, "stat", others)
    assert find_head(str(checkout)).time is None


def test_what_it_rests_on_changes_with_it(checkout: Path) -> None:
    """`files` are all that has to be looked at to know that the commit is the same."""

    def stamps(files: tuple[str, ...]) -> list[object]:
        return [os.stat(file)[1:] if os.path.exists(file) else None for file in files]

    changes: list[Callable[[], object]] = [
        lambda: git(checkout, "commit", "--quiet", "--allow-empty", "-m", "x"),
        lambda: git(checkout, "pack-refs", "--all"),
        lambda: git(checkout, "commit", "--quiet", "--allow-empty", "-m", "y"),
        lambda: git(checkout, "checkout", "--quiet", "-b", "other"),
        lambda: shutil.rmtree(checkout / ".git"),
        lambda: git(checkout, "init", "--quiet"),
    ]
    for change in changes:
        files = find_head(str(checkout)).files
        before = stamps(files)
        git(checkout, "status") if (checkout / ".git").exists() else None
        assert stamps(files) == before
        change()
        assert stamps(files) != before


def no_file(path: Path) -> None:
    (path / "HEAD").unlink()
    os.mkfifo(path / "HEAD")


def endless(path: Path) -> None:
    (path / "HEAD").unlink()
    (path / "HEAD").symlink_to("/dev/zero")


def itself(path: Path) -> None:
    for name in ("HEAD", "refs/heads/a"):
        (path / name).write_text("ref: refs/heads/a\n")


def outside(path: Path) -> None:
    (path / "HEAD").write_text("ref: refs/../../../secret\n")


def nothing(path: Path) -> None:
    (path / "HEAD").write_bytes(b"\0" * 50)


def no_path(path: Path) -> None:
    (path / "commondir").write_bytes(b"a\0b\n")


def nowhere(path: Path) -> None:
    (path / "commondir").write_text("/nonexistent\n")


def round_about(path: Path) -> None:
    shutil.rmtree(path / "objects")
    (path / "objects" / "info").mkdir(parents=True)
    (path / "objects" / "info" / "alternates").write_text("../objects\n" * 1000)


@pytest.mark.parametrize(
    "spoil", [no_file, endless, itself, outside, nothing, no_path, nowhere, round_about]
)
def test_a_hostile_repository_costs_nothing(checkout: Path, spoil: Callable[[Path], None]) -> None:
    spoil(checkout / ".git")
    assert find_head(str(checkout)).time is None


@pytest.mark.parametrize(
    "content",
    [
        b"commit 5\0" + b"\n" * (64 << 20),
        b"blob 5\0committer a <b> 5 +0000\n",
        b"commit 9\0committer a <b> 99999999999999999999 +0000\n\n",
        b"commit 9\0committer a <b> 999999999999 +0000\n\n",
        b"commit 9\0tree\n\ncommitter a <b> 5 +0000\n",
        b"no object",
    ],
)
def test_objects_that_are_none(checkout: Path, content: bytes) -> None:
    name = git(checkout, "rev-parse", "HEAD")
    path = checkout / ".git" / "objects" / name[:2] / name[2:]
    path.chmod(0o644)
    path.write_bytes(zlib.compress(content))
    assert find_head(str(checkout)).time is None


def test_damage_to_a_pack_is_an_answer_or_none(checkout: Path) -> None:
    many(checkout)
    rng = random.Random(7)
    files = list((checkout / ".git" / "objects" / "pack").glob("pack-*.[ip][da][xc]*"))
    originals = {path: path.read_bytes() for path in files if path.suffix in (".idx", ".pack")}
    assert len(originals) == 2
    for _ in range(300):
        for path, data in originals.items():
            spoilt = bytearray(data)
            for _ in range(rng.randrange(30)):
                spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
            path.chmod(0o644)
            path.write_bytes(spoilt[: rng.choice((len(spoilt), rng.randrange(len(spoilt))))])
        find_head(str(checkout))
    for path, data in originals.items():
        path.write_bytes(data)
    assert find_head(str(checkout)).time == told(checkout)


def test_an_image_is_created_when_its_commit_was(
    private_lamina: Lamina, checkout: Path, tmp_path: Path
) -> None:
    (checkout / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")

    def built(*options: str | Path, **environment: str) -> str:
        words = ("build", "-q", "-t", "image", *options)
        private_lamina(*words, environment=environment)
        description = private_lamina.inspect("image")
        return f"{description['Created']} {description['RootFS']['Layers']}"

    first = built(checkout)
    assert first.startswith("2023-11-14T22:13:20Z ")
    assert built(checkout) == first
    git(checkout, "commit", "--quiet", "--allow-empty", "-m", "two", GIT_COMMITTER_DATE=LATER)
    second = built(checkout)
    assert second.startswith("2025-06-15T15:06:40Z ")
    # Layers and steps keep the epoch: nothing was done again.
    assert second.split(" ", 1)[1] == first.split(" ", 1)[1]
    assert " CACHED" in private_lamina("build", "--no-cache-filter=none", checkout).stderr
    assert built(checkout, SOURCE_DATE_EPOCH="5").startswith("1970-01-01T00:00:05Z ")
    assert built(checkout, "--build-arg", "SOURCE_DATE_EPOCH=7", SOURCE_DATE_EPOCH="5").startswith(
        "1970-01-01T00:00:07Z "
    )
    given = built(checkout, "--build-arg", "SOURCE_DATE_EPOCH=context")
    assert given.startswith("2025-06-15T15:06:40Z ")
    assert given != second, "the layers have that time, too"
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "Dockerfile").write_text((checkout / "Dockerfile").read_text())
    assert built(copy).startswith("1980-01-01T00:00:00Z ")


def test_of_a_repository_that_is_fetched(private_lamina: Lamina, checkout: Path) -> None:
    for _ in range(2):  # the second time nothing is fetched
        private_lamina("build", "-q", "-t", "image", f"file://{checkout}/.git#main")
        assert private_lamina.inspect("image")["Created"] == "2023-11-14T22:13:20Z"
