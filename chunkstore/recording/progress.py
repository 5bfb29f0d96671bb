"""A progress bar for long maps: on a terminal, and if rich is installed."""

from __future__ import annotations

import sys
import time
from typing import Any

#: A map that is done sooner shows no bar, in seconds.
_DELAY = 1.0
_REFRESH_INTERVAL = 0.1


class ProgressBar:
    """Shows how many branches have ended; quiet where nobody would see it.

    Args:
        title: what is going on.
        total: how many branches there will be; None if nobody knows.
        enabled: whether to show anything at all.
    """

    def __init__(self, title: str, total: int | None, *, enabled: bool) -> None:
        # A terminal obeys nothing in it, and it takes one line.
        self._title = "".join(character if character.isprintable() else "?" for character in title)
        self._total = total
        self._enabled = enabled and _is_terminal(sys.stderr)
        self._started = time.monotonic()
        self._shown = 0.0
        self._done = 0
        self._failed = 0
        self._bar: Any = None
        self._task: Any = None

    def advance(self, *, failed: bool) -> None:
        """Count one branch that has ended."""
        self._done += 1
        self._failed += failed
        now = time.monotonic()
        if self._enabled and now - self._started > _DELAY and now - self._shown > _REFRESH_INTERVAL:
            self._shown = now
            self._show()

    def _show(self) -> None:
        if self._bar is None and not self._open():
            return
        title = f"{self._title} ({self._failed} failed)" if self._failed else self._title
        self._bar.update(self._task, completed=self._done, description=title)
        self._bar.refresh()

    def _open(self) -> bool:
        try:
            from rich.console import Console  # noqa: PLC0415 - an extra
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415
        except ImportError:
            self._enabled = False
            return False
        # Without a refreshing thread of its own: workers may be forked at any time.
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(self._title, total=self._total)
        return True

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False  # no stream, a closed one, or something that only has `write`
