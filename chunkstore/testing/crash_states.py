"""Every state in which a disk may be found after a loss of power, built from what a writer did.

A file system owes nobody an operation that was not synced. Two models say what it may do with those:

- `ANY_ORDER`: each of them may be there or missing, whatever became of the others. This is what POSIX allows.
- `IN_ORDER`: names reach the disk in the order in which they were made, as in the journal of ext4; syncing anything
  brings along all names that came before. The bytes of a file that was not synced may be missing all the same.

Bytes that were not synced may also be there in part, or as zeros. See Pillai et al., "All File Systems Are Not Created
Equal: On the Complexity of Crafting Crash-Consistent Applications", OSDI 2014, for what real file systems do.

    trace = record(write, folder)  # see system_trace
    for state in crash_states(trace, ANY_ORDER):
        state.write_to(folder)
        check(folder, state.acknowledged)
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chunkstore.testing.disk_operations import TOP, Acknowledgement, Name, Naming, Operation, Syncing, Trace, Writing

ANY_ORDER, IN_ORDER = "any order", "in order"
MODELS = (ANY_ORDER, IN_ORDER)

#: How the bytes of one operation may be found.
_WHOLE, _HALF, _ZEROS = "whole", "half", "zeros"


@dataclass(frozen=True)
class CrashState:
    """One state of a folder after a loss of power.

    Attributes:
        files: the bytes of each file, by its path in the folder.
        folders: the paths of the folders in it.
        acknowledged: what had been acknowledged at the latest moment at which this state is possible.
        after: how many operations had been begun by then.
    """

    files: dict[str, bytes]
    folders: frozenset[str]
    acknowledged: tuple[str, ...]
    after: int

    def write_to(self, folder: str | os.PathLike[str]) -> None:
        """Make `folder` look so; what is in it is removed."""
        shutil.rmtree(folder, ignore_errors=True)
        top = Path(folder)
        top.mkdir(parents=True)
        for path in sorted(self.folders):
            (top / path).mkdir()
        for path, data in self.files.items():
            (top / path).write_bytes(data)


def crash_states(trace: Trace, model: str, *, limit: int = 64, begin: int = 0, seed: int = 0) -> Iterator[CrashState]:
    """Yield each different state that the disk may be in if the power is lost at any moment.

    Args:
        trace: what was done; see `system_trace.record`.
        model: `ANY_ORDER` or `IN_ORDER`.
        limit: how many states are built at most for one moment. Where more are possible, they are those in which
            nothing, everything, all but one operation, one alone or the first few have reached the disk, and a random
            choice of the others.
        begin: the number of operations before the first moment that is looked at.
        seed: for the choice.
    """
    if model not in MODELS:
        raise ValueError(f"model must be one of {MODELS}, not {model!r}")
    chance = random.Random(seed)  # noqa: S311 - no secret
    found: dict[tuple[object, ...], CrashState] = {}
    for moment in range(begin, len(trace.operations) + 1):
        done = trace.operations[:moment]
        acknowledged = tuple(operation.text for operation in done if isinstance(operation, Acknowledgement))
        for survivors in _survivors(done, model, limit, chance):
            files, folders = _disk(trace, done, survivors)
            # Later moments come later, and with more that was acknowledged.
            found[_key(files, folders)] = CrashState(files, folders, acknowledged, moment)
    yield from found.values()


def _key(files: dict[str, bytes], folders: frozenset[str]) -> tuple[object, ...]:
    return (folders, *sorted(files.items()))


#: Which operations have reached the disk, and how.
_Survivors = dict[int, str]


def _survivors(done: list[Operation], model: str, limit: int, chance: random.Random) -> Iterator[_Survivors]:
    """Yield what may have reached the disk of some operations."""
    safe = _synced(done, model)
    certain = dict.fromkeys(safe, _WHOLE)
    open_names = [n for n, operation in enumerate(done) if isinstance(operation, Naming) and n not in safe]
    open_bytes = [n for n, operation in enumerate(done) if isinstance(operation, Writing) and n not in safe]
    if model == ANY_ORDER:
        for chosen in _subsets(open_names + open_bytes, limit, chance):
            for how in _ways(chosen, open_bytes):
                yield {**certain, **how}
        return
    for length in range(len(open_names) + 1):
        names = open_names[:length]
        for chosen in _subsets(open_bytes, max(4, limit // (len(open_names) + 1)), chance):
            for how in _ways(chosen, open_bytes):
                yield {**certain, **dict.fromkeys(names, _WHOLE), **how}


def _subsets(numbers: list[int], limit: int, chance: random.Random) -> Iterator[tuple[int, ...]]:
    if 2 ** len(numbers) <= limit:
        for size in range(len(numbers) + 1):
            yield from itertools.combinations(numbers, size)
        return
    chosen = {(), tuple(numbers)}
    chosen.update(tuple(other for other in numbers if other != one) for one in numbers)
    chosen.update((one,) for one in numbers)
    chosen.update(tuple(numbers[:length]) for length in range(len(numbers)))
    ordered = sorted(chosen, key=lambda each: (len(each), each))
    if len(ordered) > limit:
        ordered = chance.sample(ordered, limit)
    yield from ordered
    for _ in range(limit - len(ordered)):
        yield tuple(number for number in numbers if chance.random() < 0.5)  # noqa: PLR2004 - heads or tails


def _ways(chosen: Iterable[int], open_bytes: list[int]) -> Iterator[_Survivors]:
    """Yield how the chosen operations may be found: whole, and each write of bytes in part or as zeros."""
    whole = dict.fromkeys(chosen, _WHOLE)
    yield whole
    for number in open_bytes:
        if number in whole:
            yield {**whole, number: _HALF}
            yield {**whole, number: _ZEROS}


def _synced(done: list[Operation], model: str) -> set[int]:
    """Return the operations that no loss of power undoes."""
    safe: set[int] = set()
    for number, operation in enumerate(done):
        if not isinstance(operation, Syncing):
            continue
        earlier = range(number)
        if operation.inode is None:
            safe.update(earlier)
            continue
        inode = operation.inode
        own = [n for n in earlier if _touches(done[n], inode)]
        safe.update(own)
        if model == IN_ORDER and own:
            # The journal holds names in order: the last one that has to do with the inode brings all before it along.
            safe.update(n for n in range(own[-1]) if isinstance(done[n], Naming))
    return safe


def _touches(operation: Operation, inode: int) -> bool:
    """Tell whether syncing an inode brings an operation to the disk: bytes of a file, names in a folder."""
    if isinstance(operation, Writing):
        return operation.inode == inode
    if isinstance(operation, Naming):
        return any(name.folder == inode for name in operation.names)
    return False


def _disk(trace: Trace, done: list[Operation], survivors: _Survivors) -> tuple[dict[str, bytes], frozenset[str]]:
    names = dict(trace.names)
    contents = {inode: bytearray(data) for inode, data in trace.files.items()}
    folders = set(trace.folders)
    for number, operation in enumerate(done):
        if isinstance(operation, Naming):
            # A folder exists from then on, whether or not a name leads to it.
            if operation.folder is not None:
                folders.add(operation.folder)
            if number in survivors:
                _rename(names, operation.names)
        elif isinstance(operation, Writing) and number in survivors:
            _write(contents.setdefault(operation.inode, bytearray()), operation, survivors[number])
    return _tree(names, contents, folders)


def _rename(names: dict[Name, int], changed: dict[Name, int | None]) -> None:
    for name, inode in changed.items():
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode


def _write(content: bytearray, operation: Writing, how: str) -> None:
    offset, data = operation.offset, operation.data
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    if how == _HALF:
        data = data[: len(data) // 2]
    elif how == _ZEROS:
        data = bytes(len(data))
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _tree(
    names: dict[Name, int], contents: dict[int, bytearray], folders: set[int]
) -> tuple[dict[str, bytes], frozenset[str]]:
    """Return files and folders by their paths; what no name leads to is lost."""
    inside: dict[int, list[tuple[str, int]]] = {}
    for place, inode in names.items():
        inside.setdefault(place.folder, []).append((place.name, inode))
    files: dict[str, bytes] = {}
    found: set[str] = set()
    pending = [(TOP, "")]
    while pending:
        folder, path = pending.pop()
        for name, inode in inside.get(folder, ()):
            inner = os.path.join(path, name)
            if inode in folders:
                found.add(inner)
                pending.append((inode, inner))
            else:
                files[inner] = bytes(contents.get(inode, b""))
    return files, frozenset(found)
