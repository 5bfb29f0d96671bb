"""Asking the workers of an engine, and waiting for their answers, but never for ever."""

from __future__ import annotations

import base64
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from typing import IO, Any

from chunkstore.backends.capabilities import Locking
from chunkstore.engines import as_executor
from chunkstore.engines.capacity import capacity_of
from chunkstore.errors import StoreUsageError
from chunkstore.maintenance.doctor.report import BAD
from chunkstore.maintenance.workers import worker
from chunkstore.maintenance.workers.meeting import Meeting
from chunkstore.maintenance.workers.report import EngineReport
from chunkstore.maintenance.workers.verdict import reports_of
from chunkstore.recording.sharing import process_here
from chunkstore.stores.base import Store

#: How many questions are asked of an engine that does not say how many workers it has, and at most.
_UNKNOWN, _MOST = 4, 64
_PAUSE = 0.01
#: How long a command that was told to end has for that, in seconds.
_FAREWELL = 3.0
_SHOWN = 300
#: What shells say of a program that is not there, or cannot be run.
_NOT_FOUND = (126, 127)
_OTHER_PYTHON = " If Python lies elsewhere there, end the command with it: 'ssh node3 /opt/bin/python3'."

_Answers = list[tuple[dict[str, Any], int, int]]


class _Patience:
    """How long answers are waited for, in seconds, from now on."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds
        self.text = f"{seconds:g} seconds"

    def is_over(self) -> bool:
        return time.monotonic() >= self._deadline


def check_engine(
    store: Store, engine: Executor | Sequence[str], *, workers: int | None = None, timeout: float = 30.0
) -> EngineReport:
    """Find out whether the workers of an engine can record in a store: from each of them, with real files and locks.

    They have to see the driver's folder at the same path, and the driver what they write; locks have to exclude each
    other both ways; clocks, chunkstore and Python have to agree well enough. What is written is removed again.

    Args:
        store: where runs are to be recorded.
        engine: an executor, or what `chunkstore.engines` makes; or a command that starts workers, `["srun", "-n4"]`:
            it is run with `python -m …` behind it, with the Python of this process unless it ends with another one.
        workers: how many workers to ask at once; None for as many as the engine says that it has, of which each may
            be several threads of a process. A command starts as many as it likes.
        timeout: for how many seconds answers are waited for.

    Returns:
        A report on each process that answered, and what is known of others.

    Raises:
        StoreUsageError: the store is in memory, which nobody shares, or in a bucket, which has no locks to try.
        ChunkstoreError: nothing can be written where the store is.
    """
    if not store.backend.shared_between_processes:
        raise StoreUsageError(
            "Cannot examine workers with a store in memory: no other process sees it. Use chunked-fs."
        )
    if not isinstance(store.backend, Locking):
        raise StoreUsageError(
            f"Cannot examine workers with {store.backend.location}: there are no locks to try, and whoever has "
            "the URL sees the same. Run `chunkstore doctor` with the URL where the workers run: it says whether they "
            "reach it."
        )
    patience = _Patience(timeout)
    answers: _Answers = []
    location, catalog = store.backend.location, store.catalog_path
    if isinstance(engine, Sequence):
        name = shlex.join(engine)
        with Meeting(location, catalog, 0) as meeting:
            silent = list(_ask_command(engine, meeting, answers, patience))
    else:
        executor = as_executor(engine)
        name = type(executor).__name__
        count = workers or min(capacity_of(executor) or _UNKNOWN, _MOST)
        with Meeting(location, catalog, count) as meeting:
            silent = list(_ask_executor(executor, meeting, answers, patience, count))
    reports = reports_of(answers, meeting.tried, process_here(), location)
    is_bad = any(check.result == BAD for report in reports for check in report.checks)
    return EngineReport(
        engine=name,
        driver=process_here(),
        folder=location,
        workers=reports,
        silent=silent,
        holds=bool(reports) and not silent and not is_bad,
    )


# --- an executor -----------------------------------------------------------------------------------------------------


def _ask_executor(
    executor: Executor, meeting: Meeting, answers: _Answers, patience: _Patience, count: int
) -> Iterator[str]:
    waiting: dict[Future[str], int] = {}
    try:
        for _ in range(count):
            waiting[executor.submit(worker.answer, meeting.question)] = time.time_ns()
    except Exception as error:  # noqa: BLE001 - whatever an engine raises
        yield f"The engine takes no work: {_in_short(error)}."
    while waiting and not patience.is_over():
        meeting.look()
        for future in [future for future in waiting if future.done()]:
            sent, came = waiting.pop(future), time.time_ns()
            try:
                answers.append((json.loads(future.result()), sent, came))
            except Exception as error:  # noqa: BLE001 - whatever an engine raises
                yield f"A worker gave no answer: {_in_short(error)}."
        time.sleep(_PAUSE)
    for future in waiting:
        with suppress(Exception):
            future.cancel()
    yield from _those_who_are_late(meeting, answers, len(waiting), patience)


def _those_who_are_late(meeting: Meeting, answers: _Answers, missing: int, patience: _Patience) -> Iterator[str]:
    answered = {told.get("id") for told, _, _ in answers}
    begun = [told for id_, told in meeting.present.items() if id_ not in answered]
    for told in begun[:missing]:
        yield f"process {told['pid']} on {told['host']} has begun, and did not answer in {patience.text}."
    if (unheard := missing - len(begun)) > 0:
        yield (
            f"No answer to {unheard} question{'s' if unheard > 1 else ''} in {patience.text}, and nobody who has begun "
            "with that was seen in the folder: the engine is busy or still starts, or workers hang or see another one."
        )


def _in_short(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[-1] if len(lines) > 1 else lines[0]}"[:_SHOWN].rstrip(".: ")


# --- a command -------------------------------------------------------------------------------------------------------


def _ask_command(command: Sequence[str], meeting: Meeting, answers: _Answers, patience: _Patience) -> Iterator[str]:
    own = [] if os.path.basename(command[-1]).startswith("python") else [sys.executable]
    question = base64.urlsafe_b64encode(meeting.question.encode()).decode()
    sent = time.time_ns()
    try:
        process = subprocess.Popen(  # noqa: S603 - it is the user's own command
            [*command, *own, "-m", worker.__package__, question],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        yield f"The command cannot be started: {os.strerror(error.errno or 0)}."
        return
    errors: list[str] = []
    readers = [
        threading.Thread(target=_hear, args=(process.stdout, answers, sent), daemon=True),
        threading.Thread(target=_read, args=(process.stderr, errors), daemon=True),
    ]

    def is_over() -> bool:
        return process.poll() is not None and not any(map(threading.Thread.is_alive, readers))

    with _ended_at_last(process, is_over):
        for reader in readers:
            reader.start()
        while not patience.is_over() and not is_over():
            meeting.look()
            time.sleep(_PAUSE)
        code = process.poll() if is_over() else None
    said = f": {errors[-1].strip()[:_SHOWN]}" if errors else ""
    if code is None:
        yield f"The command has not ended in {patience.text}{said}."
        yield from _those_who_are_late(meeting, answers, len(meeting.present) - len(answers), patience)
    elif code or not answers:
        hint = "" if own == [] or code not in _NOT_FOUND else _OTHER_PYTHON
        yield f"The command ended with exit code {code}, after {len(answers)} answers{said}.{hint}"


def _hear(stream: IO[str], answers: _Answers, sent: int) -> None:
    with stream:
        for line in stream:
            _, mark, text = line.partition(worker.MARK)
            if mark:
                answers.append((json.loads(base64.urlsafe_b64decode(text.strip())), sent, time.time_ns()))


def _read(stream: IO[str], lines: list[str]) -> None:
    with stream:
        lines.extend(line for line in stream if line.strip())


@contextmanager
def _ended_at_last(process: subprocess.Popen[str], is_over: Callable[[], bool]) -> Iterator[None]:
    """End a command, and all that it has started here."""
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not is_over():
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                deadline = time.monotonic() + _FAREWELL
                while not is_over() and time.monotonic() < deadline:
                    time.sleep(_PAUSE)
