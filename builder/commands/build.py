"""`lamina build`."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from builder.build import BuildRequest, build
from builder.commands.failures import explain, say
from builder.commands.opened import opened_engine
from builder.commands.values import host_address, key_value, size_in_bytes, variables
from builder.errors import BuildError, OptionError, StepFailed
from builder.options import ExecuteOptions
from builder.outputs import ArchiveOutput, parse_output
from builder.progress import JsonProgress, PlainProgress, Progress, QuietProgress
from builder.source import Source, read_dockerfile
from grammar.errors import DockerfileError
from runtime.image.digest import Digest
from runtime.image.errors import InvalidReference
from runtime.image.reference import Reference


@click.command("build", short_help="Build an image from a Dockerfile.")
@click.argument("context", type=click.Path())
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME[:TAG]", help="Name the image.")
@click.option("-f", "--file", metavar="FILE", help="The Dockerfile; - is standard input.")
@click.option(
    "--build-arg", "build_args", multiple=True, metavar="NAME[=VALUE]", help="Set an ARG."
)
@click.option("--target", metavar="STAGE", help="Build this stage instead of the last.")
@click.option("--no-cache", is_flag=True, help="Run every step, known or not.")
@click.option(
    "--no-cache-filter", multiple=True, metavar="STAGE,…", help="Run every step of these stages."
)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Set a label.")
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    metavar="type=oci|docker|image,dest=FILE",
    help="Where the result goes besides the store.",
)
@click.option("--secret", "secrets", multiple=True, metavar="id=ID[,src=FILE|,env=NAME]")
@click.option("--ssh", "ssh", multiple=True, metavar="default|ID[=SOCKET]")
@click.option("--allow", "allow", multiple=True, metavar="ENTITLEMENT")
@click.option("--network", type=click.Choice(["default", "none", "host"]), default="default")
@click.option("--add-host", "hosts", multiple=True, metavar="HOST:IP")
@click.option("--shm-size", metavar="SIZE", help="Of /dev/shm in RUN. [default: 64m]")
@click.option("--jobs", type=click.IntRange(1), help="How many RUN commands at once.")
@click.option("--keep-noise", is_flag=True, help="Keep package managers' logs and caches.")
@click.option("--iidfile", metavar="FILE", help="Write the image's ID to a file.")
@click.option(
    "--progress", type=click.Choice(["auto", "plain", "json", "rawjson", "quiet", "none"]),
    default="auto", help="How to show what happens.",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Print the image's ID only.")
@click.pass_obj
def build_command(root: str, /, **options: Any) -> int:
    """Build an image from a Dockerfile and the files in CONTEXT."""
    source = read_dockerfile(options["context"], options["file"])
    request = _request(source, options)
    progress = _progress(options)
    try:
        with opened_engine(root) as engine:
            image_id = build(request, engine.store, engine.sandbox, progress)
    except DockerfileError as error:
        explain(str(error), text=source.text, span=error.span, hint=error.hint)
        return 1
    except StepFailed as error:
        _failed_output(error, shown=not isinstance(progress, QuietProgress))
        explain(error.message, text=source.text, span=error.span, hint=error.hint)
        return 1
    except OptionError:
        raise
    except BuildError as error:
        explain(error.message, text=source.text, span=error.span, hint=error.hint)
        return 1
    _finish(image_id, options)
    return 0


def _finish(image_id: Digest, options: dict[str, Any]) -> None:
    if options["iidfile"]:
        with open(options["iidfile"], "w", encoding="ascii") as file:
            file.write(image_id)
    if options["quiet"]:
        click.echo(image_id)


def _failed_output(error: StepFailed, *, shown: bool) -> None:
    """What the failed command wrote last, if it has not been shown while it ran."""
    if error.output and not shown:
        text = error.output.decode("utf-8", "replace")
        say("------\n" + "".join(c if c.isprintable() or c in "\t\n" else "�" for c in text))
        say("------")


def _request(source: Source, options: dict[str, Any]) -> BuildRequest:
    outputs = tuple(parse_output(text) for text in options["outputs"])
    if any(isinstance(o, ArchiveOutput) and o.destination == "-" for o in outputs):
        if options["quiet"]:
            raise OptionError("--quiet and an archive on standard output would be mixed up")
        if sys.stdout.isatty():
            raise OptionError("refusing to write an archive to a terminal", hint="dest=FILE")
    return BuildRequest(
        context=options["context"],
        source=source,
        names=tuple(_reference(tag) for tag in options["tags"]),
        build_args=dict(variables(options["build_args"], ())),
        target=options["target"],
        labels=tuple(key_value(label, "--label") for label in options["labels"]),
        outputs=outputs,
        epoch=_epoch(),
        execute=ExecuteOptions(
            use_cache=not options["no_cache"],
            no_cache_stages=frozenset(
                name for names in options["no_cache_filter"] for name in names.split(",") if name
            ),
            drop_noise=not options["keep_noise"],
            secrets=_secrets(options["secrets"]),
            ssh=_agents(options["ssh"]),
            network=options["network"],
            allow=frozenset(options["allow"]),
            extra_hosts=tuple(host_address(text) for text in options["hosts"]),
            shm_size=size_in_bytes(options["shm_size"], "--shm-size"),
            **({"jobs": options["jobs"]} if options["jobs"] else {}),
        ),
    )


def _progress(options: dict[str, Any]) -> Progress:
    if options["quiet"] or options["progress"] in ("quiet", "none"):
        return QuietProgress()
    if options["progress"] in ("json", "rawjson"):
        return JsonProgress(sys.stderr)
    return PlainProgress(sys.stderr)


def _reference(text: str) -> Reference:
    try:
        return Reference.parse(text)
    except InvalidReference as error:
        raise OptionError(f"invalid tag: {error.message}") from error


def _epoch() -> int | None:
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise OptionError(f"SOURCE_DATE_EPOCH is not a number of seconds: {text!r}")
    return int(text)


def _agents(values: tuple[str, ...]) -> dict[str, str]:
    """`default` is the agent of $SSH_AUTH_SOCK; others name a socket."""
    found: dict[str, str] = {}
    for text in values:
        name, equals, socket = text.partition("=")
        if not equals:
            socket = os.environ.get("SSH_AUTH_SOCK", "")
            if not socket:
                raise OptionError(
                    f"--ssh {text}: no agent is running", hint="SSH_AUTH_SOCK is not set"
                )
        if not os.path.exists(socket):
            raise OptionError(f"--ssh {text}: {socket} does not exist")
        found[name] = os.path.abspath(socket)
    return found


def _secrets(values: tuple[str, ...]) -> dict[str, bytes]:
    """Each secret's value; it is read once, before anything runs."""
    found: dict[str, bytes] = {}
    for text in values:
        options = dict(part.partition("=")[::2] for part in text.split(","))
        unknown = set(options) - {"id", "src", "source", "env", "type"}
        name = options.get("id", "")
        if unknown or not name:
            raise OptionError(f"invalid --secret {text!r}", hint="id=ID,src=FILE or id=ID,env=NAME")
        path = options.get("src") or options.get("source")
        variable = options.get("env")
        if options.get("type") == "env" and path:
            path, variable = None, path
        if not path and not variable:
            variable, path = (name, None) if name in os.environ else (None, name)
        if variable:
            if variable not in os.environ:
                raise OptionError(f"--secret {text}: the variable {variable} is not set")
            found[name] = os.fsencode(os.environ[variable])
        else:
            assert path is not None
            with open(os.path.expanduser(path), "rb") as file:
                found[name] = file.read()
    return found
