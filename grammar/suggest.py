"""Guessing what a misspelt word should have been."""

from __future__ import annotations

from collections.abc import Iterable

FARTHEST = 2
"""How many letters may be wrong; what BuildKit suggests lies within this, too."""


def distance(one: str, other: str) -> int:
    """How many letters to insert, drop, replace or swap with the next turn one word to other."""
    before: list[int] = []
    above = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        line = [row]
        for column, expected in enumerate(other, 1):
            replaced = above[column - 1] + (letter != expected)
            best = min(above[column] + 1, line[-1] + 1, replaced)
            if row > 1 < column and one[row - 2] == expected and letter == other[column - 2]:
                best = min(best, before[column - 2] + 1)
            line.append(best)
        before, above = above, line
    return above[-1]


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word nearest to `word`, if it is near; the first of several as near.

    A word that cannot be shown is never suggested: nobody means one.
    """
    best, shortest = None, FARTHEST + 1
    for candidate in known:
        if abs(len(candidate) - len(word)) < shortest:
            steps = distance(word, candidate)
            if 0 < steps < shortest and candidate.isprintable():
                best, shortest = candidate, steps
    return best


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean X?)`, or nothing where no known word is near."""
    guess = closest(word, known)
    return "" if guess is None else f" (did you mean {guess}?)"
