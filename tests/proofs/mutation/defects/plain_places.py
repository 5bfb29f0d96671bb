"""Over back ends that have the core alone: changes without locks, files that are never replaced."""

from mutant import Mutant

from defects.sources import RECORD_WRITER

_PLACES = "tests/stores/test_plain_places.py -k {}"
_OPTIMISTIC = "chunkstore/backends/optimistic.py"

MUTANTS = (
    Mutant(
        "the file of a record that has ended is replaced",
        RECORD_WRITER,
        "        if file in known.final:\n",
        "        if False:\n",
        _PLACES.format("never_replaced"),
    ),
    Mutant(
        "an ended record that its owner writes again undoes what others have changed",
        RECORD_WRITER,
        "chunk, name, overlay.with_own(laid, decode(own)))\n            known.overlaid",
        "chunk, name, overlay.with_own(None, decode(own)))\n            known.overlaid",
        _PLACES.format("others_have_changed_stays"),
    ),
    Mutant(
        "a change is put over whatever is there",
        _OPTIMISTIC,
        "        known = self._versions.get(file)\n",
        "        known = self._backend.load_version(self._folder, file)[1] if file in self._versions else None\n",
        "tests/backends/test_backend_conformance.py -k 'TestPlain and no_change_is_lost'",
    ),
    Mutant(
        "sealing removes what may be replaced",
        "chunkstore/stores/writing/sealing_ended.py",
        "    return kind == METRIC or (kind in TYPE_OF and has_ended(content_of(line)[0]))\n",
        "    return True\n",
        _PLACES.format("only_what_nobody_replaces"),
    ),
    Mutant(
        "what comes after the end of a run is damage where nobody looks for it",
        "chunkstore/stores/contents.py",
        "        elif at_least or kind in damaged:\n",
        "        elif kind in damaged:\n",
        _PLACES.format("no_damage"),
    ),
)
