"""The image of a new container: in the store, or fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import click

from runtime.errors import InvalidContainer
from runtime.image.errors import ImageNotFound
from runtime.image.store.store import Store

Decorated = Callable[..., Any]


def image_options(command: Decorated) -> Decorated:
    """Which image, and whether to ask a registry for it."""
    for option in reversed((
        click.option("--pull", type=click.Choice(["always", "missing", "never", "newer"]),
                     default="missing", show_default=True, help="Whether to ask a registry."),
        click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="[default: this machine's]"),
        click.option("-q", "--quiet", is_flag=True, help="Do not show what is fetched."),
    )):  # fmt: skip
        command = option(command)
    return command


def available(store: Store, options: Mapping[str, Any]) -> str:
    """The name or ID of the image to run, which is in the store then."""
    name, policy = options["image"], options["pull"]
    if policy == "missing" and options["platform"] is None:
        with suppress(ImageNotFound):
            store.image(name)
            return str(name)
    from builder.commands.registry_options import quiet_session, shown_session
    from builder.fetching import available_image
    from runtime.image.platform import Platform, default_platform, suits

    wanted = Platform.parse(options["platform"]) if options["platform"] else default_platform()
    session = quiet_session if options["quiet"] else shown_session
    image = available_image(store, name, wanted, policy, session)
    if options["platform"] and not suits(image.config.platform, wanted):
        raise InvalidContainer(f"{name} is an image for {image.config.platform}, not for {wanted}")
    return str(name) if store.image(name).id == image.id else image.id
