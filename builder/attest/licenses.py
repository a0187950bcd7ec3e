"""Licences as packages declare them, where SPDX can say the same.

SPDX wants its own identifiers, and a list of them is not what this program is for: those that
nearly all packages have are known here, and anything else is quoted, not translated.
"""

from __future__ import annotations

import re
from typing import Final

_KNOWN: Final = frozenset(
    (
        "0BSD", "AFL-2.1", "AGPL-3.0-only", "AGPL-3.0-or-later", "Apache-2.0", "Artistic-2.0",
        "BlueOak-1.0.0", "BSD-2-Clause", "BSD-3-Clause", "BSD-4-Clause", "BSL-1.0", "CC-BY-3.0",
        "CC-BY-4.0", "CC0-1.0", "curl", "EPL-1.0", "EPL-2.0", "FTL", "GFDL-1.3-or-later",
        "GPL-1.0-or-later", "GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only",
        "GPL-3.0-or-later", "HPND", "ICU", "IJG", "ISC", "LGPL-2.0-only", "LGPL-2.0-or-later",
        "LGPL-2.1-only", "LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later", "Libpng",
        "MIT", "MIT-0", "MPL-1.1", "MPL-2.0", "NCSA", "OFL-1.1", "OpenSSL", "PostgreSQL",
        "PSF-2.0", "Python-2.0", "TCL", "Unicode-3.0", "Unicode-DFS-2016", "Unlicense", "W3C",
        "WTFPL", "X11", "Zlib", "ZPL-2.1",
    )
)  # fmt: skip
_WORD: Final = re.compile(r"\(|\)|[^\s()]+")
_OPERATORS: Final = ("AND", "OR")


def license_expression(text: str) -> str | None:
    """What was declared, as an SPDX expression; `None` if it is none of known licences."""
    words = _WORD.findall(text)
    depth, wants_license = 0, True
    for word in words:
        if word == "(" and wants_license:
            depth += 1
        elif word == ")" and depth and not wants_license:
            depth -= 1
        elif word in _OPERATORS and not wants_license:
            wants_license = True
        elif word in _KNOWN and wants_license:
            wants_license = False
        else:
            return None
    if depth or wants_license:
        return None
    return " ".join(words).replace("( ", "(").replace(" )", ")")
