"""Simulate many writers on a bucket and on a folder: `python -m benchmarks.scale [--quick] [--output FILE]`.

The bucket is SeaweedFS on loopback, filled with objects, behind a proxy that takes 30 ms for each request and tells
clients to come more slowly above a rate. Everything else is the real code: 200 writers, each with a store of its own.
Under five minutes on two cores; a fraction of that with --quick. `--write-page` puts what was found into the page.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from benchmarks.buckets.server import Server, seaweed
from benchmarks.environment import environment, scratch
from benchmarks.scale.filling import add_objects, add_runs
from benchmarks.scale.model import Measured, Result
from benchmarks.scale.phases import Size, measured
from benchmarks.scale.places import StorePlace
from benchmarks.scale.sizes import sizes_in_bucket, sizes_in_folder
from benchmarks.scale.tables import RESULTS, write_page
from chunkstore.testing.proxy import Proxy

_PREFIX = "scale"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it, show it, and write it down.

    Args:
        arguments: those of the command line.

    Returns:
        The exit code: 1 if anything that was acknowledged is not there.
    """
    asked = _parser().parse_args(arguments)
    size = Size(writers=asked.writers, seconds=10, pause=1.0, runs=10, chunks=1_000)
    objects = asked.objects
    if asked.quick:
        size = Size(writers=min(40, asked.writers), seconds=4, pause=0.5, runs=3, chunks=100)
        objects = min(5_000, objects)

    def say(text: str) -> None:
        print(f"  {text}", file=sys.stderr, flush=True)

    result = Result(
        environment=environment(asked.folder),
        latency=asked.latency,
        rate=asked.rate,
        objects=objects,
        size=size,
        bucket=_in_bucket(asked, size, objects, say),
        folder=_in_folder(asked, size, objects, say),
    )
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    asked.output.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    for named in ("bucket", "folder"):
        _show(named, getattr(result, named))
    if asked.write_page:
        RESULTS.write_bytes(asked.output.read_bytes())
        write_page()
    lost = sum(phase.lost for kind in (result.bucket, result.folder) for phase in kind.phases.values())
    return 1 if lost else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="40 writers and 5,000 objects: half a minute")
    parser.add_argument("--writers", type=int, default=200, help="how many record at once (default: %(default)s)")
    parser.add_argument("--objects", type=int, default=100_000, help="what the bucket holds (default: %(default)s)")
    parser.add_argument("--latency", type=float, default=0.03, help="seconds a request takes (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=100, help="requests a second (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="chooses the file system")
    parser.add_argument("--output", type=Path, default=Path("benchmark-results/scale.json"), help="where JSON is put")
    parser.add_argument("--write-page", action="store_true", help="put what was found into the documentation")
    return parser


def _in_bucket(asked: argparse.Namespace, size: Size, objects: int, say: Callable[[str], None]) -> Measured:
    with seaweed() as (server, running):
        near = StorePlace(f"{server.url}/{_PREFIX}", server.options)
        runs = objects // 20
        say(f"SeaweedFS: {runs:,} runs that have ended, {objects - 2 * runs:,} objects of others")
        add_runs(near, runs)
        add_objects(server, _PREFIX, near, objects - 2 * runs)
        with Proxy(running.endpoint, latency=asked.latency) as proxy:
            far = replace(near, options={**near.options, "endpoint": proxy.endpoint})

            @contextmanager
            def slow_down() -> Iterator[None]:
                proxy.rate = asked.rate
                yield
                proxy.rate = None

            phases = {phase.name: phase for phase in measured(far, size, say, proxy.counted, slow_down)}
        return Measured(phases=phases, sizes=sizes_in_bucket(Server(server.url, server.options), _PREFIX))


def _in_folder(asked: argparse.Namespace, size: Size, objects: int, say: Callable[[str], None]) -> Measured:
    with scratch(asked.folder) as folder:
        place = StorePlace("chunked-fs", {"log_folder": str(folder / "logs"), "seal_finished_runs": 1})
        say(f"a folder: {objects // 20:,} runs that have ended")
        add_runs(place, objects // 20, seal=True)
        phases = {phase.name: phase for phase in measured(place, size, say)}
        return Measured(phases=phases, sizes=sizes_in_folder(folder / "logs"))


def _show(named: str, found: Measured) -> None:
    print(f"\n{named}")
    for phase in found.phases.values():
        requests = ", ".join(f"{number:,} {kind}" for kind, number in phase.requests.items() if number)
        troubles = "".join(
            f", {number:,} {what}" for what, number in (("failed", phase.failed), ("LOST", phase.lost)) if number
        )
        print(
            f"  {phase.name:<13} {phase.operations:>7,} in {phase.seconds:7.2f} s  "
            f"median {phase.median * 1e3:8.1f} ms  p99 {phase.p99 * 1e3:8.1f} ms  {requests}"
            + (f", {phase.slowed:,} told to slow down" if phase.slowed else "")
            + troubles
            + (f": {phase.error}" if phase.error else "")
        )
    print(f"  {found.sizes}")


if __name__ == "__main__":
    raise SystemExit(main())
