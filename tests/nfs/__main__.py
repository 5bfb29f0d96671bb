"""Run a command where `$NFS_A` and `$NFS_B` are two mounts of one real NFS export: `python -m tests.nfs COMMAND …`.

Its output and exit code are the command's. Run it from the top of the repository, as root; starting takes some
seconds. See `kernel.py`.
"""

import argparse
import sys

from .kernel import NOT_UP, Kernel, what_was_said, why_not


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.nfs", description=__doc__)
    parser.add_argument("--options", default="", help="further mount options, such as noac or lookupcache=none")
    parser.add_argument("--seconds", type=int, default=300, help="how long the command may take (default: %(default)s)")
    parser.add_argument("--memory", default="1200M", help="of the kernel (default: %(default)s)")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if not arguments.command:
        parser.error("no command")
    if reason := why_not():
        parser.exit(NOT_UP, f"{parser.prog}: {reason}\n")
    kernel = Kernel(arguments.command, seconds=arguments.seconds, memory=arguments.memory, options=arguments.options)
    try:
        return kernel.wait()
    finally:
        kernel.kill()
        print(what_was_said(kernel.work), end="")
        kernel.remove()


if __name__ == "__main__":
    sys.exit(main())
