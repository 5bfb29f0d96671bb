"""What counts, and in which order."""

from mutant import Mutant

from defects.sources import CATALOG, CHUNKED, CLOCK, DOCUMENT, OVERLAY, READER, STORE

_CHUNKED = "tests/test_conformance.py -k 'TestChunkedFolder and not Pretty and not Short and not Remember and {}'"
_DOCUMENT = "tests/test_conformance.py -k 'TestDocumentFolder and {}'"

MUTANTS = (
    Mutant(
        "the clock follows the wall clock alone",
        CLOCK,
        "self._latest = max(self._latest + 1, self._wall_clock())",
        "self._latest = self._wall_clock()",
        "tests/test_clock.py -k every_timestamp",
    ),
    Mutant(
        "the clock stands still when the wall clock does",
        CLOCK,
        "max(self._latest + 1, self._wall_clock())",
        "max(self._latest, self._wall_clock())",
        "tests/test_clock.py -k every_timestamp",
    ),
    Mutant(
        "the clock does not follow what was read",
        READER,
        "    clock.observe(chunks[-1].timestamp)",
        "    pass",
        "tests/test_other_writers.py -k clock_is_ahead",
    ),
    Mutant(
        "the clock does not follow the store that was received",
        STORE,
        "    clock.observe(latest)\n",
        "",
        "tests/test_clock.py -k receives",
    ),
    Mutant(
        "the older of two records counts in a run",
        READER,
        "                    newest.pop(key, None)\n                    newest[key] = record\n",
        "                    newest.setdefault(key, record)\n",
        _CHUNKED.format("newest_of_two"),
    ),
    Mutant(
        "the older of two records is found by its name",
        READER,
        "for chunk in reversed(self._chunks_of(_KIND_OF[kind], encoded)):",
        "for chunk in self._chunks_of(_KIND_OF[kind], encoded):",
        _CHUNKED.format("newest_of_two"),
    ),
    Mutant(
        "records of one timestamp are in no certain order",
        READER,
        "    return chunk.timestamp, chunk.file\n",
        '    return chunk.timestamp, ""\n',
        "tests/test_other_writers.py -k equal_timestamps",
    ),
    Mutant(
        "an older record passes for a newer one that is damaged",
        READER,
        "record = self._record(chunk, update, strict=True)",
        "record = self._record(chunk, update)",
        "tests/test_other_writers.py -k older_record",
    ),
    Mutant(
        "names that begin alike are one",
        READER,
        "if chunk.encoded == encoded), None)",
        "if chunk.encoded.startswith(encoded)), None)",
        "tests/test_other_writers.py -k begin_alike",
    ),
    Mutant(
        "a step of another name counts if its file is named alike",
        READER,
        "if isinstance(record, kind) and record.internal_name == internal_name:",
        "if isinstance(record, kind):",
        "tests/test_other_writers.py -k what_is_in_them",
    ),
    Mutant(
        "changes by others are written over the owner's record",
        CHUNKED,
        "            self._record(run_id, known, self.backend.replace, file, data)\n            changes_seen",
        (
            "            self._record(run_id, known, self.backend.replace, chunk.file, self._encode(new))\n"
            "            changes_seen"
        ),
        _CHUNKED.format("(undo_each_other or beside_what)"),
    ),
    Mutant(
        "a change lies over a newer record than the one it was made over",
        READER,
        "updates.get(chunk.file))) is not None:",
        "next(reversed(updates.values()), None))) is not None:",
        _CHUNKED.format("a_change_is_seen"),
    ),
    Mutant(
        "changes of one writer drop those of another",
        OVERLAY,
        "    keys = dict(change.keys)\n",
        "    keys: dict[str, Change] = {}\n",
        "tests/test_overlay.py -k second_change",
    ),
    Mutant(
        "a key that others have changed and removed comes back",
        OVERLAY,
        "            keys.pop(key, None)\n",
        "",
        "tests/test_overlay.py -k stays_away",
    ),
    Mutant(
        "a change inside what is gone leaves nothing of what is there",
        OVERLAY,
        "    return base  # the owner has put",
        "    return None  # the owner has put",
        "tests/test_overlay.py -k inside_an_object",
    ),
    Mutant(
        "keys that others have removed come back",
        OVERLAY,
        "    removed = [key for key in change.removed if key not in new]\n",
        "    removed: list[str] = []\n",
        "tests/test_overlay.py -k second_change",
    ),
    Mutant(
        "what others have appended to a list is dropped",
        OVERLAY,
        "        return kept + copy.deepcopy(change.append)",
        "        return kept",
        "tests/test_overlay.py -k append",
    ),
    Mutant(
        "changes of other elements of a list are dropped",
        OVERLAY,
        "    items = dict(change.items)\n",
        "    items: dict[str, Change] = {}\n",
        "tests/test_overlay.py -k second_change",
    ),
    Mutant(
        "the owner of a record in a document erases what others have changed",
        DOCUMENT,
        """\
            document.records[key] = _with_change(
                record, document.notes.changes.get(_text(*key)), as_json(document.records[key])
            )
""",
        "            document.records[key] = record\n",
        _DOCUMENT.format("undo_each_other"),
    ),
    Mutant(
        "a former owner of a record in a document writes over the new one's",
        DOCUMENT,
        "        if stamp == holder:",
        "        if True:",
        _DOCUMENT.format("former_owner"),
    ),
    Mutant(
        "parameters are replaced as a whole",
        CHUNKED,
        "merged = {**current.parameters, **stored} if overwrite",
        "merged = {**stored} if overwrite",
        _CHUNKED.format("key_by_key"),
    ),
    Mutant(
        "metrics are appended behind what a failed append has left",
        CHUNKED,
        "file = known.owned.pop(key, None)",
        "file = known.owned.get(key)",
        "tests/test_integrity.py -k failed_append",
    ),
    Mutant(
        "timestamps have no end",
        "chunkstore/names.py",
        "return ChunkName(kind, encoded, timestamp, file) if timestamp < END_OF_TIME else None",
        "return ChunkName(kind, encoded, timestamp, file)",
        "tests/test_other_writers.py tests/test_names.py",
    ),
    Mutant(
        "a branch may share the parameters of the run",
        "chunkstore/names.py",
        "    if encoded == ROOT_SCOPE:",
        "    if False:",
        "tests/test_names.py tests/test_conformance.py -k 'names or scope'",
    ),
    Mutant(
        "points of an earlier record are shown with a newer one",
        READER,
        """if line.over in ("", file)""",
        "if True",
        "tests/test_other_writers.py -k points_of_a_record",
    ),
    Mutant(
        "points of an earlier record are shown with a newer one in a document",
        DOCUMENT,
        """if line.over in ("", stamp)""",
        "if True",
        "tests/test_other_writers.py -k points_of_a_record",
    ),
    Mutant(
        "points that were read and written again are doubled",
        "chunkstore/stores/metric_lines.py",
        "if not known or point not in known]",
        "]",
        "tests/test_other_writers.py -k points",
    ),
    Mutant(
        "a branch belongs to the shortest step it may",
        "chunkstore/assemble.py",
        '    end = branch.rfind(".")\n    while end > 0:',
        '    end = branch.find(".")\n    while end > 0:',
        "tests/test_assemble.py",
    ),
    Mutant(
        "data that was replaced meanwhile is taken over",
        CATALOG,
        "hash_of(source) != entry.data_hash",
        "False",
        "tests/recording/test_rough_ends.py -k replaced",
    ),
    Mutant(
        "what a process has made itself is not in its listing",
        CHUNKED,
        "        self._listings.add(run_id, file, before, self.backend.changed_at(run_id))",
        "        pass",
        "tests/test_listing.py",
    ),
    Mutant(
        "a put record is written under changes by others",
        CHUNKED,
        "                return OURS\n            return OTHERS",
        "                return OURS\n            return OURS",
        _CHUNKED.format("put_record_replaces_changes"),
    ),
    Mutant(
        "stored records are shared with the caller",
        STORE,
        "    return RecordCodec.of(type(record)).decode(encode_record(record))",
        "    return record",
        "tests/test_conformance.py -k 'TestBuffered or TestDocumentMemory'",
    ),
    Mutant(
        "the owner's later record erases changes at other places",
        OVERLAY,
        "        merged = {key: apply(change.keys.get(key), item) for key, item in base.items() if key not in removed}",
        "        merged = {key: item for key, item in base.items() if key not in removed}",
        "tests/test_overlay.py -k two_writers",
    ),
    Mutant(
        "values that python takes for equal are no change",
        OVERLAY,
        "    if type(one) is not type(other):\n        return False\n",
        "",
        "tests/test_overlay.py -k told_apart",
    ),
    Mutant(
        "what is applied is shared",
        OVERLAY,
        "        return copy.deepcopy(change.set)",
        "        return change.set",
        "tests/test_overlay.py",
    ),
)
