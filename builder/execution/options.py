"""How a plan is carried out: nothing here changes what an image is made of."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime.cgroups.limits import NO_LIMITS, Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteOptions:
    """Choices for one build.

    `secrets` are values by ID, `ssh` the paths of agents' sockets by ID. `no_cache_stages` names
    stages whose steps always run; `jobs` is how many commands may run at once. `network` is what
    a RUN without `--network` gets. `limits` hold for each RUN, whose cgroup is made in
    `cgroup_parent`. `ulimits` are (resource, soft, hard), `authorities`
    certificates (PEM) that every RUN trusts. With `expect_cached`, a step that would have to run is
    an error. With `resume`, a step that failed before has what it left then, mended since, for
    its layer.
    """

    use_cache: bool = True
    no_cache_stages: frozenset[str] = frozenset()
    drop_noise: bool = True
    jobs: int = field(default_factory=lambda: max(2, os.cpu_count() or 1))
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    ssh: Mapping[str, str] = field(default_factory=dict)
    network: str = "default"
    allow: frozenset[str] = frozenset()
    extra_hosts: tuple[tuple[str, str], ...] = ()
    shm_size: int | None = None
    limits: Limits = NO_LIMITS
    cgroup_parent: str | None = None
    ulimits: tuple[tuple[int, int, int], ...] = ()
    authorities: bytes | None = None
    expect_cached: bool = False
    resume: bool = False

    def uses_cache(self, stage: str) -> bool:
        """Whether results of earlier builds may stand for a stage's steps."""
        return self.use_cache and stage not in self.no_cache_stages
