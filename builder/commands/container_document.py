"""A container as docker's `inspect` shows it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from builder.commands.container_limits import limits_document
from builder.commands.container_mounts_document import (
    binds_document,
    mounts_document,
    tmpfs_document,
)
from builder.commands.container_networks import network_settings, port_bindings
from runtime.containers.record import Container
from runtime.containers.signals import signal_name
from runtime.monitor import files
from runtime.monitor.times import rfc3339_nano
from runtime.sandbox.capabilities import capability_names

_NEVER = "0001-01-01T00:00:00Z"
_SHM_SIZE = 64 << 20


def container_document(
    container: Container, wired: Mapping[str, Any], *, size: bool = False
) -> dict[str, Any]:
    """Everything there is to say of a container, in docker's form and under docker's names.

    What lamina has no equivalent for is not there. `wired` are the containers on networks now.
    """
    description, spec, state = container.description, container.spec, container.state
    log = os.path.join(container.folder, files.LOG)
    document: dict[str, Any] = {
        "Id": container.id,
        "Created": rfc3339_nano(description.created_ns),
        "Path": description.argv[0],
        "Args": list(description.argv[1:]),
        "State": _state(container),
        "Image": description.image_id,
        "LogPath": log if spec.log.kept and state.monitored else "",
        "Name": f"/{container.name}",
        "RestartCount": state.restarts,
        "Driver": "overlay",
        "HostConfig": _host_config(container),
        "GraphDriver": {
            "Name": "overlay",
            "Data": {"UpperDir": os.path.join(container.folder, "upper")},
        },
        "Mounts": mounts_document(container),
        "Config": _config(container),
        "NetworkSettings": network_settings(container, wired),
    }
    if size:
        from builder.commands.container_size import tree_size

        document["SizeRw"] = tree_size(os.path.join(container.folder, "upper"))
    return document


def _state(container: Container) -> dict[str, Any]:
    state = container.state
    unknown = state.status == "exited" and state.exit_status is None
    document: dict[str, Any] = {
        "Status": state.status,
        "Running": container.is_active,
        "Paused": state.status == "paused",
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": state.status == "dead",
        "Pid": state.process.pid if state.process is not None else 0,
        "ExitCode": 255 if unknown else state.exit_status or 0,
        "Error": state.error or ("whoever ran it was killed" if unknown else ""),
        "StartedAt": rfc3339_nano(state.started_ns) if state.started_ns else _NEVER,
        "FinishedAt": rfc3339_nano(state.finished_ns) if state.finished_ns else _NEVER,
    }
    if state.health is not None:
        document["Health"] = dict(state.health)
    return document


def _config(container: Container) -> dict[str, Any]:
    description, spec = container.description, container.spec
    return {
        "Hostname": description.hostname,
        "Domainname": spec.network.domainname,
        "ExposedPorts": {f"{port}/{protocol}": {} for port, protocol in spec.network.exposed},
        "User": spec.user or "",
        "OpenStdin": spec.open_stdin,
        "StdinOnce": spec.stdin_once,
        "Tty": spec.terminal,
        "Env": [f"{name}={value}" for name, value in description.env],
        "Cmd": list(spec.command) or None,
        "Entrypoint": list(spec.entrypoint) if spec.entrypoint is not None else None,
        "Healthcheck": spec.health.to_json() if spec.health is not None else None,
        "Image": spec.image,
        "WorkingDir": spec.working_dir or "",
        "Labels": dict(spec.labels),
        "StopSignal": signal_name(spec.stop_signal) if spec.stop_signal else "SIGTERM",
        "StopTimeout": spec.stop_seconds,
    }


def _host_config(container: Container) -> dict[str, Any]:
    spec = container.spec
    options = {}
    if spec.log.max_size is not None:
        options = {"max-size": str(spec.log.max_size), "max-file": str(spec.log.max_files)}
    return {
        "Annotations": dict(spec.security.annotations),
        "AutoRemove": spec.remove,
        **limits_document(spec),
        "Binds": binds_document(spec),
        "CapAdd": list(spec.security.added) or None,
        "CapDrop": list(spec.security.dropped) or None,
        "CapEffective": list(capability_names(spec.capabilities)),
        "CgroupnsMode": spec.security.cgroup,
        "ExtraHosts": [f"{name}:{address}" for name, address in spec.extra_hosts],
        "GroupAdd": list(spec.security.groups) or None,
        "Init": spec.init,
        "IpcMode": spec.security.ipc,
        "PidMode": "" if spec.security.pid == "private" else spec.security.pid,
        "Privileged": spec.security.privileged,
        "SecurityOpt": list(spec.security.options) or None,
        "Sysctls": dict(spec.security.sysctls),
        "UTSMode": "" if spec.security.uts == "private" else spec.security.uts,
        "UsernsMode": "" if spec.security.user == "host" else spec.security.user,
        "Tmpfs": tmpfs_document(spec),
        "VolumesFrom": [f"{name}:{'ro' if ro else 'rw'}" for name, ro in spec.volumes_from],
        "LogConfig": {"Type": "k8s-file" if spec.log.kept else "none", "Config": options},
        "NetworkMode": spec.network.label,
        "PortBindings": port_bindings(container),
        "PublishAllPorts": spec.network.publish_all,
        "Dns": list(spec.network.names.servers),
        "DnsOptions": list(spec.network.names.options),
        "DnsSearch": list(spec.network.names.search),
        "ReadonlyRootfs": spec.read_only,
        "RestartPolicy": {"Name": spec.restart, "MaximumRetryCount": spec.restarts},
        "ShmSize": spec.shm_size or _SHM_SIZE,
    }
