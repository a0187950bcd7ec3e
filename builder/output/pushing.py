"""A build's result on its way to the registries of its names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from builder.errors import OptionError
from builder.fetching import OpenSession
from builder.output.annotations import Annotation, annotated
from builder.output.outputs import ImageOutput
from runtime.image.archives.outgoing import Annotated
from runtime.image.attestations import Attached, Attestation, attach, image_url
from runtime.image.digest import Digest
from runtime.image.manifest import Descriptor
from runtime.image.reference import Reference
from runtime.image.store.store import Image, Store

if TYPE_CHECKING:
    from runtime.image.registry.push import PushOptions


def push_named(
    store: Store,
    image_id: Digest,
    names: Sequence[Reference],
    output: ImageOutput,
    annotations: Sequence[Annotation],
    attestations: Sequence[Attestation],
    open_session: OpenSession,
) -> Descriptor:
    """Send an image, and what is said of it, to the registries of all its names.

    Its manifest's descriptor.

    `RegistryError`. What was pushed before an error stays pushed.
    """
    from runtime.image.registry.push import push
    from runtime.image.registry.referrers import push_referrers

    image = store.image(image_id)
    said = annotated((*annotations, *output.annotations), image.config.platform)
    if said.index or said.descriptor:
        raise OptionError("a pushed image of one platform has no index that could be annotated")
    options = push_options(output, said)
    pushed: Descriptor | None = None
    for name in names:
        with open_session(str(name), "push") as session:
            pushed = push(store, session, image, name, options)
            push_referrers(session, name, pushed, attached(image, name, pushed, attestations))
    assert pushed is not None
    return pushed


def push_options(output: ImageOutput, said: Annotated) -> PushOptions:
    """How an image's manifest is to be made and sent."""
    from runtime.image.registry.push import PushOptions

    return PushOptions(
        format=None if output.format == "oci" else "docker",
        recipe=output.recipe,
        annotations=said.manifest,
        by_digest=output.by_digest,
    )


def attached(
    image: Image, name: Reference, manifest: Descriptor, attestations: Sequence[Attestation]
) -> tuple[Attached, ...]:
    """The manifests that say of an image what is said of it, as referrers."""
    return attach(attestations, manifest, [image_url(name, image.config.platform)], "referrers")
