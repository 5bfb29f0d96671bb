"""Listings of a run's folder, and a store that looks up single records in one it has made before."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import run_processes
from recorded import step

import chunkstore
from chunkstore import BranchLog
from chunkstore.errors import BranchLogNotFoundError, RunLogNotFoundError, StepLogNotFoundError
from chunkstore.stores.reading import listing as listing_module
from chunkstore.stores.reading.listing import Listing, ListingMemory
from chunkstore.testing import StoreConformance

RUN = "run"
FOR_EVER = 10**9

NAMES = st.text(alphabet="ab-\U0010ffff", max_size=4)


@given(names=st.sets(NAMES), added=st.lists(NAMES), prefix=NAMES)
def test_the_names_that_begin_with_a_prefix_are_found(names, added, prefix):
    listing = Listing(names)
    for name in added:
        listing.add(name)
    everything = names | set(added)
    assert sorted(listing.names()) == sorted(everything)
    assert listing.starting_with(prefix) == sorted(name for name in everything if name.startswith(prefix))


def test_a_listing_is_not_shared_with_the_caller():
    names = ["b", "a"]
    listing = Listing(names)
    names.append("c")
    listing.names().append("d")
    listing.starting_with("").append("e")
    assert sorted(listing.names()) == listing.starting_with("") == ["a", "b"]


class Clock:
    """Time that passes when a test says so."""

    def __init__(self):
        self.now = 1_000

    def monotonic_ns(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(listing_module, "time", clock)
    return clock


def list_within(clock, nanoseconds, names=("a",)):
    def work():
        clock.now += nanoseconds
        return list(names)

    return work


def test_a_listing_is_used_again_for_its_share_of_the_time_it_took(clock):
    memory = ListingMemory(20)
    assert memory.recent(RUN) is None
    fresh = memory.fresh(RUN, list_within(clock, 7))
    assert fresh.names() == ["a"]
    clock.now += 20 * 7 - 1
    assert memory.recent(RUN) is fresh
    assert memory.recent("another run") is None
    clock.now += 1
    assert memory.recent(RUN) is None


def test_a_listing_made_since_takes_the_place_of_the_last(clock):
    memory = ListingMemory(20)
    memory.fresh(RUN, list_within(clock, 1_000))
    newer = memory.fresh(RUN, list_within(clock, 1, ["b"]))
    assert memory.recent(RUN) is newer
    clock.now += 20
    assert memory.recent(RUN) is None


def test_without_a_share_no_listing_is_used_again(clock):
    memory = ListingMemory()
    assert memory.fresh(RUN, list_within(clock, 1_000)).names() == ["a"]
    memory.add(RUN, "b")
    assert memory.recent(RUN) is None


def test_what_this_process_has_made_is_added(clock):
    memory = ListingMemory(20)
    memory.add(RUN, "too early")
    memory.fresh(RUN, list_within(clock, 1_000))
    memory.fresh("another run", list_within(clock, 1_000))
    memory.add(RUN, "b")
    assert memory.recent(RUN).starting_with("") == ["a", "b"]
    assert memory.recent("another run").starting_with("") == ["a"]


def test_a_forgotten_listing_is_not_used_again(clock):
    memory = ListingMemory(20)
    for run_id in (RUN, "another run"):
        memory.fresh(run_id, list_within(clock, 1_000))
    memory.forget(RUN)
    memory.forget("unknown")
    assert memory.recent(RUN) is None
    assert memory.recent("another run") is not None


# --- a store that remembers ------------------------------------------------------------------------------------------


@pytest.fixture
def open_store(tmp_path):
    def open_store(share=0):
        store = chunkstore.open_store("chunked-fs", log_folder=tmp_path / "logs")
        store.remember_listings(share)
        return store

    return open_store


@pytest.fixture
def other(open_store):
    other = open_store()
    other.create_run_log(RUN)
    other.add_step_log(RUN, step("p", message="old", branches={"p.a": BranchLog(internal_name="p.a", status="old")}))
    other.add_step_log(RUN, step("s", message="old"))
    return other


@pytest.fixture
def store(open_store, other):
    """A store that has listed the run, and never will again unless it has to."""
    store = open_store(FOR_EVER)
    assert store.get_step_log(RUN, "s").message == "old"
    assert store.get_branch_log(RUN, "p.a").status == "old"
    return store


@pytest.fixture(params=["another object", "another process"])
def elsewhere(request, other):
    """Lets a function use another store, in one place or another."""
    if request.param == "another object":
        return lambda function: function(other)
    return lambda function: run_processes(function, [(other,)])


def change(**fields):
    def apply(record):
        for name, value in fields.items():
            setattr(record, name, value)

    return apply


@pytest.mark.parametrize(
    "write",
    [
        lambda other: other.update_step_log(RUN, "s", change(message="new")),
        lambda other: other.put_step_log(RUN, step("s", message="new")),
    ],
    ids=["update", "put"],
)
def test_what_others_change_of_a_known_step_is_seen(store, elsewhere, write):
    elsewhere(write)
    assert store.get_step_log(RUN, "s").message == store.get_step_log(RUN, "s", full=False).message == "new"
    assert store.get_run_log(RUN).steps["s"].message == "new"
    assert store.update_step_log(RUN, "s", change(mock=True)).message == "new"


@pytest.mark.parametrize(
    "write",
    [
        lambda other: other.update_branch_log(RUN, "p.a", change(status="new")),
        lambda other: other.put_branch_log(RUN, BranchLog(internal_name="p.a", status="new")),
    ],
    ids=["update", "put"],
)
def test_what_others_change_of_a_known_branch_is_seen(store, elsewhere, write):
    elsewhere(write)
    assert store.get_branch_log(RUN, "p.a").status == store.get_branch_log(RUN, "p.a", full=False).status == "new"


def test_what_the_owner_replaces_is_seen(store, other):
    other.add_step_log(RUN, step("s", message="new"))
    assert store.get_step_log(RUN, "s").message == "new"


def test_parameters_that_others_set_are_seen(store, elsewhere):
    elsewhere(lambda other: (other.set_parameters(RUN, {"a": 1}), other.set_parameters(RUN, {"b": 2}, "p.a")))
    assert store.get_parameters(RUN) == store.get_run_log(RUN).parameters == {"a": 1}
    assert store.get_parameters(RUN, "p.a") == store.get_branch_log(RUN, "p.a").parameters == {"b": 2}


def test_records_that_the_listing_lacks_are_found(store, elsewhere):
    elsewhere(lambda other: (other.add_step_log(RUN, step("new")), other.put_step_log(RUN, step("newer"))))
    elsewhere(lambda other: other.add_branch_log(RUN, BranchLog(internal_name="p.b", status="SUCCESS")))
    assert store.get_step_log(RUN, "new") == step("new")
    assert store.has_step_log(RUN, "newer")
    assert store.has_branch_log(RUN, "p.b")
    assert store.get_branch_log(RUN, "p.b").status == "SUCCESS"
    assert store.update_step_log(RUN, "newer", change(mock=True)).mock
    assert not store.has_step_log(RUN, "newest")
    with pytest.raises(StepLogNotFoundError):
        store.get_step_log(RUN, "newest")


def test_whole_records_hold_what_others_have_added_inside(store, elsewhere):
    elsewhere(lambda other: other.add_step_log(RUN, step("p.a.s", message="inside")))
    assert store.get_branch_log(RUN, "p.a").steps == {"p.a.s": step("p.a.s", message="inside")}
    assert store.get_step_log(RUN, "p").branches["p.a"].steps == {"p.a.s": step("p.a.s", message="inside")}


def test_a_put_over_what_the_listing_lacks_counts(store, other):
    other.add_step_log(RUN, step("new", message="other"))
    store.put_step_log(RUN, step("new", message="store"))
    for each in (store, other):
        assert each.get_step_log(RUN, "new").message == "store"


@pytest.mark.parametrize("order", list(itertools.product((0, 1), repeat=4)), ids=str)
def test_the_last_put_counts_where_both_remember(open_store, order):
    both = [open_store(FOR_EVER), open_store(FOR_EVER)]
    both[0].create_run_log(RUN)
    for turn, number in enumerate(order):
        both[number].put_step_log(RUN, step("s", message=str(turn)))
        assert both[number].get_step_log(RUN, "s").message == str(turn)
    # The other of both may find out later whose record counts.
    last = str(len(order) - 1)
    assert open_store().get_step_log(RUN, "s").message == open_store().get_run_log(RUN).steps["s"].message == last


def test_a_deleted_run_is_gone(store, other):
    other.delete_run(RUN)
    for call in (
        lambda: store.get_step_log(RUN, "s"),
        lambda: store.has_step_log(RUN, "s"),
        lambda: store.has_branch_log(RUN, "p.a"),
        lambda: store.put_step_log(RUN, step("s")),
    ):
        with pytest.raises(RunLogNotFoundError):
            call()


def test_records_of_a_deleted_run_are_not_in_a_new_one_of_its_id(store, other):
    other.delete_run(RUN)
    other.create_run_log(RUN)
    assert not store.has_step_log(RUN, "s")
    assert not store.has_branch_log(RUN, "p.a")
    with pytest.raises(StepLogNotFoundError):
        store.get_step_log(RUN, "s")
    with pytest.raises(BranchLogNotFoundError):
        store.get_branch_log(RUN, "p.a")
    with pytest.raises(StepLogNotFoundError):
        store.update_step_log(RUN, "s", change(message="lost"))
    store.put_step_log(RUN, step("s", message="new"))
    assert other.get_run_log(RUN).steps == {"s": step("s", message="new")}


def test_looking_up_records_again_and_again_lists_the_folder_once(open_store, other, monkeypatch):
    store = open_store(FOR_EVER)
    other.set_parameters(RUN, {"x": 1})  # from here on there is a lock file
    listed = []
    fresh = ListingMemory.fresh
    monkeypatch.setattr(ListingMemory, "fresh", lambda memory, *given: (listed.append(1), fresh(memory, *given))[1])
    for _ in range(3):
        store.get_step_log(RUN, "s")
        store.put_step_log(RUN, step("own"))
        assert store.get_step_log(RUN, "own") == step("own")
        assert store.has_branch_log(RUN, "p.a")
    assert len(listed) == 1


def test_a_record_that_others_have_changed_and_sealed_is_found_as_it_is(open_store, other):
    store = open_store(FOR_EVER)
    store.get_step_log(RUN, "s")
    other.set_parameters(RUN, {"p": 1}, "p.a")
    other.update_step_log(RUN, "s", change(message="changed"))
    other.update_run_log(RUN, lambda log: setattr(log, "status", "SUCCESS"))
    other.seal(RUN)
    assert store.get_step_log(RUN, "s", full=False).message == "changed"
    assert store.get_step_log(RUN, "s").message == "changed"
    assert store.get_parameters(RUN, "p.a") == {"p": 1}
    assert store.get_branch_log(RUN, "p.a").parameters == {"p": 1}


@pytest.mark.thorough
class TestChunkedFolderThatRemembersListings(StoreConformance):
    @pytest.fixture
    def open_another(self, open_store):
        return lambda: open_store(FOR_EVER)
