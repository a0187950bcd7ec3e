"""Where the result of a build goes: names in the store, archives, files, and what is told of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from typing import assert_never

from builder.errors import OptionError
from builder.events import Emit, Exported, Noticed
from builder.fetching import OpenSession
from builder.output.annotations import Annotation, annotated
from builder.output.files_output import has_own_owners, write_files, write_files_tar
from builder.output.outputs import (
    ArchiveOutput,
    CacheOutput,
    ImageOutput,
    LocalOutput,
    Output,
    TarOutput,
    standard_outputs,
)
from builder.output.platform_folders import platform_folder, write_folders_tar
from builder.output.pushing import push_named
from builder.output.result import Result, name_image
from builder.plan.epoch import created_time
from runtime.image.archives.archive import write_archive, write_layout
from runtime.image.archives.outgoing import Outgoing
from runtime.image.attestations import Attestation, AttestationForm
from runtime.image.digest import Digest
from runtime.image.errors import InvalidReference
from runtime.image.manifest import Descriptor
from runtime.image.reference import Reference
from runtime.image.store.store import Store

_STANDARD_OUTPUT = 1


def check_outputs(
    outputs: Sequence[Output],
    annotations: Sequence[Annotation],
    names: Sequence[str],
    *,
    wants_image_id: bool,
) -> None:
    """Refuse outputs that do not go together, before anything is built; `OptionError`."""
    if standard_outputs(outputs) > 1:
        raise OptionError("only one --output can write to standard output")
    if annotations and not have_manifest(outputs):
        raise OptionError(
            "--annotation needs an archive or a registry to be written in: the store keeps images"
            " without manifests",
            hint="add --push, or --output type=oci,dest=FILE, or use --label",
        )
    for output in outputs:
        if isinstance(output, ImageOutput) and output.push and not (names or output.names):
            raise OptionError("tag is needed when pushing to registry", hint="-t NAME")
    if wants_image_id and outputs and all(isinstance(o, LocalOutput | TarOutput) for o in outputs):
        raise OptionError("cannot use --iidfile with local or tar output only: there is no image")


def export(
    store: Store,
    image_id: Digest,
    *,
    names: Sequence[Reference],
    outputs: Sequence[Output],
    annotations: Sequence[Annotation],
    open_session: OpenSession | None,
    attestations: Sequence[Attestation] = (),
    attestation_form: AttestationForm = "referrers",
    emit: Emit,
) -> Result:
    """Name the image and write it wherever it should go."""
    image = store.image(image_id)
    only_cached = bool(outputs) and all(isinstance(output, CacheOutput) for output in outputs)
    named = () if only_cached else all_names(names, outputs)
    name_image(store, image_id, named, emit)
    manifest = None
    for output in outputs:
        began = time.monotonic()
        what = ""
        match output:
            case ArchiveOutput():
                outgoing = Outgoing(
                    image,
                    named,
                    annotated((*annotations, *output.annotations), image.config.platform),
                    attestations,
                    attestation_form,
                )
                manifest = _archive(store, outgoing, output)
                form = "layout" if output.layout else "archive"
                what = f"exporting to {output.format} {form} {shown(output.destination)}"
            case LocalOutput(destination, split):
                place = destination
                if split:
                    place = os.path.join(destination, platform_folder(image.config.platform))
                write_local(store, image_id, place, emit)
                what = f"exporting files to {destination}"
            case TarOutput(destination, split):
                if split:
                    write_folders_tar(store, [image], where(destination))
                else:
                    _tar(store, image_id, destination)
                what = f"exporting files to tar {shown(destination)}"
            case ImageOutput() if output.push and open_session is not None:
                manifest = push_named(
                    store, image_id, named, output, annotations, attestations, open_session
                )
                what = f"pushing manifest {manifest.digest}"
            case ImageOutput() | CacheOutput():
                continue
            case _:
                assert_never(output)
        emit(Exported(what=what, seconds=time.monotonic() - began))
    return Result(image_id=image_id, names=named, manifest=manifest)


def have_manifest(outputs: Iterable[Output]) -> bool:
    """Whether one of them writes a manifest: what can be said in it is lost otherwise."""
    return any(isinstance(output, ArchiveOutput) or _is_pushed(output) for output in outputs)


def _is_pushed(output: Output) -> bool:
    return isinstance(output, ImageOutput) and output.push


def all_names(names: Sequence[Reference], outputs: Sequence[Output]) -> tuple[Reference, ...]:
    """The names of the build, then those of its outputs, each once."""
    found = dict.fromkeys(names)
    for output in outputs:
        if isinstance(output, ImageOutput | ArchiveOutput):
            for name in output.names:
                try:
                    found[Reference.parse(name)] = None
                except InvalidReference as error:
                    raise OptionError(f"--output name={name}: {error.message}") from error
    return tuple(found)


def _archive(store: Store, outgoing: Outgoing, output: ArchiveOutput) -> Descriptor:
    place, form, recipe = output.destination, output.format, output.recipe
    if output.layout:
        written = write_layout(store, [outgoing], place, recipe=recipe, format=form)
    else:
        written = write_archive(store, [outgoing], where(place), recipe=recipe, format=form)
    return written[0]


def write_local(store: Store, image_id: Digest, directory: str, emit: Emit) -> None:
    """Write an image's files into a directory; what is left out is told."""
    config = store.image(image_id).config
    left_out = write_files(
        store.view(config.diff_ids),
        directory,
        mtime=created_time(config),
        owners=has_own_owners(),
    )
    if left_out:
        some = ", ".join("/" + path.decode("utf-8", "replace") for path in left_out[:5])
        more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        emit(Noticed(message=f"devices that need root are not in {directory}: {some}{more}"))


def _tar(store: Store, image_id: Digest, destination: str) -> None:
    config = store.image(image_id).config
    write_files_tar(store.view(config.diff_ids), where(destination), mtime=created_time(config))


def where(destination: str) -> str | int:
    """What a destination is to be written to: its path, or the descriptor that `-` stands for."""
    return destination if destination != "-" else _STANDARD_OUTPUT


def shown(destination: str) -> str:
    """How a destination is called."""
    return "standard output" if destination == "-" else destination
