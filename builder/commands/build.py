"""`lamina build`."""

from __future__ import annotations

import os
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from builder.build import build
from builder.commands.build_limits_options import build_limits_options, limits_of_steps
from builder.commands.build_options import (
    BuildCommand,
    cache_options,
    environment_options,
    output_options,
    refused_options,
)
from builder.commands.ceiling import below_ceiling, ceiling
from builder.commands.compression_options import (
    compression_options,
    compression_words,
    said_of_compression,
)
from builder.commands.credentials import agents, authorities, credentials, secrets
from builder.commands.failures import explain, say
from builder.commands.opened import opened_engine, opened_store
from builder.commands.registry_options import build_sessions
from builder.commands.remembering import Notes, is_replayable, remember
from builder.commands.values import (
    entitlements,
    host_address,
    key_value,
    size_in_bytes,
    ulimits_of,
    variables,
)
from builder.errors import BuildError, OptionError, StepFailed
from builder.events import Emit
from builder.execution.options import ExecuteOptions
from builder.output.result import Result, metadata, write_metadata
from builder.plan.named_contexts import parse_named_contexts
from builder.plan.platforms import parse_platforms
from builder.progress import JsonProgress, PlainProgress, Progress, QuietProgress
from builder.request import BuildRequest
from builder.sources.source import Source, is_directory_context, read_dockerfile
from grammar.errors import DockerfileError
from runtime.image.errors import InvalidReference
from runtime.image.platform import Platform
from runtime.image.reference import Reference
from runtime.image.store.store import Store

if TYPE_CHECKING:  # Imported by the builds that need them.
    from builder.attest.options import AttestOptions
    from builder.exchange.options import CacheFrom, CacheTo
    from builder.output.annotations import Annotation
    from builder.output.outputs import Output


@click.command("build", cls=BuildCommand, short_help="Build an image from a Dockerfile.")
@click.argument("context", type=click.Path())
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME[:TAG]", help="Name the image.")
@click.option("-f", "--file", metavar="FILE", help="The Dockerfile; - is standard input.")
@click.option(
    "--build-arg", "build_args", multiple=True, metavar="NAME[=VALUE]", help="Set an ARG."
)
@click.option("--target", metavar="STAGE", help="Build this stage instead of the last.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Set a label.")
@cache_options
@output_options
@compression_options
@environment_options
@build_limits_options
@click.option("--secret", "secrets", multiple=True, metavar="id=ID[,src=FILE|,env=NAME]")
@click.option("--ssh", "ssh", multiple=True, metavar="default|ID[=SOCKET]")
@click.option("--allow", "allow", multiple=True, metavar="ENTITLEMENT")
@click.option("--jobs", type=click.IntRange(1), help="How many RUN commands at once.")
@click.option("--keep-noise", is_flag=True, help="Keep package managers' logs and caches.")
@click.option(
    "--progress", type=click.Choice(["auto", "plain", "json", "rawjson", "quiet", "none"]),
    default="auto", help="How to show what happens.",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Print the image's ID only.")
@refused_options
@click.pass_context
def build_command(ctx: click.Context, /, **options: Any) -> int:
    """Build an image from a Dockerfile and the files in CONTEXT.

    CONTEXT is a directory, - or a file for an archive (- also for a Dockerfile), a git repository
    (https://….git#REF:DIRECTORY) or the URL of an archive or of a Dockerfile.
    """
    began = time.time_ns()
    root: str = ctx.obj
    context, file = options["context"], options["file"]
    if is_directory_context(context):
        return _build(ctx, began, _request(read_dockerfile(context, file), options))
    from builder.sources.fetcher import Fetcher
    from builder.sources.given_context import fetch_context

    with opened_store(root) as store:
        fetcher = Fetcher(store, credentials(options))
        given = fetch_context(context, file, store=store, fetcher=fetcher, stdin=sys.stdin.buffer)
        request = replace(
            _request(given.source, options), layers=given.layers, committed=given.committed
        )
        return _build(ctx, began, request)


def _build(ctx: click.Context, began: int, request: BuildRequest) -> int:
    root, options = ctx.obj, ctx.params
    limit = ceiling(options)
    source = request.source
    progress = _progress(options)
    try:
        if options["check"] or options["plan"] or options["call"] != "build":
            from builder.commands.questions import answer

            status = answer(root, request, progress, options)
            if status is not None:
                return status
        with (
            opened_engine(root) as engine,
            below_ceiling(engine.store, limit, progress),
            _explained(engine.store, progress, options) as reader,
        ):
            platforms = parse_platforms(options["platforms"])
            if len(platforms) > 1:
                from builder.several import build_several

                result = build_several(request, platforms, engine.store, engine.sandbox, reader)
                _finish(result, options)
                return 0
            notes = Notes(reader)
            built = build(request, engine.store, engine.sandbox, notes)
            if is_replayable(ctx):
                remember(
                    engine.store, request, options["file"], built, notes, began,
                    quiet=options["quiet"],
                )  # fmt: skip
    except DockerfileError as error:
        explain(str(error), text=source.text, span=error.span, hint=error.hint)
        return 1
    except StepFailed as error:
        _failed_output(error, shown=not isinstance(progress, QuietProgress))
        hint = error.hint or (_way_in(options) if error.kept else None)
        explain(error.message, text=source.text, span=error.span, hint=hint)
        if error.kept and options["on_fail"]:
            from builder.commands.debug import open_shell

            open_shell(root, error.kept)
        return 1
    except OptionError:
        raise
    except BuildError as error:
        explain(error.message, text=source.text, span=error.span, hint=error.hint)
        return 1
    _finish(built.result, options)
    return 0


def _way_in(options: dict[str, Any]) -> str | None:
    """How to see what a failed step has left."""
    if options["on_fail"]:
        return None
    return (
        "lamina debug opens a shell in what it has left; lamina build --resume goes on from there"
    )


def _explained(store: Store, emit: Emit, options: dict[str, Any]) -> AbstractContextManager[Emit]:
    """A reader of the build's events that explains it, where that is asked for."""
    if options["expect_cached"] and (options["no_cache"] or options["no_cache_filter"]):
        raise OptionError("--expect-cached and --no-cache contradict each other")
    if not options["explain"] and not options["expect_cached"]:
        return nullcontext(emit)
    from builder.commands.explain import explained

    return explained(store, emit, options)


def _finish(result: Result, options: dict[str, Any]) -> None:
    if options["iidfile"]:
        with open(options["iidfile"], "w", encoding="ascii") as file:
            file.write(result.image_id)
    if options["metadata_file"]:
        write_metadata(options["metadata_file"], metadata(result))
    if options["quiet"]:
        click.echo(result.image_id)


def _failed_output(error: StepFailed, *, shown: bool) -> None:
    """What the failed command wrote last, if it has not been shown while it ran."""
    if error.output and not shown:
        lines = error.output.decode("utf-8", "replace").split("\n")
        say("\n".join(("------", *lines, "------")))


def _request(source: Source, options: dict[str, Any]) -> BuildRequest:
    outputs, annotations = _outputs(options)
    cache_from, cache_to = _caches(options, outputs)
    return BuildRequest(
        context=options["context"],
        source=source,
        contexts=parse_named_contexts(options["contexts"]),
        names=tuple(_reference(tag) for tag in options["tags"]),
        build_args=dict(variables(options["build_args"], options["build_arg_files"])),
        target=options["target"] or None,
        labels=tuple(key_value(label, "--label") for label in options["labels"]),
        outputs=outputs,
        annotations=annotations,
        cache_from=cache_from,
        cache_to=cache_to,
        platform=next(iter(_platforms(options, outputs, cache_to)), None),
        epoch=_epoch(),
        pull=options["pull_policy"] or ("always" if options["pull"] else "missing"),
        registries=build_sessions,
        attest=_attest(options, outputs),
        execute=ExecuteOptions(
            use_cache=not options["no_cache"],
            expect_cached=options["expect_cached"],
            resume=options["resume"],
            no_cache_stages=frozenset(
                name for names in options["no_cache_filter"] for name in names.split(",") if name
            ),
            drop_noise=not options["keep_noise"],
            secrets=secrets(options["secrets"]),
            ssh=agents(options["ssh"]),
            network=options["network"],
            allow=entitlements(options["allow"]),
            extra_hosts=tuple(host_address(text) for text in options["hosts"]),
            shm_size=size_in_bytes(options["shm_size"], "--shm-size"),
            ulimits=ulimits_of(options["ulimits"]),
            **limits_of_steps(options),
            authorities=authorities(options["authorities"]),
            **({"jobs": options["jobs"]} if options["jobs"] else {}),
        ),
    )


def _platforms(
    options: dict[str, Any], outputs: tuple[Output, ...], cache_to: tuple[CacheTo, ...]
) -> tuple[Platform, ...]:
    """The platforms asked for; `OptionError` for what cannot be had of several."""
    platforms = parse_platforms(options["platforms"])
    if len(platforms) > 1:
        from builder.output.several import check_several

        check_several(outputs)
        if cache_to:
            raise OptionError(
                "--cache-to writes the cache of one platform",
                hint="build each platform with a cache of its own",
            )
    return platforms


def _attest(options: dict[str, Any], outputs: tuple[Output, ...]) -> AttestOptions | None:
    if not options["attest"] and options["sbom"] is None and options["provenance"] is None:
        return None
    if options["resume"]:
        raise OptionError(
            "--resume and attestations contradict each other: a layer would be from a tree that"
            " somebody mended by hand"
        )
    from builder.attest.options import parse_attest

    form = options["attest_format"]
    if form == "index" and any(getattr(output, "push", False) for output in outputs):
        raise OptionError("--attest-format index is for archives: referrers can be pushed")
    return parse_attest(
        options["attest"], sbom=options["sbom"], provenance=options["provenance"], form=form
    )


def _outputs(options: dict[str, Any]) -> tuple[tuple[Output, ...], tuple[Annotation, ...]]:
    if not said_of_compression(options) and not any(
        options[name] for name in ("outputs", "annotations", "push")
    ):
        return (), ()
    from builder.output.annotations import parse_annotation
    from builder.output.export import check_outputs, have_manifest
    from builder.output.outputs import parse_output, standard_outputs, with_push

    words = compression_words(options)
    outputs = tuple(parse_output(text, words) for text in options["outputs"])
    if options["push"]:
        outputs = with_push(outputs, words)
    if said_of_compression(options) and not have_manifest(outputs):
        raise OptionError(
            "--compression needs an archive or a registry: the store compresses nothing",
            hint="add --push, or --output type=oci,dest=FILE",
        )
    annotations = tuple(parse_annotation(text) for text in options["annotations"])
    wants_image_id = bool(options["iidfile"])
    check_outputs(outputs, annotations, options["tags"], wants_image_id=wants_image_id)
    if standard_outputs(outputs):
        if options["quiet"]:
            raise OptionError("--quiet and an archive on standard output would be mixed up")
        if sys.stdout.isatty():
            raise OptionError("refusing to write an archive to a terminal", hint="dest=FILE")
    return outputs, annotations


def _caches(
    options: dict[str, Any], outputs: tuple[Output, ...]
) -> tuple[tuple[CacheFrom, ...], tuple[CacheTo, ...]]:
    if not options["cache_from"] and not options["cache_to"]:
        return (), ()
    from builder.exchange.options import InlineTo, parse_cache_from, parse_cache_to
    from builder.output.export import have_manifest

    cache_to = tuple(parse_cache_to(text) for text in options["cache_to"])
    if any(isinstance(each, InlineTo) for each in cache_to) and not have_manifest(outputs):
        raise OptionError(
            "--cache-to type=inline goes with the image's manifest, and none is written",
            hint="add --push, or --output type=oci,dest=FILE",
        )
    return tuple(parse_cache_from(text) for text in options["cache_from"]), cache_to


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
