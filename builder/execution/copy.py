"""COPY and ADD: from what is asked for to the entries of a layer.

Nothing is copied here. The sources are matched and walked, each entry gets its place, owner and
mode, and what is below is consulted for what a copy depends on (dockerfile.md 1.6): whether the
destination is a directory, what its parents look like. The result is the layer's entries, and
decides its cache key as well: equal entries are an equal layer.

    CopyProblem      what is asked for cannot be done; the executor adds where it stands
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from builder.execution.parents import matching_parents
from builder.execution.wildcard import InvalidPattern, is_pattern, matches
from builder.plan.chmod import ChangeMode
from builder.plan.remote_names import Remote, RemoteFile
from builder.plan.steps import CopyStep, input_name
from builder.sources.trees import (
    Draft,
    FileTree,
    Lookup,
    join,
    normalise,
    parent,
    resolve,
)
from grammar.dockerignore import Patterns, make_patterns
from grammar.nodes import Heredoc
from runtime.image.layer.entry import Entry, Kind

_MISSING_HINT = (
    "the path is relative to the build context (or the --from root); is it excluded by"
    " .dockerignore?"
)


class CopyProblem(Exception):
    """What is asked for cannot be done; `hint` is a remedy."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


Unpack = Callable[[Entry], list[Entry] | None]
"""The entries of an archive, or `None` for a file that is none."""

Fetch = Callable[[Remote], tuple[FileTree, bytes]]
"""What an ADD takes from elsewhere, as a path in a tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRules:
    """What a copy does to each entry: new owner and mode, if any, and a fixed time."""

    owner: tuple[int, int] | None
    change_mode: ChangeMode | None
    mtime: int


def copy_entries(
    step: CopyStep,
    source: FileTree,
    below: Lookup,
    rules: CopyRules,
    unpack: Unpack,
    fetch: Fetch | None = None,
) -> list[Entry]:
    """The entries of the layer that a COPY or ADD makes, in no particular order.

    `CopyProblem` where a source is missing or something of another kind is in the way.
    """
    copier = _Copier(step, source, Draft(below), rules)
    for wanted in step.sources:
        if isinstance(wanted, Heredoc):
            copier.inline(wanted)
        elif not isinstance(wanted, str):
            assert fetch is not None
            unpacked = isinstance(wanted, RemoteFile) and wanted.unpack
            copier.fetched(*fetch(wanted), unpack if unpacked else None)
        elif step.parents:
            copier.with_parents(wanted)
        else:
            for path in copier.matching(wanted):
                copier.one(path, unpack if step.unpack else None)
    return copier.finish()


class _Copier:
    def __init__(self, step: CopyStep, source: FileTree, draft: Draft, rules: CopyRules) -> None:
        self._source = source
        self._ref = input_name(step.input)
        self._draft = draft
        self._owner = rules.owner
        self._change_mode = rules.change_mode
        self._mtime = rules.mtime
        self._exclude = make_patterns(step.exclude) if step.exclude else None
        self._destination = step.destination.encode("utf-8", "surrogateescape")
        self._into = self._destination.endswith(b"/")

    def _prepare(self) -> None:
        """Make the destination's parents, and itself where it says that it is a directory.

        Before each source, as there is nothing to make for a pattern that matches nothing.
        """
        folder = self._destination if self._into else parent(self._destination)
        self._make_directories(resolve(self._draft, folder))

    def finish(self) -> list[Entry]:
        """All entries, with the layer's time."""
        return self._draft.finish(self._mtime)

    # ---- finding sources

    def matching(self, wanted: str) -> Iterator[bytes]:
        """The paths that a source names; a pattern may name none."""
        path = normalise(wanted.encode("utf-8", "surrogateescape"))
        parts = path.split(b"/")
        plain = next((n for n, part in enumerate(parts) if is_pattern(part)), len(parts))
        if plain == len(parts):
            if self._source.lstat(resolve(self._source, path)) is None:
                raise self._missing(path)
            yield path
            return
        prefix = resolve(self._source, b"/".join(parts[:plain]))
        try:
            yield from matches(self._source, prefix, parts[plain:])
        except InvalidPattern as error:
            raise CopyProblem(str(error)) from error

    def _missing(self, path: bytes, hint: str = _MISSING_HINT) -> CopyProblem:
        message = f"failed to calculate checksum of ref {self._ref}: {_shown(path)}: not found"
        return CopyProblem(message, hint=hint)

    # ---- placing them

    def one(self, path: bytes, unpack: Unpack | None) -> None:
        """Copy one source: a file, the content of a directory, or that of an archive."""
        real = resolve(self._source, path)
        entry = self._source.lstat(real)
        if entry is None:
            raise self._missing(path)
        self._prepare()
        place = resolve(self._draft, self._destination)
        if entry.kind is Kind.DIRECTORY:
            self._contents(real, place)
            return
        if unpack is not None and entry.kind is Kind.REGULAR:
            members = unpack(entry)
            if members is not None:
                self._make_directories(place)
                self._members(members, place)
                return
        self._put_file(entry, self._file_place(place, path.rpartition(b"/")[2]))

    def fetched(self, tree: FileTree, path: bytes, unpack: Unpack | None) -> None:
        """Copy one source from a tree of its own."""
        ours, self._source = self._source, tree
        self.one(path, unpack)
        self._source = ours

    def inline(self, heredoc: Heredoc) -> None:
        """A file whose content is in the Dockerfile."""
        self._prepare()
        data = heredoc.content.encode("utf-8", "surrogateescape")
        name = heredoc.name.encode("utf-8", "surrogateescape")
        entry = Entry(path=b"", kind=Kind.REGULAR, mode=0o644, size=len(data), content=data)
        self._put_file(entry, self._file_place(resolve(self._draft, self._destination), name))

    def with_parents(self, wanted: str) -> None:
        """`--parents`: sources keep their path, or what of it is behind `/./`."""
        text = wanted.encode("utf-8", "surrogateescape")
        pivot, dot, rest = text.partition(b"/./")
        root = resolve(self._source, normalise(pivot)) if dot else b""
        pattern = normalise(rest if dot else text)
        if not pattern:
            hint = "--parents needs a path to keep the parents of"
            raise self._missing(normalise(pivot), hint)
        self._make_directories(resolve(self._draft, self._destination))
        found = False
        try:
            for path in matching_parents(self._source, root, pattern):
                found = True
                self._with_its_parents(root, path)
        except InvalidPattern as error:
            raise CopyProblem(str(error)) from error
        if not found and not is_pattern(pattern):
            raise self._missing(join(root, pattern))

    def _with_its_parents(self, root: bytes, path: bytes) -> None:
        base = resolve(self._draft, self._destination)
        tail = path[len(root) :].lstrip(b"/")
        parts = tail.split(b"/")
        for depth in range(1, len(parts)):
            here = b"/".join(parts[:depth])
            place = resolve(self._draft, join(base, here))
            if self._draft.lstat(place) is None:
                folder = self._source.lstat(join(root, here))
                assert folder is not None
                self._put(folder, place)
        entry = self._source.lstat(path)
        assert entry is not None
        place = join(resolve(self._draft, join(base, parent(tail))), parts[-1])
        if entry.kind is Kind.DIRECTORY:
            self._put_directory(entry, place)
            self._contents(path, place)
        else:
            self._put_file(entry, place)

    def _file_place(self, place: bytes, name: bytes) -> bytes:
        """Where a file goes: into a directory under its own name, or to the path itself."""
        there = self._draft.lstat(place)
        return join(place, name) if there is not None and there.kind is Kind.DIRECTORY else place

    def _contents(self, folder: bytes, place: bytes) -> None:
        """The content of a source directory, into a directory that keeps its attributes."""
        there = self._draft.lstat(place)
        if there is None:
            self._make_directories(place)
        elif there.kind is not Kind.DIRECTORY:
            raise CopyProblem(f"cannot copy to non-directory: {_shown(place)}")
        skip = len(folder) + 1 if folder else 0
        excluded = _Excluded(self._exclude) if self._exclude is not None else None
        for entry in self._source.walk(folder):
            inner = entry.path[skip:]
            if not inner or entry.path == folder:
                continue
            target = join(place, inner)
            if excluded is not None and excluded.holds_back(entry, inner):
                continue
            if excluded is not None:
                for held in excluded.released(inner):
                    self._put_directory(held, join(place, held.path[skip:]))
            if entry.kind is Kind.DIRECTORY:
                self._put_directory(entry, target)
            else:
                self._put_file(entry, target)

    def _members(self, members: list[Entry], place: bytes) -> None:
        """What is in an archive, into a directory.

        That directory is the archive's root: links in the way are followed inside it only.
        """
        inodes = {member.path: number for number, member in enumerate(members)}
        root = _Rooted(self._draft, place)
        for member in members:
            follow = member.kind is Kind.DIRECTORY
            path = join(place, resolve(root, member.path, follow_last=follow))
            self._make_directories(parent(path))
            if member.kind is Kind.HARDLINK:
                number = inodes.get(member.target)
                if number is None:
                    raise CopyProblem(
                        f"archive entry {_shown(member.path)} is a hard link to"
                        f" {_shown(member.target)}, which is not in the archive"
                    )
                inodes[member.path] = number
                member = _linked(members[number], number)
            elif member.kind is Kind.REGULAR:
                member = _linked(member, inodes[member.path])
            self._put(member, path, keep_mode=True)

    # ---- entries of the layer

    def _make_directories(self, path: bytes) -> None:
        """Make what is missing of a path, each 0755 (or as `--chmod` says), owned by the owner."""
        missing: list[bytes] = []
        here = path
        while here:
            entry = self._draft.lstat(here)
            if entry is not None:
                if entry.kind is not Kind.DIRECTORY:
                    raise CopyProblem(f"cannot copy to non-directory: {_shown(here)}")
                break
            missing.append(here)
            here = parent(here)
        new = Entry(path=b"", kind=Kind.DIRECTORY, mode=0o755)
        for folder in reversed(missing):
            self._put(new, folder)

    def _put_directory(self, entry: Entry, place: bytes) -> None:
        there = self._draft.lstat(place)
        if there is not None and there.kind is not Kind.DIRECTORY:
            raise CopyProblem(f"cannot copy to non-directory: {_shown(place)}")
        self._put(entry, place)

    def _put_file(self, entry: Entry, place: bytes) -> None:
        there = self._draft.lstat(place)
        if there is not None and there.kind is Kind.DIRECTORY:
            raise CopyProblem(f"cannot replace to directory {_shown(place)} with file")
        self._put(entry, place)

    def _put(self, entry: Entry, place: bytes, *, keep_mode: bool = False) -> None:
        mode = entry.mode
        if self._change_mode is not None and not keep_mode and entry.kind is not Kind.SYMLINK:
            mode = self._change_mode(mode, entry.kind is Kind.DIRECTORY)
        uid, gid = self._owner or (entry.uid, entry.gid)
        # Not dataclasses.replace: this line runs once for every file of a context.
        self._draft.put(
            Entry(
                path=place,
                kind=entry.kind,
                mode=mode,
                uid=uid,
                gid=gid,
                mtime=self._mtime,
                size=entry.size,
                target=entry.target,
                rdev=entry.rdev,
                xattrs=entry.xattrs,
                content=entry.content,
                inode=entry.inode,
            )
        )


class _Rooted:
    """A directory of a tree as a root of its own."""

    def __init__(self, tree: Lookup, root: bytes) -> None:
        self._tree = tree
        self._root = root

    def lstat(self, path: bytes) -> Entry | None:
        """What is at a path below the directory."""
        return self._tree.lstat(join(self._root, path))


class _Excluded:
    """`--exclude` while a directory is walked: what to leave out, and what to bring back.

    A directory that a pattern excludes is held back until something below it is not.
    """

    def __init__(self, patterns: Patterns) -> None:
        self._patterns = patterns
        self._held: list[Entry] = []

    def holds_back(self, entry: Entry, inner: bytes) -> bool:
        """Whether an entry is excluded, at least for now."""
        while self._held and not entry.path.startswith(self._held[-1].path + b"/"):
            self._held.pop()
        if not self._patterns.excludes(inner.decode("utf-8", "surrogateescape")).excluded:
            return False
        if entry.kind is Kind.DIRECTORY:
            self._held.append(entry)
        return True

    def released(self, inner: bytes) -> list[Entry]:
        """The directories held back that an included entry needs, outermost first."""
        held, self._held = self._held, []
        return held


def _shown(path: bytes) -> str:
    return '"/' + path.decode("utf-8", "replace") + '"'


def _linked(entry: Entry, number: int) -> Entry:
    """A regular file of an archive, marked so that its hard links stay hard links."""
    return replace(entry, inode=(-1, number))
