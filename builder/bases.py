"""Base images, as planning asks for them."""

from __future__ import annotations

from builder.cache.dependencies import base_images
from builder.fetching import OpenSession, PullPolicy, available_image, stored_image
from builder.plan.build_plan import FoundImage
from builder.plan.named_contexts import LAYOUT
from builder.plan.steps import Plan
from runtime.image.digest import Digest
from runtime.image.errors import ImageError, InvalidReference
from runtime.image.platform import Platform
from runtime.image.reference import Reference
from runtime.image.store.store import Store


class StoredImages:
    """Base images: those in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, reference: str, platform: Platform) -> FoundImage:
        """The image of that name in the store; `ImageError` where there is none.

        It may be an ID, but a name that happens to be the beginning of one is still a name:
        `FROM a` without an image `a` is a mistake. If there is none for the platform, the answer
        is the one for another.
        """
        if reference.startswith(LAYOUT):
            from builder.sources.layouts import read_layout

            found = read_layout(self._store, reference.removeprefix(LAYOUT))
            return FoundImage(reference=reference, image_id=found.id, config=found.config)
        image = stored_image(self._store, reference, platform)
        return FoundImage(reference=reference, image_id=image.id, config=image.config)


class FetchedImages:
    """Base images: those in the store, and those that registries have."""

    def __init__(self, store: Store, policy: PullPolicy, open_session: OpenSession) -> None:
        self._stored = StoredImages(store)
        self._store = store
        self._policy = policy
        self._open_session = open_session
        self._found: dict[tuple[str, Platform], FoundImage | ImageError] = {}

    def find(self, reference: str, platform: Platform) -> FoundImage:
        """The image of that name, the same for the whole build; `ImageError` if it has none."""
        found = self._found.get((reference, platform))
        if found is None:
            try:
                found = self._find(reference, platform)
            except ImageError as error:
                found = error
            self._found[reference, platform] = found
        if isinstance(found, ImageError):
            raise found
        return found

    def _find(self, reference: str, platform: Platform) -> FoundImage:
        if reference.startswith(LAYOUT):
            return self._stored.find(reference, platform)
        image = available_image(self._store, reference, platform, self._policy, self._open_session)
        return FoundImage(reference=reference, image_id=image.id, config=image.config)


def pinned(store: Store, plan: Plan) -> tuple[tuple[str, Digest], ...]:
    """The names of the plan's images, and by which digests registries have them."""
    found = []
    for reference, image_id in base_images(plan):
        try:
            name = Reference.parse(reference)
        except InvalidReference:
            continue
        for known in store.remotes.digests(image_id):
            if known.repository == name.repository and known.digest is not None:
                found.append((str(name), known.digest))
                break
    return tuple(found)
