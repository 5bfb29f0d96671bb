"""`chunkstore watch` and `chunkstore logs`."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from chunkstore.cli.options import ConfigOption, JsonOption, RunArgument, StoreOption, chosen_run, open_chosen_store
from chunkstore.cli.output import (
    FINE,
    PROBLEMS,
    console,
    print_error,
    print_json,
    print_json_line,
    print_note,
)
from chunkstore.cli.showing import folding_of, liveness_of, read_page, styled
from chunkstore.cli.unread import end_of
from chunkstore.clock import parse_time, utc_now
from chunkstore.maintenance.printed import output_file, printed
from chunkstore.names import readable_name
from chunkstore.records.models import PROCESSING, SUCCESS, BranchLog, RunLog, StepAttempt, StepLog
from chunkstore.stores.base import Store
from chunkstore.stores.runs.liveness import UNKNOWN
from chunkstore.views.changes import changed_steps
from chunkstore.views.durations import last_attempt, step_duration
from chunkstore.views.formats import format_seconds, mark_of
from chunkstore.views.pages.run_page import RunPage, heading, run_page
from chunkstore.views.pages.step_lookup import find_record
from chunkstore.views.pages.tree import Folding, Line, tree_lines
from chunkstore.views.texts import counted, printable, shown_message

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

#: How often the screen is drawn, and how long a state of the run is shown at least, in seconds.
_DRAWN_EVERY = 0.25
#: Whether the process that records the run lives is looked at so often, in seconds.
_ASKED_EVERY = 2.0
#: Of the steps that began or ended before, so many are shown at first.
_MOST_BEFORE = 50
#: Lines of the terminal that are left free.
_MARGIN = 2


class StepChange(msgspec.Struct, frozen=True, kw_only=True):
    """A step whose status is new.

    Attributes:
        step: its internal name.
        status: its status now.
        message: for a failure, its reason in a line.
    """

    step: str
    status: str
    message: str


class RunChange(msgspec.Struct, frozen=True, kw_only=True):
    """What `watch --json` prints in a line whenever the run has changed.

    Attributes:
        time: when it was seen, in UTC.
        run_id: the run.
        status: its status, as `ls` shows it.
        steps: how many steps, at any depth, have which status.
        changed: the steps whose status is new.
    """

    time: str
    run_id: str
    status: str
    steps: dict[str, int]
    changed: list[StepChange]


def watch(
    run: RunArgument = "latest",
    store: StoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Watch a run until it ends: a live tree on a terminal, else a line for each step that begins or ends.

    The exit code tells how it ended: 0 for SUCCESS, 1 for anything else, also if the process that records it died.
    """
    opened = open_chosen_store(store, config)
    run_id = chosen_run(opened, run)
    _check_can_end(opened, run_id)
    try:
        if json:
            page = _print_changes(opened, run_id)
        elif sys.stdout.isatty():
            page = _draw(opened, run_id)
        else:
            page = _print_lines(opened, run_id)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None  # as shells say of SIGINT
    raise typer.Exit(FINE if page.status == SUCCESS else PROBLEMS)


def _check_can_end(store: Store, run_id: str) -> None:
    """Refuse to wait for the end of a run whose own record nobody can read; tell if nobody may be recording it."""
    log = store.get_run_log(run_id, full=False)
    if log.problems:
        problem = log.problems[0]
        print_error(
            f"Cannot watch run {run_id!r}: {problem.file}: {problem.message}. `chunkstore show` shows the rest."
        )
        raise typer.Exit(PROBLEMS)
    liveness = liveness_of(store, log)
    if liveness is not None and liveness.state == UNKNOWN:
        print_note(f"Whether anybody records this run is not known. {liveness.why} Ctrl-C ends watching.")


def _print_changes(store: Store, run_id: str) -> RunPage:
    before: RunLog | None = None
    for log in store.follow(run_id):
        page = run_page(log, liveness_of(store, log))
        changes = [
            StepChange(step=step.internal_name, status=step.status, message=shown_message(step.message))
            for step in changed_steps(before, log)
        ]
        print_json_line(RunChange(time=utc_now(), run_id=run_id, status=page.status, steps=page.steps, changed=changes))
        before = log
    return read_page(store, run_id)


def _print_lines(store: Store, run_id: str) -> RunPage:
    before: RunLog | None = None
    for log in store.follow(run_id):
        changed = list(changed_steps(before, log))
        if before is None and len(changed) > _MOST_BEFORE:
            sys.stdout.write(f"{counted(len(changed) - _MOST_BEFORE, 'step')} before\n")
            changed = changed[-_MOST_BEFORE:]
        for step in changed:
            texts = [
                _time_of(step),
                f"{mark_of(step.status)} {readable_name(step.internal_name)}",
                "" if step.status == PROCESSING else format_seconds(step_duration(step)),
                shown_message(step.message),
            ]
            sys.stdout.write(printable("  ".join(filter(None, texts))) + "\n")
        sys.stdout.flush()
        before = log
    page = read_page(store, run_id)
    _print_end(console(), page)
    return page


def _time_of(step: StepLog) -> str:
    """Return when a step began, or when it ended if it has."""
    last = last_attempt(step) or StepAttempt()
    moment = parse_time(last.start_time if step.status == PROCESSING else last.end_time or last.start_time)
    return moment.astimezone().strftime("%H:%M:%S") if moment else ""


def _print_end(out: Console, page: RunPage) -> None:
    for line in heading(page):
        out.print(styled(line))


# --- on a terminal ---------------------------------------------------------------------------------------------------


def _draw(store: Store, run_id: str) -> RunPage:
    from rich.live import Live  # noqa: PLC0415 - on terminals alone

    out = console()
    states = _Follower(store, run_id)
    log = states.newest(None)
    page = run_page(log, liveness_of(store, log))
    asked = time.monotonic()
    with Live(console=out, auto_refresh=False, transient=True, vertical_overflow="crop") as live:
        while True:
            live.update(_screen(page, out), refresh=True)
            if states.has_ended:
                break
            newer = states.newest(log)
            if newer is not log or time.monotonic() - asked > _ASKED_EVERY:
                log, asked = newer, time.monotonic()
                page = run_page(log, liveness_of(store, log))
    states.check()
    page = read_page(store, run_id)
    _print_end(out, page)
    for line in tree_lines(page.log, folding_of(page, unfolded=False)):
        out.print(styled(line), no_wrap=True, overflow="ellipsis", crop=True)
    return page


class _Follower:
    """Follows a run in a thread, so that the screen is drawn also while nothing changes."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._states: queue.SimpleQueue[RunLog | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self.has_ended = False
        threading.Thread(target=self._follow, args=(store, run_id), daemon=True).start()

    def _follow(self, store: Store, run_id: str) -> None:
        try:
            for log in store.follow(run_id):
                self._states.put(log)
                time.sleep(_DRAWN_EVERY)  # changes that come meanwhile come together
        except BaseException as error:  # noqa: BLE001 - raised where the screen is drawn
            self._error = error
        self._states.put(None)

    def newest(self, shown: RunLog | None) -> RunLog:
        """Return the newest state, after a moment the one that is shown if there is no newer one."""
        while True:
            try:
                state = self._states.get(timeout=_DRAWN_EVERY)
            except queue.Empty:
                if shown is not None:
                    return shown
                continue
            if state is not None:
                shown = state
                if self._states.empty():
                    return shown
                continue
            self.has_ended = True
            if shown is None:
                self.check()
                raise AssertionError  # a run that can be followed has a first state
            return shown

    def check(self) -> None:
        """Raise what ended following, if it was an error."""
        if self._error is not None:
            raise self._error


def _screen(page: RunPage, out: Console) -> Text:
    from rich.text import Text  # noqa: PLC0415 - on terminals alone

    folding = msgspec.structs.replace(folding_of(page, unfolded=False), now=datetime.now(timezone.utc))
    lines = [styled(line) for line in _fitting(page, folding, out.height - _MARGIN)]
    for line in lines:
        line.truncate(out.width, overflow="ellipsis")
    return Text("\n").join(lines)


def _fitting(page: RunPage, folding: Folding, height: int) -> Iterator[Line]:
    """Yield the lines of a run that fit on the screen: if not all do, what has not ended or failed, then the rest."""
    above = list(heading(page))
    lines = list(tree_lines(page.log, folding))
    for most in (8, 4, 0):
        if len(above) + len(lines) <= height:
            break
        narrower = msgspec.structs.replace(folding, most_branches=most, most_steps=2 * most, most_failed=max(most, 2))
        lines = list(tree_lines(page.log, narrower))
    yield from above
    yield from lines[-max(height - len(above), 1) :]


# --- what steps print ------------------------------------------------------------------------------------------------


class StepOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What a step printed, as `logs --json` prints it.

    Attributes:
        run_id: the run.
        step: the internal name of the step.
        file: where in the catalog it is kept.
        text: what it printed; bytes that are no UTF-8 are written with a backslash.
    """

    run_id: str
    step: str
    file: str
    text: str


def logs(
    run: RunArgument,
    step: Annotated[str, typer.Argument(metavar="STEP", help="A step's name, or the end of it.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the step ends, with what it prints meanwhile.")
    ] = False,
    store: StoreOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Print what a step printed.

    The exit code is 1 if some of the run could not be read.
    """
    opened = open_chosen_store(store, config)
    run_id = chosen_run(opened, run)
    log = opened.get_run_log(run_id)
    found = find_record(log, step)
    if isinstance(found, BranchLog):
        if len(found.steps) != 1:
            raise typer.BadParameter(f"{step!r} is a branch with {len(found.steps):,} steps. Name one of them.")
        (found,) = found.steps.values()
    name = found.internal_name
    kept = output_file(opened, run_id, found)
    if kept is None:
        if json:
            print_json(None)
        print_note(
            f"Nothing is kept of what {readable_name(name)} printed: it printed nothing, or the run captures no output."
        )
        end_of(log)
        return

    def has_ended() -> bool:
        return opened.get_step_log(run_id, name).status != PROCESSING or opened.is_abandoned(run_id)

    if json:
        text = b"".join(printed(kept)).decode(errors="backslashreplace")
        print_json(StepOutput(run_id=run_id, step=name, file=kept.file, text=text))
        end_of(log)
        return
    for block in printed(kept, has_ended if follow else None):
        sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
    end_of(log)
