"""The step that everybody records: about 850 bytes of JSON, as a task of a pipeline leaves it."""

from __future__ import annotations

from typing import Any

import msgspec

import chunkstore
from chunkstore.records.decoding import RecordCodec

RUN = "benchmark"

#: How often a step was recorded or changed is one of its metrics, so that a change that got lost can be told.
_VERSION = "version"

_EXAMPLE = chunkstore.StepLog(
    name="simple",
    internal_name="simple",
    status="SUCCESS",
    code_identities=[
        chunkstore.CodeIdentity(
            code_identifier="39cd98770cb2fd6994d8ac08ae4c5506e5ce694a",
            code_identifier_type="git",
            code_identifier_dependable=True,
            code_identifier_url="https://example.org/organisation/repository.git",
        )
    ],
    attempts=[
        chunkstore.StepAttempt(
            start_time="2024-02-02 05:49:41.697142",
            end_time="2024-02-02 05:49:41.702983",
            duration="0:00:00.005841",
            status="SUCCESS",
        )
    ],
    data_catalog=[
        chunkstore.DataCatalog(
            name="simple.execution.log",
            data_hash="03ba204e50d126e4674c005e04d82e84c21366780af1f43bd54a37816b6ab340",
            catalog_relative_path="pleasant-lamarr-0549/simple.execution.log",
            catalog_handler_location=".catalog",
            stage="put",
        )
    ],
)

decode_step = RecordCodec.of(chunkstore.StepLog).decode


def step_name(number: int) -> str:
    """Return the internal name of a step."""
    return f"simple{number}"


def make_step(number: int, version: int = 1) -> chunkstore.StepLog:
    """Return a step, recorded for the `version`th time."""
    return msgspec.structs.replace(_EXAMPLE, internal_name=step_name(number), user_defined_metrics={_VERSION: version})


def version_of(step: Any) -> int:
    """Return how often a step was recorded or changed; any kind of record that has its metrics will do."""
    return int(step.user_defined_metrics[_VERSION])


def count_up(step: Any) -> None:
    """Change a step once more."""
    step.user_defined_metrics[_VERSION] = version_of(step) + 1
