"""Tests of this folder run inside a user-mode kernel with a real NFS, all in one; here they are reported.

The kernel is started when tests have been collected, and runs them while others run here. Each is then reported in its
place, as if it had run here. Of the processes of pytest-xdist one starts the kernel for all.
"""

import importlib
import os
import sys
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock
from privileges import skip_or_fail

from nfs.kernel import Kernel, why_not
from nfs.reports import Heard, Told

_HERE = Path(__file__).parent
_IS_INSIDE = "NFS_A" in os.environ
#: Names a file, for tests that are run inside only to be reported outside.
_REPORTS = "NFS_REPORTS"
#: For all tests together; a machine may be slow.
_SECONDS = 600

_kernel = pytest.StashKey()
_heard = pytest.StashKey()


def pytest_configure(config):
    """Inside, tell how tests go."""
    if _IS_INSIDE and _REPORTS in os.environ:
        config.pluginmanager.register(Told(config, os.environ[_REPORTS]))


def pytest_itemcollected(item):
    """Take every test of this folder for a thorough one."""
    item.add_marker(pytest.mark.thorough)


def pytest_collection_finish(session):
    """Outside, start the kernel, if tests need it and no other process of this session has started it."""
    config = session.config
    tests = [item.nodeid for item in session.items if _HERE in item.path.parents]
    if not tests or _IS_INSIDE or config.option.collectonly or why_not():
        return
    common = config._tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        common = common.parent
    work, reports = common / "nfs", common / "nfs" / "reports"
    with FileLock(common / "nfs.lock"):
        if not work.exists():
            work.mkdir()
            options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(config.rootpath)]
            command = [sys.executable, "-m", "pytest", *options, *tests]
            variables = {_REPORTS: str(reports)}
            config.stash[_kernel] = Kernel(command, seconds=_SECONDS, work=work, variables=variables)
    config.stash[_heard] = Heard(config, work, reports)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    """Outside, report a test that runs inside."""
    heard = item.config.stash.get(_heard, None)
    if heard is None or _HERE not in item.path.parents:  # the hook is called for tests of all folders
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in heard.of(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_sessionfinish(session, exitstatus):
    """Wait for the kernel whose tests other processes may still have to report; end it if nobody is interested."""
    kernel = session.config.stash.get(_kernel, None)
    if kernel is None:
        return
    if exitstatus == pytest.ExitCode.INTERRUPTED or session.shouldstop or session.shouldfail:
        kernel.kill()
    kernel.wait()


@pytest.fixture(autouse=True)
def _inside():
    if not _IS_INSIDE:
        skip_or_fail(why_not())


@pytest.fixture
def hosts():
    """Two hosts that have one export mounted."""
    from nfs.hosts import Hosts  # which is of use inside alone

    return Hosts()


@pytest.fixture
def folders(hosts):
    """A new folder, as it is seen through the mounts of both hosts."""
    first, second = hosts.mounts
    folder = tempfile.mkdtemp(dir=first)
    return Path(folder), Path(second, os.path.basename(folder))


@pytest.fixture
def folder(folders):
    """A new folder, at the path that it has on both hosts."""
    return folders[0]


@pytest.fixture
def _ready_to_record(_outside_git):
    """All is loaded that forked processes need, and there is no repository: asking git takes seconds here."""
    importlib.import_module("chunkstore.recording.recorder")
