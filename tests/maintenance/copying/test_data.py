"""The data of a run goes along with its copy, checked by its hash, and belongs to the copy from then on."""

import pytest

import chunkstore
from chunkstore.maintenance.copying import copy_runs
from maintenance.copying.runs import RUN, copied, open_store, outcome, same

KINDS = ("chunked-fs", "file-system")


@pytest.fixture(params=KINDS)
def source(request, tmp_path):
    return open_store(request.param, tmp_path / "source")


@pytest.fixture(params=KINDS)
def target(request, tmp_path):
    return open_store(request.param, tmp_path / "target")


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    return folder


def put(run, files, name, *contents):
    for content in contents:
        (files / name).write_text(content)
        with run.step(f"put-{content}") as step:
            print("put", content)
            step.put_data(files / name, name)


def got(store, name, to, **options):
    return chunkstore.get_data(store, RUN, name, to=to / "got", **options).read_text()


def test_data_is_copied_and_found_there(source, target, files, tmp_path):
    with source.start_run(RUN) as run:
        put(run, files, "in.csv", "one", "two")
    sent = copied(source, target)
    (tmp_path / "source").rename(tmp_path / "away")
    assert sent.data == 4  # and what each step has printed
    assert got(target, "in.csv", tmp_path) == "two"
    assert got(target, "in.csv", tmp_path, step="put-one") == "one"
    assert list(chunkstore.verify(target, with_data=True)) == []


def test_only_new_data_is_sent(source, target, files, tmp_path):
    with source.start_run(RUN, capture_output=False) as run:
        put(run, files, "in.csv", "one")
        assert copied(source, target).data == 1
        assert copied(source, target).data == 0
        put(run, files, "in.csv", "two")
        assert copied(source, target).data == 1
    assert copied(source, target).data == 0
    assert got(target, "in.csv", tmp_path) == "two"


def test_data_stays_where_it_is_if_nobody_wants_it(source, target, files, tmp_path):
    with source.start_run(RUN, capture_output=False) as run:
        put(run, files, "in.csv", "one")
    assert copied(source, target, data=False).data == 0
    assert not (tmp_path / "target" / "catalog").exists()
    assert same(source, target)


def test_data_of_a_copy_is_deleted_with_it_and_that_of_the_run_is_not(source, target, files, tmp_path):
    from chunkstore.maintenance.retention import Rule, collect, plan_retention

    with source.start_run(RUN, capture_output=False) as run:
        put(run, files, "in.csv", "one")
    copied(source, target)
    plan = plan_retention(target, Rule(keep_last=0), with_data=True)
    assert all(done.deleted for done in collect(target, plan, with_data=True))
    assert not (tmp_path / "target" / "catalog" / RUN).exists()
    assert got(source, "in.csv", tmp_path) == "one"


def test_stores_that_share_a_catalog_share_the_data_until_the_last_run_is_deleted(files, tmp_path):
    from chunkstore.maintenance.retention import Rule, collect, plan_retention

    catalog = str(tmp_path / "catalog")
    one, other = (
        chunkstore.open_store("chunked-fs", log_folder=str(tmp_path / name), catalog_folder=catalog)
        for name in ("one", "other")
    )
    with one.start_run(RUN, capture_output=False) as run:
        put(run, files, "in.csv", "one")
    assert copied(one, other).data == 0
    list(collect(one, plan_retention(one, Rule(keep_last=0), with_data=True), with_data=True))
    assert got(other, "in.csv", tmp_path) == "one"
    list(collect(other, plan_retention(other, Rule(keep_last=0), with_data=True), with_data=True))
    assert not (tmp_path / "catalog" / RUN).exists()


def test_data_that_was_changed_is_not_copied_and_is_a_problem_until_it_is_mended(source, target, files, tmp_path):
    with source.start_run(RUN, capture_output=False) as run:
        put(run, files, "in.csv", "one")
    (lies,) = (tmp_path / "source" / "catalog" / RUN / ".versions").iterdir()
    kept = lies.read_bytes()
    for file in (lies, tmp_path / "source" / "catalog" / RUN / "in.csv"):
        file.unlink()
        file.write_bytes(b"other")
    run = outcome(source, target)
    assert (run.outcome, run.data) == ("copied", 0)
    assert "was changed" in run.problems[0]
    assert not (tmp_path / "target" / "catalog" / RUN / "in.csv").exists()
    assert same(source, target)
    lies.write_bytes(kept)
    assert copied(source, target).data == 1
    assert got(target, "in.csv", tmp_path) == "one"


def test_data_of_another_run_is_not_replaced(files, tmp_path):
    source, target = (open_store("chunked-fs", tmp_path / name) for name in ("source", "target"))
    shared = chunkstore.open_store(
        "chunked-fs", log_folder=str(tmp_path / "third"), catalog_folder=str(tmp_path / "target" / "catalog")
    )
    for store, content in ((source, "one"), (shared, "theirs")):
        with store.start_run(RUN, capture_output=False) as run:
            put(run, files, "in.csv", content)
    run = outcome(source, target)
    assert "that of another run" in run.problems[0]
    assert got(shared, "in.csv", tmp_path) == "theirs"
    assert same(source, target)


def test_a_run_that_is_replaced_makes_room_for_the_data_of_the_other(files, tmp_path):
    source, target = (open_store("chunked-fs", tmp_path / name) for name in ("source", "target"))
    for content in ("one", "two"):
        with source.start_run(RUN, capture_output=False) as run:
            put(run, files, "in.csv", content)
        assert copy_runs(source, target, replace=True).runs[0].problems == []
        source.delete_run(RUN)
    assert got(target, "in.csv", tmp_path) == "two"


@pytest.mark.parametrize(
    "place", ["../../../out.txt", "train-7/../../out.txt", "train-7/.versions/x", "other/x", "train-7"]
)
def test_what_a_record_says_of_data_leads_nowhere(place, tmp_path):
    source, target = (open_store("chunked-fs", tmp_path / name) for name in ("source", "target"))
    source.create_run_log(RUN)
    entry = chunkstore.DataCatalog(name="x", data_hash="0" * 64, catalog_relative_path=place, stage="put")
    (tmp_path / "source" / "catalog" / "train-7").mkdir(parents=True)
    (tmp_path / "out.txt").write_text("secret")
    step = chunkstore.StepLog(name="a", internal_name="a", data_catalog=[entry])
    source.add_step_log(RUN, step)
    run = outcome(source, target)
    assert (run.outcome, run.data, len(run.problems)) == ("copied", 0, 1)
    assert not (tmp_path / "target" / "catalog" / "out.txt").exists()
