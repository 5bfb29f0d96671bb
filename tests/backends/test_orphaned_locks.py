"""A lock dies with the process that took it, whoever else has a copy of its descriptors."""

import os
import signal
import subprocess
import sys

import chunkstore

HOLDER = """
import os, sys, threading, time
import chunkstore

store = chunkstore.open_store("chunked-fs", log_folder=sys.argv[1])
inside = threading.Event()

def hold(log):
    inside.set()
    time.sleep(60)

threading.Thread(target=store.update_run_log, args=("run", hold), daemon=True).start()
inside.wait()
child = os.fork()
if child == 0:
    print("ready", os.getpid(), flush=True)
    time.sleep(60)
    os._exit(0)
time.sleep(60)
"""


def test_a_child_forked_while_another_thread_held_the_lock_does_not_keep_it(tmp_path):
    store = chunkstore.open_store("chunked-fs", log_folder=tmp_path, lock_timeout=5)
    store.create_run_log("run")
    holder = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    child = 0
    try:
        child = int(holder.stdout.readline().split()[1])
        holder.kill()
        holder.wait()
        store.set_parameters("run", {"a": 1})
        os.kill(child, 0)  # it was still there
        assert store.get_parameters("run") == {"a": 1}
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        if child:
            os.kill(child, signal.SIGKILL)
