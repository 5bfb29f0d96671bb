"""A process that looks for inputs of one target, guided by coverage: `python -m tests.proofs.fuzz.worker NAME OPTIONS`.

The options are those of libFuzzer. `NAME` may be followed by `@MODULE`: that is imported before, and may change what is
tried.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys

import atheris


def main() -> None:
    """Look until libFuzzer has enough, or something is found."""
    name, _, module = sys.argv.pop(1).partition("@")
    sys.argv[0] = os.environ.get("CHUNKSTORE_FUZZ_LAUNCHER", sys.argv[0])
    # What is imported later, inside of functions, counts as well, so this is never left.
    atheris.instrument_imports(include=["chunkstore"]).__enter__()
    from .mutators import mutated
    from .registry import all_targets

    target = all_targets()[name]
    if module:
        importlib.import_module(module)

    def mutate(data: bytes, most_bytes: int, seed: int) -> bytes:
        return mutated(data, most_bytes, seed, atheris.Mutate)

    def run(data: bytes) -> None:
        target.run(data)

    logging.disable()
    # What targets print is no news; libFuzzer writes to the descriptor itself.
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
    atheris.Setup([*sys.argv, f"-max_len={target.most_bytes}"], run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
