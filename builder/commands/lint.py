"""`lamina lint`, and `lamina build --check`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import click

import grammar
from builder.commands.failures import explain
from builder.commands.finding_formats import FORMATS, LintedFile, Problem, counted, in_format
from builder.commands.opened import opened_store
from builder.commands.values import variables
from builder.plan.build_plan import Images, PlanOptions
from builder.plan.checks import read_options, surroundings
from builder.sources.context import find_ignore_file
from builder.version import installed_version
from grammar.dockerignore import Patterns
from grammar.errors import DockerfileError
from grammar.lint import lint
from runtime.errors import ContainerError
from runtime.image.errors import ImageError
from runtime.image.platform import default_platform

if TYPE_CHECKING:
    from builder.request import BuildRequest

_STANDARD_INPUT = "-"


@click.command("lint", short_help="Check Dockerfiles for what is likely wrong.")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="text", help="How to print it."
)
@click.option("--error", is_flag=True, help="Exit with 1 if anything is found.")
@click.option(
    "--build-arg", "build_args", multiple=True, metavar="NAME[=VALUE]", help="Set an ARG."
)
@click.option(
    "--context",
    type=click.Path(exists=True, file_okay=False),
    help="Where the ignore file is. [default: the FILE's directory]",
)
@click.pass_obj
def lint_command(
    root: str,
    /,
    files: tuple[str, ...],
    form: str,
    error: bool,
    build_args: tuple[str, ...],
    context: str | None,
) -> int:
    """Check each FILE by BuildKit's rules, every stage of it; - is standard input.

    Base images are looked up in the store, if there is one. The exit status is 1 if a FILE is no
    Dockerfile, and with --error or its `# check=error=true` if anything is found in it.
    """
    platform = default_platform()
    options = PlanOptions(
        platform=platform,
        build_platform=platform,
        build_args=dict(variables(build_args, ())),
    )
    with _images(root) as images:
        linted = [_linted(file, options, images, context) for file in files]
    _print(form, [file for file, _ in linted])
    for file, _ in linted:
        if file.problem is not None:
            _explain(file, file.problem)
    found = [file for file, fails in linted if fails or error]
    failed = any(file.problem is not None for file, _ in linted)
    return 1 if failed or counted(found) else 0


def check_build(root: str, request: BuildRequest, *, as_json: bool) -> int:
    """Print what is found in what would be built; the exit status."""
    from builder.build import check

    source = request.source
    with opened_store(root) as store:
        checked = check(request, store)
    raised = checked.error
    problem = None
    if raised is not None:
        problem = Problem(message=raised.message, span=raised.span, hint=raised.hint)
    file = LintedFile(
        path=source.name, text=source.text, findings=checked.findings, problem=problem
    )
    _print("json" if as_json else "text", [file])
    if problem is not None:
        _explain(file, problem)
    return 1 if problem is not None or checked.findings else 0


def _linted(
    path: str, options: PlanOptions, images: Images | None, context: str | None
) -> tuple[LintedFile, bool]:
    """One file, and whether what is found in it is an error."""
    data, shown = _read(path)
    text = data.decode("utf-8", "surrogateescape")
    try:
        dockerfile = grammar.parse(data, shown)
        check_options = read_options(dockerfile, text, options)
    except DockerfileError as error:
        problem = Problem(message=str(error), span=error.span, hint=error.hint)
        return LintedFile(path=shown, text=text, problem=problem), True
    around = surroundings(options, images, _ignored(path, context))
    findings = lint(dockerfile, check_options, around)
    return LintedFile(path=shown, text=text, findings=findings), check_options.error


def _read(path: str) -> tuple[bytes, str]:
    if path == _STANDARD_INPUT:
        return sys.stdin.buffer.read(), "Dockerfile"
    with open(path, "rb") as file:
        return file.read(), path


def _ignored(path: str, context: str | None) -> Patterns | None:
    if path == _STANDARD_INPUT and context is None:
        return None
    found = find_ignore_file(context or os.path.dirname(path) or os.curdir, path)
    return None if found is None else found.patterns


@contextmanager
def _images(root: str) -> Iterator[Images | None]:
    """The images of the store, where there is one that can be used: linting needs none."""
    images = None
    with ExitStack() as stack:
        if os.path.isfile(os.path.join(root, "store.db")):
            from builder.bases import StoredImages

            with suppress(ContainerError, ImageError, OSError):
                images = StoredImages(stack.enter_context(opened_store(root)))
        yield images


def _print(form: str, files: list[LintedFile]) -> None:
    text = in_format(form, files, installed_version())
    if text:
        click.echo(text)


def _explain(file: LintedFile, problem: Problem) -> None:
    explain(problem.message, text=file.text, span=problem.span, hint=problem.hint)
