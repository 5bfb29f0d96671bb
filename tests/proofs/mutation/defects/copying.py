"""Copies of runs: what is whole, whose copy it is, and who undoes what."""

from mutant import Mutant

from defects.sources import COPY_DATA, COPY_INTO_CHUNKS, COPY_OF_RUN, COPY_PLACES

_COPYING = "tests/maintenance/copying/test_copying.py"
_KILLED = "tests/maintenance/copying/test_killed.py"
_DATA = "tests/maintenance/copying/test_data.py"

MUTANTS = (
    Mutant(
        "a part of a copy says that the run has ended",
        COPY_OF_RUN,
        "            log = msgspec.structs.replace(with_contents(log, None), status=PROCESSING)",
        "            log = with_contents(log, None)",
        f"{_KILLED} -k says_that_it_goes_on",
    ),
    Mutant(
        "a copy replaces another run of its id",
        COPY_OF_RUN,
        "        if not self._options.replace:",
        "        if False:",
        f"{_COPYING} -k is_not_touched",
    ),
    Mutant(
        "a copy is put over what a later one has put",
        COPY_PLACES,
        """\
            if change.load(RUN_FILE) != before:
                raise OvertakenError
""",
        "            change.load(RUN_FILE)\n",
        f"{_COPYING} -k never_undoes",
    ),
    Mutant(
        "what was sent is not compared",
        COPY_INTO_CHUNKS,
        "        if names and place.sums(names) != {name: found.sums[name] for name in names}:",
        "        if False:",
        f"{_COPYING} -k in_parts_is_mended",
    ),
    Mutant(
        "what somebody has recorded into a copy is passed over",
        COPY_INTO_CHUNKS,
        "        if foreign := there.names - found.sums.keys():",
        "        if foreign := set():",
        f"{_COPYING} -k what_somebody_records",
    ),
    Mutant(
        "data is copied that is not what was recorded",
        COPY_DATA,
        "        if _hash(place.version(entry.catalog_relative_path, entry.data_hash)) != entry.data_hash:",
        "        if False:",
        f"{_DATA} -k was_changed",
    ),
)
