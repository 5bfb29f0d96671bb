"""System calls that are watched, or that fail on purpose; give them to `DirectoryBackend(syscalls=…)`."""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, ClassVar, NamedTuple, NoReturn

from chunkstore.backends.disk.syscalls import Syscalls

_METHODS = tuple(name for name in vars(Syscalls) if not name.startswith("_"))
#: The names of all system calls that chunkstore makes; an `open` that may make a file is called `create`.
ALL_CALLS = (*_METHODS, "create")
#: Those that need room on the disk.
WRITING_CALLS = (
    "create",
    "write",
    "pwrite",
    "flush",
    "fsync",
    "syncfs",
    "link",
    "link_unnamed",
    "rename",
    "rename_new",
    "mkdir",
)


class Call(NamedTuple):
    """One system call.

    Attributes:
        name: one of `ALL_CALLS`.
        target: the path that it works on, as far as the platform tells; for a rename or link, the new name.
    """

    name: str
    target: str


class CountingSyscalls(Syscalls):
    """System calls that are counted.

    Attributes:
        calls: every call so far, in order.
        with_targets: whether they say what they are made on. Where nobody asks, a subclass saves half of their cost.
    """

    with_targets: ClassVar[bool] = True

    def __init__(self) -> None:
        self.calls: list[Call] = []

    @property
    def counts(self) -> Counter[str]:
        """How often each call was made."""
        return Counter(call.name for call in self.calls)

    def clear(self) -> None:
        """Forget the calls so far."""
        self.calls.clear()

    def perform(self, call: Call, action: Callable[[], Any]) -> Any:
        """Do what a call stands for.

        Args:
            call: what is to be done.
            action: does it.
        """
        self.calls.append(call)
        return action()


class FaultySyscalls(CountingSyscalls):
    """System calls of which some fail.

    Args:
        code: the error number, such as `errno.EIO`.
        at: which call fails, counted from 1; 0 for none.
        persistent: whether every later one fails too.
        only: the names of the calls that are counted and may fail; all of them if left out.
        late: whether the call does its work before it fails, as when the answer of a file server is lost.
        short_writes: whether `write` writes no more than one byte at a time.

    Attributes:
        failed: the calls that failed so far.
        counted: how many calls were counted so far.
    """

    def __init__(
        self,
        code: int = errno.EIO,
        *,
        at: int = 0,
        persistent: bool = False,
        only: Collection[str] = ALL_CALLS,
        late: bool = False,
        short_writes: bool = False,
    ) -> None:
        super().__init__()
        self.failed: list[Call] = []
        self.counted = 0
        self._code = code
        self._at = at
        self._persistent = persistent
        self._only = frozenset(only)
        self._late = late
        self._short_writes = short_writes

    def heal(self) -> None:
        """Let every call succeed from now on."""
        self._at = 0

    def perform(self, call: Call, action: Callable[[], Any]) -> Any:
        """Do what a call stands for, or fail."""
        if call.name in self._only:
            self.counted += 1
            due = self.counted == self._at or (self._persistent and 0 < self._at <= self.counted)
            if due:
                self.calls.append(call)
                self.failed.append(call)
                if call.name == "close" or (self._late and call.name not in ("open", "create")):
                    action()  # a failed close gives the descriptor back all the same
                self.fail(call)
        return super().perform(call, action)

    def fail(self, call: Call) -> NoReturn:
        """Do what happens instead of the call, or after it."""
        raise OSError(self._code, os.strerror(self._code), call.target)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Write at least a byte of `data`; return how many were written."""
        return super().write(fd, memoryview(data)[:1] if self._short_writes else data)


class KillingSyscalls(FaultySyscalls):
    """System calls of which one kills the process, as `kill -9` does, before it does its work or after."""

    def fail(self, call: Call) -> NoReturn:  # noqa: ARG002 - whichever it is
        """Kill this process."""
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError  # nobody comes here


class InterruptedSyscalls(FaultySyscalls):
    """System calls of which one is where the user presses Ctrl-C, before it does its work or after."""

    def fail(self, call: Call) -> NoReturn:
        """Raise what Python makes of the signal."""
        raise KeyboardInterrupt(call.name)


#: Calls whose second argument is the name that they make.
_WITH_NEW_NAME = frozenset({"rename", "rename_new", "link", "link_unnamed"})


def _target(name: str, arguments: tuple[Any, ...]) -> str:
    subject = arguments[1 if name in _WITH_NEW_NAME else 0]
    if isinstance(subject, str):
        return subject
    try:
        return os.readlink(f"/proc/self/fd/{subject}")
    except OSError:
        return str(subject)


def _may_create(_path: str, flags: int, *_: Any) -> bool:
    unnamed = getattr(os, "O_TMPFILE", 0)
    return bool(flags & os.O_CREAT) or (unnamed != 0 and flags & unnamed == unnamed)


def _watched(name: str) -> Callable[..., Any]:
    original = getattr(Syscalls, name)

    def method(self: CountingSyscalls, *arguments: Any, **options: Any) -> Any:
        target = _target(name, arguments) if self.with_targets else ""
        call = Call("create" if name == "open" and _may_create(*arguments) else name, target)
        return self.perform(call, lambda: original(self, *arguments, **options))

    method.__name__ = name
    method.__doc__ = original.__doc__
    return method


for _name in _METHODS:
    setattr(CountingSyscalls, _name, _watched(_name))
