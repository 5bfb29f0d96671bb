"""What was acknowledged, and whether it is there."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import chunkstore
from chunkstore.errors import ChunkstoreError, RunLogNotFoundError
from chunkstore.names import is_parameter_file, parse_chunk_file
from chunkstore.records.models import RunLog

from .figures import Figures
from .records import (
    all_branches,
    all_steps,
    counted_by,
    value_of,
    version_of,
    wrong_in_branch,
    wrong_in_step,
)

#: The stages of a run of a writer's own.
CREATED, DELETING, DELETED = 1, 2, 3


class Place(NamedTuple):
    """What has versions in a run.

    Attributes:
        kind: `step`, `changes` of a step by one writer, `branch`, `parameter`, `points` of a step, `note` in the run's
            own record, or `run` for the run itself.
        name: of the step or branch; for a parameter, its scope.
        key: of the parameter or note; for changes, the number of the writer.
    """

    kind: str
    name: str = ""
    key: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, self))


class Ledger:
    """Acknowledged versions by place; each place has one writer, who makes a higher version each time.

    Args:
        store_type: of the stores.
        base: the folder that the log folders are in.
    """

    def __init__(self, store_type: str, base: str) -> None:
        self._store_type = store_type
        self._base = base
        self._runs: dict[tuple[str, str], dict[Place, int]] = defaultdict(dict)
        self.acknowledged = 0

    def note(self, said: Iterable[list[Any]]) -> set[tuple[str, str]]:
        """Note what writers said; return the runs that it was about, each as its log folder and id."""
        touched = set()
        for folder, run_id, kind, name, key, version in said:
            run = folder, run_id
            place = Place(kind, name, key)
            self._runs[run][place] = max(version, self._runs[run].get(place, 0))
            touched.add(run)
            self.acknowledged += (kind, version) != ("run", DELETING)
        return touched

    def check(self, figures: Figures, runs: Iterable[tuple[str, str]] | None = None, *, strict: bool) -> None:
        """Count what is lost or torn of some runs, or of all.

        Args:
            figures: where it is counted.
            runs: None for all.
            strict: whether files that cannot be read count as torn, whatever they hold; else, after a cut, only files
                of what was acknowledged do.
        """
        for folder, run_id in list(self._runs) if runs is None else runs:
            store = chunkstore.open_store(self._store_type, log_folder=os.path.join(self._base, folder))
            self.check_run(store, folder, run_id, figures, strict=strict)
            store.close()

    def check_run(self, store: chunkstore.Store, folder: str, run_id: str, figures: Figures, *, strict: bool) -> None:
        """Count what is lost or torn of one run, which may be written to meanwhile."""
        places = self._runs[folder, run_id]
        stage = places.get(Place("run"), CREATED)
        figures.reads += 1
        try:
            log = store.get_run_log(run_id)
        except RunLogNotFoundError:
            for place in places if stage == CREATED else ():
                figures.complain("lost", f"{place} of {run_id}, which is not there")
            return
        except ChunkstoreError as error:
            figures.complain("torn", f"{run_id} in {folder}: {error!r}")
            return
        if stage == DELETED:
            figures.complain("lost", f"the deletion of {run_id} in {folder}")
            return
        for problem in log.problems:
            # Whoever is killed while it adds what has something inside leaves that without a place.
            if problem.kind == "orphan" and Place("branch", problem.file) not in places:
                continue
            if strict or self._is_acknowledged(problem.file, places):
                figures.complain("torn", f"{problem} in {run_id}")
        found = _versions(log, figures)
        for place, version in places.items():
            there = found.get(place, 0)
            if there < version and place.kind != "run":
                figures.complain("lost", f"{place} of {run_id} in {folder}: version {version}, there is {there}")

    def is_acknowledged(self, folder: str, run_id: str, file: str) -> bool:
        """Tell whether a file of a run, as a finding has it, holds something that was acknowledged."""
        places = self._runs.get((folder, run_id), {})
        name = os.path.basename(file)
        if is_parameter_file(name):
            scope = name.removeprefix("Parameter-").removesuffix(".json")
            return any(
                place.kind == "parameter" and place.name == (scope if scope != "root" else "") for place in places
            )
        return bool(places) and self._is_acknowledged(name, places)

    @staticmethod
    def _is_acknowledged(file: str, places: dict[Place, int]) -> bool:
        """Tell whether a file holds something that was acknowledged; the names here stand in file names as they are."""
        chunk = parse_chunk_file(file)
        if chunk is None:
            return not is_parameter_file(file) or any(place.kind == "parameter" for place in places)
        return any(place.name == chunk.encoded for place in places)


def _versions(log: RunLog, figures: Figures) -> dict[Place, int]:
    """Return the versions of all there is in a run; count what is torn."""
    found = {}
    for step in all_steps(log):
        name = step.internal_name
        if wrong := wrong_in_step(step):
            figures.complain("torn", wrong)
            continue
        found[Place("step", name)] = version_of(step)
        for key in step.user_defined_metrics:
            if key.startswith("by-"):
                found[Place("changes", name, key[3:])] = counted_by(step, int(key[3:]))
        for points in (step.metric_series or {}).values():
            found[Place("points", name)] = len(points)
    for branch in all_branches(log):
        if wrong := wrong_in_branch(branch):
            figures.complain("torn", wrong)
            continue
        found[Place("branch", branch.internal_name)] = branch.item["version"]
        _add_parameters(found, branch.internal_name, branch.parameters, figures)
    _add_parameters(found, "", log.parameters, figures)
    for key, value in log.run_config.get("notes", {}).items():
        found[Place("note", "", key)] = value
    return found


def _add_parameters(found: dict[Place, int], scope: str, parameters: dict[str, Any], figures: Figures) -> None:
    for key, value in parameters.items():
        found[Place("parameter", scope, key)] = value_of(value)
        if value_of(value) < 0:
            figures.complain("torn", f"parameter {key} of {scope or 'the run'}: {value}")
