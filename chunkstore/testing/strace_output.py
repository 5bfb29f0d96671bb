"""From what strace writes, with `-y -xx`, to operations on a folder."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from chunkstore.testing.disk_operations import (
    TOP,
    Acknowledgement,
    Name,
    Naming,
    Operation,
    Syncing,
    Trace,
    TraceError,
    Writing,
)

_LINE = re.compile(r"^(\d+) +(.*)$")
_RESUMED = re.compile(r"^<\.\.\. \w+ resumed>(.*)$")
_CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+|\?)(.*)$")
_TEXT = re.compile(r'^"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?$')
_DESCRIPTOR = re.compile(r"^(-?\w+)(?:<((?:\\x[0-9a-f]{2})*)>)?(\(deleted\))?$")
#: Calls that give a name, and that take one away.
_NAMING = frozenset("open openat link linkat rename renameat renameat2 mkdir mkdirat".split())
_UNNAMING = frozenset("rename renameat renameat2 unlink unlinkat rmdir".split())
_SELF = re.compile(r"^/proc/(?:self|\d+|thread-self)/fd/(\d+)$")


class _Call(NamedTuple):
    process: int
    name: str
    arguments: list[str]
    result: int
    result_text: str

    def names(self, name: str) -> bool:
        """Tell whether a path among the arguments ends with a name."""
        paths = (_decoded(match[1]) for argument in self.arguments if (match := _TEXT.match(argument)))
        return any(os.path.basename(path) == name for path in paths)

    def closes(self, descriptor: int) -> bool:
        """Tell whether a descriptor is closed."""
        match = _DESCRIPTOR.match(self.arguments[0])
        return self.name == "close" and match is not None and match[1] == str(descriptor)


class Traced(NamedTuple):
    """A call that returned, as strace wrote it.

    Attributes:
        thread: who made it.
        text: the call, its arguments and what it returned.
        begun: the number of the line in which it began.
        ended: the number of the line in which it returned.
    """

    thread: int
    text: str
    begun: int
    ended: int


def traced_calls(text: str) -> Iterator[Traced]:
    """Yield the calls that returned, in the order in which they returned."""
    begun: dict[int, tuple[str, int]] = {}
    for number, line in enumerate(text.splitlines()):
        match = _LINE.match(line)
        if match is None:
            continue
        thread, rest = int(match[1]), match[2]
        if rest.endswith("<unfinished ...>"):
            begun[thread] = rest.removesuffix("<unfinished ...>").rstrip(), number
        elif resumed := _RESUMED.match(rest):
            first, since = begun.pop(thread, ("", number))
            yield Traced(thread, first + resumed[1], since, number)
        else:
            yield Traced(thread, rest, number, number)


def _split(arguments: str) -> list[str]:
    """Return the arguments of a call; all text is written as hexadecimal, so it holds neither commas nor quotes."""
    return [argument.strip() for argument in arguments.split(",")] if arguments.strip() else []


def _decoded(digits: str) -> str:
    return os.fsdecode(bytes.fromhex(digits.replace("\\x", "")))


class Reading:
    """Follows names and descriptors through the calls of all processes.

    Args:
        trace: gets the operations; holds what was there before.
        top: the folder that is watched.
        said: the descriptor that acknowledgements are written to.
        inodes: how many numbers of inodes have been given.
    """

    def __init__(self, trace: Trace, top: str, said: int, inodes: int) -> None:
        self._trace = trace
        self._top = top
        self._said = said
        self._live = dict(trace.names)
        self._sizes = {inode: len(data) for inode, data in trace.files.items()}
        self._kinds = set(trace.folders)
        self._next = inodes
        self._process_of: dict[int, int] = {}
        # By process: what its descriptors lead to (an inode and whether it appends), as far as that is in the folder.
        self._open: dict[int, dict[int, tuple[int, bool]]] = {}
        self._partial: dict[int, bytes] = {}
        self._first_folder = os.getcwd()
        self._working_folder: dict[int, str] = {}
        # What has begun, and is not followed yet.
        self._at_work: list[Traced] = []

    def follow(self, calls: Iterable[Traced]) -> None:
        """Follow calls in the order in which they returned, as far as that is the order in which they took effect."""
        calls = list(calls)
        to_begin = deque(sorted(calls, key=lambda call: call.begun))
        for call in calls:
            while to_begin and to_begin[0].begun <= call.ended:
                self._at_work.append(to_begin.popleft())
            if call in self._at_work:
                self._at_work.remove(call)
                self._add(call)

    def _catch_up(self, has_come_before: Callable[[_Call], bool]) -> None:
        """Follow those calls first that have taken effect, though strace saw them return later."""
        for other in list(self._at_work):
            call = self._call(other)
            if call is not None and other in self._at_work and has_come_before(call):
                self._at_work.remove(other)
                self._add(other)

    def _call(self, traced: Traced) -> _Call | None:
        """Return a call in its parts; None if it failed."""
        match = _CALL.match(traced.text)
        if match is None or match[3] == "?" or int(match[3]) < 0:
            return None
        process = self._process_of.setdefault(traced.thread, traced.thread)
        return _Call(process, match[1], _split(match[2]), int(match[3]), match[3] + match[4].strip())

    def _add(self, traced: Traced) -> None:
        call, text = self._call(traced), traced.text
        if call is None:
            return
        handler = getattr(self, f"_on_{call.name}", None)
        if handler is not None:
            try:
                handler(call)
            except (LookupError, ValueError) as error:
                raise TraceError(f"{text} does not fit what came before: {error!r}") from error
        elif any(self._is_ours(argument) for argument in call.arguments):
            raise TraceError(f"{call.name} on the folder is not followed: {text}")

    # --- paths -------------------------------------------------------------------------------------------------------

    def _is_ours(self, argument: str) -> bool:
        match = _DESCRIPTOR.match(argument)
        path = match[2] if match else None
        if text := _TEXT.match(argument):
            path = text[1]
        return path is not None and self._inside(_decoded(path)) is not None

    def _inside(self, path: str) -> list[str] | None:
        """Return the parts of a path below the folder, or None if it leads elsewhere."""
        path = os.path.normpath(path)
        if path == self._top:
            return []
        return path[len(self._top) + 1 :].split("/") if path.startswith(f"{self._top}/") else None

    def _path(self, call: _Call, text: str, folder: str = "") -> str:
        match = _TEXT.match(text)
        if match is None or match[2]:
            raise TraceError(f"no path: {text}")
        base = self._working_folder.get(call.process, self._first_folder)
        if (found := _DESCRIPTOR.match(folder)) and found[2]:
            base = _decoded(found[2])
        return os.path.join(base, _decoded(match[1]))

    def _place(self, path: str) -> Name | None:
        """Return folder and name of a path inside the folder; None for one that leads elsewhere."""
        parts = self._inside(path)
        if not parts:
            return None
        folder = TOP
        for part in parts[:-1]:
            inner = self._known(Name(folder, part))
            if inner is None:
                raise TraceError(f"{path} goes through a folder that is not known")
            folder = inner
        return Name(folder, parts[-1])

    def _inode(self, path: str) -> int | None:
        place = self._place(path)
        if place is None:
            return TOP if self._inside(path) == [] else None
        return self._known(place)

    def _known(self, place: Name) -> int | None:
        """Return what a name leads to; whoever gave it that name may not have been seen to return yet."""
        if place not in self._live:
            self._catch_up(lambda call: call.name in _NAMING and call.names(place.name))
        return self._live.get(place)

    def _make_room(self, place: Name) -> None:
        """See to it that a name is free that was given anew; whoever took it away may not have been seen to return."""
        if place in self._live:
            self._catch_up(lambda call: call.name in _UNNAMING and call.names(place.name))

    def _descriptors(self, process: int) -> dict[int, tuple[int, bool]]:
        return self._open.setdefault(process, {})

    def _opened(self, call: _Call, argument: str) -> tuple[int, bool] | None:
        """Return what a descriptor leads to, or None if that is not in the folder."""
        match = _DESCRIPTOR.match(argument)
        if match is None:
            return None
        number = int(match[1])
        known = self._descriptors(call.process).get(number)
        if known is None and match[2] and not match[3] and (inode := self._inode(_decoded(match[2]))) is not None:
            known = inode, False  # opened before the recording began
        return known

    # --- calls -------------------------------------------------------------------------------------------------------

    def _emit(self, operation: Operation) -> None:
        self._trace.operations.append(operation)

    def _new_inode(self, *, folder: bool = False) -> int:
        number = self._next
        self._next += 1
        if folder:
            self._kinds.add(number)
        else:
            self._sizes[number] = 0
        return number

    def _name(self, names: dict[Name, int | None], folder: int | None = None) -> None:
        for name, inode in names.items():
            if inode is None:
                self._live.pop(name, None)
            else:
                self._live[name] = inode
        self._emit(Naming(names, folder))

    def _on_openat(self, call: _Call) -> None:
        self._open_file(call, self._path(call, call.arguments[1], call.arguments[0]), call.arguments[2])

    def _on_open(self, call: _Call) -> None:
        self._open_file(call, self._path(call, call.arguments[0]), call.arguments[1])

    def _open_file(self, call: _Call, path: str, flags: str) -> None:
        opened = self._descriptors(call.process)
        if call.result in opened:
            self._catch_up(lambda other: other.process == call.process and other.closes(call.result))
        opened.pop(call.result, None)
        if self._inside(path) is None:
            return
        if "O_TMPFILE" in flags:
            inode = self._new_inode()
        else:
            found = self._inode(path)
            if found is None:
                place = self._place(path)
                if place is None or "O_CREAT" not in flags:
                    raise TraceError(f"{path} was opened, but is not known to be there")
                found = self._new_inode()
                self._name({place: found})
            elif "O_TRUNC" in flags and self._sizes.get(found):
                self._cut(found, 0)
            inode = found
        opened[call.result] = inode, "O_APPEND" in flags

    def _on_chdir(self, call: _Call) -> None:
        self._working_folder[call.process] = self._path(call, call.arguments[0])

    def _on_fchdir(self, call: _Call) -> None:
        match = _DESCRIPTOR.match(call.arguments[0])
        if match is None or not match[2]:
            raise TraceError("strace did not tell which folder became the working folder")
        self._working_folder[call.process] = _decoded(match[2])

    def _on_close(self, call: _Call) -> None:
        match = _DESCRIPTOR.match(call.arguments[0])
        if match is not None:
            self._descriptors(call.process).pop(int(match[1]), None)

    def _on_fcntl(self, call: _Call) -> None:
        if "F_DUPFD" in call.arguments[1]:
            self._duplicate(call)

    def _duplicate(self, call: _Call) -> None:
        known = self._opened(call, call.arguments[0])
        if known is not None:
            self._descriptors(call.process)[call.result] = known
        else:
            self._descriptors(call.process).pop(call.result, None)

    _on_dup = _on_dup2 = _on_dup3 = _duplicate

    def _on_write(self, call: _Call) -> None:
        match, text = _DESCRIPTOR.match(call.arguments[0]), _TEXT.match(call.arguments[1])
        known = self._opened(call, call.arguments[0])
        is_said = match is not None and int(match[1]) == self._said
        if not is_said and known is None:
            return
        if text is None or text[2]:
            raise TraceError("strace did not tell what was written")
        data = bytes.fromhex(text[1].replace("\\x", ""))[: call.result]
        if known is not None:
            self._write_at(known[0], self._sizes[known[0]], data)
        else:
            *lines, rest = (self._partial.get(call.process, b"") + data).split(b"\n")
            self._partial[call.process] = rest
            for line in lines:
                self._emit(Acknowledgement(line.decode()))

    def _on_pwrite64(self, call: _Call) -> None:
        known, text = self._opened(call, call.arguments[0]), _TEXT.match(call.arguments[1])
        if known is None:
            return
        if text is None or text[2]:
            raise TraceError("strace did not tell what was written")
        data = bytes.fromhex(text[1].replace("\\x", ""))[: call.result]
        self._write_at(known[0], int(call.arguments[3]), data)

    def _write_at(self, inode: int, offset: int, data: bytes) -> None:
        # Files are written once from their start, or appended to: then `write` goes on where the file ends.
        self._emit(Writing(inode, offset, data))
        self._sizes[inode] = max(self._sizes[inode], offset + len(data))

    def _cut(self, inode: int, size: int) -> None:
        self._emit(Writing(inode, size, None))
        self._sizes[inode] = size

    def _on_ftruncate(self, call: _Call) -> None:
        known = self._opened(call, call.arguments[0])
        if known is not None:
            self._cut(known[0], int(call.arguments[1]))

    def _on_fsync(self, call: _Call) -> None:
        known = self._opened(call, call.arguments[0])
        if known is not None:
            self._emit(Syncing(known[0]))

    _on_fdatasync = _on_fsync

    def _on_sync(self, _call: _Call) -> None:
        self._emit(Syncing(None))

    def _on_syncfs(self, call: _Call) -> None:
        if self._opened(call, call.arguments[0]) is not None:
            self._emit(Syncing(None))

    def _on_linkat(self, call: _Call) -> None:
        source, target = call.arguments[:2], call.arguments[2:4]
        self._link(call, self._path(call, source[1], source[0]), self._path(call, target[1], target[0]))

    def _on_link(self, call: _Call) -> None:
        self._link(call, self._path(call, call.arguments[0]), self._path(call, call.arguments[1]))

    def _link(self, call: _Call, source: str, target: str) -> None:
        place = self._place(target)
        if place is None:
            return
        unnamed = _SELF.match(source)
        known = self._descriptors(call.process).get(int(unnamed[1])) if unnamed else None
        inode = known[0] if known else self._inode(source)
        if inode is None:
            raise TraceError(f"{source} became {target}, but is not known")
        self._make_room(place)
        self._name({place: inode})

    def _on_renameat(self, call: _Call) -> None:
        source = self._place(self._path(call, call.arguments[1], call.arguments[0]))
        target = self._place(self._path(call, call.arguments[3], call.arguments[2]))
        self._rename(source, target)

    _on_renameat2 = _on_renameat

    def _on_rename(self, call: _Call) -> None:
        self._rename(self._place(self._path(call, call.arguments[0])), self._place(self._path(call, call.arguments[1])))

    def _rename(self, source: Name | None, target: Name | None) -> None:
        if source is None and target is None:
            return
        if source is None or target is None:
            raise TraceError("something was renamed into or out of the folder")
        inode = self._known(source)
        if inode is None:
            raise TraceError(f"{source.name} was renamed, but is not known")
        if source != target:
            self._name({source: None, target: inode})

    def _on_unlinkat(self, call: _Call) -> None:
        self._remove(self._path(call, call.arguments[1], call.arguments[0]))

    def _on_unlink(self, call: _Call) -> None:
        self._remove(self._path(call, call.arguments[0]))

    _on_rmdir = _on_unlink

    def _remove(self, path: str) -> None:
        place = self._place(path)
        if place is None:
            return
        if self._known(place) is None:
            raise TraceError(f"{path} was removed, but is not known to be there")
        self._name({place: None})

    def _on_mkdirat(self, call: _Call) -> None:
        self._make_folder(self._path(call, call.arguments[1], call.arguments[0]))

    def _on_mkdir(self, call: _Call) -> None:
        self._make_folder(self._path(call, call.arguments[0]))

    def _make_folder(self, path: str) -> None:
        place = self._place(path)
        if place is not None:
            self._make_room(place)
            inode = self._new_inode(folder=True)
            self._name({place: inode}, inode)

    def _on_clone(self, call: _Call) -> None:
        # The child may have been seen already, as it need not wait for the call to return in its parent.
        own = self._descriptors(call.process)
        if any("CLONE_THREAD" in argument for argument in call.arguments):
            self._process_of[call.result] = call.process
            own.update(self._open.pop(call.result, {}))
        else:
            self._open[call.result] = {**own, **self._descriptors(call.result)}
            if call.process in self._working_folder:
                self._working_folder.setdefault(call.result, self._working_folder[call.process])

    _on_clone3 = _on_fork = _on_vfork = _on_clone
