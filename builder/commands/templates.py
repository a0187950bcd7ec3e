"""`--format`: Go templates, the part of them that people type.

    {{.Names}}  {{.State.Health.Status}}  {{json .}}  {{index .Config.Labels "key"}}
    {{range .Mounts}}{{.Source}} {{end}}  {{range $k, $v := .Labels}}{{$k}}={{$v}}{{end}}
    {{if .State.Running}}up{{else}}down{{end}}  {{with .X}}…{{end}}  {{- trimmed -}}
    {{.ID | upper}}  {{printf "%s: %s" .Name .ID}}

Functions: `and eq index join json len lower ne not or printf println split title truncate
upper`. Anything else is refused by name, never passed over (docs/run.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from builder.errors import OptionError

_ACTION: Final = re.compile(r"\{\{(?P<left>-\s)?(?P<body>.*?)(?P<right>\s-)?\}\}", re.DOTALL)
_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<string>"(?:\\.|[^"\\])*"|`[^`]*`) |
      (?P<number>-?\d+) |
      (?P<path>(?:\$\w*)?(?:\.\w+)+|\.|\$\w*) |
      (?P<word>\w+) |
      (?P<close>\)(?:\.\w+)+) |
      (?P<mark>:=|\(|\)|\||,)
    )""",
    re.VERBOSE,
)
_LABEL: Final = ".Label"
_HINT: Final = "docs/run.md says what of Go's templates there is"


class Template:
    """A template, read once. `OptionError` for one that cannot be read."""

    def __init__(self, text: str) -> None:
        self._text = text
        parser = _Parser(text)
        self._nodes, ended = parser.nodes(())
        if ended:
            raise _unreadable(text, f"unexpected {{{{{ended}}}}}")

    def render(self, value: Any, *, label: Callable[[str], str | None] | None = None) -> str:
        """The text for a value: mappings' members are its fields.

        `label` is what `.Label "key"` gives.
        """
        variables = {"$": value, _LABEL: label}
        return "".join(_render(self._nodes, _Scope(value, variables, self._text)))


@dataclass(frozen=True, slots=True)
class _Text:
    text: str


@dataclass(frozen=True, slots=True)
class _Print:
    pipeline: _Pipeline


@dataclass(frozen=True, slots=True)
class _Block:
    """`if`, `with` or `range`, with what is between it and `else`, and after that."""

    kind: str
    variables: tuple[str, ...]
    pipeline: _Pipeline
    body: tuple[_Node, ...]
    otherwise: tuple[_Node, ...]


_Node = _Text | _Print | _Block


@dataclass(frozen=True, slots=True)
class _Literal:
    value: Any


@dataclass(frozen=True, slots=True)
class _Path:
    variable: str  # `""` is the dot
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Call:
    function: str
    arguments: tuple[_Term, ...]


@dataclass(frozen=True, slots=True)
class _Member:
    term: _Term
    fields: tuple[str, ...]


_Term = _Literal | _Path | _Call | _Member
_Pipeline = _Term


@dataclass(frozen=True, slots=True)
class _Scope:
    dot: Any
    variables: Mapping[str, Any]
    template: str


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._pieces = _pieces(text)
        self._next = 0

    def nodes(self, ends: tuple[str, ...]) -> tuple[tuple[_Node, ...], str]:
        """Nodes up to one of the words in `ends`, and that word; "" at the end of the text."""
        found: list[_Node] = []
        while self._next < len(self._pieces):
            is_action, text = self._pieces[self._next]
            self._next += 1
            if not is_action:
                if text:
                    found.append(_Text(text))
                continue
            keyword, _, rest = text.strip().partition(" ")
            if keyword in ("end", "else"):
                if keyword not in ends:
                    raise _unreadable(self._text, f"unexpected {{{{{keyword}}}}}")
                return tuple(found), text.strip()
            if keyword in ("if", "with", "range"):
                found.append(self._block(keyword, rest))
            elif not text.strip().startswith("/*"):
                found.append(_Print(self._pipeline(text)))
        if ends:
            raise _unreadable(self._text, "{{end}} is missing")
        return tuple(found), ""

    def _block(self, kind: str, text: str) -> _Block:
        variables: tuple[str, ...] = ()
        head, assigned, tail = text.partition(":=")
        if assigned:
            variables = tuple(name.strip() for name in head.split(","))
            if not all(re.fullmatch(r"\$\w+", name) for name in variables):
                raise _unreadable(self._text, f"bad variables: {head.strip()}")
            text = tail
        pipeline = self._pipeline(text)
        body, ended = self.nodes(("end", "else"))
        otherwise: tuple[_Node, ...] = ()
        if ended.startswith("else"):
            rest = ended.removeprefix("else").strip()
            if rest:
                keyword, _, condition = rest.partition(" ")
                if keyword not in ("if", "with"):
                    raise _unreadable(self._text, f"unexpected {{{{{ended}}}}}")
                otherwise = (self._block(keyword, condition),)
            else:
                otherwise, _ = self.nodes(("end",))
        return _Block(kind, variables, pipeline, body, otherwise)

    def _pipeline(self, text: str) -> _Pipeline:
        tokens = _tokens(text, self._text)
        term, rest = self._stages(tokens)
        if rest:
            raise _unreadable(self._text, f"unexpected {rest[0][1]!r}")
        return term

    def _stages(self, tokens: list[tuple[str, str]]) -> tuple[_Term, list[tuple[str, str]]]:
        term, tokens = self._command(tokens, None)
        while tokens and tokens[0] == ("mark", "|"):
            term, tokens = self._command(tokens[1:], term)
        return term, tokens

    def _command(
        self, tokens: list[tuple[str, str]], last: _Term | None
    ) -> tuple[_Term, list[tuple[str, str]]]:
        if not tokens:
            raise _unreadable(self._text, "something is missing")
        kind, text = tokens[0]
        if (kind, text) == ("path", _LABEL) and len(tokens) > 1 and tokens[1][0] == "string":
            name, rest = self._operand(tokens[1:])
            return _Call(_LABEL, (name,)), rest
        if kind == "word" and text not in ("true", "false", "nil"):
            if text not in _FUNCTIONS:
                raise _unreadable(self._text, f"function {text!r} is not known")
            arguments: list[_Term] = []
            tokens = tokens[1:]
            while tokens and tokens[0] != ("mark", "|") and not _closes(tokens[0]):
                argument, tokens = self._operand(tokens)
                arguments.append(argument)
            if last is not None:
                arguments.append(last)
            return _Call(text, tuple(arguments)), tokens
        if last is not None:
            raise _unreadable(self._text, "only a function can follow |")
        return self._operand(tokens)

    def _operand(self, tokens: list[tuple[str, str]]) -> tuple[_Term, list[tuple[str, str]]]:
        (kind, text), rest = tokens[0], tokens[1:]
        match kind:
            case "string":
                value = text[1:-1] if text[0] == "`" else json.loads(text)
                return _Literal(value), rest
            case "number":
                return _Literal(int(text)), rest
            case "path":
                variable, _, fields = text.partition(".")
                return _Path(variable, tuple(filter(None, fields.split(".")))), rest
            case "word" if text in ("true", "false", "nil"):
                return _Literal({"true": True, "false": False, "nil": None}[text]), rest
            case "word" if text in _FUNCTIONS:
                return _Call(text, ()), rest
            case "mark" if text == "(":
                term, rest = self._stages(rest)
                if not rest or not _closes(rest[0]):
                    raise _unreadable(self._text, ") is missing")
                names = tuple(filter(None, rest[0][1].removeprefix(")").split(".")))
                return (_Member(term, names) if names else term), rest[1:]
        raise _unreadable(self._text, f"unexpected {text!r}")


def _pieces(text: str) -> list[tuple[bool, str]]:
    """Texts and actions by turns, with the blanks taken away that `{{-` and `-}}` take."""
    found: list[tuple[bool, str]] = []
    position, trim = 0, False
    for match in _ACTION.finditer(text):
        before = text[position : match.start()]
        before = before.lstrip() if trim else before
        found.append((False, before.rstrip() if match["left"] else before))
        found.append((True, match["body"]))
        position, trim = match.end(), bool(match["right"])
    rest = text[position:]
    if "{{" in rest:
        raise _unreadable(text, "}} is missing")
    found.append((False, rest.lstrip() if trim else rest))
    return found


def _tokens(text: str, template: str) -> list[tuple[str, str]]:
    found = []
    position = 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unreadable(template, f"unexpected {text[position:].strip()!r}")
        assert match.lastgroup is not None
        found.append((match.lastgroup, match[match.lastgroup]))
        position = match.end()
    return found


def _render(nodes: Sequence[_Node], scope: _Scope) -> list[str]:
    found: list[str] = []
    for node in nodes:
        match node:
            case _Text():
                found.append(node.text)
            case _Print():
                found.append(_shown(_value(node.pipeline, scope)))
            case _Block():
                found += _render_block(node, scope)
    return found


def _render_block(block: _Block, scope: _Scope) -> list[str]:
    value = _value(block.pipeline, scope)
    if not value:
        return _render(block.otherwise, scope)
    if block.kind == "if":
        return _render(block.body, scope)
    if block.kind == "with":
        named = dict.fromkeys(block.variables, value)
        inner = _Scope(value, {**scope.variables, **named}, scope.template)
        return _render(block.body, inner)
    if isinstance(value, Mapping):
        items = sorted(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    else:
        raise _unreadable(scope.template, f"range cannot go over {_shown(value)}")
    found: list[str] = []
    for key, each in items:
        pair = (key, each) if len(block.variables) == 2 else (each,)
        named = dict(zip(block.variables, pair, strict=False))
        inner = _Scope(each, {**scope.variables, **named}, scope.template)
        found += _render(block.body, inner)
    return found


def _value(term: _Term, scope: _Scope) -> Any:
    match term:
        case _Literal():
            return term.value
        case _Path():
            if term.variable and term.variable not in scope.variables:
                raise _unreadable(scope.template, f"undefined variable {term.variable}")
            value = scope.variables[term.variable] if term.variable else scope.dot
            return _field(value, term.fields, scope)
        case _Member():
            return _field(_value(term.term, scope), term.fields, scope)
        case _Call():
            arguments = [_value(argument, scope) for argument in term.arguments]
            if term.function == _LABEL:
                label = scope.variables[_LABEL]
                return (label(*arguments) if label is not None else None) or ""
            try:
                return _FUNCTIONS[term.function](*arguments)
            except (TypeError, ValueError, IndexError, AttributeError) as error:
                raise _unreadable(scope.template, f"{term.function}: {error}") from error


def _field(value: Any, names: tuple[str, ...], scope: _Scope) -> Any:
    for name in names:
        if value is None:
            return None
        if not isinstance(value, Mapping) or name not in value:
            raise _no_field(name, value, scope.template)
        value = value[name]
    return value


def _closes(token: tuple[str, str]) -> bool:
    return token == ("mark", ")") or token[0] == "close"


def _no_field(name: str, value: Any, template: str) -> OptionError:
    known = ", ".join(value) if isinstance(value, Mapping) else ""
    hint = f"there are: {known}" if known else None
    return OptionError(f"--format {template!r}: there is no field {name!r}", hint=hint)


def _shown(value: Any) -> str:
    """A value as Go prints it."""
    match value:
        case None:
            return "<no value>"
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case Mapping():
            return f"map[{' '.join(f'{k}:{_shown(v)}' for k, v in sorted(value.items()))}]"
        case list() | tuple():
            return f"[{' '.join(map(_shown, value))}]"
        case _:
            return str(value)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value.get(key, "") if isinstance(value, Mapping) else value[key]
    return value


def _printf(form: str, *values: Any) -> str:
    shown = [_shown(v) if isinstance(v, bool | list | tuple | Mapping) else v for v in values]
    return re.sub(r"%(-?\d*)v", r"%\1s", form) % tuple(shown)


def _or(*values: Any) -> Any:
    return next((value for value in values if value), values[-1])


def _and(*values: Any) -> Any:
    return next((value for value in values if not value), values[-1])


_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "and": _and,
    "eq": lambda first, *others: any(first == other for other in others),
    "index": _index,
    "join": lambda values, separator: separator.join(map(_shown, values)),
    "json": lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")),
    "len": len,
    "lower": lambda text: text.lower(),
    "ne": lambda first, second: first != second,
    "not": lambda value: not value,
    "or": _or,
    "printf": _printf,
    "println": lambda *values: " ".join(map(_shown, values)) + "\n",
    "split": lambda text, separator: text.split(separator),
    "title": lambda text: text.title(),
    "truncate": lambda text, length: text[:length],
    "upper": lambda text: text.upper(),
}


def _unreadable(template: str, why: str) -> OptionError:
    return OptionError(f"--format {template!r}: {why}", hint=_HINT)
