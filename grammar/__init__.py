"""The Dockerfile language: text to frozen nodes, and what their words expand to.

`parse` reads a Dockerfile, `grammar.words` expands the words of its nodes, and
`grammar.dockerignore` reads the ignore file beside it. Importing this imports no parser.
"""

from __future__ import annotations

from grammar.errors import (
    DockerfileError,
    FlagError,
    GrammarError,
    InvalidPattern,
    UnknownInstruction,
    UnterminatedHeredoc,
    WordError,
    excerpt,
)
from grammar.heredocs import heredoc_text
from grammar.nodes import Dockerfile, Instruction, Span, Stage
from grammar.parser import parse, parse_instruction

__all__ = [
    "Dockerfile",
    "DockerfileError",
    "FlagError",
    "GrammarError",
    "Instruction",
    "InvalidPattern",
    "Span",
    "Stage",
    "UnknownInstruction",
    "UnterminatedHeredoc",
    "WordError",
    "excerpt",
    "heredoc_text",
    "parse",
    "parse_instruction",
]
