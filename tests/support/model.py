"""What a store holds, as plain dicts: the model of the state machine."""

import json

from chunkstore.names import RUN_FILE, is_parameter_file, parse_chunk_file
from chunkstore.records.assemble import flatten
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import StepLog

BRANCH, STEP, PARAMETERS = "branch", "step", "parameters"
#: The key of the run's own record.
RUN_RECORD = ("run", "")


class Record:
    """One step or branch as it counts: what its owner wrote, and what others changed since."""

    def __init__(self, owner, fields):
        self.owner = owner
        self.fields = fields  # "status" and "metric.<key>"
        self.changed = {}
        self.removed = set()
        self.points = []

    def visible(self):
        seen = {key: self.changed.get(key, value) for key, value in self.fields.items() if key not in self.removed}
        seen.update({key: value for key, value in self.changed.items() if key not in self.fields})
        return seen

    def change(self, key, value):
        seen = self.visible()
        if key in seen and repr(seen[key]) == repr(value):
            return
        self.removed.discard(key)
        self.changed[key] = value

    def remove(self, key):
        if key in self.visible():
            self.changed.pop(key, None)
            self.removed.add(key)


class Run:
    def __init__(self, tag):
        self.tag = tag
        self.status = "PROCESSING"
        self.parameters = {}
        self.records = {}  # by kind and name, in order of execution
        self.former_owners = {}

    def add(self, key, handle, fields):
        record = self.records.get(key)
        owners = self.former_owners.setdefault(key, set())
        if record is not None and record.owner == handle:
            record.fields = fields
        elif handle not in owners:  # what a former owner writes does not count
            owners.add(handle)
            self.records.pop(key, None)
            self.records[key] = Record(handle, fields)

    def append(self, key, handle, value):
        record = self.records.get(key)
        if record is None or record.owner != handle:
            return None
        point = MetricPoint(len(record.points), value, "")
        record.points.append(point)
        return point


def split(fields):
    """Return the status and the metrics that a model's fields stand for."""
    metrics = {key.removeprefix("metric."): value for key, value in fields.items() if key != "status"}
    return fields["status"], metrics


def canonical(metrics):
    """Return metrics in a form that is equal for equal ones alone, whatever the order of their keys."""
    return repr(sorted(metrics.items()))


def held_in(file, data):
    """Return what a file of a run holds: the key of a record, of a scope of parameters, or of the run's own record."""
    if file == RUN_FILE:
        return RUN_RECORD
    first_line = json.loads(data.partition(b"\n")[0])
    if is_parameter_file(file):
        return PARAMETERS, first_line["branch"]
    kind = parse_chunk_file(file).kind
    return (BRANCH if kind.startswith("Branch") else STEP), first_line["internal_name"]


def flat(log):
    """Return the records of a log by their keys, those without a place too, and its parameters by scope."""
    records, parameters = flatten(log)
    keyed = {(STEP if isinstance(record, StepLog) else BRANCH, record.internal_name): record for record in records}
    return keyed, parameters
