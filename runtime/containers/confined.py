"""A container's sandbox under its restrictions, and in the namespaces of those that it joins."""

from __future__ import annotations

from dataclasses import replace

from runtime.containers.folder import find_container
from runtime.containers.record import Container
from runtime.containers.security import OF
from runtime.containers.spec import ContainerSpec
from runtime.errors import InvalidContainer
from runtime.sandbox.capabilities import ALL_CAPABILITIES
from runtime.sandbox.namespaces import HOST, NEW, Namespace, ProcessNamespace, UserNamespace
from runtime.sandbox.seccomp import default_filter
from runtime.sandbox.spec import SandboxSpec


def with_joined(root: str, spec: ContainerSpec) -> ContainerSpec:
    """The spec with the IDs of the containers that it joins; `ContainerNotFound`."""
    security = spec.security
    if not security.joined:
        return spec

    def known(mode: str) -> str:
        if not mode.startswith(OF):
            return mode
        return OF + find_container(root, mode.removeprefix(OF)).id

    return replace(
        spec, security=replace(security, pid=known(security.pid), ipc=known(security.ipc))
    )


def confined(root: str, spec: ContainerSpec, sandbox: SandboxSpec) -> SandboxSpec:
    """A container's sandbox under its restrictions; for who is about to start it.

    `InvalidContainer` if one that it joins does not run, or lets nobody in.
    """
    security = spec.security
    unmasked = security.unmasked or security.privileged
    return replace(
        sandbox,
        seccomp=call_filter(spec, spec.capabilities),
        masked_paths=() if unmasked else sandbox.masked_paths,
        read_only_paths=() if unmasked else sandbox.read_only_paths,
        all_devices=security.privileged,
        groups=security.groups,
        sysctls=security.sysctls,
        pid=_namespace(root, "pid", security.pid),
        ipc=_namespace(root, "ipc", security.ipc),
        uts=_namespace(root, "uts", security.uts),
        cgroup=_namespace(root, "cgroup", security.cgroup),
        user_namespace=_user_namespace(security.user),
        shm_size=0 if security.ipc == "none" else sandbox.shm_size,
    )


def call_filter(spec: ContainerSpec, capabilities: int) -> bytes | None:
    """The filter for a command in a container that has these capabilities there."""
    profile = spec.security.profile
    if profile is not None:
        from runtime.sandbox.seccomp_profile import compiled_profile

        return compiled_profile(profile, capabilities)
    if not spec.seccomp or spec.security.privileged:
        return None
    return default_filter(capabilities)


def privileged_capabilities(spec: ContainerSpec, *, privileged: bool) -> int:
    """What a command of `exec` may do."""
    return ALL_CAPABILITIES if privileged else spec.capabilities


def _namespace(root: str, kind: str, mode: str) -> Namespace:
    match mode:
        case "host":
            return HOST
        case "private" | "shareable" | "none":
            return NEW
        case _:
            return _of_container(_running(root, kind, mode.removeprefix(OF)), kind)


def _user_namespace(mode: str) -> UserNamespace:
    from runtime.containers.user_ids import own_user_namespace

    return own_user_namespace() if mode == "auto" else HOST


def _of_container(container: Container, kind: str) -> Namespace:
    if kind == "ipc" and container.spec.security.ipc not in ("shareable", "host"):
        raise InvalidContainer(
            f"cannot share the IPC of container {container.name}: it is private",
            hint="start that container with --ipc shareable",
        )
    process = container.state.process
    assert process is not None
    return ProcessNamespace(process.pid, process.start_time)


def _running(root: str, kind: str, name: str) -> Container:
    container = find_container(root, name)
    if container.state.process is None:
        raise InvalidContainer(
            f"cannot join the {kind} namespace of container {container.name}: it is not running",
            hint=f"lamina start {container.name}",
        )
    return container
