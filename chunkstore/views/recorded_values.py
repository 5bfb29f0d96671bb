"""Values that runs hold, as people and comparisons want them: parameters, metrics, and whether two are the same."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import UNSET, UnsetType

from chunkstore.records import codec
from chunkstore.records.attempts import counting_attempt
from chunkstore.records.models import BranchLog, CodeIdentity, DataCatalog, JobLog, RunLog, StepLog
from chunkstore.views.durations import run_duration, step_duration
from chunkstore.views.texts import cut

#: Longer values are cut where they are shown in a line.
MOST_CHARACTERS = 48
#: The catalog keeps what a step printed under a name that ends so.
OUTPUT_SUFFIX = ".execution.log"
GIT = "git"
#: Enough of a hash to tell it from others.
_SHORT_HASH = 12
#: Of values that differ, objects in more objects are shown whole.
_DEEPEST_PART = 3
#: What a map or parallel says of itself if branches failed.
_BRANCHES_FAILED = re.compile(r"[\d,]+ of [\d,]+ branches of .* failed: ", re.DOTALL)
#: `runnable` keeps a value together with one of these kinds, and may describe it.
_KINDS = ("json", "metric", "object")
_FIELDS_OF_KINDS = {"kind", "value", "description"}
#: Here `runnable` notes in a run's configuration which store it uses; every run of it does.
_RUNNABLE_STORE = "run_log_store"


def is_of_runnable(log: RunLog) -> bool:
    """Tell whether `runnable` recorded a run: then its parameters, and those of its branches, stand with their kinds.

    chunkstore notes something on each run that it records, and on what it imports of other tools that it is imported.
    """
    config = log.run_config.get(_RUNNABLE_STORE)
    return not log.notes or "imported" in log.notes or (isinstance(config, dict) and "service_name" in config)


def parameters_in(log: RunLog, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters of a run or of one of its branches as their author gave them."""
    return unwrapped_all(values) if is_of_runnable(log) else dict(values)


def is_wrapped(value: Any) -> bool:
    """Tell whether a value looks like one that `runnable` wrote with its kind; an author's own may, too."""
    return (
        isinstance(value, dict)
        and value.get("kind") in _KINDS
        and "value" in value
        and value.keys() <= _FIELDS_OF_KINDS
    )


def unwrapped(value: Any) -> Any:
    """Return a value that `runnable` wrote without its kind."""
    return value["value"] if is_wrapped(value) else value


def unwrapped_all(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by name, each without its kind."""
    return {name: unwrapped(value) for name, value in values.items()}


def steps_of(log: RunLog) -> dict[str, StepLog]:
    """Return the steps of a run; a job is taken for a step."""
    if not isinstance(log.job, JobLog):
        return log.steps
    job = log.job
    step = StepLog(
        name="job",
        internal_name="job",
        status=job.status,
        message=job.message,
        mock=job.mock,
        code_identities=job.code_identities,
        attempts=job.attempts,
        data_catalog=job.data_catalog,
    )
    return {**log.steps, "job": step}


def failure_of(record: StepLog | BranchLog) -> str:
    """Return why a step or branch failed, unless it is that its branches did, which say so themselves."""
    message = "" if record.message is UNSET else record.message
    is_told_inside = isinstance(record, StepLog) and record.branches and _BRANCHES_FAILED.match(message.lstrip())
    return "" if is_told_inside else message


def metrics_of(step: StepLog | JobLog) -> dict[str, Any]:
    """Return the single metrics of a step by name; where they stand in attempts, as runnable's do, of what counts."""
    metrics = dict(step.user_defined_metrics) if isinstance(step, StepLog) else {}
    counting = counting_attempt(step)
    if counting is not None and counting.user_defined_metrics is not UNSET:
        metrics.update(unwrapped_all(counting.user_defined_metrics))
    return metrics


def parameters_of(step: StepLog) -> dict[str, Any]:
    """Return what the attempt of a step that counts was called with, as far as that was recorded."""
    counting = counting_attempt(step)
    if counting is None:
        return {}
    given = {} if counting.input_parameters is UNSET else unwrapped_all(counting.input_parameters)  # runnable's
    return {**given, **counting.parameters}


def outputs_of(step: StepLog) -> dict[str, Any]:
    """Return what the attempt of a step of `runnable` that counts returned, by name."""
    counting = counting_attempt(step)
    outputs = counting.output_parameters if counting else UNSET
    return {} if outputs is UNSET else unwrapped_all(outputs)


def run_seconds(log: RunLog) -> float | None:
    """Return how long a run took, as it was noted; None if that is not known."""
    duration = run_duration(log)
    return duration.total_seconds() if duration is not None else None


def step_seconds(step: StepLog) -> float | None:
    """Return how long a step took, with all its attempts; None if that is not known."""
    duration = step_duration(step)
    return duration.total_seconds() if duration is not None else None


def code_of(step: StepLog) -> list[CodeIdentity]:
    """Return which code a step ran; where that stands in an attempt, what the one that counts says."""
    counting = counting_attempt(step)
    if step.code_identities or counting is None or counting.code_identities is UNSET:
        return step.code_identities
    return counting.code_identities


def version_of(identity: CodeIdentity) -> str:
    """Return what tells a version of the code from others: a commit with the hash of its changes, or a hash."""
    changes = identity.code_identifier_message if identity.code_identifier_type == GIT else ""
    return " with ".join(filter(None, [identity.code_identifier, changes]))


def short_version(version: str) -> str:
    """Return the version of some code with its hashes cut."""
    return " ".join(_short_word(word) for word in version.split())


def _short_word(word: str) -> str:
    algorithm, colon, digits = word.rpartition(":")
    return f"{algorithm}{colon}{short_hash(digits)}"


def short_hash(digest: str) -> str:
    """Return enough of a hash to tell it from others; other words as they are."""
    is_hash = len(digest) > 2 * _SHORT_HASH and all(char in "0123456789abcdefABCDEF" for char in digest)
    return digest[:_SHORT_HASH] if is_hash else digest


def are_comparable(one: str | UnsetType, other: str | UnsetType) -> bool:
    """Tell whether two hashes were computed in the same way, which stands before their colons."""
    return UNSET not in (one, other) and str(one).rpartition(":")[0] == str(other).rpartition(":")[0]


def is_output(entry: DataCatalog) -> bool:
    """Tell whether data is what a step printed, and not what it put."""
    return "/" not in entry.name and entry.name.endswith(OUTPUT_SUFFIX)


def is_number(value: Any) -> bool:
    """Tell whether a value is a number, which True and False are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two recorded values are the same, at any depth: 1 and 1.0 are, NaN and NaN too; True is not 1."""
    if one is other:
        return True
    if is_number(one) and is_number(other):
        return bool(one == other) or (one != one and other != other)  # noqa: PLR0124 - NaN alone is not itself
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(value, other[name]) for name, value in one.items())
    return bool(one == other)


def differing_parts(old: Any, new: Any, path: str = "", depth: int = _DEEPEST_PART) -> Iterator[tuple[str, Any, Any]]:
    """Yield where two values differ: the keys of objects, joined with dots, and what stands there in each.

    Args:
        old: a value, or UNSET.
        new: another one.
        path: what stands before the keys.
        depth: how many objects in objects are looked into.
    """
    if depth and isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            before, after = old.get(key, UNSET), new.get(key, UNSET)
            if not is_same(before, after):
                yield from differing_parts(before, after, f"{path}.{key}" if path else key, depth - 1)
    else:
        yield path, old, new


def value_text(value: Any, most: int | None = MOST_CHARACTERS) -> str:
    """Return a value as a line of text, which is its JSON, cut after some characters; nothing for no value.

    Args:
        value: a recorded value, or UNSET.
        most: characters of the longest text; None for no limit.
    """
    if value is UNSET:
        return ""
    text = str(value) if isinstance(value, float) else codec.json_text(codec.plain(value), is_sorted=True)
    return text if most is None else cut(text, most)


def number_text(value: Any) -> str:
    """Return a metric as a short line of text: six digits of a number."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return value_text(value)
