"""What the checks mean for those who record runs: what holds there, and what to configure."""

from __future__ import annotations

from collections.abc import Mapping

from chunkstore.maintenance.doctor.probes import Latencies, in_words
from chunkstore.maintenance.doctor.report import BAD, CAUTION, GOOD, TOLD, Check, Guarantee, Setting
from chunkstore.maintenance.doctor.surroundings import Surroundings

#: From here on, a file for each record is slow, and so is a sync for each.
_SLOW_WRITE, _SLOW_SYNC = 1e-3, 10e-3
_MANY_CHUNKS = "100"

_WHOLE = ("replace", "publish", "unnamed", "hard-links", "exclusive", "folder-rename", "name-length")
_LOCKS = ("lock", "lock-of-the-dead", "lock-of-a-parent")


def guarantees(checks: Mapping[str, Check], where: Surroundings) -> list[Guarantee]:
    """Return what users can rely on there.

    Args:
        checks: by name.
        where: what is mounted there.
    """
    return [
        by_checks("What was recorded is never lost, torn or mixed, whoever is killed", checks, _WHOLE),
        by_checks("A read shows everything that was recorded before it", checks, ("listing", "replace", "fresh-look")),
        by_checks("Changes that several processes make at once are all kept", checks, _LOCKS),
        _liveness(checks, where),
        _many_hosts(checks, where),
        _power(checks, where),
    ]


def by_checks(promise: str, checks: Mapping[str, Check], needed: tuple[str, ...]) -> Guarantee:
    """Return that a promise holds, or by which of the checks it does not.

    Args:
        promise: what users rely on.
        checks: by name.
        needed: what it takes.
    """
    bad = [checks[name] for name in needed if name in checks and checks[name].result == BAD]
    if bad:
        return Guarantee(promise=promise, result=BAD, reason=f"{bad[0].title}: no. {bad[0].detail}")
    return Guarantee(promise=promise, result=GOOD)


def _liveness(checks: Mapping[str, Check], where: Surroundings) -> Guarantee:
    promise = "A run whose process died is told from one that is slow"
    found = by_checks(promise, checks, _LOCKS)
    if found.result == BAD or where.hosts == "one":
        return found
    if where.locks_are_shared and by_checks(promise, checks, ("server-lock",)).result == GOOD:
        return Guarantee(promise=promise, result=GOOD, reason="Also from other hosts.")
    return Guarantee(promise=promise, result=CAUTION, reason="On its own host alone; elsewhere it is UNKNOWN.")


def _many_hosts(checks: Mapping[str, Check], where: Surroundings) -> Guarantee:
    promise = "Several hosts can record one run at once"
    locks = by_checks(promise, checks, (*_LOCKS, "server-lock", "fresh-look"))
    if locks.result == BAD:
        return locks
    if where.hosts == "one":
        return Guarantee(promise=promise, result=TOLD, reason="No other host has this disk.")
    if where.locks_are_shared:
        return Guarantee(promise=promise, result=GOOD)
    return Guarantee(promise=promise, result=CAUTION, reason="Not for changes to the same record: see above.")


def _power(checks: Mapping[str, Check], where: Surroundings) -> Guarantee:
    promise = "What was recorded survives a loss of power, as `durability` says"
    if not where.outlives_power:
        return Guarantee(promise=promise, result=CAUTION, reason="It is kept in memory.")
    sync = by_checks(promise, checks, ("sync",))
    if sync.result == BAD:
        return sync
    return Guarantee(promise=promise, result=GOOD, reason="As far as the disk or the server tells the truth.")


def settings(checks: Mapping[str, Check], where: Surroundings, measured: Latencies) -> list[Setting]:
    """Return what to configure for a store there, and why."""
    found = [Setting(key="type", value="chunked-fs", reason="any number of processes can write at once")]
    found.append(_durability(checks, where, measured))
    is_slow = measured.write is not None and measured.write >= _SLOW_WRITE
    if is_slow or where.hosts == "many":
        reason = f"a new file takes {in_words(measured.write)} here; a line in a file that is open takes less"
        found.append(Setting(key="container", value="journal", reason=reason))
    else:
        reason = f"a new file takes {in_words(measured.write)}"
        found.append(Setting(key="container", value="files", reason=reason))
    if is_slow or where.hosts == "many" or checks["room"].result == CAUTION:
        reason = "finished runs are read faster, and take few files"
        found.append(Setting(key="seal_finished_runs", value=_MANY_CHUNKS, reason=reason))
    return found


def _durability(checks: Mapping[str, Check], where: Surroundings, measured: Latencies) -> Setting:
    if checks["sync"].result == BAD or not where.outlives_power:
        return Setting(key="durability", value="process", reason="nothing here survives a loss of power anyhow")
    cost = in_words(measured.synced)
    if measured.synced is not None and measured.synced < _SLOW_SYNC:
        reason = f"finished runs survive a loss of power; with `step`, every record does, for {cost} each"
    else:
        reason = f"finished runs survive a loss of power; `step` would take {cost} for every record"
    return Setting(key="durability", value="run", reason=reason)
