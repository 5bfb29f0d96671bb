"""Values that runs hold, as people and comparisons want them: parameters, metrics, and whether two are the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from chunkstore.records import codec
from chunkstore.records.models import CodeIdentity, DataCatalog, JobLog, RunLog, StepLog
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
#: `runnable` keeps a value together with its kind.
_WITH_KIND = {"kind", "value"}


def unwrapped(value: Any) -> Any:
    """Return a value without the kind that `runnable` writes beside it."""
    return value["value"] if isinstance(value, dict) and value.keys() == _WITH_KIND else value


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


def metrics_of(step: StepLog) -> dict[str, Any]:
    """Return the single metrics of a step by name; where they stand in an attempt, those of the last one."""
    metrics = unwrapped_all(step.user_defined_metrics)
    if step.attempts and step.attempts[-1].user_defined_metrics is not UNSET:
        metrics.update(unwrapped_all(step.attempts[-1].user_defined_metrics))
    return metrics


def parameters_of(step: StepLog) -> dict[str, Any]:
    """Return what the last attempt of a step was called with, as far as that was recorded."""
    if not step.attempts:
        return {}
    last = step.attempts[-1]
    given = {} if last.input_parameters is UNSET else last.input_parameters
    return unwrapped_all({**given, **last.parameters})


def run_seconds(log: RunLog) -> float | None:
    """Return how long a run took, as it was noted; None if that is not known."""
    duration = run_duration(log)
    return duration.total_seconds() if duration is not None else None


def step_seconds(step: StepLog) -> float | None:
    """Return how long a step took, with all its attempts; None if that is not known."""
    duration = step_duration(step)
    return duration.total_seconds() if duration is not None else None


def code_of(step: StepLog) -> list[CodeIdentity]:
    """Return which code a step ran; where that stands in an attempt, what the last one says."""
    if step.code_identities or not step.attempts or step.attempts[-1].code_identities is UNSET:
        return step.code_identities
    return step.attempts[-1].code_identities


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
    """Tell whether two recorded values are the same; NaN is the same as NaN, and True is not 1."""
    if one is other:
        return True
    if isinstance(one, bool) or isinstance(other, bool):
        return False
    if is_number(one) and is_number(other):
        return bool(one == other) or (one != one and other != other)  # noqa: PLR0124 - NaN alone is not itself
    if type(one) is not type(other):
        return False
    return bool(one == other) if isinstance(one, str) else _as_json(one) == _as_json(other)


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


def _as_json(value: Any) -> bytes:
    return msgspec.json.encode(codec.plain(value), order="sorted")


def value_text(value: Any, most: int | None = MOST_CHARACTERS) -> str:
    """Return a value as a line of text, which is its JSON, cut after some characters; nothing for no value.

    Args:
        value: a recorded value, or UNSET.
        most: characters of the longest text; None for no limit.
    """
    if value is UNSET:
        return ""
    text = str(value) if isinstance(value, float) else _as_json(value).decode()
    return text if most is None else cut(text, most)


def number_text(value: Any) -> str:
    """Return a metric as a short line of text: six digits of a number."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.6g}"
    return value_text(value)
