"""Children that may do less than the test that forks them: within limits of memory and time, or as another user."""

import os
import resource
import signal

from privileges import skip_or_fail
from processes import fork_and_wait

MEBIBYTE = 1 << 20
NOBODY = 65534


def within_limits(work, *, cpu=30, memory=256 * MEBIBYTE):
    """Tell whether `work` ends without an exception in a child that may use so many seconds and so much more memory."""

    def limited():
        with open("/proc/self/statm", encoding="ascii") as sizes:
            used = int(sizes.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
        signal.alarm(2 * cpu)  # who waits for ever uses no CPU
        work()

    return fork_and_wait(limited)


def as_user(work, *, uid=NOBODY, gid=NOBODY, umask=0o022):
    """Tell whether `work` ends without an exception for another user: nobody, who owns nothing, if none is named."""
    if os.geteuid() != 0:
        skip_or_fail("only root can become another user")

    def work_as_user():
        os.setgroups([gid])
        os.setgid(gid)
        os.setuid(uid)
        os.umask(umask)
        signal.alarm(60)
        work()

    return fork_and_wait(work_as_user)
