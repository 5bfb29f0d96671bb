"""The reference says all that there is, and nothing that is not there."""

import importlib.util
import json
import re
from pathlib import Path

import msgspec
import pytest
from typer.main import get_command

import chunkstore
from chunkstore import ChunkstoreError, StoreOptions, engines
from chunkstore.cli.app import COMMANDS, make_app
from chunkstore.cli.schema import PRINTED
from chunkstore.config import ENVIRONMENT_VARIABLE
from chunkstore.stores.named import STORE_TYPES
from chunkstore.views.tables.rows import TABLES

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "docs"
PAGES = {path.stem: path.read_text() for path in (DOCS / "reference").glob("*.md")}


@pytest.fixture(scope="module")
def text():
    """What the directives write when the pages are built."""
    spec = importlib.util.spec_from_file_location("reference_text", DOCS / "reference_text.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sections(markdown):
    """Return what stands below each heading, by its text."""
    _, *parts = re.split(r"^## ", "\n".join(markdown), flags=re.MULTILINE)
    return {heading.strip("`"): content for heading, _, content in (part.partition("\n") for part in parts)}


def test_every_public_name_is_on_a_page():
    listed = re.findall(r"^\.\. auto\w+:: chunkstore\.([\w.]+)", PAGES["api"] + PAGES["errors"], re.MULTILINE)
    of_engines = {f"engines.{name}" for name in engines.__all__}
    assert sorted(listed) == sorted({*chunkstore.__all__} - {"__version__"} | of_engines)


def test_every_command_is_described_with_all_its_options(text):
    described = sections(text.commands())
    assert list(described) == list(COMMANDS)
    for name, command in get_command(make_app()).commands.items():
        assert command.help.splitlines()[0] in described[name]
        for param in command.params:
            if param.param_type_name == "option" and "--help" not in param.opts:
                assert all(f"`{option}" in described[name] for option in param.opts), (name, param.opts)
                assert param.help in described[name].replace("\\|", "|"), (name, param.opts)
            elif param.param_type_name == "argument":
                assert f"`{param.metavar or param.name.upper()}`" in described[name]


def test_every_option_of_a_store_is_described_with_its_default(text):
    table = "\n".join(text.store_options())
    for field in msgspec.structs.fields(StoreOptions):
        default = re.escape(json.dumps(field.default))
        assert re.search(rf"^\| `{field.name}` \| `.+` \| `{default}` \| [A-Z]", table, re.MULTILINE)
        assert f"    {field.name}: " in PAGES["configuration"]
    assert ENVIRONMENT_VARIABLE in PAGES["configuration"]


def test_every_type_of_store_is_compared():
    heads = PAGES["stores"].partition("\n|---")[0].rpartition("\n")[2]
    assert sorted(re.findall(r"`([\w-]+)`", heads)) == sorted([*STORE_TYPES, "type"])


def test_every_column_is_described(text):
    described = sections(text.table_columns())
    assert list(described) == list(TABLES)
    for name, table in TABLES.items():
        assert re.findall(r"^\| `(\w+)` \|", described[name], re.MULTILINE) == list(table.row.__struct_fields__)


def test_everything_that_commands_print_is_described(text):
    described = sections(text.printed_json())
    assert re.findall(r"^\| `([\w -]+)` \|", described["What each command prints"], re.MULTILINE) == list(PRINTED)
    for name, kind in text.printed_kinds().items():
        names = [field.encode_name for field in msgspec.structs.fields(kind)]
        assert re.findall(r"^\| `(\w+)` \|", described[name], re.MULTILINE) == names


def all_errors(kind=ChunkstoreError):
    return {kind.__name__}.union(*map(all_errors, kind.__subclasses__())) & {*chunkstore.__all__}


def test_every_error_is_drawn_and_says_what_to_do(text):
    drawn = "\n".join(text.error_tree())
    told = re.findall(r"`(\w+Error)`", "".join(re.findall(r"^\| `.*?\|", PAGES["errors"], re.MULTILINE)))
    assert sorted(re.findall(r"^\W*(\w+Error)\b", drawn, re.MULTILINE)) == sorted(all_errors())
    assert sorted([*told, "ChunkstoreError"]) == sorted(all_errors())


def test_tests_that_pages_name_exist():
    named = {name for page in DOCS.rglob("*.md") for name in re.findall(r"`(tests/[\w/.]+)`", page.read_text())}
    assert len(named) > 20
    assert [name for name in named if not (PROJECT / name).exists()] == []


def test_as_many_defects_are_noticed_as_the_page_says():
    defects = (PROJECT / "tests" / "proofs" / "mutation" / "defects").glob("*.py")
    count = sum(len(re.findall(r"^\s+Mutant\(", file.read_text(), re.MULTILINE)) for file in defects)
    ((said,),) = [re.findall(r"over (\d+) defects", (DOCS / "why" / "proofs.md").read_text())]
    assert int(said) <= count < int(said) + 100
