"""Real processes for tests."""

import multiprocessing
import os
import signal
import threading
import traceback

NO_PROCESS = 4_194_305  # above the largest number that Linux gives


_forking = threading.Lock()


def fork():
    """Fork; threads do it one after the other, as filelock refuses a fork in the middle of another thread's."""
    with _forking:
        return os.fork()


def run_processes(function, arguments, method="fork"):
    """Call `function` with each tuple of arguments in a process of its own, all at once; return the results."""
    context = multiprocessing.get_context(method)
    start = context.Barrier(len(arguments))
    started = []
    for each in arguments:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(function, each, start, sender), daemon=True)
        process.start()
        sender.close()
        started.append((process, receiver))
    results = []
    for process, receiver in started:
        try:
            failed, result = receiver.recv()
        except EOFError:
            failed, result = True, "the process died"
        process.join()
        receiver.close()
        assert not failed, result
        results.append(result)
    return results


def _work(function, arguments, start, sender):
    try:
        start.wait(30)
        sender.send((False, function(*arguments)))
    except BaseException:
        sender.send((True, traceback.format_exc()))


class Forked:
    """A forked child that talks through a pipe until it is killed: `with Forked(work) as child`."""

    def __init__(self, work):
        self._work = work

    def __enter__(self):
        self._reader, writer = os.pipe()
        self.pid = fork()
        if self.pid == 0:
            try:
                os.close(self._reader)
                self._work(lambda text: os.write(writer, text.encode() + b"\n"))
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(writer)
        self._lines = os.fdopen(self._reader, "rb", buffering=0)
        return self

    def wait_for_line(self):
        return self._lines.readline().decode().rstrip("\n")

    def kill(self):
        """Kill the child; return what else it had said, without a line that was cut off."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pid = 0
        rest = self._lines.read().decode()
        return rest.split("\n")[:-1]

    def __exit__(self, *_):
        if self.pid:
            self.kill()
        self._lines.close()


def fork_and_wait(work):
    """Run `work` in a forked child; return True if it ended without an exception."""
    pid = fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
