"""`verify` finds everything that is wrong."""

import itertools
import json
import os
import shutil
import time
from pathlib import Path

import pytest
from processes import NO_PROCESS, Forked

import chunkstore
from chunkstore import BranchLog, StepLog
from chunkstore.maintenance.checking import verify
from chunkstore.names import chunk_file
from chunkstore.records.integrity import with_checksum
from chunkstore.records.models import StepAttempt
from chunkstore.testing.faults import KillingSyscalls
from maintenance.verified_run import CHUNK, LONG_AGO, RUN, another, contents, file_of, found, kinds

pytestmark = pytest.mark.usefixtures("_brief")


# --- something is wrong ----------------------------------------------------------------------------------------------


def test_a_flipped_bit_is_found_in_every_file_of_a_run(store, run):
    for path in sorted(run.iterdir()):
        if path.name.startswith("."):
            continue
        good = path.read_bytes()
        for place in (1, len(good) // 2, len(good) - 40):
            path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
            assert ("problem", "corrupt", f"{RUN}/{path.name}") in kinds(store), (path.name, place)
        path.write_bytes(good)
    assert found(store) == []


def test_a_cut_off_chunk_is_found_with_the_byte_where_it_ends(store, run):
    path = file_of(run, "StepLog-map")
    path.write_bytes(path.read_bytes()[:50])
    (one,) = [one for one in found(store) if one.kind == "corrupt"]
    assert "(byte 50)" in one.message
    assert one.file == f"{RUN}/{path.name}"


def test_a_damaged_line_of_a_sealed_file_or_journal_is_found(store, run, logs):
    store.seal(RUN)
    sealed = file_of(run, "Sealed")
    data = bytearray(sealed.read_bytes())
    data[len(data) // 2] ^= 1
    sealed.write_bytes(data)
    (one,) = [one for one in found(store, with_repair=True) if one.kind == "corrupt"]
    assert one.file == f"{RUN}/{sealed.name}"
    assert "backup" in one.advice
    assert sealed.read_bytes() == data

    journals = chunkstore.open_store("chunked-fs", log_folder=str(logs), container="journal")
    with journals.start_run("journal") as recorded, recorded.step("load"):
        pass
    journal = file_of(logs / "journal", "Journal")
    data = bytearray(journal.read_bytes())
    data[20] ^= 1
    journal.write_bytes(data)
    assert ("problem", "corrupt", f"journal/{journal.name}") in kinds(store, "journal", with_repair=True)
    assert journal.read_bytes() == data


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_regular_file_is_found_and_never_followed(store, run, logs, kind):
    path = run / CHUNK.replace("load", "other")
    if kind == "link":
        (logs / "elsewhere").write_text("{}")
        path.symlink_to(logs / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert ("problem", "unreadable", f"{RUN}/{path.name}") in kinds(store, RUN)
    (one,) = found(store, RUN, with_repair=True)
    assert one.moved_to == f"{RUN}/quarantine/{path.name}"
    assert os.path.lexists(logs / one.moved_to)
    assert not os.path.lexists(path)


def test_orphans_are_found_with_their_files(store, run):
    store.add_step_log(RUN, StepLog(name="z", internal_name="gone.b.z", status="SUCCESS"))
    store.add_branch_log(RUN, BranchLog(internal_name="lost.c", status="SUCCESS"))
    store.set_parameters(RUN, {"a": 1}, branch="no.where")
    store.append_metrics(RUN, "nobody", {"loss": []})
    files = {one.file.removeprefix(f"{RUN}/"): one.kind for one in found(store)}
    assert set(files.values()) == {"orphan"}
    assert set(files) == {
        file_of(run, "StepLog-gone.b.z").name,
        file_of(run, "BranchLog-lost.c").name,
        "Parameter-no.where.json",
        file_of(run, "Metric-nobody").name,
    }


def test_two_writers_of_one_step_are_a_note_that_names_both_files(store, run, logs):
    first = file_of(run, "StepLog-map-")
    another(logs).add_step_log(RUN, StepLog(name="map", internal_name="map", status="FAIL"))
    (second,) = set(run.glob("StepLog-map-*")) - {first}
    (one,) = found(store)
    assert (one.severity, one.kind, one.file) == ("note", "superseded", f"{RUN}/{first.name}")
    assert second.name in one.message


def test_a_change_of_a_record_that_was_recorded_anew_is_a_note(store, run, logs):
    another(logs).add_step_log(RUN, StepLog(name="load", internal_name="load", status="SUCCESS"))
    assert sorted(one.kind for one in found(store)) == ["stale", "superseded"]


def test_a_run_without_its_record_is_found_and_shown(store, run, logs):
    (run / "RunLog.json").unlink()
    assert ("problem", "missing", f"{RUN}/RunLog.json") in kinds(store)
    assert "load" in store.get_run_log(RUN).steps


def test_what_is_none_of_ours_is_a_note(store, run, logs):
    (run / "notes.txt").write_text("hello")
    (run / "plots").mkdir()
    (logs / "README").write_text("hello")
    (logs / "figures").mkdir()
    (logs / "figures" / "a.png").write_text("")
    (logs / "link").symlink_to(run)
    assert sorted(kinds(store, with_repair=True)) == [
        ("note", "foreign", "README"),
        ("note", "foreign", "figures"),
        ("note", "foreign", "link"),
        ("note", "foreign", f"{RUN}/notes.txt"),
        ("note", "foreign", f"{RUN}/plots"),
    ]
    assert (run / "notes.txt").read_text() == "hello"


def test_names_of_any_bytes_are_told_as_text(store, run, logs):
    (logs / os.fsdecode(b"caf\xe9")).mkdir()
    (run / os.fsdecode(b"\xff.txt")).write_text("")
    for one in found(store):
        assert one.kind == "foreign"
        json.dumps(one.file).encode()
        one.file.encode()


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        ("2024-02-02 05:49:41", "2024-02-02 05:49:40", "before it starts"),
        ("2999-01-01 00:00:00", "", "in the future"),
        ("2024-02-02 05:49:41", "2999-01-01 00:00:00+00:00", "in the future"),
        ("yesterday", "", "no time"),
    ],
)
def test_impossible_times_of_a_step_are_found(store, run, start, end, reason):
    attempt = StepAttempt(start_time=start, end_time=end)
    store.add_step_log(RUN, StepLog(name="odd", internal_name="odd", status="SUCCESS", attempts=[attempt]))
    (one,) = found(store)
    assert one.kind == "time"
    assert reason in one.message
    assert one.file == f"{RUN}/{file_of(run, 'StepLog-odd').name}"


@pytest.mark.parametrize("timestamp", [12, 4 * LONG_AGO])
def test_impossible_times_in_names_are_found(store, run, timestamp):
    body = StepLog(name="odd", internal_name="odd", status="SUCCESS").to_json().encode()
    name = chunk_file("StepLog", "odd", timestamp)
    (run / name).write_bytes(body)
    added = ("problem", "changed", f"{RUN}/RunLog.json")  # the run has ended before
    assert sorted(kinds(store)) == [added, ("problem", "time", f"{RUN}/{name}")]


def test_a_newer_format_is_a_note_and_never_repaired(store, run):
    path = run / "RunLog.json"
    log = json.loads(path.read_bytes())
    log["run_config"]["chunkstore"]["format"] = 99
    path.write_bytes(json.dumps(log).encode())
    (run / CHUNK).write_bytes(b"\0\0")
    assert min(kinds(store, with_repair=True)) == ("note", "newer-format", f"{RUN}/RunLog.json")
    assert (run / CHUNK).exists()


def test_data_that_has_changed_or_is_gone_is_found_if_asked_for(store, run, tmp_path):
    data = tmp_path / ".catalog" / RUN / "test.py"
    good = data.read_bytes()
    data.write_bytes(good + b"#")
    assert found(store) == []
    (one,) = found(store, with_data=True)
    assert (one.kind, one.file) == ("data", f"{RUN}/test.py")
    assert "load" in one.message
    data.unlink()
    assert "not in the catalog" in found(store, with_data=True)[0].message
    (tmp_path / "elsewhere").write_bytes(good)
    data.symlink_to(tmp_path / "elsewhere")
    assert "not in the catalog" in found(store, with_data=True)[0].message


def test_data_of_which_a_later_step_has_put_a_newer_one_is_fine(store, tmp_path):
    with store.start_run(RUN) as recorded:
        for text in ("one", "two"):
            (tmp_path / "data").write_text(text)
            with recorded.step(text) as step:
                step.put_data(tmp_path / "data", "data")
    assert found(store, with_data=True) == []


def test_a_version_that_is_gone_or_changed_is_found(store, tmp_path):
    with store.start_run(RUN, capture_output=False) as recorded:
        for text in ("one", "two"):
            (tmp_path / "data").write_text(text)
            with recorded.step(text) as step:
                step.put_data(tmp_path / "data", "data")
    digest = store.get_step_log(RUN, "one").data_catalog[0].data_hash
    kept = Path(store.catalog_path, RUN, ".versions", digest)
    kept.write_text("0ne")
    (changed,) = found(store, with_data=True)
    assert (changed.severity, changed.file) == ("problem", f"{RUN}/.versions/{digest}")
    assert "data of one has changed" in changed.message
    kept.unlink()
    (gone,) = found(store, with_data=True)
    assert (gone.severity, gone.file) == ("problem", f"{RUN}/data")
    assert "data of one has been replaced by that of two" in gone.message
    shutil.rmtree(kept.parent)  # as runnable and older versions of this library leave a catalog
    (note,) = found(store, with_data=True)
    assert (note.severity, note.kind, note.message) == ("note", "superseded", gone.message)


def test_a_path_of_data_that_leads_out_of_the_catalog_is_found_and_not_opened(store, run, tmp_path):
    (tmp_path / "secret").write_text("x")
    entry = {"name": "s", "data_hash": "0" * 64, "catalog_relative_path": "../secret", "stage": "put"}
    step = StepLog.from_json(json.dumps({"name": "s", "internal_name": "s", "data_catalog": [entry]}))
    store.add_step_log(RUN, step)
    assert "leads out" in found(store, with_data=True)[0].message


def test_a_damaged_document_is_found_and_other_files_of_json_are_left_where_they_are(logs):
    store = chunkstore.open_store("file-system", log_folder=str(logs))
    for run_id in ("good", "bad"):
        store.create_run_log(run_id)
    (logs / "bad.json").write_bytes((logs / "bad.json").read_bytes()[:60])
    (logs / "empty.json").write_bytes(b"")
    (logs / "package.json").write_text('{"name": "not a run"}')
    (logs / "broken.json").write_text('{"name": ')
    before = contents(logs)
    moved = {one.file: one.moved_to for one in found(store, with_repair=True) if one.severity == "problem"}
    assert moved == {
        "bad.json": "quarantine/bad.json",
        "empty.json": "quarantine/empty.json",
        "package.json": "",
        "broken.json": "",
    }
    assert contents(logs) == before
    assert [run.run_id for run in store.list_runs() if not run.problem] == ["good"]


def test_one_run_alone_can_be_looked_at(store, run, logs):
    store.create_run_log("other")
    (logs / "other" / CHUNK).write_bytes(b"")
    assert found(store, RUN) == []
    assert len(found(store, "other")) == 1


# --- left by somebody who was stopped --------------------------------------------------------------------------------


def leave(path, age, pid=NO_PROCESS, folder=False):
    made = path / f".tmp-{pid}-0123456789ab-0"
    made.mkdir() if folder else made.write_bytes(b"half")
    moment = time.time() - age
    os.utime(made, (moment, moment))
    return made


def test_temporary_files_of_the_dead_are_notes_and_those_of_the_living_are_not(store, run, logs):
    leave(run, 5, pid=NO_PROCESS - 1)
    leave(run, 3_600, pid=os.getpid())
    assert found(store) == []
    dead, deleted = leave(run, 3_600), leave(logs, 3_600, folder=True)
    assert sorted(kinds(store)) == [
        ("note", "left-over", deleted.name),
        ("note", "left-over", f"{RUN}/{dead.name}"),
    ]


def test_a_file_that_was_set_aside_is_a_note_and_still_read(store, run):
    path = file_of(run, "StepLog-map-")
    path.rename(run / f".aside-{path.name}")
    assert kinds(store) == [("note", "left-over", f"{RUN}/.aside-{path.name}")]


def test_what_a_killed_deletion_has_left_is_a_note(store, logs):
    for number in itertools.count(1):
        store.create_run_log(f"run-{number}")

        def work(number=number):
            syscalls = KillingSyscalls(at=number, only=("unlink", "rmdir"))
            another(logs, syscalls).delete_run(f"run-{number}")

        with Forked(lambda _tell, work=work: work()) as child:
            code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
            child.pid = 0
        for name in os.listdir(logs):
            os.utime(logs / name, (1, 1))
        assert {one.severity for one in found(store)} <= {"note"}
        if code == 0:
            break
    assert number > 2
    assert {one.kind for one in found(store)} == {"left-over"}


# --- repair ----------------------------------------------------------------------------------------------------------


def test_a_checksum_that_does_not_match_is_said_so(store, run):
    path = file_of(run, "StepLog-map-")
    good = path.read_bytes()
    path.write_bytes(with_checksum(good[:-33])[:-33].replace(b"map", b"mop") + good[-33:])
    (one,) = [one for one in found(store) if one.kind == "corrupt"]
    assert "checksum does not match" in one.message


def test_a_run_with_fewer_steps_than_were_counted_is_found(logs):
    for options in ({}, {"container": "journal"}):
        store = chunkstore.open_store("chunked-fs", log_folder=str(logs), **options)
        with store.start_run(f"run-{len(options)}") as run:
            for name in ("a", "b"):
                with run.step(name):
                    pass
        assert list(verify(store, run.run_id)) == []
        for path in [*(logs / run.run_id).glob("StepLog-a-*"), *(logs / run.run_id).glob("Journal-*")]:
            path.unlink() if path.name.startswith("StepLog") else path.write_bytes(b"")
        (found,) = verify(store, run.run_id)
        assert (found.kind, found.severity) == ("missing", "problem")
        assert "finished with 2 records of steps" in found.message
    store.seal("run-0")
    (sealed,) = (logs / "run-0").glob("Sealed-*")
    sealed.write_bytes(b"")
    assert [found.kind for found in verify(store, "run-0")] == ["missing"]
