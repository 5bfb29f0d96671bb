"""Names of steps, branches, runs and files, and the ways between them. Nothing here touches a file.

A *segment* is what a user calls one step or branch: any text. An *internal name* joins segments with dots. A *file
name* carries an internal name percent-encoded (RFC 3986) between the kind of chunk and its timestamp:
`StepLog-train.rf.fit-1706852981689005000.json`.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, TypeGuard

import msgspec

from chunkstore.errors import InvalidNameError

STEP = "StepLog"
BRANCH = "BranchLog"
STEP_UPDATE = "StepUpdate"
BRANCH_UPDATE = "BranchUpdate"
METRIC = "Metric"
PARAMETER = "Parameter"
SEALED_PREFIX = "Sealed-"
JOURNAL_PREFIX = "Journal-"
RUN_FILE = "RunLog.json"
#: A run that is one document is a file of its id and this.
DOCUMENT_SUFFIX = ".json"
LOCK_FILE = ".lock"
OWNER_FILE = ".owner"
#: Where processes that have joined a run say so.
JOINED_FILE = ".joined"
#: Stands beside files of which a sync has failed: the kernel forgets that they are not on the disk.
UNSYNCED_FILE = ".unsynced"
#: Files of lines.
LINES_SUFFIX = ".jsonl"
TEMPORARY_PREFIX = ".tmp-"
DELETED_PREFIX = ".deleted-"
#: What a file is renamed to while it is being removed, so that it can be put back; see `Backend.remove_unchanged`.
ASIDE_PREFIX = ".aside-"

#: The scope of the run's own parameters in `Parameter-root.json`.
ROOT_SCOPE = "root"

#: Timestamps (nanoseconds) end in the year 2255; a later one is no chunk's, as the clock could not go beyond it.
END_OF_TIME = 9_000_000_000_000_000_000

_KINDS = {STEP, BRANCH, STEP_UPDATE, BRANCH_UPDATE, METRIC}
_MOSTLY_FINAL = (f"{STEP}-", f"{BRANCH}-", SEALED_PREFIX)
_SUFFIXES = {kind: LINES_SUFFIX if kind == METRIC else ".json" for kind in _KINDS}

#: What a run's identity looks like: what tells it from every other that had its id before or gets it later.
_INCARNATION = re.compile(r"[0-9a-f]{16}\Z")

#: Longest internal name, in characters. Nothing needs more; a limit keeps hostile input from filling memory.
MAX_NAME_LENGTH = 65_536
#: Longest encoded name inside a file name. With kind, timestamp and suffix it stays below 255 bytes (NAME_MAX).
MAX_ENCODED_LENGTH = 200
MAX_RUN_ID_LENGTH = 200

#: Most names: they stand in file names as they are.
_SIMPLE = re.compile(r"[A-Za-z0-9_#()-]+(?:\.[A-Za-z0-9_#()-]+)*\Z")
_UNSAFE = re.compile(r"""[\x00-\x1f\x7f/\\:*?"<>|]|[^\x00-\x7f]""")
_EDGES = re.compile(r"^[. ]|[. ]\Z")
_LEADING_EDGE = re.compile(r"^[. ]")
#: Encodings that several names could share: a per cent sign that is no escape of `escape_segment`, a dot or space at
#: an edge, or something that looks like a shortened name. Such names get the hash of the true name appended.
_AMBIGUOUS = re.compile(r"%(?!2E|25)|^[. ]|[. ]\Z|~[0-9a-f]{16}\Z")
_MOST_DIGITS = 19
_HASH_DIGITS = 16
#: How much of a long encoded name is kept before the hash.
_KEPT_LENGTH = MAX_ENCODED_LENGTH - _HASH_DIGITS - 1
_PACKED_FILE = re.compile(r"(Sealed|Journal-[0-9]{1,19})-[0-9]{1,19}\.jsonl\Z", re.ASCII)
_RUN_ID_REJECTED = re.compile(r"""[\x00-\x1f\x7f/\\:*?"<>|]""")


class ChunkName(msgspec.Struct, frozen=True, gc=False):
    """What the name of a chunk file says.

    Attributes:
        kind: `StepLog`, `BranchLog`, `StepUpdate`, `BranchUpdate` or `Metric`.
        encoded: the internal name as it stands in the file name.
        timestamp: nanoseconds since the epoch.
        file: the whole file name.
    """

    kind: str
    encoded: str
    timestamp: int
    file: str


def escape_segment(segment: Any) -> str:
    """Return `segment` as one segment of an internal name: without dots.

    Raises:
        InvalidNameError: it is empty, no text, or holds half of a surrogate pair.
    """
    check_name(segment)
    return str(segment).replace("%", "%25").replace(".", "%2E")


def unescape_segment(segment: str) -> str:
    """Return what `escape_segment` was given."""
    return segment.replace("%2E", ".").replace("%25", "%")


def readable_name(internal_name: str) -> str:
    """Return an internal name for people: each of its segments as its author wrote it; see `find_record`."""
    return unescape_segment(internal_name)


def join_name(parent: str, segment: str) -> str:
    """Return the internal name of `segment`, any text, inside `parent` (empty for the run itself)."""
    escaped = escape_segment(segment)
    return f"{parent}.{escaped}" if parent else escaped


#: The names given out so far, and of each how often it was asked for.
TakenNames = dict[str, list[int]]


def numbered(name: str, taken: TakenNames) -> str:
    """Return `name` if it is new, else with a number: `name#2`, `name#3`.

    Args:
        name: any text.
        taken: the names given out so far; the new one is added. Nobody else gets it, whoever asks meanwhile.
    """
    own = [1]
    asked = taken.setdefault(name, own)
    if asked is own:
        return name
    while True:
        asked[0] = count = asked[0] + 1
        chosen = f"{name}#{count}"
        if taken.setdefault(chosen, own) is own:
            return chosen


def check_name(name: Any) -> None:
    """Raise `InvalidNameError` unless `name` can name a step or branch."""
    if type(name) is str and name.isascii() and 0 < len(name) <= MAX_NAME_LENGTH:
        return
    if not isinstance(name, str):
        reason = f"names are text, and this is a {type(name).__name__}"
    elif not name:
        reason = "it is empty"
    elif len(name) > MAX_NAME_LENGTH:
        reason = f"it is longer than {MAX_NAME_LENGTH} characters"
    else:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            reason = f"half of a surrogate pair at position {error.start} is no text"
        else:
            return
    shown = _shorten(name)
    raise InvalidNameError(f"Cannot use {shown} as a name: {reason}. Choose another name.", name=shown, reason=reason)


def _shorten(name: Any) -> str:
    text = repr(name)
    return text if len(text) <= 100 else f"{text[:97]}..."  # noqa: PLR2004 - only a message


def encode_for_file(name: str) -> str:
    """Return `name` as it stands in file names: at most 200 bytes of ASCII, different for different names."""
    if len(name) <= MAX_ENCODED_LENGTH and _SIMPLE.match(name):
        return name
    encoded = _UNSAFE.sub(_percent, name)
    encoded = _EDGES.sub(_percent, encoded)
    if len(encoded) <= MAX_ENCODED_LENGTH and not _AMBIGUOUS.search(name):
        return encoded
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_DIGITS]
    return f"{encoded[:_KEPT_LENGTH]}~{digest}"


def inner_prefixes(name: str) -> tuple[str, ...]:
    """Return what the encoded names of all records inside that of `name` begin with, and of few others."""
    encoded = _LEADING_EDGE.sub(_percent, _UNSAFE.sub(_percent, name))
    # The second is for a segment of no characters, which other tools may write: its dot is the last of the name.
    return f"{encoded}."[:_KEPT_LENGTH], f"{encoded}%2E~"[:_KEPT_LENGTH]


def scopes_of(branch: str) -> Iterator[str]:
    """Yield a branch and the branches around it, the innermost first, then "", which is the run."""
    while branch:
        yield branch
        branch = branch.rpartition(".")[0].rpartition(".")[0]
    yield ""


def names_around(internal_name: str) -> Iterator[str]:
    """Yield the internal names of the branches and steps around one, the innermost first."""
    while outer := internal_name.rpartition(".")[0]:
        yield outer
        internal_name = outer


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match.group().encode())


def chunk_file(kind: str, name: str, timestamp: int) -> str:
    """Return the file name of a chunk.

    Args:
        kind: one of the kinds of this module.
        name: the internal name.
        timestamp: nanoseconds since the epoch.
    """
    return f"{kind}-{encode_for_file(name)}-{timestamp}{_SUFFIXES[kind]}"


def parse_chunk_file(file: str) -> ChunkName | None:
    """Return what the name of a chunk says, or None if `file` is no name of a chunk."""
    kind, _, rest = file.partition("-")
    suffix = _SUFFIXES.get(kind)
    if suffix is None or not rest.endswith(suffix):
        return None
    encoded, _, digits = rest[: -len(suffix)].rpartition("-")
    if not encoded or not digits.isdecimal() or not digits.isascii() or len(digits) > _MOST_DIGITS or "/" in file:
        return None
    timestamp = int(digits)
    return ChunkName(kind, encoded, timestamp, file) if timestamp < END_OF_TIME else None


def parameter_file(scope: str) -> str:
    """Return the file name of the parameters of a `scope`: the internal name of a branch, or "" for the run."""
    if not scope:
        return f"{PARAMETER}-{ROOT_SCOPE}.json"
    encoded = encode_for_file(scope)
    if encoded == ROOT_SCOPE:  # a branch of that name must not share the run's parameters
        encoded = f"%{ord(ROOT_SCOPE[0]):02X}{ROOT_SCOPE[1:]}"
    return f"{PARAMETER}-{encoded}.json"


def is_parameter_file(file: str) -> bool:
    """Tell whether `file` is the name of a file of parameters."""
    return file.startswith(f"{PARAMETER}-") and file.endswith(".json") and "/" not in file


def is_packable(file: str) -> bool:
    """Tell whether a file is a chunk, as far as its name says."""
    return parse_chunk_file(file) is not None or is_parameter_file(file)


def sealed_file(timestamp: int) -> str:
    """Return the name of the file that a run is sealed in at a time, in nanoseconds."""
    return f"{SEALED_PREFIX}{timestamp}.jsonl"


def journal_file(pid: int, timestamp: int) -> str:
    """Return the name of a journal that a process begins at a time, in nanoseconds."""
    return f"{JOURNAL_PREFIX}{pid}-{timestamp}.jsonl"


def is_sealed_file(file: str) -> bool:
    """Tell whether `file` is the name of a sealed file."""
    return file.startswith(SEALED_PREFIX) and _PACKED_FILE.match(file) is not None


def is_journal_file(file: str) -> bool:
    """Tell whether `file` is the name of a journal."""
    return file.startswith(JOURNAL_PREFIX) and _PACKED_FILE.match(file) is not None


def is_appended_to(file: str) -> bool:
    """Tell whether a file grows while it is read, as far as its name says; all others are replaced."""
    return file.endswith(LINES_SUFFIX) and not file.startswith(SEALED_PREFIX)


def is_mostly_final(file: str) -> bool:
    """Tell whether a file is one of many that are rarely changed after they were made, as far as its name says."""
    return file.startswith(_MOSTLY_FINAL)


def timestamp_of_packed(file: str) -> int:
    """Return the time, in nanoseconds, in the name of a sealed file or journal."""
    return int(file[: -len(".jsonl")].rpartition("-")[2])


class PinnedRunId(str):
    """The id of a run, and which of all runs that have, had or get this id is meant.

    A store that is given one acts on that run alone: if it was deleted, and another was made under its id, it is not
    found. A plain id means whichever run has it at the moment.

    Args:
        run_id: the id.
        incarnation: the run's identity, as its record has it; empty if it has none, as those of other tools.
    """

    __slots__ = ("incarnation",)

    incarnation: str

    def __new__(cls, run_id: str, incarnation: str) -> PinnedRunId:
        """Pin an id."""
        pinned = super().__new__(cls, run_id)
        pinned.incarnation = incarnation
        return pinned

    def __reduce__(self) -> tuple[Any, ...]:
        return PinnedRunId, (str(self), self.incarnation)


def incarnation_of(run_id: str) -> str:
    """Return the identity that an id is pinned to, empty if it is not."""
    return run_id.incarnation if isinstance(run_id, PinnedRunId) else ""


def is_meant(run_id: str, incarnation: str) -> bool:
    """Tell whether a run of this identity is the one that an id, pinned or not, stands for."""
    return incarnation_of(run_id) in {"", incarnation}


def data_folders(run_id: str, incarnation: str) -> tuple[str, ...]:
    """Return where in a catalog the data of a run may lie; the first is for data of runs that share its id."""
    return (f"{run_id}~{incarnation}", str(run_id)) if incarnation else (str(run_id),)


def is_data_folder(folder: str, run_id: str) -> bool:
    """Tell whether a folder of a catalog may hold the data of a run of this id."""
    return folder == run_id or (folder.startswith(f"{run_id}~") and is_incarnation(folder.rpartition("~")[2]))


def new_incarnation() -> str:
    """Return an identity that no other run has: 64 random bits."""
    return secrets.token_hex(8)


def is_incarnation(text: Any) -> TypeGuard[str]:
    """Tell whether something is such an identity; what a record says may be anything."""
    return isinstance(text, str) and _INCARNATION.match(text) is not None


def check_run_id(run_id: Any) -> None:
    """Raise `InvalidNameError` unless `run_id` can name a folder on every common file system."""
    if type(run_id) is str or type(run_id) is PinnedRunId:
        _check_text_run_id(run_id)
    else:
        _check_any_run_id(run_id)


def _check_any_run_id(run_id: Any) -> None:
    if not isinstance(run_id, str):
        reason = f"run ids are text, and this is a {type(run_id).__name__}"
    elif not run_id:
        reason = "it is empty"
    elif run_id[0] in ". " or run_id[-1] in ". ":
        reason = "it begins or ends with a dot or a space"
    elif match := _RUN_ID_REJECTED.search(run_id):
        reason = f"the character {match.group()!r} cannot stand in the name of a folder everywhere"
    elif not run_id.isascii():
        reason = "it holds characters beyond ASCII, which file systems may change"
    elif len(run_id) > MAX_RUN_ID_LENGTH:
        reason = f"it is longer than {MAX_RUN_ID_LENGTH} characters"
    else:
        return
    shown = _shorten(run_id)
    raise InvalidNameError(
        f"Cannot use {shown} as a run id: {reason}. Use letters, digits, '-', '_' and '.'.", name=shown, reason=reason
    )


#: Every call is about some run, and mostly about the same.
_check_text_run_id = lru_cache(maxsize=1_024)(_check_any_run_id)


def generate_run_id() -> str:
    """Return a new run id: two words, the time of day (UTC) and 60 random bits, `pleasant-lamarr-0549-8kq2m4t7xw3b`."""
    time_of_day = datetime.now(timezone.utc).strftime("%H%M")
    digits = "".join(secrets.choice(_RANDOM_DIGITS) for _ in range(12))
    return f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_SURNAMES)}-{time_of_day}-{digits}"


#: Base 32 without the letters that are easily misread (i, l, o, u).
_RANDOM_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_ADJECTIVES = (
    "agile amber ancient bold brave bright brisk calm candid clever cosmic crisp daring eager early earnest "
    "fair fond frank gentle glad golden grand happy hardy honest humble keen kind lively lucid lunar merry "
    "mild modest neat noble patient placid pleasant polite proud quick quiet rapid sharp silent silver "
    "sincere smooth solar solid steady still sunny swift tidy vivid warm wise witty young zesty"
).split()
_SURNAMES = (
    "abel babbage backus banach bell bohr boole borg cantor carson cerf codd curie darwin dijkstra dirac "
    "easley euler faraday fermat fermi franklin galileo gauss goldberg hamilton hawking heisenberg hertz "
    "hilbert hodgkin hopper huygens jackson johnson kepler knuth kowalevski lamarr lamport leavitt liskov "
    "lovelace maxwell mcclintock meitner mendel mirzakhani moser newton noether pascal perlman planck "
    "ramanujan ride ritchie shannon swartz tesla thompson turing vaughan volta wiles wing wu yalow"
).split()
