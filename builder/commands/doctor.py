"""`lamina doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

_SIGNS = {"works": "ok", "limited": "limited", "missing": "MISSING"}


@click.command("doctor", short_help="Say what works here, what does not, and what would mend it.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
@click.pass_obj
def doctor_command(root: str, as_json: bool) -> int:
    """Try what builds and containers need, as this user on this machine.

    The exit status is 1 if nothing can be built or run here.
    """
    from runtime.doctor.containers import probe_containers
    from runtime.doctor.limits import probe_limits
    from runtime.doctor.networks import probe_networks
    from runtime.doctor.surroundings import (
        nearest_folder,
        probe_git,
        probe_kernel,
        probe_platforms,
        probe_store,
    )

    store = probe_store(root)
    found = [probe_kernel(), store]
    if store.state != "missing":
        found.append(probe_containers(nearest_folder(root)))
    found += [probe_limits(), probe_networks(), probe_platforms(), probe_git()]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        for finding in found:
            click.echo(f"{_SIGNS[finding.state]:<9}{finding.name:<12}{finding.detail}")
            if finding.remedy:
                click.echo(f"{'':<21}-> {finding.remedy}")
    return int(any(finding.needed and finding.state == "missing" for finding in found))
