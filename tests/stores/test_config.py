"""A configuration gives the store that it names, or an error that names the key and what would be right."""

import json
import os
import subprocess
import sys

import pytest

import chunkstore
from chunkstore.errors import ConfigurationError
from chunkstore.stores.base import StoreOptions
from chunkstore.stores.chunked import ChunkedStore
from chunkstore.stores.document import DocumentStore


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHUNKSTORE_CONFIGURATION_FILE", raising=False)


def write(text, name="c.yaml"):
    with open(name, "w") as file:
        file.write(text)
    return name


CHUNKED = "run_log_store:\n  type: chunked-fs\n  config:\n    log_folder: logs\n    durability: step\n"


def test_without_anything_it_is_chunks_in_the_working_folder(tmp_path):
    store = chunkstore.open_store()
    assert isinstance(store, ChunkedStore)
    assert store.backend.location == str(tmp_path / ".run_log_store")
    assert store.options == StoreOptions()
    assert os.listdir(tmp_path) == []
    store.create_run_log("run")
    assert os.listdir(tmp_path) == [".run_log_store"]


@pytest.mark.parametrize(
    ("store_type", "layout", "shared"),
    [("buffered", ChunkedStore, False), ("file-system", DocumentStore, True), ("chunked-fs", ChunkedStore, True)],
)
def test_each_type_gives_its_store(store_type, layout, shared):
    store = chunkstore.open_store(store_type)
    assert type(store) is layout
    assert store.backend.shared_between_processes is shared


def test_a_file_is_found_by_argument_then_environment_then_name(tmp_path, monkeypatch):
    write(CHUNKED.replace("logs", "by-name"), "chunkstore.yaml")
    assert chunkstore.open_store().options.log_folder == "by-name"
    monkeypatch.setenv("CHUNKSTORE_CONFIGURATION_FILE", write(CHUNKED.replace("logs", "by-environment"), "e.yaml"))
    assert chunkstore.open_store().options.log_folder == "by-environment"
    file = tmp_path / write(CHUNKED.replace("logs", "by-argument"))
    assert chunkstore.open_store(config=file).options.log_folder == "by-argument"
    assert chunkstore.open_store(config=file, log_folder="by-option").options.log_folder == "by-option"
    assert chunkstore.open_store("chunked-fs").options.log_folder == ".run_log_store"


def test_every_option_is_read():
    text = CHUNKED + "    pretty: true\n    lock_timeout: 5\n    catalog_folder: data\n"
    options = chunkstore.open_store(config=write(text)).options
    assert (options.log_folder, options.durability, options.pretty) == ("logs", "step", True)
    assert (options.catalog_folder, options.lock_timeout) == ("data", 5.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "executor:\n  type: local\n",
        "run_log_store:\n  type: chunked-fs\n",
        "run-log-store:\n  type: chunked-fs\n  config:\n",
        "run_log_store:\n  config:\n    log_folder:\n",
        "executor: {a: [1, 2]}\nrun_log_store:\n  type:\n",
    ],
)
def test_what_is_left_out_has_its_default(text):
    store = chunkstore.open_store(config=write(text))
    assert isinstance(store, ChunkedStore)
    assert store.options.log_folder == ".run_log_store"


WRONG = {
    "misspelt type": ("run_log_store:\n  type: chunkd-fs\n", "type", "'chunked-fs'"),
    "type of another kind": ("run_log_store:\n  type: [a]\n", "type", "chunked-fs"),
    "misspelt section": ("run_log_stor:\n  type: chunked-fs\n", "run_log_stor", "'run_log_store'"),
    "unknown key": ("run_log_store:\n  typ: chunked-fs\n", "run_log_store.typ", "'type'"),
    "unknown option": ("run_log_store:\n  config:\n    log_foler: a\n", "log_foler", "'log_folder'"),
    "option with a hyphen": ("run_log_store:\n  config:\n    log-folder: a\n", "log-folder", "'log_folder'"),
    "unknown durability": ("run_log_store:\n  config:\n    durability: steps\n", "durability", "'step'"),
    "pretty is text": ("run_log_store:\n  config:\n    pretty: 'yes'\n", "pretty", "true or false"),
    "timeout is text": ("run_log_store:\n  config:\n    lock_timeout: long\n", "lock_timeout", "number of seconds"),
    "timeout is negative": ("run_log_store:\n  config:\n    lock_timeout: -1\n", "lock_timeout", "number of seconds"),
    "timeout is nan": ("run_log_store:\n  config:\n    lock_timeout: .nan\n", "lock_timeout", "number of seconds"),
    "folder is a number": ("run_log_store:\n  config:\n    log_folder: 5\n", "log_folder", "path of a folder"),
    "folder is empty": ("run_log_store:\n  config:\n    log_folder: ''\n", "log_folder", "path of a folder"),
    "section is text": ("run_log_store: chunked-fs\n", "run_log_store", "type and config"),
    "config is a list": ("run_log_store:\n  config: [a]\n", "run_log_store.config", "a mapping"),
    "file is a list": ("- a\n", "", "a mapping"),
    "section twice": ("run_log_store: {}\nrun-log-store: {}\n", "run_log_store", "once"),
    "option of another store": (
        "run_log_store:\n  type: buffered\n  config:\n    durability: step\n",
        "durability",
        "'buffered'",
    ),
    "no yaml": ("run_log_store: [\n", "", "no YAML"),
    "tab": ("run_log_store:\n\ttype: a\n", "", "no YAML"),
}


@pytest.mark.parametrize(("text", "key", "word"), WRONG.values(), ids=list(WRONG))
def test_what_is_wrong_is_named_with_file_and_key_and_what_is_right(text, key, word):
    with pytest.raises(ConfigurationError) as caught:
        chunkstore.open_store(config=write(text))
    error = caught.value
    assert error.key == key
    assert word in str(error)
    assert "c.yaml" in str(error)
    assert error.file == "c.yaml"
    assert error.expected


def test_wrong_arguments_are_named_too(tmp_path):
    with pytest.raises(ConfigurationError, match="'log_folder'"):
        chunkstore.open_store("chunked-fs", log_foldr="a")
    with pytest.raises(ConfigurationError, match="'chunked-fs'"):
        chunkstore.open_store("chunked")
    with pytest.raises(ConfigurationError, match="both"):
        chunkstore.open_store("chunked-fs", config="c.yaml")
    write("", "file")
    with pytest.raises(ConfigurationError, match="no folder"):
        chunkstore.open_store("chunked-fs", log_folder="file")
    with pytest.raises(ConfigurationError, match="path of a folder"):
        chunkstore.open_store("chunked-fs", log_folder="a\0b")


@pytest.mark.parametrize("name", ["missing.yaml", ".", "a\0b", ""])
def test_a_file_that_cannot_be_read_is_named(name):
    with pytest.raises(ConfigurationError, match="Cannot read the configuration"):
        chunkstore.open_store(config=name)


def test_a_store_keeps_its_folder_when_the_program_moves(tmp_path, monkeypatch):
    store = chunkstore.open_store("chunked-fs", log_folder="logs")
    os.mkdir("elsewhere")
    monkeypatch.chdir("elsewhere")
    store.create_run_log("run")
    assert (tmp_path / "logs" / "run" / "RunLog.json").exists()


def test_without_yaml_the_error_says_what_to_install(tmp_path):
    file = write(CHUNKED)
    code = (
        "import sys; sys.modules['yaml'] = None\n"
        "import chunkstore\n"
        "assert chunkstore.open_store('chunked-fs', log_folder='logs')\n"
        f"try: chunkstore.open_store(config={file!r})\n"
        "except chunkstore.ConfigurationError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "chunkstore[yaml]" in result.stdout


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ("type: file-system", "type"),
        ("config: {log_folder: logs}", "config"),
        ("run_log_store: {type: chunked-fs, log_folder: logs}", "log_folder"),
    ],
)
def test_a_key_in_the_wrong_place_is_said_to_belong_elsewhere(content, key, tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(content)
    with pytest.raises(chunkstore.ConfigurationError, match=f"'{key}'.*under") as raised:
        chunkstore.open_store(config=file)
    assert raised.value.file == str(file)
    assert key in raised.value.key


@pytest.mark.parametrize(
    ("store_type", "options", "key", "says"),
    [
        ("file-system", {"container": "journal"}, "container", "file-system"),
        ("buffered", {"container": "files"}, "container", "buffered"),
        ("file-system", {"seal_finished_runs": 5}, "seal_finished_runs", "file-system"),
        ("buffered", {"seal_finished_runs": 5}, "seal_finished_runs", "buffered"),
        ("chunked-fs", {"container": "journals"}, "container", "'journal'"),
        ("chunked-fs", {"container": 5}, "container", "'files', 'journal'"),
        ("chunked-fs", {"seal_finished_runs": -1}, "seal_finished_runs", "a number of chunks"),
        ("chunked-fs", {"seal_finished_runs": True}, "seal_finished_runs", "a number of chunks"),
        ("chunked-fs", {"seal_finished_runs": "many"}, "seal_finished_runs", "a number of chunks"),
        ("chunked-fs", {"seal_finished_runs": 1.5}, "seal_finished_runs", "a number of chunks"),
        ("chunked-fs", {"container": "journal", "pretty": True}, "pretty", "journal"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_and_the_message_says_what_would_be_right(
    tmp_path, store_type, options, key, says
):
    folder = {} if store_type == "buffered" else {"log_folder": str(tmp_path)}
    with pytest.raises(ConfigurationError) as raised:
        chunkstore.open_store(store_type, **folder, **options)
    assert raised.value.key == key
    assert says in str(raised.value)


def test_a_configuration_file_can_choose_both(tmp_path):
    file = tmp_path / "chunkstore.yaml"
    config = {"log_folder": str(tmp_path / "logs"), "container": "journal", "seal_finished_runs": 10}
    file.write_text(json.dumps({"run_log_store": {"type": "chunked-fs", "config": config}}))
    options = chunkstore.open_store(config=file).options
    assert (options.container, options.seal_finished_runs) == ("journal", 10)


#: Stars that are no aliases, and aliases that others' sections may well have.
STARS = {
    "a frame in a comment": "# " + "*" * 40 + "\n# nightly runs\n# " + "*" * 40 + "\n",
    "quoted": "other: {line: '" + "*" * 100 + "', glob: [" + ", ".join('"*.csv"' for _ in range(50)) + "]}\n",
    "in a block of text": "other: |\n" + "".join(f"  * item {number}\n" for number in range(50)),
    "in plain text": "other: " + "2 ** 3 * 4 " * 20 + "\n",
    "aliases of small values": "base: &base {cpus: 2}\n" + "".join(f"job{number}: *base\n" for number in range(100)),
    "merged mappings": "base: &b {cpus: 2}\n" + "".join(f"job{number}:\n  <<: *b\n" for number in range(100)),
}


@pytest.mark.parametrize("text", STARS.values(), ids=list(STARS))
def test_stars_and_aliases_are_no_reason_to_refuse_a_configuration(text):
    assert isinstance(chunkstore.open_store(config=write(text + CHUNKED)), ChunkedStore)


def test_aliases_are_counted_by_what_they_stand_for():
    lines = ["l0: &l0 [x]", *(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 9))]
    with pytest.raises(ConfigurationError, match="aliases stand for too many values"):
        chunkstore.open_store(config=write("\n".join(lines) + "\n" + CHUNKED))
    with pytest.raises(ConfigurationError, match="holds itself"):
        chunkstore.open_store(config=write("a: &a [1, *a]\n" + CHUNKED))
