"""What a host remembers of a file server, and what the server has forgotten."""

from mutant import Mutant

from defects.sources import APPENDED, FOLDER, FRESHNESS, OPEN_FOLDERS

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
        FRESHNESS,
        "                if error.errno != errno.ESTALE:",
        "                if True:",
        f"{_BACKENDS} -k server_forgot",
    ),
    Mutant(
        "a name that is known no more is looked for again without asking for the names",
        FOLDER,
        "            folder.look_afresh()\n            return look(",
        "            return look(",
        "tests/backends/test_names_remembered.py",
    ),
)
