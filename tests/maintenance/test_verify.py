"""`verify` finds everything that is wrong and nothing that is not, and its repair loses nothing."""

import errno
import itertools
import json
import os
import shutil
import signal
import time

import pytest
from processes import Forked

import chunkstore
from chunkstore import BranchLog, StepLog
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.clock import clock
from chunkstore.maintenance.checking import verify
from chunkstore.names import chunk_file
from chunkstore.records.integrity import with_checksum
from chunkstore.records.models import StepAttempt
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore
from chunkstore.testing.faults import FaultySyscalls, KillingSyscalls
from maintenance import layouts

RUN = "run"
LONG_AGO = 1706852981689005000
NO_PROCESS = 4_194_305  # above the largest number that Linux gives
CHUNK = "StepLog-load-1706852981689005000.json"


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    """Nobody writes in most of these tests; and what is read here of the far future must not reach other tests."""
    monkeypatch.setattr("chunkstore.maintenance.checking.verification._PAUSE", 0.001)
    monkeypatch.setattr(clock, "_latest", clock.latest)


@pytest.fixture
def logs(tmp_path):
    return tmp_path / "logs"


@pytest.fixture
def store(logs):
    return chunkstore.open_store("chunked-fs", log_folder=str(logs))


@pytest.fixture
def run(store, logs):
    """The folder of a run with a step, metrics, parameters, a map and a change by somebody else."""
    with store.start_run(RUN, parameters={"seed": 7}) as recorded:
        with recorded.step("load") as step:
            step.log_metric("loss", 0.5, step=1)
            step.put_data(__file__, "test.py")
        step = StepLog(name="map", internal_name="map", status="SUCCESS", branches={})
        store.add_step_log(RUN, step)
        store.add_branch_log(RUN, BranchLog(internal_name="map.a", status="SUCCESS", parameters={"x": 1}))
        store.add_step_log(RUN, StepLog(name="fit", internal_name="map.a.fit", status="SUCCESS"))
    another(logs).update_step_log(RUN, "load", lambda step: setattr(step, "message", "looked at"))
    return logs / RUN


def another(logs, syscalls=None):
    backend = DirectoryBackend(logs, syscalls=syscalls or Syscalls())
    return ChunkedStore(backend)


def found(store, run_id=None, **options):
    return list(verify(store, run_id, **options))


def kinds(store, run_id=None, **options):
    return [(one.severity, one.kind, one.file) for one in found(store, run_id, **options)]


def file_of(run, kind):
    (path,) = run.glob(f"{kind.removesuffix('-')}-*")
    return path


def contents(folder):
    """Return all bytes below a folder, wherever they are, and how often."""
    return sorted(path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))


# --- nothing is wrong ------------------------------------------------------------------------------------------------


def test_a_store_without_a_folder_and_an_empty_one_are_clean(store, logs):
    assert found(store) == []
    logs.mkdir()
    assert found(store) == []


def test_a_run_as_it_was_recorded_is_clean_loose_sealed_and_unsealed(store, run):
    assert found(store, with_data=True) == []
    store.seal(RUN)
    assert found(store, with_data=True) == []
    store.unseal(RUN)
    assert found(store, with_data=True) == []


@pytest.mark.parametrize("options", [{"container": "journal"}, {"pretty": True}, {"durability": "step"}])
def test_runs_in_every_form_are_clean(logs, options):
    store = chunkstore.open_store("chunked-fs", log_folder=str(logs), **options)
    with store.start_run(RUN) as recorded, recorded.step("load") as step:
        step.log_metric("loss", 0.5, step=1)
    assert found(store, with_data=True) == []


def test_documents_and_runs_in_memory_are_clean(logs):
    for store in (chunkstore.open_store("file-system", log_folder=str(logs)), chunkstore.open_store("buffered")):
        with store.start_run(RUN) as recorded, recorded.step("load") as step:
            step.log_metric("loss", 0.5, step=1)
        assert found(store) == []


@pytest.mark.parametrize("layout", ["own document", "own folder"])
def test_runs_of_other_writers_are_clean(logs, layout):
    logs.mkdir()
    layouts.LAYOUTS[layout](logs, layouts.rich_run())
    kind = "file-system" if "document" in layout else "chunked-fs"
    assert found(chunkstore.open_store(kind, log_folder=str(logs))) == []


def test_a_document_in_which_python_wrote_nan_is_not_moved(logs):
    logs.mkdir()
    layouts.write_document(logs, layouts.rich_run())
    store = chunkstore.open_store("file-system", log_folder=str(logs))
    (one,) = found(store, with_repair=True)
    assert (one.kind, one.moved_to) == ("corrupt", "")
    assert "chunkstore import" in one.advice


def test_what_other_layouts_hold_is_to_be_imported_and_no_repair_touches_it(logs):
    logs.mkdir()
    layouts.write_folder_of_2025(logs, layouts.rich_run())
    before = contents(logs)
    store = chunkstore.open_store("chunked-fs", log_folder=str(logs))
    notes = [one for one in found(store, with_repair=True) if one.kind == "foreign"]
    assert notes
    assert all("chunkstore import" in one.advice for one in notes)
    assert contents(logs) == before


def test_a_run_that_several_processes_record_is_clean(logs):
    for kind in ("chunked-fs", "file-system"):
        store = chunkstore.open_store(kind, log_folder=str(logs / kind))
        first, second = store.join_run(RUN, create=True), store.join_run(RUN)
        for name, run in (("one", first), ("two", second)):
            with run.step(name):
                pass
        assert found(store) == []


def test_progress_is_told_for_every_run(store):
    for number in range(3):
        store.create_run_log(f"run-{number}")
    told = []
    list(verify(store, on_progress=lambda done, total: told.append((done, total))))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]


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
    assert kinds(store) == [("problem", "time", f"{RUN}/{name}")]


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
    data.symlink_to(__file__)
    assert "not in the catalog" in found(store, with_data=True)[0].message


def test_data_of_which_a_later_step_has_put_a_newer_one_is_fine(store, tmp_path):
    with store.start_run(RUN) as recorded:
        for text in ("one", "two"):
            (tmp_path / "data").write_text(text)
            with recorded.step(text) as step:
                step.put_data(tmp_path / "data", "data")
    assert found(store, with_data=True) == []


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


# --- while others write ----------------------------------------------------------------------------------------------


def test_a_run_that_is_written_at_this_moment_gives_no_false_alarms(logs, monkeypatch):
    monkeypatch.setattr("chunkstore.maintenance.checking.verification._PAUSE", 0.1)

    def write(tell):
        files = chunkstore.open_store("chunked-fs", log_folder=str(logs))
        journal = chunkstore.open_store("chunked-fs", log_folder=str(logs), container="journal")
        recorded = [files.start_run("files"), journal.start_run("journal"), files.start_run("sealed")]
        tell("begun")
        for number in itertools.count():
            for run in recorded:
                with run.step(f"step {number}") as step:
                    step.log_metric("loss", 0.1, step=number)
                run.store.set_parameters(run.run_id, {"number": number})
            files.update_run_log("sealed", lambda log: setattr(log, "status", "SUCCESS"))
            files.seal("sealed")
            files.create_run_log("short")
            files.delete_run("short")

    store = chunkstore.open_store("chunked-fs", log_folder=str(logs))
    with Forked(write) as writer:
        assert writer.wait_for_line() == "begun"
        deadline = time.monotonic() + 1.5
        looks = 0
        while time.monotonic() < deadline:
            assert [one for one in found(store, with_repair=True) if one.severity == "problem"] == []
            looks += 1
    assert looks
    assert not list(logs.glob("*/quarantine"))


def test_what_is_wrong_for_a_moment_only_is_no_finding(store, run, monkeypatch):
    (run / CHUNK).write_bytes(b"")  # as where there are no links: a name first, and then what it stands for

    def complete(_seconds):
        (run / CHUNK).write_bytes(StepLog(name="load", internal_name="load").to_json().encode())
        monkeypatch.undo()

    monkeypatch.setattr("chunkstore.maintenance.checking.verification.time.sleep", complete)
    assert [one for one in found(store) if one.severity == "problem"] == []


# --- repair ----------------------------------------------------------------------------------------------------------


def damage(run):
    """Damage a file of each kind that repair moves; return their names."""
    names = []
    chunks = [file_of(run, kind) for kind in ("StepLog-map.a.fit", "BranchLog-map.a", "StepUpdate-load", "Metric-load")]
    for path in (*chunks, run / "Parameter-map.a.json"):
        path.write_bytes(path.read_bytes()[:-45] + b"\n")
        names.append(path.name)
    (run / CHUNK).write_bytes(b"")
    return [*names, CHUNK]


def test_repair_moves_what_cannot_be_read_and_verify_is_clean_afterwards(store, run, logs):
    names = damage(run)
    before = contents(logs)
    moved = [one for one in found(store, with_repair=True) if one.moved_to]
    assert sorted(one.file for one in moved) == sorted(f"{RUN}/{name}" for name in names)
    assert all((logs / one.moved_to).is_file() for one in moved)
    assert contents(logs) == before
    assert kinds(store) == [("note", "quarantined", f"{RUN}/quarantine")]
    assert set(store.get_run_log(RUN, strict=True).steps) == {"load", "map"}


def test_what_is_in_quarantine_is_overwritten_by_nothing(store, run, logs):
    for text in ("first", "second", "third"):
        (run / CHUNK).write_text(text)
        found(store, with_repair=True)
    kept = {path.name: path.read_text() for path in (run / "quarantine").iterdir()}
    assert kept == {CHUNK: "first", f"{CHUNK}.2": "second", f"{CHUNK}.3": "third"}


def test_the_quarantine_is_no_run_and_goes_with_its_run(store, run, logs):
    damage(run)
    found(store, with_repair=True)
    assert [summary.run_id for summary in store.list_runs()] == [RUN]
    assert [summary.run_id for summary in another(logs).list_runs()] == [RUN]
    store.seal(RUN)
    store.sync(RUN)
    assert (run / "quarantine" / CHUNK).is_file()
    store.delete_run(RUN)
    assert os.listdir(logs) == []


def test_the_record_of_a_run_stays_where_it_is(store, run):
    (run / "RunLog.json").write_bytes(b"{")
    assert ("problem", "corrupt", f"{RUN}/RunLog.json") in kinds(store, with_repair=True)
    assert (run / "RunLog.json").read_bytes() == b"{"


def test_a_sealed_file_that_is_a_link_is_moved(store, run, logs):
    store.seal(RUN)
    name = f"Sealed-{time.time_ns()}.jsonl"
    (run / name).symlink_to(file_of(run, "Sealed"))
    (one,) = [one for one in found(store, with_repair=True) if one.severity == "problem"]
    assert one.moved_to == f"{RUN}/quarantine/{name}"
    assert set(store.get_run_log(RUN, strict=True).steps) == {"load", "map"}


def test_metrics_of_which_a_line_can_be_read_stay(store, run):
    path = file_of(run, "Metric")
    data = path.read_bytes() + b"no line\n"
    path.write_bytes(data)
    assert ("problem", "corrupt", f"{RUN}/{path.name}") in kinds(store, with_repair=True)
    assert path.read_bytes() == data


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_what_only_we_cannot_read_is_not_moved(store, run, logs, code):
    class Refusing(Syscalls):
        def open(self, path, flags, dir_fd=None):
            if "StepLog-map-" in path:
                raise OSError(code, os.strerror(code))
            return super().open(path, flags, dir_fd)

    path = file_of(run, "StepLog-map-")
    unreadable = [one for one in found(another(logs, Refusing()), with_repair=True) if one.kind == "unreadable"]
    assert [one.file for one in unreadable] == [f"{RUN}/{path.name}"]
    assert path.is_file()
    assert found(store) == []


def test_a_chunk_that_its_owner_replaces_meanwhile_is_put_back(store, run, logs):
    good = StepLog(name="load", internal_name="load", message="new", status="SUCCESS").to_json().encode()
    name = CHUNK.replace(str(LONG_AGO), str(time.time_ns()))
    (run / name).write_bytes(b"")

    class ReplacedJustBefore(Syscalls):
        def rename(self, source, target, dir_fd=None):
            if source == name:
                (run / name).write_bytes(good)
            super().rename(source, target, dir_fd)

    assert not [one for one in found(another(logs, ReplacedJustBefore()), with_repair=True) if one.moved_to]
    assert (run / name).read_bytes() == good
    assert store.get_step_log(RUN, "load").message == "new"
    assert not [path.name for path in run.iterdir() if path.name.startswith(".aside-")]


def test_a_quarantine_that_is_a_link_is_not_followed(store, run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (run / "quarantine").symlink_to(tmp_path / "elsewhere")
    (run / CHUNK).write_bytes(b"")
    (one,) = [one for one in found(store, with_repair=True) if one.kind == "corrupt"]
    assert "could not be moved" in one.advice
    assert os.listdir(tmp_path / "elsewhere") == []
    assert store.has_step_log(RUN, "load")


def test_a_repair_that_is_killed_anywhere_loses_nothing_and_is_finished_by_the_next(store, run, logs):
    path = file_of(run, "BranchLog-map.a")
    original = path.read_bytes()
    for number in itertools.count(1):
        path.write_bytes(original[:40])
        before = len(contents(logs))

        def work(number=number):
            list(verify(another(logs, KillingSyscalls(at=number, only=("rename", "mkdir", "unlink", "link"))), RUN,
                        with_repair=True))  # fmt: skip

        with Forked(lambda _tell, work=work: work()) as child:
            code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
            child.pid = 0
        assert code in (0, -signal.SIGKILL)
        assert len(contents(logs)) == before
        found(store, with_repair=True)
        assert not [one for one in found(store) if one.kind in ("corrupt", "unreadable")]
        assert not [name for name in os.listdir(run) if name.startswith(".aside-")]
        assert len(contents(logs)) == before
        if code == 0:
            break
    assert number > 2


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC, errno.EIO])
def test_a_repair_in_which_a_call_fails_loses_nothing_and_says_why(store, run, logs, code):
    path = file_of(run, "StepLog-map.a.fit")
    path.write_bytes(b"broken")
    for number in itertools.count(1):
        syscalls = FaultySyscalls(code, at=number, only=("rename", "mkdir", "lstat", "create"))
        problems = [one for one in found(another(logs, syscalls), RUN, with_repair=True) if one.severity == "problem"]
        kept = contents(logs)
        assert b"broken" in kept
        if not syscalls.failed:
            break
        found(store, with_repair=True)
        shutil.rmtree(run / "quarantine")
        path.write_bytes(b"broken")
    assert number > 3
    assert [one.moved_to != "" for one in problems if one.kind == "corrupt"] == [True]


def test_a_run_whose_lock_is_held_is_left_and_the_finding_says_why(run, logs):
    (run / CHUNK).write_bytes(b"")
    holder, other = DirectoryBackend(logs), ChunkedStore(DirectoryBackend(logs, lock_timeout=0.05))
    with holder.lock(RUN, ".lock"):
        (one,) = [one for one in found(other, with_repair=True) if one.kind == "corrupt"]
    assert "could not be moved" in one.advice
    assert (run / CHUNK).exists()


def test_two_repairs_at_once_move_every_file_once(run, logs):
    names = []
    for number in range(20):
        names.append(CHUNK.replace("load", f"s{number}"))
        (run / names[-1]).write_bytes(b"")

    def work(tell):
        moved = [one.file for one in found(another(logs), with_repair=True) if one.moved_to]
        tell(json.dumps(moved))

    with Forked(work) as first, Forked(work) as second:
        moved = json.loads(first.wait_for_line()) + json.loads(second.wait_for_line())
    assert sorted(moved) == sorted(f"{RUN}/{name}" for name in names)
    assert sorted(path.name for path in (run / "quarantine").iterdir()) == sorted(names)


def test_documents_are_repaired_beside_the_others(logs):
    store = DocumentStore(DirectoryBackend(logs))
    store.create_run_log("bad")
    store.create_run_log("good")
    data = (logs / "bad.json").read_bytes()[:-50]
    (logs / "bad.json").write_bytes(data)
    (one,) = [one for one in found(store, with_repair=True) if one.severity == "problem"]
    assert (logs / one.moved_to).read_bytes() == data
    assert kinds(store) == [("note", "quarantined", "quarantine")]
    assert [run.run_id for run in store.list_runs()] == ["good"]


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
        assert "finished with 2 steps" in found.message
    store.seal("run-0")
    (sealed,) = (logs / "run-0").glob("Sealed-*")
    sealed.write_bytes(b"")
    assert [found.kind for found in verify(store, "run-0")] == ["missing"]
