"""One call of an operation fails, or its process is killed there; what must hold then."""

import errno
import itertools
import os
import signal
from contextlib import nullcontext
from unittest import mock

from operations import NOT_REPEATED, RUN, SEALING, TO_NEW_RUNS, View, World, perform, states_of

from chunkstore.backends.errors import UnreadableFileError
from chunkstore.errors import (
    ChunkstoreError,
    RunLogExistsError,
    RunLogNotFoundError,
    StoreAccessError,
    StoreFullError,
    StoreIOError,
)
from chunkstore.testing.faults import ALL_CALLS, FaultySyscalls, KillingSyscalls

ERRORS = {
    errno.EIO: StoreIOError,
    errno.ENOSPC: StoreFullError,
    errno.EDQUOT: StoreFullError,
    errno.EMFILE: StoreIOError,
    errno.ESTALE: StoreIOError,
    errno.EROFS: StoreAccessError,
    errno.EACCES: StoreAccessError,
}
SYNCING_CALLS = ("fsync", "fdatasync", "syncfs")
#: What the user can do about each.
ADVICE = {
    errno.EIO: "Check the disk",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EMFILE: "Raise the limit",
    errno.ESTALE: "mount it again",
    errno.EROFS: "Check that log_folder",
    errno.EACCES: "Check that log_folder",
}


class Once(FaultySyscalls):
    """Fails at the Nth call from when it is armed.

    Args:
        half: whether the call is a write that takes half of the bytes, and the write of the others fails.
        links: whether there are hard links.
    """

    with_targets = False

    def __init__(self, *arguments, half=False, links=True, **options):
        super().__init__(*arguments, **options, **({"only": ("write",)} if half else {}))
        self._half = half
        self.links = links

    def arm(self, at):
        self.counted = 0
        self.failed.clear()
        self._at = at + self._half

    def perform(self, call, action):
        if call.name in SYNCING_CALLS:
            return super().perform(call, lambda: None)  # the folders above are on a disk, and that takes its time
        if call.name == "link" and not self.links:
            return super().perform(call, self._no_link)
        return super().perform(call, action)

    @staticmethod
    def _no_link():
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def write(self, fd, data):
        half = self._half and self.counted + 2 == self._at
        return super().write(fd, memoryview(data)[: len(data) // 2] if half else data)


def check_one_call(world, operation, number, states, fault):
    """Let one call fail, and look at the state then and after another try; False if there was no such call."""
    before, after = states
    world.syscalls.arm(number)
    error = None
    try:
        perform(operation, world.store)
    except ChunkstoreError as raised:
        error = raised
    failed = list(world.syscalls.failed)
    world.syscalls.heal()
    if not world.syscalls.links and "unlink" in {call.name for call in failed}:
        world.remove_reserved()  # nothing could be removed when it was seen that the write had failed
    state = world.state()
    where = f"call {number}: {failed}: {error!r}"
    if error is None:
        assert state == after, where
    else:
        check_error(error, fault["code"], where)
        assert state in (before, after), where
    if not {call.name for call in failed} & {"unlink", "rmdir"} and operation != "delete":
        assert world.leftovers() == [], where
    if error is not None:
        check_another_try(world, operation, states, where)
    if operation != "delete":
        world.healthy().set_parameters(RUN, {"the lock": "is free"})
    return bool(failed)


def check_error(error, code, where):
    """The error is of the right type, holds the error number, and says what to do."""
    if isinstance(error, UnreadableFileError) and code == errno.EACCES:
        assert "permission denied" in str(error), where
        return
    assert isinstance(error, ERRORS[code]), where
    assert error.errno == code, where
    assert ADVICE[code] in str(error), where


def check_another_try(world, operation, states, where):
    """The same store, and any other, goes on working."""
    try:
        perform(operation, world.store)
    except RunLogExistsError:
        assert operation in TO_NEW_RUNS, where
    except RunLogNotFoundError:
        assert operation == "delete", where
    state = world.state()
    assert state == states[1] or operation in NOT_REPEATED[:2], where
    assert state != states[0] or states[0] == states[1], where
    if operation in SEALING:
        world.check_packing(operation)


def exit_code_of(work):
    """Run `work` in a forked child; return its exit code, or negative the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def check_after_kill(view, operation, states, where):
    """Nothing but the old or the new state may be there; the lock is free, and the operation can be done again."""
    assert view.state() in states, where  # whatever cannot be read whole raises
    others = view.healthy()  # its lock_timeout is a second
    if operation != "delete":
        others.set_parameters(RUN, {"the lock": "is free"})
    try:
        perform(operation, others)
    except RunLogExistsError:
        assert operation in TO_NEW_RUNS, where
    except RunLogNotFoundError:
        assert operation == "delete", where
    if operation in SEALING:
        view.check_packing(operation)
    runs = {summary.run_id for summary in others.list_runs()}
    assert runs == {"create": {RUN, "new"}, "add run": {RUN, "new"}, "delete": set()}.get(operation, {RUN}), where
    for run_id in runs:
        others.get_run_log(run_id, strict=True)


class Killing(KillingSyscalls):
    """Kills its process at the Nth call from when it is armed."""

    with_targets = False

    def arm(self, at):
        self.counted, self._at = 0, at

    def perform(self, call, action):
        # The folders above are on a disk, and syncing them takes its time.
        return super().perform(call, (lambda: None) if call.name in SYNCING_CALLS else action)


def killed_anywhere(world, operation, late=False, calls=ALL_CALLS):
    """Yield after each kill, at the first call, the second and so on, where it was; at last after none.

    Args:
        world: makes a new world with the system calls that it is given.
        operation: what is done in it.
        late: whether the call does its work before the kill.
        calls: those that are counted.
    """
    for number in itertools.count(1):

        def work(number=number):
            syscalls = Killing(late=late, only=calls)
            store = world(syscalls).store
            syscalls.arm(number)
            perform(operation, store)

        code = exit_code_of(work)
        assert code in {0, -signal.SIGKILL}, number
        yield f"call {number}"
        if code == 0:
            assert number > 2
            return


def with_files(*, unnamed):
    """Return a block in which files that are being written have no name yet, or a temporary one."""
    if unnamed:
        return nullcontext()
    return mock.patch("chunkstore.backends.disk.folder.has_unnamed_files", return_value=False)


def check_killed_anywhere(folder, operation, layout, durability, late, calls, unnamed):
    """Kill a process that does an operation at each of its calls; each time the state is the old or the new one.

    Args:
        folder: where.
        operation: what is done.
        layout: one of `ALL_LAYOUTS`.
        durability: of the store.
        late: whether the call does its work before the kill.
        calls: those that are counted.
        unnamed: whether files that are being written have no name yet.
    """
    states = states_of(folder, layout, "process", operation)
    view = View(folder, layout)

    def world(syscalls):
        return World(folder, layout, durability, syscalls, operation)

    with with_files(unnamed=unnamed):
        for where in killed_anywhere(world, operation, late, calls):
            check_after_kill(view, operation, states, where)
