"""Containers that another OCI runtime makes: what it is told.

The monitor mounts the root and calls the runtime: see `runtime.oci.runtime_hook`.
"""

from __future__ import annotations

import json
import marshal
import os
from collections.abc import Mapping
from typing import Any, Final

from runtime.containers.record import Container
from runtime.errors import InvalidContainer
from runtime.image.store.store import Store
from runtime.oci.config import Surroundings, oci_config
from runtime.oci.conversion import device_targets, ids_in, resources_of, within_limits
from runtime.oci.runtime_hook import CGROUP, MODULE, NETWORK
from runtime.sandbox.spec import SandboxSpec

_ROOT: Final = "root"
_BUNDLE: Final = "bundle"


def prepare_external(store: Store, container: Container, sandbox: SandboxSpec) -> tuple[str, bytes]:
    """Write the config of a container that is about to start; the hook that has it started.

    `InvalidContainer` for what no other runtime can be told.
    """
    spec = container.spec
    assert spec.runtime is not None
    made = os.path.join(os.path.abspath(container.folder), "made")
    bundle = os.path.join(made, _BUNDLE)
    os.mkdir(bundle, 0o700)
    os.mkdir(os.path.join(made, _ROOT), 0o755)
    ids = ids_in(store.view(container.description.diff_ids), sandbox.user, sandbox.groups)
    surroundings = Surroundings(
        root=os.path.join(made, _ROOT),
        network_path=NETWORK if sandbox.network == "joined" else None,
        seccomp=profile_of(spec.security.profile),
        # A plain user's runtime is inside a user namespace already, with the monitor.
        resources=resources_of(spec),
        devices=device_targets(sandbox.mounts),
        annotations=dict(spec.security.annotations),
    )
    document = oci_config(within_limits(sandbox), ids, surroundings)
    if surroundings.resources is not None:
        document["linux"]["cgroupsPath"] = CGROUP
    with open(os.path.join(bundle, "config.json.in"), "x", encoding="utf-8") as file:
        json.dump(document, file)
    with open(os.path.join(bundle, "runtime"), "x", encoding="utf-8") as file:
        file.write(spec.runtime)
    return MODULE, marshal.dumps((spec.runtime, made))


def profile_of(text: str | None) -> Mapping[str, Any] | None:
    """A seccomp profile in Docker's format as `linux.seccomp`; `None` for the default policy."""
    if text is None:
        return None
    document: dict[str, Any] = json.loads(text)
    rules = document.get("syscalls") or ()
    if document.get("archMap") or any(r.get("includes") or r.get("excludes") for r in rules):
        raise InvalidContainer(
            "the profile has rules that depend on capabilities or the machine, which is Docker's"
            " format: other runtimes do not read that",
            hint="a profile without archMap, includes and excludes",
        )
    return document
