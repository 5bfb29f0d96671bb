"""The targets by name, and what is known of each: its seeds and the corpus that lies in the repository."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

#: Modules that tests share, also for the command, for which `tests` is no folder of modules.
_TESTS = Path(__file__).parents[2]
#: Inputs that found something once, or that reach code which the seeds do not.
CORPUS = Path(__file__).parent / "corpus"
_MODULES = ("commands", "foreign", "names", "packed", "pages", "records", "runs", "settings")


class Target(NamedTuple):
    """Something that parses.

    Attributes:
        name: of it, as the command has it.
        run: takes any bytes; raises if the property does not hold for them.
        seeds: returns inputs to begin with.
        most_bytes: of one input.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    most_bytes: int


_targets: dict[str, Target] = {}


def target(seeds: Callable[[], Iterable[bytes]], most_bytes: int = 4_096) -> Callable[[Callable[[bytes], None]], None]:
    """Make a function a target that is called like it."""

    def add(run: Callable[[bytes], None]) -> None:
        name = run.__name__.replace("_", "-")
        _targets[name] = Target(name, run, seeds, most_bytes)

    return add


def all_targets() -> dict[str, Target]:
    """Return the targets by name; what they parse with is imported for that."""
    sys.path += [str(path) for path in (_TESTS / "docs", _TESTS / "support") if str(path) not in sys.path]
    for module in _MODULES:
        importlib.import_module(f"{__package__}.target_{module}")
    return dict(sorted(_targets.items()))


def inputs_of(target: Target) -> Iterator[tuple[str, bytes]]:
    """Yield what is tried in each test run: the seeds and the corpus, each with a name."""
    for number, seed in enumerate(target.seeds()):
        yield f"seed {number}", seed
    for path in sorted((CORPUS / target.name).glob("*")):
        yield path.name, path.read_bytes()
