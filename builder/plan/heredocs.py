"""What becomes of heredocs (dockerfile.md 1.2): arguments and scripts of RUN, files of COPY."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from builder.plan.steps import Script
from grammar.nodes import Exec, Heredoc, Run, Shell
from grammar.words import expand_heredoc

_ALONE = re.compile(r"""\s*\d*<<-?\s*(?:"[^"]*"|'[^']*'|\S+)\s*""")
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)
_SCRIPTS = "/dev/pipes/"
"""Where BuildKit puts a heredoc that is run as a file; a script can see it in `$0`."""


def run_argv(node: Run, shell: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[Script, ...]]:
    """The argument vector of a RUN, and the scripts it needs.

    A RUN that is one heredoc and nothing else runs its body: as a file, if that starts with
    `#!`, else with the shell. In any other form the shell gets to read the heredocs itself.
    """
    match node.command:
        case Exec(argv):
            return argv, ()
        case Shell(text):
            if len(node.heredocs) == 1 and _ALONE.fullmatch(text):
                heredoc = node.heredocs[0]
                body = _chomped(heredoc)
                if body.startswith("#!"):
                    script = Script(path=_SCRIPTS + heredoc.name, content=body)
                    return (script.path,), (script,)
                return (*shell, body), ()
            bodies = "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in node.heredocs)
            return (*shell, text + bodies), ()


def heredoc_file(heredoc: Heredoc, variables: Mapping[str, str]) -> Heredoc:
    """A heredoc of COPY or ADD with its content as the file will hold it.

    `grammar.words.WordError` if a variable in it cannot be expanded.
    """
    body = _chomped(heredoc)
    if heredoc.expand:
        body = expand_heredoc(body, variables).text
    return replace(heredoc, content=body, expand=False, chomp=False)


def _chomped(heredoc: Heredoc) -> str:
    return _LEADING_TABS.sub("", heredoc.content) if heredoc.chomp else heredoc.content
