"""Pipelines of runnable. A test copies this file into its working folder, where runnable finds it by its path."""

import os
import signal

from runnable import (
    Catalog,
    Conditional,
    Loop,
    Map,
    NotebookTask,
    Parallel,
    Pipeline,
    PythonJob,
    PythonTask,
    ShellTask,
    Stub,
    metric,
    pickled,
)

# --- what the tasks do ------------------------------------------------------------------------------------------------


def start_values():
    return 3, {"nested": [1, 2.5, None, "text"]}, 0.75, {1, 2}


def use_values(number, nested, score, bag):
    return number + len(bag), [nested, score]


def say_hello():
    print("hello")


def fail():
    raise ValueError("on purpose")


def recover():
    return "recovered"


def choose():
    return "left"


def left_value():
    return "went left"


def count_up(count):
    return count + 1, count + 1 >= 3


def first_value():
    return 1


def second_value():
    return 2


def item_length(item):
    return len(str(item)), f"<{item}>"


def process_id(item):
    return os.getpid()


def odd_score(item):
    return float("inf") if item == "b" else float("nan"), [float("-inf"), {"deep": float("nan")}]


def write_data():
    with open("data.csv", "w") as file:
        file.write("x,y\n1,2\n")


def read_data():
    with open("data.csv") as file:
        return len(file.read())


def succeed_if_allowed(item):
    """Fail for the item `b` until there is a file of that name, and note every call."""
    with open("calls.txt", "a") as file:
        file.write(f"{item}\n")
    if item == "b" and not os.path.exists("allowed"):
        raise ValueError("not yet")
    return item


def wait_to_be_killed():
    with open("waiting", "w"):
        signal.pause()


def fail_or_wait(item):
    """Fail for the item `b`; wait to be killed if there is a file `may-wait`, and end if there is one `may-end`."""
    if item != "b" or os.path.exists("may-end"):
        return
    if not os.path.exists("may-wait"):
        raise ValueError("on purpose")
    wait_to_be_killed()


def note_start():
    with open("calls.txt", "a") as file:
        file.write("start\n")


# --- pipelines --------------------------------------------------------------------------------------------------------
#
# runnable imports each again by the name of the function that called `execute`. It strips "p", "y" and "." from the
# end of that name, so none may end so.


def _task(name, function, returns=(), **options):
    return PythonTask(name=name, function=function, returns=list(returns), **options)


def _steps(*steps):
    return Pipeline(steps=list(steps))


def python_tasks():
    pipeline = _steps(
        _task("start", start_values, ["number", "nested", metric("score"), pickled("bag")]),
        _task("use", use_values, ["number", "both"]),
        Stub(name="stub"),
    )
    pipeline.execute()
    return pipeline


def shell_tasks():
    pipeline = _steps(ShellTask(name="shell", command="export answer=42", returns=["answer"]), _task("say", say_hello))
    pipeline.execute()
    return pipeline


def notebook_tasks():
    pipeline = _steps(
        _task("start", first_value, ["number"]),
        NotebookTask(name="notebook", notebook="notebook.ipynb", returns=["doubled"]),
    )
    pipeline.execute()
    return pipeline


def on_failure():
    rescue = _steps(_task("rescue", recover, ["rescued"]))
    pipeline = _steps(_task("broken", fail, on_failure=rescue), _task("never", say_hello))
    pipeline.execute()
    return pipeline


def waiting_task():
    pipeline = _steps(_task("wait", wait_to_be_killed))
    pipeline.execute()
    return pipeline


def failing_task():
    pipeline = _steps(_task("first", first_value, ["one"]), _task("broken", fail), _task("never", say_hello))
    pipeline.execute()
    return pipeline


def conditional():
    pipeline = _steps(
        _task("choose", choose, ["direction"]),
        Conditional(
            name="which",
            parameter="direction",
            branches={
                "left": _steps(_task("go", left_value, ["went"])),
                "right": _steps(_task("broken", fail)),
            },
        ),
    )
    pipeline.execute()
    return pipeline


def loop_until():
    branch = _steps(_task("increment", count_up, ["count", "enough"]))
    pipeline = _steps(Loop(name="loop", branch=branch, max_iterations=5, break_on="enough", index_as="iteration"))
    pipeline.execute()
    return pipeline


def parallel_tasks():
    pipeline = _steps(
        Parallel(
            name="both",
            branches={
                "one": _steps(_task("first", first_value, ["one"]), _task("say", say_hello)),
                "two": _steps(_task("second", second_value, ["two"])),
            },
        ),
        _task("after", first_value, ["one"]),
    )
    pipeline.execute()
    return pipeline


def failing_branch():
    pipeline = _steps(
        Parallel(
            name="both",
            branches={"good": _steps(_task("first", first_value, ["one"])), "bad": _steps(_task("broken", fail))},
        )
    )
    pipeline.execute()
    return pipeline


def _inner_parallel(name):
    return Parallel(
        name=name,
        branches={
            "x": _steps(_task("first", first_value, [f"{name}X"])),
            "z": _steps(_task("second", second_value, [f"{name}Z"])),
        },
    )


def nested_parallel():
    pipeline = _steps(
        Parallel(name="outer", branches={"a": _steps(_inner_parallel("inA")), "b": _steps(_inner_parallel("inB"))})
    )
    pipeline.execute()
    return pipeline


def _map_over_items(**options):
    branch = _steps(_task("measure", item_length, [metric("length"), "shown"]), _task("say", say_hello))
    return Map(name="each", branch=branch, iterate_on="items", iterate_as="item", **options)


def map_items():
    pipeline = _steps(_map_over_items())
    pipeline.execute()
    return pipeline


def map_reduced():
    pipeline = _steps(_map_over_items(reducer="lambda *values: max(values)"), _task("after", first_value, ["one"]))
    pipeline.execute()
    return pipeline


def map_in_parallel():
    pipeline = _steps(
        Parallel(name="both", branches={"a": _steps(_map_over_items()), "b": _steps(_inner_parallel("in"))})
    )
    pipeline.execute()
    return pipeline


def map_processes():
    branch = _steps(_task("tell", process_id, ["process"]))
    pipeline = _steps(Map(name="each", branch=branch, iterate_on="items", iterate_as="item"))
    pipeline.execute()
    return pipeline


def map_odd_scores():
    branch = _steps(_task("score", odd_score, [metric("score"), "odd"]))
    pipeline = _steps(Map(name="each", branch=branch, iterate_on="items", iterate_as="item"))
    pipeline.execute()
    return pipeline


def catalog_files():
    pipeline = _steps(
        _task("write", write_data, catalog=Catalog(put=["data.csv"])),
        _task("read", read_data, ["size"], catalog=Catalog(get=["data.csv"])),
    )
    pipeline.execute()
    return pipeline


def map_to_repeat():
    branch = _steps(_task("attempt", succeed_if_allowed, ["done"]))
    pipeline = _steps(
        _task("start", note_start),
        Map(name="each", branch=branch, iterate_on="items", iterate_as="item"),
        _task("end", say_hello),
    )
    pipeline.execute()
    return pipeline


def map_to_wait():
    branch = _steps(_task("attempt", fail_or_wait))
    pipeline = _steps(Map(name="each", branch=branch, iterate_on="items", iterate_as="item"))
    pipeline.execute()
    return pipeline


def good_job():
    job = PythonJob(function=start_values, returns=["number", "nested", metric("score"), pickled("bag")])
    job.execute()
    return job


def data_job():
    job = PythonJob(function=write_data, catalog=Catalog(put=["data.csv"]))
    job.execute()
    return job


def bad_job():
    job = PythonJob(function=fail)
    job.execute()
    return job
