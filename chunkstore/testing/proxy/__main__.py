"""`python -m chunkstore.testing.proxy URL`: a proxy in a process of its own, until its standard input ends.

It prints its URL when it answers, and how many requests of each kind there were when it ends.
"""

from __future__ import annotations

import argparse
import json
import sys

from chunkstore.testing.proxy import Proxy


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m chunkstore.testing.proxy", description="A proxy before a bucket.")
    parser.add_argument("target", help="the URL of the server")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that each request takes longer")
    parser.add_argument("--rate", type=float, help="requests a second; the others are told to slow down")
    parser.add_argument("--depth", type=int, default=1, help="segments of the path that name the bucket; Azurite: 2")
    asked = parser.parse_args()
    proxy = Proxy(asked.target, latency=asked.latency, rate=asked.rate, depth=asked.depth)
    with proxy, proxy.counted(keeps=False) as counted:
        print(proxy.endpoint, flush=True)
        sys.stdin.read()
    print(json.dumps(counted.by_operation | {"most at once": counted.most_at_once}))


main()
