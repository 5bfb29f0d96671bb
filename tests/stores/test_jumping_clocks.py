"""When the clock jumps, the order of records and what counts among them holds."""

import time

import pytest
from every import every_store
from processes import fork_and_wait, run_processes
from recorded import count, step
from run_of_two import RUN, files_of, open_at

from chunkstore.clock import clock
from chunkstore.names import parse_chunk_file

HOUR, YEAR = 3_600 * 10**9, 365 * 24 * 3_600 * 10**9


def set_clock(offset):
    clock._wall_clock = lambda: time.time_ns() + offset


@pytest.mark.parametrize("jumps", [[0, -HOUR, 0], [0, YEAR, 0, -HOUR], [0, -YEAR, HOUR]])
@every_store
def test_when_the_clock_jumps_order_replacements_and_changes_hold(tmp_path, store_type, jumps):
    def work():
        store, other = (open_at(tmp_path, store_type) for _ in range(2))
        store.create_run_log(RUN)
        store.add_step_log(RUN, step("first"))
        for number, offset in enumerate(jumps):
            set_clock(offset)
            store.add_step_log(RUN, step(f"s-{number}"))
            store.add_step_log(RUN, step("first", message=f"replaced {number}"))
            other.update_step_log(RUN, "first", count)
            other.add_step_log(RUN, step("contested", message=f"other {number}"))
            open_at(tmp_path, store_type).add_step_log(RUN, step("contested", message=f"last {number}"))
            store.set_parameters(RUN, {"number": number})
            log = open_at(tmp_path, store_type).get_run_log(RUN, strict=True)
            assert list(log.steps)[-2:] == [f"s-{number}", "contested"]
            assert log.steps["first"].message == f"replaced {number}"
            assert log.steps["first"].user_defined_metrics == {"count": number + 1}
            assert log.steps["contested"].message == f"last {number}"
            assert log.parameters == {"number": number}
        log = store.get_run_log(RUN, strict=True)
        assert list(log.steps) == ["first", *(f"s-{number}" for number in range(len(jumps))), "contested"]
        if store_type == "chunked-fs":
            chunks = [parse_chunk_file(name) for name in files_of(tmp_path / RUN, "StepLog-")]
            assert len({chunk.timestamp for chunk in chunks}) == len(chunks)

    assert fork_and_wait(work)


def record_at_another_time(store, number, offset):
    """Read what others have recorded, then record something, as a process of a host with another idea of the time."""
    set_clock(offset)
    seen = list(store.get_run_log(RUN).steps)
    store.add_step_log(RUN, step(f"s-{number}"))
    store.add_step_log(RUN, step("contested", message=f"{number}"))
    store.update_step_log(RUN, "contested", count)
    store.update_step_log(RUN, "first", count)
    store.add_step_log(RUN, step(f"s-{number}", status="SUCCESS"))
    return seen


@every_store
def test_processes_whose_clocks_jump_and_that_read_before_they_write_keep_the_order(tmp_path, store_type):
    store = open_at(tmp_path, store_type)
    store.create_run_log(RUN)
    store.add_step_log(RUN, step("first"))
    expected = ["first"]
    for number, offset in enumerate([0, -HOUR, YEAR, 0, -YEAR, HOUR]):
        (seen,) = run_processes(record_at_another_time, [(store, number, offset)])
        assert seen == [name for name in (*expected, "contested") if number or name == "first"]
        expected.append(f"s-{number}")

    def check():  # in a child, as this process shall not learn of a time a year ahead
        log = store.get_run_log(RUN, strict=True)
        assert list(log.steps) == [*expected, "contested"]
        assert log.steps["contested"].message == "5"
        assert log.steps["contested"].user_defined_metrics == {"count": 1}
        assert log.steps["first"].user_defined_metrics == {"count": 6}
        assert {found.status for name, found in log.steps.items() if name.startswith("s-")} == {"SUCCESS"}

    assert fork_and_wait(check)
