"""What `--with` names: an executor of somebody's program, an engine that is known by name, or a command."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from operator import attrgetter
from typing import Any

import typer

from chunkstore import engines
from chunkstore.cli.output import PROBLEMS
from chunkstore.engines import as_executor

_IMPORTED = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_][\w.]*)")


def _dask(address: str) -> Any:
    return import_module("distributed").Client(address or None, set_as_default=False)


def _ray(address: str) -> Any:
    import_module("ray").init(address=address or None, include_dashboard=False, configure_logging=False)
    return engines.ray()


def _processes(count: str) -> Any:
    return ProcessPoolExecutor(int(count) if count else None)


#: Engines that are known by name, with an address or a number behind a colon.
_KNOWN: dict[str, Callable[[str], Any]] = {"processes": _processes, "dask": _dask, "ray": _ray}
#: Batch systems, and the command that starts workers there.
_COMMANDS = {"slurm": "srun"}
#: How long an engine has to be there, in seconds.
_STARTS_WITHIN = 60.0


@contextmanager
def chosen_engine(text: str) -> Iterator[tuple[Executor | Sequence[str], str]]:
    """Make what `--with` names, and end it after use if it was made for that; also return what to call it.

    Raises:
        typer.BadParameter: it names nothing.
    """
    name, _, address = text.partition(":")
    if name in _KNOWN and " " not in text:
        with _ended(_made(text, lambda: _KNOWN[name](address))) as engine:
            yield engine, text
        return
    words = shlex.split(_COMMANDS.get(text, text))
    if words and shutil.which(words[0]):
        yield words, text
        return
    found = _IMPORTED.fullmatch(text)
    if found is None:
        raise typer.BadParameter(
            f"{text!r} names no engine: there is no command {' '.join(words[:1])!r} here, and it is neither "
            f"module:executor nor one of {', '.join([*_KNOWN, *_COMMANDS])}.",
            param_hint="--with",
        )
    made = _made(text, lambda: _imported(*found.groups()))
    if callable(getattr(made, "submit", None)):
        yield as_executor(made), text
        return
    with _ended(_made(text, made)) as engine:
        yield engine, text


def _made(text: str, make: Callable[[], Any]) -> Any:
    watch = threading.Timer(_STARTS_WITHIN, _give_up, [text])
    watch.daemon = True
    watch.start()
    try:
        return make()
    except Exception as error:
        raise typer.BadParameter(
            f"{text!r} gives no executor: {type(error).__name__}: {error}", param_hint="--with"
        ) from error
    finally:
        watch.cancel()


def _give_up(text: str) -> None:
    """End the program: Ray, for one, waits minutes for a cluster that is gone, and lets nothing interrupt that."""
    sys.stderr.write(f"error: {text!r} gives no executor: nothing has answered in {_STARTS_WITHIN:g} seconds.\n")
    sys.stderr.flush()
    os._exit(PROBLEMS)


def _imported(module: str, attribute: str) -> Any:
    sys.path.insert(0, os.getcwd())  # as `python -m` does
    return attrgetter(attribute)(import_module(module))


@contextmanager
def _ended(made: Any) -> Iterator[Executor]:
    try:
        yield as_executor(made)
    finally:
        processes = getattr(made, "_processes", None)
        for process in list(processes.values()) if isinstance(processes, dict) else []:
            process.kill()  # it has nothing more to do, or hangs
        end = getattr(made, "close", None) or getattr(made, "shutdown", None)
        if callable(end):
            end()
