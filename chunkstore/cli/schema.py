"""`chunkstore schema`: what `--json` prints, as JSON Schema."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from chunkstore.cli.export import ExportReport
from chunkstore.cli.output import print_json
from chunkstore.cli.packing import Sealed
from chunkstore.cli.retention import GcReport
from chunkstore.cli.verify import VerifyReport
from chunkstore.cli.watching import RunChange, StepOutput
from chunkstore.maintenance.copying import CopyReport
from chunkstore.maintenance.doctor.report import DoctorReport
from chunkstore.maintenance.getting_data import GotData
from chunkstore.maintenance.importing import ImportReport
from chunkstore.maintenance.workers.report import EngineReport
from chunkstore.records.fields import ExtraFields
from chunkstore.records.models import BranchLog, StepLog
from chunkstore.views.compare import RunDiff
from chunkstore.views.compare.reuse import Explanation
from chunkstore.views.pages.run_list import RunRow
from chunkstore.views.pages.run_page import RunPage
from chunkstore.views.timeline.summary import TimelineReport

#: What each command prints; of `watch`, each line.
PRINTED: dict[str, Any] = {
    "copy": CopyReport,
    "demo": RunPage,
    "diff": RunDiff,
    "doctor": DoctorReport,
    "doctor --with": EngineReport,
    "export": ExportReport,
    "gc": GcReport,
    "get": GotData,
    "import": ImportReport,
    "logs": StepOutput | None,
    "ls": list[RunRow],
    "seal": list[Sealed],
    "show": RunPage,
    "show --step": (StepLog, BranchLog),
    "show --params --metrics --data": dict[str, list[dict[str, Any]]],
    "timeline": TimelineReport,
    "unseal": list[Sealed],
    "verify": VerifyReport,
    "watch": RunChange,
    "why": Explanation,
}

_REFERENCE = "#/$defs/{name}"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(printed: Any) -> dict[str, Any]:
    """Return the JSON Schema of what a command prints: a type, or one of several."""
    kinds = printed if isinstance(printed, tuple) else (printed,)
    schemas, definitions = msgspec.json.schema_components(kinds, schema_hook=_schema_of_extra, ref_template=_REFERENCE)
    for definition in definitions.values():
        # Fields that this version does not know stand beside the others, and not in a field of their own.
        definition.get("properties", {}).pop("extra", None)
    wanted = schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}
    return {"$schema": _DIALECT, **wanted, "$defs": definitions}


def _schema_of_extra(kind: type) -> dict[str, Any]:
    if kind is ExtraFields:
        return {"type": "object"}
    raise NotImplementedError


def schema(
    command: Annotated[
        str | None, typer.Argument(help="A command, `ls`, or one with its option, 'show --step'; all without.")
    ] = None,
) -> None:
    """Print the JSON Schema of what commands print with --json."""
    if command is None:
        print_json({name: schema_of(printed) for name, printed in sorted(PRINTED.items())})
    elif command in PRINTED:
        print_json(schema_of(PRINTED[command]))
    else:
        known = ", ".join(map(repr, sorted(PRINTED)))
        raise typer.BadParameter(f"{command!r} prints no JSON. Known: {known}.", param_hint="COMMAND")
