"""What commands print: for people with rich, for machines as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from chunkstore.records import codec
from chunkstore.records.base import Record
from chunkstore.records.encoding import encode_record
from chunkstore.views.texts import printable

if TYPE_CHECKING:  # importing rich takes its time, and `--json` needs none
    from rich.console import Console

#: Exit codes. All was fine; something is wrong with what was looked at; the command was used in a wrong way.
FINE, PROBLEMS, WRONG_USE = 0, 1, 2

#: Characters in a line where the output is no terminal, so that nothing is cut off for `grep`.
_PIPED_WIDTH = 1_000
#: Longer tables are not folded.
_MOST_FOLDED = 500


def console(*, to_errors: bool = False) -> Console:
    """Return where people read: in colour on a terminal, unless NO_COLOR is set; plain and uncut in a pipe."""
    from rich.console import Console  # noqa: PLC0415 - see above

    stream = sys.stderr if to_errors else sys.stdout
    columns = os.environ.get("COLUMNS")
    # No columns at all cannot be meant.
    is_cut = stream.isatty() if columns is None else columns.strip("0") != ""
    # rich takes only the colours away for NO_COLOR; whoever sets it wants plain text.
    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    width = None if is_cut else _PIPED_WIDTH
    return Console(stderr=to_errors, highlight=False, emoji=False, width=width, color_system=colours)


def print_json(value: Any) -> None:
    """Print a value as one JSON document, with line breaks on a terminal."""
    is_terminal = sys.stdout.isatty()
    text = codec.encode(_jsonable(value), indent=2 if is_terminal else None).decode()
    sys.stdout.write((_harmless(text) if is_terminal else text) + "\n")


def _harmless(text: str) -> str:
    """Return JSON with characters escaped that terminals obey, or that cannot be seen; it means the same."""
    if text.isascii():  # JSON escapes what is below the space
        return text.replace("\x7f", "\\u007f")
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


def _jsonable(value: Any) -> Any:
    """Return a value as it can be encoded: records as they are in files, structs as objects, all else as in records."""
    if isinstance(value, Record):
        return msgspec.Raw(encode_record(value))
    if isinstance(value, msgspec.Struct):
        fields = ((name, getattr(value, name)) for name in value.__struct_fields__)
        return {name: _jsonable(item) for name, item in fields if item is not msgspec.UNSET}
    if isinstance(value, dict):
        return {codec.key_text(name, "key"): _jsonable(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    return codec.plain(value)


def print_json_items(values: Iterable[Any]) -> int:
    """Print values as one JSON array, each on a line of its own as soon as it comes; return how many there were."""
    sys.stdout.write("[")
    count = 0
    for value in values:
        sys.stdout.write(",\n"[not count :] + _encoded(value))
        count += 1
    sys.stdout.write("\n]\n")
    return count


def print_json_line(value: Any) -> None:
    """Print a value as a line of JSON lines, at once."""
    sys.stdout.write(_encoded(value) + "\n")
    sys.stdout.flush()


def _encoded(value: Any) -> str:
    text = codec.encode(_jsonable(value)).decode()
    return _harmless(text) if sys.stdout.isatty() else text


def print_note(message: str) -> None:
    """Print something beside the output proper, to where errors go."""
    sys.stdout.flush()
    console(to_errors=True).print(f"[dim]{escaped(message)}[/]", soft_wrap=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: folded to the width of a terminal, or, long or elsewhere, in plain columns, which is fast."""
    out = console()
    if sys.stdout.isatty() and len(rows) <= _MOST_FOLDED:
        from rich.table import Table  # noqa: PLC0415 - see above

        table = Table(box=None, pad_edge=False, header_style="dim", show_header=any(columns))
        for column in columns:
            table.add_column(escaped(column), overflow="fold")
        for row in rows:
            table.add_row(*map(escaped, row))
        out.print(table)
        return
    shown = [tuple(columns)] * any(columns) + [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        sys.stdout.write("  ".join(map(str.ljust, row, widths)).rstrip() + "\n")


def print_error(message: str) -> None:
    """Print what went wrong to where errors go."""
    sys.stdout.flush()
    console(to_errors=True).print(f"[bold red]error:[/] {escaped(message, lines=True)}", soft_wrap=True)


def escaped(text: str, *, lines: bool = False) -> str:
    """Return any text so that rich shows it as it is, and terminals obey nothing in it; see `printable`."""
    from rich.markup import escape  # noqa: PLC0415 - see above

    return escape(printable(text, lines=lines))
