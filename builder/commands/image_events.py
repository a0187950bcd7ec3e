"""Events of images, in the journal of those of containers."""

from __future__ import annotations

import os

from runtime.containers.folder import containers_directory
from runtime.monitor.events import append_event


def image_event(root: str, action: str, image_id: str, name: str = "") -> None:
    """Record that something happened to an image, under that name."""
    folder = containers_directory(os.path.abspath(root))
    os.makedirs(folder, mode=0o700, exist_ok=True)
    append_event(folder, action, image_id, {"name": name} if name else {}, kind="image")
