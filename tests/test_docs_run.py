"""The tables of docs/run.md say what the commands do, and name every option docker has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from builder.commands.container_control import stop_command
from builder.commands.container_exec import EXEC_REFUSED, exec_command
from builder.commands.container_list import ps_command
from builder.commands.container_logs import logs_command
from builder.commands.container_refused import RUN_REFUSED
from builder.commands.container_run import run_command
from builder.commands.refusals import Missing
from builder.errors import OptionError

_ROW = re.compile(
    r"\| `(?P<verb>[a-z]+) (?P<option>--[a-z0-9-]+)` \| (?P<status>\w+) \|(?P<note>.*)\|"
)
_NONE: Mapping[str, Missing] = {}
COMMANDS: dict[str, tuple[click.Command, Mapping[str, Missing]]] = {
    "run": (run_command, RUN_REFUSED),
    "exec": (exec_command, EXEC_REFUSED),
    "ps": (ps_command, _NONE),
    "logs": (logs_command, _NONE),
    "stop": (stop_command, _NONE),
}
# The options of docker 28, by their long names.
DOCKER = {
    "run": (
        "add-host annotation attach blkio-weight blkio-weight-device cap-add cap-drop "
        "cgroup-parent cgroupns cidfile cpu-period cpu-quota cpu-rt-period cpu-rt-runtime "
        "cpu-shares cpus cpuset-cpus cpuset-mems detach detach-keys device device-cgroup-rule "
        "device-read-bps device-read-iops device-write-bps device-write-iops "
        "disable-content-trust dns dns-option dns-search domainname entrypoint env env-file "
        "expose gpus group-add health-cmd health-interval health-retries health-start-interval "
        "health-start-period health-timeout hostname init interactive ip ip6 ipc isolation "
        "kernel-memory label label-file link link-local-ip log-driver log-opt mac-address "
        "memory memory-reservation memory-swap memory-swappiness mount name network "
        "network-alias no-healthcheck oom-kill-disable oom-score-adj pid pids-limit platform "
        "privileged publish publish-all pull quiet read-only restart rm runtime security-opt "
        "shm-size sig-proxy stop-signal stop-timeout storage-opt sysctl tmpfs tty ulimit "
        "use-api-socket user userns uts volume volume-driver volumes-from workdir"
    ),
    "exec": "detach detach-keys env env-file interactive privileged tty user workdir",
    "ps": "all filter format last latest no-trunc quiet size",
    "logs": "details follow since tail timestamps until",
    "stop": "signal timeout",
}


def told(verb: str) -> dict[str, tuple[str, str]]:
    """Status and note of each option in the table of a verb."""
    text = (Path(__file__).parents[1] / "docs" / "run.md").read_text()
    found = [match for match in _ROW.finditer(text) if match["verb"] == verb]
    assert len({match["option"] for match in found}) == len(found)
    return {match["option"]: (match["status"], match["note"].strip()) for match in found}


def known(verb: str) -> set[str]:
    """All names of a verb's options."""
    command, _ = COMMANDS[verb]
    return {
        name
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for name in parameter.opts
        if name.startswith("--")
    }


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_option_is_told_of(verb: str) -> None:
    rows = told(verb)
    assert {f"--{name}" for name in DOCKER[verb].split()} <= rows.keys()
    _, refused = COMMANDS[verb]
    for option, (status, note) in rows.items():
        assert status in ("works", "differs", "refused")
        assert note or status == "works", option
        assert (option in refused) == (status == "refused"), option
        assert (option in known(verb)) == (status != "refused"), option
    command, _ = COMMANDS[verb]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert rows.keys() & set(parameter.opts), parameter.opts


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_what_is_refused_says_why(verb: str) -> None:
    command, refused = COMMANDS[verb]
    for option, missing in refused.items():
        for words in ([option, "value", "name", "true"], [f"{option}=value", "name", "true"]):
            if not option.startswith("--") and "=" in words[0]:
                continue
            with pytest.raises(OptionError) as caught:
                command.make_context(verb, words)
            assert caught.value.message == f"{option}: {missing.why}"
