"""What a container may do, and what it shares: namespaces, groups, kernel parameters, filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

from runtime.errors import InvalidContainer
from runtime.sandbox.capabilities import ALL_CAPABILITIES
from runtime.sandbox.namespaces import HOST, NEW, Namespace, ProcessNamespace, UserNamespace
from runtime.sandbox.seccomp import default_filter

if TYPE_CHECKING:
    from runtime.containers.record import Container
    from runtime.containers.spec import ContainerSpec
    from runtime.sandbox.spec import SandboxSpec

_OF: Final = "container:"
KINDS: Final = ("pid", "ipc", "uts", "cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityOptions:
    """What is different from Docker's defaults.

    privileged   every capability, every device, nothing hidden or read-only, no filter
    profile      the text of a seccomp profile, instead of the default one
    unmasked     nothing of /proc and /sys is hidden or read-only
    groups       more groups of its user, by name or number
    sysctls      kernel parameters of its namespaces
    pid, ipc, uts, cgroup  "private", "host", or "container:ID" (pid and ipc); ipc also
                 "shareable", private but for others to join, and "none", without /dev/shm
    user         its user namespace: "host", which is that of whoever starts it, or "auto", one of
                 its own with IDs that no other container has
    added, dropped, options, annotations  as they were given, to be shown
    """

    privileged: bool = False
    profile: str | None = None
    unmasked: bool = False
    groups: tuple[str, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    pid: str = "private"
    ipc: str = "private"
    uts: str = "private"
    cgroup: str = "private"
    user: str = "host"
    added: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()

    @property
    def joined(self) -> tuple[str, ...]:
        """The containers whose namespaces it is to be in."""
        modes = (self.pid, self.ipc)
        return tuple(mode.removeprefix(_OF) for mode in modes if mode.startswith(_OF))


DEFAULT_SECURITY: Final = SecurityOptions()


def security_document(security: SecurityOptions) -> dict[str, Any]:
    """The options as JSON has them."""
    return {field.name: getattr(security, field.name) for field in fields(security)}


def security_from_document(document: Mapping[str, Any]) -> SecurityOptions:
    """What `security_document` was given."""
    return SecurityOptions(**{name: _frozen(value) for name, value in document.items()})


def with_joined(root: str, spec: ContainerSpec) -> ContainerSpec:
    """The spec with the IDs of the containers that it joins; `ContainerNotFound`."""
    from runtime.containers.folder import find_container

    security = spec.security
    if not security.joined:
        return spec

    def known(mode: str) -> str:
        if not mode.startswith(_OF):
            return mode
        return _OF + find_container(root, mode.removeprefix(_OF)).id

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
            return _of_container(_running(root, kind, mode.removeprefix(_OF)), kind)


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
    from runtime.containers.folder import find_container

    container = find_container(root, name)
    if container.state.process is None:
        raise InvalidContainer(
            f"cannot join the {kind} namespace of container {container.name}: it is not running",
            hint=f"lamina start {container.name}",
        )
    return container


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
