"""Every command says of runs in a bucket what it says of the same runs in a folder."""

import re

import pytest

import chunkstore
from chunkstore.cli.app import COMMANDS
from cli.command import chunkstore as command
from cli.conftest import record_pipeline

#: What each command is called with; `{made}` is a path that it may make.
CALLS = [
    ("ls",),
    ("ls", "--json"),
    ("ls", "--param", "seed=7", "--status", "FAIL"),
    ("show", "one"),
    ("show", "latest", "--json"),
    ("show", "tw", "--data"),
    ("show", "nothing"),
    ("watch", "one"),
    ("watch", "two", "--json"),
    ("logs", "one", "load"),
    ("logs", "one", "load", "--json"),
    ("logs", "one", "end"),
    ("get", "one", "in.py", "--to", "{made}"),
    ("get", "one", "in.py", "--step", "load", "--to", "{made}", "--json"),
    ("get", "one", "nothing"),
    ("timeline", "one"),
    ("timeline", "one", "--json"),
    ("diff", "one", "two"),
    ("diff", "one", "two", "--json"),
    ("why", "load", "--run", "three"),
    ("why", "load", "--run", "three", "--json"),
    ("export", "one", "--to", "{made}.json"),
    ("export", "--all", "--to", "{made}.csv"),
    ("verify",),
    ("verify", "--data"),
    ("verify", "--json"),
    ("verify", "one", "--repair"),
    ("unseal", "one"),
    ("show", "one", "--json"),
    ("seal", "one"),
    ("show", "one"),
    ("copy", "--all", "--to", "{made}"),
    ("copy", "one", "--to", "{made}", "--json"),
    ("import", "{elsewhere}"),
    ("gc", "--keep-last", "1", "--data", "--dry-run"),
    ("gc", "--keep-last", "1", "--data", "--yes", "--json"),
    ("gc", "--older-than", "30d", "--yes"),
    ("ls",),
    ("verify", "--data"),
]
#: What differs between two recordings of the same, and between a folder and a bucket.
_DIFFERING = [
    (r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:\d{2}(\.\d+)?(\+00:00)?", "TIME"),
    (r"\b\d{2}:\d{2}:\d{2}\b", "TIME"),
    (r"[\d,.]+ (ms|s|min|kB|MB|B|bytes)\b", "AMOUNT"),
    (r'"(seconds|bytes|space|freed|bytes_freed|pid|start|end|own|waited)":[-\d.e]+', "AMOUNT"),
    (r'"[\w_]*(seconds|started|ended)":[-\d.e]+', "AMOUNT"),
    (r"[0-9a-f]{16,64}", "HASH"),
    (r"\b\d{19}\b", "NANOSECONDS"),
    (r"~HASH", ""),
    (r"\d+:\d{2}:\d{2}\.\d+", "AMOUNT"),
    (r'"(start|around)":"[\w/-]+"', "START"),
]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")


def record(store):
    record_pipeline(store, "one")
    record_pipeline(store, "two", items=("a.csv", "x.csv"), lr=3)
    with store.start_run("three", resume="one") as run, run.step("load"):
        pass


def told(result, *places):
    return result.code, *(_without_what_differs(text, places) for text in (result.out, result.err))


def _without_what_differs(text, places):
    for place in places:
        text = text.replace(place, "PLACE")
    for pattern, instead in _DIFFERING:
        text = re.sub(pattern, instead, text)
    return sorted(text.split())  # columns are as wide as what is in them


@pytest.mark.thorough
def test_every_command_says_of_a_bucket_what_it_says_of_a_folder(s3_place, tmp_path, monkeypatch):
    for name, value in s3_place.environment.items():
        monkeypatch.setenv(name, value)
    disk = chunkstore.open_store("chunked-fs", log_folder="disk/logs", seal_finished_runs=0)
    bucket = chunkstore.open_store(s3_place.url)
    elsewhere = chunkstore.open_store("chunked-fs", log_folder="elsewhere/logs")
    for store in (disk, bucket):
        record(store)
    record_pipeline(elsewhere, "moved", items=("x.csv",))
    for number, call in enumerate(CALLS):
        said = []
        for place, where in ((disk.backend.location, "d"), (s3_place.url, "b")):
            made = f"made-{number}-{where}"
            words = [word.format(made=made, elsewhere="elsewhere/logs") for word in call]
            result = command(*words, "--store", place)
            said.append(told(result, place, str(tmp_path / made), made))
        # No two recordings take the same time, or have the same threads do the same; and the notes differ.
        if not {"timeline", "diff", "copy", "import"} & {*call} and call[::2] != ("show", "--json"):
            assert said[0] == said[1], call
        assert said[0][0] == said[1][0], call
    shown = {call[0] for call in CALLS}
    # The others need no store that has runs: `doctor` and `demo` have tests of their own.
    assert shown == {*COMMANDS} - {"demo", "doctor", "schema"}


def test_what_is_wrong_with_a_bucket_is_said_in_a_line(s3_place, monkeypatch):
    for name, value in s3_place.environment.items():
        monkeypatch.setenv(name, value)
    for place, code, words in (
        ("s3://no-such-bucket/x", 1, "NoSuchBucket.*Create the bucket"),
        ("s3://ab", 2, "at least 3 letters"),
        ("ftp://a/b", 2, "s3://bucket/prefix"),
        (f"chunked-fs:{s3_place.url}", 0, ""),
    ):
        result = command("ls", "--store", place)
        assert (result.code, len(result.err.splitlines())) == (code, 1)
        assert re.search(words, result.err)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    result = command("ls", "--store", s3_place.url)
    assert result.code == 2
    assert "Check the credentials" in result.err or "SignatureDoesNotMatch" in result.err


def test_workers_are_not_examined_where_there_are_no_locks(memory_place):
    with pytest.raises(chunkstore.StoreUsageError, match="in memory"):
        chunkstore.check_engine(chunkstore.open_store(memory_place.url), ["true"])
    store = chunkstore.open_store("s3://bucket/prefix")
    with pytest.raises(chunkstore.StoreUsageError, match="there are no locks to try"):
        chunkstore.check_engine(store, ["true"])
