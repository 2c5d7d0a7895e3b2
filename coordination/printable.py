"""Makes text safe to print that quotes what others wrote. Standard library only, Python 3.10 or newer."""

from __future__ import annotations

import re

# What a terminal obeys or what hides other text: control characters, marks of writing direction; halves of surrogate
# pairs, which no output can encode. The end of a line and the tab stay.
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""The text with each unsafe character as its escape, such as ``\x1b``."""
    return UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)
