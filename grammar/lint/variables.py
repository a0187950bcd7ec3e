"""Variables of a stage, and the words they are expanded in: UndefinedVar.

The words are those that BuildKit expands, and no other (dockerfile.md 1.3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from grammar.errors import WordError
from grammar.lint.findings import Report
from grammar.lint.mounts import mount_values
from grammar.lint.rules import UNDEFINED_VAR
from grammar.nodes import (
    Add,
    Copy,
    Env,
    Heredoc,
    Instruction,
    Label,
    Run,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from grammar.suggest import closest
from grammar.words import expand, expand_heredoc, expand_words

_NEVER_VARIABLES = ("BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE")


@dataclass(slots=True)
class Variables:
    """What is defined at one point of a stage.

    `declared` are the ARGs, those without a value too. Where the base image is not `known`, it
    may define others. `elsewhere` are the names that the Dockerfile defines anywhere.
    """

    values: dict[str, str]
    escape: str
    elsewhere: frozenset[str]
    declared: set[str] = field(default_factory=set)
    known: bool = True

    def copy(self) -> Variables:
        """The same, to be changed on its own."""
        return Variables(
            dict(self.values), self.escape, self.elsewhere, set(self.declared), self.known
        )

    def expanded(self, word: str, node: Instruction, report: Report) -> str:
        """A word, expanded; a finding for each variable that is not defined.

        A word that cannot be expanded is given back: it is an error of the build.
        """
        try:
            found = expand(word, self.values, escape=self.escape)
        except WordError:
            return word
        self._report(found.unset, node, report)
        return found.text

    def expanded_words(self, word: str) -> tuple[str, ...]:
        """The words of an EXPOSE, in which BuildKit looks for no undefined variables."""
        try:
            return expand_words(word, self.values, escape=self.escape).words
        except WordError:
            return ()

    def check_heredoc(self, heredoc: Heredoc, node: Instruction, report: Report) -> None:
        """Look at the content of a heredoc in a COPY or ADD."""
        if heredoc.expand:
            try:
                found = expand_heredoc(heredoc.content, self.values)
            except WordError:
                return
            self._report(found.unset, node, report)

    def _report(self, unset: frozenset[str], node: Instruction, report: Report) -> None:
        for name in sorted(unset - self.declared):
            if name in _NEVER_VARIABLES:
                continue
            near = closest(name, self.values)
            if self.known or near is not None or name in self.elsewhere:
                hint = "" if near is None else f" (did you mean ${near}?)"
                message = f"Usage of undefined variable '${name}'{hint}"
                report.add(UNDEFINED_VAR, message, node)


def plain_words(node: Instruction) -> Iterator[str]:
    """The words of an instruction that are expanded, but for those with rules of their own."""
    match node:
        case Label():
            for pair in node.pairs:
                yield from pair
        case Copy() | Add():
            yield from filter(None, (node.chown, node.chmod))
            if isinstance(node, Add):
                yield node.checksum or ""
            yield node.destination
        case Run():
            for mount in node.mounts:
                yield from mount_values(mount)
        case User():
            yield node.user
        case Volume():
            yield from node.paths
        case StopSignal():
            yield node.signal
        case Env() | Workdir():
            raise AssertionError("its words are expanded where its values are needed")
        case _:
            return
