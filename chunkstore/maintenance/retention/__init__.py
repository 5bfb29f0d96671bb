"""Deleting runs that nobody needs any more, by rules, and what was left of writes that were stopped."""

from chunkstore.maintenance.retention.clearing_up import remove_left_overs
from chunkstore.maintenance.retention.deleting import collect
from chunkstore.maintenance.retention.planning import plan_retention
from chunkstore.maintenance.retention.rules import (
    Candidate,
    Kept,
    LeftOvers,
    Outcome,
    Plan,
    Rule,
    check_rule,
    parse_age,
)

__all__ = [
    "Candidate",
    "Kept",
    "LeftOvers",
    "Outcome",
    "Plan",
    "Rule",
    "check_rule",
    "collect",
    "parse_age",
    "plan_retention",
    "remove_left_overs",
]
