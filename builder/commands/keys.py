"""The keys that let go of a container: `--detach-keys`, by default ctrl-p,ctrl-q."""

from __future__ import annotations

from typing import Final

from builder.errors import OptionError

DEFAULT_KEYS: Final = "ctrl-p,ctrl-q"
_SPECIAL: Final = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse_keys(text: str) -> bytes:
    """The bytes of `ctrl-p,ctrl-q` or `a,b`; `OptionError`."""
    keys = bytearray()
    for word in text.split(","):
        if len(word) == 1 and word.isascii():
            keys += word.encode()
            continue
        prefix, _, key = word.partition("-")
        if prefix != "ctrl" or len(key) != 1:
            raise OptionError(
                f"invalid --detach-keys {text!r}", hint="a letter or ctrl-letter, with commas"
            )
        if key.isascii() and key.isalpha():
            keys.append(ord(key.lower()) - ord("a") + 1)
        elif key in _SPECIAL:
            keys.append(_SPECIAL[key])
        else:
            raise OptionError(
                f"invalid --detach-keys {text!r}", hint="ctrl-a to ctrl-z, ctrl-@[\\]^_"
            )
    return bytes(keys)


class KeyWatch:
    """Looks for the keys in what is typed, however it is cut into pieces."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._seen = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What is to be passed on of it, and whether the keys were there.

        The beginning of the keys is held back until it is clear that they are not coming.
        """
        passed = bytearray()
        for byte in data:
            if byte == self._keys[self._seen]:
                self._seen += 1
                if self._seen == len(self._keys):
                    self._seen = 0
                    return bytes(passed), True
                continue
            passed += self._keys[: self._seen]
            self._seen = 1 if byte == self._keys[0] else 0
            if not self._seen:
                passed.append(byte)
        return bytes(passed), False
