"""A reader of runs, written from `docs/reference/format.md` alone, with nothing but the standard library.

It says what the page says, in the order of the page. Where it had to know more than that, the page was mended.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
import time
import zlib
from pathlib import Path

# --- names -----------------------------------------------------------------------------------------------------------

_CHUNK = re.compile(r"(StepLog|BranchLog|StepUpdate|BranchUpdate|Metric)-(.+)-([0-9]{1,19})\.(jsonl?)\Z", re.DOTALL)
_PACKED = re.compile(r"(Journal-[0-9]{1,19}|Sealed)-([0-9]{1,19})\.jsonl\Z")
_END_OF_TIME = 9_000_000_000_000_000_000
_BEYOND_REASON = 6 * 365 * 86_400 * 10**9


def encoded(name):
    result = re.sub(r"""[\x00-\x1f\x7f/\\:*?"<>|]|[^\x00-\x7f]""", _percent, name)
    result = re.sub(r"^[. ]|[. ]\Z", _percent, result)
    if len(result) <= 200 and not re.search(r"%(?!2E|25)|^[. ]|[. ]\Z|~[0-9a-f]{16}\Z", name):
        return result
    return f"{result[:183]}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _percent(match):
    return "".join(f"%{byte:02X}" for byte in match.group().encode())


def parameter_file(branch):
    if not branch:
        return "Parameter-root.json"
    return "Parameter-%72oot.json" if encoded(branch) == "root" else f"Parameter-{encoded(branch)}.json"


def parsed(file):
    """Return the kind, encoded name and time of a chunk; None if the name is none of a chunk."""
    match = _CHUNK.match(file)
    if match is None or (match[1] == "Metric") != (match[4] == "jsonl") or int(match[3]) >= _END_OF_TIME:
        return None
    return match[1], match[2], int(match[3])


def is_early(nanoseconds):
    return nanoseconds <= time.time_ns() + _BEYOND_REASON


# --- bytes -----------------------------------------------------------------------------------------------------------


def checksum(data):
    return f"{zlib.crc32(data):032b}\n".replace("0", " ").replace("1", "\t").encode()


def has_checksum(data):
    return data[-33:] == checksum(data[:-33])


def body_of(data):
    if has_checksum(data):
        return data[:-33]
    if data[-1:] == b"\n" and len(data) >= 33 and not data[-33:-1].strip(b" \t\r"):
        raise ValueError("changed after it was written")
    return data


def decoded(data):
    found = json.loads(body_of(data).decode())
    if not isinstance(found, dict):
        raise TypeError("no object")
    return found


_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def is_marked(value):
    return isinstance(value, dict) and len(value) == 1 and re.fullmatch(r"\$+float", next(iter(value))) is not None


def revived(value):
    """Return a value of a user with its floats."""
    if is_marked(value):
        ((key, inner),) = value.items()
        if key == "$float":
            is_text = isinstance(inner, str) and inner in _FLOATS
            return _FLOATS[inner] if is_text else {key: revived(inner)}
        return {key[1:]: revived(inner)}
    if isinstance(value, dict):
        return {key: revived(inner) for key, inner in value.items()}
    return [revived(inner) for inner in value] if isinstance(value, list) else value


# --- records ---------------------------------------------------------------------------------------------------------

#: What a field without a default has, and one that is left out where it is not set.
_NEEDED, _UNSET = object(), object()


def _fields(needed, defaults, left_out=()):
    return {**dict.fromkeys(needed, _NEEDED), **defaults, **dict.fromkeys(left_out, _UNSET)}


_CODE = dict.fromkeys(["code_identifier", "code_identifier_type"], "")
_CODE |= {"code_identifier_dependable": False, "code_identifier_url": "", "code_identifier_message": ""}
_DATA = dict.fromkeys(["data_hash", "catalog_relative_path", "catalog_handler_location", "stage"], "")
_DATA = _fields(["name"], _DATA)
_ATTEMPT = {"attempt_number": 1, "start_time": "", "end_time": "", "duration": "", "status": "FAIL", "message": ""}
_ATTEMPT = _fields(
    [],
    {**_ATTEMPT, "parameters": {}},
    ["input_parameters", "output_parameters", "user_defined_metrics", "retry_indicator", "code_identities"],
)
_JOB = {"status": "FAIL", "message": "", "mock": False, "code_identities": [], "attempts": [], "data_catalog": []}
_STEP = {"status": "FAIL", "step_type": "task", "message": "", "mock": False, "code_identities": [], "attempts": []}
_STEP = _fields(
    ["name", "internal_name"],
    {**_STEP, "user_defined_metrics": {}, "branches": {}, "data_catalog": []},
    ["metric_series", "result", "input_hash", "cached_from", "planned_branches"],
)
_BRANCH = {"status": "FAIL", "steps": {}, "parameters": {}}
_BRANCH = _fields(["internal_name"], _BRANCH, ["item", "cached_from", "message"])
_RUN = {"dag_hash": "", "use_cached": False, "tag": "", "original_run_id": "", "status": "FAIL"}
_RUN = _fields(["run_id"], {**_RUN, "steps": {}, "parameters": {}, "run_config": {}}, ["job", "orphans", "problems"])

#: Objects of which each value is one of a user; fields that are one as a whole; and those that hold records.
_OBJECTS = {"parameters", "run_config", "user_defined_metrics", "input_parameters", "output_parameters"}
_VALUES = {"result", "item"}
_LISTS = {"code_identities": _CODE, "attempts": _ATTEMPT, "data_catalog": _DATA}
_NAMED = {"steps": _STEP, "branches": _BRANCH}


def record(fields, known):
    """Return a record with its defaults, and with the values of users in it as they are."""
    found = {**known, **fields}
    if _NEEDED in found.values():
        raise ValueError("a field is missing")
    return {name: _field(name, value, known) for name, value in found.items() if value is not _UNSET}


def _field(name, value, known):
    if name not in known or name in _VALUES:
        return revived(value)
    if name in _OBJECTS:
        return {key: revived(inner) for key, inner in value.items()}
    if name in _LISTS:
        return [record(inner, _LISTS[name]) for inner in value]
    if name in _NAMED:
        return {key: record(inner, _NAMED[name]) for key, inner in value.items()}
    if name == "metric_series":
        return {key: [_point(point) for point in points] for key, points in value.items()}
    return record(value, _JOB) if name == "job" and value is not None else value


def _point(point):
    step, value, *rest = point
    return [step, revived(value), *(rest or [""])]


def check_change(change):
    if not change.keys() <= {"set", "keys", "removed", "items", "append"}:
        raise ValueError("a change that is not known")
    for inner in [*change.get("keys", {}).values(), *change.get("items", {}).values()]:
        check_change(inner)


def apply(change, base):
    if "set" in change:
        return change["set"]
    keys, items = change.get("keys", {}), change.get("items", {})
    if isinstance(base, list):
        kept = [apply(items.get(str(index), {}), item) for index, item in enumerate(base)]
        return kept + change.get("append", [])
    if isinstance(base, dict) and not is_marked(base):
        removed = change.get("removed", [])
        merged = {key: apply(keys.get(key, {}), item) for key, item in base.items() if key not in removed}
        new = {key: inner["set"] for key, inner in keys.items() if key not in base and "set" in inner}
        return {**merged, **new}
    return base


# --- where the bytes of chunks are -----------------------------------------------------------------------------------


def regular_bytes(path):
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise ValueError("no regular file")
    return Path(path).read_bytes()


#: Where a line begins behind another one, whatever stands in the place of its line feed.
_BREAK = re.compile(rb'(?<=[ \t]{32}.)(?=\{"file":")', re.DOTALL)


def _add_line(chunks, file, fields):
    if not file.startswith("Metric-") or "form" in fields:
        chunks[file] = fields
    else:
        chunks.setdefault(file, []).append(fields["body"])


class Chunks:
    """The chunks of a folder, each where it counts."""

    def __init__(self, folder):
        self._folder = folder
        self.problems = []
        names = os.listdir(folder)
        self._loose = {name: name for name in names}
        for name in names:
            if name.startswith(".aside-"):
                self._loose.setdefault(name.removeprefix(".aside-"), name)
        self._packed = {}
        packed = [name for name in names if _PACKED.match(name)]
        # The last one that is put into the dict counts: sealed files before journals, and old ones before new ones.
        for name in sorted(packed, key=lambda name: (name.startswith("Journal-"), *self._age(name))):
            self._packed.update(self._lines(name))

    @staticmethod
    def _age(name):
        nanoseconds = int(_PACKED.match(name)[2])
        return is_early(nanoseconds), nanoseconds

    def _lines(self, packed):
        try:
            *lines, rest = regular_bytes(f"{self._folder}/{packed}").split(b"\n")
        except (OSError, ValueError):
            self.problems.append(packed)
            return {}
        chunks = {}
        for line in [*(line + b"\n" for line in lines), *([rest] if rest else [])]:
            for part in _BREAK.split(line):
                whole = part[:-1] + b"\n"  # should the last byte be another one, that alone was damaged
                if has_checksum(whole):
                    fields = json.loads(whole)
                    _add_line(chunks, fields["file"], fields)
                elif line.endswith(b"\n") or not (packed.startswith("Journal-") and line.startswith(b"{")):
                    self.problems.append(packed)
        return chunks

    def names(self):
        return {*self._loose, *self._packed}

    def load(self, file):
        """Return the object in a chunk."""
        if file in self._loose or file not in self._packed:
            return decoded(regular_bytes(f"{self._folder}/{self._loose.get(file, file)}"))
        line = self._packed[file]
        return json.loads(line.get("text", "")) if line.get("form") == "text" else line["body"]

    def lines(self, file):
        """Yield the objects of a file of lines."""
        if file not in self._loose and isinstance(self._packed[file], list):
            yield from self._packed[file]
            return
        if file in self._loose:
            data = regular_bytes(f"{self._folder}/{self._loose[file]}")
        else:
            data = self._packed[file].get("text", "").encode()
        *lines, rest = data.split(b"\n")
        if has_checksum(rest[:-1] + b"\n") or not rest.startswith(b"{"[: len(rest)]):
            self.problems.append(file)
        for line in lines:
            try:
                yield decoded(line + b"\n")
            except (ValueError, TypeError):
                self.problems.append(file)


# --- reading a run ---------------------------------------------------------------------------------------------------


def take_apart(steps, parameters):
    for step in steps.values():
        yield "StepLog", {**step, "branches": {}}
        for branch in step["branches"].values():
            yield from take_branch_apart(branch, parameters)


def take_branch_apart(branch, parameters):
    if branch["parameters"]:
        parameters[branch["internal_name"]] = branch["parameters"]
    yield "BranchLog", {**branch, "steps": {}, "parameters": {}}
    yield from take_apart(branch["steps"], parameters)


def read_run(folder):
    """Return the run in a folder as one object, and what could not be read."""
    try:
        run = record(decoded(regular_bytes(f"{folder}/RunLog.json")), _RUN)
    except (OSError, ValueError, TypeError):
        run = None
    chunks = Chunks(folder)
    if run is None and "RunLog.json" not in os.listdir(folder) and "RunLog.json" in chunks.names():
        run = record(chunks.load("RunLog.json"), _RUN)
    if run is None or run["run_id"] != os.path.basename(folder):
        chunks.problems.append("RunLog.json")
        run = record({"run_id": os.path.basename(folder), "status": "UNKNOWN"}, _RUN)
    ordered = sorted((found[2], file, found) for file in chunks.names() if (found := parsed(file)))
    ordered.sort(key=lambda chunk: is_early(chunk[0]))
    changes = _changes(chunks, ordered)
    parameters = {"": run["parameters"]}
    records = {(kind, found["internal_name"]): found for kind, found in take_apart(run["steps"], parameters)}
    origins = {}
    for _, file, (kind, name, _) in ordered:
        if kind in ("StepLog", "BranchLog"):
            try:
                whole = record(apply(changes.get(file, {}), chunks.load(file)), _STEP if kind == "StepLog" else _BRANCH)
                _check_name(name, whole["internal_name"])
            except (OSError, ValueError, TypeError):
                chunks.problems.append(file)
                continue
            parts = take_apart({"": whole}, parameters) if kind == "StepLog" else take_branch_apart(whole, parameters)
            for part_kind, part in parts:
                key = part_kind, part["internal_name"]
                records.pop(key, None)
                records[key], origins[key] = part, file
    _add_metrics(chunks, ordered, records, origins)
    for file in sorted(chunks.names()):
        if file.startswith("Parameter-") and file.endswith(".json"):
            try:
                parameters.update(_parameters(chunks.load(file), file))
            except (OSError, ValueError, TypeError):
                chunks.problems.append(file)
    return assembled(run, records, parameters), chunks.problems


def _check_name(name, internal_name):
    last = internal_name.rpartition(".")[2]
    unescaped = last.replace("%2E", ".").replace("%25", "%")
    if name != internal_name and name not in map(encoded, (internal_name, last, unescaped)):
        raise ValueError("the file of another record")


def _parameters(fields, file):
    branch = fields.get("branch", "")
    if parameter_file(branch) != file:
        raise ValueError("the file of another branch")
    return {branch: _field("parameters", fields.get("parameters", {}), _RUN)}


def _changes(chunks, ordered):
    changes = {}
    for _, file, (kind, _, nanoseconds) in ordered:
        if kind in ("StepUpdate", "BranchUpdate"):
            try:
                changes.update(_change(chunks.load(file), file, kind, nanoseconds))
            except (OSError, ValueError, TypeError, KeyError):
                chunks.problems.append(file)
    return changes


def _change(update, file, kind, nanoseconds):
    over = parsed(update["over"])
    is_its_kind = over is not None and over[0] == kind.replace("Update", "Log") and over[2] == nanoseconds
    if not is_its_kind or file != f"{kind}-{encoded(update['internal_name'])}-{nanoseconds}.json":
        raise ValueError("not the file for what it changes")
    check_change(update["change"])
    return {update["over"]: update["change"]}


def _add_metrics(chunks, ordered, records, origins):
    own = {}
    for _, file, (kind, _, _) in ordered:
        if kind != "Metric":
            continue
        for line in chunks.lines(file):
            key = "StepLog", line["internal_name"]
            if key not in origins:
                chunks.problems.append(file)
                break
            if line.get("over", "") in ("", origins[key]):
                add_points(records[key], line["points"], own.setdefault(key, records[key].get("metric_series", {})))


def add_points(step, points, own):
    series = dict(step.get("metric_series", {}))
    for metric, new in points.items():
        added = [point for point in map(_point, new) if point not in own.get(metric, [])]
        series[metric] = series.get(metric, []) + added
    if series:
        fields = {**step, "metric_series": series}
        step.clear()
        step.update({name: fields[name] for name in [*_STEP, *fields] if name in fields})


# --- assembling ------------------------------------------------------------------------------------------------------


def assembled(run, records, parameters):
    orphans = {"steps": {}, "branches": {}, "parameters": {}}
    steps = {name: found for (kind, name), found in records.items() if kind == "StepLog"}
    branches = {name: found for (kind, name), found in records.items() if kind == "BranchLog"}
    run["steps"] = {}
    for name, step in steps.items():
        parent = branch_of(step, branches)
        inside = orphans["steps"] if parent is None else branches[parent]["steps"] if parent else run["steps"]
        inside[name] = step
    for name, branch in branches.items():
        starts = [name[: match.start()] for match in re.finditer(r"\.", name) if name[: match.start()] in steps]
        (steps[starts[-1]]["branches"] if starts else orphans["branches"])[name] = branch
    run["parameters"] = parameters.pop("")
    for name, values in parameters.items():
        if name in branches:
            branches[name]["parameters"] = values
        elif values:
            orphans["parameters"][name] = values
    if any(orphans.values()):
        run["orphans"] = orphans
    return run


def branch_of(step, branches):
    internal_name, name = step["internal_name"], step["name"]
    parent, _, last = internal_name.rpartition(".")
    if not parent:
        return ""
    candidates = [parent] if last == name else []
    escaped = name.replace("%", "%25").replace(".", "%2E")
    candidates += [internal_name[: -len(end) - 1] for end in (name, escaped) if internal_name.endswith(f".{end}")]
    for candidate in [*candidates, parent]:
        if candidate in branches:
            return candidate
    return "" if internal_name in (name, escaped) else None


# --- documents -------------------------------------------------------------------------------------------------------


def read_document(path):
    """Return the run in a document as one object."""
    fields = decoded(regular_bytes(path))
    notes = fields.pop("bookkeeping", {})
    orphans = fields.pop("orphans", {})
    run = record(fields, _RUN)
    parameters = {"": run["parameters"]}
    found = [*take_apart(run["steps"], parameters)]
    found += take_apart(_field("steps", orphans.get("steps", {}), _RUN), parameters)
    for branch in _field("branches", orphans.get("branches", {}), _STEP).values():
        found += take_branch_apart(branch, parameters)
    parameters |= {name: _field("parameters", values, _RUN) for name, values in orphans.get("parameters", {}).items()}
    records = {(kind, part["internal_name"]): part for kind, part in found}
    own = {key: part.get("metric_series", {}) for key, part in records.items()}
    for line in notes.get("metrics", []):
        key = "StepLog", line["internal_name"]
        owner = notes.get("owners", {}).get(" ".join(key), "first")
        if key in records and line.get("over", "") in ("", owner):
            add_points(records[key], line["points"], own[key])
    return assembled(run, records, parameters)
