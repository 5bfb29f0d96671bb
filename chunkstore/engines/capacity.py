"""What an executor is asked: how many branches it can run at once, where, and whether they can be cancelled.

Never the processor of this host answers for it.
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from chunkstore.engines.base import Engine


def capacity_of(executor: Any) -> int | None:
    """Return how many functions an executor can run at once, as it is now; None if it does not say.

    An engine that is not ours is asked in its own words, and imported by nobody for that: who made the executor has.
    """
    if isinstance(executor, Engine):
        return _count(executor.capacity)
    for ask in (_own_word, _of_parsl, _of_executorlib):
        if (count := _count(partial(ask, executor))) is not None:
            return count
    return None


def is_elsewhere(executor: Any) -> bool:
    """Tell whether functions certainly run in other processes than this one; what is unknown may have threads here."""
    if isinstance(executor, Engine):
        return executor.is_elsewhere
    kind = f"{type(executor).__module__}."
    if kind.startswith("parsl.concurrent."):
        return not all(hasattr(one, "max_threads") for one in _chosen_of_parsl(executor))
    return kind.startswith(("mpi4py.futures.", "executorlib."))


def forks(executor: Any) -> bool:
    """Tell whether an executor is going to fork this process; one that has done so already is not going to."""
    if isinstance(executor, Engine):
        return executor.forks
    if not isinstance(executor, ProcessPoolExecutor) or getattr(executor, "_processes", None):
        return False
    context = getattr(executor, "_mp_context", None) or multiprocessing
    return bool(context.get_start_method() == "fork")


def may_cancel(executor: Any) -> bool:
    """Tell whether futures of an executor can be cancelled without harm to others.

    executorlib's thread that hands functions on ends with an error when it comes to a cancelled one: what is submitted
    afterwards never runs, and its `shutdown` waits for ever.
    """
    return not type(executor).__module__.startswith("executorlib.")


def _count(ask: Callable[[], Any]) -> int | None:
    with suppress(Exception):  # whatever an engine raises that is not what it seems: then it does not say
        given = ask()
        if isinstance(given, (int, float)) and not isinstance(given, bool) and math.isfinite(given) and given >= 1:
            return int(given)
    return None


def _own_word(executor: Any) -> Any:
    """Of a pool of the standard library or one like it; MPI's has a property of the same name."""
    return getattr(executor, "_max_workers", None) or getattr(executor, "max_workers", None)


def _of_parsl(executor: Any) -> Any:
    """Of the executors behind a `ParslPoolExecutor`, when they have grown as far as they may."""
    return sum(map(_of_one_of_parsl, _chosen_of_parsl(executor)))


def _chosen_of_parsl(executor: Any) -> list[Any]:
    chosen = executor.executors
    every = executor._dfk.executors  # noqa: SLF001 - no public way
    return [
        one for label, one in every.items() if not label.startswith("_parsl") and (chosen == "all" or label in chosen)
    ]


def _of_one_of_parsl(one: Any) -> Any:
    if (threads := getattr(one, "max_threads", None)) is not None:
        return threads
    provider = one.provider
    blocks = provider.max_blocks if math.isfinite(provider.max_blocks) else 1
    return one.workers_per_node * provider.nodes_per_block * blocks


def _of_executorlib(executor: Any) -> Any:
    """Of an executor that counts processors, some for each function."""
    scheduler = executor._task_scheduler  # noqa: SLF001 - no public way
    return scheduler._max_cores // ((executor.info or {}).get("cores") or 1)  # noqa: SLF001 - likewise
