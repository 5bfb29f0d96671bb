"""What people write: configuration, conditions, ages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from unittest import mock

import chunkstore
from chunkstore.backends.disk.mounts import mount_of
from chunkstore.config import ENVIRONMENT_VARIABLE
from chunkstore.errors import ConfigurationError, InvalidValueError
from chunkstore.maintenance.retention.rules import LONGEST_AGE, parse_age
from chunkstore.stores.runs.liveness import Owner
from chunkstore.views.pages.run_filters import Matches, parse_comparison, parse_since, started_since

from .inputs import check_message, folder, text_of
from .registry import target

_NOW = datetime(2026, 11, 30, tzinfo=timezone.utc)
_CONFIGURATION = b"""\
# what this is for
other: {a: [1, 2], b: &x 1, c: *x}
run_log_store:
  type: chunked-fs
  config:
    log_folder: logs # below
    durability: "run"
    pretty: false
    catalog_folder: data
    container: journal
    seal: true
    lock_timeout: 60.5
"""


def _configurations() -> Iterator[bytes]:
    yield _CONFIGURATION
    yield b"run-log-store:\n  type: file-system\n  config:\n    log_folder: logs\n"
    yield b"run_log_store: {type: buffered}\n"
    yield from (b"type: x", b"run_log_stor: 1", b"- a", b"", b"\xff", b"%YAML 1.1\n---\n!!python/none x", b"? [a]\n: b")


@target(_configurations)
def configuration(data: bytes) -> None:
    """A configuration gives a store, or an error that names the file; nothing is made."""
    with folder() as top:
        file = os.path.join(top, "c.yaml")
        with open(file, "wb") as opened:
            opened.write(data)
        before = os.getcwd()
        os.chdir(top)
        try:
            chunkstore.open_store(config=file).close()
        except ConfigurationError as error:
            check_message(error)
            if file not in str(error):
                raise
        finally:
            os.chdir(before)
        assert os.listdir(top) == ["c.yaml"]


@target(lambda: [b"c.yaml", b"", b"/", b"../" * 80, b"\xff", b"\xed\xa0\x80", b"/proc/self/mem", b"~"], 256)
def configuration_file(data: bytes) -> None:
    """Whatever the environment names as the configuration: a store, or an error that says why not."""
    name = data.decode("utf-8", "surrogateescape")
    if "\0" in name or "dev" in name or "fd" in name:
        return  # no variable can hold that, or it may be what the fuzzer itself has open
    with mock.patch.dict(os.environ, {ENVIRONMENT_VARIABLE: name}):
        try:
            chunkstore.open_store().close()
        except ConfigurationError as error:
            if len(str(error)) > 5_000:
                raise


@target(
    lambda: [b"type\nchunked-fs\nlog_folder\nx\nlock_timeout\n1", b"type\nfile-syste", b"pretty\n1", b"log_folder\n\0"]
)
def store_options(data: bytes) -> None:
    """Options of a store are taken or refused, whatever they are called and hold."""
    texts = text_of(data).split("\n")
    options: dict[str, object] = dict(zip(texts[::2], texts[1::2], strict=False))
    for key, text in list(options.items()):
        if text.removeprefix("-").isdecimal() and text.isascii() and len(text) < 4_000:  # type: ignore[attr-defined]
            options[key] = int(text)  # type: ignore[call-overload]
    store_type = options.pop("type", "chunked-fs")
    options.pop("config", None)
    try:
        chunkstore.open_store(store_type, **options).close()  # type: ignore[arg-type]
    except ConfigurationError as error:
        check_message(error)


def _comparisons() -> Iterator[bytes]:
    for text in (
        "loss<0.3",
        "model=xgb",
        "a.b!=1",
        "x==",
        'k={"a":[1]}',
        "nan=NaN",
        "a >= -inf",
        "<",
        ">.9",
        "loss>.2",
        "loss=+1_0",
        "k=[NaN, (1, 2)]",
        '"a<b"=0x1f',
        "a=\ud800",
    ):
        yield (
            text.encode("utf-8", "surrogatepass") + b'\n{"loss":0.25,"a":{"b":{"kind":"json","value":1}},"k":{"a":[1]}}'
        )


@target(_comparisons)
def condition(data: bytes) -> None:
    """A condition on parameters is one or refused, and holds or does not hold for any parameters."""
    import msgspec

    text, _, values = text_of(data).partition("\n")
    try:
        comparison = parse_comparison(text)
    except ValueError as error:
        check_message(error, ValueError)
        return
    try:
        parameters = msgspec.json.decode(values.encode(errors="replace"))
    except (ValueError, RecursionError):
        parameters = {comparison.name: values}
    matches = Matches("parameter", [comparison])
    try:
        is_met = matches.parameters(parameters if isinstance(parameters, dict) else {"a": parameters})
        assert is_met in {True, False}
        assert isinstance(matches.why_none(), str)
        comparison.holds(parameters)
    except InvalidValueError as error:
        check_message(error)  # it is nested deeper than what is recorded may be


@target(
    lambda: [b"30min", b"12h", b"2d", b"1.5 w", b"2024-02-02 05:49", b"9999-12-31", b"0001-01-01T00:00+23:00", b"-1d"]
)
def age(data: bytes) -> None:
    """An age or a time is one, or refused; what follows from it can be compared with times of runs."""
    text = text_of(data)
    try:
        since = parse_since(text, _NOW)
    except ValueError as error:
        check_message(error, ValueError)
    else:
        assert since.tzinfo
        for start in ("2024-02-02 05:49:41.697142+00:00", "9998-12-31 23:59:59+00:00", "0002-01-01 00:00:00+00:00", ""):
            assert started_since(start, since) in {True, False}
    try:
        length = parse_age(text)
    except InvalidValueError:
        return
    assert timedelta(0) <= length <= LONGEST_AGE


def _mounts() -> Iterator[bytes]:
    yield b"36 35 98:0 / /a rw,noatime master:1 - ext3 /dev/root rw\n22 1 0:1 / / rw - nfs4 host:/x rw,nolock"
    yield b"36 35 98:0 / /a\\040b rw - xfs /dev/\\011 rw\n1 2 3 4 5 6 - \n - - \n\xff\n"


@target(_mounts)
def mount_list(data: bytes) -> None:
    """Whatever the list of mounts holds: one that a path is below, or none."""
    with folder() as top:
        listed = os.path.join(top, "mountinfo")
        with open(listed, "wb") as file:
            file.write(data)
        for path in ("/a/b", "/", "relative"):
            found = mount_of(path, listed)
            if found is not None:
                assert isinstance(found.is_local, bool)
                assert isinstance(found.has_shared_locks, bool)
                assert f"{os.path.realpath(path)}/".startswith(found.path.rstrip("/") + "/")


@target(lambda: [b'{"pid":1,"host":"h","since":"2024","boot":"x"}', b"{}", b"[", b'{"pid":"1"}', b"{" * 2_000])
def owner(data: bytes) -> None:
    """What a process has written about itself says something, or nothing."""
    found = Owner.read(data)
    assert isinstance(found.pid, int)
    assert isinstance(found.host + found.since + found.boot, str)
