"""Whole runs, made of any files under any names."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from unittest import mock

import msgspec

import chunkstore
from chunkstore.clock import clock
from chunkstore.errors import ChunkstoreError
from chunkstore.maintenance.checking import verification
from chunkstore.maintenance.retention import clearing_up, remove_left_overs

from .inputs import as_input, check_message, files_in, folder, write
from .registry import target
from .target_records import BRANCH, DOCUMENT, METRIC, RUN, STEP

_RUN = RUN.replace(b'"m":{"name":"m","internal_name":"m","step_type":"map","branches":{"m.b":%b}}' % BRANCH, b"")
_ENTRY = b'{"file":"%b","body":%b}'


def _runs() -> Iterator[bytes]:
    step = b'{"name":"m","internal_name":"m","status":"SUCCESS","step_type":"map"}'
    branch = b'{"internal_name":"m.b","status":"SUCCESS","item":1}'
    loose = [
        ("1", "RunLog.json", _RUN),
        ("1", "StepLog-m-2.json", step),
        ("1", "BranchLog-m.b-3.json", branch),
        ("1", "StepLog-m.b.a-4.json", STEP),
        (
            "1",
            "StepUpdate-m-2.json",
            b'{"internal_name":"m","over":"StepLog-m-2.json","change":{"keys":{"message":{"set":"x"}}}}',
        ),
        (
            "1",
            "BranchUpdate-m.b-3.json",
            b'{"internal_name":"m.b","over":"BranchLog-m.b-3.json","change":{"keys":{"item":{"set":2}}}}',
        ),
        ("*", "Metric-m.b.a-5.jsonl", METRIC),
        ("1", "Parameter-root.json", b'{"branch":"","parameters":{"a":1}}'),
        ("1", "Parameter-m.b.json", b'{"branch":"m.b","parameters":{"p":1}}'),
    ]
    yield as_input(loose)
    yield as_input([("=", "RunLog.json", RUN)])
    packed = b"\n".join(
        _ENTRY % (name.encode(), content) for _, name, content in sorted(loose[1:], key=lambda each: each[1])
    )
    head = ("1", "RunLog.json", _RUN.replace(b'"format":1', b'"format":2'))
    yield as_input([head, ("*", "Sealed-9.jsonl", packed)])
    yield as_input([head, ("*", "Journal-1-9.jsonl", packed), ("*", "Sealed-8.jsonl", packed)])
    yield as_input([head, ("1", ".aside-StepLog-m-2.json", step), ("=", ".owner", b'{"pid":1,"host":"h"}')])
    going_on = ("1", "RunLog.json", _RUN.replace(b'"status":"SUCCESS"', b'"status":"PROCESSING"'))
    joined = ("=", ".joined", b'{"place":4294967296,"holder":{"pid":1}}\n{"place":"x"}')
    yield as_input([going_on, joined, ("=", ".owner", b"{" * 1_500), ("=", ".unsynced", b"")])
    yield as_input([going_on, ("1", "StepLog-x-8999999999999999999.json", step), ("=", "quarantine/x", b"")])


@target(_runs, 8_192)
def run_folder(data: bytes) -> None:
    """Whatever files lie in a run's folder: what can be read is, the rest is a problem, and every reader agrees."""
    with folder() as top:
        os.mkdir(os.path.join(top, "run"))
        write(os.path.join(top, "run"), files_in(data))
        _check_store("chunked-fs", top)


def _documents() -> Iterator[bytes]:
    yield as_input([("1", "run.json", DOCUMENT)])
    yield as_input([("=", "run.json", RUN), ("=", ".run~0123456789abcdef.owner", b'{"pid":1}'), ("=", "x.json", b"{}")])
    yield as_input([("=", "run.json", DOCUMENT.replace(b"SUCCESS", b"PROCESSING")), ("=", ".unsynced-run.json", b"")])


@target(_documents, 8_192)
def run_document(data: bytes) -> None:
    """Whatever files lie in a folder of documents: as with those of a run's folder."""
    with folder() as top:
        write(top, files_in(data))
        _check_store("file-system", top)


def _check_store(store_type: str, top: str) -> None:
    latest = clock._latest
    store = chunkstore.open_store(
        store_type, log_folder=top, catalog_folder=os.path.join(top, ".catalog"), lock_timeout=1, durability="process"
    )
    try:
        log = _read(store)
        for summary in store.list_runs():
            if not summary.is_over:
                _or_error(store.liveness, summary.run_id)
        with mock.patch.object(verification, "_PAUSE", 0):
            found = list(chunkstore.verify(store, with_data=True))
        for each in found:
            json.dumps(msgspec.to_builtins(each)).encode()
        if log is not None:
            _check_second_reader(store_type, top, log)
            _check_changes(store, log)
    finally:
        store.close()
        clock._latest = latest


def _or_error(call: object, *arguments: object) -> object:
    """Return what a call returns, or None after an error that is documented."""
    try:
        return call(*arguments)  # type: ignore[operator]
    except ChunkstoreError as error:
        check_message(error)
        str(error).encode()
        return None


def _read(store: chunkstore.Store) -> chunkstore.RunLog | None:
    """Read a run in each way; return it."""
    log = _or_error(store.get_run_log, "run")
    strict = _or_error(lambda: store.get_run_log("run", strict=True))
    as_json = _or_error(store.get_run_json, "run")
    _or_error(lambda: store.get_run_log("run", full=False))
    _or_error(lambda: list(store.iter_records("run")))
    if not isinstance(log, chunkstore.RunLog):
        assert strict is None
        return None
    assert (strict is None) == any(problem.kind != "orphan" for problem in log.problems), (strict, log.problems)
    for problem in log.problems:
        f"{problem.file} {problem.message}".encode()
    text = _or_error(log.to_json)
    if text is not None and as_json is not None:
        assert repr(chunkstore.RunLog.from_json(as_json)) == repr(chunkstore.RunLog.from_json(text))  # type: ignore[arg-type]
    following = store.follow("run")
    followed = _or_error(next, following)
    following.close()  # type: ignore[attr-defined]
    assert followed is None or _shown_log(followed) == _shown_log(log)
    for name in [*log.steps, "m", "m.b.a"]:
        _or_error(store.get_step_log, "run", name)
        _or_error(store.has_step_log, "run", name)
    _or_error(store.get_branch_log, "run", "m.b")
    for scope in ("", "m.b"):
        _or_error(store.get_parameters, "run", scope)
    return log


def _check_second_reader(store_type: str, top: str, log: chunkstore.RunLog) -> None:
    """Compare with the reader that was written from the documentation, where neither has anything to complain of."""
    from format_reader import read_document, read_run

    if log.problems:
        return
    try:
        if store_type == "chunked-fs":
            run, problems = read_run(os.path.join(top, "run"))
        else:
            run, problems = read_document(os.path.join(top, "run.json")), []
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError, OSError):
        return  # it need not say what is wrong
    if not problems:
        # What others put beside the run has no place in the documentation.
        shown = {key: value for key, value in run.items() if key not in {"problems", "orphans"}}
        ours = json.dumps(
            {key: value for key, value in log.to_dict().items() if key != "orphans"}, default=msgspec.to_builtins
        )
        assert json.dumps(shown, default=msgspec.to_builtins) == ours


def _check_changes(store: chunkstore.Store, log: chunkstore.RunLog) -> None:
    """Change the run: each change is there afterwards, or was refused; sealing changes nothing."""
    before = _or_error(lambda: store.get_run_log("run", strict=True))
    if before is not None and _or_error(lambda: (store.seal("run"), 1)):
        assert _shown(store) == _shown_log(before)
        _or_error(store.unseal, "run")  # which may refuse, and then removes nothing
        assert _shown(store) == _shown_log(before)
    for name in list(log.steps)[:1]:
        if _or_error(store.update_step_log, "run", name, _with_message):
            assert store.get_step_log("run", name).message == "from afar"
    if _or_error(lambda: (store.set_parameters("run", {"new": 1}), 1)):
        assert store.get_parameters("run")["new"] == 1
    if _or_error(lambda: (store.add_step_log("run", chunkstore.StepLog(name="n", internal_name="n")), 1)):
        assert store.has_step_log("run", "n")


def _with_message(step: chunkstore.StepLog) -> None:
    step.message = "from afar"


def _shown(store: chunkstore.Store) -> str:
    return _shown_log(store.get_run_log("run"))


def _shown_log(log: object) -> str:
    assert isinstance(log, chunkstore.RunLog)
    fields = log.to_dict()
    fields["run_config"] = {key: value for key, value in fields["run_config"].items() if key != "chunkstore"}
    if log.problems:  # in whichever order they were found
        fields["problems"] = sorted((problem.kind, problem.file, problem.message) for problem in log.problems)
    return json.dumps(fields, default=msgspec.to_builtins)


_RUN_OF_ITS_OWN = (
    ("1", "logs/kept/RunLog.json", RUN.replace(b'"run_id":"run"', b'"run_id":"kept"')),
    ("=", "catalog/kept/data.bin", b"kept"),
    ("=", "catalog/.runs/kept/0123456789abcdef/x", b""),
)


def _remains() -> Iterator[bytes]:
    mark = b'{"run_id":"%b","incarnation":"0123456789abcdef","catalog":"CATALOG"}'
    yield as_input(
        [
            ("=", "logs/.deleted-data-gone~0123456789abcdef", mark % b"gone"),
            ("=", "logs/.deleted-data-kept~0123456789abcdef", mark % b"kept"),
            ("=", "logs/.deleted-data-../../x", mark % b"../../x"),
            ("=", "logs/.tmp-99999999-x-1", b""),
            ("=", "logs/.deleted-99999999-x/RunLog.json", b"{}"),
            ("=", "logs/kept/.tmp-1/x", b""),
            ("=", "logs/kept/.aside-StepLog-m-2.json", b""),
            ("=", "catalog/kept/.tmp-99999999-x-3", b""),
            ("=", "catalog/gone/x", b""),
            ("=", "catalog/.runs/gone/0123456789abcdef/x", b""),
            ("=", "catalog/.runs/kept/0123456789abcdef+/x", b""),
        ]
    )


@target(_remains)
def remains(data: bytes) -> None:
    """Whatever lies about: cleaning up ends, and takes nothing of a run that is there, nor anything elsewhere."""
    with folder() as top:
        catalog = os.path.join(top, "catalog")
        files = files_in(data.replace(b"CATALOG", os.fsencode(catalog)))
        own = files_in(as_input(_RUN_OF_ITS_OWN))
        write(top, {**own, b"outside": b"", **{name: files[name] for name in files if name not in own}})
        os.unlink(os.path.join(catalog, ".runs", "kept", "0123456789abcdef", "x"))
        store = chunkstore.open_store(
            "chunked-fs", log_folder=os.path.join(top, "logs"), catalog_folder=catalog, lock_timeout=1
        )
        latest = clock._latest
        try:
            with mock.patch.object(clearing_up, "time") as later:
                later.time_ns.return_value = time.time_ns() + 40 * 86_400 * 10**9
                for with_data in (False, True):
                    _or_error(lambda with_data=with_data: remove_left_overs(store, with_data=with_data))
            assert isinstance(_or_error(store.get_run_log, "kept"), chunkstore.RunLog)
            for each in ("outside", "catalog/kept/data.bin"):
                assert os.path.isfile(os.path.join(top, each)), each
        finally:
            store.close()
            clock._latest = latest
