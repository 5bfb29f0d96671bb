"""Whatever the bytes of a configuration are: a store, or an error that names the file."""

import os

import pytest
from outcomes import error_of
from restricted import within_limits

import chunkstore
from chunkstore import ConfigurationError

CONFIGURATION = b"""\
# what this is for
run_log_store:
  type: chunked-fs
  config:
    log_folder: logs # below
    durability: "run"
    pretty: false
    catalog_folder: data
    lock_timeout: 60.5
"""


def open_configured(folder, data):
    """Open the store of a configuration with these bytes; check that nothing is made, and what an error says."""
    file = folder / "c.yaml"
    file.write_bytes(data)
    try:
        error = error_of(lambda: chunkstore.open_store(config="c.yaml"), kinds=ConfigurationError)
    except Exception as other:
        raise AssertionError(data[:100]) from other
    if error is not None:
        assert error.file == "c.yaml", data
        assert "c.yaml" in str(error), data
        assert len(str(error)) < 1_000, data
    assert os.listdir(folder) == ["c.yaml"], data


def test_a_configuration_that_was_cut_off_gives_a_store_or_an_error_that_names_it(memory):
    def work():
        os.chdir(memory)
        for length in range(len(CONFIGURATION) + 1):
            open_configured(memory, CONFIGURATION[:length])

    assert within_limits(work)


def test_any_flipped_bit_of_a_configuration_gives_a_store_or_an_error_that_names_it(memory):
    def work():
        os.chdir(memory)
        for place in range(len(CONFIGURATION)):
            for bit in range(8):
                changed = bytearray(CONFIGURATION)
                changed[place] ^= 1 << bit
                open_configured(memory, bytes(changed))

    assert within_limits(work)


WRONG_VALUES = {
    "long integer": b"lock_timeout: " + b"9" * 5_000,
    "long hexadecimal integer": b"lock_timeout: 0x" + b"f" * 5_000,
    "long sexagesimal integer": b"lock_timeout: " + b"1:" * 5_000 + b"1",
    "negative integer": b"lock_timeout: -0x" + b"f" * 5_000,
    "a long key": b"0x" + b"f" * 5_000 + b": 1",
    "infinite": b"lock_timeout: .inf",
    "truth that is none": b"pretty: !!bool maybe",
    "an empty integer": b"lock_timeout: !!int ''",
    "an empty float": b"lock_timeout: !!float ''",
    "a date that is none": b"durability: 2001-02-30",
    "a date": b"durability: 2001-02-03",
    "a list": b"log_folder: [a, b]",
    "a set": b"durability: !!set {run, step}",
    "bytes": b"log_folder: !!binary aGk=",
    "a merge of nothing": b"<<: 5",
    "half a surrogate pair": b'log_folder: "\\ud800"',
    "a null byte": b'log_folder: "a\\0b"',
    "latin-1": b"log_folder: caf\xe9",
    "a key twice": b"pretty: true\n    pretty: 5",
    "a null key": b"? null\n    : 5",
    "a path too long": b"log_folder: " + b"a/" * 5_000,
    "a name too long": b"catalog_folder: " + b"a" * 5_000,
}


@pytest.mark.parametrize("value", WRONG_VALUES.values(), ids=list(WRONG_VALUES))
def test_any_value_in_a_configuration_gives_a_store_or_an_error_that_names_it(memory, monkeypatch, value):
    monkeypatch.chdir(memory)
    open_configured(memory, b"run_log_store:\n  config:\n    " + value + b"\n")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_configuration_in_another_encoding_gives_its_store_or_an_error_that_names_it(memory, monkeypatch, encoding):
    monkeypatch.chdir(memory)
    open_configured(memory, CONFIGURATION.decode().encode(encoding))
