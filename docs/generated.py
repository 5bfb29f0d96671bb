"""What the reference says that the code says already: directives that write it when the pages are built.

`commands` has every command with its options, `store-options` what a store can be configured with, `table-columns` the
columns of the tables, `printed-json` what the commands print, `error-tree` the tree of errors.
"""

import inspect
import json
import re
from functools import cache
from typing import Any, get_args

import msgspec
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode
from typer.main import get_command

import chunkstore
from chunkstore import errors
from chunkstore.cli.app import COMMANDS, make_app
from chunkstore.cli.schema import PRINTED
from chunkstore.views.tables.rows import TABLES

#: Options that every command has are said once.
_EVERYWHERE = {"--help", "--install-completion", "--show-completion"}
_ENTRY = re.compile(r" {4}(\w+): (.*(?:\n {8}.*)*)")


class GeneratedMarkdown(SphinxDirective):
    """A directive that stands for Markdown."""

    def run(self) -> list[nodes.Node]:
        """Return what the Markdown is."""
        text = "\n".join(self.markdown())
        return self.parse_text_to_nodes(text, allow_section_headings=True)

    def markdown(self) -> list[str]:
        """Return its lines."""
        raise NotImplementedError


# --- commands --------------------------------------------------------------------------------------------------------


class Commands(GeneratedMarkdown):
    """Every command of the command line, a section each."""

    def markdown(self) -> list[str]:  # noqa: D102
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


class StoreOptions(GeneratedMarkdown):
    """What a store can be configured with."""

    def markdown(self) -> list[str]:  # noqa: D102
        return attribute_table(chunkstore.StoreOptions, with_defaults=True)


class TableColumns(GeneratedMarkdown):
    """The columns of every table, a section each."""

    def markdown(self) -> list[str]:  # noqa: D102
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


def _table(heads: Any, rows: Any) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines] + [""]


# --- what commands print ---------------------------------------------------------------------------------------------


class PrintedJson(GeneratedMarkdown):
    """What each command prints with `--json`, and below that each kind of object once."""

    def markdown(self) -> list[str]:  # noqa: D102
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
    return links[0] if [text] == [link[1 : link.index("]")] for link in links] else " ".join([f"`{text}`", *links])


# --- errors ----------------------------------------------------------------------------------------------------------


class ErrorTree(GeneratedMarkdown):
    """The tree of errors, as `chunkstore.errors` draws it."""

    def markdown(self) -> list[str]:  # noqa: D102
        drawn = (errors.__doc__ or "").partition("::\n")[2].partition("\n\nThe ")[0]
        return ["```text", *inspect.cleandoc(drawn).splitlines(), "```"]


# --- links -----------------------------------------------------------------------------------------------------------


def resolve_public(app: Sphinx, env: Any, node: Any, contnode: Any) -> Any:
    """Find what an annotation means: it names the module that has a class, which is not where the pages have it."""
    name = node.get("reftarget", "").rpartition(".")[2]
    if node.get("refdomain") != "py":
        return None
    if name in chunkstore.__all__:
        domain = env.get_domain("py")
        target = f"chunkstore.{name}"
        return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], target, node, contnode)
    if name in printed_kinds():
        return make_refnode(app.builder, node["refdoc"], "reference/json", name.lower(), contnode)
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx what there is."""
    for name, directive in {
        "commands": Commands,
        "store-options": StoreOptions,
        "table-columns": TableColumns,
        "printed-json": PrintedJson,
        "error-tree": ErrorTree,
    }.items():
        app.add_directive(name, directive)
    app.connect("missing-reference", resolve_public)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
