"""What a build's plain log says of its steps."""

from __future__ import annotations

import re
from pathlib import Path

from support.cli import Outcome


def cached_steps(outcome: Outcome) -> dict[str, bool]:
    """Each step's text in the plain log, and whether it came from the cache."""
    texts: dict[str, str] = {}
    cached: dict[str, bool] = {}
    for number, rest in re.findall(r"^#(\d+) (.*)$", outcome.text, re.MULTILINE):
        if match := re.fullmatch(r"\[.*\d+/\d+\] (.*)", rest):
            texts[number] = match[1]
        elif rest == "CACHED" or rest.startswith("DONE"):
            cached[texts[number]] = rest == "CACHED"
    return cached


TEN_STEPS = """\
FROM busybox AS build
WORKDIR /src
COPY lib lib
RUN cat lib/a lib/b > /ab
COPY --link main .
RUN cat /ab main > /out && echo built > /log
FROM busybox
WORKDIR /srv/app
RUN echo one > /one
COPY --from=build /out /srv/app/out
COPY --chown=1:1 lib/a /etc/a
RUN --mount=from=build,target=/b cat /b/log /one > /two
"""
"""Two stages that between them copy, link, mount and run."""


def ten_steps(folder: Path) -> Path:
    """A context with `TEN_STEPS`."""
    (folder / "lib").mkdir(parents=True)
    (folder / "Dockerfile").write_text(TEN_STEPS)
    (folder / "lib" / "a").write_text("a\n")
    (folder / "lib" / "b").write_text("b\n")
    (folder / "main").write_text("main\n")
    return folder
