"""What a host remembers of a file server, and what the server has forgotten."""

from mutant import Mutant

from defects.sources import APPENDED, FOLDER, OPEN_FOLDERS

_BACKENDS = "tests/backends/test_backends.py"

MUTANTS = (
    Mutant(
        "a host believes what it remembers of a file server",
        OPEN_FOLDERS,
        "        if self.memory:\n            # A run may have come",
        "        if False:\n            # A run may have come",
        "tests/backends/test_freshness.py -k another_host_has_created",
    ),
    Mutant(
        "a host believes that a folder is where it was on a file server",
        FOLDER,
        "            if self.memory:\n                look_afresh(",
        "            if False:\n                look_afresh(",
        "tests/backends/test_freshness.py -k moved_away_meanwhile",
    ),
    Mutant(
        "a line is acknowledged that a file server has not got",
        APPENDED,
        "                elif self._folder.memory:\n                    self._syscalls.flush(fd)\n",
        "",
        "tests/backends/test_freshness.py -k sent_to_the_server_before",
    ),
    Mutant(
        "a file that a server has forgotten is not read again",
        FOLDER,
        "            if not is_forgotten(error):",
        "            if True:",
        f"{_BACKENDS} -k server_forgot",
    ),
    Mutant(
        "what is listed is not asked for again",
        "chunkstore/backends/disk/listing.py",
        "folder.entry_status(name)",
        "folder.syscalls.lstat(name, folder.fd)",
        "tests/backends/test_names_remembered.py",
    ),
    Mutant(
        "the times of a file that was only being made on a file server are believed",
        FOLDER,
        "    return status.st_ctime_ns if is_empty else",
        "    return",
        "tests/maintenance/test_left_overs.py -k only_being_made",
    ),
    Mutant(
        "a name that is known no more is looked for again without asking for the names",
        FOLDER,
        "            folder.look_afresh()\n            return look(",
        "            return look(",
        "tests/backends/test_names_remembered.py",
    ),
)
