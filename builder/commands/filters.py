"""`--filter KEY=VALUE`, as all that lists has it: of each key one value must fit, of labels all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from builder.errors import OptionError

Wanted = dict[str, list[str]]
_TRUE, _FALSE = ("1", "t", "true"), ("0", "f", "false")


def parsed_filters(
    filters: Sequence[str],
    keys: Collection[str],
    can_be: Callable[[str, str], bool] = lambda _key, _value: True,
) -> Wanted:
    """The values that are given for each of the `keys`; `OptionError` for a filter that is none,
    or whose value its key cannot have."""
    wanted: Wanted = {}
    for text in filters:
        key, equals, value = text.partition("=")
        if not equals or key not in keys or not can_be(key, value):
            hint = f"KEY=VALUE; KEY: {', '.join(keys)}"
            raise OptionError(f"invalid --filter {text!r}", hint=hint)
        wanted.setdefault(key, []).append(value)
    return wanted


def all_fit(wanted: Mapping[str, Sequence[str]], fits: Callable[[str, str], object]) -> bool:
    """Whether something is let through, of which `fits` says whether a key's value does."""
    return all(
        (all if key.startswith("label") else any)(fits(key, value) for value in values)
        for key, values in wanted.items()
    )


def fits_label(labels: Mapping[str, str], key: str, value: str) -> bool:
    """Whether there is a label NAME or NAME=TEXT; with the key `label!`, whether there is none."""
    name, equals, text = value.partition("=")
    has = name in labels and (not equals or labels[name] == text)
    return has != key.endswith("!")


def is_true(value: str) -> bool:
    """What `dangling=` says."""
    return value in _TRUE


def is_boolean(value: str) -> bool:
    """Whether it says anything."""
    return value in _TRUE + _FALSE
