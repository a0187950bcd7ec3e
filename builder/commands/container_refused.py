"""The options of `docker run`, `create` and their like that lamina refuses, and why."""

from __future__ import annotations

from collections.abc import Mapping

from builder.commands.refusals import Missing

_NO_REALTIME = Missing(
    why="real-time scheduling cannot be given to containers", hint="--cpu-shares, --cpus"
)
_NO_WINDOWS = Missing(why="it is for Windows containers")
_NO_DAEMON = Missing(why="there is no daemon")

RUN_REFUSED: Mapping[str, Missing] = {
    "--blkio-weight-device": Missing(
        why="weights of single devices are not supported", hint="--blkio-weight"
    ),
    "--cpu-count": _NO_WINDOWS,
    "--cpu-percent": _NO_WINDOWS,
    "--cpu-rt-period": _NO_REALTIME,
    "--cpu-rt-runtime": _NO_REALTIME,
    "--disable-content-trust": Missing(why="there is no content trust"),
    "--gpus": Missing(why="GPUs are not supported"),
    "--io-maxbandwidth": _NO_WINDOWS,
    "--io-maxiops": _NO_WINDOWS,
    "--isolation": _NO_WINDOWS,
    "--kernel-memory": Missing(
        why="Linux no longer limits the kernel's memory by itself", hint="--memory"
    ),
    "--link": Missing(
        why="containers are not linked",
        hint="lamina network create NAME: containers with --network NAME find each other by name",
    ),
    "--link-local-ip": Missing(why="link-local addresses cannot be chosen", hint="--ip"),
    "--storage-opt": Missing(why="the size of a container's root cannot be limited"),
    "--use-api-socket": _NO_DAEMON,
}
