"""runnable's models become records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from msgspec import UNSET
from pydantic import BaseModel

from chunkstore.records.base import Record
from chunkstore.records.fields import ExtraFields
from chunkstore.records.models import NOTES, StepAttempt

_AnyRecord = TypeVar("_AnyRecord", bound=Record)

#: Fields of runnable's models that hold parameters: values with their kind.
PARAMETER_FIELDS = frozenset({"parameters", "input_parameters", "output_parameters", "user_defined_metrics"})
_KEYWORDS = {True: "true", False: "false", None: "null"}
#: Fields that are left out of the JSON where there is nothing in them.
_OPTIONAL_FIELDS = frozenset(
    {"job", "retry_indicator", "input_parameters", "output_parameters", "user_defined_metrics"}
)


def as_record(model: BaseModel, kind: type[_AnyRecord], *, inner: bool = False) -> _AnyRecord:
    """Return a model as a record; fields that the record does not declare are kept as extra ones.

    Args:
        model: one of runnable's.
        kind: the record of that name.
        inner: whether steps, branches and the parameters of their scope come along.
    """
    values = model.__dict__
    fields = {name: translate(values[name], inner) for name, translate in _translations(type(model), kind, inner)}
    record = kind(**fields)
    extra = {**(model.model_extra or {}), **{name: values[name] for name in _undeclared(type(model), kind)}}
    if extra:
        record.extra = ExtraFields(extra)
    return record


@cache
def _translations(
    model: type[BaseModel], kind: type[Record], inner: bool
) -> list[tuple[str, Callable[[Any, bool], Any]]]:
    """Return how each field that model and record share becomes a field of the record."""
    return [
        (name, _translation(name, kind))
        for name in model.model_fields
        if name in kind.__struct_fields__ and (inner or not _is_inner(name, kind))
    ]


@cache
def _undeclared(model: type[BaseModel], kind: type[Record]) -> list[str]:
    """Return the fields that a later version of runnable has added."""
    return [name for name in model.model_fields if name not in kind.__struct_fields__]


def _is_inner(name: str, kind: type[Record]) -> bool:
    """Tell whether a field holds records of their own in the store."""
    return name in {"steps", "branches"} or (name == "parameters" and kind is not StepAttempt)


def _translation(name: str, kind: type[Record]) -> Callable[[Any, bool], Any]:
    optional = name in _OPTIONAL_FIELDS
    nested = kind.NESTED.get(name)
    single = kind.SINGLE.get(name)

    def translate(value: Any, inner: bool) -> Any:
        if optional and not value:
            return UNSET
        if name in PARAMETER_FIELDS:
            return without_descriptions(value)
        if nested:
            if isinstance(value, dict):
                return {key: as_record(item, nested, inner=inner) for key, item in value.items()}
            return [as_record(item, nested, inner=inner) for item in value]
        return as_record(value, single, inner=inner) if single else value

    return translate


def without_descriptions(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with what makes them; runnable computes the rest, which may repeat the whole value."""
    return {
        name: {field: _with_text_keys(value) for field, value in parameter.__dict__.items()}
        for name, parameter in parameters.items()
    }


def _with_text_keys(value: Any) -> Any:
    """Return a value with truth values and None as keys the way runnable's own stores write them."""
    if type(value) is dict:
        return {
            _KEYWORDS[key] if key is None or isinstance(key, bool) else key: _with_text_keys(item)
            for key, item in value.items()
        }
    return [_with_text_keys(item) for item in value] if type(value) is list else value


def without_notes(run_config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without the notes of chunkstore itself, which are no business of runnable's."""
    return {name: value for name, value in run_config.items() if name != NOTES}
