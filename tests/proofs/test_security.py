"""Names and files of strangers cannot make a store touch anything outside, run code, hang or crash."""

import json
import os
import pickle
import signal
import subprocess
import sys

import pytest

import chunkstore
from chunkstore.backends.disk.directory import DirectoryBackend
from chunkstore.errors import ChunkstoreError, ConfigurationError, CorruptChunkError, RunLogNotFoundError
from chunkstore.records.models import StepLog
from chunkstore.stores.packed.packed_lines import pack_body
from chunkstore.testing.faults import CountingSyscalls
from chunkstore.testing.strategies import HOSTILE_NAMES
from chunkstore.testing.suite_runs import CALLS_ON_A_RUN, HOSTILE_RUN_IDS

RUN = "run"
STEP = StepLog(name="good", internal_name="good", status="SUCCESS")


@pytest.fixture
def logs(tmp_path):
    return tmp_path / "logs"


@pytest.fixture(params=["chunked-fs", "file-system"])
def store(request, logs):
    store = chunkstore.open_store(request.param, log_folder=logs, lock_timeout=1)
    store.create_run_log(RUN)
    store.add_step_log(RUN, STEP)
    return store


@pytest.fixture
def chunked(logs):
    store = chunkstore.open_store("chunked-fs", log_folder=logs, lock_timeout=1)
    store.create_run_log(RUN)
    store.add_step_log(RUN, STEP)
    return store


def everything_in(folder):
    return sorted(os.path.join(path, name) for path, folders, files in os.walk(folder) for name in (*folders, *files))


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
def test_no_name_leads_out_of_the_folder(store, tmp_path, logs, name):
    outside = [path for path in everything_in(tmp_path) if not path.startswith(str(logs))]
    store.add_step_log(RUN, StepLog(name=name, internal_name=name))
    store.set_parameters(RUN, {"a": 1}, branch=name)
    store.update_step_log(RUN, name, lambda step: setattr(step, "message", "x"))
    assert [path for path in everything_in(tmp_path) if not path.startswith(str(logs))] == outside
    for path in everything_in(logs):
        assert len(os.path.basename(path)) < 256
        assert os.path.basename(path).isascii()


@pytest.mark.parametrize("run_id", [*HOSTILE_RUN_IDS, "~root", "$HOME", "-rf", "a:b", "x|y", "*"], ids=ascii)
def test_no_run_id_leads_out_of_the_folder(store, tmp_path, logs, run_id):
    (tmp_path / "secret.json").write_text("{}")
    (tmp_path / "x").mkdir()
    before = [path for path in everything_in(tmp_path) if not path.startswith(str(logs))]
    for call in CALLS_ON_A_RUN.values():
        with pytest.raises(ChunkstoreError):
            call(store, run_id)
    try:
        store.create_run_log(run_id)
    except ChunkstoreError:
        pass
    assert [path for path in everything_in(tmp_path) if not path.startswith(str(logs))] == before


def plant_symlink(path, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(StepLog(name="secret", internal_name="secret", message="secret").to_json())
    os.symlink(secret, path)


def plant_dangling_symlink(path, tmp_path):
    os.symlink(tmp_path / "new", path)


def plant_fifo(path, tmp_path):
    os.mkfifo(path)


def plant_folder(path, tmp_path):
    os.mkdir(path)
    (path / "inside").write_text("x")


def plant_device_link(path, tmp_path):
    os.symlink("/dev/zero", path)


def plant_no_permission(path, tmp_path):
    path.write_text("{}")
    path.chmod(0)


PLANTS = [plant_symlink, plant_dangling_symlink, plant_fifo, plant_folder, plant_device_link]
_planted = pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__.removeprefix("plant_"))


@_planted
@pytest.mark.parametrize(
    "file", ["StepLog-evil-1.json", "StepUpdate-good-1.json", "Metric-good-1.jsonl", "Parameter-evil.json"]
)
def test_what_is_no_file_is_reported_and_hides_nothing(chunked, logs, tmp_path, plant, file):
    plant(logs / RUN / file, tmp_path)
    log = chunked.get_run_log(RUN)
    assert log.steps == {"good": STEP}
    assert [(problem.kind, problem.file) for problem in log.problems] == [("unreadable", file)]
    assert "secret" not in log.to_json()
    with pytest.raises(CorruptChunkError, match=file):
        chunked.get_run_log(RUN, strict=True)
    assert chunked.get_step_log(RUN, "good") == STEP
    chunked.add_step_log(RUN, StepLog(name="more", internal_name="more"))
    assert not (tmp_path / "new").exists()
    chunked.delete_run(RUN)
    assert list(chunked.list_runs()) == []


@_planted
def test_what_is_no_file_in_the_place_of_the_runs_record_is_reported(chunked, logs, tmp_path, plant):
    (logs / RUN / "RunLog.json").unlink()
    plant(logs / RUN / "RunLog.json", tmp_path)
    other = chunkstore.open_store("chunked-fs", log_folder=logs)
    log = other.get_run_log(RUN)
    assert (log.status, list(log.steps)) == ("UNKNOWN", ["good"])
    assert log.problems[0].kind == "unreadable"
    (summary,) = other.list_runs()
    assert summary.problem
    for name in ("update", "add step", "set parameters", "update step"):
        with pytest.raises(ChunkstoreError):
            CALLS_ON_A_RUN[name](chunkstore.open_store("chunked-fs", log_folder=logs), RUN)
    assert not (tmp_path / "new").exists()


@_planted
def test_what_is_no_file_in_the_place_of_a_document_is_reported(logs, tmp_path, plant):
    store = chunkstore.open_store("file-system", log_folder=logs)
    store.create_run_log("good")
    plant(logs / f"{RUN}.json", tmp_path)
    for name, call in CALLS_ON_A_RUN.items():
        if name not in ("delete", "sync"):
            with pytest.raises(ChunkstoreError):
                call(store, RUN)
    assert {summary.run_id: bool(summary.problem) for summary in store.list_runs()} == {"good": False, RUN: True}
    assert not (tmp_path / "new").exists()


@_planted
def test_a_lock_that_is_no_file_is_never_followed(chunked, logs, tmp_path, plant):
    plant(logs / RUN / ".lock", tmp_path)
    try:
        chunked.set_parameters(RUN, {"a": 1})
    except ChunkstoreError:
        pass
    assert not (tmp_path / "new").exists()
    assert chunked.get_run_log(RUN).steps == {"good": STEP}


def test_a_run_that_is_a_link_to_a_folder_elsewhere_is_no_run(chunked, logs, tmp_path):
    elsewhere = chunkstore.open_store("chunked-fs", log_folder=tmp_path / "elsewhere")
    elsewhere.create_run_log("stolen")
    os.symlink(tmp_path / "elsewhere" / "stolen", logs / "stolen")
    before = everything_in(tmp_path / "elsewhere")
    for call in CALLS_ON_A_RUN.values():
        with pytest.raises((RunLogNotFoundError, ConfigurationError)):
            call(chunked, "stolen")
    assert [summary.run_id for summary in chunked.list_runs()] == [RUN]
    assert everything_in(tmp_path / "elsewhere") == before


def test_the_log_folder_itself_may_be_a_link(logs, tmp_path):
    (tmp_path / "big-disk").mkdir()
    os.symlink(tmp_path / "big-disk", logs)
    store = chunkstore.open_store("chunked-fs", log_folder=logs, durability="step")
    store.create_run_log(RUN)
    store.add_step_log(RUN, STEP)
    assert list(store.get_run_log(RUN).steps) == ["good"]


HOSTILE_FILES = {
    "nested": b"[" * 10**6,
    "nested objects": b'{"a":' * 10**5 + b"1",
    "long integer": b'{"name": "a", "internal_name": "a", "result": ' + b"9" * 10**5 + b"}",
    "surrogate": b'{"name": "a", "internal_name": "\\ud800"}',
    "zeros": b"\0" * 10**5,
    "another type": b'{"run_id": "another"}',
    "text": b"hello",
    "deep records": b'{"name":"a","internal_name":"a","branches":{"b":{"internal_name":"b","steps":{"a":' * 200,
}


@pytest.mark.parametrize("data", HOSTILE_FILES.values(), ids=list(HOSTILE_FILES))
@pytest.mark.parametrize(
    "file", ["StepLog-evil-1.json", "StepUpdate-good-9.json", "Parameter-evil.json", "RunLog.json"]
)
def test_hostile_bytes_are_reported_and_hide_nothing(chunked, logs, file, data):
    (logs / RUN / file).write_bytes(data)
    other = chunkstore.open_store("chunked-fs", log_folder=logs)
    log = other.get_run_log(RUN)
    assert log.steps == {"good": STEP}
    assert file in [problem.file for problem in log.problems]
    assert len(log.problems[0].message) < 1_000
    log.to_json()


def test_a_name_of_a_file_that_is_no_text_is_reported(chunked, logs):
    with open(os.fsencode(logs / RUN) + b"/StepLog-\xff\xfe-1.json", "wb") as file:
        file.write(b"no json")
    log = chunked.get_run_log(RUN)
    (problem,) = log.problems
    assert problem.kind == "corrupt"
    assert chunkstore.RunLog.from_json(log.to_json()).problems == log.problems


def test_files_cannot_speak_for_another_run_or_scope(chunked, logs):
    chunked.set_parameters(RUN, {"a": 1})
    (logs / "other").mkdir()
    (logs / "other" / "RunLog.json").write_bytes((logs / RUN / "RunLog.json").read_bytes())
    assert chunked.get_run_log("other").status == "UNKNOWN"
    with pytest.raises(CorruptChunkError, match="holds the run 'run'"):
        chunkstore.open_store("chunked-fs", log_folder=logs).add_step_log("other", STEP)
    (logs / RUN / "Parameter-x.json").write_text('{"branch": "y", "parameters": {"a": 2}}')
    with pytest.raises(CorruptChunkError, match="parameters of 'y'"):
        chunked.get_parameters(RUN, "x")
    with pytest.raises(CorruptChunkError, match="parameters of 'y'"):
        chunked.set_parameters(RUN, {"a": 3}, branch="x")


def test_a_raised_recursion_limit_does_not_let_deep_json_crash_the_reader(tmp_path):
    code = (
        "import sys; sys.setrecursionlimit(10**6)\n"
        "import chunkstore\n"
        "for text in ('[' * 10**6, '{\"a\":' * 10**6, '{\"result\":' + '[' * 500_000 + ']' * 500_000 + '}'):\n"
        "    try: chunkstore.StepLog.from_json(text)\n"
        "    except chunkstore.CorruptChunkError as error: print(error.reason)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 3


BOMB = "\n".join([f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10)])
BOMBS = {
    "laughs as type": f"l0: &l0 lol\n{BOMB}\nrun_log_store:\n  type: *l9\n",
    "few aliases, many levels": "l0: &l0 [x]\n"
    + "\n".join(f"l{n}: &l{n} [*l{n - 1}, *l{n - 1}]" for n in range(1, 9))
    + "\nrun_log_store:\n  config:\n    log_folder: *l8\n",
    "as key": "l0: &l0 [x]\nrun_log_store:\n  config:\n    ? *l0\n    : 1\n",
    "recursive": "run_log_store: &a\n  config: *a\n",
    "recursive value": "run_log_store:\n  config:\n    log_folder: &a [*a]\n",
    "python tag": "run_log_store: !!python/object/apply:os.system ['touch hacked']\n",
    "nested": "[" * 500_000,
    "nested blocks": "- " * 100_000,
    "large": "a: " + "x" * 2_000_000,
    "binary": "\0\1\2",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=list(BOMBS))
def test_a_hostile_configuration_is_refused_quickly(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (10, 10))\n"
        "import chunkstore\n"
        "try: chunkstore.open_store(config='c.yaml')\n"
        "except chunkstore.ConfigurationError as error: print(len(str(error)))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-500:]
    assert 0 < int(result.stdout) < 5_000
    assert os.listdir(tmp_path) == ["c.yaml"]


def test_what_is_on_disk_is_no_code(store, logs):
    store.set_parameters(RUN, {"a": 1})
    for path in everything_in(logs):
        if path.endswith(".json"):
            with open(path, "rb") as file:
                json.loads(file.read())


@pytest.mark.parametrize("mask", [0o022, 0o007, 0o077])
def test_modes_obey_the_umask_so_a_group_can_share(tmp_path, mask):
    before = os.umask(mask)
    try:
        store = chunkstore.open_store("chunked-fs", log_folder=tmp_path / "logs")
        store.create_run_log(RUN, parameters={"a": 1})
        store.add_step_log(RUN, STEP)
        store.set_parameters(RUN, {"b": 1})
        document = chunkstore.open_store("file-system", log_folder=tmp_path / "documents")
        document.create_run_log(RUN)
        document.add_step_log(RUN, STEP)
    finally:
        os.umask(before)
    for path in [*everything_in(tmp_path / "logs"), *everything_in(tmp_path / "documents")]:
        assert os.stat(path).st_mode & 0o777 == (0o777 if os.path.isdir(path) else 0o666) & ~mask, path


def test_a_pickled_store_holds_no_runs_and_no_descriptors(chunked):
    data = pickle.dumps(chunked)
    assert len(data) < 2_000
    assert b"good" not in data


@pytest.fixture
def _no_waiting():
    """Ends a test that waits for the other end of a pipe."""

    def end(*_):
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(3)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("_no_waiting")
@_planted
def test_what_took_the_place_of_a_file_since_it_was_listed_is_not_read(logs, tmp_path, plant):
    backend = DirectoryBackend(logs)
    backend.create_folder(RUN, {"file": b"{}"})
    with backend.reader(RUN) as reader:
        assert reader.names(to_load=True) == ["file"]
        (logs / RUN / "file").unlink()
        plant(logs / RUN / "file", tmp_path)
        with pytest.raises(CorruptChunkError):
            reader.load("file")


@_planted
def test_what_is_no_file_is_never_opened(logs, tmp_path, plant):
    """Opening a device can do something."""
    syscalls = CountingSyscalls()
    backend = DirectoryBackend(logs, syscalls=syscalls)
    backend.create_folder(RUN, {"file": b"{}"})
    plant(logs / RUN / "evil", tmp_path)
    for to_load in (True, False):
        with backend.reader(RUN) as reader:
            assert "evil" in reader.names(to_load=to_load)
            with pytest.raises(CorruptChunkError):
                reader.load("evil")
    backend.sync(RUN)
    assert not [call for call in syscalls.calls if call.name in ("open", "create") and call.target == "evil"]


def test_nothing_is_appended_to_what_a_link_leads_to(logs, tmp_path):
    backend = DirectoryBackend(logs)
    backend.create_folder(RUN, {"file": b"{}"})
    (tmp_path / "secret").write_text("untouched")
    os.symlink(tmp_path / "secret", logs / RUN / "lines")
    with pytest.raises(ChunkstoreError):
        backend.append(RUN, "lines", b"more")
    assert (tmp_path / "secret").read_text() == "untouched"


def test_a_file_beyond_the_limit_of_size_is_reported_and_not_read(chunked, logs, monkeypatch):
    limit = 10_000
    (logs / RUN / "StepLog-large-1.json").write_bytes(STEP.to_json().encode() + b" " * limit)
    monkeypatch.setattr("chunkstore.backends.disk.folder.MAX_BYTES", limit)
    log = chunked.get_run_log(RUN)
    assert log.steps == {"good": STEP}
    assert [(problem.kind, problem.file) for problem in log.problems] == [("unreadable", "StepLog-large-1.json")]
    assert "larger" in log.problems[0].message


@pytest.mark.parametrize(
    "name",
    ["../evil.json", "/tmp/evil.json", "x.json", ".lock", "StepLog-/../../evil-5.json", "Parameter-../evil.json"],
)
def test_a_line_of_a_sealed_file_leads_unsealing_nowhere(tmp_path, name):
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path / "logs")
    store.create_run_log(RUN, status="SUCCESS")
    store.add_step_log(RUN, chunkstore.StepLog(name="s", internal_name="s"))
    store.seal(RUN)
    (sealed,) = (tmp_path / "logs" / RUN).glob("Sealed-*")
    lines = [*sealed.read_bytes().splitlines(keepends=True), pack_body(name, b'{"evil":1}')]
    sealed.write_bytes(b"".join(sorted(lines)))
    before = sorted(path for path in tmp_path.rglob("*"))
    assert list(store.get_run_log(RUN).steps) == ["s"]
    with pytest.raises(chunkstore.ChunkstoreError, match="the name of no chunk"):
        store.unseal(RUN)
    assert sorted(path for path in tmp_path.rglob("*")) == before
    assert list(store.get_run_log(RUN).steps) == ["s"]
