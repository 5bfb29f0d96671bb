"""`chunkstore` and `python -m chunkstore` are the command line."""

import sys


def main() -> None:
    """Run the command line, if what it needs is installed."""
    try:
        from chunkstore.cli.app import main as run  # noqa: PLC0415 - may be missing
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich", "click"}:
            raise
        sys.exit(f"error: the command line needs {error.name}. Run `pip install 'chunkstore[cli]'`.")
    run()


if __name__ == "__main__":
    main()
