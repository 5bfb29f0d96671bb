"""Records become runnable's models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from runnable import datastore

from chunkstore.plugins.runnable.to_records import PARAMETER_FIELDS, without_notes
from chunkstore.records.base import Record
from chunkstore.records.models import RunLog

_Model = TypeVar("_Model", bound=BaseModel)

_KINDS = frozenset({"json", "metric", "object"})


class _Parameters(BaseModel):
    """Validates parameters, as runnable's own models do."""

    parameters: dict[str, datastore.Parameter]


def as_parameters(values: Mapping[str, Any]) -> dict[str, datastore.Parameter]:
    """Return parameters as runnable expects them."""
    return _validated({"parameters": values}, _Parameters).parameters


def as_run_log(log: RunLog) -> datastore.RunLog:
    """Return a run with all that the record holds."""
    fields = log.to_dict()
    fields["run_config"] = without_notes(log.run_config)
    return _validated(fields, datastore.RunLog)


def as_model(record: Record, model: type[_Model]) -> _Model:
    """Return a step, branch or job as runnable's model of that name."""
    return _validated(record.to_dict(), model)


def _validated(fields: dict[str, Any], model: type[_Model]) -> _Model:
    try:
        return model.model_validate(fields)
    except ValidationError:
        return model.model_validate(_with_kinds_inside(fields))


def _with_kinds_inside(fields: dict[str, Any]) -> dict[str, Any]:
    """Give all parameters inside a run, branch, step or job a kind: others than runnable set plain values."""
    for name in PARAMETER_FIELDS & fields.keys():
        fields[name] = _with_kinds(fields[name])
    for attempt in fields.get("attempts", ()):
        _with_kinds_inside(attempt)
    for name in {"steps", "branches"} & fields.keys():
        for inner in fields[name].values():
            _with_kinds_inside(inner)
    return fields


def _with_kinds(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as runnable expects them, also those that others have set as plain values."""
    return {
        name: value
        if isinstance(value, dict) and value.get("kind") in _KINDS and "value" in value
        else {"kind": "json", "value": value}
        for name, value in parameters.items()
    }
