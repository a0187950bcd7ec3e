"""How instructions are written in an image's history (dockerfile.md 6.2).

These texts are read by people and by tools that reconstruct Dockerfiles from images: they are
BuildKit's to the letter.
"""

from __future__ import annotations

from collections.abc import Sequence

from builder.plan.variables import Pairs
from grammar.nodes import Heredoc
from runtime.image.model import Healthcheck


def run(argv: Sequence[str], arguments: Pairs) -> str:
    """`RUN |1 K=V /bin/sh -c make # buildkit`."""
    declared = [f"|{len(arguments)}", *(f"{k}={v}" for k, v in arguments)] if arguments else []
    return " ".join(["RUN", *declared, *argv, "# buildkit"])


def copy(
    keyword: str,
    sources: Sequence[str | Heredoc],
    destination: str,
    *,
    parents: bool,
    chown: str | None,
    chmod: str | None,
) -> str:
    """`COPY --chown=app a b /dest # buildkit`; a heredoc is shown by its name."""
    flags = ["--parents"] if parents else []
    flags += [f"--chown={chown}"] if chown else []
    flags += [f"--chmod={chmod}"] if chmod else []
    shown = [f"<<{s.name}" if isinstance(s, Heredoc) else s for s in sources]
    return " ".join([keyword, *flags, *shown, destination, "# buildkit"])


def pairs(keyword: str, values: Pairs) -> str:
    """`ENV a=1 b=2`."""
    return " ".join([keyword, *(f"{key}={value}" for key, value in values)])


def arguments(values: Sequence[tuple[str, str | None]]) -> str:
    """`ARG a=1 b`."""
    return " ".join(["ARG", *(name if v is None else f"{name}={v}" for name, v in values)])


def quoted(keyword: str, argv: Sequence[str]) -> str:
    """`CMD ["/bin/sh" "-c" "x"]`: a Go list of quoted strings has no commas."""
    return f"{keyword} [{' '.join(_quote(word) for word in argv)}]"


def listed(keyword: str, words: Sequence[str]) -> str:
    """`EXPOSE [80/tcp 81/tcp]`."""
    return f"{keyword} [{' '.join(words)}]"


def healthcheck(health: Healthcheck) -> str:
    """`HEALTHCHECK {Test:[CMD-SHELL x] Interval:1s …}`."""
    return (
        f"HEALTHCHECK {{Test:[{' '.join(health.test)}] Interval:{_duration(health.interval_ns)} "
        f"Timeout:{_duration(health.timeout_ns)} StartPeriod:{_duration(health.start_period_ns)} "
        f"StartInterval:{_duration(health.start_interval_ns)} Retries:{health.retries}}}"
    )


def _quote(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r") + '"'


def _duration(nanoseconds: int) -> str:
    """As Go prints a `time.Duration`: `1m30s`, `500ms`, `0s`."""
    if nanoseconds == 0:
        return "0s"
    for unit, size in (("ns", 1_000), ("µs", 1_000_000), ("ms", 1_000_000_000)):
        if nanoseconds < size:
            return _decimal(nanoseconds / (size // 1_000)) + unit
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    text = f"{hours}h" if hours else ""
    text += f"{minutes}m" if hours or minutes else ""
    return text + _decimal(seconds + rest / 1_000_000_000) + "s"


def _decimal(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")
