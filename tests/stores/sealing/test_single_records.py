"""Single records of a large sealed file are found by reading little of it."""

import pytest

from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.errors import StepLogNotFoundError
from chunkstore.records.models import StepLog
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.testing.faults import CountingSyscalls
from stores.sealing.sealed_runs import RUN, finish, opened, step


@pytest.mark.thorough
def test_a_single_step_of_thousands_is_found_by_reading_a_few_kilobytes(logs, folder):
    class Measuring(CountingSyscalls):
        got = 0

        def pread(self, fd, size, offset):
            data = super().pread(fd, size, offset)
            self.got += len(data)
            return data

        def read(self, fd, size):
            data = super().read(fd, size)
            self.got += len(data)
            return data

    store = opened(logs, durability="process")
    store.create_run_log(RUN)
    for number in range(2_000):
        store.add_step_log(RUN, step(f"s{number}"))
    finish(store)
    store.seal(RUN)
    size = len(folder.files()[folder.sealed()[0]])
    assert size > 500_000
    syscalls = Measuring()
    measured = ChunkedStore(DirectoryBackend(logs, syscalls=syscalls))
    for number in (0, 1, 10, 999, 1_000, 1_999):
        syscalls.got = 0
        assert measured.get_step_log(RUN, f"s{number}", full=False).internal_name == f"s{number}"
        assert syscalls.got < size / 4
    syscalls.got = 0
    with pytest.raises(StepLogNotFoundError):
        measured.get_step_log(RUN, "s2000")
    assert syscalls.got < size / 4


@pytest.mark.parametrize("many", [0, 400])
def test_names_that_begin_alike_are_told_apart(logs, many):
    names = ["s", "s-", "s-1", "s-10", "s-100", "s-1000-2", "s1", "s.", "S", "s-9" * 70, "s-9" * 71, "", "r" * 250]
    names = [name for name in names if name]
    store = opened(logs, durability="process")
    store.create_run_log(RUN)
    for name in [*names, *(f"s-{number}x" for number in range(many))]:
        store.add_step_log(RUN, StepLog(name="x", internal_name=name, message=name + "y" * (many and 200)))
    finish(store)
    store.seal(RUN)
    for reader in (store, opened(logs)):
        for name in names:
            assert reader.get_step_log(RUN, name).message.rstrip("y") == name
            assert reader.has_step_log(RUN, name)
        for absent in ("s-2", "s-1000", "s-1000-", "t", "r", "s-9"):
            assert not reader.has_step_log(RUN, absent)
            with pytest.raises(StepLogNotFoundError):
                reader.get_step_log(RUN, absent)
