"""Who is dead, what is wrong, what is moved and deleted: liveness, verify, repair and retention."""

from mutant import Mutant

from defects.sources import CATALOG_CLAIMS, FORKS, WATCHING

_LIVENESS = "chunkstore/stores/runs/liveness.py"
_REPAIR = "tests/maintenance/test_repair.py -k '{}'"

MUTANTS = (
    Mutant(
        "a deletion of data that was stopped leaves its folder of claims for ever",
        CATALOG_CLAIMS,
        "                discard_folder(each)  # which stays while there are claims of others in it\n",
        "                pass\n",
        "tests/recording/test_shared_catalogs.py",
    ),
    Mutant(
        "an owner that shows its locks to nobody is dead",
        _LIVENESS,
        "return mount.has_shared_locks and owner.locks != _OF_ONE_HOST",
        "return mount.has_shared_locks",
        "tests/stores/test_liveness.py -k free_lock",
    ),
    Mutant(
        "whoever is on another host is dead",
        _LIVENESS,
        '    return UNKNOWN, f"It was recorded by {who}, and locks of that host {hidden}',
        '    return LOST, f"It was recorded by {who}, and locks of that host {hidden}',
        "tests/stores/test_liveness.py -k free_lock",
    ),
    Mutant(
        "a lock that cannot be looked at means death",
        _LIVENESS,
        "    if is_held is False:",
        "    if not is_held:",
        "tests/stores/test_liveness.py -k cannot_be_looked_at",
    ),
    Mutant(
        "who has joined a run does not count",
        WATCHING,
        "        if joined.living:\n            living, heard",
        "        if False:\n            living, heard",
        "tests/stores/test_liveness.py -k joined",
    ),
    Mutant(
        "a run that was joined is lost when its processes have died",
        _LIVENESS,
        "state = LOST if has_open_work else UNKNOWN",
        "state = LOST",
        "tests/stores/test_liveness.py -k joined",
    ),
    Mutant(
        "collections stay off in a forked child",
        "chunkstore/records/garbage.py",
        "    if _waiting:\n        _waiting.clear()",
        "    if False:\n        _waiting.clear()",
        "tests/records/test_garbage.py -k forks",
    ),
    Mutant(
        "a run hears of no fork if another thread begins to record meanwhile",
        FORKS,
        "            pass  # another thread has added one meanwhile",
        "            return []",
        "tests/recording/test_forked_children.py -k a_run_knows",
    ),
    Mutant(
        "what seems wrong for a moment is reported",
        "chunkstore/maintenance/checking/verification.py",
        "            yield from (one for one in suspect.found if one in again)",
        "            yield from suspect.found",
        "tests/maintenance/test_verify_sound_runs.py -k for_a_moment_only",
    ),
    Mutant(
        "a file that its owner has just replaced is moved to quarantine",
        "chunkstore/backends/disk/quarantine.py",
        "    if is_damaged(lambda: folder.load(aside)):",
        "    if True:",
        _REPAIR.format("its_owner_replaces_meanwhile"),
    ),
    Mutant(
        "what is in quarantine is overwritten",
        "chunkstore/backends/disk/quarantine.py",
        "        if not folder.has_entry(path):",
        "        if True:",
        _REPAIR.format("overwritten_by_nothing"),
    ),
    Mutant(
        "a quarantine may be a link",
        "chunkstore/backends/disk/quarantine.py",
        "        if not stat.S_ISDIR(folder.syscalls.lstat(QUARANTINE, folder.fd).st_mode):",
        "        if False:",
        _REPAIR.format("is_a_link_is_not_followed"),
    ),
    Mutant(
        "a run that has changed since the plan is deleted",
        "chunkstore/maintenance/retention/deleting.py",
        "        reason = _why_not(store, run, since_plan)",
        '        reason = ""',
        "tests/maintenance/test_collecting.py -k since_the_plan",
    ),
    Mutant(
        "what an unsuccessful run resumed is deleted",
        "chunkstore/maintenance/retention/planning.py",
        "    for run_id, reason in still_needed(summaries, set(chosen)).items():",
        "    for run_id, reason in {}.items():",
        "tests/maintenance/test_retention.py -k an_unsuccessful_run_resumed",
    ),
)
