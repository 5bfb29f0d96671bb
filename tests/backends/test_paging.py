"""Names that are listed in pages: what is asked for is found, and no page is listed twice."""

import random

import pytest

from chunkstore.backends.paging import PagedNames

SIZE = 10


class Folder:
    def __init__(self, names):
        self.names = sorted(names)
        self.pages = 0

    def page(self, after):
        self.pages += 1
        behind = [name for name in self.names if name > after]
        return behind[:SIZE], len(behind) <= SIZE


@pytest.mark.parametrize("count", [0, 1, SIZE - 1, SIZE, SIZE + 1, 10 * SIZE])
def test_all_names_are_found_once(count):
    folder = Folder(f"StepLog-{number}" for number in range(count))
    assert PagedNames(folder.page).all() == folder.names
    assert folder.pages == max(1, -(-count // SIZE))


def test_a_small_folder_is_listed_once_whatever_is_asked_for():
    folder = Folder(["RunLog.json", "StepLog-a-1.json", "StepLog-a.b-2.json"])
    names = PagedNames(folder.page)
    assert names.starting_with("StepLog-a-") == ["StepLog-a-1.json"]
    assert names.starting_with("StepLog-a.") == ["StepLog-a.b-2.json"]
    assert names.starting_with("StepUpdate-") == []
    assert names.starting_with("RunLog.json") == ["RunLog.json"]
    assert names.all() == folder.names
    assert folder.pages == 1


def test_a_record_of_a_large_folder_takes_two_pages():
    folder = Folder(f"StepLog-step{number:05}-{number}.json" for number in range(2_000))
    names = PagedNames(folder.page)
    assert names.starting_with("StepLog-step01234-") == ["StepLog-step01234-1234.json"]
    assert names.starting_with("StepLog-step01235-") == ["StepLog-step01235-1235.json"]
    assert folder.pages == 2


@pytest.mark.parametrize("seed", range(20))
def test_any_questions_in_any_order_find_what_a_whole_listing_has(seed):
    chance = random.Random(seed)
    folder = Folder({"".join(chance.choices("ab-.~", k=chance.randint(1, 4))) for _ in range(chance.randint(0, 90))})
    names = PagedNames(folder.page)
    for _ in range(20):
        prefix = "".join(chance.choices("ab-.~", k=chance.randint(0, 3)))
        assert names.starting_with(prefix) == [name for name in folder.names if name.startswith(prefix)]
    assert names.all() == folder.names
