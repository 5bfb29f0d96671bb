"""Documents that `runnable` wrote in 2024 are read as they are, and written with the same bytes."""

import json
import shutil

import pytest

import chunkstore
from chunkstore.records.fields import ExtraFields
from chunkstore.records.models import FORMAT, NOTES, RunLog, StepLog

CHUNKED = "pleasant-lamarr-0549"
DOCUMENT = "blocking-shaw-0538"


@pytest.fixture
def documents(golden):
    return {
        golden / f"{DOCUMENT}.json": RunLog,
        golden / CHUNKED / "RunLog.json": RunLog,
        golden / CHUNKED / "StepLog-simple-1706852981689005000.json": StepLog,
    }


@pytest.fixture
def logs(golden, tmp_path):
    shutil.copytree(golden, tmp_path / "logs")
    return tmp_path / "logs"


def test_every_document_gives_its_own_bytes_again(documents):
    for path, kind in documents.items():
        assert kind.from_json(path.read_bytes()).to_json(indent=4) == path.read_text().rstrip("\n"), path


def test_the_compact_form_holds_the_same(documents):
    for path, kind in documents.items():
        compact = kind.from_json(path.read_text()).to_json()
        assert "\n" not in compact
        assert json.loads(compact) == json.loads(path.read_text())
        assert list(json.loads(compact)) == list(json.loads(path.read_text()))


def test_a_chunked_store_puts_the_run_together(logs):
    log = chunkstore.open_store("chunked-fs", log_folder=logs).get_run_log(CHUNKED, strict=True)
    assert not log.problems
    assert list(log.steps) == ["simple"]
    step = log.steps["simple"]
    assert step.status == log.status == "SUCCESS"
    assert step.attempts[0].start_time == "2024-02-02 05:49:41.697142"
    assert step.code_identities[0].code_identifier_dependable is True
    assert step.data_catalog[0].catalog_relative_path == f"{CHUNKED}/simple.execution.log"
    assert log.run_config["dag"]["steps"]["simple"]["catalog"] is None


def test_a_document_store_reads_the_run(logs):
    log = chunkstore.open_store("file-system", log_folder=logs).get_run_log(DOCUMENT, strict=True)
    assert log.to_json(indent=4) == (logs / f"{DOCUMENT}.json").read_text().rstrip("\n")


def test_runs_of_the_time_before_chunkstore_are_listed(logs):
    (summary,) = chunkstore.open_store("chunked-fs", log_folder=logs).list_runs()
    assert (summary.run_id, summary.status, summary.problem) == (CHUNKED, "SUCCESS", "")


@pytest.mark.parametrize("store_type", ["chunked-fs", "file-system"])
def test_pretty_chunks_are_the_bytes_of_2024(documents, tmp_path, store_type):
    """What a store writes of the same content is the same text."""
    store = chunkstore.open_store(store_type, log_folder=tmp_path, pretty=True)
    whole = next(RunLog.from_json(path.read_text()) for path in documents if path.stem == DOCUMENT)
    for path, kind in documents.items():
        record = kind.from_json(path.read_text())
        if kind is StepLog:
            store.add_step_log(CHUNKED, record)
            if store_type == "chunked-fs":
                (file,) = (tmp_path / CHUNKED).glob("StepLog-simple-*.json")
                assert file.read_text() == path.read_text().rstrip("\n")
            continue
        store.create_run_log(record.run_id)
        steps, record.steps = record.steps, {}
        store.update_run_log(record.run_id, lambda _, record=record: record)
        for step in steps.values():
            store.add_step_log(record.run_id, step)
        if store_type == "chunked-fs" and not steps:
            assert (tmp_path / CHUNKED / "RunLog.json").read_text() == path.read_text().rstrip("\n")
    if store_type == "file-system":
        assert (tmp_path / f"{DOCUMENT}.json").read_text() == whole.to_json(indent=4)


def test_an_old_run_can_be_continued(logs):
    for store_type, run_id in (("chunked-fs", CHUNKED), ("file-system", DOCUMENT)):
        store = chunkstore.open_store(store_type, log_folder=logs)
        before = store.get_run_log(run_id).steps["simple"]
        store.add_step_log(run_id, StepLog(name="late", internal_name="late"))
        store.update_step_log(run_id, "simple", lambda step: setattr(step, "message", "seen"))
        store.set_parameters(run_id, {"a": 1})
        log = store.get_run_log(run_id, strict=True)
        assert list(log.steps)[-1] == "late"
        assert (log.steps["simple"].message, log.parameters) == ("seen", {"a": 1})
        log.steps["simple"].message = ""
        assert log.steps["simple"] == before


def test_a_new_run_says_its_format(tmp_path):
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path)
    notes = store.create_run_log("run").run_config[NOTES]
    assert (notes["format"], notes["version"]) == (FORMAT, chunkstore.__version__)
    on_disk = json.loads((tmp_path / "run" / "RunLog.json").read_text())
    assert on_disk["run_config"][NOTES] == notes
    assert (on_disk["steps"], on_disk["parameters"]) == ({}, {})


NEWER = {
    "run_id": "newer",
    "priority": 3,
    "steps": {
        "p": {
            "name": "p",
            "internal_name": "p",
            "retries": {"left": 2, "$float": "NaN", "more": []},
            "code_identities": [{"code_identifier": "abc", "signed": True}],
            "attempts": [{"attempt_number": 1, "node": {"name": "n1", "ratio": {"$float": "NaN"}}}],
            "data_catalog": [{"name": "d", "size": 10**30}],
            "branches": {
                "p.b": {
                    "internal_name": "p.b",
                    "weight": 0.5,
                    "steps": {"p.b.s": {"name": "s", "internal_name": "p.b.s", "gpu": None}},
                }
            },
        }
    },
    "run_config": {},
}


def extras(log):
    step = log.steps["p"]
    branch = step.branches["p.b"]
    records = [
        log,
        step,
        step.code_identities[0],
        step.attempts[0],
        step.data_catalog[0],
        branch,
        branch.steps["p.b.s"],
    ]
    return repr([record.extra for record in records])


def test_unknown_fields_are_read_and_written_at_every_level():
    log = RunLog.from_json(json.dumps(NEWER))
    assert log.extra == ExtraFields(priority=3)
    assert log.steps["p"].branches["p.b"].steps["p.b.s"].extra == ExtraFields(gpu=None)
    assert json.loads(log.to_json())["steps"]["p"]["attempts"][0]["node"] == {"name": "n1", "ratio": {"$float": "NaN"}}
    assert extras(RunLog.from_json(log.to_json())) == extras(log)
    assert RunLog.from_json(log.to_json(indent=2)).to_json() == log.to_json()


def test_unknown_fields_survive_every_rewrite_of_a_document(tmp_path):
    (tmp_path / "newer.json").write_text(json.dumps(NEWER))
    store = chunkstore.open_store("file-system", log_folder=tmp_path)
    before = extras(store.get_run_log("newer"))
    rewrite_everything(store)
    assert extras(store.get_run_log("newer", strict=True)) == before


def test_unknown_fields_survive_every_rewrite_of_chunks(tmp_path):
    log = RunLog.from_json(json.dumps(NEWER))
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path)
    store.create_run_log("newer")
    store.update_run_log("newer", lambda found: setattr(found, "extra", log.extra))
    for step in log.steps.values():
        store.add_step_log("newer", step)
    rewrite_everything(chunkstore.open_store("chunked-fs", log_folder=tmp_path))
    assert extras(store.get_run_log("newer", strict=True)) == extras(log)


def test_unknown_fields_survive_in_files_of_parameters(tmp_path):
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path)
    store.create_run_log("run", parameters={"a": 1})
    file = tmp_path / "run" / "Parameter-root.json"
    content = json.loads(file.read_text())
    assert content == {"branch": "", "parameters": {"a": 1}}
    file.write_text(json.dumps({**content, "hash": "abc"}))
    store.set_parameters("run", {"b": 2})
    assert json.loads(file.read_text()) == {"branch": "", "parameters": {"a": 1, "b": 2}, "hash": "abc"}


def rewrite_everything(store):
    store.update_run_log("newer", lambda log: setattr(log, "status", "SUCCESS"))
    for name in ("p", "p.b.s"):
        store.update_step_log("newer", name, lambda step: setattr(step, "status", "SUCCESS"))
        store.update_step_log("newer", name, lambda step: setattr(step, "message", "seen"))
    store.update_branch_log("newer", "p.b", lambda branch: setattr(branch, "status", "SUCCESS"))
    store.set_parameters("newer", {"a": 1})
