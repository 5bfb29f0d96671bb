"""A real pipeline on real files: it measures the standard library of the Python that runs it.

A map over hundreds of files in a pool of processes, two summaries in parallel, a table in the catalog, and a step that
fails once, on purpose, and is tried again: the log has both attempts. `chunkstore demo` runs it; nothing in it is more
than any pipeline could use.
"""

from __future__ import annotations

import ast
import csv
import functools
import itertools
import sys
import sysconfig
import tempfile
import tokenize
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypedDict

import chunkstore

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
#: Installed packages lie below the standard library, but are no part of it.
FOREIGN = {"site-packages", "dist-packages", "__pycache__"}
#: Some files with which Python tests itself neither decode nor parse.
TESTS = {"test", "tests", "idle_test"}

#: Each of these makes one more way through a function (T. J. McCabe, "A Complexity Measure", 1976).
DECISIONS = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.Assert, ast.comprehension)


class Metrics(TypedDict):
    """What is measured of one file."""

    file: str
    lines: int
    functions: int
    complexity: int


def python_files(limit: int | None) -> Iterator[str]:
    """Yield the Python files of the standard library but for its tests, as paths relative to it."""
    files = (path.relative_to(LIBRARY) for path in sorted(LIBRARY.rglob("*.py")))
    own = (path.as_posix() for path in files if not (FOREIGN | TESTS).intersection(path.parts))
    return itertools.islice(own, None if limit is None else min(limit, sys.maxsize))


def measure(file: str) -> Metrics:
    """Return the metrics of one file; it raises what Python raises if the file does not decode or parse."""
    with tokenize.open(LIBRARY / file) as source:
        text = source.read()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes and the like are no business of ours
        tree = ast.parse(text, file)
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    complexity = sum(1 + decisions(function) for function in functions)
    step = chunkstore.current_step()
    step.log_metrics({"lines": text.count("\n"), "functions": len(functions), "complexity": complexity})
    return {"file": file, "lines": text.count("\n"), "functions": len(functions), "complexity": complexity}


def decisions(function: ast.AST) -> int:
    """Return how many decisions a function takes."""
    nodes = list(ast.walk(function))
    branches = sum(isinstance(node, DECISIONS) for node in nodes)
    return branches + sum(len(node.values) - 1 for node in nodes if isinstance(node, ast.BoolOp))


def longest(rows: list[Metrics]) -> list[str]:
    """Return the five longest files."""
    return [row["file"] for row in sorted(rows, key=lambda row: row["lines"], reverse=True)[:5]]


def most_complex(rows: list[Metrics]) -> list[str]:
    """Return the five files whose functions are the most complex on average."""
    large = [row for row in rows if row["functions"] >= 10]  # noqa: PLR2004 - a few functions say little
    return [row["file"] for row in sorted(large, key=lambda row: row["complexity"] / row["functions"])[:-6:-1]]


def write_table(rows: list[Metrics], file: Path) -> None:
    """Write the metrics of all files as CSV."""
    with file.open("w", newline="") as table:
        writer = csv.DictWriter(table, ["file", "lines", "functions", "complexity"])
        writer.writeheader()
        writer.writerows(rows)


def publish_with_luck(table: Path) -> Callable[[], None]:
    """Return what publishes a table, but not at once: its first attempt fails, as attempts over a network do."""
    attempts = itertools.count(1)

    def publish() -> None:
        if next(attempts) == 1:
            raise ConnectionError("The server hung up. This is on purpose: the next attempt succeeds.")
        chunkstore.current_step().put_data(table)

    return publish


def measure_library(store: chunkstore.Store, limit: int | None = None) -> str:
    """Run the pipeline; return the id of its run."""
    with store.start_run(tag="code-metrics", parameters={"python": sys.version.split()[0]}) as run:
        with run.step("list files") as step:
            files = list(python_files(limit))
            step.log_metric("files", len(files))
            print(f"{len(files):,} files in {LIBRARY}")  # kept beside the log: `chunkstore logs latest 'list files'`

        measured = run.map("measure", files, measure, on_error="continue")
        rows = [row for row in measured if row is not None]

        summaries = {
            "longest": functools.partial(longest, rows),
            "most complex": functools.partial(most_complex, rows),
        }
        best = run.parallel("summarise", summaries)

        with run.step("totals") as step:
            for name in ("lines", "functions", "complexity"):
                step.log_metric(name, sum(row[name] for row in rows))
            step.log_metrics({"unreadable": len(files) - len(rows), **best})

        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder, "metrics.csv")
            write_table(rows, table)
            run.step("publish", publish_with_luck(table), max_attempts=2)
    return run.run_id
