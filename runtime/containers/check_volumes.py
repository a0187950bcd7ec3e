"""Checking the volumes of a store, and mending what can be mended."""

from __future__ import annotations

import json
import os
import time

from runtime.containers.volumes import (
    DATA,
    RECORD,
    create_volume,
    read_volume,
    volume_names,
    volume_users,
    volumes_directory,
)
from runtime.errors import ContainerError
from runtime.image.store.faults import Fault, NotMended, fault
from runtime.image.store.store import Store
from runtime.monitor import files


def check_volumes(store: Store, *, repair: bool) -> list[Fault]:
    """Faults of volumes: damaged records, and volumes that containers have and that are gone.

    With `repair` a record is written anew, the files stay; a missing volume is made, empty.
    """
    found = []
    for name in volume_names(store.root):
        if read_volume(store.root, name) is None:
            mend = (lambda name=name: _record_again(store, name)) if repair else None
            found.append(fault("volume", name, "its record is damaged", mend))
    for name, users in sorted(volume_users(store.root).items()):
        if not os.path.lexists(os.path.join(volumes_directory(store.root), name)):
            problem = f"is missing, and container {users[0][:12]} has it"
            mend = (lambda name=name: _make_again(store, name)) if repair else None
            found.append(fault("volume", name, problem, mend))
    return found


def _record_again(store: Store, name: str) -> str:
    folder = os.path.join(volumes_directory(store.root), name)
    if not os.path.isdir(os.path.join(folder, DATA)):
        raise NotMended("there are no files in it; remove it by hand")
    document = {"created_ns": time.time_ns(), "anonymous": False, "labels": {}, "options": {}}
    files.write_file(os.path.join(folder, RECORD), json.dumps(document).encode() + b"\n")
    return "recorded again, without labels"


def _make_again(store: Store, name: str) -> str:
    try:
        create_volume(store, name)
    except ContainerError as error:
        raise NotMended(error.message) from error
    return "made again, empty"
