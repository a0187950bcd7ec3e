"""Which characters separate things."""

from __future__ import annotations

from typing import Final

BLANKS: Final = " \t\v\f\r"
"""What separates an instruction's words; a no-break space is a letter there."""

SPACE: Final = (
    BLANKS
    + "\n\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"
    + "".join(map(chr, range(0x2000, 0x200B)))
)
"""Unicode's white space: what is trimmed off lines, and separates expanded words."""
