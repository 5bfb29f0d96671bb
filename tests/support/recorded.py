"""What many tests record, made short."""

from chunkstore.records.models import StepLog


def step(name, **fields):
    """Return a step whose own name is the last part of the name by which the run knows it."""
    return StepLog(name=name.rpartition(".")[2], internal_name=name, **fields)


def count(found):
    """Change a step by adding one to a metric, so that each change that counts can be counted."""
    found.user_defined_metrics["count"] = found.user_defined_metrics.get("count", 0) + 1
