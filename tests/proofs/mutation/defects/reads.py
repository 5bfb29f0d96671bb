"""What a read finds, opens and says."""

from mutant import Mutant

from defects.sources import (
    APPENDED,
    CATALOG_PLACES,
    CATALOG_SOURCES,
    CHUNK_FILES,
    CHUNK_SOURCE,
    CHUNKED,
    CODEC,
    DECODING,
    DIRECTORY,
    DOCUMENT,
    FIELDS,
    FOLDER,
    INTEGRITY,
    LISTING,
    LOCKS,
    METRIC_LINES,
    OPEN_FOLDERS,
    PARAMETER_FILES,
    PUBLISHING,
    READER,
    RUN_FILES,
    RUN_METHODS,
    SYSCALLS,
    WATCHING,
)

_BACKENDS = "tests/backends/test_backends.py"
_SECURITY = "tests/proofs/test_security.py"
_CHUNKED = (
    "tests/stores/test_conformance.py -k 'TestChunkedFolder and not Pretty and not Short and not Remember and {}'"
)

MUTANTS = (
    Mutant(
        "an open folder is used without a look at where its path leads",
        OPEN_FOLDERS,
        "                        current = handle.is_current()\n",
        "                        current = True\n",
        "tests/stores/test_moved_folders.py",
    ),
    Mutant(
        "an open folder is appended to without a look at where its path leads",
        APPENDED,
        "        _require(folder.is_current())\n",
        "",
        "tests/stores/test_moved_folders.py -k just_moved_aside",
    ),
    Mutant(
        "any folder at a path is the one that is open",
        FOLDER,
        "        return (status.st_dev, status.st_ino) == identity",
        "        return True",
        "tests/stores/test_moved_folders.py",
    ),
    Mutant(
        "reads use a folder that was opened before",
        DIRECTORY,
        """\
            handle = self._folders.fresh(folder)
        except OSError as error:
            if isinstance""",
        """\
            handle = self._folders.cached(folder)
        except OSError as error:
            if isinstance""",
        "tests/stores/test_moved_folders.py",
    ),
    Mutant(
        "a folder is listed once",
        FOLDER,
        "for _ in range(_MOST_LISTINGS):",
        "for _ in range(1):",
        f"{_BACKENDS} -k listing",
    ),
    Mutant(
        "a folder that has just changed is listed once",
        FOLDER,
        "if before == after and not 0 <= time.time_ns() - after < _QUIET_NS:",
        "if before == after:",
        f"{_BACKENDS} -k listing",
    ),
    Mutant(
        "the last listing counts and not the union of all",
        FOLDER,
        "                for name in self._listing(self.syscalls.list):\n",
        """\
                found.clear()
                for name in self._listing(self.syscalls.list):
""",
        f"{_BACKENDS} -k listing",
    ),
    Mutant(
        "a folder is listed through a descriptor that was listed before",
        FOLDER,
        "            return listed(fd)",
        "            return listed(self.fd)",
        f"{_BACKENDS} -k listing",
    ),
    Mutant(
        "a listing is used again for ever",
        LISTING,
        "if remembered is None or time.monotonic_ns() >= remembered.until:",
        "if remembered is None:",
        "tests/stores/test_listing.py -k share_of_the_time",
    ),
    Mutant(
        "a run is listed before its own record is read",
        READER,
        "        metadata = self.metadata()\n        records",
        "        self._chunks\n        metadata = self.metadata()\n        records",
        "tests/stores/test_other_writers.py -k says_that_it_has_finished",
    ),
    Mutant(
        "no checksum is looked at",
        INTEGRITY,
        "    if end == _checksum(body):",
        "    if len(end) == LENGTH and not end[:-1].strip(_WHITE):",
        "tests/records/test_integrity.py -k changed_document",
    ),
    Mutant(
        "the checksum of a step is not looked at",
        RUN_FILES,
        "return split_checksum(data, file) if isinstance",
        "return (data, True) if isinstance",
        "tests/records/test_integrity.py -k 'flipped_bit and StepLog'",
    ),
    Mutant(
        "the checksum of a run is not looked at",
        CHUNK_FILES,
        "decode(without_checksum(data, RUN_FILE), RUN_FILE)",
        "decode(data, RUN_FILE)",
        "tests/records/test_integrity.py -k 'flipped_bit and RunLog'",
    ),
    Mutant(
        "the checksum of parameters that are changed is not looked at",
        PARAMETER_FILES,
        "Parameters.read(without_checksum(reader.load(file), file), file)",
        "Parameters.read(reader.load(file), file)",
        "tests/proofs/bad_bytes/test_flipped_bits.py -k never_written_over",
    ),
    Mutant(
        "the checksum of metrics is not looked at",
        METRIC_LINES,
        r"""whole = without_checksum(line + b"\n", file)""",
        "whole = line",
        "tests/records/test_integrity.py -k 'flipped_bit and Metric'",
    ),
    Mutant(
        "the checksum of a document is not looked at",
        DOCUMENT,
        "decode(without_checksum(data, file), file)",
        "decode(data, file)",
        "tests/records/test_integrity.py -k changed_document",
    ),
    Mutant(
        "a file that cannot be read hides the others",
        CHUNK_SOURCE,
        "            if strict:\n                raise as_error(chunk.file, error)",
        "            if True:\n                raise as_error(chunk.file, error)",
        f"{_SECURITY} -k 'hides_nothing and StepLog'",
    ),
    Mutant(
        "a step that cannot be read is passed over in silence",
        CHUNK_SOURCE,
        "            self._problems.report(chunk.file, error)\n            return None\n        self._note_origin",
        "            return None\n        self._note_origin",
        f"{_SECURITY} -k 'hides_nothing and StepLog'",
    ),
    Mutant(
        "metrics that cannot be read are passed over in silence",
        METRIC_LINES,
        "            problems.report(file, error)\n            continue",
        "            continue",
        "tests/records/test_integrity.py -k 'flipped_bit and Metric'",
    ),
    Mutant(
        "a damaged line of metrics hides those behind it",
        METRIC_LINES,
        "            problems.report(file, error)\n            continue",
        "            problems.report(file, error)\n            return",
        "tests/records/test_integrity.py -k line",
    ),
    Mutant(
        "a strict read gives what could be read",
        RUN_METHODS,
        "        if strict:",
        "        if False:",
        f"{_SECURITY} -k 'hides_nothing and StepLog'",
    ),
    Mutant(
        "what has become no file since it was listed is read",
        FOLDER,
        "            if not stat.S_ISREG(status.st_mode):\n                raise UnreadableFileError",
        "            if False:\n                raise UnreadableFileError",
        f"{_SECURITY} -k since_it_was_listed",
        may_hang=True,
    ),
    Mutant(
        "a link that took the place of a file is followed",
        FOLDER,
        "READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | ",
        "READ_FLAGS = os.O_RDONLY | ",
        f"{_SECURITY} -k since_it_was_listed",
    ),
    Mutant(
        "a pipe that took the place of a file is waited for",
        FOLDER,
        "os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY",
        "os.O_NOFOLLOW | os.O_NOCTTY",
        f"{_SECURITY} -k 'since_it_was_listed and fifo'",
        may_hang=True,
    ),
    Mutant(
        "pipes and devices are opened",
        FOLDER,
        "        return self._listed.get(file, False) or stat.S_ISREG(self.syscalls.lstat(file, self.fd).st_mode)",
        "        return True",
        f"{_SECURITY} -k never_opened",
    ),
    Mutant(
        "a run may be a link to a folder elsewhere",
        FOLDER,
        "(0 if follow else os.O_NOFOLLOW)",
        "0",
        f"{_SECURITY} -k link_to_a_folder_elsewhere",
    ),
    Mutant(
        "a lock may be a link to a file elsewhere",
        LOCKS,
        "os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK",
        "os.O_RDWR | os.O_CREAT | os.O_NONBLOCK",
        f"{_SECURITY} -k lock_that_is_no_file",
    ),
    Mutant(
        "metrics are appended to what a link leads to",
        APPENDED,
        "folder.syscalls.open(file, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK",
        "folder.syscalls.open(file, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK",
        f"{_SECURITY} -k appended",
    ),
    Mutant(
        "data in the catalog may be a link to a file elsewhere",
        CATALOG_PLACES,
        "    if stat.S_ISREG(folder.syscalls.lstat(name, folder.fd).st_mode):\n"
        "        fd = folder.syscalls.open(name, READ_FLAGS, folder.fd)\n",
        "    if True:\n        fd = folder.syscalls.open(name, 0, folder.fd)\n",
        "tests/recording/test_data.py -k symbolic_link",
    ),
    Mutant(
        "links inside of the catalog are followed",
        CATALOG_PLACES,
        "    try:\n        return Folder(folder.syscalls, path, within=folder)",
        "    try:\n        return Folder(folder.syscalls, path, follow=True)",
        "tests/recording/test_hostile_catalogs.py -k planted",
    ),
    Mutant(
        "what is no file in a folder of data is left out",
        CATALOG_SOURCES,
        '        raise _refused(str(folder), f"{path} is {_kind(mode)}")',
        "        return False",
        "tests/recording/test_hostile_catalogs.py -k refused_before",
    ),
    Mutant(
        "a file of any size is read",
        FOLDER,
        "            if status.st_size > MAX_BYTES:",
        "            if False:",
        f"{_SECURITY} -k size",
    ),
    Mutant(
        "text of any size is decoded",
        CODEC,
        "    if len(data) > MAX_BYTES:\n        raise corrupt",
        "    if False:\n        raise corrupt",
        "tests/records/test_damaged.py -k size",
    ),
    Mutant(
        "floats that JSON lacks become null",
        CODEC,
        "        return value if math.isfinite(value) else {FLOAT_KEY: _float_text(value)}",
        "        return value",
        "tests/records/test_values.py -k 'any_json_value or form_of_a_value'",
    ),
    Mutant(
        "a newer format is written to",
        CHUNKED,
        "            check_format(log)\n            return log",
        "            return log",
        _CHUNKED.format("newer_format"),
    ),
    Mutant(
        "short reads are taken for whole ones",
        FOLDER,
        "            return data if len(data) == status.st_size else self._read_rest(fd, data)",
        "            return data",
        f"{_BACKENDS} -k gives_a_part",
    ),
    Mutant(
        "a stale handle is not opened anew",
        OPEN_FOLDERS,
        "_ATTEMPTS = 2",
        "_ATTEMPTS = 1",
        f"{_BACKENDS} -k handle_of_a_removed_folder",
    ),
    Mutant(
        "folders stay open without a limit",
        OPEN_FOLDERS,
        "        if len(self._open) > _MAX_OPEN_FOLDERS:",
        "        if False:",
        f"{_BACKENDS} -k descriptors_do_not_grow",
    ),
    Mutant(
        "locks stay open without a limit",
        LOCKS,
        "        if len(self._locks) > _MAX_OPEN_LOCKS:",
        "        if False:",
        f"{_BACKENDS} -k descriptors_do_not_grow",
    ),
    Mutant(
        "a folder that is not used any more stays open",
        FOLDER,
        "    def __del__(self) -> None:\n        try:\n            self.close()",
        "    def __del__(self) -> None:\n        try:\n            pass",
        f"{_BACKENDS} -k descriptors_do_not_grow",
    ),
    Mutant(
        "a file stays open after an error",
        PUBLISHING,
        """\
                discard(folder, file)  # named in spite of the error
        finally:
            syscalls.close(fd)
""",
        """\
                discard(folder, file)
        finally:
            pass
""",
        "tests/proofs/test_interrupts.py -k descriptors",
    ),
    Mutant(
        "a run that cannot be read is not listed",
        WATCHING,
        "            return RunSummary(run_id=run_id, problem=str(error))",
        "            return None",
        f"{_SECURITY} -k place_of_a_document",
    ),
    Mutant(
        "a line of metrics that was cut off is taken for damage",
        METRIC_LINES,
        """    if has_checksum(rest[:-1] + b"\\n"):""",
        "    if rest:",
        "tests/records/test_integrity.py -k cut_off",
    ),
    Mutant(
        "what is no line of metrics is taken for one that was cut off",
        METRIC_LINES,
        """    elif rest and not rest.startswith(b"{"):""",
        "    elif False:",
        "tests/proofs/bad_bytes/test_other_bytes.py -k 'there_twice and Metric'",
    ),
    Mutant(
        "what has no place in a run is dropped",
        "chunkstore/records/assemble.py",
        "            orphans.steps[name] = step\n",
        "            pass\n",
        "tests/records/test_assemble.py",
    ),
    Mutant(
        "that something has no place is not said",
        "chunkstore/records/assemble.py",
        "    found = [*problems, *_orphan_problems(orphans)]",
        "    found = [*problems]",
        "tests/records/test_assemble.py",
    ),
    Mutant(
        "unknown fields are not read",
        DECODING,
        "        unknown.append((path, extra))",
        "        pass",
        "tests/stores/test_golden.py -k unknown",
    ),
    Mutant(
        "unknown fields are not written again",
        FIELDS,
        "        result.update(record.extra)",
        "        pass",
        "tests/stores/test_golden.py -k unknown",
    ),
    Mutant(
        "links are listed as files",
        SYSCALLS,
        "(entry.name, entry.is_file(follow_symlinks=False))",
        "(entry.name, entry.is_file())",
        f"{_SECURITY} -k never_opened",
    ),
    Mutant(
        "a damaged record of a run hides its steps",
        READER,
        "        except UNREADABLE as error:\n            self._problems.report(RUN_FILE, error)",
        "        except UNREADABLE as error:\n            raise",
        f"{_SECURITY} -k runs_record",
    ),
    Mutant(
        "a record of another run is read",
        CHUNK_FILES,
        "    if log.run_id != run_id:",
        "    if False:",
        f"{_SECURITY} -k speak",
    ),
    Mutant(
        "a copy of a record under another's name counts",
        CHUNK_SOURCE,
        "            check_is_file_of(record.internal_name, chunk)\n",
        "",
        "tests/proofs/bad_bytes/test_other_bytes.py -k copy_of_a_step",
    ),
    Mutant(
        "a foreign file of parameters counts",
        CHUNK_FILES,
        "        if parameter_file(found.branch) != file:",
        "        if False:",
        f"{_SECURITY} -k speak",
    ),
)
