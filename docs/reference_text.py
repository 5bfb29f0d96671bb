"""What the reference says that the code says already, as Markdown; the directives of `generated.py` ask for it."""

import inspect
import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, get_args

import msgspec
from typer.main import get_command

import chunkstore
from chunkstore import errors
from chunkstore.backends.objects.settings import ENDPOINTS, option_names
from chunkstore.cli.app import COMMANDS, make_app
from chunkstore.cli.schema import PRINTED
from chunkstore.views.tables.rows import TABLES

#: Options that every command has are said once.
_EVERYWHERE = {"--help", "--install-completion", "--show-completion"}
_ENTRY = re.compile(r" {4}(\w+): (.*(?:\n {8}.*)*)")


# --- commands --------------------------------------------------------------------------------------------------------


def commands() -> list[str]:
    """Return every command of the command line, a section each."""
    known = get_command(make_app()).commands
    return [line for name in COMMANDS for line in _command(name, known[name])]


def _command(name: str, command: Any) -> list[str]:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option"]
    shown = [_name(param) if param.required else f"[{_name(param)}]" for param in arguments]
    usage = " ".join(["chunkstore", name, "[OPTIONS]", *shown])
    lines = [f"## `{name}`", "", *inspect.cleandoc(command.help).splitlines(), "", "```text", usage, "```", ""]
    rows = [(f"`{_name(param)}`", _described(param)) for param in arguments]
    rows += [
        (", ".join(f"`{spelled}`" for spelled in _spellings(param)), _described(param))
        for param in options
        if not _EVERYWHERE & set(param.opts)
    ]
    return lines + _table(("", ""), rows)


def _name(param: Any) -> str:
    return str(param.metavar or param.name.upper())


def _spellings(param: Any) -> list[str]:
    value = "" if param.is_flag else f" {_name(param)}"
    return [f"{option}{value}" for option in [*param.opts, *param.secondary_opts]]


def _described(param: Any) -> str:
    default = getattr(param.default, "value", param.default)  # of an enum
    is_told = param.param_type_name == "option" and param.show_default is not False and not param.is_flag
    told = f" Default: `{default}`." if is_told and default not in (None, "", [], ()) and not callable(default) else ""
    return f"{param.help or ''}{told}"


# --- classes ---------------------------------------------------------------------------------------------------------


def store_options() -> list[str]:
    """Return a table of what a store can be configured with."""
    return attribute_table(chunkstore.StoreOptions, with_defaults=True)


def client_options() -> list[str]:
    """Return a table of what clients of object stores can be told, by the scheme of the URL."""
    rows = [(f"`{scheme}://`", ", ".join(f"`{name}`" for name in option_names(scheme))) for scheme in ENDPOINTS]
    return _table(("", ""), rows)


def table_columns() -> list[str]:
    """Return the columns of every table, a section each."""
    return [line for name, table in TABLES.items() for line in _section(name, table.row)]


def _section(title: str, cls: type) -> list[str]:
    """Return a section on a class: its first line, and its attributes."""
    return [f"## {title}", "", (cls.__doc__ or "").partition("\n")[0], "", *attribute_table(cls)]


def attribute_table(cls: type, *, with_defaults: bool = False) -> list[str]:
    """Return a table of the attributes of a class, in Markdown."""
    meanings = meanings_of(cls)
    fields = {field.name: field for field in _fields(cls)}
    heads = ["", "type", *(["default"] if with_defaults else []), ""]
    rows = []
    for name in [name for name in fields if name in meanings] or meanings:
        field = fields.get(name)
        row = [f"`{getattr(field, 'encode_name', name)}`", _type(field.type) if field else ""]
        rows.append([*row, *([_default(field)] if with_defaults else []), meanings[name]])
    return _table(heads, rows)


def meanings_of(cls: type) -> dict[str, str]:
    """Return what the docstring of a class says of its attributes."""
    _, _, listed = inspect.cleandoc(cls.__doc__ or "").partition("\nAttributes:\n")
    return {name: _sentence(" ".join(text.split())) for name, text in _ENTRY.findall(listed)}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _fields(cls: type) -> tuple[Any, ...]:
    return msgspec.structs.fields(cls) if issubclass(cls, msgspec.Struct) else ()


def _type(kind: Any) -> str:
    if isinstance(kind, str):
        return f"`{kind}`"
    inner = [arg for arg in get_args(kind) if arg is not msgspec.UnsetType]
    text = " | ".join(map(_shown_type, inner)) if msgspec.UnsetType in get_args(kind) else _shown_type(kind)
    return f"`{text}`"


def _shown_type(kind: Any) -> str:
    if kind is type(None):
        return "None"
    text = kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", text)


def _default(field: Any) -> str:
    return f"`{json.dumps(field.default)}`"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines] + [""]


# --- what commands print ---------------------------------------------------------------------------------------------


def printed_json() -> list[str]:
    """Return what each command prints with `--json`, and below that each kind of object once."""
    kinds = printed_kinds()
    rows = [
        [f"`{command}`", " or ".join(_linked(kind, kinds) for kind in _alternatives(printed))]
        for command, printed in PRINTED.items()
    ]
    lines = ["## What each command prints", "", *_table(["command", "prints"], rows)]
    return [*lines, *(line for name, kind in sorted(kinds.items()) for line in _section(name, kind))]


@cache
def printed_kinds() -> dict[str, type]:
    """Return the structs that commands print, by name; but for records, which are described elsewhere."""
    kinds: dict[str, type] = {}
    waiting = [kind for printed in PRINTED.values() for kind in _alternatives(printed)]
    while waiting:
        kind = waiting.pop()
        waiting += get_args(kind)
        is_struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        if is_struct and not kind.__module__.startswith("chunkstore.records.") and kind.__name__ not in kinds:
            kinds[kind.__name__] = kind
            waiting += [field.type for field in msgspec.structs.fields(kind)]
    return kinds


def _alternatives(printed: Any) -> tuple[Any, ...]:
    return printed if isinstance(printed, tuple) else (printed,)


def _linked(kind: Any, kinds: dict[str, type]) -> str:
    text = _shown_type(kind)
    links = [f"[{name}](#{name.lower()})" for name in kinds if re.search(rf"\b{name}\b", text)]
    return links[0] if [text] == [link[1 : link.index("]")] for link in links] else ": ".join([f"`{text}`", *links])


# --- errors ----------------------------------------------------------------------------------------------------------


def error_tree() -> list[str]:
    """Return the tree of errors, as `chunkstore.errors` draws it."""
    drawn = (errors.__doc__ or "").partition("::\n")[2].partition("\n\nThe ")[0]
    return ["```text", *inspect.cleandoc(drawn).splitlines(), "```"]
