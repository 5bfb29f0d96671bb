"""A driver in a process of its own: `engine_driver.py MODULE:OPEN_ENGINE WAY FOLDER`, started by the conformance suite.

It is a script as users write them: what it sends to workers is defined in it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from functools import partial
from pathlib import Path
from pydoc import locate
from typing import Any

from chunkstore.config import open_store
from chunkstore.recording.run import current_step
from chunkstore.testing.engine_functions import wait_after

#: So many branches of one map end by themselves; the others wait.
ENDING, ALL = 2, 6


@dataclasses.dataclass
class Point:
    """An item and a result of a class of the script's own."""

    x: int


class WrongPointError(Exception):
    """An error of the script's own."""


def mirrored(point: Point) -> Point:
    """Return the point on the other side."""
    current_step().log_metric("x", point.x)
    if not point.x:
        raise WrongPointError("zero")
    return Point(-point.x)


def run_script(executor: Any) -> dict[str, Any]:
    """Map functions, items, results and errors of this script, into a store in a relative folder."""
    store = open_store("chunked-fs", log_folder="log", catalog_folder="catalog", durability="process")
    with store.start_run("run") as run:
        items = [Point(x) for x in range(4)]
        results = run.map("mirror", items, mirrored, executor=executor, on_error="continue", name_of=lambda p: str(p.x))
        try:
            run.map("fail", items[:1], mirrored, executor=executor)
        except Exception as error:  # noqa: BLE001 - told of below
            (failure,) = getattr(error, "failures", {}).values()
        is_own = isinstance(failure, WrongPointError)
    return {"results": [result and [result == Point(result.x), result.x] for result in results], "is_own": is_own}


def run_waiting(executor: Any, folder: Path, run_id: str, resume: str | None) -> dict[str, Any]:
    """Map what waits for a note, into a store beside this process's working folder."""
    store = open_store("chunked-fs", log_folder=str(folder / "log"), durability="process")
    try:
        with store.start_run(run_id, resume=resume) as run:
            function = partial(wait_after, ENDING, str(folder / "notes"))
            return {"results": run.map("score", range(ALL), function, executor=executor)}
    except KeyboardInterrupt as interrupt:
        return {"interrupted": repr(interrupt)}


def tell(folder: Path, what: str, answer: dict[str, Any]) -> None:
    """Write an answer for whoever started this program, whole."""
    (folder / "part").write_text(json.dumps(answer), encoding="utf-8")
    os.replace(folder / "part", folder / f"{what}.json")


def main() -> None:
    """Do what the command line says."""
    (maker, way, folder) = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    open_engine: Any = locate(maker)
    tell(folder, "process", {"id": os.getpid()})
    with open_engine() as executor:
        if way == "script":
            tell(folder, way, run_script(executor))
        else:
            tell(folder, way, run_waiting(executor, folder, way, "first" if way == "second" else None))


if __name__ == "__main__":
    main()
