"""Images by the names that Dockerfiles and commands have for them: from the store, or fetched.

    missing    what the store has is taken, all else is fetched
    always     a registry is asked for every name
    newer      a registry is asked, unless it was in the last minutes; if it cannot be, the store
    never      only the store is looked in

A name in the store stands for an image of one platform. One for another platform is found by what
a registry gave for the name, and takes the name only if nothing has it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Literal

from runtime.image.errors import ImageError, ImageNotFound, InvalidReference
from runtime.image.platform import Platform, suits
from runtime.image.reference import Reference
from runtime.image.store.store import Image, Store

if TYPE_CHECKING:  # What talks to registries is imported by who does.
    from runtime.image.registry.session import Session

PullPolicy = Literal["missing", "always", "newer", "never"]
PULL_POLICIES: tuple[PullPolicy, ...] = ("always", "missing", "never", "newer")

Direction = Literal["pull", "push"]
OpenSession = Callable[[str, Direction], "AbstractContextManager[Session]"]
"""Makes ready to ask registries about an image; what happens is shown beside its name."""

_SHORTEST_ID = 12
"""How much of an ID `docker` shows."""
_FRESH_SECONDS = 600


def available_image(
    store: Store,
    reference: str,
    platform: Platform,
    policy: PullPolicy,
    open_session: OpenSession,
) -> Image:
    """The image of a name or an ID for a platform, fetched if the policy says so; `ImageError`.

    Where one for the platform can neither be found nor fetched, but the store has one for
    another, that is the answer.
    """
    stored: Image | None = None
    absent: ImageError | None = None
    try:
        stored = stored_image(store, reference, platform)
    except ImageError as error:
        absent = error
    name = _name(store, reference, stored)
    if name is None or policy == "never" or _is_enough(store, name, platform, stored, policy):
        return _or_raise(stored, absent)
    try:
        return _fetch(store, name, platform, open_session)
    except ImageError as error:
        from runtime.image.registry.errors import RegistryBlocked

        if stored is not None and policy != "always":
            return stored
        if absent is not None and isinstance(error, RegistryBlocked):
            raise absent from error
        if absent is not None and absent.hint:
            error.hint = absent.hint
        raise


def stored_image(store: Store, reference: str, platform: Platform) -> Image:
    """The image of that name or ID in the store, if there is one for the platform that."""
    image: Image | None = None
    absent: ImageError | None = None
    try:
        image = store.image(reference)
        if len(reference) < _SHORTEST_ID and Reference.parse(reference) not in image.names:
            raise ImageNotFound(reference)
    except ImageError as error:
        image, absent = None, error
    if image is None or not suits(image.config.platform, platform):
        try:
            name = Reference.parse(reference)
            listed = _listed(store, name, platform, image)
            if listed is not None:
                return listed
            known = store.remotes.resolution(name, platform)
            if known is not None:
                return store.image(known.image_id)
        except (ImageNotFound, InvalidReference):
            pass
    return _or_raise(image, absent)


def _listed(store: Store, name: Reference, platform: Platform, named: Image | None) -> Image | None:
    """The image for the platform that a build of several gave this name, if that still holds."""
    ids = store.lists.get(name) or ()
    if named is None or named.id not in ids:
        return None
    images = map(store.image, ids)
    return next((each for each in images if suits(each.config.platform, platform)), None)


def _or_raise(image: Image | None, absent: ImageError | None) -> Image:
    if image is None:
        assert absent is not None
        raise absent
    return image


def _name(store: Store, reference: str, stored: Image | None) -> Reference | None:
    """What a registry can be asked for; `None` for an ID."""
    try:
        name = Reference.parse(reference)
    except InvalidReference:
        return None
    if stored is None or name.digest is not None or name in stored.names:
        return name
    known = store.remotes.resolution(name, stored.config.platform)
    return None if known is None else name


def _is_enough(
    store: Store, name: Reference, platform: Platform, stored: Image | None, policy: PullPolicy
) -> bool:
    """Whether nobody has to be asked."""
    if stored is None or policy == "always" or not suits(stored.config.platform, platform):
        return False
    if policy == "missing" or name.digest is not None:
        return True
    known = store.remotes.resolution(name, platform)
    return known is not None and 0 <= time.time() - known.asked < _FRESH_SECONDS


def _fetch(store: Store, name: Reference, platform: Platform, open_session: OpenSession) -> Image:
    from runtime.image.registry.pull import pull

    with open_session(str(name), "pull") as session:
        pulled = pull(store, session, name, platform)
    image = store.image(pulled.image_id)
    try:
        had = store.image(str(name))
    except ImageNotFound:
        had = None
    if had is None or suits(had.config.platform, platform):
        store.tag(name, image.id)
    return image
