"""Whatever a file system may have kept when the power went: what was acknowledged is there.

Every state of the disk that is legal is built and read: see `chunkstore.testing.crash_states`.
"""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from crashing import ALL_LAYOUTS, JOURNAL, LAYOUTS, MANY, RUN, Writer, holds

import chunkstore
from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.testing.crash_states import ANY_ORDER, IN_ORDER, MODELS, crash_states
from chunkstore.testing.disk_operations import Acknowledgement
from chunkstore.testing.system_trace import record

pytestmark = pytest.mark.usefixtures("_strace")


def lost(trace, model, disk, store_type, *, limit=MANY, catalog="logs/.catalog"):
    """Return what is lost in some state of the disk, and how many states there were since the first word."""
    said = [number for number, operation in enumerate(trace.operations) if isinstance(operation, Acknowledgement)]
    begin, broken, number = said[0] + 1, [], 0
    for number, state in enumerate(crash_states(trace, model, limit=limit, begin=begin), 1):
        state.write_to(disk)
        claims = [json.loads(text) for text in state.acknowledged]
        found = holds(disk / "a" / "logs", store_type, claims, catalog=disk / catalog)
        broken.extend((f"state {number} after operation {state.after}", sorted(state.files), each) for each in found)
    return broken, number


@pytest.fixture(params=[True, False], ids=["unnamed", "temporary"])
def _files_before_they_are_published(request, monkeypatch):
    """Whether files that are being written have no name yet, or a temporary one."""
    if not request.param:
        monkeypatch.setattr("chunkstore.backends.disk.folder.has_unnamed_files", lambda: False)


@pytest.mark.parametrize("model", MODELS)
def test_level_step_loses_nothing_that_was_written_to_a_journal(top, disk, model):
    trace = record(lambda say: Writer(JOURNAL, top / "a" / "logs", say, "step").everything(), top)
    broken, states = lost(trace, model, disk, JOURNAL)
    assert broken == []
    assert states > 50


@pytest.mark.thorough
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("store_type", "durability"), [("chunked-fs", "run"), ("chunked-fs", "process"), (JOURNAL, "run")]
)
def test_sealing_and_unsealing_lose_nothing_that_was_durable(top, disk, store_type, durability, model):
    def work(say):
        claims = []

        def acknowledge():
            for claim in claims:
                say(claim)
            claims.clear()

        writer = Writer(store_type, top / "a" / "logs", claims.append, durability)
        writer.create()
        writer.add("a", 1)
        writer.append("a", 1)
        writer.append("a", 2)
        writer.set_status("SUCCESS")
        writer.update("a", 1)
        writer.store.sync(RUN)
        acknowledge()
        writer.store.seal(RUN)
        if durability == "run":  # else what comes later may take along what was there
            writer.add("a", 2)
            writer.update("a", 2)
            writer.append("a", 3)
            writer.add("late", 1)
            acknowledge()
            writer.open().seal(RUN)
        writer.store.unseal(RUN)
        say(json.dumps(["step", RUN, "a", 1]))

    trace = record(work, top)
    broken, states = lost(trace, model, disk, store_type)
    assert broken == []
    assert states > 20


@pytest.mark.usefixtures("_files_before_they_are_published")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("store_type", LAYOUTS)
def test_level_step_loses_nothing_that_was_acknowledged(top, disk, store_type, model):
    trace = record(lambda say: Writer(store_type, top / "a" / "logs", say, "step").everything(), top)
    broken, states = lost(trace, model, disk, store_type)
    assert broken == []
    assert states > 50


class Recording:
    """A run through the recording API, with all that it can record."""

    def __init__(self, top, store_type, durability, say):
        self.folder = top / "a"
        self.store = chunkstore.open_store(store_type, log_folder=str(self.folder / "logs"), durability=durability)
        self.claims = []
        self.say = say

    def claim(self, *claim):
        self.claims.append(claim)
        if self.say:
            self.say(json.dumps(claim))

    def run(self):
        with self.store.start_run(RUN, parameters={"seed": 7}) as run:
            self.claim("parameter", RUN, "", "seed", 7)
            with run.step("load") as loading:
                loading.log_params({"path": "in.csv"})
                loading.log_metrics({"loss": 0.5}, step=1)
                loading.log_metrics({"loss": 0.25}, step=2)
                Path("data.csv").write_text("x,y\n1,2\n")
                loading.put_data("data.csv", "folder/data.csv")
                print("loaded")
            self.claim("ended", RUN, "load", "SUCCESS")
            self.claim("data", RUN, "load")
            with run.step("load again") as loading:
                Path("data.csv").write_text("x,y\n3,4\n")
                loading.put_data("data.csv", "folder/data.csv")
            self.claim("data", RUN, "load again")
            self.claim("metrics", RUN, "load", [0.5, 0.25])
            with ThreadPoolExecutor(1) as pool:
                assert run.map("double", [1, 2], double, executor=pool) == [2, 4]
            for name in ("double", "double.1.double", "double.2.double"):
                self.claim("ended", RUN, name, "SUCCESS")
            self.claim("data", RUN, "double.2.double")
            run.set_parameters({"late": 8})
            self.claim("parameter", RUN, "", "late", 8)
        self.claim("status", RUN, "SUCCESS")


def double(number):
    print("doubling", number)
    return 2 * number


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A working folder that is not watched and in which there is no git."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setenv("GIT_DIR", str(folder))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("store_type", LAYOUTS)
def test_level_step_loses_nothing_of_a_recorded_run(top, disk, store_type, model, elsewhere):
    trace = record(lambda say: Recording(top, store_type, "step", say).run(), top)
    broken, states = lost(trace, model, disk, store_type, catalog="a/.catalog")
    assert broken == []
    assert states > 50


@pytest.mark.thorough
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("store_type", LAYOUTS)
def test_level_run_loses_nothing_of_a_run_that_has_finished(top, disk, store_type, model, elsewhere):
    def work(say):
        recording = Recording(top, store_type, "run", None)
        recording.run()
        for claim in recording.claims:
            say(json.dumps(claim))
        # What is changed of a finished run must not put at risk what was there.
        writer = Writer(store_type, top / "a" / "logs", say, "run")
        writer.update("load", 1)
        writer.add("late", 1)
        writer.add("late", 2)
        writer.append("late", 1)
        writer.append("late", 2)
        writer.set_parameter("later", 9)
        writer.set_status("FAIL")

    trace = record(work, top)
    broken, states = lost(trace, model, disk, store_type, catalog="a/.catalog")
    broken = [each for each in broken if each[2][0] != "status"]  # it was changed on purpose
    assert broken == []
    assert states > 20


@pytest.mark.parametrize("durability", ["step", "run"])
@pytest.mark.parametrize("store_type", LAYOUTS)
def test_branches_in_other_processes_are_not_lost_either(top, disk, store_type, durability, elsewhere):
    def work(say):
        def claim():
            for name in ("double", "double.1.double", "double.2.double", "double.3.double"):
                say(json.dumps(["ended", RUN, name, "SUCCESS"]))
            say(json.dumps(["data", RUN, "double.2.double"]))

        store = chunkstore.open_store(store_type, log_folder=str(top / "a" / "logs"), durability=durability)
        with store.start_run(RUN) as run:
            run.map("double", [1, 2, 3], double)
            if durability == "step":
                claim()
        claim()

    trace = record(work, top)
    for model in MODELS:
        broken, states = lost(trace, model, disk, store_type, catalog="a/.catalog")
        assert broken == []
        assert states >= 1


@pytest.mark.parametrize("store_type", ALL_LAYOUTS)
def test_level_run_keeps_what_engines_record_once_they_say_that_the_run_has_ended(top, disk, store_type):
    def work(say):
        claims = []
        writer = Writer(store_type, top / "a" / "logs", claims.append, "run")
        writer.everything()
        for claim in claims:
            say(claim)

    trace = record(work, top)
    for model in MODELS:
        broken, states = lost(trace, model, disk, store_type)
        assert broken == []
        assert states >= 1  # all of it is on the disk, whatever the model


class Interposed(Syscalls):
    """Lets somebody else do something just before or after one certain call."""

    def __init__(self, name, when, action):
        self._name, self._when, self._action = name, when, action

    def _around(self, name, call):
        due = self._name == name
        if due:
            self._name = ""
        if due and self._when == "before":
            self._action()
        result = call()
        if due and self._when == "after":
            self._action()
        return result

    def mkdir(self, path, dir_fd=None):
        return self._around("mkdir", lambda: super(Interposed, self).mkdir(path, dir_fd))

    def rename(self, source, target, dir_fd=None):
        return self._around("rename", lambda: super(Interposed, self).rename(source, target, dir_fd))

    def link_unnamed(self, fd, target, dir_fd):
        return self._around("link_unnamed", lambda: super(Interposed, self).link_unnamed(fd, target, dir_fd))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("store_type", "call"),
    [("chunked-fs", "mkdir"), ("chunked-fs", "rename"), ("file-system", "mkdir"), ("file-system", "link_unnamed")],
)
def test_what_another_process_has_made_and_not_synced_yet_does_not_take_ours_with_it(
    top, disk, store_type, call, model
):
    """One process has just made a folder, or a run, and does not come to syncing it; another one records there."""

    def work(say):
        def other():
            writer = Writer(store_type, top / "a" / "logs", say, "step")
            if call == "mkdir":
                writer.create("other")
                writer.add("s", 1, "other")
            else:
                writer.add("s", 1)
                writer.update("s", 1)
                writer.set_parameter("k", 1)

        syscalls = Interposed(call, "after", other)
        Writer(store_type, top / "a" / "logs", lambda _: None, "step", syscalls).create()

    trace = record(work, top)
    broken, states = lost(trace, model, disk, store_type)
    assert broken == []
    assert states >= 1


# --- controls: the explorer must notice writers that are broken ----------------------------------------------------


class WithoutFolderSync(Syscalls):
    def fsync(self, fd):
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            super().fsync(fd)


class WithoutFileSync(Syscalls):
    def fsync(self, fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            super().fsync(fd)


class SyncedAfterNaming(Syscalls):
    """Files are synced when they have their name, and not before."""

    def fsync(self, fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            with os.scandir(fd) as entries:
                names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False) or entry.is_dir()]
            for name in names:
                try:
                    inner = os.open(name, os.O_RDONLY, dir_fd=fd)
                except FileNotFoundError:
                    continue  # others make and remove files in folders above
                os.fsync(inner)
                os.close(inner)
            super().fsync(fd)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("broken", [WithoutFolderSync, WithoutFileSync])
@pytest.mark.parametrize("store_type", LAYOUTS)
def test_a_writer_that_does_not_sync_is_caught(top, disk, store_type, broken, model):
    def work(say):
        writer = Writer(store_type, top / "a" / "logs", say, "step", broken())
        writer.create()
        writer.add("a", 1)
        writer.add("a", 2)

    found, _ = lost(record(work, top), model, disk, store_type)
    assert found


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("broken", [WithoutFolderSync, WithoutFileSync])
def test_a_sealer_that_does_not_sync_is_caught(top, disk, broken, model):
    def work(say):
        writer = Writer("chunked-fs", top / "a" / "logs", say, "step")
        writer.create()
        writer.add("a", 1)
        writer.set_status("FAIL")
        Writer("chunked-fs", top / "a" / "logs", say, "process", broken()).store.seal(RUN)

    found, _ = lost(record(work, top), model, disk, "chunked-fs")
    assert found or model == IN_ORDER


@pytest.mark.parametrize("store_type", LAYOUTS)
def test_a_writer_that_syncs_too_late_is_caught(top, disk, store_type):
    def work(say):
        writer = Writer(store_type, top / "a" / "logs", say, "step", SyncedAfterNaming())
        writer.create()
        writer.add("a", 1)
        writer.add("a", 2)

    found, _ = lost(record(work, top), ANY_ORDER, disk, store_type)
    assert found


def test_level_process_is_caught(top, disk):
    def work(say):
        writer = Writer("chunked-fs", top / "a" / "logs", say, "process")
        writer.create()
        writer.add("a", 1)

    trace = record(work, top)
    for model in MODELS:
        assert lost(trace, model, disk, "chunked-fs")[0]
