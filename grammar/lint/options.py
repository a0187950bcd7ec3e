"""`# check=`: which rules are skipped, which are asked for, whether findings fail the build.

    skip=RULE,…|all   experimental=RULE,…|all   error=true      joined by `;`

At the top of a Dockerfile it holds for the whole; in a comment directly above an instruction for
that instruction, above a FROM for what is said of the FROM. The build argument
BUILDKIT_DOCKERFILE_CHECK stands for the one at the top. (dockerfile.md 1.1)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from grammar.errors import DockerfileError, GrammarError, quoted
from grammar.lint.rules import Rule
from grammar.nodes import Dockerfile, Span

BUILD_ARGUMENT = "BUILDKIT_DOCKERFILE_CHECK"
ALL = "all"

_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
_COMMENT = re.compile(r"check[ \t]*=[ \t]*([^ \t]+)", re.IGNORECASE)


class InvalidCheck(GrammarError):
    """What stands after `check=` cannot be read; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """What `# check=` asks for. `skip` and `experimental` hold rules' names, or `all`."""

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    error: bool = False

    def wants(self, rule: Rule) -> bool:
        """Whether a rule is checked. `skip=all` does not undo what `experimental` asks for."""
        if rule.name in self.skip:
            return False
        if rule.experimental:
            return not self.experimental.isdisjoint((ALL, rule.name))
        return ALL not in self.skip

    def merged(self, other: CheckOptions) -> CheckOptions:
        """With what a comment above an instruction adds; `error` is the whole file's."""
        return CheckOptions(
            skip=self.skip | other.skip,
            experimental=self.experimental | other.experimental,
            error=self.error,
        )


def parse_check(text: str) -> CheckOptions:
    """Read what stands after `check=`. Raises `InvalidCheck`."""
    if not text.strip():
        return CheckOptions()
    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    error = False
    for part in text.strip().split(";", 2):
        key, equals, value = part.partition("=")
        key, value = key.strip(), value.strip()
        if not equals:
            raise InvalidCheck(f"invalid check option {quoted(part)}")
        match key:
            case "skip":
                skip = _names(value)
            case "experimental":
                experimental = _names(value)
            case "error":
                if value not in _TRUE + _FALSE:
                    raise InvalidCheck(
                        f"failed to parse check option {quoted(part)}: {quoted(value)} is not a"
                        " boolean"
                    )
                error = value in _TRUE
            case _:
                raise InvalidCheck(f"invalid check option {quoted(key)}")
    return CheckOptions(skip=skip, experimental=experimental, error=error)


def check_options(
    dockerfile: Dockerfile, source: str, build_args: Mapping[str, str] | None = None
) -> CheckOptions:
    """The options for a whole Dockerfile, whose text is `source`.

    Raises `DockerfileError` for a directive that cannot be read, with its line, and
    `InvalidCheck` for a build argument.
    """
    if build_args is not None and BUILD_ARGUMENT in build_args:
        return parse_check(build_args[BUILD_ARGUMENT])
    for number, (name, value) in enumerate(dockerfile.directives, 1):
        if name == "check":
            try:
                # As in BuildKit, what follows a blank is not read.
                return parse_check(value.partition(" ")[0])
            except InvalidCheck as error:
                # Directives stand on the first lines, but for a `#!` before them.
                line = number + source.removeprefix("\ufeff").startswith("#!")
                span = Span(dockerfile.stages[0].base.span.file, line, line)
                reason = f"failed to parse check options: {error.reason}"
                hint = "# check=skip=RULE,…;error=true;experimental=RULE,…"
                raise DockerfileError(reason, span, hint) from error
    return CheckOptions()


def comment_options(comments: tuple[str, ...]) -> CheckOptions:
    """What the comments above an instruction ask for; the first `check=` counts.

    As in BuildKit, one that cannot be read is an ordinary comment.
    """
    for comment in described_by(comments):
        match = _COMMENT.match(comment)
        if match is not None:
            try:
                return parse_check(match[1])
            except InvalidCheck:
                break
    return CheckOptions()


def described_by(comments: tuple[str, ...]) -> tuple[str, ...]:
    """The comments that belong to an instruction: those after the last empty one."""
    if "" not in comments:
        return comments
    return comments[len(comments) - comments[::-1].index("") :]


def is_check(comment: str) -> bool:
    """Whether a comment is a `check=`."""
    return _COMMENT.match(comment) is not None


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(","))
