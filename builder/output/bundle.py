"""A container as a bundle: the files of its root, and a config.json for an OCI runtime.

    BundleError     the place is taken

What lamina makes for a container's mounts (/etc/hosts and the like) is put beside its root and
named by relative paths, so that the folder can be moved.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

from builder.errors import BuildError
from builder.output.files_output import write_files
from runtime.containers.spec import ContainerSpec
from runtime.image.layer.entry import Kind
from runtime.image.layer.view import View
from runtime.image.store.remove import remove_tree
from runtime.oci.config import Surroundings, oci_config
from runtime.oci.conversion import (
    device_targets,
    ids_in,
    mapped_ids,
    resources_of,
    within_limits,
)
from runtime.oci.external import profile_of
from runtime.owner_record import has_one_id
from runtime.sandbox.spec import BindMount, Mount, SandboxSpec
from runtime.user import Ids

ROOT = "rootfs"
CONFIG = "config.json"


class BundleError(BuildError):
    """There is something in the place of the bundle."""


def write_bundle(
    directory: str,
    spec: SandboxSpec,
    view: View,
    *,
    made: str,
    container: ContainerSpec,
    annotations: dict[str, str],
) -> tuple[bytes, ...]:
    """Write root and config of a container to an empty directory, which is made if missing.

    `container` is what `spec` was made of; `view` is the image's tree, `made` the folder with
    what was made for the mounts of `spec`. Gives the paths that could not be made here (devices,
    without the right to).
    """
    _make_empty(directory)
    root = os.path.join(directory, ROOT)
    try:
        os.mkdir(root, 0o755)
        # With a single ID everything is its user's, for the other runtime too.
        owners = not has_one_id()
        left_out = write_files(view, root, mtime=None, owners=owners)
        top = view.lstat(b"")
        assert top is not None
        if owners:
            os.chown(root, top.uid, top.gid)
        os.chmod(root, top.mode)
        ids = ids_in(view, spec.user, spec.groups)
        _make_working_directory(view, root, spec.cwd, ids)
        moved = replace(within_limits(spec), mounts=_moved(spec.mounts, made, directory))
        surroundings = Surroundings(
            root=ROOT,
            uid_mappings=mapped_ids("uid"),
            gid_mappings=mapped_ids("gid"),
            seccomp=profile_of(container.security.profile),
            resources=resources_of(container),
            devices=device_targets(spec.mounts),
            annotations=annotations,
        )
        document = oci_config(moved, ids, surroundings)
        # The last: a bundle with a config is whole.
        with open(os.path.join(directory, CONFIG), "x", encoding="utf-8") as file:
            json.dump(document, file, indent=2, ensure_ascii=True)
            file.write("\n")
    except BaseException:
        for name in os.listdir(directory):
            remove_tree(os.path.join(directory, name))
        raise
    return left_out


def _make_empty(directory: str) -> None:
    try:
        os.mkdir(directory, 0o755)
    except FileExistsError:
        if not os.path.isdir(directory):
            raise BundleError(f"{directory} is no directory") from None
        if os.listdir(directory):
            raise BundleError(
                f"{directory} is not empty", hint="name a directory that is not there yet"
            ) from None
    except FileNotFoundError:
        raise BundleError(f"cannot make {directory}: the directory above it is missing") from None


def _moved(mounts: tuple[Mount, ...], made: str, directory: str) -> tuple[Mount, ...]:
    """The mounts, with copies in `directory` of what is in `made`."""
    kept: list[Mount] = []
    for mount in mounts:
        if isinstance(mount, BindMount) and mount.source.startswith(made + "/"):
            name = os.path.basename(mount.source)
            shutil.copyfile(mount.source, os.path.join(directory, name))
            mount = replace(mount, source=name)
        kept.append(mount)
    return tuple(kept)


def _make_working_directory(view: View, root: str, cwd: str, ids: Ids) -> None:
    """Make it if it is missing, owned by the user, as the sandbox does; never through a link."""
    resolved = view.resolve(cwd.encode("utf-8", "surrogateescape"))
    if not resolved or view.lstat(resolved) is not None:
        return
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        so_far = b""
        for name in resolved.split(b"/"):
            so_far = so_far + b"/" + name if so_far else name
            entry = view.lstat(so_far)
            if entry is None:
                os.mkdir(name, 0o755, dir_fd=fd)
                os.chmod(name, 0o755, dir_fd=fd)
            elif entry.kind is not Kind.DIRECTORY:
                return  # the runtime says so
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = below
        if not has_one_id():
            os.fchown(fd, ids.uid, ids.gid)
    finally:
        os.close(fd)
