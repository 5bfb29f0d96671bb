"""A module imports only from those above it; importing the library is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import chunkstore

PACKAGE = Path(chunkstore.__file__).parent
#: From the top down; a module may import from its own line and from those above.
LAYERS = [
    ["version", "errors"],
    ["names", "clock", "garbage"],
    ["codec"],
    ["overlay", "integrity"],
    ["records"],
    ["models"],
    ["assemble"],
    ["backends"],
    ["stores"],
    ["config"],
    ["recording"],
    ["maintenance"],
    ["views"],
    ["cli"],
    ["__main__"],
    ["plugins", "testing"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
THIRD_PARTY = {"filelock", "msgspec", "orjson"}
ONLY_IMPORTER = {"filelock": {"backends/locks.py"}, "watchfiles": {"backends/watching.py"}}
#: Extras, imported where they are used.
LATE = {"watchfiles"}
CORE = {name for names in LAYERS[: LEVEL["config"] + 1] for name in names}

MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def is_type_checking(node):
    return isinstance(node, ast.If) and getattr(node.test, "id", getattr(node.test, "attr", "")) == "TYPE_CHECKING"


def imports(nodes, *, also_late):
    """Yield the names of imported modules; those inside functions only if `also_late`."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            if node.module == "chunkstore":
                yield from (f"chunkstore.{alias.name}" for alias in node.names)
            else:
                yield node.module
        elif is_type_checking(node):
            yield from imports(node.orelse, also_late=also_late)
        elif also_late or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from imports(ast.iter_child_nodes(node), also_late=also_late)


def imports_of(module, *, also_late):
    return list(imports(ast.parse((PACKAGE / module).read_text()).body, also_late=also_late))


def part(module):
    return module.split("/")[0].removesuffix(".py")


@pytest.mark.parametrize("module", [module for module in MODULES if module != "__init__.py"])
def test_a_module_imports_only_from_those_above(module):
    own_level = LEVEL[part(module)]
    for imported in imports_of(module, also_late=True):
        first, _, rest = imported.partition(".")
        if first == "chunkstore" and rest:
            above = rest.split(".")[0]
            if above in LEVEL:
                assert LEVEL[above] <= own_level, f"{module} imports {imported}"
            else:  # a name of the package itself, which imports everything
                assert own_level >= LEVEL["cli"], f"{module} imports {imported} from the package"


def test_peers_do_not_import_each_other():
    for module in MODULES:
        for imported in imports_of(module, also_late=True):
            names = imported.split(".")
            if names[0] != "chunkstore" or len(names) == 1 or not {names[1], part(module)} <= set(LEVEL):
                continue
            if LEVEL[names[1]] == LEVEL[part(module)]:
                assert names[1] in (part(module), "version"), f"{module} imports {imported}"


@pytest.mark.parametrize("module", [module for module in MODULES if part(module) in CORE])
def test_the_core_needs_three_packages_alone(module):
    early = imports_of(module, also_late=False)
    for imported in imports_of(module, also_late=True):
        first = imported.split(".")[0]
        allowed = first == "chunkstore" or first in THIRD_PARTY or first in sys.stdlib_module_names
        allowed = allowed or (first in LATE and imported not in early)
        assert allowed, f"{module} imports {imported}"
        assert module in ONLY_IMPORTER.get(first, {module}), f"{module} imports {imported}"


def test_errors_import_nothing_of_ours():
    assert not [name for name in imports_of("errors.py", also_late=True) if name.startswith("chunkstore")]


def test_pure_modules_touch_no_files():
    for module in (
        "names.py",
        "clock.py",
        "codec.py",
        "overlay.py",
        "integrity.py",
        "records.py",
        "models.py",
        "assemble.py",
    ):
        tree = ast.parse((PACKAGE / module).read_text())
        called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and hasattr(node.func, "id")}
        assert "open" not in called, module


def loaded_by(modules):
    code = f"import sys, {modules}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(result.stdout.split())


def test_importing_the_library_loads_nothing_heavy():
    loaded = loaded_by("chunkstore") - loaded_by("filelock, msgspec")  # they load asyncio before Python 3.11
    heavy = {"yaml", "rich", "numpy", "pydantic", "pytest", "hypothesis", "runnable", "pandas", "asyncio", "watchfiles"}
    assert not {name for name in loaded if name.split(".")[0] in heavy | {"multiprocessing", "subprocess"}}


def test_what_records_is_imported_when_somebody_records():
    assert not {name for name in loaded_by("chunkstore") if name.startswith("chunkstore.recording")}
    assert "chunkstore.recording.context" in loaded_by("chunkstore; chunkstore.current_step")
    assert "chunkstore.recording.run" in loaded_by("chunkstore; chunkstore.open_store('buffered').start_run()")
