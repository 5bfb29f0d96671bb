"""Which of several runs of one id is meant, and whose data it is."""

from mutant import Mutant

from defects.sources import CATALOG_CLAIMS, DIRECTORY, DOCUMENT, FOLLOWING, KNOWN_RUNS, MEMORY, NAMES, OPEN_FOLDERS

_INCARNATIONS = "tests/stores/test_incarnations.py"
_MEANWHILE = "tests/stores/test_deleted_meanwhile.py"
_DATA = "tests/recording/test_shared_catalogs.py"

MUTANTS = (
    Mutant(
        "an id that means one run means any of that id",
        NAMES,
        '    return incarnation_of(run_id) in {"", incarnation}',
        "    return True",
        f"{_INCARNATIONS} -k 'pinned_id or does_nothing_to_another'",
    ),
    Mutant(
        "a write goes to whichever run has the id",
        OPEN_FOLDERS,
        "                if handle.examined(within.examine) == within.incarnation:",
        "                if handle.examined(within.examine):",
        f"{_INCARNATIONS} {_MEANWHILE} -k 'acknowledged or pinned_id or does_nothing_to_another'",
    ),
    Mutant(
        "a read of a run that is deleted meanwhile passes for the whole run",
        DIRECTORY,
        """\
        if folder and not self._is_there(handle):
            raise MissingError(self._folders.path(folder))
""",
        "",
        f"{_MEANWHILE} -k gives_all_of_a_run",
    ),
    Mutant(
        "what is remembered of a run counts for the next of its id",
        KNOWN_RUNS,
        "        if present is not known and present.incarnation != known.incarnation:",
        "        if False:",
        f"{_INCARNATIONS} {_MEANWHILE} {_DATA} -k 'anew or acknowledged'",
        may_hang=True,
    ),
    Mutant(
        "what is remembered of a run in a document counts for the next of its id",
        DOCUMENT,
        "        if owned is None or owned.incarnation != document.incarnation:",
        "        if owned is None:",
        f"{_INCARNATIONS} {_MEANWHILE} {_DATA} -k 'anew or acknowledged'",
    ),
    Mutant(
        "whoever follows a run goes on with the next of its id",
        FOLLOWING,
        "            self._run_id = PinnedRunId(self._run_id, metadata.incarnation)  # no other of its id is followed",
        "            pass",
        f"{_INCARNATIONS} -k followed_and_made_anew",
        may_hang=True,
    ),
    Mutant(
        "in memory the lock of a deleted run is that of the next of its id",
        MEMORY,
        "            if self._folders.get(folder) is files:",
        "            if True:",
        f"{_MEANWHILE} -k in_memory_who_waited",
        may_hang=True,
    ),
    Mutant(
        "runs of one id share the data of a catalog",
        CATALOG_CLAIMS,
        '            if os.path.isdir(f"{claims}/{self.incarnation}{kind}"):\n                return kind\n',
        "            if os.path.isdir(claims):\n                return kind\n",
        f"{_DATA} -k keep_their_data_apart",
    ),
    Mutant(
        "whoever is deleted takes data along that others keep",
        CATALOG_CLAIMS,
        "        if kind == MADE and keepers:",
        "        if False:",
        f"{_DATA} -k imported",
    ),
    Mutant(
        "data is deleted wherever a record says that it is",
        "chunkstore/maintenance/data_places.py",
        "catalog_in_folder(path, usual.run_id, usual.incarnation)",
        'msgspec.structs.replace(catalog_in_folder(path, usual.run_id, "0" * 16), is_unclaimed=True)',
        "tests/maintenance/test_data_elsewhere.py -k 'goes_with or leads_to_no'",
    ),
    Mutant(
        "a run that runnable tries again is nobody's",
        "chunkstore/plugins/runnable/store.py",
        "            self._go_on(run_id)\n",
        "",
        "tests/plugins/test_retries.py",
    ),
    Mutant(
        "the last steps of a run that runnable has tried again are its next try",
        "chunkstore/plugins/runnable/store.py",
        "        if _gone_on.get(key) is context:",
        "        if False:",
        "tests/plugins/test_retries.py -k until_it_ends",
    ),
    Mutant(
        "an imported run does not keep its data",
        "chunkstore/maintenance/importing/imports.py",
        "        keep_data(store, log, incarnation, source)\n",
        "",
        f"{_DATA} -k imported",
    ),
    Mutant(
        "what others have changed is forgotten with a run that has ended",
        KNOWN_RUNS,
        "        known.was_forgotten = hash(known.incarnation) in self._forgotten\n",
        "",
        "tests/stores/test_many_runs.py -k what_others_changed",
    ),
    Mutant(
        "of runs that have ended all is kept",
        KNOWN_RUNS,
        "        if len(self._runs) <= _MOST_REMEMBERED:",
        "        if True:",
        "tests/stores/test_many_runs.py -k little_is_kept",
    ),
    Mutant(
        "the lock file of a document that was deleted stays",
        DIRECTORY,
        "        if self._is_local:\n            discard(self._folders.cached(folder), file)",
        "",
        "tests/stores/test_many_runs.py -k lock_file",
    ),
    Mutant(
        "a lock file is removed that other hosts may see for a while",
        DIRECTORY,
        "        if self._is_local:\n            discard(self._folders.cached(folder), file)",
        "        discard(self._folders.cached(folder), file)",
        "tests/stores/test_many_runs.py -k other_hosts",
    ),
)
