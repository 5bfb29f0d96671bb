"""How many columns of a terminal a text takes."""

from __future__ import annotations

import unicodedata


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a printable text takes."""
    return len(text) if text.isascii() else sum(map(_columns_of_character, text))


def cut(text: str, width: int, more: str) -> str:
    """Return a text that takes no more columns than that; where something is cut off, it ends in `more`."""
    text = text[: 4 * max(width, 1)]  # names may be very long
    if columns_of(text) <= width:
        return text
    left = width - len(more)
    if left <= 0:
        return ""
    shown = ""
    for character in text:
        left -= _columns_of_character(character)
        if left < 0:
            shown += " " * (left + _columns_of_character(character))  # half of a wide character
            break
        shown += character
    return f"{shown}{more}"


def _columns_of_character(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me"}:  # an accent on what stands before it
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
