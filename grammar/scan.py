"""Scan a Dockerfile into the line-per-instruction text the grammar reads.

Everything here is what a context-free grammar cannot say: the escape directive changes how
lines end, a comment may stand inside a continued line, and a heredoc's end is a word chosen
earlier on its line. No character is changed on the way, only left out; `Scanned.locate` tells
where the rest came from. (dockerfile.md 1.1 and 1.2)
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

from grammar.blanks import BLANKS, SPACE
from grammar.errors import DockerfileError, UnterminatedHeredoc, shown
from grammar.flags import split_flags
from grammar.heredocs import HeredocWord, find_heredocs
from grammar.json_form import is_array
from grammar.nodes import Heredoc, ParseWarning, Span

_DIRECTIVE = re.compile(
    r"#[ \t\f]*([A-Za-z][A-Za-z0-9]*)[ \t\f]*=[ \t\f]*([^ \t\f\r].*)", re.DOTALL
)
_DIRECTIVES = ("syntax", "escape", "check")
_KEYWORD = re.compile(f"([A-Za-z]+)[{BLANKS}]+")
_HEREDOC_TAKERS = ("ADD", "COPY", "RUN")


@dataclass(frozen=True, slots=True)
class Statement:
    """One instruction's logical line: where it is in the scanned text, and what goes with it.

    `heredocs` are in the order of their words; the words' offsets count from the statement's.
    """

    offset: int
    source: str
    span: Span
    comments: tuple[str, ...]
    heredocs: tuple[tuple[HeredocWord, Heredoc], ...]


@dataclass(frozen=True, slots=True)
class Scanned:
    """A Dockerfile's logical lines; `text` is all of them, each ended by a newline."""

    text: str
    escape: str
    directives: tuple[tuple[str, str], ...]
    statements: tuple[Statement, ...]
    warnings: tuple[ParseWarning, ...]
    marks: tuple[tuple[int, int, int], ...]
    """(offset in `text`, source line, source column) of each piece, ascending."""
    offsets: tuple[int, ...]
    """Where the statements start."""

    def locate(self, offset: int) -> tuple[int, int]:
        """The line and column in the source of a place in `text`."""
        after = bisect_right(self.marks, offset, key=lambda mark: mark[0])
        start, line, column = self.marks[max(after - 1, 0)]
        return line, column + offset - start

    def statement(self, offset: int) -> Statement:
        """The statement that holds a place in `text`; the last one for places after it."""
        return self.statements[max(bisect_right(self.offsets, offset) - 1, 0)]


def scan(source: str, name: str, escape: str | None = None) -> Scanned:
    """Scan the text of the Dockerfile `name`.

    With `escape` given there is no directive zone, and that is the escape character.
    Raises `DockerfileError` for a repeated or impossible directive and an unterminated heredoc.
    """
    scanner = _Scanner(source, name)
    if escape is None:
        scanner.directive_lines()
    else:
        scanner.escape = escape
    while scanner.line < len(scanner.lines):
        scanner.logical_line()
    return Scanned(
        text="".join(scanner.pieces),
        escape=scanner.escape,
        directives=tuple(scanner.directives.items()),
        statements=tuple(scanner.statements),
        warnings=tuple(scanner.warnings),
        marks=tuple(scanner.marks),
        offsets=tuple(statement.offset for statement in scanner.statements),
    )


class _Scanner:
    """The state of one scan: `line` physical lines have been read."""

    def __init__(self, source: str, name: str) -> None:
        self.name = name
        self.lines = source.removeprefix("\ufeff").split("\n")
        self.ended = self.lines[-1] == ""
        if self.ended:
            self.lines.pop()
        self.line = 0
        self.escape = "\\"
        self.directives: dict[str, str] = {}
        self.comments: list[str] = []
        self.statements: list[Statement] = []
        self.warnings: list[ParseWarning] = []
        self.pieces: list[str] = []
        self.marks: list[tuple[int, int, int]] = []
        self.offset = 0

    def directive_lines(self) -> None:
        """Read the directives at the top; the first line that is none ends them."""
        if self.lines and self.lines[0].startswith("#!"):
            self.line = 1
        while self.line < len(self.lines):
            match = _DIRECTIVE.match(self.lines[self.line].strip(SPACE))
            if match is None or match[1].lower() not in _DIRECTIVES:
                return
            self.line += 1
            key, value = match[1].lower(), match[2]
            span = Span(self.name, self.line, self.line)
            if key in self.directives:
                raise DockerfileError(f"only one {key} parser directive can be used", span)
            self.directives[key] = value
            if key == "escape":
                if value not in ("\\", "`"):
                    message = f"invalid escape token '{shown(value)}' does not match ` or \\"
                    raise DockerfileError(message, span)
                self.escape = value

    def logical_line(self) -> None:
        """Read one line with those that continue it and the heredocs it announces."""
        raw = self.lines[self.line]
        self.line += 1
        body = raw.lstrip(SPACE)
        if not body:
            self.comments.clear()
            return
        if body.startswith("#"):
            self.comments.append(body[1:].strip(SPACE))
            return
        first, column = self.line, len(raw) - len(body) + 1
        pieces, marks, gap = self._continued(body, column)
        comments, self.comments = tuple(self.comments), []
        source = "".join(pieces).rstrip(SPACE)
        lead = len(source) - len(source.lstrip(SPACE))
        source = source[lead:]
        if not source:
            return
        start = self.offset
        # Blanks before the first word may stem from several pieces: all of those start with it.
        self.marks += [
            (max(start + at - lead, start), line, col + max(lead - at, 0))
            for at, line, col in marks
        ]
        self.pieces += [source, "\n"]
        self.offset += len(source) + 1
        if gap:
            span = Span(self.name, self.line, self.line)
            message = f"Empty continuation line found in: {source}"
            self.warnings.append(ParseWarning("NoEmptyContinuation", message, span))
        heredocs = self._heredocs(source, first)
        span = Span(self.name, first, self.line, column)
        self.statements.append(Statement(start, source, span, comments, heredocs))

    def _continued(
        self, body: str, column: int
    ) -> tuple[list[str], list[tuple[int, int, int]], bool]:
        """The pieces of a logical line, where each came from, whether blank lines were inside."""
        pieces: list[str] = []
        marks: list[tuple[int, int, int]] = []
        length, gap = 0, False
        while True:
            piece = self._before_continuation(body.rstrip("\r"))
            marks.append((length, self.line, column))
            pieces.append(body if piece is None else piece)
            length += len(pieces[-1])
            if piece is None:
                break
            while self.line < len(self.lines):
                body, column = self.lines[self.line], 1
                self.line += 1
                stripped = body.lstrip(SPACE)
                if stripped and not stripped.startswith("#"):
                    break
                gap = gap or not stripped
            else:
                break
        return pieces, marks, gap

    def _before_continuation(self, line: str) -> str | None:
        """`line` without its trailing escape, or `None` if it is not continued.

        An escape that is itself escaped does not continue the line.
        """
        kept = line.rstrip(" \t")
        escapes = len(kept) - len(kept.rstrip(self.escape))
        return kept[:-1] if escapes % 2 else None

    def _heredocs(self, source: str, first: int) -> tuple[tuple[HeredocWord, Heredoc], ...]:
        if "<<" not in source:
            return ()
        keyword = _KEYWORD.match(source)
        if keyword is not None and keyword[1].upper() == "ONBUILD":
            trigger = split_flags(source[keyword.end() :], self.escape)[1]
            keyword = _KEYWORD.match(source, len(source) - len(trigger))
        if keyword is None or keyword[1].upper() not in _HEREDOC_TAKERS:
            return ()
        if is_array(split_flags(source[keyword.end() :], self.escape)[1]):
            return ()
        words = find_heredocs(source, keyword.end())
        return tuple((word, self._heredoc_body(word, first)) for word in words)

    def _heredoc_body(self, word: HeredocWord, first: int) -> Heredoc:
        """Read lines up to and with the one that ends the heredoc."""
        start = self.line
        for number in range(start, len(self.lines)):
            line = self.lines[number].rstrip("\r")
            if (line.lstrip("\t") if word.chomp else line) == word.name:
                self.line = number + 1
                content = "".join(f"{body}\n" for body in self.lines[start:number])
                return Heredoc(word.name, content, word.expand, word.chomp, word.fd)
        raise UnterminatedHeredoc(word.name, Span(self.name, first, len(self.lines)))
