"""How often a step's function is tried, how long is waited in between, and what an error that stays means."""

from __future__ import annotations

import math
import time
from numbers import Integral, Real
from typing import Any

from chunkstore.errors import StoreUsageError

RAISE, CONTINUE = "raise", "continue"
#: Seconds before the second attempt; doubled before each further one.
DEFAULT_BACKOFF = 0.5
_LONGEST_BACKOFF = 60.0
_MOST_DOUBLINGS = 30


def check_retries(name: str, max_attempts: Any, on_error: Any, backoff: Any) -> None:
    """Raise `StoreUsageError` if a step cannot be tried like that."""
    if isinstance(max_attempts, bool) or not isinstance(max_attempts, Integral):
        raise StoreUsageError(f"Cannot run step {name!r} {max_attempts!r} times: max_attempts must be a whole number.")
    if max_attempts < 1:
        raise StoreUsageError(f"Cannot run step {name!r} {max_attempts} times: max_attempts must be 1 or more.")
    if not isinstance(on_error, str) or on_error not in {RAISE, CONTINUE}:
        raise StoreUsageError(f"Cannot use on_error={on_error!r}: it is 'raise' or 'continue'.")
    if isinstance(backoff, bool) or not isinstance(backoff, Real) or not 0 <= float(backoff) < math.inf:
        raise StoreUsageError(f"Cannot wait {backoff!r} seconds between attempts: backoff must be 0 or more.")


def pause_after(attempts: int, backoff: float) -> float:
    """Return how many seconds to wait before the next attempt."""
    return min(backoff * 2.0 ** min(attempts - 1, _MOST_DOUBLINGS), _LONGEST_BACKOFF)


def wait_after(attempts: int, backoff: float) -> None:
    """Wait before the next attempt."""
    time.sleep(pause_after(attempts, backoff))
