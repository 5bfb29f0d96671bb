"""Each line of a journal is a write that was acknowledged; a torn or damaged one hides no other."""

import itertools
import os

import pytest
from recorded import step

import chunkstore
from chunkstore.records.models import PACKED_FORMAT
from stores.journals.journaled_runs import RUN, add_point, files_in, finish, opened, points


def count(found):
    found.user_defined_metrics["n"] = found.user_defined_metrics.get("n", 0) + 1


# --- what is in it ---------------------------------------------------------------------------------------------------


def test_all_that_one_process_adds_is_in_one_file_and_each_line_is_json(store, logs, journals):
    for number in range(3):
        store.add_step_log(RUN, step(f"s{number}"))
    store.add_step_log(RUN, step("s1", message="again"))
    add_point(store, 1, "s1")
    add_point(store, 2, "s1")
    ((name, data),) = journals().items()
    assert name.startswith(f"Journal-{os.getpid()}-")
    assert files_in(data) == ["StepLog"] * 4 + ["Metric"] * 2
    assert sorted(os.listdir(logs / RUN)) == sorted([name, "RunLog.json"])
    log = store.get_run_log(RUN, strict=True)
    assert [(found.name, found.message) for found in log.steps.values()] == [("s0", ""), ("s1", "again"), ("s2", "")]
    assert log.notes["format"] == PACKED_FORMAT


def test_an_owner_that_records_a_step_again_keeps_its_place_and_the_last_line_counts(store, logs):
    names = ["a", "b", "c"]
    for turn in range(4):
        for name in names:
            store.add_step_log(RUN, step(name, message=str(turn)))
        for reader in (store, opened(logs)):
            log = reader.get_run_log(RUN, strict=True)
            assert list(log.steps) == names
            assert {found.message for found in log.steps.values()} == {str(turn)}
            assert reader.get_step_log(RUN, "b").message == str(turn)


def test_a_run_of_plain_files_can_be_joined_and_says_then_that_chunks_are_packed(logs, journals):
    plain = chunkstore.open_store("chunked-fs", log_folder=logs)
    plain.create_run_log(RUN)
    plain.add_step_log(RUN, step("plain"))
    joining = opened(logs)
    assert joining.get_step_log(RUN, "plain").name == "plain"
    assert plain.get_run_log(RUN).notes["format"] == 1
    joining.add_step_log(RUN, step("joined"))
    assert plain.get_run_log(RUN).notes["format"] == PACKED_FORMAT
    assert len(journals()) == 1
    plain.add_step_log(RUN, step("plain", message="again"))
    plain.update_step_log(RUN, "joined", lambda found: setattr(found, "message", "by another"))
    joining.update_step_log(RUN, "plain", lambda found: found.user_defined_metrics.update(n=1))
    for reader in (plain, joining, opened(logs)):
        log = reader.get_run_log(RUN, strict=True)
        assert [(found.name, found.message) for found in log.steps.values()] == [
            ("plain", "again"),
            ("joined", "by another"),
        ]
        assert log.steps["plain"].user_defined_metrics == {"n": 1}


@pytest.mark.parametrize("sealed", [False, True])
def test_both_containers_in_one_run_are_one_run(logs, sealed):
    stores = [opened(logs), chunkstore.open_store("chunked-fs", log_folder=logs), opened(logs)]
    stores[0].create_run_log(RUN, parameters={"a": 0})
    for turn in range(3):
        for number, each in enumerate(stores):
            each.add_step_log(RUN, step(f"s{number}", message=str(turn)))
            add_point(each, turn, f"s{number}")
            stores[number - 1].update_step_log(RUN, f"s{number}", count)
            each.set_parameters(RUN, {"a": turn})
        if sealed:
            finish(stores[0])
            stores[turn].seal(RUN)
    log = opened(logs).get_run_log(RUN, strict=True)
    assert [found.message for found in log.steps.values()] == ["2", "2", "2"]
    assert [found.user_defined_metrics for found in log.steps.values()] == [{"n": 3}] * 3
    assert [points(stores[0], name) for name in log.steps] == [[0, 1, 2]] * 3
    assert log.parameters == {"a": 2}


# --- torn and damaged ------------------------------------------------------------------------------------------------


def test_a_last_line_cut_off_anywhere_is_a_write_that_nobody_acknowledged(store, logs, journals):
    store.add_step_log(RUN, step("a"))
    add_point(store, 1)
    expected = repr(store.get_run_log(RUN, strict=True).steps)
    ((name, before),) = journals().items()
    store.add_step_log(RUN, step("a", message="newer"))
    ((_, after),) = journals().items()
    for length in range(len(before), len(after) - 1):
        (logs / RUN / name).write_bytes(after[:length])
        assert repr(opened(logs).get_run_log(RUN, strict=True).steps) == expected, length
        assert opened(logs).get_step_log(RUN, "a").message == ""
    (logs / RUN / name).write_bytes(after[:-1])  # whole but for its line break
    assert opened(logs).get_run_log(RUN, strict=True).steps["a"].message in {"", "newer"}
    (logs / RUN / name).write_bytes(after)
    assert opened(logs).get_step_log(RUN, "a").message == "newer"


def test_a_journal_whose_last_line_was_cut_off_is_sealed_without_it(store, logs, journals):
    store.add_step_log(RUN, step("a"))
    store.add_step_log(RUN, step("b"))
    ((name, data),) = journals().items()
    (logs / RUN / name).write_bytes(data[:-40])
    other = opened(logs)
    finish(other)
    expected = repr(other.get_run_log(RUN, strict=True).steps)
    other.seal(RUN)
    assert not journals()
    assert repr(other.get_run_log(RUN, strict=True).steps) == expected
    assert list(other.get_run_log(RUN).steps) == ["a"]


def test_damage_anywhere_else_is_reported_and_all_other_lines_are_read(store, logs, journals):
    names = ["a", "b", "c"]
    for name in names:
        store.add_step_log(RUN, step(name))
    whole = {name: repr(found) for name, found in store.get_run_log(RUN).steps.items()}
    ((file, data),) = journals().items()
    end = data.rindex(b"\n", 0, -1) + 1
    for place, bit in itertools.product(range(end), (0, 4, 6)):
        damaged = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
        (logs / RUN / file).write_bytes(damaged)
        log = store.get_run_log(RUN)
        found = {name: repr(found) for name, found in log.steps.items()}
        assert not {name for name in found if found[name] != whole[name]}, (place, bit)
        assert len(found) >= 2, (place, bit)
        assert found == whole or {problem.file for problem in log.problems} == {file}, (place, bit)


def test_a_damaged_journal_is_not_removed_by_sealing_and_what_is_sound_in_it_is_not_lost(store, logs, journals):
    for name in ("a", "b", "c"):
        store.add_step_log(RUN, step(name))
    add_point(store, 1)
    ((file, data),) = journals().items()
    damaged = data.replace(b'"name":"b"', b'"name":"x"')
    assert damaged != data
    (logs / RUN / file).write_bytes(damaged)
    other = opened(logs)
    finish(other)
    other.add_step_log(RUN, step("d"))
    for change in (other.seal, other.seal, other.unseal, other.seal):
        change(RUN)
        assert journals()[file] == damaged
        log = other.get_run_log(RUN)
        assert sorted(log.steps) == ["a", "c", "d"]
        assert {problem.file for problem in log.problems} == {file}
        assert [point.step for point in log.steps["a"].metric_series["m"]] == [1]
    (logs / RUN / file).write_bytes(data)
    other.seal(RUN)
    assert not journals()
    assert sorted(other.get_run_log(RUN, strict=True).steps) == ["a", "b", "c", "d"]
    assert points(other) == [1]
