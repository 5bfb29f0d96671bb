"""Writers that do everything that a store can do, in a random order, and say what has been acknowledged."""

from __future__ import annotations

import os
import random
from typing import Any

import chunkstore
from chunkstore.errors import StepLogNotFoundError
from chunkstore.stores.base import Store

from .children import Say
from .ledger import DELETED, DELETING
from .records import count_by, make_branch, make_points, make_step, make_value

#: The run that all writers write to, the folder it is in, and the composite step that their branches belong to.
LOGS, RUN, MAP = "logs", "run", "map"

#: What a writer does, and how often.
_MIX = {
    "add_step": 4,
    "replace_step": 6,
    "change_step": 6,
    "set_parameter": 4,
    "append_points": 3,
    "add_branch": 2,
    "change_run": 2,
    "create_run": 2,
    "delete_run": 1,
}
#: What a writer does besides to a run that has ended.
_SEALING = {"seal": 1, "unseal": 1}
_MOST_BRANCHES = 3
_MOST_RUNS = 2
_KEYS = 2


def prepare(store: Store, *, ended: bool = False) -> None:
    """Make the run that all writers write to; one that has ended can be sealed."""
    store.create_run_log(RUN)
    store.add_step_log(RUN, make_step(MAP, 1))
    if ended:
        store.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS"))


def container_of(store_type: str, number: int) -> dict[str, str]:
    """Return the options of a writer's store: every other one keeps a journal, where there are such things."""
    return {"container": "journal"} if store_type == "chunked-fs" and number % 2 else {}


class Writer:
    """One writer, who has steps, branches, parameters and runs of its own, and changes those of others too.

    Args:
        store_type: of the store it writes to.
        base: the folder that the log folder is in.
        number: of this writer.
        seed: for its decisions.
        say: says what has been acknowledged, after the call has returned.
        others: the numbers of all writers whose steps may be changed.
        steps: how many steps it adds at most.
        durability: of the store.
        new_folders: whether runs of its own are made in log folders that do not exist yet.
        sealing: whether the run has ended, and is sealed and unsealed meanwhile.
    """

    def __init__(
        self,
        store_type: str,
        base: str,
        number: int,
        seed: int,
        say: Say,
        *,
        others: range,
        steps: int,
        durability: str = "run",
        new_folders: bool = False,
        sealing: bool = False,
    ) -> None:
        self._store_type = store_type
        self._base = base
        self._durability = durability
        self._number = number
        self._store = self._open(LOGS)
        self._mix = {**_MIX, **(_SEALING if sealing else {})}
        self._others = others
        self._random = random.Random(f"{seed}-{number}")
        self._say = say
        self._most_steps = steps
        self._new_folders = new_folders
        self._versions: dict[Any, int] = {}
        self._steps: list[str] = []
        self._branches: list[str] = []
        self._runs: list[str] = []
        self._made = 0

    def _open(self, folder: str) -> Store:
        logs = os.path.join(self._base, folder)
        options = container_of(self._store_type, self._number)
        return chunkstore.open_store(self._store_type, log_folder=logs, durability=self._durability, **options)

    def run(self, only: str = "") -> None:
        """Write until this process is killed or a call fails; only one thing, if asked for."""
        names, weights = list(self._mix), list(self._mix.values())
        while True:
            name = only or self._random.choices(names, weights)[0]
            getattr(self, name)()

    def _next(self, *place: str) -> int:
        self._versions[place] = self._versions.get(place, 0) + 1
        return self._versions[place]

    def _acknowledge(self, kind: str, name: str, key: str, version: int, *, folder: str = LOGS, run: str = RUN) -> None:
        self._say([folder, run, kind, name, key, version])

    # --- records -----------------------------------------------------------------------------------------------------

    def add_step(self) -> None:
        if len(self._steps) >= self._most_steps:
            self.replace_step()
            return
        self._steps.append(f"w{self._number}-{len(self._steps)}")
        self._put_step(self._steps[-1])

    def replace_step(self) -> None:
        if self._steps:
            self._put_step(self._random.choice(self._steps))

    def _put_step(self, name: str) -> None:
        version = self._next("step", name)
        self._store.add_step_log(RUN, make_step(name, version))
        self._acknowledge("step", name, "", version)

    def change_step(self) -> None:
        name = f"w{self._random.choice(self._others)}-{self._random.randrange(self._most_steps)}"
        try:
            self._store.update_step_log(RUN, name, count_by(self._number))
        except StepLogNotFoundError:
            return  # its owner has not come to it
        self._acknowledge("changes", name, str(self._number), self._next("changes", name))

    def append_points(self) -> None:
        if self._steps:
            name = self._random.choice(self._steps)
            number = self._next("points", name)
            self._store.append_metrics(RUN, name, {"loss": make_points(range(number - 1, number))})
            self._acknowledge("points", name, "", number)

    def add_branch(self) -> None:
        """Add a branch with a step and a parameter in it, or replace it."""
        name = f"{MAP}.w{self._number}-{self._random.randrange(_MOST_BRANCHES)}"
        version = self._next("branch", name)
        self._store.add_branch_log(RUN, make_branch(name, version))
        self._branches.append(name)
        self._acknowledge("branch", name, "", version)
        self._acknowledge("step", f"{name}.inner", "", version)
        self._acknowledge("parameter", name, "own", version)

    def set_parameter(self) -> None:
        scope = self._random.choice(["", "", *self._branches[-1:]])
        key = f"w{self._number}-{self._random.randrange(_KEYS)}"
        version = self._next("parameter", scope, key)
        self._store.set_parameters(RUN, {key: make_value(version)}, branch=scope)
        self._acknowledge("parameter", scope, key, version)

    def seal(self) -> None:
        self._store.seal(RUN)

    def unseal(self) -> None:
        self._store.unseal(RUN)

    # --- runs --------------------------------------------------------------------------------------------------------

    def change_run(self) -> None:
        key = f"w{self._number}"
        version = self._next("note", key)
        self._store.update_run_log(RUN, lambda log: log.run_config.setdefault("notes", {}).update({key: version}))
        self._acknowledge("note", "", key, version)

    def create_run(self) -> None:
        """Create a run of our own, perhaps in a log folder that does not exist yet."""
        if len(self._runs) >= _MOST_RUNS:
            self.delete_run()
            return
        self._made += 1
        run, folder, store = f"w{self._number}-{self._made}", LOGS, self._store
        if self._new_folders and self._random.random() < 0.5:
            folder = os.path.join("new", run, "logs")
            store = self._open(folder)
        store.create_run_log(run, parameters={"first": make_value(self._made)})
        self._acknowledge("parameter", "", "first", self._made, folder=folder, run=run)
        if store is self._store:
            self._runs.append(run)

    def delete_run(self) -> None:
        if self._runs:
            run = self._runs.pop(0)
            # What is said before the call: from now on the run may be there or not, but never in part.
            self._acknowledge("run", "", "", DELETING, run=run)
            self._store.delete_run(run)
            self._acknowledge("run", "", "", DELETED, run=run)
