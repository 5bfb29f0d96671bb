"""What commands print with --json is what `chunkstore schema` says."""

import json
import os

import jsonschema
import pytest

import chunkstore as library
from chunkstore.cli.schema import PRINTED
from cli.command import chunkstore


def check(printed, command):
    schema = chunkstore("schema", command).json
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(printed, schema)


def examples_of_commands(old):
    """Return an example of each command; `old` is a folder to import."""
    return {
        "copy": ["copy", "one", "--to", os.path.join(old, "..", "copies")],
        "demo": ["demo", "--limit", "2"],
        "diff": ["diff", "one", "one"],
        "doctor": ["doctor"],
        "doctor --with": ["doctor", "--with", "processes:1"],
        "export": ["export", "one", "--to", os.path.join(old, "..", "out.json")],
        "gc": ["gc", "--keep-last", "5", "--dry-run"],
        "get": ["get", "one", "load.execution.log", "--to", os.path.join(old, "..")],
        "import": ["import", old],
        "logs": ["logs", "one", "load"],
        "ls": ["ls"],
        "seal": ["seal", "one"],
        "show": ["show", "one"],
        "show --step": ["show", "one", "--step", "load"],
        "show --params --metrics --data": ["show", "one", "--params", "--metrics", "--data"],
        "timeline": ["timeline", "one"],
        "unseal": ["unseal", "one"],
        "verify": ["verify"],
        "why": ["why", "work", "--run", "one"],
    }


@pytest.mark.thorough
def test_every_command_prints_what_the_schema_says(tmp_path, logs, pipeline):
    pipeline(library.open_store("chunked-fs", log_folder=logs))
    pipeline(library.open_store("file-system", log_folder=str(tmp_path / "old")), "older")
    examples = examples_of_commands(tmp_path / "old")
    assert {*examples, "watch"} == set(PRINTED)
    for command, arguments in examples.items():
        result = chunkstore(*arguments, "--store", logs, "--json")
        assert result.code == 0, result
        check(result.json, command)
    for line in chunkstore("watch", "one", "--store", logs, "--json").lines:
        check(json.loads(line), "watch")


def test_a_schema_refuses_what_is_something_else(logs):
    with pytest.raises(jsonschema.ValidationError):
        check([{"run_id": 5}], "ls")


def test_all_schemas_are_there_by_name():
    assert chunkstore("schema").json.keys() == PRINTED.keys()


def test_odd_values_keep_to_the_schema(store, logs):
    odd = {"nan": float("nan"), "deep": {"a": [None, True]}, "$float": 1, "text": "\u2028"}
    with store.start_run("one", parameters=odd) as run, run.step("load") as step:
        step.log_metrics(odd)
        step.log_metric("series", float("inf"), step=1)
        print("x")
    for command, arguments in examples_of_commands("").items():
        if arguments[0] in {"ls", "show", "logs"}:
            check(chunkstore(*arguments, "--store", logs, "--json").json, command)
