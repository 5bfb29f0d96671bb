"""A copy holds what its run holds, and never says that it is whole before it is."""

import json

import pytest

from chunkstore import RunLogNotFoundError, StoreUsageError
from chunkstore.maintenance.copying import copy_runs, into_chunks
from chunkstore.maintenance.copying.places import ChunkedPlace
from maintenance.copying.runs import RUN, chunks, copied, note, open_store, outcome, record, record_into, same

KINDS = ("chunked-fs", "journal", "file-system", "buffered")


@pytest.fixture(params=KINDS)
def source(request, tmp_path):
    return open_store(request.param, tmp_path / "source")


@pytest.fixture(params=[*KINDS, "plain"])
def target(request, tmp_path):
    return open_store(request.param, tmp_path / "target")


@pytest.fixture
def one(tmp_path):
    return open_store("chunked-fs", tmp_path / "source")


@pytest.fixture
def other(tmp_path):
    return open_store("chunked-fs", tmp_path / "target")


def test_a_copy_equals_its_run_between_all_stores(source, target):
    record(source)
    run = copied(source, target)
    assert (run.outcome, run.status, run.has_ended) == ("copied", "SUCCESS", True)
    assert same(source, target)


def test_copying_again_changes_nothing(source, target):
    record(source)
    copied(source, target)
    before = target.get_run_log(RUN)
    run = copied(source, target)
    assert (run.outcome, run.chunks) == ("unchanged", 0)
    assert target.get_run_log(RUN) == before


def test_a_live_run_is_copied_as_it_is_and_completed_by_later_copies(source, target):
    with source.start_run(RUN, parameters={"seed": 7}) as run:
        for number in range(3):
            with run.step(f"step-{number}") as step:
                copied(source, target)
                assert same(source, target)
                step.log_metric("loss", number)
        record_into(source, run, 2)
        first = copied(source, target)
        assert (first.has_ended, first.status) == (False, "PROCESSING")
        assert target.get_run_log(RUN).status == "PROCESSING"
    last = copied(source, target)
    assert (last.outcome, last.has_ended) == ("updated", True)
    assert same(source, target)


@pytest.mark.parametrize("seals", [False, True])
def test_chunks_keep_their_bytes_and_names(one, other, seals):
    record(one)
    if seals:
        one.seal(RUN)
    copied(one, other)
    assert chunks(one) == chunks(other)
    assert other.get_run_log(RUN).is_packed == seals


def test_a_run_is_sealed_on_the_way_and_can_be_unsealed(one, other):
    record(one)
    run = copied(one, other, seal=True)
    files = {file.name for file in (other_folder(other)).iterdir() if not file.name.startswith(".")}
    assert len(files) == 2
    assert run.chunks == len(chunks(one))
    other.unseal(RUN)
    assert chunks(one) == chunks(other)
    assert same(one, other)


def other_folder(store):
    from pathlib import Path

    return Path(store.backend.location) / RUN


def test_a_copy_that_was_made_before_is_sealed_when_that_is_asked_for(one, other):
    record(one)
    copied(one, other)
    assert copied(one, other, seal=True).outcome == "updated"
    assert other.get_run_log(RUN).is_packed
    assert copied(one, other, seal=True).outcome == "unchanged"
    assert same(one, other)


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize(("kind", "kind_there"), [("chunked-fs", "journal"), ("journal", "chunked-fs")])
def test_a_copy_is_sealed_later_whatever_its_run_was_kept_in(tmp_path, kind, kind_there, verify):
    source, target = open_store(kind, tmp_path / "source"), open_store(kind_there, tmp_path / "target")
    record(source)
    copied(source, target)
    copied(source, target, seal=True, verify=verify)
    assert [file.name for file in target.backend.entries(RUN) if file.name.startswith("Sealed-")]
    assert same(source, target)
    assert copied(source, target, seal=True, verify=verify).outcome == "unchanged"


def test_only_what_is_new_or_has_changed_is_sent(one, other):
    with one.start_run(RUN) as run:
        record_into(one, run, 3)
        copied(one, other)
        one.set_parameters(RUN, {"later": 1})
        with run.step("later"):
            pass
        again = copied(one, other)
    assert again.chunks == 2
    assert chunks(one) == chunks(other)


def test_the_copy_is_another_run_and_says_whose_copy_it_is(one, other):
    log = record(one)
    copied(one, other)
    copy = other.get_run_log(RUN)
    assert copy.incarnation not in {"", log.incarnation}
    assert note(other).incarnation == log.incarnation
    assert note(other).source == one.backend.location
    assert not note(other).partial


def test_unknown_fields_survive(one, other):
    record(one)
    file = other_folder(one) / "RunLog.json"
    file.write_text(json.dumps({**json.loads(file.read_bytes()), "tomorrow": {"x": 1}}))
    copied(one, other)
    assert same(one, other)
    assert json.loads((other_folder(other) / "RunLog.json").read_bytes())["tomorrow"] == {"x": 1}


def test_files_that_are_no_part_of_the_run_are_told_and_left(one, other):
    record(one)
    (other_folder(one) / "notes.txt").write_text("mine")
    assert copied(one, other).left_out == ["notes.txt"]
    assert not (other_folder(other) / "notes.txt").exists()


def test_another_run_of_the_same_id_is_not_touched(source, target):
    record(source)
    target.create_run_log(RUN, tag="mine")
    run = outcome(source, target)
    assert run.outcome == "failed"
    assert "another run of this id" in run.problems[0]
    assert target.get_run_log(RUN).tag == "mine"


def test_another_run_of_the_same_id_is_replaced_when_that_is_asked_for(one, other):
    record(one)
    other.create_run_log(RUN, tag="mine")
    assert copied(one, other, replace=True).outcome == "copied"
    assert same(one, other)


def test_a_run_that_somebody_records_is_never_replaced(one, other):
    record(one)
    with other.start_run(RUN):
        run = outcome(one, other, replace=True)
    assert "still recorded" in run.problems[0]


def test_the_run_itself_is_never_replaced_by_its_copy(one, other):
    record(one)
    copied(one, other)
    run = outcome(other, one, replace=True)
    assert "copy of" in run.problems[0]
    assert note(one) is None


def test_the_run_itself_is_never_replaced_by_the_copy_of_a_copy(one, other, tmp_path):
    record(one)
    copied(one, other)
    third = open_store("chunked-fs", tmp_path / "third")
    copied(other, third)
    run = outcome(third, one, replace=True)
    assert "copy of" in run.problems[0]
    assert note(one) is None
    assert note(third).earlier == [note(other).incarnation]


@pytest.mark.parametrize("kind", ["chunked-fs", "file-system"])
def test_runs_are_not_copied_within_a_store_that_has_two_names(tmp_path, kind):
    (tmp_path / "link").symlink_to(tmp_path / "source")
    with pytest.raises(StoreUsageError, match="same store"):
        copy_runs(open_store(kind, tmp_path / "source"), open_store(kind, tmp_path / "link"))


@pytest.mark.parametrize("kind", ["chunked-fs", "file-system"])
def test_a_run_without_identity_is_not_replaced_by_itself(tmp_path, monkeypatch, kind):
    source = open_store(kind, tmp_path / "source")
    source.create_run_log(RUN, tag="mine")
    for file in (tmp_path / "source" / "runs").rglob("*.json"):
        log = json.loads(file.read_bytes())
        del log["run_config"]["chunkstore"]["incarnation"]
        file.write_text(json.dumps(log))
    (tmp_path / "link").symlink_to(tmp_path / "source")
    monkeypatch.setattr("chunkstore.maintenance.copying.copies._place", id)  # as if both were two mounts of one folder
    run = outcome(source, open_store(kind, tmp_path / "link"), replace=True)
    assert "this very run" in run.problems[0]
    assert source.get_run_log(RUN).tag == "mine"


def test_a_run_that_was_made_anew_is_another_run(one, other):
    record(one)
    copied(one, other)
    one.delete_run(RUN)
    record(one, steps=1)
    assert outcome(one, other).outcome == "failed"
    copied(one, other, replace=True)
    assert same(one, other)


def test_what_somebody_records_into_a_copy_is_not_lost(one, other):
    with one.start_run(RUN) as run:
        copied(one, other)
        other.add_step_log(RUN, chunks_of_others())
        with run.step("more"):
            pass
        failed = outcome(one, other)
    assert failed.outcome == "failed"
    assert "recorded into" in failed.problems[0]
    assert "theirs" in other.get_run_log(RUN).steps


def chunks_of_others():
    from chunkstore import StepLog

    return StepLog(name="theirs", internal_name="theirs", status="SUCCESS")


def test_runs_are_not_copied_within_a_store(one, tmp_path):
    with pytest.raises(StoreUsageError, match="same store"):
        copy_runs(one, open_store("chunked-fs", tmp_path / "source"))


def test_nothing_is_done_in_a_dry_run(source, target):
    record(source)
    run = copied(source, target, dry_run=True)
    assert (run.outcome, run.chunks > 0) == ("copied", True)
    assert list(target.list_runs()) == []


def test_a_run_that_goes_on_after_its_end_goes_on_in_the_copy(one, other):
    record(one)
    copied(one, other)
    one.update_run_log(RUN, lambda log: setattr(log, "status", "PROCESSING"))
    copied(one, other)
    assert other.get_run_log(RUN).status == "PROCESSING"
    assert same(one, other)


def test_a_change_after_the_end_is_copied(source, target):
    record(source)
    copied(source, target)
    source.anew().update_step_log(RUN, "load-0", lambda step: setattr(step, "message", "later"))
    copied(source, target)
    assert same(source, target)


def test_all_runs_are_copied_in_order_with_progress(one, other):
    for number in range(5):
        record(one, f"run-{number}", steps=1)
    seen = []
    report = copy_runs(one, other, progress=lambda run, done, total: seen.append((run.run_id, done, total)))
    assert [run.run_id for run in report.runs] == [f"run-{number}" for number in reversed(range(5))]
    assert [done for _, done, _ in seen] == [1, 2, 3, 4, 5]
    assert {total for _, _, total in seen} == {5}
    assert all(same(one, other, f"run-{number}") for number in range(5))


def test_a_run_that_is_not_there_is_a_problem_of_its_own(one, other):
    record(one)
    report = copy_runs(one, other, ["no-such-run", RUN])
    assert [run.outcome for run in report.runs] == ["failed", "copied"]


def test_what_was_written_wrong_is_noticed(one, other, monkeypatch):
    record(one)
    create = other.backend.create_folder

    def spoil(folder, files, **options):
        name = next(name for name in files if name.startswith("StepLog"))
        create(folder, {**files, name: files[name].replace(b"load", b"lead")}, **options)

    monkeypatch.setattr(other.backend, "create_folder", spoil)
    run = outcome(one, other)
    assert "is not what was written" in run.problems[0]
    assert not other.has_run(RUN)


def test_what_was_sent_wrong_to_a_copy_in_parts_is_mended(one, other, monkeypatch):
    monkeypatch.setattr(into_chunks, "MOST_KEPT", 0)
    record(one)
    publish, spoilt = other.backend.publish, []

    def spoil_once(folder, name, data, **options):
        is_due = name.startswith("StepLog-load") and not spoilt
        publish(folder, name, data.replace(b"load", b"lead") if is_due else data, **options)
        spoilt.extend([name] * is_due)

    monkeypatch.setattr(other.backend, "publish", spoil_once)
    copied(one, other, concurrency=1)
    assert same(one, other)


def test_a_copy_never_undoes_a_later_one(one, other, tmp_path, monkeypatch):
    later = open_store("chunked-fs", tmp_path / "target")
    with one.start_run(RUN) as run:
        copied(one, other)
        with run.step("first"):
            pass
        sums, looks = ChunkedPlace.sums, []

        def finish_and_copy(place, *names):
            looks.append(place)
            if len(looks) == 2:  # all is sent, and is compared; then the record is written
                run.finish()
                copied(one, later)
            return sums(place, *names)

        monkeypatch.setattr(ChunkedPlace, "sums", finish_and_copy)
        copied(one, other)
    assert len(looks) > 2
    assert other.get_run_log(RUN).status == "SUCCESS"
    assert same(one, other)


def test_a_copy_that_another_one_brings_up_to_date_meanwhile_stays(one, other, tmp_path, monkeypatch):
    later = open_store("chunked-fs", tmp_path / "target")
    with one.start_run(RUN) as run:
        with run.step("first"):
            pass
        sums, looks = ChunkedPlace.sums, []

        def go_on_and_copy(place, *names):
            looks.append(place)
            if len(looks) == 1:  # the copy is made, and is compared
                one.anew().update_step_log(RUN, "first", lambda step: setattr(step, "message", "looked at"))
                with run.step("second"):
                    pass
                copied(one, later)
            return sums(place, *names)

        monkeypatch.setattr(ChunkedPlace, "sums", go_on_and_copy)
        copied(one, other)
        assert len(looks) > 1
    copied(one, other)
    assert same(one, other)


@pytest.mark.parametrize("order", [["first", "second"], ["second", "first"]])
def test_a_copy_resumes_the_copy_of_the_run_that_its_run_resumed(one, other, order):
    record(one, "first")
    with one.start_run("second", resume="first"):
        pass
    for run_id in order:
        copied(one, other, run_id)
    resumed = other.get_run_log("second").resumed
    assert resumed.incarnation in {"", other.get_run_log("first").incarnation}
    assert other.get_run_log(resumed).run_id == "first"


def test_a_copy_does_not_resume_another_run_of_the_id(one, other):
    record(one, "first")
    with one.start_run("second", resume="first"):
        pass
    other.create_run_log("first")
    copied(one, other, "second")
    with pytest.raises(RunLogNotFoundError):
        other.get_run_log(other.get_run_log("second").resumed)


def test_a_damaged_chunk_is_told_and_copied_as_it_is_and_a_copy_of_it_again_when_it_is_mended(one, other):
    record(one)
    chunk = next(other_folder(one).glob("StepLog-load-0*"))
    whole = chunk.read_bytes()
    chunk.write_bytes(whole.replace(b"SUCCESS", b"SUCCES5"))
    run = outcome(one, other)
    assert (run.outcome, len(run.problems)) == ("copied", 1)
    assert "is damaged" in run.problems[0]
    assert chunks(one) == chunks(other)
    chunk.write_bytes(whole)
    copied(one, other)
    assert same(one, other)
