"""The arguments of commands that only look."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from unittest import mock

import chunkstore
from chunkstore import BranchLog, MetricPoint, StepLog

from .registry import target

#: What each is tried with; they neither write, nor wait for anything.
_COMMANDS = ("ls", "show", "why", "diff", "timeline", "verify", "schema", "logs", "export")
#: Words that make a command write or wait, or that are about other places.
_NOT_TRIED = (
    "--follow",
    "-f",
    "--to",
    "--repair",
    "--store",
    "-s",
    "--config",
    "-c",
    "--output",
    "-o",
    "--html",
    "--trace",
)
#: Arguments that stand for variables of the environment.
_VARIABLES = ("COLUMNS=", "LINES=", "NO_COLOR=", "TERM=")


@functools.cache
def _store() -> str:
    top = tempfile.mkdtemp(prefix="fuzz-commands-")
    store = chunkstore.open_store("chunked-fs", log_folder=top, catalog_folder=f"{top}/.catalog", durability="process")
    for run_id in ("one", "two"):
        store.create_run_log(run_id, tag="nightly", parameters={"rate": 0.125, "model": {"depth": 3}})
        store.add_step_log(run_id, StepLog(name="fit", internal_name="fit", status="SUCCESS", step_type="map"))
        store.add_branch_log(run_id, BranchLog(internal_name="fit.a%2Ecsv", status="FAIL"))
        store.add_step_log(run_id, StepLog(name="train", internal_name="fit.a%2Ecsv.train", status="FAIL"))
        store.append_metrics(run_id, "fit", {"loss": [MetricPoint(0, 0.5)]})
        store.update_run_log(run_id, lambda log: setattr(log, "status", "SUCCESS"))
    store.close()
    return top


def _lines() -> Iterator[bytes]:
    yield b"ls\n--status\nSUCCESS\n--tag\nnight*\n--since\n2d\n--param\nrate<0.3\n--metric\nloss>=.1"
    yield b"ls\n--limit\n3\n--json"
    yield b"ls\n--sort\nduration\n--reverse\n--since\n2024-02-02 05:49\n-n\n0"
    yield b"ls\nCOLUMNS=0\nLINES=x"
    yield b"show\none\n--step\ntrain\n--json"
    yield b"show\nlatest\n--params\n--metrics\n--data\n-a"
    yield b"why\nfit.a%2Ecsv\n--run\none"
    yield b"diff\none\ntwo\n--json"
    yield b"timeline\none"
    yield b"logs\none\nfit"
    yield b"verify\none\n--json"
    yield b"schema\nls"
    yield b"show\n\xff\n--step\n\x1b[31m"


@target(_lines, 512)
def command_line(data: bytes) -> None:
    """A command ends with 0, 1 or 2, whatever its arguments are, and says what it has to say in text."""
    command, *arguments = data.decode("utf-8", "surrogateescape").split("\n")[:12]
    variables = dict(each.partition("=")[::2] for each in arguments if each.startswith(_VARIABLES) and "\0" not in each)
    arguments = [each for each in arguments if not each.startswith(_VARIABLES)]
    if command not in _COMMANDS or any("\0" in each for each in arguments):
        return
    if any(each.startswith(_NOT_TRIED) or (each[:1] == "-" and each[1:2] != "-") for each in arguments):
        return
    if command == "export":
        arguments += ["--to", "-"]
    from chunkstore.cli.app import main

    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    errors = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    argv = ["chunkstore", command, *arguments, *(() if command == "schema" else ("--store", _store()))]
    with (
        mock.patch.object(sys, "argv", argv),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        mock.patch.dict(os.environ, {"NO_COLOR": "1", **variables}),
    ):
        try:
            main()
            code: object = 0
        except SystemExit as ended:
            code = ended.code
    assert code in {0, 1, 2, None}, code
    said = errors.buffer.getvalue().decode()
    assert "Traceback" not in said
    assert "\x1b" not in output.buffer.getvalue().decode() + said
