"""A reader of runs, written from `docs/reference/format.md` alone, with nothing but the standard library.

It says what the page says, in the order of the page. Where it had to know more than that, the page was mended.
"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

from format_records import (
    RECORDS,
    UNREADABLE,
    apply,
    check_change,
    counted_attempt,
    decoded,
    encoded,
    has_checksum,
    is_early,
    parameter_file,
    parsed,
    point_of,
    record,
)
from format_starts import joined

_PACKED = re.compile(r"(Journal-[0-9]{1,19}|Sealed)-([0-9]{1,19})\.jsonl\Z")

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

    def tried(self, file, read):
        """Return what `read` makes of a chunk; None if that cannot be read."""
        try:
            return read(self.load(file), file)
        except UNREADABLE:
            self.problems.append(file)
            return None

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
            except UNREADABLE:
                self.problems.append(file)


# --- reading a run ---------------------------------------------------------------------------------------------------


def take_apart(steps, parameters):
    for step in steps.values():
        yield from take_step_apart(step, parameters)


def take_step_apart(step, parameters):
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
        run = record(decoded(regular_bytes(f"{folder}/RunLog.json")), "RunLog")
    except UNREADABLE:
        run = None
    chunks = Chunks(folder)
    if run is None and "RunLog.json" not in os.listdir(folder) and "RunLog.json" in chunks.names():
        run = record(chunks.load("RunLog.json"), "RunLog")
    if run is None or run["run_id"] != os.path.basename(folder):
        chunks.problems.append("RunLog.json")
        run = record({"run_id": os.path.basename(folder), "status": "UNKNOWN"}, "RunLog")
    ordered = sorted((found[2], file, found) for file in chunks.names() if (found := parsed(file)))
    ordered.sort(key=lambda chunk: is_early(chunk[0]))
    changes = _changes(chunks, ordered)
    parameters = {"": run["parameters"]}
    found = [((kind, part["internal_name"]), part) for kind, part in take_apart(run["steps"], parameters)]
    origins = {}
    for _, file, (kind, _, _) in ordered:
        if kind in ("StepLog", "BranchLog"):
            whole = chunks.tried(file, lambda fields, file: _record(apply(changes.get(file, {}), fields), file))
            take = take_branch_apart if kind == "BranchLog" else take_step_apart
            for part_kind, part in take(whole, parameters) if whole else ():
                found.append(((part_kind, part["internal_name"]), part))
                origins[id(part)] = file
    counting, starts = joined(found)
    _add_metrics(chunks, ordered, starts, origins)
    records = {key: starts.shown(key, part) for key, part in counting}
    tell_late(run, records, {key: changes.get(origins.get(id(part)), {}) for key, part in counting})
    for file in sorted(chunks.names()):
        if file.startswith("Parameter-") and file.endswith(".json"):
            parameters.update(chunks.tried(file, _parameters) or {})
    return assembled(run, records, parameters), chunks.problems


def _record(fields, file):
    kind, name, _ = parsed(file)
    found = record(fields, kind)
    internal_name = found["internal_name"]
    last = internal_name.rpartition(".")[2]
    unescaped = last.replace("%2E", ".").replace("%25", "%")
    if name != internal_name and name not in map(encoded, (internal_name, last, unescaped)):
        raise ValueError("the file of another record")
    return found


def _parameters(fields, file):
    found = record(fields, "Parameters")
    if parameter_file(found["branch"]) != file:
        raise ValueError("the file of another branch")
    return {found["branch"]: found["parameters"]}


def _changes(chunks, ordered):
    changes = {}
    for _, file, (kind, _, _) in ordered:
        if kind in ("StepUpdate", "BranchUpdate"):
            changes.update(chunks.tried(file, _change) or {})
    return changes


def _change(update, file):
    kind, _, nanoseconds = parsed(file)
    over = parsed(update["over"])
    is_its_kind = over is not None and over[0] == kind.replace("Update", "Log") and over[2] == nanoseconds
    if not is_its_kind or file != f"{kind}-{encoded(update['internal_name'])}-{nanoseconds}.json":
        raise ValueError("not the file for what it changes")
    check_change(update["change"])
    return {update["over"]: update["change"]}


def _add_metrics(chunks, ordered, starts, origins):
    own = {}
    for _, file, (kind, _, _) in ordered:
        if kind != "Metric":
            continue
        for line in chunks.lines(file):
            key = "StepLog", line["internal_name"]
            if key not in starts.by_key:
                chunks.problems.append(file)
                break
            for step in starts.by_key[key]:
                if line.get("over", "") in (origins.get(id(step)), "" if step is starts.counting(key) else None):
                    add_points(step, line, own)


def add_points(step, line, own):
    attempt = line.get("attempt", 0)
    is_left = 0 < attempt <= len(step["attempts"]) and attempt != counted_attempt(step)
    whose, kind = (step["attempts"][attempt - 1], "StepAttempt") if is_left else (step, "StepLog")
    known = own.setdefault(id(whose), whose.get("metric_series", {}))
    series = dict(whose.get("metric_series", {}))
    for metric, new in line["points"].items():
        added = [point for point in map(point_of, new) if point not in known.get(metric, [])]
        series[metric] = series.get(metric, []) + added
    if series:
        set_fields(whose, kind, metric_series=series)


def set_fields(whose, kind, **new):
    """Set fields of a record; all are in the order of the page afterwards."""
    fields = {**whose, **new}
    whose.clear()
    order = [*(name for name, *_ in RECORDS[kind]), *fields]
    whose.update({name: fields[name] for name in order if name in fields})


# --- what still ran at the end ---------------------------------------------------------------------------------------


def tell_late(run, records, changes):
    """Have records say what they were when the run ended, and what became of them later."""
    notes = run["run_config"].get("chunkstore", {})
    left = notes.get("left_running", {})
    known, began = left.get("records", {}), set()
    why = f": interrupted: {left['reason']}" if left.get("reason") else ""
    for key, found in records.items():
        name, keys = found["internal_name"], changes.get(key, {}).get("keys", {})
        starts = [name[: dot.start()] for dot in reversed([*re.finditer(r"\.", name)])]
        nearest = next((known[outer] for outer in (found.get("inside", ""), *starts) if outer in known), None)
        has_begun_late = found.get("inside", "") in began or (nearest is not None and name not in nearest)
        if "late" in found or "set" in keys.get("status", {}) or (name not in known and not has_begun_late):
            continue
        late = "UNKNOWN" if found["status"] == "PROCESSING" else found["status"]
        message = "still ran when the run ended" if name in known else "began after the run had ended"
        message += f"{why}; it may have ended later" if late == "UNKNOWN" else f"{why}; it ended later: {late}"
        set_fields(found, key[0], status="FAIL", late=late)
        if name not in known:
            set_fields(found, key[0], began_late=True)
            began.add(name)
        if "set" not in keys.get("message", {}):
            set_fields(found, key[0], message=message)
        for attempt in found.get("attempts", []):
            if attempt["status"] == "PROCESSING":
                attempt.update(status="FAIL", message=message, end_time=notes.get("finished", ""))


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
    orphans = record(fields.pop("orphans", {}), "Orphans")
    run = record(fields, "RunLog")
    parameters = {"": run["parameters"]}
    found = [*take_apart(run["steps"], parameters), *take_apart(orphans["steps"], parameters)]
    for branch in orphans["branches"].values():
        found += take_branch_apart(branch, parameters)
    parameters |= orphans["parameters"]
    everything, stamps, changes = [], {}, {}
    for kind, part in found:
        key = kind, part["internal_name"]
        for start in notes.get("starts", {}).get(" ".join(key), []):
            everything.append((key, record(start["record"], kind)))
            stamps[id(everything[-1][1])], changes[id(everything[-1][1])] = start["stamp"], start.get("change") or {}
        everything.append((key, part))
        stamps[id(part)] = notes.get("owners", {}).get(" ".join(key), "first")
        changes[id(part)] = notes.get("changes", {}).get(" ".join(key), {})
    counting, starts = joined(everything)
    own = {}
    for line in notes.get("metrics", []):
        key = "StepLog", line["internal_name"]
        for step in starts.by_key.get(key, ()):
            if line.get("over", "") in (stamps[id(step)], "" if step is starts.counting(key) else None):
                add_points(step, line, own)
    records = {key: starts.shown(key, part) for key, part in counting}
    tell_late(run, records, {key: changes[id(part)] for key, part in counting})
    return assembled(run, records, parameters)
