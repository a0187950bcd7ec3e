"""Tables, sizes and ages as `docker` prints them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

_GAP = 3


def table(heads: list[str], rows: list[list[str]]) -> str:
    """Columns aligned under their heads; no trailing blanks."""
    lines = [heads, *rows]
    widths = [max(len(line[n]) for line in lines) + _GAP for n in range(len(heads))]
    return "\n".join(
        "".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def listing(
    form: str,
    rows: Sequence[Mapping[str, str]],
    heads: Mapping[str, str],
    shown: Sequence[str],
    labels: Sequence[Mapping[str, str]] = (),
) -> str:
    """Rows as `--format` has them: `table` of the columns `shown`, `json`, or a template
    (`formatted`)."""
    if form == "table":
        cells = [[row[key] for key in shown] for row in rows]
        return table([heads[key] for key in shown], cells) + "\n"
    if form == "json":
        return "".join(json.dumps(row) + "\n" for row in rows)
    return formatted(form, rows, heads, labels)


def formatted(
    form: str,
    rows: Sequence[Mapping[str, str]],
    heads: Mapping[str, str],
    labels: Sequence[Mapping[str, str]] = (),
) -> str:
    """Rows by a template of `--format`; with `table ` before it under the columns' heads.

    `\\t` and `\\n` in it are what they say. `.Label "key"` gives one of a row's `labels`.
    `OptionError` for a template that cannot be.
    """
    from builder.commands.templates import Template

    is_table = form.startswith("table ")
    text = form.removeprefix("table ").replace("\\t", "\t").replace("\\n", "\n")
    template = Template(text)
    found = labels or [{}] * len(rows)
    lines = [template.render(row, label=own.get) for row, own in zip(rows, found, strict=True)]
    if not is_table:
        return "".join(line + "\n" for line in lines)
    head = template.render(heads, label=lambda key: key.upper())
    cells = [line.split("\t") for line in (head, *lines)]
    width = max(map(len, cells))
    padded = [line + [""] * (width - len(line)) for line in cells]
    return table(padded[0], padded[1:]) + "\n"


def size_text(size: int) -> str:
    """`4.26MB`: decimal units, three digits that count."""
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            return f"{amount:.3g}{unit}" if amount < 1000 else f"{amount:.0f}{unit}"
        amount /= 1000
    raise AssertionError


def ago(seconds: float) -> str:
    """`3 hours ago`."""
    units = ((60, "second"), (60, "minute"), (24, "hour"), (7, "day"), (4.35, "week"))
    amount = max(0.0, seconds)
    for count, name in units:
        if amount < count * (2 if name in ("day", "week") else 1):
            return _count(int(amount), name)
        amount /= count
    return _count(int(amount), "month") if amount < 24 else _count(int(amount / 12), "year")


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'} ago"
