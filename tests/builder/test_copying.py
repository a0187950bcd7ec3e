"""COPY and ADD: what entries a layer gets, from real directories and on real layers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.errors import ContextError
from builder.execution.copy import CopyProblem, CopyRules, copy_entries
from builder.plan.chmod import parse_chmod
from builder.plan.steps import CopyStep, FromContext
from builder.sources.context import Context, open_context
from builder.sources.trees import Draft, EmptyTree, TooManyLinks, normalise, resolve
from grammar.dockerignore import parse_patterns
from grammar.nodes import Heredoc
from runtime.image.layer.entry import Entry, Kind
from runtime.image.layer.view import TreeForm, View


def make(root: Path, *paths: str) -> Path:
    """Files holding their own name; `a/` is a directory, `a -> b` a link."""
    for path in paths:
        name, arrow, target = path.partition(" -> ")
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if arrow:
            place.symlink_to(target)
        elif name.endswith("/"):
            place.mkdir(exist_ok=True)
        else:
            place.write_text(name)
    return root


def copied(
    tmp_path: Path,
    sources: str,
    destination: str,
    *,
    below: tuple[str, ...] = (),
    ignore: str = "",
    **flags: object,
) -> dict[str, Entry]:
    """What a COPY from tmp_path/context onto a layer holding `below` makes, by path."""
    tree = make(tmp_path / "below", "keep/", *below)
    step = CopyStep(
        sources=tuple(sources.split()),
        destination=destination,
        input=FromContext(),
        exclude=tuple(str(flags.get("exclude", "")).split()),
        parents=bool(flags.get("parents", False)),
    )
    chmod, owner = flags.get("chmod"), flags.get("owner")
    assert owner is None or isinstance(owner, tuple)
    rules = CopyRules(owner=owner, change_mode=parse_chmod(str(chmod)) if chmod else None, mtime=7)
    context = Context(str(tmp_path / "context"), parse_patterns(ignore) if ignore else None)
    view = View([TreeForm(str(tree))])
    entries = copy_entries(step, context, view, rules, lambda entry: None)
    assert all(entry.mtime == 7 for entry in entries)
    return {os.fsdecode(entry.path): entry for entry in entries}


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return make(
        tmp_path / "context",
        "a.txt", "b.txt", ".dot.txt", "dir/one", "dir/sub/two", "link -> dir/one",
        "dirlink -> dir", "out -> /etc/passwd", "dir/inner -> one",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sources", "destination", "expected"),
    [
        ("a.txt", "/x", {"x"}),
        ("a.txt", "/x/", {"x", "x/a.txt"}),
        ("a.txt", "/keep", {"keep", "keep/a.txt"}),
        ("/a.txt", "/", {"a.txt"}),
        ("../../a.txt", "/", {"a.txt"}),
        ("a.txt b.txt", "/n/", {"n", "n/a.txt", "n/b.txt"}),
        ("*.txt", "/n/", {"n", "n/.dot.txt", "n/a.txt", "n/b.txt"}),
        ("?.txt", "/n/", {"n", "n/a.txt", "n/b.txt"}),
        ("[!b].txt", "/n/", {"n", "n/b.txt"}),
        ("[^b].txt", "/n/", {"n", "n/a.txt"}),
        ("nothing*", "/n/", set()),
        ("dir", "/n", {"n", "n/inner", "n/one", "n/sub", "n/sub/two"}),
        ("dir/", "/keep/", {"keep", "keep/inner", "keep/one", "keep/sub", "keep/sub/two"}),
        ("dir/.", "/n", {"n", "n/inner", "n/one", "n/sub", "n/sub/two"}),
        ("dir/*", "/n/", {"n", "n/inner", "n/one", "n/two"}),
        ("*/sub", "/n/", {"n", "n/two"}),
        ("link", "/n", {"n"}),
        ("link", "/n/", {"n", "n/link"}),
        ("dirlink/one", "/n", {"n"}),
        ("dirlink", "/n", {"n", "n/inner", "n/one", "n/sub", "n/sub/two"}),
    ],
)
def test_places(
    tmp_path: Path, context: Path, sources: str, destination: str, expected: set[str]
) -> None:
    assert set(copied(tmp_path, sources, destination)) == expected


def test_links_named_as_sources_are_followed_links_below_are_kept(
    tmp_path: Path, context: Path
) -> None:
    assert copied(tmp_path, "link", "/n")["n"].kind is Kind.REGULAR
    assert copied(tmp_path, "dir", "/n")["n/inner"].target == b"one"


def test_a_link_out_of_the_context_leads_nowhere(tmp_path: Path, context: Path) -> None:
    with pytest.raises(
        CopyProblem, match='failed to calculate checksum of ref context: "/out": not found'
    ):
        copied(tmp_path, "out", "/n")


@pytest.mark.parametrize(
    ("sources", "destination", "below", "message"),
    [
        ("nosuch", "/n", (), '"/nosuch": not found'),
        ("a.txt nosuch", "/n/", (), '"/nosuch": not found'),
        ("dir", "/file", ("file",), 'cannot copy to non-directory: "/file"'),
        ("dir", "/n", ("n/sub",), 'cannot copy to non-directory: "/n/sub"'),
        ("a.txt", "/n/", ("n/a.txt/",), 'cannot replace to directory "/n/a.txt" with file'),
        ("a.txt", "/file/x", ("file",), 'cannot copy to non-directory: "/file"'),
        ("[", "/n/", (), "invalid pattern"),
    ],
)
def test_what_cannot_be(
    tmp_path: Path,
    context: Path,
    sources: str,
    destination: str,
    below: tuple[str, ...],
    message: str,
) -> None:
    with pytest.raises(CopyProblem, match=message):
        copied(tmp_path, sources, destination, below=below)


def test_the_destinations_links_are_followed_inside_the_root(tmp_path: Path, context: Path) -> None:
    below = ("real/", "way -> /real", "up -> ../../real")
    assert set(copied(tmp_path, "a.txt", "/way/", below=below)) == {"real", "real/a.txt"}
    assert set(copied(tmp_path, "a.txt", "/up/x/")) == {"real", "real/x", "real/x/a.txt"}


def test_owner_and_mode(tmp_path: Path, context: Path) -> None:
    (tmp_path / "context/dir").chmod(0o700)
    (tmp_path / "context/dir/one").chmod(0o640)
    plain = copied(tmp_path, "dir", "/n/m")
    assert (plain["n/m"].mode, plain["n/m/one"].mode) == (0o755, 0o640)
    assert {(e.uid, e.gid) for e in plain.values()} == {(0, 0)}
    changed = copied(tmp_path, "dir", "/n/m", owner=(5, 6), chmod="u=rwX,go=")
    assert (changed["n/m/one"].mode, changed["n/m/sub"].mode) == (0o600, 0o700)
    assert changed["n/m/inner"].mode == 0o777
    assert (changed["n/m/one"].uid, changed["n"].gid) == (5, 6)


def test_parents_in_the_layer_keep_what_they_are_below(tmp_path: Path, context: Path) -> None:
    make(tmp_path / "below", "tmp/")
    (tmp_path / "below/tmp").chmod(0o1777)
    assert copied(tmp_path, "a.txt", "/tmp/")["tmp"].mode == 0o1777


@pytest.mark.parametrize(
    ("exclude", "expected"),
    [
        ("one", {"n", "n/inner", "n/sub", "n/sub/two"}),
        ("sub", {"n", "n/inner", "n/one"}),
        ("sub !sub/two", {"n", "n/inner", "n/one", "n/sub", "n/sub/two"}),
        ("**/two", {"n", "n/inner", "n/one", "n/sub"}),
        ("*", {"n"}),
    ],
)
def test_exclude(tmp_path: Path, context: Path, exclude: str, expected: set[str]) -> None:
    assert set(copied(tmp_path, "dir", "/n", exclude=exclude)) == expected


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ("dir/sub/two", {"n", "n/dir", "n/dir/sub", "n/dir/sub/two"}),
        ("dir/./sub/two", {"n", "n/sub", "n/sub/two"}),
        ("**/two", {"n", "n/dir", "n/dir/sub", "n/dir/sub/two"}),
        ("dir/sub", {"n", "n/dir", "n/dir/sub", "n/dir/sub/two"}),
    ],
)
def test_parents(tmp_path: Path, context: Path, sources: str, expected: set[str]) -> None:
    assert set(copied(tmp_path, sources, "/n/", parents=True)) == expected


@pytest.mark.parametrize("source", ["./", "dir/./", "nosuch"])
def test_parents_of_nothing(tmp_path: Path, context: Path, source: str) -> None:
    with pytest.raises(CopyProblem, match="not found"):
        copied(tmp_path, source, "/n/", parents=True)


@pytest.mark.parametrize(
    ("ignore", "expected"),
    [
        ("*.txt", {"dir", "dir/inner", "dir/one", "dir/sub", "dir/sub/two"}),
        ("*.txt\n!a.txt\ndir", {"a.txt"}),
        ("*\n!dir/sub/two", {"dir", "dir/sub", "dir/sub/two"}),
        ("**\n!dir/one", {"dir", "dir/one"}),
    ],
)
def test_ignored_files_are_not_there(
    tmp_path: Path, context: Path, ignore: str, expected: set[str]
) -> None:
    links = {"link", "dirlink", "out"} if not ignore.startswith(("*\n", "**")) else set()
    assert set(copied(tmp_path, ".", "/", ignore=ignore)) == expected | links
    if "a.txt" not in expected:
        with pytest.raises(CopyProblem, match="not found"):
            copied(tmp_path, "a.txt", "/", ignore=ignore)


def test_heredocs_become_files(tmp_path: Path) -> None:
    step = CopyStep(
        sources=(Heredoc("F", "text\n"),), destination="/d/", input=FromContext(), chmod=None
    )
    rules = CopyRules(owner=None, change_mode=None, mtime=0)
    entries = copy_entries(step, EmptyTree(), EmptyTree(), rules, lambda entry: None)
    assert [(e.path, e.mode, e.content) for e in entries] == [
        (b"d", 0o755, b""), (b"d/F", 0o644, b"text\n"),
    ]  # fmt: skip


def test_hard_links_stay_together(tmp_path: Path) -> None:
    make(tmp_path / "context", "a")
    os.link(tmp_path / "context/a", tmp_path / "context/b")
    entries = copied(tmp_path, ".", "/")
    assert entries["a"].inode == entries["b"].inode is not None


def test_special_files_are_copied_sockets_are_not(tmp_path: Path) -> None:
    import socket

    make(tmp_path / "context", "a")
    os.mkfifo(tmp_path / "context/pipe")
    listener = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(tmp_path / "context")
    try:
        listener.bind("sock")
    finally:
        os.chdir(here)
        listener.close()
    entries = copied(tmp_path, ".", "/")
    assert entries["pipe"].kind is Kind.FIFO
    assert "sock" not in entries


def test_the_dockerfiles_own_ignore_file_wins(tmp_path: Path) -> None:
    make(tmp_path, "a", "b")
    (tmp_path / ".dockerignore").write_text("a\n")
    (tmp_path / "Dockerfile.dockerignore").write_text("b\n")
    other = open_context(str(tmp_path), str(tmp_path / "Other"))
    own = open_context(str(tmp_path), str(tmp_path / "Dockerfile"))
    assert (other.lstat(b"a"), own.lstat(b"b")) == (None, None)
    assert own.lstat(b"a") is not None


def test_contexts_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ContextError, match="not found"):
        open_context(str(tmp_path / "nosuch"), "Dockerfile")
    make(tmp_path, "file")
    with pytest.raises(ContextError, match="is not a directory"):
        open_context(str(tmp_path / "file"), "Dockerfile")
    (tmp_path / ".dockerignore").write_text("!\n")
    with pytest.raises(ContextError, match="illegal exclusion pattern"):
        open_context(str(tmp_path), "Dockerfile")


def test_resolving_stays_inside_and_ends() -> None:
    draft = Draft(EmptyTree())
    for path, target in ((b"loop", b"loop"), (b"up", b"../../x"), (b"abs", b"/x"), (b"x", b"y")):
        draft.put(Entry(path=path, kind=Kind.SYMLINK, target=target))
    assert resolve(draft, b"/up/z") == b"y/z"
    assert resolve(draft, b"a/../abs") == b"y"
    assert resolve(draft, b"abs", follow_last=False) == b"abs"
    with pytest.raises(TooManyLinks):
        resolve(draft, b"loop/x")
    assert normalise(b"/a/./b/../../../c//d") == b"c/d"
