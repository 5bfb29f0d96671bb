"""Writers and readers on two hosts at once: nothing that was acknowledged is lost, torn or missed on the other."""

import itertools

import pytest
from proofs.torture.children import Children
from proofs.torture.exclusion import UPDATES, count_at_once
from proofs.torture.kills import kill_writers
from proofs.torture.kills_of_recordings import kill_recorders
from proofs.torture.readers_under_fire import read_under_fire
from proofs.torture.sealing import seal_under_fire

from nfs.hosts import FIRST, SECOND, Hosts

_stores = pytest.mark.parametrize("store_type", ["chunked-fs", "file-system"])
_with_options = pytest.mark.parametrize("mount_options", ["", "noac", "lookupcache=none"])


@pytest.fixture
def mount_options():
    """Further options of both mounts."""
    return ""


@pytest.fixture
def hosts(mount_options):
    return Hosts(mount_options)


@pytest.fixture(autouse=True)
def _every_other_process_on_the_other_host(hosts, monkeypatch):
    start, turns = Children.start, itertools.cycle((FIRST, SECOND))
    monkeypatch.setattr(Children, "start", lambda children, work: start(children, hosts.on(next(turns), work)))


@_with_options
def test_whatever_killed_writers_on_either_host_acknowledged_is_there_and_no_lock_stays(folder):
    check_kills(folder, "chunked-fs")


def test_whatever_killed_writers_of_documents_on_either_host_acknowledged_is_there(folder):
    check_kills(folder, "file-system")


def check_kills(folder, store_type, kills=4):
    figures = kill_writers(folder, 1, kills, store_type)
    figures.check()
    assert figures.acknowledged > kills


@_stores
def test_no_read_is_torn_or_misses_what_was_acknowledged_on_either_host_before_it_began(folder, store_type):
    read_under_fire(folder, 1, 60, store_type).check()


@pytest.mark.parametrize("mount_options", ["noac", "lookupcache=none"])
def test_no_read_is_torn_or_misses_anything_whatever_the_hosts_cache(folder):
    read_under_fire(folder, 1, 24).check()


@pytest.mark.parametrize("update", UPDATES)
def test_of_changes_on_two_hosts_at_once_each_one_counts(folder, update):
    check_counts(folder, "chunked-fs", update)


def test_of_changes_of_a_document_on_two_hosts_at_once_each_one_counts(folder):
    check_counts(folder, "file-system", "step")


def check_counts(folder, store_type, update, size=24):
    figures = count_at_once(folder, 1, size, store_type=store_type, update=update)
    figures.check()
    assert figures.acknowledged == size


def test_sealing_on_one_host_loses_nothing_that_is_written_and_hides_nothing_from_who_reads_on_the_other(folder):
    seal_under_fire(folder, 1, 50).check()


@_stores
def test_what_killed_pipelines_on_either_host_have_left_is_there_and_the_rest_can_be_cleaned_up(folder, store_type):
    kill_recorders(folder, 1, 2, store_type).check()
