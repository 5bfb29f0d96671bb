"""Runs pipelines of runnable in this process, and compares the logs they leave."""

import json
import os
import shutil
import sys
from contextlib import contextmanager
from importlib import import_module, invalidate_caches
from pathlib import Path

import runnable.context
import runnable.entrypoints
from runnable import defaults, exceptions

import chunkstore
from chunkstore.views.pages import render_tree

OWN = "file-system"
OURS = "chunkstore"


class Workbench:
    """A working folder with the pipelines in it."""

    def __init__(self, folder):
        self.folder = folder
        self.log_folder = folder / "logs"
        for name in ("pipelines.py", "notebook.ipynb"):
            shutil.copy(Path(__file__).with_name(name), folder)

    def configuration(self, store_type=OURS, *, parallel=True, **options):
        """Write a configuration file for runnable; return its path."""
        path = self.folder / f"{store_type}.yaml"
        settings = {
            "pipeline-executor": {"type": "local", "config": {"enable_parallel": parallel}},
            "run-log-store": {
                "type": store_type,
                "config": {"log_folder": str(self.log_folder / store_type), **options},
            },
        }
        path.write_text(json.dumps(settings))  # which is YAML as well
        return str(path)

    def run(self, pipeline, store_type=OURS, *, parallel=True, parameters=None, run_id="run"):
        """Run a pipeline, also one that fails; return its full log."""
        values = self.folder / "parameters.yaml"
        values.write_text(json.dumps(parameters or {}, ensure_ascii=False))  # YAML knows no pairs of surrogates
        environment = {
            defaults.RUNNABLE_CONFIGURATION_FILE: self.configuration(store_type, parallel=parallel),
            defaults.RUNNABLE_PARAMETERS_FILE: str(values),
            defaults.ENV_RUN_ID: run_id,
        }
        with clean_runnable(environment):
            try:
                getattr(import_module("pipelines"), pipeline)()
            except exceptions.ExecutionFailedError:
                pass  # the log says so as well
        return self.log(store_type, run_id)

    def retry(self, run_id="run", store_type=OURS, *, parallel=True):
        """Let runnable try again what failed; return the full log."""
        configuration = self.configuration(store_type, parallel=parallel)
        with clean_runnable({defaults.RUNNABLE_CONFIGURATION_FILE: configuration}):
            try:
                runnable.entrypoints.retry_pipeline(run_id, configuration_file=configuration)
            except exceptions.ExecutionFailedError:
                pass  # the log says so as well
        return self.log(store_type, run_id)

    def store(self, store_type=OURS):
        """Return a store as runnable makes one."""
        settings = {"type": store_type, "config": {"log_folder": str(self.log_folder / store_type)}}
        return runnable.context.get_service_by_name("run_log_store", settings, None)

    def log(self, store_type=OURS, run_id="run"):
        return self.store(store_type).get_run_log_by_id(run_id, full=True)

    def chunkstore(self):
        """Return the store as chunkstore's own users open it."""
        return chunkstore.open_store("chunked-fs", log_folder=self.log_folder / OURS)


@contextmanager
def clean_runnable(environment):
    """Undo what a run leaves in this process: environment, import path, the run's context."""
    before, path = dict(os.environ), list(sys.path)
    os.environ.update(environment)
    sys.path.insert(0, os.getcwd())
    sys.modules.pop("pipelines", None)
    invalidate_caches()
    runnable.context.set_run_context(None)
    try:
        yield
    finally:
        runnable.context.set_run_context(None)
        sys.modules.pop("pipelines", None)
        sys.path[:] = path
        os.environ.clear()
        os.environ.update(before)


def comparable(log):
    """Return what two runs of the same pipeline have in common."""
    return _without_details(json.loads(log.model_dump_json()))


_DIFFERENT = {
    "run_id",
    "dag_hash",
    "run_config",
    "start_time",
    "end_time",
    "code_identities",
    "description",
    "catalog_relative_path",
}


def _without_details(value):
    if isinstance(value, dict):
        return {key: _without_details(inner) for key, inner in value.items() if key not in _DIFFERENT}
    if isinstance(value, list):
        return [_without_details(inner) for inner in value]
    return value


def branches_of(steps):
    """Return all branches inside some steps, by name."""
    found = {}
    for step in steps.values():
        for name, branch in step.branches.items():
            found[name] = branch
            found.update(branches_of(branch.steps))
    return found


def tree_of(log):
    """Return what chunkstore shows of a run."""
    return render_tree(log)


def order_of_steps(steps):
    """Return the names of steps in order, with those inside their branches."""
    return [
        (name, {branch: order_of_steps(inner.steps) for branch, inner in step.branches.items()})
        for name, step in steps.items()
    ]
