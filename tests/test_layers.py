"""The package is a tower: modules import from their own package and lower ones, in no circle. Importing is light."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import chunkstore

PACKAGE = Path(chunkstore.__file__).parent
PROJECT = Path(__file__).parent.parent
TOP = PACKAGE.name
#: From the bottom to the top. What is on one floor does not know of each other.
TOWER = [
    {"errors", "version", "forks"},
    {"interrupts"},
    {"names", "clock"},
    {"records"},
    {"backends"},
    {"stores"},
    {"config"},
    {"engines"},
    {"recording", "views", "plugins"},
    {"testing"},
    {"maintenance"},
    {"cli"},
    {"__main__"},
]
FLOOR = {part: floor for floor, parts in enumerate(TOWER) for part in parts}
#: What a user would write.
EXAMPLES = {"chunkstore.cli.demo_pipeline"}
#: What reads no file and writes none.
PURE = ("names", "clock", "records", "views")
#: What those install who only record and read runs.
CORE = {part for parts in TOWER[: FLOOR["config"] + 1] for part in parts}
THIRD_PARTY = {"filelock", "msgspec", "orjson"}
ONLY_IMPORTER = {
    "filelock": "chunkstore.backends.disk.locks",
    "watchfiles": "chunkstore.backends.disk.watching",
    "runnable": "chunkstore.plugins.runnable",
    "distributed": "chunkstore.engines.on_dask",
    "joblib": "chunkstore.engines.on_joblib",
    "ray": "chunkstore.engines.on_ray",
    "submitit": "chunkstore.engines.on_submitit",
}
#: Extras, imported where they are used.
LATE = {"boto3", "botocore", "obstore", "watchfiles", "yaml"}

#: What imports modules by their names: the commands and what is loaded when it is used of ours, pandas and pyarrow,
#: and the module of a user.
BY_NAME = {TOP, f"{TOP}.cli.app", f"{TOP}.cli.chosen_engine", f"{TOP}.views.tables.frames"}

LONGEST_FILE = 450
CODE = {".py", ".html", ".css", ".js"}
#: Tables of cases, which nobody reads from the first line to the last.
MAY_BE_LONGER: dict[str, str] = {}


def name_of(path):
    """Return the name of a module: `chunkstore.names`; that of a package for its `__init__`."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {module: ast.parse(path.read_text()) for module, path in FILES.items()}
PACKAGES = [module for module, path in FILES.items() if path.name == "__init__.py"]


def is_type_checking(node):
    return isinstance(node, ast.If) and getattr(node.test, "id", getattr(node.test, "attr", "")) == "TYPE_CHECKING"


def imports(nodes, *, for_annotations=True, when_called=True):
    """Yield the names of imported modules.

    Args:
        nodes: parts of a module.
        for_annotations: whether those count that type checkers alone import.
        when_called: whether those count that functions import.
    """
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute here"
            # A name may be a module of a package, or something in a module.
            yield from (
                f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in FILES else node.module
                for alias in node.names
            )
        elif is_type_checking(node) and not for_annotations:
            yield from imports(node.orelse, for_annotations=False, when_called=when_called)
        elif when_called or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from imports(ast.iter_child_nodes(node), for_annotations=for_annotations, when_called=when_called)


IMPORTS = {module: list(dict.fromkeys(imports(tree.body))) for module, tree in TREES.items()}
#: From each module to those of ours that it imports, also inside functions and for annotations alone.
ARROWS = {module: [to for to in found if to in FILES and to != module] for module, found in IMPORTS.items()}


def part(module):
    """Return the package or module at the top that a module belongs to; empty for the front door."""
    return f"{module}.".split(".")[1]


def circles(arrows):
    """Return all groups of nodes of which each leads to each other, by Tarjan's algorithm."""
    index, lowest, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = lowest[node] = len(index)
        stack.append(node)
        for to in arrows.get(node, ()):
            if to not in index:
                visit(to)
            if to in stack:
                lowest[node] = min(lowest[node], lowest[to])
        if lowest[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in arrows:
        if node not in index:
            visit(node)
    return found


def told(groups, arrows):
    """Return a shortest way around in each group, in words."""
    ways = [min((way_back(node, arrows) for node in group), key=len) for group in groups]
    return "\n".join(" imports ".join(way) for way in ways)


def way_back(node, arrows):
    """Return a shortest way that leads from a node to itself."""
    ways = [[node]]
    seen = set()
    for way in ways:
        for to in arrows[way[-1]]:
            if to == node:
                return [*way, to]
            if to not in seen:
                seen.add(to)
                ways.append([*way, to])
    raise AssertionError(f"{node} is in no circle")


def test_circles_are_found():
    assert circles({"a": "b", "b": "c", "c": "bd", "d": ""}) == [["b", "c"]]
    assert circles({"a": "bc", "b": "d", "c": "d", "d": ""}) == []
    two = {"a": "b", "b": "c", "c": "da", "d": "e", "e": "d"}
    assert circles(two) == [["d", "e"], ["a", "b", "c"]]
    assert told(circles(two), two) == "d imports e imports d\na imports b imports c imports a"


def test_every_kind_of_import_is_found():
    code = """
import json
from chunkstore import names
from chunkstore.names import RUN_FILE
if TYPE_CHECKING:
    import chunkstore.clock
def late():
    from chunkstore.records import codec
"""
    nodes = ast.parse(code).body
    ours = ["json", "chunkstore.names", "chunkstore.names", "chunkstore.clock", "chunkstore.records.codec"]
    assert list(imports(nodes)) == ours
    assert list(imports(nodes, for_annotations=False, when_called=False)) == ours[:3]


def test_what_is_imported_by_name_hides_no_arrow():
    ways = {"import_module", "__import__"}
    found = {
        module
        for module, tree in TREES.items()
        if any(getattr(node, key, "") in ways for node in ast.walk(tree) for key in ("id", "attr", "name"))
    }
    assert found == BY_NAME


def test_everything_has_its_place_in_the_tower():
    assert {part(module) for module in FILES} - {""} == set(FLOOR)


@pytest.mark.parametrize("module", [module for module in FILES if module != TOP])
def test_a_module_imports_only_from_its_own_package_or_lower_ones(module):
    for to in ARROWS[module]:
        if module in EXAMPLES and to == TOP:
            continue
        assert to != TOP, f"{module} imports from the package itself, which imports everything"
        assert part(to) == part(module) or FLOOR[part(to)] < FLOOR[part(module)], f"{module} imports {to}"


def test_no_modules_import_each_other_in_a_circle():
    found = circles(ARROWS)
    assert not found, told(found, ARROWS)


@pytest.mark.parametrize("package", [module for module in PACKAGES if module != TOP])
def test_packages_inside_a_package_import_each_other_in_no_circle(package):
    inner = [other for other in PACKAGES if other.rpartition(".")[0] == package]
    home = {module: one for one in inner for module in FILES if f"{module}.".startswith(f"{one}.")}
    arrows = {one: set() for one in inner}
    for module, one in home.items():
        arrows[one] |= {home[to] for to in ARROWS[module] if to in home} - {one}
    found = circles(arrows)
    assert not found, told(found, arrows)


def test_every_package_says_what_it_is_for():
    assert not [package for package in PACKAGES if not ast.get_docstring(TREES[package])]


@pytest.mark.parametrize("folder", ["chunkstore", "tests", "benchmarks", "examples", "docs"])
def test_a_reader_can_take_every_file_in_one_sitting(folder):
    lengths = {
        path.relative_to(PROJECT).as_posix(): len(path.read_text().splitlines())
        for path in (PROJECT / folder).rglob("*.*")
        if path.suffix in CODE and "_build" not in path.parts
    }
    long = {file: lines for file, lines in lengths.items() if lines > LONGEST_FILE}
    told_long = "\n".join(f"{file}: {lines} lines" for file, lines in sorted(long.items()))
    assert set(long) == {file for file in MAY_BE_LONGER if file.startswith(f"{folder}/")}, told_long


# --- what is imported from elsewhere ---------------------------------------------------------------------------------


@pytest.mark.sampled
@pytest.mark.parametrize("module", [module for module in FILES if part(module) in CORE])
def test_the_core_needs_three_packages_alone(module):
    early = list(imports(TREES[module].body, for_annotations=False, when_called=False))
    for imported in imports(TREES[module].body, for_annotations=False):
        first = imported.split(".")[0]
        allowed = first == TOP or first in THIRD_PARTY or first in sys.stdlib_module_names
        assert allowed or (first in LATE and imported not in early), f"{module} imports {imported}"


def test_each_other_package_has_one_importer():
    for module, found in IMPORTS.items():
        for imported in found:
            first = imported.split(".")[0]
            allowed = ONLY_IMPORTER.get(first, module)
            assert f"{module}.".startswith(f"{allowed}."), f"{module} imports {imported}"


def test_pure_modules_touch_no_files():
    for module, tree in TREES.items():
        if part(module) in PURE:
            called = {
                node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and hasattr(node.func, "id")
            }
            assert "open" not in called, module


def loaded_by(code):
    """Return the modules that a new interpreter has loaded after some code."""
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"], check=True, capture_output=True, text=True
    )
    return set(result.stdout.split())


def test_importing_the_library_loads_nothing_heavy():
    loaded = loaded_by("import chunkstore")
    ours = {part(module) for module in loaded if module.split(".")[0] == TOP} - {""}
    assert ours == CORE, "what draws, records or checks runs is loaded when it is used"
    loaded -= loaded_by("import filelock, msgspec")  # they load asyncio before Python 3.11
    heavy = {"yaml", "rich", "numpy", "pydantic", "pytest", "hypothesis", "runnable", "pandas", "pyarrow", "asyncio"}
    heavy |= {"watchfiles", "multiprocessing", "subprocess"}
    heavy |= {"dask", "distributed", "joblib", "ray", "submitit"}
    assert not {name for name in loaded if name.split(".")[0] in heavy}


@pytest.mark.parametrize(
    ("code", "module"),
    [
        ("chunkstore.current_step", "recording.context"),
        ("chunkstore.open_store('buffered').start_run()", "recording.run"),
        ("chunkstore.render_tree", "views.pages.tree"),
        ("chunkstore.import_runs", "maintenance"),
    ],
)
def test_what_few_need_is_loaded_when_it_is_used(code, module):
    assert f"{TOP}.{module}" in loaded_by(f"import chunkstore; {code}")


def test_drawing_and_comparing_need_no_package_but_those_of_the_core():
    loaded = loaded_by(
        "import chunkstore; log = chunkstore.RunLog(run_id='模型', tag='模型'); chunkstore.render_tree(log); "
        "chunkstore.render_timeline(log); list(chunkstore.timeline_page(log)); chunkstore.compare_runs(log, log)"
    )
    assert not loaded & {"rich", "pyarrow", "yaml"}


def test_the_map_in_the_documentation_has_every_part_in_its_place():
    (drawn,) = re.findall(
        r"^```text\nchunkstore/\n(.*?)^```$", (PROJECT / "CONTRIBUTING.md").read_text(), re.MULTILINE + re.DOTALL
    )
    parts = re.findall(r"^  (\w+)(?:/|\.py) ", drawn, re.MULTILINE)
    assert set(parts) == set(FLOOR)
    assert [FLOOR[part] for part in parts] == sorted(FLOOR.values())
