"""What nobody takes for a part of a run: left by those who were stopped, or wrote to a run that was deleted meanwhile.

Nothing is removed that may be about to be used: no request, and nothing that is tried again, lasts as long as what is
left here must have lain. What lies where there is no run may still be copied there by some other tool: that takes
longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from itertools import groupby, islice
from typing import NamedTuple

from chunkstore.backends.capabilities import Clearing
from chunkstore.backends.objects.client import OWN_FOLDER, Found, Listed, ObjectClient
from chunkstore.backends.objects.renewing import Told
from chunkstore.backends.objects.tombstones import SILENCE, clear_folder, is_tombstone
from chunkstore.names import JOINED_FILE, OWNER_FILE, RUN_FILE

_SECOND = 1_000_000_000
#: How old what is left over in a run must be, in seconds, and what lies where there is no run.
IN_RUNS, WITHOUT_RUN = SILENCE, 86_400.0
#: What is made for a moment below the folder of the store's own.
_FOR_A_MOMENT = (f"{OWN_FOLDER}/clock/", f"{OWN_FOLDER}/conditions/")
#: A tombstone is never larger.
_MOST_OF_A_TOMBSTONE = 256
#: So many objects are looked at at once; and the listings of so many runs are kept until these have been.
_AT_ONCE = 32
_FOLDERS_AT_ONCE = 256


class _Left(NamedTuple):
    """Objects that are left over, and what removes them, unless they belong to somebody by then."""

    objects: list[Listed]
    clear: Callable[[], object]


class ClearingBucket(Clearing):
    """What a back end over an object store has to clear up.

    Attributes:
        client: makes the requests.
    """

    client: ObjectClient

    def clear_left_overs(self, ends: Mapping[str, bool], *, dry_run: bool = False) -> list[int]:
        """See `Clearing`."""
        removed: list[int] = []
        now = self.client.server_time()
        grouped = groupby(self.client.listed(""), key=lambda each: each.key.partition("/")[0])
        folders = ((folder, list(listed)) for folder, listed in grouped)
        with ThreadPoolExecutor(_AT_ONCE) as pool, ThreadPoolExecutor(_AT_ONCE) as looks:
            while several := list(islice(folders, _FOLDERS_AT_ONCE)):
                for every in pool.map(lambda each: list(self._left_in(each[0], each[1], now, ends, looks)), several):
                    for left in every:
                        removed += [each.size for each in left.objects]
                        if not dry_run:
                            left.clear()
        return removed

    def _left_in(
        self, folder: str, listed: list[Listed], now: int, ends: Mapping[str, bool], looks: Executor
    ) -> Iterator[_Left]:
        """Yield what is left in a folder."""
        if folder == OWN_FOLDER:
            yield self._alone(each for each in _older(listed, now, WITHOUT_RUN) if each.key.startswith(_FOR_A_MOMENT))
            return
        if folder.startswith(".") or all("/" not in each.key for each in listed):
            return
        deciding = next((each for each in listed if each.key == f"{folder}/{RUN_FILE}"), None)
        if deciding is not None:
            # Nothing is told of a run that somebody has made since the runs were listed.
            yield from self._left_in_run(deciding, listed, now, looks, is_over=ends.get(folder))
        elif len(_older(listed, now, WITHOUT_RUN)) == len(listed):
            yield _Left(listed, partial(clear_folder, self.client, folder, None))

    def _left_in_run(
        self, deciding: Listed, listed: list[Listed], now: int, looks: Executor, *, is_over: bool | None
    ) -> Iterator[_Left]:
        others = [] if is_over is None else [each for each in _older(listed, now, IN_RUNS) if each is not deciding]
        if deciding.size > _MOST_OF_A_TOMBSTONE and not others:
            return
        found = self.client.look(deciding.key)
        if found is not None and is_tombstone(found):
            if now - found.modified_at > SILENCE * _SECOND:
                folder = deciding.key.partition("/")[0]
                yield _Left(listed, partial(clear_folder, self.client, folder, found))
        elif found is not None and (left := self._of_others(others, found, now, looks, is_over=bool(is_over))):
            again = self.client.look(deciding.key)
            # Else it was deleted and made anew meanwhile, and what seemed to be left over may be a part of it.
            if again is not None and not is_tombstone(again) and again.incarnation == found.incarnation:
                yield self._alone(left)

    def _alone(self, some: Iterable[Listed]) -> _Left:
        """Return objects beside which others stay."""
        objects = list(some)
        return _Left(objects, partial(self.client.delete, [each.key for each in objects]))

    def _of_others(self, listed: list[Listed], run: Found, now: int, looks: Executor, *, is_over: bool) -> list[Listed]:
        """Return those of some objects in the folder of a run that are no part of it."""
        every = list(looks.map(lambda each: self.client.look(each.key), listed))
        left = []
        for each, found in zip(listed, every, strict=True):
            if found is None or found.version != each.version:
                continue
            is_foreign = run.incarnation and found.incarnation and found.incarnation != run.incarnation
            if is_foreign or (is_over and self._is_of_the_dead(each, now)):
                left.append(each)
        return left

    def _is_of_the_dead(self, listed: Listed, now: int) -> bool:
        """Tell whether an object says that somebody records a run who has not said so for long."""
        name = listed.key.rpartition("/")[2]
        if name != OWNER_FILE and not name.startswith(f"{JOINED_FILE}-"):
            return False
        found = self.client.get_or_none(listed.key)
        return found is not None and now - found.modified_at > Told.read(found.data).silence * _SECOND


def _older(listed: Iterable[Listed], now: int, age: float) -> list[Listed]:
    return [each for each in listed if now - each.modified_at > age * _SECOND]
