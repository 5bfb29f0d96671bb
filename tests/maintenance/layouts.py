"""One run in every layout that can be imported, and what it means that nothing of it is lost."""

import json
import math
from pathlib import Path
from urllib.parse import quote

import chunkstore
from chunkstore.records.models import RunLog

RUN = "witty-kepler-0815"
UNKNOWN = {"made": {"by": "a later version", "left": math.inf, "marked": {"$float": "NaN"}, "none": None}}
VALUES = {
    "text": "gr\u00fc\u00df dich \u6a21\u578b \x00\n\u2028",
    "": "no name",
    "a.b/c d%2E": [1, -2, 10**30, 1e-320, -0.0, 0.1, True, None, {"": []}],
    "nan": math.nan,
    "inner": {"inf": [math.inf, {"minus": -math.inf}], "$float": "NaN"},
    "marked": {"$float": "Infinity"},
    "json": {"kind": "json", "value": {"deep": [[[{}]]]}, "description": "a"},
    "metric": {"kind": "metric", "value": math.nan, "description": None},
    "object": {"kind": "object", "value": "model", "description": "Pickled object stored in catalog as: model"},
}


def attempt(minute, number=1, **fields):
    return {
        "attempt_number": number,
        "start_time": f"2024-02-02 05:{minute:02}:00.697142",
        "end_time": f"2024-02-02 05:{minute:02}:59.702983",
        "duration": "0:00:59.005841",
        "status": "SUCCESS",
        "message": "",
        "parameters": {},
        **fields,
    }


def step(internal_name, minute, name="", branches=(), **fields):
    return {
        "name": name or internal_name.rpartition(".")[2],
        "internal_name": internal_name,
        "status": "SUCCESS",
        "step_type": "map" if branches else "task",
        "message": "",
        "mock": False,
        "code_identities": [],
        "attempts": [attempt(minute)],
        "user_defined_metrics": {},
        "branches": {each["internal_name"]: each for each in branches},
        "data_catalog": [],
        **fields,
    }


def branch(internal_name, *steps, **fields):
    return {
        "internal_name": internal_name,
        "status": "SUCCESS",
        "steps": {each["internal_name"]: each for each in steps},
        "parameters": {},
        **fields,
    }


def run(run_id, *steps, **fields):
    return {
        "run_id": run_id,
        "dag_hash": "",
        "use_cached": False,
        "tag": "",
        "original_run_id": "",
        "status": "SUCCESS",
        "steps": {each["internal_name"]: each for each in steps},
        "parameters": {},
        "run_config": {},
        **fields,
    }


def rich_run(run_id=RUN):
    """Return a run that has everything, and fields at every level that nobody knows."""
    identity = {"code_identifier": "39cd98", "code_identifier_dependable": True, "code_identifier_url": None, **UNKNOWN}
    data = {"name": "out.csv", "data_hash": "03ba", "catalog_relative_path": "x/out.csv", "stage": "put", **UNKNOWN}
    zeta = step(
        "zeta",
        1,
        message="\u6a21 ' \" \\ {}",
        code_identities=[identity],
        attempts=[
            attempt(1, status="FAIL", message="Traceback\n  line", **UNKNOWN),
            attempt(
                2,
                number=2,
                parameters=VALUES,
                input_parameters=VALUES,
                output_parameters=VALUES,
                user_defined_metrics=VALUES,
                retry_indicator="1",
                code_identities=[identity],
            ),
        ],
        user_defined_metrics=VALUES,
        data_catalog=[data, {**data, "name": "in.csv", "stage": "get"}],
        **UNKNOWN,
    )
    inner = step("alpha.x.fan", 5, branches=[branch("alpha.x.fan.2", step("alpha.x.fan.2.last", 6), **UNKNOWN)])
    files = step(
        "alpha",
        4,
        branches=[
            branch("alpha.x", step("alpha.x.begin", 4, mock=True), inner, parameters=VALUES, **UNKNOWN),
            branch("alpha.data/a.csv", step("alpha.data/a.csv.count", 7, **UNKNOWN), step("alpha.data/a.csv.a", 8)),
            branch("alpha.b%2Etxt", step("alpha.b%2Etxt.count", 9), status="FAIL"),
            branch("alpha.b%2Ftxt", step("alpha.b%2Ftxt.count", 10), parameters={"a": 1}),
            branch("alpha.nothing"),
        ],
    )
    files["branches"]["alpha.nothing"]["steps"]["alpha.nothing.yet"] = step("alpha.nothing.yet", 11, attempts=[])
    files["branches"]["alpha.nothing"]["steps"]["alpha.nothing.then"] = step("alpha.nothing.then", 12)
    job = {
        "status": "SUCCESS",
        "message": "",
        "mock": False,
        "code_identities": [identity],
        "attempts": [attempt(3, **UNKNOWN)],
        "data_catalog": [data],
        **UNKNOWN,
    }
    config = {"executor": {"service_name": "local"}, "dag": {"steps": {"zeta": {"catalog": None}}}, "odd": VALUES}
    others = [step("v1.2", 13, name="v1.2"), step("beta", 14, status="PROCESSING")]
    fields = {"tag": "nightly", "dag_hash": None, "status": "FAIL", "job": job, **UNKNOWN}
    return run(run_id, zeta, files, *others, parameters=VALUES, run_config=config, **fields)


# --- layouts ---------------------------------------------------------------------------------------------------------


def write_json(path, content):
    path.write_text(json.dumps(content, indent=4), encoding="ascii")


def write_document(folder, content):
    write_json(folder / f"{content['run_id']}.json", content)


def write_folder_of_2025(folder, content):
    """Write steps into the record of their run or branch, and branches into files without a time."""
    made = folder / content["run_id"]
    made.mkdir()
    write_json(made / "RunLog.json", {**content, "steps": without_branches(content["steps"])})
    for record in records_of(content["steps"]):
        if "name" not in record:
            name = record["internal_name"].replace("/", "%2F")
            write_json(made / f"BranchLog-{name}.json", {**record, "steps": without_branches(record["steps"])})


def write_folder_of_2024(folder, content, encode=lambda name: quote(name, safe=" %")):
    """Write every record and every parameter into a file of its own."""
    made = folder / content["run_id"]
    made.mkdir()
    write_json(made / "RunLog.json", {**content, "steps": {}, "parameters": {}})
    for number, record in enumerate(records_of(content["steps"])):
        kind, inside = ("StepLog", "branches") if "name" in record else ("BranchLog", "steps")
        file = f"{kind}-{encode(record['internal_name'])}-{1706852981689005000 + number}.json"
        write_json(made / file, {**record, inside: {}})
    for key, value in content["parameters"].items():
        write_json(made / f"Parameter-{encode(key)}.json", {key: value})


def write_own_folder(folder, content):
    chunkstore.open_store("chunked-fs", log_folder=folder).add_run_log(as_log(content))


def write_own_document(folder, content):
    chunkstore.open_store("file-system", log_folder=folder).add_run_log(as_log(content))


LAYOUTS = {
    "document": write_document,
    "folder of 2025": write_folder_of_2025,
    "folder of 2024": write_folder_of_2024,
    "own folder": write_own_folder,
    "own document": write_own_document,
}


def as_log(content):
    """Return a run as chunkstore has it, from JSON that knows no NaN."""
    return RunLog.from_json(json.dumps(_marked(content)))


def _marked(value):
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, list):
        return [_marked(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {("$$float" if list(value) == ["$float"] else key): _marked(item) for key, item in value.items()}


def without_branches(steps):
    return {name: {**each, "branches": {}} for name, each in steps.items()}


def records_of(steps):
    """Yield all steps and branches, outer ones first."""
    for each in steps.values():
        yield each
        for inner in each["branches"].values():
            yield inner
            yield from records_of(inner["steps"])


# --- comparing -------------------------------------------------------------------------------------------------------

#: What a field that the source does not have may be.
_DEFAULTS = ("", None, False, "FAIL", "task", 1, [], {})


def assert_nothing_is_lost(store, content):
    """The store holds a run as it stands in a document of Python's `json`, and adds nothing but its notes."""
    found = store.get_run_log(content["run_id"], strict=True)
    assert not found.problems
    shown = found.to_dict()
    notes = shown["run_config"].pop("chunkstore")
    assert notes["format"] == 1
    assert_same(content, shown)
    again = RunLog.from_json(store.get_run_json(content["run_id"])).to_dict()
    del again["run_config"]["chunkstore"]
    assert_same(content, again)


def assert_same(expected, found, path=""):
    if isinstance(expected, dict):
        assert isinstance(found, dict), path
        for key, value in expected.items():
            assert key in found, f"{path}.{key} is lost"
            assert_same(value, found[key], f"{path}.{key}")
        for key in found.keys() - expected.keys():
            assert found[key] in _DEFAULTS, f"{path}.{key} is new: {found[key]!r}"
        if path.endswith((".steps", ".branches")):
            assert list(found) == list(expected), f"the order of {path}"
    elif isinstance(expected, list):
        assert isinstance(found, list), path
        assert len(found) == len(expected), path
        for index, (one, other) in enumerate(zip(expected, found, strict=True)):
            assert_same(one, other, f"{path}[{index}]")
    else:
        assert repr(found) == repr(expected), path


def snapshot(folder):
    """Return all that is in a folder: names, bytes and times."""
    found = {}
    for path in sorted([Path(folder), *Path(folder).rglob("*")]):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        found[str(path)] = content, status.st_mtime_ns, status.st_mode, status.st_ino
    return found
