"""Object stores: what came of a request whose reply was lost, and servers and networks that are not to be trusted."""

from mutant import Mutant

from defects.sources import OBJECT_BACKEND, OBJECT_CLIENT

_REPLIES = "tests/objects/test_lost_replies.py"
_READS = "tests/objects/test_faulty_reads.py"
_EXPIRED = "tests/objects/test_expired_credentials.py"

MUTANTS = (
    Mutant(
        "an object that somebody else has put is taken for one's own",
        OBJECT_CLIENT,
        "        writer = secrets.token_urlsafe(_WRITER * 3 // 4)",
        '        writer = "somebody"',
        f"{_REPLIES} -k told_apart",
    ),
    Mutant(
        "half of an object is taken for the whole",
        OBJECT_CLIENT,
        "                    if found.data == data:",
        "                    if True:",
        f"{_REPLIES} -k put_over_another_is_there_once",
    ),
    Mutant(
        "an object is put over what others have put",
        OBJECT_CLIENT,
        '        mode: Any = "create" if version is None else version.as_condition()',
        '        mode: Any = "overwrite"',
        f"{_REPLIES} -k meanwhile_is_told",
    ),
    Mutant(
        "a listing ends with the page that failed",
        "chunkstore/backends/objects/listing.py",
        "            self._pages = None\n            raise",
        "            self._pages = iter(())\n            raise",
        f"{_REPLIES} -k pages_is_whole",
    ),
    Mutant(
        "what could not be got for want of a network is left out of what is read",
        OBJECT_BACKEND,
        "            reader.check()\n",
        "",
        f"{_READS} -k returns_no_part",
    ),
    Mutant(
        "a server is believed without being tried",
        OBJECT_BACKEND,
        "            try_with(self.client, deciding, put, put.attributes)\n",
        "",
        f"{_EXPIRED} -k ignores_conditions",
    ),
)
