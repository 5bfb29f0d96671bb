"""Texts of any origin as they are shown to people: one line of them, cut, with nothing in them that terminals obey."""

from __future__ import annotations

from collections.abc import Sequence

#: Of what stands for many, so many are named.
MOST_NAMED = 3


def first_line(text: str) -> str:
    """Return the first line of a text, without blanks around it."""
    return (text.strip().splitlines() or [""])[0].rstrip()


#: Of a message that stands in a line of others, so many characters are shown.
MOST_OF_MESSAGE = 300


def shown_message(text: str, most: int | None = MOST_OF_MESSAGE) -> str:
    """Return a message as it stands in a line of others: its first line, and how much more of it there is.

    Args:
        text: any text.
        most: characters of the longest line; None for no limit.
    """
    line = first_line(text)
    if most is None or len(line) <= most:
        return line
    return f"{line[:most]}… {len(text.strip()) - most:,} characters more"


#: Of a text that is shown for itself, so many characters are; of one that is on a page with many others, so many.
_MOST_OF_TEXT = 20_000
MOST_OF_MANY = 4_000


def middle_left_out(text: str, most: int = _MOST_OF_TEXT, hint: str = "") -> str:
    """Return a text that is shown for itself; of a long one, the beginning and the end, and how much is between.

    Args:
        text: any text.
        most: so many characters are shown.
        hint: where the others are.
    """
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out{hint} …\n{text[-half:]}"


def cut(text: str, most: int) -> str:
    """Return a text of at most so many characters; where something is cut off, it ends in an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def printable(text: str, *, lines: bool = False) -> str:
    """Return a text with characters written out that cannot be seen, turn its direction, or that terminals obey.

    Args:
        text: any text.
        lines: whether line breaks and tabs stay: in texts that are shown for themselves, and not in a line of others.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(
        char if char.isprintable() or char in kept else char.encode("unicode_escape").decode() for char in text
    )


def counted(count: int, what: str) -> str:
    """Return a number with a noun: `1 step`, `2,000 branches`."""
    plural = f"{what}es" if what.endswith("ch") else f"{what}s"
    return f"{count:,} {what if count == 1 else plural}"


def named(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
