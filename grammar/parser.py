"""Text to nodes: scan, parse, transform.

lark is imported, and its tables are built, when the first text is parsed: whatever does not
parse Dockerfiles does not pay for it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Set
from functools import cache
from importlib.util import cache_from_source
from typing import TYPE_CHECKING, Any

from grammar.errors import DockerfileError
from grammar.nodes import Dockerfile, Instruction, Span
from grammar.scan import Scanned, scan

if TYPE_CHECKING:
    from lark import Lark
    from lark.exceptions import UnexpectedInput

_SURROGATE = re.compile("[\ud800-\udfff]")
_FOLDERS = {"\\": "backslash", "`": "backtick"}


def parse(text: str | bytes, name: str = "Dockerfile") -> Dockerfile:
    """The Dockerfile that `text` is; `name` is what its spans call it.

    Raises `DockerfileError`, and nothing else, for a text that is no Dockerfile: bytes that
    are not UTF-8 included.
    """
    source = _decode(text, name)
    scanned = scan(source, name)
    if not scanned.statements:
        raise _nothing(source, name)
    node = _nodes(scanned, name, "dockerfile")
    assert isinstance(node, Dockerfile)
    return node


def parse_instruction(text: str, name: str, escape: str = "\\") -> Instruction:
    """The one instruction of `text`, with its heredocs: as an image keeps an ONBUILD.

    Raises `DockerfileError` where it is none, or more than one.
    """
    source = _decode(text, name)
    scanned = scan(source, name, escape)
    if not scanned.statements:
        raise _nothing(source, name)
    if len(scanned.statements) > 1:
        message = "there is more than one instruction"
        raise DockerfileError(message, scanned.statements[1].span)
    node = _nodes(scanned, name, "instruction")
    assert not isinstance(node, Dockerfile)
    return node


def _nodes(scanned: Scanned, name: str, start: str) -> Dockerfile | Instruction:
    from lark.exceptions import UnexpectedInput

    from grammar.mistakes import mistake
    from grammar.transform import transform

    try:
        tree: Any = lark_parser(scanned.escape, start).parse(scanned.text)
    except UnexpectedInput as error:
        position: int = getattr(error, "pos_in_stream", None) or 0
        raise mistake(scanned, name, position, _expected(error)) from None
    return transform(tree, scanned, name)


def _expected(error: UnexpectedInput) -> Set[str]:
    """The tokens that could have stood where lark stopped."""
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    if isinstance(error, UnexpectedToken):
        return error.accepts
    return error.allowed if isinstance(error, UnexpectedCharacters) else frozenset()


@cache
def lark_parser(escape: str, start: str, *, strict: bool = False) -> Lark:
    """The parser for one escape character; `strict` also looks for ambiguities in the grammar.

    Its tables are kept where Python keeps this module compiled, and as long: lark makes them anew
    when the grammar or lark itself has changed.
    """
    from lark import Lark

    folder = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(folder, "dockerfile.lark"), encoding="utf-8") as file:
        text = file.read()
    return Lark(
        text,
        parser="lalr",
        lexer="contextual",
        start=start,
        import_paths=[os.path.join(folder, _FOLDERS[escape])],
        maybe_placeholders=True,
        strict=strict,
        cache=(not strict and _tables_file(f"{start}-{_FOLDERS[escape]}")) or False,
    )


def _tables_file(name: str) -> str | None:
    """Where a parser's tables are kept; `None` where they cannot be.

    They are read as code is, so they lie only where the code itself could be put in their place.
    """
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.lark")
    path = cache_from_source(source).removesuffix(".pyc") + ".tables"
    if os.path.exists(path):
        return path
    writable = not sys.dont_write_bytecode and os.access(os.path.dirname(path), os.W_OK)
    return path if writable else None


def _decode(text: str | bytes, name: str) -> str:
    if isinstance(text, bytes):
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError as error:
            line = text.count(b"\n", 0, error.start) + 1
            byte = text[error.start]
            message = f"the Dockerfile is not valid UTF-8: byte 0x{byte:02x}"
            raise DockerfileError(message, Span(name, line, line)) from error
    lone = _SURROGATE.search(text)
    if lone is not None:
        line = text.count("\n", 0, lone.start()) + 1
        message = f"the Dockerfile is not valid Unicode: lone surrogate U+{ord(lone[0]):04X}"
        raise DockerfileError(message, Span(name, line, line))
    return text


def _nothing(source: str, name: str) -> DockerfileError:
    message = "file with no instructions" if source else "the Dockerfile cannot be empty"
    return DockerfileError(message, Span(name, 1, 1))
