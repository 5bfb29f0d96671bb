"""What a record is: its fields, JSON and checksum, what lies over it, and how records become a run log."""

from chunkstore.records.base import Record
from chunkstore.records.decoding import RecordCodec
from chunkstore.records.encoding import encode_record
from chunkstore.records.fields import ExtraFields, MetricPoint
from chunkstore.records.models import (
    FAIL,
    PROCESSING,
    SUCCESS,
    BranchLog,
    CodeIdentity,
    DataCatalog,
    JobLog,
    Orphans,
    Problem,
    RunLog,
    StepAttempt,
    StepLog,
)
from chunkstore.records.summaries import RunSummary

__all__ = [
    "FAIL",
    "PROCESSING",
    "SUCCESS",
    "BranchLog",
    "CodeIdentity",
    "DataCatalog",
    "ExtraFields",
    "JobLog",
    "MetricPoint",
    "Orphans",
    "Problem",
    "Record",
    "RecordCodec",
    "RunLog",
    "RunSummary",
    "StepAttempt",
    "StepLog",
    "encode_record",
]
