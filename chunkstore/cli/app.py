"""The command `chunkstore` and what its commands are."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated

import typer

from chunkstore.cli.output import PROBLEMS, WRONG_USE, print_error
from chunkstore.cli.streams import prepare_streams
from chunkstore.errors import (
    ChunkstoreError,
    ConfigurationError,
    InvalidNameError,
    InvalidValueError,
    RunLogNotFoundError,
    StepLogNotFoundError,
    StoreUsageError,
)
from chunkstore.version import __version__

#: What is wrong with the command, and not with what it looked at.
_WRONG_USE = (
    ConfigurationError,
    InvalidNameError,
    InvalidValueError,
    RunLogNotFoundError,
    StepLogNotFoundError,
    StoreUsageError,
)

#: The commands, in the order of the help: the module of this package that has each, and its function.
COMMANDS = {
    "demo": ("demo", "demo"),
    "ls": ("listing", "list_runs"),
    "show": ("showing", "show"),
    "watch": ("watching", "watch"),
    "logs": ("watching", "logs"),
    "get": ("getting", "get"),
    "timeline": ("timeline", "show_timeline"),
    "diff": ("comparing", "diff"),
    "why": ("explaining", "why"),
    "export": ("export", "export_runs"),
    "verify": ("verify", "verify_runs"),
    "gc": ("retention", "collect_garbage"),
    "doctor": ("doctor", "examine_folder"),
    "seal": ("packing", "seal"),
    "unseal": ("packing", "unseal"),
    "copy": ("copying", "copy"),
    "import": ("importing", "import_folder"),
    "schema": ("schema", "schema"),
}


def make_app(commands: Iterable[str] = COMMANDS) -> typer.Typer:
    """Return the command line with some of its commands; each of them is imported for that."""
    app = typer.Typer(
        name="chunkstore",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Exit codes: 0 fine, 1 problems found, 2 wrong use. Set NO_COLOR for output without colour.",
    )
    app.callback()(_common)
    for name in commands:
        module, function = COMMANDS[name]
        app.command(name)(getattr(import_module(f"chunkstore.cli.{module}"), function))
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"chunkstore {__version__}\n")
        raise typer.Exit


def _common(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """See, follow, check and keep the run logs of parallel Python."""


def main() -> None:
    """Run the command line; what goes wrong is said in a line, and the exit code means something."""
    prepare_streams()
    # Most often one command is meant; to import all takes longer than that takes to run.
    named = [argument for argument in sys.argv[1:2] if argument in COMMANDS]
    try:
        try:
            make_app(named or COMMANDS)()
        finally:
            sys.stdout.flush()  # what cannot be written must not fail later, where nobody tells it
    except ChunkstoreError as error:
        print_error(str(error))
        sys.exit(WRONG_USE if isinstance(error, _WRONG_USE) else PROBLEMS)
    except OSError as error:
        # What a store cannot do is an error of our own: this is about the output, or the working folder.
        print_error(f"{error.filename or 'The output cannot be written'}: {error.strerror or error}.")
        sys.exit(PROBLEMS)
