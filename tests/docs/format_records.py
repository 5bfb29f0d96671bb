"""Names, bytes and records, as `docs/reference/format.md` has them; the first half of the reader."""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
import zlib

# --- names -----------------------------------------------------------------------------------------------------------

_CHUNK = re.compile(r"(StepLog|BranchLog|StepUpdate|BranchUpdate|Metric)-(.+)-([0-9]{1,19})\.(jsonl?)\Z", re.DOTALL)
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


#: What an attempt to read ends in, if the bytes are no record.
UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError)


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


def sum_of(file, data):
    content = data if file.startswith("Metric-") else body_of(data)
    return zlib.crc32(file.encode() + b"\n" + content)


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

#: Each field of a record: its name, its kind, and its default as JSON; without one it is needed, with `-` left out.
_TABLE = """
RunLog run_id:text dag_hash:text?="" use_cached:bool=false tag:text?="" original_run_id:text?="" status:text="FAIL"
  steps:StepLog{}={} parameters:values={} run_config:values={} job:JobLog?=- orphans:any=- problems:any=-
StepLog name:text internal_name:text status:text="FAIL" step_type:text="task" message:text="" mock:bool=false
  code_identities:CodeIdentity[]=[] attempts:StepAttempt[]=[] user_defined_metrics:values={} branches:BranchLog{}={}
  data_catalog:DataCatalog[]=[] metric_series:points=- result:any=- input_hash:text=- cached_from:text=-
  planned_branches:integer=- inside:text=- inside_attempt:integer=- reused_at:text=- argument_hashes:values=-
  result_types:any=- counted_attempt:integer=- returned:values=- late:text=-
  began_late:bool=-
BranchLog internal_name:text status:text="FAIL" steps:StepLog{}={} parameters:values={} item:any=- cached_from:text=-
  message:text=- attempt:integer=- attempts:StepAttempt[]=- counted_attempt:integer=- late:text=-
  began_late:bool=-
StepAttempt attempt_number:integer=1 start_time:text="" end_time:text="" duration:text="" status:text="FAIL"
  message:text="" parameters:values={} input_parameters:values=- output_parameters:values=-
  user_defined_metrics:values=- retry_indicator:text=- code_identities:CodeIdentity[]=- metrics:values=-
  metric_series:points=- data_catalog:DataCatalog[]=- result:any=- host:text=- pid:integer=- start:text=-
  job:text=-
CodeIdentity code_identifier:text?="" code_identifier_type:text?="" code_identifier_dependable:bool?=false
  code_identifier_url:text?="" code_identifier_message:text?=""
DataCatalog name:text data_hash:text="" catalog_relative_path:text="" catalog_handler_location:text="" stage:text=""
JobLog status:text="FAIL" message:text="" mock:bool=false code_identities:CodeIdentity[]=[] attempts:StepAttempt[]=[]
  data_catalog:DataCatalog[]=[]
Parameters branch:text="" parameters:values={}
Orphans steps:StepLog{}={} branches:BranchLog{}={} parameters:any={}
"""
RECORDS = {
    name: [re.fullmatch(r"(\w+):([^=]+)(?:=(.*))?", field).groups() for field in fields]
    for name, *fields in (line.split() for line in _TABLE.replace("\n  ", " ").strip().splitlines())
}


def record(fields, name):
    """Return a record with its defaults, and with the values of users in it as they are."""
    found, unknown = {}, dict(fields)
    for field, kind, default in RECORDS[name]:
        if field in fields:
            found[field] = _read(unknown.pop(field), kind)
        elif default is None:
            raise ValueError("a field is missing")
        elif default != "-":
            found[field] = json.loads(default)
    return {**found, **{field: revived(value) for field, value in unknown.items()}}


def _read(value, kind):
    if kind.endswith("?"):
        return None if value is None else _read(value, kind[:-1])
    if kind.endswith("[]"):
        return [record(inner, kind[:-2]) for inner in value]
    if kind.endswith("{}"):
        return {key: record(inner, kind[:-2]) for key, inner in value.items()}
    return record(value, kind) if kind in RECORDS else _KINDS[kind](value)


def _only(kind):
    def checked(value):
        if type(value) is not kind:
            raise TypeError("another type")
        return value

    return checked


def point_of(point):
    step, value, *rest = point
    return [step, revived(value), *(rest or [""])]


_KINDS = {
    "text": _only(str),
    "bool": _only(bool),
    "integer": _only(int),
    "any": revived,
    "values": lambda fields: {key: revived(value) for key, value in fields.items()},
    "points": lambda series: {key: [point_of(point) for point in points] for key, points in series.items()},
}


def counted_attempt(step):
    """Return which attempt of a step counts, counted from 1."""
    noted, places = step.get("counted_attempt"), range(0 if "name" not in step else 1, len(step["attempts"]) + 1)
    if noted in places:
        return noted
    succeeded = [place for place, attempt in enumerate(step["attempts"], 1) if attempt["status"] == "SUCCESS"]
    return succeeded[-1] if succeeded else len(step["attempts"])


def check_change(change):
    if not change.keys() <= {"set", "keys", "removed", "items", "append", "own"}:
        raise ValueError("a change that is not known")
    for inner in [*change.get("keys", {}).values(), *change.get("items", {}).values()]:
        check_change(inner)


def apply(change, base):
    base = change.get("own", base)
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
