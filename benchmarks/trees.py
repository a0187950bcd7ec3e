"""Trees to measure with: made up, but compressed and read as source trees and packages are."""

from __future__ import annotations

import random
from pathlib import Path

SEED = 20_240_229
POOL = 24 << 20
WORDS = 8_000
PHRASES = 30_000
FILES_IN_A_FOLDER = 60
INCOMPRESSIBLE = 5  # of a hundred files, as images and archives are


def make_tree(folder: Path, *, files: int, size: int) -> None:
    """Write `files` files of about `size` bytes in all; the same ones wherever it is called.

    Sizes are spread as in real trees: most files are small, most bytes are in large ones. Text
    comes from one pool, longer than what a compressor of layers looks back.
    """
    numbers = random.Random(SEED)
    pool = _text(numbers)
    noise = numbers.randbytes(8 << 20)
    weights = [numbers.lognormvariate(0.0, 1.6) for _ in range(files)]
    scale = size / sum(weights)
    place = folder
    for number, weight in enumerate(weights):
        if number % FILES_IN_A_FOLDER == 0:
            depth = numbers.randrange(1, 4)
            names = [f"part{numbers.randrange(30):02}" for _ in range(depth)]
            place = folder.joinpath(*names, f"set{number // FILES_IN_A_FOLDER:04}")
            place.mkdir(parents=True)
        length = max(1, round(weight * scale))
        source = noise if numbers.randrange(100) < INCOMPRESSIBLE else pool
        (place / f"{numbers.randrange(1 << 20):05x}-{number}.py").write_bytes(
            _slice(source, length, numbers)
        )


def _slice(source: bytes, length: int, numbers: random.Random) -> bytes:
    parts = []
    while length > 0:
        count = min(length, len(source) // 2)
        start = numbers.randrange(len(source) - count)
        parts.append(source[start : start + count])
        length -= count
    return b"".join(parts)


def _text(numbers: random.Random) -> bytes:
    """Lines of a made-up language; words and whole phrases come again, as in source code."""
    letters = "eeeettaaooiinnsshhrrddlucmfwygpbvk"
    words = ["".join(numbers.choices(letters, k=numbers.randrange(2, 11))) for _ in range(WORDS)]
    words += ["(", ")", " = ", "self.", "return ", "():", ", ", "None"] * (WORDS // 80)
    numbers.shuffle(words)
    shares = [1 / (rank + 8) for rank in range(len(words))]
    phrases = [
        " ".join(numbers.choices(words, weights=shares, k=numbers.randrange(1, 7))) + end
        for end in numbers.choices((" ", "\n", "\n    ", "\n        "), k=PHRASES)
    ]
    shares = [1 / (rank + 40) for rank in range(PHRASES)]
    text = bytearray()
    while len(text) < POOL:
        text += "".join(numbers.choices(phrases, weights=shares, k=100_000)).encode()
    return bytes(text[:POOL])
