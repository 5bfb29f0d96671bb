"""Functions that tests send to other processes; workers import this module."""

import functools
import os
import signal
import time
from pathlib import Path

import chunkstore


def note(folder, name):
    """Record, across processes, that something ran once more."""
    fd = os.open(os.path.join(folder, str(name)), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(fd, b".")
    os.close(fd)


def noted(folder):
    """Return how often each thing ran."""
    return {path.name: path.stat().st_size for path in Path(folder).iterdir() if path.name[0] != "."}


def wait_for(condition, seconds=20.0):
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition} did not come true")
        time.sleep(0.01)


def wait_for_file(path):
    wait_for(Path(path).exists)


def die(code=signal.SIGKILL):
    """End this process as the system does when memory runs out."""
    os.kill(os.getpid(), code)
    time.sleep(60)


def double(item):
    return item * 2


def noted_double(folder, item):
    note(folder, item)
    return item * 2


def a_while(item):
    """Take a moment, with a step in the middle."""
    time.sleep(0.01)
    chunkstore.current_run().step("inside", same, item)
    time.sleep(0.01)
    return item


def same(item):
    return item


def process_id(_item):
    return os.getpid()


def fail_for_odd(item):
    if item % 2:
        raise ValueError(f"{item} is odd")
    return item


def die_in_a_step(_item):
    with chunkstore.current_run().step("inner"):
        die()


def die_for(victims, item):
    if item in victims:
        die()
    return item * 2


def exit_for(victim, item):
    if item == victim:
        os._exit(7)
    return item * 2


def die_once(folder, victim, item):
    """Kill the worker at the first try of one item."""
    note(folder, item)
    if item == victim and noted(folder)[str(item)] == 1:
        die()
    return item * 2


def fail_times(folder, times, item):
    """Fail so often, then succeed."""
    note(folder, item)
    count = noted(folder)[str(item)]
    if count <= times:
        raise ValueError(f"try {count}")
    return item * 2


def refuse(*_):
    raise RuntimeError("the initializer fails")


def no_pickle(_item):
    """Return something that cannot be sent back."""
    return lambda: None


class LocalError(Exception):
    """An exception that pickles, but cannot be made again from its arguments."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class WithLockError(Exception):
    """An exception that does not pickle."""

    def __init__(self, text):
        super().__init__(text)
        self.handle = open(os.devnull)  # noqa: SIM115 - what makes it so

    def __del__(self):
        self.handle.close()


def raise_unloadable(_item):
    raise LocalError("this", "that")


def raise_unpicklable(_item):
    raise WithLockError("holds a file")


def raise_exit(code):
    raise SystemExit(code)


def log_all(item):
    """Record everything that a branch can."""
    step = chunkstore.current_step()
    step.log_metric("size", item)
    step.log_metric("loss", item / 2, step=0)
    step.log_params({"item": item})
    chunkstore.current_run().set_parameters({"seed": item})
    print(f"printed by {item}")
    Path(f"out-{item}.txt").write_text(str(item))
    step.put_data(f"out-{item}.txt", "out.txt")
    return chunkstore.current_run().branch


def inner_parallel(item):
    run = chunkstore.current_run()
    return run.parallel("models", {"xgb": one, "rf": two}, executor=threads())


def one():
    chunkstore.current_step().log_metric("rows", 1)
    return 1


def two():
    return 2


def fail_always():
    raise ValueError("always")


def threads():
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(2)


def inner_steps(item):
    """Record a step of the branch's own beside the one that runs this function."""
    with chunkstore.current_run().step("part") as step:
        step.log_metric("item", item)
    return item


def inner_failing_step(item):
    chunkstore.current_run().step("part", fail_always, on_error="continue")
    return item


def join_and_step(folder, run_id, rank, ready):
    """One of many processes that record the same run."""
    store = chunkstore.open_store("chunked-fs", log_folder=folder, durability="process")
    wait_for_file(ready)
    with store.join_run(run_id, create=True) as run, run.step(f"rank-{rank}") as step:
        step.log_metric("rank", rank)


def log_through(step, name, value):
    """Log with a step that another process started."""
    step.log_metric(name, value)
    step.log_params({name: value})


def step_through(run, name):
    """Record a step through a run that came from another process."""
    return run.step(name, os.getpid)


def log_all_through(run, step):
    """Use a step and a run that were inherited by a fork."""
    step.log_metric("theirs", 1)
    step.log_metric("loss", 1, step=0)
    run.step("there", two)


def nested(_item):
    """Map, inside a branch, over branches that each run two more in parallel."""
    return chunkstore.current_run().map("middle", [0, 1], inner_parallel, executor=threads())


def nested_failure(_item):
    run = chunkstore.current_run()
    return run.parallel("inner", {"bad": fail_always, "good": two}, executor=threads())


def kind_of(item):
    return type(item).__name__


def fail_if_asked(calls, path, item):
    note(calls, item)
    if str(item) in Path(path).read_text().split():
        raise ValueError("asked to")
    return item * 2


def noted_size(calls, item):
    note(calls, item["id"])
    return item["size"]


def noted_set(calls, item):
    note(calls, item)
    return {item}


def noted_text(calls, length):
    note(calls, length)
    return "x" * length


def noted_same(calls, item):
    note(calls, "same")
    return item


def nested_with_failure(calls, _item):
    run = chunkstore.current_run()
    return run.map("inner", [1, 2, 3], functools.partial(fail_first_two, calls), executor=threads())


def fail_first_two(calls, item):
    note(calls, item)
    if item == 2 and noted(calls)["2"] == 1:
        raise ValueError("at first")
    return item


def noted_put(calls, item):
    note(calls, item)
    path = Path(f"out-{item}.txt")
    path.write_text(str(item))
    chunkstore.current_step().put_data(path, "out.txt")


def wait_after_note(calls, item):
    note(calls, item)
    wait_for(lambda: "go" in noted(calls), 60)
    return item


def interrupt_for(victim, item):
    if item == victim:
        raise KeyboardInterrupt
    return item * 2


def double_slowly(item):
    time.sleep(0.1)
    return item * 2


class FromPlugin:
    """Calls something of a module that only the worker, where this runs, can import."""

    def __init__(self, folder, what):
        self.folder, self.what = folder, what

    def __call__(self):
        import sys

        sys.path.insert(0, self.folder)
        import known_to_workers

        return getattr(known_to_workers, self.what)()


class NotedTwo:
    """Notes that it ran, and returns two."""

    def __init__(self, calls, name):
        self.calls, self.name = calls, name

    def __call__(self):
        note(self.calls, self.name)
        return 2


def raise_it(error):
    raise error


def forget_path(folder):
    import sys

    sys.path.remove(folder)


class HookedError(Exception):
    """Cannot be rebuilt: its state refuses to be set."""

    def __init__(self, text):
        super().__init__(text)
        self.text = text

    def __setstate__(self, state):
        raise RuntimeError("not to be rebuilt")


def raise_hooked_for_two(item):
    if item == 2:
        raise HookedError("two")
    return item


LABEL = None


def set_label(label):
    global LABEL  # noqa: PLW0603 - what initializers are for
    LABEL = label


def die_as_often(folder, times):
    """Kill the worker that begins, so many times."""
    for number in range(times):
        path = Path(folder, f"died {number}")
        if not path.exists():
            path.touch()
            die()


def die_then_interrupt(calls, item):
    """Kill the worker when both branches are at work; whichever runs again interrupts the program, and goes on."""
    if noted(calls).get(str(item)):
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(60)
    note(calls, item)
    wait_for(lambda: len(noted(calls)) == 2)
    if item == 0:
        die()
    time.sleep(60)


def labelled(calls, item):
    """Return what the initializer of the pool has set."""
    Path(calls, f".{item}").write_text(str(os.getpid()))
    note(calls, item)
    return [item, LABEL]


def noted_ids(calls):
    """Return which process ran what, as `labelled` has noted it."""
    return {int(path.name[1:]): int(path.read_text()) for path in Path(calls).glob(".*")}


class Killing:
    """Ends whoever unpickles it."""

    def __reduce__(self):
        return os._exit, (7,)


class Slow(str):
    """Text that takes its time to be sent."""

    __slots__ = ()

    def __reduce__(self):
        time.sleep(0.4)
        return str, (str(self),)


#: What `slow_to_send` is to return; the parent gets plain text for slow ones.
RESULTS = [("a", "b"), {"a": [1, "b"]}, "b", ["b", -0.0, True, None, (1, 2)]]


def slow_to_send(calls, number):
    """Return one of the results, with its text on its way for a while."""
    note(calls, "slow")
    return [("a", Slow("b")), {"a": [1, Slow("b")]}, Slow("b"), [Slow("b"), -0.0, True, None, (1, 2)]][number]


def die_when_other_has_ended(calls):
    """Kill the worker when the other branch has ended, but not sent what it returned; later, return."""
    if "dies" in noted(calls):
        return
    run = chunkstore.current_run()

    def has_ended():
        branch = run.store.get_run_log(run.identity).steps["all"].branches.get("all.slow")
        return branch is not None and any(step.status == "SUCCESS" for step in branch.steps.values())

    wait_for(has_ended)
    note(calls, "dies")
    die()


def map_in_daemon(store, executor, queue):
    """Map on a pool where none can be, and on threads."""
    with store.start_run() as run:
        try:
            run.map("score", [1], double, executor=executor)
        except Exception as error:
            text = str(error)
            queue.put((type(error).__name__, "ThreadPoolExecutor" in text, list(store.get_run_log(run.run_id).steps)))
        run.map("score", [1], double, executor=threads())
