"""A real Slurm of one node, on this machine: its own daemons, key, socket, ports and configuration, all in one folder.

Nothing of the system's is touched, so any number of them can be up at once, beside one that the machine belongs to.
Needs root, and Debian's packages slurm-wlm and munge.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from filelock import FileLock
from privileges import skip_or_fail

#: A job that is cancelled or runs out of time gets SIGTERM, and so many seconds later SIGKILL.
KILL_WAIT = 3
#: More than there are: jobs of tests mostly wait.
CPUS = 24
_PATIENCE = 60
_TOOLS = {"slurmctld": "slurm-wlm", "slurmd": "slurm-wlm", "sbatch": "slurm-wlm", "munged": "munge"}
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
_CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ReturnToService=2
KillWait={kill_wait}
JobRequeue=1
MailProg=/bin/true
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1
PlugStackConfig=/dev/null
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def require_slurm():
    """Skip a test where no Slurm can be started, and say why; fail it in CI, which promises that one can."""
    if os.geteuid() != 0:
        skip_or_fail("starting a Slurm takes root")
    missing = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool, path=_PATH) is None})
    if missing:
        skip_or_fail(f"starting a Slurm takes Debian's {' and '.join(missing)}")


class Slurm:
    """A Slurm that is up inside of a `with` block; its commands find it by `environment`.

    Args:
        shared: a folder. Processes that have it in common have one Slurm: the first starts it, the last ends it.
    """

    def __init__(self, shared):
        #: Held by one process at a time.
        self.turn = FileLock(shared / "slurm.lock")
        self._noted = shared / "slurm"

    def __enter__(self):
        with self.turn:
            if self._noted.exists():
                self._be_of(Path(self._noted.read_text()))
            else:
                self._be_of(Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp")))  # the paths of sockets are short
                try:
                    self._start()
                except BaseException:
                    self._end()
                    raise
                self._noted.write_text(str(self._folder))
            (self._folder / "users" / str(os.getpid())).touch()
        return self

    def __exit__(self, *_):
        with self.turn:
            users = self._folder / "users"
            (users / str(os.getpid())).unlink()
            if not os.listdir(users):
                self._noted.unlink()
                self._end()

    def _be_of(self, folder):
        self._folder = folder
        outside = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        self.environment = {**outside, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": _PATH}

    def _start(self):
        self._folder.chmod(0o755)  # munged wants its socket to be within the reach of all
        for name in ("state", "spool", "users"):
            (self._folder / name).mkdir()
        key = self._folder / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        host = socket.gethostname().partition(".")[0]
        (self._folder / "slurm.conf").write_text(
            _CONFIGURATION.format(host=host, ports=_free_ports(2), folder=self._folder, kill_wait=KILL_WAIT, cpus=CPUS)
        )
        files = {"socket": "munge", "key-file": "key", "pid-file": "munged.pid", "log-file": "munged.log"}
        files["seed-file"] = "seed"
        self.run("munged", *(f"--{option}={self._folder / name}" for option, name in files.items()))
        self.run("slurmctld")
        self.run("slurmd")
        wait_until(lambda: self.run("sinfo", "-h", "-o", "%T", check=False) == "idle", "the node is idle")

    def _end(self):
        self.run("scancel", "--user=root", "--signal=KILL", "--full", check=False)
        for name in ("slurmd", "slurmctld", "munged"):
            try:
                os.kill(int((self._folder / f"{name}.pid").read_text()), signal.SIGKILL)  # nothing here is to be kept
            except (OSError, ValueError):
                pass  # it has not begun
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, *command, check=True, **options):
        """Run a command; return what it prints."""
        done = subprocess.run(
            list(map(str, command)),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
            **options,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}{self._logs()}"
        return done.stdout.strip()

    def submit(self, script, *options, folder):
        """Submit a script that lies in a folder; return the id of the job."""
        return self.run("sbatch", "--parsable", *options, script, cwd=folder)

    def states(self, job):
        """Return the states of a job, or of the jobs of an array by their numbers."""
        lines = self.run("scontrol", "-o", "show", "job", job).splitlines()
        fields = [dict(part.partition("=")[::2] for part in line.split() if "=" in part) for line in lines]
        return {each.get("ArrayTaskId", ""): each["JobState"] for each in fields}

    def wait_for_end(self, job):
        """Wait until a job, or all of an array, is over; return its states."""
        over = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}
        wait_until(lambda: set(self.states(job).values()) <= over, f"job {job} is over")
        return self.states(job)

    def let_time_run_out(self, job):
        """End a running job as its time limit would, which has a resolution of minutes."""
        self.run("scontrol", "update", f"JobId={job}", "EndTime=now+1")

    def _logs(self):
        return "".join(f"\n--- {path.name}\n{path.read_text()[-2000:]}" for path in self._folder.glob("*.log"))


def wait_until(condition, what, patience=_PATIENCE):
    """Wait until a condition holds; fail if it does not in time."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"not in {patience} s: {what}"
        time.sleep(0.05)


def _free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
