"""`chunkstore seal`, `unseal` and `import` do as the library does, and say what they did."""

import json
import os
from pathlib import Path

import chunkstore as library
from cli.command import chunkstore


def files_of(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.name != ".lock"}


def test_a_run_is_sealed_and_unsealed_byte_for_byte(logs, pipeline):
    store = library.open_store("chunked-fs", log_folder=logs)
    pipeline(store)
    before = files_of(os.path.join(logs, "one"))
    sealed = chunkstore("seal", "latest", "--store", logs)
    assert sealed.code == 0
    assert "sealed" in sealed.out
    assert len(files_of(os.path.join(logs, "one"))) == 2
    again = chunkstore("seal", "one", "--store", logs)
    assert (again.code, "nothing to pack" in again.out) == (0, True)
    assert chunkstore("unseal", "one", "--store", logs).code == 0
    assert files_of(os.path.join(logs, "one")) == before


def test_all_runs_that_have_finished_are_sealed_and_no_others(logs, pipeline):
    store = library.open_store("chunked-fs", log_folder=logs)
    for run_id in ("a", "b"):
        pipeline(store, run_id)
    store.create_run_log("open")
    found = chunkstore("seal", "--all", "--store", logs, "--json").json
    assert [(each["run_id"], each["chunks"] > 0, each["problem"]) for each in found] == [
        ("b", True, ""),
        ("a", True, ""),
    ]
    refused = chunkstore("seal", "open", "--store", logs)
    assert refused.code == 1
    assert "PROCESSING" in refused.err


def test_a_store_with_nothing_to_pack_says_so(logs, pipeline):
    pipeline(library.open_store("file-system", log_folder=logs))
    result = chunkstore("seal", "one", "--store", logs)
    assert (result.code, "nothing to pack" in result.out) == (0, True)


def test_runs_are_imported_and_what_cannot_be_is_told(tmp_path, logs, pipeline):
    source = library.open_store("file-system", log_folder=str(tmp_path / "old"))
    for run_id in ("a", "b"):
        pipeline(source, run_id)
    (tmp_path / "old" / "broken.json").write_text("{")
    result = chunkstore("import", tmp_path / "old", "--store", logs)
    assert result.code == 1
    assert "broken.json" in result.out
    assert result.lines[-1].startswith("2 runs imported")
    assert result.lines[-1].endswith(", 1 problem")
    repeated = chunkstore("import", tmp_path / "old", "--store", logs)
    assert repeated.lines[-1].endswith(", 2 were there already, 1 problem")
    (tmp_path / "old" / "broken.json").unlink()
    again = chunkstore("import", tmp_path / "old", "--store", logs, "--json")
    assert again.code == 0
    assert sorted(again.json["present"]) == ["a", "b"]
    copied = library.open_store("chunked-fs", log_folder=logs).get_run_log("a")
    assert json.loads(copied.to_json())["steps"] == json.loads(source.get_run_log("a").to_json())["steps"]
