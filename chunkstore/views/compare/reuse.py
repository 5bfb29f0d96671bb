"""Why a step of a resumed run ran again, or was taken over: what the records of both runs say."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import UNSET

from chunkstore.records.models import BranchLog, RunLog, StepLog
from chunkstore.views.compare.diff import changes, data_changes
from chunkstore.views.compare.differences import Change, DataChange
from chunkstore.views.compare.earlier_records import GET, AnyRecord, EarlierRecords, all_records, function_step, step_of
from chunkstore.views.compare.reuse_reasons import (
    ARGUMENTS,
    ARGUMENTS_UNKNOWN,
    COMPOSITE,
    IN_A_RUN,
    NOT_SEEN,
    NOT_THERE,
    OTHER_MODULES,
    OTHER_MODULES_WITHOUT_GIT,
    UNTOLD,
    Reason,
    branch_reasons,
    data_inside,
    reason_beforehand,
    step_reasons,
)
from chunkstore.views.recorded_values import GIT, parameters_in, parameters_of


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Why a step or branch ran, or where it was taken over from.

    Attributes:
        where: its internal name.
        kind: `step` or `branch`.
        status: its status in this run.
        taken_over_from: the run; empty if it ran.
        compared_with: the earlier run whose record of it counted; empty if there is none.
        reasons: why it ran; of what was taken over, none.
        parameters: what it was called with, as its author recorded it, or the branch's own, as far as they differ.
        data: what it got from the catalog, as far as it differs.
    """

    where: str
    kind: str
    status: str
    taken_over_from: str = ""
    compared_with: str = ""
    reasons: list[Reason] = msgspec.field(default_factory=list)
    parameters: list[Change] = msgspec.field(default_factory=list)
    data: list[DataChange] = msgspec.field(default_factory=list)


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a step of a run ran, or was taken over.

    Attributes:
        run_id: the run.
        resumed: the run that it resumed; empty if there is none.
        looked_at: the earlier runs whose records were looked at, the nearest first.
        step: of the step or branch itself.
        branches: of each branch of a `map` or `parallel`.
        parameters: of the run, as far as they differ from those of the run that it resumed.
        not_seen: what may differ too, as no run can see it; empty where that decided nothing.
    """

    run_id: str
    resumed: str
    looked_at: list[str]
    step: Verdict
    branches: list[Verdict]
    parameters: list[Change]
    not_seen: list[str] = msgspec.field(default_factory=list)


def explain(log: RunLog, record: StepLog | BranchLog, earlier: Iterable[RunLog]) -> Explanation:
    """Return why a step or branch of a run ran again, or where it was taken over from.

    Args:
        log: the run, whole.
        record: the step or branch, out of `log`.
        earlier: the run that it resumed, the run that that one resumed, and so on. As many are taken as are needed.
    """
    branches = list(record.branches.values()) if isinstance(record, StepLog) else []
    # The step that runs a branch's function is decided about with its branch, unless it was taken over alone.
    around = _branch_that_it_is(log, record) if record.cached_from is UNSET else None
    subject = around or record
    subjects: Iterable[AnyRecord] = branches or [subject]
    past = EarlierRecords({(type(part), part.internal_name) for one in subjects for part in _deciding(one)})
    parameters: list[Change] = []
    if log.original_run_id and log.use_cached:
        for number, previous in enumerate(earlier):
            if number == 0:
                parameters = changes("", *(parameters_in(one, one.parameters) for one in (previous, log)))
            past.add(previous)
            if past.is_complete:
                break
    step = _composite(record, log) if branches and isinstance(record, StepLog) else _verdict(subject, log, past)
    verdicts = [_verdict(branch, log, past) for branch in branches]
    return Explanation(
        run_id=log.run_id,
        resumed=log.original_run_id or "",
        looked_at=past.runs,
        step=msgspec.structs.replace(step, where=record.internal_name, status=record.status, kind=_kind(record)),
        branches=verdicts,
        parameters=parameters,
        not_seen=_not_seen(log) if any(verdict.taken_over_from for verdict in (step, *verdicts)) else [],
    )


def _not_seen(log: RunLog) -> list[str]:
    """Return what no record of a run tells of; without a commit that is all code of other modules."""
    steps = (record for record in all_records(log) if isinstance(record, StepLog))
    has_commit = any(code.code_identifier_type == GIT for step in steps for code in step.code_identities)
    return [OTHER_MODULES if has_commit else OTHER_MODULES_WITHOUT_GIT, *NOT_SEEN]


def earlier_run_of(log: RunLog) -> str:
    """Return the run whose results a run could take over; empty if there is none."""
    return (log.original_run_id or "") if log.use_cached else ""


def _kind(record: AnyRecord) -> str:
    return "step" if isinstance(record, StepLog) else "branch"


def _deciding(record: AnyRecord) -> list[AnyRecord]:
    """Return the records whose counterparts in earlier runs decide about one."""
    step = function_step(record) if isinstance(record, BranchLog) else None
    return [record, step] if step else [record]


def _branch_that_it_is(log: RunLog, record: AnyRecord) -> BranchLog | None:
    """Return the branch whose function a step runs: they are taken over together; None for any other record."""
    for found in all_records(log):
        if isinstance(found, BranchLog) and function_step(found) is record:
            return found
    return None


# --- verdicts --------------------------------------------------------------------------------------------------------


def _composite(step: StepLog, log: RunLog) -> Verdict:
    """Return the verdict on a composite step, which is decided about branch by branch."""
    if not log.original_run_id or step.cached_from is not UNSET:
        return _verdict(step, log, EarlierRecords(set()))
    text = f"A {step.step_type} always runs itself; each of its branches is taken over, or runs again."
    return Verdict(where="", kind="", status="", reasons=[Reason(kind=COMPOSITE, text=text)])


def _taken_over_from(record: AnyRecord) -> str:
    """Return the run that a record was taken over from; of a branch, also if only its function's step was."""
    step = function_step(record) if isinstance(record, BranchLog) else None
    known = (record.cached_from, UNSET if step is None else step.cached_from)
    return next((run for run in known if run is not UNSET), "")


def _verdict(record: AnyRecord, log: RunLog, past: EarlierRecords) -> Verdict:
    where, kind = record.internal_name, _kind(record)
    if taken_over_from := _taken_over_from(record):
        return Verdict(where=where, kind=kind, status=record.status, taken_over_from=taken_over_from)
    if reason := reason_beforehand(record, log, past):
        return Verdict(where=where, kind=kind, status=record.status, reasons=[reason])
    before = past.branch(where) if isinstance(record, BranchLog) else past.step(where)
    if before is None:
        others = ", nor have those that it resumed" if len(past.runs) > 1 else ""
        unread = ", as far as it could be read" if past.has_problems else ""
        text = f"Run {past.runs[0]} has no such {kind}{others}{unread}."
        return Verdict(where=where, kind=kind, status=record.status, reasons=[Reason(kind=NOT_THERE, text=text)])
    old, run = before
    if isinstance(record, BranchLog):
        assert isinstance(old, BranchLog)
        reasons = branch_reasons(record, old, run, past)
        parameters = changes(where, parameters_in(run, old.parameters), parameters_in(log, record.parameters))
    else:
        assert isinstance(old, StepLog)
        reasons = step_reasons(record, old, run, data_inside(old), past)
        parameters = []
    inner, inner_before = step_of(record), step_of(old)
    data: list[DataChange] = []
    if inner and inner_before:
        parameters += changes(inner.internal_name, parameters_of(inner_before), parameters_of(inner))
        data = [change for change in data_changes(inner_before, inner)[0] if change.stage == GET]
    return Verdict(
        where=where,
        kind=kind,
        status=record.status,
        compared_with=run.run_id,
        reasons=reasons,
        parameters=parameters,
        data=data,
    )


# --- verdicts that are alike -----------------------------------------------------------------------------------------


class Alike(msgspec.Struct, frozen=True, kw_only=True):
    """Branches with the same verdict.

    Attributes:
        what: the verdict in a few words.
        verdicts: of each branch.
        texts: the reasons, if they are the same for all.
    """

    what: str
    verdicts: list[Verdict]
    texts: list[str]


def may_rest_on_parameters(explanation: Explanation) -> bool:
    """Tell whether parameters of the run may be behind the reasons: if arguments changed, or no reason is told."""
    verdicts = [explanation.step, *explanation.branches]
    kinds = {reason.kind for verdict in verdicts for reason in verdict.reasons}
    return not kinds.isdisjoint({ARGUMENTS, ARGUMENTS_UNKNOWN, *UNTOLD})


def alike(verdicts: Iterable[Verdict]) -> list[Alike]:
    """Return verdicts by what they say, the largest group first."""
    groups: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault(summary_of(verdict), []).append(verdict)
    found = []
    for what, members in sorted(groups.items(), key=lambda group: -len(group[1])):
        texts = [reason.text for reason in members[0].reasons]
        is_common = all([reason.text for reason in member.reasons] == texts for member in members)
        found.append(Alike(what=what, verdicts=members, texts=texts if is_common else []))
    return found


def summary_of(verdict: Verdict) -> str:
    """Return a verdict in a few words: `taken over from run first`, `ran: failed in run first`."""
    if verdict.taken_over_from:
        return f"taken over from run {verdict.taken_over_from}"
    kinds = [reason.kind for reason in verdict.reasons if reason.kind != COMPOSITE]
    if not kinds:
        return "ran"
    run = ""
    if verdict.compared_with and kinds[-1] not in UNTOLD:
        run = f" {'in' if kinds[-1] in IN_A_RUN else 'since'} run {verdict.compared_with}"
    return f"ran: {', '.join(kinds)}{run}"
