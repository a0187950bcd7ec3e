"""What can go wrong with containers.

    ContainerError
      SandboxUnavailable       this machine or user cannot have containers: what, why, remedy
      SetupFailed              a stage of a container's set-up failed
      CommandNotFound          no such command in the container (exit status 127)
      CommandNotRunnable       there, but cannot be executed (exit status 126)
      UserNotFound             a user or group that the root's files do not name
      InvalidContainer         what was asked for cannot be a container
      ContainerNotFound        no container of that name or ID
      NameTaken                another container is called that
      ContainerRunning         not removed: it is still running
      NotRunning               it would have to run for that
      InvalidVolume            what was asked for cannot be a volume
      VolumeNotFound           no volume of that name
      VolumeInUse              not removed: containers have it
      NetworkError             a network cannot be had, or is not there

Each class takes the facts and makes its own sentence; `hint` is one remedy, where there is one.
The fork server imports this module, so it imports nothing.
"""

from __future__ import annotations


class ContainerError(Exception):
    """The root: `message` says what and why, `hint` what to do."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SandboxUnavailable(ContainerError):
    """This machine, or this user on it, cannot have containers."""

    def __init__(self, what: str, why: str, remedy: str | None = None) -> None:
        super().__init__(f"{what}: {why}", hint=remedy)
        self.what = what
        self.why = why
        self.remedy = remedy


class SetupFailed(ContainerError):
    """A stage of a container's set-up failed; no command was run."""

    def __init__(self, stage: str, errno: int, text: str, *, hint: str | None = None) -> None:
        super().__init__(f"cannot set up the container: {stage}: {text}", hint=hint)
        self.stage = stage
        self.errno = errno


class CommandNotFound(ContainerError):
    """The command, or the interpreter it needs, does not exist in the container."""

    def __init__(self, command: str, why: str) -> None:
        super().__init__(f"exec {command}: {why}")
        self.command = command
        self.why = why


class CommandNotRunnable(ContainerError):
    """The command exists, but cannot be executed."""

    def __init__(self, command: str, why: str) -> None:
        super().__init__(f"exec {command}: {why}")
        self.command = command
        self.why = why


class UserNotFound(ContainerError):
    """A user or group that /etc/passwd or /etc/group of the root do not name."""

    def __init__(self, why: str) -> None:
        super().__init__(why)


class InvalidContainer(ContainerError):
    """What was asked for cannot be a container."""


class ContainerNotFound(ContainerError):
    """No container of that name or ID."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no such container: {name}")
        self.name = name


class ContainerRunning(ContainerError):
    """A container that runs was to be removed."""

    def __init__(self, container_id: str) -> None:
        super().__init__(
            f"container {container_id[:12]} is running",
            hint="stop it first, or remove it with --force",
        )


class NotRunning(ContainerError):
    """Something that only a running container can do."""

    def __init__(self, container_id: str, *, hint: str | None = None) -> None:
        super().__init__(f"container {container_id[:12]} is not running", hint=hint)


class NameTaken(ContainerError):
    """A name that another container has."""

    def __init__(self, name: str, owner: str) -> None:
        super().__init__(
            f"the container name {name} is already in use by container {owner[:12]}",
            hint="remove or rename that container to be able to reuse the name",
        )
        self.name = name


class InvalidVolume(ContainerError):
    """What was asked for cannot be a volume."""


class VolumeNotFound(ContainerError):
    """No volume of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no such volume: {name}")
        self.name = name


class VolumeInUse(ContainerError):
    """A volume that containers have was to be removed."""

    def __init__(self, name: str, users: list[str]) -> None:
        shown = ", ".join(user[:12] for user in users)
        super().__init__(
            f"volume {name} is in use by {shown}", hint="remove these containers first"
        )
        self.name = name


class NetworkError(ContainerError):
    """A network cannot be had as it was asked for, or is not there."""
