"""What other tools have written: runs to move in, what runnable stores, what strace and git print."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import chunkstore
from chunkstore.errors import ChunkstoreError
from chunkstore.recording.identity.git import _facts
from chunkstore.recording.identity.git_changes import changes_in, tracked_in
from chunkstore.recording.identity.git_commands import GitError
from chunkstore.recording.identity.remotes import without_credentials
from chunkstore.testing.disk_operations import Trace, TraceError
from chunkstore.testing.strace_output import Reading, traced_calls

from .inputs import as_input, files_in, folder, text_of, write
from .registry import target
from .target_records import BRANCH, DOCUMENT, RUN, STEP

_GOLDEN = Path(__file__).parents[2] / "golden"


def _foreign_runs() -> Iterator[bytes]:
    chunked = _GOLDEN / "pleasant-lamarr-0549"
    yield as_input(("=", f"{chunked.name}/{path.name}", path.read_bytes()) for path in sorted(chunked.iterdir()))
    document = _GOLDEN / "blocking-shaw-0538.json"
    yield as_input([("=", document.name, document.read_bytes()), ("=", "run.json", DOCUMENT)])
    of_2025 = [
        ("=", "run/RunLog.json", RUN),
        ("=", "run/BranchLog-m.b.json", BRANCH),
        ("=", "run/Parameter-x.json", b"1"),
    ]
    yield as_input(of_2025)
    of_2024 = [
        ("=", "run/StepLog-a-1706852981689005000.json", STEP),
        ("=", "run/BranchLog-b-1706852981689005001.json", BRANCH),
    ]
    yield as_input([*of_2024, ("=", "run/Parameter-p.json", b'{"p":{"kind":"json","value":NaN}}')])
    own = [
        ("1", "run/RunLog.json", RUN),
        ("1", "run/StepLog-m.b.a-2.json", STEP),
        ("1", "run/Parameter-root.json", b"{}"),
    ]
    yield as_input(own)


@target(_foreign_runs, 8_192)
def moving_in(data: bytes) -> None:
    """Whatever lies in a folder: its runs are imported, or it is told why not; what was imported can be read."""
    with folder() as top:
        source = os.path.join(top, "source")
        os.mkdir(source)
        write(source, files_in(data))
        store = chunkstore.open_store(
            "chunked-fs", log_folder=os.path.join(top, "logs"), catalog_folder=os.path.join(top, "data"),
            durability="process",
        )  # fmt: skip
        report = chunkstore.import_runs(source, store)
        for run_id in report.imported:
            log = store.get_run_log(run_id, strict=True)
            log.to_json()
        for problem in report.problems:
            f"{problem.run_id} {problem.file} {problem.message}".encode()
        again = chunkstore.import_runs(source, store)
        assert not again.imported
        assert set(again.present) >= set(report.imported)
        store.close()


if importlib.util.find_spec("runnable"):

    @target(_foreign_runs, 8_192)
    def stored_for_runnable(data: bytes) -> None:
        """What lies in a folder is given to runnable as its own models, or the error says what is wrong."""
        from pydantic import ValidationError
        from runnable import exceptions

        from chunkstore.plugins.runnable import ChunkstoreRunLogStore

        with folder() as top:
            write(top, files_in(data))
            store = ChunkstoreRunLogStore(log_folder=top, durability="process")
            for run_id in os.listdir(top):
                for read, arguments in (
                    (store.get_run_log_by_id, (run_id, True)),
                    (store.get_parameters, (run_id,)),
                    (store.get_step_log, ("m", run_id)),
                    (store.get_branch_log, ("m.b", run_id)),
                    (store.get_job_log, (run_id,)),
                    (store.get_run_config, (run_id,)),
                ):
                    try:
                        read(*arguments)
                    except (ChunkstoreError, ValidationError, exceptions.RunLogNotFoundError):
                        continue
                    except (exceptions.StepLogNotFoundError, exceptions.BranchLogNotFoundError):
                        continue
                    except exceptions.JobLogNotFoundError:
                        continue


def _hex(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def _calls() -> Iterator[bytes]:
    top, file = _hex("/t"), _hex("/t/a")
    lines = [
        f'1 openat(AT_FDCWD<{_hex("/")}>, "{file}", O_WRONLY|O_CREAT, 0666) = 5<{file}>',
        f'1 write(5<{file}>, "{_hex("abc")}", 3) = 3',
        f"1 fsync(5<{file}>) = 0",
        f'1 linkat(5<{top}>, "{_hex("a")}", 5<{top}>, "{_hex("b")}", 0) = 0',
        f'1 renameat2(5<{top}>, "{_hex("b")}", 5<{top}>, "{_hex("c")}", RENAME_NOREPLACE) = 0',
        f'1 unlinkat(5<{top}>, "{_hex("a")}", 0 <unfinished ...>',
        "1 <... unlinkat resumed>) = 0",
        f'1 mkdir("{_hex("/t/d")}", 0777) = 0',
        "1 clone(child_stack=NULL, flags=CLONE_CHILD|SIGCHLD) = 2",
        f'2 write(3<{_hex("/pipe")}>, "{_hex("said")}\\x0a", 5) = 5',
        "1 close(5) = 0",
        "1 +++ exited with 0 +++",
    ]
    yield "\n".join(lines).encode()
    yield b"\n".join(line.encode() for line in reversed(lines))


@target(_calls)
def system_calls(data: bytes) -> None:
    """What strace prints is followed, or it is said what cannot be."""
    reading = Reading(Trace(), "/t", 3, 1)
    try:
        reading.follow(traced_calls(text_of(data)))
    except TraceError:
        return


def _remotes() -> Iterator[bytes]:
    for text in (
        "https://u:p@h/x",
        "git@h:x/y",
        "ssh://u@h:22/x?token=s#f",
        "/home/x",
        "https:/u:p@h",
        "oauth2:t@h/x",
        "",
    ):
        yield text.encode()


#: Addresses with a secret in them, and with any text where that may stand.
_SECRET = "s3cret"
_ADDRESSES = (
    "https://{secret}@h/{text}",
    "https://u:{secret}@h/{text}",
    "https://u:{secret}{text}@h/x",
    "https:/u:{secret}@h/{text}",
    "https://u:{secret}/w@h/x",
    "oauth2:{secret}@host/{text}",
    "{secret}@h:{text}",
    "https://h/x?token={secret}{text}",
    "https://h/x#{secret}{text}",
)


@target(_remotes, 512)
def remote(data: bytes) -> None:
    """The address of a git remote is kept without what may be secret."""
    text = text_of(data)
    assert len(without_credentials(text)) <= len(text) + len("://")
    for address in _ADDRESSES:
        assert _SECRET not in without_credentials(address.format(secret=_SECRET, text=text.replace(_SECRET, "")))


class _Git:
    """Answers what it was told, one after the other, whatever it is asked."""

    left = 1.0

    def __init__(self, folder: str, answers: list[bytes]) -> None:
        self.folder = folder
        self._answers = answers

    def at(self, folder: str) -> _Git:
        return _Git(folder, self._answers)

    def ask(self, *_: str) -> bytes:
        return self._answers.pop(0) if self._answers else b""


def _git_answers() -> Iterator[bytes]:
    digest = b"0" * 40
    listed = b"H 100644 " + digest + b" 0\ta\0S 100644 " + digest + b" 0\tb\0H 160000 " + digest + b" 0\tsub\0"
    raw = b":100644 100644 " + digest + b" " + digest + b" M\0a\0"
    yield b"\n--\n".join([listed, raw, raw])
    yield b"\n--\n".join([listed, b"a\0b", raw])
    yield b"H\ta\0"


@target(_git_answers, 1_024)
def git_answers(data: bytes) -> None:
    """What git says of its files is understood, or it is said that it is not."""
    if b"/" in data or b".." in data:
        return  # files elsewhere are none of ours
    with folder() as top:
        git = _Git(top, data.split(b"\n--\n"))
        try:
            changes_in(git, tracked_in(git))  # type: ignore[arg-type]
        except GitError as error:
            str(error).encode()


@target(
    lambda: [b"=== HEAD\nref: refs/heads/main\n=== commondir\n..\n", b"=== HEAD\nref: a\0b\n=== commondir\n\0\n"], 512
)
def git_folder(data: bytes) -> None:
    """Whatever is in a folder of git: what its files look like can be told."""
    with folder() as top:
        os.mkdir(os.path.join(top, ".git"))
        write(os.path.join(top, ".git"), files_in(data))
        assert _facts(top, []) == _facts(top, [])
