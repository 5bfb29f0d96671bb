"""Who keeps whom out, and who owns what."""

from mutant import Mutant

from defects.sources import (
    CHUNKED,
    CLOCK,
    DOCUMENT,
    HELD,
    LOCKS,
    NOT_SHARED,
    OUTPUT,
    PARAMETER_FILES,
    RECORD_WRITER,
    STORE,
    STRIPES,
)

_LOCKS = "tests/backends/test_locks.py"
_CHUNKED = (
    "tests/stores/test_conformance.py -k 'TestChunkedFolder and not Pretty and not Short and not Remember and {}'"
)

MUTANTS = (
    Mutant(
        "others change a record without the lock",
        RECORD_WRITER,
        "internal_name, kind, change), within=known\n",
        f"internal_name, kind, change), {NOT_SHARED}, within=known\n",
        "tests/proofs/test_parallel_processes.py -k counting_at_once",
    ),
    Mutant(
        "parameters are changed without the lock",
        PARAMETER_FILES,
        "        self.backend.change(run_id, change_parameters, within=known)",
        f"        self.backend.change(run_id, change_parameters, {NOT_SHARED}, within=known)",
        "tests/proofs/test_parallel_processes.py -k parameters_set_at_once",
    ),
    Mutant(
        "parameters are read before the lock is taken",
        PARAMETER_FILES,
        """\
        def change_parameters(change: Change) -> None:
            current, has_file = self._load_to_change(change, run_id, scope)
""",
        """\
        with self.backend.reader(run_id) as reader:
            current, has_file = self._load(reader, run_id, scope, is_changing=True)

        def change_parameters(change: Change) -> None:
""",
        "tests/proofs/test_parallel_processes.py -k parameters_set_at_once",
    ),
    Mutant(
        "the record of a run is changed without the lock",
        CHUNKED,
        "            return self.backend.change(run_id, change_run, within=known)",
        f"            return self.backend.change(run_id, change_run, {NOT_SHARED}, within=known)",
        "tests/proofs/test_parallel_processes.py -k change_the_run_at_once",
    ),
    Mutant(
        "the record of a run is read before the lock is taken",
        CHUNKED,
        "            def change_run(folder: Change) -> RunLog:\n"
        "                log = checked_run_log(folder.load(RUN_FILE, known=True), run_id)\n",
        "            log = read_run_file(self.backend, run_id)\n\n"
        "            def change_run(folder: Change) -> RunLog:\n",
        "tests/proofs/test_parallel_processes.py -k change_the_run_at_once",
    ),
    Mutant(
        "a document is changed without the lock",
        DOCUMENT,
        "        return self._locks.change(_TOP, act, lock=_lock_of(run_id))",
        f"        return self._locks.change(_TOP, act, {NOT_SHARED})",
        "tests/proofs/test_parallel_processes.py -k parameters_set_at_once",
    ),
    Mutant(
        "a run is deleted without the lock",
        CHUNKED,
        "        return self.backend.change(run_id, delete)",
        f"        return self.backend.change(run_id, delete, {NOT_SHARED})",
        "tests/stores/test_moved_folders.py -k deleting_waits",
    ),
    Mutant(
        "threads that record one step at once make a file each",
        RECORD_WRITER,
        "        with passable(self._stripes.of(run_id, *key)):\n            file = known.owned.get(key)",
        "        if True:\n            file = known.owned.get(key)",
        "tests/proofs/test_killed_and_forked.py -k one_file_of_it",
    ),
    Mutant(
        "the lock file is removed after use",
        LOCKS,
        "                unlock_descriptor(self._fd)\n",
        "                unlock_descriptor(self._fd)\n                os.unlink(self._location)\n",
        f"{_LOCKS} -k never_removed",
    ),
    Mutant(
        "a lock on a file that was removed is good enough",
        LOCKS,
        "is_there = not is_locked or self._syscalls.fstat(self._fd).st_nlink > 0",
        "is_there = True",
        f"{_LOCKS} -k somebody_removed",
    ),
    Mutant(
        "whoever has waited long enough takes the lock",
        LOCKS,
        "                raise self._timed_out(timeout, self._holder())",
        "                return",
        f"{_LOCKS} -k timeout_names",
    ),
    Mutant(
        "a file system without locks is written to without locks",
        LOCKS,
        "            raise self._no_locks(error) from error",
        "            return True",
        f"{_LOCKS} -k without_locks",
    ),
    Mutant(
        "a thread may take the lock that it has",
        LOCKS,
        "        if self._thread == threading.get_ident():\n            raise",
        "        if False:\n            raise",
        f"{_LOCKS} -k locking_twice",
        may_hang=True,
    ),
    Mutant(
        "a forked child keeps the lock of its parent",
        LOCKS,
        "        lock.abandon()",
        "        pass",
        "tests/backends/test_orphaned_locks.py",
    ),
    Mutant(
        "a forked child unlocks the lock of its parent",
        LOCKS,
        "        try:\n            self._close()\n        except OSError:\n            pass  # closed by somebody else",
        "        if self._fd is not None:\n            unlock_descriptor(self._fd)",
        f"{_LOCKS} -k forked_child",
    ),
    Mutant(
        "whoever has waited in vain keeps other threads out",
        LOCKS,
        "            self._mutex.release()\n            give_back(self._mutex)",
        "            give_back(self._mutex)",
        "tests/backends/test_locks.py -k in_vain",
    ),
    Mutant(
        "an interrupt while the lock is taken keeps it",
        LOCKS,
        "        except BaseException:\n            self._give_up()",
        "        except Exception:\n            self._give_up()",
        "tests/proofs/test_interrupts.py -k 'around_any_system_call and parameters and chunked'",
        may_hang=True,
    ),
    Mutant(
        "an interrupt while the lock is given back keeps it",
        "chunkstore/backends/turns.py",
        "                except BaseException:\n                    release()\n                    raise",
        "                except BaseException:\n                    raise",
        "tests/proofs/test_interrupts.py -k 'between_any_two_calls and parameters and chunked'",
        may_hang=True,
    ),
    Mutant(
        "a forked child owns what its parent has written",
        CHUNKED,
        "        self._owned = KnownRuns()\n",
        '        self._owned = getattr(self, "_owned", None) or KnownRuns()\n',
        "tests/proofs/test_killed_and_forked.py -k owns_nothing",
    ),
    Mutant(
        "a forked child owns what its parent has written in a document",
        DOCUMENT,
        "        self._owned: KnownRuns[OwnRecords] = KnownRuns()\n",
        '        self._owned = getattr(self, "_owned", None) or KnownRuns()\n',
        "tests/proofs/test_killed_and_forked.py -k owns_nothing",
    ),
    Mutant(
        "whoever receives a store owns what its sender has written",
        STORE,
        "self.options, self.catalog_path, clock.latest)\n",
        """\
self.options, self.catalog_path, clock.latest), {
            run_id: (known.incarnation, known.owned) for run_id, known in self._owned._runs.items()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for run_id, (incarnation, owned) in state.items():
            if (known := self._known(run_id)).incarnation == incarnation:
                known.owned.update(owned)
""",
        _CHUNKED.format("unpickled"),
    ),
    Mutant(
        "the stripes of a forked child stay locked",
        CHUNKED,
        "        self._stripes.reset_after_fork()\n",
        "",
        "tests/proofs/test_killed_and_forked.py -k every_mutex",
    ),
    Mutant(
        "the clock goes back to what a thread had read before others asked it",
        CLOCK,
        "            if heappushpop(self._heap, new) < new:",
        "            self._latest = new\n            if True:",
        "tests/test_clock.py -k in_the_middle",
    ),
    Mutant(
        "a change under a lock does not look whether one came while it wrote",
        "chunkstore/backends/turns.py",
        "        if self._put_right(mine, write, load):",
        "        if False:",
        "tests/proofs/test_calls_inside_calls.py -k 'during_the_write'",
    ),
    Mutant(
        "a record that was added to while it was written is not written again",
        "chunkstore/recording/step_record.py",
        "        return self._last_write is mark",
        "        return True",
        "tests/proofs/test_calls_inside_calls.py -k 'of_the_very_step'",
    ),
    Mutant(
        "a call in the middle of an append goes on with the same journal",
        "chunkstore/stores/packed/journals.py",
        "if not is_ours or writer.is_busy:",
        "if not is_ours:",
        "tests/proofs/test_calls_inside_calls.py -k 'journal_that_is_being_written'",
    ),
    Mutant(
        "a call that interrupts another waits for whoever waits for that",
        "chunkstore/interrupts.py",
        "_PATIENCE if interrupts_another() or sys.is_finalizing() else -1",
        "-1",
        "tests/proofs/test_calls_inside_calls.py -k 'other_threads'",
        may_hang=True,
    ),
    Mutant(
        "a stream keeps writing with what a step has exchanged",
        "chunkstore/recording/streams.py",
        "                if not write.users:\n                    write.take_away()",
        "                pass",
        "tests/recording/test_streams.py -k restored",
    ),
    Mutant(
        "a block that is left after one that was entered later stays the current one",
        "chunkstore/recording/context.py",
        "        self.is_over = True\n",
        "",
        "tests/recording/test_context.py -k 'take_turns'",
    ),
    Mutant(
        "what is remembered of a run counts for the next one of its id",
        CHUNKED,
        "        if incarnation != known.incarnation:",
        "        if not known.incarnation:",
        "tests/stores/test_moved_folders.py -k owns_nothing",
    ),
    Mutant(
        "whoever wrote a record in a document owns it in the next run of that id",
        DOCUMENT,
        "if owned is None or owned.incarnation != document.incarnation:",
        "if owned is None:",
        "tests/stores/test_incarnations.py -k 'is_in_the_new_one and document'",
    ),
    Mutant(
        "a forked child prints into the file of its parent's step",
        OUTPUT,
        "        if not text or os.getpid() != self._pid:",
        "        if not text:",
        "tests/recording/test_output.py -k forked_child",
    ),
    Mutant(
        "a buffered store works in a forked child",
        "chunkstore/backends/memory.py",
        "        if os.getpid() != self._pid:",
        "        if False:",
        "tests/proofs/test_killed_and_forked.py -k buffered",
    ),
    Mutant(
        "a newer format is written to under the lock",
        CHUNKED,
        "                check_format(log)\n                new = as_stored",
        "                new = as_stored",
        "tests/stores/test_newer_formats.py",
    ),
    Mutant(
        "whoever looks at an owner takes its lock",
        HELD,
        "        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)",
        "        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "tests/stores/test_liveness.py -k 'looks'",
    ),
    Mutant(
        "processes of several hosts add who they are without waiting for each other",
        HELD,
        "while not (has_turn := lock_range(self._fd, _APPENDING, 1)) and time",
        "while not (has_turn := True) and time",
        "tests/backends/test_freshness.py -k one_after_the_other",
    ),
    Mutant(
        "an owner is seen only by those who try to lock its file",
        HELD,
        "        if ARE_THERE and locked_range(fd, 0, TO_THE_END) is not None:",
        "        if False:",
        "tests/stores/test_liveness.py",
    ),
    Mutant(
        "an owner locks nothing that older versions know",
        HELD,
        "            _try_long_enough(fd)  # for older versions; that does not matter to us\n",
        "",
        "tests/stores/test_liveness.py -k older_version",
    ),
    Mutant(
        "whoever leaves a run takes the file of the others along",
        HELD,
        "            if lock_range(self._fd, 0, TO_THE_END):  # nobody else holds it, and nobody can begin to",
        "            if True:",
        "tests/stores/test_liveness.py -k join",
    ),
    Mutant(
        "whoever joins a run does so in a file that has been removed",
        HELD,
        "        if self._syscalls.fstat(self._fd).st_nlink:\n            return True\n        self.abandon()",
        "        if True:\n            return True\n        self.abandon()",
        "tests/stores/test_liveness.py -k join",
    ),
    Mutant(
        "whoever writes several records locks their stripes in any order",
        STRIPES,
        "sorted({hash(key) % _COUNT for key in keys})",
        "list({hash(key) % _COUNT: None for key in keys})",
        "tests/proofs/test_changes_at_once.py -k one_order",
    ),
    Mutant(
        "the last but one to leave a run takes the file of whoever has joined meanwhile",
        HELD,
        "is_ours = self._syscalls.fstat(self._fd).st_nlink  # else the name is that of others by now",
        "is_ours = True",
        "tests/stores/test_liveness.py -k two_who_leave",
    ),
)
