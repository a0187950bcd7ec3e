"""The options of `docker run`, `create` and their like that lamina refuses, and why."""

from __future__ import annotations

from collections.abc import Mapping

from builder.commands.refusals import Missing

_NO_LIMITS = Missing(why="limits on memory, processors and devices are not supported yet")
_NO_SECURITY = Missing(why="containers always run under the default profile so far")
_NO_NAMESPACES = Missing(why="namespaces cannot be chosen yet")
_NO_WINDOWS = Missing(why="it is for Windows containers")
_NO_DAEMON = Missing(why="there is no daemon")

RUN_REFUSED: Mapping[str, Missing] = {
    "--annotation": Missing(why="annotations are not supported", hint="--label"),
    "--blkio-weight": _NO_LIMITS,
    "--blkio-weight-device": _NO_LIMITS,
    "--cap-add": _NO_SECURITY,
    "--cap-drop": _NO_SECURITY,
    "--cgroup-parent": _NO_LIMITS,
    "--cgroupns": _NO_NAMESPACES,
    "--cpu-count": _NO_WINDOWS,
    "--cpu-percent": _NO_WINDOWS,
    "--cpu-period": _NO_LIMITS,
    "--cpu-quota": _NO_LIMITS,
    "--cpu-rt-period": _NO_LIMITS,
    "--cpu-rt-runtime": _NO_LIMITS,
    "-c": _NO_LIMITS,
    "--cpu-shares": _NO_LIMITS,
    "--cpus": _NO_LIMITS,
    "--cpuset-cpus": _NO_LIMITS,
    "--cpuset-mems": _NO_LIMITS,
    "--device": Missing(why="devices of the host's cannot be given yet"),
    "--device-cgroup-rule": _NO_LIMITS,
    "--device-read-bps": _NO_LIMITS,
    "--device-read-iops": _NO_LIMITS,
    "--device-write-bps": _NO_LIMITS,
    "--device-write-iops": _NO_LIMITS,
    "--disable-content-trust": Missing(why="there is no content trust"),
    "--gpus": Missing(why="GPUs are not supported"),
    "--group-add": _NO_SECURITY,
    "--io-maxbandwidth": _NO_WINDOWS,
    "--io-maxiops": _NO_WINDOWS,
    "--ipc": _NO_NAMESPACES,
    "--isolation": _NO_WINDOWS,
    "--kernel-memory": _NO_LIMITS,
    "--link": Missing(
        why="containers are not linked",
        hint="lamina network create NAME: containers with --network NAME find each other by name",
    ),
    "--link-local-ip": Missing(why="link-local addresses cannot be chosen", hint="--ip"),
    "-m": _NO_LIMITS,
    "--memory": _NO_LIMITS,
    "--memory-reservation": _NO_LIMITS,
    "--memory-swap": _NO_LIMITS,
    "--memory-swappiness": _NO_LIMITS,
    "--oom-kill-disable": _NO_LIMITS,
    "--oom-score-adj": _NO_LIMITS,
    "--pid": _NO_NAMESPACES,
    "--pids-limit": _NO_LIMITS,
    "--privileged": _NO_SECURITY,
    "-q": Missing(why="pulling says what it does, on standard error"),
    "--quiet": Missing(why="pulling says what it does, on standard error"),
    "--runtime": Missing(why="there is no other runtime to choose yet"),
    "--security-opt": _NO_SECURITY,
    "--storage-opt": Missing(why="the size of a container's root cannot be limited"),
    "--sysctl": Missing(why="kernel parameters of a container cannot be set yet"),
    "--ulimit": Missing(why="resource limits cannot be set yet"),
    "--use-api-socket": _NO_DAEMON,
    "--userns": _NO_NAMESPACES,
    "--uts": _NO_NAMESPACES,
}
