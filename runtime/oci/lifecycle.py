"""The operations of an OCI runtime on containers of bundles.

https://github.com/opencontainers/runtime-spec/blob/main/runtime.md says what each does, and in
which state it is an error.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any, Final

from runtime.errors import SetupFailed
from runtime.monitor.identity import has_ended, identify, open_process, send_signal
from runtime.oci.cgroups import BundleGroups
from runtime.oci.hooks import HookFailed, run_hooks
from runtime.oci.launch import Launched, launched, tell_start
from runtime.oci.plan import KINDS, Plan, plan_container
from runtime.oci.process_plan import plan_process
from runtime.oci.section import InvalidConfig, Section
from runtime.oci.state import (
    Bundled,
    LifecycleError,
    check_id,
    forget,
    held,
    listen,
    new_container,
    write,
)
from runtime.oci.user_namespace import check_kind, write_mappings
from runtime.sandbox.seccomp_profile import compiled_profile

Warn = Callable[[str], None]

_CONFIG: Final = "config.json"
_KILL_SECONDS: Final = 10


def read_bundle(bundle: str) -> Plan:
    """What the config of a bundle wants; `InvalidConfig`."""
    path = os.path.join(bundle, _CONFIG)
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            document = json.load(file)
    except OSError as error:
        raise InvalidConfig("", f"{path}: {(error.strerror or '').lower()}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidConfig("", f"it is no JSON: {error}") from error
    return plan_container(document, bundle)


def create(
    root: str,
    container_id: str,
    bundle: str,
    *,
    warn: Warn,
    pid_file: str | None = None,
    on_terminal: Callable[[int], None] | None = None,
) -> Bundled:
    """Make a container of a bundle, up to its command; its first process waits for `start`.

    `on_terminal` gets our side of its terminal, if it is to have one. On error nothing is left.
    """
    check_id(container_id)
    plan = read_bundle(bundle)
    for warning in plan.warnings:
        warn(f"config.json: {warning}")
    if plan.order["terminal"] and on_terminal is None:
        raise LifecycleError(
            "the container is to have a terminal, and nobody wants its other side",
            hint="--console-socket, or set process.terminal to false",
        )
    with new_container(root, container_id, bundle) as container:
        groups = BundleGroups(plan, container_id, warn)
        fields = plan.order | _fields(plan, groups)
        container = replace(
            container,
            annotations=plan.annotations,
            command=os.fsdecode(plan.order["argv"][0]),
            hooks={name: _as_json(hooks) for name, hooks in plan.hooks.items()},
            cgroups=groups.directories,
            defaults=_defaults(plan, fields),
        )
        try:
            with ExitStack() as stack:
                listening = stack.enter_context(listen(container))
                joined = [(stack.enter_context(_opened(*each)), each[1]) for each in plan.joined]
                process = stack.enter_context(
                    launched(fields, joined, listening_fd=listening.fileno())
                )
                container = replace(container, process=identify(process.pid))
                write(container)
                _prepare(plan, container, process, groups)
                process.finish(ready=True)
                if process.terminal is not None and on_terminal is not None:
                    on_terminal(process.terminal)
                if pid_file is not None:
                    _write_pid(pid_file, process.pid)
        except BaseException:
            groups.remove()
            _run_late_hooks(container, "poststop", warn)
            raise
        return container


def start(root: str, container_id: str, *, warn: Warn) -> None:
    """Have the command of a container that was made be executed; errors of the command, too."""
    with held(root, container_id) as container:
        if (status := container.status) != "created":
            raise LifecycleError(
                f"cannot start container {container_id}: it is {status}, not created"
            )
        tell_start(container.start_path, container.command)
        _run_late_hooks(container, "poststart", warn)


def kill(root: str, container_id: str, number: int, *, everything: bool = False) -> None:
    """Send a signal to the first process, or to all there are."""
    with held(root, container_id) as container:
        status = container.status
        if status not in ("created", "running") and not everything:
            raise LifecycleError(f"cannot kill container {container_id}: it is {status}")
        if everything:
            BundleGroups.signal(container.cgroups, number)
        pidfd = open_process(container.process)
        if pidfd is not None:
            send_signal(pidfd, number)
            os.close(pidfd)


def delete(root: str, container_id: str, *, force: bool, warn: Warn) -> None:
    """Remove what is left of a container that has ended; forced, end it first."""
    with held(root, container_id) as container:
        status = container.status
        if status != "stopped" and not force:
            raise LifecycleError(
                f"cannot delete container {container_id}: it is {status}, not stopped",
                hint="kill it first, or --force",
            )
        pidfd = open_process(container.process)
        if pidfd is not None:
            send_signal(pidfd, signal.SIGKILL)
            if BundleGroups.is_frozen(container.cgroups):
                BundleGroups.freeze(container.cgroups, False)
            if not has_ended(pidfd, _KILL_SECONDS):
                raise SetupFailed("delete the container", 0, "its first process does not end")
            os.close(pidfd)
        BundleGroups.remove_all(container.cgroups)
        _run_late_hooks(container, "poststop", warn)
        forget(container)


def freeze(root: str, container_id: str, *, frozen: bool) -> None:
    """Stop every process of a container, or let it go on."""
    with held(root, container_id) as container:
        wanted = "running" if frozen else "paused"
        if (status := status_of(container)) != wanted:
            verb = "pause" if frozen else "resume"
            raise LifecycleError(f"cannot {verb} container {container_id}: it is {status}")
        if not BundleGroups.freeze(container.cgroups, frozen):
            raise SetupFailed("freeze the container", 0, "it has no cgroup that can be frozen")


def status_of(container: Bundled) -> str:
    """Its state, or `paused`, which the specification does not know, but crun and runc do."""
    status = container.status
    if status == "running" and BundleGroups.is_frozen(container.cgroups):
        return "paused"
    return status


def execute(
    root: str, container_id: str, process: Any, *, on_terminal: Callable[[int], None] | None
) -> tuple[int, int]:
    """Start a further process in a container, as a child of ours: pid, pidfd.

    `process` is as in a config; what it does not say of rights is as for the first process.
    """
    with held(root, container_id) as container:
        if (status := container.status) != "running":
            raise LifecycleError(f"cannot exec in container {container_id}: it is {status}")
        first = container.process
        assert first is not None
        section = Section(process, "process")
        order = plan_process(section, [])
        if "capabilities" not in section:
            order["capability_sets"] = container.defaults["capability_sets"]
        if "noNewPrivileges" not in section:
            order["no_new_privileges"] = container.defaults["no_new_privileges"]
        profile = container.defaults["seccomp"]
        held_capabilities = order["capability_sets"]["bounding"]
        seccomp = compiled_profile(profile, held_capabilities) if profile else b""
        fields = order | {"entered": True, "new": 0, "seccomp": seccomp, "seccomp_flags": 0}
        kinds = _differing_namespaces(first.pid)
        target = open_process(first)
        if target is None:
            raise LifecycleError(f"cannot exec in container {container_id}: it has ended")
        try:
            BundleGroups.join(container.cgroups)
            with launched(fields, [(target, kinds)]) as launched_process:
                launched_process.go_on(b"!")
                launched_process.finish(ready=False)
                if launched_process.terminal is not None and on_terminal is not None:
                    on_terminal(launched_process.terminal)
                return launched_process.pid, os.dup(launched_process.pidfd)
        finally:
            os.close(target)


def wait_for_child(container: Bundled) -> int:
    """The exit status of a container that was made by this process, when it has ended."""
    assert container.process is not None
    return wait_for(os.pidfd_open(container.process.pid))


def wait_for(pidfd: int) -> int:
    """The exit status of a child, 128 + n for signal n; closes the descriptor."""
    ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)
    assert ended is not None
    return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status


def _prepare(plan: Plan, container: Bundled, process: Launched, groups: BundleGroups) -> None:
    """All that is done to the first process from outside, before it makes the container."""
    if plan.new & KINDS["user"]:
        write_mappings(process.pid, plan.uid_mappings, plan.gid_mappings)
    if plan.oom_score is not None:
        _set_oom_score(process.pid, plan.oom_score)
    groups.make(process.pid)
    state = json.dumps(container.document("creating")).encode()
    for name in ("prestart", "createRuntime"):
        try:
            run_hooks(plan.hooks[name], state)
        except HookFailed as error:
            raise SetupFailed(f"run the {name} hooks", 0, error.strerror or "") from error
    process.go_on(state)


def _fields(plan: Plan, groups: BundleGroups) -> dict[str, Any]:
    seccomp = plan.seccomp
    program, flags = b"", 0
    if seccomp:
        bounding = plan.order["capability_sets"]["bounding"]
        flags = 4 if "SECCOMP_FILTER_FLAG_SPEC_ALLOW" in seccomp.texts("flags") else 0
        program = compiled_profile(json.dumps(seccomp.members), bounding)
    return {
        "entered": False,
        "new": plan.new,
        "hooks": {name: plan.hooks[name] for name in ("createContainer", "startContainer")},
        "cgroups": groups.mounts,
        "seccomp": program,
        "seccomp_flags": flags,
    }


def _defaults(plan: Plan, fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "capability_sets": fields["capability_sets"],
        "no_new_privileges": fields["no_new_privileges"],
        "seccomp": json.dumps(plan.seccomp.members) if plan.seccomp else "",
    }


def _run_late_hooks(container: Bundled, name: str, warn: Warn) -> None:
    """Hooks after whose failure there is nothing to undo: each is told of, the others are run."""
    state = json.dumps(container.document("stopped" if name == "poststop" else None)).encode()
    for hook in _from_json(container.hooks.get(name, ())):
        try:
            run_hooks([hook], state)
        except HookFailed as error:
            warn(f"{name}: {error.strerror}")


def _as_json(hooks: Iterable[Any]) -> list[Any]:
    return [
        [os.fsdecode(path), [os.fsdecode(word) for word in arguments],
         [[os.fsdecode(key), os.fsdecode(value)] for key, value in environment], seconds]
        for path, arguments, environment, seconds in hooks
    ]  # fmt: skip


def _from_json(hooks: Iterable[Any]) -> list[Any]:
    return [
        (os.fsencode(path), tuple(map(os.fsencode, arguments)),
         tuple((os.fsencode(key), os.fsencode(value)) for key, value in environment), seconds)
        for path, arguments, environment, seconds in hooks
    ]  # fmt: skip


class _opened:
    """A namespace's file, checked to be of its kind, as a context manager."""

    def __init__(self, path: str, kind: int) -> None:
        self._path, self._kind = path, kind

    def __enter__(self) -> int:
        self._fd = check_kind(self._path, self._kind)
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _differing_namespaces(pid: int) -> int:
    kinds = 0
    for name, file in (("mount", "mnt"), ("network", "net"), *((k, k) for k in KINDS)):
        with suppress(FileNotFoundError):
            theirs, ours = os.stat(f"/proc/{pid}/ns/{file}"), os.stat(f"/proc/self/ns/{file}")
            if theirs.st_ino != ours.st_ino:
                kinds |= KINDS[name]
    return kinds


def _set_oom_score(pid: int, score: int) -> None:
    try:
        with open(f"/proc/{pid}/oom_score_adj", "w", encoding="ascii") as file:
            file.write(str(score))
    except PermissionError as error:
        raise SetupFailed(
            "set oomScoreAdj", error.errno or 0, f"only root may set it below what it is ({score})"
        ) from error


def _write_pid(path: str, pid: int) -> None:
    """For who waits for the file: it is there with its content, or not at all."""
    with open(f"{path}.new", "w", encoding="ascii") as file:
        file.write(str(pid))
    os.rename(f"{path}.new", path)
