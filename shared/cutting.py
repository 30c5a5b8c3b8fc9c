"""What came from outside, cut before a sentence repeats it: a long value must not make a long answer."""

from typing import Any

SHOWN = 100
"""How many characters of a wrong value are repeated."""


def cut(text: str, most: int = SHOWN) -> str:
    """A text of at most so many characters: a longer one ends in `…`."""
    return text if len(text) <= most else text[: most - 1] + "…"


def shown(value: Any, most: int = SHOWN) -> str:
    """A wrong value in quotation marks, as Python writes it, at most so many characters of it."""
    return repr(cut(value, most)) if isinstance(value, str) else cut(repr(value), most)
