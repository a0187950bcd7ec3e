"""Where the results of a build for several platforms go: together, under the same names."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from builder.errors import OptionError
from builder.events import Emit, Exported
from builder.fetching import OpenSession
from builder.output.annotations import Annotation, annotated
from builder.output.export import all_names, shown, where, write_local
from builder.output.outputs import (
    ArchiveOutput,
    CacheOutput,
    ImageOutput,
    LocalOutput,
    Output,
    TarOutput,
)
from builder.output.platform_folders import platform_folder, write_folders_tar
from builder.output.pushing import attached, push_options
from builder.output.result import Result, name_image
from runtime.image.archives.archive import write_archive, write_layout
from runtime.image.archives.outgoing import Outgoing, Together
from runtime.image.attestations import Attestation, AttestationForm
from runtime.image.digest import Digest
from runtime.image.manifest import Descriptor
from runtime.image.platform import default_platform, suits
from runtime.image.reference import Reference
from runtime.image.registry.session import Session
from runtime.image.store.store import Image, Store

Said = Sequence[Attestation]


def check_several(outputs: Sequence[Output]) -> None:
    """Refuse outputs that hold an image for one platform only; `OptionError`."""
    for output in outputs:
        if isinstance(output, LocalOutput | TarOutput) and output.split is False:
            raise OptionError("platform-split=false would mix the files of several platforms")
        if isinstance(output, ArchiveOutput | ImageOutput) and output.format == "docker":
            raise OptionError(
                "Docker's archives and media types hold an image for one platform",
                hint="type=oci, or build each platform with a name of its own",
            )


def export_several(
    store: Store,
    images: Sequence[Image],
    *,
    names: Sequence[Reference],
    outputs: Sequence[Output],
    annotations: Sequence[Annotation],
    open_session: OpenSession | None,
    attestations: Sequence[Said],
    attestation_form: AttestationForm,
    emit: Emit,
) -> Result:
    """Name the images and write them wherever they should go.

    In the store a name stands for the image for this machine, or for the first, and for the list
    of them all. `attestations` are those of each image.
    """
    first, *_ = ordered = _own_first(images)
    only_cached = bool(outputs) and all(isinstance(output, CacheOutput) for output in outputs)
    named = () if only_cached else all_names(names, outputs)
    for name in named:
        store.lists.put(name, [image.id for image in images])
    name_image(store, first.id, named, emit)
    said = {image.id: each for image, each in zip(images, attestations, strict=True)}
    top: Descriptor | None = None
    for output in outputs:
        began = time.monotonic()
        match output:
            case ArchiveOutput():
                all_said = (*annotations, *output.annotations)
                outgoing = [
                    _outgoing(image, all_said, said[image.id], attestation_form)
                    for image in ordered
                ]
                of_index = annotated(all_said, first.config.platform).index
                together = Together(names=named, annotations=of_index)
                top = _archive(store, outgoing, output, together)
                form = "layout" if output.layout else "archive"
                what = f"exporting to {output.format} {form} {shown(output.destination)}"
            case LocalOutput(destination=destination):
                for image in images:
                    place = os.path.join(destination, platform_folder(image.config.platform))
                    write_local(store, image.id, place, emit)
                what = f"exporting files to {destination}"
            case TarOutput(destination=destination):
                write_folders_tar(store, images, where(destination))
                what = f"exporting files to tar {shown(destination)}"
            case ImageOutput() if output.push and open_session is not None:
                top = _push(store, images, named, output, annotations, said, open_session)
                what = f"pushing manifest list {top.digest}"
            case ImageOutput() | CacheOutput():
                continue
            case _:
                assert_never(output)
        emit(Exported(what=what, seconds=time.monotonic() - began))
    return Result(
        image_id=first.id if top is None else top.digest,
        names=named,
        manifest=top,
        has_platforms=True,
    )


def _own_first(images: Sequence[Image]) -> list[Image]:
    """The images, that for this machine before all others if there is one."""
    return sorted(images, key=lambda each: not suits(each.config.platform, default_platform()))


def _outgoing(
    image: Image, annotations: Sequence[Annotation], said: Said, form: AttestationForm
) -> Outgoing:
    """One of the images: names and annotations of the index are those of all together."""
    own = replace(annotated(annotations, image.config.platform), index=())
    return Outgoing(image, (), own, said, form)


def _archive(
    store: Store, outgoing: Sequence[Outgoing], output: ArchiveOutput, together: Together
) -> Descriptor:
    place, recipe = output.destination, output.recipe
    if output.layout:
        return write_layout(store, outgoing, place, recipe=recipe, together=together)[0]
    return write_archive(store, outgoing, where(place), recipe=recipe, together=together)[0]


def _push(
    store: Store,
    images: Sequence[Image],
    names: Sequence[Reference],
    output: ImageOutput,
    annotations: Sequence[Annotation],
    said: dict[Digest, Said],
    open_session: OpenSession,
) -> Descriptor:
    from runtime.image.registry.index_push import IndexOptions, push_index
    from runtime.image.registry.referrers import push_referrers

    all_said = (*annotations, *output.annotations)
    wanted = [annotated(all_said, image.config.platform) for image in images]
    top: Descriptor | None = None
    for name in names:

        def sent(session: Session, image: Image, made: Descriptor, to: Reference = name) -> None:
            push_referrers(session, to, made, attached(image, to, made, said[image.id]))

        options = IndexOptions(
            of=[push_options(output, each) for each in wanted],
            descriptors=[each.descriptor for each in wanted],
            annotations=wanted[0].index,
            by_digest=output.by_digest,
            sent=sent,
        )
        with open_session(str(name), "push") as session:
            top = push_index(store, session, images, name, options)
    assert top is not None
    return top
