"""All parameters, metrics or data of a run, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import UNSET

from chunkstore.names import readable_name
from chunkstore.records.models import RunLog
from chunkstore.views.recorded_values import (
    is_number,
    metrics_of,
    number_text,
    parameters_in,
    parameters_of,
    short_hash,
    value_text,
)
from chunkstore.views.walking import all_branches, all_steps

METRICS = "metrics"

Row = tuple[Any, ...]


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """A table of values.

    Attributes:
        title: what they are: parameters, metrics or data.
        columns: what stands in each column.
        rows: the values, as they were recorded.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[Row]

    def texts(self, row: Row, *, is_brief: bool = False) -> tuple[str, ...]:
        """Return a row as people read it; briefly, hashes are cut. What it belongs to stands first."""
        texts = [readable_name(row[0]), *map(self._text, self.columns[1:], row[1:])]
        return tuple(map(short_hash, texts)) if is_brief else tuple(texts)

    def _text(self, column: str, cell: Any) -> str:
        if column == "value":  # a text in quotes, as it may say what another value does
            return number_text(cell) if self.title == METRICS and is_number(cell) else value_text(cell, None)
        return "" if cell is None else str(cell)

    def as_json(self) -> list[dict[str, Any]]:
        """Return the rows as objects."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def parameters_of_run(log: RunLog) -> Values:
    """Return the parameters of a run, of its branches, and what its steps were called with."""
    return Values(title="parameters", columns=("of", "name", "value"), rows=list(_parameters(log)))


def _parameters(log: RunLog) -> Iterator[Row]:
    for name, value in parameters_in(log, log.parameters).items():
        yield "", name, value
    for branch in all_branches(log.steps.values()):
        for name, value in parameters_in(log, branch.parameters).items():
            yield branch.internal_name, name, value
    for step in all_steps(log.steps.values()):
        for name, value in parameters_of(step).items():
            yield step.internal_name, name, value


def metrics_of_run(log: RunLog) -> Values:
    """Return the metrics of all steps: single values, and the last value of each series with its step number."""
    return Values(title=METRICS, columns=("step", "name", "value", "at"), rows=list(_metrics(log)))


def _metrics(log: RunLog) -> Iterator[Row]:
    for step in all_steps(log.steps.values()):
        for name, value in metrics_of(step).items():
            yield step.internal_name, name, value, None
        if step.metric_series is not UNSET:
            for name, points in step.metric_series.items():
                if points:
                    yield step.internal_name, name, points[-1].value, points[-1].step


def data_of_run(log: RunLog) -> Values:
    """Return the data that the steps of a run read and wrote, with the hashes, also what they printed."""
    rows: list[Row] = [
        (step.internal_name, data.stage, data.name, data.data_hash, data.catalog_relative_path)
        for step in all_steps(log.steps.values())
        for data in step.data_catalog
    ]
    return Values(title="data", columns=("step", "stage", "name", "sha256", "copy"), rows=rows)
