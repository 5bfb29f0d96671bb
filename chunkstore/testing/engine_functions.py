"""What the conformance suite for engines runs in branches; workers import this module.

What happened in a worker is noted in files of a folder that the driver sees too.
"""

from __future__ import annotations

import builtins
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from chunkstore.recording.run import current_run, current_step

#: Seconds after which a branch no longer waits for what never comes.
LONGEST_WAIT = 60.0


def note(folder: str, name: object) -> None:
    """Note once more, whatever process this is, that something happened.

    Args:
        folder: where notes are.
        name: what happened.
    """
    descriptor = os.open(os.path.join(folder, str(name)), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(descriptor, b".")
    os.close(descriptor)


def noted(folder: str, name: object) -> int:
    """Return how often something was noted.

    Args:
        folder: where notes are.
        name: what happened.
    """
    path = Path(folder, str(name))
    return path.stat().st_size if path.exists() else 0


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds.

    Args:
        condition: tells whether it does.
        what: says so in the error.

    Raises:
        TimeoutError: it did not come true.
    """
    deadline = time.monotonic() + LONGEST_WAIT
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"After {LONGEST_WAIT:.0f} s, still not true: {what}.")
        time.sleep(0.01)


def wait_for(folder: str, name: object) -> None:
    """Wait until something was noted; arguments and errors as for `noted` and `wait_until`."""
    wait_until(lambda: noted(folder, name), f"{name} is noted in {folder}")


# --- results ---------------------------------------------------------------------------------------------------------


def double(item: int) -> int:
    """Return twice the item."""
    return item * 2


def same(item: Any) -> Any:
    """Return the item."""
    return item


def process_id(_item: object) -> int:
    """Return the id of the worker's process."""
    return os.getpid()


def later_items_first(folder: str, item: int) -> int:
    """Return twice the item; the first one waits for the next."""
    if item == 0:
        wait_for(folder, 1)
    note(folder, item)
    return item * 2


def text_of_length(length: int) -> str:
    """Return a text of some length."""
    return "x" * length


def alone(folder: str, item: int) -> int:
    """Return how many others ran at once with this one."""
    mine = os.path.join(folder, f"runs-{item}")
    Path(mine).touch()
    time.sleep(0.01)  # a second one would be seen then
    others = len([name for name in os.listdir(folder) if name.startswith("runs-")]) - 1
    os.unlink(mine)
    return others


def one() -> int:
    """Return one."""
    return 1


def two() -> int:
    """Return two."""
    return 2


# --- records ---------------------------------------------------------------------------------------------------------


def record_all(folder: str, item: int) -> str:
    """Record all that a branch can; return its name."""
    step = current_step()
    step.log_metric("size", item)
    step.log_metric("loss", item / 2, step=0)
    step.log_metric("loss", item / 4, step=1)
    step.log_params({"item": item})
    current_run().set_parameters({"seed": item})
    print(f"printed by {item}")  # noqa: T201 - what is printed is what this is about
    print(f"complained by {item}", file=sys.stderr)  # noqa: T201 - likewise
    path = Path(folder, f"out-{item}.txt")
    path.write_text(f"put by {item}", encoding="utf-8")
    step.put_data(path, "out.txt")
    return current_run().branch


def steps_inside(item: int) -> int:
    """Record a step, and each call of a decorated function as one."""
    run = current_run()
    with run.step("part") as step:
        step.log_metric("item", item)

    @run.step("decorated")
    def decorated(number: int) -> int:
        current_step().log_metric("number", number)
        return number * 2

    return decorated(item) + decorated(item)


def elsewhere(item: int) -> str:
    """Record something from another working folder than the driver's; return which."""
    os.chdir(os.sep)
    current_step().log_metric("item", item)
    print(f"printed by {item}")  # noqa: T201 - what is printed is what this is about
    with current_run().step("part"):
        pass
    return os.getcwd()


def map_inside(make: Callable[[], AbstractContextManager[Any]], item: int) -> list[int | None]:
    """Map over another engine inside a branch."""
    with make() as executor:
        return current_run().map("inner", [item, item + 1], double, executor=executor)


def threads() -> AbstractContextManager[Any]:
    """Make a pool of threads."""
    return ThreadPoolExecutor(2)


def default() -> AbstractContextManager[Any]:
    """Make what `map` takes for its default."""
    return nullcontext()


# --- failures --------------------------------------------------------------------------------------------------------


class OddError(Exception):
    """Asks its `__init__` for what it does not keep."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")
        self.first = first


class HandleError(Exception):
    """Holds what does not pickle."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.handle = threading.Lock()


def _grouped() -> BaseException:
    group: Any = getattr(builtins, "ExceptionGroup", lambda text, _: ValueError(text))  # from Python 3.11 on
    grouped: BaseException = group("several", [ValueError("first"), OddError("this", "that")])
    return grouped


#: What branches raise, by the name of its kind.
ERRORS: dict[str, Callable[[], BaseException]] = {
    "usual": lambda: ValueError("this is wrong"),
    "odd": lambda: OddError("this", "that"),
    "handle": lambda: HandleError("holds a lock"),
    "group": _grouped,
    "exit": lambda: SystemExit("no more"),
    "interrupt": lambda: KeyboardInterrupt("in a branch"),
}


def raise_kind(kind: str) -> str:
    """Raise an exception of a kind; return the kind if there is none of it."""
    if kind not in ERRORS:
        return kind
    error = ERRORS[kind]()
    raise error from LookupError("what it comes from")


def raise_known_here_alone(item: int) -> int:
    """Raise for the first item what only this process can import."""
    if item:
        return item
    module: Any = types.ModuleType("known_to_workers_alone")
    module.OnlyThereError = type("OnlyThereError", (Exception,), {"__module__": module.__name__})
    sys.modules[module.__name__] = module
    raise module.OnlyThereError("says this")


def return_lock_for(victim: int, item: int) -> Any:
    """Return for one item what does not pickle."""
    return threading.Lock() if item == victim else item


class Unloadable:
    """Pickles, and cannot be rebuilt."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise ValueError("not to be rebuilt")


def return_unloadable_for(victim: int, item: int) -> Any:
    """Return for one item what cannot be rebuilt."""
    return Unloadable() if item == victim else item


def kind_of(item: object) -> str:
    """Return the name of the item's class."""
    return type(item).__name__


def fail_at_first(folder: str, times: int, item: int) -> int:
    """Fail so often for each item, then return twice the item."""
    note(folder, item)
    count = noted(folder, item)
    if count <= times:
        raise ValueError(f"try {count}")
    return item * 2


# --- deaths ----------------------------------------------------------------------------------------------------------


def die(how: str) -> None:
    """End this process as the system ends one, or as a library does that calls `os._exit`.

    Args:
        how: `killed` or `exits`.
    """
    if how == "exits":
        os._exit(7)
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(LONGEST_WAIT)


def die_for(how: str, victim: int, item: int) -> int:
    """Kill the worker of one item; return twice each other."""
    if item == victim:
        die(how)
    return item * 2


def die_at_first(how: str, folder: str, victim: int, item: int) -> int:
    """Kill the worker at the first start of one item, when another was begun; return twice each."""
    note(folder, item)
    if item == victim and noted(folder, item) == 1:
        die(how)
    return item * 2


# --- waiting for the driver ------------------------------------------------------------------------------------------


def wait_after(first: int, folder: str, item: int) -> int:
    """Return twice the item; those after the first ones wait for the note `go`."""
    note(folder, f"begun-{item}")
    if item >= first:
        wait_for(folder, "go")
    return item * 2
