"""The command `chunkstore` and what its commands are."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from chunkstore.cli import (
    comparing,
    demo,
    explaining,
    export,
    importing,
    listing,
    packing,
    schema,
    showing,
    timeline,
    watching,
)
from chunkstore.cli.output import PROBLEMS, WRONG_USE, print_error
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

app = typer.Typer(
    name="chunkstore",
    help="See, follow, check and keep the run logs of parallel Python.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 fine, 1 problems found, 2 wrong use. Set NO_COLOR for output without colour.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"chunkstore {__version__}\n")
        raise typer.Exit


@app.callback()
def _common(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """See, follow, check and keep the run logs of parallel Python."""


app.command("demo")(demo.demo)
app.command("ls")(listing.list_runs)
app.command("show")(showing.show)
app.command("watch")(watching.watch)
app.command("logs")(watching.logs)
app.command("timeline")(timeline.show_timeline)
app.command("diff")(comparing.diff)
app.command("why")(explaining.why)
app.command("export")(export.export_runs)
app.command("seal")(packing.seal)
app.command("unseal")(packing.unseal)
app.command("import")(importing.import_folder)
app.command("schema")(schema.schema)


def main() -> None:
    """Run the command line; what goes wrong is said in a line, and the exit code means something."""
    try:
        app()
    except ChunkstoreError as error:
        print_error(str(error))
        sys.exit(WRONG_USE if isinstance(error, _WRONG_USE) else PROBLEMS)
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python would complain once more when it flushes at its end.
        sys.stdout = None
        sys.exit(PROBLEMS)
