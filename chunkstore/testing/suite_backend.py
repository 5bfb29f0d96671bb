"""What every back end does, as tests: whole files, changes of which none is lost, folders that come and go."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ClassVar

import pytest

from chunkstore.backends.base import Backend, Change
from chunkstore.backends.errors import MissingError
from chunkstore.backends.reader import FolderReader
from chunkstore.names import RUN_FILE, new_incarnation
from chunkstore.records.encoding import encode_record
from chunkstore.records.integrity import with_checksum, without_checksum
from chunkstore.records.models import INCARNATION, NOTES, RunLog
from chunkstore.stores.chunk_files import checked_run_log

#: Gives a back end over the same files.
OpenAnother = Callable[[], Backend]

FOLDER = "run"
#: Names of files as stores make them: any text may be in a step's name.
_NAMES = (
    *("StepLog-a-1.json", "StepLog-a%2Eb-2.json", "StepLog-é-3.json", "StepLog-a b#?+&-4.json"),
    *(".owner", "Sealed-5.jsonl"),
)
_THREADS, _CHANGES = 8, 25


class Meant:
    """Which of all folders of a name is meant: that of a run.

    Attributes:
        incarnation: what tells it from the others.
    """

    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation

    @staticmethod
    def examine(reader: FolderReader) -> str:
        """Return what tells the run in an open folder from others."""
        return checked_run_log(reader.load(RUN_FILE), FOLDER).incarnation


def run_record(incarnation: str) -> bytes:
    """Return the bytes of a run's own record."""
    return with_checksum(encode_record(RunLog(run_id=FOLDER, run_config={NOTES: {INCARNATION: incarnation}})))


def make_folder(backend: Backend, **files: bytes) -> Meant:
    """Make the folder of a run that has some files; return which it is."""
    meant = Meant(new_incarnation())
    everything = {**files, RUN_FILE: run_record(meant.incarnation)}
    backend.create_folder(FOLDER, everything, incarnation=meant.incarnation)
    return meant


def content(backend: Backend) -> dict[str, bytes]:
    """Return what is in the folder, but for locks and the run's own record."""
    with backend.reader(FOLDER) as reader:
        return {name: reader.load(name) for name in reader.names() if name not in (RUN_FILE, ".lock")}


def at_once(action: Callable[[int], None], count: int = _THREADS) -> list[BaseException]:
    """Do something in many threads, which begin together; return what they raise."""
    errors: list[BaseException] = []
    begin = threading.Barrier(count)

    def act(number: int) -> None:
        begin.wait(60)
        try:
            action(number)
        except BaseException as error:  # noqa: BLE001 - whoever asks gets it
            errors.append(error)

    threads = [threading.Thread(target=act, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return errors


def add_one(file: str) -> Callable[[Change], int]:
    """Return a change that adds one to the number in a file, which is made if there is none."""

    def add(change: Change) -> int:
        try:
            number = int(change.load(file)) + 1
        except MissingError:
            number = 1
        change.replace(file, b"%d" % number)
        return number

    return add


class CoreSuite:
    """What every back end does; see `chunkstore.testing.BackendConformance`."""

    #: The class of the back end: what it derives from tells what it can do.
    kind: ClassVar[type[Backend]]

    @pytest.fixture
    def open_another(self) -> OpenAnother:
        """Return a callable that gives a back end over the same files; to be given by the subclass."""
        raise NotImplementedError("A subclass of BackendConformance gives the fixture open_another.")

    @pytest.fixture
    def backend(self, open_another: OpenAnother) -> Backend:
        """Return a back end without files."""
        return open_another()

    # --- files -------------------------------------------------------------------------------------------------------

    def test_a_new_file_is_never_put_over_another(self, backend: Backend) -> None:
        """Nor is it made where there is no folder."""
        make_folder(backend, a=b"1")
        backend.publish(FOLDER, "new", [b"in ", b"", b"parts"])
        for file in ("a", "new"):
            with pytest.raises(FileExistsError):
                backend.publish(FOLDER, file, b"2")
        assert content(backend) == {"a": b"1", "new": b"in parts"}
        with pytest.raises(MissingError):
            backend.publish("nowhere", "new", b"1")

    def test_of_all_who_make_a_file_at_once_one_succeeds(self, backend: Backend, open_another: OpenAnother) -> None:
        """And its bytes are those that are there."""
        make_folder(backend)
        others = [open_another() for _ in range(_THREADS)]
        errors = at_once(lambda number: others[number].publish(FOLDER, "new", b"%d" % number))
        assert [type(error) for error in errors] == [FileExistsError] * (_THREADS - 1)
        assert content(backend).keys() == {"new"}

    def test_a_file_is_made_or_replaced_whole(self, backend: Backend, open_another: OpenAnother) -> None:
        """Whoever reads it has the new bytes, or the old ones."""
        meant = make_folder(backend, a=b"long ago")
        backend.replace(FOLDER, "a", b"now", within=meant)
        backend.replace(FOLDER, "b", b"", within=meant)
        assert content(open_another()) == {"a": b"now", "b": b""}
        assert backend.load(FOLDER, "a") == b"now"
        with pytest.raises(MissingError):
            backend.replace("nowhere", "a", b"1")

    def test_any_name_and_any_bytes_come_back(self, backend: Backend, open_another: OpenAnother) -> None:
        """Also a megabyte."""
        make_folder(backend)
        expected = {name: name.encode() * (number * 20_000) for number, name in enumerate(_NAMES)}
        for name, data in expected.items():
            backend.publish(FOLDER, name, data)
        with open_another().reader(FOLDER) as reader:
            assert set(_NAMES) <= set(reader.names())
            reader.expect([*_NAMES, "absent"])
            assert {name: reader.load(name) for name in _NAMES} == expected
            assert {name: reader.size(name) for name in _NAMES} == {name: len(data) for name, data in expected.items()}
            assert reader.load_part(_NAMES[3], 5, 7) == expected[_NAMES[3]][5:12]
            assert sorted(reader.starting_with("StepLog-a")) == sorted([_NAMES[0], _NAMES[1], _NAMES[3]])
            assert reader.starting_with("StepLog-absent-") == []

    def test_what_is_not_there_is_said_to_be_missing(self, backend: Backend) -> None:
        """By every verb that needs it."""
        make_folder(backend, a=b"1")
        for verb in (backend.load, backend.version, backend.remove):
            for folder, file in ((FOLDER, "absent"), ("nowhere", "a")):
                with pytest.raises(MissingError):
                    verb(folder, file)
        assert backend.has(FOLDER, "a")
        assert not backend.has(FOLDER, "absent")
        with pytest.raises(MissingError), backend.reader("nowhere") as reader:
            reader.names()
        with backend.reader(FOLDER) as reader:
            for look in (reader.load, reader.version, reader.size):
                with pytest.raises(FileNotFoundError):
                    look("absent")

    def test_a_removed_file_is_gone(self, backend: Backend, open_another: OpenAnother) -> None:
        """Also where many are removed, of which some are gone already."""
        make_folder(backend, **dict.fromkeys("abcd", b"1"))
        backend.remove(FOLDER, "a")
        backend.remove_left_over(FOLDER, "a")
        backend.remove_all(FOLDER, ["a", "b", "absent"])
        assert content(open_another()).keys() == {"c", "d"}
        backend.publish(FOLDER, "a", b"2")
        assert backend.load(FOLDER, "a") == b"2"

    def test_many_files_are_made_and_those_that_are_there_stay(self, backend: Backend) -> None:
        """As unsealing needs it."""
        meant = make_folder(backend, a=b"1")
        backend.publish_all(FOLDER, [("a", b"2"), ("b", b"2")], within=meant)
        assert content(backend) == {"a": b"1", "b": b"2"}
        assert {"a", "b", RUN_FILE} <= {entry.name for entry in backend.entries(FOLDER)}

    def test_a_version_is_another_one_when_the_file_was_replaced(self, backend: Backend) -> None:
        """And so is what tells whether anything in the folder has changed."""
        make_folder(backend, a=b"1", b=b"1")
        versions, changes = [backend.version(FOLDER, "a")], [backend.changed_at(FOLDER)]
        assert [backend.version(FOLDER, "a"), backend.changed_at(FOLDER)] == [versions[0], changes[0]]
        for data in (b"2", b"22", b"12"):
            backend.replace(FOLDER, "a", data)
            versions.append(backend.version(FOLDER, "a"))
            changes.append(backend.changed_at(FOLDER))
        assert len(set(versions)) == len(versions)
        assert len(set(changes)) > 1

    # --- folders -----------------------------------------------------------------------------------------------------

    def test_a_folder_is_made_once_and_nothing_of_another_attempt_is_seen(self, backend: Backend) -> None:
        """Its last file decides."""
        make_folder(backend, a=b"1")
        with pytest.raises(FileExistsError):
            make_folder(backend, a=b"2", b=b"2")
        assert content(backend) == {"a": b"1"}
        assert list(backend.folders()) == [FOLDER]

    def test_of_all_who_make_a_folder_at_once_one_succeeds(self, backend: Backend, open_another: OpenAnother) -> None:
        """And everything in it is of that one."""
        others = [open_another() for _ in range(_THREADS)]
        errors = at_once(lambda number: _discard(make_folder(others[number], a=b"%d" % number, b=b"%d" % number)))
        assert [type(error) for error in errors] == [FileExistsError] * (_THREADS - 1)
        found = content(backend)
        assert found.keys() == {"a", "b"}
        assert found["a"] == found["b"]

    def test_there_are_no_folders_before_one_is_made(self, backend: Backend) -> None:
        """That is no error."""
        assert backend.folders() == {}

    def test_a_removed_folder_is_gone_and_may_be_made_anew(self, backend: Backend, open_another: OpenAnother) -> None:
        """Nothing of the former is in the latter, and nobody who means the former writes to it."""
        other = open_another()
        former = make_folder(backend, a=b"1")
        assert other.examined(FOLDER, Meant.examine) == former.incarnation
        backend.remove_folder(FOLDER)
        assert not backend.folders()
        for write in _WRITES:
            for each in (backend, other):
                with pytest.raises(MissingError):
                    write(each, former)
        with pytest.raises(MissingError):
            backend.remove_folder(FOLDER)
        latter = make_folder(backend, b=b"2")
        for write in _WRITES:
            with pytest.raises(MissingError):
                write(backend, former)
        assert backend.examined(FOLDER, Meant.examine) == latter.incarnation
        assert content(backend) == {"b": b"2"}
        for write in _WRITES:
            write(backend, latter)

    # --- changes -----------------------------------------------------------------------------------------------------

    def test_no_change_is_lost_or_done_twice(self, backend: Backend, open_another: OpenAnother) -> None:
        """However many change a file at once, that is there or not."""
        meant = make_folder(backend, a=b"0")
        others = [open_another() for _ in range(_THREADS)]

        def change(number: int) -> None:
            for _ in range(_CHANGES):
                for file in ("a", "b"):
                    others[number].change(FOLDER, add_one(file), within=meant)

        assert at_once(change) == []
        assert content(backend) == dict.fromkeys("ab", b"%d" % (_THREADS * _CHANGES))

    def test_a_change_of_several_files_is_made_from_the_beginning_if_one_was_changed(self, backend: Backend) -> None:
        """What was loaded by a reader counts as well."""
        make_folder(backend, a=b"0", b=b"0")

        def change(folder: Change) -> None:
            with folder.reader() as reader:
                number = int(reader.load("a"))
            folder.replace("a", b"%d" % (number + 1))
            folder.replace("a", b"%d" % (number + 1))
            folder.load("b")
            folder.replace("b", b"%d" % (number + 1))

        def change_often(_: int) -> None:
            for _ in range(_CHANGES):
                backend.change(FOLDER, change)

        assert at_once(change_often) == []
        assert int(content(backend)["a"]) >= _THREADS * _CHANGES
        assert content(backend)["b"] == content(backend)["a"]

    def test_a_call_in_the_middle_of_a_change_is_not_undone(self, backend: Backend) -> None:
        """Of a handler of a signal: it does not wait, and the change in whose middle it came is made anew."""
        make_folder(backend, a=b"0")
        calls = []

        def change(folder: Change) -> None:
            number = int(folder.load("a"))
            calls.append(number)
            if len(calls) == 1:
                backend.change(FOLDER, add_one("a"))
            folder.replace("a", b"%d" % (number + 1))

        backend.change(FOLDER, change)
        assert calls == [0, 1]
        assert content(backend) == {"a": b"2"}

    def test_a_change_that_fails_changes_nothing(self, backend: Backend) -> None:
        """And what it raises comes through; the next one is not kept waiting."""
        make_folder(backend, a=b"1")

        def change(folder: Change) -> None:
            folder.load("a")
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            backend.change(FOLDER, change)
        assert backend.change(FOLDER, add_one("a")) == 2  # noqa: PLR2004 - one more than 1

    def test_a_change_finds_missing_what_is_missing(self, backend: Backend) -> None:
        """A file, and a folder."""
        make_folder(backend)
        with pytest.raises(MissingError):
            backend.change(FOLDER, lambda change: change.load("absent"))
        with pytest.raises(MissingError):
            backend.change("nowhere", lambda change: change.load("a"))

    def test_a_folder_is_removed_by_a_change_of_what_was_looked_at(self, backend: Backend) -> None:
        """Which run it is was found out before; another one of its name stays."""
        make_folder(backend, a=b"1")

        def remove(folder: Change) -> None:
            without_checksum(folder.load(RUN_FILE), RUN_FILE)
            folder.remove_folder()

        backend.change(FOLDER, remove)
        assert not backend.folders()
        make_folder(backend, b=b"2")
        assert content(backend) == {"b": b"2"}


def _discard(_made: Meant) -> None:
    pass


_WRITES: tuple[Callable[[Backend, Meant], object], ...] = (
    lambda backend, meant: backend.publish(FOLDER, "new", b"1", within=meant),
    lambda backend, meant: backend.replace(FOLDER, "newer", b"1", within=meant),
    lambda backend, meant: backend.change(FOLDER, add_one("number"), within=meant),
)
