"""runnable's models, made short."""

from runnable.datastore import BranchLog, JsonParameter, MetricParameter, ObjectParameter, StepAttempt, StepLog

RUN = "run"


def json_of(value):
    return JsonParameter(kind="json", value=value)


def metric_of(value):
    return MetricParameter(kind="metric", value=value)


def object_of(name):
    return ObjectParameter(kind="object", value=name)


def step(internal_name, **fields):
    return StepLog(name=internal_name.rpartition(".")[2], internal_name=internal_name, **fields)


def branch(internal_name, **fields):
    return BranchLog(internal_name=internal_name, **fields)


def attempt(number=1, **fields):
    return StepAttempt(attempt_number=number, **fields)


def fill(store):
    """Record a run as executors do: `p` is parallel, its branch `p.a` holds a map `p.a.m` over the item `1`."""
    store.create_run_log(RUN, tag="nightly", dag_hash="abc", status="PROCESSING")
    store.set_parameters(RUN, {"seed": json_of(7)})
    for record in (
        step("p", step_type="parallel"),
        branch("p.a"),
        step("p.a.m", step_type="map"),
        branch("p.a.m.1"),
        step("p.a.m.1.t", attempts=[attempt(status="SUCCESS")]),
        step("last"),
    ):
        add = store.add_step_log if isinstance(record, StepLog) else store.add_branch_log
        add(record, RUN)
    store.set_parameters(RUN, {"lr": json_of(0.1)}, "p.a")
    store.set_parameters(RUN, {"score": metric_of(0.5)}, "p.a.m.1")


def full(store):
    return store.get_run_log_by_id(RUN, full=True)


EVERY_KIND = {
    "json": json_of({"list": [1, 2.5, None, "text"], "big": 10**30}),
    "metric": metric_of(0.25),
    "object": object_of("model"),
    "long": json_of("x" * 50),
}
