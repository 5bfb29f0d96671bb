"""The pools in which runnable runs branches: it forks them, and no client of a bucket works in a fork."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

from extensions.nodes import map as map_node
from extensions.nodes import parallel as parallel_node


def have_pools_started_anew(is_needed: Callable[[], bool]) -> None:
    """Have the processes of runnable's pools started by a server for that instead of being forked.

    What they get is the same: runnable pickles it. But the module of the user is imported again in each.

    Args:
        is_needed: tells whether that must be; it is asked as a pool is made.
    """
    for module in (map_node, parallel_node):
        module.Pool = _started_anew(module.Pool, is_needed)


def _started_anew(usual: Callable[..., Any], is_needed: Callable[[], bool]) -> Callable[..., Any]:
    def make_pool(*args: Any, **options: Any) -> Any:
        pool = multiprocessing.get_context("forkserver").Pool if is_needed() else usual
        return pool(*args, **options)

    return make_pool
