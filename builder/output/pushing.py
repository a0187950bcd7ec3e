"""A build's result on its way to the registries of its names."""

from __future__ import annotations

from collections.abc import Sequence

from builder.errors import OptionError
from builder.fetching import OpenSession
from builder.output.annotations import Annotation, annotated
from builder.output.outputs import ImageOutput
from runtime.image.digest import Digest
from runtime.image.layer.compression import Compression
from runtime.image.manifest import Descriptor
from runtime.image.reference import Reference
from runtime.image.store.store import Store


def push_named(
    store: Store,
    image_id: Digest,
    names: Sequence[Reference],
    output: ImageOutput,
    annotations: Sequence[Annotation],
    open_session: OpenSession,
) -> Descriptor:
    """Send an image to the registries of all its names; its manifest's descriptor.

    `RegistryError`. What was pushed before an error stays pushed.
    """
    from runtime.image.registry.push import PushOptions, push

    said = annotated((*annotations, *output.annotations))
    if said.index or said.descriptor:
        raise OptionError("a pushed image of one platform has no index that could be annotated")
    options = PushOptions(
        format=None if output.format == "oci" else "docker",
        compression=None if output.compression is None else Compression[output.compression.upper()],
        annotations=said.manifest,
        by_digest=output.by_digest,
    )
    image = store.image(image_id)
    pushed: Descriptor | None = None
    for name in names:
        with open_session(str(name), "push") as session:
            pushed = push(store, session, image, name, options)
    assert pushed is not None
    return pushed
