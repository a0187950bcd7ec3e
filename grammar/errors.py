"""What can be wrong with a text, and how to show where.

    GrammarError
      DockerfileError(message, span, hint)      the text is not a Dockerfile
        UnknownInstruction(word, …)
        FlagError                               a `--flag` that cannot be
        UnterminatedHeredoc(name, …)
      WordError(word, reason)                   a word that cannot be expanded
      InvalidPattern(pattern, reason, line)     a line of an ignore file

A `DockerfileError` always knows its place; `str()` of it names the line in the words users
know from BuildKit, and `excerpt` draws the lines around it.
"""

from __future__ import annotations

from grammar.nodes import Span
from grammar.suggest import did_you_mean


class GrammarError(Exception):
    """Any error of this package."""


class DockerfileError(GrammarError):
    """The text is not a Dockerfile.

    `message` is one sentence without its place, `hint` one remedy or `None`.
    """

    def __init__(self, message: str, span: Span, hint: str | None = None) -> None:
        super().__init__(message, span, hint)
        self.message = message
        self.span = span
        self.hint = hint

    def __str__(self) -> str:
        return f"dockerfile parse error on line {self.span.first}: {self.message}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_restore, (type(self), self.message, self.span, self.hint))


class UnknownInstruction(DockerfileError):
    """A line starts with a word that is no instruction."""

    def __init__(self, word: str, known: tuple[str, ...], span: Span) -> None:
        guess = did_you_mean(word.upper(), known)
        super().__init__(f"unknown instruction: {shown(word)}{guess}", span)


class FlagError(DockerfileError):
    """A flag that the instruction does not have, has already, or cannot have this value."""


class UnterminatedHeredoc(DockerfileError):
    """The line that ends a heredoc is missing."""

    def __init__(self, name: str, span: Span) -> None:
        hint = f"the heredoc ends at a line that is exactly {name!r}"
        super().__init__("unterminated heredoc", span, hint)


class WordError(GrammarError):
    """A word cannot be expanded; `reason` says why."""

    def __init__(self, word: str, reason: str) -> None:
        super().__init__(word, reason)
        self.word = word
        self.reason = reason

    def __str__(self) -> str:
        return f"failed to process {quoted(self.word)}: {self.reason}"


class InvalidPattern(GrammarError):
    """A pattern of an ignore file (on its `line`) or of `--exclude` (`line` is `None`)."""

    def __init__(self, pattern: str, reason: str, line: int | None = None) -> None:
        super().__init__(pattern, reason, line)
        self.pattern = pattern
        self.reason = reason
        self.line = line

    def __str__(self) -> str:
        place = "" if self.line is None else f"line {self.line}: "
        return f"{place}{self.reason}: {quoted(self.pattern)}"


_LONGEST_QUOTE = 200


def shown(text: str) -> str:
    """`text` as a message can hold it: on one line, and cut where it is very long."""
    return _visible(_cut(text))


def quoted(text: str) -> str:
    """`text` in double quotes, escaped as in JSON and cut where it is very long."""
    return '"' + _visible(_cut(text).replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    short = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}.get(character)
    return short or character.encode("unicode_escape", "surrogatepass").decode("ascii")


_WIDEST_LINE = 400
_RULE = "--------------------"


def excerpt(text: str, span: Span) -> str:
    """The lines of `text` at `span` with some around them, as BuildKit shows them.

    The lines meant have a `>>>`, and a caret stands under the column where that is known to
    lie within what is shown. Empty where the span is not in the text. Ends with a newline.
    """
    lines = text.removeprefix("\ufeff").split("\n")
    if not 1 <= span.first <= len(lines):
        return ""
    last = min(max(span.last, span.first), len(lines))
    start, end = _context(span.first, last, len(lines))
    shown = [f"{span.file}:{span.first}", _RULE]
    for number in range(start, end + 1):
        line = lines[number - 1].rstrip("\r")
        marker = ">>>" if span.first <= number <= last else "   "
        shown.append(f" {number:3d} | {marker} {printable(line[:_WIDEST_LINE])}".rstrip())
        if number == span.first and 1 < span.column <= min(len(line), _WIDEST_LINE):
            before = line[: span.column - 1]
            indent = "".join("\t" if c == "\t" else " " * len(printable(c)) for c in before)
            shown.append(" " * len(f" {number:3d}") + f" |     {indent}^")
    return "\n".join((*shown, _RULE, ""))


def _context(first: int, last: int, count: int) -> tuple[int, int]:
    """The lines to show: up to four more than the one meant, or two more than the several."""
    wanted = 4 if first == last else 2
    start, end, added = first, last, 0
    while added < wanted and (start > 1 or end < count):
        if start > 1:
            start, added = start - 1, added + 1
        if end < count:
            end, added = end + 1, added + 1
    return start, end


def printable(text: str) -> str:
    """`text` without what would move a terminal's cursor or colour its output."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\t " else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def _restore(
    kind: type[DockerfileError], message: str, span: Span, hint: str | None
) -> DockerfileError:
    error = kind.__new__(kind)
    DockerfileError.__init__(error, message, span, hint)
    return error
