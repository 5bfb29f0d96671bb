"""Look for inputs that break a promise: `python -m tests.proofs.fuzz [--minutes N] [--target NAME] [--folder DIR]`.

Runs the targets in turns, each in a process of its own that is guided by coverage (atheris; it needs CPython on Linux,
`pip install -e '.[test]'`). What is learnt stays in the folder, so the next time goes on from there; the corpus in
the repository is only read. A finding is kept there as well, and the exit code is 1.

    --replay FILE   try one input of the `--target`, without atheris
    --minimise      add to the corpus in the repository the few inputs that reach what its own do not
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .mutators import WORDS
from .registry import CORPUS, Target, all_targets, inputs_of

#: A variable that names what libFuzzer starts when it starts itself again.
LAUNCHER = "CHUNKSTORE_FUZZ_LAUNCHER"
#: Seconds that a target runs in one turn, at most; at least this many turns are made of a short time.
_LONGEST_TURN, _TURNS = 120, 3
#: Seconds that one input may take, and megabytes that a process may.
_TIMEOUT, _MEMORY = 25, 4_096
_WRITTEN = re.compile(rb"Test unit written to (\S+)")
_STATUS = re.compile(rb"^#(\d+)\s.*?cov: (\d+) ft: (\d+)", re.MULTILINE)
_DONE = re.compile(rb"^#(\d+)\s", re.MULTILINE)


class Turn(NamedTuple):
    """What one turn of a target did.

    Attributes:
        executions: how many inputs were tried.
        coverage: how many places in the code have been reached, as libFuzzer counts them.
        findings: files of inputs that broke the promise.
        log: what libFuzzer and the target printed.
    """

    executions: int
    coverage: int
    findings: list[str]
    log: bytes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parse(arguments)
    targets = all_targets()
    if unknown := [name for name in options.target or () if name.partition("@")[0] not in targets]:
        print(f"There is no target {unknown[0]!r}. There are: {', '.join(targets)}")
        return 2
    chosen = options.target or list(targets)
    if options.replay:
        for name in chosen:
            targets[name].run(options.replay.read_bytes())
        print("It gives a value, or the documented error.")
        return 0
    if options.minimise:
        for name in chosen:
            _minimise(targets[name], options.folder)
        return 0
    return _look(targets, chosen, options)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.proofs.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(tempfile.gettempdir()) / "chunkstore-fuzz"
    parser.add_argument("--minutes", type=float, default=60, help="how long, all targets together (60)")
    parser.add_argument("--target", action="append", metavar="NAME", help="one of the targets; may be given again")
    parser.add_argument("--folder", type=Path, default=default, help=f"for what is learnt and found ({default})")
    parser.add_argument("--replay", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("--minimise", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _look(targets: dict[str, Target], chosen: Sequence[str], options: argparse.Namespace) -> int:
    """Run targets in turns until the time is over."""
    deadline = time.monotonic() + 60 * options.minutes
    turn = min(_LONGEST_TURN, max(1, int(60 * options.minutes / len(chosen) / _TURNS)))
    totals = dict.fromkeys(chosen, 0)
    reached = dict.fromkeys(chosen, 0)
    found: list[str] = []
    turns = itertools.count()
    try:
        for name in itertools.cycle(chosen):
            if next(turns) >= len(chosen) and time.monotonic() >= deadline:
                break
            done = _turn(targets[name.partition("@")[0]], name, options.folder, turn)
            totals[name] += done.executions
            reached[name] = max(reached[name], done.coverage)
            print(f"{name}: {done.executions:,} inputs in {turn} s, {done.coverage:,} places reached", flush=True)
            for finding in done.findings:
                found.append(f"{name}: {finding}")
                print(f"{_last_traceback(done.log)}\n    FOUND {finding}")
                print(f"    again: python -m tests.proofs.fuzz --target {name} --replay {finding}", flush=True)
    except KeyboardInterrupt:
        print("interrupted; what has been done until now:")
    print(f"\n{sum(totals.values()):,} inputs, {len(found)} findings")
    for name in chosen:
        print(f"  {name:<22}{totals[name]:>12,} inputs {reached[name]:>7,} places")
    for each in found:
        print(f"  FOUND {each}")
    return 1 if found else 0


def _turn(target: Target, name: str, folder: Path, seconds: int) -> Turn:
    """Run a target for a while, from what is known of it."""
    learnt, findings = folder / "learnt" / target.name, folder / "findings" / target.name
    for each in (learnt, findings):
        each.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-seeds-") as seeds:
        for number, (_, data) in enumerate(inputs_of(target)):
            Path(seeds, f"{number:04}").write_bytes(data)
        words = Path(seeds, "words")
        words.write_text("".join(f'"{"".join(f"{chr(92)}x{byte:02x}" for byte in word.encode())}"\n' for word in WORDS))
        begins = Path(seeds, "begins")
        begins.mkdir()
        for path in list(Path(seeds).glob("0*")):
            shutil.move(path, begins / path.name)
        command = [sys.executable, "-m", "tests.proofs.fuzz.worker", name, str(learnt), str(begins)]
        limits = [f"-max_total_time={seconds}", f"-timeout={_TIMEOUT}", f"-rss_limit_mb={_MEMORY}"]
        files = [f"-artifact_prefix={findings}/", f"-dict={words}"]
        ended = subprocess.run([*command, *limits, *files], check=False, capture_output=True)
    log = ended.stdout + ended.stderr
    new = [os.fsdecode(path) for path in _WRITTEN.findall(log)]
    if ended.returncode and not new:
        new = [f"a process that ended with {ended.returncode}, and left no input"]
    counts = _STATUS.findall(log) or [(b"0", b"0", b"0")]
    executions = max(map(int, _DONE.findall(log)), default=0)
    return Turn(executions, int(counts[-1][1]), new, log)


def _last_traceback(log: bytes) -> str:
    text = log.decode(errors="replace")
    _, separator, rest = text.partition("=== Uncaught Python exception: ===")
    return "\n".join(
        line for line in (rest if separator else text[-3_000:]).splitlines()[:60] if "libFuzzer" not in line
    )


def _minimise(target: Target, folder: Path) -> None:
    """Add to the corpus of a target the few inputs that are needed to reach all that has been reached."""
    learnt, kept = folder / "learnt" / target.name, CORPUS / target.name
    with tempfile.TemporaryDirectory(prefix="fuzz-merge-") as scratch:
        merged, seeds, launcher = Path(scratch, "merged"), Path(scratch, "seeds"), Path(scratch, "launcher")
        for each in (merged, seeds, learnt):
            each.mkdir(parents=True, exist_ok=True)
        for number, (_, data) in enumerate(inputs_of(target)):
            Path(seeds, f"{number:04}").write_bytes(data)
        worker = [sys.executable, "-m", "tests.proofs.fuzz.worker", target.name]
        launcher.write_text(f'#!/bin/sh\nexec {shlex.join(worker)} "$@"\n')
        launcher.chmod(0o755)
        # What the seeds reach needs no further inputs. How often something was reached does not matter.
        options = ["-set_cover_merge=1", "-use_counters=0", str(merged), str(seeds), str(learnt)]
        environment = {**os.environ, LAUNCHER: str(launcher)}
        subprocess.run([*worker, *options], check=True, capture_output=True, env=environment)
        known = {path.read_bytes() for path in seeds.iterdir()}
        found = [path for path in sorted(merged.iterdir()) if path.read_bytes() not in known]
        for path in found:
            kept.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, kept / path.name[:12])
    print(f"{target.name}: {len(found)} more inputs")


if __name__ == "__main__":
    sys.exit(main())
