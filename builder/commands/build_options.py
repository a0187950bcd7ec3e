"""Options of `lamina build`: what else comes out, where steps run, and what is refused.

Every option that buildx has is known here or in `builder.commands.build`: one that cannot be
had is refused with the reason, never ignored (docs/build.md lists them all).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from builder.errors import OptionError
from builder.fetching import PULL_POLICIES
from builder.plan.units import parse_switch

Decorated = Callable[..., Any]


class BuildCommand(click.Command):
    """A command whose switches also take a value, as Go's do: `--load=true`, `--pull=false`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        switches = {
            name
            for parameter in self.params
            if isinstance(parameter, click.Option) and parameter.is_flag
            for name in parameter.opts
            if name.startswith("--")
        }
        return super().parse_args(ctx, _without_values(args, switches))


_PULL_POLICY = "--pull-policy"
"""What `--pull=WORD` becomes: buildx has a switch of that name, podman one that takes a word."""


def _without_values(args: list[str], switches: set[str]) -> list[str]:
    """The arguments with `--switch=true` as `--switch`, and without `--switch=false`."""
    kept: list[str] = []
    for number, argument in enumerate(args):
        if argument == "--":
            return [*kept, *args[number:]]
        name, equals, value = argument.partition("=")
        if not equals or name not in switches:
            kept.append(argument)
            continue
        if name == "--pull" and value in PULL_POLICIES:
            kept += [_PULL_POLICY, value]
            continue
        try:
            if parse_switch(value):
                kept.append(name)
        except ValueError as error:
            raise OptionError(f"{argument}: {error}") from error
    return kept


def output_options(command: Decorated) -> Decorated:
    """What comes out besides the image, and questions that are answered instead of building."""
    for option in reversed((
        click.option(
            "-o", "--output", "outputs", multiple=True,
            metavar="DIR|-|type=oci|docker|image|local|tar|cacheonly,dest=…",
            help="Where the result goes besides the store.",
        ),
        click.option("--load", is_flag=True, expose_value=False,
                     help="Keep the image in the store, as is always done."),
        click.option("--push", is_flag=True, help="As --output type=registry."),
        click.option("--annotation", "annotations", multiple=True, metavar="[TYPE:]KEY=VALUE",
                     help="Annotate the manifest, index or manifest-descriptor of an archive."),
        click.option("--metadata-file", metavar="FILE", help="Write the result's digests as JSON."),
        click.option("--sbom", metavar="true|false",
                     help="List the packages in the image, as SPDX, beside it."),
        click.option("--provenance", metavar="true|false|mode=min|mode=max",
                     help="Tell how the image was made, as SLSA provenance, beside it."),
        click.option("--attest", multiple=True, metavar="type=sbom|provenance[,…]",
                     help="Both of these, with all options."),
        click.option("--attest-format", type=click.Choice(["referrers", "index"]),
                     default="referrers", show_default=True,
                     help="How archives hold attestations; index is BuildKit's way."),
        click.option("--iidfile", metavar="FILE", help="Write the image's ID to a file."),
        click.option("--call", metavar="METHOD[,format=json]", default="build",
                     help="build, check, outline or targets."),
        click.option("--check", "check", is_flag=True,
                     help="Only check; exit with 1 if anything is found. As --call check."),
        click.option("--plan", "plan", is_flag=True, help="Print what would be done, as JSON."),
    )):  # fmt: skip
        command = option(command)
    return command


def cache_options(command: Decorated) -> Decorated:
    """What is known already, and being told about it."""
    for option in reversed((
        click.option("--no-cache", is_flag=True, help="Run every step, known or not."),
        click.option("--no-cache-filter", multiple=True, metavar="STAGE,…",
                     help="Run every step of these stages."),
        click.option("--cache-from", "cache_from", multiple=True,
                     metavar="type=local,src=DIR|type=registry,ref=NAME",
                     help="A cache to look results up in."),
        click.option("--cache-to", "cache_to", multiple=True,
                     metavar="type=local,dest=DIR|type=registry,ref=NAME[,mode=min|max]",
                     help="Where to write what the build knows."),
        click.option("--expect-cached", is_flag=True,
                     help="Fail if a step has to run, and say why, instead of running it."),
        click.option("--on-fail", type=click.Choice(["shell"]),
                     help="Open a shell in what a step has left that fails."),
        click.option("--resume", is_flag=True,
                     help="Go on from what the failed step left, mended since by lamina debug."),
        click.option("--explain", is_flag=True,
                     help="Say afterwards, in a line a step, why it ran or not."),
        click.option("--store-max-size", metavar="SIZE",
                     help="Make room before and after, until the store takes no more than that."),
        click.option("--store-max-inodes", metavar="N", help="The same in files."),
    )):  # fmt: skip
        command = option(command)
    return command


def environment_options(command: Decorated) -> Decorated:
    """Where and how steps run."""
    for option in reversed((
        click.option("--pull", is_flag=True,
                     help="Ask registries for every base image. --pull=missing|never|newer"
                     " as podman has it. [default: missing]"),
        click.option(_PULL_POLICY, type=click.Choice(PULL_POLICIES), hidden=True),
        click.option("--platform", "platforms", multiple=True, metavar="OS/ARCH[/VARIANT]",
                     help="What the image is for. [default: this machine]"),
        click.option("--build-arg-file", "build_arg_files", multiple=True, metavar="FILE",
                     help="ARGs as lines NAME=VALUE; --build-arg comes after."),
        click.option("--build-context", "contexts", multiple=True,
                     metavar="NAME=DIRECTORY|URL|docker-image://…|oci-layout://…",
                     help="What NAME refers to in FROM, --from and from=."),
        click.option("--network", type=click.Choice(["default", "none", "host"]),
                     default="default", help="Of RUNs that do not say."),
        click.option("--add-host", "hosts", multiple=True, metavar="HOST:IP",
                     help="A line of /etc/hosts; host-gateway is this machine."),
        click.option("--shm-size", metavar="SIZE", help="Of /dev/shm in RUN. [default: 64m]"),
        click.option("--ulimit", "ulimits", multiple=True, metavar="NAME=SOFT[:HARD]",
                     help="A limit in RUN. [default: nofile=1024:524288]"),
        click.option("--ca", "authorities", metavar="FILE",
                     help="Certificates (PEM) that every RUN trusts; never in a layer."),
    )):  # fmt: skip
        command = option(command)
    return command


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An option that others have: its names, whether it takes a value, why not, what instead."""

    names: tuple[str, ...]
    why: str
    hint: str | None = None
    value: bool = True
    harmless: tuple[str, ...] = ()  # values that ask for what is done anyway


_NOT_OFF = ("false", "0")

REFUSED = (
    Refused(names=("--resource",), why="limits have options of their own",
            hint="--memory, --cpus, --pids-limit"),
    Refused(names=("--policy",), why="policies are not supported"),
    Refused(names=("--builder",), why="there is no daemon, and so no choice of builders"),
    Refused(names=("-D", "--debug"), value=False, why="there is no shell into failed steps yet"),
    Refused(names=("--isolation",), why="it is for Windows containers",
            harmless=("default", "")),
    Refused(names=("--security-opt",), why="steps always run under the default profile",
            hint="RUN --security=insecure with --allow security.insecure"),
    Refused(names=("--squash",), value=False, why="squashing is not supported",
            hint="--output type=tar and `lamina import` make an image of one layer"),
)  # fmt: skip
"""The options of buildx, and of docker before it, that cannot be had."""


def refused_options(command: Decorated) -> Decorated:
    """Options that are known only to say why they cannot be had."""
    for refused in reversed(REFUSED):
        command = _refused(refused)(command)
    # What these ask for is always so: nothing of a step's container is ever kept.
    for name in ("--rm", "--force-rm"):
        command = click.option(name, is_flag=True, hidden=True, expose_value=False)(command)
    return command


def _refused(refused: Refused) -> Callable[[Decorated], Decorated]:
    def refuse(_ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
        given = value if isinstance(value, tuple) else (value,) if value else ()
        for each in given:
            if each not in refused.harmless:
                raise OptionError(f"{refused.names[-1]}: {refused.why}", hint=refused.hint)

    name = "refused_" + refused.names[-1].strip("-").replace("-", "_")
    if not refused.value:
        return click.option(
            *refused.names, name, is_flag=True, hidden=True, expose_value=False, callback=refuse
        )
    return click.option(
        *refused.names, name, multiple=True, hidden=True, expose_value=False, callback=refuse
    )
