"""What some back ends do, as tests that are left out for the others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from chunkstore.backends.capabilities import (
    Appending,
    Grouping,
    Holding,
    Locking,
    Quarantining,
    RemovingUnchanged,
    Syncing,
    Watching,
)
from chunkstore.backends.errors import MissingError
from chunkstore.testing.suite_backend import FOLDER, CoreSuite, OpenAnother, content, make_folder

_F = TypeVar("_F", bound=Callable[..., Any])

_LOCK = ".lock"


def of_those(capability: Any) -> Callable[[_F], _F]:
    """Mark a test of back ends that have a capability, which is a class."""

    def mark(function: _F) -> _F:
        function.__dict__["needed_capability"] = capability
        return function

    return mark


class BackendConformance(CoreSuite):
    """Runs any back end through everything that stores expect of it, and of what it can do beyond that.

    Subclass it in a test module of pytest, name the class of the back end, and give the fixture `open_another`::

        class TestMyBackend(BackendConformance):
            kind = MyBackend

            @pytest.fixture
            def open_another(self, tmp_path):
                return lambda: MyBackend(tmp_path)

    `open_another()` returns a back end over files of which there are none when a test begins; calling it again gives
    another one over the same files, or the same one.

    Attributes:
        kind: the class of the back end. What it can do is told by what it derives from.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Leave out the tests of what the back end cannot do."""
        super().__init_subclass__(**options)
        kind = cls.__dict__.get("kind")
        for name in dir(cls) if kind is not None else ():
            needed = getattr(getattr(cls, name), "needed_capability", None)
            if kind is not None and needed is not None and not issubclass(kind, needed):
                setattr(cls, name, None)

    @of_those(Appending)
    def test_a_file_is_added_to(self, backend: Appending) -> None:
        """One that is there."""
        meant = make_folder(backend, lines=b"a\n")
        backend.append(FOLDER, "lines", b"b\n", within=meant)
        backend.append(FOLDER, "lines", b"c\n", is_durable=lambda: True)
        assert content(backend) == {"lines": b"a\nb\nc\n"}
        with pytest.raises(MissingError):
            backend.append(FOLDER, "absent", b"a\n")

    @of_those(Appending)
    def test_a_journal_is_begun_once_and_gone_on_with(self, backend: Appending) -> None:
        """And removed only if nothing was added to it since."""
        meant = make_folder(backend)
        journal = backend.begin_journal(FOLDER, "Journal-1-2.jsonl", within=meant)
        journal.append(b"a\n")
        journal.close()
        with pytest.raises(FileExistsError):
            backend.begin_journal(FOLDER, "Journal-1-2.jsonl")
        with pytest.raises(MissingError):
            backend.continue_journal(FOLDER, "Journal-1-3.jsonl")
        journal = backend.continue_journal(FOLDER, "Journal-1-2.jsonl", within=meant)
        journal.append(b"b\n")
        assert content(backend) == {"Journal-1-2.jsonl": b"a\nb\n"}
        assert not backend.remove_complete(FOLDER, "Journal-1-2.jsonl", 2)
        assert backend.remove_complete(FOLDER, "Journal-1-2.jsonl", 4)
        with pytest.raises(MissingError):
            journal.append(b"c\n")
        journal.close()
        assert content(backend) == {}

    @of_those(RemovingUnchanged)
    def test_a_file_is_removed_only_if_it_is_as_it_was_read(self, backend: RemovingUnchanged) -> None:
        """Else it stays, whole."""
        make_folder(backend, a=b"1")
        assert not backend.remove_unchanged(FOLDER, "a", b"0")
        assert content(backend) == {"a": b"1"}
        assert backend.remove_unchanged(FOLDER, "a", b"1")
        assert content(backend) == {}

    @of_those(Grouping)
    def test_several_files_are_written_together_or_not_at_all(self, backend: Grouping) -> None:
        """If one should be new and is not, or what comes before fails, those that are new are not there."""
        make_folder(backend, a=b"1", b=b"1")
        backend.write_together(FOLDER, [("c", b"2", True), ("a", b"2", False)])
        expected = {"a": b"2", "b": b"1", "c": b"2"}
        assert content(backend) == expected
        with pytest.raises(FileExistsError):
            backend.write_together(FOLDER, [("d", b"3", True), ("b", b"3", True)])
        assert content(backend) == expected

        def fail() -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            backend.write_together(FOLDER, [("d", b"3", True), ("a", b"3", False)], before=fail)
        assert content(backend) == expected

    @of_those(Locking)
    def test_a_lock_keeps_others_out(self, backend: Locking, open_another: OpenAnother) -> None:
        """Until it is given back."""
        make_folder(backend)
        other = open_another()
        assert isinstance(other, Locking)
        seen: list[str] = []

        def wait() -> None:
            other.while_locked(FOLDER, _LOCK, lambda: seen.append("the other one"))

        thread = threading.Thread(target=wait)

        def hold() -> None:
            thread.start()
            thread.join(0.1)
            seen.append("the holder")

        backend.while_locked(FOLDER, _LOCK, hold)
        thread.join(60)
        assert seen == ["the holder", "the other one"]

    @of_those(Syncing)
    def test_a_sync_changes_nothing(self, backend: Syncing) -> None:
        """Of a file, or of all; what is not there cannot be synced."""
        backend.check_what_ending_needs()
        make_folder(backend, a=b"1")
        backend.sync(FOLDER)
        backend.sync(FOLDER, "a")
        assert content(backend) == {"a": b"1"}
        for folder, file in ((FOLDER, "absent"), ("nowhere", None)):
            with pytest.raises(MissingError):
                backend.sync(folder, file)

    @of_those(Holding)
    def test_a_holder_is_said_to_live_until_it_gives_the_file_back(
        self, backend: Holding, open_another: OpenAnother
    ) -> None:
        """Alone, or together with others."""
        meant = make_folder(backend)
        other = open_another()
        assert isinstance(other, Holding)
        assert other.holder(FOLDER, ".owner", meant.incarnation) is None
        release = backend.hold(FOLDER, ".owner", b'{"pid":1}', incarnation=meant.incarnation)
        holder = other.holder(FOLDER, ".owner", meant.incarnation)
        assert holder is not None
        assert holder.data.startswith(b'{"pid":1')  # there may be more, about how that is told
        assert holder.is_alive
        release()
        assert other.holder(FOLDER, ".owner", meant.incarnation) is None
        release = backend.hold(FOLDER, ".joined", b'{"pid":2}', together=True, incarnation=meant.incarnation)
        joined = other.joined(FOLDER, ".joined", meant.incarnation)
        assert joined is not None
        assert [data.startswith(b'{"pid":2') for data in joined.living] == [True]
        release()
        joined = other.joined(FOLDER, ".joined", meant.incarnation)
        assert joined is None or not joined.living

    @of_those(Watching)
    def test_a_watcher_is_called_when_something_is_written(self, backend: Watching) -> None:
        """Soon: with a name, or just so."""
        make_folder(backend)
        changes = backend.watch(FOLDER)
        next(changes)
        backend.publish(FOLDER, "new", b"1")
        for _ in range(2):
            next(changes)

    @of_those(Quarantining)
    def test_what_is_damaged_is_moved_out_of_the_way(self, backend: Quarantining) -> None:
        """And nothing else."""
        make_folder(backend, a=b"1")
        assert not backend.quarantine(FOLDER, "a", lambda load: load() == b"0")
        assert content(backend) == {"a": b"1"}
        assert backend.quarantine(FOLDER, "a", lambda load: load() == b"1")
        assert not backend.has(FOLDER, "a")
