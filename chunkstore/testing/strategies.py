"""Hypothesis strategies for whatever a run log may hold."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from msgspec import UNSET

from chunkstore.names import join_name
from chunkstore.records.fields import MetricPoint
from chunkstore.records.models import BranchLog, CodeIdentity, DataCatalog, StepAttempt, StepLog

#: Names that look like something else: paths, patterns, names of files, encodings, shortened names.
HOSTILE_NAMES = (
    ".",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "a\0b",
    "a\nb",
    "C:",
    "CON",
    "-",
    "--help",
    "*",
    "s[1]",
    "a?b",
    "%",
    "%2E",
    "a%2Fb",
    "a.b",
    ".lock",
    ".tmp-1",
    "RunLog.json",
    "StepLog-a-1.json",
    "root",
    "a-1706852981689005000",
    "~0123456789abcdef",
    " leading",
    "trailing ",
    "trailing.",
    "é",
    "e\u0301",
    "\U0001f600",
    "\u202e",
    "x" * 300,
    "é" * 200,
    "%" * 250,
)

#: Any name of a step or branch.
names = st.one_of(st.sampled_from(HOSTILE_NAMES), st.text(min_size=1, max_size=30))

#: Integers of every size that can be recorded.
integers = st.one_of(st.integers(), st.integers(-(10**400), 10**400), st.sampled_from([2**53 + 1, 2**64, -(2**64)]))

#: Every float, also those that JSON lacks.
floats = st.floats(allow_nan=True, allow_infinity=True)

scalars = st.one_of(st.none(), st.booleans(), integers, floats, st.text(max_size=20))

#: Objects that look like the marks of floats that JSON lacks.
lookalikes = st.builds(
    lambda dollars, value: {f"{'$' * dollars}float": value},
    st.integers(0, 4),
    st.one_of(st.sampled_from(["NaN", "Infinity", "-Infinity", "x"]), scalars),
)

keys = st.one_of(st.text(max_size=10), st.sampled_from(["", "$float", "$$float", "$extra", "steps", "set", "keys"]))

#: Any value that JSON can hold, also empty containers.
json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(scalars, lookalikes),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=8,
)

#: What a field of users holds.
json_objects = st.dictionaries(keys, json_values, max_size=4)

_statuses = st.sampled_from(["SUCCESS", "FAIL", "PROCESSING", ""])
_texts = st.text(max_size=20)

code_identities = st.builds(
    CodeIdentity,
    code_identifier=st.none() | _texts,
    code_identifier_type=st.none() | _texts,
    code_identifier_dependable=st.none() | st.booleans(),
    code_identifier_url=st.none() | _texts,
    code_identifier_message=st.none() | _texts,
)
data_catalogs = st.builds(DataCatalog, name=_texts, data_hash=_texts, stage=st.sampled_from(["put", "get"]))
metric_points = st.builds(MetricPoint, step=st.integers(0, 10**6), value=scalars, time=_texts)
metric_series = st.dictionaries(keys, st.lists(metric_points, min_size=1, max_size=3), max_size=2)
attempts = st.builds(
    StepAttempt,
    attempt_number=st.integers(1, 5),
    start_time=_texts,
    end_time=_texts,
    duration=_texts,
    status=_statuses,
    message=_texts,
    parameters=json_objects,
) | st.builds(
    StepAttempt,
    status=_statuses,
    metrics=st.just(UNSET) | st.dictionaries(keys, scalars, max_size=1),
    metric_series=st.just(UNSET) | st.dictionaries(keys, st.lists(metric_points, max_size=1), max_size=1),
    data_catalog=st.just(UNSET) | st.lists(data_catalogs, max_size=1),
    result=st.just(UNSET) | lookalikes,
    host=st.just(UNSET) | _texts,
    pid=st.just(UNSET) | st.integers(0, 2**53),
    job=st.just(UNSET) | _texts,
)


def step_logs(internal_names: st.SearchStrategy[str] = names) -> st.SearchStrategy[StepLog]:
    """Return a strategy for steps without branches.

    Args:
        internal_names: what they may be called; the last segment becomes their `name`.
    """
    return internal_names.flatmap(
        lambda internal_name: st.builds(
            StepLog,
            name=st.just(internal_name.rpartition(".")[2] or internal_name),
            internal_name=st.just(internal_name),
            status=_statuses,
            step_type=st.sampled_from(["task", "map", "parallel"]),
            message=_texts,
            mock=st.booleans(),
            code_identities=st.lists(code_identities, max_size=2),
            attempts=st.lists(attempts, max_size=2),
            user_defined_metrics=json_objects,
            data_catalog=st.lists(data_catalogs, max_size=2),
            metric_series=st.just(UNSET) | metric_series,
            result=st.just(UNSET) | json_values,
            input_hash=st.just(UNSET) | _texts,
            cached_from=st.just(UNSET) | _texts,
            planned_branches=st.just(UNSET) | st.integers(0, 2**53),
            inside=st.just(UNSET) | internal_names,
            inside_attempt=st.just(UNSET) | st.integers(0, 2**53),
            reused_at=st.just(UNSET) | _texts,
            argument_hashes=st.just(UNSET) | json_objects,
            result_types=st.just(UNSET) | json_values,
            counted_attempt=st.just(UNSET) | st.integers(0, 3),
            returned=st.just(UNSET) | st.dictionaries(keys, _texts, max_size=1),
            late=st.just(UNSET) | _texts,
            began_late=st.just(UNSET) | st.booleans(),
        )
    )


def branch_logs(internal_names: st.SearchStrategy[str]) -> st.SearchStrategy[BranchLog]:
    """Return a strategy for branches without steps and parameters.

    Args:
        internal_names: what they may be called.
    """
    return st.builds(
        BranchLog,
        internal_name=internal_names,
        status=_statuses,
        item=st.just(UNSET) | json_values,
        cached_from=st.just(UNSET) | _texts,
        message=st.just(UNSET) | _texts,
        attempt=st.just(UNSET) | st.integers(0, 2**53),
        attempts=st.just(UNSET) | st.lists(attempts, max_size=2),
        counted_attempt=st.just(UNSET) | st.integers(0, 3),
        late=st.just(UNSET) | _texts,
        began_late=st.just(UNSET) | st.booleans(),
    )


@st.composite
def step_trees(draw: st.DrawFn, parent: str = "", depth: int = 2) -> StepLog:
    """Draw a step with branches, their parameters and steps inside.

    Args:
        draw: given by hypothesis.
        parent: the internal name of the branch that the step is in; empty for the run.
        depth: how many levels of branches there may be.
    """
    name = draw(names)
    step = draw(step_logs(st.just(join_name(parent, name))))
    step.name = name
    for branch_name in draw(st.lists(names, max_size=2, unique=True)) if depth else []:
        branch = draw(branch_logs(st.just(join_name(step.internal_name, branch_name))))
        branch.parameters = draw(json_objects)
        for _ in range(draw(st.integers(0, 2))):
            inner = draw(step_trees(branch.internal_name, depth - 1))
            branch.steps[inner.internal_name] = inner
        step.branches[branch.internal_name] = branch
    return step
