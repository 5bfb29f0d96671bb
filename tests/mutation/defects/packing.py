"""Sealing, journals and following: what is packed, removed, found and yielded."""

from mutant import Mutant

from defects.sources import APPENDED, CHUNKED, FOLDER, FOLLOWING, HELD, JOURNALS, PACKED_FILE, RUN_FILES, SEALING

_MEANWHILE = "tests/test_sealed_meanwhile.py -k '{}'"
_SEALING = "tests/test_sealing.py -k '{}'"
_JOURNALS = "tests/test_journals.py"
_BACKENDS = "tests/test_backends.py -k '{}'"
_FOLLOWING = "tests/test_following.py -k '{}'"

MUTANTS = (
    # --- sealing
    Mutant(
        "a sealed file is not synced before chunks are removed",
        SEALING,
        "backend.publish(run_id, file, lines, durable=True)",
        "backend.publish(run_id, file, lines)",
        "tests/test_crash_states.py -k sealing",
    ),
    Mutant(
        "a chunk is removed though its owner has replaced it since it was packed",
        FOLDER,
        "        if self._load_entry(aside) == data:",
        "        if True:",
        _BACKENDS.format("removed_only_if"),
    ),
    Mutant(
        "a chunk that was replaced meanwhile is not put back",
        FOLDER,
        "            self._syscalls.link(aside, file, self.fd)\n        except FileExistsError:",
        "            pass\n        except FileExistsError:",
        _BACKENDS.format("removed_only_if"),
    ),
    Mutant(
        "readers do not look for what is set aside",
        FOLDER,
        "            return self._load_entry(ASIDE_PREFIX + file)",
        "            raise FileNotFoundError(file)",
        _SEALING.format("set_aside"),
    ),
    Mutant(
        "listings leave out what is set aside",
        FOLDER,
        "                    found.setdefault(name.removeprefix(ASIDE_PREFIX), False)",
        "                    pass",
        _SEALING.format("set_aside"),
    ),
    Mutant(
        "what was put back is taken for removed",
        FOLDER,
        "        if self._exists(aside) and self._exists(file):",
        "        if False:",
        _BACKENDS.format("put_back"),
    ),
    Mutant(
        "lines that were added since a file was packed are removed with it",
        FOLDER,
        "self._syscalls.fstat(fd).st_size != size",
        "False",
        _BACKENDS.format("appended_to_is_removed"),
    ),
    Mutant(
        "a chunk that cannot be read is dropped from the sealed file that has it",
        SEALING,
        "        elif older := files.packed_lines(name):",
        "        elif older := []:",
        _SEALING.format("torn_file_beside"),
    ),
    Mutant(
        "a damaged sealed file is removed",
        SEALING,
        "        if files.is_damaged(file):",
        "        if False:",
        _SEALING.format("never_removed"),
    ),
    Mutant(
        "a run that goes on is sealed",
        CHUNKED,
        "            if not is_finished(log):\n                raise StoreUsageError(",
        "            if False:\n                raise StoreUsageError(",
        "tests/test_conformance.py -k 'TestChunkedFolder and not Pretty and not Short and seal'",
    ),
    Mutant(
        "a sealed run does not say that it is one",
        CHUNKED,
        "self._encode(_with_format(log, PACKED_FORMAT)), durable=True)\n            return current",
        "current, durable=True)\n            return current",
        "tests/test_conformance.py -k 'TestChunkedFolder and not Pretty and not Short and seal'",
    ),
    # --- finding what is packed
    Mutant(
        "readers take what is sealed for newer than what lies beside it",
        RUN_FILES,
        "        if self._packed and not self._is_loose(file):",
        "        if self._packed:",
        "tests/test_conformance.py -k 'TestChunkedFolder and not Pretty and not Short and after_sealing'",
    ),
    Mutant(
        "of two sealed files the older counts",
        RUN_FILES,
        "-timestamp_of_packed(pack.file)",
        "timestamp_of_packed(pack.file)",
        _SEALING.format("two_sealed_files"),
    ),
    Mutant(
        "readers do not look again for what was packed since they listed the folder",
        RUN_FILES,
        "            self._look_again()\n            has_looked = True",
        "            break",
        _MEANWHILE.format("a_read and get and not unseal"),
    ),
    Mutant(
        "what lay by itself is taken from what was packed before",
        RUN_FILES,
        "            if not (self._is_listed and self._loose is not None and self._is_loose(file)):",
        "            if True:",
        _MEANWHILE.format("newer_than_the_sealed_file"),
    ),
    Mutant(
        "a file that was not listed is not looked for where it may be packed",
        RUN_FILES,
        "                        if self._plain is not None and self._plain == before:",
        "                        if True:",
        "tests/test_listing.py -k changed_and_sealed",
    ),
    Mutant(
        "the folder is listed before it is known which packed files are gone",
        RUN_FILES,
        "        self._reader.forget_names()\n",
        "",
        _MEANWHILE.format("a_read and not get_run"),
    ),
    Mutant(
        "damaged lines are passed over in silence",
        PACKED_FILE,
        "                self._report(self.file, self._damage[-1])",
        "                pass",
        _SEALING.format("whatever_is_damaged"),
    ),
    Mutant(
        "of several lines for one chunk the first counts",
        PACKED_FILE,
        "            self._places[name] = place",
        "            self._places.setdefault(name, place)",
        _JOURNALS,
    ),
    # --- journals
    Mutant(
        "lines are appended to a journal that was removed",
        APPENDED,
        "                _require((status.st_dev, status.st_ino) == self._identity)\n",
        "",
        _JOURNALS,
    ),
    Mutant(
        "lines are appended without the lock that keeps a journal from being removed",
        APPENDED,
        "                _lock(fd)\n",
        "",
        f"{_JOURNALS} tests/test_backends.py",
    ),
    Mutant(
        "lines of a journal are not synced",
        APPENDED,
        "        self._syscalls.fdatasync(fd)\n        if not self._has_durable_name:",
        "        if not self._has_durable_name:",
        "tests/test_durability.py -k each_line_of_a_journal",
    ),
    Mutant(
        "what was not acknowledged stays in a journal",
        APPENDED,
        "                _cut(self._syscalls, fd, self._size)\n",
        "                pass\n",
        _JOURNALS,
    ),
    Mutant(
        "a journal in which a write failed is written to again",
        JOURNALS,
        "                self._open.pop(run_id, None)\n                to.journal.close()",
        "                pass",
        _JOURNALS,
    ),
    Mutant(
        "a forked child writes to its parent's journal",
        JOURNALS,
        "        self._open = OrderedDict()\n        self._mutex = threading.Lock()\n\n    @staticmethod",
        "        self._mutex = threading.Lock()\n\n    @staticmethod",
        _JOURNALS,
    ),
    Mutant(
        "a chunk is written to a journal that does not have it",
        JOURNALS,
        "            if found is None or chunk not in found.chunks:",
        "            if found is None:",
        _JOURNALS,
    ),
    Mutant(
        "a journal is begun in a run that does not say that it has some",
        JOURNALS,
        "            prepare(run_id)\n",
        "            pass\n",
        _JOURNALS,
    ),
    # --- listing runs
    Mutant(
        "a pipe in the place of a run's record is opened",
        FOLDER,
        "            if not stat.S_ISREG(self._syscalls.lstat(path, self.fd).st_mode):\n",
        "            if False:\n",
        "tests/test_run_list.py -k place_of_a_record",
    ),
    Mutant(
        "all runs are read before the first is listed",
        "chunkstore/stores/run_list.py",
        "_FIRST_READ = 32",
        "_FIRST_READ = 10_000",
        "tests/test_run_list.py -k only_the_newest",
    ),
    Mutant(
        "runs are listed in the order in which they were changed",
        "chunkstore/stores/run_list.py",
        '        latest = format_nanoseconds(ordered[end][0] + _TICK) if end < len(ordered) else ""',
        '        latest = ""',
        "tests/test_run_list.py -k order_of_their_starts",
    ),
    # --- following
    Mutant(
        "a follower does not look for itself",
        CHUNKED,
        "            elif state != before or patience.is_at_an_end():",
        "            elif False:",
        _FOLLOWING.format("without_watchfiles"),
    ),
    Mutant(
        "a follower alters the logs that it has handed out",
        FOLLOWING,
        "        copy = msgspec.structs.replace(record)\n        self._note_origin",
        "        copy = record\n        self._note_origin",
        _FOLLOWING.format("never_altered or whatever_is_written"),
    ),
    Mutant(
        "a follower goes on when the owner of the run has died",
        HELD,
        "        return is_locked(fd) if syscalls.fstat(fd).st_size else None",
        "        return True",
        _FOLLOWING.format("owner_of_the_run_was_killed and files"),
        may_hang=True,
    ),
    Mutant(
        "a forked child keeps its parent's run alive",
        HELD,
        "    for held in list(_held):\n        held.abandon()",
        "    for held in list(_held):\n        pass",
        _FOLLOWING.format("outlives_the_owner"),
    ),
    Mutant(
        "an owner that is about to lock its file is taken for dead",
        HELD,
        "if syscalls.fstat(fd).st_size else None",
        "",
        _FOLLOWING.format("about_to_be_locked"),
    ),
)
