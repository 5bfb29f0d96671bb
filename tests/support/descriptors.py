"""Which descriptors of this process lead into a folder; others belong to other threads, and come and go."""

import gc
import os


def descriptors_into(folder):
    """Return what they lead to; for each the path, also of a file that has been removed since."""
    gc.collect()
    return leading_into(folder)


def leading_into(folder):
    """As `descriptors_into`, with what only a collection of garbage would close."""
    top = os.path.realpath(folder)
    targets = map(_target, os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else [])
    return sorted(target for target in targets if f"{target}/".startswith(f"{top}/"))


def _target(descriptor):
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:  # the list's own
        return ""
