"""Every error says what was tried and what to do, is what Python users catch, and crosses process boundaries."""

import ast
import errno
import inspect
import pickle
import re

import pytest
from processes import run_processes

import chunkstore
from chunkstore import errors
from chunkstore.backends.errors import UnreadableFileError
from chunkstore.errors import (
    BranchLogNotFoundError,
    ChunkstoreError,
    ConfigurationError,
    CorruptChunkError,
    InvalidNameError,
    InvalidValueError,
    LockTimeoutError,
    RunLivesError,
    RunLogExistsError,
    RunLogNotFoundError,
    StepLogNotFoundError,
    StoreAccessError,
    StoreFullError,
    StoreIOError,
    StoreUsageError,
    UnsupportedFormatError,
)
from chunkstore.records.models import StepLog

ALL = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, ChunkstoreError)]
DETAILS = {"run_id": "r", "file": "f", "errno": errno.ENOSPC, "key": "a.b[0]", "holder": None, "results": [1, {"a": 2}]}


def test_the_tree_in_the_docstring_is_the_tree():
    drawn = dict(re.findall(r"[├└]── (\w+)(?: +\((.*)\))?", errors.__doc__))
    assert set(drawn) == {kind.__name__ for kind in ALL} - {"ChunkstoreError"}
    for kind in ALL:
        if kind is not ChunkstoreError:
            builtin = ", ".join(base.__name__ for base in kind.__bases__ if not issubclass(base, ChunkstoreError))
            assert drawn[kind.__name__] == builtin, kind


@pytest.mark.parametrize("kind", [*ALL, UnreadableFileError])
def test_an_error_keeps_message_facts_and_cause_through_pickle(kind):
    error = kind("Cannot do it. Do this.", **DETAILS)
    error.__cause__ = ValueError("why")
    for copy in (error, pickle.loads(pickle.dumps(error))):
        assert type(copy) is kind
        assert str(copy) == copy.message == "Cannot do it. Do this."
        assert {name: getattr(copy, name) for name in DETAILS} == DETAILS
        assert repr(copy.__cause__) == "ValueError('why')"


@pytest.mark.parametrize(
    ("kind", "parents"),
    [
        (RunLogNotFoundError, (KeyError, FileNotFoundError, OSError)),
        (RunLogExistsError, (FileExistsError,)),
        (StepLogNotFoundError, (KeyError, LookupError)),
        (BranchLogNotFoundError, (KeyError,)),
        (InvalidNameError, (ValueError,)),
        (InvalidValueError, (ValueError,)),
        (CorruptChunkError, (ValueError,)),
        (UnsupportedFormatError, (ValueError,)),
        (ConfigurationError, (ValueError,)),
        (StoreAccessError, (ConfigurationError, PermissionError)),
        (LockTimeoutError, (TimeoutError,)),
        (StoreFullError, (OSError,)),
        (StoreIOError, (OSError,)),
        (StoreUsageError, (RuntimeError,)),
        (RunLivesError, (RuntimeError,)),
    ],
)
def test_an_error_is_what_python_users_catch(kind, parents):
    for parent in (ChunkstoreError, *parents):
        with pytest.raises(parent):
            raise kind("message")


@pytest.fixture(params=["buffered", "file-system", "chunked-fs"])
def store(request, tmp_path):
    options = {} if request.param == "buffered" else {"log_folder": tmp_path / "logs"}
    store = chunkstore.open_store(request.param, **options)
    store.create_run_log("run", parameters={"a": 1})
    store.add_step_log("run", StepLog(name="simple", internal_name="simple"))
    return store


RAISING = {
    "missing run": (RunLogNotFoundError, ["'lost'", "list_runs"], lambda s: s.get_run_log("lost")),
    "second creation": (RunLogExistsError, ["'run'", "join_run"], lambda s: s.create_run_log("run")),
    "missing step": (StepLogNotFoundError, ["'lost'", "'run'", "%2E"], lambda s: s.get_step_log("run", "lost")),
    "missing branch": (BranchLogNotFoundError, ["'simple'", "'run'"], lambda s: s.get_branch_log("run", "simple")),
    "run id": (InvalidNameError, ["'../x'", "Use letters"], lambda s: s.create_run_log("../x")),
    "name": (InvalidNameError, ["empty", "another name"], lambda s: s.add_step_log("run", unnamed())),
    "value": (
        InvalidValueError,
        ["parameters.x[1].y", "builtins.object", "put_data"],
        lambda s: s.set_parameters("run", {"x": [0, {"y": object()}]}),
    ),
    "attribute": (
        InvalidValueError,
        ["status", "str", "int"],
        lambda s: s.add_step_log("run", StepLog(name="s", internal_name="s", status=3)),
    ),
    "change": (StoreUsageError, ["StepLog", "int"], lambda s: s.update_step_log("run", "simple", lambda _: 3)),
    "renaming": (
        InvalidValueError,
        ["run_id", "another run"],
        lambda s: s.update_run_log("run", lambda log: setattr(log, "run_id", "other")),
    ),
}


@pytest.mark.parametrize(("kind", "words", "call"), RAISING.values(), ids=list(RAISING))
def test_a_message_names_the_thing_and_the_way_out_and_the_store_is_as_it_was(store, kind, words, call):
    before = store.get_run_log("run")
    with pytest.raises(kind) as caught:
        call(store)
    message = str(caught.value)
    assert not [word for word in words if word not in message], message
    assert message.endswith(".")
    assert len(message) < 400
    assert pickle.loads(pickle.dumps(caught.value)).message == message
    assert store.get_run_log("run") == before
    assert [summary.run_id for summary in store.list_runs()] == ["run"]


def unnamed():
    step = StepLog(name="s", internal_name="s")
    step.internal_name = ""
    return step


def fail(store):
    with pytest.raises(RunLogNotFoundError):
        store.get_run_log("lost")
    try:
        store.get_step_log("run", "lost")
    except ChunkstoreError as error:
        return error


def test_an_error_crosses_from_one_process_to_another(tmp_path):
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path)
    store.create_run_log("run")
    (error,) = run_processes(fail, [(store,)])
    assert isinstance(error, StepLogNotFoundError)
    assert (error.run_id, error.internal_name) == ("run", "lost")


def test_a_corrupt_chunk_says_where(tmp_path):
    with pytest.raises(CorruptChunkError, match=r"expected .* \(byte 13\)\. The rest") as caught:
        StepLog.from_json('{"name": "x" "internal_name": 1}')
    assert caught.value.offset == 13
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path)
    store.create_run_log("run")
    (tmp_path / "run" / "StepLog-x-1.json").write_text('{"name"')
    with pytest.raises(CorruptChunkError, match=r"StepLog-x-1\.json") as caught:
        store.get_run_log("run", strict=True)
    assert caught.value.file == "StepLog-x-1.json"


def test_every_public_error_is_exported():
    exported = {name for name in chunkstore.__all__ if name.endswith("Error")}
    assert exported == {kind.__name__ for kind in ALL}


def test_every_error_raised_in_the_package_gets_a_message():
    tree = ast.parse(inspect.getsource(errors))
    assert all(ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
