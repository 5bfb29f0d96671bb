"""The driver's side: a folder in which it meets workers, whose locks it tries, and whose clocks it compares."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from contextlib import ExitStack
from typing import Any, NamedTuple

from chunkstore.backends.disk.os_errors import os_error
from chunkstore.backends.disk.syscalls import SYSTEM
from chunkstore.backends.disk.temporary_names import temporary_names
from chunkstore.errors import ChunkstoreError
from chunkstore.maintenance.doctor.examination import closest_folder
from chunkstore.maintenance.workers.worker import DRIVER, DRIVER_LOCK, HELD, HELLO, LOCK, TRIED, held, is_held

#: How long a worker waits for the driver to try its lock, in seconds.
_PATIENCE = 10.0


class Tried(NamedTuple):
    """What came of trying the lock that a worker holds.

    Attributes:
        kept_out: whether it kept the driver out; else why that is not known, or False.
        held: when the worker wrote that it holds it, by its own clock, in nanoseconds since the epoch.
        seen: when that was seen here.
        told: when the worker was told, by the clock here.
    """

    kept_out: bool | str
    held: int
    seen: int
    told: int


class Meeting:
    """A hidden folder beside the runs, with a lock that the driver holds; use it in a `with` block, which removes it.

    Args:
        location: the folder of the runs.
        catalog: the folder of their data.
        workers: how many workers are expected at once; 0 if that is not known.
    """

    def __init__(self, location: str, catalog: str, workers: int) -> None:
        self._location = os.path.abspath(location)
        self._place = os.path.join(closest_folder(location), temporary_names.next())
        self._mark = os.path.join(closest_folder(catalog), temporary_names.next())
        self._workers = workers
        self._token = uuid.uuid4().hex
        self._stack = ExitStack()
        #: What workers have said of themselves when they came, and what came of trying their locks, by their ids.
        self.present: dict[str, dict[str, Any]] = {}
        self.tried: dict[str, Tried] = {}

    def __enter__(self) -> Meeting:
        try:
            SYSTEM.mkdir(self._place)
            with open(os.path.join(self._place, DRIVER), "w", encoding="ascii") as file:
                file.write(self._token)
            os.close(SYSTEM.open(self._mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except OSError as error:
            self.__exit__()
            raise os_error(error, os.path.dirname(error.filename or self._place)) from error
        try:
            self._stack.enter_context(held(self._place, DRIVER_LOCK))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        shutil.rmtree(self._place, ignore_errors=True)
        if os.path.lexists(self._mark):
            os.unlink(self._mark)

    @property
    def question(self) -> str:
        """What to ask a worker."""
        return json.dumps(
            {
                "place": self._place,
                "location": self._location,
                "mark": self._mark,
                "token": self._token,
                "workers": self._workers,
                "patience": _PATIENCE,
            }
        )

    def look(self) -> None:
        """See who has come, and try the locks of those who say that they hold one."""
        for name in os.listdir(self._place):
            if name.endswith(".part"):
                continue
            if name.startswith(HELLO) and (id_ := name.removeprefix(HELLO)) not in self.present:
                self.present[id_] = self._read(name)
            elif name.startswith(HELD) and (id_ := name.removeprefix(HELD)) not in self.tried:
                self._try(id_, self._read(name), time.time_ns())

    def _read(self, name: str) -> dict[str, Any]:
        with open(os.path.join(self._place, name), encoding="utf-8") as file:
            read: dict[str, Any] = json.load(file)
            return read

    def _try(self, id_: str, told: dict[str, Any], seen: int) -> None:
        kept_out: bool | str
        try:
            kept_out = is_held(self._place, LOCK + id_)
        except (OSError, ChunkstoreError) as error:
            kept_out = str(error)
        now = time.time_ns()
        self.tried[id_] = Tried(kept_out, told["now"], seen, now)
        with open(os.path.join(self._place, TRIED + id_), "w", encoding="ascii"):
            pass
