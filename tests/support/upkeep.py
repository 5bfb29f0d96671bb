"""What keeps a store in order, done to a store where all of it has something to do, and what must hold after a kill.

Each of `UPKEEP` is made ready once; what is tried works on a copy of that.
"""

import hashlib
import os
import shutil
import signal
import time
from pathlib import Path
from unittest import mock

from failing_calls import exit_code_of
from recorded import step

import chunkstore
from chunkstore import BranchLog, MetricPoint
from chunkstore.backends.disk.syscalls import Syscalls
from chunkstore.errors import ChunkstoreError
from chunkstore.maintenance.checking import verification
from chunkstore.maintenance.checking.findings import NOTE
from chunkstore.maintenance.importing import import_runs
from chunkstore.maintenance.retention import Rule, clearing_up, collect, plan_retention, remove_left_overs
from chunkstore.names import DELETED_PREFIX, TEMPORARY_PREFIX

GOLDEN = Path(__file__).parents[1] / "golden"
#: After so long nobody has anything in the making any more.
WEEKS_LATER = 40 * 86_400 * 10**9
_METHODS = tuple(name for name in vars(Syscalls) if not name.startswith("_"))


def opened(top, store_type="chunked-fs", **options):
    return chunkstore.open_store(
        store_type,
        log_folder=os.path.join(top, "logs"),
        catalog_folder=os.path.join(top, "catalog"),
        durability="process",
        lock_timeout=2,
        **options,
    )


def record(store, run_id, tag=""):
    """Record a run with a bit of everything; return what is in its data."""
    with store.start_run(run_id, tag=tag, parameters={"rate": 0.5}) as run, run.step("load") as current:
        source = os.path.join(os.path.dirname(store.catalog_path), f"{run_id}.bin")
        Path(source).write_bytes(run_id.encode() * 50)
        current.put_data(source, "in/data.bin")
        current.log_metric("loss", 1, step=1)
        print("printed by", run_id)
    store.add_branch_log(run_id, BranchLog(internal_name="load.a", parameters={"p": 1}, status="SUCCESS"))
    store.append_metrics(run_id, "load", {"loss": [MetricPoint(2, 0.5)]})


def shown(store, run_id):
    """Return all that is in a run, but for what an import gives anew."""
    log = store.get_run_log(run_id, strict=True)
    log.run_config = {}
    return log.to_json()


def data_of(store, log):
    """Return the hash of each thing that a run has put, as it is in the catalog."""
    found = {}
    for each in log.steps.values():
        for entry in each.data_catalog:
            path = Path(store.catalog_path, entry.catalog_relative_path)
            found[entry.name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
            assert found[entry.name] == entry.data_hash, entry
    return found


def files_below(top):
    """Return the bytes of all files below a folder, and where links lead."""
    found = {}
    for where, _, names in os.walk(top):
        for name in names:
            path = os.path.join(where, name)
            found[os.path.relpath(path, top)] = os.readlink(path) if os.path.islink(path) else Path(path).read_bytes()
    return found


def left_overs(top):
    names = [name for _, folders, files in os.walk(top) for name in (*folders, *files)]
    return [name for name in names if name.startswith((TEMPORARY_PREFIX, DELETED_PREFIX))]


def weeks_later():
    """Return a block in which whatever was left is old enough to be removed."""
    return mock.patch.object(clearing_up, "time", mock.Mock(time_ns=lambda: time.time_ns() + WEEKS_LATER))


def clear_up(store):
    with weeks_later():
        remove_left_overs(store, with_data=True)


class Import:
    """Runs of runnable's, in both layouts, and one of a store with data beside it."""

    def __init__(self, top):
        self.runs = ["blocking-shaw-0538", "own", "pleasant-lamarr-0549"]
        other = opened(os.path.join(top, "other"))
        os.makedirs(os.path.join(top, "other"))
        record(other, "own")
        shutil.copytree(GOLDEN, os.path.join(top, "other", "logs"), dirs_exist_ok=True)
        store = opened(os.path.join(top, "expected"))
        import_runs(os.path.join(top, "other", "logs"), store)
        self.expected = {run_id: shown(store, run_id) for run_id in self.runs}
        shutil.rmtree(os.path.join(top, "expected"))
        self.source = files_below(os.path.join(top, "other", "logs"))

    def do(self, top):
        return import_runs(os.path.join(top, "other", "logs"), opened(top))

    def check(self, top):
        store = opened(top)
        there = [summary.run_id for summary in store.list_runs()]
        assert {run_id: shown(store, run_id) for run_id in there}.items() <= self.expected.items()
        assert files_below(os.path.join(top, "other", "logs")) == self.source
        return there

    def finish(self, top):
        there = self.check(top)
        report = self.do(top)
        assert sorted(report.present) == sorted(there)
        assert sorted(report.present + report.imported) == self.runs
        assert sorted(self.check(top)) == self.runs
        other = opened(os.path.join(top, "other"))
        assert len(data_of(other, other.get_run_log("own"))) == 2


class Repair:
    """Files that cannot be read, of each kind, beside those that can."""

    def __init__(self, top):
        store = opened(top)
        for run_id in ("bad", "good"):
            record(store, run_id)
        folder = os.path.join(top, "logs", "bad")
        store.add_step_log("bad", step("damaged", message="which will be damaged"))
        (damaged,) = [name for name in os.listdir(folder) if name.startswith("StepLog-damaged-")]
        path = Path(folder, damaged)
        path.write_bytes(path.read_bytes().replace(b"will", b"Will"))
        Path(folder, "BranchLog-empty-1.json").write_bytes(b"")
        Path(folder, "StepLog-more-2.json").write_bytes(b"[1]")
        os.symlink("elsewhere", os.path.join(folder, "StepLog-link-3.json"))
        self.files = files_below(os.path.join(top, "logs"))
        bad = (damaged, "-1.json", "-2.json", "-3.json")
        self.moved = sorted(repr(each) for name, each in self.files.items() if name.endswith(bad))
        self.expected = {"bad": self._readable(store, "bad"), "good": self._readable(store, "good")}

    @staticmethod
    def _readable(store, run_id):
        log = store.get_run_log(run_id)
        return list(log.steps.values()), log.parameters, data_of(store, log)

    def do(self, top, *, with_repair=True):
        with mock.patch.object(verification, "_PAUSE", 0):
            return list(chunkstore.verify(opened(top), with_repair=with_repair))

    def check(self, top):
        store = opened(top)
        assert {run_id: self._readable(store, run_id) for run_id in self.expected} == self.expected
        # Whatever was moved is there once, as it was.
        files = files_below(os.path.join(top, "logs"))
        assert sorted(map(repr, self._with_content(files))) == sorted(map(repr, self._with_content(self.files)))

    @staticmethod
    def _with_content(files):
        return [each for name, each in files.items() if not name.endswith(".lock")]

    def finish(self, top):
        self.do(top)
        self.check(top)
        assert {found.severity for found in self.do(top, with_repair=False)} == {NOTE}
        quarantined = files_below(os.path.join(top, "logs", "bad", "quarantine"))
        assert sorted(map(repr, quarantined.values())) == self.moved


class Collect:
    """Two runs to be deleted and two that stay, with data of all, and what killed processes have left."""

    with_data = False
    store_type = "chunked-fs"

    def __init__(self, top):
        store = opened(top, self.store_type)
        for run_id, tag in (("old-1", "go"), ("stays", "stay"), ("old-2", "go"), ("also-stays", "")):
            record(store, run_id, tag)
        for place in (os.path.join("logs"), os.path.join("catalog", "stays", "in")):
            Path(top, place, ".tmp-99999999-x-1").write_bytes(b"left")
        if self.store_type == "chunked-fs":
            Path(top, "logs", "stays", ".tmp-99999999-x-2").write_bytes(b"left")
        self.expected = {run_id: self._whole(store, run_id) for run_id in ("old-1", "old-2", "stays", "also-stays")}

    @staticmethod
    def _whole(store, run_id):
        log = store.get_run_log(run_id, strict=True)
        return log.to_json(), data_of(store, log)

    def do(self, top):
        store = opened(top, self.store_type)
        plan = plan_retention(store, Rule(tags=frozenset({"go"})), with_data=self.with_data)
        outcomes = list(collect(store, plan, with_data=self.with_data))
        assert all(outcome.deleted for outcome in outcomes), outcomes
        with weeks_later():
            remove_left_overs(store, with_data=self.with_data)

    def check(self, top):
        store = opened(top, self.store_type)
        there = [summary.run_id for summary in store.list_runs()]
        # A run that is there has all of its data; the data of one that is gone goes next.
        assert {run_id: self._whole(store, run_id) for run_id in there}.items() <= self.expected.items()
        assert {"stays", "also-stays"} <= set(there)

    def finish(self, top):
        self.do(top)
        self.check(top)
        store = opened(top, self.store_type)
        assert {summary.run_id for summary in store.list_runs()} == {"stays", "also-stays"}
        folders = {name for name in os.listdir(store.catalog_path) if not name.startswith(".")}
        assert folders == ({"stays", "also-stays"} if self.with_data else set(self.expected))
        claims = set(os.listdir(os.path.join(store.catalog_path, ".runs")))
        assert claims == folders
        with mock.patch.object(verification, "_PAUSE", 0):
            found = [*chunkstore.verify(store, with_data=True)]
            # What was left in the catalog is told until data is cleared up too.
            assert [finding.kind for finding in found] == ([] if self.with_data else ["left-over"]), found


class CollectWithData(Collect):
    with_data = True


class CollectDocuments(Collect):
    with_data = True
    store_type = "file-system"


UPKEEP = {
    "import": Import,
    "repair": Repair,
    "gc": Collect,
    "gc --data": CollectWithData,
    "gc --data of documents": CollectDocuments,
}


class Prepared:
    """Something of `UPKEEP`, made ready in a folder."""

    def __init__(self, name, folder):
        self._template = os.path.join(folder, "template")
        self._tried = os.path.join(folder, "tried")
        os.makedirs(self._template)
        with mock.patch("sys.stdout"):
            self.work = UPKEEP[name](self._template)
        # Paths are recorded, so what is tried lies where it was made ready.
        os.rename(self._template, self._tried + "-template")
        self._template, self._tried = self._tried + "-template", self._template

    def fresh(self):
        shutil.rmtree(self._tried, ignore_errors=True)
        shutil.copytree(self._template, self._tried, symlinks=True)
        return self._tried

    def killed_at(self, number, *, late):
        """Kill a process that does it at its Nth call; return whether it came so far."""
        top = self.fresh()

        def work():
            die_at(number, late=late)
            self.work.do(top)

        code = exit_code_of(work)
        assert code in {0, -signal.SIGKILL}, (number, code)
        return code != 0

    def check_after_kill(self, where):
        """Nothing that counts is lost, the second try comes to its end, and after that nothing is left over."""
        try:
            self.work.check(self._tried)
            self.work.finish(self._tried)
            clear_up(opened(self._tried, getattr(self.work, "store_type", "chunked-fs")))
            self.work.check(self._tried)
            assert left_overs(self._tried) == []
        except ChunkstoreError as error:
            raise AssertionError(f"{where}: {error!r}") from error
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error


def die_at(number, *, late):
    """Have this process killed at its Nth call of the operating system from now on, before that or after it."""
    count = 0

    def deadly(method):
        def call(self, *arguments, **options):
            nonlocal count
            count += 1
            if count == number and not late:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return method(self, *arguments, **options)
            finally:
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        return call

    for name in _METHODS:
        method = vars(Syscalls)[name]
        if callable(method):
            setattr(Syscalls, name, deadly(method))
