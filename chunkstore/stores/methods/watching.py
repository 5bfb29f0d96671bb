"""How every store tells which runs there are, who records them, and what becomes of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from functools import partial

from chunkstore.backends.base import Backend
from chunkstore.backends.caching import Caching
from chunkstore.backends.capabilities import Holding, Joined
from chunkstore.backends.errors import MissingError
from chunkstore.backends.reader import FolderReader
from chunkstore.clock import format_nanoseconds
from chunkstore.errors import ChunkstoreError
from chunkstore.names import PinnedRunId, incarnation_of, is_meant
from chunkstore.records.codec import encode
from chunkstore.records.copied import CopyNote
from chunkstore.records.models import RunLog
from chunkstore.records.ranks import WorkOfStarts
from chunkstore.records.summaries import RunSummary
from chunkstore.stores.layout import Layout, OwnerFiles
from chunkstore.stores.runs import (
    FEW_RUNS,
    LIVE,
    LOST,
    Liveness,
    Owner,
    RunList,
    judge,
    judge_copy,
    judge_joined,
    judge_left,
    newest_first,
    opened_index,
    summary_in,
    summary_of,
)
from chunkstore.stores.stored import is_finished


class WatchingMethods(Layout):
    """Listing runs, telling whether somebody records them, following them."""

    def list_runs(self) -> RunList:
        """Return an iterator over a summary of every run, the newest first; runs without a recorded time come last.

        Not all are read before the first is yielded: a run whose file is older than another run's start has started
        earlier. So where the times of files were set by hand, it may be yielded later than its start would have it.

        Notebooks show it as a table of the newest runs.
        """
        return RunList(self._summaries(), self.liveness, self.backend.location)

    def _summaries(self) -> Generator[RunSummary, None, None]:
        try:
            with self.backend.reader("") as top:
                candidates = self._candidates(top)
                known = self._all_summaries({run_id for _, run_id in candidates}, top) if top.reads_ahead else None
                find = partial(self._summary, top=top) if known is None else known.get
                yield from newest_first(candidates, find)
        except FileNotFoundError:
            return  # there is no log folder yet

    def _all_summaries(self, runs: set[str], top: FolderReader) -> dict[str, RunSummary]:
        """Return the summaries of all runs, by run: those that are kept, and those that were read, many at once."""
        backend = self.backend
        index = opened_index(backend) if isinstance(backend, Caching) and len(runs) > FEW_RUNS else None
        kept = {run_id: one for run_id in runs if (one := index.get(run_id))} if index else {}
        others = sorted(runs - kept.keys())
        top.expect("/".join(self._run_file(run_id)) for run_id in others)
        read = {run_id: one for run_id in others if (one := self._summary(run_id, top))}
        if index:
            index.add(read.values(), runs)
        return kept | read

    def _summary(self, run_id: str, top: FolderReader) -> RunSummary | None:
        glanced = summary_in(top.glance(*self._run_file(run_id)))
        if glanced is not None and glanced.run_id == run_id:
            return glanced
        try:
            log = self._read_metadata(run_id)
        except FileNotFoundError:
            return None  # deleted since it was listed, or no run at all
        except ChunkstoreError as error:
            return RunSummary(run_id=run_id, problem=str(error))
        return summary_of(log)

    def hold(self, run_id: str, *, joined: bool = False, start: str = "", job: str = "") -> Callable[[], None]:
        """Let others know, as long as this process lives, that somebody records a run.

        Args:
            run_id: the run.
            joined: whether this process is one of several, any of which may leave; else the run ends with it.
            start: what this process is called in the attempts that it records.
            job: of which job of a batch system it is part.

        Returns:
            To be called when the run has ended.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        with self._existing(run_id):
            meant = PinnedRunId(run_id, incarnation_of(run_id) or self._incarnation(run_id) or "")
            if (backend := _holding(self.backend)) is None:
                return lambda: None
            files = self._owner_files(run_id, meant.incarnation)
            file = files.joined if joined else files.owner
            who = encode(Owner.here(backend.mount(), start=start, job=job))
            release = backend.hold(
                files.folder,
                file,
                who,
                together=joined,
                is_over=partial(self._is_told_otherwise, meant, files),
                incarnation=meant.incarnation,
                is_there=partial(self._is_there, meant),
            )
            if backend.holds_for_incarnations:
                return release
            try:
                if self._is_there(meant) is not False:
                    return release
            except BaseException:
                release()
                raise
        release()  # the folder is that of another run by now, which is none of ours
        raise self._no_run(meant)

    def _is_there(self, run_id: PinnedRunId) -> bool | None:
        """Tell whether there is just this run, and no other of its id; None if its record cannot be read."""
        try:
            found = self._incarnation(run_id)
        except MissingError:
            return False
        return None if found is None else is_meant(run_id, found)

    def _is_told_otherwise(self, run_id: str, files: OwnerFiles) -> bool:
        """Tell whether nobody needs to know who had joined a run: it has ended, is gone, or is somebody's own."""
        backend = _holding(self.backend)
        try:
            if is_finished(self._read_metadata(run_id)):
                return True
            return backend is not None and backend.holder(files.folder, files.owner) is not None
        except (ChunkstoreError, FileNotFoundError):
            return True

    def is_abandoned(self, run_id: str) -> bool:
        """Tell whether the process that called `hold` for a run has surely died without giving it back."""
        return self.liveness(run_id).state == LOST

    def liveness(self, run_id: str) -> Liveness:
        """Tell whether somebody still records a run that has not finished.

        Args:
            run_id: the run; what is told of one that has finished means nothing.

        Returns:
            `LIVE`, `LOST` or `UNKNOWN`, and why. Of files no time limit is involved: the kernel knows who lives. In an
            object store, whoever records a run says so every 30 s, and is LOST when it has not for 5 minutes.

        Raises:
            RunLogNotFoundError: there is no such run.
        """
        if not self.backend.shared_between_processes:
            return Liveness(state=LIVE, why="It is in the memory of this process.", pid=os.getpid())
        with self._existing(run_id):
            if (backend := _holding(self.backend)) is None:
                return judge(None, None, lambda: None, format_nanoseconds(self._last_written(run_id)))
            return self._liveness(run_id, backend)

    def _liveness(self, run_id: str, backend: Holding) -> Liveness:
        log = self._readable_metadata(run_id)
        incarnation = log.incarnation if log else ""
        files = self._owner_files(run_id, incarnation)
        held = backend.holder(files.folder, files.owner, incarnation)
        owner = Owner.read(held.data) if held else None
        is_held, heard_at, silence = (held.is_alive, held.heard_at, held.silence) if held else (None, 0, 0.0)
        if is_held:
            return judge(owner or Owner(), is_held, backend.mount, _in_words(heard_at))
        joined = backend.joined(files.folder, files.joined, incarnation) or Joined([])
        heard_at, silence = max(heard_at, joined.heard_at), max(silence, joined.silence)
        dead, has_open_work = self._dead_of(run_id, joined) if joined.dead else ([], False)
        if joined.living:
            living, heard = list(map(Owner.read, joined.living)), _in_words(heard_at)
            return judge_joined(living, dead, backend.mount, silence=silence, last_heard=heard)
        last_heard = format_nanoseconds(heard_at or self._last_written(run_id))
        if owner is None and joined.doubtful:
            return judge(Owner.read(joined.doubtful[0]), None, backend.mount, last_heard)
        if owner is None and joined.dead:
            mount = backend.mount
            return judge_left(dead, has_open_work=has_open_work, mount=mount, last_heard=last_heard, silence=silence)
        if owner is None and log is not None and (note := CopyNote.of(log)) is not None:
            return judge_copy(note, last_heard)
        return judge(owner, is_held, backend.mount, last_heard, silence=silence)

    def _dead_of(self, run_id: str, joined: Joined) -> tuple[list[Owner], bool]:
        """Return who has joined a run and died, without coming back; and whether anything they began has not ended."""
        dead = []
        for who, later in joined.dead:
            owner = Owner.read(who)
            if not any(each.came_back_as(owner) for each in map(Owner.read, later)):
                dead.append(owner)
        if not dead:
            return [], False
        work = WorkOfStarts(self._stream(run_id))
        dead = [owner for owner in dead if not work.is_done_by_others(owner.start)]
        return dead, any(work.is_open(owner.start) for owner in dead)

    def follow(self, run_id: str) -> Iterator[RunLog]:
        """Yield a run as it is now, and again whenever it has changed, until it has ended.

        The operating system tells of changes if `watchfiles` is installed (the extra `follow`); else the folder is
        looked at 50 times a second. Only what has changed is parsed. The logs share what has not; they are never
        altered. Changes that come faster than they are taken from the iterator are yielded together.

        Args:
            run_id: the run.

        Returns:
            An iterator that ends with the log of the finished run, or of a run whose owner has died: the process that
            called `start_run`. Of a run without such an owner, nobody knows that it was given up.

        Raises:
            RunLogNotFoundError: there is no such run, or it was deleted meanwhile.
        """
        with self._existing(run_id):
            yield from self._follow(run_id)


def _in_words(heard_at: int) -> str:
    return format_nanoseconds(heard_at) if heard_at else ""


def _holding(backend: Backend) -> Holding | None:
    return backend if isinstance(backend, Holding) else None
