"""What the checks mean for those who record runs in a bucket: what holds there, and what to configure."""

from __future__ import annotations

from collections.abc import Mapping

from chunkstore.maintenance.doctor.buckets.probes import Latencies
from chunkstore.maintenance.doctor.probes import in_words
from chunkstore.maintenance.doctor.report import BAD, CAUTION, GOOD, Check, Guarantee, Setting
from chunkstore.maintenance.doctor.verdict import by_checks

_WHOLE = ("create-only", "create-race", "metadata", "names", "deleting")
_READS = ("read-after-write", "listing", "listing-offset")
_CHANGES = ("if-match", "change-race")


def guarantees(checks: Mapping[str, Check], *, is_in_memory: bool, lost_after: float) -> list[Guarantee]:
    """Return what users can rely on there.

    Args:
        checks: by name.
        is_in_memory: whether it is in the memory of this process alone.
        lost_after: seconds of silence after which a run is said to be lost.
    """
    found = [
        by_checks("What was recorded is never lost, torn or mixed, whoever is killed", checks, _WHOLE),
        by_checks("A read shows everything that was recorded before it", checks, _READS),
        by_checks("Changes that several processes make at once are all kept", checks, _CHANGES),
    ]
    if is_in_memory:
        reason = "It is in the memory of this process, and goes with it."
        found.append(Guarantee(promise="What was recorded survives the process", result=CAUTION, reason=reason))
        return found
    lives = by_checks("A run whose process died is told from one that is slow", checks, (*_READS, *_CHANGES))
    if lives.result == GOOD:
        reason = f"After {lost_after:g} seconds of silence, by the server's clock."
        lives = Guarantee(promise=lives.promise, result=GOOD, reason=reason)
    found.append(lives)
    found.append(by_checks("Several hosts can record one run at once", checks, (*_WHOLE, *_READS, *_CHANGES)))
    durable = "What was recorded survives a loss of power"
    found.append(
        Guarantee(promise=durable, result=GOOD, reason="Whatever the server has acknowledged, as it promises.")
    )
    return found


def settings(url: str, measured: Latencies | None) -> list[Setting]:
    """Return what to configure for a store there, and why."""
    found = [
        Setting(key="type", value="chunked-object", reason="any number of processes can write at once"),
        Setting(key="url", value=url, reason="credentials as obstore finds them, or options under `server`"),
    ]
    if measured is not None:
        sealed = 2 * measured.get + measured.listing
        loose = 1_000 / measured.gets_per_second + measured.get + measured.listing
        reason = (
            f"the default: whoever ends a run seals it; one of 1,000 steps is then read in about {in_words(sealed)}, "
            f"not {in_words(loose)}"
        )
        found.append(Setting(key="seal_finished_runs", value="0", reason=reason))
    return found


def does_hold(checks: Mapping[str, Check]) -> bool:
    """Tell whether everything holds that chunkstore relies on."""
    return all(check.result != BAD for check in checks.values())
