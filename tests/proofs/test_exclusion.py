"""Of changes made at once by processes, threads and forked children each one counts."""

import pytest

from proofs.torture.exclusion import ARRANGEMENTS, UPDATES, count_at_once


@pytest.mark.thorough
@pytest.mark.parametrize("update", UPDATES)
def test_of_eight_processes_that_update_five_hundred_times_each_update_counts(tmp_path, update):
    figures = count_at_once(tmp_path, 1, 4_000, update=update)
    figures.check()
    assert figures.acknowledged == 4_000


@pytest.mark.thorough
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("arrangement", ["threads", "forks"])
def test_of_updates_by_threads_and_by_children_forked_in_the_middle_each_counts(tmp_path, arrangement, update):
    # The file of parameters grows with every key, so rewriting it takes longer and longer.
    size = 1_600 if update == "parameters" else 4_000
    figures = count_at_once(tmp_path, 1, size, update=update, arrangement=arrangement)
    figures.check()
    assert figures.acknowledged == size


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_each_update_of_a_document_counts(tmp_path, arrangement, update):
    figures = count_at_once(tmp_path, 1, 800, store_type="file-system", update=update, arrangement=arrangement)
    figures.check()
    assert figures.acknowledged == 800
